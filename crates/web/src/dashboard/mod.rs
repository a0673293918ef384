//! stub
use axum::Router;
pub(crate) fn router() -> Router<crate::state::Web> {
    Router::new()
}
