//! Which tables a connection has, and where each cell of a row comes from.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use destinations::{Cell, Column, Load, Mode, Row, Table, cell, plain_name};
use jiff::Timestamp;
use model::{ChangeKind, Compat, Currency, FieldKind, Namespacing, Stream, StreamChoice, SyncMode};
use serde_json::value::RawValue;
use store::{Connection, Extracted, StreamProgress};

/// Fields of an account that come with each of its balances, so that a row says whose it is.
const ACCOUNT_FIELDS: [&str; 7] = [
    "name",
    "official_name",
    "mask",
    "type",
    "subtype",
    "holder_category",
    "persistent_account_id",
];
/// When the row was written.
const SYNCED_AT: &str = "_selvedge_synced_at";
/// In a log of changes: what happened, and its place in the feed.
const CHANGE: &str = "_selvedge_change";
const SEQ: &str = "_selvedge_seq";
/// In a source: when a record went, as platforms expect it of sources that know of deletions.
const DELETED_AT: &str = "_ab_cdc_deleted_at";
/// Fields that only a store can tell.
const OF_STORE: [&str; 3] = ["id", "annotation", "end_user_id"];
/// A field that only the full history in the API has: at a destination a removed row is gone.
const ONLY_LISTED: &str = "removed";

/// The tables of one stream.
pub(crate) struct StreamPlan {
    pub(crate) choice: StreamChoice,
    pub(crate) load: Load,
    /// What its tables look like, as marks keep it.
    pub(crate) shape: String,
    /// The last change and the shape of the tables that are there.
    pub(crate) seen_now: (i64, String),
    /// Where the cell of each column comes from.
    sources: Vec<Source>,
    /// Which table an end user's rows go to; none where there is only one table.
    of_end_user: HashMap<String, usize>,
    hash_key: aws_lc_rs::hmac::Key,
}

/// Where a cell comes from.
#[derive(Debug, Clone)]
struct Source {
    from: From,
    kind: FieldKind,
    hashed: bool,
}

#[derive(Debug, Clone)]
enum From {
    /// A field of the record.
    Field(&'static str),
    /// A field of the account of a balance.
    Account(&'static str),
    /// A field of Plaid's own bytes.
    Raw(&'static str),
    /// The currency, if it is one of ISO 4217, or if it is none.
    Currency {
        iso: bool,
    },
    SyncedAt,
    Change,
    Seq,
    DeletedAt,
}

/// What the names of a plan's tables need.
pub(crate) struct Names<'a> {
    /// The integration's name.
    pub(crate) integration: &'a str,
    /// The callers' ids of its end users, by ours.
    pub(crate) end_users: &'a HashMap<String, String>,
}

/// A record as a row of one of the load's tables.
pub(crate) struct Placed {
    pub(crate) table: Arc<Table>,
    pub(crate) row: Row,
    pub(crate) key: Vec<Cell>,
}

/// The plan of every stream that a connection has. `receiver` names a destination that keeps no marks, so
/// that another one gets everything.
pub(crate) fn plans(
    connection: &Connection,
    progress: &[StreamProgress],
    names: &Names<'_>,
    hash_key: &[u8],
    receiver: &str,
) -> Vec<StreamPlan> {
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, hash_key);
    let plan = |choice: &StreamChoice| {
        let columns = columns(choice, connection.settings.compat);
        let known = progress.iter().find(|known| known.stream == choice.stream);
        let (of_end_user, namespaces) = namespaces(connection.settings.namespace, names);
        let table_name = format!(
            "{}{}",
            connection.settings.prefix,
            name(choice.stream, connection.settings.compat)
        );
        let is_append = is_append(choice.mode);
        let key_names = key_names(choice.stream, connection.settings.compat);
        let is_key = |column: &Column| !is_append && key_names.contains(&column.name.as_str());
        let table = |namespace: Option<String>| {
            let columns: Vec<Column> = columns.iter().map(|(column, _)| column.clone()).collect();
            let places = columns.iter().enumerate().filter(|(_, column)| is_key(column));
            let key = places.map(|(place, _)| place).collect();
            Arc::new(Table { namespace, name: table_name.clone(), columns, key })
        };
        let settings = &connection.settings;
        let looks = format!(
            "{choice:?} {:?} {:?} {:?} {:?} {receiver}",
            settings.prefix, settings.namespace, settings.compat, settings.since
        );
        let shape = hex(&key, &looks)[..32].to_owned();
        StreamPlan {
            shape,
            seen_now: (0, String::new()),
            choice: choice.clone(),
            load: Load {
                id: format!("{}/{}", connection.id, choice.stream.as_str()),
                stream: choice.stream.as_str().to_owned(),
                mode: if is_append { Mode::Append } else { Mode::Merge },
                generation: known.map_or(0, |known| known.generation),
                refreshes: false,
                tables: namespaces.into_iter().map(table).collect(),
            },
            sources: columns.into_iter().map(|(_, source)| source).collect(),
            of_end_user,
            hash_key: key.clone(),
        }
    };
    connection.settings.streams.iter().map(plan).collect()
}

/// The plan of a stream that is read without a store: the records name no end user, and a transaction
/// is known by Plaid's id.
pub(crate) fn source_plan(stream: Stream, compat: Option<Compat>) -> StreamPlan {
    let mut choice = StreamChoice::of(stream);
    choice.mode = SyncMode::FullRefreshOverwrite;
    choice.drop = OF_STORE.map(str::to_owned).to_vec();
    let mut columns = columns(&choice, compat);
    columns.retain(|(column, _)| column.name != SYNCED_AT);
    if stream == Stream::Transactions && compat.is_none() {
        let column = Column {
            name: DELETED_AT.to_owned(),
            kind: FieldKind::Instant,
            meaning: "When Plaid took it back; only its key is told then".to_owned(),
        };
        let source = Source { from: From::DeletedAt, kind: FieldKind::Instant, hashed: false };
        columns.push((column, source));
    }
    let key_names = match (stream, compat) {
        (Stream::Transactions, _) => &["transaction_id"],
        _ => key_names(stream, compat),
    };
    let (columns, sources): (Vec<Column>, Vec<Source>) = columns.into_iter().unzip();
    let places = columns.iter().enumerate();
    let places = places.filter(|(_, column)| key_names.contains(&column.name.as_str()));
    let key = places.map(|(place, _)| place).collect();
    let table = Table { namespace: None, name: name(stream, compat).to_owned(), columns, key };
    StreamPlan {
        shape: String::new(),
        seen_now: (0, String::new()),
        choice,
        load: Load {
            id: String::new(),
            stream: stream.as_str().to_owned(),
            mode: Mode::Merge,
            generation: 0,
            refreshes: false,
            tables: vec![Arc::new(table)],
        },
        sources,
        of_end_user: HashMap::new(),
        hash_key: aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, b""),
    }
}

pub(crate) fn is_append(mode: SyncMode) -> bool {
    matches!(mode, SyncMode::FullRefreshAppend | SyncMode::IncrementalAppend)
}

/// The table of each end user, and the namespaces of all tables.
fn namespaces(
    namespacing: Namespacing,
    names: &Names<'_>,
) -> (HashMap<String, usize>, Vec<Option<String>>) {
    match namespacing {
        Namespacing::One => (HashMap::new(), vec![None]),
        Namespacing::Integration => (HashMap::new(), vec![Some(plain_name(names.integration))]),
        Namespacing::EndUser => {
            // Two ids that come to the same plain name share a namespace, and nothing is lost.
            let mut places: BTreeMap<String, usize> = BTreeMap::new();
            let plain = names.end_users.iter().map(|(key, id)| (key, own_namespace(id)));
            let plain: Vec<(&String, String)> = plain.collect();
            for (_, name) in &plain {
                places.insert(name.clone(), 0);
            }
            places.values_mut().enumerate().for_each(|(number, place)| *place = number);
            let of = plain.iter().map(|(key, name)| ((*key).clone(), places[name]));
            (of.collect(), places.into_keys().map(Some).collect())
        }
    }
}

fn name(stream: Stream, compat: Option<Compat>) -> &'static str {
    match (compat, stream) {
        (Some(Compat::Airbyte), Stream::Balances) => "balance",
        (Some(Compat::Airbyte), Stream::Transactions) => "transaction",
        _ => stream.as_str(),
    }
}

fn key_names(stream: Stream, compat: Option<Compat>) -> &'static [&'static str] {
    match (compat, stream) {
        (Some(Compat::Airbyte), Stream::Balances) => &["account_id"],
        (Some(Compat::Airbyte), Stream::Transactions) => &["transaction_id"],
        _ => stream.declaration().key,
    }
}

/// The columns of a stream's tables, each with where its cells come from.
fn columns(choice: &StreamChoice, compat: Option<Compat>) -> Vec<(Column, Source)> {
    let kept = |name: &str| !choice.drop.iter().any(|dropped| dropped == name);
    let made = |name: &str, kind: FieldKind, meaning: &str, from: From| {
        let hashed = choice.hash.iter().any(|hashed| hashed == name);
        let (shown, meaning) = match hashed {
            true => (FieldKind::Text, format!("{meaning} (a keyed hash of it)")),
            false => (kind, meaning.to_owned()),
        };
        let column = Column { name: name.to_owned(), kind: shown, meaning };
        (column, Source { from, kind, hashed })
    };
    let mut columns = Vec::new();
    if compat == Some(Compat::Airbyte) {
        let fields = match choice.stream {
            Stream::Balances => model::AIRBYTE_BALANCE,
            _ => model::AIRBYTE_TRANSACTION,
        };
        for (name, kind) in fields.iter().filter(|(name, _)| kept(name)) {
            let from = match (choice.stream, *name) {
                (Stream::Balances, "iso_currency_code") => From::Currency { iso: true },
                (Stream::Balances, "unofficial_currency_code") => From::Currency { iso: false },
                (Stream::Balances, field) => From::Field(field),
                (_, field) => From::Raw(field),
            };
            columns.push(made(name, *kind, "As Airbyte's connector has it", from));
        }
        return columns;
    }
    let fields = choice.stream.declaration().fields.iter();
    for field in fields.filter(|field| kept(field.name) && field.name != ONLY_LISTED) {
        columns.push(made(field.name, field.kind, field.meaning, From::Field(field.name)));
    }
    if choice.stream == Stream::Balances {
        let of_account = Stream::Accounts.declaration().fields.iter();
        for field in of_account.filter(|f| ACCOUNT_FIELDS.contains(&f.name) && kept(f.name)) {
            columns.push(made(field.name, field.kind, field.meaning, From::Account(field.name)));
        }
    }
    if is_append(choice.mode) {
        let meaning = "What happened: added, modified or removed";
        columns.push(made(CHANGE, FieldKind::Text, meaning, From::Change));
        let meaning = "Place of the change in the feed; 0 where everything was read";
        columns.push(made(SEQ, FieldKind::Integer, meaning, From::Seq));
    }
    columns.push(made(SYNCED_AT, FieldKind::Instant, "When it was written", From::SyncedAt));
    columns
}

type Members<'a> = HashMap<&'a str, &'a RawValue>;

impl StreamPlan {
    /// Whether Plaid's own bytes are needed.
    pub(crate) fn needs_raw(&self) -> bool {
        self.sources.iter().any(|source| matches!(source.from, From::Raw(_)))
    }

    /// Columns that tables lack and that are left out.
    pub(crate) fn leave_out(&mut self, names: &[String]) {
        let Some(first) = self.load.tables.first() else { return };
        let kept: Vec<bool> =
            first.columns.iter().map(|column| !names.contains(&column.name)).collect();
        let key: Vec<String> = first.key_names().into_iter().map(str::to_owned).collect();
        let mut keep = kept.iter();
        self.sources.retain(|_| *keep.next().unwrap_or(&true));
        for table in &mut self.load.tables {
            let mut own = Table::clone(table);
            let mut keep = kept.iter();
            own.columns.retain(|_| *keep.next().unwrap_or(&true));
            let places = own.columns.iter().enumerate();
            let places = places.filter(|(_, column)| key.contains(&column.name));
            own.key = places.map(|(place, _)| place).collect();
            *table = Arc::new(own);
        }
    }

    /// A record as a row; none if its end user has no table yet, which the next run makes.
    pub(crate) fn place(&self, record: &Extracted, now: &str) -> Option<Placed> {
        let table = match self.of_end_user.is_empty() {
            true => self.load.tables.first()?,
            false => &self.load.tables[*self.of_end_user.get(&record.end_user_key)?],
        };
        let body = members(&record.body);
        let account = record.account.as_deref().map(members).unwrap_or_default();
        let raw = record.raw.as_deref().map(members).unwrap_or_default();
        let row: Row = self
            .sources
            .iter()
            .map(|source| {
                let cell = self.cell(source, record, now, [&body, &account, &raw]);
                if source.hashed { cell.map(|text| self.hash(&text)) } else { cell }
            })
            .collect();
        let key = table.key.iter().map(|place| row[*place].clone()).collect();
        Some(Placed { table: Arc::clone(table), row, key })
    }

    fn cell(
        &self,
        source: &Source,
        record: &Extracted,
        now: &str,
        [body, account, raw]: [&Members<'_>; 3],
    ) -> Cell {
        let of = |members: &Members<'_>, name: &str| {
            let cell = cell(source.kind, members.get(name)?.get())?;
            Some(if source.kind == FieldKind::Instant { in_micros(cell) } else { cell })
        };
        match source.from {
            From::Field(name) => of(body, name),
            From::Account(name) => of(account, name),
            From::Raw(name) => of(raw, name),
            From::Currency { iso } => {
                of(body, "currency").filter(|code| Currency::is_iso(code) == iso)
            }
            From::SyncedAt => Some(now.to_owned()),
            From::DeletedAt => (record.kind == ChangeKind::Removed).then(|| now.to_owned()),
            From::Change => Some(record.kind.as_str().to_owned()),
            From::Seq => Some(record.seq.to_string()),
        }
    }

    fn hash(&self, text: &str) -> String {
        hex(&self.hash_key, text)
    }

    /// Whether a removal is told as a row, or ends one.
    pub(crate) fn is_gone(&self, record: &Extracted) -> bool {
        record.kind == ChangeKind::Removed && self.load.mode == Mode::Merge
    }

    /// Which columns two sides are compared by: all but the time of writing.
    pub(crate) fn compared(&self) -> impl Iterator<Item = usize> {
        let columns = self.sources.iter().enumerate();
        columns.filter(|(_, s)| !matches!(s.from, From::SyncedAt)).map(|(place, _)| place)
    }
}

fn hex(key: &aws_lc_rs::hmac::Key, text: &str) -> String {
    let tag = aws_lc_rs::hmac::sign(key, text.as_bytes());
    tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The namespace of an end user; names that databases keep for themselves get another beginning.
fn own_namespace(id: &str) -> String {
    let name = plain_name(id);
    let is_taken = ["public", "main", "temp", "information_schema"].contains(&name.as_str());
    if is_taken || name.starts_with("pg_") { format!("_{name}") } else { name }
}

fn members(text: &str) -> Members<'_> {
    serde_json::from_str(text).unwrap_or_default()
}

/// The time of writing as a cell.
pub(crate) fn now_cell(now: Timestamp) -> String {
    in_micros(now.to_string())
}

/// An instant as databases keep it: some would round what is finer, and others cut it off.
fn in_micros(text: String) -> String {
    let at = text.parse().ok().map(Timestamp::as_microsecond);
    let whole = at.and_then(|micros| Timestamp::from_microsecond(micros).ok());
    whole.map_or(text, |at| at.to_string())
}
