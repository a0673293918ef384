//! Every SQL statement of the program, declared with the macro below so that a test can prepare
//! each of them on both engines.

use crate::db::dialect;

/// Declares statements as constants and lists them.
macro_rules! declare {
    ($($(#[$doc:meta])* $name:ident = $sql:expr;)*) => {
        $($(#[$doc])* const $name: &str = $sql;)*
        pub(crate) const STATEMENTS: &[(&str, &str)] = &[$((stringify!($name), $name)),*];
    };
}
pub(crate) use declare;

/// Every statement with its name and file.
pub fn statements() -> Vec<(&'static str, &'static str, &'static str)> {
    let files: [(&str, &[(&'static str, &'static str)]); 32] = [
        ("annotations", crate::annotations::STATEMENTS),
        ("api_keys", crate::api_keys::STATEMENTS),
        ("balance_readings", crate::balance_readings::STATEMENTS),
        ("changes", crate::changes::STATEMENTS),
        ("connections", crate::connections::STATEMENTS),
        ("duplicates", crate::duplicates::STATEMENTS),
        ("enrichment_rules", crate::enrichment_rules::STATEMENTS),
        ("enrichments", crate::enrichments::STATEMENTS),
        ("erasure", crate::erasure::STATEMENTS),
        ("extract", crate::extract::STATEMENTS),
        ("feed_writer", crate::feed_writer::STATEMENTS),
        ("integrations", crate::integrations::STATEMENTS),
        ("item_streams", crate::item_streams::STATEMENTS),
        ("items", crate::items::STATEMENTS),
        ("life", crate::life::STATEMENTS),
        ("link_sessions", crate::link_sessions::STATEMENTS),
        ("operators", crate::operators::STATEMENTS),
        ("outbox", crate::outbox::STATEMENTS),
        ("processes", crate::processes::STATEMENTS),
        ("records", crate::records::STATEMENTS),
        ("relocation", crate::relocation::STATEMENTS),
        ("runs", crate::runs::STATEMENTS),
        ("seal", crate::seal::STATEMENTS),
        ("staging", crate::staging::STATEMENTS),
        ("suggestions", crate::suggestions::STATEMENTS),
        ("syncs", crate::syncs::STATEMENTS),
        ("takeover", crate::takeover::STATEMENTS),
        ("transactions", crate::transactions::STATEMENTS),
        ("usage", crate::usage::STATEMENTS),
        ("visits", crate::visits::STATEMENTS),
        ("webhook_events", crate::webhook_events::STATEMENTS),
        ("work", crate::work::STATEMENTS),
    ];
    let listed = files
        .into_iter()
        .flat_map(|(file, list)| list.iter().map(move |(name, sql)| (file, *name, *sql)));
    listed.chain(batches()).collect()
}

/// The same as PostgreSQL reads them.
pub fn statements_for_postgres() -> Vec<(&'static str, &'static str, String)> {
    let read = |(file, name, sql)| (file, name, dialect::for_postgres(sql));
    statements().into_iter().map(read).collect()
}

/// Statements whose text is made once at run time because it repeats for many rows.
fn batches() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    let inserts = [
        ("feed_writer", "INSERT_CHANGES", &crate::feed_writer::INSERT_CHANGES),
        ("feed_writer", "INSERT_SUPERSEDED", &crate::feed_writer::INSERT_SUPERSEDED),
        ("transactions", "INSERT", &crate::transactions::INSERT),
    ];
    let look_ups = [
        ("transactions", "FIND", &crate::transactions::FIND),
        ("transactions", "FIND_POSTED", &crate::transactions::FIND_POSTED),
    ];
    let inserts = inserts
        .into_iter()
        .flat_map(|(file, name, insert)| insert.texts().map(|sql| (file, name, sql)));
    inserts.chain(look_ups.into_iter().map(|(file, name, look_up)| (file, name, look_up.text())))
}
