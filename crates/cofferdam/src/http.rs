//! A small server of HTTP/1.1, for probes and for the webhook.
//!
//! Enters: a listener and whoever answers. Guarantees: bounded connections, each with an end, from which nobody keeps others out: a kubelet
//! whose probes found no room would end the process; with an identity, TLS, a renewed certificate from the next connection on. Does not: limit
//! bodies; whoever answers does.

use anyhow::{Context, Result};
use feed::room::Room;
use feed::tls::Identity;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

/// Connections at a time.
const CONNECTIONS: usize = 64;
/// How long TLS and a request may take to arrive, and a connection in all.
const PATIENCE: [Duration; 2] = [Duration::from_secs(10), Duration::from_secs(120)];

/// What is answered.
pub(crate) type Answer = Response<Full<Bytes>>;

/// An answer with a body.
pub(crate) fn answer(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response
}

/// An address of the command line. Names are not looked up: who resolves them would decide who is served.
pub(crate) fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| match text.trim_start_matches(':').parse::<u16>() {
        Ok(port) => {
            format!("the address is missing: 127.0.0.1:{port} for this machine alone, 0.0.0.0:{port} for all of its IPv4 addresses")
        }
        Err(_) => "write an IP address and a port, for example 127.0.0.1:8080 or [::1]:8080".to_owned(),
    })
}

/// Takes an address.
pub(crate) async fn bind(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("listening at {address}"))
}

/// Serves until the future is dropped.
pub(crate) async fn serve<F>(
    listener: TcpListener,
    identity: Option<watch::Receiver<Arc<Identity>>>,
    handle: impl Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
) where
    F: Future<Output = Answer> + Send,
{
    let room = Room::new(CONNECTIONS);
    loop {
        let Ok((stream, from)) = listener.accept().await else {
            // Out of descriptors, most likely; do not spin.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let config = identity.as_ref().map(|identity| identity.borrow().server_of_anyone());
        let (handle, seat) = (handle.clone(), room.enter(from.ip()));
        tokio::spawn(async move {
            let [patience, whole] = PATIENCE;
            let talk = async {
                match config {
                    None => connection(stream, handle).await,
                    Some(Ok(config)) => {
                        let greeting = TlsAcceptor::from(Arc::new(config)).accept(stream);
                        if let Ok(Ok(stream)) = tokio::time::timeout(patience, greeting).await {
                            connection(stream, handle).await;
                        }
                    }
                    // An identity that was renewed is one that could be used.
                    Some(Err(_)) => {}
                }
            };
            // Whoever asked is gone or will ask again.
            tokio::select! {
                _ended = tokio::time::timeout(whole, talk) => {}
                () = seat.given_away() => {}
            }
        });
    }
}

async fn connection<F: Future<Output = Answer>>(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    handle: impl Fn(Request<Incoming>) -> F,
) {
    let [patience, _] = PATIENCE;
    let service = service_fn(|request| {
        let answer = handle(request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let _ended = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(patience)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    #[tokio::test]
    async fn a_probe_is_answered_while_somebody_holds_as_many_connections_as_there_can_be() {
        let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let handle = |_: Request<Incoming>| std::future::ready(answer(StatusCode::OK, "alive"));
        let serving = tokio::spawn(serve(listener, None, handle));
        let mut held = Vec::new();
        for _ in 0..CONNECTIONS {
            held.push(TcpStream::connect(address).await.unwrap());
        }
        let mut probe = TcpStream::connect(address).await.unwrap();
        probe.write_all(b"GET /healthz HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut said = String::new();
        probe.read_to_string(&mut said).await.unwrap();
        assert!(said.starts_with("HTTP/1.1 200") && said.ends_with("alive"), "{said}");
        // One made room, and not because all were too slow.
        assert_eq!(held[0].read(&mut [0]).await.unwrap(), 0);
        assert_eq!(held[1].try_read(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
        serving.abort();
    }
}
