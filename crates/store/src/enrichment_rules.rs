//! Rules of an integration's people about what transactions mean. A rule that comes or goes has all end
//! users of the integration processed again, in the same write.

use model::{
    EndUserId, EnrichmentRule, EnrichmentRuleId, IntegrationId, RuleCondition, RuleDecision,
};
use sqlx::Row;
use sqlx::any::AnyRow;

use crate::Store;
use crate::enrichments;
use crate::error::Error;
use crate::records::json;
use crate::statement::declare;

declare! {
    ADD =
        "INSERT INTO enrichment_rules (id, integration_id, body, created_at) \
         VALUES ($1, $2, $3, $4)";
    LIST =
        "SELECT body FROM enrichment_rules WHERE integration_id = $1 \
         AND (CAST($2 AS TEXT) IS NULL OR id > $2) ORDER BY id LIMIT $3";
    OF_END_USER =
        "SELECT r.body FROM enrichment_rules r JOIN end_users e \
            ON e.integration_id = r.integration_id WHERE e.id = $1 ORDER BY r.id";
    DELETE = "DELETE FROM enrichment_rules WHERE id = $1 AND integration_id = $2";
}

impl Store {
    /// Makes a rule, which holds for what is here and what comes.
    pub async fn add_rule(
        &self,
        integration: &IntegrationId,
        when: RuleCondition,
        then: RuleDecision,
    ) -> Result<EnrichmentRule, Error> {
        let rule = EnrichmentRule {
            id: EnrichmentRuleId::generate(&self.ambient),
            integration_id: integration.clone(),
            when,
            then,
            created_at: self.ambient.now(),
        };
        let (row, now) = (rule.clone(), self.ambient.now());
        self.db
            .write(move |connection| {
                Box::pin(async move {
                    let integration = row.integration_id.to_string();
                    sqlx::query(ADD)
                        .bind(row.id.to_string())
                        .bind(integration.clone())
                        .bind(json(&row)?)
                        .bind(row.created_at.as_microsecond())
                        .execute(&mut *connection)
                        .await?;
                    enrichments::want_all(connection, Some(integration), now).await
                })
            })
            .await?;
        self.news.announce_work();
        Ok(rule)
    }

    /// Rules of an integration in the order they were made, behind one.
    pub async fn rules(
        &self,
        integration: &IntegrationId,
        after: Option<&str>,
        limit: i64,
    ) -> Result<Vec<EnrichmentRule>, Error> {
        let list = sqlx::query(LIST)
            .bind(integration.to_string())
            .bind(after.map(str::to_owned))
            .bind(limit);
        self.db.fetch_all(list).await?.iter().map(read).collect()
    }

    /// All rules that hold for an end user.
    pub async fn rules_of_end_user(
        &self,
        end_user: &EndUserId,
    ) -> Result<Vec<EnrichmentRule>, Error> {
        let list = sqlx::query(OF_END_USER).bind(end_user.to_string());
        self.db.fetch_all(list).await?.iter().map(read).collect()
    }

    /// Takes a rule away; what it decided is judged again. False if there is none.
    pub async fn delete_rule(&self, integration: &IntegrationId, id: &str) -> Result<bool, Error> {
        let (integration, id) = (integration.to_string(), id.to_owned());
        let now = self.ambient.now();
        let found = self
            .db
            .write(move |connection| {
                Box::pin(async move {
                    let delete = sqlx::query(DELETE).bind(id).bind(integration.clone());
                    let found = delete.execute(&mut *connection).await?.rows_affected() == 1;
                    if found {
                        enrichments::want_all(connection, Some(integration), now).await?;
                    }
                    Ok(found)
                })
            })
            .await?;
        self.news.announce_work();
        Ok(found)
    }
}

fn read(row: &AnyRow) -> Result<EnrichmentRule, Error> {
    let body: String = row.try_get("body")?;
    serde_json::from_str(&body).map_err(|_| Error::corrupt("an enrichment rule"))
}
