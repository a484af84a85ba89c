//! `cofferdam-cni`: a chained CNI plugin that holds a pod's start until its policy is in force.
//!
//! Enters: what a container runtime says (CNI 1.1: environment and standard input). Leaves: the previous plugin's result
//! as it was, or an error, with which the runtime tries again.
//! Guarantees: a pod whose policy is not in force does not start, unless its namespace is exempt; removing a pod never
//! fails. Does not: touch interfaces.

mod install;

use cni::plugin::{self, Call, Failure};
use std::io::{Read, Write};
use std::process::ExitCode;

/// Longest configuration.
const LIMIT: u64 = 4 << 20;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if !arguments.is_empty() {
        return installed(&arguments);
    }
    let mut input = String::new();
    let read = std::io::stdin().take(LIMIT).read_to_string(&mut input);
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let call = Call {
        command: variable("CNI_COMMAND"),
        container: variable("CNI_CONTAINERID"),
        arguments: variable("CNI_ARGS"),
        input,
    };
    let answered =
        read.map_err(|error| Failure::input(error.to_string())).and_then(|_| plugin::answer(&call));
    let (text, code) = match answered {
        Ok(text) => (text, ExitCode::SUCCESS),
        Err(failure) => (failure.to_json(), ExitCode::FAILURE),
    };
    // Whoever asked is gone.
    let _ = std::io::stdout().write_all(text.as_bytes());
    code
}

fn installed(arguments: &[String]) -> ExitCode {
    let said = install::run(arguments);
    let (mut out, mut err) = (std::io::stdout(), std::io::stderr());
    match said {
        Ok(text) => {
            let _ = out.write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Err(why) => {
            let _ = writeln!(err, "cofferdam-cni: {why}");
            ExitCode::from(2)
        }
    }
}
