//! Captures of packets, as `tcpdump -w` writes them -> lookups and connections.
//!
//! Enters: bytes as they come, in any pieces. Leaves: a lookup when its answer is there, or none came in time; a connection when it
//! ended or nothing passed for long. Guarantees: as [`crate::read`]; nothing is kept beyond [`MAX_OPEN`] of each. Does not: put
//! streams together: of DNS over TCP, messages are read that a segment holds whole. Format:
//! <https://www.ietf.org/archive/id/draft-ietf-opsawg-pcap-06.html>.

use super::Unreadable;
use super::message::{self, Message};
use super::packet::{self, Packet, TCP};
use crate::event::{Event, Flow, Lookup, Phase, Place, RecordId, SECOND, What};
use observe::Time;
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

/// Lookups without an answer, and connections without an end, that are kept.
pub const MAX_OPEN: usize = 1 << 16;
/// Largest packet in bytes; what tools write at most.
const LARGEST: usize = 1 << 18;
/// How long an answer may take.
const ANSWER: u64 = 5 * SECOND;
/// How long a connection may be silent.
const SILENCE: u64 = 120 * SECOND;
/// Bytes of the header of a file, and of a packet.
const FILE_HEADER: usize = 24;
const PACKET_HEADER: usize = 16;
const DNS: u16 = 53;

/// First bytes of a file that is a capture.
pub fn is_one(bytes: &[u8]) -> bool {
    Shape::of(bytes).is_some() || bytes.starts_with(&PCAPNG)
}

const PCAPNG: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];

/// How numbers are written.
#[derive(Clone, Copy, Debug)]
struct Shape {
    big: bool,
    nanos: bool,
}

impl Shape {
    fn of(bytes: &[u8]) -> Option<Self> {
        match bytes.get(..4)? {
            [0xd4, 0xc3, 0xb2, 0xa1] => Some(Self { big: false, nanos: false }),
            [0x4d, 0x3c, 0xb2, 0xa1] => Some(Self { big: false, nanos: true }),
            [0xa1, 0xb2, 0xc3, 0xd4] => Some(Self { big: true, nanos: false }),
            [0xa1, 0xb2, 0x3c, 0x4d] => Some(Self { big: true, nanos: true }),
            _ => None,
        }
    }

    fn number(self, bytes: &[u8], at: usize) -> u32 {
        let four = bytes.get(at..at + 4).and_then(|four| <[u8; 4]>::try_from(four).ok()).unwrap_or_default();
        if self.big { u32::from_be_bytes(four) } else { u32::from_le_bytes(four) }
    }
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
    answered: bool,
    ended: bool,
}

/// Reads one capture.
#[derive(Debug)]
pub struct Capture {
    file: Arc<str>,
    /// What came and is no whole packet yet.
    held: Vec<u8>,
    head: Option<(Shape, u32)>,
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
            head: None,
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
        let mut at = 0;
        let (shape, link) = match self.head {
            Some(head) => head,
            None if held.len() < FILE_HEADER => {
                self.held = held;
                return Ok(());
            }
            None => {
                at = FILE_HEADER;
                *self.head.insert(self.header(&held)?)
            }
        };
        while let Some(header) = held.get(at..at + PACKET_HEADER) {
            let length = usize::try_from(shape.number(header, 8)).unwrap_or(usize::MAX);
            if length > LARGEST {
                self.packets += 1;
                return Err(
                    self.unreadable(format!("a packet of {length} bytes: the capture is damaged here"))
                );
            }
            let Some(frame) = held.get(at + PACKET_HEADER..at + PACKET_HEADER + length) else { break };
            let fraction = u64::from(shape.number(header, 4)) / if shape.nanos { 1000 } else { 1 };
            let time = u64::from(shape.number(header, 0)) * SECOND + fraction;
            self.packet(time, link, frame, events);
            at += PACKET_HEADER + length;
        }
        self.held = held.get(at..).unwrap_or_default().to_vec();
        Ok(())
    }

    /// That was all. What is open is told of; a capture that is cut is unreadable at its last packet.
    pub fn finish(&mut self, events: &mut Vec<Event>) -> Result<(), Unreadable> {
        self.unanswered(u64::MAX, events);
        self.silent(u64::MAX, events);
        if self.head.is_none() {
            return Err(self.unreadable("this is no capture: it is shorter than the header of one"));
        }
        if !self.held.is_empty() {
            self.packets += 1;
            return Err(self.unreadable("the capture ends within a packet"));
        }
        Ok(())
    }

    fn header(&self, bytes: &[u8]) -> Result<(Shape, u32), Unreadable> {
        if bytes.starts_with(&PCAPNG) {
            return Err(self.unreadable(
                "pcapng is not read: convert it with `editcap -F pcap IN OUT` or `tcpdump -r IN -w OUT`",
            ));
        }
        let Some(shape) = Shape::of(bytes) else {
            return Err(self.unreadable("this is no capture: its first bytes are not those of pcap"));
        };
        // The upper bits say how long check sums of frames are.
        let link = shape.number(bytes, 20) & 0x0fff_ffff;
        if !packet::is_known(link) {
            return Err(self.unreadable(format!(
                "frames of link type {link} are not read: capture Ethernet, raw IP or `-i any`"
            )));
        }
        Ok((shape, link))
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
        let payload = match (packet.protocol, packet.payload) {
            // Two bytes say how long the message is (RFC 1035, section 4.2.2).
            (TCP, [high, low, rest @ ..]) if usize::from(u16::from_be_bytes([*high, *low])) <= rest.len() => {
                rest
            }
            (TCP, []) => return,
            (_, payload) => payload,
        };
        let Some(message) = message::read(payload) else {
            self.ignored += 1;
            return;
        };
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
            return;
        }
        if let What::Lookup(lookup) = &mut event.what {
            lookup.rcode = Some(rcode);
        }
        if let Some(asked) = self.questions.remove(&question) {
            (event.time, event.record) = (asked.time, asked.record);
        }
        events.push(event);
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
            || (!self.flows.contains_key(&there) && packet.flags & 0x12 == 0x12);
        let ends = if is_reply { back } else { there };
        if !self.flows.contains_key(&ends) && self.flows.len() >= MAX_OPEN {
            self.silent(u64::MAX, events);
        }
        let open = self.flows.entry(ends).or_insert_with(|| Open {
            began: time,
            last: time,
            record,
            sent: 0,
            received: 0,
            answered: false,
            ended: false,
        });
        open.last = time;
        let is_reset = packet.flags & 4 != 0;
        if is_reply {
            open.received += packet.length;
            open.answered |= !is_reset;
        } else {
            open.sent += packet.length;
        }
        let is_fin = packet.flags & 1 != 0;
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
        let is_failed = protocol == TCP && !self.answered;
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
