//! Commands that ask an API over TLS: whose certificate is believed, and what is said where one is not.

#![expect(clippy::unwrap_used, reason = "helpers of tests; a panic is the failure report")]

use crate::remote::{config, recorded};
use ledger::Ledger;
use rustls::ServerConfig;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use std::fs;
use std::net::SocketAddr;
use std::process::{Command, Output};
use std::sync::Arc;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;

struct Authority(rcgen::CertifiedIssuer<'static, rcgen::KeyPair>);

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        Self(rcgen::CertifiedIssuer::self_signed(params, rcgen::KeyPair::generate().unwrap()).unwrap())
    }

    /// A certificate for `localhost` alone, that holds until the end of a year.
    fn certify(&self, year: i32) -> Arc<ServerConfig> {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(year, 12, 31);
        let made = params.signed_by(&key, &self.0).unwrap();
        let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config =
            ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        Arc::new(config.with_no_client_auth().with_single_cert(vec![made.der().clone()], private).unwrap())
    }
}

/// APIs over one ledger, each with a certificate of its own or in clear, and the program that asks them.
struct World {
    folder: tempfile::TempDir,
    runtime: Runtime,
    /// As long as these are there, certificates may be renewed.
    shown: Vec<watch::Sender<Arc<ServerConfig>>>,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::open(&folder.path().join("ledger.db")).unwrap().0;
        ledger.append(&recorded()).unwrap();
        fs::write(folder.path().join("good"), "good\n").unwrap();
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        Self { folder, runtime, shown: Vec::new() }
    }

    fn serve(&mut self, certificate: Option<Arc<ServerConfig>>) -> SocketAddr {
        let listener = self.runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let config = config(self.folder.path().join("ledger.db"));
        match certificate {
            None => drop(self.runtime.spawn(api::serve(listener, config))),
            Some(certificate) => {
                let (sender, newest) = watch::channel(certificate);
                self.shown.push(sender);
                drop(self.runtime.spawn(api::serve_tls(listener, config, newest)));
            }
        }
        address
    }

    fn write(&self, name: &str, authority: &Authority) {
        fs::write(self.folder.path().join(name), authority.0.pem()).unwrap();
    }

    /// Asks for edges, where the system believes the authorities of a file.
    fn ask(&self, api: &str, system: &str, words: &str) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cofferdam"));
        command.current_dir(self.folder.path()).env("SSL_CERT_FILE", system).env_remove("SSL_CERT_DIR");
        command.args(["edges", "--json", "--api", api, "--token", "good"]).args(words.split_whitespace());
        command.output().unwrap()
    }

    fn refusal(&self, api: &str, system: &str, words: &str) -> String {
        let output = self.ask(api, system, words);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{api} {words}: {said}");
        assert!(output.stdout.is_empty(), "{api} {words}");
        said
    }
}

#[test]
fn a_server_is_known_by_an_authority_of_a_file_or_of_the_system() {
    let mut world = World::new();
    let authority = Authority::new("own");
    world.write("own.crt", &authority);
    world.write("other.crt", &Authority::new("other"));
    let port = world.serve(Some(authority.certify(4000))).port();
    let api = format!("https://localhost:{port}");
    let local = Command::new(env!("CARGO_BIN_EXE_cofferdam"))
        .current_dir(world.folder.path())
        .args(["edges", "--json", "--ledger", "ledger.db"])
        .output()
        .unwrap();
    for (system, words) in
        [("other.crt", "--authority own.crt"), ("other.crt", "--api-ca own.crt"), ("own.crt", "")]
    {
        let output = world.ask(&api, system, words);
        let problem = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && output.stdout == local.stdout, "{system} {words}: {problem}");
    }
    assert!(!local.stdout.is_empty());
}

#[test]
fn what_is_wrong_with_a_server_is_told_with_the_way_out() {
    let mut world = World::new();
    let authority = Authority::new("own");
    world.write("own.crt", &authority);
    world.write("other.crt", &Authority::new("other"));
    world.write("same-name.crt", &Authority::new("own"));
    fs::write(world.folder.path().join("none.crt"), "").unwrap();
    let port = world.serve(Some(authority.certify(4000))).port();
    let expired = world.serve(Some(authority.certify(2020))).port();
    let clear = world.serve(None).port();
    let not_spoken = "vouches for its certificate: is that file of this server?";
    for (api, system, words, wanted) in [
        (format!("https://localhost:{port}"), "other.crt", "", "no authority that this system believes"),
        (format!("https://localhost:{port}"), "own.crt", "--authority other.crt", not_spoken),
        (format!("https://localhost:{port}"), "own.crt", "--authority same-name.crt", not_spoken),
        (format!("https://localhost:{port}"), "none.crt", "", "this system has no authorities"),
        (
            format!("https://localhost:{port}"),
            "own.crt",
            "--authority none.crt",
            "there is no certificate in it",
        ),
        (format!("https://127.0.0.1:{port}"), "own.crt", "", "is not for 127.0.0.1"),
        (format!("https://localhost:{expired}"), "own.crt", "", "has expired"),
        (format!("https://localhost:{clear}"), "own.crt", "", "it does not speak TLS there"),
        (format!("http://localhost:{port}"), "own.crt", "", "write https://"),
        (
            format!("http://localhost:{clear}"),
            "own.crt",
            "--authority own.crt",
            "nobody shows a certificate in clear",
        ),
    ] {
        let said = world.refusal(&api, system, words);
        assert!(said.contains(wanted), "{api} {system} {words}: {said}");
    }
}
