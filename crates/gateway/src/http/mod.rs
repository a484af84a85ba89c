//! The requests of a connection that was opened: each is judged by itself.
//!
//! Enters: both ends of a permitted connection, in clear. Leaves: requests that policy allows, written anew; answers;
//! one [`Call`](crate::call::Call) for each. Reading order: `open` (what holds a connection together), `serve` (the
//! client's side), `request` (one request), `fields`, `reading`, `searching`, `joining`, `aws_chunks`, `body`, `upstream`, `line` and
//! `sessions` (the server's side), `answer`, `watching`, `tally`, `cutting`, `leading`, `naming`, `refusal`, `tunnel`; below them
//! `socket`, `strict`, `hold`, `undoing`, `tasks`.

mod answer;
mod asking;
mod aws_chunks;
mod body;
mod cutting;
mod drawing;
mod echoing;
mod fields;
mod hold;
mod injecting;
mod joining;
mod leading;
mod line;
mod naming;
mod open;
mod reading;
mod refusal;
mod request;
mod rewriting;
mod searching;
mod serve;
mod sessions;
mod socket;
mod strict;
mod tally;
mod tasks;
mod trimming;
mod tunnel;
mod undoing;
mod upstream;
mod watching;

pub(crate) use hold::{Held, Hold, Share};
pub(crate) use open::{Front, Opening};
pub(crate) use reading::decoder;
pub(crate) use socket::Counted;
pub(crate) use undoing::Undoing;
