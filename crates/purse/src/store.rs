//! The store that gateways share budgets in: a Valkey or Redis server.
//!
//! Enters: where it is, and what is asked ([`Ask`]). Leaves: what is granted. Guarantees: an answer in any other form than the
//! one that is asked for ends the connection; what is read of it is bounded; a password is shown nowhere. Does not: try again,
//! or wait for ever: whoever calls sets a time.
//!
//! Of the protocol (RESP 2, <https://redis.io/docs/latest/develop/reference/protocol-spec/>) it needs one form of command, and what
//! [`crate::reply`] reads. A script (`EVAL`) makes each change whole, in one round trip, with keys that go by themselves.

use crate::reply;
use lease::{Ask, Grant, Row, Window};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io::{Error, Result};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufStream};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

/// Seconds that a key outlives its window: longer than clocks are apart.
const GRACE: u64 = 600;

/// Grants what is asked for, of one account: its keys are those of its windows, each with the sum of each count
/// (`requests`, …) and each gateway's part of it (`requests:gateway`). A gateway says what it has, so that an answer that was
/// lost, or a store that forgot all, does no harm. Numbers are exact below 2^53. After the gateway come the seconds that each
/// key lives, and then for each count: the number of its key, its name, limit, what is used, needed and wanted.
const SCRIPT: &str = "
local gateway, out = ARGV[1], {}
for at = 2 + #KEYS, #ARGV, 6 do
  local number, name = tonumber(ARGV[at]), ARGV[at + 1]
  local key = KEYS[number]
  local limit, used = tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
  local need, want = tonumber(ARGV[at + 4]), tonumber(ARGV[at + 5])
  local others, granted = 0, used
  if limit >= 0 then
    local mine = name .. ':' .. gateway
    local before = tonumber(redis.call('HGET', key, mine) or '0')
    others = math.max(0, tonumber(redis.call('HGET', key, name) or '0') - before)
    if others + need > limit then want = math.min(want, before) else want = math.min(want, limit - others) end
    granted = math.max(used, want)
    redis.call('HSET', key, mine, string.format('%.0f', granted))
    redis.call('HSET', key, name, string.format('%.0f', others + granted))
    redis.call('EXPIRE', key, ARGV[1 + number])
  end
  out[#out + 1] = granted
  out[#out + 1] = others
end
return out
";

/// Where gateways share budgets, and as whom this one does.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreMeans {
    /// Where it is.
    pub address: StoreAddress,
    /// Certificates (DER) by which it is believed. `None`: without TLS.
    pub roots: Option<Vec<Vec<u8>>>,
    /// User, where it is not the default one.
    pub user: Option<String>,
    /// Password, where one is asked for.
    pub password: Option<String>,
    /// The node of this gateway, or another name of its own.
    pub node: Arc<str>,
    /// What is done while it cannot be reached.
    pub down: WhenDown,
}

/// Where a store is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StoreAddress {
    /// Host and port.
    Tcp(String, u16),
    /// A unix socket.
    Unix(PathBuf),
}

/// What a gateway does while the store cannot be reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum WhenDown {
    /// It uses what it was granted, and a tenth of what nobody was, as far as it knew.
    #[default]
    Share,
    /// It uses what it was granted; what needs more is refused.
    Deny,
}

impl fmt::Debug for StoreMeans {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, node, down, .. } = self;
        f.debug_struct("StoreMeans")
            .field("address", address)
            .field("node", node)
            .field("down", down)
            .finish_non_exhaustive()
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A connection to a store.
pub(crate) struct Store {
    stream: BufStream<Box<dyn Stream>>,
    gateway: String,
}

impl Store {
    /// Connects. `gateway`: who this is, unlike any other process.
    pub(crate) async fn connect(means: &StoreMeans, gateway: &str) -> Result<Self> {
        let stream = BufStream::new(connect(means).await?);
        let mut store = Self { stream, gateway: gateway.to_owned() };
        if let Some(password) = &means.password {
            let words: Vec<&[u8]> = ["AUTH"]
                .into_iter()
                .chain(means.user.as_deref())
                .chain([password.as_str()])
                .map(str::as_bytes)
                .collect();
            store.send(&words).await?;
            let line = reply::line(&mut store.stream).await?;
            if line != "+OK" {
                return Err(Error::other(format!("it does not let us in: {line}")));
            }
        }
        Ok(store)
    }

    /// Asks for what an account needs. What it answers is one for each row.
    pub(crate) async fn ask(&mut self, ask: &Ask) -> Result<Vec<Grant>> {
        let Ask { name, rows, .. } = ask;
        let mut windows: Vec<(Window, u64)> = rows.iter().map(|row| (row.count.window, row.since)).collect();
        windows.sort_unstable();
        windows.dedup();
        let mut words: Vec<String> = vec!["EVAL".into(), SCRIPT.into(), windows.len().to_string()];
        // Of one slot, where the store is a cluster.
        words.extend(
            windows.iter().map(|(window, since)| format!("cofferdam:{{{name}}}:{}{since}", letter(*window))),
        );
        words.push(self.gateway.clone());
        words.extend(windows.iter().map(|(window, _)| (window.seconds() + GRACE).to_string()));
        for Row { count, since, limit, used, need, want } in rows {
            let number = windows.iter().position(|window| *window == (count.window, *since)).unwrap_or(0) + 1;
            words.extend([number.to_string(), count.name.to_owned()]);
            words.push(limit.map_or_else(|| "-1".into(), |limit| limit.to_string()));
            words.extend([used, need, want].map(u64::to_string));
        }
        let words: Vec<&[u8]> = words.iter().map(String::as_bytes).collect();
        self.send(&words).await?;
        reply::grants(&mut self.stream, rows.len()).await
    }

    async fn send(&mut self, words: &[&[u8]]) -> Result<()> {
        self.stream.write_all(format!("*{}\r\n", words.len()).as_bytes()).await?;
        for word in words {
            self.stream.write_all(format!("${}\r\n", word.len()).as_bytes()).await?;
            self.stream.write_all(word).await?;
            self.stream.write_all(b"\r\n").await?;
        }
        self.stream.flush().await
    }
}

/// By which keys of a window begin.
fn letter(window: Window) -> char {
    match window {
        Window::Minute => 'm',
        Window::Hour => 'h',
        Window::Day => 'd',
    }
}

async fn connect(means: &StoreMeans) -> Result<Box<dyn Stream>> {
    let (host, port) = match &means.address {
        StoreAddress::Unix(path) => return Ok(Box::new(UnixStream::connect(path).await?)),
        StoreAddress::Tcp(host, port) => (host, *port),
    };
    let stream = TcpStream::connect((host.as_str(), port)).await?;
    stream.set_nodelay(true)?;
    let Some(der) = &means.roots else { return Ok(Box::new(stream)) };
    let mut roots = RootCertStore::empty();
    let (_, unread) =
        roots.add_parsable_certificates(der.iter().map(|der| CertificateDer::from(der.as_slice())));
    if roots.is_empty() {
        return Err(Error::other(format!("none of {unread} certificates to believe it by can be read")));
    }
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(host.clone()).map_err(Error::other)?;
    Ok(Box::new(TlsConnector::from(Arc::new(config)).connect(name, stream).await?))
}
