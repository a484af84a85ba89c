//! Logging in to the program by way of an identity provider: that of the tests of the API, which keeps to its protocol.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test; a panic is the failure report"
)]

#[path = "../../api/tests/provider/mod.rs"]
mod provider;

use provider::{CLIENT, Does, Provider, SECRET};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A collector whose people log in by way of a provider; ended with the test.
struct Collector {
    child: Child,
    address: String,
}

impl Drop for Collector {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(folder: &Path, provider: &Provider) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cofferdam"));
    command.current_dir(folder).args(["collector", "--ledger", "all.db", "--certificates", "none"]);
    command.args(["--listen", "127.0.0.1:0", "--serve", "127.0.0.1:0"]);
    command.args(["--serve-oidc", provider.issuer(), "--serve-oidc-audience", "programs"]);
    command.args(["--serve-oidc-jwks", &format!("{}/keys", provider.issuer())]);
    command.args(["--serve-oidc-authority", "provider.pem", "--serve-oidc-role", "operator=oncall"]);
    command.args(["--serve-oidc-client", CLIENT, "--serve-oidc-client-secret", "secret"]);
    command.args(["--serve-oidc-redirect", "https://console.example/api/v1/login/callback"]);
    command.args(["--serve-oidc-scope", "groups"]);
    command
}

impl Collector {
    fn start(folder: &Path, provider: &Provider) -> Self {
        let mut command = command(folder, provider);
        let mut child =
            command.args(["--serve-name", "console.example"]).stdout(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let line = said.find(|line| line.contains("console and API")).unwrap();
        let address = line.split("http://").nth(1).unwrap().split('/').next().unwrap().to_owned();
        std::thread::spawn(move || said.for_each(drop));
        Self { child, address }
    }

    /// GET with one header: the head of the answer, and its body.
    fn get(&self, path: &str, header: &str) -> (String, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let request = format!("GET /api/v1{path} HTTP/1.0\r\nhost: console.example\r\n{header}\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.to_owned(), body.to_owned())
    }
}

fn value<'h>(head: &'h str, begins: &str) -> &'h str {
    let line = head.lines().find_map(|line| line.strip_prefix(begins));
    line.unwrap_or_else(|| panic!("no {begins}: {head}")).split(';').next().unwrap()
}

#[test]
fn somebody_logs_in_to_the_program_by_way_of_an_identity_provider() {
    let provider = Provider::start(Does::default());
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("provider.pem"), provider.pem()).unwrap();
    fs::write(folder.path().join("secret"), format!("{SECRET}\n")).unwrap();
    let collector = Collector::start(folder.path(), &provider);

    let (head, _) = collector.get("/login?page=flows", "x: y");
    assert!(head.starts_with("HTTP/1.0 302"), "{head}");
    let cookie = value(&head, "set-cookie: ");
    let query = provider.visit(value(&head, "location: "));
    let (head, body) = collector.get(&format!("/login/callback?{query}"), &format!("cookie: {cookie}"));
    assert!(head.starts_with("HTTP/1.0 302"), "{head} {body}");
    assert_eq!(value(&head, "location: "), "../../../flows");
    let session =
        format!("cookie: __Host-cofferdam_session={}", value(&head, "set-cookie: __Host-cofferdam_session="));
    let (_, me) = collector.get("/me", &session);
    assert!(me.contains("oidc:ann") && me.contains("operator"), "{me}");
    let (_, audited) = collector.get("/records?kind=audit&reason=logged-in", &session);
    assert!(audited.contains("oidc:ann") && audited.contains("by way of localhost"), "{audited}");
}

#[test]
fn a_redirect_url_that_is_not_answered_for_is_refused_at_the_start() {
    let provider = Provider::start(Does::default());
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("provider.pem"), provider.pem()).unwrap();
    fs::write(folder.path().join("secret"), SECRET).unwrap();
    let output = command(folder.path(), &provider).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("give --serve-name console.example"), "{said}");
}
