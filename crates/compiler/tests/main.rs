//! Tests of the compiler and of its lowering, in one program.

mod conformance;
mod connectivity_difference;
mod dns_rules;
mod egress;
mod elsewhere;
mod keys;
mod lint;
mod lower_connectivity;
mod lower_engine;
mod lower_property;
mod semantics;
mod support;
mod world;
