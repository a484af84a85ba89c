//! Answers probes, whether the process lives and whether it does its work; and Prometheus, how much of it.
//!
//! Leaves: 200 or 503 with one line that says why; a page of figures. Does not: say anything that needs protection.

use crate::http::{self, answer};
use crate::metrics::{self, Page};
use anyhow::{Context, Result};
use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;

/// Whoever is asked how it is.
pub(crate) trait Health: Send + Sync + 'static {
    /// Whether it does its work; if not, why.
    fn ready(&self) -> Result<(), String>;

    /// Its figures.
    fn metrics(&self) -> Page;
}

/// Takes an address for who has no runtime, before it may enter another network.
///
/// # Errors
/// It is taken, or not of this machine.
pub(crate) fn open(address: SocketAddr) -> Result<std::net::TcpListener> {
    let listener =
        std::net::TcpListener::bind(address).with_context(|| format!("--health: listening at {address}"))?;
    listener.set_nonblocking(true).context("--health: listening")?;
    Ok(listener)
}

/// Answers there on a thread of its own, until the process ends.
///
/// # Errors
/// The system gives no thread.
pub(crate) fn serve_apart(listener: std::net::TcpListener, health: Arc<impl Health>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("--health: starting its thread")?;
    let task = async move {
        // It listens already, and cannot fail to.
        if let Ok(listener) = TcpListener::from_std(listener) {
            serve(listener, health).await;
        }
    };
    std::thread::Builder::new()
        .name("health".into())
        .spawn(move || runtime.block_on(task))
        .context("--health: starting its thread")?;
    Ok(())
}

/// Answers until the future is dropped.
pub(crate) async fn serve(listener: TcpListener, health: Arc<impl Health>) {
    let handle = move |request: hyper::Request<_>| {
        if request.uri().path() == "/metrics" {
            let mut page = answer(StatusCode::OK, health.metrics().to_string());
            page.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(metrics::CONTENT_TYPE));
            return std::future::ready(page);
        }
        let (status, text) = match request.uri().path() {
            "/healthz" => (StatusCode::OK, "alive".to_owned()),
            "/readyz" => match health.ready() {
                Ok(()) => (StatusCode::OK, "ready".to_owned()),
                Err(why) => (StatusCode::SERVICE_UNAVAILABLE, why),
            },
            _ => (StatusCode::NOT_FOUND, "there are /healthz, /readyz and /metrics".to_owned()),
        };
        std::future::ready(answer(status, format!("{text}\n")))
    };
    http::serve(listener, None, handle).await;
}
