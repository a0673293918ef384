//! What a webhook means: for the life of its Item, for its streams, or for a visit to Link.

use model::{Ending, ItemEvent, News, Stream};

use crate::error::trouble_of;
use crate::wire::Webhook;

/// The end of a visit to Link, as a webhook tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkNews {
    /// The link token of the visit.
    pub link_token: String,
    /// Public tokens to exchange; none in update mode.
    pub public_tokens: Vec<String>,
    /// Whether the end user went through with it.
    pub succeeded: bool,
}

/// What a webhook means for its Item. An unknown code means that transactions may be new: a hint
/// that costs one look.
pub fn news(webhook: &Webhook) -> News {
    let streams = streams(&webhook.webhook_type, &webhook.webhook_code);
    let event = match webhook.webhook_type.as_str() {
        "ITEM" => item_event(webhook),
        _ => None,
    };
    let detail = webhook.error.as_ref().map(|error| {
        let (kind, code, words) = (&error.error_type, &error.error_code, &error.error_message);
        format!("{kind} / {code}: {words} (told by webhook)")
    });
    News { event, detail, streams }
}

fn item_event(webhook: &Webhook) -> Option<ItemEvent> {
    let instant = |text: &Option<String>| text.as_deref().and_then(|text| text.parse().ok());
    Some(match webhook.webhook_code.as_str() {
        "ERROR" => ItemEvent::Troubled { trouble: trouble_of(webhook.error.as_ref()?) },
        "LOGIN_REPAIRED" => ItemEvent::LoginRepaired,
        "NEW_ACCOUNTS_AVAILABLE" => ItemEvent::NewAccounts,
        "PENDING_DISCONNECT" => ItemEvent::EndsSoon {
            ending: Ending::Disconnect,
            at: instant(&webhook.disconnect_time),
        },
        "PENDING_EXPIRATION" => ItemEvent::EndsSoon {
            ending: Ending::Expiration,
            at: instant(&webhook.consent_expiration_time),
        },
        "USER_PERMISSION_REVOKED" => ItemEvent::Troubled { trouble: model::Trouble::Gone },
        "USER_ACCOUNT_REVOKED" => {
            ItemEvent::AccountRevoked { account_id: webhook.account_id.clone()? }
        }
        _ => return None,
    })
}

/// Streams that are read on their own and that a webhook has news of.
fn streams(webhook_type: &str, webhook_code: &str) -> Vec<Stream> {
    match (webhook_type, webhook_code) {
        ("TRANSACTIONS", "RECURRING_TRANSACTIONS_UPDATE") => vec![Stream::Recurring],
        ("HOLDINGS", _) => vec![Stream::Holdings, Stream::Securities],
        ("INVESTMENTS_TRANSACTIONS", _) => vec![Stream::InvestmentTransactions],
        ("LIABILITIES", _) => vec![Stream::Liabilities],
        ("AUTH", _) => vec![Stream::Auth],
        ("IDENTITY", _) => vec![Stream::Identity],
        ("ITEM", _) => vec![Stream::Item],
        _ => Vec::new(),
    }
}

/// The end of a visit to Link, if the webhook tells of one.
pub fn link_news(webhook: &Webhook) -> Option<LinkNews> {
    if webhook.webhook_type != "LINK" {
        return None;
    }
    let mut public_tokens = webhook.public_tokens.clone();
    public_tokens.extend(webhook.public_token.clone());
    public_tokens.sort();
    public_tokens.dedup();
    // The parts of a visit are told once more, all together, when it is finished.
    if webhook.webhook_code != "SESSION_FINISHED" {
        return None;
    }
    let status = webhook.status.as_ref();
    let succeeded = status.is_some_and(|status| status.eq_ignore_ascii_case("success"));
    Some(LinkNews { link_token: webhook.link_token.clone()?, public_tokens, succeeded })
}

#[cfg(test)]
mod tests {
    use model::Trouble;

    use super::*;

    fn read(json: &str) -> Webhook {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn webhooks_of_items_become_events() {
        let event = |code: &str, more: &str| {
            news(&read(&format!(
                r#"{{"webhook_type":"ITEM","webhook_code":"{code}","item_id":"i"{more}}}"#
            )))
            .event
        };
        let login = r#","error":{"error_type":"ITEM_ERROR","error_code":"ITEM_LOGIN_REQUIRED"}"#;
        assert_eq!(event("ERROR", login), Some(ItemEvent::Troubled { trouble: Trouble::Login }));
        let time = r#","disconnect_time":"2026-01-31T00:00:00Z""#;
        assert!(matches!(
            event("PENDING_DISCONNECT", time),
            Some(ItemEvent::EndsSoon { ending: Ending::Disconnect, at: Some(_) })
        ));
        assert_eq!(
            event("USER_ACCOUNT_REVOKED", r#","account_id":"a""#),
            Some(ItemEvent::AccountRevoked { account_id: "a".into() })
        );
        assert_eq!(event("A_NEW_CODE", ""), None);
        assert_eq!(event("ERROR", r#","error":"a string""#), None);
    }

    #[test]
    fn the_end_of_a_visit_names_each_public_token_once() {
        let told = link_news(&read(
            r#"{"webhook_type":"LINK","webhook_code":"SESSION_FINISHED","status":"SUCCESS",
                "link_token":"l","public_token":"a","public_tokens":["b","a"]}"#,
        ));
        let told = told.unwrap();
        assert_eq!((told.succeeded, told.public_tokens), (true, vec!["a".into(), "b".into()]));
        assert_eq!(link_news(&read(r#"{"webhook_type":"LINK","webhook_code":"EVENTS"}"#)), None);
    }
}
