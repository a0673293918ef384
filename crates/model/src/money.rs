//! An amount in minor units with its currency, and the only rounding in the system.

use std::fmt;
use std::str::FromStr;

use rust_decimal::{Decimal, RoundingStrategy};

/// Decimal places kept for currencies without an ISO 4217 code, such as crypto currencies.
pub const UNOFFICIAL_EXPONENT: u32 = 8;

/// A currency and the number of decimal places of its minor unit.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Currency {
    code: String,
    exponent: u32,
}

impl Currency {
    /// Whether a code is one of ISO 4217.
    pub fn is_iso(code: &str) -> bool {
        iso_currency::Currency::from_code(code).is_some()
    }

    /// The currency of an ISO 4217 code; a code the table does not know is treated as unofficial.
    pub fn iso(code: &str) -> Self {
        let exponent = iso_currency::Currency::from_code(code)
            .and_then(iso_currency::Currency::exponent)
            .map_or(UNOFFICIAL_EXPONENT, u32::from);
        Self { code: code.to_owned(), exponent }
    }

    /// A currency that only Plaid's `unofficial_currency_code` names.
    pub fn unofficial(code: &str) -> Self {
        Self { code: code.to_owned(), exponent: UNOFFICIAL_EXPONENT }
    }

    /// The currency of this code, as records have it.
    pub fn of_code(code: &str) -> Self {
        if Self::is_iso(code) { Self::iso(code) } else { Self::unofficial(code) }
    }

    /// The code.
    pub fn code(&self) -> &str {
        &self.code
    }

    /// Decimal places of the minor unit.
    pub fn exponent(&self) -> u32 {
        self.exponent
    }
}

/// Why a number is no amount.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// Not a decimal number.
    #[error("the amount is not a decimal number of at most 28 digits")]
    NotDecimal,
    /// More minor units than a 64-bit integer holds.
    #[error("the amount does not fit into 64 bits of minor units")]
    Overflow,
}

/// An integer of minor units with a currency.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Money {
    minor: i64,
    currency: Currency,
}

impl Money {
    /// An amount that is already in minor units.
    pub fn from_minor(minor: i64, currency: Currency) -> Self {
        Self { minor, currency }
    }

    /// Reads a decimal number's text and rounds half away from zero to the minor unit. The flag
    /// says whether the text was exact.
    pub fn parse(text: &str, currency: Currency) -> Result<(Self, bool), MoneyError> {
        let decimal = Decimal::from_str(text)
            .or_else(|_| Decimal::from_scientific(text))
            .map_err(|_| MoneyError::NotDecimal)?;
        let rounded = decimal
            .round_dp_with_strategy(currency.exponent, RoundingStrategy::MidpointAwayFromZero);
        let scale = Decimal::from(10_u64.pow(currency.exponent));
        let minor = rounded
            .checked_mul(scale)
            .and_then(|units| i64::try_from(units).ok())
            .ok_or(MoneyError::Overflow)?;
        Ok((Self { minor, currency }, rounded == decimal))
    }

    /// Minor units.
    pub fn minor(&self) -> i64 {
        self.minor
    }

    /// The currency.
    pub fn currency(&self) -> &Currency {
        &self.currency
    }
}

/// An amount of a record in minor units. Its text was written from them, with all the decimals of the
/// currency, so reading it back loses nothing.
pub fn minor_units(amount: &str) -> i64 {
    let digits: String = amount.chars().filter(|c| *c != '.').collect();
    digits.parse().unwrap_or_default()
}

/// A decimal number's text without an exponent and otherwise digit for digit.
pub fn plain_decimal(text: &str) -> Result<String, MoneyError> {
    let decimal = Decimal::from_str_exact(text)
        .or_else(|_| Decimal::from_scientific(text))
        .map_err(|_| MoneyError::NotDecimal)?;
    Ok(decimal.to_string())
}

/// The amount as a decimal string with all places of the minor unit and no currency.
impl fmt::Display for Money {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        Decimal::from_i128_with_scale(i128::from(self.minor), self.currency.exponent).fmt(formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usd(text: &str) -> (i64, bool) {
        let (money, exact) = Money::parse(text, Currency::iso("USD")).expect("an amount");
        (money.minor(), exact)
    }

    #[test]
    fn rounds_half_away_from_zero_once() {
        assert_eq!(usd("5.4"), (540, true));
        assert_eq!(usd("-4.22"), (-422, true));
        assert_eq!(usd("0.005"), (1, false));
        assert_eq!(usd("-0.005"), (-1, false));
        assert_eq!(usd("23631.9805"), (2_363_198, false));
        assert_eq!(usd("1e3"), (100_000, true));
    }

    #[test]
    fn exponents_follow_the_currency() {
        let minor = |text, currency| Money::parse(text, currency).expect("an amount").0;
        assert_eq!(minor("500", Currency::iso("JPY")).to_string(), "500");
        assert_eq!(minor("1.2345", Currency::iso("KWD")).to_string(), "1.235");
        assert_eq!(minor("0.1", Currency::unofficial("DOGE")).to_string(), "0.10000000");
        assert_eq!(minor("12", Currency::iso("USD")).to_string(), "12.00");
    }

    #[test]
    fn refuses_what_is_no_amount() {
        let parse = |text| Money::parse(text, Currency::iso("USD")).map(|_| ());
        assert_eq!(parse("NaN"), Err(MoneyError::NotDecimal));
        assert_eq!(parse(""), Err(MoneyError::NotDecimal));
        assert_eq!(parse("1e300"), Err(MoneyError::NotDecimal));
        assert_eq!(parse("92233720368547758.08"), Err(MoneyError::Overflow));
    }
}
