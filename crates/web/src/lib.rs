//! The windows: the receiver of webhooks, the API, the dashboard. Everything they want done is
//! written to the store as a row of work; they never see the pipeline.
//!
//! Reading order: `router` is the table of contents; `state` is what handlers are given; `problem`
//! is how failure looks outside; `receiver`, `api` and `dashboard` are the three windows.

mod api;
mod dashboard;
mod problem;
mod receiver;
mod request;
mod router;
mod state;

pub use problem::{CODES, ProblemCode};
pub use router::{openapi, router};
pub use state::{Web, WebSettings};
