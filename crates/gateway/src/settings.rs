//! What an operator may set. Every bound has a default that holds on a node of 250 pods.

use policy::DomainPattern;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::time::Duration;

/// Bounds and timeouts of the proxy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// A TLS hello or HTTP request head must be whole this long after the connection was accepted.
    pub header_timeout: Duration,
    /// A client that says nothing for this long on a port that is neither for TLS nor for HTTP waits for the server to
    /// speak first.
    pub silence: Duration,
    /// A server must answer within this.
    pub connect_timeout: Duration,
    /// A connection over which nothing passes for this long (at most twice as long) ends.
    pub idle_timeout: Duration,
    /// How long open connections are waited for when the proxy must stop.
    pub drain_timeout: Duration,
    /// Connections open at once.
    pub max_connections: usize,
    /// Of these, connections of one pod.
    pub max_per_pod: usize,
    /// Bytes of one direction after which the kernel moves the rest without copying. Opening the pipes for that costs
    /// some 20 µs, which short connections do not earn back.
    pub splice_after: u64,
    /// Mark (`SO_MARK`) of what goes to where clients of the front door want to go; setting one takes `CAP_NET_ADMIN`. 0:
    /// none.
    #[serde(default)]
    pub front_mark: u32,
    /// An opened HTTP/1 connection that nobody uses for this long (at most twice as long) rests: until there is another
    /// request it takes next to no memory.
    #[serde(default = "rest_after")]
    pub rest_after: Duration,
    /// Where no request was under way on an opened HTTP/2 connection for this long (at most twice as long), the one to its server is
    /// ended as HTTP/2 has it (GOAWAY), and opened again with the next request: what both sides have agreed on cannot be put aside. In
    /// clear, where a server would not prove again whose it is, the client's ends with it.
    #[serde(default = "http2_rest_after")]
    pub http2_rest_after: Duration,
    /// After this long (at most twice as long) its client's is ended as well, and its client opens another when it needs one.
    #[serde(default = "http2_idle")]
    pub http2_idle: Duration,
}

/// Longer than most wait between requests that belong together: to open another costs a handshake with the server.
fn http2_rest_after() -> Duration {
    Duration::from_secs(5)
}

/// Clients that keep theirs no longer themselves (undici 4 s, httpx 5 s) never meet its end; to open another costs two handshakes.
fn http2_idle() -> Duration {
    Duration::from_secs(60)
}

/// As long as clients are found to wait between requests that belong together.
fn rest_after() -> Duration {
    Duration::from_secs(1)
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_timeout: Duration::from_secs(10),
            silence: Duration::from_secs(1),
            connect_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(3600),
            drain_timeout: Duration::from_secs(3600),
            max_connections: 20_000,
            max_per_pod: 2_000,
            splice_after: 256 * 1024,
            front_mark: 0,
            rest_after: rest_after(),
            http2_rest_after: http2_rest_after(),
            http2_idle: http2_idle(),
        }
    }
}

/// What to do with a hello that may hide its name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ech {
    /// Refuse it. Clients that imitate ECH (GREASE; browsers do) are refused with it, for they look the same.
    #[default]
    Deny,
    /// Judge it by its outer name. Whoever serves that name also decides whom the inner one reaches.
    ByOuterName,
}

/// What to do with a connection that speaks neither TLS nor HTTP/1, on ports that are for neither.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Opaque {
    /// Refuse it.
    Deny,
    /// Let it through where every name that the pod resolved to the address is allowed on the port.
    #[default]
    ByEveryName,
}

/// How claims are judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rules {
    /// Hellos that may hide their name.
    pub ech: Ech,
    /// Connections without a claim.
    pub opaque: Opaque,
    /// Ports on which only TLS is let through.
    pub tls_ports: BTreeSet<u16>,
    /// Ports on which only HTTP/1 and TLS are let through.
    pub http_ports: BTreeSet<u16>,
    /// Whether a connection that a name in its hello opened is cut where the server shows a certificate that is not for
    /// that name. It is seen up to TLS 1.2 only. Must be off where clients are told to accept a certificate for another
    /// name, or one with its name in the subject's common name alone.
    pub certificates: bool,
    /// To whom TLS is never opened: under rules that allow certain requests, such connections are refused.
    #[serde(default)]
    pub never_open: Vec<DomainPattern>,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            ech: Ech::Deny,
            opaque: Opaque::ByEveryName,
            tls_ports: [443].into(),
            http_ports: [80].into(),
            certificates: true,
            never_open: Vec::new(),
        }
    }
}
