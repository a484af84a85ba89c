//! The proxy's end of the channel to its agent, and to the agent after that.

use super::{FRAMES_WAITING, Proxy, ProxyError, failed};
use crate::asked::Stead;
use crate::frame::{ToAgent, ToProxy};
use crate::record::Transport;
use handover::{Assembly, Sockets, encode};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use tokio::io::{AsyncWriteExt, Interest};
use tokio::sync::mpsc;
use tokio::task::spawn_local;

/// Why an agent is followed no longer.
enum Parting {
    /// It told the proxy to end.
    Told,
    /// It is gone.
    Gone,
}

/// What is kept of the sockets, for the next agent.
#[derive(Default)]
struct Held {
    sockets: Option<Sockets>,
    next: Option<mpsc::Receiver<UnixStream>>,
}

/// Does what agents say, one after the other, until one says to end.
pub(super) async fn follow(proxy: &Rc<Proxy>, control: OwnedFd) -> Result<(), ProxyError> {
    let mut held = Held::default();
    let mut stream = UnixStream::from(control);
    loop {
        let parting = heed(proxy, &stream, &mut held).await;
        proxy.agent.borrow_mut().take();
        match parting {
            Ok(Parting::Told) => return Ok(()),
            Ok(Parting::Gone) | Err(_) if held.sockets.is_some() => {}
            Ok(Parting::Gone) => return Err(failed("taking sockets")(io::ErrorKind::UnexpectedEof.into())),
            Err(error) => return Err(failed("taking sockets")(error)),
        }
        stream = loop {
            let next = match &mut held.next {
                Some(next) => next.recv().await,
                None => None,
            };
            // Without a place where a next agent would come, there will be none.
            let Some(next) = next else { return Ok(()) };
            let (udp, tcp, control) = held.sockets.as_ref().map(Sockets::counts).unwrap_or_default();
            let frame = encode(&ToAgent::Sockets { udp, tcp, control }).unwrap_or_default();
            let sent = held.sockets.as_ref().map(|sockets| sockets.send_with(&next, &frame));
            // A frame as short as this one goes whole or not at all.
            if sent.is_some_and(|sent| sent.is_ok()) {
                break next;
            }
        };
    }
}

/// Does what one agent says.
async fn heed(proxy: &Rc<Proxy>, stream: &UnixStream, held: &mut Held) -> io::Result<Parting> {
    stream.set_nonblocking(true)?;
    let (frames, waiting) = mpsc::channel(FRAMES_WAITING);
    let reading = tokio::net::UnixStream::from_std(stream.try_clone()?)?;
    let writing = tokio::net::UnixStream::from_std(stream.try_clone()?)?;
    *proxy.agent.borrow_mut() = Some(frames);
    tokio::select! {
        parting = listen(proxy, &reading, held) => parting,
        error = write(writing, waiting) => Err(error),
    }
}

async fn write(mut stream: tokio::net::UnixStream, mut frames: mpsc::Receiver<Vec<u8>>) -> io::Error {
    while let Some(frame) = frames.recv().await {
        if let Err(error) = stream.write_all(&frame).await {
            return error;
        }
    }
    io::ErrorKind::BrokenPipe.into()
}

async fn listen(proxy: &Rc<Proxy>, stream: &tokio::net::UnixStream, held: &mut Held) -> io::Result<Parting> {
    let mut assembly = Assembly::default();
    loop {
        while let Some(message) = assembly.take()? {
            match message {
                ToProxy::Stop => return Ok(Parting::Told),
                ToProxy::Sockets { udp, tcp, control } => {
                    let sockets = Sockets::taken(&mut assembly, (udp, tcp, control))?;
                    held.sockets = Some(sockets.try_clone()?);
                    held.next = sockets.control.as_ref().map(|socket| offer(proxy, socket)).transpose()?;
                    proxy.serve_soon(sockets);
                }
                ToProxy::State(state) => {
                    let generation = state.generation;
                    proxy.with_engine(|engine, _| engine.set_state(*state));
                    proxy.state.notify_one();
                    proxy.tell(&ToAgent::InForce(generation));
                }
                ToProxy::Learned(results) => proxy.with_engine(|engine, now| {
                    for (id, bound) in results {
                        engine.learned(now, id, bound);
                    }
                }),
                ToProxy::Ask { id, pod, name } => {
                    let stead = Stead { id, over: Transport::Udp };
                    proxy.with_engine(|engine, now| engine.ask_for(now, stead, pod, &name));
                }
                ToProxy::Forget => proxy.with_engine(|engine, _| engine.forget_bindings()),
            }
        }
        stream.readable().await?;
        match stream.try_io(Interest::READABLE, || assembly.read(stream)) {
            Ok(true) => {}
            Ok(false) => return Ok(Parting::Gone),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

/// Accepts those who would lead this proxy. While there is an agent they are turned away, and so is another user.
fn offer(proxy: &Rc<Proxy>, socket: &OwnedFd) -> io::Result<mpsc::Receiver<UnixStream>> {
    let listener = std::os::unix::net::UnixListener::from(socket.try_clone()?);
    listener.set_nonblocking(true)?;
    let listener = tokio::net::UnixListener::from_std(listener)?;
    let (sender, receiver) = mpsc::channel(1);
    let proxy = Rc::clone(proxy);
    spawn_local(async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                tokio::time::sleep(super::RECORDS).await;
                continue;
            };
            let own = nix::unistd::getuid().as_raw();
            let same_user = stream.peer_cred().is_ok_and(|peer| peer.uid() == own);
            if same_user
                && proxy.agent.borrow().is_none()
                && let Ok(stream) = stream.into_std()
            {
                let _ = sender.try_send(stream);
            }
        }
    });
    Ok(receiver)
}
