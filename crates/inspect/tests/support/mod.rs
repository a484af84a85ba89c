//! Hellos by hand and by rustls.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail the test")]
#![allow(unreachable_pub, reason = "only this crate's tests see it")]

use rustls::client::{EchGreaseConfig, EchMode};
use rustls::crypto::aws_lc_rs::{default_provider, hpke, kx_group};
use rustls::crypto::hpke::Hpke;
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use std::sync::Arc;

/// A ClientHello of TLS 1.2 with the extensions given.
pub struct Hello {
    pub extensions: Option<Vec<Vec<u8>>>,
}

impl Hello {
    pub fn of(name: &str) -> Self {
        let entry = listed_name(0, name.as_bytes());
        let length = u16::try_from(entry.len()).unwrap().to_be_bytes();
        Self { extensions: Some(vec![extension(0, &[&length[..], &entry].concat())]) }
    }

    /// The handshake message.
    pub fn message(&self) -> Vec<u8> {
        let mut body = vec![3, 3];
        body.extend([7; 32]);
        body.extend([0, 0, 2, 0x13, 1, 1, 0]);
        if let Some(extensions) = &self.extensions {
            let all = extensions.concat();
            body.extend(u16::try_from(all.len()).unwrap().to_be_bytes());
            body.extend(all);
        }
        let mut message = vec![1, 0];
        message.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
        message.extend(body);
        message
    }
}

pub fn extension(kind: u16, data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(data.len()).unwrap().to_be_bytes();
    [&kind.to_be_bytes()[..], &length, data].concat()
}

/// One entry of a server_name list.
pub fn listed_name(kind: u8, name: &[u8]) -> Vec<u8> {
    let length = u16::try_from(name.len()).unwrap().to_be_bytes();
    [&[kind][..], &length, name].concat()
}

/// Handshake records with `size` bytes of the message each.
pub fn records(message: &[u8], size: usize) -> Vec<u8> {
    let record = |part: &[u8]| {
        let length = u16::try_from(part.len()).unwrap().to_be_bytes();
        [&[22, 3, 1][..], &length, part].concat()
    };
    message.chunks(size).flat_map(record).collect()
}

/// The first bytes a rustls client sends.
pub fn rustls_hello(name: &str, post_quantum: bool, grease_ech: bool) -> Vec<u8> {
    let mut provider = default_provider();
    provider.kx_groups =
        if post_quantum { vec![kx_group::X25519MLKEM768, kx_group::X25519] } else { vec![kx_group::X25519] };
    let builder = ClientConfig::builder_with_provider(Arc::new(provider));
    let builder = if grease_ech {
        let suite = hpke::DH_KEM_X25519_HKDF_SHA256_AES_128;
        let (public, _) = suite.generate_key_pair().unwrap();
        builder.with_ech(EchMode::Grease(EchGreaseConfig::new(suite, public))).unwrap()
    } else {
        builder.with_safe_default_protocol_versions().unwrap()
    };
    let mut config = builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let name = name.to_owned().try_into().unwrap();
    let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut bytes = vec![];
    while client.wants_write() {
        client.write_tls(&mut bytes).unwrap();
    }
    bytes
}
