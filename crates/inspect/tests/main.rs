//! Tests of what reads bytes of connections, in one program.

mod answer;
mod client_hello;
mod http;
mod peers;
mod proxy_head;
mod quic;
mod refusal;
mod requests;
mod retry;
mod server_flight;
mod support;
