//! Learning: logistic regression by stochastic descent with AdaGrad, in a fixed order.

use crate::exp;
use crate::features::{BUCKETS, features};
use crate::line::Line;
use crate::model::Model;

/// Times that every example is looked at.
const ROUNDS: usize = 12;
const STEP: f32 = 0.35;
/// The most that one line counts, however often it was seen.
const MOST: f32 = 12.0;
/// Pull towards zero at each look, so that rare pieces do not shout.
const DECAY: f32 = 2e-5;

/// A labelled line.
#[derive(Debug, Clone)]
pub struct Example<'a> {
    /// The bank's text or a merchant's name.
    pub text: &'a str,
    /// Number of its class.
    pub class: usize,
    /// How often it was seen, in hundredths.
    pub hundredths: u32,
}

/// Learns to tell `classes` apart. The same examples and seed give the same model.
pub fn train(classes: usize, examples: &[Example<'_>], seed: u64) -> Model {
    let seen = examples.iter().map(see).collect::<Vec<_>>();
    let mut weights = vec![0.0_f32; BUCKETS * classes];
    let mut spread = vec![1e-6_f32; BUCKETS * classes];
    let mut order: Vec<usize> = (0..examples.len()).collect();
    let mut dice = seed | 1;
    let mut scores = vec![0.0_f32; classes];
    for _ in 0..ROUNDS {
        shuffle(&mut order, &mut dice);
        for &index in &order {
            let example = &examples[index];
            let pieces = &seen[index];
            let norm = norm(pieces.len());
            let weight_of_example = weight(example.hundredths);
            scores.fill(0.0);
            for &piece in pieces {
                let row = &weights[piece * classes..][..classes];
                scores.iter_mut().zip(row).for_each(|(score, weight)| *score += weight * norm);
            }
            softmax(&mut scores);
            scores[example.class] -= 1.0;
            for &piece in pieces {
                let row = piece * classes..(piece + 1) * classes;
                let cells = weights[row.clone()].iter_mut().zip(&mut spread[row]);
                for ((weight, spread), score) in cells.zip(&scores) {
                    let slope = score * norm * weight_of_example + DECAY * *weight;
                    *spread += slope * slope;
                    *weight -= STEP * slope / spread.sqrt();
                }
            }
        }
    }
    Model::quantise(classes, &weights)
}

/// A line seen a hundred times says more than one seen once, not a hundred times more.
fn weight(hundredths: u32) -> f32 {
    let seen = u16::try_from(hundredths / 25).unwrap_or(u16::MAX);
    (f32::from(seen) / 4.0).sqrt().min(MOST)
}

/// What a feature of a line with so many counts: long lines do not shout either.
pub(crate) fn norm(features: usize) -> f32 {
    let features = u16::try_from(features.max(1)).unwrap_or(u16::MAX);
    1.0 / f32::from(features).sqrt()
}

/// Scores become probabilities.
pub(crate) fn softmax(scores: &mut [f32]) {
    let most = scores.iter().copied().fold(f32::MIN, f32::max);
    scores.iter_mut().for_each(|score| *score = exp(*score - most));
    let sum: f32 = scores.iter().sum();
    scores.iter_mut().for_each(|score| *score /= sum);
}

fn see(example: &Example<'_>) -> Vec<usize> {
    let mut line = Line::default();
    let mut found = Vec::new();
    features(line.read(example.text), |_| true, &mut found);
    found.into_iter().map(|(bucket, _)| bucket as usize).collect()
}

/// Fisher and Yates, with xorshift.
fn shuffle(order: &mut [usize], dice: &mut u64) {
    for last in (1..order.len()).rev() {
        *dice ^= *dice << 13;
        *dice ^= *dice >> 7;
        *dice ^= *dice << 17;
        let among = last as u64 + 1;
        order.swap(last, usize::try_from(*dice % among).unwrap_or(0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Verdict;

    fn examples() -> Vec<Example<'static>> {
        let rows = [
            ("shell petrol", 0),
            ("esso petrol station", 0),
            ("texaco service station", 0),
            ("station hotel", 1),
            ("grange hotel", 1),
            ("park hotel leeds", 1),
        ];
        rows.map(|(text, class)| Example { text, class, hundredths: 100 }).into()
    }

    #[test]
    fn what_was_learnt_is_known_of_lines_never_seen_and_twice_the_same() {
        let model = train(2, &examples(), 7);
        let mut line = Line::default();
        let mut verdict = Verdict::default();
        model.judge(line.read("BP PETROL 1234"), |_| true, &mut verdict);
        assert_eq!(verdict.best(), 0);
        assert_eq!(model.bytes(), train(2, &examples(), 7).bytes());
        model.judge(line.read("ROYAL HOTEL"), |_| true, &mut verdict);
        assert_eq!(verdict.best(), 1);
        let loudest = model.loudest(&verdict, 1).unwrap();
        assert!(" hotel ".contains(&line.text()[loudest]));
    }
}
