//! How failure looks outside: problem documents (RFC 9457) with a stable code, a sentence on what to
//! do, and nothing internal.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

/// A stable code, its status, and what it means. `docs/reference/errors.md` lists them all.
#[derive(Debug, PartialEq, Eq)]
pub struct ProblemCode {
    /// The code in answers.
    pub code: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// A short name.
    pub title: &'static str,
    /// What it means and what to do.
    pub meaning: &'static str,
}

macro_rules! codes {
    ($($name:ident = $code:literal, $status:literal, $title:literal, $meaning:literal;)*) => {
        $(pub(crate) const $name: &ProblemCode = &ProblemCode {
            code: $code, status: $status, title: $title, meaning: $meaning,
        };)*
        /// Every code there is.
        pub const CODES: &[&ProblemCode] = &[$($name),*];
    };
}

codes! {
    UNAUTHORIZED = "unauthorized", 401, "No valid API key",
        "The request carries no API key, an unknown one or a revoked one. Send a live key in \
         `Authorization: Bearer KEY` or `x-api-key: KEY`; make one with `selvedge keys create`.";
    INSUFFICIENT_SCOPE = "insufficient_scope", 403, "The API key may not do this",
        "The key lacks the scope that the request needs: `read` for GET, `write` for the rest.";
    NOT_FOUND = "not_found", 404, "Not found",
        "There is no such path or object, or it belongs to somebody else.";
    METHOD_NOT_ALLOWED = "method_not_allowed", 405, "Method not allowed",
        "The path exists, the method does not. See `/openapi.json`.";
    INVALID_PARAMETER = "invalid_parameter", 400, "A query parameter is not valid",
        "A parameter has the wrong form, is unknown, or lacks another one that it needs.";
    INVALID_BODY = "invalid_body", 400, "The body is not valid",
        "The body is not JSON, lacks a field, has an unknown field or a value of the wrong type. \
         `errors` points to it.";
    BODY_TOO_LARGE = "body_too_large", 413, "The body is too large",
        "No request needs more than 256 kB.";
    INVALID_FIELDS = "invalid_fields", 422, "Fields are not valid",
        "The body was understood, but values in it are not usable. `errors` points to each.";
    TOKEN_REJECTED = "token_rejected", 422, "Plaid does not accept the access token",
        "Plaid refused the token, or it belongs to another Item. Nothing was stored. Send the \
         token that the public token exchange gave for this Item with this client id.";
    PLAID_UNAVAILABLE = "plaid_unavailable", 502, "Plaid cannot be asked now",
        "Plaid did not answer or has a problem of its own. Nothing was stored; send the request \
         again later.";
    OTHER_END_USER = "linked_to_another_end_user", 409, "The Item belongs to another end user",
        "An Item has one end user. If the first link was a mistake, delete the Item and link it \
         again.";
    OTHER_INTEGRATION = "linked_through_another_integration", 409,
        "The Item is linked through another integration",
        "An Item is linked once in an installation. Delete it there first.";
    INTEGRATION_IN_USE = "integration_in_use", 409, "The integration has live Items",
        "Delete its Items first, so that they end at Plaid and stop costing.";
    ITEM_ENDED = "item_ended", 409, "The Item has ended",
        "The Item is being removed or was removed. Link it again to go on.";
    ITEM_DISABLED = "item_disabled", 409, "The Item is switched off",
        "Somebody disabled the Item; nothing is asked of Plaid. Enable it first: \
         `POST /v1/items/{item_id}/enable`.";
    STREAM_NOT_CHOSEN = "stream_not_chosen", 409, "The integration does not read this stream",
        "Choose the stream first: `PATCH /v1/integrations/{id}` with `streams`.";
    ALREADY_SETTLED = "already_settled", 409, "The suggestion is settled",
        "The suggestion was accepted or dismissed before, or the transactions have changed so that \
         they cannot be joined any more. List the suggestions again.";
    AMBIGUOUS_END_USER = "ambiguous_end_user", 409, "Several end users have this id",
        "Two integrations use the same `end_user_id`. Use our id (`eus_…`) instead.";
    WEBHOOK_REFUSED = "webhook_refused", 401, "The webhook is not believed",
        "The `Plaid-Verification` header does not prove that Plaid sent exactly these bytes within \
         the last five minutes. Forward webhooks with their header and raw body unchanged.";
    KEY_UNAVAILABLE = "key_unavailable", 503, "The webhook cannot be verified now",
        "Plaid's key could not be fetched. Send the webhook again later; Plaid does so by itself.";
    STORE_UNAVAILABLE = "store_unavailable", 503, "The database cannot be written now",
        "Nothing was stored. The log says why; a full disk is the usual reason. Send the request \
         again once that is mended; reading goes on meanwhile.";
    INTERNAL = "internal", 500, "Something went wrong here",
        "The request id finds the cause in the log. Sending the request again is safe where it \
         changes nothing.";
}

/// A field that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct FieldFault {
    /// JSON pointer to the field.
    pub(crate) pointer: String,
    /// What is wrong with it and what to send.
    pub(crate) detail: String,
}

/// A failure on its way out.
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    pub(crate) code: &'static ProblemCode,
    pub(crate) detail: String,
    pub(crate) errors: Vec<FieldFault>,
}

/// A problem document (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ProblemDocument {
    /// A page about the code.
    #[serde(rename = "type")]
    kind: String,
    /// A short name.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// What happened and what to do.
    detail: String,
    /// Stable; branch on this.
    code: &'static str,
    /// Finds the request in the log.
    request_id: String,
    /// Fields that are wrong.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<FieldFault>,
}

impl Problem {
    pub(crate) fn new(code: &'static ProblemCode, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), errors: Vec::new() }
    }

    pub(crate) fn not_found(what: &str) -> Self {
        Self::new(NOT_FOUND, format!("There is no {what} with this id."))
    }

    pub(crate) fn fields(errors: Vec<FieldFault>) -> Self {
        let count = errors.len();
        let fields = if count == 1 { "field is" } else { "fields are" };
        Self { errors, ..Self::new(INVALID_FIELDS, format!("{count} {fields} not usable.")) }
    }

    fn document(self, request_id: &str) -> ProblemDocument {
        ProblemDocument {
            kind: format!("/docs/errors/{}", self.code.code),
            title: self.code.title,
            status: self.code.status,
            detail: self.detail,
            code: self.code.code,
            request_id: request_id.to_owned(),
            errors: self.errors,
        }
    }

    /// The answer, once the id of the request is known.
    pub(crate) fn respond(self, request_id: &str) -> Response {
        let status =
            StatusCode::from_u16(self.code.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self.document(request_id)).unwrap_or_default();
        (status, [(header::CONTENT_TYPE, "application/problem+json")], body).into_response()
    }
}

impl FieldFault {
    pub(crate) fn new(pointer: &str, detail: impl Into<String>) -> Self {
        Self { pointer: pointer.to_owned(), detail: detail.into() }
    }
}

/// Leaves the wording to the middleware that knows the request's id.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = StatusCode::INTERNAL_SERVER_ERROR.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// Logged once, here; the caller learns only the request id.
impl From<store::Error> for Problem {
    fn from(error: store::Error) -> Self {
        tracing::error!(%error, "the store failed");
        if matches!(error, store::Error::Commit(_) | store::Error::Closed) {
            return Self::new(
                STORE_UNAVAILABLE,
                "The request was not stored; send it again later.",
            );
        }
        Self::new(INTERNAL, "The request could not be carried out.")
    }
}
