//! The whole way, from objects in a real API server to real packets: controller, agents, lab.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "in a test a panic is the failure report"
)]

use apiserver::{Cluster, POLICY_KINDS, definition};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Of the public cases those whose worlds an API server can hold, so many of each family.
const SAMPLE: [(&str, &str); 6] =
    [("cyc", "14"), ("e2e", "10"), ("fqdn", "10"), ("npa", "14"), ("knp", "4"), ("pa", "3")];

fn start() -> Option<Cluster> {
    let cluster = Cluster::start_or_skip()?;
    for [kind, plural, version] in POLICY_KINDS {
        let output = cluster.kubectl(["apply", "-f", "-"], &definition(kind, plural, version)).unwrap();
        assert!(output.status.success(), "{output:?}");
    }
    let own = controller::definition::list().to_string();
    assert!(cluster.kubectl(["apply", "-f", "-"], &own).unwrap().status.success());
    let wait = ["wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"];
    assert!(cluster.kubectl(wait, "").unwrap().status.success());
    Some(cluster)
}

fn shared() -> Option<PathBuf> {
    let shared = std::env::var_os("COFFERDAM_SHARED").map_or_else(|| "../../../shared".into(), PathBuf::from);
    let cases = shared.join("conformance");
    if cases.is_dir() {
        return Some(cases);
    }
    eprintln!("SKIPPED: the public cases: {} is not there", cases.display());
    None
}

/// Our own cases of names and egress policies, but those with objects that an API server refuses.
fn own_cases_of_names() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir("../../tests/cases").unwrap() {
        let (path, name) = (entry.as_ref().unwrap().path(), entry.unwrap().file_name());
        let text = name.to_str().unwrap();
        if (text.contains("domain-") || text.contains("egress-policy")) && !text.contains("broken") {
            std::os::unix::fs::symlink(path.canonicalize().unwrap(), folder.path().join(&name)).unwrap();
        }
    }
    folder
}

fn verify(cluster: &Cluster, cases: &Path, arguments: &[&str]) {
    let output = Command::new(env!("CARGO_BIN_EXE_cofferdam"))
        .args(["policy", "verify", "--enforcer", "cluster", "--kubeconfig"])
        .arg(cluster.kubeconfig())
        .arg(cases)
        .args(arguments)
        .output()
        .unwrap();
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    eprintln!("{text}");
    assert!(output.status.success(), "{text}");
}

#[test]
fn cluster_cases_hold_from_the_api_server_to_the_packet() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("SKIPPED: network namespaces need root");
        return;
    }
    let Some(cluster) = start() else { return };
    verify(&cluster, own_cases_of_names().path(), &[]);
    if let Some(cases) = shared() {
        for (family, sample) in SAMPLE {
            verify(&cluster, &cases, &["--family", family, "--sample", sample]);
        }
    }
}
