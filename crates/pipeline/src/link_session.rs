//! Looks after a visit of an end user to Link: sees that it finished, even when no webhook says so,
//! and makes Items of the public tokens it brought. The intent to exchange is durable before Plaid is
//! asked: an answer that is lost is told within a minute, never silently.

use jiff::{SignedDuration, Timestamp};
use plaid::{Client, Reaction};
use secrecy::{ExposeSecret, SecretString};
use store::{
    AccountTraits, Lease, LinkOutcome, LinkSecrets, LinkSession, NewLink, Store, VisitEnded,
};

use crate::retry::soon;
use crate::step::Failure;

/// How often an open visit is looked at without a webhook: closely while the end user is likely
/// to be there.
const LOOK: SignedDuration = SignedDuration::from_secs(20);
const LOOK_LATER: SignedDuration = SignedDuration::from_mins(5);
const CLOSELY_FOR: SignedDuration = SignedDuration::from_mins(30);
/// Plaid keeps what a visit brought for about six hours after the page has expired.
const KEPT_AFTER_EXPIRY: SignedDuration = SignedDuration::from_hours(6);
/// A failed look or exchange is tried again at least this often: a public token lives 30 minutes, and
/// an answer that was lost is to be told within a minute.
const LONGEST_PAUSE: SignedDuration = SignedDuration::from_secs(30);

const ORPHANED: &str = "An answer of Plaid's was lost, and now it no longer takes the public token: the \
    access token cannot be asked for again. Ask the end user to link the bank again.";

/// A visit whose turn it is, with what looking after it takes.
pub(crate) struct Visit<'a> {
    pub(crate) store: &'a Store,
    pub(crate) client: &'a Client,
    pub(crate) lease: &'a Lease,
    pub(crate) session: &'a LinkSession,
    pub(crate) secrets: &'a LinkSecrets,
}

impl Visit<'_> {
    /// Does what is due for a visit.
    pub(crate) async fn look_after(&self) -> Result<(), Failure> {
        match self.session.state.as_str() {
            "open" => self.look().await,
            "finished" if self.session.item.is_some() && self.secrets.public_tokens.is_empty() => {
                self.end("repaired", None).await
            }
            "finished" => self.exchange_next().await,
            "abandoned" => self.end("abandoned", None).await,
            _ => Ok(self.store.finish(self.lease, Timestamp::MAX).await?),
        }
    }

    /// Asks Plaid what became of an open visit.
    async fn look(&self) -> Result<(), Failure> {
        let now = self.store.ambient().now();
        let over = self.session.expires_at.saturating_add(KEPT_AFTER_EXPIRY).unwrap_or(now);
        let state = match self.client.link_token_get(self.secrets.link_token.expose_secret()).await
        {
            Ok(state) => state,
            Err(error) if now >= over || error.code() == Some("INVALID_LINK_TOKEN") => {
                let why = Some("Plaid no longer knows the page.");
                return self.end("expired", why).await;
            }
            Err(error) => return Err(error.into()),
        };
        let finished = state.link_sessions.iter().rev().find(|visit| visit.finished_at.is_some());
        let Some(visit) = finished else {
            if now >= over {
                return self.end("expired", None).await;
            }
            let age = now.duration_since(self.session.created_at);
            let pause = if age < CLOSELY_FOR { LOOK } else { LOOK_LATER };
            let next = now.saturating_add(pause).unwrap_or(now);
            return Ok(self.store.finish(self.lease, next).await?);
        };
        let results = visit.results.iter().flat_map(|results| &results.item_add_results);
        let mut public_tokens: Vec<String> =
            results.map(|result| result.public_token.clone()).collect();
        let older = visit.on_success.as_ref().and_then(|success| success.public_token.clone());
        public_tokens.extend(older.filter(|token| !token.is_empty()));
        public_tokens.sort();
        public_tokens.dedup();
        let succeeded =
            visit.exit.is_none() && (visit.on_success.is_some() || visit.results.is_some());
        let link_token = self.secrets.link_token.expose_secret().to_owned();
        self.store.end_visit(&VisitEnded { link_token, public_tokens, succeeded }).await?;
        Ok(self.store.finish(self.lease, Timestamp::MAX).await?)
    }

    /// Exchanges the first public token that is left; the others follow, one by one.
    async fn exchange_next(&self) -> Result<(), Failure> {
        let Some(public_token) = self.secrets.public_tokens.first() else {
            let why = "Plaid says the visit succeeded, but it brought no new Item.";
            return self.end("failed", Some(why)).await;
        };
        // Of several Items of one visit none may cost another: they are marked after their first sync.
        if !self.session.exchanging
            && self.secrets.public_tokens.len() == 1
            && let Some(item_id) = self.duplicate().await?
        {
            let why = format!(
                "The end user has linked these accounts before, as Item {item_id}. Nothing was \
                 exchanged; send them a repair link of that Item instead."
            );
            return self.end("duplicate", Some(&why)).await;
        }
        let was_exchanging = self.session.exchanging && !trial::has_bug("intent_not_kept");
        let exchange = self.store.begin_exchange(self.session, self.secrets).await?;
        trial::crash_point("exchange.intended");
        let made = match self.client.exchange(public_token.expose_secret()).await {
            Ok(made) => made,
            Err(error) if error.code() == Some("INVALID_PUBLIC_TOKEN") => {
                let (state, why) = if was_exchanging {
                    ("orphaned", ORPHANED.to_owned())
                } else {
                    ("failed", error.to_string())
                };
                return self.end(state, Some(&why)).await;
            }
            // An answer that was lost may have spent the token; the next try tells.
            Err(error) => return Err(error.into()),
        };
        trial::crash_point("exchange.answered");
        let access_token = SecretString::from(made.access_token);
        let mut new = NewLink::new(
            self.session.integration_id.clone(),
            &made.item_id,
            access_token.clone(),
            &self.session.end_user_id,
        );
        new.exchange = Some(exchange);
        describe(self.client, access_token, &mut new).await;
        if !matches!(
            self.store.link(new).await?,
            LinkOutcome::Created(_) | LinkOutcome::Replaced(_)
        ) {
            let why = format!("The Item {} is linked to somebody else.", made.item_id);
            return self.end("failed", Some(&why)).await;
        }
        // More tokens of the same visit are exchanged in turn.
        let again = self.store.ambient().now();
        let next = if self.secrets.public_tokens.len() > 1 { again } else { Timestamp::MAX };
        Ok(self.store.finish(self.lease, next).await?)
    }

    /// Ends the visit, and with it the work.
    async fn end(&self, state: &'static str, why: Option<&str>) -> Result<(), Failure> {
        Ok(self.store.end_link_session(self.lease, self.session, state, why).await?)
    }

    /// Plaid's id of a live Item of the same end user that has an account of this visit, found before
    /// anything is exchanged.
    async fn duplicate(&self) -> Result<Option<String>, Failure> {
        let state = match self.client.link_token_get(self.secrets.link_token.expose_secret()).await
        {
            Ok(state) => state,
            // Without an answer the exchange goes on; a duplicate is still marked after the first sync.
            Err(error) if error.reaction() != Reaction::Retry => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let results = state.link_sessions.iter().filter_map(|visit| visit.results.as_ref());
        let token = self.secrets.public_tokens.first().map(ExposeSecret::expose_secret);
        let results = results.flat_map(|results| &results.item_add_results);
        for result in results.filter(|result| Some(result.public_token.as_str()) == token) {
            let Some(institution_id) = result.institution_id() else { continue };
            let traits: Vec<AccountTraits> = result
                .accounts
                .iter()
                .map(|account| AccountTraits {
                    persistent_account_id: account.persistent_account_id.clone(),
                    mask: account.mask.clone(),
                    name: account.name.clone().unwrap_or_default(),
                    subtype: account.subtype.clone(),
                })
                .collect();
            let found = self
                .store
                .find_duplicate(
                    self.session.integration_id.as_str(),
                    &self.session.end_user_id,
                    institution_id,
                    &traits,
                )
                .await?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }
}

/// The institution of a new Item; without an answer the sync learns it later.
async fn describe(client: &Client, access_token: SecretString, new: &mut NewLink) {
    let token = plaid::AccessToken::stored(access_token);
    let Ok(item) = client.item_get(&token).await else { return };
    new.institution_name = client.institution_name(&item).await;
    new.institution_id = item.institution_id;
}

/// When to try again after a failure.
pub(crate) fn again(lease: &Lease, store: &Store) -> Timestamp {
    let now = store.ambient().now();
    let longest = now.saturating_add(LONGEST_PAUSE).unwrap_or(now);
    soon(lease.attempts, store.ambient()).min(longest)
}
