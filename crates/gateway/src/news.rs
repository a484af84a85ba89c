//! Whether all is in force that the agent has said.
//!
//! An agent tells of an address before the answer with it reaches the pod, but does not wait until that is in force: it would
//! hold up every answer. What it said waits in the channel then, and whoever is refused meanwhile may be so wrongly.
//!
//! Each time that it speaks to somebody who waits for it, the kernel has to wake him, and that is most of what telling costs.
//! So whoever reads lets more come for a moment, but for what somebody is about to be refused without.
//!
//! Enters: the channel's end, and a turn for each time that it is read. Leaves: when everything that was said is in force.
//! Guarantees: a look costs one call to the kernel; nobody waits for longer than [`PATIENCE`].

use nix::sys::socket::{MsgFlags, recv};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long is waited for at most.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often is looked.
const EVERY: Duration = Duration::from_millis(1);
/// For how long whoever reads lets more come.
pub(crate) const GATHER: Duration = Duration::from_millis(1);

/// What the agent says, as those see it who judge by it.
#[derive(Debug, Default)]
pub(crate) struct News {
    /// Held from reading until all that was read is in force.
    turn: Mutex<()>,
    stream: Mutex<Option<UnixStream>>,
    /// Somebody waits for what was said.
    is_awaited: Mutex<bool>,
    hurry: Condvar,
}

impl News {
    /// An agent speaks here from now on; `None`: none does.
    pub(crate) fn come_by(&self, stream: Option<UnixStream>) {
        *self.stream.lock().unwrap_or_else(PoisonError::into_inner) = stream;
    }

    /// To be held from before the channel is read until what was read is in force.
    pub(crate) fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets more come for a time, while nobody waits for it: here, or as `presses` says.
    pub(crate) fn gather(&self, time: Duration, presses: impl Fn() -> bool) {
        let is_awaited = self.is_awaited.lock().unwrap_or_else(PoisonError::into_inner);
        let is_patient = |is_awaited: &mut bool| !*is_awaited && !presses();
        let gathered = self.hurry.wait_timeout_while(is_awaited, time, is_patient);
        *gathered.unwrap_or_else(PoisonError::into_inner).0 = false;
    }

    /// Returns when all that the agent had said is in force: at once, if it is; true if it was not.
    pub(crate) async fn heard(&self) -> bool {
        let end = Instant::now() + PATIENCE;
        let mut has_waited = false;
        while self.is_behind() && Instant::now() < end {
            has_waited = true;
            *self.is_awaited.lock().unwrap_or_else(PoisonError::into_inner) = true;
            self.hurry.notify_one();
            sleep(EVERY).await;
        }
        has_waited
    }

    fn is_behind(&self) -> bool {
        let _turn = match self.turn.try_lock() {
            Err(TryLockError::WouldBlock) => return true,
            Ok(turn) => turn,
            Err(TryLockError::Poisoned(turn)) => turn.into_inner(),
        };
        let stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
        // At its end there is nothing, as where nobody speaks.
        stream
            .as_ref()
            .is_some_and(|stream| recv(stream.as_raw_fd(), &mut [0], flags).is_ok_and(|got| got > 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::sync::Arc;

    #[tokio::test]
    async fn what_was_said_is_waited_for_until_it_was_read_and_is_in_force() {
        let news = Arc::new(News::default());
        assert!(!news.heard().await, "nobody speaks");
        let (mut agent, mut own) = UnixStream::pair().unwrap();
        news.come_by(Some(own.try_clone().unwrap()));
        assert!(!news.heard().await, "nothing was said");
        agent.write_all(b"said").unwrap();
        assert!(news.is_behind());
        let (reading, read) = std::sync::mpsc::channel();
        let (done, wait) = std::sync::mpsc::channel::<()>();
        let reader = std::thread::spawn({
            let news = Arc::clone(&news);
            move || {
                let _turn = news.turn();
                own.read_exact(&mut [0; 4]).unwrap();
                reading.send(()).unwrap();
                wait.recv().unwrap();
            }
        });
        read.recv().unwrap();
        assert!(news.is_behind(), "read, and not in force");
        done.send(()).unwrap();
        news.heard().await;
        assert!(!news.is_behind());
        reader.join().unwrap();
        drop(agent);
        assert!(!news.heard().await, "at its end");
    }

    #[tokio::test]
    async fn who_waits_for_what_was_said_is_not_kept_waiting_for_more() {
        let news = Arc::new(News::default());
        let (mut agent, mut own) = UnixStream::pair().unwrap();
        news.come_by(Some(own.try_clone().unwrap()));
        let reader = std::thread::spawn({
            let news = Arc::clone(&news);
            move || {
                news.gather(Duration::from_secs(3600), || false);
                let _turn = news.turn();
                own.read_exact(&mut [0; 4]).unwrap();
            }
        });
        agent.write_all(b"said").unwrap();
        assert!(news.heard().await);
        reader.join().unwrap();
        assert!(!news.is_behind());
    }

    #[test]
    fn nothing_is_gathered_while_somebody_waits_for_an_answer() {
        let (_agent, own) = UnixStream::pair().unwrap();
        let news = News::default();
        news.come_by(Some(own));
        news.gather(Duration::from_secs(3600), || true);
        assert!(!news.is_behind());
    }
}
