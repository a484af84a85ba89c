//! How much of what other clusters export is kept.
//!
//! Enters: slices of others, as they come, each with its pods and its size. Leaves: whether there is room for it. Guarantees: what is
//! kept of one cluster is bounded in slices, pods and bytes, and of one of its namespaces in pods, whatever it exports; how many pods
//! found no room is counted, and where there are more slices than are counted, that is known. Does not: keep the slices.

use super::state::Name;
use std::collections::BTreeMap;

/// Most slices that are taken of one cluster.
pub(super) const MOST_SLICES: usize = 1024;
/// Slices of one cluster that are known to be there, taken or not. Those beyond are not even counted.
pub(super) const MOST_KNOWN: usize = 8 * MOST_SLICES;
/// Most pods that are taken of one namespace of one cluster.
pub(super) const MOST_PODS_OF_NAMESPACE: usize = 10_000;
/// Most pods that are taken of one cluster.
pub(super) const MOST_PODS: usize = 50_000;
/// Most bytes that are taken of one cluster, of slices as JSON.
pub(super) const MOST_BYTES: usize = 64 * 1024 * 1024;

/// What becomes of a slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// It is kept.
    Kept,
    /// There is no room for its pods: they are counted.
    Full,
    /// There is no room for its name.
    Beyond,
}

/// What there is of something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) slices: usize,
    pub(super) pods: usize,
    pub(super) bytes: usize,
}

impl Size {
    fn plus(self, other: Self) -> Self {
        Self {
            slices: self.slices.saturating_add(other.slices),
            pods: self.pods.saturating_add(other.pods),
            bytes: self.bytes.saturating_add(other.bytes),
        }
    }

    fn minus(self, other: Self) -> Self {
        Self {
            slices: self.slices.saturating_sub(other.slices),
            pods: self.pods.saturating_sub(other.pods),
            bytes: self.bytes.saturating_sub(other.bytes),
        }
    }
}

/// A slice that is known.
#[derive(Debug)]
struct Held {
    namespace: String,
    size: Size,
    is_kept: bool,
}

/// One other cluster.
#[derive(Debug, Default)]
struct Peer {
    slices: BTreeMap<String, Held>,
    kept: Size,
    /// Pods that are kept, by namespace.
    pods: BTreeMap<String, usize>,
    /// Whether there is anything that found no room.
    is_full: bool,
    /// Whether there are slices that are not even counted.
    is_beyond: bool,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Room {
    peers: BTreeMap<String, Peer>,
    /// Where something found no room, there is some now: only who lists anew finds it.
    pub(super) is_freed: bool,
}

impl Room {
    /// Everything is listed anew.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Whether there is room for a slice, which may have been there before with another size. `None`: its pods are of no use here, and
    /// only its name is kept.
    pub(super) fn put(&mut self, whole: &Name, namespace: &str, size: Option<Size>) -> Place {
        let before = self.take(whole).unwrap_or_default();
        let (cluster, name) = whole;
        let peer = self.peers.entry(cluster.clone()).or_default();
        if peer.slices.len() >= MOST_KNOWN {
            (peer.is_full, peer.is_beyond) = (true, true);
            return Place::Beyond;
        }
        let of_namespace = peer.pods.get(namespace).copied().unwrap_or_default();
        let wanted = size.unwrap_or_default();
        let sum = peer.kept.plus(wanted);
        let fits = sum.slices <= MOST_SLICES
            && sum.pods <= MOST_PODS
            && sum.bytes <= MOST_BYTES
            && of_namespace.saturating_add(wanted.pods) <= MOST_PODS_OF_NAMESPACE;
        let is_kept = fits && size.is_some();
        if is_kept {
            peer.kept = sum;
            *peer.pods.entry(namespace.to_owned()).or_default() += wanted.pods;
        }
        let now = if is_kept { wanted } else { Size::default() };
        self.is_freed |= peer.is_full && before.minus(now) != Size::default();
        peer.is_full |= !fits;
        peer.slices.insert(name.clone(), Held { namespace: namespace.to_owned(), size: wanted, is_kept });
        if fits { Place::Kept } else { Place::Full }
    }

    /// Whether anything of a cluster found no room.
    pub(super) fn is_full(&self, cluster: &str) -> bool {
        self.peers.get(cluster).is_some_and(|peer| peer.is_full)
    }

    /// Clusters that have more slices than are counted.
    pub(super) fn beyond(&self) -> impl Iterator<Item = &str> {
        self.peers.iter().filter(|(_, peer)| peer.is_beyond).map(|(cluster, _)| cluster.as_str())
    }

    /// A slice is gone.
    pub(super) fn remove(&mut self, whole: &Name) {
        let had = self.take(whole).is_some();
        self.is_freed |= had && self.peers.get(&whole.0).is_some_and(|peer| peer.is_full);
    }

    /// Its size, if it was kept.
    fn take(&mut self, (cluster, name): &Name) -> Option<Size> {
        let peer = self.peers.get_mut(cluster)?;
        let Held { namespace, size, is_kept } = peer.slices.remove(name)?;
        if !is_kept {
            return None;
        }
        peer.kept = peer.kept.minus(size);
        if let Some(pods) = peer.pods.get_mut(&namespace) {
            *pods = pods.saturating_sub(size.pods);
            if *pods == 0 {
                peer.pods.remove(&namespace);
            }
        }
        Some(size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(cluster: &str, number: usize) -> Name {
        (cluster.to_owned(), format!("ml.{number}"))
    }

    fn of(pods: usize, bytes: usize) -> Option<Size> {
        Some(Size { slices: 1, pods, bytes })
    }

    /// How many slices of this size are kept, of so many.
    fn kept(all: usize, size: Option<Size>, namespace: impl Fn(usize) -> String) -> usize {
        let mut room = Room::default();
        let places = (0..all).map(|number| room.put(&name("west", number), &namespace(number), size));
        places.filter(|place| *place == Place::Kept).count()
    }

    #[test]
    fn each_bound_holds_by_itself() {
        let one = |_| "ml".to_owned();
        let many = |number: usize| format!("n{number}");
        assert_eq!(kept(2000, of(1, 1), one), MOST_SLICES);
        assert_eq!(kept(2000, of(250, 1), one), MOST_PODS_OF_NAMESPACE / 250);
        assert_eq!(kept(2000, of(250, 1), many), MOST_PODS / 250);
        assert_eq!(kept(2000, of(1, MOST_BYTES / 10), many), 10);
        // Names alone cost little, and are bounded as well.
        assert_eq!(kept(MOST_KNOWN + 5, None, many), MOST_KNOWN);
    }

    #[test]
    fn what_one_cluster_has_is_no_matter_of_another_and_room_comes_back() {
        let mut room = Room::default();
        let all = of(MOST_PODS_OF_NAMESPACE, 1);
        assert_eq!(room.put(&name("west", 0), "ml", all), Place::Kept);
        assert_eq!(room.put(&name("west", 0), "ml", all), Place::Kept, "it is the same one");
        assert_eq!(room.put(&name("west", 1), "ml", of(1, 1)), Place::Full);
        assert_eq!(room.put(&name("south", 0), "ml", all), Place::Kept);
        room.remove(&name("south", 0));
        room.remove(&name("west", 1));
        assert_eq!(room.put(&name("west", 2), "ml", of(1, 1)), Place::Full);
        room.put(&name("west", 0), "ml", all);
        assert!(!room.is_freed, "nothing went");
        room.put(&name("west", 0), "ml", of(5, 1));
        assert!(room.is_freed);
        assert_eq!(room.put(&name("west", 1), "ml", of(1, 1)), Place::Kept);
    }
}
