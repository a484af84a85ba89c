//! Puts the plugin where the runtime finds it, and into the chain.
//!
//! Enters: the folders of plugins and of configurations. Leaves: the program in one, and in the other the first list of
//! plugins with this one at its end. Guarantees: each file is replaced whole; doing it again changes nothing.
//! Does not: watch for a CNI that writes its configuration anew; run it again then.

use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

const NAME: &str = "cofferdam-cni";
const USAGE: &str = "usage: cofferdam-cni install BIN_DIR CONF_DIR
       cofferdam-cni uninstall BIN_DIR CONF_DIR

Copies the plugin to BIN_DIR (usually /opt/cni/bin) and puts it at the end of the first *.conflist of CONF_DIR (usually
/etc/cni/net.d); uninstall takes it out of every one, and away. Without arguments it is a CNI plugin, called by the container
runtime.
";

/// Does what the arguments say; what to print.
pub(crate) fn run(arguments: &[String]) -> Result<String, String> {
    match arguments {
        [word, bin, conf] if word == "install" => install(Path::new(bin), Path::new(conf)),
        [word, bin, conf] if word == "uninstall" => uninstall(Path::new(bin), Path::new(conf)),
        [word] if word == "--help" || word == "help" => Ok(USAGE.to_owned()),
        _ => Err(format!("these arguments are none\n{USAGE}")),
    }
}

fn install(bin: &Path, conf: &Path) -> Result<String, String> {
    let own = std::env::current_exe().map_err(|error| format!("finding this program: {error}"))?;
    let program = fs::read(&own).map_err(|error| format!("reading {}: {error}", own.display()))?;
    let target = bin.join(NAME);
    replace(&target, &program, 0o755)?;
    let list = first_list(conf)?;
    let changed = change(&list, |plugins| {
        let is_there = plugins.iter().any(|plugin| plugin.get("type").is_some_and(|it| it == NAME));
        if !is_there {
            plugins.push(json!({ "type": NAME }));
        }
        !is_there
    })?;
    let what = if changed { "chained in" } else { "was chained in" };
    Ok(format!("{} is there; {what} {}\n", target.display(), list.display()))
}

fn uninstall(bin: &Path, conf: &Path) -> Result<String, String> {
    // First out of the chains: one that names a program that is not there starts no pod. Another may be the first one tomorrow.
    let mut changed = Vec::new();
    for list in lists(conf)? {
        let text =
            fs::read_to_string(&list).map_err(|error| format!("reading {}: {error}", list.display()))?;
        // What does not name it may be as it likes.
        let was_there = text.contains(NAME)
            && change(&list, |plugins| {
                let before = plugins.len();
                plugins.retain(|plugin| plugin.get("type").is_none_or(|it| it != NAME));
                plugins.len() != before
            })?;
        changed.extend(was_there.then(|| list.display().to_string()));
    }
    let target = bin.join(NAME);
    match fs::remove_file(&target) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(format!("removing {}: {error}", target.display())),
    }
    changed.push(bin.display().to_string());
    Ok(format!("removed from {}\n", changed.join(" and ")))
}

/// The one that runtimes take: the first by name.
fn first_list(conf: &Path) -> Result<PathBuf, String> {
    lists(conf)?.into_iter().next().ok_or_else(|| {
        format!("{} has no *.conflist yet: a CNI that makes interfaces must be there first", conf.display())
    })
}

/// By name.
fn lists(conf: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = fs::read_dir(conf).map_err(|error| format!("reading {}: {error}", conf.display()))?;
    let mut lists: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    lists.retain(|path| path.extension().is_some_and(|extension| extension == "conflist"));
    lists.sort();
    Ok(lists)
}

fn change(list: &Path, edit: impl FnOnce(&mut Vec<Value>) -> bool) -> Result<bool, String> {
    let text = fs::read_to_string(list).map_err(|error| format!("reading {}: {error}", list.display()))?;
    let mut value: Value =
        serde_json::from_str(&text).map_err(|error| format!("{} is no JSON: {error}", list.display()))?;
    let plugins = value.get_mut("plugins").and_then(Value::as_array_mut);
    let plugins = plugins.ok_or_else(|| format!("{} has no list of plugins", list.display()))?;
    let changed = edit(plugins);
    if changed {
        replace(list, format!("{value:#}\n").as_bytes(), 0o644)?;
    }
    Ok(changed)
}

fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<(), String> {
    let new = path.with_extension("cofferdam-new");
    let write = || {
        fs::write(&new, bytes)?;
        fs::set_permissions(&new, fs::Permissions::from_mode(mode))?;
        fs::rename(&new, path)
    };
    write().map_err(|error: std::io::Error| format!("writing {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        reason = "in a test a panic is the failure report"
    )]

    use super::*;

    #[test]
    fn it_is_chained_once_and_taken_out_again() {
        let folder = tempfile::tempdir().unwrap();
        let list = folder.path().join("10-flannel.conflist");
        let before = json!({ "cniVersion": "1.0.0", "name": "cbr0", "plugins": [{ "type": "flannel" }, { "type": "portmap" }] });
        fs::write(&list, before.to_string()).unwrap();
        fs::write(folder.path().join("20-other.conflist"), "{").unwrap();
        let held = || serde_json::from_str::<Value>(&fs::read_to_string(&list).unwrap()).unwrap();
        for _ in 0..2 {
            install(folder.path(), folder.path()).unwrap();
            let plugins = held()["plugins"].as_array().unwrap().clone();
            assert_eq!((plugins.len(), &plugins[2]["type"]), (3, &json!(NAME)));
        }
        assert!(folder.path().join(NAME).is_file());
        uninstall(folder.path(), folder.path()).unwrap();
        assert_eq!(held(), before);
        assert!(!folder.path().join(NAME).exists());
    }

    #[test]
    fn it_is_taken_out_of_a_list_that_was_the_first_and_is_not_any_more() {
        let folder = tempfile::tempdir().unwrap();
        let old = folder.path().join("20-flannel.conflist");
        let before = json!({ "name": "cbr0", "plugins": [{ "type": "flannel" }] });
        fs::write(&old, before.to_string()).unwrap();
        install(folder.path(), folder.path()).unwrap();
        fs::write(folder.path().join("10-other.conflist"), r#"{"name":"o","plugins":[]}"#).unwrap();
        let said = uninstall(folder.path(), folder.path()).unwrap();
        assert!(said.contains("20-flannel.conflist") && !said.contains("10-other"), "{said}");
        assert_eq!(serde_json::from_str::<Value>(&fs::read_to_string(&old).unwrap()).unwrap(), before);
        assert!(!folder.path().join(NAME).exists());
        // Where there is nothing, there is nothing to do.
        fs::remove_file(&old).unwrap();
        uninstall(folder.path(), folder.path()).unwrap();
    }

    #[test]
    fn without_a_list_it_says_what_is_missing() {
        let folder = tempfile::tempdir().unwrap();
        assert!(install(folder.path(), folder.path()).unwrap_err().contains("must be there first"));
        assert!(run(&["dance".to_owned()]).is_err());
    }
}
