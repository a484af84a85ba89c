//! libmodsecurity in a process of its own, asked line by line.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::requests::Request;

/// The program that runs it.
const PROGRAM: &str = include_str!("modsecurity.py");

/// The program that says which rules match in it.
const DIFFER: &str = include_str!("differ.py");

/// What the other engine is told besides our own options: no logs, and the limit that its makers recommend.
const MORE: &str = "SecAuditEngine Off\nSecPcreMatchLimit 1000\nSecPcreMatchLimitRecursion 1000\n";

/// The other engine, its rules loaded.
pub(crate) struct Peer {
    child: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
    /// What it calls itself.
    pub(crate) name: String,
}

impl Peer {
    /// Starts it with a Python that has the package; none where it cannot be had.
    pub(crate) fn start(python: &Path, rules: &[String], requests: &[Request]) -> Result<Option<Self>> {
        let Some(mut peer) = Self::spawn(python, PROGRAM)? else { return Ok(None) };
        let setup = json!({
            "options": format!("{}{MORE}", waf::setup::OPTIONS),
            "files": rules,
            "requests": requests.iter().map(|request| json!({
                "method": request.method, "target": request.target, "headers": request.headers, "body": request.body,
            })).collect::<Vec<_>>(),
        });
        writeln!(peer.questions, "{setup}")?;
        peer.greeted().map(Some)
    }

    /// Starts it to be asked which rules match; none where it cannot be had.
    pub(crate) fn to_compare(python: &Path) -> Result<Option<Self>> {
        Self::spawn(python, DIFFER)?.map(Self::greeted).transpose()
    }

    fn spawn(python: &Path, program: &str) -> Result<Option<Self>> {
        let there = Command::new(python).args(["-c", "import libmodsecurity"]).stderr(Stdio::null()).status();
        if !there.is_ok_and(|status| status.success()) {
            return Ok(None);
        }
        let mut child = Command::new(python)
            .args(["-c", program])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {}", python.display()))?;
        let questions = child.stdin.take().context("no standard input")?;
        let answers = BufReader::new(child.stdout.take().context("no standard output")?);
        Ok(Some(Self { child, questions, answers, name: String::new() }))
    }

    /// The same once it has said its name.
    fn greeted(mut self) -> Result<Self> {
        let hello = self.answer()?;
        self.name = hello.get("peer").and_then(Value::as_str).unwrap_or("libmodsecurity").to_owned();
        Ok(self)
    }

    /// Runs a request for so many nanoseconds of processor time.
    pub(crate) fn run(&mut self, number: usize, budget: u64) -> Result<Value> {
        self.ask(&format!("{number} {budget}"))
    }

    /// Writes a line, and reads the one that answers it.
    pub(crate) fn ask(&mut self, line: &str) -> Result<Value> {
        writeln!(self.questions, "{line}")?;
        self.answer()
    }

    fn answer(&mut self) -> Result<Value> {
        let mut answer = String::new();
        if self.answers.read_line(&mut answer)? == 0 {
            bail!("libmodsecurity ended");
        }
        serde_json::from_str(&answer).with_context(|| format!("libmodsecurity said {answer}"))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
