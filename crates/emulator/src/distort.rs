//! What faults make of an answer.

use std::io::{self, Write};
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::DeflateEncoder;
use futures_util::{StreamExt, stream};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use hyper::{Response, StatusCode};
use serde_json::{Value, json};

use crate::connection::{Cut, Line};
use crate::error::PlaidError;
use crate::fault::{Fault, FaultKind};
use crate::limits;

/// The body of an answer.
pub(crate) type Body = http_body_util::combinators::BoxBody<Bytes, io::Error>;

/// How long a call goes unanswered when the fault does not say.
const TIMEOUT_SECONDS: u64 = 60;
/// How long a slow body trickles when the fault does not say.
const SLOW_SECONDS: u64 = 5;
/// Mebibytes that the huge body unpacks to.
const HUGE_MEBIBYTES: usize = 1_024;
/// How long half a body is given to get on its way before the connection breaks.
const FLUSH: Duration = Duration::from_millis(20);
const MEBIBYTE: usize = 1_024 * 1_024;

/// What a fault does in place of the endpoint.
pub(crate) enum Instead {
    /// One of Plaid's errors, with the seconds after which to try again.
    Error(PlaidError, Option<u64>),
    /// An answer that is not Plaid's.
    Foreign(Response<Body>),
    /// The connection is cut after so many seconds.
    Cut(u64),
}

/// What a fault does in place of the endpoint; nothing if it waits for the endpoint's answer.
pub(crate) fn instead(fault: &Fault, line: &Line, path: &str) -> Option<Instead> {
    match fault.kind {
        FaultKind::RateLimit => {
            Some(Instead::Error(limits::exceeded(limits::code_of(path), path), fault.seconds))
        }
        FaultKind::InternalServerError => {
            Some(Instead::Error(PlaidError::internal("an unexpected error occurred"), None))
        }
        FaultKind::ServiceUnavailable => {
            let why = "planned maintenance is under way";
            let error = PlaidError::new("API_ERROR", "PLANNED_MAINTENANCE", why);
            Some(Instead::Error(PlaidError { status: 503, ..error }, None))
        }
        FaultKind::ItemError => {
            let code = fault.error_code.as_deref().unwrap_or_default();
            Some(Instead::Error(PlaidError::of_code(code), None))
        }
        FaultKind::BadGateway => {
            Some(Instead::Foreign(text(502, "text/plain", "upstream connect error")))
        }
        FaultKind::HtmlError => {
            let page = "<!doctype html><title>503</title><h1>Service unavailable</h1>";
            Some(Instead::Foreign(text(503, "text/html", page)))
        }
        FaultKind::Refuse => Some(Instead::Cut(0)),
        FaultKind::TlsError => {
            line.answer_with_alert();
            Some(Instead::Foreign(text(200, "text/plain", "")))
        }
        FaultKind::TimeoutBefore => Some(Instead::Cut(fault.seconds.unwrap_or(TIMEOUT_SECONDS))),
        _ => None,
    }
}

/// What a fault makes of the endpoint's answer.
pub(crate) async fn afterwards(
    fault: &Fault,
    status: u16,
    content_type: &'static str,
    body: Vec<u8>,
) -> Result<Response<Body>, Cut> {
    match fault.kind {
        FaultKind::TimeoutAfter => {
            pause(fault.seconds.unwrap_or(TIMEOUT_SECONDS)).await;
            Err(Cut)
        }
        FaultKind::Truncated => Ok(truncated(status, content_type, &body)),
        FaultKind::Slow => {
            Ok(slow(status, content_type, body, fault.seconds.unwrap_or(SLOW_SECONDS)))
        }
        FaultKind::InvalidJson => {
            let half = &body[..body.len() / 2];
            Ok(bytes(status, content_type, [half, b"}{\"not\":"].concat()))
        }
        FaultKind::WrongShape => Ok(json_body(status, &json!(["unexpected", { "request_id": 1 }]))),
        FaultKind::UnknownEnum => Ok(rewritten(status, &body, &strange_values)),
        FaultKind::UnknownField => Ok(rewritten(status, &body, &strange_fields)),
        FaultKind::HugeBody => Ok(huge(status)),
        _ => Ok(bytes(status, content_type, body)),
    }
}

/// Waits.
pub(crate) async fn pause(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

/// A whole body of bytes.
pub(crate) fn bytes(status: u16, content_type: &'static str, body: Vec<u8>) -> Response<Body> {
    let body = Full::new(Bytes::from(body)).map_err(|never| match never {}).boxed();
    response(status, content_type, body)
}

/// A text.
pub(crate) fn text(status: u16, content_type: &'static str, body: &str) -> Response<Body> {
    bytes(status, content_type, body.as_bytes().to_vec())
}

/// A JSON answer.
pub(crate) fn json_body(status: u16, value: &Value) -> Response<Body> {
    bytes(status, "application/json", value.to_string().into_bytes())
}

/// A text that is made part by part while it is sent.
pub(crate) fn parts(
    content_type: &'static str,
    parts: impl Iterator<Item = String> + Send + Sync + 'static,
) -> Response<Body> {
    let frames = stream::iter(parts.map(|part| Ok(Frame::data(Bytes::from(part)))));
    response(200, content_type, BodyExt::boxed(StreamBody::new(frames)))
}

fn response(status: u16, content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
    response
        .headers_mut()
        .insert("content-type", hyper::header::HeaderValue::from_static(content_type));
    response
}

/// Half of the body under the length of the whole, then the connection breaks.
fn truncated(status: u16, content_type: &'static str, body: &[u8]) -> Response<Body> {
    let half = Bytes::copy_from_slice(&body[..body.len() / 2]);
    let broken = io::Error::from(io::ErrorKind::ConnectionReset);
    let frames = stream::iter([Ok(half), Err(broken)]).then(|part| async move {
        // What was written before must be on its way when the connection breaks.
        if part.is_err() {
            tokio::time::sleep(FLUSH).await;
        }
        part.map(Frame::data)
    });
    let mut response = response(status, content_type, BodyExt::boxed(StreamBody::new(frames)));
    response.headers_mut().insert("content-length", body.len().into());
    response
}

/// A byte a second for so many seconds, then the rest.
fn slow(status: u16, content_type: &'static str, body: Vec<u8>, seconds: u64) -> Response<Body> {
    let drops = usize::try_from(seconds).unwrap_or(usize::MAX).min(body.len());
    let length = body.len();
    let body = Bytes::from(body);
    let parts: Vec<Bytes> =
        (0..drops).map(|n| body.slice(n..=n)).chain([body.slice(drops..)]).collect();
    let frames = stream::iter(parts.into_iter().enumerate()).then(|(number, part)| async move {
        if number > 0 {
            pause(1).await;
        }
        Ok(Frame::data(part))
    });
    let mut response = response(status, content_type, BodyExt::boxed(StreamBody::new(frames)));
    response.headers_mut().insert("content-length", length.into());
    response
}

fn rewritten(
    status: u16,
    body: &[u8],
    rewrite: &dyn Fn(&mut serde_json::Map<String, Value>),
) -> Response<Body> {
    let mut value: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
    each_object(&mut value, rewrite);
    json_body(status, &value)
}

fn each_object(value: &mut Value, rewrite: &dyn Fn(&mut serde_json::Map<String, Value>)) {
    match value {
        Value::Object(fields) => {
            fields.values_mut().for_each(|field| each_object(field, rewrite));
            rewrite(fields);
        }
        Value::Array(entries) => entries.iter_mut().for_each(|entry| each_object(entry, rewrite)),
        _ => {}
    }
}

/// Enumerations that Plaid may add values to.
const OPEN_ENUMERATIONS: [&str; 9] = [
    "confidence_level",
    "holder_category",
    "payment_channel",
    "subtype",
    "transaction_code",
    "transaction_type",
    "transactions_update_status",
    "type",
    "update_type",
];

fn strange_values(fields: &mut serde_json::Map<String, Value>) {
    for name in OPEN_ENUMERATIONS {
        if let Some(value) = fields.get_mut(name).filter(|value| value.is_string()) {
            *value = json!("SOMETHING_NEW");
        }
    }
}

fn strange_fields(fields: &mut serde_json::Map<String, Value>) {
    fields.insert("something_new".to_owned(), json!({ "nested": [1, null, { "deep": true }] }));
}

/// A gzip body of about a mebibyte that unpacks to a gibibyte of blanks. One compressed mebibyte is
/// repeated, as deflate blocks may be.
fn huge(status: u16) -> Response<Body> {
    let blanks = vec![b' '; MEBIBYTE];
    let block = deflated(&blanks).unwrap_or_default();
    let mut crc = crc32fast::Hasher::new();
    crc.update(&blanks);
    // Twice the blanks have the sum combined with itself.
    for _ in 0..HUGE_MEBIBYTES.ilog2() {
        let half = crc.clone();
        crc.combine(&half);
    }
    let mut body = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    (0..HUGE_MEBIBYTES).for_each(|_| body.extend(&block));
    // The last block: empty, fixed codes.
    body.extend([3, 0]);
    body.extend(crc.finalize().to_le_bytes());
    body.extend(u32::try_from(HUGE_MEBIBYTES * MEBIBYTE).unwrap_or_default().to_le_bytes());
    let mut response = bytes(status, "application/json", body);
    response
        .headers_mut()
        .insert("content-encoding", hyper::header::HeaderValue::from_static("gzip"));
    response
}

/// Blocks that end on a whole byte and are not the last.
fn deflated(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes)?;
    encoder.flush()?;
    Ok(encoder.get_ref().clone())
}
