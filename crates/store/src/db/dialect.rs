//! In what little the SQL of the engines differs. Statements are written once; a place that only
//! PostgreSQL needs is a comment in them, which SQLite passes over: it has one writer, so that nothing
//! has to be locked there.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::Connected;

/// Comments in statements, and what PostgreSQL reads in their place.
const PLACES: [(&str, &str); 3] = [
    // Holds rows that a decision is about to be based on until the write ends.
    ("/* lock */", "FOR UPDATE"),
    // The same where a join reads rows that are not to be held.
    ("/* lock i */", "FOR UPDATE OF i"),
    // Passes over rows that another worker is just claiming.
    ("/* skip locked */", "FOR UPDATE SKIP LOCKED"),
];

/// The statements with such places, as PostgreSQL reads them.
static POSTGRES: LazyLock<HashMap<&'static str, String>> = LazyLock::new(|| {
    let places = |sql: &str| PLACES.iter().any(|(place, _)| sql.contains(place));
    let statements = crate::statement::statements().into_iter().map(|(_, _, sql)| sql);
    statements.filter(|sql| places(sql)).map(|sql| (sql, for_postgres(sql))).collect()
});

/// A statement as the engine of this connection reads it.
pub(crate) fn text(connection: &Connected, sql: &'static str) -> &'static str {
    match connection.backend_name() {
        "PostgreSQL" => POSTGRES.get(sql).map_or(sql, String::as_str),
        _ => sql,
    }
}

/// A statement as PostgreSQL reads it.
pub(crate) fn for_postgres(sql: &str) -> String {
    PLACES.iter().fold(sql.to_owned(), |sql, (place, text)| sql.replace(place, text))
}
