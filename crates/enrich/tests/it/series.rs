//! What rows say together, on small books written by hand: each case has what must be found and what
//! looks like it and must not be.

use enrich::{
    AccountKind, Enrichment, Entry, Holding, Judge, Pairing, Posting, Reading, Series, Tables,
    Transaction, balance_history, series,
};
use jiff::ToSpan;
use jiff::civil::Date;
use model::{Basis, Cadence, Recurring, RecurringKind, RecurringState};

/// An account, a day, an amount in cents with Plaid's sign, the bank's text.
type Line = (usize, &'static str, i64, &'static str);

/// Rows and accounts of one end user; a row's id is its place.
struct Book {
    lines: Vec<(usize, Date, i64, String)>,
    holdings: Vec<Holding<'static>>,
    decided: Vec<(usize, Pairing<'static>)>,
}

const CHECKING: usize = 0;
const SAVINGS: usize = 1;
const CARD: usize = 2;

fn date(text: &str) -> Date {
    text.parse().unwrap()
}

impl Book {
    fn of(lines: &[Line]) -> Self {
        let holding = |kind, mask| Holding { kind, mask, ..Holding::default() };
        let lines = lines
            .iter()
            .map(|(account, day, amount, text)| (*account, date(day), *amount, (*text).to_owned()));
        Self {
            lines: lines.collect(),
            holdings: vec![
                holding(AccountKind::Depository, "1111"),
                holding(AccountKind::Depository, "2222"),
                holding(AccountKind::Credit, "3333"),
            ],
            decided: Vec::new(),
        }
    }

    /// So many equal lines, one every so many days.
    fn every(days: i64, count: i64, (account, first, amount, text): Line) -> Self {
        let mut book = Self::of(&[]);
        book.lines = (0..count)
            .map(|n| {
                (account, date(first).saturating_add((days * n).days()), amount, text.to_owned())
            })
            .collect();
        book
    }

    fn and(mut self, other: Self) -> Self {
        self.lines.extend(other.lines);
        self
    }

    fn judged(&self) -> Vec<Enrichment> {
        let tables = Tables::new();
        let mut judge = Judge::new(&tables);
        let judge = |(account, _, amount, text): &(usize, Date, i64, String)| {
            judge.judge(&Transaction {
                description: text,
                amount: *amount,
                account: self.holdings[*account].kind,
                country: "US",
                ..Transaction::default()
            })
        };
        self.lines.iter().map(judge).collect()
    }

    fn series(&self) -> Series {
        let order: Vec<usize> = (0..self.lines.len()).collect();
        self.series_in(&order)
    }

    /// The same, with the rows handed in in another order; ties come back in that order.
    fn series_in(&self, order: &[usize]) -> Series {
        let judged = self.judged();
        let ids: Vec<String> = (0..self.lines.len()).map(|n| format!("{n:03}")).collect();
        let entries: Vec<Entry<'_>> = order
            .iter()
            .map(|at| {
                let ((account, date, amount, text), said) = (&self.lines[*at], &judged[*at]);
                Entry {
                    id: &ids[*at],
                    account: *account,
                    date: *date,
                    amount: *amount,
                    currency: "USD",
                    description: text,
                    merchant: said.merchant.as_ref().map(|it| (&*it.key, &*it.name)),
                    leaf: said.category.leaf,
                    flags: said.flags,
                    decided: self.decided.iter().find(|(of, _)| of == at).map(|(_, it)| *it),
                }
            })
            .collect();
        series(&entries, &self.holdings)
    }

    /// The other half of each row that has one.
    fn pairs(&self) -> Vec<(usize, usize)> {
        let other = |(at, ties): (usize, &enrich::Ties)| {
            Some((at, ties.transfer.as_ref()?.other.as_ref()?.parse().unwrap()))
        };
        self.series().ties.iter().enumerate().filter_map(other).collect()
    }

    fn duplicates(&self) -> Vec<(usize, usize)> {
        let of = |(at, ties): (usize, &enrich::Ties)| {
            Some((at, ties.duplicate.as_ref()?.of.parse().unwrap()))
        };
        self.series().ties.iter().enumerate().filter_map(of).collect()
    }

    fn refunds(&self) -> Vec<(usize, usize)> {
        let of = |(at, ties): (usize, &enrich::Ties)| {
            Some((at, ties.refund.as_ref()?.of.parse().unwrap()))
        };
        self.series().ties.iter().enumerate().filter_map(of).collect()
    }

    fn recurring(&self) -> Vec<Recurring> {
        self.series().whole.recurring
    }
}

#[test]
fn halves_of_transfers_find_each_other_among_equal_amounts() {
    let book = Book::of(&[
        (CHECKING, "2026-03-02", 50_000, "ONLINE TRANSFER TO SAV ...2222 TRANSACTION#: 1234567890"),
        (SAVINGS, "2026-03-03", -50_000, "ONLINE TRANSFER FROM CHK ...1111"),
        // The same amount on the same days: pay, a purchase, money from a friend.
        (CHECKING, "2026-03-02", -50_000, "ACME DES:PAYROLL ID:123456789 INDN:JO MILLER PPD"),
        (CARD, "2026-03-03", 50_000, "BEST BUY 00001234"),
        (CHECKING, "2026-03-03", -50_000, "ZELLE PAYMENT FROM ALEX RIVERA CONF# A1B2C3"),
        (CHECKING, "2026-03-09", 212_345, "REWARDS CARD ONLINE PAYMENT 12345678"),
        (CARD, "2026-03-10", -212_345, "ONLINE PAYMENT - THANK YOU"),
    ]);
    assert_eq!(book.pairs(), [(0, 1), (1, 0), (5, 6), (6, 5)]);
    let ties = book.series().ties;
    let half = |at: usize| ties[at].transfer.clone().unwrap();
    assert_eq!((half(0).pair, half(1).pair), (Some("000".to_owned()), Some("000".to_owned())));
    assert!(half(0).confidence.0 >= 97 && half(0).reason.contains("a day apart"));
}

#[test]
fn equal_transfers_pair_with_the_nearest_and_each_only_once() {
    let out = "ONLINE TRANSFER TO SAV ...2222";
    let into = "ONLINE TRANSFER FROM CHK ...1111";
    let book = Book::of(&[
        (CHECKING, "2026-03-02", 10_000, out),
        (CHECKING, "2026-03-04", 10_000, out),
        (SAVINGS, "2026-03-04", -10_000, into),
        (SAVINGS, "2026-03-02", -10_000, into),
    ]);
    assert_eq!(book.pairs(), [(0, 3), (1, 2), (2, 1), (3, 0)]);
}

#[test]
fn a_half_whose_other_never_comes_went_to_an_account_that_is_not_connected() {
    let lines: [Line; 2] = [
        (CHECKING, "2026-03-02", 10_000, "ONLINE TRANSFER TO SAV ...9999"),
        (CHECKING, "2026-03-05", 450, "STARBUCKS STORE 12345"),
    ];
    let soon = Book::of(&lines).series().ties;
    assert_eq!(soon[0].transfer, None, "it may still come");
    let later = Book::of(&lines)
        .and(Book::of(&[(SAVINGS, "2026-03-09", -12, "INTEREST PAYMENT")]))
        .series();
    let half = later.ties[0].transfer.clone().unwrap();
    assert_eq!((half.pair, half.other), (None, None));
    assert!(half.reason.contains("not connected"));
    assert!(later.ties[1..].iter().all(|ties| ties.transfer.is_none()));
}

#[test]
fn what_was_earned_or_bought_is_no_transfer() {
    let book = Book::of(&[
        (CHECKING, "2026-03-02", 40_000, "ZELLE PAYMENT TO ROOMMATE CONF# AB12CD"),
        (SAVINGS, "2026-03-02", -40_000, "MOBILE DEPOSIT"),
        (CARD, "2026-03-05", 2_599, "AMZN Mktp US*AB12CD345"),
        (CHECKING, "2026-03-05", -2_599, "VENMO CASHOUT"),
        (CHECKING, "2026-03-07", 3_400, "OVERDRAFT ITEM FEE"),
        (SAVINGS, "2026-03-07", -3_400, "INTEREST PAYMENT"),
        // Transfers to people and landlords, beside money that came from elsewhere.
        (CHECKING, "2026-03-12", 25_000, "TRANSFER TO MARIA GARCIA"),
        (SAVINGS, "2026-03-12", -25_000, "DEPOSIT"),
        (CHECKING, "2026-03-15", 8_713, "TRANSFER TO MARIA GARCIA"),
        (SAVINGS, "2026-03-17", -8_713, "CHECK DEPOSIT"),
        (CHECKING, "2026-03-20", 100_000, "TRANSFER TO LANDLORD RENT"),
        (SAVINGS, "2026-03-20", -100_000, "TRANSFER FROM PAYPAL"),
    ]);
    assert_eq!(book.pairs(), []);
}

#[test]
fn a_person_pairs_and_parts() {
    let mut book = Book::of(&[
        (CHECKING, "2026-03-02", 10_000, "CHECK 1201"),
        (SAVINGS, "2026-03-20", -10_000, "DEPOSIT"),
        (CHECKING, "2026-03-02", 20_000, "ONLINE TRANSFER TO SAV ...2222"),
        (SAVINGS, "2026-03-02", -20_000, "ONLINE TRANSFER FROM CHK ...1111"),
    ]);
    book.decided = vec![(1, Pairing::With("000")), (2, Pairing::Alone)];
    assert_eq!(book.pairs(), [(0, 1), (1, 0)]);
    book.decided.push((0, Pairing::Alone));
    assert_eq!(book.pairs(), [], "what is said of the other half stands, too");
}

#[test]
fn money_back_names_the_payment_it_is_for() {
    let book = Book::of(&[
        (CARD, "2026-03-02", 8_000, "TARGET        00012345"),
        (CARD, "2026-03-05", 5_000, "TARGET        00054321"),
        (CARD, "2026-03-10", -5_000, "TARGET        00054321"),
        (CARD, "2026-03-12", -3_000, "TARGET        00012345"),
        // More than what is left of any payment.
        (CARD, "2026-03-14", -6_000, "TARGET        00012345"),
        (CHECKING, "2026-03-20", 3_400, "OVERDRAFT ITEM FEE"),
        (CHECKING, "2026-03-22", -3_400, "OVERDRAFT FEE REVERSAL"),
        (CARD, "2026-03-22", 0, "TARGET        00012345"),
        // Gig work is no refund of a ride.
        (CHECKING, "2026-03-20", 1_500, "UBER   *TRIP HELP.UBER.COM"),
        (
            CHECKING,
            "2026-03-24",
            -1_500,
            "UBER USA 6787 DES:EDI PAYM ID:AB INDN:JO CO ID:1234567890 CCD",
        ),
    ]);
    assert_eq!(book.refunds(), [(2, 1), (3, 0), (6, 5)]);
    let bounced = Book::of(&[
        (CHECKING, "2026-03-02", -250_000, "MOBILE DEPOSIT"),
        (CHECKING, "2026-03-05", 250_000, "DEPOSITED ITEM RETURNED"),
    ]);
    assert_eq!(bounced.refunds(), [(1, 0)]);
    assert_eq!(bounced.series().whole.income, [], "what bounced was not earned");
}

#[test]
fn a_charge_that_stands_twice_is_marked_and_customs_are_not() {
    let book = Book::of(&[
        (CARD, "2026-03-02", 4_215, "CHIPOTLE 1234 PORTLAND OR"),
        (CARD, "2026-03-02", 4_215, "CHIPOTLE 1234 PORTLAND OR"),
        (CHECKING, "2026-03-05", 9_900, "CHECK 10012345"),
        (CHECKING, "2026-03-07", 9_900, "CHECK 10012345"),
        // The number of a shop stands in all its lines.
        (CARD, "2026-03-12", 450, "DUTCH BROS 8005551234 OR"),
        (CARD, "2026-03-13", 450, "DUTCH BROS 8005551234 OR"),
        // Other stores, other amounts, fees asked twice, cash drawn twice.
        (CARD, "2026-03-09", 500, "STARBUCKS STORE 12345"),
        (CARD, "2026-03-09", 500, "STARBUCKS STORE 54321"),
        (CHECKING, "2026-03-09", 3_400, "OVERDRAFT ITEM FEE"),
        (CHECKING, "2026-03-09", 3_400, "OVERDRAFT ITEM FEE"),
        (CHECKING, "2026-03-09", 10_000, "ATM WITHDRAWAL 001234 PORTLAND OR"),
        (CHECKING, "2026-03-09", 10_000, "ATM WITHDRAWAL 001234 PORTLAND OR"),
    ]);
    assert_eq!(book.duplicates(), [(1, 0), (3, 2)]);
    // A fare there and a fare back, day by day.
    let fares = Book::every(1, 10, (CARD, "2026-03-02", 290, "MTA NYCT PAYGO NEW YORK NY"));
    let both = Book::every(1, 10, (CARD, "2026-03-02", 290, "MTA NYCT PAYGO NEW YORK NY"));
    assert_eq!(fares.and(both).duplicates(), []);
}

#[test]
fn an_account_that_two_logins_show_is_one() {
    let lines: Vec<Line> = vec![
        (CHECKING, "2026-03-02", 450, "STARBUCKS STORE 12345"),
        (CHECKING, "2026-03-03", 1_450, "CHIPOTLE 1234"),
        (CHECKING, "2026-03-04", 2_450, "KROGER #123"),
        (CHECKING, "2026-03-05", 3_450, "ALDI 12345"),
        (CHECKING, "2026-03-06", 450, "STARBUCKS STORE 12345"),
        (CHECKING, "2026-03-06", 450, "STARBUCKS STORE 99999"),
    ];
    let again = lines.iter().map(|line| (SAVINGS, line.1, line.2, line.3)).collect::<Vec<_>>();
    let mut book = Book::of(&lines).and(Book::of(&again));
    book.holdings[SAVINGS] = Holding { login: 1, ..book.holdings[CHECKING] };
    let pairs: Vec<(usize, usize)> = (0..6).map(|n| (n + 6, n)).collect();
    assert_eq!(book.duplicates(), pairs);
    // Another account of the same person, with another number.
    book.holdings[SAVINGS].mask = "7777";
    assert_eq!(book.duplicates(), []);
}

#[test]
fn a_subscription_says_when_it_comes_next_and_what_it_costs_now() {
    let months =
        ["2025-10-05", "2025-11-05", "2025-12-05", "2026-01-05", "2026-02-05", "2026-03-05"];
    let mut book = Book::of(&[]);
    for (n, month) in months.into_iter().enumerate() {
        let amount = if n == 5 { 1_799 } else { 1_549 };
        book.lines.push((CARD, date(month), amount, "NETFLIX.COM 866-579-7172 CA".to_owned()));
    }
    let found = book.recurring();
    assert_eq!(found.len(), 1);
    let found = &found[0];
    assert_eq!((found.cadence, found.state), (Cadence::Monthly, RecurringState::Active));
    assert_eq!(found.kind, RecurringKind::Contract);
    let next = found.next.clone().unwrap();
    assert_eq!(next.date, date("2026-04-05"));
    assert!(next.from <= next.date && next.date <= next.to && next.to <= date("2026-04-09"));
    let changed = found.changed.clone().unwrap();
    assert_eq!((changed.from.as_str(), changed.to.as_str()), ("15.49", "17.99"));
    assert_eq!(found.transactions.len(), 6);
    // Three times the new price is the price; when it changed is still told.
    for month in ["2026-04-05", "2026-05-05"] {
        book.lines.push((CARD, date(month), 1_799, "NETFLIX.COM 866-579-7172 CA".to_owned()));
    }
    let later = book.recurring().remove(0);
    assert_eq!(later.amount, "17.99");
    assert_eq!(later.changed.unwrap().on, date("2026-03-05"));
}

#[test]
fn what_does_not_come_is_missed_and_then_over() {
    let rent = || {
        let mut book = Book::of(&[]);
        for month in ["2025-11-01", "2025-12-01", "2026-01-01", "2026-02-01"] {
            let text = "ACH DEBIT PARKSIDE APTS WEB PMT 123456".to_owned();
            book.lines.push((CHECKING, date(month), 168_500, text));
        }
        book
    };
    let state = |last: &'static str| {
        let later = Book::of(&[(CHECKING, last, 450, "STARBUCKS STORE 12345")]);
        rent().and(later).recurring()[0].state
    };
    assert_eq!(state("2026-02-20"), RecurringState::Active);
    assert_eq!(state("2026-03-20"), RecurringState::Missed);
    assert_eq!(state("2026-04-20"), RecurringState::Ended);
    // A month in between that had none, and the one that is late.
    let mut gap = rent();
    for month in ["2026-03-01", "2026-05-01", "2026-06-01"] {
        gap.lines.push((CHECKING, date(month), 168_500, gap.lines[0].3.clone()));
    }
    let gap = gap.and(Book::of(&[(CHECKING, "2026-07-20", 450, "STARBUCKS STORE 12345")]));
    assert_eq!(gap.recurring()[0].missed, [date("2026-04-01"), date("2026-07-01")]);
}

#[test]
fn wages_and_taxes_of_one_provider_are_two_series_and_coffee_is_a_habit() {
    let wages = Book::every(
        14,
        8,
        (CHECKING, "2026-01-02", 812_000, "GUSTO DES:NET 123456 INDN:ALDER CCD"),
    );
    let taxes = Book::every(
        14,
        8,
        (CHECKING, "2026-01-02", 231_000, "GUSTO DES:TAX 123456 INDN:ALDER CCD"),
    );
    let mut coffee = Book::of(&[]);
    let mut day = date("2026-01-03");
    for gap in [1, 4, 2, 9, 1, 3, 12, 2, 5, 1, 7, 3, 2, 11, 4] {
        coffee.lines.push((CARD, day, 480 + gap, "STARBUCKS STORE 12345".to_owned()));
        day = day.saturating_add(gap.days());
    }
    let found = wages.and(taxes).and(coffee).recurring();
    let of = |kind| found.iter().filter(|it| it.kind == kind).collect::<Vec<_>>();
    assert_eq!(of(RecurringKind::Contract).len(), 2);
    assert!(of(RecurringKind::Contract).iter().all(|it| it.cadence == Cadence::Biweekly));
    assert_eq!(of(RecurringKind::Habit).len(), 1);
    assert_eq!(of(RecurringKind::Habit)[0].next, None);
}

#[test]
fn the_same_subscription_on_two_cards_is_two_series() {
    let line = |account, first| (account, first, 1_549, "NETFLIX.COM 866-579-7172 CA");
    let one = Book::every(28, 8, line(CARD, "2025-10-05"));
    let other = Book::every(28, 8, line(CHECKING, "2025-10-06"));
    let found = one.and(other).recurring();
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found.iter().all(|it| it.cadence == Cadence::FourWeekly && it.count == 8));
}

#[test]
fn two_prices_at_one_shop_are_two_series_and_thirty_days_are_a_rhythm() {
    let app =
        |first, amount| Book::every(30, 8, (CARD, first, amount, "APPLE.COM/BILL 866-712-7753 CA"));
    let found = app("2025-10-03", 999).and(app("2025-10-17", 299)).recurring();
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found.iter().all(|it| it.cadence == Cadence::ThirtyDays && it.next.is_some()));
    // Every Saturday, for another sum each time.
    let mut shopping = Book::every(7, 30, (CARD, "2025-10-04", 0, "KROGER #123 PORTLAND OR"));
    for (n, line) in shopping.lines.iter_mut().enumerate() {
        line.2 = 6_200 + i64::try_from(n * 997 % 7_300).unwrap();
    }
    assert_eq!(shopping.recurring()[0].kind, RecurringKind::Habit);
}

#[test]
fn sources_and_debts_are_told_apart_from_transfers() {
    let text = "ACME DES:PAYROLL ID:123456789 INDN:JO MILLER CO ID:1234567890 PPD";
    let pay = Book::every(14, 6, (CHECKING, "2026-01-02", -200_000, text));
    let advance =
        Book::every(7, 9, (CHECKING, "2026-01-05", 18_640, "ONDECK CAPITAL DES:PMT ID:123456789"));
    let second =
        Book::every(7, 9, (CHECKING, "2026-01-06", 15_000, "ONDECK CAPITAL DES:PMT ID:123456789"));
    let advance = advance.and(second);
    let own = Book::of(&[
        (CHECKING, "2026-02-02", 90_000, "ONLINE TRANSFER TO SAV ...2222"),
        (SAVINGS, "2026-02-02", -90_000, "ONLINE TRANSFER FROM CHK ...1111"),
    ]);
    let whole = pay.and(advance).and(own).series().whole;
    assert_eq!(whole.income.len(), 1, "{:?}", whole.income);
    let income = &whole.income[0];
    assert_eq!((income.kind.as_str(), income.cadence), ("salary", Cadence::Biweekly));
    assert_eq!((income.total.as_str(), income.count), ("12000.00", 6));
    assert_eq!(whole.debts.len(), 1, "{:?}", whole.debts);
    let debt = &whole.debts[0];
    assert!(debt.looks_like_sales_advance && debt.is_open);
    assert_eq!((debt.paid.as_str(), debt.payments), ("3027.60", 18));
}

#[test]
fn the_order_of_rows_changes_nothing() {
    let book = Book::every(14, 20, (CHECKING, "2025-09-05", -200_000, "ACME DES:PAYROLL PPD"))
        .and(Book::every(3, 60, (CARD, "2025-09-01", 500, "STARBUCKS STORE 12345")))
        .and(Book::every(30, 6, (CHECKING, "2025-09-02", 10_000, "ONLINE TRANSFER TO SAV ...2222")))
        .and(Book::every(
            30,
            6,
            (SAVINGS, "2025-09-02", -10_000, "ONLINE TRANSFER FROM CHK ...1111"),
        ));
    let straight = book.series();
    let mut order: Vec<usize> = (0..book.lines.len()).collect();
    order.reverse();
    order.rotate_left(17);
    let turned = book.series_in(&order);
    assert_eq!(turned.whole, straight.whole);
    for (place, at) in order.iter().enumerate() {
        assert_eq!(turned.ties[place], straight.ties[*at]);
    }
    assert_eq!(series(&[], &[]), Series::default());
}

#[test]
fn balances_are_counted_both_ways_and_drift_is_shown() {
    let posting = |day, amount| Posting { date: date(day), amount };
    let reading = |day, balance| Reading { date: date(day), balance };
    let postings = [
        posting("2026-03-01", 1_000),
        posting("2026-03-03", -5_000),
        posting("2026-03-05", 2_000),
        posting("2026-03-09", 700),
    ];
    let readings = [
        reading("2026-03-02", 10_000),
        reading("2026-03-06", 13_000),
        reading("2026-03-08", 12_500),
    ];
    let history = balance_history("a", "USD", false, &postings, &readings);
    let told: Vec<(String, &str, Basis)> = history
        .days
        .iter()
        .map(|day| (day.date.to_string(), day.balance.as_str(), day.basis))
        .collect();
    let expected = [
        ("2026-03-01", "100.00", Basis::Counted),
        ("2026-03-02", "100.00", Basis::Read),
        ("2026-03-03", "150.00", Basis::Verified),
        ("2026-03-04", "150.00", Basis::Verified),
        ("2026-03-05", "130.00", Basis::Verified),
        ("2026-03-06", "130.00", Basis::Read),
        ("2026-03-07", "130.00", Basis::Unverified),
        ("2026-03-08", "125.00", Basis::Read),
        ("2026-03-09", "118.00", Basis::Counted),
    ];
    assert_eq!(told, expected.map(|(day, balance, basis)| (day.to_owned(), balance, basis)));
    assert_eq!(history.drifts.len(), 1);
    assert_eq!(history.drifts[0].amount, "-5.00");
    // What is owed on a card grows with what is bought.
    let owed = balance_history("c", "USD", true, &postings[..1], &[reading("2026-02-28", 5_000)]);
    assert_eq!(owed.days.last().unwrap().balance, "60.00");
    assert_eq!(balance_history("n", "USD", false, &postings, &[]).days, []);
}
