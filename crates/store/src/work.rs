//! Work is state, not messages: one row for each kind and subject. A poke raises `wanted_seq`, a
//! claim copies it under a lease with a fencing token, finishing sets `done_seq` to what was
//! claimed. Whatever comes in between is done once more; a thousand pokes are one row.

use jiff::{SignedDuration, Timestamp};
use sqlx::Row;
use sqlx::any::AnyRow;

use crate::Store;
use crate::db::{Connected, Query, dialect};
use crate::error::Error;
use crate::statement::declare;

declare! {
    /// Makes the row if it is missing; never shortens a back-off. Fences begin at the time, so that one of
    /// a row that was deleted holds for no later one.
    POKE =
        "INSERT INTO work (kind, subject, due_at, not_before, wanted_seq, claimed_seq, done_seq, \
            lease_until, fence, attempts) \
         VALUES ($1, $2, $3, 0, 1, 0, 0, 0, $3, 0) \
         ON CONFLICT (kind, subject) DO UPDATE SET wanted_seq = work.wanted_seq + 1, \
            due_at = CASE WHEN work.due_at < excluded.due_at THEN work.due_at \
                ELSE excluded.due_at END";
    /// A person's wish ends a back-off, also the one that a run under way may yet ask for.
    END_BACK_OFF = "UPDATE work SET not_before = -1, attempts = 0 WHERE kind = $1 AND subject = $2";
    CLAIM =
        "UPDATE work SET lease_owner = $3, lease_until = $4, fence = fence + 1, \
            claimed_seq = wanted_seq, not_before = 0 \
         WHERE (kind, subject) = (SELECT kind, subject FROM work \
            WHERE kind = $1 AND due_at <= $2 AND not_before <= $2 AND lease_until <= $2 \
                AND attempts <= $5 ORDER BY due_at LIMIT 1 /* skip locked */) \
         RETURNING subject, fence, attempts";
    /// Whether there is anything to claim: asked of the readers first, so that workers who wake for
    /// nothing do not hold up the writer.
    IS_CLAIMABLE =
        "SELECT 1 FROM work WHERE kind = $1 AND due_at <= $2 AND not_before <= $2 \
            AND lease_until <= $2 AND attempts <= $3 LIMIT 1";
    RENEW = "UPDATE work SET lease_until = $4 WHERE kind = $1 AND subject = $2 AND fence = $3 \
         AND lease_owner IS NOT NULL";
    FINISH =
        "UPDATE work SET done_seq = claimed_seq, lease_owner = NULL, lease_until = 0, \
            attempts = 0, not_before = 0, last_error = NULL, \
            due_at = CASE WHEN wanted_seq > claimed_seq THEN CAST($4 AS BIGINT) \
                ELSE CAST($5 AS BIGINT) END \
         WHERE kind = $1 AND subject = $2 AND fence = $3 AND lease_owner IS NOT NULL";
    FAIL =
        "UPDATE work SET lease_owner = NULL, lease_until = 0, attempts = attempts + 1, \
            not_before = CASE WHEN not_before < 0 THEN 0 ELSE CAST($4 AS BIGINT) END, \
            due_at = CASE WHEN not_before < 0 THEN due_at ELSE CAST($4 AS BIGINT) END, \
            last_error = $5 \
         WHERE kind = $1 AND subject = $2 AND fence = $3 AND lease_owner IS NOT NULL";
    HOLD = "UPDATE work SET fence = fence WHERE kind = $1 AND subject = $2 AND fence = $3 \
         AND lease_owner IS NOT NULL";
    STOP_LEASED = "DELETE FROM work WHERE kind = $1 AND subject = $2 AND fence = $3";
    /// A single process that starts owns every lease: whoever held one is gone.
    CLEAR_LEASES =
        "UPDATE work SET lease_owner = NULL, lease_until = 0 WHERE lease_owner IS NOT NULL";
    /// What a process that ends has not finished is free at once.
    RELEASE = "UPDATE work SET lease_owner = NULL, lease_until = 0 WHERE lease_owner = $1";
    CLAIMABLE_KINDS =
        "WITH kinds (kind) AS (VALUES ('sync'), ('notify'), ('enrich'), ('deliver'), \
            ('link_session'), ('run'), ('sequence'), ('schedule'), ('publish')) \
         SELECT kind FROM kinds WHERE EXISTS (SELECT 1 FROM work w WHERE w.kind = kinds.kind \
            AND w.due_at <= $1 AND w.not_before <= $1 AND w.lease_until <= $1)";
    /// Rows that are due but held back or held, of which there are few; else the first one to come.
    NEXT_DUE =
        "SELECT MIN(at) FROM \
            (SELECT MIN(CASE WHEN not_before > lease_until THEN not_before ELSE lease_until END) \
                AS at FROM work WHERE kind = $1 AND due_at <= $3 AND attempts <= $2 \
             UNION ALL \
             SELECT at FROM (SELECT due_at AS at FROM work \
                WHERE kind = $1 AND due_at > $3 AND attempts <= $2 ORDER BY due_at LIMIT 1) \
                AS coming) AS next";
    IS_LEASED =
        "SELECT lease_until FROM work WHERE kind = $1 AND subject = $2 AND lease_owner IS NOT NULL";
    DUE_AT = "SELECT due_at FROM work WHERE kind = $1 AND subject = $2";
}

/// The closed list of kinds of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WorkKind {
    /// Bring one Item up to date, or end it. Subject: our key of the Item.
    Sync,
    /// Tell subscribers of an end user's transactions. Subject: our id of the end user.
    Notify,
    /// Say what an end user's transactions mean. Subject: our id of the end user.
    Enrich,
    /// Send one message. Subject: the delivery.
    Deliver,
    /// See what became of a visit to Link, and exchange what it brought. Subject: the session.
    LinkSession,
    /// Write what a connection has due. Subject: the connection.
    Run,
    /// Give changes their place in the feed, for as long as the process lives. Subject: `feed`.
    Sequence,
    /// Forget what is old, and wake those whose work has become due. Subject: `clock`.
    Schedule,
    /// Bring the feed to the event log. Subject: `log`.
    Publish,
}

impl WorkKind {
    /// Kinds of which any write may leave something to do. The others are held for good by one process.
    pub(crate) const POKED: [Self; 6] =
        [Self::Sync, Self::Notify, Self::Enrich, Self::Deliver, Self::LinkSession, Self::Run];

    /// Every kind, in the order of their declaration.
    pub const ALL: [Self; 9] = [
        Self::Sync,
        Self::Notify,
        Self::Enrich,
        Self::Deliver,
        Self::LinkSession,
        Self::Run,
        Self::Sequence,
        Self::Schedule,
        Self::Publish,
    ];

    /// The name as stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sync => "sync",
            Self::Notify => "notify",
            Self::Enrich => "enrich",
            Self::Deliver => "deliver",
            Self::LinkSession => "link_session",
            Self::Run => "run",
            Self::Sequence => "sequence",
            Self::Schedule => "schedule",
            Self::Publish => "publish",
        }
    }

    /// The kind of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

/// The right to do one piece of work until it runs out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// What kind of work.
    pub kind: WorkKind,
    /// About what.
    pub subject: String,
    /// Which claim this is; an older one cannot commit.
    pub fence: i64,
    /// Failures in a row before this claim.
    pub attempts: i64,
}

impl Store {
    /// Asks for a piece of work as soon as its back-off allows, or at once if a person asks.
    pub async fn poke(&self, kind: WorkKind, subject: &str, by_person: bool) -> Result<(), Error> {
        let subject = subject.to_owned();
        let now = self.ambient.now();
        self.db
            .write(move |connection| {
                Box::pin(async move {
                    if by_person {
                        poke_by_person(connection, kind, &subject, now).await
                    } else {
                        poke(connection, kind, &subject, now).await
                    }
                })
            })
            .await?;
        self.news.announce_work();
        Ok(())
    }

    /// Claims the piece of work of this kind that has been due longest, of those that failed no
    /// more often in a row than `most_attempts`.
    pub async fn claim(
        &self,
        kind: WorkKind,
        most_attempts: i64,
        owner: &str,
        lasts: SignedDuration,
    ) -> Result<Option<Lease>, Error> {
        let now = self.ambient.now();
        if !self.is_shared() && !self.is_claimable(kind, most_attempts, now).await? {
            return Ok(None);
        }
        let until = now.saturating_add(lasts).unwrap_or(now).as_microsecond();
        let owner = owner.to_owned();
        self.db
            .write(move |connection| {
                Box::pin(async move {
                    let claim = sqlx::query(dialect::text(connection, CLAIM))
                        .bind(kind.as_str())
                        .bind(now.as_microsecond())
                        .bind(owner)
                        .bind(until)
                        .bind(most_attempts);
                    let row = claim.fetch_optional(connection).await?;
                    row.map(|row| lease(kind, &row)).transpose().map_err(Error::from)
                })
            })
            .await
    }

    async fn is_claimable(
        &self,
        kind: WorkKind,
        most_attempts: i64,
        now: Timestamp,
    ) -> Result<bool, Error> {
        let claimable = sqlx::query(IS_CLAIMABLE).bind(kind.as_str()).bind(now.as_microsecond());
        Ok(self.db.fetch_optional(claimable.bind(most_attempts)).await?.is_some())
    }

    /// Kinds of which a row can be claimed now.
    pub async fn claimable_kinds(&self) -> Result<Vec<WorkKind>, Error> {
        let now = self.ambient.now().as_microsecond();
        let rows = self.db.fetch_all(sqlx::query(CLAIMABLE_KINDS).bind(now)).await?;
        let kind = |row: &AnyRow| {
            let name: String = row.try_get(0)?;
            WorkKind::from_name(&name).ok_or(Error::corrupt("a kind of work"))
        };
        rows.iter().map(kind).collect()
    }

    /// Gives back what a process that ends has claimed and not finished.
    pub async fn release_leases(&self, owner: &str) -> Result<(), Error> {
        let owner = owner.to_owned();
        self.db
            .write(move |connection| {
                Box::pin(async move {
                    sqlx::query(RELEASE).bind(owner).execute(connection).await?;
                    Ok(())
                })
            })
            .await?;
        self.news.announce_work();
        Ok(())
    }

    /// Holds a lease longer. [`Error::Stale`] if it was lost.
    pub async fn renew(&self, lease: &Lease, lasts: SignedDuration) -> Result<(), Error> {
        let now = self.ambient.now();
        let until = now.saturating_add(lasts).unwrap_or(now).as_microsecond();
        self.settle(lease, move |lease| guarded(RENEW, lease).bind(until)).await
    }

    /// Gives a lease back with the work done; due again at the given time.
    pub async fn finish(&self, lease: &Lease, next_due: Timestamp) -> Result<(), Error> {
        let now = self.ambient.now().as_microsecond();
        let next = next_due.as_microsecond();
        self.settle(lease, move |lease| guarded(FINISH, lease).bind(now).bind(next)).await
    }

    /// Gives a lease back with the work not done; nobody tries again before the given time.
    pub async fn fail(&self, lease: &Lease, not_before: Timestamp, why: &str) -> Result<(), Error> {
        let (not_before, why) = (not_before.as_microsecond(), why.to_owned());
        self.settle(lease, move |lease| guarded(FAIL, lease).bind(not_before).bind(why)).await?;
        self.news.announce_work();
        Ok(())
    }

    async fn settle(
        &self,
        lease: &Lease,
        query: impl FnOnce(&Lease) -> Query + Clone + Send + 'static,
    ) -> Result<(), Error> {
        let lease = lease.clone();
        self.db
            .write(move |connection| {
                Box::pin(async move { affects_one(connection, query(&lease)).await })
            })
            .await
    }

    /// Frees every lease; for the one process that serves a SQLite file, at its start.
    pub async fn clear_leases(&self) -> Result<(), Error> {
        self.db
            .write(|connection| {
                Box::pin(async move {
                    sqlx::query(CLEAR_LEASES).execute(connection).await?;
                    Ok(())
                })
            })
            .await
    }

    /// When the next piece of work of a kind can be claimed, if nothing happens before.
    pub async fn next_due(
        &self,
        kind: WorkKind,
        most_attempts: i64,
    ) -> Result<Option<Timestamp>, Error> {
        let now = self.ambient.now().as_microsecond();
        let next = sqlx::query(NEXT_DUE).bind(kind.as_str()).bind(most_attempts).bind(now);
        let row = self.db.fetch_one(next).await?;
        let micros: Option<i64> = row.try_get(0)?;
        Ok(micros.and_then(|micros| Timestamp::from_microsecond(micros).ok()))
    }
}

impl Store {
    /// Whether a piece of work is being done now.
    pub async fn is_at_work(&self, kind: WorkKind, subject: &str) -> Result<bool, Error> {
        let find = sqlx::query(IS_LEASED).bind(kind.as_str()).bind(subject.to_owned());
        let row = self.db.fetch_optional(find).await?;
        let until: Option<i64> = row.map(|row| row.try_get(0)).transpose()?;
        Ok(until.is_some_and(|until| until > self.ambient.now().as_microsecond()))
    }

    /// When a piece of work is due.
    pub async fn due_at(&self, kind: WorkKind, subject: &str) -> Result<Option<Timestamp>, Error> {
        let find = sqlx::query(DUE_AT).bind(kind.as_str()).bind(subject.to_owned());
        let row = self.db.fetch_optional(find).await?;
        let at: Option<i64> = row.map(|row| row.try_get(0)).transpose()?;
        Ok(at.and_then(|at| Timestamp::from_microsecond(at).ok()))
    }
}

fn guarded(sql: &'static str, lease: &Lease) -> Query {
    sqlx::query(sql).bind(lease.kind.as_str()).bind(lease.subject.clone()).bind(lease.fence)
}

async fn affects_one(connection: &mut Connected, query: Query) -> Result<(), Error> {
    let affected = query.execute(connection).await?.rows_affected();
    let held = affected == 1 || trial::has_bug("lease_not_checked");
    if held { Ok(()) } else { Err(Error::Stale) }
}

/// Asks for a piece of work within a larger write.
pub(crate) async fn poke(
    connection: &mut Connected,
    kind: WorkKind,
    subject: &str,
    now: Timestamp,
) -> Result<(), Error> {
    let poke =
        sqlx::query(POKE).bind(kind.as_str()).bind(subject.to_owned()).bind(now.as_microsecond());
    poke.execute(connection).await?;
    Ok(())
}

/// Asks for a piece of work at once, whatever failed before, within a larger write.
pub(crate) async fn poke_by_person(
    connection: &mut Connected,
    kind: WorkKind,
    subject: &str,
    now: Timestamp,
) -> Result<(), Error> {
    poke(connection, kind, subject, now).await?;
    let end = sqlx::query(END_BACK_OFF).bind(kind.as_str()).bind(subject.to_owned());
    end.execute(connection).await?;
    Ok(())
}

/// Gives a lease back within the write that notes the failure.
pub(crate) async fn fail(
    connection: &mut Connected,
    lease: &Lease,
    not_before: Timestamp,
    why: &str,
) -> Result<(), Error> {
    let query = guarded(FAIL, lease).bind(not_before.as_microsecond()).bind(why.to_owned());
    affects_one(connection, query).await
}

/// Finishes a piece of work within the write that holds its results.
pub(crate) async fn finish(
    connection: &mut Connected,
    lease: &Lease,
    now: Timestamp,
    next_due: Timestamp,
) -> Result<(), Error> {
    let query = guarded(FINISH, lease).bind(now.as_microsecond()).bind(next_due.as_microsecond());
    affects_one(connection, query).await
}

/// Proves within a larger write that a lease is held.
pub(crate) async fn hold(connection: &mut Connected, lease: &Lease) -> Result<(), Error> {
    affects_one(connection, guarded(HOLD, lease)).await
}

/// Ends a piece of work for good, within the write that holds its results.
pub(crate) async fn stop_leased(connection: &mut Connected, lease: &Lease) -> Result<(), Error> {
    affects_one(connection, guarded(STOP_LEASED, lease)).await
}

fn lease(kind: WorkKind, row: &AnyRow) -> Result<Lease, sqlx::Error> {
    Ok(Lease {
        kind,
        subject: row.try_get("subject")?,
        fence: row.try_get("fence")?,
        attempts: row.try_get("attempts")?,
    })
}

/// An instant as stored.
pub(crate) fn instant(micros: i64) -> Result<Timestamp, Error> {
    Timestamp::from_microsecond(micros).map_err(|_| Error::corrupt("an instant"))
}

/// An instant that may be absent.
pub(crate) fn optional_instant(micros: Option<i64>) -> Result<Option<Timestamp>, Error> {
    micros.map(instant).transpose()
}
