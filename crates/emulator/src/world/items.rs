//! What becomes of single Items: made, exchanged, broken, repaired, withdrawn.

use jiff::Timestamp;
use serde_json::json;

use super::{Notice, Outcome, World};
use crate::book::{Happening, Stage};
use crate::draw;
use crate::error::PlaidError;
use crate::institutions::Relink;
use crate::item::{self, Account, Item, NewItem, Standing, day};
use crate::people::AccountPlan;

/// Minutes for which a public token can be exchanged.
const PUBLIC_TOKEN_MINUTES: i64 = 30;

impl World {
    pub(super) fn create_item(
        &mut self,
        at: Timestamp,
        new: &NewItem,
    ) -> Result<Outcome, PlaidError> {
        let number = self.next_item;
        self.create_item_as(at, number, new)
    }

    pub(super) fn create_item_as(
        &mut self,
        at: Timestamp,
        number: u64,
        new: &NewItem,
    ) -> Result<Outcome, PlaidError> {
        let access_token = draw::token(self.seed, "access", number);
        let mut item = Item::open(self.seed, number, access_token, new, at)?;
        let transactions = item.has("transactions");
        if transactions {
            item.start_transactions(None);
        }
        if new.accounts.is_some() {
            let share = Happening::Share(item.sharing());
            self.books.happen((number, &item.life, &mut item.log), day(at), share);
        }
        let notices = self.invalidate_older(at, &item, new);
        let public_token = draw::token(self.seed, "public", number);
        self.items.insert(number, item);
        self.public_tokens.insert(public_token.clone(), (number, at));
        self.next_item = self.next_item.max(number + 1);
        Ok(Outcome {
            token: Some(public_token),
            item: Some(number),
            load: transactions.then_some(number),
            notices,
        })
    }

    /// Some banks let a login be linked once: the older Item dies.
    fn invalidate_older(&mut self, at: Timestamp, item: &Item, new: &NewItem) -> Vec<Notice> {
        if item.institution.relink == Relink::Harmless {
            return Vec::new();
        }
        let kills = |older: &Item| match item.institution.relink {
            Relink::Harmless => false,
            Relink::Always => true,
            Relink::AccountsDiffer => older.sharing() != item.sharing(),
        };
        let dying =
            |(_, older): &(&u64, &Item)| older.is_healthy() && older.is_login(new) && kills(older);
        let dying: Vec<u64> = self.items.iter().filter(dying).map(|(number, _)| *number).collect();
        let mut notices = Vec::new();
        for number in dying {
            notices.extend(self.break_login(at, number));
        }
        notices
    }

    pub(super) fn populate(
        &mut self,
        at: Timestamp,
        items: u64,
        days: i64,
        usernames: &[String],
    ) -> Result<Outcome, PlaidError> {
        for turn in 0..items {
            let which = usize::try_from(turn).unwrap_or_default() % usernames.len().max(1);
            let new = NewItem {
                institution_id: "ins_109508".to_owned(),
                products: vec!["transactions".to_owned()],
                webhook: None,
                username: usernames.get(which).cloned().unwrap_or_default(),
                password: "pass_good".to_owned(),
                days_requested: Some(days),
                accounts: None,
                statements: None,
                user_id: None,
                consented: None,
            };
            let outcome = self.create_item(at, &new)?;
            self.exchange(at, &outcome.token.unwrap_or_default())?;
            // The history is only noted: books are written when somebody reads them.
            self.change(outcome.item.unwrap_or_default(), |item| {
                item.stage = Stage::Historical;
                item.last_update = Some(at);
                item.log.note(day(at), Happening::Load { stage: Stage::Historical, days });
            });
        }
        Ok(Outcome::default())
    }

    pub(super) fn exchange(
        &mut self,
        at: Timestamp,
        public_token: &str,
    ) -> Result<Outcome, PlaidError> {
        let alive = |made: &Timestamp| at.duration_since(*made).as_mins() < PUBLIC_TOKEN_MINUTES;
        let (number, _) =
            self.public_tokens.get(public_token).filter(|(_, made)| alive(made)).ok_or_else(
                || {
                    let why = "could not find matching public token";
                    PlaidError::invalid_input("INVALID_PUBLIC_TOKEN", why)
                },
            )?;
        if !self.items[number].is_live() {
            return Err(PlaidError::item_not_found());
        }
        let access_token = self.items[number].access_token.clone();
        self.by_token.insert(access_token.clone(), *number);
        Ok(Outcome { token: Some(access_token), item: Some(*number), ..Outcome::default() })
    }

    /// A new public token of an Item, as older applications use for update mode.
    pub(super) fn create_public_token(&mut self, at: Timestamp, number: u64) -> Outcome {
        self.next_token += 1;
        let token = draw::token(self.seed, "public", format!("{number}/{}", self.next_token));
        self.public_tokens.insert(token.clone(), (number, at));
        Outcome { token: Some(token), item: Some(number), ..Outcome::default() }
    }

    pub(super) fn rotate(&mut self, number: u64) -> Outcome {
        self.next_token += 1;
        let token = draw::token(self.seed, "access", format!("{number}/{}", self.next_token));
        if let Some(item) = self.items.get_mut(&number) {
            self.by_token.remove(&item.access_token);
            item.access_token.clone_from(&token);
            self.by_token.insert(token.clone(), number);
        }
        Outcome { token: Some(token), item: Some(number), ..Outcome::default() }
    }

    pub(super) fn break_login(&mut self, at: Timestamp, number: u64) -> Vec<Notice> {
        // What happened before is still shown.
        let mut notices = self.pass(at, number);
        self.change(number, |item| item.login_required = true);
        notices.extend(self.notify_login_required(number));
        notices
    }

    pub(super) fn notify_login_required(&self, number: u64) -> Vec<Notice> {
        let mut error = PlaidError::login_required().object();
        error["status"] = json!(400);
        self.notify(number, "ITEM", "ERROR", json!({ "error": error }))
    }

    pub(super) fn repair(
        &mut self,
        at: Timestamp,
        number: u64,
        chosen: Option<&[usize]>,
    ) -> Vec<Notice> {
        self.change(number, |item| {
            item.log_in(at);
            let Some(chosen) = chosen else { return };
            for (index, account) in item.accounts.iter_mut().enumerate() {
                account.standing = match (chosen.contains(&index), account.standing) {
                    (true, _) => Standing::Shared,
                    (false, Standing::Revoked) => Standing::Revoked,
                    (false, _) => Standing::Unshared,
                };
            }
        });
        let Some(item) = self.items.get(&number) else { return Vec::new() };
        // An account may have been withdrawn while the login was broken.
        let share = Happening::Share(item.sharing());
        self.happen(at, number, share)
    }

    pub(super) fn revoke_account(
        &mut self,
        at: Timestamp,
        number: u64,
        account: usize,
    ) -> Vec<Notice> {
        let Some(item) = self.items.get_mut(&number) else { return Vec::new() };
        let Some(account) = item.accounts.get_mut(account) else { return Vec::new() };
        account.standing = Standing::Revoked;
        let body = json!({ "account_id": account.account_id });
        let sharing = item.sharing();
        let mut notices = self.notify(number, "ITEM", "USER_ACCOUNT_REVOKED", body);
        notices.extend(self.happen(at, number, Happening::Share(sharing)));
        notices
    }

    /// The person opens an account at the bank, which they have not shared yet.
    pub(super) fn open_account(&mut self, at: Timestamp, number: u64) -> Vec<Notice> {
        let seed = self.seed;
        self.change(number, |item| {
            let index = item.accounts.len();
            item.accounts.push(Account {
                account_id: item::account_id(seed, number, index),
                plan: AccountPlan::late_savings(index, day(at)),
                standing: Standing::Unshared,
                verification_status: None,
            });
        });
        self.notify(number, "ITEM", "NEW_ACCOUNTS_AVAILABLE", json!({ "error": null }))
    }

    pub(super) fn verify(&mut self, number: u64, account: usize, status: &str) -> Vec<Notice> {
        let Some(item) = self.items.get_mut(&number) else { return Vec::new() };
        let Some(account) = item.accounts.get_mut(account) else { return Vec::new() };
        account.verification_status = Some(status.to_owned());
        let body = json!({ "account_id": account.account_id });
        let code = if status == "verification_expired" {
            "VERIFICATION_EXPIRED"
        } else {
            "AUTOMATICALLY_VERIFIED"
        };
        self.notify(number, "AUTH", code, body)
    }
}
