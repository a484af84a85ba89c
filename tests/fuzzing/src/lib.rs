//! What is done with bytes that come from outside, for fuzzers and for a short run in every test.
//!
//! Enters: any bytes. Leaves: nothing, or a panic where something does not hold that must. Guarantees: a target does the same with the
//! same bytes. Does not: make bytes up; libFuzzer does (`fuzz/`), and the test of this crate.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a panic is how a target says what it found"
)]

mod answer;
mod catalog;
mod client_hello;
mod coding;
mod compile;
mod condition;
mod detect;
mod dns;
mod feed;
mod guard;
mod handover;
mod http_head;
mod leak;
mod manifest;
mod object_ids;
mod operation;
mod parcel;
mod part_list;
mod picker;
mod plugin;
mod quic;
mod registry;
mod release;
mod rewrite;
mod routes;
mod server_flight;
mod session;
mod sieve;
mod sqli;
mod store_reply;
mod task_ids;
mod token;
mod tools;
mod waf;
mod webhook;

use arbitrary::{Arbitrary, Unstructured};

/// One thing that reads bytes from outside.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, which is that of its module, of its corpus and of its binary in `fuzz/`.
    pub name: &'static str,
    /// Reads them. Panics where something does not hold.
    pub run: fn(&[u8]),
}

/// Each of them.
pub const TARGETS: [Target; 35] = [
    Target { name: "answer", run: |bytes| given(bytes, answer::run) },
    Target { name: "catalog", run: catalog::run },
    Target { name: "client_hello", run: |bytes| given(bytes, client_hello::run) },
    Target { name: "coding", run: coding::run },
    Target { name: "compile", run: compile::run },
    Target { name: "condition", run: |bytes| given(bytes, condition::run) },
    Target { name: "detect", run: detect::run },
    Target { name: "dns", run: dns::run },
    Target { name: "feed", run: feed::run },
    Target { name: "guard", run: guard::run },
    Target { name: "handover", run: |bytes| given(bytes, handover::run) },
    Target { name: "http_head", run: |bytes| given(bytes, http_head::run) },
    Target { name: "leak", run: leak::run },
    Target { name: "manifest", run: manifest::run },
    Target { name: "object_ids", run: object_ids::run },
    Target { name: "operation", run: |bytes| given(bytes, operation::run) },
    Target { name: "parcel", run: parcel::run },
    Target { name: "part_list", run: part_list::run },
    Target { name: "picker", run: picker::run },
    Target { name: "plugin", run: |bytes| given(bytes, plugin::run) },
    Target { name: "quic", run: |bytes| given(bytes, quic::run) },
    Target { name: "registry", run: registry::run },
    Target { name: "release", run: |bytes| given(bytes, release::run) },
    Target { name: "rewrite", run: rewrite::run },
    Target { name: "routes", run: |bytes| given(bytes, routes::run) },
    Target { name: "server_flight", run: |bytes| given(bytes, server_flight::run) },
    Target { name: "session", run: |bytes| given(bytes, session::run) },
    Target { name: "sieve", run: |bytes| given(bytes, sieve::run) },
    Target { name: "sqli", run: sqli::run },
    Target { name: "store_reply", run: store_reply::run },
    Target { name: "task_ids", run: task_ids::run },
    Target { name: "token", run: |bytes| given(bytes, token::run) },
    Target { name: "tools", run: tools::run },
    Target { name: "waf", run: waf::run },
    Target { name: "webhook", run: webhook::run },
];

/// Runs the target of this name.
///
/// # Panics
/// Something does not hold, or there is no such target.
pub fn run(name: &str, bytes: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    (target.unwrap_or_else(|| panic!("no target {name}")).run)(bytes);
}

/// Makes of the bytes what a target takes, as libFuzzer does.
fn given<'b, T: Arbitrary<'b>>(bytes: &'b [u8], run: fn(T)) {
    if let Ok(input) = T::arbitrary_take_rest(Unstructured::new(bytes)) {
        run(input);
    }
}
