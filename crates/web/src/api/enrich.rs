//! The judgement for whoever asks: rows in, what they mean out, nothing is kept.

use enrich::{AccountKind, Judge, Leaf, Transaction, introduce, recorded, tables};
use model::{Enrichment, PlaidCounterparty};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::problem::{FieldFault, Problem, ProblemDocument};
use crate::request::{Caller, Json};

/// Rows of one request.
const MOST_ROWS: usize = 20_000;
/// Faults that are told of; who sees a hundred has seen enough.
const MOST_FAULTS: usize = 100;
/// Largest body: so many rows of a kilobyte each.
const BODY_LIMIT_BYTES: usize = MOST_ROWS * 1_024;

/// Rows to judge.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EnrichIn {
    /// 1 to 20,000 rows.
    transactions: Vec<RowIn>,
}

/// A row, with as much as is known of it.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RowIn {
    /// Yours; it comes back with the answer.
    id: String,
    /// Decimal with Plaid's sign: positive is money out.
    amount: String,
    /// The bank's text.
    description: String,
    /// Date of the row; it changes nothing here.
    #[serde(default)]
    #[expect(dead_code, reason = "rows of files have it too")]
    date: Option<String>,
    /// ISO 4217 code.
    #[serde(default)]
    currency: String,
    /// ISO 3166 code of the bank's country.
    #[serde(default)]
    country: String,
    /// Yours; it changes nothing here.
    #[serde(default)]
    #[expect(dead_code, reason = "rows of files have it too")]
    account_id: Option<String>,
    /// `depository`, `credit`, `loan`.
    #[serde(default)]
    account_type: String,
    /// `business` or `personal`.
    #[serde(default)]
    holder_type: String,
    /// Plaid's name of the merchant.
    #[serde(default)]
    merchant_name: String,
    /// Plaid's id of the merchant.
    #[serde(default)]
    merchant_entity_id: String,
    /// The merchant's website, as Plaid has it.
    #[serde(default)]
    website: String,
    /// Everybody whom Plaid sees in it.
    #[serde(default)]
    counterparties: Vec<PlaidCounterparty>,
    /// Plaid's primary category.
    #[serde(default)]
    pfc_primary: String,
    /// Plaid's detailed category.
    #[serde(default)]
    pfc_detailed: String,
    /// How sure Plaid is.
    #[serde(default)]
    pfc_confidence: String,
    /// The card network's merchant category code.
    #[serde(default)]
    mcc: String,
}

/// Rows judged, in the order they came.
#[derive(Serialize, ToSchema)]
pub(crate) struct EnrichOut {
    /// One for each row.
    data: Vec<RowOut>,
}

/// A row judged.
#[derive(Serialize, ToSchema)]
struct RowOut {
    /// Yours.
    id: String,
    /// The same that records have.
    enrichment: Enrichment,
}

/// Says what rows mean: merchant, category, flags, each with a reason. Nothing is stored.
#[utoipa::path(
    post, path = "/v1/enrich", tag = "enrichment", operation_id = "enrich",
    request_body = EnrichIn,
    responses((status = 200, body = EnrichOut), (status = 422, body = ProblemDocument)),
)]
pub(crate) async fn enrich(
    _: Caller,
    Json(body): Json<EnrichIn, BODY_LIMIT_BYTES>,
) -> Result<axum::Json<EnrichOut>, Problem> {
    if body.transactions.is_empty() || body.transactions.len() > MOST_ROWS {
        let detail = format!("1 to {MOST_ROWS} rows at a time; send the others with another call.");
        return Err(Problem::fields(vec![FieldFault::new("/transactions", detail)]));
    }
    let judged = tokio::task::spawn_blocking(move || judge(body.transactions)).await;
    let data = match judged {
        Ok(data) => data?,
        // A panic is answered where all panics are; a server that ends answers nothing more.
        Err(failure) => match failure.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Vec::new(),
        },
    };
    Ok(axum::Json(EnrichOut { data }))
}

fn judge(rows: Vec<RowIn>) -> Result<Vec<RowOut>, Problem> {
    let mut judge = Judge::new(tables());
    let mut faults = Vec::new();
    let mut judged = Vec::with_capacity(rows.len());
    for (number, row) in rows.into_iter().enumerate() {
        let Some(amount) = enrich::hundredths(&row.amount) else {
            let pointer = format!("/transactions/{number}/amount");
            faults.push(FieldFault::new(
                &pointer,
                "must be a decimal such as \"12.50\", positive for money out",
            ));
            if faults.len() == MOST_FAULTS {
                break;
            }
            continue;
        };
        let enrichment = judge.judge(&Transaction {
            description: &row.description,
            amount,
            account: AccountKind::of_plaid(&row.account_type),
            is_business: row.holder_type.eq_ignore_ascii_case("business"),
            country: enrich::country(&row.country, &row.currency),
            merchant_name: &row.merchant_name,
            merchant_entity_id: &row.merchant_entity_id,
            website: &row.website,
            plaid_primary: &row.pfc_primary,
            plaid_detailed: &row.pfc_detailed,
            plaid_confidence: &row.pfc_confidence,
            mcc: &row.mcc,
        });
        let mut enrichment = recorded(&enrichment, &row.description);
        introduce(&mut enrichment, &row.counterparties);
        judged.push(RowOut { enrichment, id: row.id });
    }
    if faults.is_empty() { Ok(judged) } else { Err(Problem::fields(faults)) }
}

/// A category and what others call it.
#[derive(Serialize, ToSchema)]
pub(crate) struct CategoryView {
    /// Our finest category.
    leaf: &'static str,
    /// Primary code of Plaid's taxonomy, version 2.
    primary: &'static str,
    /// Detailed code of Plaid's taxonomy, version 2.
    detailed: &'static str,
    /// Detailed code of Plaid's taxonomy, version 1.
    detailed_v1: &'static str,
    /// What a lender to a business calls it.
    lender: &'static str,
    /// What a household calls it.
    consumer: &'static str,
}

/// Every category.
#[derive(Serialize, ToSchema)]
pub(crate) struct CategoriesView {
    /// In the order of Plaid's taxonomy.
    data: Vec<CategoryView>,
}

/// Lists every category there is.
#[utoipa::path(
    get, path = "/v1/categories", tag = "enrichment", operation_id = "list_categories",
    responses((status = 200, body = CategoriesView)),
)]
pub(crate) async fn categories(_: Caller) -> axum::Json<CategoriesView> {
    let view = |leaf: Leaf| CategoryView {
        leaf: leaf.name(),
        primary: leaf.primary().name(),
        detailed: leaf.plaid(),
        detailed_v1: leaf.plaid_first(),
        lender: leaf.lender(),
        consumer: leaf.consumer(),
    };
    axum::Json(CategoriesView { data: Leaf::all().map(view).collect() })
}
