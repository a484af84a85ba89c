//! What DNS answered this node's pods, and for how long it holds.
//!
//! Enters: bindings as the DNS proxy asks for them. Leaves: for each pod and address the names that hold now, and those that
//! ran out while a connection was open. Guarantees: bounded, and what would go beyond is refused, so that nothing has to
//! make room; what holds outlives the process, in a file that is written before anybody is told that it holds.
//! Does not: write to the kernel, or ask the clock.

use anyhow::{Context, Result, bail};
use policy::{DnsName, PodName, Resolved, World};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Seconds that an address holds beyond what the answer says: whoever asked may still be about to connect.
pub(crate) const GRACE: u64 = 10;
/// Longest time that anything holds, as the DNS proxy asks for it: what is told to hold longer was told by another clock.
const LONGEST: u64 = 86_400 + GRACE;
/// Names of one address, which are all looked at whenever it gets another; names of addresses of one pod, which must leave room
/// for others, and of all pods.
const OF_ADDRESS: usize = 1 << 12;
const OF_POD: usize = 1 << 16;
const OF_NODE: usize = 200_000;

/// Seconds since 1970.
pub(crate) type Seconds = u64;

/// The names of one address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Known {
    live: BTreeMap<DnsName, Seconds>,
    past: BTreeSet<DnsName>,
}

impl Known {
    /// Those that hold.
    pub(crate) fn live(&self) -> impl Iterator<Item = &DnsName> {
        self.live.keys()
    }

    /// Those that ran out while a connection was open.
    pub(crate) fn past(&self) -> impl Iterator<Item = &DnsName> {
        self.past.iter()
    }

    fn len(&self) -> usize {
        self.live.len() + self.past.len()
    }

    /// Whether something ran out, or is only kept for a connection.
    fn is_due(&self, now: Seconds) -> bool {
        !self.past.is_empty() || self.live.values().any(|until| *until <= now)
    }

    fn has(&self, name: &DnsName) -> bool {
        self.live.contains_key(name) || self.past.contains(name)
    }
}

/// What one pod knows.
#[derive(Debug, Default)]
struct OfPod {
    known: BTreeMap<IpAddr, Known>,
    /// Names of all of its addresses.
    held: usize,
}

/// All that is known.
#[derive(Debug, Default)]
pub(crate) struct Names {
    pods: BTreeMap<PodName, OfPod>,
    held: usize,
    file: Option<Log>,
}

/// One line of the file.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    pod: PodName,
    names: Vec<Arc<str>>,
    addresses: Vec<IpAddr>,
    until: Seconds,
}

impl Names {
    /// What an earlier process knew. What ran out meanwhile counts as open until somebody looks.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub(crate) fn recall(path: &Path, now: Seconds) -> Result<Self> {
        let mut names = Self::default();
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error).with_context(|| format!("reading {}", path.display())),
        };
        // A line may be half of one, if the process was killed while writing or the disk was full; nobody was told that it holds.
        for line in text.lines().filter_map(|line| serde_json::from_str::<Line>(line).ok()) {
            let parsed: Vec<DnsName> =
                line.names.iter().filter_map(|name| DnsName::parse(name).ok()).collect();
            names.put(&line.pod, &parsed, &line.addresses, line.until.min(now + LONGEST));
        }
        names.expire(now, |_, _| true);
        names.file = Some(Log::write(path, &names)?);
        Ok(names)
    }

    /// Takes in what a pod is about to be told, and returns the addresses that got a name they had not.
    ///
    /// # Errors
    /// There is no room, or the file cannot be written. Nothing was taken in.
    pub(crate) fn learn(
        &mut self,
        pod: &PodName,
        names: &[DnsName],
        addresses: &[IpAddr],
        until: Seconds,
    ) -> Result<Vec<IpAddr>> {
        let of_pod = self.pods.get(pod);
        let known = |address: &IpAddr| of_pod.and_then(|it| it.known.get(address));
        let is_open = |address: &IpAddr, name: &DnsName| {
            known(address).is_some_and(|known| known.live.contains_key(name))
        };
        let gains = |address: &IpAddr| names.iter().any(|name| !is_open(address, name));
        let is_new = |address: &IpAddr, name: &DnsName| known(address).is_none_or(|known| !known.has(name));
        let new_of = |address: &IpAddr| names.iter().filter(|name| is_new(address, name)).count();
        let is_full = |address: &&IpAddr| {
            let (held, new) = (known(address).map_or(0, Known::len), new_of(address));
            new > 0 && held + new > OF_ADDRESS
        };
        if let Some(full) = addresses.iter().find(is_full) {
            bail!(
                "{full} has {OF_ADDRESS} names for this pod: no room for another until one of them runs out"
            );
        }
        let new: usize = addresses.iter().map(new_of).sum();
        let held = of_pod.map_or(0, |it| it.held);
        if new > 0 && (held + new > OF_POD || self.held + new > OF_NODE) {
            bail!(
                "{} names of addresses are known on this node, {held} of them for this pod: no room for {new} more",
                self.held
            );
        }
        let gained: Vec<IpAddr> = addresses.iter().copied().filter(gains).collect();
        if let Some(file) = &mut self.file {
            let names = names.iter().map(|name| name.as_str().into()).collect();
            file.add(&Line { pod: pod.clone(), names, addresses: addresses.to_vec(), until })?;
        }
        self.put(pod, names, addresses, until);
        self.tidy();
        Ok(gained)
    }

    fn put(&mut self, pod: &PodName, names: &[DnsName], addresses: &[IpAddr], until: Seconds) {
        let of_pod = self.pods.entry(pod.clone()).or_default();
        self.held -= of_pod.held;
        for address in addresses {
            let known = of_pod.known.entry(*address).or_default();
            of_pod.held -= known.len();
            for name in names {
                known.past.remove(name);
                let held = known.live.entry(name.clone()).or_default();
                *held = until.max(*held);
            }
            of_pod.held += known.len();
        }
        self.held += of_pod.held;
    }

    /// Whether anything ran out, or is only kept for a connection that may have ended.
    pub(crate) fn is_due(&self, now: Seconds) -> bool {
        self.due(now).next().is_some()
    }

    /// What ran out, and what is only kept for a connection.
    pub(crate) fn due(&self, now: Seconds) -> impl Iterator<Item = (&PodName, IpAddr)> {
        self.pods.iter().flat_map(move |(pod, of_pod)| {
            let due = of_pod.known.iter().filter(move |(_, known)| known.is_due(now));
            due.map(move |(address, _)| (pod, *address))
        })
    }

    /// Ends what ran out; what a connection is open by stays for it. Returns what changed.
    pub(crate) fn expire(
        &mut self,
        now: Seconds,
        is_open: impl Fn(&PodName, IpAddr) -> bool,
    ) -> Vec<(PodName, IpAddr)> {
        let mut changed = Vec::new();
        for (pod, OfPod { known: of_pod, held }) in &mut self.pods {
            *held = 0;
            of_pod.retain(|address, known| {
                if !known.is_due(now) {
                    *held += known.len();
                    return true;
                }
                let before = known.clone();
                let ended =
                    known.live.iter().filter(|(_, until)| **until <= now).map(|(name, _)| name.clone());
                known.past.extend(ended);
                known.live.retain(|_, until| *until > now);
                if !known.past.is_empty() && !is_open(pod, *address) {
                    known.past.clear();
                }
                if !known.live.keys().eq(before.live.keys()) || known.past != before.past {
                    changed.push((pod.clone(), *address));
                }
                *held += known.len();
                known.len() > 0
            });
        }
        self.pods.retain(|_, of_pod| of_pod.held > 0);
        self.count();
        changed
    }

    /// The names of an address for a pod.
    pub(crate) fn get(&self, pod: &PodName, address: IpAddr) -> Option<&Known> {
        self.pods.get(pod)?.known.get(&address)
    }

    /// Every pod and address of which a name is known.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&PodName, IpAddr)> {
        self.pods.iter().flat_map(|(pod, of_pod)| of_pod.known.keys().map(move |address| (pod, *address)))
    }

    /// Names of addresses that are known, of all pods.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.held
    }

    /// What a policy set must know. Pods that it does not know are forgotten: whoever comes by their name is another.
    pub(crate) fn answers(&mut self, world: &World) -> BTreeMap<PodName, Resolved> {
        self.retain(|pod| world.find_pod(&pod.0, &pod.1).is_some());
        let resolved = |of_pod: &OfPod| {
            let mut resolved = Resolved::default();
            for (address, known) in &of_pod.known {
                if !known.live.is_empty() {
                    resolved.live.insert(*address, known.live().cloned().collect());
                }
                if !known.past.is_empty() {
                    resolved.past.insert(*address, known.past.clone());
                }
            }
            resolved
        };
        self.pods.iter().map(|(pod, of_pod)| (pod.clone(), resolved(of_pod))).collect()
    }

    /// Forgets what pods know that this does not mean.
    pub(crate) fn retain(&mut self, is_meant: impl Fn(&PodName) -> bool) {
        self.pods.retain(|pod, _| is_meant(pod));
        self.count();
    }

    fn count(&mut self) {
        self.held = self.pods.values().map(|of_pod| of_pod.held).sum();
    }

    /// Writes the file anew when most of it is old. Where that cannot be done, the old one goes on.
    fn tidy(&mut self) {
        let Some(mut file) = self.file.take() else { return };
        if file.pairs > 2 * self.held + 4096 {
            match Log::write(&file.path, self) {
                Ok(new) => file = new,
                // Tried again after as many more.
                Err(_) => file.pairs = 0,
            }
        }
        self.file = Some(file);
    }
}

/// The file: what was learned, line by line. It lives as long as the kernel's rules do: a reboot empties its folder.
#[derive(Debug)]
struct Log {
    path: PathBuf,
    file: File,
    /// Names of addresses that its lines tell of: one line may tell of as many as an answer has.
    pairs: usize,
    /// What was written last may be half a line.
    is_torn: bool,
}

impl Log {
    fn add(&mut self, line: &Line) -> Result<()> {
        let mut text = if self.is_torn { b"\n".to_vec() } else { Vec::new() };
        serde_json::to_writer(&mut text, line)?;
        text.push(b'\n');
        let written = self.file.write_all(&text);
        self.is_torn = written.is_err();
        self.pairs += line.names.len() * line.addresses.len();
        written.with_context(|| format!("writing {}", self.path.display()))
    }

    /// Writes all that is known in place of what is at the path.
    fn write(path: &Path, names: &Names) -> Result<Self> {
        let new = path.with_extension("new");
        // Who asked for what is not for everybody on the node.
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new);
        let file = file.with_context(|| format!("writing {}", new.display()))?;
        let mut log = Self { path: path.to_owned(), file, pairs: 0, is_torn: false };
        for (pod, of_pod) in &names.pods {
            for (address, known) in &of_pod.known {
                // What ran out is told as such: at the next start it counts as open until somebody looks.
                let past = known.past.iter().map(|name| (name, &0));
                for (name, until) in known.live.iter().chain(past) {
                    let names = vec![name.as_str().into()];
                    log.add(&Line { pod: pod.clone(), names, addresses: vec![*address], until: *until })?;
                }
            }
        }
        fs::rename(&new, path).with_context(|| format!("replacing {}", path.display()))?;
        Ok(log)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str) -> PodName {
        ("x".into(), name.into())
    }

    fn name(text: &str) -> DnsName {
        DnsName::parse(text).unwrap()
    }

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    fn live(names: &Names, of: &str, at: IpAddr) -> Vec<String> {
        names.get(&pod(of), at).into_iter().flat_map(Known::live).map(ToString::to_string).collect()
    }

    fn past(names: &Names, of: &str, at: IpAddr) -> Vec<String> {
        names.get(&pod(of), at).into_iter().flat_map(Known::past).map(ToString::to_string).collect()
    }

    #[test]
    fn an_answer_holds_for_who_asked_until_it_runs_out() {
        let mut names = Names::default();
        let one = names.learn(&pod("a"), &[name("hub.io")], &[address(1), address(2)], 100).unwrap();
        assert_eq!(one, [address(1), address(2)]);
        let again = names.learn(&pod("a"), &[name("hub.io")], &[address(2), address(3)], 200).unwrap();
        assert_eq!(again, [address(3)], "only what is new to the pod concerns the kernel");
        assert!(live(&names, "b", address(1)).is_empty());
        assert!(!names.is_due(99) && names.is_due(100));
        assert_eq!(names.expire(100, |_, _| false), [(pod("a"), address(1))]);
        assert_eq!(live(&names, "a", address(2)), ["hub.io"]);
        assert_eq!(names.len(), 2);
    }

    #[test]
    fn what_a_connection_is_open_by_stays_for_it_and_comes_back_to_life() {
        let mut names = Names::default();
        names.learn(&pod("a"), &[name("hub.io"), name("cdn.io")], &[address(1)], 100).unwrap();
        assert_eq!(names.expire(100, |_, _| true), [(pod("a"), address(1))]);
        assert_eq!((live(&names, "a", address(1)).len(), past(&names, "a", address(1)).len()), (0, 2));
        assert_eq!(names.expire(101, |_, _| true), [], "nothing changed");
        assert_eq!(names.learn(&pod("a"), &[name("hub.io")], &[address(1)], 300).unwrap(), [address(1)]);
        assert_eq!(
            (live(&names, "a", address(1)), past(&names, "a", address(1))),
            (vec!["hub.io".into()], vec!["cdn.io".into()])
        );
        assert_eq!(names.expire(102, |_, _| false), [(pod("a"), address(1))]);
        assert!(past(&names, "a", address(1)).is_empty());
        assert!(!names.is_due(102));
    }

    #[test]
    fn a_full_disk_lets_nothing_be_told_that_is_not_kept_and_spoils_nothing_that_is_told_later() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("names");
        let mut names = Names::recall(&path, 0).unwrap();
        let learn =
            |names: &mut Names, last| names.learn(&pod("a"), &[name("hub.io")], &[address(last)], 100);
        learn(&mut names, 1).unwrap();
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut good = std::mem::replace(&mut names.file.as_mut().unwrap().file, full);
        let told = format!("{:#}", learn(&mut names, 2).unwrap_err());
        assert!(told.contains("No space left"), "{told}");
        assert!(live(&names, "a", address(2)).is_empty());
        // A disk takes as much of a line as it has room for.
        good.write_all(b"{\"pod\":[\"x\",").unwrap();
        names.file.as_mut().unwrap().file = good;
        learn(&mut names, 3).unwrap();
        // Nor can the file be written anew.
        fs::create_dir(path.with_extension("new")).unwrap();
        names.file.as_mut().unwrap().pairs = 10_000;
        learn(&mut names, 4).unwrap();
        learn(&mut names, 5).unwrap();
        fs::remove_dir(path.with_extension("new")).unwrap();
        let again = Names::recall(&path, 0).unwrap();
        for (last, is_known) in [(1, true), (2, false), (3, true), (4, true), (5, true)] {
            assert_eq!(live(&again, "a", address(last)).len(), usize::from(is_known), "{last}");
        }
    }

    #[test]
    fn the_next_process_knows_what_this_one_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("names");
        let mut names = Names::recall(&path, 0).unwrap();
        names.learn(&pod("a"), &[name("hub.io")], &[address(1)], 100).unwrap();
        names.learn(&pod("b"), &[name("hub.io")], &[address(2)], 50).unwrap();
        names.expire(50, |_, _| true);
        drop(names);
        fs::write(&path, fs::read_to_string(&path).unwrap() + "{\"pod\": [\"x\"").unwrap();
        let mut names = Names::recall(&path, 60).unwrap();
        assert_eq!(live(&names, "a", address(1)), ["hub.io"]);
        assert_eq!(past(&names, "b", address(2)), ["hub.io"], "its connection may be open");
        assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 2);
        // A file that grows is written anew.
        for turn in 0..10_000 {
            names.learn(&pod("a"), &[name("hub.io")], &[address(1)], 100 + turn).unwrap();
        }
        assert!(fs::read_to_string(&path).unwrap().lines().count() < 9000);
        let mut names = Names::recall(&path, 10_050).unwrap();
        assert_eq!(live(&names, "a", address(1)), ["hub.io"]);
        // So is one of few lines that are long.
        let many: Vec<IpAddr> = (0..=255).map(address).collect();
        for turn in 0..100 {
            names.learn(&pod("a"), &[name("hub.io")], &many, 20_000 + turn).unwrap();
        }
        assert!(fs::metadata(&path).unwrap().len() < 256 * 1024);
    }

    #[test]
    fn what_has_no_room_is_refused_and_what_holds_stays() {
        let mut names = Names::default();
        let addresses: Vec<IpAddr> =
            (0..1 << 16).map(|number| IpAddr::from(std::net::Ipv4Addr::from_bits(number))).collect();
        names.learn(&pod("a"), &[name("hub.io")], &addresses, 100).unwrap();
        let error = names.learn(&pod("a"), &[name("hub.io")], &[address(1)], 100).unwrap_err().to_string();
        assert!(error.contains("no room for 1 more"), "{error}");
        names.learn(&pod("a"), &[name("hub.io")], &addresses, 200).unwrap();
        names.learn(&pod("b"), &[name("cdn.io")], &[address(1)], 100).unwrap();
        assert_eq!(names.len(), (1 << 16) + 1);
        // What ran out while a connection is open comes back to life where there is room for nothing new.
        names.expire(150, |_, _| true);
        names.expire(200, |_, _| true);
        assert_eq!(names.learn(&pod("a"), &[name("hub.io")], &addresses[..1], 300).unwrap(), addresses[..1]);
    }

    #[test]
    fn a_pod_that_asks_for_names_without_end_leaves_room_for_others() {
        let mut names = Names::default();
        let many: Vec<DnsName> = (0..OF_ADDRESS).map(|number| name(&format!("n{number}.hub.io"))).collect();
        let addresses: Vec<IpAddr> = (0..=16).map(address).collect();
        names.learn(&pod("a"), &many, &addresses[..16], 100).unwrap();
        assert_eq!(names.len(), OF_POD);
        assert!(names.learn(&pod("a"), &many[..1], &addresses[16..], 100).is_err());
        names.learn(&pod("b"), &many[..1], &addresses[16..], 100).unwrap();
        names.expire(100, |_, _| false);
        names.learn(&pod("a"), &many[..1], &addresses[16..], 200).unwrap();
    }

    /// All names of an address are looked at with each that it gets, so the sum of that grows with the square of their number up to
    /// the bound, and from there on no further.
    #[test]
    fn an_address_of_names_without_end_costs_no_more_than_its_bound_each_time() {
        let mut names = Names::default();
        let (mut looked_at, mut refused) = (0, 0);
        for number in 0..OF_ADDRESS + 1000 {
            let one = [name(&format!("n{number}.cdn.io"))];
            match names.learn(&pod("a"), &one, &[address(1)], 100) {
                Ok(gained) => {
                    let known = gained.iter().filter_map(|at| names.get(&pod("a"), *at));
                    looked_at += known.map(Known::len).sum::<usize>();
                }
                Err(error) => {
                    refused += 1;
                    assert!(format!("{error:#}").contains("192.0.2.1 has 4096 names"), "{error:#}");
                }
            }
        }
        assert_eq!((looked_at, refused), (OF_ADDRESS * (OF_ADDRESS + 1) / 2, 1000));
        // What holds can be had again, and other addresses have room.
        let first = [name("n0.cdn.io")];
        assert!(names.learn(&pod("a"), &first, &[address(1)], 200).unwrap().is_empty());
        assert_eq!(names.learn(&pod("a"), &first, &[address(2)], 200).unwrap(), [address(2)]);
        let more = [name("more.cdn.io")];
        assert!(names.learn(&pod("a"), &more, &[address(2), address(1)], 200).is_err());
        assert_eq!(live(&names, "a", address(2)), ["n0.cdn.io"], "nothing of what is refused is taken in");
        names.expire(100, |_, _| false);
        assert_eq!(names.learn(&pod("a"), &more, &[address(1)], 200).unwrap(), [address(1)]);
    }

    #[test]
    fn what_was_told_by_a_clock_that_was_set_back_since_holds_no_longer_than_anything() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("names");
        let mut names = Names::recall(&path, 1_000_000).unwrap();
        names.learn(&pod("a"), &[name("hub.io")], &[address(1)], 1_000_060).unwrap();
        let mut names = Names::recall(&path, 100).unwrap();
        assert_eq!(live(&names, "a", address(1)), ["hub.io"]);
        names.expire(100 + LONGEST, |_, _| false);
        assert_eq!(names.len(), 0);
    }

    #[test]
    fn pods_that_are_gone_are_forgotten() {
        let mut names = Names::default();
        names.learn(&pod("a"), &[name("hub.io")], &[address(1)], 100).unwrap();
        assert!(names.answers(&World::default()).is_empty());
        assert_eq!(names.len(), 0);
    }
}
