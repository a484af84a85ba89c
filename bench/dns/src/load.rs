//! Asks: as fast as answers come, or at a rate, and takes the time.
//!
//! An answer's time is when the kernel had its datagram for the asker, not when the asker had a turn: it shares its
//! processor with the resolver and with whatever else a server needs beside it.

use crate::servers::Server;
use anyhow::{Result, bail};
use nix::sys::socket::sockopt::ReceiveTimestampns;
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, MultiHeaders, RecvMsg, SockaddrIn, recvmmsg, sendmmsg, setsockopt,
};
use nix::sys::time::TimeSpec;
use serde_json::{Value, json};
use std::io::{IoSlice, IoSliceMut};
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Which names are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Names {
    /// The same thousand again and again.
    Thousand,
    /// Each once.
    Unique,
}

/// Questions under way when asking as fast as it goes.
const WINDOW: usize = 128;

/// Questions of one call to the kernel.
const BATCH: usize = 32;

/// After this a question counts as lost.
const LOST: Duration = Duration::from_millis(500);

/// What was measured.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    /// Processor time of the server for each question.
    pub(crate) cpu: f64,
    pub(crate) per_second: f64,
    pub(crate) answered: u64,
    pub(crate) lost: u64,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

impl Sample {
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "cpu": self.cpu, "per_second": self.per_second, "answered": self.answered, "lost": self.lost,
            "p50": self.p50, "p99": self.p99,
        })
    }
}

/// A question for the address of the name of this number.
pub(crate) fn query(id: u16, number: u64) -> Vec<u8> {
    let [high, low] = id.to_be_bytes();
    let label = format!("n{number}");
    let mut query =
        vec![high, low, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, u8::try_from(label.len()).unwrap_or_default()];
    query.extend_from_slice(label.as_bytes());
    query.extend_from_slice(b"\x07example\x03com\0\0\x01\0\x01");
    query
}

/// One socket, and what is under way.
struct Asker {
    socket: UdpSocket,
    names: Names,
    number: u64,
    /// When the question of each number was sent, by the clock that the kernel's times are of.
    sent: Vec<Option<Duration>>,
    under_way: usize,
    next: u16,
    times: Vec<Duration>,
    lost: u64,
    buffers: Vec<[u8; 2048]>,
}

impl Asker {
    fn new(server: &Server, names: Names) -> Result<Self> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.connect(("127.0.0.1", server.port))?;
        setsockopt(&socket, ReceiveTimestampns, &true)?;
        // Names that no run before has asked for.
        let number = u64::try_from(now().as_micros())?;
        Ok(Self {
            socket,
            names,
            number,
            sent: vec![None; 1 << 16],
            under_way: 0,
            next: 0,
            times: Vec::new(),
            lost: 0,
            buffers: vec![[0; 2048]; BATCH],
        })
    }

    fn send(&mut self, count: usize) -> Result<()> {
        let mut queries = Vec::with_capacity(count);
        let now = now();
        for _ in 0..count.min(BATCH) {
            self.number += 1;
            let number = match self.names {
                Names::Thousand => self.number % 1000,
                Names::Unique => self.number,
            };
            queries.push(query(self.next, number));
            if let Some(slot) = self.sent.get_mut(usize::from(self.next)) {
                if slot.replace(now).is_some() {
                    self.lost += 1;
                } else {
                    self.under_way += 1;
                }
            }
            self.next = self.next.wrapping_add(1);
        }
        let slices: Vec<_> = queries.iter().map(|query| [IoSlice::new(query)]).collect();
        let to: Vec<Option<SockaddrIn>> = vec![None; slices.len()];
        let mut headers = MultiHeaders::preallocate(slices.len(), None);
        sendmmsg(self.socket.as_raw_fd(), &mut headers, &slices, &to, [], MsgFlags::empty())?;
        Ok(())
    }

    /// Takes in what has come, up to a batch; how many.
    fn receive(&mut self) -> usize {
        let mut slices: Vec<_> = self.buffers.iter_mut().map(|buffer| [IoSliceMut::new(buffer)]).collect();
        let space = nix::cmsg_space!(TimeSpec);
        let mut headers = MultiHeaders::<SockaddrIn>::preallocate(BATCH, Some(space));
        let socket = self.socket.as_raw_fd();
        let Ok(received) = recvmmsg(socket, &mut headers, slices.iter_mut(), MsgFlags::MSG_DONTWAIT, None)
        else {
            return 0;
        };
        let mut count = 0;
        for message in received {
            count += 1;
            let id =
                message.iovs().next().and_then(|bytes| bytes.first_chunk().copied()).map(u16::from_be_bytes);
            let slot = id.and_then(|id| self.sent.get_mut(usize::from(id)));
            if let Some(sent) = slot.and_then(Option::take) {
                self.under_way -= 1;
                // The clock may be set meanwhile.
                self.times.push(arrival(&message).unwrap_or_else(now).saturating_sub(sent));
            }
        }
        count
    }

    /// Gives up what is under way for too long.
    fn give_up(&mut self) {
        let now = now();
        for slot in &mut self.sent {
            if slot.is_some_and(|sent| now.saturating_sub(sent) > LOST) {
                *slot = None;
                self.under_way -= 1;
                self.lost += 1;
            }
        }
    }
}

/// Since 1970, by the system's clock.
fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// When the kernel had a datagram, since 1970.
fn arrival(message: &RecvMsg<'_, '_, SockaddrIn>) -> Option<Duration> {
    message.cmsgs().ok()?.find_map(|control| match control {
        ControlMessageOwned::ScmTimestampns(time) => Some(time.into()),
        _ => None,
    })
}

/// Has the thousand names kept, and the server warm.
pub(crate) fn warm_up(server: &Server, names: Names) -> Result<()> {
    let mut asker = Asker::new(server, names)?;
    run_full(&mut asker, |asker| asker.times.len() >= 3000)
}

/// Asks for each of so many names once.
pub(crate) fn ask_each(server: &Server, names: u64) -> Result<()> {
    let mut asker = Asker::new(server, Names::Unique)?;
    let wanted = usize::try_from(names)?;
    run_full(&mut asker, |asker| asker.times.len() >= wanted)
}

fn run_full(asker: &mut Asker, done: impl Fn(&Asker) -> bool) -> Result<()> {
    let mut last = Instant::now();
    while !done(asker) {
        if asker.under_way + BATCH <= WINDOW {
            asker.send(BATCH)?;
        }
        if asker.receive() > 0 {
            last = Instant::now();
        } else {
            std::thread::yield_now();
        }
        if last.elapsed() > LOST {
            asker.give_up();
            last = Instant::now();
        }
        if asker.lost > 10_000 {
            bail!("the server does not answer");
        }
    }
    Ok(())
}

/// Asks as fast as answers come.
pub(crate) fn as_fast_as_it_goes(server: &Server, names: Names, time: Duration) -> Result<Sample> {
    let mut asker = Asker::new(server, names)?;
    let (began, before) = (Instant::now(), server.processor_time()?);
    run_full(&mut asker, |_| began.elapsed() >= time)?;
    Ok(sample(asker, began.elapsed(), server.processor_time()? - before))
}

/// Asks at a rate, whether answers come or not.
pub(crate) fn at_rate(server: &Server, names: Names, per_second: f64, time: Duration) -> Result<Sample> {
    let mut asker = Asker::new(server, names)?;
    let (began, before) = (Instant::now(), server.processor_time()?);
    let mut asked = 0.0;
    while began.elapsed() < time {
        // A few at a time, as they come due.
        let due = began.elapsed().as_secs_f64() * per_second - asked;
        if due >= 1.0 {
            asker.send(1)?;
            asked += 1.0;
        }
        if asker.receive() == 0 && due < 1.0 {
            // It has said when it was asked, and the kernel says when it answered: the processor is for the resolver.
            std::thread::sleep(Duration::from_micros(20));
        }
    }
    let took = began.elapsed();
    let used = server.processor_time()? - before;
    while asker.under_way > 0 && began.elapsed() < took + LOST {
        asker.receive();
    }
    asker.lost += u64::try_from(asker.under_way)?;
    Ok(sample(asker, took, used))
}

fn sample(mut asker: Asker, took: Duration, used: Duration) -> Sample {
    asker.times.sort_unstable();
    let count = asker.times.len();
    let at = |hundredths: usize| {
        asker.times.get((count * hundredths / 100).min(count.saturating_sub(1))).map_or(0.0, |it| micros(*it))
    };
    let answered = u32::try_from(count).unwrap_or(u32::MAX);
    Sample {
        cpu: micros(used) / f64::from(answered.max(1)),
        per_second: f64::from(answered) / took.as_secs_f64(),
        answered: answered.into(),
        lost: asker.lost,
        p50: at(50),
        p99: at(99),
    }
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
