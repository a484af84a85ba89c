//! The program as a user runs it, over a folder of manifests that a test writes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test's helpers fail the test"
)]

use serde_json::Value;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

/// Namespaces `x` and `y`; pods `x/a` (10.9.1.1), `x/b` (10.9.1.2) and `y/c` (10.9.2.1), each with its name as label
/// `pod`; a port named `web` (8080) at `x/a`; and a NetworkPolicy that lets only `x/b` reach `x/a`, at TCP 80.
pub(crate) const WORLD: &str = "\
{apiVersion: v1, kind: Namespace, metadata: {name: x, labels: {ns: x}}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: y, labels: {ns: y}}}
---
apiVersion: v1
kind: Pod
metadata: {name: a, namespace: x, labels: {pod: a}}
spec: {containers: [{name: c, image: i, ports: [{name: web, containerPort: 8080}]}]}
status: {podIP: 10.9.1.1}
---
{apiVersion: v1, kind: Pod, metadata: {name: b, namespace: x, labels: {pod: b}}, spec: {containers: [{name: c, image: i}]}, status: {podIP: 10.9.1.2}}
---
{apiVersion: v1, kind: Pod, metadata: {name: c, namespace: y, labels: {pod: c}}, spec: {containers: [{name: c, image: i}]}, status: {podIP: 10.9.2.1}}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: only-b, namespace: x}
spec:
  podSelector: {matchLabels: {pod: a}}
  policyTypes: [Ingress]
  ingress:
  - from: [{podSelector: {matchLabels: {pod: b}}}]
    ports: [{port: 80}]
";

/// A folder with `world.yaml`, and whatever a test adds.
pub(crate) struct Folder(tempfile::TempDir);

/// How a run ended.
pub(crate) struct Said {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Folder {
    pub(crate) fn new() -> Self {
        let folder = Self(tempfile::tempdir().expect("a folder"));
        folder.write("world.yaml", WORLD);
        folder
    }

    pub(crate) fn with(name: &str, contents: impl AsRef<[u8]>) -> Self {
        let folder = Self::new();
        folder.write(name, contents);
        folder
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, contents: impl AsRef<[u8]>) {
        fs::write(self.path(name), contents).expect("writable");
    }

    /// Runs `cofferdam policy VERB -f FOLDER ARGUMENTS`.
    pub(crate) fn policy(&self, verb: &str, arguments: &str) -> Said {
        let folder = self.0.path().to_str().expect("UTF-8").to_owned();
        run(["policy", verb, "-f", &folder].into_iter().chain(arguments.split_whitespace()))
    }

    /// `allow` or `deny`, over TCP.
    pub(crate) fn verdict(&self, from: &str, to: &str, port: u16) -> String {
        let said = self.policy("explain", &format!("--from {from} --to {to} --port {port} --json"));
        let report: Value = serde_json::from_str(&said.out).unwrap_or_else(|_| panic!("{}", said.err));
        report["verdict"].as_str().expect("a verdict").to_owned()
    }
}

/// Runs the program.
pub(crate) fn run<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Said {
    let Output { status, stdout, stderr } =
        Command::new(env!("CARGO_BIN_EXE_cofferdam")).args(arguments).output().expect("the program runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("the program speaks UTF-8");
    Said { code: status.code(), out: text(stdout), err: text(stderr) }
}
