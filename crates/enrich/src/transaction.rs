//! What is known of a transaction before it is judged.

/// Kinds of accounts that lines are read differently for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AccountKind {
    /// Not known, or of no consequence.
    #[default]
    Other,
    /// Checking, savings and their kin.
    Depository,
    /// A credit card or line.
    Credit,
    /// A loan.
    Loan,
}

/// A row to judge. Empty texts mean that a thing is not known.
#[derive(Debug, Clone, Copy, Default)]
pub struct Transaction<'a> {
    /// What the bank printed.
    pub description: &'a str,
    /// In minor units and Plaid's sign: positive is money out.
    pub amount: i64,
    /// Kind of the account.
    pub account: AccountKind,
    /// The account is a business's.
    pub is_business: bool,
    /// ISO 3166 code of the bank's country.
    pub country: &'a str,
    /// Plaid's name of the merchant.
    pub merchant_name: &'a str,
    /// Plaid's id of the merchant.
    pub merchant_entity_id: &'a str,
    /// The merchant's website, as Plaid has it.
    pub website: &'a str,
    /// Plaid's primary category, version 1 or 2.
    pub plaid_primary: &'a str,
    /// Plaid's detailed category, version 1 or 2.
    pub plaid_detailed: &'a str,
    /// How sure Plaid is: `VERY_HIGH`, `HIGH`, `MEDIUM`, `LOW`.
    pub plaid_confidence: &'a str,
    /// The card network's merchant category code, four digits.
    pub mcc: &'a str,
}

impl AccountKind {
    /// The kind that Plaid's type of an account names.
    pub fn of_plaid(account_type: &str) -> Self {
        let names =
            [("depository", Self::Depository), ("credit", Self::Credit), ("loan", Self::Loan)];
        let named = names.iter().find(|(name, _)| account_type.eq_ignore_ascii_case(name));
        named.map_or(Self::Other, |(_, kind)| *kind)
    }
}
