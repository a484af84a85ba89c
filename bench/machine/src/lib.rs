//! What every raw run of a benchmark says about the machine it ran on: no names, no paths.

use serde_json::{Value, json};

/// Kernel, processor, memory, load at the start, and whether the program was built to be measured.
pub fn describe() -> Value {
    let first = |path: &str, prefix: &str| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(prefix)).unwrap_or_default();
        line.split_once(':').map_or(line, |(_, value)| value).trim().to_owned()
    };
    json!({
        "kernel": first("/proc/sys/kernel/osrelease", ""),
        "cpu": first("/proc/cpuinfo", "model name"),
        "cpus": std::thread::available_parallelism().map_or(0, usize::from),
        "memory": first("/proc/meminfo", "MemTotal"),
        "load": first("/proc/loadavg", ""),
        "optimized": !cfg!(debug_assertions),
    })
}
