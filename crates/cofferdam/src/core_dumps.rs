//! Keeps what a process holds in memory out of core dumps.
//!
//! Guarantees: whatever kills the process, the kernel writes none of its memory to a disk or to a collector of dumps, and nobody
//! without CAP_SYS_PTRACE may look into it. Does not: keep anything from root, from the kernel or from swap.

use anyhow::{Context, Result};
use nix::sys::prctl::set_dumpable;
use nix::sys::resource::{Resource, setrlimit};

/// From now on, for this process; the limit is also that of its children.
pub(crate) fn refuse() -> Result<()> {
    // Dumps that are piped to a program are made whatever the limit is, and only of processes that can be dumped.
    set_dumpable(false).context("asking the kernel for no core dumps (PR_SET_DUMPABLE)")?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0).context("asking the kernel for no core dumps (RLIMIT_CORE)")
}
