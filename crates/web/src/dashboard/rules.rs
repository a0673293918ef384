//! Rules of an integration: tried on what is here before they are made.

use askama::Template;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use enrich::Leaf;
use model::{EnrichmentRule, RuleCondition, RuleDecision};
use serde::Deserialize;
use store::Integration;

use super::render::{Faults, Frame, page, page_with};
use super::session::{NoFields, Operator, Signed};
use super::words::{Age, grouped};
use crate::api::enrichment_rules::{MOST_RULES, RuleIn, Trial, make, try_rule};
use crate::problem::Problem;
use crate::state::Web;

const SECTION: &str = "integrations";

struct RuleRow {
    id: String,
    when: String,
    then: String,
    made: Age,
}

struct TrialRow {
    date: String,
    name: String,
    amount: String,
    currency: String,
    before: String,
    after: String,
}

#[derive(Template)]
#[template(path = "rules.html")]
struct RulesPage {
    frame: Frame,
    id: String,
    rules: Vec<RuleRow>,
    categories: Vec<&'static str>,
    form: RuleForm,
    faults: Faults,
    trial: Option<(String, Vec<TrialRow>)>,
}

/// What a person typed; empty fields are not given.
#[derive(Debug, Default, Deserialize)]
pub(super) struct RuleForm {
    #[serde(default)]
    text: String,
    #[serde(default)]
    merchant_key: String,
    #[serde(default)]
    direction: String,
    #[serde(default)]
    category: String,
    #[serde(default)]
    merchant: String,
    /// `make`, or anything else to try it.
    #[serde(default)]
    act: String,
}

impl RuleForm {
    fn rule(&self) -> RuleIn {
        let given = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        RuleIn {
            when: RuleCondition {
                text: given(&self.text),
                merchant_key: given(&self.merchant_key),
                direction: match self.direction.as_str() {
                    "in" => Some(model::Direction::In),
                    "out" => Some(model::Direction::Out),
                    _ => None,
                },
                ..RuleCondition::default()
            },
            then: RuleDecision { category: given(&self.category), merchant: given(&self.merchant) },
        }
    }
}

pub(super) async fn list(
    operator: Operator,
    State(web): State<Web>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let integration = web.integration(&id).await?;
    let shown = rules_page(&operator, &web, &integration, RuleForm::default()).await?;
    Ok(page(&shown))
}

async fn rules_page(
    operator: &Operator,
    web: &Web,
    integration: &Integration,
    form: RuleForm,
) -> Result<RulesPage, Problem> {
    let now = web.ambient().now();
    let rules = web.store.rules(&integration.id, None, MOST_RULES).await?;
    Ok(RulesPage {
        frame: Frame::new(operator, SECTION, format!("Rules of {}", integration.name)),
        id: integration.id.to_string(),
        rules: rules
            .into_iter()
            .rev()
            .map(|rule| RuleRow {
                when: when_words(&rule),
                then: then_words(&rule),
                made: Age::of(rule.created_at, now),
                id: rule.id.to_string(),
            })
            .collect(),
        categories: Leaf::all().map(Leaf::name).collect(),
        form,
        faults: Faults(Vec::new()),
        trial: None,
    })
}

fn when_words(rule: &EnrichmentRule) -> String {
    let when = &rule.when;
    let direction = when.direction.map(|direction| match direction {
        model::Direction::In => "money in".to_owned(),
        model::Direction::Out => "money out".to_owned(),
    });
    let said = |words: &str, text: &Option<String>| text.as_ref().map(|it| format!("{words} {it}"));
    let all = [
        said("text has", &when.text),
        said("merchant is", &when.merchant_key),
        direction,
        said("end user is", &when.end_user_id),
        said("account is", &when.account_id),
        said("at least", &when.amount_min),
        said("at most", &when.amount_max),
    ];
    all.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn then_words(rule: &EnrichmentRule) -> String {
    let said = |words: &str, text: &Option<String>| text.as_ref().map(|it| format!("{words} {it}"));
    let all = [said("category", &rule.then.category), said("merchant", &rule.then.merchant)];
    all.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// Tries a rule, or makes it.
pub(super) async fn create(
    State(web): State<Web>,
    Path(id): Path<String>,
    Signed(operator, form): Signed<RuleForm>,
) -> Result<Response, Problem> {
    let integration = web.integration(&id).await?;
    let rule = form.rule();
    let tried = if form.act == "make" {
        make(&web, &integration.id, rule).await.map(|_| None)
    } else {
        try_rule(&web, &integration.id, rule).await.map(Some)
    };
    match tried {
        Ok(None) => Ok(Redirect::to(&format!("/integrations/{id}/rules")).into_response()),
        Ok(Some(trial)) => {
            let mut shown = rules_page(&operator, &web, &integration, form).await?;
            shown.trial = Some(told(trial));
            Ok(page(&shown))
        }
        Err(problem) if !problem.errors.is_empty() => {
            let mut shown = rules_page(&operator, &web, &integration, form).await?;
            shown.faults = Faults(problem.errors);
            Ok(page_with(StatusCode::UNPROCESSABLE_ENTITY, &shown))
        }
        Err(problem) => Err(problem),
    }
}

fn told(trial: Trial) -> (String, Vec<TrialRow>) {
    let words = match trial.would_change {
        0 => "It would change nothing that is here.".to_owned(),
        1 => "It would change 1 transaction:".to_owned(),
        count => format!("It would change {count} transactions; the newest of them:"),
    };
    let words = match trial.complete {
        true => words,
        false => format!("Of the newest {} transactions: {words}", trial.looked_at),
    };
    let rows = trial.transactions.into_iter().map(|row| TrialRow {
        date: row.date.to_string(),
        amount: grouped(&row.amount),
        currency: row.currency,
        before: row.before.words(),
        after: row.after.words(),
        name: row.name,
    });
    (words, rows.collect())
}

/// Takes a rule away.
pub(super) async fn delete(
    State(web): State<Web>,
    Path((id, rule)): Path<(String, String)>,
    Signed(_, NoFields {}): Signed<NoFields>,
) -> Result<Response, Problem> {
    let integration = web.integration(&id).await?;
    web.store.delete_rule(&integration.id, &rule).await?;
    Ok(Redirect::to(&format!("/integrations/{id}/rules")).into_response())
}
