//! Tests of what reads manifests, in one program.

mod conformance;
mod egress;
mod from_api;
mod gateway_api;
mod hostile;
mod inference;
mod inject;
mod mistakes;
mod policies;
mod workloads;
