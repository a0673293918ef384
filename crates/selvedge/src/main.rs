//! The program: one binary, one match on the command.

mod command;
mod destination;
mod nats;
mod settings;
mod surroundings;

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;

use crate::command::Command;

/// Bank data from Plaid: retrieved, stored and delivered, without loss and without doubles.
#[derive(Parser)]
#[command(name = "selvedge", version, propagate_version = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

/// Exit code of a command that could not do its work.
const FAILED: u8 = 1;

/// Airbyte platforms run a connector by its own name and without a sub-command: under a name such
/// as `source-selvedge` the program is `selvedge source`.
const SOURCE_NAME: &str = "source-";

fn main() -> ExitCode {
    let arguments = Arguments::parse_from(words(std::env::args_os().collect()));
    surroundings::start_logging(arguments.command.usual_log());
    surroundings::choose_cryptography();
    match command::run(arguments.command) {
        Ok(code) => code,
        Err(error) => {
            // One line: the whole chain, innermost last.
            eprintln!("selvedge: {error:#}");
            ExitCode::from(FAILED)
        }
    }
}

/// The words of the command line, with the command that the program's name stands for.
fn words(mut words: Vec<OsString>) -> Vec<OsString> {
    let name = words.first().map(Path::new).and_then(Path::file_name).and_then(OsStr::to_str);
    if name.is_some_and(|name| name.starts_with(SOURCE_NAME)) {
        words.insert(1, OsString::from("source"));
    }
    words
}
