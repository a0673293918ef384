//! What judgement adds to a transaction; every decision carries how sure it is and why.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use crate::category::{Leaf, Primary};

/// How often a decision like this is right, in hundredths: measured where there were rows, else a
/// judgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percent(pub u8);

/// Who decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Layer {
    /// A rule about how banks print what is no purchase.
    Rule,
    /// The merchant is known.
    Merchant,
    /// Words in the merchant's name.
    Words,
    /// The card network's merchant category code.
    Code,
    /// The learned model.
    Model,
    /// Plaid's own category.
    Plaid,
    /// The kind of payment and its direction, when nothing else is known.
    Direction,
}

/// One thing that speaks for a decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// Where it comes from.
    pub layer: Layer,
    /// The rule, the merchant, Plaid's category: what in that layer.
    pub what: &'static str,
    /// The bytes of the description it was found in; empty when it comes from elsewhere.
    pub span: Range<u32>,
}

/// What a transaction is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Category {
    /// Plaid's primary category, version 2; none when nothing says anything.
    pub primary: Option<Primary>,
    /// The leaf; none when only the primary can be said.
    pub leaf: Option<Leaf>,
    /// How sure.
    pub confidence: Percent,
    /// The layer that decided.
    pub source: Layer,
    /// Everything that speaks for it, the strongest first; never empty.
    pub evidence: Vec<Evidence>,
    /// The next primaries and how likely they were.
    pub runners_up: [Option<(Primary, Percent)>; 2],
}

/// Who was paid or who paid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merchant {
    /// The name that people use.
    pub name: Cow<'static, str>,
    /// Its website, without a scheme.
    pub website: Option<Cow<'static, str>>,
    /// The same for every line that names this merchant alike; for known merchants, for all lines.
    pub key: Cow<'static, str>,
    /// How sure.
    pub confidence: Percent,
    /// Where it was found.
    pub evidence: Evidence,
}

/// What a counterparty does in a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Sold or bought.
    Merchant,
    /// Took the card or passed the money on.
    Processor,
    /// Brought the two sides together.
    Marketplace,
    /// A bank.
    Bank,
    /// A person.
    Person,
}

/// Somebody in a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counterparty {
    /// Its name.
    pub name: Cow<'static, str>,
    /// What it does here.
    pub role: Role,
}

/// Which way the money went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Into the account.
    In,
    /// Out of it.
    Out,
}

/// Something else that is to be said of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Flag {
    /// Between the holder's own accounts.
    Transfer,
    /// Money back for an earlier payment.
    Refund,
    /// A fee of the bank.
    Fee,
    /// For lack of money.
    Nsf,
    /// For an overdraft.
    Overdraft,
    /// An item came back.
    Returned,
    /// Notes and coins.
    Cash,
    /// A check.
    Check,
    /// Pay, benefits, pensions, interest.
    Income,
    /// An advance on wages, or its repayment.
    PaydayAdvance,
    /// An advance on a business's sales, or its repayment.
    MerchantCashAdvance,
    /// A game for money.
    Gambling,
    /// A loan.
    Loan,
    /// Paid in installments.
    Installments,
    /// A tax.
    Tax,
    /// A court's or an authority's order.
    Legal,
    /// A debt collector.
    Collections,
    /// A customer took a payment back.
    Chargeback,
    /// What a business sold.
    Revenue,
    /// Wages that a business paid.
    Payroll,
    /// The owner's own money.
    Owner,
    /// By wire.
    Wire,
    /// Between people.
    Person,
    /// Coins that are no money.
    Crypto,
    /// Into or out of an investment.
    Investment,
    /// Comes again by contract.
    Recurring,
    /// May be an earlier row once more.
    PossibleDuplicate,
}

/// A set of flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags(u32);

/// What judgement adds to a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enrichment {
    /// Which way the money went.
    pub direction: Direction,
    /// What it is about.
    pub category: Category,
    /// Who it was with; none for what has no merchant.
    pub merchant: Option<Merchant>,
    /// Processors and people beside the merchant.
    pub counterparties: Vec<Counterparty>,
    /// What else is to be said.
    pub flags: Flags,
    /// How the line says it was paid: `card`, `ach`, `direct_debit`, …; empty when it does not.
    pub channel: &'static str,
    /// The bytes of the description that name the other side.
    pub description: Range<u32>,
    /// The bytes of the description that say where it was; empty when it does not.
    pub location: Range<u32>,
}

impl Flag {
    const ALL: [(Self, &'static str); 27] = [
        (Self::Transfer, "transfer"),
        (Self::Refund, "refund"),
        (Self::Fee, "fee"),
        (Self::Nsf, "nsf"),
        (Self::Overdraft, "overdraft"),
        (Self::Returned, "returned"),
        (Self::Cash, "cash"),
        (Self::Check, "check"),
        (Self::Income, "income"),
        (Self::PaydayAdvance, "payday_advance"),
        (Self::MerchantCashAdvance, "merchant_cash_advance"),
        (Self::Gambling, "gambling"),
        (Self::Loan, "loan"),
        (Self::Installments, "installments"),
        (Self::Tax, "tax"),
        (Self::Legal, "legal"),
        (Self::Collections, "collections"),
        (Self::Chargeback, "chargeback"),
        (Self::Revenue, "revenue"),
        (Self::Payroll, "payroll"),
        (Self::Owner, "owner"),
        (Self::Wire, "wire"),
        (Self::Person, "person"),
        (Self::Crypto, "crypto"),
        (Self::Investment, "investment"),
        (Self::Recurring, "recurring"),
        (Self::PossibleDuplicate, "possible_duplicate"),
    ];

    /// The flag of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, known)| *known == name).map(|(flag, _)| *flag)
    }
}

impl Flags {
    /// Whether a flag is set.
    pub fn has(self, flag: Flag) -> bool {
        self.0 & (1 << flag as u8) != 0
    }

    /// Sets a flag.
    pub fn set(&mut self, flag: Flag) {
        self.0 |= 1 << flag as u8;
    }

    /// The names of those that are set.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Flag::ALL.into_iter().filter(move |(flag, _)| self.has(*flag)).map(|(_, name)| name)
    }
}

impl FromIterator<Flag> for Flags {
    fn from_iter<T: IntoIterator<Item = Flag>>(flags: T) -> Self {
        let mut set = Self::default();
        flags.into_iter().for_each(|flag| set.set(flag));
        set
    }
}

impl Layer {
    /// Its name in every answer.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rule => "rule",
            Self::Merchant => "merchant",
            Self::Words => "words",
            Self::Code => "merchant_category_code",
            Self::Model => "model",
            Self::Plaid => "plaid",
            Self::Direction => "direction",
        }
    }
}

impl Category {
    /// Why, in words: each piece of evidence with the words of the description it was found in.
    pub fn reason<'a>(&'a self, description: &'a str) -> Reason<'a> {
        Reason { evidence: &self.evidence, description }
    }
}

impl Merchant {
    /// Why, in words.
    pub fn reason<'a>(&'a self, description: &'a str) -> Reason<'a> {
        Reason { evidence: std::slice::from_ref(&self.evidence), description }
    }
}

/// Evidence as people read it.
#[derive(Debug)]
pub struct Reason<'a> {
    evidence: &'a [Evidence],
    description: &'a str,
}

impl fmt::Display for Reason<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, evidence) in self.evidence.iter().enumerate() {
            if number > 0 {
                formatter.write_str("; ")?;
            }
            formatter.write_str(evidence.layer.name())?;
            if !evidence.what.is_empty() {
                write!(formatter, " {}", evidence.what)?;
            }
            let span = evidence.span.start as usize..evidence.span.end as usize;
            let found = self.description.get(span).unwrap_or_default().trim();
            if !found.is_empty() {
                write!(formatter, " \"{found}\"")?;
            }
        }
        Ok(())
    }
}
