//! An identity provider that keeps to its protocol: it describes itself, takes people's consent, gives a code once for what proves it
//! (RFC 7636), believes the client by its secret, and signs ID tokens. What it does wrong, a test says.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helpers of tests; a panic is the failure report"
)]

use api::{IdTokens, NotRecognised, Recognition, Role, SignOnSettings, Who};
use authn::{Authenticator, KeySources, Shown};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use crds::{Authentication, JwksSource, JwtIssuer, Located, Position};
use data_encoding::{BASE64, BASE64URL_NOPAD};
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::json;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// With letters that a form must not take for its own.
pub(crate) const SECRET: &str = "s3cr%t+&=:/";
pub(crate) const CLIENT: &str = "console:1/a+b";

type Fields = BTreeMap<String, String>;

/// What it does otherwise than it should, or than others.
#[derive(Clone, Debug)]
pub(crate) struct Does {
    pub(crate) nonce: Option<&'static str>,
    pub(crate) audience: Option<&'static str>,
    pub(crate) token_issuer: Option<&'static str>,
    pub(crate) described_issuer: Option<&'static str>,
    pub(crate) is_expired: bool,
    pub(crate) is_forged: bool,
    pub(crate) is_away: bool,
    pub(crate) plain_token: bool,
    pub(crate) knows_plain_pkce_only: bool,
    pub(crate) names_itself: bool,
    pub(crate) secret_by: &'static str,
    pub(crate) groups: &'static [&'static str],
}

impl Default for Does {
    fn default() -> Self {
        Self {
            nonce: None,
            audience: None,
            token_issuer: None,
            described_issuer: None,
            is_expired: false,
            is_forged: false,
            is_away: false,
            plain_token: false,
            knows_plain_pkce_only: false,
            names_itself: false,
            secret_by: "client_secret_basic",
            groups: &["staff", "oncall"],
        }
    }
}

pub(crate) struct Provider {
    issuer: String,
    does: Mutex<Does>,
    key: Ed25519KeyPair,
    strangers: Ed25519KeyPair,
    own: CertificateDer<'static>,
    tls: Arc<ServerConfig>,
    /// What each code was given for; once.
    codes: Mutex<BTreeMap<String, Fields>>,
    given: AtomicUsize,
    exchanges: AtomicUsize,
}

impl Provider {
    pub(crate) fn start(does: Does) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let key = rcgen::KeyPair::generate().unwrap();
        let made =
            rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
        let own = made.der().clone();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let tls =
            ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(vec![own.clone()], key)
                .unwrap();
        let provider = Arc::new(Self {
            issuer: format!("https://localhost:{port}"),
            does: Mutex::new(does),
            key: Ed25519KeyPair::generate().unwrap(),
            strangers: Ed25519KeyPair::generate().unwrap(),
            own,
            tls: Arc::new(tls),
            codes: Mutex::default(),
            given: AtomicUsize::new(0),
            exchanges: AtomicUsize::new(0),
        });
        let serving = Arc::clone(&provider);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let provider = Arc::clone(&serving);
                std::thread::spawn(move || provider.serve(stream));
            }
        });
        provider
    }

    pub(crate) fn settings(&self) -> SignOnSettings {
        let mut roots = RootCertStore::empty();
        roots.add(self.own.clone()).unwrap();
        SignOnSettings {
            issuer: self.issuer.clone(),
            client: CLIENT.to_owned(),
            secret: Some(SECRET.to_owned()),
            redirect: "https://console.example/api/v1/login/callback".to_owned(),
            scopes: vec!["groups".to_owned(), "openid".to_owned()],
            roots,
            tokens: Arc::new(self.tokens()),
        }
    }

    pub(crate) fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Its certificate, which vouches for itself.
    pub(crate) fn pem(&self) -> String {
        let text = BASE64.encode(&self.own);
        let lines: Vec<&str> =
            text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
        format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
    }

    pub(crate) fn set(&self, does: Does) {
        *self.does.lock().unwrap() = does;
    }

    /// How many codes were sent.
    pub(crate) fn exchanges(&self) -> usize {
        self.exchanges.load(Ordering::Relaxed)
    }

    /// What a browser was sent with.
    pub(crate) fn asked(&self, location: &str) -> Fields {
        let query = location.strip_prefix(&format!("{}/authorize?audience=x&", self.issuer)).unwrap();
        fields(query)
    }

    /// Somebody gives their consent: the query that their browser comes back with.
    pub(crate) fn visit(&self, location: &str) -> String {
        let asked = self.asked(location);
        assert_eq!(asked["client_id"], CLIENT);
        assert_eq!(asked["scope"], "openid groups");
        let state = asked["state"].clone();
        let code = format!("code/{}", self.given.fetch_add(1, Ordering::Relaxed));
        self.codes.lock().unwrap().insert(code.clone(), asked);
        let issuer = self.issuer.replace(':', "%3A").replace('/', "%2F");
        let issuer = if self.does().names_itself { format!("&iss={issuer}") } else { String::new() };
        format!("code={}&state={state}{issuer}", code.replace('/', "%2F"))
    }

    fn does(&self) -> Does {
        self.does.lock().unwrap().clone()
    }

    fn serve(&self, stream: TcpStream) {
        if self.does().is_away {
            return;
        }
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let tls = ServerConnection::new(Arc::clone(&self.tls)).unwrap();
        let mut stream = BufReader::new(StreamOwned::new(tls, stream));
        let mut head = String::new();
        loop {
            match stream.read_line(&mut head) {
                Ok(read) if read > 2 => {}
                Ok(2) => break,
                Ok(_) | Err(_) => return,
            }
        }
        let value = |name: &str| {
            head.lines().find_map(|line| {
                let (found, value) = line.split_once(": ")?;
                found.eq_ignore_ascii_case(name).then(|| value.to_owned())
            })
        };
        let mut body = vec![0; value("content-length").map_or(0, |length| length.parse().unwrap())];
        stream.read_exact(&mut body).unwrap();
        let (status, answer) = if head.starts_with("GET /.well-known/openid-configuration ") {
            (200, self.description())
        } else if head.starts_with("GET /keys ") {
            (200, self.keys())
        } else if head.starts_with("POST /token ") {
            self.exchange(value("authorization"), &fields(std::str::from_utf8(&body).unwrap()))
        } else {
            (404, json!({}))
        };
        let answer = answer.to_string();
        let text = format!(
            "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{answer}",
            answer.len()
        );
        let _gone = stream.get_mut().write_all(text.as_bytes());
        let _gone = stream.get_mut().flush();
    }

    fn description(&self) -> serde_json::Value {
        let does = self.does();
        let scheme = if does.plain_token { "http" } else { "https" };
        json!({
            "issuer": does.described_issuer.unwrap_or(&self.issuer),
            "authorization_endpoint": format!("{}/authorize?audience=x", self.issuer),
            "token_endpoint": format!("{}/token", self.issuer.replace("https", scheme)),
            "code_challenge_methods_supported": [if does.knows_plain_pkce_only { "plain" } else { "S256" }],
            "token_endpoint_auth_methods_supported": [does.secret_by],
            "authorization_response_iss_parameter_supported": does.names_itself,
        })
    }

    /// What it gives for a code.
    fn exchange(&self, by: Option<String>, form: &Fields) -> (u16, serde_json::Value) {
        self.exchanges.fetch_add(1, Ordering::Relaxed);
        let does = self.does();
        let known = match does.secret_by {
            "client_secret_basic" => by.is_some_and(|by| {
                let pair = BASE64.decode(by.strip_prefix("Basic ").unwrap().as_bytes()).unwrap();
                let pair = String::from_utf8(pair).unwrap();
                let (id, secret) = pair.split_once(':').unwrap();
                decoded(id) == CLIENT && decoded(secret) == SECRET
            }),
            "client_secret_post" => {
                by.is_none() && form["client_id"] == CLIENT && form["client_secret"] == SECRET
            }
            _ => by.is_none() && form["client_id"] == CLIENT && !form.contains_key("client_secret"),
        };
        if !known {
            return (401, json!({ "error": "invalid_client" }));
        }
        let asked = form.get("code").and_then(|code| self.codes.lock().unwrap().remove(code));
        let proves = |asked: &Fields| {
            let challenge = digest(&SHA256, form["code_verifier"].as_bytes());
            asked["code_challenge"] == BASE64URL_NOPAD.encode(challenge.as_ref())
                && asked["redirect_uri"] == form["redirect_uri"]
                && form["grant_type"] == "authorization_code"
                && (43..=128).contains(&form["code_verifier"].len())
        };
        let Some(asked) = asked.filter(proves) else {
            return (400, json!({ "error": "invalid_grant", "error_description": "not this code" }));
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let claims = json!({
            "iss": does.token_issuer.unwrap_or(&self.issuer),
            "aud": does.audience.unwrap_or(CLIENT),
            "sub": "ann",
            "iat": now - 600,
            "exp": if does.is_expired { now - 300 } else { now + 300 },
            "nonce": does.nonce.unwrap_or(&asked["nonce"]),
            "groups": does.groups,
        });
        let key = if does.is_forged { &self.strangers } else { &self.key };
        let encoded = |text: String| BASE64URL_NOPAD.encode(text.as_bytes());
        let header = encoded(json!({ "alg": "EdDSA", "kid": "k", "typ": "JWT" }).to_string());
        let message = format!("{header}.{}", encoded(claims.to_string()));
        let signature = BASE64URL_NOPAD.encode(key.sign(message.as_bytes()).as_ref());
        (
            200,
            json!({ "token_type": "Bearer", "access_token": "a", "id_token": format!("{message}.{signature}") }),
        )
    }

    fn keys(&self) -> serde_json::Value {
        let point = BASE64URL_NOPAD.encode(self.key.public_key().as_ref());
        json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "x": point, "kid": "k" }] })
    }

    /// Who verifies its tokens, as the program does.
    fn tokens(&self) -> Verified {
        let keys = self.keys();
        let position = || Position { file: "test".into(), line: 1, column: 1 };
        let issuer = JwtIssuer {
            name: "oidc".into(),
            issuer: self.issuer.as_str().into(),
            audiences: vec![CLIENT.into()],
            jwks: JwksSource::Inline(Located { position: position(), value: keys.to_string().into() }),
            consumer: "sub".into(),
            groups: Some("groups".into()),
            prefix: "".into(),
        };
        let jwt = vec![Located { position: position(), value: issuer }];
        let written = Authentication { jwt, ..Authentication::default() };
        Verified(Authenticator::new(&written, &KeySources::default()).unwrap())
    }
}

struct Verified(Authenticator);

impl IdTokens for Verified {
    fn recognise<'a>(&'a self, token: &'a str, nonce: &'a str) -> Recognition<'a> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let header = format!("Bearer {token}");
        let shown = Shown { headers: &[("authorization", header.as_bytes())], certificates: &[] };
        let known = self.0.authenticate(&shown, now).ok();
        let known = known.filter(|known| authn::answers_log_in(known, CLIENT, nonce));
        let who = known.ok_or(NotRecognised::Wrong).and_then(|known| {
            let name = format!("oidc:{}", known.name).into();
            let has = |group: &str| known.groups.iter().any(|it| &**it == group);
            match (has("oncall"), has("staff")) {
                (true, _) => Ok(Who { name, role: Role::Operator }),
                (false, true) => Ok(Who { name, role: Role::Viewer }),
                (false, false) => Err(NotRecognised::NoRole(name)),
            }
        });
        Box::pin(std::future::ready(who))
    }
}

/// Of a form or a query.
fn fields(text: &str) -> Fields {
    text.split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (decoded(name), decoded(value)))
        .collect()
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [rest.next().unwrap(), rest.next().unwrap()];
                u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).unwrap()
}
