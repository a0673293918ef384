//! Users, link tokens, and the sessions in which people link their banks.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Notice, Outcome, User, World};
use crate::draw;
use crate::error::PlaidError;
use crate::institutions;
use crate::item::{Item, NewItem};
use crate::link::{Added, LinkStep, LinkToken, Request, Visitor};
use crate::people::Person;

impl World {
    pub(super) fn create_user(&mut self, client_user_id: &str) {
        let number = u64::try_from(self.users.len()).unwrap_or_default() + 1;
        let seed = self.seed;
        self.users.entry(client_user_id.to_owned()).or_insert_with(|| User {
            user_id: draw::user_id(seed, number),
            user_token: draw::token(seed, "user", number),
        });
    }

    /// The user of the caller's own id.
    pub(crate) fn user_named(&self, client_user_id: &str) -> Option<&User> {
        self.users.get(client_user_id)
    }

    pub(super) fn create_link_token(
        &mut self,
        at: Timestamp,
        request: &Value,
        update_of: Option<u64>,
    ) -> Outcome {
        let token = draw::token(self.seed, "link", self.next_token);
        self.next_token += 1;
        let named = ["user_id", "user_token"].iter().find_map(|field| request[*field].as_str());
        let user_id = named.and_then(|named| self.user(named)).map(|user| user.user_id.clone());
        let link = LinkToken::new(token.clone(), at, request.clone(), update_of, user_id);
        self.links.insert(token.clone(), link);
        Outcome { token: Some(token), item: update_of, ..Outcome::default() }
    }

    /// A step of a person in hosted Link.
    pub(super) fn link(&mut self, at: Timestamp, token: &str, step: &LinkStep) -> Outcome {
        let Some(mut link) = self.links.remove(token) else { return Outcome::default() };
        // Two people who link at the same time are two people.
        let reserved = link.update_of.or(link.item);
        let number = reserved.unwrap_or(self.next_item);
        if reserved.is_none() {
            link.item = Some(number);
            self.next_item += 1;
        }
        let updating = link.update_of.and_then(|number| self.items.get(&number));
        let updating = updating.map(|item| {
            let plans = item.accounts.iter().map(|account| account.plan.clone()).collect();
            (item.institution, item.username().to_owned(), plans)
        });
        let person = Person { seed: self.seed, label: format!("item/{number}") };
        let outcome = match link.step(at, step, &Visitor { person, updating }) {
            Request::Nothing => Outcome::default(),
            Request::Left => Outcome { notices: self.link_notices(&link), ..Outcome::default() },
            Request::Complete { accounts } => self.complete_link(at, number, &mut link, &accounts),
        };
        self.links.insert(token.to_owned(), link);
        outcome
    }

    fn complete_link(
        &mut self,
        at: Timestamp,
        number: u64,
        link: &mut LinkToken,
        chosen: &[usize],
    ) -> Outcome {
        if link.update_of.is_some() {
            if !self.items.get(&number).is_some_and(Item::is_live) {
                link.fail(at, PlaidError::item_not_found());
                return Outcome::default();
            }
            let chosen = link.chooses_accounts().then_some(chosen);
            let consented = link.consented();
            self.change(number, |item| item.consent_to(&consented));
            for product in link.list("products") {
                self.change(number, |item| match product.as_str() {
                    "transactions" => item.start_transactions(None),
                    other => item.add_product(other),
                });
            }
            let mut notices = self.repair(at, number, chosen);
            link.complete(at, None);
            notices.extend(self.link_notices(link));
            let load = self.loading(number);
            return Outcome { item: Some(number), load, notices, ..Outcome::default() };
        }
        let Some(new) = new_item(link, chosen) else { return Outcome::default() };
        match self.create_item_as(at, number, &new) {
            Ok(mut outcome) => {
                let public_token = outcome.token.clone().unwrap_or_default();
                let accounts = metadata_accounts(&self.items[&number]);
                link.complete(at, Some(Added { public_token, accounts }));
                outcome.notices.extend(self.link_notices(link));
                outcome
            }
            Err(error) => {
                link.fail(at, error);
                Outcome::default()
            }
        }
    }

    /// Link's own webhooks go to the URL of the link token.
    fn link_notices(&self, link: &LinkToken) -> Vec<Notice> {
        let Some(url) = link.text("webhook").filter(|url| !url.is_empty()) else {
            return Vec::new();
        };
        let notice = |(code, mut body): (&str, Value)| {
            body["environment"] = json!("sandbox");
            body["webhook_code"] = json!(code);
            body["webhook_type"] = json!("LINK");
            Notice { item: None, url: url.to_owned(), body }
        };
        link.webhooks().into_iter().map(notice).collect()
    }
}

/// The Item that a finished session asks for.
fn new_item(link: &LinkToken, chosen: &[usize]) -> Option<NewItem> {
    let session = link.session.as_ref()?;
    let mut products = link.list("products");
    products.extend(link.list("required_if_supported_products"));
    products.retain(|product| {
        institutions::PRODUCTS.contains(&product.as_str()) && product != "balance"
    });
    let date = |field: &str| link.request["statements"][field].as_str()?.parse().ok();
    Some(NewItem {
        institution_id: session.institution()?.institution_id.clone(),
        products,
        webhook: link.text("webhook").map(str::to_owned),
        username: session.username.clone(),
        password: session.password.clone(),
        days_requested: link.request["transactions"]["days_requested"].as_i64(),
        accounts: Some(chosen.to_vec()),
        statements: date("start_date").zip(date("end_date")),
        user_id: link.user_id.clone(),
        consented: Some(link.consented()),
    })
}

/// The accounts of an Item as Link's metadata has them.
fn metadata_accounts(item: &Item) -> Vec<Value> {
    let account = |index: usize| {
        let account = &item.accounts[index];
        json!({
            "class_type": null,
            "id": account.account_id,
            "mask": account.plan.mask,
            "name": account.plan.name,
            "subtype": account.plan.subtype.as_deref().unwrap_or_default(),
            "type": account.plan.account_type,
            "verification_status": account.verification_status,
        })
    };
    item.shared().map(account).collect()
}
