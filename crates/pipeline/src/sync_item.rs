//! Brings one Item up to date: pull every page from the stored cursor, stage each, read the other
//! streams that are due, then apply all with the new cursor and the end of the work in one database
//! transaction.

use jiff::{SignedDuration, Timestamp};
use model::{Ambient, BalanceSource, History, Item, Page, Snapshot, Stream, Trouble};
use plaid::{
    Bank, Owner, Plan, Reaction, Stage, current_accounts, pull_update, read_stream, syncs_a_minute,
};
use store::{Applied, Lease, Reading, StreamState, Update};

use crate::enrich_page::enrich_page;
use crate::memory::Memory;
use crate::retry::jitter;
use crate::step::{Failure, Rules};

/// How often an Item whose history is still loading is looked at: closely at first, because people
/// wait for it, and seldom later. A webhook makes it sooner.
const LOADING: SignedDuration = SignedDuration::from_secs(5);
const LOADING_LONG: SignedDuration = SignedDuration::from_mins(5);
/// After this long the history of an Item is not "still loading" but slow.
const SLOW_AFTER: SignedDuration = SignedDuration::from_mins(10);
/// Hundredths of the client's limit that looking without being asked may use.
const POLLING_SHARE_PERCENT: i64 = 20;
const MILLIS_A_MINUTE: i64 = 60_000;

/// Syncs one Item.
pub(crate) async fn sync_item<M: Memory, B: Bank>(
    memory: &M,
    bank: &B,
    item: &Item,
    lease: &Lease,
    rules: &Rules,
) -> Result<Applied, Failure> {
    trial::crash_point("sync.begun");
    let ambient = memory.ambient();
    let owner = Owner { item_id: item.item_id.clone(), end_user_id: item.end_user_id.clone() };
    let mut update = Update::new(item.key.clone(), lease.clone(), ambient.now(), &item.cursor);
    update.history = item.history;
    let reads_transactions = rules.streams.contains(&Stream::Transactions);
    if reads_transactions {
        let cursor = if item.rewalk { "" } else { item.cursor.as_str() };
        let plan = Plan { owner: &owner, cursor };
        let mut stage = StagedItem { memory, lease };
        let pulled = pull_update(bank, plan, ambient, &mut stage).await?;
        (update.attempt, update.pages) = (pulled.attempt, pulled.pages);
        (update.cursor, update.full_walk) = (pulled.cursor, pulled.full_walk);
        update.request_ids = pulled.request_ids;
        // A status that Plaid does not tell, or that is new, changes nothing we know.
        update.history = pulled.history.unwrap_or(item.history);
    } else {
        update.history = History::Complete;
    }
    update.asked_for_balances = item.balances_wanted;
    let oldest = item.balances_wanted.then_some(rules.oldest_balance);
    update.accounts = accounts(bank, &owner, oldest, ambient, &mut update.request_ids).await;
    let states = memory.stream_states(&item.key).await?;
    for stream in due(&rules.streams, &states, ambient.now()) {
        let known = states.iter().find(|state| state.stream == stream);
        let (reading, trouble) = read(bank, item, &owner, stream, known, ambient).await;
        // While transactions can be read, the trouble is that stream's alone.
        if !reads_transactions {
            update.trouble = trouble.or(update.trouble);
        }
        if let Reading::Read(snapshot) = &reading {
            update.bank_times = bank_times(snapshot).or(update.bank_times);
        }
        update.readings.push(reading);
    }
    update.next_due = next_due(item, update.history, ambient, rules);
    trial::crash_point("update.pulled");
    let applied = memory.apply_update(update).await?;
    trial::crash_point("update.committed");
    Ok(applied)
}

/// The staged pages of one Item.
struct StagedItem<'a, M> {
    memory: &'a M,
    lease: &'a Lease,
}

impl<M: Memory> Stage for StagedItem<'_, M> {
    type Error = store::Error;

    async fn stage(
        &mut self,
        attempt: u32,
        number: u32,
        mut page: Page,
    ) -> Result<(), store::Error> {
        trial::crash_point("page.fetched");
        enrich_page(&mut page);
        self.memory.stage_page(self.lease, attempt, number, &page).await?;
        trial::crash_point("page.staged");
        Ok(())
    }
}

/// All accounts with their balances: cached ones, or on request, with the oldest acceptable time, those
/// the bank gives now. Transactions do not wait for them: without an answer the accounts that came with
/// the pages stand.
async fn accounts(
    bank: &impl Bank,
    owner: &Owner,
    oldest: Option<Option<Timestamp>>,
    ambient: &Ambient,
    request_ids: &mut Vec<String>,
) -> Page {
    let mut answer = None;
    if let Some(oldest) = oldest {
        match current_accounts(bank, oldest).await {
            Ok(current) => answer = Some(current),
            Err(error) => {
                tracing::warn!(item_id = owner.item_id, %error, "the bank gave no balances");
            }
        }
    }
    let answer = match answer {
        Some(current) => Ok(current),
        None => bank.accounts_get().await.map(|answer| (answer, BalanceSource::Cached)),
    };
    match answer {
        Ok((answer, source)) => {
            request_ids.extend(answer.request_id);
            plaid::accounts(&answer.accounts, owner, source, ambient.now())
        }
        Err(error) => {
            request_ids.extend(error.request_id().map(str::to_owned));
            tracing::warn!(item_id = owner.item_id, %error, "no accounts with this sync");
            Page::default()
        }
    }
}

/// Streams that are read on their own and whose time has come.
fn due(chosen: &[Stream], states: &[StreamState], now: Timestamp) -> Vec<Stream> {
    let is_due = |stream: &Stream| {
        let known = states.iter().find(|state| state.stream == *stream);
        !stream.comes_with_sync() && known.is_none_or(|state| state.due_at <= now)
    };
    chosen.iter().copied().filter(is_due).collect()
}

/// Reads one stream. A product that the Item lacks is a fact; a failure is this stream's, with what it
/// would mean for the Item.
async fn read(
    bank: &impl Bank,
    item: &Item,
    owner: &Owner,
    stream: Stream,
    known: Option<&StreamState>,
    ambient: &Ambient,
) -> (Reading, Option<(Trouble, String)>) {
    // Whoever asks for everything again means the whole history.
    let last = known.and_then(|state| state.last_success_at).filter(|_| !item.rewalk);
    let institution_id = item.institution_id.as_deref();
    let read = read_stream(bank, stream, owner, institution_id, last, ambient.now()).await;
    let error = match read {
        Ok(snapshot) => return (Reading::Read(snapshot), None),
        Err(error) => error,
    };
    let why = error.to_string();
    let consent = matches!(
        error.code(),
        Some("ADDITIONAL_CONSENT_REQUIRED" | "ACCESS_NOT_GRANTED" | "NO_ACCOUNTS")
    );
    if error.reaction() == Reaction::Lacking || consent {
        return (Reading::Lacking { stream, why }, None);
    }
    let failures = known.map_or(0, |state| state.failures);
    if error.code() == Some("PRODUCT_NOT_READY") {
        return (Reading::Preparing { stream, why, failures }, None);
    }
    let trouble = error.trouble();
    let trouble = (trouble != Trouble::Passing).then(|| (trouble, why.clone()));
    (Reading::Failed { stream, why, failures }, trouble)
}

/// When Plaid last read the bank, and last failed to, as the Item's own record says.
fn bank_times(snapshot: &Snapshot) -> Option<(Option<Timestamp>, Option<Timestamp>)> {
    if snapshot.stream != Stream::Item {
        return None;
    }
    let record: serde_json::Value = serde_json::from_str(&snapshot.records.first()?.body).ok()?;
    let instant = |name: &str| record[name].as_str().and_then(|text| text.parse().ok());
    Some((instant("transactions_updated_at"), instant("transactions_failed_at")))
}

/// When to look again without being asked. Looking shares the client's limit among all Items.
fn next_due(item: &Item, history: History, ambient: &Ambient, rules: &Rules) -> Timestamp {
    let now = ambient.now();
    let age = now.duration_since(item.created_at);
    let pause = match history {
        History::Complete => rules.poll_every,
        _ if age < SLOW_AFTER => LOADING.min(rules.poll_every),
        _ => LOADING_LONG.min(rules.poll_every),
    };
    let pause = pause.max(fair_share(rules));
    now.saturating_add(pause + jitter(pause, ambient)).unwrap_or(now)
}

/// The shortest distance of looks at which all Items together keep to their share of the limit.
fn fair_share(rules: &Rules) -> SignedDuration {
    let allowed = i64::from(syncs_a_minute(rules.environment));
    let a_minute = (allowed * POLLING_SHARE_PERCENT / 100).max(1);
    // Rounded up: a pause too short by anything is a share too large.
    let millis = rules.polled_items.saturating_mul(MILLIS_A_MINUTE).saturating_add(a_minute - 1);
    SignedDuration::from_millis(millis / a_minute)
}

#[cfg(test)]
mod tests {
    use model::Environment;

    use super::*;

    #[test]
    fn looking_keeps_to_its_share_of_the_clients_limit() {
        let rules = |polled_items| Rules {
            streams: Vec::new(),
            environment: Environment::Production,
            poll_every: SignedDuration::from_secs(1),
            polled_items,
            oldest_balance: None,
        };
        let share = i64::from(syncs_a_minute(Environment::Production)) / 5;
        for items in [1, 499, 501, 999, 1_001, 25_000] {
            let pause = i64::try_from(fair_share(&rules(items)).as_millis()).unwrap();
            assert!(items * MILLIS_A_MINUTE <= share * pause, "{items} Items, {pause} ms");
        }
        assert_eq!(fair_share(&rules(0)), SignedDuration::ZERO);
        assert_eq!(fair_share(&rules(25_000)), SignedDuration::from_mins(50));
    }
}
