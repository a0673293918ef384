//! What the API shows of an item's transactions: rows in order of their last change, the cursors
//! that walk them, and the mutation error when they change under a walker.

use std::collections::{BTreeMap, HashMap};

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::error::PlaidError;
use crate::ledger::Step;

/// One row, live or gone.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    /// Index of its event in the ledger.
    pub(crate) event: usize,
    created: u64,
    changed: u64,
    live: bool,
}

/// All rows an item has ever shown.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rows {
    head: u64,
    rows: HashMap<String, Row>,
    order: BTreeMap<u64, String>,
}

/// A place in the stream of one item.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Cursor {
    /// Change number up to which the caller had everything when this update began.
    base: u64,
    /// Change number of the last row handed out.
    position: u64,
    /// Newest change when this update began; zero in a resting cursor.
    head: u64,
    /// Pages handed out in this update.
    pub(crate) page: u64,
}

/// What one page holds, as ids of rows.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Delta {
    pub(crate) added: Vec<String>,
    pub(crate) modified: Vec<String>,
    pub(crate) removed: Vec<String>,
    pub(crate) next: Cursor,
    pub(crate) has_more: bool,
}

impl Rows {
    /// Shows what happened in the ledger.
    pub(crate) fn apply(&mut self, steps: &[Step]) {
        for step in steps {
            self.head += 1;
            let head = self.head;
            match step {
                Step::Appears { event, transaction_id } => {
                    let row = Row { event: *event, created: head, changed: head, live: true };
                    self.rows.insert(transaction_id.clone(), row);
                    self.order.insert(head, transaction_id.clone());
                }
                Step::Goes { transaction_id } => self.touch(transaction_id, head, false),
                Step::Changes { transaction_id } => self.touch(transaction_id, head, true),
            }
        }
    }

    fn touch(&mut self, transaction_id: &str, head: u64, live: bool) {
        if let Some(row) = self.rows.get_mut(transaction_id) {
            self.order.remove(&row.changed);
            (row.changed, row.live) = (head, live);
            self.order.insert(head, transaction_id.to_owned());
        }
    }

    /// The row of a transaction id.
    pub(crate) fn get(&self, transaction_id: &str) -> Option<&Row> {
        self.rows.get(transaction_id)
    }

    /// Ids of the live rows, in order of their last change.
    #[cfg(test)]
    pub(crate) fn live(&self) -> impl Iterator<Item = &str> {
        self.order.values().map(String::as_str).filter(|id| self.rows[*id].live)
    }

    /// A cursor after everything there is now.
    pub(crate) fn resting(&self) -> Cursor {
        Cursor { base: self.head, position: self.head, head: 0, page: 0 }
    }

    /// The next `count` changes after the cursor that pass the filter.
    pub(crate) fn page(
        &self,
        cursor: Cursor,
        count: usize,
        shown: impl Fn(&Row) -> bool,
    ) -> Result<Delta, PlaidError> {
        if cursor.head != 0 && cursor.head != self.head {
            return Err(mutation());
        }
        let mut delta = Delta::default();
        let mut position = cursor.position;
        let news = self.order.range(cursor.position + 1..).filter(|(_, id)| {
            let row = &self.rows[*id];
            // What came and went since the caller last looked was never seen.
            shown(row) && (row.live || row.created <= cursor.base)
        });
        for (taken, (number, id)) in news.enumerate() {
            if taken == count {
                delta.has_more = true;
                break;
            }
            position = *number;
            let row = &self.rows[id];
            let part = match (row.live, row.created > cursor.base) {
                (true, true) => &mut delta.added,
                (true, false) => &mut delta.modified,
                (false, _) => &mut delta.removed,
            };
            part.push(id.clone());
        }
        delta.next = if delta.has_more {
            Cursor { base: cursor.base, position, head: self.head, page: cursor.page + 1 }
        } else {
            self.resting()
        };
        Ok(delta)
    }
}

/// The error of a walker under whose feet the data changed.
pub(crate) fn mutation() -> PlaidError {
    PlaidError::new(
        "TRANSACTIONS_ERROR",
        "TRANSACTIONS_SYNC_MUTATION_DURING_PAGINATION",
        "Underlying transaction data changed since last page was fetched. Please restart \
         pagination from last update.",
    )
}

impl Cursor {
    /// The cursor as an opaque text, bound to its item and stream.
    pub(crate) fn encode(self, stream: &str) -> String {
        let place = format!("{}.{}.{}.{}", self.base, self.position, self.head, self.page);
        BASE64.encode(format!("{place}.{}", seal(stream, &place)))
    }

    /// Reads a cursor of this stream.
    pub(crate) fn decode(text: &str, stream: &str) -> Result<Self, PlaidError> {
        let foreign = || PlaidError::invalid_field("cursor not associated with access_token");
        if text.len() > 256 {
            return Err(PlaidError::invalid_field("cursor must be at most 256 characters"));
        }
        let bytes = BASE64.decode(text).map_err(|_| foreign())?;
        let plain = String::from_utf8(bytes).map_err(|_| foreign())?;
        let (place, mark) = plain.rsplit_once('.').ok_or_else(foreign)?;
        if mark != seal(stream, place) {
            return Err(foreign());
        }
        let numbers: Vec<u64> = place.split('.').filter_map(|part| part.parse().ok()).collect();
        match numbers[..] {
            [base, position, head, page] => Ok(Self { base, position, head, page }),
            _ => Err(foreign()),
        }
    }
}

fn seal(stream: &str, place: &str) -> String {
    let hash = digest(&SHA256, format!("cursor/{stream}/{place}").as_bytes());
    hash.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn appears(id: &str) -> Step {
        Step::Appears { event: 0, transaction_id: id.to_owned() }
    }

    fn goes(id: &str) -> Step {
        Step::Goes { transaction_id: id.to_owned() }
    }

    fn walk(rows: &Rows, mut cursor: Cursor, count: usize) -> (Delta, Cursor) {
        let mut all = Delta::default();
        loop {
            let page = rows.page(cursor, count, |_| true).expect("a page");
            all.added.extend(page.added);
            all.modified.extend(page.modified);
            all.removed.extend(page.removed);
            cursor = page.next;
            if !page.has_more {
                return (all, cursor);
            }
        }
    }

    #[test]
    fn an_empty_cursor_sees_only_what_is_live() {
        let mut rows = Rows::default();
        rows.apply(&[appears("a"), appears("b"), goes("a"), appears("c")]);
        let (all, _) = walk(&rows, Cursor::default(), 1);
        assert_eq!((all.added, all.removed), (vec!["b".to_owned(), "c".to_owned()], vec![]));
    }

    #[test]
    fn a_resting_cursor_sees_what_happened_since_and_can_be_replayed() {
        let mut rows = Rows::default();
        rows.apply(&[appears("a"), appears("b")]);
        let (_, resting) = walk(&rows, Cursor::default(), 500);
        rows.apply(&[goes("a"), appears("a2"), Step::Changes { transaction_id: "b".into() }]);
        rows.apply(&[appears("hold"), goes("hold")]);
        for count in [1, 2, 500] {
            let (news, _) = walk(&rows, resting, count);
            assert_eq!(news.added, ["a2"]);
            assert_eq!(news.modified, ["b"]);
            assert_eq!(news.removed, ["a"], "and nothing of the hold that came and went");
        }
    }

    #[test]
    fn a_change_between_pages_is_an_error_until_the_walk_restarts() {
        let mut rows = Rows::default();
        rows.apply(&[appears("a"), appears("b")]);
        let first = rows.page(Cursor::default(), 1, |_| true).expect("a page");
        rows.apply(&[appears("c")]);
        let error = rows.page(first.next, 1, |_| true).expect_err("a mutation");
        assert_eq!(error.error_code, "TRANSACTIONS_SYNC_MUTATION_DURING_PAGINATION");
        assert_eq!(walk(&rows, Cursor::default(), 1).0.added.len(), 3);
    }

    #[test]
    fn a_cursor_of_another_stream_is_refused() {
        let text = Cursor { base: 1, position: 2, head: 3, page: 1 }.encode("item-a");
        assert!(text.len() <= 256);
        assert_eq!(Cursor::decode(&text, "item-a").expect("own").position, 2);
        for bad in [text.as_str(), "%%%", "", "AAAA"] {
            assert!(Cursor::decode(bad, "item-b").is_err());
        }
    }
}
