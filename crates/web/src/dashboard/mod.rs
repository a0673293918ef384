//! The dashboard: server-rendered pages that answer "is it fresh, is it right, what do I do". Pages
//! read without script; with it, they refresh themselves quietly.

mod api_keys;
mod assets;
mod connections;
mod destination_fields;
mod end_users;
mod integrations;
mod items;
mod meaning;
mod overview;
mod render;
mod rules;
mod series;
mod session;
mod sources;
mod transactions;
mod words;

pub(crate) use session::SignIns;

use axum::Router;
use axum::routing::{get, post};

use crate::state::Web;

/// Every page.
pub(crate) fn router() -> Router<Web> {
    Router::new()
        .route("/", get(overview::show))
        .route("/set-up", get(session::set_up_form).post(session::set_up))
        .route("/sign-in", get(session::sign_in_form).post(session::sign_in))
        .route("/sign-out", post(session::sign_out))
        .route("/integrations", get(integrations::list).post(integrations::create))
        .route("/integrations/new", get(integrations::form))
        .route("/integrations/{id}", get(integrations::show))
        .route("/integrations/{id}/check", post(integrations::check))
        .route("/integrations/{id}/delete", post(integrations::delete))
        .route("/integrations/{id}/rules", get(rules::list).post(rules::create))
        .route("/integrations/{id}/rules/{rule}/delete", post(rules::delete))
        .route("/sources", get(sources::list).post(sources::create))
        .route("/sources/new", get(sources::form))
        .route("/sources/{id}", get(sources::show))
        .route("/sources/{id}/check", post(sources::check))
        .route("/sources/{id}/delete", post(sources::delete))
        .route("/connections", get(connections::list).post(connections::create))
        .route("/connections/new", get(connections::form))
        .route("/connections/{id}", get(connections::show).post(connections::act))
        .route("/runs/{id}/cancel", post(connections::cancel))
        .route("/end-users", get(end_users::list))
        .route("/end-users/{id}", get(end_users::show))
        .route("/end-users/{id}/news", get(end_users::news))
        .route("/end-users/{id}/series", get(series::show))
        .route("/transactions/{id}", get(transactions::show).post(transactions::correction))
        .route("/items/{id}", get(items::show))
        .route("/items/{id}/sync", post(items::sync))
        .route("/items/{id}/resync", post(items::resync))
        .route("/items/{id}/repair", post(items::repair))
        .route("/api-keys", get(api_keys::list).post(api_keys::create))
        .route("/api-keys/{id}/revoke", post(api_keys::revoke))
        .route("/assets/{*path}", get(assets::asset))
}
