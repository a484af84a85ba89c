//! Reads what a pod asks, and writes what is asked upstream for it.
//!
//! Enters: bytes from a pod. Leaves: one [`Question`], or how to answer what is none.
//! Guarantees: what goes upstream is written anew from the question: options, padding, the case of letters and
//! anything behind the message stay here, so that they carry nothing out.
//! Does not: ask who the pod is or what it may.

use crate::kind::{IN, Rcode, RecordType};
use crate::wire::{HEADER, Malformed, Name, Reader};

/// What a query says besides its question.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Flags {
    /// RD: look for the answer elsewhere if need be.
    pub recursion: bool,
    /// AD: say whether the answer was validated (RFC 6840, section 5.7).
    pub authentic: bool,
    /// CD: do not validate.
    pub unchecked: bool,
    /// DO: send signatures (RFC 3225).
    pub dnssec: bool,
}

/// What a pod asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Number the answer must carry.
    pub id: u16,
    /// Name, lower case.
    pub name: Name,
    /// Type. The class is always that of the Internet.
    pub kind: RecordType,
    /// Flags that change the answer.
    pub flags: Flags,
    /// Bytes of an answer that the pod takes by UDP, where it speaks EDNS.
    pub edns: Option<u16>,
    /// The name as the pod wrote it, where it is not in lower case: the answer repeats it.
    pub cased: Option<Box<[u8]>>,
}

/// Why there is no question, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// No query at all: an answer to it could start a loop or hit somebody else.
    Drop,
    /// Answer with this code, and nothing but a header.
    Answer {
        /// Number to repeat.
        id: u16,
        /// Operation and RD to repeat, in their places of the header's third byte.
        repeated: u8,
        /// Response code.
        rcode: Rcode,
    },
}

/// Upper bound of an answer by UDP, also of what is asked for upstream: what passes without fragments (DNS flag day
/// 2020).
pub const UDP_LIMIT: u16 = 1232;

/// Least an answer by UDP may have (RFC 1035, section 2.3.4).
const UDP_LEAST: u16 = 512;

impl Question {
    /// Reads one query.
    ///
    /// # Errors
    /// See [`Unreadable`].
    pub fn read(bytes: &[u8]) -> Result<Self, Unreadable> {
        let mut reader = Reader::new(bytes);
        let Ok([id_high, id_low, first, second]) = reader.array() else { return Err(Unreadable::Drop) };
        let id = u16::from_be_bytes([id_high, id_low]);
        if bytes.len() < HEADER || first & QR != 0 {
            return Err(Unreadable::Drop);
        }
        let answer = |rcode| Unreadable::Answer { id, repeated: first & (OPCODE | RD), rcode };
        if first & OPCODE != 0 {
            return Err(answer(Rcode::NOTIMP));
        }
        let flags = Flags {
            recursion: first & RD != 0,
            authentic: second & AD != 0,
            unchecked: second & CD != 0,
            dnssec: false,
        };
        let Ok(mut question) = body(reader, id, flags) else { return Err(answer(Rcode::FORMERR)) };
        match question.edns.take() {
            Some((0, size)) => {
                question.question.edns = Some(size.clamp(UDP_LEAST, UDP_LIMIT));
                Ok(question.question)
            }
            Some(_) => Err(answer(Rcode::BADVERS)),
            None => Ok(question.question),
        }
    }

    /// Most bytes of an answer by UDP.
    pub fn udp_limit(&self) -> usize {
        usize::from(self.edns.unwrap_or(UDP_LEAST))
    }

    /// The query to send upstream, with another number.
    pub fn upstream(&self, id: u16) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER + self.name.wire().len() + 15);
        let first = if self.flags.recursion { RD } else { 0 };
        let second = if self.flags.authentic { AD } else { 0 } | if self.flags.unchecked { CD } else { 0 };
        out.extend_from_slice(&id.to_be_bytes());
        out.extend_from_slice(&[first, second, 0, 1, 0, 0, 0, 0, 0, 1]);
        out.extend_from_slice(self.name.wire());
        out.extend_from_slice(&self.kind.0.to_be_bytes());
        out.extend_from_slice(&IN.to_be_bytes());
        write_opt(&mut out, UDP_LIMIT, self.flags.dnssec, None);
        out
    }
}

/// QR: an answer.
pub(crate) const QR: u8 = 0x80;
/// The operation.
pub(crate) const OPCODE: u8 = 0x78;
/// TC: not all of it.
pub(crate) const TC: u8 = 0x02;
/// RD.
pub(crate) const RD: u8 = 0x01;
/// RA: recursion is to be had.
pub(crate) const RA: u8 = 0x80;
/// AD.
pub(crate) const AD: u8 = 0x20;
/// CD.
pub(crate) const CD: u8 = 0x10;

/// A question, and version and size of its EDNS.
struct Body {
    question: Question,
    edns: Option<(u8, u16)>,
}

fn body(mut reader: Reader<'_>, id: u16, flags: Flags) -> Result<Body, Malformed> {
    let counts: [u16; 4] = [reader.u16()?, reader.u16()?, reader.u16()?, reader.u16()?];
    let [1, 0, 0, additional] = counts else { return Err(Malformed("not one question alone")) };
    let from = reader.clone();
    let name = reader.plain_name()?;
    let mut cased = from;
    let cased = cased.take(name.wire().len())?;
    let kind = RecordType(reader.u16()?);
    if reader.u16()? != IN {
        return Err(Malformed("a class that is not the Internet's"));
    }
    let cased = (cased != name.wire()).then(|| cased.into());
    let mut question = Question { id, name, kind, flags, edns: None, cased };
    let mut edns = None;
    for _ in 0..additional {
        // Whatever else could stand here signs the message, and a signature does not survive the way.
        if edns.is_some()
            || reader.plain_name()?.wire().len() != 1
            || RecordType(reader.u16()?) != RecordType::OPT
        {
            return Err(Malformed("more than one OPT record"));
        }
        let size = reader.u16()?;
        let [_, version, flags, _] = reader.array()?;
        question.flags.dnssec = flags & 0x80 != 0;
        let length = reader.u16()?;
        reader.take(usize::from(length))?;
        edns = Some((version, size));
    }
    if !reader.is_done() {
        return Err(Malformed("bytes behind its end"));
    }
    Ok(Body { question, edns })
}

/// Appends an OPT record (RFC 6891), with an extended error (RFC 8914) where there is one.
pub(crate) fn write_opt(out: &mut Vec<u8>, size: u16, dnssec: bool, error: Option<(u16, &str)>) {
    let opt = RecordType::OPT.0.to_be_bytes();
    out.extend_from_slice(&[0, opt[0], opt[1]]);
    out.extend_from_slice(&size.to_be_bytes());
    out.extend_from_slice(&[0, 0, if dnssec { 0x80 } else { 0 }, 0]);
    let Some((code, text)) = error else {
        out.extend_from_slice(&[0, 0]);
        return;
    };
    let end =
        (0..=text.len().min(MAX_ERROR_TEXT)).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default();
    let text = text.as_bytes().get(..end).unwrap_or_default();
    let length = u16::try_from(text.len()).unwrap_or_default();
    for number in [length + 6, EDE, length + 2, code] {
        out.extend_from_slice(&number.to_be_bytes());
    }
    out.extend_from_slice(text);
}

/// Option code of an extended error.
pub(crate) const EDE: u16 = 15;

/// Longest text of an extended error: an answer stays below the least size that every pod takes.
const MAX_ERROR_TEXT: usize = 180;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query};
    use hickory_proto::rr::{Name as HickoryName, RecordType as HickoryType};
    use proptest::prelude::*;

    /// A query as another implementation writes it.
    pub(crate) fn query(name: &str, kind: u16) -> Message {
        let mut message = Message::new(7, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = true;
        message.add_query(Query::query(HickoryName::from_ascii(name).unwrap(), HickoryType::from(kind)));
        message
    }

    fn with_edns(mut message: Message, version: u8, size: u16, dnssec: bool) -> Message {
        let mut edns = Edns::new();
        edns.set_max_payload(size).set_version(version).set_dnssec_ok(dnssec);
        message.set_edns(edns);
        message
    }

    fn bytes(message: &Message) -> Vec<u8> {
        message.to_vec().unwrap()
    }

    #[test]
    fn a_question_is_read_with_what_changes_its_answer() {
        let mut message = with_edns(query("Www.Example.com.", 28), 0, 4096, true);
        message.metadata.checking_disabled = true;
        let question = Question::read(&bytes(&message)).unwrap();
        assert_eq!((question.id, question.name.to_string().as_str()), (7, "www.example.com"));
        assert_eq!(question.kind, RecordType::AAAA);
        let expected = Flags { recursion: true, authentic: false, unchecked: true, dnssec: true };
        assert_eq!(question.flags, expected);
        assert_eq!(question.udp_limit(), 1232);
        assert_eq!(question.cased.as_deref(), Some(&b"\x03Www\x07Example\x03com\0"[..]));
        let plain = Question::read(&bytes(&query("a.", 1))).unwrap();
        assert_eq!((plain.udp_limit(), plain.cased), (512, None));
    }

    #[test]
    fn what_goes_upstream_reads_as_the_same_question_and_carries_nothing_else() {
        let asked = bytes(&with_edns(query("wWw.example.com.", 65), 0, 512, true));
        let question = Question::read(&asked).unwrap();
        let sent = question.upstream(99);
        let read = Message::from_vec(&sent).unwrap();
        assert_eq!(
            (read.metadata.id, read.queries[0].to_string()),
            (99, "www.example.com. IN HTTPS".to_owned())
        );
        let edns = read.edns.as_ref().unwrap();
        assert_eq!((edns.max_payload(), edns.flags().dnssec_ok), (1232, true));
        let again = Question::read(&sent).unwrap();
        assert_eq!(again, Question { id: 99, edns: Some(1232), cased: None, ..question });
    }

    fn check(bytes: &[u8], expected: Option<Rcode>) {
        let found = match Question::read(bytes).unwrap_err() {
            Unreadable::Drop => None,
            Unreadable::Answer { rcode, .. } => Some(rcode),
        };
        assert_eq!(found, expected, "{bytes:?}");
    }

    #[test]
    fn what_is_no_question_is_dropped_or_answered_with_a_header() {
        let good = bytes(&query("a.io.", 1));
        check(&[], None);
        check(&good[..11], None);
        let mut response = good.clone();
        response[2] |= QR;
        check(&response, None);
        let mut notify = good.clone();
        notify[2] |= 4 << 3;
        check(&notify, Some(Rcode::NOTIMP));
        check(&good[..good.len() - 1], Some(Rcode::FORMERR));
        check(&[&good[..], &[0]].concat(), Some(Rcode::FORMERR));
        let mut two = query("a.io.", 1);
        two.add_query(Query::query(HickoryName::from_ascii("b.io.").unwrap(), HickoryType::A));
        check(&bytes(&two), Some(Rcode::FORMERR));
        check(&bytes(&with_edns(query("a.io.", 1), 1, 1232, false)), Some(Rcode::BADVERS));
        let mut chaos = good;
        *chaos.last_mut().unwrap() = 3;
        check(&chaos, Some(Rcode::FORMERR));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_question_or_not(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = Question::read(&bytes);
        }

        #[test]
        fn a_damaged_question_never_panics(at in 0..60usize, value in any::<u8>()) {
            let mut bytes = bytes(&with_edns(query("www.example.com.", 1), 0, 1232, true));
            let at = at % bytes.len();
            bytes[at] = value;
            let _ = Question::read(&bytes);
        }
    }
}
