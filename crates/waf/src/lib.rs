//! The SecLang engine that runs the OWASP Core Rule Set.
//!
//! Enters: rule files as they are ([`Files`]), and requests with their answers, step by step ([`Transaction`]). Leaves:
//! an [`Interruption`] where a rule or a limit ends a transaction, and an [`Outcome`] with all rules that matched.
//! Guarantees: rules that are not understood do not load; patterns run in time linear in what they look at; memory and
//! work of a transaction are bounded, and a bound that is reached denies and is said. Semantics are those of
//! ModSecurity v3; where rules and its behaviour disagree, `docs/decisions/0021` says what is done.
//! Does not: read files, sockets or clocks; write logs; change what passes.
//!
//! A host loads a [`RuleSet`] once and shares it: a clone is a pointer. It keeps the set in force behind a lock or a
//! swap of its own, and puts another one there to reload; a [`Transaction`] holds the set that it began with to its end. A
//! transaction has no reference to anything of the host's, can go from thread to thread, and never waits.
//!
//! ```
//! use waf::{Cause, Files, RuleSet, Start, Transaction};
//!
//! let text = "SecRuleEngine On\nSecRequestBodyAccess On\n\
//!     SecRule ARGS \"@contains <script\" \"id:7,phase:2,t:lowercase,deny,msg:'a script'\"";
//! let rules = RuleSet::load(&Files { rules: vec![("own.conf".into(), text.into())], data: vec![] })?;
//!
//! let mut transaction = Transaction::new(&rules, Start { unique_id: "1".into(), ..Start::default() });
//! transaction.connection(([192, 0, 2, 7], 5000).into(), ([192, 0, 2, 1], 80).into());
//! transaction.request_line(b"POST", b"/comment", b"HTTP/1.1");
//! transaction.request_header(b"Content-Type", b"application/x-www-form-urlencoded");
//! assert!(transaction.request_headers_done().is_none());
//! // Pieces as they arrive; nothing of the body may go on before it is judged whole.
//! assert!(transaction.wants_request_body());
//! for piece in [&b"text=%3CScr"[..], b"ipt%3E"] {
//!     transaction.request_body(piece);
//!     assert!(transaction.interruption().is_none()); // a limit would be said here
//! }
//! let found = transaction.request_body_done().cloned();
//! assert_eq!(found.map(|found| (found.cause, found.status)), Some((Cause::Rule(7), 403)));
//! // Were there none: response_status, response_header, response_headers_done, response_body, response_body_done.
//! let outcome = transaction.finish();
//! assert_eq!(outcome.matched[0].message, b"a script");
//! # Ok::<(), waf::LoadErrors>(())
//! ```

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
