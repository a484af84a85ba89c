//! Answers probes, whether the process lives and whether it does its work; and Prometheus, how much of it.
//!
//! Leaves: 200 or 503 with one line that says why; a page of figures. Does not: say anything that needs protection.

use crate::http::{self, answer};
use crate::metrics::{self, Page};
use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use std::sync::Arc;
use tokio::net::TcpListener;

/// Whoever is asked how it is.
pub(crate) trait Health: Send + Sync + 'static {
    /// Whether it does its work; if not, why.
    fn ready(&self) -> Result<(), String>;

    /// Its figures.
    fn metrics(&self) -> Page;
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
