//! The demo's bank: an emulator with customers, and the comparison of its ledger with our store.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use emulator::{Emulator, Options};
use model::{Currency, Environment, Money};
use plaid::{AccessToken, Client, Connector, Credentials, SandboxUser};
use secrecy::SecretString;
use serde::Deserialize;
use store::{Store, TransactionFilter};

use crate::surroundings;

pub(super) const CLIENT_ID: &str = "emulator";
pub(super) const SECRET: &str = "sandbox-secret";

/// Five customers and their eight logins: caller's id, name, institution, sandbox user.
pub(super) const LOGINS: [(&str, &str, &str, &str); 8] = [
    ("harbor-coffee", "Harbor Coffee LLC", "ins_56", "user_small_business"),
    ("harbor-coffee", "Harbor Coffee LLC", "ins_109511", "user_small_business"),
    ("alder-cycles", "Alder Cycles Inc", "ins_13", "user_small_business"),
    ("jordan-miller", "Jordan Miller", "ins_109508", "user_yuppie"),
    ("jordan-miller", "Jordan Miller", "ins_127990", "user_transactions_dynamic"),
    ("sam-okafor", "Sam Okafor", "ins_109512", "user_ewa_user"),
    ("casey-nguyen", "Casey Nguyen", "ins_43", "user_transactions_dynamic"),
    ("casey-nguyen", "Casey Nguyen", "ins_109509", "user_good"),
];

/// An Item that the bank made.
pub(super) struct MadeItem {
    pub(super) item_id: String,
    pub(super) token: AccessToken,
    pub(super) lively: bool,
}

/// The emulated bank.
pub(super) struct Bank {
    emulator: Emulator,
    client: Client,
    http: reqwest::Client,
}

#[derive(Deserialize)]
struct LedgerLine {
    account_id: String,
    transaction_id: String,
    pending_transaction_id: Option<String>,
    state: String,
    amount_minor: i64,
    currency: String,
    date: String,
    name: String,
}

/// What a transaction is, for comparing.
#[derive(Debug, PartialEq, Eq)]
struct Facts {
    account_id: String,
    pending_transaction_id: Option<String>,
    pending: bool,
    amount_minor: i64,
    currency: String,
    date: String,
    name: String,
}

impl Bank {
    /// Opens the bank with delays that let a person see history arrive in two stages.
    pub(super) async fn open(seed: u64, stage_delay: Duration) -> anyhow::Result<Self> {
        let http = surroundings::http_client()?;
        let emulator = Emulator::start(Options {
            seed,
            client_id: CLIENT_ID.to_owned(),
            secret: SECRET.to_owned(),
            initial_delay: stage_delay,
            history_delay: stage_delay,
            contract_report: std::env::var_os(emulator::CONTRACT_REPORT).map(PathBuf::from),
            ..Options::new(Arc::new(surroundings::now), http.clone())
        })
        .await?;
        let credentials =
            Credentials { client_id: CLIENT_ID.to_owned(), secret: SecretString::from(SECRET) };
        let base_url = emulator.url().parse().context("the emulator's URL")?;
        let connector = Connector::new(http.clone());
        let client = connector.client(Environment::Sandbox, base_url, credentials);
        Ok(Self { emulator, client, http })
    }

    pub(super) fn url(&self) -> String {
        self.emulator.url()
    }

    /// What Plaid Link and the token exchange do for a real customer.
    pub(super) async fn link(
        &self,
        institution_id: &str,
        username: &str,
        webhook: &str,
    ) -> anyhow::Result<MadeItem> {
        let user = SandboxUser {
            institution_id,
            username,
            products: &["transactions"],
            webhook: Some(webhook),
        };
        let public_token = self.client.sandbox_public_token(&user).await?;
        let made = self.client.exchange(&public_token).await?;
        let token = AccessToken::parse(&made.access_token, Environment::Sandbox)?;
        Ok(MadeItem { item_id: made.item_id, token, lively: username != "user_good" })
    }

    /// The name of one of the bank's institutions.
    pub(super) async fn institution_name(&self, institution_id: &str) -> Option<String> {
        Some(self.client.institution(institution_id).await.ok()?.name)
    }

    /// Lets something happen at the bank.
    pub(super) async fn refresh(&self, item: &MadeItem) -> anyhow::Result<()> {
        Ok(self.client.transactions_refresh(&item.token).await?)
    }

    /// Where the store and the ledger disagree, in words; empty when they do not.
    pub(super) async fn difference(&self, store: &Store) -> anyhow::Result<Vec<String>> {
        let url = format!("{}/_emulator/ledger", self.emulator.url());
        let ledger = self.http.get(url).send().await?.error_for_status()?.text().await?;
        let mut expected = BTreeMap::new();
        for line in ledger.lines() {
            let line: LedgerLine = serde_json::from_str(line)?;
            if line.state != "removed" {
                expected.insert(line.transaction_id.clone(), line.facts());
            }
        }
        Ok(compare(&expected, &stored(store).await?))
    }

    pub(super) async fn close(self) {
        self.emulator.stop().await;
    }
}

impl LedgerLine {
    fn facts(self) -> Facts {
        Facts {
            account_id: self.account_id,
            pending_transaction_id: self.pending_transaction_id,
            pending: self.state == "pending",
            amount_minor: self.amount_minor,
            currency: self.currency,
            date: self.date,
            name: self.name,
        }
    }
}

/// Every live transaction of the store by Plaid's id.
async fn stored(store: &Store) -> anyhow::Result<BTreeMap<String, Facts>> {
    let rows = store.transactions(&TransactionFilter::default(), None, i64::MAX).await?;
    rows.into_iter()
        .map(|row| {
            let (amount, _) = Money::parse(&row.amount, Currency::iso(&row.currency))?;
            let facts = Facts {
                account_id: row.account_id,
                pending_transaction_id: row.pending_transaction_id,
                pending: row.pending,
                amount_minor: amount.minor(),
                currency: row.currency,
                date: row.date.to_string(),
                name: row.name,
            };
            Ok((row.transaction_id, facts))
        })
        .collect()
}

fn compare(expected: &BTreeMap<String, Facts>, found: &BTreeMap<String, Facts>) -> Vec<String> {
    let missing_or_other = expected.iter().filter_map(|(id, facts)| match found.get(id) {
        None => Some(format!("{id} is missing: {facts:?}")),
        Some(other) if other != facts => Some(format!("{id} is {other:?}, not {facts:?}")),
        Some(_) => None,
    });
    let surplus = found.keys().filter(|id| !expected.contains_key(*id));
    missing_or_other.chain(surplus.map(|id| format!("{id} should not be there"))).collect()
}
