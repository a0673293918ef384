//! The hidden truth of an item: every economic event with its whole life, kept apart from what
//! the API shows, so that a test can compare the two.

use jiff::civil::Date;
use rust_decimal::{Decimal, RoundingStrategy};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::draw;

/// What an event is about; the descriptor is what the bank prints.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Description {
    /// The bank's text.
    pub(crate) name: String,
    /// The merchant, if any.
    pub(crate) merchant: Option<String>,
    pub(crate) website: Option<String>,
    /// Detailed category of Plaid's taxonomy, version 2.
    pub(crate) category: String,
    /// Plaid's word for how sure its category is.
    pub(crate) confidence: String,
    /// `online`, `in store` or `other`.
    pub(crate) channel: String,
    /// `place`, `special` or `digital`.
    pub(crate) transaction_type: String,
    pub(crate) store_number: Option<String>,
    pub(crate) entity_id: Option<String>,
    /// Name of the rhythm it belongs to, such as `salary`; ledger only.
    pub(crate) stream: Option<String>,
    /// The other half, when money moves between own accounts; ledger only.
    pub(crate) transfer: Option<String>,
    /// The event that this one repeats by mistake; ledger only.
    #[serde(default)]
    pub(crate) duplicate_of: Option<String>,
}

/// What is going to happen: made by `people`, before any of it is visible.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Stable name of the event within its item.
    pub(crate) label: String,
    /// Index of the account within its item.
    pub(crate) account: usize,
    /// The day the person acts.
    pub(crate) occurs_on: Date,
    /// The day the bank books it; equal to `occurs_on` where there is no pending stage.
    pub(crate) posts_on: Date,
    /// The day a hold expires without ever posting.
    pub(crate) vanishes_on: Option<Date>,
    /// Amount while pending; differs where a tip is added.
    pub(crate) pending_amount: Decimal,
    /// Amount when posted, Plaid's sign: positive leaves the account.
    pub(crate) amount: Decimal,
    pub(crate) currency: String,
    pub(crate) description: Description,
}

/// Where an event stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Planned,
    Pending,
    Posted,
    Removed,
}

/// A plan and how far it has come.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) plan: Plan,
    pub(crate) state: State,
    /// Plaid's id as of now; empty while planned.
    pub(crate) transaction_id: String,
    /// Plaid's id while it was pending, if it was ever shown pending.
    pub(crate) pending_transaction_id: Option<String>,
    /// It went because its account is not shared any more.
    withdrawn: bool,
}

/// What happened to an event, for `rows` to show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// A row with this id appears.
    Appears { event: usize, transaction_id: String },
    /// The row with this id goes.
    Goes { transaction_id: String },
    /// The row with this id has new content.
    Changes { transaction_id: String },
}

/// The events of one item.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ledger {
    events: Vec<Event>,
}

impl Event {
    pub(crate) fn is_pending(&self) -> bool {
        self.state == State::Pending
    }

    /// The amount that holds now.
    pub(crate) fn amount(&self) -> Decimal {
        if self.is_pending() { self.plan.pending_amount } else { self.plan.amount }
    }

    /// The date that holds now: occurrence while pending, posting afterwards.
    pub(crate) fn date(&self) -> Date {
        if self.is_pending() { self.plan.occurs_on } else { self.plan.posts_on }
    }
}

impl Ledger {
    pub(crate) fn events(&self) -> &[Event] {
        &self.events
    }

    pub(crate) fn add(&mut self, plans: impl IntoIterator<Item = Plan>) {
        self.events.extend(plans.into_iter().map(|plan| Event {
            plan,
            state: State::Planned,
            transaction_id: String::new(),
            pending_transaction_id: None,
            withdrawn: false,
        }));
    }

    /// Adds a posted event that is shown at once, however old it is.
    pub(crate) fn insert(&mut self, namer: &Namer, plan: Plan) -> Step {
        self.add([plan]);
        self.appear(self.events.len() - 1, namer, false)
    }

    /// Brings every event from `since` on to where it stands at the end of `today`.
    pub(crate) fn settle(
        &mut self,
        namer: &Namer,
        since: Date,
        today: Date,
        shown: impl Fn(usize) -> bool,
    ) -> Vec<Step> {
        let mut steps = Vec::new();
        for index in 0..self.events.len() {
            let event = &self.events[index];
            if !shown(event.plan.account) {
                continue;
            }
            let due = event.plan.posts_on <= today;
            match event.state {
                State::Planned if event.plan.occurs_on > today || event.plan.posts_on < since => {}
                // A hold that came and went before anybody looked was never shown.
                State::Planned if event.plan.vanishes_on.is_some_and(|day| day <= today) => {}
                State::Planned => {
                    let pending = !due || event.plan.vanishes_on.is_some();
                    steps.push(self.appear(index, namer, pending));
                }
                State::Pending => match event.plan.vanishes_on {
                    Some(day) if day <= today => steps.push(self.vanish(index)),
                    None if due => steps.extend(self.post(index, namer)),
                    _ => {}
                },
                State::Posted | State::Removed => {}
            }
        }
        steps
    }

    /// Posts every pending event ahead of its time, as a refresh at a test bank does.
    pub(crate) fn post_pending(&mut self, namer: &Namer, today: Date) -> Vec<Step> {
        let mut steps = Vec::new();
        for index in 0..self.events.len() {
            if self.events[index].is_pending() && self.events[index].plan.vanishes_on.is_none() {
                self.events[index].plan.posts_on = today;
                steps.extend(self.post(index, namer));
            }
        }
        steps
    }

    /// Takes away every live event of the accounts that are not shared, and plans those of shared
    /// accounts again that were taken away so. What comes back has new ids, as at a real bank.
    pub(crate) fn share(&mut self, shared: impl Fn(usize) -> bool) -> Vec<Step> {
        let mut steps = Vec::new();
        for index in 0..self.events.len() {
            let event = &mut self.events[index];
            let shared = shared(event.plan.account);
            if !shared && matches!(event.state, State::Pending | State::Posted) {
                event.withdrawn = true;
                steps.push(self.vanish(index));
            } else if shared && std::mem::take(&mut event.withdrawn) {
                event.state = State::Planned;
                event.pending_transaction_id = None;
                event.plan.label.push_str("/again");
            }
        }
        steps
    }

    /// Raises the amount of a posted event.
    pub(crate) fn raise(&mut self, index: usize, by: Decimal) -> Option<Step> {
        let event = self.events.get_mut(index).filter(|event| event.state == State::Posted)?;
        event.plan.amount += by;
        Some(Step::Changes { transaction_id: event.transaction_id.clone() })
    }

    fn appear(&mut self, index: usize, namer: &Namer, pending: bool) -> Step {
        let event = &mut self.events[index];
        let (state, stage) =
            if pending { (State::Pending, "pending") } else { (State::Posted, "posted") };
        event.state = state;
        event.transaction_id = namer.transaction(&event.plan.label, stage);
        Step::Appears { event: index, transaction_id: event.transaction_id.clone() }
    }

    fn vanish(&mut self, index: usize) -> Step {
        let event = &mut self.events[index];
        event.state = State::Removed;
        Step::Goes { transaction_id: event.transaction_id.clone() }
    }

    /// The pending row goes and the posted one appears; which comes first is the bank's whim.
    fn post(&mut self, index: usize, namer: &Namer) -> [Step; 2] {
        let event = &mut self.events[index];
        let pending_id = std::mem::take(&mut event.transaction_id);
        event.transaction_id = namer.transaction(&event.plan.label, "posted");
        event.pending_transaction_id = Some(pending_id.clone());
        event.state = State::Posted;
        let goes = Step::Goes { transaction_id: pending_id };
        let appears = Step::Appears { event: index, transaction_id: event.transaction_id.clone() };
        if namer.whim(&event.plan.label) { [goes, appears] } else { [appears, goes] }
    }

    /// One NDJSON line of `GET /_emulator/ledger`.
    pub(crate) fn line(&self, namer: &Namer, event: &Event, account_id: &str) -> Value {
        let plan = &event.plan;
        let state = match event.state {
            State::Planned => "planned",
            State::Pending => "pending",
            State::Posted => "posted",
            State::Removed => "removed",
        };
        json!({
            "event_id": plan.label,
            "item_id": namer.item_id,
            "account_id": account_id,
            "transaction_id": event.transaction_id,
            "pending_transaction_id": event.pending_transaction_id,
            "state": state,
            "amount_minor": minor_units(event.amount(), &plan.currency),
            "currency": plan.currency,
            "date": event.date().to_string(),
            "name": plan.description.name,
            "truth": {
                "merchant": plan.description.merchant,
                "category": plan.description.category,
                "stream": plan.description.stream,
                "transfer": plan.description.transfer,
                "duplicate_of": plan.description.duplicate_of,
                "occurs_on": plan.occurs_on.to_string(),
                "posts_on": plan.posts_on.to_string(),
                "vanishes_on": plan.vanishes_on.map(|day| day.to_string()),
            },
        })
    }
}

/// Gives ids to the transactions of one item.
#[derive(Debug, Clone)]
pub(crate) struct Namer {
    pub(crate) seed: u64,
    pub(crate) item_id: String,
}

impl Namer {
    fn transaction(&self, label: &str, stage: &str) -> String {
        draw::plaid_id(self.seed, &format!("transaction/{}/{label}/{stage}", self.item_id))
    }

    fn whim(&self, label: &str) -> bool {
        draw::Draw::new(self.seed, &format!("order/{}/{label}", self.item_id)).chance(50)
    }
}

/// Minor units, rounded half away from zero; eight places for currencies outside ISO 4217.
fn minor_units(amount: Decimal, currency: &str) -> i64 {
    let exponent = match currency {
        "JPY" | "KRW" | "VND" | "CLP" | "ISK" | "XAF" | "XOF" | "XPF" | "PYG" | "UGX" | "RWF" => 0,
        "BHD" | "IQD" | "JOD" | "KWD" | "LYD" | "OMR" | "TND" => 3,
        code if code.len() == 3 && code.bytes().all(|byte| byte.is_ascii_uppercase()) => 2,
        _ => 8,
    };
    let rounded = amount.round_dp_with_strategy(exponent, RoundingStrategy::MidpointAwayFromZero);
    let units = rounded * Decimal::from(10_i64.pow(exponent));
    i64::try_from(units).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minor_units_round_half_away_from_zero() {
        let minor = |text: &str, currency| minor_units(text.parse().unwrap(), currency);
        assert_eq!(minor("0.005", "USD"), 1);
        assert_eq!(minor("-0.005", "USD"), -1);
        assert_eq!(minor("500", "JPY"), 500);
        assert_eq!(minor("1.5", "DOGECOIN"), 150_000_000);
    }
}
