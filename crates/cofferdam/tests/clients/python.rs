//! An interpreter with the clients of `tests/clients/requirements.txt`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

/// The repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// As [`python`] found or made it, once for all tests.
pub(crate) static PYTHON: LazyLock<Option<PathBuf>> = LazyLock::new(python);

/// An interpreter with the clients of `requirements.txt`, made where there is none; `None` where it cannot be made.
fn python() -> Option<PathBuf> {
    let wanted = root().join("tests/clients/requirements.txt");
    let venv = root().canonicalize().ok()?.join("target/clients-python");
    let (python, has) = (venv.join("bin/python"), venv.join("requirements.txt"));
    if fs::read(&has).is_ok_and(|has| has == fs::read(&wanted).unwrap()) {
        return Some(python);
    }
    let ran = |command: &mut Command| command.status().is_ok_and(|status| status.success());
    let is_made = ran(Command::new("python3").args(["-m", "venv"]).arg(&venv))
        && ran(Command::new(&python).args(["-m", "pip", "install", "--quiet", "-r"]).arg(&wanted));
    if is_made {
        fs::copy(&wanted, &has).unwrap();
    }
    is_made.then_some(python)
}
