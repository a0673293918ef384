//! The life of an Item as one state machine: a pure function from what is known and what happened to
//! what is known next. Webhooks, errors of Plaid's, syncs and people all speak through it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Stream;

/// The state of an Item, in the words shown to people. An open set: values are only ever added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ItemStatus {
    /// Linked; the first sync has not finished.
    Waiting,
    /// It works again; the sync that closes the gap has not finished.
    CatchingUp,
    /// The last sync succeeded.
    Healthy,
    /// Healthy, and the bank has accounts that were not shared.
    NewAccountsAvailable,
    /// Healthy but for an account whose consent the end user withdrew at the bank.
    AccountRevoked,
    /// Healthy, and the consent ends soon.
    Expiring,
    /// Healthy, and the connection ends soon.
    PendingDisconnect,
    /// The last sync failed for a reason that passes by itself; it is retried.
    Erroring,
    /// The bank asks the end user to sign in again.
    LoginRequired,
    /// The end user withdrew consent, or the Item is gone at Plaid: it must be linked anew.
    Revoked,
    /// Switched off by a person; nothing is asked of Plaid.
    Disabled,
    /// Removal was asked for and waits for Plaid's confirmation.
    Removing,
    /// Removed at Plaid; its data was kept by choice.
    Removed,
}

const STATUSES: [(ItemStatus, &str, Option<&str>); 13] = [
    (ItemStatus::Waiting, "waiting", None),
    (ItemStatus::CatchingUp, "catching_up", None),
    (ItemStatus::Healthy, "healthy", None),
    (
        ItemStatus::NewAccountsAvailable,
        "new_accounts_available",
        Some(
            "Offer the end user to share the new accounts: open a repair link (it lets them choose accounts).",
        ),
    ),
    (
        ItemStatus::AccountRevoked,
        "account_revoked",
        Some(
            "The end user withdrew an account at the bank. Delete that account's data if your agreement says so; a repair link lets them share it again.",
        ),
    ),
    (
        ItemStatus::Expiring,
        "expiring",
        Some("Send the end user a repair link before the consent ends; afterwards syncs stop."),
    ),
    (
        ItemStatus::PendingDisconnect,
        "pending_disconnect",
        Some("Send the end user a repair link before the connection ends; afterwards syncs stop."),
    ),
    (
        ItemStatus::Erroring,
        "erroring",
        Some("Nothing: it is tried again by itself; the reason is shown here."),
    ),
    (
        ItemStatus::LoginRequired,
        "login_required",
        Some(
            "Send the end user a repair link: they sign in again, and the sync closes the gap by itself.",
        ),
    ),
    (
        ItemStatus::Revoked,
        "revoked",
        Some(
            "The end user has to link the bank anew. Remove this Item once they have, or at once with its data if consent was withdrawn.",
        ),
    ),
    (ItemStatus::Disabled, "disabled", Some("Enable it to go on.")),
    (ItemStatus::Removing, "removing", None),
    (ItemStatus::Removed, "removed", None),
];

impl ItemStatus {
    /// Every status.
    pub fn all() -> impl Iterator<Item = Self> {
        STATUSES.iter().map(|(status, ..)| *status)
    }

    /// The name as stored and served.
    pub fn as_str(self) -> &'static str {
        STATUSES[self as usize].1
    }

    /// What the customer must do, if anything.
    pub fn what_to_do(self) -> Option<&'static str> {
        STATUSES[self as usize].2
    }

    /// The status stored under this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::all().find(|status| status.as_str() == name)
    }

    /// Whether Plaid is still asked about this Item.
    pub fn is_live(self) -> bool {
        !matches!(self, Self::Removing | Self::Removed | Self::Revoked | Self::Disabled)
    }

    /// Whether a repair link helps.
    pub fn needs_repair(self) -> bool {
        matches!(
            self,
            Self::LoginRequired
                | Self::Expiring
                | Self::PendingDisconnect
                | Self::NewAccountsAvailable
                | Self::AccountRevoked
        )
    }
}

/// Where an Item stands, notices aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the statuses of the same names say it")]
pub enum Standing {
    Waiting,
    CatchingUp,
    Healthy,
    Erroring,
    LoginRequired,
    Revoked,
    Disabled,
    Removing,
    Removed,
}

/// Why an Item will stop working.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// The connection moves or its token ends (US, Canada).
    Disconnect,
    /// The consent ends (Europe).
    Expiration,
}

/// All that is known about the life of an Item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemLife {
    /// Where it stands.
    pub standing: Standing,
    /// The bank has accounts that were not shared.
    #[serde(default)]
    pub new_accounts: bool,
    /// An account was withdrawn at the bank.
    #[serde(default)]
    pub account_revoked: bool,
    /// It ends soon, and why.
    #[serde(default)]
    pub ending: Option<Ending>,
    /// When, if Plaid said so.
    #[serde(default)]
    pub ends_at: Option<Timestamp>,
}

/// Why Plaid could not be read, as far as an Item's life is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trouble {
    /// It passes by itself, or a setting of the caller's is wrong.
    Passing,
    /// The end user must sign in again.
    Login,
    /// The Item is gone, or consent to it is.
    Gone,
}

/// What can happen to an Item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum ItemEvent {
    /// It was linked, again or with another token.
    Linked,
    /// A sync reached Plaid's cursor.
    Synced,
    /// A sync or a webhook told of trouble.
    Troubled {
        /// Which.
        trouble: Trouble,
    },
    /// Plaid says that the login works again.
    LoginRepaired,
    /// The end user went through update mode.
    Updated,
    /// The bank has accounts that were not shared.
    NewAccounts,
    /// It ends soon.
    EndsSoon {
        /// Why.
        ending: Ending,
        /// When, if Plaid said so.
        at: Option<Timestamp>,
    },
    /// The end user withdrew one account at the bank.
    AccountRevoked {
        /// Plaid's account id.
        account_id: String,
    },
    /// A person switched it off.
    Disabled,
    /// A person switched it on.
    Enabled,
    /// Its removal was asked for.
    RemovalBegun,
    /// Plaid confirmed its removal.
    RemovalConfirmed,
}

/// What a webhook means for an Item: something happened to it, streams have news, or both.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct News {
    /// What happened to it.
    #[serde(default)]
    pub event: Option<ItemEvent>,
    /// Plaid's words about it.
    #[serde(default)]
    pub detail: Option<String>,
    /// Streams that Plaid has something new of.
    #[serde(default)]
    pub streams: Vec<Stream>,
}

impl ItemLife {
    /// A new Item.
    pub const NEW: Self = Self {
        standing: Standing::Waiting,
        new_accounts: false,
        account_revoked: false,
        ending: None,
        ends_at: None,
    };

    /// The life after something happened.
    #[must_use]
    pub fn after(mut self, event: &ItemEvent) -> Self {
        self.standing = self.standing_after(event);
        match event {
            ItemEvent::Linked | ItemEvent::Updated => {
                self = Self { standing: self.standing, ..Self::NEW };
            }
            ItemEvent::LoginRepaired => (self.ending, self.ends_at) = (None, None),
            ItemEvent::NewAccounts => self.new_accounts = true,
            ItemEvent::AccountRevoked { .. } => self.account_revoked = true,
            ItemEvent::EndsSoon { ending, at } => {
                (self.ending, self.ends_at) = (Some(*ending), *at);
            }
            _ => {}
        }
        self
    }

    #[expect(clippy::match_same_arms, reason = "a table of rules, read from top to bottom")]
    fn standing_after(self, event: &ItemEvent) -> Standing {
        use Standing as S;
        match (self.standing, event) {
            (_, ItemEvent::RemovalConfirmed) => S::Removed,
            // Nothing but a new link brings back what ended.
            (S::Healthy, ItemEvent::Linked) => S::Healthy,
            (S::Waiting, ItemEvent::Linked) => S::Waiting,
            (_, ItemEvent::Linked) => S::CatchingUp,
            (S::Removed, _) => S::Removed,
            (_, ItemEvent::RemovalBegun) => S::Removing,
            (S::Removing, _) => S::Removing,
            (S::Disabled, ItemEvent::Enabled) => S::CatchingUp,
            (S::Disabled, ItemEvent::Troubled { trouble: Trouble::Gone }) => S::Revoked,
            (S::Disabled, _) => S::Disabled,
            (S::Revoked, _) => S::Revoked,
            (_, ItemEvent::Disabled) => S::Disabled,
            (_, ItemEvent::Synced) => S::Healthy,
            (_, ItemEvent::Troubled { trouble: Trouble::Gone }) => S::Revoked,
            (_, ItemEvent::Troubled { trouble: Trouble::Login }) => S::LoginRequired,
            // A passing trouble neither heals a login nor is news while one is broken.
            (S::LoginRequired, ItemEvent::Troubled { .. }) => S::LoginRequired,
            (_, ItemEvent::Troubled { trouble: Trouble::Passing }) => S::Erroring,
            (S::LoginRequired | S::Erroring, ItemEvent::LoginRepaired | ItemEvent::Updated) => {
                S::CatchingUp
            }
            (standing, _) => standing,
        }
    }

    /// The state shown to people: the most pressing of what is known.
    pub fn status(self) -> ItemStatus {
        match self.standing {
            Standing::Waiting => ItemStatus::Waiting,
            Standing::CatchingUp => ItemStatus::CatchingUp,
            Standing::Erroring => ItemStatus::Erroring,
            Standing::LoginRequired => ItemStatus::LoginRequired,
            Standing::Revoked => ItemStatus::Revoked,
            Standing::Disabled => ItemStatus::Disabled,
            Standing::Removing => ItemStatus::Removing,
            Standing::Removed => ItemStatus::Removed,
            Standing::Healthy => match self.ending {
                Some(Ending::Disconnect) => ItemStatus::PendingDisconnect,
                Some(Ending::Expiration) => ItemStatus::Expiring,
                None if self.account_revoked => ItemStatus::AccountRevoked,
                None if self.new_accounts => ItemStatus::NewAccountsAvailable,
                None => ItemStatus::Healthy,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGIN: ItemEvent = ItemEvent::Troubled { trouble: Trouble::Login };
    const GONE: ItemEvent = ItemEvent::Troubled { trouble: Trouble::Gone };
    const PASSING: ItemEvent = ItemEvent::Troubled { trouble: Trouble::Passing };

    fn status(events: &[ItemEvent]) -> ItemStatus {
        events.iter().fold(ItemLife::NEW, ItemLife::after).status()
    }

    #[test]
    fn a_broken_login_heals_from_any_source() {
        let synced = ItemEvent::Synced;
        assert_eq!(status(&[synced.clone(), LOGIN, PASSING]), ItemStatus::LoginRequired);
        for heal in [ItemEvent::LoginRepaired, ItemEvent::Updated, ItemEvent::Linked] {
            let events = [synced.clone(), LOGIN, heal, synced.clone()];
            assert_eq!(status(&events[..3]), ItemStatus::CatchingUp);
            assert_eq!(status(&events), ItemStatus::Healthy);
        }
        assert_eq!(status(&[LOGIN, synced]), ItemStatus::Healthy, "a sync that works is proof");
    }

    #[test]
    fn notices_outlive_syncs_and_end_with_update_mode() {
        let at = Some(Timestamp::UNIX_EPOCH);
        let ends = ItemEvent::EndsSoon { ending: Ending::Disconnect, at };
        let events = [ItemEvent::NewAccounts, ends, ItemEvent::Synced, LOGIN, ItemEvent::Synced];
        assert_eq!(status(&events), ItemStatus::PendingDisconnect);
        let mut healed = events.to_vec();
        healed.push(ItemEvent::LoginRepaired);
        assert_eq!(status(&healed), ItemStatus::NewAccountsAvailable);
        healed.push(ItemEvent::Updated);
        assert_eq!(status(&healed), ItemStatus::Healthy);
    }

    #[test]
    fn what_ended_stays_ended_until_it_is_linked_anew() {
        for ended in [GONE, ItemEvent::RemovalBegun, ItemEvent::RemovalConfirmed] {
            let before = ItemLife::NEW.after(&ended);
            for event in [ItemEvent::Synced, ItemEvent::LoginRepaired, LOGIN, ItemEvent::Enabled] {
                assert_eq!(before.after(&event).standing, before.standing, "{event:?}");
            }
            assert!(before.after(&ItemEvent::Linked).status().is_live());
        }
    }

    #[test]
    fn the_table_stands_in_the_order_of_the_enum() {
        for (place, (status, name, _)) in STATUSES.iter().enumerate() {
            assert_eq!((*status as usize, ItemStatus::from_name(name)), (place, Some(*status)));
        }
    }

    /// The same life told as facts that are true or not, and a precedence among them.
    #[derive(Default)]
    struct Facts {
        removed: bool,
        removing: bool,
        gone: bool,
        disabled: bool,
        login_broken: bool,
        failing: bool,
        catching_up: bool,
        synced: bool,
    }

    impl Facts {
        fn learn(&mut self, event: &ItemEvent) {
            let ended = self.removed || self.removing || self.gone;
            let asleep = ended || self.disabled;
            match event {
                ItemEvent::RemovalConfirmed => self.removed = true,
                ItemEvent::RemovalBegun => self.removing |= !self.removed,
                ItemEvent::Linked => {
                    let untouched = !asleep && !self.login_broken && !self.failing;
                    let untouched = untouched && !self.catching_up;
                    *self = Self {
                        synced: self.synced && untouched,
                        catching_up: !untouched,
                        ..Self::default()
                    };
                }
                ItemEvent::Troubled { trouble: Trouble::Gone } => {
                    self.gone |= !self.removed && !self.removing;
                    self.disabled &= !self.gone;
                }
                ItemEvent::Enabled if self.disabled && !ended => {
                    *self = Self { catching_up: true, ..Self::default() };
                }
                ItemEvent::Disabled if !ended => self.disabled = true,
                _ if asleep => {}
                ItemEvent::Synced => *self = Self { synced: true, ..Self::default() },
                ItemEvent::Troubled { trouble: Trouble::Login } => self.login_broken = true,
                ItemEvent::Troubled { .. } => self.failing |= !self.login_broken,
                ItemEvent::LoginRepaired | ItemEvent::Updated
                    if self.login_broken || self.failing =>
                {
                    *self = Self { catching_up: true, ..Self::default() };
                }
                _ => {}
            }
        }

        fn standing(&self) -> Standing {
            [
                (self.removed, Standing::Removed),
                (self.removing, Standing::Removing),
                (self.gone, Standing::Revoked),
                (self.disabled, Standing::Disabled),
                (self.login_broken, Standing::LoginRequired),
                (self.failing, Standing::Erroring),
                (self.catching_up, Standing::CatchingUp),
                (self.synced, Standing::Healthy),
            ]
            .into_iter()
            .find(|(holds, _)| *holds)
            .map_or(Standing::Waiting, |(_, standing)| standing)
        }
    }

    #[test]
    fn ten_thousand_random_walks_agree_with_the_facts() {
        let events = [
            ItemEvent::Linked,
            ItemEvent::Synced,
            ItemEvent::Synced,
            LOGIN,
            GONE,
            PASSING,
            PASSING,
            ItemEvent::LoginRepaired,
            ItemEvent::Updated,
            ItemEvent::NewAccounts,
            ItemEvent::AccountRevoked { account_id: "a".into() },
            ItemEvent::EndsSoon { ending: Ending::Expiration, at: None },
            ItemEvent::Disabled,
            ItemEvent::Enabled,
            ItemEvent::RemovalBegun,
            ItemEvent::RemovalConfirmed,
        ];
        let mut chance: u64 = 5;
        let mut edges = std::collections::HashSet::new();
        for walk in 0..10_000 {
            let (mut life, mut facts) = (ItemLife::NEW, Facts::default());
            for step in 0..20 {
                chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(99);
                let place = usize::try_from((chance >> 33) % 16).expect("small");
                let event = &events[place];
                edges.insert((life.standing, place));
                life = life.after(event);
                facts.learn(event);
                let told = (walk, step, event);
                assert_eq!(life.standing, facts.standing(), "{told:?}");
            }
        }
        assert_eq!(edges.len(), 9 * events.len(), "every edge of the machine was walked");
    }
}
