//! The normal form of a bank line: lower-case words with one space around each, and the way back to
//! the bank's own text.

use std::ops::Range;

/// The label that runs on behind a full field.
const RUN_ON: &str = "SEC:";

/// A line in normal form; its memory is used again for the next.
#[derive(Debug, Default, Clone)]
pub struct Line {
    text: String,
    /// Where each byte of `text` stood in the bank's text.
    origins: Vec<u32>,
}

impl Line {
    /// Takes the bank's text. Letters lose case and accents, apostrophes go, every other character
    /// that is no letter or digit parts words.
    pub fn read(&mut self, raw: &str) -> &Self {
        self.text.clear();
        self.origins.clear();
        self.push(' ', 0);
        for (at, character) in raw.char_indices() {
            // Banks print the fields of an ACH entry without a space where the one before is full.
            if character == 'S' && raw[at..].starts_with(RUN_ON) {
                self.part(at);
            }
            match character {
                'a'..='z' | '0'..='9' => self.push(character, at),
                'A'..='Z' => self.push(character.to_ascii_lowercase(), at),
                '\'' | '’' | '`' | '´' => {}
                _ if character.is_ascii() => self.part(at),
                _ => match unaccented(character) {
                    Some(plain) => plain.chars().for_each(|plain| self.push(plain, at)),
                    None if character.is_alphanumeric() => {
                        character.to_lowercase().for_each(|lower| self.push(lower, at));
                    }
                    None => self.part(at),
                },
            }
        }
        self.part(raw.len());
        self
    }

    /// ` tesco stores 5504 `: a space before, between and behind the words.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The bytes of the bank's text that a range of the normal form came from.
    pub fn origin(&self, range: &Range<usize>) -> Range<usize> {
        let at = |index: usize| self.origins.get(index).map_or(0, |at| *at as usize);
        let last = range.end.saturating_sub(1);
        // A space stands for where a word ended; a letter for itself and what follows it.
        let end = match self.text.as_bytes().get(last) {
            Some(b' ') | None => at(last),
            Some(_) => at(range.end.min(self.origins.len().saturating_sub(1))),
        };
        at(range.start)..end.max(at(range.start))
    }

    /// The words, each with its place in the normal form.
    pub fn words(&self) -> impl Iterator<Item = (Range<usize>, &str)> {
        words(&self.text, 0)
    }

    fn push(&mut self, character: char, at: usize) {
        self.text.push(character);
        let at = u32::try_from(at).unwrap_or(u32::MAX);
        self.origins.extend(std::iter::repeat_n(at, character.len_utf8()));
    }

    fn part(&mut self, at: usize) {
        if !self.text.ends_with(' ') {
            self.push(' ', at);
        }
    }
}

/// The words of a text in normal form that begins at `start` of the line.
fn words(text: &str, start: usize) -> impl Iterator<Item = (Range<usize>, &str)> {
    let mut at = start;
    text.split(' ').filter_map(move |word| {
        let begin = at;
        at += word.len() + 1;
        (!word.is_empty()).then(|| (begin..begin + word.len(), word))
    })
}

/// Letters of the languages that banks print here, as they are typed without accents.
fn unaccented(character: char) -> Option<&'static str> {
    let plain = match character {
        'À'..='Å' | 'à'..='å' | 'Ā'..='ą' => "a",
        'Æ' | 'æ' => "ae",
        'Ç' | 'ç' | 'Ć'..='č' => "c",
        'Ď'..='đ' | 'Ð' | 'ð' => "d",
        'È'..='Ë' | 'è'..='ë' | 'Ē'..='ě' => "e",
        'Ĝ'..='ģ' => "g",
        'Ì'..='Ï' | 'ì'..='ï' | 'Ĩ'..='ı' => "i",
        'Ĺ'..='ł' => "l",
        'Ñ' | 'ñ' | 'Ń'..='ŉ' => "n",
        'Ò'..='Ö' | 'Ø' | 'ò'..='ö' | 'ø' | 'Ō'..='ő' => "o",
        'Œ' | 'œ' => "oe",
        'Ŕ'..='ř' => "r",
        'Ś'..='š' => "s",
        'ß' => "ss",
        'Ţ'..='ŧ' => "t",
        'Ù'..='Ü' | 'ù'..='ü' | 'Ũ'..='ų' => "u",
        'Ý' | 'ý' | 'ÿ' | 'Ÿ' => "y",
        'Ź'..='ž' => "z",
        _ => return None,
    };
    Some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_accents_and_marks_go_and_the_way_back_stays() {
        let mut line = Line::default();
        line.read("  Sainsbury's S/MKT  #5504 Café");
        assert_eq!(line.text(), " sainsburys s mkt 5504 cafe ");
        let raw = "  Sainsbury's S/MKT  #5504 Café";
        for (range, word) in line.words() {
            let origin = &raw[line.origin(&range)];
            assert!(origin.len() >= word.len(), "{word}: {origin}");
        }
        let (range, _) = line.words().next().unwrap();
        assert_eq!(&raw[line.origin(&range)], "Sainsbury's");
        assert_eq!(&raw[line.origin(&(1..17))], "Sainsbury's S/MKT");
    }

    #[test]
    fn nothing_and_marks_alone_are_an_empty_line() {
        let mut line = Line::default();
        assert_eq!(line.read("").text(), " ");
        assert_eq!(line.read("*** / --").text(), " ");
        assert_eq!(line.words().count(), 0);
    }
}
