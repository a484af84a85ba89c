//! Tests of the gateway on loopback, in one program. Those apart start themselves, or need namespaces.

mod answers;
mod central;
mod central_liars;
mod certificates;
mod conditions;
mod front;
mod held;
mod http2;
mod http2_clear;
mod injecting;
mod judgement;
mod leaks;
mod opened;
mod passthrough;
mod peers;
mod quotas;
mod referrals;
mod refusals;
mod requests;
mod resting;
mod rewriting;
mod smuggling;
mod support;
mod unopened;
mod usage;
mod words;
