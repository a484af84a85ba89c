//! What the program reads of its environment, and nothing else of it does.
//!
//! Enters: variables. Leaves: their values; [`ALL`], which `cofferdam reference configuration` prints. Guarantees: a variable that
//! is empty, or no UTF-8, is one that is not set. Does not: take secrets; those come in files.

use std::env;

/// One variable.
#[derive(Debug)]
pub(crate) struct Variable {
    /// Its name.
    pub(crate) name: &'static str,
    /// Which commands read it.
    pub(crate) read_by: &'static str,
    /// What it says, and what holds where it is not set.
    pub(crate) meaning: &'static str,
}

pub(crate) const POD_NAME: Variable = Variable {
    name: "POD_NAME",
    read_by: "`controller`, `rollouts`, `egress-gateway`, `ingress-gateway`",
    meaning: "Name of the own pod: who holds a lease, and whose records these are. Without, the host's name or the process's number",
};
pub(crate) const POD_NAMESPACE: Variable = Variable {
    name: "POD_NAMESPACE",
    read_by: "`controller`, `rollouts`, `ingress-gateway --cluster`",
    meaning: "Namespace of leases and own objects where `--namespace` does not say it. Without, `cofferdam-system`",
};
pub(crate) const NODE_NAME: Variable = Variable {
    name: "NODE_NAME",
    read_by: "`agent`",
    meaning: "Name of the node in the cluster where `--node` does not say it. Without, the host's name",
};
pub(crate) const COFFERDAM_NAMESPACE: Variable = Variable {
    name: "COFFERDAM_NAMESPACE",
    read_by: "`kubectl cofferdam`",
    meaning: "Namespace in which the agents' pods are looked for. Without, `cofferdam-system`",
};
pub(crate) const XDG_RUNTIME_DIR: Variable = Variable {
    name: "XDG_RUNTIME_DIR",
    read_by: "`up`, and commands that ask it",
    meaning: "Folder of the user in which `cofferdam/cofferdam.sock` is one of the places of the socket. Without, `/run` or `/tmp` alone",
};
pub(crate) const TZ: Variable = Variable {
    name: "TZ",
    read_by: "lists with `--zone local`",
    meaning: "The zone that clocks are shown in. Without, that of `/etc/localtime`",
};
pub(crate) const NO_COLOR: Variable = Variable {
    name: "NO_COLOR",
    read_by: "lists at a terminal",
    meaning: "Where it is set, to anything, nothing is coloured",
};

/// Every variable.
pub(crate) const ALL: [&Variable; 7] =
    [&POD_NAME, &POD_NAMESPACE, &NODE_NAME, &COFFERDAM_NAMESPACE, &XDG_RUNTIME_DIR, &TZ, &NO_COLOR];

impl Variable {
    /// What it says; `None` where it says nothing.
    pub(crate) fn value(&self) -> Option<String> {
        env::var(self.name).ok().filter(|value| !value.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    /// Files below that read the environment themselves.
    fn readers(folder: &Path, found: &mut Vec<String>) {
        for entry in fs::read_dir(folder).expect("a folder of sources") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                readers(&path, found);
                continue;
            }
            let text = fs::read_to_string(&path).expect("UTF-8");
            if text.contains(concat!("env::", "var")) {
                found.push(path.display().to_string());
            }
        }
    }

    #[test]
    fn nobody_else_reads_the_environment() {
        let mut found = Vec::new();
        readers(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src")), &mut found);
        found.retain(|path| !path.ends_with("environment.rs"));
        assert!(found.is_empty(), "{found:?} read the environment past environment.rs");
    }
}
