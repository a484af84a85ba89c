//! Writes an answer anew without what pods must not get: ECH configurations, and the OPT record of the hop before.
//!
//! Enters: an answer's bytes. Leaves: a message that says the same otherwise, without compression but for the
//! question's name.
//! Guarantees: a record whose data may point into the old message is either unfolded or the message is refused; AD is
//! cleared where something was taken out.
//! Does not: repair signatures: a set of HTTPS or SVCB records that lost its ECH no longer validates, so a pod that
//! validates itself takes it for bogus. Who needs that turns `strip_ech` off, and then cannot see server names.

use crate::answer::{self, ECH, Record, Section};
use crate::kind::RecordType;
use crate::question::AD;
use crate::wire::{HEADER, Malformed, Name, Reader};
use std::net::IpAddr;

/// A pointer to the question's name, which stands right behind the header.
const ASKED: [u8; 2] = [0xc0, 12];

/// Writes an answer without its OPT record and, if asked for, without ECH.
///
/// # Errors
/// It cannot be read, has a record whose names could not be unfolded, or would become longer than 64 KiB.
pub fn rewrite(bytes: &[u8], strip_ech: bool) -> Result<Vec<u8>, Malformed> {
    write(bytes, strip_ech, |_| true)
}

/// Writes an answer without the addresses that are not to be given. Signatures of addresses do not validate any more.
///
/// # Errors
/// As [`rewrite`].
pub fn with_only(bytes: &[u8], is_given: impl Fn(IpAddr) -> bool) -> Result<Vec<u8>, Malformed> {
    write(bytes, false, |record| match answer::address(record) {
        Some(address) => is_given(address),
        None => true,
    })
}

fn write(bytes: &[u8], strip_ech: bool, is_kept: impl Fn(&Record<'_>) -> bool) -> Result<Vec<u8>, Malformed> {
    let (head, mut records) = answer::head(bytes)?;
    let question_end = HEADER + head.name.wire().len() + 4;
    let mut out = bytes.get(..question_end).ok_or(Malformed("it ends too early"))?.to_vec();
    let mut counts = [0_u16; 3];
    while let Some(record) = records.next()? {
        if record.kind == RecordType::OPT || !is_kept(&record) {
            continue;
        }
        let [answers, authorities, additionals] = &mut counts;
        *match record.section {
            Section::Answer => answers,
            Section::Authority => authorities,
            Section::Additional => additionals,
        } += 1;
        copy(&mut out, &record, &head.name, strip_ech)?;
    }
    if out.len() > usize::from(u16::MAX) {
        return Err(Malformed("more than 64 KiB when written out"));
    }
    for (slot, count) in out.iter_mut().skip(6).zip(counts.iter().flat_map(|count| count.to_be_bytes())) {
        *slot = count;
    }
    if strip_ech && let Some(flags) = out.get_mut(3) {
        *flags &= !AD;
    }
    Ok(out)
}

fn copy(out: &mut Vec<u8>, record: &Record<'_>, asked: &Name, strip_ech: bool) -> Result<(), Malformed> {
    if record.owner == *asked {
        out.extend_from_slice(&ASKED);
    } else {
        out.extend_from_slice(record.owner.wire());
    }
    out.extend_from_slice(&record.kind.0.to_be_bytes());
    out.extend_from_slice(&record.class.to_be_bytes());
    out.extend_from_slice(&record.ttl.to_be_bytes());
    let length_at = out.len();
    out.extend_from_slice(&[0, 0]);
    data(out, record, strip_ech)?;
    let length = u16::try_from(out.len() - length_at - 2).map_err(|_| Malformed("a record too long"))?;
    for (slot, byte) in out.iter_mut().skip(length_at).zip(length.to_be_bytes()) {
        *slot = byte;
    }
    Ok(())
}

fn data(out: &mut Vec<u8>, record: &Record<'_>, strip_ech: bool) -> Result<(), Malformed> {
    let mut from = record.data.clone();
    // Bytes, names and bytes that a type's data consists of; only types of RFC 1035 may compress (RFC 3597, section 4).
    let (before, names, after) = match record.kind {
        RecordType::CNAME | RecordType::NS | RecordType::PTR | RecordType::DNAME => (0, 1, 0),
        RecordType::MX => (2, 1, 0),
        RecordType::SRV => (6, 1, 0),
        RecordType::SOA => (0, 2, 20),
        RecordType::HTTPS | RecordType::SVCB if strip_ech => return service(out, &mut from),
        // Obsolete or rare, with names that may be compressed: MD, MF, MB, MG, MR, MINFO, RP, AFSDB, RT, SIG, PX, NXT,
        // NAPTR, KX.
        RecordType(3 | 4 | 7..=9 | 14 | 17 | 18 | 21 | 24 | 26 | 30 | 35 | 36) => {
            return Err(Malformed("a record that cannot be written anew"));
        }
        _ => {
            out.extend_from_slice(from.take(record.length)?);
            return Ok(());
        }
    };
    out.extend_from_slice(from.take(before)?);
    for _ in 0..names {
        out.extend_from_slice(from.name()?.wire());
    }
    out.extend_from_slice(from.take(after)?);
    if from.is_done() { Ok(()) } else { Err(Malformed("a record longer than its type")) }
}

fn service(out: &mut Vec<u8>, from: &mut Reader<'_>) -> Result<(), Malformed> {
    out.extend_from_slice(from.take(2)?);
    out.extend_from_slice(from.plain_name()?.wire());
    while !from.is_done() {
        let (key, length) = (from.u16()?, from.u16()?);
        let value = from.take(usize::from(length))?;
        if key == ECH {
            continue;
        }
        out.extend_from_slice(&key.to_be_bytes());
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(value);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::tests::{address, alias, answer, record, service_data};
    use crate::answer::{Answer, Opt};
    use hickory_proto::op::{Edns, Message};
    use hickory_proto::rr::rdata::{MX, NULL, SOA};
    use hickory_proto::rr::{Name as HickoryName, RData};

    fn unknown(code: u16, data: Vec<u8>) -> RData {
        RData::Unknown { code: code.into(), rdata: NULL::with(data) }
    }

    #[test]
    fn everything_but_ech_and_opt_survives() {
        let name = |text| HickoryName::from_ascii(text).unwrap();
        let hints =
            [(1, &b"\x02h2"[..]), (4, &[192, 0, 2, 1][..]), (5, b"secret".as_slice()), (6, &[0x20; 16][..])];
        let records = vec![
            record("a.io.", 300, alias("b.io.")),
            record("b.io.", 300, unknown(65, service_data(1, b"\0", &hints))),
            record("b.io.", 300, RData::MX(MX::new(10, name("a.io.")))),
            record("b.io.", 300, unknown(999, b"\xc0\x0c raw".to_vec())),
        ];
        let (mut message, question) = answer("A.io.", 65, records);
        message.add_authority(record(
            "io.",
            9,
            RData::SOA(SOA::new(name("b.io."), name("a.io."), 1, 2, 3, 4, 5)),
        ));
        message.add_additional(record("b.io.", 9, address("192.0.2.9")));
        message.metadata.authentic_data = true;
        message.set_edns(Edns::new());
        let before = message.to_vec().unwrap();
        let after = rewrite(&before, true).unwrap();
        assert!(!after.windows(6).any(|bytes| bytes == b"secret"));
        let read = Answer::read(&after, &question).unwrap();
        let original = Answer::read(&before, &question).unwrap();
        assert_eq!((read.has_ech, original.has_ech, read.opt), (false, true, Opt::None));
        assert_eq!(
            (&read.leads, read.ttl, &read.addresses),
            (&original.leads, original.ttl, &original.addresses)
        );
        // Another implementation finds the same records, but for the service's.
        let other = Message::from_vec(&after).unwrap();
        assert!(!other.metadata.authentic_data && other.edns.is_none());
        assert_eq!(other.queries, message.queries);
        let shown = |message: &Message| {
            let all = message.answers.iter().chain(&message.authorities).chain(&message.additionals);
            all.map(|it| it.to_string().to_lowercase())
                .filter(|line| !line.contains(" https "))
                .collect::<Vec<_>>()
        };
        assert_eq!(shown(&other), shown(&Message::from_vec(&before).unwrap()));
        assert_eq!(rewrite(&after, true).unwrap(), after, "once more changes nothing");
    }

    #[test]
    fn addresses_that_are_not_to_be_given_are_taken_out_alone() {
        let records = vec![
            record("a.io.", 300, alias("b.io.")),
            record("b.io.", 300, address("192.0.2.1")),
            record("b.io.", 300, address("192.0.2.2")),
        ];
        let (message, question) = answer("a.io.", 1, records);
        let given = with_only(&message.to_vec().unwrap(), |it| it == IpAddr::from([192, 0, 2, 2])).unwrap();
        let read = Answer::read(&given, &question).unwrap();
        assert_eq!(read.addresses, [IpAddr::from([192, 0, 2, 2])]);
        assert_eq!(Message::from_vec(&given).unwrap().answers.len(), 2);
    }

    #[test]
    fn what_might_point_into_the_old_message_is_refused() {
        let (message, _) =
            answer("a.io.", 1, vec![record("a.io.", 9, unknown(14, b"\xc0\x0c\xc0\x0c".to_vec()))]);
        assert!(rewrite(&message.to_vec().unwrap(), false).is_err());
    }
}
