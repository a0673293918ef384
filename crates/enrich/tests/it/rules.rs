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
