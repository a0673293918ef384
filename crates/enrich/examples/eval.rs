//! Measures the judgement on labelled rows, fold by fold: the model that judges a fold has not seen its
//! merchants. `make eval` runs it; `docs/accuracy.md` says what the figures mean.
//!
//! Options: `--calibrate` prints how often each certainty was right, from which the corners of
//! `data/calibration.csv` are read; `--wrong N` prints the N most frequent lines judged wrong.
#![expect(clippy::float_arithmetic, reason = "shares and percentages for people")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use enrich::training::{CardRow, card_rows, train};
use enrich::{AccountKind, Judge, Leaf, Tables, Transaction};

const FOLDS: u8 = 5;
const BINS: usize = 15;

/// A row judged.
struct Judged {
    row: CardRow,
    truth: &'static str,
    said: &'static str,
    percent: u8,
    layer: &'static str,
    reason: String,
}

fn main() {
    let options: Vec<String> = std::env::args().skip(1).collect();
    let rows = card_rows();
    let began = Instant::now();
    let mut judged = Vec::new();
    let mut seconds = 0.0;
    for fold in 0..FOLDS {
        let tables = Tables::with_model(Some(train(|other| other != fold)));
        let mut judge = Judge::new(&tables);
        let began = Instant::now();
        for row in rows.iter().filter(|row| row.fold == fold) {
            let enrichment = judge.judge(&transaction(row));
            std::hint::black_box(enrichment.category.reason(&row.merchant).to_string());
        }
        seconds += began.elapsed().as_secs_f64();
        judged.extend(rows.iter().filter(|row| row.fold == fold).map(|row| one(&mut judge, row)));
    }
    println!("card rows of a British council, {FOLDS} folds by merchant");
    report(&judged);
    println!("  {:.0} rows a second with reasons, on one core", judged.len() as f64 / seconds);
    println!("  {:.1} s with training", began.elapsed().as_secs_f64());
    if options.iter().any(|option| option == "--calibrate") {
        calibrate(&judged);
    }
    if let Some(at) = options.iter().position(|option| option == "--wrong") {
        let most = options.get(at + 1).and_then(|number| number.parse().ok()).unwrap_or(50);
        wrong(&judged, most);
    }
}

fn transaction(row: &CardRow) -> Transaction<'_> {
    Transaction {
        description: &row.merchant,
        amount: if row.amount.starts_with('-') { -1 } else { 1 },
        account: AccountKind::Credit,
        is_business: true,
        country: "GB",
        ..Transaction::default()
    }
}

fn one(judge: &mut Judge<'_>, row: &CardRow) -> Judged {
    let enrichment = judge.judge(&transaction(row));
    let category = &enrichment.category;
    Judged {
        truth: Leaf::named(&row.leaf).expect("the data's own leaves").primary().name(),
        said: category.primary.map_or("", |primary| primary.name()),
        percent: category.confidence.0,
        layer: category.source.name(),
        reason: category.reason(&row.merchant).to_string(),
        row: CardRow {
            row: row.row.clone(),
            amount: row.amount.clone(),
            merchant: row.merchant.clone(),
            leaf: row.leaf.clone(),
            fold: row.fold,
        },
    }
}

fn report(judged: &[Judged]) {
    let total = judged.len() as f64;
    let right = judged.iter().filter(|row| row.said == row.truth).count() as f64;
    let answered: Vec<&Judged> = judged.iter().filter(|row| is_answer(row.said)).collect();
    println!("  rows {}, accuracy {:.1} %", judged.len(), 100.0 * right / total);
    let names: BTreeSet<&str> = judged.iter().map(|row| row.row.merchant.as_str()).collect();
    let firsts: BTreeMap<&str, &Judged> =
        judged.iter().map(|row| (row.row.merchant.as_str(), row)).collect();
    let right_names = firsts.values().filter(|row| row.said == row.truth).count() as f64;
    println!(
        "  distinct merchants {}, accuracy {:.1} %",
        names.len(),
        100.0 * right_names / names.len() as f64
    );
    println!(
        "  coverage {:.1} %, right when answered {:.1} %",
        100.0 * answered.len() as f64 / total,
        100.0 * right / answered.len() as f64
    );
    println!("  coverage at 90 % precision {:.1} %", coverage_at(judged, 0.9));
    println!("  calibration error {:.3} over {BINS} bins", calibration_error(judged));
    classes(judged);
    layers(judged);
}

fn is_answer(said: &str) -> bool {
    !said.is_empty() && said != "OTHER"
}

fn classes(judged: &[Judged]) {
    let truths: BTreeSet<&str> = judged.iter().map(|row| row.truth).collect();
    let mut sum = 0.0;
    println!("  {:<28} {:>6} {:>9} {:>7} {:>5}", "primary", "rows", "precision", "recall", "F1");
    for class in &truths {
        let of = judged.iter().filter(|row| row.truth == *class).count() as f64;
        let said = judged.iter().filter(|row| row.said == *class).count() as f64;
        let both = judged.iter().filter(|row| row.said == *class && row.truth == *class).count();
        let both = both as f64;
        let (precision, recall) = (both / said.max(1.0), both / of.max(1.0));
        let f1 = 2.0 * precision * recall / (precision + recall).max(1e-9);
        sum += f1;
        println!(
            "  {class:<28} {of:>6} {:>8.1}% {:>6.1}% {:>5.1}",
            100.0 * precision,
            100.0 * recall,
            100.0 * f1
        );
    }
    println!("  macro-F1 {:.1}", 100.0 * sum / truths.len() as f64);
}

fn layers(judged: &[Judged]) {
    let layers: BTreeSet<&str> = judged.iter().map(|row| row.layer).collect();
    for layer in layers {
        let of: Vec<&Judged> = judged.iter().filter(|row| row.layer == layer).collect();
        let right = of.iter().filter(|row| row.said == row.truth).count() as f64;
        println!(
            "  decided by {layer:<24} {:>5.1} %, right {:>5.1} %",
            100.0 * of.len() as f64 / judged.len() as f64,
            100.0 * right / of.len() as f64
        );
    }
}

/// The largest share of rows, the surest first, of which so many are right.
fn coverage_at(judged: &[Judged], precision: f64) -> f64 {
    let mut sure: Vec<&Judged> = judged.iter().collect();
    sure.sort_by_key(|row| std::cmp::Reverse(row.percent));
    let (mut right, mut most) = (0.0, 0.0_f64);
    for (number, row) in sure.iter().enumerate() {
        right += f64::from(u8::from(row.said == row.truth));
        let seen = (number + 1) as f64;
        // A cut between rows of one certainty is no cut.
        let is_cut = sure.get(number + 1).is_none_or(|next| next.percent != row.percent);
        if is_cut && right / seen >= precision {
            most = most.max(seen);
        }
    }
    100.0 * most / judged.len() as f64
}

fn calibration_error(judged: &[Judged]) -> f64 {
    let mut bins = vec![(0.0, 0.0, 0.0); BINS];
    for row in judged {
        let bin = &mut bins[(usize::from(row.percent) * BINS / 100).min(BINS - 1)];
        bin.0 += 1.0;
        bin.1 += f64::from(row.percent) / 100.0;
        bin.2 += f64::from(u8::from(row.said == row.truth));
    }
    let error = |(_, sure, right): &(f64, f64, f64)| (sure - right).abs();
    bins.iter().map(error).sum::<f64>() / judged.len() as f64
}

/// How often each certainty was right; where it is not, the curve in `data/` has to move.
fn calibrate(judged: &[Judged]) {
    let voted = judged.iter().filter(|row| row.layer != "rule" && row.layer != "direction");
    let mut bins: BTreeMap<u8, (u32, u32)> = BTreeMap::new();
    for row in voted {
        let bin = bins.entry(row.percent / 5 * 5).or_default();
        bin.0 += 1;
        bin.1 += u32::from(row.said == row.truth);
    }
    for (percent, (of, right)) in bins {
        println!(
            "  said {percent:>3} %: right {:>5.1} % of {of}",
            100.0 * f64::from(right) / f64::from(of)
        );
    }
}

fn wrong(judged: &[Judged], most: usize) {
    let mut counts: BTreeMap<(&str, &str, &str, &str), (usize, u8)> = BTreeMap::new();
    for row in judged.iter().filter(|row| row.said != row.truth) {
        let key = (row.row.merchant.as_str(), row.truth, row.said, row.reason.as_str());
        let entry = counts.entry(key).or_insert((0, row.percent));
        entry.0 += 1;
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(_, (count, _))| std::cmp::Reverse(*count));
    for ((merchant, truth, said, reason), (count, percent)) in counts.into_iter().take(most) {
        println!("{count:>5} {merchant:<26} {truth:<24} {said:<24} {percent:>3} {reason}");
    }
}
