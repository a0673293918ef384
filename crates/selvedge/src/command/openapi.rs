//! `selvedge openapi`: the API's description, as the server also gives it at `/openapi.json`.

use std::process::ExitCode;

/// Prints the OpenAPI document.
pub(super) fn run() -> anyhow::Result<ExitCode> {
    println!("{}", serde_json::to_string_pretty(&web::openapi())?);
    Ok(ExitCode::SUCCESS)
}
