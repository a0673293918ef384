//! Pages out of templates, and what every page has around it.

use askama::Template;
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};

use super::session::Operator;
use crate::problem::{FieldFault, INTERNAL, Problem};

/// What stands around every page of a signed-in person.
pub(super) struct Frame {
    pub(super) title: String,
    /// Which entry of the navigation is current.
    pub(super) section: &'static str,
    pub(super) operator: String,
    pub(super) csrf_token: String,
}

impl Frame {
    pub(super) fn new(
        operator: &Operator,
        section: &'static str,
        title: impl Into<String>,
    ) -> Self {
        Self {
            title: title.into(),
            section,
            operator: operator.0.operator.clone(),
            csrf_token: operator.0.csrf_token.clone(),
        }
    }
}

/// A page.
pub(super) fn page(template: &impl Template) -> Response {
    page_with(StatusCode::OK, template)
}

/// A page with another status, such as a form that must be corrected.
pub(super) fn page_with(status: StatusCode, template: &impl Template) -> Response {
    match template.render() {
        Ok(html) => (status, Html(html)).into_response(),
        Err(error) => {
            tracing::error!(%error, "a page could not be rendered");
            Problem::new(INTERNAL, "The page could not be shown.").into_response()
        }
    }
}

/// What is wrong with a field of a form, shown beside it.
pub(super) struct Faults(pub(super) Vec<FieldFault>);

impl Faults {
    pub(super) fn of(&self, field: &str) -> Option<&str> {
        let fault = self.0.iter().find(|fault| fault.pointer.trim_start_matches('/') == field);
        fault.map(|fault| fault.detail.as_str())
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
