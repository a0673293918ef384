//! Every phrase that means something, found in a line in one pass.

use aho_corasick::{AhoCorasick, AhoCorasickBuilder, AhoCorasickKind, MatchKind};
use classifier::Line;

/// A phrase found: which, and where in the normal form, without the spaces around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hit<M> {
    pub(crate) meaning: M,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// Collects phrases and what they mean.
pub(crate) struct PhraseBook<M> {
    patterns: Vec<String>,
    meanings: Vec<Vec<(M, Place)>>,
    known: std::collections::HashMap<String, usize>,
}

/// Where a phrase has to stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Anywhere,
    Beginning,
}

/// Phrases, ready to be looked for.
pub(crate) struct Phrases<M> {
    automaton: AhoCorasick,
    meanings: Vec<Vec<(M, Place)>>,
}

impl<M: Copy> PhraseBook<M> {
    pub(crate) fn new() -> Self {
        Self { patterns: Vec::new(), meanings: Vec::new(), known: std::collections::HashMap::new() }
    }

    /// Adds a phrase: `^` in front binds it to the beginning of a line, `*` behind opens its end.
    pub(crate) fn add(&mut self, phrase: &str, meaning: M) {
        let place = if phrase.starts_with('^') { Place::Beginning } else { Place::Anywhere };
        let mut line = Line::default();
        let mut pattern = line.read(phrase).text().to_owned();
        if phrase.ends_with('*') {
            pattern.truncate(pattern.trim_end().len());
        }
        if pattern.trim().is_empty() {
            return;
        }
        let next = self.patterns.len();
        let index = *self.known.entry(pattern.clone()).or_insert(next);
        if index == next {
            self.patterns.push(pattern);
            self.meanings.push(Vec::new());
        }
        self.meanings[index].push((meaning, place));
    }

    pub(crate) fn ready(self) -> Phrases<M> {
        let automaton = AhoCorasickBuilder::new()
            .match_kind(MatchKind::Standard)
            .kind(Some(AhoCorasickKind::ContiguousNFA))
            .build(&self.patterns)
            .expect("the embedded phrases fit into an automaton");
        Phrases { automaton, meanings: self.meanings }
    }
}

impl<M: Copy> Phrases<M> {
    /// All phrases of a line, overlapping ones too.
    pub(crate) fn find(&self, line: &Line, into: &mut Vec<Hit<M>>) {
        into.clear();
        let text = line.text();
        for found in self.automaton.find_overlapping_iter(text) {
            let open = !text.as_bytes()[..found.end()].ends_with(b" ");
            let end = if open { found.end() } else { found.end() - 1 };
            let start = found.start() + 1;
            for (meaning, place) in &self.meanings[found.pattern().as_usize()] {
                if *place == Place::Anywhere || found.start() == 0 {
                    into.push(Hit { meaning: *meaning, start, end });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phrases_keep_to_words_unless_they_are_open() {
        let mut book = PhraseBook::new();
        book.add("rent", 1);
        book.add("restaur*", 2);
        book.add("^check", 3);
        book.add("m&s", 4);
        let phrases = book.ready();
        let found = |text: &str| {
            let mut line = Line::default();
            let mut hits = Vec::new();
            phrases.find(line.read(text), &mut hits);
            hits.iter().map(|hit| hit.meaning).collect::<Vec<i32>>()
        };
        let none: [i32; 0] = [];
        assert_eq!(found("PARENT RENTAL"), none);
        assert_eq!(found("RENT"), [1]);
        assert_eq!(found("JOES RESTAURANTE"), [2]);
        assert_eq!(found("CHECK 1021"), [3]);
        assert_eq!(found("BAG CHECK"), none);
        assert_eq!(found("M & S"), [4]);
    }
}
