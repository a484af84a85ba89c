//! `cofferdam ingress-gateway` as a process, and what it prints.

use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);

/// The gateway as a user runs it, and what it prints.
pub(crate) struct Gateway {
    pub(crate) child: Child,
    lines: Receiver<Value>,
    pub(crate) url: String,
    /// Where it listens for port 443 of Gateways.
    pub(crate) tls_port: u16,
}

impl Gateway {
    pub(crate) fn start(folder: &Path, more: &[&str]) -> Self {
        let files = folder.join("manifests");
        Self::run(&[&["-f", files.to_str().unwrap()], more].concat())
    }

    pub(crate) fn run(args: &[&str]) -> Self {
        let gateway = Self::spawn("gateway-0", args);
        gateway.note("in force; listens at");
        gateway
    }

    /// One that is called so among several.
    pub(crate) fn spawn(name: &str, args: &[&str]) -> Self {
        let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let (port, tls_port) = (free(), free());
        let mut command = Command::new(env!("CARGO_BIN_EXE_cofferdam"));
        command.args(["ingress-gateway", "--json", "--bind", "127.0.0.1", "--port", &format!("80={port}")]);
        command.args(["--port", &format!("443={tls_port}")]);
        command.args(args).env("POD_NAME", name).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (sender, lines) = channel();
        let printed = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in printed.lines().map_while(Result::ok) {
                let _ = sender.send(serde_json::from_str(&line).unwrap());
            }
        });
        Self { child, lines, url: format!("http://127.0.0.1:{port}"), tls_port }
    }

    /// The next of what it prints that has this field.
    pub(crate) fn next(&self, field: &str) -> Value {
        loop {
            let line =
                self.lines.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("it did not print a {field}"));
            if !line[field].is_null() {
                return line[field].clone();
            }
        }
    }

    /// Waits for it to say something.
    pub(crate) fn note(&self, text: &str) -> String {
        loop {
            let note = self.next("note");
            if note.as_str().unwrap().contains(text) {
                return note.as_str().unwrap().to_owned();
            }
        }
    }

    /// What curl gets: status and body.
    pub(crate) fn curl(&self, args: &[&str], path: &str) -> (u16, String) {
        let mut command = Command::new("curl");
        command.args(["--silent", "--max-time", "20", "--write-out", "\n%{http_code}"]).args(args);
        let output = command.arg(format!("{}{path}", self.url)).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let (body, status) = text.rsplit_once('\n').unwrap();
        (status.parse().unwrap(), body.to_owned())
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
