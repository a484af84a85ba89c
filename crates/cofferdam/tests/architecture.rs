//! The crate rows of ARCHITECTURE.md, held over `cargo metadata`.

#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a test's helpers fail the test")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Row of each crate: it may use only rows below its own.
const ROWS: &[(&str, u8)] = &[
    ("policy", 0),
    ("crds", 0),
    ("lease", 0),
    ("ledger", 0),
    ("compiler", 1),
    ("feed", 1),
    ("guard", 1),
    ("handover", 1),
    ("inspect", 1),
    ("observe", 1),
    ("purse", 1),
    ("resend", 1),
    ("ocsf", 1),
    ("waf", 1),
    ("routes", 1),
    ("admit", 1),
    ("authn", 1),
    ("fleet", 1),
    ("console", 2),
    ("controller", 2),
    ("datapath", 2),
    ("detect", 2),
    ("dns", 2),
    ("export", 2),
    ("gateway", 2),
    ("incident", 2),
    ("ingress", 2),
    ("lab", 2),
    ("rollouts", 2),
    ("spoke", 2),
    ("api", 3),
    ("collector", 3),
    ("cni", 4),
    ("cofferdam", 4),
];

/// Crates without sockets, clock, randomness or an async runtime.
const PURE: &[&str] = &[
    "policy", "crds", "compiler", "inspect", "waf", "guard", "routes", "admit", "authn", "detect", "lease",
    "incident", "ocsf", "fleet",
];

fn dependencies() -> BTreeMap<String, Vec<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo metadata runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON");
    let text = |value: &serde_json::Value| value.as_str().expect("a name").to_owned();
    metadata["packages"]
        .as_array()
        .expect("packages")
        .iter()
        .map(|package| {
            let normal = |dependency: &&serde_json::Value| dependency["kind"].is_null();
            let used = package["dependencies"].as_array().expect("dependencies").iter().filter(normal);
            (text(&package["name"]), used.map(|dependency| text(&dependency["name"])).collect())
        })
        .collect()
}

fn row(name: &str) -> Option<u8> {
    ROWS.iter().find(|(known, _)| *known == name).map(|(_, row)| *row)
}

#[test]
fn every_crate_uses_only_rows_below_its_own() {
    let found = dependencies();
    for &(name, mine) in ROWS {
        let used = found.get(name).unwrap_or_else(|| panic!("{name} is in no manifest"));
        for theirs in used.iter().filter_map(|used| row(used).map(|row| (used, row))) {
            assert!(theirs.1 < mine, "{name} (row {mine}) uses {} (row {})", theirs.0, theirs.1);
        }
    }
}

#[test]
fn every_product_crate_has_a_row() {
    let crates = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).expect("crates/ is there");
    for entry in crates {
        let name = entry.expect("readable").file_name().into_string().expect("UTF-8");
        assert!(row(&name).is_some(), "crates/{name} has no row here and in ARCHITECTURE.md");
    }
}

/// What a pure crate must not name, in its tests neither.
const IMPURE: &[&str] = &[
    "SystemTime::now",
    "Instant::now",
    "std::fs",
    "std::env::var",
    "std::process",
    "std::thread",
    "TcpListener",
    "TcpStream",
    "UdpSocket",
    "UnixStream",
    "async fn",
];

#[test]
fn pure_crates_stay_pure() {
    let found = dependencies();
    for &name in PURE {
        for forbidden in ["tokio", "nix", "rustix", "rand", "hyper"] {
            assert!(!found[name].iter().any(|used| used == forbidden), "{name} uses {forbidden}");
        }
        let sources = sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name).join("src"));
        assert!(!sources.is_empty(), "{name} has no sources");
        for (file, text) in sources {
            for forbidden in IMPURE {
                assert!(!text.contains(forbidden), "{name} is pure, and {file} has {forbidden}");
            }
        }
    }
}

/// Names and texts of the Rust files of a folder and those below it.
fn sources(folder: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for path in
        fs::read_dir(folder).expect("a folder of sources").map(|entry| entry.expect("readable").path())
    {
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|it| it == "rs") {
            found.push((path.display().to_string(), fs::read_to_string(&path).expect("UTF-8")));
        }
    }
    found
}

/// A crate that lists its test programs itself has every file of tests in one of them.
#[test]
fn no_file_of_tests_is_left_out() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut listing = 0;
    for of in fs::read_dir(crates).expect("the crates").map(|entry| entry.expect("a crate").path()) {
        let manifest = fs::read_to_string(of.join("Cargo.toml")).unwrap_or_default();
        if !manifest.contains("autotests = false") {
            continue;
        }
        listing += 1;
        let tests = of.join("tests");
        let main = fs::read_to_string(tests.join("main.rs")).expect("its program of tests");
        for file in fs::read_dir(&tests).expect("its tests").map(|entry| entry.expect("a file").path()) {
            let name = file.file_name().and_then(|name| name.to_str()).expect("a name");
            let Some(stem) = name.strip_suffix(".rs") else { continue };
            let is_module = main.lines().any(|line| line == format!("mod {stem};"));
            let is_program = manifest.contains(&format!("path = \"tests/{name}\""));
            assert!(is_module != is_program, "{}: in one program of tests, and only one", file.display());
        }
    }
    assert!(listing > 0, "no crate lists its tests: this is of no use any more");
}

/// What `.dockerignore` lets into the image's build, from the repository's root.
fn built_from(root: &Path) -> Vec<String> {
    let text = fs::read_to_string(root.join(".dockerignore")).expect("it is there");
    text.lines().filter_map(|line| line.strip_prefix('!')).map(str::to_owned).collect()
}

/// Of what the image is built, cargo finds every crate and the compiler every file.
#[test]
fn the_image_has_all_that_it_is_built_from() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the repository");
    let context = tempfile::tempdir().expect("a folder");
    let let_in = built_from(&root);
    for path in &let_in {
        let place = context.path().join(path);
        fs::create_dir_all(place.parent().expect("below the root")).expect("a folder");
        std::os::unix::fs::symlink(root.join(path), place).expect("a link");
    }
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(context.path())
        .output()
        .expect("cargo metadata runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for (file, text) in sources(&root.join("crates")) {
        let is_of_tests = file.contains("/tests/") || file.ends_with("/tests.rs");
        let program = text.split("#[cfg(test)]").next().filter(|_| !is_of_tests).unwrap_or_default();
        for form in ["include_str!(\"", "include_bytes!(\""] {
            for named in program.split(form).skip(1).filter_map(|rest| rest.split('"').next()) {
                let path = Path::new(&file).parent().expect("a folder").join(named);
                let path = path.canonicalize().unwrap_or_else(|error| panic!("{file}: {named}: {error}"));
                assert!(
                    let_in.iter().any(|it| path.starts_with(root.join(it))),
                    "{file} includes {named}, which .dockerignore keeps out of the image's build"
                );
            }
        }
    }
}
