//! Plaid's error object.

use serde_json::{Value, json};

/// An error as Plaid answers it. The body has its keys in alphabetical order.
#[derive(Debug, Clone)]
pub(crate) struct PlaidError {
    pub(crate) status: u16,
    pub(crate) error_type: &'static str,
    pub(crate) error_code: String,
    pub(crate) error_message: String,
    pub(crate) display_message: Option<&'static str>,
}

/// What is said of the errors that sandbox users ask for most.
const ASKED_FOR: [(&str, &str); 7] = [
    ("INSTITUTION_DOWN", "this institution is not responding to any requests right now"),
    ("INSTITUTION_NOT_RESPONDING", "this institution is not responding to this request right now"),
    ("INVALID_CREDENTIALS", "the credentials were not correct"),
    ("INVALID_MFA", "the answers were not correct"),
    ("ITEM_LOCKED", "the account is locked; unlock it at the institution, then try again"),
    ("NO_ACCOUNTS", "no accounts that fit were found at this institution"),
    ("USER_SETUP_REQUIRED", "something is left to be done at the institution's own site"),
];

impl PlaidError {
    pub(crate) fn new(error_type: &'static str, code: &str, message: impl Into<String>) -> Self {
        Self {
            status: 400,
            error_type,
            error_code: code.to_owned(),
            error_message: message.into(),
            display_message: None,
        }
    }

    pub(crate) fn invalid_field(message: impl Into<String>) -> Self {
        Self::new("INVALID_REQUEST", "INVALID_FIELD", message)
    }

    pub(crate) fn missing(fields: &[&str]) -> Self {
        let list = fields.join(", ");
        Self::new(
            "INVALID_REQUEST",
            "MISSING_FIELDS",
            format!("the following required fields are missing: {list}"),
        )
    }

    pub(crate) fn invalid_input(code: &str, message: impl Into<String>) -> Self {
        Self::new("INVALID_INPUT", code, message)
    }

    pub(crate) fn login_required() -> Self {
        Self {
            display_message: Some(
                "The login details of this item have changed. Sign in again to continue.",
            ),
            ..Self::new(
                "ITEM_ERROR",
                "ITEM_LOGIN_REQUIRED",
                "the login details of this item have changed (credentials, MFA, or required user \
                 action) and a user login is required to update this information. use Link's \
                 update mode to restore the item to a good state",
            )
        }
    }

    pub(crate) fn internal(why: &str) -> Self {
        Self { status: 500, ..Self::new("API_ERROR", "INTERNAL_SERVER_ERROR", why) }
    }

    /// The person did not consent to the product in Link.
    pub(crate) fn consent_required(product: &str) -> Self {
        let product = product.to_uppercase();
        let why = format!(
            "client does not have user consent to access the PRODUCT_{product} product; collect \
             it in Link's update mode"
        );
        Self::invalid_input("ADDITIONAL_CONSENT_REQUIRED", why)
    }

    /// The person withdrew the Item.
    pub(crate) fn revoked() -> Self {
        Self::invalid_input(
            "USER_PERMISSION_REVOKED",
            "the holder of this account has revoked their permission for your application to \
             access it",
        )
    }

    /// The error of a code that a sandbox user or a test asks for.
    pub(crate) fn of_code(code: &str) -> Self {
        let known = ASKED_FOR.iter().find(|(own, _)| *own == code);
        let why = known.map_or("the sandbox user asked for this error", |(_, why)| why);
        match code {
            "ITEM_LOGIN_REQUIRED" => Self::login_required(),
            "PLAID_ERROR" | "INTERNAL_SERVER_ERROR" => Self::internal(why),
            "USER_PERMISSION_REVOKED" => Self::revoked(),
            "ITEM_NOT_FOUND" => Self::item_not_found(),
            "PRODUCT_NOT_READY" => Self::product_not_ready(),
            "INVALID_LINK_TOKEN" | "ADDITIONAL_CONSENT_REQUIRED" | "INVALID_ACCESS_TOKEN" => {
                Self::invalid_input(code, why)
            }
            code if code.starts_with("INSTITUTION_") => Self::new("INSTITUTION_ERROR", code, why),
            code => Self::new("ITEM_ERROR", code, why),
        }
    }

    /// The institution does not offer the product.
    pub(crate) fn product_not_supported(product: &str) -> Self {
        Self::new(
            "ITEM_ERROR",
            "PRODUCTS_NOT_SUPPORTED",
            format!(
                "the following products are not supported by this institution: [\"{product}\"]"
            ),
        )
    }

    /// The data is still being pulled.
    pub(crate) fn product_not_ready() -> Self {
        Self::new(
            "ITEM_ERROR",
            "PRODUCT_NOT_READY",
            "the requested product is not yet ready. please provide a webhook or try the request \
             again later",
        )
    }

    pub(crate) fn item_not_found() -> Self {
        Self::new(
            "ITEM_ERROR",
            "ITEM_NOT_FOUND",
            "the Item you requested cannot be found. This Item does not exist, has been \
             previously removed via /item/remove, or has had access removed by the user",
        )
    }

    /// The body of an answer.
    pub(crate) fn body(&self, request_id: &str) -> Value {
        let mut body = self.object();
        body["request_id"] = json!(request_id);
        body
    }

    /// The object inside an item: without a request id.
    pub(crate) fn object(&self) -> Value {
        let kind = self.error_type.strip_suffix("_ERROR").unwrap_or(self.error_type);
        let anchor = kind.to_lowercase().replace('_', "-");
        json!({
            "display_message": self.display_message,
            "documentation_url": format!("https://plaid.com/docs/?ref=error#{anchor}-errors"),
            "error_code": self.error_code,
            "error_message": self.error_message,
            "error_type": self.error_type,
            "suggested_action": null,
        })
    }
}
