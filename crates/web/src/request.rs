//! What every request passes: an id, a size limit, a caller, and a body or query that is read with
//! clear errors.

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use serde::de::DeserializeOwned;
use store::{ApiKey, Scope};

use crate::problem::{
    BODY_TOO_LARGE, FieldFault, INSUFFICIENT_SCOPE, INVALID_BODY, INVALID_PARAMETER,
    METHOD_NOT_ALLOWED, NOT_FOUND, Problem, UNAUTHORIZED,
};
use crate::state::Web;

/// Largest body read. Plaid's largest webhook is a few kB.
pub(crate) const BODY_LIMIT_BYTES: usize = 256 * 1024;
const REQUEST_ID: &str = "x-request-id";

/// Gives each request an id, words problems, and notes the request in the log without its query or
/// any header.
pub(crate) async fn identify(
    State(web): State<Web>,
    request: Request<Body>,
    next: Next,
) -> Response {
    let id = web.ambient().uuid().simple().to_string();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let started = web.ambient().now();
    let mut response = next.run(request).await;
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        response = problem.respond(&id);
    } else if let Some(problem) = bare_refusal(&response) {
        response = problem.respond(&id);
    }
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    let took_ms = web.ambient().now().duration_since(started).as_millis();
    let status = response.status().as_u16();
    tracing::debug!(%method, path, status, took_ms, request_id = id, "answered");
    response
}

/// Refusals that the router made by itself.
fn bare_refusal(response: &Response) -> Option<Problem> {
    if response.headers().contains_key(header::CONTENT_TYPE) {
        return None;
    }
    match response.status() {
        StatusCode::NOT_FOUND => Some(Problem::new(NOT_FOUND, "There is no such path.")),
        StatusCode::METHOD_NOT_ALLOWED => {
            Some(Problem::new(METHOD_NOT_ALLOWED, "This path does not take this method."))
        }
        _ => None,
    }
}

/// Who calls: an API key with the scope that the method needs.
pub(crate) struct Caller;

impl FromRequestParts<Web> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, web: &Web) -> Result<Self, Problem> {
        let key = api_key(parts, web).await?;
        let reads = matches!(parts.method, Method::GET | Method::HEAD);
        let needed = if reads { Scope::Read } else { Scope::Write };
        if key.scopes.contains(&needed) {
            return Ok(Self);
        }
        let needed = needed.as_str();
        Err(Problem::new(INSUFFICIENT_SCOPE, format!("This key lacks the scope `{needed}`.")))
    }
}

async fn api_key(parts: &Parts, web: &Web) -> Result<ApiKey, Problem> {
    let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
    let bearer = header("authorization").and_then(|value| value.split_once(' '));
    let bearer = bearer.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    let bearer = bearer.map(|(_, key)| key);
    let text = bearer.or_else(|| header("x-api-key")).map(str::trim);
    let refused = |why: &str| Problem::new(UNAUTHORIZED, why);
    let text = text.ok_or_else(|| {
        refused("Send an API key in `Authorization: Bearer KEY` or `x-api-key: KEY`.")
    })?;
    let key = web.store.authenticate(text).await?;
    key.ok_or_else(|| refused("This API key is unknown or was revoked."))
}

/// The raw bytes of a body within the limit.
pub(crate) async fn read_body(request: Request<Body>) -> Result<Bytes, Problem> {
    read_body_within(request, BODY_LIMIT_BYTES).await
}

async fn read_body_within(request: Request<Body>, limit_bytes: usize) -> Result<Bytes, Problem> {
    axum::body::to_bytes(request.into_body(), limit_bytes).await.map_err(|_| {
        Problem::new(BODY_TOO_LARGE, format!("The body is larger than {limit_bytes} bytes."))
    })
}

/// A JSON body of so many bytes at most.
pub(crate) struct Json<T, const LIMIT_BYTES: usize = BODY_LIMIT_BYTES>(pub(crate) T);

impl<T: DeserializeOwned, const LIMIT_BYTES: usize> FromRequest<Web> for Json<T, LIMIT_BYTES> {
    type Rejection = Problem;

    async fn from_request(request: Request<Body>, _: &Web) -> Result<Self, Problem> {
        let bytes = read_body_within(request, LIMIT_BYTES).await?;
        if bytes.trim_ascii_start().first() != Some(&b'{') {
            return Err(Problem::new(INVALID_BODY, "The body must be a JSON object."));
        }
        let mut reader = serde_json::Deserializer::from_slice(&bytes);
        let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
            let path = error.path().to_string();
            // serde writes "." for the whole and "?" for where it was lost.
            let pointer = match path.trim_matches(['.', '?']) {
                "" => String::new(),
                path => format!("/{}", path.replace('.', "/")),
            };
            let fault = FieldFault::new(&pointer, harmless(error.inner()));
            let detail = "The body could not be read as the JSON object this path takes.";
            Problem { errors: vec![fault], ..Problem::new(INVALID_BODY, detail) }
        })?;
        reader
            .end()
            .map_err(|_| Problem::new(INVALID_BODY, "Something follows the JSON object."))?;
        Ok(Self(value))
    }
}

/// serde quotes wrong values; a secret in the wrong place must not come back in an answer.
fn harmless(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let quotes_a_value = text.starts_with("invalid type") || text.starts_with("invalid value");
    match (quotes_a_value, text.split_once("expected")) {
        (true, Some((_, expected))) => format!("expected{expected}"),
        (true, None) => "not a value of the expected kind".to_owned(),
        (false, _) => text,
    }
}

/// Query parameters.
pub(crate) struct Query<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequestParts<Web> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, web: &Web) -> Result<Self, Problem> {
        let query = axum::extract::Query::<T>::from_request_parts(parts, web).await;
        query.map(|query| Self(query.0)).map_err(|error| {
            let text = error.body_text();
            let reason = text.split_once(": ").map_or(text.as_str(), |(_, reason)| reason);
            Problem::new(INVALID_PARAMETER, format!("A query parameter is not valid: {reason}."))
        })
    }
}

/// A refusal of one parameter.
pub(crate) fn parameter(name: &str, why: &str) -> Problem {
    Problem::new(INVALID_PARAMETER, format!("`{name}` {why}"))
}
