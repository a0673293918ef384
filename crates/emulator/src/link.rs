//! Plaid Link without a phone: link tokens, and the session in which a person picks a bank, signs in,
//! chooses accounts, and finishes, fails or leaves. The page that shows it is in `pages`.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::draw;
use crate::error::PlaidError;
use crate::institutions::{self, Institution};
use crate::item::day;
use crate::people::{AccountPlan, Challenge, Person, Persona};

/// How long a link token for a new Item lives.
const NEW_ITEM_HOURS: i64 = 4;
/// How long one for update mode or an undelivered Hosted Link lives.
const SHORT_MINUTES: i64 = 30;
/// Hosted Link that is delivered: by email a week, by SMS a day, at most three weeks.
const EMAIL_DAYS: i64 = 7;
const SMS_DAYS: i64 = 1;
const LONGEST_SECONDS: i64 = 21 * 24 * 3_600;

/// Fields of a link token's request that name products.
pub(crate) const PRODUCT_LISTS: [&str; 4] = [
    "products",
    "required_if_supported_products",
    "optional_products",
    "additional_consented_products",
];

/// A link token and what came of it.
#[derive(Debug)]
pub(crate) struct LinkToken {
    pub(crate) token: String,
    created_at: Timestamp,
    expires_at: Timestamp,
    /// The request that made it.
    pub(crate) request: Value,
    /// The Item that is updated, in update mode.
    pub(crate) update_of: Option<u64>,
    pub(crate) user_id: Option<String>,
    /// The number kept for the Item that comes of it.
    pub(crate) item: Option<u64>,
    pub(crate) session: Option<Session>,
}

/// One person's walk through Link.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) id: String,
    started_at: Timestamp,
    finished_at: Option<Timestamp>,
    pub(crate) stage: Stage,
    institution: Option<&'static Institution>,
    pub(crate) username: String,
    pub(crate) password: String,
    /// The accounts at the bank, by index, and whether the caller's filters offer them.
    pub(crate) choices: Vec<(AccountPlan, bool)>,
    events: Vec<Value>,
    /// The error last shown.
    pub(crate) error: Option<PlaidError>,
    result: Option<Added>,
    /// Plaid's word for where the person left.
    left_at: Option<&'static str>,
}

/// Where a session stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Institution,
    Credentials,
    Challenge { round: usize },
    Accounts,
    Finished,
    Exited,
}

/// What a person does in a session.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LinkStep {
    Open,
    Pick { institution_id: String },
    SignIn { username: String, password: String },
    Answer { answers: Vec<String> },
    Choose { accounts: Vec<usize> },
    Exit,
}

/// An Item that a session brought about.
#[derive(Debug, Clone)]
pub(crate) struct Added {
    pub(crate) public_token: String,
    /// As in Link's metadata.
    pub(crate) accounts: Vec<Value>,
}

/// What the world knows of the person in front of the page.
#[derive(Debug)]
pub(crate) struct Visitor {
    /// Whom the accounts are drawn for.
    pub(crate) person: Person,
    /// The Item that is updated: its bank, its user name, its accounts.
    pub(crate) updating: Option<(&'static Institution, String, Vec<AccountPlan>)>,
}

/// What a step asks of the world.
#[derive(Debug)]
pub(crate) enum Request {
    Nothing,
    /// Make the Item, or repair the one in update mode, with these accounts.
    Complete {
        accounts: Vec<usize>,
    },
    /// The session ended without an Item.
    Left,
}

impl LinkToken {
    pub(crate) fn new(
        token: String,
        at: Timestamp,
        request: Value,
        update_of: Option<u64>,
        user_id: Option<String>,
    ) -> Self {
        let seconds = lifetime_seconds(&request, update_of.is_some());
        let expires_at = at.saturating_add(SignedDuration::from_secs(seconds)).unwrap_or(at);
        Self {
            token,
            created_at: at,
            expires_at,
            request,
            update_of,
            user_id,
            item: None,
            session: None,
        }
    }

    pub(crate) fn is_hosted(&self) -> bool {
        self.request["hosted_link"].is_object()
    }

    pub(crate) fn expired(&self, at: Timestamp) -> bool {
        at >= self.expires_at
    }

    pub(crate) fn expiration(&self) -> String {
        self.expires_at.to_string()
    }

    /// A list of texts of the request.
    pub(crate) fn list(&self, field: &str) -> Vec<String> {
        let entries = self.request[field].as_array().into_iter().flatten();
        entries.filter_map(|entry| entry.as_str().map(str::to_owned)).collect()
    }

    /// Every product a person consents to in this session.
    pub(crate) fn consented(&self) -> Vec<String> {
        let lists = PRODUCT_LISTS.iter();
        let mut products: Vec<String> = lists.flat_map(|list| self.list(list)).collect();
        products.sort_unstable();
        products.dedup();
        products
    }

    /// A text of the request.
    pub(crate) fn text(&self, field: &str) -> Option<&str> {
        self.request[field].as_str()
    }

    /// Whether a person may choose accounts; in update mode only if the caller asked for it.
    pub(crate) fn chooses_accounts(&self) -> bool {
        self.update_of.is_none()
            || self.request["update"]["account_selection_enabled"] == json!(true)
    }

    /// Institutions this session offers.
    pub(crate) fn institutions(&self) -> impl Iterator<Item = &'static Institution> {
        let countries = self.list("country_codes");
        institutions::INSTITUTIONS
            .iter()
            .filter(move |bank| bank.supported && bank.is_in(&countries))
    }

    /// Takes a step; a step that does not fit where the session stands changes nothing.
    pub(crate) fn step(&mut self, at: Timestamp, step: &LinkStep, visitor: &Visitor) -> Request {
        if let LinkStep::Open = step {
            self.begin(at, visitor);
            return Request::Nothing;
        }
        let filters = self.request["account_filters"].clone();
        let chooses = self.chooses_accounts();
        let offered: Vec<&'static Institution> = self.institutions().collect();
        let Some(session) = &mut self.session else { return Request::Nothing };
        match (session.stage, step) {
            (Stage::Institution, LinkStep::Pick { institution_id }) => {
                if let Some(institution) =
                    offered.iter().find(|b| b.institution_id == *institution_id)
                {
                    session.institution = Some(institution);
                    session.stage = Stage::Credentials;
                    session.note(at, "SELECT_INSTITUTION", &json!({}));
                }
                Request::Nothing
            }
            (Stage::Credentials, LinkStep::SignIn { username, password }) => {
                session.note(at, "SUBMIT_CREDENTIALS", &json!({}));
                session.sign_in(at, (username, password), &filters, chooses, visitor)
            }
            (Stage::Challenge { round }, LinkStep::Answer { answers }) => {
                session.note(at, "SUBMIT_MFA", &json!({}));
                session.answer(at, round, answers, chooses)
            }
            (Stage::Accounts, LinkStep::Choose { accounts }) => {
                let offered = |index: &usize| session.choices.get(*index).is_some_and(|(_, o)| *o);
                let accounts: Vec<usize> = accounts.iter().copied().filter(offered).collect();
                if accounts.is_empty() { Request::Nothing } else { Request::Complete { accounts } }
            }
            (Stage::Finished | Stage::Exited, _) => Request::Nothing,
            (_, LinkStep::Exit) => {
                session.finish(at, Stage::Exited);
                Request::Left
            }
            _ => Request::Nothing,
        }
    }

    fn begin(&mut self, at: Timestamp, visitor: &Visitor) {
        // A finished session shows its end; it does not begin again.
        if self.session.is_some() {
            return;
        }
        let wanted = self.text("institution_id").and_then(|id| institutions::find(id).ok());
        let updating = visitor.updating.as_ref();
        let institution = updating.map(|(institution, ..)| *institution).or(wanted);
        let username = updating.map_or("user_good", |(_, username, _)| username);
        let mut session = Session {
            id: draw::plaid_id(visitor.person.seed, &format!("session/{}", self.token)),
            started_at: at,
            finished_at: None,
            stage: if institution.is_some() { Stage::Credentials } else { Stage::Institution },
            institution,
            username: username.to_owned(),
            password: String::new(),
            choices: Vec::new(),
            events: Vec::new(),
            error: None,
            result: None,
            left_at: None,
        };
        session.note(at, "OPEN", &json!({}));
        self.session = Some(session);
    }

    /// The session finished with a new Item, or with the repaired one.
    pub(crate) fn complete(&mut self, at: Timestamp, added: Option<Added>) {
        if let Some(session) = &mut self.session {
            session.result = added;
            session.finish(at, Stage::Finished);
        }
    }

    /// The session could not make its Item.
    pub(crate) fn fail(&mut self, at: Timestamp, error: PlaidError) {
        if let Some(session) = &mut self.session {
            session.refuse(at, error);
            session.stage = Stage::Credentials;
        }
    }

    /// The answer of `/link/token/get`.
    pub(crate) fn json(&self) -> Value {
        let part = |field: &str| self.request.get(field).cloned().unwrap_or(Value::Null);
        let mut metadata = json!({
            "client_name": part("client_name"),
            "country_codes": self.list("country_codes"),
            "initial_products": self.list("products"),
            "language": part("language"),
            "redirect_uri": part("redirect_uri"),
            "webhook": part("webhook"),
        });
        for echoed in ["account_filters", "institution_data"] {
            if self.request[echoed].is_object() {
                metadata[echoed] = part(echoed);
            }
        }
        let mut json = json!({
            "created_at": self.created_at.to_string(),
            "expiration": self.expiration(),
            "link_sessions": self.session.iter().map(Session::json).collect::<Vec<_>>(),
            "link_token": self.token,
            "metadata": metadata,
        });
        if let Some(user_id) = &self.user_id {
            json["user_id"] = json!(user_id);
        }
        json
    }

    /// The webhooks of a session that ended, in their order: code and body.
    pub(crate) fn webhooks(&self) -> Vec<(&'static str, Value)> {
        let Some(session) = &self.session else { return Vec::new() };
        let (id, token) = (&session.id, &self.token);
        let events =
            json!({ "events": session.events, "link_session_id": id, "link_token": token });
        let public_tokens: Vec<&str> =
            session.result.iter().map(|added| added.public_token.as_str()).collect();
        let added = public_tokens.iter().map(|public_token| {
            let body = json!({
                "link_session_id": id, "link_token": token, "public_token": public_token,
            });
            ("ITEM_ADD_RESULT", body)
        });
        let status = if session.stage == Stage::Finished { "SUCCESS" } else { "EXITED" };
        let mut finished = json!({
            "link_session_id": id, "link_token": token, "public_tokens": public_tokens, "status": status,
        });
        if let Some(first) = public_tokens.first() {
            finished["public_token"] = json!(first);
        }
        if let Some(user_id) = &self.user_id {
            finished["user_id"] = json!(user_id);
        }
        let mut webhooks: Vec<_> = added.collect();
        webhooks.push(("EVENTS", events));
        webhooks.push(("SESSION_FINISHED", finished));
        webhooks
    }
}

impl Session {
    pub(crate) fn institution(&self) -> Option<&'static Institution> {
        self.institution
    }

    /// The questions to be answered now: text, options, right answer.
    pub(crate) fn questions(&self) -> Vec<(String, Vec<String>, String)> {
        let (Stage::Challenge { round }, Some(challenge)) = (self.stage, self.challenge()) else {
            return Vec::new();
        };
        challenge.questions(round)
    }

    fn challenge(&self) -> Option<Challenge> {
        Persona::of(&self.username, &self.password).ok()?.challenge(&self.password)
    }

    fn sign_in(
        &mut self,
        at: Timestamp,
        (username, password): (&str, &str),
        filters: &Value,
        chooses: bool,
        visitor: &Visitor,
    ) -> Request {
        (self.username, self.password) = (username.to_owned(), password.to_owned());
        let updating = visitor.updating.as_ref();
        let persona = match admit(username, password, updating.map(|(_, own, _)| own.as_str())) {
            Ok(persona) => persona,
            Err(error) => {
                self.refuse(at, error);
                return Request::Nothing;
            }
        };
        self.error = None;
        let accounts = updating.map(|(_, _, accounts)| accounts.clone());
        let accounts = accounts.unwrap_or_else(|| persona.accounts(&visitor.person, day(at)));
        // Filters are for new Items; what an Item has may be kept.
        let filters = if updating.is_some() { &Value::Null } else { filters };
        let accounts = accounts.into_iter();
        let offered = |account: AccountPlan| (is_offered(filters, &account), account);
        self.choices = accounts.map(offered).map(|(offered, account)| (account, offered)).collect();
        if !self.choices.iter().any(|(_, offered)| *offered) {
            let why = "no accounts of the kinds asked for were found at this bank";
            self.refuse(at, PlaidError::new("ITEM_ERROR", "NO_ACCOUNTS", why));
            return Request::Nothing;
        }
        match persona.challenge(password) {
            Some(_) => {
                self.stage = Stage::Challenge { round: 0 };
                Request::Nothing
            }
            None => self.after_login(chooses),
        }
    }

    fn answer(
        &mut self,
        at: Timestamp,
        round: usize,
        answers: &[String],
        chooses: bool,
    ) -> Request {
        let Some(challenge) = self.challenge() else { return Request::Nothing };
        let right = challenge.questions(round);
        let right = right.len() == answers.len()
            && right.iter().zip(answers).all(|((_, _, right), given)| given.trim() == right);
        if !right {
            let why = "the provided MFA responses were not correct";
            self.refuse(at, PlaidError::new("ITEM_ERROR", "INVALID_MFA", why));
            return Request::Nothing;
        }
        self.error = None;
        if round + 1 < challenge.rounds() {
            self.stage = Stage::Challenge { round: round + 1 };
            return Request::Nothing;
        }
        self.after_login(chooses)
    }

    fn after_login(&mut self, chooses: bool) -> Request {
        if chooses {
            self.stage = Stage::Accounts;
            return Request::Nothing;
        }
        Request::Complete { accounts: Vec::new() }
    }

    fn refuse(&mut self, at: Timestamp, error: PlaidError) {
        let about = json!({
            "error_code": error.error_code,
            "error_message": error.error_message,
            "error_type": error.error_type,
        });
        self.note(at, "ERROR", &about);
        self.error = Some(error);
    }

    fn finish(&mut self, at: Timestamp, stage: Stage) {
        if stage == Stage::Finished {
            self.note(at, "HANDOFF", &json!({}));
        } else {
            let left_at = self.exit_status();
            self.left_at = Some(left_at);
            self.note(at, "EXIT", &json!({ "exit_status": left_at }));
        }
        self.stage = stage;
        self.finished_at = Some(at);
    }

    fn exit_status(&self) -> &'static str {
        match self.stage {
            Stage::Institution => "requires_institution",
            Stage::Challenge { .. } => "requires_questions",
            Stage::Accounts => "requires_account_selection",
            Stage::Credentials | Stage::Finished | Stage::Exited => "requires_credentials",
        }
    }

    fn note(&mut self, at: Timestamp, name: &str, about: &Value) {
        let mut metadata = about.clone();
        if let Some(institution) = self.institution {
            metadata["institution_id"] = json!(institution.institution_id);
            metadata["institution_name"] = json!(institution.name);
        }
        let label = format!("{}/{}", self.id, self.events.len());
        metadata["request_id"] = json!(draw::short_id(&label));
        self.events.push(json!({
            "event_id": draw::label_uuid(&label),
            "event_metadata": metadata,
            "event_name": name,
            "timestamp": at.to_string(),
        }));
    }

    fn json(&self) -> Value {
        let institution = self.institution.map(|institution| {
            json!({ "institution_id": institution.institution_id, "name": institution.name })
        });
        let mut json = json!({
            "events": self.events,
            "finished_at": self.finished_at.map(|at| at.to_string()),
            "link_session_id": self.id,
            "started_at": self.started_at.to_string(),
        });
        if let Some(added) = &self.result {
            json["on_success"] = json!({
                "metadata": {
                    "accounts": added.accounts,
                    "institution": institution,
                    "link_session_id": self.id,
                },
                "public_token": added.public_token,
            });
            json["results"] = json!({
                "bank_income_results": [],
                "cra_item_add_results": [],
                "cra_update_results": [],
                "document_income_results": null,
                "item_add_results": [{
                    "accounts": added.accounts,
                    "institution": institution,
                    "public_token": added.public_token,
                }],
                "payroll_income_results": [],
            });
        }
        if self.stage == Stage::Exited {
            let error = self.error.as_ref().map(PlaidError::object);
            let mut metadata = json!({ "link_session_id": self.id, "status": self.left_at });
            if let Some(institution) = institution {
                metadata["institution"] = institution;
            }
            json["exit"] = json!({ "error": error, "metadata": metadata });
            json["on_exit"] = json["exit"].clone();
        }
        json
    }
}

/// What a bank says to a user name and password.
fn admit(username: &str, password: &str, expected: Option<&str>) -> Result<Persona, PlaidError> {
    let item_error = |code, why: &str| Err(PlaidError::new("ITEM_ERROR", code, why));
    if expected.is_some_and(|expected| expected != username) {
        return item_error("INVALID_UPDATED_USERNAME", "sign in with the original user name");
    }
    let wrong = "the credentials were not correct; use a sandbox user such as user_good";
    let Ok(persona) = Persona::of(username, password) else {
        return item_error("INVALID_CREDENTIALS", wrong);
    };
    let forced = persona.forced_error().or_else(|| password.strip_prefix("error_"));
    if let Some(code) = forced {
        return Err(PlaidError::of_code(code));
    }
    if persona.fails_captcha(password) {
        let why = "the captcha was not solved";
        return Err(PlaidError::new("RECAPTCHA_ERROR", "RECAPTCHA_BAD", why));
    }
    if password.is_empty() || username == "user_good" && !is_good_password(password) {
        return item_error("INVALID_CREDENTIALS", wrong);
    }
    Ok(persona)
}

/// Passwords that user_good may sign in with.
fn is_good_password(password: &str) -> bool {
    password == "pass_good"
        || password == "microdeposits_good"
        || password.starts_with("mfa_")
        || password.starts_with("error_")
        || password.starts_with('{')
}

/// Whether an account is of a kind that the caller's filters let through.
fn is_offered(filters: &Value, account: &AccountPlan) -> bool {
    let Some(filters) = filters.as_object().filter(|filters| !filters.is_empty()) else {
        return true;
    };
    let Some(filter) = filters.get(&account.account_type) else { return false };
    let subtypes = filter["account_subtypes"].as_array();
    subtypes.is_none_or(|wanted| {
        wanted
            .iter()
            .any(|subtype| subtype == "all" || subtype.as_str() == account.subtype.as_deref())
    })
}

fn lifetime_seconds(request: &Value, update_mode: bool) -> i64 {
    let hosted = &request["hosted_link"];
    if let Some(asked) = hosted["url_lifetime_seconds"].as_i64() {
        return asked.clamp(1, LONGEST_SECONDS);
    }
    match (hosted.is_object(), hosted["delivery_method"].as_str()) {
        (true, Some("email")) => EMAIL_DAYS * 24 * 3_600,
        (true, Some(_)) => SMS_DAYS * 24 * 3_600,
        (true, None) => SHORT_MINUTES * 60,
        (false, _) if update_mode => SHORT_MINUTES * 60,
        (false, _) => NEW_ITEM_HOURS * 3_600,
    }
}
