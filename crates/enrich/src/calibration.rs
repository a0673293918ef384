//! From the share of a vote to how often such a decision is right: a table measured on rows that the
//! model had not seen, `data/calibration.csv`.

use std::sync::LazyLock;

use serde::Deserialize;

use crate::enrichment::Percent;

/// A corner of the curve: at this share, in thousandths, this many of a hundred are right.
#[derive(Debug, Clone, Copy, Deserialize)]
struct Corner {
    share: u16,
    percent: u8,
}

static CURVE: LazyLock<Vec<Corner>> = LazyLock::new(|| {
    let rows = csv::Reader::from_reader(&include_bytes!("../data/calibration.csv")[..]);
    rows.into_deserialize().collect::<Result<_, _>>().expect("a test reads the embedded file")
});

/// How often a decision with this share, in thousandths, is right: straight lines between corners.
pub(crate) fn percent(share: u16) -> Percent {
    let after = CURVE.iter().position(|corner| corner.share >= share).unwrap_or(CURVE.len() - 1);
    let to = CURVE[after];
    let from = CURVE[after.saturating_sub(1)];
    let width = i32::from(to.share) - i32::from(from.share);
    if width <= 0 {
        return Percent(to.percent);
    }
    let along = i32::from(share.min(to.share)) - i32::from(from.share);
    let rise = i32::from(to.percent) - i32::from(from.percent);
    let percent = i32::from(from.percent) + rise * along / width;
    Percent(u8::try_from(percent).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_curve_rises_and_never_promises_certainty() {
        assert!(CURVE.windows(2).all(|pair| pair[0].share < pair[1].share));
        assert!(CURVE.windows(2).all(|pair| pair[0].percent <= pair[1].percent));
        assert!(percent(1000).0 <= 99);
        let all: Vec<u8> = (0..=1000).map(|share| percent(share).0).collect();
        assert!(all.is_sorted());
    }
}
