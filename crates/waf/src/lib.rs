//! The SecLang engine that runs the OWASP Core Rule Set.
//!
//! Enters: rule files as they are ([`Files`]), and requests with their answers, step by step ([`Transaction`]). Leaves:
//! an [`Interruption`] where a rule or a limit ends a transaction, and an [`Outcome`] with all rules that matched.
//! Guarantees: rules that are not understood do not load; patterns run in time linear in what they look at; memory and
//! work of a transaction are bounded, and a bound that is reached denies and is said. Semantics are those of
//! ModSecurity v3; where rules and its behaviour disagree, `docs/decisions/0021` says what is done.
//! Does not: read files, sockets or clocks; write logs; change what passes.

mod body;
pub mod cases;
mod error;
mod literal;
mod load;
mod operator;
pub mod options;
mod pattern;
mod profile;
mod rule;
mod scanner;
mod seclang;
pub mod setup;
pub mod store;
mod template;
mod transaction;
mod transform;
mod variable;

pub use error::{LoadError, LoadErrors, MAX_LOAD_ERRORS};
pub use load::{Files, MAX_RULES, RuleSet};
pub use profile::Profile;
pub use rule::{Audit, Engine, Phase, RuleFacts, Severity};
pub use store::Store;
pub use transaction::{
    Action, Cause, Interruption, Limit, MAX_HEADER_BYTES, MAX_HEADERS, MAX_MATCHES, MAX_SHOWN, MAX_TX,
    MAX_VALUES, Match, Outcome, Scores, Start, Transaction,
};
pub use variable::{Shape, Variable};
