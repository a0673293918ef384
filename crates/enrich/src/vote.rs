//! Weighs evidence that does not agree: every witness spreads its certainty over the primaries, and
//! the products of all of them decide.
#![expect(clippy::float_arithmetic, reason = "probabilities; money never comes here")]

use crate::category::{Leaf, Primary};
use crate::enrichment::{Direction, Evidence, Percent};

const MOST_PRIMARIES: usize = 32;
/// What a primary of the other direction begins with, where others begin with one.
const UNLIKELY: f32 = 0.001;

/// Somebody who says what a line is about.
#[derive(Debug, Clone)]
pub(crate) struct Witness {
    pub(crate) primary: Primary,
    pub(crate) leaf: Option<Leaf>,
    pub(crate) percent: Percent,
    pub(crate) evidence: Evidence,
}

/// How likely each primary is.
#[derive(Debug, Clone)]
pub(crate) struct Ballot {
    shares: [f32; MOST_PRIMARIES],
    count: usize,
}

impl Ballot {
    /// Every primary alike, but for those that money in this direction hardly ever is.
    pub(crate) fn new(direction: Direction) -> Self {
        let count = Primary::count();
        assert!(count <= MOST_PRIMARIES, "raise MOST_PRIMARIES");
        let mut shares = [1.0; MOST_PRIMARIES];
        let unlikely: &[&str] = match direction {
            Direction::Out => &["INCOME", "LOAN_DISBURSEMENTS", "TRANSFER_IN"],
            Direction::In => &["TRANSFER_OUT", "LOAN_PAYMENTS"],
        };
        for primary in unlikely.iter().filter_map(|name| Primary::named(name)) {
            shares[primary.number()] = UNLIKELY;
        }
        Self { shares, count }
    }

    /// Counts a witness.
    pub(crate) fn count(&mut self, witness: &Witness) {
        let certain = f32::from(witness.percent.0.clamp(1, 99)) / 100.0;
        let others = f32::from(u16::try_from(self.count - 1).unwrap_or(u16::MAX));
        let doubt = (1.0 - certain) / others;
        for (number, share) in self.shares[..self.count].iter_mut().enumerate() {
            *share *= if number == witness.primary.number() { certain } else { doubt };
        }
        self.even_out();
    }

    /// Counts what the model says of every primary.
    pub(crate) fn count_model(&mut self, probabilities: &[f32]) {
        for (share, probability) in self.shares[..self.count].iter_mut().zip(probabilities) {
            *share *= power(probability.max(1e-4));
        }
        self.even_out();
    }

    /// The three likeliest primaries with their shares in thousandths, the likeliest first.
    pub(crate) fn result(&self) -> [(Primary, u16); 3] {
        let mut best = [(0, -1.0); 3];
        for (number, &share) in self.shares[..self.count].iter().enumerate() {
            // Of equals the first stays in front.
            let place = best.iter().position(|&(_, other)| share > other);
            if let Some(place) = place {
                best[place..].rotate_right(1);
                best[place] = (number, share);
            }
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 1000")]
        best.map(|(number, share)| (Primary::numbered(number), (share * 1000.0).round() as u16))
    }

    fn even_out(&mut self) {
        let sum: f32 = self.shares[..self.count].iter().sum();
        self.shares[..self.count].iter_mut().for_each(|share| *share /= sum);
    }
}

/// A probability to the power of 11/16, by square roots, which all machines round alike: what the model
/// says counts less than what others say, because it has read the same words.
fn power(probability: f32) -> f32 {
    let half = probability.sqrt();
    let eighth = half.sqrt().sqrt();
    half * eighth * eighth.sqrt()
}
