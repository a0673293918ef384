//! The program: one binary, one match on the command.

mod command;
mod settings;
mod surroundings;

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

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    surroundings::start_logging(arguments.command.usual_log());
    match command::run(arguments.command) {
        Ok(code) => code,
        Err(error) => {
            // One line: the whole chain, innermost last.
            eprintln!("selvedge: {error:#}");
            ExitCode::from(FAILED)
        }
    }
}
