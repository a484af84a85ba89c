//! Captures of packets, as `tcpdump -w` and Wireshark write them -> lookups and connections.
//!
//! Enters: bytes as they come, in any pieces. Leaves: a lookup when its answer is there, or none came in time; a connection when it
//! ended or nothing passed for long. Guarantees: as [`crate::read`]; nothing is kept beyond [`MAX_OPEN`] of each. Does not: put
//! streams together: of DNS over TCP, messages are read that begin at the start of a segment or behind others that it holds whole.

use super::Unreadable;
use super::frames::{self, Frames};
use super::message::{self, Message};
use super::packet::{self, ACK, FIN, Packet, RST, SYN, TCP};
use crate::event::{Event, Flow, Lookup, Phase, Place, RecordId, SECOND, What};
use observe::Time;
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

/// Lookups without an answer, and connections without an end, that are kept.
pub const MAX_OPEN: usize = 1 << 16;
/// How long an answer may take.
const ANSWER: u64 = 5 * SECOND;
/// How long a connection may be silent.
const SILENCE: u64 = 120 * SECOND;
const DNS: u16 = 53;

/// First bytes of a file that is a capture.
pub fn is_one(bytes: &[u8]) -> bool {
    frames::is_one(bytes)
}

/// Who asks whom, and the number of the question.
type Question = (IpAddr, u16, IpAddr, u16);
/// The end that began, the other, the protocol.
type Ends = ((IpAddr, u16), (IpAddr, u16), u8);

#[derive(Debug)]
struct Open {
    began: u64,
    last: u64,
    record: RecordId,
    sent: u64,
    received: u64,
    /// Whether its begin was seen, where the protocol has one.
    began_here: bool,
    answered: bool,
    ended: bool,
}

/// Reads one capture.
#[derive(Debug)]
pub struct Capture {
    file: Arc<str>,
    /// What came and is no whole packet yet.
    held: Vec<u8>,
    frames: Option<Frames>,
    packets: u64,
    ignored: u64,
    questions: HashMap<Question, Event>,
    asked: VecDeque<(u64, Question)>,
    flows: HashMap<Ends, Open>,
    swept: u64,
}

impl Capture {
    /// For a file, whose name is only said.
    pub fn new(file: &str) -> Self {
        Self {
            file: file.into(),
            held: Vec::new(),
            frames: None,
            packets: 0,
            ignored: 0,
            questions: HashMap::new(),
            asked: VecDeque::new(),
            flows: HashMap::new(),
            swept: 0,
        }
    }

    /// How many packets were neither TCP nor UDP, or could not be read as what their ports say.
    pub fn ignored(&self) -> u64 {
        self.ignored
    }

    /// More bytes. After an error nothing more can be read.
    pub fn push(&mut self, bytes: &[u8], events: &mut Vec<Event>) -> Result<(), Unreadable> {
        self.held.extend_from_slice(bytes);
        let held = std::mem::take(&mut self.held);
        let read = self.read(&held, events);
        let at = read.map_err(|why| {
            self.packets += u64::from(self.frames.is_some());
            self.unreadable(why)
        })?;
        self.held = held.get(at..).unwrap_or_default().to_vec();
        Ok(())
    }

    /// All whole packets; how many bytes these were.
    fn read(&mut self, held: &[u8], events: &mut Vec<Event>) -> Result<usize, String> {
        let mut at = 0;
        if self.frames.is_none() {
            let Some((frames, length)) = Frames::begin(held)? else { return Ok(0) };
            (self.frames, at) = (Some(frames), length);
        }
        while let Some(frames) = &mut self.frames {
            let Some((length, frame)) = frames.next(held.get(at..).unwrap_or_default())? else { break };
            if let Some((time, link, frame)) = frame {
                self.packet(time, link, frame, events);
            }
            at += length;
        }
        Ok(at)
    }

    /// That was all. What is open is told of; a capture that is cut is unreadable at its last packet.
    pub fn finish(&mut self, events: &mut Vec<Event>) -> Result<(), Unreadable> {
        self.unanswered(u64::MAX, events);
        self.silent(u64::MAX, events);
        if self.frames.is_none() {
            return Err(self.unreadable("this is no capture: it is shorter than the header of one"));
        }
        if !self.held.is_empty() {
            self.packets += 1;
            return Err(self.unreadable("the capture ends within a packet"));
        }
        Ok(())
    }

    fn unreadable(&self, why: impl Into<String>) -> Unreadable {
        Unreadable { file: Arc::clone(&self.file), line: self.packets, why: why.into() }
    }

    fn packet(&mut self, time: u64, link: u32, frame: &[u8], events: &mut Vec<Event>) {
        self.packets += 1;
        self.unanswered(time, events);
        if time.saturating_sub(self.swept) >= SILENCE {
            self.silent(time, events);
        }
        let Some(packet) = packet::read(link, frame) else {
            self.ignored += 1;
            return;
        };
        let record = RecordId { source: Arc::clone(&self.file), number: self.packets };
        if packet.from.1 == DNS || packet.to.1 == DNS {
            self.dns(time, &packet, &record, events);
        } else {
            self.flow(time, &packet, record, events);
        }
    }

    fn dns(&mut self, time: u64, packet: &Packet<'_>, record: &RecordId, events: &mut Vec<Event>) {
        let mut rest = packet.payload;
        let mut is_read = false;
        // Two bytes say how long each message is (RFC 1035, section 4.2.2). Of one that goes on in the next segment, the question is here.
        while packet.protocol == TCP
            && let [high, low, behind @ ..] = rest
        {
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            let (message, after) = behind.split_at_checked(length).unwrap_or((behind, &[]));
            if !self.message(time, packet, message, record, events) {
                break;
            }
            (is_read, rest) = (true, after);
        }
        // Some clients send the length by itself.
        let is_read = is_read || self.message(time, packet, rest, record, events);
        let is_length = packet.protocol == TCP && packet.payload.len() <= 2;
        self.ignored += u64::from(!is_read && !is_length);
    }

    /// Whether it could be read.
    fn message(
        &mut self,
        time: u64,
        packet: &Packet<'_>,
        payload: &[u8],
        record: &RecordId,
        events: &mut Vec<Event>,
    ) -> bool {
        let Some(message) = message::read(payload) else { return false };
        let Message { id, is_answer, rcode, name, kind, answer_bytes } = message;
        let (client, server) = if is_answer { (packet.to, packet.from) } else { (packet.from, packet.to) };
        let question = (client.0, client.1, server.0, id);
        let asked = What::Lookup(Lookup { name, kind, rcode: None, answer_bytes });
        let mut event = Event::new(Time(time), client.0.to_string().into(), record.clone(), asked);
        if !is_answer {
            if self.questions.len() >= MAX_OPEN {
                self.unanswered(u64::MAX, events);
            }
            self.asked.push_back((time, question));
            // The same question again takes the place of the first.
            self.questions.insert(question, event);
            return true;
        }
        if let What::Lookup(lookup) = &mut event.what {
            lookup.rcode = Some(rcode);
        }
        if let Some(asked) = self.questions.remove(&question) {
            (event.time, event.record) = (asked.time, asked.record);
        }
        events.push(event);
        true
    }

    /// Tells of questions that have waited long enough.
    fn unanswered(&mut self, time: u64, events: &mut Vec<Event>) {
        while let Some((asked, question)) = self.asked.front().copied() {
            if time.saturating_sub(asked) < ANSWER && self.asked.len() < 2 * MAX_OPEN {
                break;
            }
            self.asked.pop_front();
            events.extend(self.questions.remove(&question));
        }
    }

    fn flow(&mut self, time: u64, packet: &Packet<'_>, record: RecordId, events: &mut Vec<Event>) {
        let (there, back) =
            ((packet.from, packet.to, packet.protocol), (packet.to, packet.from, packet.protocol));
        // An answer to SYN whose SYN is missing tells who began.
        let is_reply = self.flows.contains_key(&back)
            || (!self.flows.contains_key(&there) && packet.flags & (SYN | ACK) == SYN | ACK);
        let ends = if is_reply { back } else { there };
        let is_begin = packet.flags & SYN != 0;
        // What comes behind the end of a connection, its last acknowledgement above all, begins no other.
        if packet.protocol == TCP && packet.length == 0 && !is_begin && !self.flows.contains_key(&ends) {
            return;
        }
        if !self.flows.contains_key(&ends) && self.flows.len() >= MAX_OPEN {
            self.silent(u64::MAX, events);
        }
        let open = self.flows.entry(ends).or_insert_with(|| Open {
            began: time,
            last: time,
            record,
            sent: 0,
            received: 0,
            began_here: is_begin,
            answered: false,
            ended: false,
        });
        open.last = time;
        let is_reset = packet.flags & RST != 0;
        if is_reply {
            open.received += packet.length;
            open.answered |= !is_reset;
        } else {
            open.sent += packet.length;
        }
        let is_fin = packet.flags & FIN != 0;
        let is_over = is_reset || (open.ended && is_fin);
        open.ended |= is_fin;
        // The second FIN, or a reset, is the end.
        if is_over && let Some(open) = self.flows.remove(&ends) {
            events.push(open.event(ends));
        }
    }

    /// Tells of connections over which nothing passed for long, in the order in which they began.
    fn silent(&mut self, time: u64, events: &mut Vec<Event>) {
        self.swept = time;
        let mut over: Vec<_> =
            self.flows.extract_if(|_, open| time.saturating_sub(open.last) >= SILENCE).collect();
        over.sort_unstable_by_key(|(ends, open)| (open.began, *ends));
        events.extend(over.into_iter().map(|(ends, open)| open.event(ends)));
    }
}

impl Open {
    fn event(self, (from, to, protocol): Ends) -> Event {
        let is_failed = protocol == TCP && self.began_here && !self.answered;
        let flow = Flow {
            phase: if is_failed { Phase::Failed } else { Phase::Whole },
            from_node: false,
            address: to.0,
            name: None,
            place: Place::Unknown,
            port: to.1,
            protocol,
            sent: self.sent,
            received: self.received,
            duration: self.last.saturating_sub(self.began),
        };
        Event::new(Time(self.began), from.0.to_string().into(), self.record, What::Flow(flow))
    }
}
