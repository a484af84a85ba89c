//! How much a pod may send over one connection, whatever it says inside.

use crate::reason::Reason;
use policy::UploadLimits;
use serde::{Deserialize, Serialize};

/// What a connection may carry from the pod to the server, in bytes of TCP payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ceiling {
    /// At most so much.
    pub max_upload: Option<u64>,
    /// At most what goes with downloading.
    pub download_only: Option<DownloadOnly>,
}

/// A pod that only downloads sends handshakes, requests and acknowledgements of HTTP/2: an allowance, and a share of
/// what it receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DownloadOnly {
    /// Bytes that are always free.
    pub allowance: u64,
    /// Besides, so many of 100 bytes received.
    pub percent: u32,
}

impl Default for DownloadOnly {
    fn default() -> Self {
        Self { allowance: 64 * 1024, percent: 5 }
    }
}

impl From<UploadLimits> for Ceiling {
    /// What of a rule's limits is one connection's.
    fn from(limits: UploadLimits) -> Self {
        let download_only = limits.download_only.then(DownloadOnly::default);
        Self { max_upload: limits.connection, download_only }
    }
}

impl Ceiling {
    /// Whether a pod may have sent `up` bytes when it has received `down`.
    ///
    /// # Errors
    /// It may not, for this reason.
    pub fn check(&self, up: u64, down: u64) -> Result<(), Reason> {
        if self.max_upload.is_some_and(|most| up > most) {
            return Err(Reason::UploadCeiling);
        }
        if let Some(only) = self.download_only {
            let share = u128::from(down) * u128::from(only.percent) / 100;
            if u128::from(up) > u128::from(only.allowance) + share {
                return Err(Reason::DownloadOnly);
            }
        }
        Ok(())
    }

    /// Whether all that it allows, another allows too.
    pub(crate) fn is_within(&self, other: &Self) -> bool {
        let most = |ceiling: &Self| ceiling.max_upload.unwrap_or(u64::MAX);
        let is_share_within = match (self.download_only, other.download_only) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(own), Some(other)) => own.allowance <= other.allowance && own.percent <= other.percent,
        };
        most(self) <= most(other) && is_share_within
    }

    /// Whether nothing needs to be checked.
    pub fn is_open(&self) -> bool {
        self.max_upload.is_none() && self.download_only.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ceiling_is_reached_by_the_first_byte_beyond() {
        let most = Ceiling { max_upload: Some(10), download_only: None };
        assert_eq!(most.check(10, 0), Ok(()));
        assert_eq!(most.check(11, 1 << 40), Err(Reason::UploadCeiling));
        let only = DownloadOnly { allowance: 100, percent: 5 };
        let only = Ceiling { max_upload: None, download_only: Some(only) };
        assert_eq!(only.check(100, 0), Ok(()));
        assert_eq!(only.check(101, 19), Err(Reason::DownloadOnly));
        assert_eq!(only.check(101, 20), Ok(()));
        assert_eq!(only.check(u64::MAX, u64::MAX), Err(Reason::DownloadOnly));
        assert_eq!(Ceiling::default().check(u64::MAX, 0), Ok(()));
    }

    #[test]
    fn a_ceiling_is_within_another_that_allows_no_less() {
        let most = |max_upload| Ceiling { max_upload: Some(max_upload), download_only: None };
        let only = |allowance| {
            let download_only = Some(DownloadOnly { allowance, percent: 5 });
            Ceiling { max_upload: None, download_only }
        };
        let open = Ceiling::default();
        for (one, other) in [(most(1), most(2)), (most(1), open), (only(1), only(2)), (only(1), open)] {
            assert!(
                one.is_within(&other) && one.is_within(&one) && !other.is_within(&one),
                "{one:?} {other:?}"
            );
        }
        assert!(!most(1).is_within(&only(1)) && !only(1).is_within(&most(1)));
    }
}
