//! Writes what a pod gets: refusals, and answers as they were kept.
//!
//! Enters: the question, and a reason or a kept answer. Leaves: bytes.
//! Guarantees: an answer to what could not be read is no longer than it; an answer that does not fit is cut to its
//! question and marked as truncated, never to a part of its records; a pod that does not speak EDNS gets none.
//!
//! A pod whose answer is truncated comes back by TCP, and is answered from what was kept or asked upstream by TCP. The
//! proxy does not ask by TCP on its own: what upstream truncates at 1232 bytes does not fit what the pod takes by UDP.

use crate::answer::ExtendedError;
use crate::kind::{IN, Rcode};
use crate::question::{AD, CD, QR, Question, RA, RD, TC, UDP_LIMIT, write_opt};
use crate::wire::HEADER;

/// Longest lifetime that is given, in seconds: who believes an answer for longer than its addresses are bound connects in vain.
pub(crate) const LONGEST: u32 = 86_400;

/// What is said besides.
pub type Said<'a> = Option<(u16, &'a str)>;

/// An answer to what could not be read: a header.
pub fn header(id: u16, repeated: u8, rcode: Rcode) -> Vec<u8> {
    let [high, low] = id.to_be_bytes();
    let mut out = vec![high, low, QR | repeated, RA | low_bits(rcode), 0, 0, 0, 0, 0, 0, 0, 0];
    if rcode == Rcode::BADVERS
        && let Some(count) = out.last_mut()
    {
        // The upper bits of this code stand in an OPT record.
        *count = 1;
        write_opt(&mut out, UDP_LIMIT, false, None);
        if let Some(upper) = out.get_mut(HEADER + 5) {
            *upper = 1;
        }
    }
    out
}

/// An answer without records.
pub fn refusal(question: &Question, rcode: Rcode, said: Said<'_>) -> Vec<u8> {
    let first = QR | if question.flags.recursion { RD } else { 0 };
    let second = RA | if question.flags.unchecked { CD } else { 0 } | low_bits(rcode);
    bare(question, first, second, said)
}

/// What of an answer is kept, ready to be given.
#[derive(Clone, Copy, Debug)]
pub struct Kept<'a> {
    /// The message without an OPT record.
    pub bytes: &'a [u8],
    /// Offsets of its lifetimes.
    pub ttls: &'a [u16],
    /// Extended error of the upstream.
    pub error: Option<&'a ExtendedError>,
}

/// How lifetimes are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetimes {
    /// What is left of each after so many seconds, and no more than this.
    After {
        /// Age of the answer.
        seconds: u32,
        /// Upper bound.
        most: u32,
    },
    /// All of them this (RFC 8767, section 4).
    All(u32),
}

/// A kept answer as this question gets it.
pub fn answer(
    kept: Kept<'_>,
    question: &Question,
    lifetimes: Lifetimes,
    limit: usize,
    said: Said<'_>,
) -> Vec<u8> {
    let said = said.or(kept.error.map(|error| (error.code, &*error.text)));
    let mut out = Vec::with_capacity(kept.bytes.len() + 64);
    out.extend_from_slice(kept.bytes);
    for at in kept.ttls {
        let at = usize::from(*at);
        if let Some(field) = out.get_mut(at..at + 4)
            && let Ok(old) = <[u8; 4]>::try_from(&*field)
        {
            let old = crate::answer::lifetime(u32::from_be_bytes(old));
            let new = match lifetimes {
                Lifetimes::After { seconds, most } => old.min(LONGEST).saturating_sub(seconds).min(most),
                Lifetimes::All(seconds) => seconds,
            };
            field.copy_from_slice(&new.to_be_bytes());
        }
    }
    let [first, second] = flags(kept.bytes, question);
    head(&mut out, question, first, second);
    if question.edns.is_some() {
        count_additional(&mut out);
        write_opt(&mut out, UDP_LIMIT, question.flags.dnssec, said);
    }
    if out.len() > limit { bare(question, first | TC, second, said) } else { out }
}

/// An answer that only says that there is one.
pub fn truncated(question: &Question) -> Vec<u8> {
    let first = QR | TC | if question.flags.recursion { RD } else { 0 };
    bare(question, first, RA | if question.flags.unchecked { CD } else { 0 }, None)
}

/// The upstream's flags, but those that repeat the query's.
fn flags(bytes: &[u8], question: &Question) -> [u8; 2] {
    let [first, second] = [bytes.get(2), bytes.get(3)].map(|byte| byte.copied().unwrap_or_default());
    let wants_authentic = question.flags.authentic || question.flags.dnssec;
    let second = if wants_authentic { second } else { second & !AD };
    [
        first & !(RD | TC) | if question.flags.recursion { RD } else { 0 },
        second & !CD | if question.flags.unchecked { CD } else { 0 },
    ]
}

/// Number, flags and the question's name as the pod wrote it.
fn head(out: &mut [u8], question: &Question, first: u8, second: u8) {
    let [high, low] = question.id.to_be_bytes();
    for (slot, byte) in out.iter_mut().zip([high, low, first, second]) {
        *slot = byte;
    }
    let asked = question.cased.as_deref().unwrap_or(question.name.wire());
    if let Some(name) = out.get_mut(HEADER..HEADER + asked.len()) {
        name.copy_from_slice(asked);
    }
}

fn bare(question: &Question, first: u8, second: u8, said: Said<'_>) -> Vec<u8> {
    let mut out = vec![0; HEADER];
    if let Some(count) = out.get_mut(5) {
        *count = 1;
    }
    out.extend_from_slice(question.name.wire());
    out.extend_from_slice(&question.kind.0.to_be_bytes());
    out.extend_from_slice(&IN.to_be_bytes());
    head(&mut out, question, first, second);
    if question.edns.is_some() {
        count_additional(&mut out);
        write_opt(&mut out, UDP_LIMIT, question.flags.dnssec, said);
    }
    out
}

fn count_additional(out: &mut [u8]) {
    if let Some([high, low]) = out.get_mut(10..12) {
        [*high, *low] = u16::from_be_bytes([*high, *low]).saturating_add(1).to_be_bytes();
    }
}

fn low_bits(rcode: Rcode) -> u8 {
    let [_, low] = rcode.0.to_be_bytes();
    low & 0x0f
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::Answer;
    use crate::answer::tests::{address, answer as message, record};
    use crate::question::tests::query;
    use hickory_proto::op::{Edns, Message, ResponseCode};
    use hickory_proto::rr::rdata::opt::{EdnsCode, EdnsOption};

    const AT_ONCE: Lifetimes = Lifetimes::After { seconds: 0, most: u32::MAX };

    fn question(name: &str, edns: bool) -> Question {
        let mut message = query(name, 1);
        if edns {
            let mut edns = Edns::new();
            edns.set_max_payload(1232).set_version(0);
            message.set_edns(edns);
        }
        Question::read(&message.to_vec().unwrap()).unwrap()
    }

    #[test]
    fn a_refusal_names_its_rule_to_who_speaks_edns() {
        let text = "NetworkPolicy a/b".repeat(40);
        let asked = question("Www.a.io.", true);
        let read = Message::from_vec(&refusal(&asked, Rcode::REFUSED, Some((15, &text)))).unwrap();
        assert_eq!((read.metadata.id, read.metadata.response_code), (7, ResponseCode::Refused));
        assert_eq!(read.queries[0].name().to_ascii(), "Www.a.io.");
        let edns = read.edns.unwrap();
        let Some(EdnsOption::Unknown(15, said)) = edns.option(EdnsCode::Unknown(15)) else {
            panic!("no extended error in {edns:?}");
        };
        assert_eq!(said[..2], [0, 15]);
        assert!(text.as_bytes().starts_with(&said[2..]) && said.len() == 182);
        assert!(refusal(&asked, Rcode::REFUSED, Some((15, &text))).len() <= 512);
        let plain = Message::from_vec(&refusal(&question("a.io.", false), Rcode::REFUSED, Some((15, "x"))));
        assert!(plain.unwrap().edns.is_none());
    }

    #[test]
    fn what_could_not_be_read_gets_a_header() {
        assert_eq!(header(0x102, RD, Rcode::FORMERR), [1, 2, 0x81, 0x81, 0, 0, 0, 0, 0, 0, 0, 0]);
        let read = Message::from_vec(&header(7, 0, Rcode::BADVERS)).unwrap();
        assert_eq!(u16::from(read.metadata.response_code), Rcode::BADVERS.0);
    }

    fn kept(records: usize) -> (Vec<u8>, Vec<u16>) {
        let record = |ttl: u32| record("a.io.", ttl, address("192.0.2.1"));
        let records = (0..records).map(|ttl| record(100 * u32::try_from(ttl).unwrap())).collect();
        let (message, question) = message("a.io.", 1, records);
        let bytes = message.to_vec().unwrap();
        let ttls = Answer::read(&bytes, &question).unwrap().ttls;
        (bytes, ttls)
    }

    #[test]
    fn lifetimes_count_down_and_stale_answers_have_one() {
        let (bytes, ttls) = kept(3);
        let kept = Kept { bytes: &bytes, ttls: &ttls, error: None };
        let shown = |lifetimes| {
            let bytes = answer(kept, &question("A.io.", true), lifetimes, 1232, None);
            let read = Message::from_vec(&bytes).unwrap();
            assert_eq!(read.queries[0].name().to_ascii(), "A.io.");
            read.answers.iter().map(|record| record.ttl).collect::<Vec<_>>()
        };
        assert_eq!(shown(AT_ONCE), [0, 100, 200]);
        assert_eq!(shown(Lifetimes::After { seconds: 150, most: 40 }), [0, 0, 40]);
        assert_eq!(shown(Lifetimes::All(30)), [30, 30, 30]);
    }

    #[test]
    fn what_does_not_fit_is_cut_to_its_question() {
        let (bytes, ttls) = kept(80);
        let kept = Kept { bytes: &bytes, ttls: &ttls, error: None };
        let asked = question("a.io.", true);
        let cut = Message::from_vec(&answer(kept, &asked, AT_ONCE, 1232, None)).unwrap();
        assert!(cut.metadata.truncation && cut.answers.is_empty());
        let whole = Message::from_vec(&answer(kept, &asked, AT_ONCE, 65535, None)).unwrap();
        assert!(!whole.metadata.truncation && whole.answers.len() == 80);
    }
}
