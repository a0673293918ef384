//! A linear classifier of bank lines: logistic regression over hashed pieces of words, small enough to
//! be embedded and fast enough to be asked for every row.
//!
//! Reading order: `line` brings a line into its normal form, `features` cuts it into numbered pieces,
//! `train` learns weights from labelled lines, `model` keeps them in a byte each and judges.
//!
//! Training and judging use only additions, multiplications, divisions and square roots, which every
//! machine rounds alike, so that the same rows give the same bytes everywhere.
#![expect(clippy::float_arithmetic, reason = "weights and probabilities; money never comes here")]

mod features;
mod line;
mod model;
mod train;

pub use line::Line;
pub use model::{Model, ModelError, Verdict};
pub use train::{Example, train};

/// `e` to the power of `x`, by squaring: within a hundredth for the values that occur here, and the
/// same on every machine, which a system's own function is not.
fn exp(x: f32) -> f32 {
    let mut power = (1.0 + x.clamp(-60.0, 60.0) / 4096.0).max(0.0);
    for _ in 0..12 {
        power *= power;
    }
    power
}
