//! Tests of the controller at a real API server, in one program.

mod cluster_identity;
mod cluster_ingress;
mod cluster_watch;
