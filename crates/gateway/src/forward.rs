//! Opens the way to the server of a permitted connection: from here, or through the central egress gateway.

use crate::central::{Failed, Route, Tunnel};
use crate::decide::{Claim, Permit};
use crate::near::Near;
use crate::reason::Reason;
use crate::record::Guard;
use crate::refuse::reset;
use crate::serve::Gateway;
use nix::sys::socket::{setsockopt, sockopt};
use rustix::net::sockopt::set_tcp_quickack;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpSocket, TcpStream};

/// The way to a server.
pub(crate) enum Way {
    /// A socket of this node.
    Direct(TcpStream),
    /// A stream through the central gateway.
    Central(Tunnel),
}

/// The server of a permitted connection.
#[derive(Default)]
pub(crate) enum Server {
    /// To be connected to.
    #[default]
    Unopened,
    /// To be connected to; from this node with this mark on what is sent, with 0 without.
    Marked(u32),
    /// Connected to for a client of the explicit proxy, under an earlier permit for the same place, and the budget that this one
    /// draws on.
    Open(Way, Option<u32>),
}

impl Server {
    /// The mark on what is sent to it from this node, where `of_front` is that of the explicit proxy.
    pub(crate) fn mark(&self, of_front: u32) -> u32 {
        match self {
            Self::Unopened => 0,
            Self::Marked(mark) => *mark,
            Self::Open(..) => of_front,
        }
    }
}

/// Something that passes bytes and can say how it ended.
pub(crate) trait Line: AsyncRead + AsyncWrite + Unpin + Send {
    /// Breaks off, so that the other side does not take what it has for all.
    fn reset(&mut self);

    /// Comes to a clean end before it is dropped.
    fn finish(&mut self);
}

impl Line for Near {
    fn reset(&mut self) {
        Self::reset(self);
    }

    /// To close a socket is its end.
    fn finish(&mut self) {}
}

impl Line for Way {
    fn reset(&mut self) {
        match self {
            Self::Direct(socket) => reset(socket),
            Self::Central(tunnel) => tunnel.reset(),
        }
    }

    fn finish(&mut self) {
        match self {
            Self::Direct(_) => {}
            // One that is gone already needs no end.
            Self::Central(tunnel) => drop(tunnel.finish()),
        }
    }
}

impl Gateway {
    /// As [`Self::dial`], and told in the record.
    pub(crate) async fn connect(
        &self,
        permit: &Permit,
        how: (Duration, u32),
        guard: &mut Guard,
    ) -> Result<Way, Failed> {
        let (way, replica) = self.dial(permit, how, guard.pod()).await?;
        replica.into_iter().for_each(|replica| guard.went_by(replica));
        Ok(way)
    }

    /// Connects to where a pod was going, the way that its connection must take, and no other; returns also which replica of the
    /// central gateway that is through. From this node what is sent has this mark; with 0 none.
    pub(crate) async fn dial(
        &self,
        permit: &Permit,
        (within, mark): (Duration, u32),
        pod: SocketAddr,
    ) -> Result<(Way, Option<SocketAddr>), Failed> {
        match self.judge.route(pod, permit) {
            Route::Direct => {
                let connected = direct(permit, within, mark).await;
                connected.map(|socket| (Way::Direct(socket), None)).map_err(|error| match error.kind() {
                    io::ErrorKind::TimedOut => Failed::Silent,
                    _ => Failed::Unreachable,
                })
            }
            Route::Nowhere => Err(Failed::Refused(Reason::CentralUnreachable)),
            Route::Central(forwarding) => {
                let (tunnel, replica) = self.pool.dial(&forwarding, within).await?;
                Ok((Way::Central(tunnel), Some(replica)))
            }
        }
    }

    /// The connection to the server of a permitted one.
    pub(crate) async fn server(
        &self,
        permit: &Permit,
        server: Server,
        guard: &mut Guard,
    ) -> Result<Way, Failed> {
        let mark = server.mark(self.limits.front_mark);
        match server {
            Server::Open(Way::Direct(socket), _) => {
                // Without a budget it draws on none.
                let counted = count_on(&socket, permit.judgement().budget.unwrap_or(0));
                counted.map(|()| Way::Direct(socket)).map_err(|_| Failed::Unreachable)
            }
            Server::Open(tunnel @ Way::Central(_), budget) if budget == permit.judgement().budget => {
                Ok(tunnel)
            }
            // A tunnel draws on the budget of the connection that it is in.
            Server::Open(Way::Central(_), _) | Server::Marked(_) | Server::Unopened => {
                self.connect(permit, (self.limits.connect_timeout, mark), guard).await
            }
        }
    }
}

/// Connects from the node's own address.
async fn direct(permit: &Permit, within: Duration, mark: u32) -> io::Result<TcpStream> {
    let socket = socket_to(permit.opening().destination, permit.judgement().budget)?;
    if mark != 0 {
        setsockopt(&socket, sockopt::Mark, &mark)?;
    }
    if !matches!(permit.opening().claim, Claim::Opaque) {
        // What the client said goes out at once, and acknowledges the server's part of the handshake as well: a packet
        // less. Where the server speaks first, it must not wait for that.
        let _one_packet_more = set_tcp_quickack(&socket, false);
    }
    match tokio::time::timeout(within, socket.connect(permit.opening().destination)).await {
        Ok(connected) => connected,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// A socket that draws on a budget, if there is one.
pub(crate) fn socket_to(to: SocketAddr, budget: Option<u32>) -> io::Result<TcpSocket> {
    let socket = match to {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    if let Some(budget) = budget {
        count_on(&socket, budget)?;
    }
    socket.set_nodelay(true)?;
    Ok(socket)
}

/// Has the kernel count what the socket sends on a budget: the datapath knows it by the packets' priority, which it sets
/// back before anybody else looks at it.
fn count_on(socket: &impl AsFd, budget: u32) -> io::Result<()> {
    let number = i32::try_from(budget).map_err(|_| io::ErrorKind::InvalidInput)?;
    Ok(setsockopt(socket, sockopt::Priority, &number)?)
}

impl AsyncRead for Way {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Direct(socket) => Pin::new(socket).poll_read(cx, to),
            Self::Central(tunnel) => Pin::new(tunnel).poll_read(cx, to),
        }
    }
}

impl AsyncWrite for Way {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Direct(socket) => Pin::new(socket).poll_write(cx, bytes),
            Self::Central(tunnel) => Pin::new(tunnel).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Direct(socket) => Pin::new(socket).poll_write_vectored(cx, pieces),
            Self::Central(tunnel) => Pin::new(tunnel).poll_write_vectored(cx, pieces),
        }
    }

    fn is_write_vectored(&self) -> bool {
        matches!(self, Self::Direct(_))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Direct(socket) => Pin::new(socket).poll_flush(cx),
            Self::Central(tunnel) => Pin::new(tunnel).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Direct(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Central(tunnel) => Pin::new(tunnel).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::Counters;
    use crate::decide::{Decision, Judge, Judgement, Opening, decide};
    use crate::record::{Record, Sink};
    use crate::serve::Phase;
    use crate::settings::Limits;
    use nix::sys::socket::getsockopt;
    use std::sync::Arc;
    use tokio::net::TcpListener;
    use tokio::sync::watch;

    const MARK: u32 = 7;

    /// Allows everything, from the node itself, under a budget.
    struct Allows;

    impl Judge for Allows {
        fn judge(&self, _: &Opening) -> Judgement {
            Judgement { budget: Some(6), ..Judgement::without_rule(Reason::NameAllowed) }
        }
    }

    struct Nowhere;

    impl Sink for Nowhere {
        fn take(&self, _: Record) -> bool {
            true
        }
    }

    /// A stream of a connection that somebody drives.
    async fn tunnel() -> Tunnel {
        let (near, far) = tokio::io::duplex(1 << 16);
        let serving = tokio::spawn(async move {
            let mut connection = h2::server::handshake(far).await.unwrap();
            let (_, mut respond) = connection.accept().await.unwrap().unwrap();
            let _open = respond.send_response(http::Response::new(()), false).unwrap();
            while connection.accept().await.is_some() {}
        });
        let (client, connection) = h2::client::handshake(near).await.unwrap();
        tokio::spawn(async move { drop((connection.await, serving)) });
        let mut client = client.ready().await.unwrap();
        let asked = http::Request::builder().method("CONNECT").uri("hub.example:443").body(()).unwrap();
        let (answer, send) = client.send_request(asked, false).unwrap();
        Tunnel::new(send, answer.await.unwrap().into_body(), Arc::default())
    }

    #[tokio::test]
    async fn what_is_dialled_again_for_a_client_of_the_explicit_proxy_has_its_mark_and_its_own_budget() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let destination = listener.local_addr().unwrap();
        if setsockopt(&TcpSocket::new_v4().unwrap(), sockopt::Mark, &MARK).is_err() {
            return eprintln!("SKIPPED: this test needs the right to mark packets");
        }
        let limits = Limits { front_mark: MARK, ..Limits::default() };
        let (_phase, told) = watch::channel(Phase::default());
        let (sink, counters) = (Arc::new(Nowhere), Arc::new(Counters::new()));
        let gateway = Gateway::new(Arc::new(Allows), sink, counters, limits, told);
        let opening = Opening { pod: [10, 0, 0, 1].into(), destination, claim: Claim::Opaque };
        let Decision::Permit(permit) = decide(&Allows, opening) else { panic!("it is allowed") };
        for (server, mark) in [
            (Server::Unopened, 0),
            (Server::Marked(MARK + 1), MARK + 1),
            // The budget under which it was opened is another one.
            (Server::Open(Way::Central(tunnel().await), Some(5)), MARK),
        ] {
            let mut guard = gateway.guard(destination, destination);
            let way = gateway.server(&permit, server, &mut guard).await;
            let Ok(Way::Direct(socket)) = way else { panic!("it leaves from here") };
            assert_eq!(getsockopt(&socket, sockopt::Mark).unwrap(), mark);
            assert_eq!(getsockopt(&socket, sockopt::Priority).unwrap(), 6);
        }
    }
}
