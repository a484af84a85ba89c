//! Answers probes: whether the process lives and whether it does its work.
//!
//! Leaves: 200 or 503 with one line that says why. Does not: hold anything back that needs protection.

use crate::http::{self, answer};
use hyper::StatusCode;
use std::sync::Arc;
use tokio::net::TcpListener;

/// Whoever is asked how it is.
pub(crate) trait Health: Send + Sync + 'static {
    /// Whether it does its work; if not, why.
    fn ready(&self) -> Result<(), String>;
}

/// Answers until the future is dropped.
pub(crate) async fn serve(listener: TcpListener, health: Arc<impl Health>) {
    let handle = move |request: hyper::Request<_>| {
        let (status, text) = match request.uri().path() {
            "/healthz" => (StatusCode::OK, "alive".to_owned()),
            "/readyz" => match health.ready() {
                Ok(()) => (StatusCode::OK, "ready".to_owned()),
                Err(why) => (StatusCode::SERVICE_UNAVAILABLE, why),
            },
            _ => (StatusCode::NOT_FOUND, "there are /healthz and /readyz".to_owned()),
        };
        std::future::ready(answer(status, format!("{text}\n")))
    };
    http::serve(listener, None, handle).await;
}
