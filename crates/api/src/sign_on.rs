//! Logging in by way of an identity provider (OpenID Connect Core 1.0, section 3.1: the authorization code flow), with PKCE.
//!
//! Enters: that somebody wants to log in, and with what the provider sends them back. Leaves: where to send the browser and the
//! cookie that binds it ([`Begun`]), and who somebody is ([`Finished`]). Guarantees: an answer counts only in the browser that
//! began, within [`attempt::LASTS`], of the issuer that was named, and with an ID token that has its nonce; the provider's keys, the
//! code, the tokens and the secret never reach a page; browsers are led to the provider and to this console alone; nothing is kept
//! for who began, so that nobody fills memory; at most [`AT_ONCE`] ask the provider at a time. Does not: keep tokens, or renew them.

mod attempt;
mod https;
mod page;
mod provider;

use crate::token::random;
use crate::who::{NotRecognised, Recognition, Who};
use attempt::{Attempt, LASTS, Seal};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use hyper::StatusCode;
use provider::{Client, Provider};
use rustls::{ClientConfig, RootCertStore};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

pub(crate) use page::not_logged_in;
pub(crate) use provider::Answered;

/// Where the provider sends browsers back to, below the console.
pub const CALLBACK: &str = "/api/v1/login/callback";
/// From there to the console, whatever path a proxy has put before it.
pub(crate) const CONSOLE: &str = "../../../";
/// Requests to the provider at a time.
const AT_ONCE: usize = 16;
/// How long what the provider says of itself holds.
const HOLDS: Duration = Duration::from_secs(3600);

/// Verifies ID tokens.
pub trait IdTokens: Send + Sync + 'static {
    /// Who has this ID token, if it was made for this client, and for the log-in that sent this nonce. It is never logged.
    fn recognise<'a>(&'a self, token: &'a str, nonce: &'a str) -> Recognition<'a>;
}

/// What is asked of whom.
pub struct SignOnSettings {
    /// The issuer, as its ID tokens say it.
    pub issuer: String,
    /// As what this server is known there.
    pub client: String,
    /// By what it is believed there; without one PKCE alone protects the code.
    pub secret: Option<String>,
    /// Where browsers come back to: the console's address and [`CALLBACK`].
    pub redirect: String,
    /// What is asked for besides `openid`.
    pub scopes: Vec<String>,
    /// By whom the provider is certified.
    pub roots: RootCertStore,
    /// Who verifies what it says.
    pub tokens: Arc<dyn IdTokens>,
}

/// Why there can be no log-in by an identity provider.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSignOn {
    /// Where browsers come back to.
    #[error("the redirect URL {0:?}: {1}")]
    Redirect(String, String),
    /// The issuer.
    #[error("the issuer {0:?}: a URL of https:// without query and fragment is wanted")]
    Issuer(String),
    /// The name of this client.
    #[error("the client id is empty, or has characters that are not visible ASCII")]
    Client,
    /// Its secret.
    #[error("the client's secret is empty, or has characters that are not visible ASCII")]
    Secret,
    /// A scope.
    #[error("the scope {0:?}: one word of visible ASCII without quotation mark and backslash is wanted")]
    Scope(String),
    /// TLS or randomness.
    #[error("{0}")]
    System(String),
}

/// Logs people in by way of one identity provider.
pub struct SignOn {
    client: Client,
    tls: Arc<ClientConfig>,
    tokens: Arc<dyn IdTokens>,
    seal: Seal,
    /// What `until` of an attempt is counted from.
    started: Instant,
    known: Mutex<Option<(Instant, Arc<Provider>)>>,
    room: Semaphore,
}

impl fmt::Debug for SignOn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignOn").field("issuer", &self.client.issuer).finish_non_exhaustive()
    }
}

/// A log-in that began.
pub(crate) struct Begun {
    /// Where the browser goes.
    pub(crate) location: String,
    /// What it must bring back.
    pub(crate) cookie: String,
}

/// A log-in that came to its end.
pub(crate) struct Finished {
    pub(crate) who: Who,
    /// Where the browser goes, relative to [`CALLBACK`].
    pub(crate) location: String,
}

/// Why somebody is not logged in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotSignedOn {
    #[error("this log-in did not begin in this browser, or took longer than ten minutes: begin again")]
    Unbound,
    #[error("what the identity provider sent back cannot be understood: {0}")]
    Unreadable(String),
    #[error("another identity provider than the one that was asked has answered")]
    OtherIssuer,
    #[error("the identity provider says: {0}")]
    Denied(String),
    #[error("the identity provider did not take the code: {0}")]
    CodeRefused(String),
    #[error("the identity provider cannot be asked: {0}")]
    Unreachable(String),
    #[error("too many log in at the moment: try again")]
    Busy,
    #[error("the page to go on with must be one of the console")]
    Page,
    #[error("{0}")]
    NotRecognised(#[from] NotRecognised),
}

impl NotSignedOn {
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Unbound | Self::Unreadable(_) | Self::OtherIssuer | Self::Page => StatusCode::BAD_REQUEST,
            Self::Denied(_) | Self::NotRecognised(NotRecognised::NoRole(_)) => StatusCode::FORBIDDEN,
            Self::NotRecognised(NotRecognised::Wrong) => StatusCode::UNAUTHORIZED,
            Self::CodeRefused(_) | Self::Unreachable(_) => StatusCode::BAD_GATEWAY,
            Self::Busy | Self::NotRecognised(NotRecognised::Unavailable(_)) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
        }
    }

    /// Whether somebody who began here was not let in, rather than that nobody could be at the moment. What did not begin here does
    /// not count: pages of others could have somebody's browser ask for it, and make them wait.
    pub(crate) fn is_refusal(&self) -> bool {
        match self {
            Self::OtherIssuer | Self::Denied(_) | Self::CodeRefused(_) => true,
            Self::NotRecognised(NotRecognised::Wrong | NotRecognised::NoRole(_)) => true,
            Self::NotRecognised(NotRecognised::Unavailable(_)) => false,
            Self::Unbound | Self::Unreadable(_) | Self::Unreachable(_) | Self::Busy | Self::Page => false,
        }
    }

    /// Whether the attempt is over: else an answer that a page of others made up would end it.
    pub(crate) fn ends_attempt(&self) -> bool {
        !matches!(self, Self::Unbound | Self::Unreadable(_))
    }
}

impl SignOn {
    /// By these settings.
    ///
    /// # Errors
    /// One of them makes no sense, or the system gives no randomness.
    pub fn new(settings: SignOnSettings) -> Result<Self, BadSignOn> {
        let SignOnSettings { issuer, client, secret, redirect, scopes, roots, tokens } = settings;
        let client = Client::new(issuer, client, secret, redirect, &scopes)?;
        let tls = https::config(roots).map_err(BadSignOn::System)?;
        let seal = Seal::new().map_err(|error| BadSignOn::System(error.to_string()))?;
        Ok(Self {
            client,
            tls: Arc::new(tls),
            tokens,
            seal,
            started: Instant::now(),
            known: Mutex::default(),
            room: Semaphore::new(AT_ONCE),
        })
    }

    /// The provider's host, for people.
    #[must_use]
    pub fn provider(&self) -> &str {
        provider::host(&self.client.issuer)
    }

    /// The host that browsers come back to.
    #[must_use]
    pub fn host(&self) -> &str {
        provider::host(&self.client.redirect)
    }

    /// Whether browsers come back over TLS, whoever brings it.
    pub(crate) fn is_over_tls(&self) -> bool {
        self.client.redirect.starts_with("https://")
    }

    /// Seconds for which the cookie of an attempt is kept.
    pub(crate) fn attempt_lasts() -> u64 {
        LASTS.as_secs()
    }

    /// Begins; `page` is where the console goes on, with its query.
    pub(crate) async fn begin(&self, page: &str) -> Result<Begun, NotSignedOn> {
        if !attempt::is_of_console(page) {
            return Err(NotSignedOn::Page);
        }
        let provider = self.provider_known().await?;
        let random = || random().map_err(|error| NotSignedOn::Unreachable(error.to_string()));
        let attempt = Attempt {
            state: random()?,
            nonce: random()?,
            verifier: random()?,
            page: page.to_owned(),
            until: (self.started.elapsed() + LASTS).as_secs(),
        };
        let location = self.client.authorization(&provider, &attempt);
        let cookie = self.seal.close(&attempt);
        let cookie = cookie.ok_or_else(|| NotSignedOn::Unreachable("nothing can be sealed".to_owned()))?;
        Ok(Begun { location, cookie })
    }

    /// Ends what the cookie says that began, by what the provider answered.
    pub(crate) async fn finish(
        &self,
        cookie: Option<&str>,
        answered: &Answered,
    ) -> Result<Finished, NotSignedOn> {
        let now = self.started.elapsed().as_secs();
        let attempt = cookie.and_then(|cookie| self.seal.open(cookie, now)).ok_or(NotSignedOn::Unbound)?;
        let state = answered.state.as_deref().unwrap_or("");
        verify_slices_are_equal(attempt.state.as_bytes(), state.as_bytes())
            .map_err(|_| NotSignedOn::Unbound)?;
        let provider = self.provider_known().await?;
        // RFC 9207: an answer of another issuer's must not be taken to this one.
        match &answered.issuer {
            Some(issuer) if *issuer != self.client.issuer => return Err(NotSignedOn::OtherIssuer),
            None if provider.names_itself => return Err(NotSignedOn::OtherIssuer),
            Some(_) | None => {}
        }
        if let Some(error) = &answered.error {
            return Err(NotSignedOn::Denied(provider::said(error, answered.description.as_deref())));
        }
        let code = answered.code.as_deref();
        let code = code.ok_or_else(|| NotSignedOn::Unreadable("there is no code".to_owned()))?;
        let token = self.exchange(&provider, code, &attempt).await?;
        let who = self.tokens.recognise(&token, &attempt.nonce).await?;
        Ok(Finished { who, location: format!("{CONSOLE}{}", attempt.page) })
    }

    /// The ID token for a code.
    async fn exchange(
        &self,
        provider: &Provider,
        code: &str,
        attempt: &Attempt,
    ) -> Result<String, NotSignedOn> {
        let _permit = self.room.try_acquire().map_err(|_| NotSignedOn::Busy)?;
        let form = self.client.form(provider, code, attempt);
        let by = self.client.authorization_header(provider);
        let asked = https::post(&self.tls, &provider.token, by.as_deref(), form).await;
        let (status, body) = asked.map_err(NotSignedOn::Unreachable)?;
        provider::id_token(status, &body)
    }

    /// What the provider says of itself, asked again once an hour. What failed is not remembered.
    async fn provider_known(&self) -> Result<Arc<Provider>, NotSignedOn> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((at, provider)) = known
            && at.elapsed() < HOLDS
        {
            return Ok(provider);
        }
        let _permit = self.room.try_acquire().map_err(|_| NotSignedOn::Busy)?;
        let url = self.client.discovery().map_err(NotSignedOn::Unreachable)?;
        let (status, body) = https::get(&self.tls, &url).await.map_err(NotSignedOn::Unreachable)?;
        let provider = Provider::read(&self.client, status, &body).map_err(NotSignedOn::Unreachable)?;
        let provider = Arc::new(provider);
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) =
            Some((Instant::now(), Arc::clone(&provider)));
        Ok(provider)
    }
}
