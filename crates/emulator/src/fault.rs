//! Faults: ways in which a bank's API misbehaves, by name. A test asks for one on an endpoint, an
//! Item, a page or a webhook, a number of times, with a probability.

use serde::{Deserialize, Serialize};

use crate::contract;
use crate::draw::Draw;

/// Longest that a fault may last.
const MOST_SECONDS: u64 = 3_600;
/// The endpoint that has pages.
const SYNC: &str = "/transactions/sync";

/// A fault asked for.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// What goes wrong.
    #[serde(alias = "name")]
    pub kind: FaultKind,
    /// The endpoint it strikes, such as `/transactions/sync`; any if absent.
    #[serde(alias = "endpoint", skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The Item it strikes; any if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub item_id: Option<String>,
    /// The code of the webhook it strikes; any if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook_code: Option<String>,
    /// The page of an update it strikes, counted from 1; any if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub page: Option<u64>,
    /// How often it strikes; once if absent.
    #[serde(default = "once", alias = "count")]
    pub times: u64,
    /// In how many of a hundred cases it strikes; all if absent.
    #[serde(default = "always")]
    pub percent: i64,
    /// Which cases those are: the same seed, the same cases.
    #[serde(default)]
    pub seed: u64,
    /// Code of Plaid's error, for `item_error`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_code: Option<String>,
    /// Seconds it lasts or hints at: `rate_limit` (hint), `timeout_*`, `slow`, `webhook_late`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u64>,
}

fn once() -> u64 {
    1
}

fn always() -> i64 {
    100
}

/// What can go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "KINDS says what each does, for people too")]
pub enum FaultKind {
    RateLimit,
    InternalServerError,
    BadGateway,
    ServiceUnavailable,
    Refuse,
    TlsError,
    TimeoutBefore,
    TimeoutAfter,
    Truncated,
    Slow,
    InvalidJson,
    WrongShape,
    UnknownEnum,
    UnknownField,
    HugeBody,
    HtmlError,
    ItemError,
    MutationDuringPagination,
    WebhookLate,
    WebhookTwice,
    WebhookOutOfOrder,
    WebhookLost,
    WebhookForged,
    WebhookRotatedKey,
    WebhookExpiredKey,
}

/// Every fault with its name and what it does.
pub const KINDS: [(FaultKind, &str, &str); 25] = {
    use FaultKind::{
        BadGateway, HtmlError, HugeBody, InternalServerError, InvalidJson, ItemError,
        MutationDuringPagination, RateLimit, Refuse, ServiceUnavailable, Slow, TimeoutAfter,
        TimeoutBefore, TlsError, Truncated, UnknownEnum, UnknownField, WebhookExpiredKey,
        WebhookForged, WebhookLate, WebhookLost, WebhookOutOfOrder, WebhookRotatedKey,
        WebhookTwice, WrongShape,
    };
    [
        (RateLimit, "rate_limit", "429 of Plaid's form; with `seconds` a Retry-After header"),
        (InternalServerError, "internal_server_error", "500 of Plaid's form"),
        (BadGateway, "bad_gateway", "502 of a gateway, not JSON"),
        (ServiceUnavailable, "service_unavailable", "503 of Plaid's planned maintenance"),
        (Refuse, "refuse", "the connection is closed without an answer; nothing was done"),
        (TlsError, "tls_error", "a TLS alert in place of an answer; nothing was done"),
        (TimeoutBefore, "timeout_before", "no answer for `seconds` (60); nothing was done"),
        (TimeoutAfter, "timeout_after", "done, but no answer for `seconds` (60)"),
        (Truncated, "truncated", "done; half of the body, then the connection closes"),
        (Slow, "slow", "done; the body comes byte by byte for `seconds` (5), then the rest"),
        (InvalidJson, "invalid_json", "done; the body is not JSON"),
        (WrongShape, "wrong_shape", "done; the body is JSON of another shape"),
        (UnknownEnum, "unknown_enum", "done; enumerations have values nobody knows"),
        (UnknownField, "unknown_field", "done; every object has a field nobody knows"),
        (HugeBody, "huge_body", "done; a compressed body that unpacks to a gigabyte of blanks"),
        (HtmlError, "html_error", "503 with an HTML page"),
        (ItemError, "item_error", "Plaid's error of `error_code`, such as INSTITUTION_DOWN"),
        (
            MutationDuringPagination,
            "mutation_during_pagination",
            "the data changes before the page is served, which is Plaid's mutation error",
        ),
        (WebhookLate, "webhook_late", "sent after `seconds` (5)"),
        (WebhookTwice, "webhook_twice", "sent twice, each signed anew"),
        (WebhookOutOfOrder, "webhook_out_of_order", "sent after the next one"),
        (WebhookLost, "webhook_lost", "never sent"),
        (WebhookForged, "webhook_forged", "signed with a key nobody published"),
        (
            WebhookRotatedKey,
            "webhook_rotated_key",
            "signed with a new key; the old one has expired",
        ),
        (WebhookExpiredKey, "webhook_expired_key", "signed with a key that has expired"),
    ]
};

/// What a fault is matched against.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Case<'a> {
    pub(crate) path: Option<&'a str>,
    pub(crate) item_id: Option<&'a str>,
    pub(crate) webhook_code: Option<&'a str>,
    pub(crate) page: Option<u64>,
}

impl FaultKind {
    pub(crate) fn is_of_webhooks(self) -> bool {
        self >= Self::WebhookLate
    }

    /// Whether it is a fault of sync pages, which only the endpoint itself can bring about.
    pub(crate) fn is_of_pages(self) -> bool {
        self == Self::MutationDuringPagination
    }
}

impl PartialOrd for FaultKind {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some((*self as u8).cmp(&(*other as u8)))
    }
}

impl Fault {
    /// What is wrong with a fault that was asked for, if anything.
    pub fn flaw(&self) -> Option<&'static str> {
        match self {
            Self { page: Some(0), .. } => Some("page counts from 1"),
            Self { times: 0, .. } => Some("times counts from 1"),
            Self { kind: FaultKind::ItemError, error_code: None, .. } => {
                Some("item_error takes an error_code, such as ITEM_LOCKED")
            }
            Self { kind, error_code: Some(_), .. } if *kind != FaultKind::ItemError => {
                Some("error_code belongs to item_error")
            }
            Self { seconds: Some(seconds), .. } if *seconds > MOST_SECONDS => {
                Some("seconds is at most 3600")
            }
            Self { path: Some(path), .. } if !contract::is_path(path) => {
                Some("path is none of Plaid's")
            }
            Self { webhook_code: Some(code), .. } if !contract::is_webhook_code(code) => {
                Some("webhook_code is none that is sent")
            }
            Self { kind, path: Some(path), .. } if kind.is_of_pages() && path != SYNC => {
                Some("mutation_during_pagination strikes /transactions/sync only")
            }
            Self { percent, .. } if !(1..=100).contains(percent) => Some("percent is 1 to 100"),
            Self { kind, path: Some(_), .. } if kind.is_of_webhooks() => {
                Some("a webhook fault takes webhook_code, not path")
            }
            Self { kind, webhook_code: Some(_), .. } if !kind.is_of_webhooks() => {
                Some("webhook_code belongs to webhook faults")
            }
            Self { kind, page: Some(_), .. } if !kind.is_of_pages() => {
                Some("page belongs to mutation_during_pagination")
            }
            _ => None,
        }
    }
}

/// A fault and how far it has come.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Active {
    #[serde(flatten)]
    fault: Fault,
    /// Cases it could have struck.
    seen: u64,
    struck: u64,
}

impl Active {
    /// Whether it can still strike.
    pub(crate) fn is_live(&self) -> bool {
        self.fault.times > self.struck
    }

    /// Whether it could strike this case.
    fn fits(&self, case: Case<'_>) -> bool {
        let fits = |wanted: &Option<String>, found: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| found == Some(wanted))
        };
        let fault = &self.fault;
        self.is_live()
            && fits(&fault.path, case.path)
            && fits(&fault.item_id, case.item_id)
            && fits(&fault.webhook_code, case.webhook_code)
            && fault.page.is_none_or(|page| case.page == Some(page))
    }
}

/// The faults of an emulator, in the order in which they were asked for.
#[derive(Debug, Default)]
pub(crate) struct Faults(Vec<Active>);

impl Faults {
    pub(crate) fn add(&mut self, fault: Fault) {
        self.0.push(Active { fault, seen: 0, struck: 0 });
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    pub(crate) fn list(&self) -> Vec<Active> {
        self.0.clone()
    }

    /// The fault that strikes this case, if one does; it counts as having struck.
    pub(crate) fn strike(
        &mut self,
        kinds: impl Fn(FaultKind) -> bool,
        case: Case<'_>,
    ) -> Option<Fault> {
        for active in &mut self.0 {
            if !kinds(active.fault.kind) || !active.fits(case) {
                continue;
            }
            active.seen += 1;
            let label = format!("fault/{}", active.seen);
            if Draw::new(active.fault.seed, &label).chance(active.fault.percent) {
                active.struck += 1;
                return Some(active.fault.clone());
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_name() {
        for (kind, name, _) in KINDS {
            assert_eq!(serde_json::to_value(kind).expect("a name"), name);
        }
    }

    #[test]
    fn a_fault_strikes_what_it_names_as_often_as_it_says() {
        let read = |text: &str| serde_json::from_str::<Fault>(text).expect("a fault");
        let fault = read(r#"{"kind":"rate_limit","path":"/item/get","item_id":"i","times":2}"#);
        let mut faults = Faults::default();
        faults.add(fault);
        let any = |kind: FaultKind| !kind.is_of_webhooks();
        let case =
            |path, item_id| Case { path: Some(path), item_id: Some(item_id), ..Case::default() };
        assert!(faults.strike(any, case("/item/get", "j")).is_none());
        assert!(faults.strike(any, case("/accounts/get", "i")).is_none());
        let struck = (0..5).filter(|_| faults.strike(any, case("/item/get", "i")).is_some());
        assert_eq!(struck.count(), 2);

        let half = r#"{"name":"bad_gateway","percent":50,"count":1000,"seed":3}"#;
        let strikes = |text: &str| {
            let mut faults = Faults::default();
            faults.add(read(text));
            (0..200).map(|_| faults.strike(any, Case::default()).is_some()).collect::<Vec<_>>()
        };
        assert_eq!(strikes(half), strikes(half), "the same seed strikes the same cases");
        let count = strikes(half).into_iter().filter(|struck| *struck).count();
        assert!((70..130).contains(&count), "{count} of 200");
    }

    #[test]
    fn faults_that_make_no_sense_are_refused() {
        for (text, ok) in [
            (r#"{"kind":"slow"}"#, true),
            (r#"{"kind":"slow","page":1}"#, false),
            (r#"{"kind":"webhook_lost","path":"/item/get"}"#, false),
            (r#"{"kind":"rate_limit","times":0}"#, false),
            (r#"{"kind":"rate_limit","percent":101}"#, false),
        ] {
            let fault: Fault = serde_json::from_str(text).expect("a fault");
            assert_eq!(fault.flaw().is_none(), ok, "{text}");
        }
        assert!(serde_json::from_str::<Fault>(r#"{"kind":"slow","pge":1}"#).is_err());
    }
}
