//! The emulator's pages: its status, and hosted Link. They work without script.

mod link;
mod status;

use std::sync::Arc;

use askama::Template;
use hyper::header::HeaderValue;
use hyper::{HeaderMap, Method, Response, StatusCode};

use crate::distort::{Body, text};
use crate::engine::Engine;

/// Nothing but its own style and forms.
const POLICY: &str = "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Answers a page's path; nothing if it is none.
pub(crate) fn answer(
    engine: &Arc<Engine>,
    method: &Method,
    path: &str,
    query: &str,
    headers: &HeaderMap,
    body: &[u8],
) -> Option<Response<Body>> {
    if method == Method::POST && is_foreign(headers) {
        return path.starts_with("/link/").then(foreign);
    }
    match (method.as_str(), path) {
        ("GET", "/") => Some(status::show(engine, None)),
        ("GET" | "POST", path) => {
            let token = path.strip_prefix("/link/").filter(|token| token.starts_with("link-"))?;
            let form = if method == Method::POST { form(body) } else { Vec::new() };
            Some(link::answer(engine, method, token, &form_of(query), &form))
        }
        _ => None,
    }
}

/// Answers what the pages' own forms send and their style.
pub(crate) fn own(
    engine: &Arc<Engine>,
    method: &Method,
    path: &str,
    headers: &HeaderMap,
    body: &[u8],
) -> Option<Response<Body>> {
    match (method.as_str(), path) {
        ("GET", "style.css") => {
            Some(text(200, "text/css", include_str!("../../templates/style.css")))
        }
        ("POST", path) => {
            let what = path.strip_prefix("pages/")?;
            if is_foreign(headers) {
                return Some(foreign());
            }
            Some(status::act(engine, what, &form(body)))
        }
        _ => None,
    }
}

/// Whether another site's page sent this.
pub(crate) fn is_foreign(headers: &HeaderMap) -> bool {
    headers.get("sec-fetch-site").is_some_and(|site| site != "same-origin" && site != "none")
}

/// Refuses what another site's page sent.
pub(crate) fn foreign() -> Response<Body> {
    text(403, "text/plain", "forms of other sites are not taken")
}

/// A rendered page.
fn page(status: u16, template: &impl Template) -> Response<Body> {
    match template.render() {
        Ok(html) => {
            let mut response = text(status, "text/html; charset=utf-8", &html);
            let headers = response.headers_mut();
            headers.insert("content-security-policy", HeaderValue::from_static(POLICY));
            headers.insert("cache-control", HeaderValue::from_static("no-store"));
            headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
            headers.insert("referrer-policy", HeaderValue::from_static("no-referrer"));
            response
        }
        Err(error) => text(500, "text/plain", &error.to_string()),
    }
}

/// Shows another page next.
fn see_other(place: &str) -> Response<Body> {
    let mut response = text(303, "text/plain", "");
    *response.status_mut() = StatusCode::SEE_OTHER;
    if let Ok(place) = HeaderValue::from_str(place) {
        response.headers_mut().insert("location", place);
    }
    response
}

/// The fields of a form, in order.
type Form = Vec<(String, String)>;

fn form(body: &[u8]) -> Form {
    form_of(&String::from_utf8_lossy(body))
}

fn form_of(text: &str) -> Form {
    // The parser of queries wants a whole URL.
    let url = reqwest::Url::parse(&format!("http://localhost/?{text}"));
    url.map(|url| url.query_pairs().into_owned().collect()).unwrap_or_default()
}

fn field<'a>(form: &'a Form, name: &str) -> &'a str {
    form.iter().find(|(own, _)| own == name).map_or("", |(_, value)| value)
}
