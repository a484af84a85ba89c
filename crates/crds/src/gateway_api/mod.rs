//! The kinds of the Gateway API (<https://gateway-api.sigs.k8s.io/reference/spec/>), and those that they refer to.

mod secret;

pub use secret::{Hidden, TlsSecret};
