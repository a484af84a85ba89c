//! Records of what workloads did -> findings: fixed arithmetic on bounded state.
//!
//! Enters: [`Event`]s, of our own records or of recordings of others ([`read`]). Leaves: [`Finding`]s, each with the numbers it
//! rests on, what they were compared with, and the records. Guarantees: no clock, no randomness, no file; the same events give
//! the same findings; memory is bounded ([`Detectors::evicted`] says when that cost something); time is constant for an
//! event. Does not: block anything, or know what was said.

mod abuse;
mod beacon;
mod bounded;
pub mod catalog;
mod dga;
mod distinct;
mod engine;
pub mod event;
pub mod finding;
pub mod joined;
mod limit;
pub mod model;
pub mod name;
pub mod own;
pub mod pace;
mod probe;
pub mod read;
pub mod reference;
pub mod replay;
mod scan;
mod sign;
mod spend;
mod storm;
mod tool;
mod tunnel;
mod volume;

pub use catalog::Detector;
pub use engine::Detectors;
pub use event::{Event, What};
pub use finding::{Finding, Severity};
pub use joined::Joined;
pub use pace::Pace;
pub use replay::Replay;
