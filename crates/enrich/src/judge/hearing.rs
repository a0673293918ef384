//! Hears everything that speaks for a category where no rule decides: the merchant, words, the card
//! network's code, Plaid, the model; and lets them vote.

use std::ops::Range;

use super::{CERTAIN, Judge, Known, origin};
use crate::calibration;
use crate::category::{Leaf, Primary};
use crate::enrichment::{Category, Direction, Evidence, Layer, Percent};
use crate::structure::Structure;
use crate::transaction::Transaction;
use crate::vote::{Ballot, Witness};

/// What Plaid's words are worth beside other evidence: a judgement, as Plaid publishes no figures.
const PLAID: [(&str, Percent); 4] = [
    ("VERY_HIGH", Percent(94)),
    ("HIGH", Percent(85)),
    ("MEDIUM", Percent(65)),
    ("LOW", Percent(40)),
];
/// The same where Plaid says no word.
const PLAID_UNSAID: Percent = Percent(60);
/// Money in that nothing is known of is mostly a transfer; of money out nothing can be said.
const PLAIN_IN: Percent = Percent(45);
/// See `PLAIN_IN`.
const PLAIN_OUT: Percent = Percent(15);
/// Shares, in thousandths, that are worth telling as runners-up.
const LEAST_RUNNER_UP: u16 = 10;
/// Below this share of the vote, in thousandths, nothing is said.
const LEAST_SHARE: u16 = 150;
/// What a merchant category code is worth: networks assign one to a merchant, not to a purchase.
const CODE: Percent = Percent(90);
/// A word that does not end the name says what kind of thing is sold, not what kind of shop it is.
const LESS_WITHIN: u8 = 14;

impl Judge<'_> {
    /// What Plaid and the card network say of money in that no rule knows. The sender's name says
    /// nothing: people are paid by shops.
    pub(super) fn by_hearsay(
        &mut self,
        transaction: &Transaction<'_>,
        direction: Direction,
    ) -> Category {
        self.witnesses.clear();
        self.hear_code(transaction);
        self.hear_plaid(transaction);
        let mut ballot = Ballot::new(direction);
        self.witnesses.iter().for_each(|witness| ballot.count(witness));
        self.elect(&ballot, transaction, direction)
    }

    /// What merchant, words, code, Plaid and model say together.
    pub(super) fn by_vote(
        &mut self,
        transaction: &Transaction<'_>,
        direction: Direction,
        structure: &Structure,
        known: Option<&Known<'_>>,
    ) -> Category {
        self.witnesses.clear();
        if let Some(known) = known {
            self.witnesses.push(Witness {
                primary: known.name.leaf.primary(),
                leaf: Some(known.name.leaf),
                percent: known.percent,
                evidence: known.evidence.clone(),
            });
        }
        let certain = known.is_some_and(|known| known.percent >= CERTAIN);
        self.hear_words(transaction, direction, structure, known);
        self.hear_code(transaction);
        self.hear_plaid(transaction);
        let mut ballot = Ballot::new(direction);
        self.witnesses.iter().for_each(|witness| ballot.count(witness));
        let doubted = self.witnesses.windows(2).any(|pair| pair[0].primary != pair[1].primary);
        if !certain || doubted {
            self.hear_model(&mut ballot, structure);
        }
        self.elect(&ballot, transaction, direction)
    }

    fn hear_code(&mut self, transaction: &Transaction<'_>) {
        let Some(leaf) = self.tables.codes.get(transaction.mcc).copied() else { return };
        self.witnesses.push(Witness {
            primary: leaf.primary(),
            leaf: Some(leaf),
            percent: CODE,
            evidence: Evidence { layer: Layer::Code, what: leaf.plaid(), span: 0..0 },
        });
    }

    /// Words in the name: of each primary the longest, those at the name's end above the others.
    fn hear_words(
        &mut self,
        transaction: &Transaction<'_>,
        direction: Direction,
        structure: &Structure,
        known: Option<&Known<'_>>,
    ) {
        let words = &self.tables.words;
        let first = self.witnesses.len();
        let found = || self.words.holding(words, transaction, direction);
        let last = found().map(|(_, span)| span.end).max().unwrap_or(0);
        let is_certain = known.is_some_and(|known| known.percent >= CERTAIN);
        for (rule, span) in found() {
            // What is within the known name says nothing that the name does not.
            let within = known.is_some_and(|known| {
                let span = origin(&self.line, &span);
                span.start >= known.evidence.span.start && span.end <= known.evidence.span.end
            });
            if within {
                continue;
            }
            // Within the name, beside it, or behind one that is known: each makes a word say less.
            let doubts = [span.end != last, span.end > structure.party.end, is_certain];
            let less = doubts.map(|doubt| if doubt { LESS_WITHIN } else { 0 }).iter().sum();
            let percent = Percent(rule.percent.0.saturating_sub(less));
            let span_of = origin(&self.line, &span);
            let evidence = Evidence { layer: Layer::Words, what: "", span: span_of };
            let witness =
                Witness { primary: rule.leaf.primary(), leaf: Some(rule.leaf), percent, evidence };
            let length = |witness: &Witness| witness.evidence.span.len();
            let same = self.witnesses[first..].iter_mut();
            match same.into_iter().find(|same| same.primary == witness.primary) {
                Some(same) if (same.percent, length(same)) >= (percent, length(&witness)) => {}
                Some(same) => *same = witness,
                None => self.witnesses.push(witness),
            }
        }
    }

    fn hear_plaid(&mut self, transaction: &Transaction<'_>) {
        let detailed = transaction.plaid_detailed;
        let leaf = Leaf::of_plaid(detailed);
        let primary = leaf.map(Leaf::primary).or_else(|| Primary::named(transaction.plaid_primary));
        let Some(primary) = primary.filter(|primary| primary.name() != "OTHER") else { return };
        let said = PLAID.iter().find(|(word, _)| *word == transaction.plaid_confidence);
        let percent = said.map_or(PLAID_UNSAID, |(_, percent)| *percent);
        let what = leaf.map_or(primary.name(), Leaf::plaid);
        let evidence = Evidence { layer: Layer::Plaid, what, span: 0..0 };
        self.witnesses.push(Witness { primary, leaf, percent, evidence });
    }

    /// The model reads the other side's name and what an entry is for, or a line that has no fields.
    fn hear_model(&mut self, ballot: &mut Ballot, structure: &Structure) {
        let Some(model) = &self.tables.model else { return };
        let within = |part: &Range<usize>, word: &Range<usize>| {
            word.start >= part.start && word.end <= part.end
        };
        let has_fields = structure.entry.is_some() || structure.person.is_some();
        let wanted = |word: &Range<usize>| {
            !has_fields
                || within(&structure.party, word)
                || structure.entry.as_ref().is_some_and(|entry| within(entry, word))
        };
        if !self.line.words().any(|(word, _)| wanted(&word)) {
            return;
        }
        model.judge(&self.line, wanted, &mut self.verdict);
        ballot.count_model(&self.verdict.probabilities);
        let winner = ballot.result()[0].0;
        if let Some(piece) = model.loudest(&self.verdict, winner.number()) {
            let span = self.whole_words(piece);
            self.witnesses.push(Witness {
                primary: winner,
                leaf: None,
                percent: Percent(0),
                evidence: Evidence { layer: Layer::Model, what: "", span: self.span(&span) },
            });
        }
    }

    /// A piece of a word says little to a reader; the words it is in do.
    fn whole_words(&self, piece: Range<usize>) -> Range<usize> {
        let text = self.line.text();
        let inner = text[piece.clone()].trim();
        let from = piece.start + text[piece.clone()].find(inner).unwrap_or_default();
        let start = text[..from].rfind(' ').map_or(0, |space| space + 1);
        let behind = from + inner.len();
        start..text[behind..].find(' ').map_or(text.len(), |space| behind + space)
    }

    fn elect(
        &mut self,
        ballot: &Ballot,
        transaction: &Transaction<'_>,
        direction: Direction,
    ) -> Category {
        let [(winner, share), second, third] = ballot.result();
        if share < LEAST_SHARE {
            return by_direction(transaction, direction);
        }
        self.witnesses.retain(|witness| witness.primary == winner);
        self.witnesses.sort_by_key(|witness| std::cmp::Reverse(witness.percent));
        let leaf = self.witnesses.iter().find_map(|witness| witness.leaf);
        let evidence: Vec<Evidence> =
            self.witnesses.drain(..).map(|witness| witness.evidence).collect();
        let Some(source) = evidence.first().map(|evidence| evidence.layer) else {
            return by_direction(transaction, direction);
        };
        let runner_up = |(primary, share): (Primary, u16)| {
            (share >= LEAST_RUNNER_UP).then(|| (primary, calibration::percent(share)))
        };
        Category {
            primary: Some(winner),
            leaf,
            confidence: calibration::percent(share),
            source,
            evidence,
            runners_up: [runner_up(second), runner_up(third)],
        }
    }
}

/// What can be said when nothing is known but the direction.
fn by_direction(transaction: &Transaction<'_>, direction: Direction) -> Category {
    let name = match (direction, transaction.is_business) {
        (Direction::In, true) => "customer_payment",
        (Direction::In, false) => "bank_transfer_in",
        (Direction::Out, _) => "other_other",
    };
    let leaf = Leaf::named(name);
    let evidence = Evidence { layer: Layer::Direction, what: name, span: 0..0 };
    Category {
        primary: leaf.map(Leaf::primary),
        leaf,
        confidence: if direction == Direction::In { PLAIN_IN } else { PLAIN_OUT },
        source: Layer::Direction,
        evidence: vec![evidence],
        runners_up: [None, None],
    }
}
