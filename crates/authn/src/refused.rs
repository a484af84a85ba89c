//! Why it is not known who asks.

use std::fmt;
use std::sync::Arc;

/// It is not known who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Why.
    pub reason: Reason,
    /// The key set that should be fetched before this is told to the client: it may have the key by then. Once is enough.
    pub awaits: Option<Arc<str>>,
}

impl Refused {
    /// Without anything to wait for.
    pub fn new(reason: Reason) -> Self {
        Self { reason, awaits: None }
    }

    /// 401, or 503 where it is not the client's fault.
    pub fn status(&self) -> u16 {
        match self.reason {
            Reason::KeysNotThere => 503,
            Reason::NoCredential
            | Reason::SeveralCredentials
            | Reason::UnknownCredential
            | Reason::UnreadableCredential
            | Reason::TokenTooLarge
            | Reason::TokenAlgorithm
            | Reason::TokenCritical
            | Reason::TokenIssuer
            | Reason::TokenAudience
            | Reason::TokenExpired
            | Reason::TokenNotYet
            | Reason::TokenNoConsumer
            | Reason::TokenUnknownKey
            | Reason::TokenSignature
            | Reason::CertificateUntrusted
            | Reason::CertificateNoId => 401,
        }
    }

    /// The value of `www-authenticate` (RFC 6750, section 3; it never tells more than the reason).
    pub fn challenge(&self) -> &'static str {
        match self.reason {
            Reason::NoCredential | Reason::KeysNotThere => r#"Bearer realm="cofferdam""#,
            Reason::TokenExpired => {
                r#"Bearer realm="cofferdam", error="invalid_token", error_description="expired""#
            }
            Reason::SeveralCredentials
            | Reason::UnknownCredential
            | Reason::UnreadableCredential
            | Reason::TokenTooLarge
            | Reason::TokenAlgorithm
            | Reason::TokenCritical
            | Reason::TokenIssuer
            | Reason::TokenAudience
            | Reason::TokenNotYet
            | Reason::TokenNoConsumer
            | Reason::TokenUnknownKey
            | Reason::TokenSignature
            | Reason::CertificateUntrusted
            | Reason::CertificateNoId => r#"Bearer realm="cofferdam", error="invalid_token""#,
        }
    }
}

/// Why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// It shows nothing.
    NoCredential,
    /// It shows several that are not the same.
    SeveralCredentials,
    /// No consumer has this key, and it is no token.
    UnknownCredential,
    /// What it shows has no form that can be read.
    UnreadableCredential,
    /// The token is larger than any that is read.
    TokenTooLarge,
    /// The token is not signed by a method that is taken, or not by one that the key is for.
    TokenAlgorithm,
    /// The token demands what is not understood.
    TokenCritical,
    /// No policy takes tokens of its issuer.
    TokenIssuer,
    /// The token is for others.
    TokenAudience,
    /// The token is not valid any longer, or never says until when it is.
    TokenExpired,
    /// The token is not valid yet.
    TokenNotYet,
    /// The token does not say who it is for.
    TokenNoConsumer,
    /// The issuer has no such key.
    TokenUnknownKey,
    /// The signature is wrong.
    TokenSignature,
    /// The issuer's keys are not there, or too old.
    KeysNotThere,
    /// The certificate is by nobody who may certify its id, or not valid now.
    CertificateUntrusted,
    /// The certificate has no SPIFFE id, or several.
    CertificateNoId,
}

impl Reason {
    /// Every one.
    pub const ALL: [Self; 17] = [
        Self::NoCredential,
        Self::SeveralCredentials,
        Self::UnknownCredential,
        Self::UnreadableCredential,
        Self::TokenTooLarge,
        Self::TokenAlgorithm,
        Self::TokenCritical,
        Self::TokenIssuer,
        Self::TokenAudience,
        Self::TokenExpired,
        Self::TokenNotYet,
        Self::TokenNoConsumer,
        Self::TokenUnknownKey,
        Self::TokenSignature,
        Self::KeysNotThere,
        Self::CertificateUntrusted,
        Self::CertificateNoId,
    ];

    /// A word in kebab-case, for machines.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoCredential => "no-credential",
            Self::SeveralCredentials => "several-credentials",
            Self::UnknownCredential => "unknown-credential",
            Self::UnreadableCredential => "unreadable-credential",
            Self::TokenTooLarge => "token-too-large",
            Self::TokenAlgorithm => "token-algorithm",
            Self::TokenCritical => "token-critical",
            Self::TokenIssuer => "token-issuer",
            Self::TokenAudience => "token-audience",
            Self::TokenExpired => "token-expired",
            Self::TokenNotYet => "token-not-yet",
            Self::TokenNoConsumer => "token-no-consumer",
            Self::TokenUnknownKey => "token-unknown-key",
            Self::TokenSignature => "token-signature",
            Self::KeysNotThere => "keys-not-there",
            Self::CertificateUntrusted => "certificate-untrusted",
            Self::CertificateNoId => "certificate-no-id",
        }
    }

    /// A sentence, for a person.
    pub fn describe(self) -> &'static str {
        match self {
            Self::NoCredential => {
                "the request shows no key, token or certificate, and the policy asks for one"
            }
            Self::SeveralCredentials => {
                "the request shows several credentials that are not the same: send one"
            }
            Self::UnknownCredential => "no consumer of the policy has this key",
            Self::UnreadableCredential => {
                "the credential has no form that can be read: send Authorization: Bearer, or x-api-key"
            }
            Self::TokenTooLarge => "the token has more than 16 KiB",
            Self::TokenAlgorithm => {
                "the token is not signed by RS, PS, ES or EdDSA with a key that is for it"
            }
            Self::TokenCritical => "the token demands an extension that is not understood",
            Self::TokenIssuer => "the policy takes no tokens of this issuer",
            Self::TokenAudience => "the token is for another audience",
            Self::TokenExpired => "the token is not valid any longer",
            Self::TokenNotYet => "the token is not valid yet",
            Self::TokenNoConsumer => "the token does not have the claim that says who it is for",
            Self::TokenUnknownKey => "the issuer has no key that the token could be signed with",
            Self::TokenSignature => "the signature of the token is wrong",
            Self::KeysNotThere => "the keys of the issuer could not be fetched: try again later",
            Self::CertificateUntrusted => {
                "the certificate is not by an authority of its trust domain, or not valid now"
            }
            Self::CertificateNoId => "the certificate does not have exactly one SPIFFE id",
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason.describe())
    }
}
