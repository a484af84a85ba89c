//! What was removed from the kernel behind this process, and what it removes itself for good.
//!
//! Enters: whether the kernel still has what is in force. Leaves: the same in force again, and a sentence about it; or, once
//! somebody wants it so, nothing at all until this process ends. Does not: look into tables that are there.

use super::Engine;
use crate::up::enforce::Enforcer;
use crate::up::protocol::Mode;
use anyhow::{Context, Result, bail};

/// Why nothing is enforced any more.
const RELEASED: &str =
    "nothing is enforced, for `cofferdam uninstall` removed it: start this process anew to enforce again";

impl Engine {
    /// Puts in force again what somebody removed from the kernel. What to tell about it.
    pub(super) fn put_back(&mut self) -> Option<String> {
        let lacks = |enforcer: &mut Enforcer| (!enforcer.is_whole()).then(|| enforcer.node().to_string());
        let nodes: Vec<String> = self.enforcers.iter_mut().filter_map(lacks).collect();
        if nodes.is_empty() {
            return None;
        }
        let mut set = self.in_force.take()?;
        let put_back = self.enforce(&mut set);
        self.in_force = Some(set);
        let removed = format!("somebody removed rules of node {} from the kernel", nodes.join(", "));
        Some(match put_back {
            Ok(()) => format!("{removed}; they are in force again"),
            Err(error) => format!("{removed}, and they cannot be put in force again: {error:#}"),
        })
    }

    /// Removes everything from the kernel, and puts nothing in force any more: who removes it ends this process next. A lab
    /// keeps what it has to itself.
    pub(crate) fn remove(&mut self) -> Result<()> {
        match self.mode {
            Mode::Lab | Mode::JudgeOnly => return Ok(()),
            Mode::Machine | Mode::Node => {}
        }
        self.is_released = true;
        self.notes = vec![RELEASED.to_owned()];
        for enforcer in &mut self.enforcers {
            let node = enforcer.node().clone();
            enforcer.release().with_context(|| format!("node {node}"))?;
        }
        Ok(())
    }

    pub(super) fn refuse_released(&self) -> Result<()> {
        if self.is_released {
            bail!(RELEASED);
        }
        Ok(())
    }
}
