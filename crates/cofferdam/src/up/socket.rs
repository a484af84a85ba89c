//! The local socket: asked over [`super::protocol`], answered from the journal and the status.
//!
//! Guarantees: only the user who runs `up` (mode 0600 in a folder of mode 0700 where this makes it); bounded clients,
//! requests and waits; a client that went away or does not read costs nothing but its own thread for a while.
//! Does not: change policy, but for cutting a workload off and releasing it (`respond`), which are in the ledger with who asked.

use super::engine::Sandbox;
use super::finding::FindingQuery;
use super::hosted::Hosted;
use super::journal::{Journal, Shelf};
use super::lookup::Filter;
use super::protocol::{Answer, REQUEST_BYTES, Request, Status};
use super::shadow::ShadowStatus;
use crate::environment::XDG_RUNTIME_DIR;
use crate::respond::{Order, Responder};
use anyhow::{Context, Result, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::PeerCredentials;
use nix::sys::stat::{Mode, umask};
use nix::unistd::{UnlinkatFlags, unlinkat};
use observe::{Kept, Query};
use policy::Generation;
use std::fs::{self, DirBuilder, File};
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Clients at a time. A CNI plugin that waits for a pod's policy is one, and many pods may start at once.
const CLIENTS: usize = 256;
/// How long a client may take to send its request or to take an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often a follower that gets nothing is checked to be there still.
const CHECK: Duration = Duration::from_secs(1);

/// Answers for one `up`.
pub(crate) trait Source: Send + Sync + 'static {
    /// How things stand.
    fn status(&self) -> Status;
    /// The records.
    fn journal(&self) -> &Journal;
    /// The lab, if there is one.
    fn lab(&self) -> Option<&Hosted>;
    /// Puts policy in force for a pod that is about to get these addresses; waits for it, with an end.
    ///
    /// # Errors
    /// It is not in force.
    fn settle(&self, _pod: Sandbox<'_>, _addresses: &[IpAddr]) -> Result<Generation> {
        bail!("only the agent of a cluster settles pods")
    }
    /// A pod's sandbox is gone.
    fn forget(&self, _pod: Sandbox<'_>) -> Generation {
        Generation(0)
    }
    /// Removes everything from the kernel, for good.
    ///
    /// # Errors
    /// Something is left there, or was never there.
    fn release(&self) -> Result<()> {
        bail!("this process puts nothing in force")
    }
    /// What a candidate says that is judged by beside; `None`: there is none.
    fn shadow(&self) -> Option<ShadowStatus> {
        None
    }
    /// Who acts about incidents.
    fn responder(&self) -> Option<&Responder> {
        None
    }
}

/// Where the socket is when nobody says: the first of these that can be used.
pub(crate) fn candidates() -> Vec<PathBuf> {
    let system = PathBuf::from("/run/cofferdam/cofferdam.sock");
    // Asked before a lab may enter a user namespace: there everybody is 0.
    let uid = nix::unistd::getuid();
    let own = XDG_RUNTIME_DIR.value().map(|dir| Path::new(&dir).join("cofferdam/cofferdam.sock"));
    let shared = PathBuf::from(format!("/tmp/cofferdam-{uid}/cofferdam.sock"));
    if uid.is_root() { [Some(system), own, Some(shared)] } else { [own, Some(shared), Some(system)] }
        .into_iter()
        .flatten()
        .collect()
}

/// A bound socket; its file goes when this does.
#[derive(Debug)]
pub(crate) struct Socket {
    listener: UnixListener,
    path: PathBuf,
    /// The folder, kept open: in a user namespace its path may lead elsewhere by the time the file is removed.
    folder: File,
}

/// The mask of a process is of all its threads: one at a time changes it and sets it back.
static MASKED: Mutex<()> = Mutex::new(());

impl Socket {
    /// Binds `path`, or the first default that works. Refuses where another process answers.
    pub(crate) fn bind(path: Option<&Path>) -> Result<Self> {
        if let Some(path) = path {
            return Self::bind_at(path);
        }
        let mut refused = Vec::new();
        for path in candidates() {
            match Self::bind_at(&path) {
                Ok(socket) => return Ok(socket),
                Err(error) => refused.push(format!("{error:#}")),
            }
        }
        bail!("no place for the local socket: {}", refused.join("; "))
    }

    fn bind_at(path: &Path) -> Result<Self> {
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(parent);
            made.with_context(|| format!("creating {}", parent.display()))?;
        }
        if fs::symlink_metadata(path).is_ok() {
            if UnixStream::connect(path).is_ok() {
                bail!("another cofferdam answers at {}", path.display());
            }
            fs::remove_file(path).with_context(|| format!("removing the stale {}", path.display()))?;
        }
        // The file must never be anyone else's to open, not even for a moment.
        let alone = MASKED.lock().unwrap_or_else(PoisonError::into_inner);
        let before = umask(Mode::from_bits_truncate(0o177));
        let bound = UnixListener::bind(path);
        umask(before);
        drop(alone);
        let listener = bound.with_context(|| format!("binding {}", path.display()))?;
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let folder = File::open(parent).with_context(|| format!("opening {}", parent.display()))?;
        Ok(Self { listener, path: path.to_path_buf(), folder })
    }

    /// Where clients find it.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Serves in the background until the process ends.
    pub(crate) fn serve(&self, source: &Arc<impl Source>) -> Result<()> {
        let source = Arc::clone(source);
        let listener = self.listener.try_clone().context("sharing the local socket")?;
        let serve = move || {
            let clients = Arc::new(AtomicUsize::new(0));
            for stream in listener.incoming() {
                let Ok(stream) = stream else {
                    // Out of descriptors, most likely; do not spin.
                    std::thread::sleep(Duration::from_millis(50));
                    continue;
                };
                admit(stream, &clients, &source);
            }
        };
        std::thread::Builder::new()
            .name("socket".into())
            .spawn(serve)
            .context("starting the socket's thread")?;
        Ok(())
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let Some(name) = self.path.file_name() else { return };
        // Nobody can do anything about a failure here; the next process finds that nobody answers.
        let _ = unlinkat(&self.folder, name, UnlinkatFlags::NoRemoveDir);
    }
}

fn admit(stream: UnixStream, clients: &Arc<AtomicUsize>, source: &Arc<impl Source>) {
    if clients.fetch_add(1, Ordering::AcqRel) >= CLIENTS {
        clients.fetch_sub(1, Ordering::AcqRel);
        let mut stream = stream;
        let _ = say(&mut stream, &Answer::Error("too many clients".into()));
        return;
    }
    let (count, source) = (Arc::clone(clients), Arc::clone(source));
    let serve = move || {
        // A client that fails has no one to hear about it.
        let _ = talk(&stream, &*source);
        count.fetch_sub(1, Ordering::AcqRel);
    };
    if std::thread::Builder::new().name("client".into()).spawn(serve).is_err() {
        clients.fetch_sub(1, Ordering::AcqRel);
    }
}

fn talk(stream: &UnixStream, source: &impl Source) -> Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut line = String::new();
    BufReader::new(stream.take(REQUEST_BYTES)).read_line(&mut line)?;
    let mut out = BufWriter::new(stream);
    match serde_json::from_str(&line) {
        Ok(Request::Status {}) => say(&mut out, &Answer::Status(Box::new(source.status())))?,
        Ok(Request::Flows { query, after, follow }) => {
            let unlimited = Query { limit: None, ..query.clone() };
            let shelf = &source.journal().flows;
            Reading { shelf, query: [query, unlimited], answer: Answer::Record }
                .talk(stream, &mut out, after, follow)?;
        }
        Ok(Request::Lookups { query, after, follow }) => {
            let shelf = &source.journal().lookups;
            Reading { shelf, query: both(query), answer: Answer::Lookup }
                .talk(stream, &mut out, after, follow)?;
        }
        Ok(Request::Passages { query, after, follow }) => {
            let shelf = &source.journal().passages;
            Reading { shelf, query: both(query), answer: Answer::Passage }
                .talk(stream, &mut out, after, follow)?;
        }
        Ok(Request::Calls { query, after, follow }) => {
            let shelf = &source.journal().calls;
            Reading { shelf, query: both(query), answer: Answer::Call }
                .talk(stream, &mut out, after, follow)?;
        }
        Ok(Request::Findings { query, after, follow }) => {
            let shelf = &source.journal().findings;
            let unlimited = FindingQuery { limit: None, ..query.clone() };
            Reading { shelf, query: [query, unlimited], answer: Answer::Finding }
                .talk(stream, &mut out, after, follow)?;
        }
        Ok(Request::Contents { query, after, follow }) => {
            let shelf = &source.journal().contents;
            Reading { shelf, query: both(query), answer: Answer::Content }
                .talk(stream, &mut out, after, follow)?;
        }
        Ok(Request::Settle { namespace, name, addresses, container }) => {
            let pod = Sandbox { namespace: &namespace, name: &name, container: &container };
            let settled = source.settle(pod, &addresses);
            let answer = settled.map(|generation| Answer::Settled { generation });
            say(&mut out, &answer.unwrap_or_else(|error| Answer::Error(format!("{error:#}"))))?;
        }
        Ok(Request::Forget { namespace, name, container }) => {
            let pod = Sandbox { namespace: &namespace, name: &name, container: &container };
            say(&mut out, &Answer::Settled { generation: source.forget(pod) })?;
        }
        Ok(Request::Release {}) => {
            let released = source.release().map(|()| Answer::Settled { generation: Generation(0) });
            say(&mut out, &released.unwrap_or_else(|error| Answer::Error(format!("{error:#}"))))?;
        }
        Ok(Request::Lab {}) => say(&mut out, &in_lab(source, list))?,
        Ok(Request::Probe { from, to, protocol, port }) => {
            let probe = |lab: &Hosted| lab.probe(&from, &to, protocol, port).map(Answer::Probe);
            say(&mut out, &in_lab(source, probe))?;
        }
        Ok(Request::Shadow {}) => say(&mut out, &Answer::Shadow(source.shadow().map(Box::new)))?,
        Ok(Request::Respond(order)) => say(&mut out, &respond(stream, source, &order))?,
        Err(error) => say(&mut out, &Answer::Error(format!("not a request: {error}")))?,
    }
    out.flush()?;
    Ok(())
}

/// Does what is asked about an incident, in the name of the user at the other end.
fn respond(stream: &UnixStream, source: &impl Source, order: &Order) -> Answer {
    let Some(responder) = source.responder() else {
        return Answer::Error("this process does nothing about incidents".into());
    };
    let done = getsockopt(stream, PeerCredentials)
        .context("asking the kernel who asks")
        .and_then(|peer| responder.run(&format!("local:{}", peer.uid()), order));
    done.map_or_else(|error| Answer::Error(format!("{error:#}")), Answer::Response)
}

fn in_lab(source: &impl Source, act: impl FnOnce(&Hosted) -> Result<Answer>) -> Answer {
    let Some(lab) = source.lab() else {
        return Answer::Error(
            "this process runs no lab; `cofferdam lab up` and `cofferdam up --lab` do".into(),
        );
    };
    act(lab).unwrap_or_else(|error| Answer::Error(format!("{error:#}")))
}

fn list(lab: &Hosted) -> Result<Answer> {
    Ok(Answer::Lab { pid: std::process::id(), places: lab.list()? })
}

/// A query with its limit and without.
fn both<V: Clone>(query: Filter<V>) -> [Filter<V>; 2] {
    let unlimited = Filter { limit: None, ..query.clone() };
    [query, unlimited]
}

/// What a client reads of one shelf.
struct Reading<'a, R: Kept> {
    shelf: &'a Shelf<R>,
    /// With its limit, which is for what is there already; and without.
    query: [R::Query; 2],
    answer: fn(Arc<R>) -> Answer,
}

impl<R: Kept> Reading<'_, R> {
    fn talk(
        &self,
        stream: &UnixStream,
        out: &mut impl Write,
        after: Option<u64>,
        follow: bool,
    ) -> Result<()> {
        let [limited, unlimited] = &self.query;
        let mut cursor = match after {
            Some(cursor) if follow => cursor,
            Some(cursor) => self.pages(out, limited, cursor, Duration::ZERO)?,
            None => {
                let page = self.shelf.newest(limited);
                for record in page.records {
                    say(out, &(self.answer)(record))?;
                }
                page.cursor
            }
        };
        if !follow {
            return say(out, &Answer::End { cursor });
        }
        out.flush()?;
        while !is_gone(stream) {
            cursor = self.pages(out, unlimited, cursor, CHECK)?;
            out.flush()?;
        }
        Ok(())
    }

    fn pages(&self, out: &mut impl Write, query: &R::Query, cursor: u64, patience: Duration) -> Result<u64> {
        let page = self.shelf.after(cursor, query, patience);
        if page.missed > 0 {
            say(out, &Answer::Missed(page.missed))?;
        }
        for record in page.records {
            say(out, &(self.answer)(record))?;
        }
        Ok(page.cursor)
    }
}

fn say(out: &mut impl Write, answer: &Answer) -> Result<()> {
    serde_json::to_writer(&mut *out, answer)?;
    out.write_all(b"\n")?;
    Ok(())
}

/// Whether the client closed its side.
fn is_gone(stream: &UnixStream) -> bool {
    let mut fds = [PollFd::new(stream.as_fd(), PollFlags::POLLIN)];
    let hung_up = PollFlags::POLLHUP | PollFlags::POLLERR | PollFlags::POLLNVAL;
    match poll(&mut fds, PollTimeout::ZERO) {
        Ok(_) => fds.iter().filter_map(PollFd::revents).any(|events| events.intersects(hung_up)),
        Err(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::super::client::ask;
    use super::*;
    use crate::up::engine::Engine;
    use crate::up::ground::Ground;
    use crate::up::protocol::Mode as UpMode;
    use observe::{Event, Limits, Observation, Time};
    use policy::{Generation, PolicySet, Protocol, RuleId, World};
    use std::os::unix::fs::PermissionsExt;

    struct Stub {
        engine: Mutex<Engine>,
        journal: Arc<Journal>,
    }

    impl Source for Stub {
        fn status(&self) -> Status {
            self.engine.lock().unwrap().status()
        }

        fn journal(&self) -> &Journal {
            &self.journal
        }

        fn lab(&self) -> Option<&Hosted> {
            None
        }
    }

    fn serve(path: &Path) -> (Socket, Arc<Journal>) {
        let journal = Arc::new(Journal::new(Limits::default()));
        let set = PolicySet::empty(Generation(1), World::default());
        journal.add_book(observe::Book::new(Generation(1), set.rules, &set.world, []), Default::default());
        let ground = Ground { mode: UpMode::JudgeOnly, enforcers: Vec::new() };
        let engine = Mutex::new(Engine::new(ground, Vec::new(), Arc::clone(&journal), None));
        let socket = Socket::bind(Some(path)).unwrap();
        socket.serve(&Arc::new(Stub { engine, journal: Arc::clone(&journal) })).unwrap();
        (socket, journal)
    }

    fn deny(journal: &Journal, port: u16) {
        journal.observe(&Observation {
            time: Time(u64::from(port)),
            node: "n".into(),
            from: ([10, 0, 0, 1], 40000).into(),
            to: ([10, 0, 0, 2], port).into(),
            protocol: Protocol::TCP,
            generation: None,
            rule: Some(RuleId::UNMANAGED),
            direction: None,
            event: Event::Denied { suppressed: 0 },
        });
    }

    fn port(answer: Result<Answer>) -> u16 {
        let Answer::Record(record) = answer.unwrap() else { panic!("not a record") };
        record.port
    }

    #[test]
    fn records_are_answered_paged_and_followed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/socket");
        let (_socket, journal) = serve(&path);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        deny(&journal, 1);
        deny(&journal, 2);
        let flows = |after, follow, limit| {
            let query = Query { limit, ..Query::default() };
            ask(Some(&path), &Request::Flows { query, after, follow }).unwrap()
        };
        let mut all = flows(None, false, None);
        assert_eq!((port(all.next().unwrap()), port(all.next().unwrap())), (1, 2));
        assert!(matches!(all.next(), Some(Ok(Answer::End { cursor: 2 }))));
        let mut page = flows(Some(0), false, Some(1));
        assert_eq!(port(page.next().unwrap()), 1);
        assert!(matches!(page.next(), Some(Ok(Answer::End { cursor: 1 }))));
        let mut followed = flows(None, true, Some(1));
        assert_eq!(port(followed.next().unwrap()), 2);
        deny(&journal, 3);
        assert_eq!(port(followed.next().unwrap()), 3);
    }

    #[test]
    fn what_is_no_request_is_answered_with_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let (_socket, _journal) = serve(&path);
        for text in
            ["hello\n".to_owned(), "{\"flows\":{\"query\":{\"colour\":1}}}\n".to_owned(), "x".repeat(100_000)]
        {
            let mut stream = UnixStream::connect(&path).unwrap();
            // The server may have heard enough before everything is said.
            let _ = stream.write_all(text.as_bytes());
            let mut answer = String::new();
            BufReader::new(stream).read_line(&mut answer).unwrap_or_default();
            assert!(answer.is_empty() || answer.starts_with("{\"error\":\"not a request"), "{answer}");
        }
        assert!(ask(Some(&path), &Request::Lab {}).unwrap().next().unwrap().is_err());
        let status = ask(Some(&path), &Request::Status {}).unwrap().next().unwrap().unwrap();
        let Answer::Status(status) = status else { panic!("not a status") };
        assert_eq!(status.degraded, ["nothing is enforced: judging only"]);
    }

    #[test]
    fn a_second_process_is_refused_and_a_stale_file_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let (socket, _journal) = serve(&path);
        assert!(Socket::bind(Some(&path)).unwrap_err().to_string().contains("another cofferdam"));
        drop(socket);
        assert!(!path.exists());
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        Socket::bind(Some(&path)).unwrap();
    }
}
