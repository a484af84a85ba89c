//! How many connections there may be at once.

use crate::reason::Reason;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// How many connections are open, and whether there may be one more.
#[derive(Debug)]
pub(crate) struct Bounds {
    total: usize,
    per_pod: usize,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    total: usize,
    pods: HashMap<IpAddr, usize>,
}

/// A place among the open connections; free again when dropped.
#[derive(Debug)]
#[must_use]
pub(crate) struct Slot {
    bounds: Arc<Bounds>,
    pod: IpAddr,
}

impl Bounds {
    pub(crate) fn new(total: usize, per_pod: usize) -> Arc<Self> {
        Arc::new(Self { total, per_pod, open: Mutex::default() })
    }

    pub(crate) fn admit(self: &Arc<Self>, pod: IpAddr) -> Result<Slot, Reason> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.total >= self.total {
            return Err(Reason::TooMany);
        }
        let of_pod = open.pods.entry(pod).or_default();
        if *of_pod >= self.per_pod {
            return Err(Reason::TooManyOfPod);
        }
        *of_pod += 1;
        open.total += 1;
        drop(open);
        Ok(Slot { bounds: self.clone(), pod })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut open = self.bounds.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.total = open.total.saturating_sub(1);
        if let Some(of_pod) = open.pods.get_mut(&self.pod) {
            *of_pod = of_pod.saturating_sub(1);
            if *of_pod == 0 {
                open.pods.remove(&self.pod);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_pod_cannot_take_every_place_and_places_are_given_back() {
        let bounds = Bounds::new(3, 2);
        let [one, other] = ["10.0.0.1", "10.0.0.2"].map(|text| text.parse::<IpAddr>().unwrap());
        let first = bounds.admit(one).unwrap();
        let _second = bounds.admit(one).unwrap();
        assert_eq!(bounds.admit(one).unwrap_err(), Reason::TooManyOfPod);
        let _third = bounds.admit(other).unwrap();
        assert_eq!(bounds.admit(other).unwrap_err(), Reason::TooMany);
        drop(first);
        let _again = bounds.admit(other).unwrap();
    }
}
