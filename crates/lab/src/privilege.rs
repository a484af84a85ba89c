//! What this process may do with networks, and getting it without root where the kernel allows.

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getegid, geteuid};
use std::fmt;

/// Bit of CAP_NET_ADMIN and CAP_SYS_ADMIN in `CapEff` (linux/capability.h).
const NEEDED: u64 = 1 << 12 | 1 << 21;

/// What was found or obtained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Privilege {
    /// The process could administer networks from the start.
    Root,
    /// It can now, inside a user namespace of its own: nothing of the machine itself is touched.
    UserNamespace,
    /// It cannot.
    None {
        /// What was tried and refused.
        why: String,
    },
}

impl fmt::Display for Privilege {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => f.write_str("root"),
            Self::UserNamespace => f.write_str("a user namespace of its own"),
            Self::None { why } => write!(f, "none: {why}"),
        }
    }
}

/// Finds out, and enters a user namespace if needed. Call it before any thread is started: the kernel refuses a user
/// namespace to a process with threads.
#[must_use]
pub fn enter() -> Privilege {
    if has_capabilities() {
        return Privilege::Root;
    }
    match enter_user_namespace() {
        Ok(()) => Privilege::UserNamespace,
        Err(why) => Privilege::None { why },
    }
}

/// Whether the process may administer networks and make namespaces, as it stands.
pub fn has_capabilities() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = effective.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
    effective.is_some_and(|bits| bits & NEEDED == NEEDED)
}

fn enter_user_namespace() -> Result<(), String> {
    let (uid, gid) = (geteuid(), getegid());
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS)
        .map_err(|e| format!("the kernel refused a user namespace: {e}"))?;
    let write = |file: &str, text: String| {
        std::fs::write(format!("/proc/self/{file}"), text)
            .map_err(|e| format!("writing /proc/self/{file}: {e}"))
    };
    write("setgroups", "deny".into())?;
    write("uid_map", format!("0 {uid} 1"))?;
    write("gid_map", format!("0 {gid} 1"))?;
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
        .map_err(|e| format!("private mounts: {e}"))?;
    // Named namespaces live under /run, which belongs to the real root.
    mount(Some("cofferdam"), "/run", Some("tmpfs"), MsFlags::empty(), Some("mode=0755"))
        .map_err(|e| format!("a tmpfs on /run: {e}"))
}
