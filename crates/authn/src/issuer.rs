//! Whose tokens a policy takes: the checks of a token in their order.

use crate::jwks::{Bad, KeySet};
use crate::refused::{Reason, Refused};
use crate::sources::{Fetch, KeySources, Source};
use crate::token::Token;
use crds::{Code, Diagnostic, JwksSource, JwtIssuer, Located};
use policy::{Consumer, Known};
use std::sync::Arc;

/// One issuer.
#[derive(Debug)]
pub(crate) struct Issuer {
    written: JwtIssuer,
    keys: Keys,
}

#[derive(Debug)]
enum Keys {
    Inline(Arc<KeySet>),
    Fetched { source: Arc<Source>, stale: u64 },
}

/// A token that is good.
#[derive(Debug)]
pub(crate) struct Good {
    pub(crate) consumer: Arc<Consumer>,
    pub(crate) until: u64,
    pub(crate) keys: Arc<KeySet>,
}

impl Issuer {
    pub(crate) fn new(written: &JwtIssuer, sources: &KeySources) -> Result<Self, Box<Diagnostic>> {
        let keys = match &written.jwks {
            JwksSource::Inline(Located { position, value }) => {
                let read = KeySet::read(value.as_bytes()).map_err(|why| {
                    let message = format!("issuer {:?}: {why}", written.name);
                    Box::new(Diagnostic::error(Code::InvalidValue, message).at(position.clone()))
                });
                Keys::Inline(Arc::new(read?))
            }
            JwksSource::Url { url, ca, refresh, stale } => {
                let fetch = Fetch { url: url.clone(), ca: ca.clone() };
                Keys::Fetched { source: sources.source(fetch, *refresh), stale: *stale }
            }
        };
        Ok(Self { written: written.clone(), keys })
    }

    pub(crate) fn keys(&self, now: u64) -> Option<Arc<KeySet>> {
        match &self.keys {
            Keys::Inline(keys) => Some(keys.clone()),
            Keys::Fetched { source, stale } => source.keys(*stale, now),
        }
    }

    /// Whether the token says that it is of this issuer. Anybody can say so.
    pub(crate) fn is_of(&self, token: &Token<'_>) -> bool {
        token.claims.issuer() == Some(&*self.written.issuer)
    }

    /// Whether the token is good, and who it is for.
    pub(crate) fn verify(&self, token: &Token<'_>, now: u64) -> Result<Good, Refused> {
        let keys = self.keys(now).ok_or_else(|| self.wanting(Reason::KeysNotThere, now))?;
        let verified = keys.verify(token.algorithm, token.kid.as_deref(), token.message, &token.signature);
        verified.map_err(|bad| match bad {
            Bad::NoKey => self.wanting(Reason::TokenUnknownKey, now),
            Bad::Algorithm => Refused::new(Reason::TokenAlgorithm),
            Bad::Signature => Refused::new(Reason::TokenSignature),
        })?;
        if !token.claims.is_for(&self.written.audiences) {
            return Err(Refused::new(Reason::TokenAudience));
        }
        let until = token.claims.valid_until(now).map_err(Refused::new)?;
        let name = token.claims.name(&self.written.consumer);
        let name = name.ok_or_else(|| Refused::new(Reason::TokenNoConsumer))?;
        let groups = self.written.groups.as_deref().map(|claim| token.claims.groups(claim));
        let consumer = Consumer {
            name: self.prefixed(name),
            groups: groups.unwrap_or_default().iter().map(|group| self.prefixed(group)).collect(),
            how: Known::Token(self.written.name.clone()),
            claims: token.claims.value(),
        };
        Ok(Good { consumer: Arc::new(consumer), until, keys })
    }

    fn prefixed(&self, name: &Arc<str>) -> Arc<str> {
        match &*self.written.prefix {
            "" => name.clone(),
            prefix => format!("{prefix}{name}").into(),
        }
    }

    /// Refused for want of a key, which a fetch may bring.
    fn wanting(&self, reason: Reason, now: u64) -> Refused {
        let awaits = match &self.keys {
            Keys::Inline(_) => None,
            Keys::Fetched { source, .. } => source.wanted(now).then(|| source.fetch.url.clone()),
        };
        Refused { reason, awaits }
    }
}
