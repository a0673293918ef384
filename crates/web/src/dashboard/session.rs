//! Who looks: one-time set-up, sign-in with an argon2 password, a session cookie, a token in forms.

use std::num::NonZeroU32;

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use askama::Template;
use axum::extract::{Form, FromRequest, FromRequestParts, Query, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use store::Session;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::render::{page, page_with};
use crate::problem::Problem;
use crate::request::BODY_LIMIT_BYTES;
use crate::state::Web;

/// Shortest password; length is what makes one strong.
const PASSWORD_CHARS: usize = 12;
const LONGEST_PASSWORD_BYTES: usize = 1_024;
const NAME_CHARS: usize = 64;
/// Cookie lifetime in seconds; the session itself ends sooner when idle.
const COOKIE_SECONDS: u32 = 86_400;

/// Passwords checked at a time: each takes 19 MiB, and anybody may ask.
const CHECKED_AT_ONCE: usize = 2;
/// Passwords checked in a minute: plenty for people, little for guessing.
const ATTEMPTS_PER_MINUTE: NonZeroU32 = NonZeroU32::new(30).expect("thirty is not zero");
const TOO_MANY: &str = "Too many attempts; wait a minute and try again.";

/// Keeps strangers from using up the machine, or from guessing fast.
pub(crate) struct SignIns {
    at_once: Semaphore,
    attempts: DefaultDirectRateLimiter,
}

impl Default for SignIns {
    fn default() -> Self {
        Self {
            at_once: Semaphore::new(CHECKED_AT_ONCE),
            attempts: RateLimiter::direct(Quota::per_minute(ATTEMPTS_PER_MINUTE)),
        }
    }
}

impl SignIns {
    /// A place to check a password in, unless there were too many attempts.
    async fn place(&self) -> Option<SemaphorePermit<'_>> {
        self.attempts.check().ok()?;
        self.at_once.acquire().await.ok()
    }
}

/// A signed-in person; everybody else is sent to sign in.
pub(super) struct Operator(pub(super) Session);

impl FromRequestParts<Web> for Operator {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, web: &Web) -> Result<Self, Response> {
        let session = match cookie(parts, web) {
            Some(token) => web.store.session(&token).await,
            None => Ok(None),
        };
        match session {
            Ok(Some(session)) => Ok(Self(session)),
            Ok(None) => Err(Redirect::to("/sign-in").into_response()),
            Err(error) => Err(Problem::from(error).into_response()),
        }
    }
}

/// A form that a signed-in person sent from our own page.
pub(super) struct Signed<T>(pub(super) Operator, pub(super) T);

#[derive(Deserialize)]
struct WithToken<T> {
    csrf_token: String,
    #[serde(flatten)]
    form: T,
}

impl<T: DeserializeOwned> FromRequest<Web> for Signed<T> {
    type Rejection = Response;

    async fn from_request(request: Request, web: &Web) -> Result<Self, Response> {
        let (mut parts, body) = request.into_parts();
        let operator = Operator::from_request_parts(&mut parts, web).await?;
        let refused =
            || (StatusCode::BAD_REQUEST, "This form has expired; go back and reload the page.");
        let bytes = axum::body::to_bytes(body, BODY_LIMIT_BYTES).await;
        let request =
            Request::from_parts(parts, bytes.map_err(|_| refused().into_response())?.into());
        let form = Form::<WithToken<T>>::from_request(request, web).await;
        let Form(sent) = form.map_err(|_| refused().into_response())?;
        // Session-bound and unguessable, so that other sites cannot send our forms.
        if sent.csrf_token != operator.0.csrf_token {
            return Err(refused().into_response());
        }
        Ok(Self(operator, sent.form))
    }
}

/// A form without fields of its own.
#[derive(Deserialize)]
pub(super) struct NoFields {}

/// `__Host-` cookies need HTTPS; on plain HTTP the name says so.
fn cookie_name(web: &Web) -> &'static str {
    if web.settings.public_url.starts_with("https://") {
        "__Host-selvedge"
    } else {
        "selvedge-http"
    }
}

fn cookie(parts: &Parts, web: &Web) -> Option<String> {
    let name = cookie_name(web);
    let cookies = parts.headers.get(header::COOKIE)?.to_str().ok()?;
    let mut pairs = cookies.split(';').filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value.to_owned())
}

fn with_cookie(web: &Web, token: &str, seconds: u32, to: &str) -> Response {
    let name = cookie_name(web);
    let secure = if name.starts_with("__Host-") { "; Secure" } else { "" };
    let cookie =
        format!("{name}={token}; Path=/; HttpOnly; SameSite=Lax; Max-Age={seconds}{secure}");
    let mut response = Redirect::to(to).into_response();
    if let Ok(value) = HeaderValue::from_str(&cookie) {
        response.headers_mut().insert(header::SET_COOKIE, value);
    }
    response
}

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignInPage {
    failed: Option<&'static str>,
    name: String,
}

#[derive(Template)]
#[template(path = "set_up.html")]
struct SetUpPage {
    token: String,
    is_good: bool,
    name: String,
    fault: Option<&'static str>,
    shortest: usize,
}

#[derive(Deserialize)]
pub(super) struct SetUpQuery {
    #[serde(default)]
    token: String,
}

#[derive(Deserialize)]
pub(super) struct SetUpForm {
    token: String,
    name: String,
    password: SecretString,
}

#[derive(Deserialize)]
pub(super) struct SignInForm {
    name: String,
    password: SecretString,
}

/// The page behind the one-time link.
pub(super) async fn set_up_form(
    State(web): State<Web>,
    Query(query): Query<SetUpQuery>,
) -> Result<Response, Problem> {
    let is_good = web.store.is_setup_link(&query.token).await?;
    let name = String::new();
    let template =
        SetUpPage { token: query.token, is_good, name, fault: None, shortest: PASSWORD_CHARS };
    Ok(page(&template))
}

/// Sets the password and signs in.
pub(super) async fn set_up(
    State(web): State<Web>,
    Form(form): Form<SetUpForm>,
) -> Result<Response, Problem> {
    let fault = fault(&form);
    let again = |fault| SetUpPage {
        token: form.token.clone(),
        is_good: true,
        name: form.name.clone(),
        fault: Some(fault),
        shortest: PASSWORD_CHARS,
    };
    if let Some(fault) = fault {
        return Ok(page_with(StatusCode::UNPROCESSABLE_ENTITY, &again(fault)));
    }
    if !web.store.is_setup_link(&form.token).await? {
        let template = SetUpPage { is_good: false, ..again("") };
        return Ok(page_with(StatusCode::UNPROCESSABLE_ENTITY, &template));
    }
    let Some(_place) = web.sign_ins.place().await else {
        return Ok(page_with(StatusCode::TOO_MANY_REQUESTS, &again(TOO_MANY)));
    };
    let Some(hash) = hash(&web, form.password.clone()).await else {
        return Ok(page_with(StatusCode::UNPROCESSABLE_ENTITY, &again("Choose another password.")));
    };
    let name = form.name.trim();
    if !web.store.add_operator(&form.token, name, hash).await? {
        let template = SetUpPage { is_good: false, ..again("") };
        return Ok(page_with(StatusCode::UNPROCESSABLE_ENTITY, &template));
    }
    let token = web.store.start_session(name).await?;
    Ok(with_cookie(&web, &token, COOKIE_SECONDS, "/"))
}

fn fault(form: &SetUpForm) -> Option<&'static str> {
    let password = form.password.expose_secret();
    if !(1..=NAME_CHARS).contains(&form.name.trim().chars().count()) {
        Some("Enter a name of up to 64 characters.")
    } else if password.chars().count() < PASSWORD_CHARS {
        Some("Use a password of at least 12 characters.")
    } else if password.len() > LONGEST_PASSWORD_BYTES {
        Some("Use a shorter password.")
    } else {
        None
    }
}

/// Hashing takes tens of milliseconds on purpose, so it leaves the event loop alone.
async fn hash(web: &Web, password: SecretString) -> Option<String> {
    let salt: [u8; 16] = web.ambient().random();
    let hash = move || {
        let bytes = password.expose_secret().as_bytes();
        Argon2::default().hash_password_with_salt(bytes, &salt).ok().map(|hash| hash.to_string())
    };
    tokio::task::spawn_blocking(hash).await.ok().flatten()
}

/// A hash of no password at all, so that unknown names take as long as known ones.
const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$\
    AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

async fn verify(known: Option<String>, password: SecretString) -> bool {
    let verify = move || {
        let text = known.as_deref().unwrap_or(NOBODY);
        PasswordHash::new(text).is_ok_and(|hash| {
            Argon2::default().verify_password(password.expose_secret().as_bytes(), &hash).is_ok()
        })
    };
    tokio::task::spawn_blocking(verify).await.unwrap_or(false)
}

/// The sign-in page.
pub(super) async fn sign_in_form() -> Response {
    page(&SignInPage { failed: None, name: String::new() })
}

/// Signs in.
pub(super) async fn sign_in(
    State(web): State<Web>,
    Form(form): Form<SignInForm>,
) -> Result<Response, Problem> {
    let Some(_place) = web.sign_ins.place().await else {
        let template = SignInPage { failed: Some(TOO_MANY), name: form.name };
        return Ok(page_with(StatusCode::TOO_MANY_REQUESTS, &template));
    };
    let known = web.store.password_hash(form.name.trim()).await?;
    let exists = known.is_some();
    if form.password.expose_secret().len() > LONGEST_PASSWORD_BYTES
        || !verify(known, form.password).await
        || !exists
    {
        let template =
            SignInPage { failed: Some("Name and password do not match."), name: form.name };
        return Ok(page_with(StatusCode::UNAUTHORIZED, &template));
    }
    let token = web.store.start_session(form.name.trim()).await?;
    Ok(with_cookie(&web, &token, COOKIE_SECONDS, "/"))
}

/// Signs out.
pub(super) async fn sign_out(
    State(web): State<Web>,
    request: Request,
) -> Result<Response, Response> {
    let (parts, body) = request.into_parts();
    let token = cookie(&parts, &web);
    Signed::<NoFields>::from_request(Request::from_parts(parts, body), &web).await?;
    if let Some(token) = token {
        let ended = web.store.end_session(&token).await;
        ended.map_err(|error| Problem::from(error).into_response())?;
    }
    Ok(with_cookie(&web, "", 0, "/sign-in"))
}
