//! Rows of text cells in one piece of memory, and the judgement of such rows: what files, streams and
//! the stateless endpoint have in common.

use std::fmt::Write as _;

use crate::category::Primary;
use crate::judge::Judge;
use crate::recorded::country;
use crate::tables::Tables;
use crate::transaction::{AccountKind, Transaction};

/// Columns of rows that come in. The first three must be there.
pub const INPUT: [&str; 15] = [
    "id",
    "amount",
    "description",
    "date",
    "currency",
    "country",
    "account_id",
    "account_type",
    "holder_type",
    "merchant_name",
    "pfc_primary",
    "pfc_detailed",
    "pfc_confidence",
    "mcc",
    "end_user_id",
];
/// The place of `end_user_id` in a row that comes in.
pub const END_USER: usize = 14;
/// How many of them must be there.
pub const REQUIRED: usize = 3;

/// Columns of rows that go out.
pub const OUTPUT: [&str; 10] = [
    "id",
    "merchant_name",
    "merchant_website",
    "pfc_primary",
    "pfc_detailed",
    "category_confidence",
    "lender_class",
    "flags",
    "source",
    "reason",
];
/// The places of `category_confidence` and `flags` in a row that goes out.
pub const CONFIDENCE: usize = 5;
/// See `CONFIDENCE`.
pub const FLAGS: usize = 7;

/// Longest description that is judged. Banks print two hundred characters; a longer one is the rest of a
/// file behind a quote that was never closed.
const MOST_DESCRIPTION_BYTES: usize = 10_000;
/// What a judged row usually takes.
const ROW_BYTES: usize = 160;
/// More threads than any machine has cores only cost.
const MOST_THREADS: usize = 64;

/// Rows of cells; a cell that is not known is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sheet {
    columns: usize,
    text: String,
    ends: Vec<usize>,
}

/// Why a row cannot be judged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the row with id {id:?}: {trouble}")]
pub struct BadRow {
    /// The row's own id.
    pub id: String,
    /// What is wrong and what to do.
    pub trouble: String,
}

/// Rows whose columns do not suffice.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the rows have no {0}; name columns as `selvedge enrich --help` lists them")]
pub struct MissingColumns(String);

/// The places of `INPUT`'s columns among those that there are.
pub fn places(found: &[&str]) -> Result<[Option<usize>; INPUT.len()], MissingColumns> {
    let places = INPUT.map(|name| found.iter().position(|column| *column == name));
    let required = INPUT.iter().zip(places).take(REQUIRED);
    let missing: Vec<&str> =
        required.filter(|(_, place)| place.is_none()).map(|(name, _)| *name).collect();
    if missing.is_empty() { Ok(places) } else { Err(MissingColumns(missing.join(", "))) }
}

impl Sheet {
    /// No rows yet, of so many columns.
    pub fn new(columns: usize) -> Self {
        Self { columns, text: String::new(), ends: Vec::new() }
    }

    /// Adds a cell behind the last.
    pub fn push(&mut self, cell: &str) {
        self.text.push_str(cell);
        self.ends.push(self.text.len());
    }

    /// Adds a cell that is written piece by piece.
    pub fn push_with(&mut self, write: impl FnOnce(&mut String)) {
        write(&mut self.text);
        self.ends.push(self.text.len());
    }

    /// Adds a cell of so many hundredths.
    pub fn push_percent(&mut self, percent: u8) {
        self.push_with(|text| {
            let _never = write!(text, "{}.{:02}", percent / 100, percent % 100);
        });
    }

    /// Whole rows.
    pub fn rows(&self) -> usize {
        self.ends.len() / self.columns.max(1)
    }

    /// The cells of a row.
    pub fn row<const COLUMNS: usize>(&self, row: usize) -> [&str; COLUMNS] {
        let ends = &self.ends[row * self.columns..][..COLUMNS];
        let mut start = (row * self.columns).checked_sub(1).map_or(0, |before| self.ends[before]);
        std::array::from_fn(|column| {
            let cell = &self.text[start..ends[column]];
            start = ends[column];
            cell
        })
    }

    /// A cell.
    pub fn cell(&self, row: usize, column: usize) -> &str {
        let index = row * self.columns + column;
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.text[start..self.ends[index]]
    }

    /// Adds a row of another sheet of the same columns.
    pub fn push_row(&mut self, other: &Self, row: usize) {
        for column in 0..self.columns {
            self.push(other.cell(row, column));
        }
    }

    /// Forgets the rows, and keeps the memory for the next.
    pub fn clear(&mut self) {
        self.text.clear();
        self.ends.clear();
    }
}

/// Judges rows of `INPUT` into rows of `OUTPUT`, in their order, on as many threads as it is given.
pub fn judge_sheet(tables: &Tables, input: &Sheet, threads: usize) -> Result<Vec<Sheet>, BadRow> {
    let rows = input.rows();
    let share = rows.div_ceil(threads.clamp(1, MOST_THREADS)).max(1);
    let parts: Vec<_> = (0..rows).step_by(share).map(|from| from..rows.min(from + share)).collect();
    std::thread::scope(|scope| {
        let begun: Vec<_> = parts
            .into_iter()
            .map(|part| scope.spawn(move || judge_part(tables, input, part)))
            .collect();
        let done = begun
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        done.collect()
    })
}

fn judge_part(
    tables: &Tables,
    input: &Sheet,
    part: std::ops::Range<usize>,
) -> Result<Sheet, BadRow> {
    let mut judge = Judge::new(tables);
    let mut output = Sheet::new(OUTPUT.len());
    output.text.reserve(part.len() * ROW_BYTES);
    output.ends.reserve(part.len() * OUTPUT.len());
    for row in part {
        judge_row(&mut judge, input, row, &mut output)?;
    }
    Ok(output)
}

fn judge_row(
    judge: &mut Judge<'_>,
    input: &Sheet,
    row: usize,
    output: &mut Sheet,
) -> Result<(), BadRow> {
    let cells = input.row::<{ INPUT.len() }>(row);
    let (id, row) = (cells[0], transaction(&cells)?);
    let enrichment = judge.judge(&row);
    let category = &enrichment.category;
    output.push(id);
    let merchant = enrichment.merchant.as_ref();
    output.push(merchant.map_or("", |merchant| &merchant.name));
    output.push(merchant.and_then(|merchant| merchant.website.as_deref()).unwrap_or_default());
    output.push(category.primary.map_or("", Primary::name));
    output.push(category.leaf.map_or("", |leaf| leaf.plaid()));
    output.push_percent(category.confidence.0);
    output.push(category.leaf.map_or("", |leaf| leaf.lender()));
    output.push_with(|text| {
        for (number, flag) in enrichment.flags.names().enumerate() {
            text.push_str(if number == 0 { "" } else { "|" });
            text.push_str(flag);
        }
    });
    output.push(category.source.name());
    output.push_with(|text| {
        let _never = write!(text, "{}", category.reason(row.description));
    });
    Ok(())
}

/// What a row of `INPUT` says.
pub(crate) fn transaction<'a>(cells: &[&'a str; INPUT.len()]) -> Result<Transaction<'a>, BadRow> {
    let [
        id,
        amount,
        description,
        _date,
        currency,
        given_country,
        _account,
        account_type,
        holder_type,
        merchant_name,
        plaid_primary,
        plaid_detailed,
        plaid_confidence,
        mcc,
        _end_user,
    ] = *cells;
    let bad = |trouble| BadRow { id: id.to_owned(), trouble };
    if let Some(trouble) = too_long(description) {
        return Err(bad(trouble));
    }
    let amount = hundredths(amount).ok_or_else(|| {
        bad(format!("amount is {amount:?}; write a decimal such as 12.50, positive for money out"))
    })?;
    Ok(Transaction {
        description,
        amount,
        account: AccountKind::of_plaid(account_type),
        is_business: holder_type.eq_ignore_ascii_case("business"),
        country: country(given_country, currency),
        merchant_name,
        plaid_primary,
        plaid_detailed,
        plaid_confidence,
        mcc,
        ..Transaction::default()
    })
}

/// What is wrong with a description that is the rest of a file.
fn too_long(description: &str) -> Option<String> {
    (description.len() > MOST_DESCRIPTION_BYTES).then(|| {
        format!(
            "description is longer than {MOST_DESCRIPTION_BYTES} bytes; look for a quote that is not closed"
        )
    })
}

/// A decimal in hundredths, cut behind the second place; only its sign and size matter here.
pub fn hundredths(text: &str) -> Option<i64> {
    let (negative, digits) = match text.trim().strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.trim().strip_prefix('+').unwrap_or(text.trim())),
    };
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if digits.is_empty() || digits == "." || !is_number(whole) || !is_number(part) {
        return None;
    }
    let whole: i64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let place = |at: usize| part.as_bytes().get(at).map_or(0, |digit| i64::from(digit - b'0'));
    let mut amount = whole.checked_mul(100)?.checked_add(place(0) * 10 + place(1))?;
    // Less than a hundredth is still money in or out.
    if amount == 0 && part.bytes().any(|digit| digit != b'0') {
        amount = 1;
    }
    Some(if negative { -amount } else { amount })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_decimals_and_nothing_else() {
        assert_eq!(hundredths("12.5"), Some(1_250));
        assert_eq!(hundredths("-0.001"), Some(-1));
        assert_eq!(hundredths("+3"), Some(300));
        for wrong in ["", "-", ".", "1,50", "1e3", "NaN", "12.x", "99999999999999999999"] {
            assert_eq!(hundredths(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn threads_change_nothing() {
        let tables = Tables::new();
        let mut input = Sheet::new(INPUT.len());
        for number in 0..101 {
            let cells =
                [&number.to_string(), "12.50", "TESCO STORES 5504", "2026-02-11", "GBP", "GB"];
            cells.iter().for_each(|cell| input.push(cell));
            (cells.len()..INPUT.len()).for_each(|_| input.push(""));
        }
        let alone = judge_sheet(&tables, &input, 1).unwrap();
        let many = judge_sheet(&tables, &input, 3).unwrap();
        let ids = |sheets: &[Sheet]| -> Vec<String> {
            let of = |sheet: &Sheet| {
                (0..sheet.rows()).map(|row| sheet.cell(row, 0).to_owned()).collect::<Vec<_>>()
            };
            sheets.iter().flat_map(of).collect()
        };
        assert_eq!(ids(&alone), ids(&many));
        assert_eq!(alone[0].cell(0, 1), "Tesco");
        assert_eq!(alone[0].cell(0, 3), "FOOD_AND_DRINK");
    }
}
