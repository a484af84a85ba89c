//! Tests of the ingress gateway on loopback, in one program.

mod a2a;
mod answers;
mod backend_tls;
mod bound;
mod copies;
mod cors;
mod goaway;
mod http2;
mod mcp;
mod objects;
mod picker;
mod policy;
mod proxy;
mod session;
mod shared;
mod smuggling;
mod support;
mod tls;
