//! Serves the API over a made-up ledger: `cargo run -p api --example sample -- 127.0.0.1:8080 [ENTRIES]`.
//!
//! Prints the address with its token. For tests of the console; enforces nothing.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "an example"
)]

#[path = "../tests/sample/mod.rs"]
mod sample;

use std::sync::Arc;
use std::time::SystemTime;

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:0".to_owned());
    let count = arguments.next().map_or(5000, |count| count.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let now = observe::Time::from(SystemTime::now()).0;
    let _ledger = sample::ledger(&path, count, now);
    let token = api::Token::kept_in(&folder.path().join("token")).unwrap();
    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    println!("http://{}/#token={}", listener.local_addr().unwrap(), token.reveal());
    api::serve(listener, sample::config(&path, Arc::default(), Arc::new(token))).await;
}
