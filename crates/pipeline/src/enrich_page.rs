//! Judges the transactions of a page on its way into the store: what they mean is there when they are.

use std::collections::HashMap;

use enrich::{Judge, judge_record, tables};
use model::{Account, Page};

/// Adds to every transaction of a page what it means.
pub(crate) fn enrich_page(page: &mut Page) {
    let accounts: HashMap<&str, &Account> = page
        .accounts
        .iter()
        .map(|account| (account.record.account_id.as_str(), &account.record))
        .collect();
    let mut judge = Judge::new(tables());
    for transaction in page.added.iter_mut().chain(&mut page.modified) {
        let record = &mut transaction.record;
        let account = accounts.get(record.account_id.as_str()).copied();
        record.enrichment = Some(judge_record(&mut judge, record, account));
    }
}
