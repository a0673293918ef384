//! A life with rhythms: pay, rent, subscriptions, card spending with tips, holds that vanish,
//! refunds, transfers between own accounts. Profiles and merchants are data.

use std::collections::HashMap;
use std::sync::LazyLock;

use jiff::ToSpan;
use jiff::civil::{Date, Weekday};
use rust_decimal::Decimal;
use serde::Deserialize;

use super::merchants::{self, MERCHANTS, Merchant};
use super::products::{self, Portfolio};
use super::{AccountPlan, Available, Balances, Person, each_day};
use crate::draw::Draw;
use crate::ledger::{Description, Plan};

/// Days after which an unclaimed hold expires.
const HOLD_DAYS: i64 = 7;

static PROFILES: LazyLock<HashMap<String, Profile>> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../../data/profiles.json"))
        .expect("the embedded file is checked by a test")
});

const CITIES: [&str; 6] =
    ["PORTLAND OR", "AUSTIN TX", "DENVER CO", "MADISON WI", "RALEIGH NC", "OAKLAND CA"];
const PEOPLE: [&str; 6] =
    ["JORDAN MILLER", "ALEX RIVERA", "SAM OKAFOR", "CASEY NGUYEN", "ROBIN PATEL", "TAYLOR BROOKS"];
const EMPLOYERS: [&str; 5] =
    ["NORTHWIND TRADERS", "CONTOSO LTD", "BLUE YONDER AIR", "LAKESIDE HEALTH", "CITY OF MADISON"];
const COMPANIES: [&str; 5] = [
    "HARBOR COFFEE LLC",
    "PINE STREET BAKERY",
    "ALDER CYCLES INC",
    "SUNSET PRINT CO",
    "MESA CATERING",
];
const CUSTOMERS: [&str; 4] =
    ["VENTURE FOODS INC", "GRANITE HOTELS", "OAK ROW SCHOOLS", "TIDEWATER EVENTS"];

#[derive(Deserialize)]
struct Profile {
    accounts: Vec<AccountData>,
    streams: Vec<StreamData>,
}

#[derive(Deserialize)]
struct AccountData {
    name: String,
    official_name: String,
    mask: String,
    #[serde(rename = "type")]
    account_type: String,
    subtype: String,
    opening: Decimal,
    limit: Option<Decimal>,
    holder_category: Option<String>,
}

/// When something happens.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Rhythm {
    Weekly { weekday: i8, every: i32 },
    Weekdays {},
    Monthly { day: i8 },
    Quarterly { day: i8 },
    Chance { percent: i64 },
}

#[derive(Deserialize)]
struct StreamData {
    key: String,
    account: usize,
    rhythm: Rhythm,
    /// Descriptor, for streams with one fixed counterparty.
    #[serde(default)]
    name: String,
    #[serde(default)]
    cents: [i64; 2],
    #[serde(default)]
    category: String,
    #[serde(default)]
    channel: String,
    merchant: Option<String>,
    /// Group of merchants, for card spending.
    merchants: Option<String>,
    /// Fewest and most days until it posts; without it there is no pending stage.
    posts: Option<[i64; 2]>,
    tip_percent: Option<[i64; 2]>,
    /// Amount held while pending, whatever is bought.
    hold: Option<Decimal>,
    vanish_percent: Option<i64>,
    refund_percent: Option<i64>,
    duplicate_percent: Option<i64>,
    /// How much of the amount each month has, January first, in percent.
    season: Option<[i64; 12]>,
    /// The other account of a transfer.
    to: Option<usize>,
    #[serde(default)]
    to_name: String,
    #[serde(default)]
    to_category: String,
}

pub(super) fn accounts(profile: &str, person: &Person) -> Vec<AccountPlan> {
    let open = |(index, account): (usize, &AccountData)| {
        let mut draw = person.draw(&format!("account/{index}"));
        AccountPlan {
            name: account.name.clone(),
            official_name: Some(account.official_name.clone()),
            mask: Some(fill(&account.mask, &mut draw, person, Date::ZERO)),
            account_type: account.account_type.clone(),
            subtype: Some(account.subtype.clone()),
            currency: "USD".to_owned(),
            limit: account.limit,
            holder_category: account.holder_category.clone(),
            balances: Balances::Follow {
                opening: account.opening + draw.cents(0, 99_999),
                available: Available::Derived,
            },
            portfolio: Portfolio {
                owner: products::owner(&title(person.constant("person", &PEOPLE))),
                ..Portfolio::default()
            },
        }
    };
    PROFILES[profile].accounts.iter().enumerate().map(open).collect()
}

pub(super) fn plans(profile: &str, person: &Person, days: (Date, Date)) -> Vec<Plan> {
    let streams = &PROFILES[profile].streams;
    each_day(days)
        .flat_map(|day| streams.iter().flat_map(move |stream| stream.on(day, person)))
        .collect()
}

/// A card purchase today that nobody planned.
pub(super) fn purchase(person: &Person, account: usize, today: Date, number: u64) -> Plan {
    let label = format!("purchase/{number}");
    let mut draw = person.draw(&label);
    let merchant = draw.pick(&MERCHANTS).expect("the embedded table is not empty");
    let amount = draw.cents(merchant.cents[0], merchant.cents[1]);
    Plan {
        label,
        account,
        occurs_on: today,
        posts_on: today.saturating_add(draw.between(1, 3).days()),
        vanishes_on: None,
        pending_amount: amount,
        amount,
        currency: "USD".to_owned(),
        description: bought(merchant, &mut draw, person, today, "purchase"),
    }
}

impl StreamData {
    /// What this stream brings on a day: nothing, one event, or the two halves of a transfer.
    fn on(&self, day: Date, person: &Person) -> Vec<Plan> {
        if !self.rhythm.may_fall_on(day) {
            return Vec::new();
        }
        let mut draw = person.draw(&format!("{}/{day}", self.key));
        if matches!(self.rhythm, Rhythm::Chance { percent } if !draw.chance(percent)) {
            return Vec::new();
        }
        let choices = self.merchants.as_deref().map_or(&[][..], merchants::group);
        let merchant = draw.pick(choices).copied();
        let [low, high] = merchant.map_or(self.cents, |merchant| merchant.cents);
        let amount = self.in_season(day, draw.cents(low, high));
        let description = match merchant {
            Some(merchant) => bought(merchant, &mut draw, person, day, &self.key),
            None => self.describe(&mut draw, person, day),
        };
        let mut spent = self.spend(day, amount, description, &mut draw);
        let refund = self.refund(&spent, &mut draw);
        let twice = self.charged_twice(&spent, &mut draw);
        let other_half = self.other_half(&mut spent, &mut draw, person);
        [Some(spent), refund, twice, other_half].into_iter().flatten().collect()
    }

    fn spend(&self, day: Date, amount: Decimal, description: Description, draw: &mut Draw) -> Plan {
        let days = self.posts.map_or(0, |[low, high]| draw.between(low, high));
        let vanishes = self.vanish_percent.is_some_and(|percent| draw.chance(percent));
        let tip = self.tip_percent.map_or(0, |[low, high]| draw.between(low, high));
        let tipped = amount + (amount * Decimal::new(tip, 2)).round_dp(2);
        Plan {
            label: format!("{}/{day}", self.key),
            account: self.account,
            occurs_on: day,
            posts_on: day.saturating_add(days.days()),
            vanishes_on: vanishes.then(|| day.saturating_add(HOLD_DAYS.days())),
            pending_amount: self.hold.unwrap_or(amount),
            amount: tipped,
            currency: "USD".to_owned(),
            description,
        }
    }

    fn refund(&self, bought: &Plan, draw: &mut Draw) -> Option<Plan> {
        let refunded = self.refund_percent.is_some_and(|percent| draw.chance(percent));
        let day = bought.posts_on.saturating_add(draw.between(3, 12).days());
        refunded.then(|| Plan {
            label: format!("{}/refund", bought.label),
            occurs_on: day,
            posts_on: day,
            vanishes_on: None,
            pending_amount: -bought.amount,
            amount: -bought.amount,
            ..bought.clone()
        })
    }

    /// The same charge once more by mistake; only the ledger knows.
    fn charged_twice(&self, bought: &Plan, draw: &mut Draw) -> Option<Plan> {
        let twice = self.duplicate_percent.is_some_and(|percent| draw.chance(percent));
        twice.then(|| Plan {
            label: format!("{}/twice", bought.label),
            description: Description {
                duplicate_of: Some(bought.label.clone()),
                ..bought.description.clone()
            },
            ..bought.clone()
        })
    }

    /// The amount as the month has it.
    fn in_season(&self, day: Date, amount: Decimal) -> Decimal {
        let month = usize::from(day.month().unsigned_abs()) - 1;
        match &self.season {
            Some(percents) => (amount * Decimal::new(percents[month], 2)).round_dp(2),
            None => amount,
        }
    }

    fn other_half(&self, first: &mut Plan, draw: &mut Draw, person: &Person) -> Option<Plan> {
        let to = self.to?;
        let label = format!("{}/to", first.label);
        first.description.transfer = Some(label.clone());
        Some(Plan {
            account: to,
            pending_amount: -first.amount,
            amount: -first.amount,
            description: Description {
                name: fill(&self.to_name, draw, person, first.occurs_on),
                category: self.to_category.clone(),
                transfer: Some(first.label.clone()),
                ..first.description.clone()
            },
            label,
            ..first.clone()
        })
    }

    fn describe(&self, draw: &mut Draw, person: &Person, day: Date) -> Description {
        Description {
            name: fill(&self.name, draw, person, day),
            merchant: self.merchant.clone(),
            category: self.category.clone(),
            confidence: "HIGH".to_owned(),
            channel: self.channel.clone(),
            transaction_type: "special".to_owned(),
            stream: Some(self.key.clone()),
            ..Description::default()
        }
    }
}

/// What a purchase at a merchant looks like on a day.
fn bought(
    merchant: &Merchant,
    draw: &mut Draw,
    person: &Person,
    day: Date,
    stream: &str,
) -> Description {
    let name = fill(&merchant.descriptor, draw, person, day);
    Description { stream: Some(stream.to_owned()), ..merchant.description(name) }
}

impl Rhythm {
    /// Whether the calendar allows a day. Drawing is dear, so it is asked first.
    fn may_fall_on(&self, day: Date) -> bool {
        let weekday = day.weekday();
        match *self {
            Self::Weekly { weekday: wanted, every } => {
                let week =
                    day.since(Date::constant(1970, 1, 5)).map_or(0, |span| span.get_days()) / 7;
                weekday.to_monday_one_offset() == wanted && week % every == 0
            }
            Self::Weekdays {} => weekday != Weekday::Saturday && weekday != Weekday::Sunday,
            Self::Monthly { day: wanted } => day.day() == wanted,
            Self::Quarterly { day: wanted } => day.day() == wanted && day.month() % 3 == 1,
            Self::Chance { .. } => true,
        }
    }
}

impl Person {
    fn draw(&self, label: &str) -> Draw {
        Draw::new(self.seed, &format!("{}/{label}", self.label))
    }

    /// One of the choices, the same for this person every time.
    fn constant<'a>(&self, what: &str, choices: &[&'a str]) -> &'a str {
        self.draw(what).pick(choices).copied().unwrap_or_default()
    }
}

/// Puts drawn digits and names into a descriptor's `{placeholders}`.
fn fill(template: &str, draw: &mut Draw, person: &Person, day: Date) -> String {
    let mut text = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        let Some((key, after)) = after.split_once('}') else { break };
        text.push_str(before);
        match key {
            "mmdd" => text.push_str(&day.strftime("%m%d").to_string()),
            "city" => text.push_str(person.constant("city", &CITIES)),
            "person" | "name" => text.push_str(person.constant("person", &PEOPLE)),
            "employer" => text.push_str(person.constant("employer", &EMPLOYERS)),
            "company" => text.push_str(person.constant("company", &COMPANIES)),
            "customer" => text.push_str(draw.pick(&CUSTOMERS).copied().unwrap_or_default()),
            "code" => text.push_str(&code(draw)),
            digits => {
                let count = digits.trim_start_matches('d').parse().unwrap_or(0);
                text.extend((0..count).map(|_| draw.between(0, 9).to_string()));
            }
        }
        rest = after;
    }
    text + rest
}

/// A name in capitals as people write it.
fn title(name: &str) -> String {
    let word = |word: &str| {
        let (first, rest) = word.split_at(1.min(word.len()));
        format!("{first}{}", rest.to_lowercase())
    };
    name.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

fn code(draw: &mut Draw) -> String {
    let letter = |draw: &mut Draw| draw.pick(b"ABCDEFGHJKLMNPQRSTUVWXYZ0123456789").copied();
    (0..9).filter_map(|_| letter(draw)).map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_years_of_each_profile_are_the_same_twice_and_full_of_life() {
        let days = (Date::constant(2024, 11, 1), Date::constant(2026, 10, 31));
        for profile in PROFILES.keys() {
            let person = Person { seed: 1, label: "item/1".to_owned() };
            let first = plans(profile, &person, days);
            assert_eq!(first, plans(profile, &person, days));
            assert!(first.len() > 1_200, "{profile}: {}", first.len());
            assert!(first.iter().any(|plan| plan.vanishes_on.is_some()), "{profile}: holds");
            assert!(first.iter().any(|plan| plan.amount != plan.pending_amount), "{profile}: tips");
            assert!(first.iter().any(|plan| plan.label.ends_with("/refund")), "{profile}: refunds");
            assert!(first.iter().all(|plan| !plan.description.name.contains(['{', '}'])));
            assert!(first.iter().all(|plan| plan.account < PROFILES[profile].accounts.len()));
        }
    }
}
