//! The program: reads arguments, runs one command, says how it went by its exit code.
//!
//! Exit codes: 0 as asked; 1 the answer is no, or not everything is in force; 2 it could not be done.

mod agent;
mod cli;
mod control;
mod flows;
mod folder;
mod health;
mod http;
mod install;
mod lab_cmd;
mod policy;
mod status;
mod translate;
mod up;
mod webhook;

use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::run(&mut std::io::stdout()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        // Whoever read the answer has seen enough, as `head` does.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "cofferdam: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let broken = |io: &std::io::Error| io.kind() == std::io::ErrorKind::BrokenPipe;
    error.downcast_ref().is_some_and(broken)
}
