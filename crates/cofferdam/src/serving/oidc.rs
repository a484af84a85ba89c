//! Who has a token of an identity provider (OpenID Connect), and with which role.
//!
//! Enters: tokens, as the ingress gateway takes them of its consumers: the same checks, and the same care of keys that change or cannot be
//! fetched. Leaves: names that begin with [`OF_ISSUER`], and roles. Guarantees: a token is sent to nobody; one of another issuer,
//! or for another audience, is nobody's; while no keys are there nobody is let in by it, and that is said; ID tokens count for the
//! log-in alone that they were made for, and with the same roles. Does not: lead browsers: the crate `api` does that.

use anyhow::{Context, Result, bail, ensure};
use api::{Authenticate, IdTokens, NotRecognised, Recognition, Role, SignOn, SignOnSettings, Who};
use authn::{Authenticator, Consumer, Reason, Refused, Shown};
use clap::Args;
use crds::{Authentication, JwksSource, JwtIssuer, Located, Position};
use ingress::keys::Keys;
use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What names begin with that an identity provider gave.
pub(super) const OF_ISSUER: &str = "oidc:";
/// How long a browser's log-in holds that begins with such a token, which ends soon itself.
const SESSION: Duration = Duration::from_secs(900);
/// Seconds from one fetch of keys to the next, and for which they serve when they cannot be fetched again: as of an InferencePolicy.
const REFRESH: u64 = 300;
const STALE: u64 = 24 * 3600;
/// How long whoever asks waits for keys that are fetched meanwhile.
const WAITS: Duration = Duration::from_secs(5);

/// Whose tokens are taken besides, and what may be done with them.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct OidcArgs {
    /// Let in whom this identity provider (OpenID Connect) knows: the issuer, as its tokens say it
    #[arg(long, value_name = "URL", requires_all = ["serve", "serve_oidc_audience", "serve_oidc_jwks", "serve_oidc_role"])]
    serve_oidc: Option<String>,
    /// For whom such tokens must have been made; may be repeated
    #[arg(long, value_name = "NAME", requires = "serve_oidc")]
    serve_oidc_audience: Vec<String>,
    /// Where its keys are: the `jwks_uri` of its /.well-known/openid-configuration
    #[arg(long, value_name = "URL", requires = "serve_oidc")]
    serve_oidc_jwks: Option<String>,
    /// Certificates (PEM) by which that server is known [default: those of the machine]
    #[arg(long, value_name = "FILE", requires = "serve_oidc")]
    serve_oidc_authority: Option<PathBuf>,
    /// Claim that is the name; dots lead into objects [default: sub]
    #[arg(long, value_name = "CLAIM", requires = "serve_oidc")]
    serve_oidc_name: Option<String>,
    /// Claim that has the groups, a list or words [default: groups]
    #[arg(long, value_name = "CLAIM", requires = "serve_oidc")]
    serve_oidc_groups: Option<String>,
    /// Role of a group: viewer=GROUP, operator=GROUP or admin=GROUP; may be repeated, and the highest counts
    #[arg(long, value_name = "ROLE=GROUP", requires = "serve_oidc", value_parser = granted)]
    serve_oidc_role: Vec<Granted>,
    /// Let people log in to the console by way of that identity provider: the id of the client as which it knows this server
    #[arg(long, value_name = "ID", requires_all = ["serve_oidc", "serve_oidc_redirect"])]
    serve_oidc_client: Option<String>,
    /// File with that client's secret [default: none, as of a public client]
    #[arg(long, value_name = "FILE", requires = "serve_oidc_client")]
    serve_oidc_client_secret: Option<PathBuf>,
    /// Where it sends browsers back to: the console's address and /api/v1/login/callback
    #[arg(long, value_name = "URL", requires = "serve_oidc_client")]
    serve_oidc_redirect: Option<String>,
    /// What is asked for besides `openid`, such as the scope that brings groups; may be repeated
    #[arg(long, value_name = "SCOPE", requires = "serve_oidc_client")]
    serve_oidc_scope: Vec<String>,
}

/// A role of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Granted {
    role: Role,
    group: String,
}

fn granted(text: &str) -> Result<Granted, String> {
    let wrong =
        || format!("{text:?} is no role of a group: write viewer=GROUP, operator=GROUP or admin=GROUP");
    let (role, group) = text.split_once('=').filter(|(_, group)| !group.is_empty()).ok_or_else(wrong)?;
    let all = [Role::Viewer, Role::Operator, Role::Admin];
    let role = all.into_iter().find(|it| it.name() == role).ok_or_else(wrong)?;
    Ok(Granted { role, group: group.to_owned() })
}

impl OidcArgs {
    /// The identity provider, if one is named.
    ///
    /// # Errors
    /// A URL is none of HTTPS, or a file cannot be read.
    pub(super) fn oidc(&self) -> Result<Option<Oidc>> {
        let (Some(_), Some(url)) = (&self.serve_oidc, &self.serve_oidc_jwks) else { return Ok(None) };
        ensure!(
            url.starts_with("https://"),
            "--serve-oidc-jwks {url}: keys are fetched by https:// only, for whoever changed them could let himself in"
        );
        let keys = Arc::new(Keys::new(Arc::new(native_roots())));
        self.of(self.serve_oidc_audience.clone(), keys).map(Some)
    }

    /// The log-in by way of it, if one is wanted; `names`: by which names this server is asked besides addresses and `localhost`.
    ///
    /// # Errors
    /// A setting makes no sense, or a file cannot be read.
    pub(super) fn sign_on(&self, oidc: Option<&Oidc>, names: &[String]) -> Result<Option<SignOn>> {
        let (Some(oidc), Some(client), Some(redirect)) =
            (oidc, &self.serve_oidc_client, &self.serve_oidc_redirect)
        else {
            return Ok(None);
        };
        let secret = match &self.serve_oidc_client_secret {
            None => None,
            Some(file) => {
                let reading = || format!("--serve-oidc-client-secret {}", file.display());
                let text = fs::read_to_string(file).with_context(reading)?;
                Some(text.trim_end_matches(['\r', '\n']).to_owned())
            }
        };
        let of_client = self.of(vec![client.clone()], oidc.keys())?;
        let settings = SignOnSettings {
            issuer: oidc.issuer().to_owned(),
            client: client.clone(),
            secret,
            redirect: redirect.clone(),
            scopes: self.serve_oidc_scope.clone(),
            roots: self.roots()?,
            tokens: Arc::new(OfClient { oidc: of_client, client: client.clone() }),
        };
        let sign_on = SignOn::new(settings).context("--serve-oidc-client")?;
        let host = sign_on.host();
        let is_address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok();
        ensure!(
            is_address || host == "localhost" || names.iter().any(|name| name.eq_ignore_ascii_case(host)),
            "--serve-oidc-redirect {redirect}: this server does not answer for {host}: give --serve-name {host}, too"
        );
        Ok(Some(sign_on))
    }

    /// Whose tokens are taken that were made for one of these.
    fn of(&self, audiences: Vec<String>, keys: Arc<Keys>) -> Result<Oidc> {
        let claim = |named: &Option<String>, usual: &str| Arc::<str>::from(named.as_deref().unwrap_or(usual));
        let url = self.serve_oidc_jwks.as_deref().unwrap_or_default();
        let issuer = JwtIssuer {
            name: "oidc".into(),
            issuer: self.serve_oidc.as_deref().unwrap_or_default().into(),
            audiences: audiences.iter().map(|it| it.as_str().into()).collect(),
            jwks: JwksSource::Url {
                url: url.into(),
                ca: self.authority()?.map(Into::into),
                refresh: REFRESH,
                stale: STALE,
            },
            consumer: claim(&self.serve_oidc_name, "sub"),
            groups: Some(claim(&self.serve_oidc_groups, "groups")),
            prefix: "".into(),
        };
        let position = Position { file: "--serve-oidc".into(), line: Position::NOWHERE, column: 0 };
        let written =
            Authentication { jwt: vec![Located { position, value: issuer }], ..Authentication::default() };
        match Authenticator::new(&written, keys.sources()) {
            Ok(authenticator) => {
                let granted = self.serve_oidc_role.clone();
                Ok(Oidc { issuer: written, authenticator, keys, granted })
            }
            Err(wrong) => {
                let why: Vec<String> = wrong.iter().map(ToString::to_string).collect();
                bail!("--serve-oidc: {}", why.join("; "))
            }
        }
    }

    /// The certificates that are given for its server.
    fn authority(&self) -> Result<Option<String>> {
        let Some(file) = &self.serve_oidc_authority else { return Ok(None) };
        let reading = || format!("--serve-oidc-authority {}", file.display());
        let pem = fs::read_to_string(file).with_context(reading)?;
        ensure!(pem.contains("BEGIN CERTIFICATE"), "{}: there is no certificate in it", reading());
        Ok(Some(pem))
    }

    /// By whom its server is certified.
    fn roots(&self) -> Result<RootCertStore> {
        let Some(pem) = self.authority()? else { return Ok(native_roots()) };
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
            let certificate = certificate.context("--serve-oidc-authority")?;
            roots.add(certificate).context("--serve-oidc-authority")?;
        }
        Ok(roots)
    }
}

/// Those that the machine believes.
fn native_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let _some_cannot_be_read =
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

/// One identity provider.
pub(super) struct Oidc {
    issuer: Authentication,
    authenticator: Authenticator,
    keys: Arc<Keys>,
    granted: Vec<Granted>,
}

impl Oidc {
    /// Its keys, which somebody has to keep ([`Keys::keep`]).
    pub(super) fn keys(&self) -> Arc<Keys> {
        Arc::clone(&self.keys)
    }

    /// Whose it is, for people.
    pub(super) fn issuer(&self) -> &str {
        self.issuer.jwt.first().map_or("", |issuer| &*issuer.value.issuer)
    }

    async fn consumer(&self, token: &str) -> Result<Arc<Consumer>, NotRecognised> {
        let header = format!("Bearer {token}");
        let headers = [("authorization", header.as_bytes())];
        let ask = || {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
            self.authenticator.authenticate(&Shown { headers: &headers, certificates: &[] }, now)
        };
        let first = match ask() {
            Err(Refused { awaits: Some(_), .. }) => {
                self.keys.wanted(WAITS).await;
                ask()
            }
            answer => answer,
        };
        first.map_err(|refused| {
            if refused.reason != Reason::KeysNotThere {
                return NotRecognised::Wrong;
            }
            NotRecognised::Unavailable(format!("the keys of {} are not there, or too old", self.issuer()))
        })
    }

    /// The highest role of any of these groups.
    fn role(&self, groups: &[Arc<str>]) -> Option<Role> {
        let is_of = |granted: &&Granted| groups.iter().any(|group| **group == *granted.group);
        self.granted.iter().filter(is_of).map(|granted| granted.role).max()
    }
}

impl Oidc {
    fn who(&self, consumer: &Consumer) -> Result<Who, NotRecognised> {
        let name: Arc<str> = format!("{OF_ISSUER}{}", consumer.name).into();
        match self.role(&consumer.groups) {
            None => Err(NotRecognised::NoRole(name)),
            Some(role) => Ok(Who { name, role }),
        }
    }
}

impl Authenticate for Oidc {
    fn recognise<'a>(&'a self, token: &'a str) -> Recognition<'a> {
        Box::pin(async move { self.who(&*self.consumer(token).await?) })
    }

    fn session(&self, _who: &Who) -> Duration {
        SESSION
    }
}

/// ID tokens of the provider for one client.
struct OfClient {
    oidc: Oidc,
    client: String,
}

impl IdTokens for OfClient {
    fn recognise<'a>(&'a self, token: &'a str, nonce: &'a str) -> Recognition<'a> {
        Box::pin(async move {
            let consumer = self.oidc.consumer(token).await?;
            if !authn::answers_log_in(&consumer, &self.client, nonce) {
                return Err(NotRecognised::Wrong);
            }
            self.oidc.who(&consumer)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(keys: &str) -> OidcArgs {
        OidcArgs {
            serve_oidc: Some("https://issuer.example".to_owned()),
            serve_oidc_audience: vec!["cofferdam".to_owned()],
            serve_oidc_jwks: Some(keys.to_owned()),
            serve_oidc_role: vec![granted("viewer=all").unwrap(), granted("admin=ops=eu").unwrap()],
            ..OidcArgs::default()
        }
    }

    #[test]
    fn the_highest_role_of_groups_counts_and_without_one_there_is_none() {
        let oidc = args("https://issuer.example/keys").oidc().unwrap().unwrap();
        let role =
            |groups: &[&str]| oidc.role(&groups.iter().map(|group| Arc::from(*group)).collect::<Vec<_>>());
        assert_eq!(role(&["ops=eu", "all"]), Some(Role::Admin));
        assert_eq!(role(&["other", "all"]), Some(Role::Viewer));
        assert_eq!(role(&["ops", "ALL"]), None);
    }

    #[test]
    fn what_is_no_role_and_keys_in_clear_are_refused() {
        for text in ["viewer", "viewer=", "root=all", "=all", ""] {
            assert!(granted(text).unwrap_err().contains("operator=GROUP"), "{text}");
        }
        assert!(
            args("http://issuer.example/keys").oidc().err().unwrap().to_string().contains("https:// only")
        );
        assert!(OidcArgs::default().oidc().unwrap().is_none());
    }

    #[test]
    fn a_log_in_by_way_of_the_provider_comes_back_to_a_name_that_is_answered_for() {
        let with = |redirect: &str, names: &[&str]| {
            let args = OidcArgs {
                serve_oidc_client: Some("console".to_owned()),
                serve_oidc_redirect: Some(format!("{redirect}/api/v1/login/callback")),
                ..args("https://issuer.example/keys")
            };
            let names: Vec<String> = names.iter().map(ToString::to_string).collect();
            let oidc = args.oidc().unwrap();
            args.sign_on(oidc.as_ref(), &names).map(|it| it.is_some()).map_err(|error| format!("{error:#}"))
        };
        assert_eq!(with("https://console.example", &["Console.Example"]), Ok(true));
        assert_eq!(with("http://127.0.0.1:8080", &[]), Ok(true));
        assert_eq!(with("http://[::1]:8080", &[]), Ok(true));
        let why = with("https://console.example:8443", &["other"]).unwrap_err();
        assert!(why.contains("--serve-name console.example"), "{why}");
        let why = with("http://console.example", &["console.example"]).unwrap_err();
        assert!(why.contains("--serve-oidc-client: the redirect URL"), "{why}");
    }

    #[test]
    fn a_client_without_a_way_back_is_refused_at_the_start() {
        use clap::Parser;
        #[derive(Debug, Parser)]
        struct Line {
            #[command(flatten)]
            serve: crate::serving::ServeArgs,
        }
        let oidc = "x --serve 127.0.0.1:0 --serve-oidc https://a --serve-oidc-audience a --serve-oidc-jwks https://a/k \
                    --serve-oidc-role viewer=a";
        let parse = |more: &str| {
            let words = format!("{oidc} {more}");
            Line::try_parse_from(words.split_whitespace()).map(|_| ()).map_err(|error| error.to_string())
        };
        assert_eq!(parse(""), Ok(()));
        assert!(parse("--serve-oidc-client a").unwrap_err().contains("--serve-oidc-redirect"));
        assert!(parse("--serve-oidc-scope a").unwrap_err().contains("--serve-oidc-client"));
        let url = "--serve-oidc-redirect https://a/api/v1/login/callback";
        assert!(parse(url).unwrap_err().contains("--serve-oidc-client"));
        assert_eq!(parse(&format!("--serve-oidc-client a {url}")), Ok(()));
    }
}
