//! Finds the rhythm of dates: every so many days, every working day, on days of the month. A rhythm is
//! a row of days on which something is due; it holds if most due days have their event, and most events
//! their due day.

use std::collections::BTreeSet;

use jiff::civil::{Date, Weekday};
use model::Cadence;

use super::{date_of, day_number};

/// Least share, in percent, of due days that have an event, and of events that have a due day.
const LEAST_KEPT: usize = 75;
const LEAST_FITTING: usize = 80;
/// Least share of events, in percent, that come within a day of the due one: without it chance fits.
const LEAST_EXACT: usize = 60;
/// Fewest events that a weekday rhythm is believed of.
const LEAST_WEEKDAYS: usize = 10;
/// The day that stands for the last one of every month.
const END_OF_MONTH: i8 = 31;
/// Cadences and the days between two events, about. The usual gap may be a third less, or half more.
const PERIODS: [(Cadence, i32); 11] = [
    (Cadence::Weekdays, 1),
    (Cadence::Weekly, 7),
    (Cadence::Biweekly, 14),
    (Cadence::FourWeekly, 28),
    (Cadence::ThirtyDays, 30),
    (Cadence::SemiMonthly, 15),
    (Cadence::Monthly, 30),
    (Cadence::Bimonthly, 61),
    (Cadence::Quarterly, 91),
    (Cadence::Semiannual, 182),
    (Cadence::Annual, 365),
];
/// Pairs of days of the month that pay comes on, where they are not read off the dates.
const SEMI_MONTHLY: [(i8, i8); 4] = [(1, 15), (15, 31), (5, 20), (10, 25)];
/// Two days of a month that are further apart than a long weekend and its slack.
const LEAST_APART: i8 = 10;
/// How far off events come is read off so many of the latest: a year of months.
const LATEST_SPREAD: usize = 12;
/// What a month's due day may move by: to the working day before, or over a long weekend and a day more.
const MONTHLY_SLACK: (i32, i32) = (-3, 4);

/// A rhythm that dates keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rhythm {
    pub(super) cadence: Cadence,
    due: Due,
    /// Days between due day and event, the smallest and the largest of the latest.
    spread: (i32, i32),
    /// Number of the last due day that had its event.
    last: i32,
    /// Shares of kept due days and of fitting events, multiplied: how well it holds.
    score: usize,
    /// Due days between the first and the last event that had none.
    pub(super) missed: Vec<i32>,
    /// Due days that passed, and those that had an event.
    pub(super) slots: usize,
    pub(super) kept: usize,
}

/// Due days, numbered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    /// Every so many days from a day on.
    Every { step: i32, from: i32 },
    /// Monday to Friday.
    Weekdays,
    /// On a day of every so many months.
    Months { step: i32, phase: i32, day: i8 },
    /// Twice a month.
    Twice { first: i8, second: i8 },
}

/// The rhythm that days keep best, if they keep one. The days rise, and each is there once.
pub(super) fn rhythm(days: &[i32]) -> Option<Rhythm> {
    let fits = candidates(days).into_iter().filter_map(|(cadence, due)| fit(days, cadence, due));
    fits.max_by(|a, b| (a.score, b.cadence).cmp(&(b.score, a.cadence)))
}

impl Rhythm {
    /// The due day so many behind the last that had its event, with the first and last day it may come.
    pub(super) fn next(&self, ahead: i32) -> (i32, i32, i32) {
        let slot = self.last + ahead;
        let due = self.due.day(slot);
        let widest = self.due.slack();
        let (early, late) = (self.spread.0 - 1, self.spread.1 + 1);
        (due, due + early.max(widest.0 - 1), due + late.min(widest.1 + 1))
    }
}

/// Rhythms that the usual gap between days allows.
fn candidates(days: &[i32]) -> Vec<(Cadence, Due)> {
    let mut gaps: Vec<i32> = days.windows(2).map(|pair| pair[1] - pair[0]).collect();
    gaps.sort_unstable();
    let usual = gaps.get(gaps.len() / 2).copied().unwrap_or(0);
    let mut all = Vec::new();
    for (cadence, days_between) in PERIODS {
        if usual * 3 < days_between * 2 || usual * 2 > days_between * 3 {
            continue;
        }
        match cadence {
            Cadence::Weekdays if days.len() >= LEAST_WEEKDAYS => all.push((cadence, Due::Weekdays)),
            Cadence::Weekdays | Cadence::Irregular => {}
            Cadence::Weekly | Cadence::Biweekly | Cadence::FourWeekly | Cadence::ThirtyDays => {
                let from = commonest(days, days_between);
                all.push((cadence, Due::Every { step: days_between, from }));
            }
            Cadence::SemiMonthly => {
                let pairs = SEMI_MONTHLY.into_iter().chain(commonest_days(days));
                all.extend(pairs.map(|(first, second)| (cadence, Due::Twice { first, second })));
            }
            Cadence::Monthly
            | Cadence::Bimonthly
            | Cadence::Quarterly
            | Cadence::Semiannual
            | Cadence::Annual => {
                let step = days_between / 30;
                let of_month: BTreeSet<i8> = days.iter().map(|day| date_of(*day).day()).collect();
                let phases: BTreeSet<i32> =
                    days.iter().map(|day| month_of(*day).rem_euclid(step)).collect();
                for phase in phases {
                    let due = |day: &i8| (cadence, Due::Months { step, phase, day: *day });
                    all.extend(of_month.iter().chain(&[END_OF_MONTH]).map(due));
                }
            }
        }
    }
    all
}

/// The commonest place of days in a period; of equals the later.
fn commonest(days: &[i32], step: i32) -> i32 {
    let place = |day: &i32| day.rem_euclid(step);
    let count = |at: i32| days.iter().filter(|day| place(day) == at).count();
    days.iter().map(place).max_by_key(|at| count(*at)).unwrap_or(0)
}

/// The two days of the month that most events fall on.
fn commonest_days(days: &[i32]) -> Option<(i8, i8)> {
    let mut counts = [(0_usize, 0_i8); 31];
    for day in days {
        let of_month = date_of(*day).day();
        let count = &mut counts[usize::from(of_month.unsigned_abs()) - 1];
        *count = (count.0 + 1, of_month);
    }
    counts.sort_unstable_by(|a, b| b.cmp(a));
    let (first, second) = (counts[0].1.min(counts[1].1), counts[0].1.max(counts[1].1));
    (counts[1].0 > 1 && second - first >= LEAST_APART).then_some((first, second))
}

/// How well days keep to due days; none if not well enough.
fn fit(days: &[i32], cadence: Cadence, due: Due) -> Option<Rhythm> {
    let slack = due.slack();
    let mut kept: Vec<(i32, i32)> = Vec::new();
    let mut exact = 0;
    for day in days {
        let slot = due.nearest(*day);
        let off = day - due.day(slot);
        let again = kept.last().is_some_and(|(last, _)| *last == slot);
        if (slack.0..=slack.1).contains(&off) && !again {
            exact += usize::from(off.abs() <= 1);
            kept.push((slot, off));
        }
    }
    let (first, last) = (kept.first()?.0, kept.last()?.0);
    let slots = usize::try_from(last - first + 1).unwrap_or(usize::MAX);
    let holds = kept.len() * 100 >= slots * LEAST_KEPT
        && kept.len() * 100 >= days.len() * LEAST_FITTING
        && exact * 100 >= days.len() * LEAST_EXACT;
    if !holds {
        return None;
    }
    // Of due days that hold equally well, those that events come closest to.
    let off: usize = kept.iter().map(|(_, off)| off.unsigned_abs() as usize).sum();
    let holds = (kept.len() * 1_000 / slots) * (kept.len() * 1_000 / days.len());
    let score = (holds + exact * 1_000 / days.len()).saturating_sub(off * 100 / kept.len());
    let has_event = |slot: &i32| kept.binary_search_by_key(slot, |(slot, _)| *slot).is_ok();
    let missed = (first..=last).filter(|slot| !has_event(slot)).map(|slot| due.day(slot)).collect();
    let latest = kept.iter().rev().take(LATEST_SPREAD).map(|(_, off)| *off);
    let spread = (latest.clone().min()?, latest.max()?);
    Some(Rhythm { cadence, due, spread, last, score, missed, slots, kept: kept.len() })
}

impl Due {
    /// The due day with a number.
    fn day(self, slot: i32) -> i32 {
        match self {
            Self::Every { step, from } => from + slot * step,
            // Five a week; day 4 was a Monday.
            Self::Weekdays => 4 + slot.div_euclid(5) * 7 + slot.rem_euclid(5),
            Self::Months { step, phase, day } => day_of_month(slot * step + phase, day),
            Self::Twice { first, second } => {
                let day = if slot.rem_euclid(2) == 0 { first } else { second };
                day_of_month(slot.div_euclid(2), day)
            }
        }
    }

    /// The number of the due day closest to a day.
    fn nearest(self, day: i32) -> i32 {
        let about = match self {
            Self::Every { step, from } => (day - from).div_euclid(step),
            Self::Weekdays => (day - 4).div_euclid(7) * 5 + (day - 4).rem_euclid(7).min(4),
            Self::Months { step, phase, .. } => (month_of(day) - phase).div_euclid(step),
            Self::Twice { .. } => month_of(day) * 2,
        };
        let close = about - 2..=about + 3;
        close.min_by_key(|slot| (self.day(*slot) - day).abs()).unwrap_or(about)
    }

    /// What an event may be off, early and late.
    fn slack(self) -> (i32, i32) {
        match self {
            Self::Every { step: 7, .. } => (-1, 1),
            Self::Every { step: 14, .. } => (-2, 2),
            Self::Every { .. } => (-2, 3),
            Self::Weekdays => (0, 0),
            Self::Months { .. } | Self::Twice { .. } => MONTHLY_SLACK,
        }
    }
}

/// Months since January 1970.
fn month_of(day: i32) -> i32 {
    let date = date_of(day);
    (i32::from(date.year()) - 1970) * 12 + i32::from(date.month()) - 1
}

/// A day of a month, counted from January 1970; the last one where the month is shorter.
fn day_of_month(month: i32, day: i8) -> i32 {
    let year = i16::try_from(1970 + month.div_euclid(12)).unwrap_or(i16::MAX);
    let of_year = i8::try_from(month.rem_euclid(12) + 1).unwrap_or(1);
    let first = Date::new(year, of_year, 1).unwrap_or(Date::MAX);
    day_number(first) + i32::from(day.min(first.days_in_month())) - 1
}

/// The next day at or behind a day that is no weekend: banks book nothing on those.
pub(super) fn working_day(day: i32) -> i32 {
    match date_of(day).weekday() {
        Weekday::Saturday => day + 2,
        Weekday::Sunday => day + 1,
        _ => day,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> i32 {
        day_number(text.parse().unwrap())
    }

    #[test]
    fn due_days_are_numbered_both_ways() {
        let all = [
            Due::Every { step: 14, from: 3 },
            Due::Weekdays,
            Due::Months { step: 3, phase: 1, day: 31 },
            Due::Twice { first: 15, second: 31 },
        ];
        for due in all {
            for slot in 1_000..1_200 {
                assert_eq!(due.nearest(due.day(slot)), slot, "{due:?}");
                assert!(due.day(slot) < due.day(slot + 1), "{due:?}");
            }
        }
        assert_eq!(date_of(Due::Weekdays.day(0)).weekday(), Weekday::Monday);
    }

    #[test]
    fn rent_is_monthly_over_short_months_and_weekends() {
        let dates =
            ["2026-01-30", "2026-02-28", "2026-03-31", "2026-04-30", "2026-06-01", "2026-06-30"];
        let found = rhythm(&dates.map(day)).unwrap();
        assert_eq!(found.cadence, Cadence::Monthly);
        let (due, from, to) = found.next(1);
        assert!(from <= due && due <= to && (from..=to).contains(&day("2026-07-31")));
        assert!(to - from <= 7);
    }

    #[test]
    fn pay_comes_every_other_friday_and_not_every_month() {
        let days: Vec<i32> = (0..9).map(|n| day("2026-01-02") + 14 * n).collect();
        let found = rhythm(&days).unwrap();
        assert_eq!(found.cadence, Cadence::Biweekly);
        assert_eq!(found.next(1).0, days[8] + 14);
    }

    #[test]
    fn chance_has_no_rhythm() {
        let mut state = 7_u32;
        let mut draw = move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            i32::try_from(state >> 27).unwrap()
        };
        let mut found = 0;
        for _ in 0..200 {
            let mut at = 20_000;
            let days: Vec<i32> = (0..20)
                .map(|_| {
                    at += 1 + draw();
                    at
                })
                .collect();
            found += usize::from(rhythm(&days).is_some());
        }
        assert_eq!(found, 0);
    }
}
