//! The HTTP API, version 1: what the ledger knows and what goes on, for programs and for the console.
//!
//! Enters: requests, a ledger's file, a store that has its entries elsewhere ([`Elsewhere`]) if there is one, and whoever tells how
//! things stand ([`Live`]), does what changes something ([`Actions`]) and recognises people ([`Authenticate`]). Leaves: JSON,
//! server-sent events, files of the console.
//! Guarantees: what it can be asked is one table, by which requests are led and the OpenAPI document is made ([`document`]);
//! readers of the ledger are bounded in number and time, and no reader holds up who writes; nothing is told to, or done
//! for, anybody who was not recognised; every change leaves an audit entry. Does not: enforce, or read the environment.

mod body;
mod cookie;
mod dispatch;
mod elsewhere;
pub mod excerpt;
mod graph_names;
mod groups;
mod handle;
pub mod openapi;
mod patient;
pub mod problem;
pub mod query;
mod readers;
pub mod remember;
mod route;
pub mod seam;
pub mod server;
pub mod session;
pub mod shape;
pub mod sign_on;
mod signing_on;
mod stream;
pub mod token;
pub mod who;

pub use elsewhere::Elsewhere;
pub use openapi::document;
pub use remember::Remembering;
pub use route::BASE;
pub use seam::{Actions, Asset, Assets, Change, Hub, Live, Manifest, NotDone};
pub use server::{Config, serve, serve_tls};
pub use sign_on::{IdTokens, SignOn, SignOnSettings};
pub use token::Token;
pub use who::{Authenticate, NotRecognised, Recognition, Role, Who};
