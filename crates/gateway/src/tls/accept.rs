//! The two handshakes of an opened connection: the server's first, then the client's with what the server agreed on.

use super::Inspector;
use crate::decide::is_read;
use crate::reason::Reason;
use policy::DnsName;
use rustls::AlertDescription;
use rustls_pki_types::ServerName;
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

/// What both sides speak, once TLS is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speech {
    /// Nothing was agreed on, which is HTTP/1.
    Unsaid,
    /// HTTP/1, by agreement.
    Http1,
    /// HTTP/2.
    Http2,
}

impl Speech {
    /// What a client gets that was offered nothing by a server.
    pub(crate) fn first_of(offered: &[String]) -> Self {
        let offers = |protocol: &str| offered.iter().any(|one| one == protocol);
        match (offers("http/1.1"), offers("h2")) {
            (true, _) => Self::Http1,
            (false, true) => Self::Http2,
            (false, false) => Self::Unsaid,
        }
    }
}

/// Why a handshake with a client failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unbelieved {
    /// It refused our certificate with an alert that says that it does not know who signed it.
    Said,
    /// It went, or refused our certificate for what may be another cause.
    Gone,
    /// Something else.
    Otherwise,
    /// It took too long.
    Late,
}

impl Unbelieved {
    /// The reason with which its connection is refused.
    pub(crate) fn reason(self) -> Reason {
        match self {
            Self::Said | Self::Gone => Reason::ClientDistrusts,
            Self::Otherwise => Reason::ClientHandshake,
            Self::Late => Reason::Timeout,
        }
    }
}

impl Inspector {
    /// Shakes hands with a server as the client would: of what it offered, with what can be read. Boxed, as by
    /// [`Self::accept`]: whoever passes it on keeps room for it at each step.
    pub(crate) async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        server: S,
        name: &DnsName,
        offered: &[String],
    ) -> Result<(Box<client::TlsStream<S>>, Speech), Reason> {
        let host = ServerName::try_from(name.as_str().to_owned()).map_err(|_| Reason::ServerHandshake)?;
        let offered = offered.iter().filter(|offer| is_read(offer)).map(|offer| offer.clone().into_bytes());
        let connector = TlsConnector::from(Arc::clone(&self.client));
        let shaken = connector.with_alpn(offered.collect()).connect(host, server).await;
        let stream = shaken.map_err(|error| match tls_error(&error) {
            Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented) => {
                Reason::ServerCertificate
            }
            Some(_) | None => Reason::ServerHandshake,
        })?;
        let speech = match stream.get_ref().1.alpn_protocol() {
            Some(b"h2") => Speech::Http2,
            Some(_) => Speech::Http1,
            None => Speech::Unsaid,
        };
        Ok((Box::new(stream), speech))
    }

    /// Shakes hands with a client in the server's name.
    pub(crate) async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        client: S,
        speech: Speech,
    ) -> Result<Box<server::TlsStream<S>>, Unbelieved> {
        let config = match speech {
            Speech::Unsaid => &self.unnamed,
            Speech::Http1 => &self.http1,
            Speech::Http2 => &self.http2,
        };
        let shaken = TlsAcceptor::from(Arc::clone(config)).accept(client).await;
        shaken.map(Box::new).map_err(|error| match tls_error(&error) {
            // It went, as those do that do not say why.
            None => Unbelieved::Gone,
            Some(rustls::Error::AlertReceived(alert)) if is_of_stranger(*alert) => Unbelieved::Said,
            Some(rustls::Error::AlertReceived(alert)) if is_distrust(*alert) => Unbelieved::Gone,
            Some(_) => Unbelieved::Otherwise,
        })
    }
}

fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref().and_then(|inner| inner.downcast_ref())
}

/// Those alerts with which clients say that they do not know our authority: which of the three, libraries differ in.
fn is_of_stranger(alert: AlertDescription) -> bool {
    [AlertDescription::BadCertificate, AlertDescription::CertificateUnknown, AlertDescription::UnknownCA]
        .contains(&alert)
}

/// The alerts with which clients refuse a certificate (RFC 8446, section 6.2); the last where they know another authority
/// of the same name.
fn is_distrust(alert: AlertDescription) -> bool {
    [
        AlertDescription::BadCertificate,
        AlertDescription::UnsupportedCertificate,
        AlertDescription::CertificateRevoked,
        AlertDescription::CertificateExpired,
        AlertDescription::CertificateUnknown,
        AlertDescription::UnknownCA,
        AlertDescription::AccessDenied,
        AlertDescription::DecryptError,
    ]
    .contains(&alert)
}
