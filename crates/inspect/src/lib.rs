//! Bytes to facts: what the first bytes of a connection claim about whom it is for.
//!
//! Enters: bytes as they arrive, split anywhere. Leaves: a TLS hello's facts ([`ClientHello`]), from TLS records
//! ([`HelloReader`]) or from QUIC's first packets ([`quic::Initials`]); the certificate with which a server answers it
//! ([`ServerFlight`]); the requests of an HTTP/1 connection ([`http_stream::Requests`]); answers without what must not leave ([`sieve::Sieve`]).
//! Guarantees: no panic, bounded memory, every byte looked at a bounded number of times; where the bytes end up in
//! pieces does not change what is found; whatever two readers could understand differently is a flaw, never a guess.
//! Does not: judge, read sockets or clocks, or check signatures. What a hello claims is only a claim: it says whom the
//! client asked for, not who answers; and a certificate alone proves nothing, for anybody can show it.

pub mod answer;
pub mod base64;
pub mod client_hello;
pub mod coding;
mod cursor;
mod event_stream;
pub mod fields;
mod fold;
mod hello_message;
pub mod http_head;
pub mod http_stream;
pub mod leak;
pub mod object_ids;
pub mod operation;
pub mod proxy_head;
pub mod quic;
pub mod refusal;
pub mod retry;
pub mod rewrite;
pub mod server_flight;
pub mod sieve;
pub mod task_ids;
pub mod tool_list;

pub use client_hello::{HelloReader, MAX_HELLO, Outcome};
pub use hello_message::{ClientHello, Flaw};
pub use server_flight::{Flight, MAX_FLIGHT, ServerFlight, Unseen};
