//! Every route, grouped by who calls: the table of contents of this crate.

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderName, HeaderValue};
use axum::routing::get;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::set_header::SetResponseHeaderLayer;
use utoipa::OpenApi;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityScheme};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::{
    changes, connections, corrections, end_users, enrich, enrichment_rules, integrations,
    item_health, items, link_tokens, links, series, sources, streams, subscriptions, suggestions,
    system, transactions,
};
use crate::state::Web;
use crate::{dashboard, receiver, request};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Selvedge",
        description = "Bank data from Plaid: linked Items in, incremental transactions out. \
            Enums are open: expect values that are not listed. Fields are only ever added.",
    ),
    security(("bearer" = []), ("api_key" = [])),
)]
struct Document;

/// Headers of every answer: nothing is framed, sniffed, cached or loaded from elsewhere.
const HEADERS: [(&str, &str); 5] = [
    ("cache-control", "no-store"),
    (
        "content-security-policy",
        "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
    ),
    ("referrer-policy", "same-origin"),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
];

/// The whole server.
pub fn router(web: Web) -> Router {
    let (api, document) = api().split_for_parts();
    let document = finished(document);
    let mut router = api
        .route("/openapi.json", get(|| async move { axum::Json(document) }))
        .route("/docs/errors/{code}", get(system::error_page))
        .merge(dashboard::router())
        .layer(axum::middleware::from_fn_with_state(web.clone(), request::identify))
        .layer(DefaultBodyLimit::max(request::BODY_LIMIT_BYTES))
        .layer(CatchPanicLayer::new())
        .layer(CompressionLayer::new());
    for (name, value) in HEADERS {
        let (name, value) = (HeaderName::from_static(name), HeaderValue::from_static(value));
        router = router.layer(SetResponseHeaderLayer::if_not_present(name, value));
    }
    router.with_state(web)
}

/// The OpenAPI document of the routes.
pub fn openapi() -> utoipa::openapi::OpenApi {
    finished(api().split_for_parts().1)
}

fn api() -> OpenApiRouter<Web> {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(integrations::create, integrations::list))
        .routes(routes!(integrations::get, integrations::update, integrations::delete))
        .routes(routes!(integrations::check))
        .routes(routes!(integrations::usage))
        .routes(routes!(links::create, links::list))
        .routes(routes!(links::create_many))
        .routes(routes!(link_tokens::create, link_tokens::list))
        .routes(routes!(link_tokens::repairs))
        .routes(routes!(link_tokens::repair))
        .routes(routes!(items::list))
        .routes(routes!(items::get, items::remove))
        .routes(routes!(items::sync))
        .routes(routes!(item_health::refresh))
        .routes(routes!(item_health::disable))
        .routes(routes!(item_health::enable))
        .routes(routes!(item_health::syncs))
        .routes(routes!(item_health::freshness))
        .routes(routes!(streams::list))
        .routes(routes!(streams::states))
        .routes(routes!(streams::records))
        .routes(routes!(streams::balance_readings))
        .routes(routes!(subscriptions::create, subscriptions::list))
        .routes(routes!(subscriptions::delete))
        .routes(routes!(subscriptions::deliveries))
        .routes(routes!(subscriptions::send))
        .routes(routes!(suggestions::list))
        .routes(routes!(suggestions::accept))
        .routes(routes!(suggestions::dismiss))
        .routes(routes!(end_users::list))
        .routes(routes!(end_users::get))
        .routes(routes!(end_users::accounts))
        .routes(routes!(end_users::balances))
        .routes(routes!(end_users::transactions))
        .routes(routes!(transactions::list))
        .routes(routes!(transactions::get, corrections::annotate))
        .routes(routes!(transactions::history))
        .routes(routes!(changes::list))
        .routes(routes!(enrich::enrich))
        .routes(routes!(enrich::categories))
        .routes(routes!(series::get))
        .routes(routes!(series::balances))
        .routes(routes!(enrichment_rules::create, enrichment_rules::list))
        .routes(routes!(enrichment_rules::delete))
        .routes(routes!(sources::create, sources::list))
        .routes(routes!(sources::get, sources::delete))
        .routes(routes!(sources::check))
        .routes(routes!(connections::create, connections::list))
        .routes(routes!(connections::get, connections::update, connections::delete))
        .routes(routes!(connections::start, connections::runs))
        .routes(routes!(connections::pause))
        .routes(routes!(connections::resume))
        .routes(routes!(connections::run))
        .routes(routes!(connections::cancel))
        .routes(routes!(receiver::receive))
        .routes(routes!(system::health))
        .routes(routes!(system::readiness))
}

fn finished(mut document: utoipa::openapi::OpenApi) -> utoipa::openapi::OpenApi {
    let components = document.components.get_or_insert_default();
    let bearer = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    components.add_security_scheme("bearer", bearer);
    let api_key = SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::new("x-api-key")));
    components.add_security_scheme("api_key", api_key);
    document.info.version = env!("CARGO_PKG_VERSION").to_owned();
    document
}
