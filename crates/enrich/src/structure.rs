//! Takes a line apart: how it was paid, who passed the money on, where the other side's name stands,
//! and whose account number or person's name stands around it.

use std::collections::HashMap;
use std::ops::Range;

use classifier::Line;
use serde::Deserialize;

/// Labels of the fields that banks print of an ACH entry, in normal form, and what follows each.
const FIELDS: [(&str, Field); 15] = [
    ("orig co name", Field::Company),
    ("co entry descr", Field::Entry),
    ("des", Field::Entry),
    ("orig id", Field::Noise),
    ("desc date", Field::Noise),
    ("sec", Field::Noise),
    ("trace", Field::Noise),
    ("eed", Field::Noise),
    ("ind id", Field::Noise),
    ("ind name", Field::Person),
    ("indn", Field::Person),
    ("co id", Field::Noise),
    ("id", Field::Noise),
    ("conf", Field::Noise),
    ("trn", Field::Noise),
];
/// Words that end the other side's name.
const ENDS: [&str; 22] = [
    "ppd",
    "ccd",
    "web",
    "tel",
    "ctx",
    "conf",
    "confirmation",
    "transaction",
    "card",
    "ref",
    "reference",
    "mandate",
    "xxxxx",
    "xxxx",
    "value",
    "on",
    "p2p",
    "recurring",
    "pmt",
    "pymt",
    "bill",
    "via",
];
/// Words in front of the other side's name that are no part of it.
const LEADING: [&str; 6] = ["www", "the", "http", "https", "to", "from"];
/// States, provinces and countries as they stand behind a name.
const STATES: &str = " al ak az ar ca co ct de fl ga hi id il in ia ks ky la me md ma mi mn ms mo mt \
                      ne nv nh nj nm ny nc nd oh ok or pa ri sc sd tn tx ut vt va wa wv wi wy dc on \
                      qc bc ab mb sk ns nb nl pe gb uk us usa can za gbr zaf ";

/// Most words of a town and its state.
const PLACE_WORDS: usize = 4;

/// What a prefix says of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Prefix {
    words: Vec<String>,
    kind: &'static str,
    name: &'static str,
}

/// A line taken apart; ranges are of the normal form, without the spaces around them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Structure {
    /// `card`, `ach`, `direct_debit`, `standing_order`, `bank_transfer`; empty when nothing says.
    pub(crate) channel: &'static str,
    /// Who took the card.
    pub(crate) processor: Option<&'static str>,
    /// The other side.
    pub(crate) party: Range<usize>,
    /// Town and state, as they stand behind the name.
    pub(crate) place: Range<usize>,
    /// The account holder's name in an ACH entry.
    pub(crate) person: Option<Range<usize>>,
    /// What an ACH entry is for, in its sender's words.
    pub(crate) entry: Option<Range<usize>>,
}

/// What follows a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Field {
    Company,
    Entry,
    Person,
    Noise,
}

#[derive(Deserialize)]
struct Written {
    phrase: String,
    kind: String,
    name: String,
}

/// Labels of fields, and what follows each.
pub(crate) fn labels() -> impl Iterator<Item = (&'static str, Field)> {
    FIELDS.into_iter()
}

/// All prefixes by their first word, the longest first.
pub(crate) fn prefixes() -> HashMap<String, Vec<Prefix>> {
    let rows = csv::Reader::from_reader(&include_bytes!("../data/prefixes.csv")[..]);
    let mut prefixes: HashMap<String, Vec<Prefix>> = Default::default();
    for row in rows.into_deserialize() {
        let row: Written = row.expect("a test reads the embedded file");
        let words: Vec<String> = row.phrase.split(' ').map(str::to_owned).collect();
        let prefix = Prefix { words, kind: row.kind.leak(), name: row.name.leak() };
        prefixes.entry(prefix.words[0].clone()).or_default().push(prefix);
    }
    for candidates in prefixes.values_mut() {
        candidates.sort_by_key(|prefix| std::cmp::Reverse(prefix.words.len()));
    }
    prefixes
}

impl Structure {
    /// Takes a line apart. The bank's own text is asked for the marks that the normal form lacks.
    pub(crate) fn read(
        line: &Line,
        raw: &str,
        labels: impl Iterator<Item = (Range<usize>, Field)>,
        prefixes: &HashMap<String, Vec<Prefix>>,
        words: &mut Vec<Range<usize>>,
    ) -> Self {
        let text = line.text();
        let mut structure = Self::default();
        let whole = 1.min(text.len())..text.len().saturating_sub(1).max(1);
        // "DES MOINES" is no label, "DES:MOINES" is.
        let marked = labels.filter(|(label, _)| is_marked(line, raw, label, &[':', '#']));
        let company = structure.fields(whole, marked);
        words.clear();
        let within =
            |range: &Range<usize>| range.start >= company.start && range.end <= company.end;
        let found = line.words().filter(|(range, _)| within(range));
        words.extend(found.map(|(range, _)| range));
        let mut first = structure.prefix(line, raw, prefixes, words);
        while first < words.len() && LEADING.contains(&&text[words[first].clone()]) {
            first += 1;
        }
        let mut last = first;
        while last < words.len() {
            let word = &text[words[last].clone()];
            let ends = last > first && (ENDS.contains(&word) || is_number(word));
            if ends {
                break;
            }
            last += 1;
        }
        if last > first + 1 {
            let tail = &words[last - 1];
            last -= usize::from(is_state(text, tail));
        }
        structure.place = place(text, &words[last.min(words.len())..]);
        structure.party = match words.get(first) {
            Some(word) if last > first => word.start..words[last - 1].end,
            _ => company.start.min(company.end)..company.end,
        };
        structure
    }

    /// The fields of an ACH entry; answers where the company's name is, or the whole line.
    fn fields(
        &mut self,
        whole: Range<usize>,
        labels: impl Iterator<Item = (Range<usize>, Field)>,
    ) -> Range<usize> {
        let mut company = whole.clone();
        let mut open: Option<(usize, Field)> = None;
        let mut labels = labels.peekable();
        while let Some((label, field)) = labels.next() {
            let longer = labels
                .peek()
                .is_some_and(|(next, _)| next.end > label.end && next.start <= label.start);
            // "co id" ends where "id" does; the longer label was read already.
            let within = open.is_some_and(|(start, _)| label.start < start);
            if longer || within {
                continue;
            }
            match open.take() {
                None => company.end = label.start.saturating_sub(1).max(whole.start),
                Some(field) => self.close(field, label.start, &mut company),
            }
            open = Some((label.end + 1, field));
            if field != Field::Noise {
                self.channel = "ach";
            }
        }
        if let Some(field) = open {
            self.close(field, whole.end + 1, &mut company);
        }
        if self.channel.is_empty() || company.is_empty() { whole } else { company }
    }

    fn close(&mut self, (start, field): (usize, Field), next: usize, company: &mut Range<usize>) {
        let range = start..next.saturating_sub(1).max(start);
        match field {
            Field::Company => *company = range,
            Field::Person => self.person = Some(range),
            Field::Entry => self.entry = Some(range),
            Field::Noise => {}
        }
    }

    /// Takes prefixes off, one behind another; answers how many words they are.
    fn prefix(
        &mut self,
        line: &Line,
        raw: &str,
        prefixes: &HashMap<String, Vec<Prefix>>,
        words: &[Range<usize>],
    ) -> usize {
        let text = line.text();
        let word = |index: usize| words.get(index).map(|range| &text[range.clone()]);
        let mut first = 0;
        while let Some(next) = word(first) {
            let candidates = prefixes.get(next).map_or(&[][..], Vec::as_slice);
            let fits = |prefix: &&Prefix| {
                let mut parts = prefix.words.iter().enumerate();
                let said = parts.all(|(at, part)| word(first + at) == Some(part.as_str()));
                let last = first + prefix.words.len() - 1;
                said && (prefix.kind != "processor" || is_marked(line, raw, &words[last], &['*']))
            };
            let Some(prefix) = candidates.iter().find(fits) else { break };
            // A line that is nothing but a prefix keeps its last words.
            if first + prefix.words.len() >= words.len() {
                break;
            }
            match prefix.kind {
                "processor" | "wallet" => {
                    self.processor = Some(prefix.name);
                    self.channel = "card";
                }
                "other" => {}
                kind => self.channel = kind,
            }
            first += prefix.words.len();
            while words.get(first).is_some_and(|range| is_number(&text[range.clone()]))
                && first + 1 < words.len()
            {
                first += 1;
            }
        }
        first
    }
}

/// The words without a number that end in a state or country; few, as towns are named.
fn place(text: &str, behind: &[Range<usize>]) -> Range<usize> {
    let Some(end) = behind.last().filter(|end| is_state(text, end)) else { return 0..0 };
    let named = behind.iter().rev().take(PLACE_WORDS);
    let first = named.take_while(|word| !is_number(&text[(*word).clone()])).last();
    first.map_or(0..0, |first| first.start..end.end)
}

fn is_state(text: &str, word: &Range<usize>) -> bool {
    STATES.contains(&text[word.start - 1..word.end + 1])
}

/// Whether a mark follows a word in the bank's text: `SQ *`, `TST* `, `DES:`, `CONF#`.
fn is_marked(line: &Line, raw: &str, word: &Range<usize>, marks: &[char]) -> bool {
    let end = line.origin(word).end;
    raw.get(end..).is_some_and(|rest| rest.trim_start().starts_with(marks))
}

/// A number of a branch, a date, a phone, a reference: more digits than letters.
fn is_number(word: &str) -> bool {
    let digits = word.bytes().filter(u8::is_ascii_digit).count();
    digits * 2 > word.len() || (digits > 0 && word.starts_with('x'))
}
