//! Queries and answers on connections: two bytes of length before each (RFC 1035, section 4.2.2).
//!
//! Enters: connections of pods, questions for resolvers. Leaves: messages.
//! Guarantees: a pod may send many queries without waiting (RFC 7766), answers come as they are ready; a connection
//! that is idle, sends half a message or does not read its answers is closed; connections are bounded, for each pod and
//! in all.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::time::timeout;

/// How long a connection may be silent; RFC 7766 asks for seconds.
pub(crate) const IDLE: Duration = Duration::from_secs(10);

/// How long a pod may take to read an answer.
const READING: Duration = Duration::from_secs(5);

/// Answers that wait until a pod reads.
pub(crate) const UNREAD: usize = 128;

/// What was asked on a connection and is not answered yet.
#[derive(Debug, Default)]
struct Open {
    count: Cell<usize>,
    fewer: Notify,
}

impl Open {
    /// Waits until no more than `most` are left; `false` if that takes too long.
    async fn at_most(&self, most: usize) -> bool {
        let wait = async {
            while self.count.get() > most {
                self.fewer.notified().await;
            }
        };
        timeout(READING, wait).await.is_ok()
    }
}

/// Serves one connection until it ends: `query` gets each message, and what comes from `replies` is sent.
pub(crate) async fn serve(stream: TcpStream, replies: mpsc::Receiver<Vec<u8>>, query: impl FnMut(&[u8])) {
    // Small answers must not wait for others.
    let _ = stream.set_nodelay(true);
    let (from, to) = stream.into_split();
    let open = Open::default();
    // Whichever ends first ends the other: what is still to be answered has nobody to read it, or nobody to write it.
    tokio::select! {
        () = read(from, &open, query) => {}
        () = write(to, &open, replies) => {}
    }
}

async fn read(mut from: OwnedReadHalf, open: &Open, mut query: impl FnMut(&[u8])) {
    while open.at_most(UNREAD / 2).await {
        match timeout(IDLE, message(&mut from)).await {
            Ok(Ok(bytes)) => {
                open.count.set(open.count.get() + 1);
                query(&bytes);
            }
            Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                // A pod that has sent its last query still waits for answers.
                open.at_most(0).await;
                return;
            }
            Ok(Err(_)) | Err(_) => return,
        }
    }
}

async fn write(mut to: OwnedWriteHalf, open: &Open, mut replies: mpsc::Receiver<Vec<u8>>) {
    while let Some(bytes) = replies.recv().await {
        match timeout(READING, to.write_all(&framed(&bytes))).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => return,
        }
        open.count.set(open.count.get().saturating_sub(1));
        open.fewer.notify_one();
    }
}

/// Asks a resolver on a connection of its own; the caller bounds the time.
pub(crate) async fn ask(server: SocketAddr, question: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    stream.set_nodelay(true)?;
    stream.write_all(&framed(question)).await?;
    let bytes = message(&mut stream).await?;
    // The connection is this question's own, so the number is all that is left to check but the question itself.
    if bytes.first_chunk::<2>() == question.first_chunk() {
        Ok(bytes)
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidData, "an answer to another question"))
    }
}

async fn message(from: &mut (impl AsyncReadExt + Unpin)) -> io::Result<Vec<u8>> {
    let length = from.read_u16().await?;
    let mut bytes = vec![0; usize::from(length)];
    from.read_exact(&mut bytes).await?;
    Ok(bytes)
}

fn framed(bytes: &[u8]) -> Vec<u8> {
    // Whoever writes messages keeps them below 64 KiB.
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    let body = bytes.get(..usize::from(length)).unwrap_or(bytes);
    [&length.to_be_bytes(), body].concat()
}

/// Whose turn it is to have a connection to a resolver. A pod has only a part of all, so that resolvers which do not answer it
/// keep nobody else from others.
#[derive(Debug)]
pub(crate) struct Turns {
    all: Semaphore,
    each: usize,
    of_pods: RefCell<HashMap<IpAddr, Rc<Semaphore>>>,
}

impl Turns {
    pub(crate) fn new(all: usize, each: usize) -> Self {
        Self { all: Semaphore::new(all), each, of_pods: RefCell::default() }
    }

    /// Does something when it is the pod's turn. What is given up meanwhile has had none.
    pub(crate) async fn take<T>(&self, pod: IpAddr, something: impl Future<Output = T>) -> T {
        let of_pod = self.of_pod(pod);
        // Nobody closes these.
        let _own = of_pod.acquire().await;
        let _one = self.all.acquire().await;
        something.await
    }

    fn of_pod(&self, pod: IpAddr) -> Rc<Semaphore> {
        let mut of_pods = self.of_pods.borrow_mut();
        // Those that nobody waits for any more.
        of_pods.retain(|it, turns| *it == pod || Rc::strong_count(turns) > 1);
        Rc::clone(of_pods.entry(pod).or_insert_with(|| Rc::new(Semaphore::new(self.each))))
    }
}

/// Who has how many connections.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    open: HashMap<u64, (IpAddr, mpsc::Sender<Vec<u8>>)>,
    begun: u64,
}

impl Connections {
    /// Takes in a pod's connection, if it may have one more.
    pub(crate) fn open(
        &mut self,
        pod: IpAddr,
        each: usize,
        all: usize,
    ) -> Option<(u64, mpsc::Receiver<Vec<u8>>)> {
        let of_pod = self.open.values().filter(|(it, _)| *it == pod).count();
        if of_pod >= each || self.open.len() >= all {
            return None;
        }
        self.begun += 1;
        let (sender, receiver) = mpsc::channel(UNREAD);
        self.open.insert(self.begun, (pod, sender));
        Some((self.begun, receiver))
    }

    pub(crate) fn close(&mut self, connection: u64) {
        self.open.remove(&connection);
    }

    /// Hands over a reply; a pod that does not read loses its connection. Whether it went.
    pub(crate) fn reply(&mut self, connection: u64, bytes: Vec<u8>) -> bool {
        let Some((_, sender)) = self.open.get(&connection) else { return false };
        let sent = sender.try_send(bytes).is_ok();
        if !sent {
            self.close(connection);
        }
        sent
    }
}
