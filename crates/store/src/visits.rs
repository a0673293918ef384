//! When an operator last looked at an end user, so that a page can say what changed since.

use jiff::{SignedDuration, Timestamp};
use model::EndUserId;
use sqlx::Row;

use crate::Store;
use crate::error::Error;
use crate::statement::declare;
use crate::work::instant;

declare! {
    FIND = "SELECT seen_at, before_at FROM visits WHERE operator = $1 AND end_user_key = $2";
    NOTE =
        "INSERT INTO visits (operator, end_user_key, seen_at, before_at) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (operator, end_user_key) DO UPDATE SET seen_at = excluded.seen_at, \
            before_at = excluded.before_at";
}

/// Looks this close together are one visit.
const ONE_VISIT: SignedDuration = SignedDuration::from_mins(30);
/// A look is noted at most this often: reading should write little.
const NOTED_EVERY: SignedDuration = SignedDuration::from_mins(1);

impl Store {
    /// Notes that an operator looks at an end user; when their visit before this one ended, if there was
    /// one.
    pub async fn visit(
        &self,
        operator: &str,
        end_user: &EndUserId,
    ) -> Result<Option<Timestamp>, Error> {
        let now = self.ambient.now();
        let find = sqlx::query(FIND).bind(operator.to_owned()).bind(end_user.to_string());
        let known = self.db.fetch_optional(find).await?;
        let known = known.map(|row| -> Result<_, Error> {
            Ok((instant(row.try_get("seen_at")?)?, instant(row.try_get("before_at")?)?))
        });
        let (seen, before) =
            known.transpose()?.unwrap_or((Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH));
        let since = now.duration_since(seen);
        let before = if since > ONE_VISIT { seen } else { before };
        if since > NOTED_EVERY {
            let (operator, end_user) = (operator.to_owned(), end_user.to_string());
            self.db
                .write(move |connection| {
                    Box::pin(async move {
                        let note = sqlx::query(NOTE).bind(operator).bind(end_user);
                        let note = note.bind(now.as_microsecond()).bind(before.as_microsecond());
                        note.execute(connection).await?;
                        Ok(())
                    })
                })
                .await?;
        }
        Ok((before > Timestamp::UNIX_EPOCH).then_some(before))
    }
}
