//! The program: reads arguments, runs one command, says how it went by its exit code.
//!
//! Exit codes: 0 as asked; 1 the answer is no, or not everything is in force; 2 it could not be done.

mod agent;
mod api_cmd;
mod calls;
mod catalog;
mod classify;
mod cli;
mod clusters;
mod collect;
mod completion;
mod connections;
mod control;
mod core_dumps;
mod detect;
mod egress_gateway;
mod environment;
mod explain;
mod export_cmd;
mod findings;
mod flows;
mod folder;
mod form;
mod guard;
mod health;
mod http;
mod hub;
mod incident_cmd;
mod ingress_gateway;
mod install;
mod kubectl;
mod lab_cmd;
mod ledger_cmd;
mod listing;
mod lookups;
mod metrics;
mod overview;
mod plain;
mod policy;
mod prices;
mod printer;
mod reference;
mod registry;
mod release;
mod remote;
mod respond;
mod rollout;
mod room;
mod sending;
mod serving;
mod shadow_cmd;
mod status;
mod store;
mod tools;
mod translate;
mod trust;
mod up;
mod waf;
mod webhook;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    let called = std::env::args_os().next().map(PathBuf::from);
    let is_plugin = called.is_some_and(|path| path.file_name().is_some_and(|name| name == kubectl::NAME));
    let outcome =
        if is_plugin { kubectl::run() } else { cli::run(&mut plain::Plain::new(std::io::stdout())) };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        // Whoever read the answer has seen enough, as `head` does.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "cofferdam: {}", told(&error));
            ExitCode::from(2)
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = error.downcast_ref().map(std::io::Error::kind);
    // What is written as JSON keeps it within an error of its own.
    let json = || error.downcast_ref::<serde_json::Error>().and_then(serde_json::Error::io_error_kind);
    io.or_else(json) == Some(std::io::ErrorKind::BrokenPipe)
}

/// An error with its causes, each said once: some errors already say those below them.
fn told(error: &anyhow::Error) -> String {
    error.chain().fold(String::new(), |text, cause| {
        let said = cause.to_string();
        match text.is_empty() {
            true => said,
            false if text.contains(&said) => text,
            false => format!("{text}: {said}"),
        }
    })
}

#[cfg(test)]
mod tests {
    use anyhow::{Context, anyhow};

    #[test]
    fn a_reader_who_has_seen_enough_is_no_error_in_any_form() {
        let io = || std::io::Error::from(std::io::ErrorKind::BrokenPipe);
        assert!(super::is_broken_pipe(&io().into()));
        assert!(super::is_broken_pipe(&serde_json::Error::io(io()).into()));
        assert!(!super::is_broken_pipe(&anyhow!("no such file")));
    }

    #[test]
    fn a_cause_is_said_once() {
        let inner = Err::<(), _>(anyhow!("no such file")).context("reading a: no such file");
        let error = inner.context("--hub").unwrap_err();
        assert_eq!(format!("{error:#}"), "--hub: reading a: no such file: no such file");
        assert_eq!(super::told(&error), "--hub: reading a: no such file");
    }
}
