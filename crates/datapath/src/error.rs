//! Why the kernel's state could not be changed or read.

use crate::netlink::{Refused, TransactError};
use crate::nft::image::BrokenTable;
use nix::errno::Errno;

/// Why an operation on the kernel's state failed. What was in force before stays in force.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// Not allowed.
    #[error(
        "{doing}: not permitted; this needs CAP_NET_ADMIN in the network namespace (root, or a user namespace)"
    )]
    NoPrivilege {
        /// What was being done.
        doing: String,
    },
    /// The kernel lacks something.
    #[error("{doing}: this kernel lacks {what}")]
    Unsupported {
        /// What was being done.
        doing: String,
        /// What is missing.
        what: &'static str,
    },
    /// The kernel refused a part of the change, so all of it.
    #[error("{doing}: {errno}")]
    Kernel {
        /// The part that was refused.
        doing: String,
        /// The kernel's reason.
        errno: Errno,
    },
    /// The change is larger than this process may send in one piece.
    #[error("the change has {bytes} bytes; net.core.wmem_max allows less in one transaction")]
    TooBig {
        /// Size of the transaction.
        bytes: usize,
    },
    /// The kernel did not answer.
    #[error("the kernel did not acknowledge the change")]
    NoAnswer,
    /// The table contradicts itself.
    #[error("the table cannot be loaded: {0}")]
    Table(#[from] BrokenTable),
    /// Nothing was applied yet, so there is nothing to change.
    #[error("no table is in force yet")]
    NotInstalled,
    /// A budget has a number that packets of others carry.
    #[error("budget {number}: numbers below 16 are priorities of ordinary packets")]
    Number {
        /// The number.
        number: u32,
    },
}

impl ApplyError {
    pub(crate) fn from_errno(doing: impl Into<String>, errno: Errno) -> Self {
        let doing = doing.into();
        match errno {
            Errno::EPERM | Errno::EACCES => Self::NoPrivilege { doing },
            Errno::EPROTONOSUPPORT | Errno::EAFNOSUPPORT => {
                Self::Unsupported { doing, what: "netfilter netlink (CONFIG_NETFILTER_NETLINK)" }
            }
            Errno::EOPNOTSUPP => Self::Unsupported { doing, what: "nf_tables support for this" },
            _ => Self::Kernel { doing, errno },
        }
    }

    /// `doing` names what each message was to do, by rising sequence number.
    pub(crate) fn from_transact(error: TransactError, doing: &[(u32, String)]) -> Self {
        match error {
            TransactError::Socket(errno) => Self::from_errno("talking to the kernel", errno),
            TransactError::TooBig(bytes) => Self::TooBig { bytes },
            TransactError::NoAnswer => Self::NoAnswer,
            TransactError::Refused(Refused { sequence, errno }) => {
                let part = doing.iter().find(|(number, _)| *number == sequence);
                let part = part.map_or("opening a transaction", |(_, doing)| doing.as_str());
                Self::from_errno(part, errno)
            }
        }
    }
}

/// The outcome of a removal, which is done too if there was nothing to remove.
pub(crate) fn absent_is_fine(done: Result<(), TransactError>) -> Result<(), ApplyError> {
    match done {
        Ok(()) => Ok(()),
        Err(TransactError::Refused(refused))
            if matches!(refused.errno, Errno::ENOENT | Errno::ESRCH | Errno::EAFNOSUPPORT) =>
        {
            Ok(())
        }
        Err(error) => Err(ApplyError::from_transact(error, &[])),
    }
}
