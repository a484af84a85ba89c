//! Inspection authorities of namespaces that want their own: Secrets that somebody puts there.
//!
//! Enters: the namespaces that are labelled so, and the Secret of each. Leaves: the authorities, and why there is none. Guarantees: what
//! is wrong with one concerns its namespace alone; one that is replaced is followed, one that is removed is one no longer; only
//! who leads reads.
//! Does not: make any. Whoever may make Secrets in a namespace can have tokens of its service accounts made into them.

use super::{Authorities, Held, LOOK, REST, SECRET, SecretError, named, root};
use crate::lease::Role;
use futures_util::StreamExt;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::api::{ObjectMeta, PartialObjectMeta};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{Config, Error as WatchError, Event, watcher};
use kube::{Api, Client};
use policy::{INSPECTION_LABEL, wants_own_authority};
use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::Arc;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

/// Follows them once this one leads, until the future is dropped. What is wrong is said once for each namespace, as long as it is so.
pub async fn follow(
    client: &Client,
    mut role: watch::Receiver<Role>,
    to: &watch::Sender<Authorities>,
    say: impl Fn(String),
) {
    if role.wait_for(|role| *role == Role::Leads).await.is_err() {
        return;
    }
    let all = Api::<PartialObjectMeta<Namespace>>::all(client.clone());
    let mut spaces = pin!(watcher(all, Config::default().labels(INSPECTION_LABEL)).default_backoff());
    let (mut rest, mut look) = (interval(REST), interval(LOOK));
    rest.set_missed_tick_behavior(MissedTickBehavior::Delay);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut wanting = Wanting::default();
    loop {
        tokio::select! {
            Some(event) = spaces.next() => wanting.take(event),
            _ = look.tick() => wanting.due.clone_from(&wanting.all),
            _ = rest.tick(), if !wanting.due.is_empty() => {
                if let Some(space) = wanting.due.pop_first() {
                    let secrets: Api<Secret> = Api::namespaced(client.clone(), &space);
                    wanting.took(&space, secrets.get_opt(SECRET).await, &say);
                }
            }
        }
        if std::mem::take(&mut wanting.is_changed) {
            to.send_modify(|latest| latest.own.clone_from(&wanting.held));
        }
    }
}

/// Which namespaces want their own, and what they have.
#[derive(Default)]
struct Wanting {
    all: BTreeSet<String>,
    /// Of a list that has not ended.
    listed: BTreeSet<String>,
    /// Whose Secret is to be looked at.
    due: BTreeSet<String>,
    /// Version of the Secret that was looked at last; `None`: there was none.
    seen: BTreeMap<String, Option<String>>,
    held: BTreeMap<String, Held>,
    said: BTreeMap<String, String>,
    /// Whether it differs from what was told.
    is_changed: bool,
}

impl Wanting {
    fn take(&mut self, event: Result<Event<PartialObjectMeta<Namespace>>, WatchError>) {
        match event {
            Ok(Event::Init) => self.listed.clear(),
            Ok(Event::InitApply(space)) => {
                self.listed.extend(space.metadata.name.clone());
                self.take_one(space.metadata);
            }
            Ok(Event::InitDone) => {
                let gone: Vec<String> = self.all.difference(&self.listed).cloned().collect();
                gone.iter().for_each(|name| self.forget(name));
                self.listed.clear();
            }
            Ok(Event::Apply(space)) => self.take_one(space.metadata),
            // Or its label was removed.
            Ok(Event::Delete(space)) => self.forget(&space.metadata.name.unwrap_or_default()),
            // Tried again by the watch itself; until then what is known holds.
            Err(_) => {}
        }
    }

    fn take_one(&mut self, space: ObjectMeta) {
        let (name, labels) = (space.name.unwrap_or_default(), space.labels.unwrap_or_default());
        if !wants_own_authority(labels.get(INSPECTION_LABEL).map(String::as_str)) {
            self.forget(&name);
        } else if self.all.insert(name.clone()) {
            self.due.insert(name);
        }
    }

    fn took(&mut self, space: &str, found: kube::Result<Option<Secret>>, say: impl Fn(String)) {
        if !self.all.contains(space) {
            return;
        }
        let found = match found {
            Ok(found) => found,
            Err(error) => return self.failed(space, error, say),
        };
        let version = found.as_ref().and_then(|it| it.metadata.resource_version.clone());
        if self.seen.insert(space.to_owned(), version.clone()) == Some(version) {
            // What an API server failed at in between may be said anew.
            match self.held.get(space) {
                Some(Err(why)) => drop(self.said.insert(space.to_owned(), why.clone())),
                Some(Ok(_)) | None => drop(self.said.remove(space)),
            }
            return;
        }
        let held = match found {
            Some(secret) => root(&secret.data.unwrap_or_default()),
            None => Err(SecretError::Absent),
        };
        self.hold(space, held.map(Arc::new).map_err(|error| outcome(space, &error)), say);
    }

    /// An API server that does not answer has said nothing; one that refuses has.
    fn failed(&mut self, space: &str, error: kube::Error, say: impl Fn(String)) {
        let is_refused = matches!(&error, kube::Error::Api(status) if status.code == 403);
        let why = outcome(space, &SecretError::Api("it cannot be read", error));
        if is_refused || !self.held.contains_key(space) {
            self.seen.remove(space);
            self.hold(space, Err(why), say);
        } else {
            self.tell(space, &why, say);
        }
    }

    fn hold(&mut self, space: &str, held: Held, say: impl Fn(String)) {
        match &held {
            Ok(_) => drop(self.said.remove(space)),
            Err(why) => self.tell(space, why, say),
        }
        let before = self.held.insert(space.to_owned(), held.clone());
        let is_same = matches!((&before, &held), (Some(Err(before)), Err(why)) if before == why);
        self.is_changed |= !is_same;
    }

    fn tell(&mut self, space: &str, why: &str, say: impl Fn(String)) {
        if self.said.insert(space.to_owned(), why.to_owned()).as_deref() != Some(why) {
            say(format!("requests inside TLS of namespace {space}: {why}"));
        }
    }

    fn forget(&mut self, space: &str) {
        self.all.remove(space);
        self.due.remove(space);
        self.seen.remove(space);
        self.said.remove(space);
        self.is_changed |= self.held.remove(space).is_some();
    }
}

/// What is wrong with the Secret of a namespace, and what to do.
fn outcome(space: &str, error: &SecretError) -> String {
    let mend = match error {
        SecretError::Api(..) => {
            "let the controller get it, by a Role in that namespace (inspection.namespaces of the chart)"
        }
        SecretError::Root(_) | SecretError::Missing(_) | SecretError::Absent => {
            "have a CA there in tls.crt and tls.key"
        }
    };
    let wrong = named(&format!("{space}/{SECRET}"), error);
    format!("{wrong}; the namespace is labelled {INSPECTION_LABEL}: {mend}, or take the label away")
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        reason = "in a test a panic is the failure report"
    )]

    use super::*;
    use crate::inspection::Root;
    use k8s_openapi::ByteString;
    use std::cell::RefCell;
    use std::time::SystemTime;

    fn space(name: &str, value: &str) -> PartialObjectMeta<Namespace> {
        let metadata = ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some([(INSPECTION_LABEL.to_owned(), value.to_owned())].into()),
            ..ObjectMeta::default()
        };
        PartialObjectMeta { metadata, ..PartialObjectMeta::default() }
    }

    fn secret(version: &str, data: &[(&str, &str)]) -> Secret {
        let bytes = |text: &str| ByteString(text.as_bytes().to_vec());
        let data = data.iter().map(|(key, text)| ((*key).to_owned(), bytes(text))).collect();
        let metadata = ObjectMeta { resource_version: Some(version.to_owned()), ..ObjectMeta::default() };
        Secret { metadata, data: Some(data), ..Secret::default() }
    }

    fn refused(code: u16) -> kube::Error {
        let status = kube::core::Status::failure("no", "Forbidden").with_code(code);
        kube::Error::Api(status.boxed())
    }

    #[test]
    fn a_broken_secret_concerns_its_namespace_alone_and_is_told_with_what_to_do() {
        let said = RefCell::new(Vec::new());
        let say = |text: String| said.borrow_mut().push(text);
        let mut wanting = Wanting::default();
        for (name, value) in [("a", "own"), ("b", "own"), ("c", "own"), ("d", "cluster"), ("e", "nonsense")] {
            wanting.take(Ok(Event::Apply(space(name, value))));
        }
        let due: Vec<&str> = wanting.due.iter().map(String::as_str).collect();
        assert_eq!(due, ["a", "b", "c", "e"]);
        let (certificate, key) = Root::make(SystemTime::now()).unwrap();
        wanting.took("a", Ok(Some(secret("1", &[("tls.crt", &certificate), ("tls.key", &key)]))), say);
        wanting.took("b", Ok(Some(secret("2", &[("tls.crt", &certificate)]))), say);
        wanting.took("c", Ok(None), say);
        wanting.took("d", Ok(None), say);
        assert_eq!(wanting.held["a"].as_ref().unwrap().trust(), certificate);
        let why = |space: &str| wanting.held[space].as_ref().unwrap_err().clone();
        assert!(why("b").starts_with("Secret b/cofferdam-inspection: it has no tls.key; "), "{}", why("b"));
        assert!(why("c").starts_with("Secret c/cofferdam-inspection: there is none; "), "{}", why("c"));
        assert!(why("b").contains("take the label away"));
        assert!(!wanting.held.contains_key("d"));
        assert_eq!(said.borrow().len(), 2, "{:?}", said.borrow());
        assert!(!format!("{:?}", said.borrow()).contains(key.lines().nth(1).unwrap()));
    }

    #[test]
    fn what_is_held_goes_with_the_secret_and_the_label_and_not_with_an_api_server_that_is_silent() {
        let said = RefCell::new(0);
        let say = |_| *said.borrow_mut() += 1;
        let mut wanting = Wanting::default();
        wanting.take(Ok(Event::InitApply(space("a", "own"))));
        wanting.take(Ok(Event::InitDone));
        wanting.took("a", Err(refused(403)), say);
        assert!(wanting.held["a"].as_ref().unwrap_err().contains("cannot be read"));
        let made = |version: &str| {
            let (certificate, key) = Root::make(SystemTime::now()).unwrap();
            secret(version, &[("tls.crt", &certificate), ("tls.key", &key)])
        };
        wanting.took("a", Ok(Some(made("1"))), say);
        let first = wanting.held["a"].clone().unwrap();
        wanting.is_changed = false;
        wanting.took("a", Err(refused(500)), say);
        wanting.took("a", Ok(Some(made("1"))), say);
        assert!(!wanting.is_changed && Arc::ptr_eq(&first, wanting.held["a"].as_ref().unwrap()));
        wanting.took("a", Ok(Some(made("2"))), say);
        assert!(wanting.is_changed && !Arc::ptr_eq(&first, wanting.held["a"].as_ref().unwrap()));
        wanting.took("a", Ok(None), say);
        assert!(wanting.held["a"].is_err());
        wanting.took("a", Ok(None), say);
        assert_eq!(*said.borrow(), 3, "forbidden, silent, gone");
        wanting.took("a", Ok(Some(made("3"))), say);
        wanting.took("a", Err(refused(403)), say);
        assert!(wanting.held["a"].is_err(), "the right to read it was taken away");
        wanting.took("a", Ok(Some(made("3"))), say);
        assert!(wanting.held["a"].is_ok());
        // The list after a watch that broke has it no longer.
        wanting.take(Ok(Event::Init));
        wanting.take(Ok(Event::InitDone));
        assert!(wanting.held.is_empty() && wanting.all.is_empty());
        wanting.took("a", Ok(Some(made("4"))), say);
        assert!(wanting.held.is_empty(), "it was asked for before");
    }
}
