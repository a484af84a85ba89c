//! Who has a token of an identity provider (OpenID Connect), and with which role.
//!
//! Enters: tokens, as the ingress gateway takes them of its consumers: the same checks, and the same care of keys that change or cannot be
//! fetched. Leaves: names that begin with [`OF_ISSUER`], and roles. Guarantees: a token is sent to nobody; one of another issuer,
//! or for another audience, is nobody's; while no keys are there nobody is let in by it, and that is said. Does not: log anybody
//! in: whoever asks has a token already.

use anyhow::{Context, Result, bail, ensure};
use api::{Authenticate, NotRecognised, Recognition, Role, Who};
use authn::{Authenticator, Consumer, Reason, Refused, Shown};
use clap::Args;
use crds::{Authentication, JwksSource, JwtIssuer, Located, Position};
use ingress::keys::Keys;
use rustls::RootCertStore;
use std::fs;
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
        let (Some(issuer), Some(keys)) = (&self.serve_oidc, &self.serve_oidc_jwks) else { return Ok(None) };
        ensure!(
            keys.starts_with("https://"),
            "--serve-oidc-jwks {keys}: keys are fetched by https:// only, for whoever changed them could let himself in"
        );
        let ca = match &self.serve_oidc_authority {
            None => None,
            Some(file) => {
                let reading = || format!("--serve-oidc-authority {}", file.display());
                let pem = fs::read_to_string(file).with_context(reading)?;
                ensure!(pem.contains("BEGIN CERTIFICATE"), "{}: there is no certificate in it", reading());
                Some(pem.into())
            }
        };
        let claim = |named: &Option<String>, usual: &str| Arc::<str>::from(named.as_deref().unwrap_or(usual));
        let issuer = JwtIssuer {
            name: "oidc".into(),
            issuer: issuer.as_str().into(),
            audiences: self.serve_oidc_audience.iter().map(|it| it.as_str().into()).collect(),
            jwks: JwksSource::Url { url: keys.as_str().into(), ca, refresh: REFRESH, stale: STALE },
            consumer: claim(&self.serve_oidc_name, "sub"),
            groups: Some(claim(&self.serve_oidc_groups, "groups")),
            prefix: "".into(),
        };
        let position = Position { file: "--serve-oidc".into(), line: Position::NOWHERE, column: 0 };
        let written =
            Authentication { jwt: vec![Located { position, value: issuer }], ..Authentication::default() };
        let mut roots = RootCertStore::empty();
        let _some_cannot_be_read =
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let keys = Arc::new(Keys::new(Arc::new(roots)));
        match Authenticator::new(&written, keys.sources()) {
            Ok(authenticator) => {
                let granted = self.serve_oidc_role.clone();
                Ok(Some(Oidc { issuer: written, authenticator, keys, granted }))
            }
            Err(wrong) => {
                let why: Vec<String> = wrong.iter().map(ToString::to_string).collect();
                bail!("--serve-oidc: {}", why.join("; "))
            }
        }
    }
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

impl Authenticate for Oidc {
    fn recognise<'a>(&'a self, token: &'a str) -> Recognition<'a> {
        Box::pin(async move {
            let consumer = self.consumer(token).await?;
            let name: Arc<str> = format!("{OF_ISSUER}{}", consumer.name).into();
            match self.role(&consumer.groups) {
                None => Err(NotRecognised::NoRole(name)),
                Some(role) => Ok(Who { name, role }),
            }
        })
    }

    fn session(&self, _who: &Who) -> Duration {
        SESSION
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
}
