//! Moves bytes from socket to socket inside the kernel, through a pipe.

use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;
use tokio::io::Interest;
use tokio::net::TcpStream;

/// Bytes that a pipe is asked to hold. The kernel may give less.
const PIPE_SIZE: usize = 256 * 1024;

/// Empty pipes that a thread keeps for the next connection.
const POOL: usize = 64;

thread_local! {
    static PIPES: RefCell<Vec<(OwnedFd, OwnedFd)>> = const { RefCell::new(Vec::new()) };
}

/// A pipe, given back when it is empty.
#[derive(Debug)]
pub(crate) struct Pipe {
    ends: Option<(OwnedFd, OwnedFd)>,
    /// Bytes inside.
    pending: usize,
}

impl Pipe {
    pub(crate) fn new() -> io::Result<Self> {
        if let Some(ends) = PIPES.with_borrow_mut(Vec::pop) {
            return Ok(Self { ends: Some(ends), pending: 0 });
        }
        let ends = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // A smaller pipe works as well.
        let _refused = fcntl_setpipe_size(&ends.1, PIPE_SIZE);
        Ok(Self { ends: Some(ends), pending: 0 })
    }

    /// Takes what the socket has. 0: it will have no more.
    pub(crate) async fn fill(&mut self, from: &TcpStream) -> io::Result<usize> {
        let Some((_, write)) = &self.ends else { return Ok(0) };
        // The pipe is empty, so only the socket can make this wait.
        let step = || Ok(splice(from, None, write, None, PIPE_SIZE, SpliceFlags::NONBLOCK)?);
        let length = from.async_io(Interest::READABLE, step).await?;
        self.pending += length;
        Ok(length)
    }

    /// Hands everything over.
    pub(crate) async fn drain(&mut self, to: &TcpStream) -> io::Result<()> {
        let Some((read, _)) = &self.ends else { return Ok(()) };
        while self.pending > 0 {
            let length = self.pending;
            let step = || Ok(splice(read, None, to, None, length, SpliceFlags::NONBLOCK)?);
            match to.async_io(Interest::WRITABLE, step).await? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                moved => self.pending = self.pending.saturating_sub(moved),
            }
        }
        Ok(())
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        let Some(ends) = self.ends.take() else { return };
        // One with bytes inside would give them to somebody else.
        if self.pending == 0 {
            PIPES.with_borrow_mut(|pipes| {
                if pipes.len() < POOL {
                    pipes.push(ends);
                }
            });
        }
    }
}
