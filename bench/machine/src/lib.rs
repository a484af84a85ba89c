//! What benchmarks share: the order of their rows, and what a raw run says about the machine it ran on (no names, no paths).

mod dice;

pub use dice::Dice;

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

#[cfg(test)]
mod tests {
    use std::path::Path;

    /// A benchmark takes half an hour: whoever asks for help must not start it.
    #[test]
    fn every_benchmark_reads_its_arguments_before_it_starts() {
        let mut seen = 0;
        for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("..")).unwrap() {
            let program = entry.unwrap().path().join("src/main.rs");
            let Ok(text) = std::fs::read_to_string(&program) else { continue };
            assert!(text.contains("Args::parse()"), "{} takes its arguments unread", program.display());
            assert!(text.contains("after_help"), "{} has no example", program.display());
            seen += 1;
        }
        assert!(seen > 10, "only {seen} benchmarks were found");
    }
}
