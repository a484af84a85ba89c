//! Who asks, at the binary: tokens of an issuer that is reached by HTTPS, changes its keys and is gone for a while; certificates
//! of clients. Keys, certificates and signatures are made by `openssl`, the issuer is `openssl s_server`, the client `curl`.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test; a panic is the failure report"
)]

use crate::ingress::gateway::Gateway;
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tempfile::TempDir;

const ISSUER: &str = "https://issuer.example";
/// Tries, half a second apart, until keys were fetched: they are asked for at most every half minute.
const TRIES: usize = 240;

/// Runs openssl in a folder, with this on its input.
fn openssl(folder: &Path, args: &[&str], input: &[u8]) -> Vec<u8> {
    let mut command = Command::new("openssl");
    command
        .args(args)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn has_openssl() -> bool {
    let is_there =
        ["openssl", "curl"].iter().all(|tool| Command::new(tool).arg("--version").output().is_ok());
    if !is_there {
        eprintln!("NOT RUN: it needs openssl and curl");
    }
    is_there
}

/// An authority: `NAME.pem` and `NAME.key`.
fn authority(folder: &Path, name: &str) {
    let (key, pem) = (format!("{name}.key"), format!("{name}.pem"));
    let kind = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    openssl(
        folder,
        &[&kind[..], &["-days", "2", "-subj", "/CN=authority", "-keyout", &key, "-out", &pem]].concat(),
        b"",
    );
}

/// A certificate for this name, as `subjectAltName` has it: `NAME.pem` and `NAME.key`.
fn certificate(folder: &Path, name: &str, by: &str, alternative: &str, days: &str) {
    let (key, pem, request) = (format!("{name}.key"), format!("{name}.pem"), format!("{name}.csr"));
    let kind =
        ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=one"];
    openssl(folder, &[&kind[..], &["-keyout", &key, "-out", &request]].concat(), b"");
    let extensions = format!("{name}.ext");
    fs::write(folder.join(&extensions), format!("subjectAltName={alternative}\n")).unwrap();
    let (ca, ca_key) = (format!("{by}.pem"), format!("{by}.key"));
    let sign =
        ["x509", "-req", "-in", &request, "-CA", &ca, "-CAkey", &ca_key, "-CAcreateserial", "-days", days];
    openssl(folder, &[&sign[..], &["-extfile", &extensions, "-out", &pem]].concat(), b"");
}

fn base64url(folder: &Path, bytes: &[u8]) -> String {
    let text = String::from_utf8(openssl(folder, &["base64", "-A"], bytes)).unwrap();
    text.trim().trim_end_matches('=').replace('+', "-").replace('/', "_")
}

/// A public key of `NAME.key`, as a JWK.
fn jwk(folder: &Path, name: &str) -> Value {
    let shown = openssl(folder, &["rsa", "-in", &format!("{name}.key"), "-noout", "-modulus"], b"");
    let shown = String::from_utf8(shown).unwrap();
    let hex = shown.trim().strip_prefix("Modulus=").unwrap();
    let bytes: Vec<u8> =
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
    json!({"kty": "RSA", "alg": "RS256", "use": "sig", "kid": name, "e": "AQAB", "n": base64url(folder, &bytes)})
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A token for an hour, with these claims besides, signed by `NAME.key`.
fn token(folder: &Path, name: &str, more: &Value) -> String {
    let mut claims = json!({"iss": ISSUER, "aud": "models", "sub": "ann", "exp": now() + 3600, "iat": now()});
    for (claim, value) in more.as_object().unwrap() {
        claims[claim] = value.clone();
    }
    let part = |value: &Value| base64url(folder, value.to_string().as_bytes());
    let signed = format!("{}.{}", part(&json!({"alg": "RS256", "typ": "JWT", "kid": name})), part(&claims));
    let signature = openssl(folder, &["dgst", "-sha256", "-sign", &format!("{name}.key")], signed.as_bytes());
    format!("{signed}.{}", base64url(folder, &signature))
}

/// Where an issuer publishes its keys.
struct Issuer {
    folder: PathBuf,
    port: u16,
    server: Option<Child>,
}

impl Issuer {
    fn new(folder: &Path) -> Self {
        certificate(folder, "server", "ca", "DNS:localhost", "2");
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Self { folder: folder.to_owned(), port, server: None }
    }

    fn start(&mut self) {
        let mut command = Command::new("openssl");
        let at = format!("127.0.0.1:{}", self.port);
        command.args([
            "s_server",
            "-accept",
            &at,
            "-cert",
            "server.pem",
            "-key",
            "server.key",
            "-HTTP",
            "-quiet",
        ]);
        command.current_dir(&self.folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.server = Some(command.spawn().unwrap());
        for _ in 0..100 {
            if TcpStream::connect(&at).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("the issuer does not start");
    }

    fn stop(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.kill().unwrap();
            server.wait().unwrap();
        }
    }

    /// Has these keys from now on. The file is a whole answer, for such is what `-HTTP` gives out.
    fn publish(&self, names: &[&str]) {
        let keys: Vec<Value> = names.iter().map(|name| jwk(&self.folder, name)).collect();
        let body = json!({ "keys": keys }).to_string();
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n",
            body.len()
        );
        let (new, file) = (self.folder.join("keys.new"), self.folder.join("keys"));
        fs::write(&new, format!("{head}Connection: close\r\n\r\n{body}")).unwrap();
        fs::rename(&new, &file).unwrap();
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.stop();
    }
}

/// An inference server that answers whatever is asked.
fn model() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    // Ends with the test process.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _some = stream.read(&mut [0; 4096]);
            let _gone =
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}");
        }
    });
    port
}

fn manifests(folder: &Path, authentication: &Value) -> String {
    let secret = ["pem", "key"].map(|end| fs::read(folder.join(format!("edge.{end}"))).unwrap());
    let [chain, key] =
        secret.map(|bytes| String::from_utf8(openssl(folder, &["base64", "-A"], &bytes)).unwrap());
    let port = model();
    let authentication = authentication.to_string();
    format!(
        "
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: edge, namespace: ai}}
spec:
  gatewayClassName: cofferdam
  listeners:
  - {{name: web, port: 80, protocol: HTTP}}
  - {{name: tls, port: 443, protocol: HTTPS, tls: {{certificateRefs: [{{name: edge}}]}}}}
---
{{apiVersion: v1, kind: Secret, type: kubernetes.io/tls, metadata: {{name: edge, namespace: ai}}, data: {{tls.crt: {chain}, tls.key: {key}}}}}
---
{{apiVersion: v1, kind: Service, metadata: {{name: model, namespace: ai}}, spec: {{ports: [{{port: 8000}}]}}}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: model-1, namespace: ai, labels: {{kubernetes.io/service-name: model}}}}
addressType: IPv4
ports: [{{port: {port}}}]
endpoints: [{{addresses: [\"127.0.0.1\"]}}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: models, namespace: ai}}
spec:
  parentRefs: [{{name: edge}}]
  rules: [{{backendRefs: [{{name: model, port: 8000}}]}}]
---
apiVersion: cofferdam.dev/v1alpha1
kind: InferencePolicy
metadata: {{name: models, namespace: ai}}
spec:
  targetRefs: [{{group: gateway.networking.k8s.io, kind: Gateway, name: edge}}]
  server: vllm
  authentication: {authentication}
"
    )
}

/// A folder with an authority, the gateway's certificate and manifests.
fn world(authentication: impl FnOnce(&Path) -> Value) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    authority(folder.path(), "ca");
    certificate(folder.path(), "edge", "ca", "DNS:models.example", "2");
    fs::create_dir(folder.path().join("manifests")).unwrap();
    let text = manifests(folder.path(), &authentication(folder.path()));
    fs::write(folder.path().join("manifests/all.yaml"), text).unwrap();
    folder
}

const CHAT: [&str; 2] = ["--json", r#"{"model":"llama","messages":[{"role":"user","content":"hello"}]}"#];

fn ask(gateway: &Gateway, token: &str) -> (u16, String) {
    let bearer = format!("Authorization: Bearer {token}");
    gateway.curl(&[&["-H", &bearer], &CHAT[..]].concat(), "/v1/chat/completions")
}

/// Asks until the answer has this status.
fn ask_until(gateway: &Gateway, token: &str, wanted: u16) {
    let mut last = (0, String::new());
    for _ in 0..TRIES {
        last = ask(gateway, token);
        if last.0 == wanted {
            return;
        }
        std::thread::sleep(Duration::from_millis(500));
    }
    panic!("never {wanted}: {last:?}");
}

#[test]
fn tokens_are_taken_by_the_keys_of_their_issuer_through_its_changes_and_its_absence() {
    if !has_openssl() {
        return;
    }
    let mut issuer = None;
    let folder = world(|folder| {
        for name in ["first", "second", "strangers"] {
            openssl(folder, &["genrsa", "-traditional", "-out", &format!("{name}.key"), "2048"], b"");
        }
        let made = Issuer::new(folder);
        let jwks = json!({
            "url": format!("https://localhost:{}/keys", made.port), "refresh": "30s",
            "ca": fs::read_to_string(folder.join("ca.pem")).unwrap(),
        });
        issuer = Some(made);
        json!({"jwt": [{"name": "corp", "issuer": ISSUER, "audiences": ["models"], "jwks": jwks, "prefix": "corp:"}]})
    });
    let (folder, mut issuer) = (folder, issuer.unwrap());
    let path = folder.path();
    let good = |name: &str| token(path, name, &json!({}));
    issuer.publish(&["first"]);

    // The issuer is not there yet: nobody is known, and it is said that this is why.
    let gateway = Gateway::start(path, &[]);
    let (status, body) = ask(&gateway, &good("first"));
    assert!(status == 503 && body.contains("keys-not-there"), "{status} {body}");
    issuer.start();
    ask_until(&gateway, &good("first"), 200);
    let taken = loop {
        let record = gateway.next("request");
        if record["reason"] == "allowed" {
            break record;
        }
    };
    assert_eq!(taken["consumer"], "corp:ann", "{taken:#}");

    let [head, claims, _] =
        good("first").split('.').map(str::to_owned).collect::<Vec<_>>().try_into().unwrap();
    let none = base64url(path, json!({"alg": "none", "kid": "first"}).to_string().as_bytes());
    let public = openssl(path, &["rsa", "-in", "first.key", "-pubout"], b"");
    fs::write(path.join("public.pem"), &public).unwrap();
    let symmetric = base64url(path, json!({"alg": "HS256", "kid": "first"}).to_string().as_bytes());
    let signed = format!("{symmetric}.{claims}");
    let secret = format!("key:{}", String::from_utf8(public).unwrap());
    let mac =
        openssl(path, &["dgst", "-sha256", "-mac", "HMAC", "-macopt", &secret, "-binary"], signed.as_bytes());
    let confused = format!("{signed}.{}", base64url(path, &mac));
    for (what, token) in [
        ("another audience", token(path, "first", &json!({"aud": "images"}))),
        ("another issuer", token(path, "first", &json!({"iss": "https://issuer.example/"}))),
        ("over long ago", token(path, "first", &json!({"exp": now() - 3600}))),
        ("not yet", token(path, "first", &json!({"nbf": now() + 3600}))),
        ("a stranger's key", good("strangers")),
        ("no signature", format!("{none}.{claims}.")),
        ("the public key as a secret", confused),
        ("a signature of something else", format!("{head}.{claims}.{}", base64url(path, &[7; 256]))),
    ] {
        let (status, body) = ask(&gateway, &token);
        assert!(status == 401 && body.contains("unauthenticated"), "{what}: {status} {body}");
    }

    // Keys change: the new one is fetched when it is met, and the old one is taken no more.
    issuer.publish(&["second"]);
    ask_until(&gateway, &good("second"), 200);
    ask_until(&gateway, &good("first"), 401);
    // What was fetched serves while the issuer is gone.
    issuer.stop();
    for _ in 0..3 {
        assert_eq!(ask(&gateway, &good("second")).0, 200);
        assert_eq!(ask(&gateway, &good("first")).0, 401);
    }
}

#[test]
fn certificates_of_clients_say_who_asks_and_those_of_strangers_say_nothing() {
    if !has_openssl() {
        return;
    }
    let folder = world(|folder| {
        authority(folder, "people");
        authority(folder, "strangers");
        let app = "URI:spiffe://example.org/ns/ai/sa/app";
        certificate(folder, "app", "people", app, "2");
        certificate(folder, "forged", "strangers", app, "2");
        certificate(folder, "foreign", "people", "URI:spiffe://other.example/ns/ai/sa/app", "2");
        certificate(folder, "nameless", "people", "DNS:app.example", "2");
        let ca = fs::read_to_string(folder.join("people.pem")).unwrap();
        json!({"mtls": {"trustDomains": [{"name": "example.org", "ca": ca}]}})
    });
    let gateway = Gateway::start(folder.path(), &[]);
    let at = |port: u16| format!("https://models.example:{port}/v1/chat/completions");
    let ask = |shown: Option<&str>| {
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error", "--max-time", "20", "--write-out", "\n%{http_code}"]);
        command.args([
            "--cacert",
            "ca.pem",
            "--resolve",
            &format!("models.example:{}:127.0.0.1", gateway.tls_port),
        ]);
        if let Some(name) = shown {
            command.args(["--cert", &format!("{name}.pem"), "--key", &format!("{name}.key")]);
        }
        let output =
            command.args(CHAT).arg(at(gateway.tls_port)).current_dir(folder.path()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (body, status) = text.rsplit_once('\n').unwrap();
        (status.parse::<u16>().unwrap(), body.to_owned())
    };
    assert_eq!(ask(Some("app")).0, 200);
    let record = gateway.next("request");
    assert_eq!(record["consumer"], "spiffe://example.org/ns/ai/sa/app", "{record:#}");
    for shown in [None, Some("forged"), Some("foreign"), Some("nameless")] {
        let (status, body) = ask(shown);
        assert!(status == 401 && body.contains("unauthenticated"), "{shown:?}: {status} {body}");
    }
    // Without TLS there is no certificate, and so nobody.
    assert_eq!(gateway.curl(&CHAT, "/v1/chat/completions").0, 401);
}

/// A collector whose API takes tokens of an issuer; ended with the test.
struct Api {
    child: Child,
    address: String,
}

impl Api {
    fn start(folder: &Path, keys: u16) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cofferdam"));
        command.current_dir(folder).args(["collector", "--ledger", "all.db", "--certificates", "none"]);
        command.args(["--listen", "127.0.0.1:0", "--serve", "127.0.0.1:0", "--serve-oidc", ISSUER]);
        command.args(["--serve-oidc-audience", "cofferdam", "--serve-oidc-authority", "ca.pem"]);
        command.args(["--serve-oidc-jwks", &format!("https://localhost:{keys}/keys")]);
        command.args(["--serve-oidc-groups", "realm.roles", "--serve-oidc-role", "viewer=staff"]);
        command.args(["--serve-oidc-role", "operator=oncall"]);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = said.find_map(|line| {
            let line = line.unwrap();
            line.contains("console and API").then_some(line)
        });
        let line = line.unwrap();
        let address = line.split("http://").nth(1).unwrap().split('/').next().unwrap().to_owned();
        std::thread::spawn(move || said.for_each(drop));
        Self { child, address }
    }

    fn ask(&self, token: &str, more: &[&str], path: &str) -> (u16, String) {
        let mut command = Command::new("curl");
        command.args(["-s", "-w", "\n%{http_code}", "-H", &format!("Authorization: Bearer {token}")]);
        let url = format!("http://{}/api/v1{path}", self.address);
        let output = command.args(more).arg(url).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let (body, status) = text.rsplit_once('\n').unwrap();
        (status.parse().unwrap(), body.to_owned())
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_api_takes_tokens_of_an_issuer_with_the_role_of_their_groups_through_its_changes_and_its_absence() {
    if !has_openssl() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    authority(path, "ca");
    for name in ["first", "second", "strangers"] {
        openssl(path, &["genrsa", "-traditional", "-out", &format!("{name}.key"), "2048"], b"");
    }
    let mut issuer = Issuer::new(path);
    issuer.publish(&["first"]);
    let with = |key: &str, more: Value| {
        let mut claims = json!({"aud": ["cofferdam"], "realm": {"roles": ["staff"]}});
        for (claim, value) in more.as_object().unwrap() {
            claims[claim] = value.clone();
        }
        token(path, key, &claims)
    };
    let viewer = |key: &str| with(key, json!({}));
    let api = Api::start(path, issuer.port);
    let own = fs::read_to_string(path.join("all.token")).unwrap();

    // No keys yet: nobody is let in by it, which is said; who has the token of the file is.
    let (status, body) = api.ask(&viewer("first"), &[], "/status");
    assert!(status == 503 && body.contains("the keys of"), "{status} {body}");
    assert_eq!(api.ask(own.trim(), &[], "/status").0, 200);
    issuer.start();
    let until = |token: &str, wanted: u16| {
        let mut last = (0, String::new());
        for _ in 0..TRIES {
            last = api.ask(token, &[], "/status");
            if last.0 == wanted {
                return;
            }
            std::thread::sleep(Duration::from_millis(500));
        }
        panic!("never {wanted}: {last:?}");
    };
    until(&viewer("first"), 200);

    let order = ["-H", "Content-Type: application/json", "-d", "{\"text\":\"seen\"}"];
    let acknowledge = "/findings/0011223344556677/acknowledge";
    assert_eq!(api.ask(&viewer("first"), &order, acknowledge).0, 403);
    let operator = with("first", json!({"realm": {"roles": ["staff", "oncall"]}}));
    assert_eq!(api.ask(&operator, &order, acknowledge).0, 200);
    let (_, audited) = api.ask(own.trim(), &[], "/records?kind=audit");
    assert!(audited.contains("oidc:ann"), "{audited}");

    let nobody = with("first", json!({"realm": {"roles": ["others"]}}));
    assert_eq!(api.ask(&nobody, &[], "/status").0, 403);
    for (what, token) in [
        ("another audience", with("first", json!({"aud": "models"}))),
        ("another issuer", with("first", json!({"iss": "https://issuer.example/"}))),
        ("over long ago", with("first", json!({"exp": now() - 3600}))),
        ("of nobody's key", viewer("strangers")),
    ] {
        assert_eq!(api.ask(&token, &[], "/status").0, 401, "{what}");
    }

    // The key of tomorrow is there before the old one goes; then the issuer is away.
    issuer.publish(&["first", "second"]);
    // For a key that it does not have it fetches at most every half minute.
    std::thread::sleep(Duration::from_secs(31));
    assert_eq!(api.ask(&viewer("second"), &[], "/status").0, 200);
    issuer.stop();
    assert_eq!(api.ask(&with("second", json!({"jti": "new"})), &[], "/status").0, 200);
}
