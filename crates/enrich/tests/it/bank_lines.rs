//! Lines as banks of four countries print them, each with what it means.

use enrich::{AccountKind, Judge, Tables, Transaction};
use serde::Deserialize;

#[derive(Deserialize)]
struct Row {
    country: String,
    amount: String,
    account: String,
    holder: String,
    line: String,
    expected: String,
}

#[test]
fn banks_own_words_are_understood_in_four_countries() {
    let tables = Tables::new();
    let mut judge = Judge::new(&tables);
    let mut wrong = Vec::new();
    let rows = csv::Reader::from_reader(&include_bytes!("bank_lines.csv")[..]);
    for row in rows.into_deserialize() {
        let row: Row = row.unwrap();
        let enrichment = judge.judge(&Transaction {
            description: &row.line,
            amount: row.amount.replace('.', "").parse().unwrap(),
            account: AccountKind::of_plaid(&row.account),
            is_business: row.holder == "business",
            country: &row.country,
            ..Transaction::default()
        });
        let category = &enrichment.category;
        let said = category.leaf.map_or("", enrich::Leaf::plaid);
        if said != row.expected {
            let reason = category.reason(&row.line);
            wrong.push(format!("{}: {said}, not {}: {reason}", row.line, row.expected));
        }
    }
    assert!(wrong.is_empty(), "{} wrong\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn where_it_was_is_read_off_the_line() {
    let tables = Tables::new();
    let mut judge = Judge::new(&tables);
    let lines = [
        ("KROGER #123 PORTLAND OR", "PORTLAND OR"),
        ("SHELL OIL 12345678 SAN LUIS OBISPO CA", "SAN LUIS OBISPO CA"),
        ("ATM WITHDRAWAL 001234 MADISON WI", "MADISON WI"),
        ("NETFLIX.COM 866-579-7172 CA", "CA"),
        ("STARBUCKS STORE 12345", ""),
        ("ONLINE TRANSFER TO SAV ...1234", ""),
    ];
    for (line, expected) in lines {
        let said = judge.judge(&Transaction {
            description: line,
            amount: 100,
            account: AccountKind::Credit,
            country: "US",
            ..Transaction::default()
        });
        let place = said.location.start as usize..said.location.end as usize;
        assert_eq!(line[place].trim(), expected, "{line}");
    }
}
