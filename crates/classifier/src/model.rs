//! A trained model: a signed byte for each weight, and the judgement of a line by them.

use std::ops::Range;

use crate::features::{BUCKETS, features};
use crate::line::Line;
use crate::train::{norm, softmax};

/// First bytes of a kept model: name and version of the format.
const MAGIC: &[u8; 8] = b"slvgmdl1";
/// Classes that a model can have; a judgement keeps its sums on the stack.
const MOST_CLASSES: usize = 64;
const HEADER: usize = MAGIC.len() + 1 + 4;

/// Weights of every feature for every class.
#[derive(Debug, Clone)]
pub struct Model {
    classes: usize,
    /// What a weight of 1 is worth.
    unit: f32,
    weights: Vec<i8>,
}

/// Why bytes are no model.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// They are of another format or cut short.
    #[error("these bytes are no model of this version")]
    Foreign,
}

/// How likely each class is.
#[derive(Debug, Clone, Default)]
pub struct Verdict {
    /// A probability for each class.
    pub probabilities: Vec<f32>,
    features: Vec<(u32, Range<u32>)>,
}

impl Verdict {
    /// The number of the likeliest class.
    pub fn best(&self) -> usize {
        let by_probability = |&a: &usize, &b: &usize| {
            self.probabilities[a].total_cmp(&self.probabilities[b]).then(b.cmp(&a))
        };
        (0..self.probabilities.len()).max_by(by_probability).unwrap_or(0)
    }
}

impl Model {
    /// A byte for each weight; the largest is 127.
    pub(crate) fn quantise(classes: usize, weights: &[f32]) -> Self {
        let most = weights.iter().fold(f32::MIN_POSITIVE, |most, weight| most.max(weight.abs()));
        let unit = most / 127.0;
        #[expect(clippy::cast_possible_truncation, reason = "at most 127 by the line above")]
        let byte = |weight: &f32| (weight / unit).round() as i8;
        Self { classes, unit, weights: weights.iter().map(byte).collect() }
    }

    /// Takes a model as `bytes` gave it.
    pub fn read(bytes: &[u8]) -> Result<Self, ModelError> {
        let (magic, rest) = bytes.split_at_checked(MAGIC.len()).ok_or(ModelError::Foreign)?;
        let [classes, a, b, c, d, rest @ ..] = rest else { return Err(ModelError::Foreign) };
        let classes = usize::from(*classes);
        if magic != MAGIC || classes > MOST_CLASSES || rest.len() != BUCKETS * classes {
            return Err(ModelError::Foreign);
        }
        let unit = f32::from_le_bytes([*a, *b, *c, *d]);
        let weights = rest.iter().map(|byte| i8::from_le_bytes([*byte])).collect();
        Ok(Self { classes, unit, weights })
    }

    /// The model as it is kept.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER + self.weights.len());
        bytes.extend_from_slice(MAGIC);
        bytes.push(u8::try_from(self.classes).unwrap_or(u8::MAX));
        bytes.extend_from_slice(&self.unit.to_le_bytes());
        bytes.extend(self.weights.iter().flat_map(|weight| weight.to_le_bytes()));
        bytes
    }

    /// How likely each class is for the words of a line that are wanted; the verdict's memory is used
    /// again. A line without words is anything.
    pub fn judge(
        &self,
        line: &Line,
        wanted: impl Fn(&Range<usize>) -> bool,
        verdict: &mut Verdict,
    ) {
        features(line, wanted, &mut verdict.features);
        // 160 features of at most 127 each fit into 16 bits.
        let mut sums = [0_i16; MOST_CLASSES];
        let sums = &mut sums[..self.classes];
        for (bucket, _) in &verdict.features {
            let row = &self.weights[*bucket as usize * self.classes..][..self.classes];
            sums.iter_mut().zip(row).for_each(|(sum, weight)| *sum += i16::from(*weight));
        }
        let scale = self.unit * norm(verdict.features.len());
        verdict.probabilities.clear();
        verdict.probabilities.extend(sums.iter().map(|sum| f32::from(*sum) * scale));
        softmax(&mut verdict.probabilities);
    }

    /// The piece of the normal form that spoke loudest for a class; none when none spoke for it.
    pub fn loudest(&self, verdict: &Verdict, class: usize) -> Option<Range<usize>> {
        let weight = |bucket: u32| self.weights[bucket as usize * self.classes + class];
        let spoke = verdict.features.iter().filter(|(bucket, _)| weight(*bucket) > 0);
        // Of equals the first.
        let loudest = spoke.rev().max_by_key(|(bucket, _)| weight(*bucket))?;
        Some(loudest.1.start as usize..loudest.1.end as usize)
    }
}
