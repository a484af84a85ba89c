//! Puts what the build of `web/` made into the crate, or one page that says how to make it. Never runs npm.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::{env, fs};

/// Written once, beside its compressed forms.
const COMPRESSED: [(&str, &str); 2] = [("br", "brotli"), ("gz", "gzip")];

fn main() -> io::Result<()> {
    let here = PathBuf::from(variable("CARGO_MANIFEST_DIR")?);
    let dist = here.join("../../web/dist");
    println!("cargo::rerun-if-changed={}", dist.display());
    let mut files = Vec::new();
    if dist.join("index.html").is_file() {
        collect(&dist, &dist, &mut files)?;
        files.sort();
    } else {
        files.push(("index.html".to_owned(), here.join("src/missing.html")));
    }
    fs::write(Path::new(&variable("OUT_DIR")?).join("files.rs"), table(&files))
}

fn variable(name: &str) -> io::Result<String> {
    env::var(name).map_err(|error| io::Error::other(format!("{name}: {error}")))
}

/// All files but hidden ones and compressed forms, by their path below the root.
fn collect(root: &Path, folder: &Path, files: &mut Vec<(String, PathBuf)>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let is_form = path.extension().is_some_and(|end| COMPRESSED.iter().any(|(known, _)| end == *known));
        if path.is_dir() {
            collect(root, &path, files)?;
        } else if !name.starts_with('.') && !is_form {
            let below = path.strip_prefix(root).map_err(io::Error::other)?;
            files.push((below.to_string_lossy().replace('\\', "/"), path));
        }
    }
    Ok(())
}

fn table(files: &[(String, PathBuf)]) -> String {
    let mut text = "&[\n".to_owned();
    for (name, path) in files {
        let _ = write!(text, "    File {{ path: {name:?}, plain: include_bytes!({path:?})");
        for (end, field) in COMPRESSED {
            let form = PathBuf::from(format!("{}.{end}", path.display()));
            if form.is_file() {
                let _ = write!(text, ", {field}: Some(include_bytes!({form:?}))");
            } else {
                let _ = write!(text, ", {field}: None");
            }
        }
        text.push_str(" },\n");
    }
    text.push_str("]\n");
    text
}
