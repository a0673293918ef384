//! What the classifier sees of a line: its words, neighbouring words, and pieces of three to five
//! characters, each a number.

use std::ops::Range;

use crate::line::Line;

/// Numbers there are for features; different ones may share a number. A power of two.
pub(crate) const BUCKETS: usize = 1 << 16;
/// Features of a line that count. What is behind them says nothing new.
const MOST: usize = 160;
const PIECES: Range<usize> = 3..6;
const SEED: u64 = 0xcbf2_9ce4_8422_2325;

/// The features of a line's words that are wanted: number, and where in the normal form it came from.
pub(crate) fn features(
    line: &Line,
    wanted: impl Fn(&Range<usize>) -> bool,
    into: &mut Vec<(u32, Range<u32>)>,
) {
    into.clear();
    let text = line.text().as_bytes();
    let mut before: Option<(u64, usize)> = None;
    for (range, word) in line.words() {
        // Numbers tell branches apart, not trades.
        if word.bytes().all(|byte| byte.is_ascii_digit()) || !wanted(&range) {
            continue;
        }
        let whole = hash(SEED, word.bytes());
        push(into, whole ^ 1, range.start..range.end);
        if let Some((previous, start)) = before {
            push(into, hash(previous, word.bytes()) ^ 2, start..range.end);
        }
        before = Some((whole, range.start));
        // With the spaces around it, a piece says whether it begins or ends a word.
        let padded = &text[range.start - 1..=range.end];
        for length in PIECES {
            for (at, piece) in padded.windows(length).enumerate() {
                let start = range.start - 1 + at;
                push(into, hash(SEED, piece.iter().copied()) ^ 3, start..start + length);
            }
        }
    }
    into.truncate(MOST);
}

fn push(into: &mut Vec<(u32, Range<u32>)>, hash: u64, range: Range<usize>) {
    let bucket = (hash ^ (hash >> 29)) & (BUCKETS as u64 - 1);
    // Lines are far shorter than four billion bytes, buckets far fewer than four billion.
    let small = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    into.push((u32::try_from(bucket).unwrap_or(0), small(range.start)..small(range.end)));
}

/// FNV-1a; digits inside words are one and the same.
fn hash(seed: u64, bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(seed, |hash, byte| {
        let byte = if byte.is_ascii_digit() { b'0' } else { byte };
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
