//! Says what all of an end user's transactions mean, by themselves and together, after any of them
//! changed. What differs from what is stored is written; a crash costs the work, not the result.

use enrich::{Memory, Processed, process, tables_version};
use model::EndUserId;
use store::{Enrichable, Lease, Store};

use crate::step::Failure;

/// Processes the end user of a lease.
pub(crate) async fn enrich_end_user(store: &Store, lease: &Lease) -> Result<(), Failure> {
    let unknown = |_| store::Error::Corrupt { what: "the id of an end user" };
    let end_user: EndUserId = lease.subject.parse().map_err(unknown)?;
    let Changed { rows, series, .. } = judge_end_user(store, &end_user).await?;
    let written = store.settle_enrichments(lease, rows, &series, tables_version()).await?;
    tracing::debug!(end_user = lease.subject, written, "processed");
    Ok(())
}

/// What processing would change.
#[derive(Debug, Default)]
pub struct Changed {
    /// Rows whose meaning is another now, as they would be.
    pub rows: Vec<Enrichable>,
    /// Their meaning as it is, in the same order.
    pub before: Vec<Option<model::Enrichment>>,
    /// What all rows say together.
    pub series: model::EndUserSeries,
}

/// Judges an end user's transactions without writing anything.
pub async fn judge_end_user(store: &Store, end_user: &EndUserId) -> Result<Changed, Failure> {
    let rows = store.enrichable(end_user).await?;
    let accounts = store.accounts(end_user, None, i64::MAX).await?;
    let memory = Memory::new(store.rules_of_end_user(end_user).await?);
    // A large end user takes a while of pure computing: not where others wait.
    let judged = tokio::task::spawn_blocking(move || {
        let (records, places): (Vec<_>, Vec<_>) =
            rows.into_iter().map(|row| (row.record, (row.item, row.version))).unzip();
        let Processed { enrichments, series } = process(&records, &accounts, &memory);
        let mut changed = Changed { series, ..Changed::default() };
        for ((mut record, enrichment), (item, version)) in
            records.into_iter().zip(enrichments).zip(places)
        {
            if record.enrichment.as_ref() != Some(&enrichment) {
                changed.before.push(record.enrichment.replace(enrichment));
                changed.rows.push(Enrichable { record, item, version });
            }
        }
        changed
    });
    judged.await.map_err(|fault| Failure::Fault(fault.to_string()))
}
