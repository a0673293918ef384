//! Every rule decides the line it was written for and leaves the one it must not touch alone.

use enrich::{AccountKind, Direction, Judge, Layer, RuleExample, Tables, Transaction};

fn judged(judge: &mut Judge<'_>, rule: &RuleExample<'_>, line: &str) -> (Layer, &'static str) {
    let enrichment = judge.judge(&Transaction {
        description: line,
        amount: if rule.direction == Some(Direction::In) { -1_234 } else { 1_234 },
        account: rule.account.unwrap_or(AccountKind::Depository),
        ..Transaction::default()
    });
    let category = enrichment.category;
    assert!(!category.evidence.is_empty(), "{line}: no reason");
    assert!(!category.reason(line).to_string().is_empty(), "{line}: an empty reason");
    (category.source, category.evidence[0].what)
}

#[test]
fn every_rule_decides_its_example_and_not_its_counterexample() {
    let tables = Tables::new();
    let mut judge = Judge::new(&tables);
    let mut wrong = Vec::new();
    for rule in tables.rule_examples() {
        let fits = judged(&mut judge, &rule, rule.fits);
        if fits != (Layer::Rule, rule.id) {
            wrong.push(format!("{}: {:?} is decided by {fits:?}", rule.id, rule.fits));
        }
        let misfits = judged(&mut judge, &rule, rule.misfits);
        if misfits.1 == rule.id {
            wrong.push(format!("{}: {:?} is decided by it", rule.id, rule.misfits));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_word_says_what_its_example_sells_and_nothing_of_its_counterexample() {
    let tables = Tables::new();
    let mut judge = Judge::new(&tables);
    let mut wrong = Vec::new();
    for word in tables.word_examples() {
        let mut judged = |line| {
            judge.judge(&Transaction { description: line, amount: 1_234, ..Transaction::default() })
        };
        let fits = judged(word.fits).category;
        if fits.leaf != Some(word.leaf) {
            wrong.push(format!("{}: {:?} is {:?}", word.id, word.fits, fits.leaf));
        }
        let misfits = judged(word.misfits).category;
        let by_words = misfits.evidence.iter().any(|evidence| evidence.layer == Layer::Words);
        if misfits.leaf == Some(word.leaf) && by_words {
            wrong.push(format!("{}: {:?} is that too", word.id, word.misfits));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
