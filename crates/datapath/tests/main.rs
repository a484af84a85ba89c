//! Tests on a real kernel, in one program. That apart counts what is lost under load.

mod kernel_bind;
mod kernel_bridge;
mod kernel_budget;
mod kernel_connections;
mod kernel_differential;
mod kernel_guard;
mod kernel_hosts;
mod kernel_listing;
mod kernel_nobody;
mod kernel_packets;
mod kernel_scale;
mod kernel_services;
mod kernel_steer;
mod kernel_steer_named;
mod kernel_verdicts;
mod support;
