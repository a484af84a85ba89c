//! What a pod without a command runs: an echo server on its declared ports.

use crate::LabError;
use crate::plan::PodPlan;
use crate::resident::Resident;
use policy::Protocol;
use std::io::{Read, Write};
use std::net::{Ipv6Addr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often a server looks whether it should stop.
const TICK: Duration = Duration::from_millis(100);
/// Connections one pod serves at once; more are closed at once.
const MOST_CONNECTIONS: usize = 64;
/// A connection that says nothing for this long is closed.
const PATIENCE: Duration = Duration::from_secs(30);

/// The echo servers of one pod; stop on drop.
#[derive(Debug)]
pub struct EchoServer {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl EchoServer {
    /// Binds every declared TCP and UDP port on all addresses of both families. Ports of other protocols have no
    /// sockets to bind.
    ///
    /// # Errors
    /// A port cannot be bound.
    pub(crate) fn start(resident: &Resident, pod: &PodPlan) -> Result<Self, LabError> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut server = Self { stop: stop.clone(), threads: Vec::new() };
        let mut ports = pod.ports.clone();
        ports.sort_unstable();
        ports.dedup();
        for (protocol, port) in ports {
            let action = format!("binding {protocol} port {port} in pod {}/{}", pod.namespace, pod.name);
            let stop = stop.clone();
            match protocol {
                Protocol::TCP => {
                    let bound = resident.call(move || TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)))?;
                    let listener = bound.map_err(|e| LabError::io(&action, e))?;
                    listener.set_nonblocking(true).map_err(|e| LabError::io(&action, e))?;
                    let banner = format!("{}/{} port {port}\n", pod.namespace, pod.name);
                    server.threads.push(resident.spawn(move || serve_tcp(&listener, &banner, &stop))?);
                }
                Protocol::UDP => {
                    let bound = resident.call(move || UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port)))?;
                    let socket = bound.map_err(|e| LabError::io(&action, e))?;
                    socket.set_read_timeout(Some(TICK)).map_err(|e| LabError::io(&action, e))?;
                    server.threads.push(resident.spawn(move || serve_udp(&socket, &stop))?);
                }
                Protocol(_) => {}
            }
        }
        Ok(server)
    }
}

impl Drop for EchoServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            drop(thread.join());
        }
    }
}

fn serve_tcp(listener: &TcpListener, banner: &str, stop: &AtomicBool) {
    let serving = Arc::new(AtomicUsize::new(0));
    while !stop.load(Ordering::Relaxed) {
        let Ok((stream, _)) = listener.accept() else {
            std::thread::sleep(TICK / 20);
            continue;
        };
        if serving.fetch_add(1, Ordering::Relaxed) >= MOST_CONNECTIONS {
            serving.fetch_sub(1, Ordering::Relaxed);
            continue;
        }
        let (banner, serving) = (banner.to_owned(), serving.clone());
        std::thread::spawn(move || {
            // A peer that goes away is nobody's error.
            drop(echo(stream, &banner));
            serving.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

fn echo(mut stream: TcpStream, banner: &str) -> std::io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(banner.as_bytes())?;
    let mut buffer = [0; 4096];
    loop {
        let n = stream.read(&mut buffer)?;
        let Some(chunk) = buffer.get(..n).filter(|chunk| !chunk.is_empty()) else { return Ok(()) };
        stream.write_all(chunk)?;
    }
}

fn serve_udp(socket: &UdpSocket, stop: &AtomicBool) {
    let mut buffer = [0; 65536];
    while !stop.load(Ordering::Relaxed) {
        if let Ok((n, peer)) = socket.recv_from(&mut buffer)
            && let Some(datagram) = buffer.get(..n)
        {
            drop(socket.send_to(datagram, peer));
        }
    }
}
