//! What an API server holds, as far as policy is made of it.
//!
//! Enters: changes, as the watches report them. Leaves: objects to compile. Guarantees: what is half listed is not
//! seen; an object that says the same as before is no change; an event older than what is known of its object is none
//! either; what was known stays known while a watch fails, and while a kind is not served; objects of a kind go with its definition
//! only when the API server has said for a minute that there is none, and how many went is known.
//! Does not: talk to anything.

use crate::absent::{Absent, Definition};
use crate::kinds::Kind;
use crate::report::Written;
use crate::standing::Told;
use compiler::{Prepared, Preparer};
use crds::{Diagnostic, Read};
use feed::Revisions;
use policy::detection::MOST_OF_NAMESPACE;
use std::collections::BTreeMap;
use std::sync::Arc;

#[cfg(test)]
mod tests;

/// The cluster does not know a kind so often in a row, at least a minute ([`crate::watch`] says how often it asks): it does not have it,
/// and is not starting.
const ABSENT: u32 = 20;

/// One object as it came.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Found {
    pub(crate) namespace: Arc<str>,
    pub(crate) name: Arc<str>,
    pub(crate) revision: u64,
    /// Of this object and no later one of the same name.
    pub(crate) uid: Arc<str>,
    /// How often its specification changed.
    pub(crate) generation: i64,
    /// Whether its label says that it came in a release of a fleet.
    pub(crate) of_fleet: bool,
    /// What its status says of nodes, where that is asked for.
    pub(crate) told: Option<Told>,
    /// What it says. The text of it is large, and gone.
    pub(crate) read: Read,
}

/// What a watch reports.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Change {
    /// A whole list follows, of which the API server had got so far before: what was gone by then is not missed.
    ListBegins(u64),
    /// Part of the list.
    Listed(Found),
    /// What was not in the list is gone.
    ListEnds,
    /// An object came or changed.
    Applied(Found),
    /// An object is gone.
    Deleted(Found),
    /// The cluster does not know the kind.
    NoSuchKind(Definition),
    /// Nobody reads the kind.
    NotRead,
    /// The watch failed; it goes on by itself.
    Failed(String),
    /// It goes on.
    Recovered,
}

/// An object that is there.
#[derive(Clone, Debug)]
struct Kept<M> {
    revision: u64,
    uid: Arc<str>,
    generation: i64,
    of_fleet: bool,
    told: Option<Told>,
    made: M,
}

impl<M: PartialEq> PartialEq for Kept<M> {
    /// Whether both say the same, at whatever revision, and however they stand.
    fn eq(&self, other: &Self) -> bool {
        self.made == other.made && self.of_fleet == other.of_fleet
    }
}

/// By namespace and name; sorted, for that is how the compiler wants them.
type Objects<M> = BTreeMap<(Arc<str>, Arc<str>), Kept<M>>;

/// Objects of one kind, and what is made of each.
#[derive(Debug)]
pub(crate) struct Collection<M> {
    objects: Objects<M>,
    /// What was listed while the list has not ended, and how far the API server had got before.
    listing: Option<(u64, Objects<M>)>,
    /// Listed once, or known to be absent.
    is_known: bool,
    /// Listed once.
    was_listed: bool,
    /// How often in a row the cluster did not know it.
    absent: u32,
    /// How often in a row it said that there is no definition of it.
    gone: u32,
    /// How often in a row it had only begun.
    starting: u32,
    /// What it said last of the definition, where it does not know the kind.
    definition: Option<Definition>,
    /// Objects that went with the definition.
    lost: usize,
    /// The newest that was seen.
    revision: u64,
    /// Up to where nothing was missed by the last list.
    listed: u64,
    problem: Option<String>,
    /// How often how they stand may have changed.
    stood: u64,
}

impl<M> Default for Collection<M> {
    fn default() -> Self {
        Self {
            objects: Objects::new(),
            listing: None,
            is_known: false,
            was_listed: false,
            absent: 0,
            gone: 0,
            starting: 0,
            definition: None,
            lost: 0,
            revision: 0,
            listed: 0,
            problem: None,
            stood: 0,
        }
    }
}

impl<M: PartialEq> Collection<M> {
    /// Takes in a change. Whether what is made of the objects may differ from before.
    pub(crate) fn take(&mut self, change: Change, make: impl FnOnce(Read) -> M) -> bool {
        if !matches!(change, Change::ListBegins(_) | Change::Listed(_) | Change::Failed(_)) {
            self.problem = None;
        }
        match change {
            Change::ListBegins(newest) => {
                self.listing = Some((newest, Objects::new()));
                false
            }
            Change::Listed(found) => {
                let (key, kept) = keep(found, make);
                self.listing.get_or_insert_default().1.insert(key, kept);
                false
            }
            Change::ListEnds => {
                let (newest, listed) = self.listing.take().unwrap_or_default();
                let differs = !self.is_known || listed != self.objects;
                self.revision = listed.values().map(|kept| kept.revision).fold(self.revision, u64::max);
                (self.objects, self.is_known, self.was_listed) = (listed, true, true);
                (self.absent, self.gone, self.starting, self.definition, self.lost) = (0, 0, 0, None, 0);
                self.listed = newest;
                self.stood += 1;
                differs
            }
            Change::Applied(found) if !self.is_newer_than(&found) => {
                self.revision = self.revision.max(found.revision);
                let (key, kept) = keep(found, make);
                let before = self.objects.get(&key);
                let differs = before != Some(&kept);
                let stood = before.map(|it| (it.generation, &it.told));
                self.stood += u64::from(stood != Some((kept.generation, &kept.told)));
                self.objects.insert(key, kept);
                differs
            }
            Change::Deleted(found) if !self.is_newer_than(&found) => {
                self.revision = self.revision.max(found.revision);
                self.stood += 1;
                self.objects.remove(&(found.namespace, found.name)).is_some()
            }
            Change::NoSuchKind(definition) => self.note_absent(definition),
            Change::NotRead => {
                self.absent = ABSENT;
                !std::mem::replace(&mut self.is_known, true)
            }
            Change::Applied(_) | Change::Deleted(_) | Change::Recovered => false,
            Change::Failed(why) => {
                self.problem = Some(why);
                self.gone = 0;
                false
            }
        }
    }

    /// The cluster does not know the kind. Whether what is made of the objects may differ by that.
    fn note_absent(&mut self, definition: Definition) -> bool {
        let [one_more, begun] = [self.absent, self.starting].map(|count| count.saturating_add(1));
        (self.absent, self.gone, self.starting) = match definition {
            Definition::Gone => (one_more, self.gone.saturating_add(1), 0),
            Definition::Unsaid => (one_more, 0, 0),
            // There may be objects of it: nodes that know some do not forget them for a controller that cannot read any.
            Definition::Unserved => (0, 0, 0),
            Definition::Starting => (0, 0, begun),
        };
        self.definition = Some(definition);
        // An API server that is starting serves it in a moment: it is not for that moment that there is none of it.
        let is_known = self.is_known || definition != Definition::Starting || begun >= ABSENT;
        let is_new = is_known && !std::mem::replace(&mut self.is_known, is_known);
        // Who makes a definition anew, or restarts an API server, has not removed what stands there.
        let goes = self.gone >= ABSENT && !self.objects.is_empty();
        if goes {
            self.lost = self.objects.len();
            self.objects.clear();
            self.stood += 1;
        }
        is_new || goes || self.absent == ABSENT
    }

    /// Where the API server does not know a kind that it knew, or does not serve what it has a definition of: what became of it.
    pub(crate) fn absent(&self) -> Option<Absent> {
        let definition = self.definition?;
        let is_told = match definition {
            // What a cluster never had is no news.
            Definition::Gone | Definition::Unsaid => self.was_listed,
            Definition::Unserved | Definition::Starting => true,
        };
        is_told.then_some(Absent { definition, held: self.objects.len(), lost: self.lost })
    }

    /// Whether a later revision of the object is known than the one found. Only a list goes back, as a whole.
    fn is_newer_than(&self, found: &Found) -> bool {
        let known = self.objects.get(&(found.namespace.clone(), found.name.clone()));
        known.is_some_and(|kept| kept.revision > found.revision)
    }

    /// Listed once, or known to be absent.
    pub(crate) fn is_known(&self) -> bool {
        self.is_known
    }

    /// How often how its objects stand may have changed.
    pub(crate) fn stood(&self) -> u64 {
        self.stood
    }

    /// Namespace, name and `metadata.generation` of each object, and what its status says.
    pub(crate) fn told(&self) -> impl Iterator<Item = (&(Arc<str>, Arc<str>), i64, Option<&Told>)> {
        self.objects.iter().map(|(name, kept)| (name, kept.generation, kept.told.as_ref()))
    }

    /// What the status of one says.
    pub(crate) fn told_of(&self, name: &(Arc<str>, Arc<str>)) -> Option<&Told> {
        self.objects.get(name)?.told.as_ref()
    }

    /// What is made of each object, by namespace and name.
    pub(crate) fn made(&self) -> impl Iterator<Item = &M> {
        self.objects.values().map(|kept| &kept.made)
    }

    /// Up to where nothing was missed. `None`: nobody reads it, or the cluster does not have it.
    fn reached(&self) -> Option<u64> {
        (self.absent < ABSENT).then(|| self.revision.max(self.listed))
    }

    /// Why its watch fails.
    pub(crate) fn problem(&self) -> Option<&String> {
        self.problem.as_ref()
    }
}

fn keep<M>(found: Found, make: impl FnOnce(Read) -> M) -> ((Arc<str>, Arc<str>), Kept<M>) {
    let Found { namespace, name, revision, uid, generation, of_fleet, told, read } = found;
    ((namespace, name), Kept { revision, uid, generation, of_fleet, told, made: make(read) })
}

/// What policy is made of: an object, and what is wrong with it.
type Made = (Box<[Prepared]>, Box<[Diagnostic]>);

/// All kinds that policy is made of.
#[derive(Debug)]
pub(crate) struct Store {
    kinds: BTreeMap<Kind, Collection<Made>>,
    preparer: Preparer,
}

impl Default for Store {
    fn default() -> Self {
        let kinds = Kind::ALL.into_iter().map(|kind| (kind, Collection::default())).collect();
        Self { kinds, preparer: Preparer::default() }
    }
}

impl Store {
    /// Takes in a change. Whether policy may differ from before.
    pub(crate) fn take(&mut self, kind: Kind, change: Change) -> bool {
        let preparer = &mut self.preparer;
        let prepare = |read: Read| -> Made {
            let objects = read.objects.into_iter().map(|object| preparer.prepare(object)).collect();
            (objects, read.diagnostics.into())
        };
        self.kinds.entry(kind).or_default().take(change, prepare)
    }

    /// Whether everything was listed once. Before, what is not there may only not have been read.
    pub(crate) fn is_complete(&self) -> bool {
        self.kinds.values().all(Collection::is_known)
    }

    /// Everything that holds at `seconds` since 1970: all there is, but for containments whose time is over.
    pub(crate) fn objects(&self, seconds: u64) -> impl Iterator<Item = &Prepared> {
        let all = self.kinds.values().flat_map(Collection::made).flat_map(|(objects, _)| objects);
        all.filter(move |object| !object.is_over(seconds))
    }

    /// How many containments there are, and how many of them are over at `seconds` since 1970.
    pub(crate) fn containments(&self, seconds: u64) -> [usize; 2] {
        let made = self.kinds.get(&Kind::Containment).into_iter().flat_map(Collection::made);
        let mut counts = [0; 2];
        for object in made.flat_map(|(objects, _)| objects) {
            let [all, over] = &mut counts;
            *all += 1;
            *over += usize::from(object.is_over(seconds));
        }
        counts
    }

    /// The same without policies of the fleet.
    pub(crate) fn objects_of_others(&self, seconds: u64) -> impl Iterator<Item = &Prepared> {
        let is_of_fleet = |kind: Kind, of_fleet: bool| of_fleet && kind.is_policy();
        let kept =
            self.kinds.iter().flat_map(|(kind, of)| of.objects.values().map(move |kept| (*kind, kept)));
        let others = kept.filter(move |(kind, kept)| !is_of_fleet(*kind, kept.of_fleet));
        others.flat_map(|(_, kept)| kept.made.0.iter()).filter(move |object| !object.is_over(seconds))
    }

    /// What is wrong with it.
    pub(crate) fn diagnostics(&self) -> Vec<Diagnostic> {
        let made = self.kinds.values().flat_map(Collection::made);
        made.flat_map(|(_, diagnostics)| diagnostics.iter().cloned()).collect()
    }

    /// Every object of which it is said how it stands, as it is at `seconds` since 1970.
    pub(crate) fn written(&self, seconds: u64) -> Vec<Written> {
        let policies = self.kinds.iter().filter(|(kind, _)| kind.is_reported());
        let of_kind = |(kind, of): (&Kind, &Collection<Made>)| {
            let written = |((namespace, name), kept): (&(Arc<str>, Arc<str>), &Kept<Made>)| Written {
                kind: *kind,
                namespace: namespace.clone(),
                name: name.clone(),
                uid: kept.uid.clone(),
                generation: kept.generation,
                is_over: kept.made.0.iter().any(|object| object.is_over(seconds)),
            };
            of.objects.iter().map(written).collect::<Vec<_>>()
        };
        policies.flat_map(of_kind).collect()
    }

    /// Namespace and name of each DetectionPolicy that holds, sorted by them: those that could be read, as many of a namespace as
    /// the compiler takes.
    pub(crate) fn tunings(&self) -> Vec<(Arc<str>, Arc<str>)> {
        let all = self.kinds.get(&Kind::DetectionPolicy).into_iter().flat_map(|of| &of.objects);
        let read = all.filter(|(_, kept)| !kept.made.1.iter().any(Diagnostic::is_error));
        let mut names: Vec<(Arc<str>, Arc<str>)> = Vec::new();
        let mut of_namespace = 0;
        for ((namespace, name), _) in read {
            let is_same = names.last().is_some_and(|(before, _)| before == namespace);
            of_namespace = if is_same { of_namespace + 1 } else { 1 };
            if of_namespace <= MOST_OF_NAMESPACE {
                names.push((namespace.clone(), name.clone()));
            }
        }
        names
    }

    /// The newest that was seen of each kind.
    pub(crate) fn revisions(&self) -> Revisions {
        self.kinds.iter().map(|(kind, of)| (kind.plural().to_owned(), of.revision)).collect()
    }

    /// Up to where nothing was missed, of each kind that is read.
    pub(crate) fn reached(&self) -> Revisions {
        self.kinds.iter().filter_map(|(kind, of)| Some((kind.plural().to_owned(), of.reached()?))).collect()
    }

    /// Kinds that were there, and that the API server does not know now.
    pub(crate) fn absent(&self) -> BTreeMap<Kind, Absent> {
        self.kinds.iter().filter_map(|(kind, of)| Some((*kind, of.absent()?))).collect()
    }

    /// Watches that fail now, and why.
    pub(crate) fn problems(&self) -> BTreeMap<Kind, String> {
        self.kinds.iter().filter_map(|(kind, of)| Some((*kind, of.problem()?.clone()))).collect()
    }
}
