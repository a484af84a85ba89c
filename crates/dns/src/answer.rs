//! Reads an answer from upstream: what it says, to which addresses names lead, and where its lifetimes stand.
//!
//! Enters: bytes and the question they should answer. Leaves: an [`Answer`].
//! Guarantees: nothing is skipped: each record of each section is read to its end, and a message that breaks the rules
//! anywhere is refused whole, so that a laxer reader in a pod finds no address that was not seen here; an address is
//! led to only by names of a chain that starts at the question and is complete within this answer (NPEP-133).
//! Does not: judge addresses ([`crate::address`]) or change anything ([`crate::rewrite`]).
//!
//! Addresses that HTTPS and SVCB records hint at (RFC 9460, section 7.3) are learned like those of A and AAAA records:
//! clients connect to them without another question. To take them out would break the signature of the set and cost
//! clients a round trip. They belong to the record's owner, never to its target: whoever writes the record chooses both
//! target and hints, and no resolver asks the target's zone whether they are its own.

use crate::kind::{IN, Rcode, RecordType};
use crate::question::{EDE, QR, Question, TC};
use crate::wire::{Malformed, Name, Reader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Aliases that are followed; clients give up at about as many.
const MAX_CHAIN: usize = 16;

/// Names that lead to the same addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lead {
    /// The question's name first, then each alias on the way.
    pub names: Vec<Name>,
    /// Where they lead.
    pub addresses: Vec<IpAddr>,
    /// Smallest lifetime on the way, in seconds.
    pub ttl: u32,
}

/// What an upstream says of itself by an extended error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtendedError {
    /// Code (RFC 8914).
    pub code: u16,
    /// Text, at most what an answer may carry.
    pub text: Box<str>,
}

/// What an answer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Response code, with the bits of EDNS.
    pub rcode: Rcode,
    /// TC: not all of it.
    pub truncated: bool,
    /// Seconds for which it may be given again; `None` where it says nothing of it.
    pub ttl: Option<u32>,
    /// To which addresses names lead.
    pub leads: Vec<Lead>,
    /// Aliases of the question's name, in order.
    pub aliases: Vec<Name>,
    /// Every address of every section, hints too.
    pub addresses: Vec<IpAddr>,
    /// Whether an HTTPS or SVCB record has an ECH configuration.
    pub has_ech: bool,
    /// Extended error.
    pub error: Option<ExtendedError>,
    /// Offsets of lifetimes, of which answers given again show the rest. The OPT record has none.
    pub(crate) ttls: Vec<u16>,
    /// Where an OPT record is.
    pub(crate) opt: Opt,
}

/// Where the OPT record stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opt {
    /// There is none.
    None,
    /// It is the last record, from this offset.
    Last(usize),
    /// Others follow it.
    Within,
}

/// Sections of a message, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Section {
    Answer,
    Authority,
    Additional,
}

/// One record; its data is read by the type.
pub(crate) struct Record<'a> {
    pub(crate) section: Section,
    pub(crate) owner: Name,
    pub(crate) kind: RecordType,
    pub(crate) class: u16,
    pub(crate) ttl: u32,
    /// Offset of the record.
    pub(crate) start: usize,
    /// Offset of its lifetime.
    ttl_at: usize,
    /// Stands at its data and ends with it.
    pub(crate) data: Reader<'a>,
    pub(crate) length: usize,
}

/// What of a record's data matters.
enum Data {
    Alias(Name),
    Address(IpAddr),
    Service(Service),
    Start { ttl: u32 },
    Other,
}

/// A record of a service's endpoint (RFC 9460).
pub(crate) struct Service {
    pub(crate) hints: Vec<IpAddr>,
    pub(crate) has_ech: bool,
}

impl Answer {
    /// Reads an answer.
    ///
    /// # Errors
    /// It breaks the rules of a message anywhere, or answers something else.
    pub fn read(bytes: &[u8], question: &Question) -> Result<Self, Malformed> {
        let (head, mut records) = head(bytes)?;
        if head.name != question.name || head.kind != question.kind {
            return Err(Malformed("it answers another question"));
        }
        let mut answer = Self {
            rcode: Rcode(u16::from(head.rcode)),
            truncated: head.truncated,
            ttl: None,
            leads: Vec::new(),
            aliases: Vec::new(),
            addresses: Vec::new(),
            has_ech: false,
            error: None,
            ttls: Vec::new(),
            opt: Opt::None,
        };
        let mut found = Vec::new();
        let mut negative = None;
        while let Some(record) = records.next()? {
            answer.note(&record)?;
            let (section, ttl) = (record.section, lifetime(record.ttl));
            match data(&record)? {
                Data::Start { ttl: least } if section == Section::Authority => {
                    negative = Some(ttl.min(least))
                }
                Data::Start { .. } | Data::Other => {}
                data @ (Data::Alias(_) | Data::Address(_) | Data::Service(_)) => {
                    answer.note_addresses(&data);
                    if section == Section::Answer && record.class == IN {
                        found.push(Found { owner: record.owner, ttl, data });
                    }
                }
            }
            if section == Section::Answer {
                answer.ttl = Some(answer.ttl.map_or(ttl, |least| least.min(ttl)));
            }
        }
        answer.follow(&question.name, &found);
        if !answer.holds(question.kind, &found) {
            // RFC 2308: that there is nothing lives as long as the zone's start of authority says, and at the end of aliases no
            // longer than these.
            answer.ttl = negative.map(|nothing| answer.ttl.map_or(nothing, |aliases| aliases.min(nothing)));
        }
        Ok(answer)
    }

    /// Whether it is not only the way to an answer.
    fn holds(&self, kind: RecordType, found: &[Found]) -> bool {
        if self.rcode != Rcode::NOERROR {
            return false;
        }
        match kind {
            RecordType::A | RecordType::AAAA => found.iter().any(|it| matches!(it.data, Data::Address(_))),
            RecordType::HTTPS | RecordType::SVCB => {
                found.iter().any(|it| matches!(it.data, Data::Service(_)))
            }
            _ => self.ttl.is_some(),
        }
    }

    fn note(&mut self, record: &Record<'_>) -> Result<(), Malformed> {
        if record.kind != RecordType::OPT {
            if self.opt != Opt::None {
                self.opt = Opt::Within;
            }
            let at = u16::try_from(record.ttl_at).map_err(|_| Malformed("more than 64 KiB"))?;
            self.ttls.push(at);
            return Ok(());
        }
        if record.section != Section::Additional || self.opt != Opt::None || record.owner.wire().len() != 1 {
            return Err(Malformed("an OPT record out of place"));
        }
        self.opt = Opt::Last(record.start);
        let [high, ..] = record.ttl.to_be_bytes();
        self.rcode.0 |= u16::from(high) << 4;
        self.error = extended_error(record)?;
        Ok(())
    }

    fn note_addresses(&mut self, data: &Data) {
        match data {
            Data::Address(address) => self.addresses.push(*address),
            Data::Service(service) => {
                self.addresses.extend(&service.hints);
                self.has_ech |= service.has_ech;
            }
            Data::Alias(_) | Data::Start { .. } | Data::Other => {}
        }
    }

    /// Walks the chain from the question's name.
    fn follow(&mut self, asked: &Name, found: &[Found]) {
        let mut names = vec![asked.clone()];
        let mut ttl = u32::MAX;
        while let Some(here) = names.last().cloned() {
            let mut lead = Lead { names: names.clone(), addresses: Vec::new(), ttl };
            let mut next = None;
            for it in found.iter().filter(|it| it.owner == here) {
                match &it.data {
                    Data::Address(address) => {
                        lead.addresses.push(*address);
                        lead.ttl = lead.ttl.min(it.ttl);
                    }
                    Data::Alias(target) => next = next.or(Some((target, it.ttl))),
                    Data::Service(Service { hints, .. }) if !hints.is_empty() => self.leads.push(Lead {
                        names: names.clone(),
                        addresses: hints.clone(),
                        ttl: ttl.min(it.ttl),
                    }),
                    Data::Service(_) | Data::Start { .. } | Data::Other => {}
                }
            }
            if !lead.addresses.is_empty() {
                self.leads.push(lead);
            }
            let Some((target, alias_ttl)) = next else { return };
            // A loop leads nowhere further.
            if names.contains(target) || names.len() > MAX_CHAIN {
                return;
            }
            ttl = ttl.min(alias_ttl);
            names.push(target.clone());
            self.aliases.push(target.clone());
        }
    }
}

/// A record of the answer section that names or addresses hang on.
struct Found {
    owner: Name,
    ttl: u32,
    data: Data,
}

/// What stands before the records.
pub(crate) struct Head {
    pub(crate) name: Name,
    pub(crate) kind: RecordType,
    rcode: u8,
    truncated: bool,
}

/// Reads a response up to its records.
pub(crate) fn head(bytes: &[u8]) -> Result<(Head, Records<'_>), Malformed> {
    let mut reader = Reader::new(bytes);
    let [_, _, first, second] = reader.array()?;
    if first & QR == 0 || first & crate::question::OPCODE != 0 {
        return Err(Malformed("it is no answer"));
    }
    let counts = [reader.u16()?, reader.u16()?, reader.u16()?, reader.u16()?];
    let [1, answer, authority, additional] = counts else { return Err(Malformed("not one question")) };
    let name = reader.plain_name()?;
    let kind = RecordType(reader.u16()?);
    if reader.u16()? != IN {
        return Err(Malformed("a class that is not the Internet's"));
    }
    let head = Head { name, kind, rcode: second & 0x0f, truncated: first & TC != 0 };
    let left =
        [(Section::Answer, answer), (Section::Authority, authority), (Section::Additional, additional)];
    Ok((head, Records { reader, left }))
}

/// The records of a message, one after the other.
pub(crate) struct Records<'a> {
    reader: Reader<'a>,
    left: [(Section, u16); 3],
}

impl<'a> Records<'a> {
    /// The next one; `None` at the end of the message, which must be there where the counts say.
    pub(crate) fn next(&mut self) -> Result<Option<Record<'a>>, Malformed> {
        let Some((section, left)) = self.left.iter_mut().find(|(_, left)| *left > 0) else {
            return if self.reader.is_done() { Ok(None) } else { Err(Malformed("bytes behind its end")) };
        };
        *left -= 1;
        let (section, reader) = (*section, &mut self.reader);
        let start = reader.at();
        let owner = reader.name()?;
        let kind = RecordType(reader.u16()?);
        let class = reader.u16()?;
        let ttl_at = reader.at();
        let ttl = reader.u32()?;
        let length = usize::from(reader.u16()?);
        let data = reader.until(length)?;
        reader.take(length)?;
        Ok(Some(Record { section, owner, kind, class, ttl, start, ttl_at, data, length }))
    }
}

/// The address that a record gives, if that is what it does.
pub(crate) fn address(record: &Record<'_>) -> Option<IpAddr> {
    match data(record) {
        Ok(Data::Address(address)) => Some(address),
        Ok(Data::Alias(_) | Data::Service(_) | Data::Start { .. } | Data::Other) | Err(_) => None,
    }
}

fn data(record: &Record<'_>) -> Result<Data, Malformed> {
    let mut data = record.data.clone();
    let read = match record.kind {
        RecordType::A => Data::Address(Ipv4Addr::from(data.array::<4>()?).into()),
        RecordType::AAAA => Data::Address(Ipv6Addr::from(data.array::<16>()?).into()),
        RecordType::CNAME => Data::Alias(data.name()?),
        RecordType::HTTPS | RecordType::SVCB => Data::Service(service(&mut data)?),
        RecordType::SOA => {
            data.name()?;
            data.name()?;
            data.take(16)?;
            Data::Start { ttl: lifetime(data.u32()?) }
        }
        _ => return Ok(Data::Other),
    };
    if data.is_done() { Ok(read) } else { Err(Malformed("a record longer than its type")) }
}

fn service(data: &mut Reader<'_>) -> Result<Service, Malformed> {
    let alias = data.u16()? == 0;
    // Nothing is led to by its target, but a name must stand there.
    data.plain_name()?;
    let mut service = Service { hints: Vec::new(), has_ech: false };
    let mut last = None;
    while !data.is_done() {
        let key = data.u16()?;
        if last >= Some(key) {
            return Err(Malformed("parameters of a service out of order"));
        }
        last = Some(key);
        let length = usize::from(data.u16()?);
        let mut value = Reader::new(data.take(length)?);
        while (key == IPV4_HINT || key == IPV6_HINT) && !value.is_done() {
            service.hints.push(match key {
                IPV4_HINT => Ipv4Addr::from(value.array::<4>()?).into(),
                _ => Ipv6Addr::from(value.array::<16>()?).into(),
            });
        }
        service.has_ech |= key == ECH;
    }
    // An alias has no parameters; if it has, they are to be ignored, and what a pod ignores nobody needs.
    if alias && last.is_some() {
        Err(Malformed("an alias of a service with parameters"))
    } else {
        Ok(service)
    }
}

/// Keys of a service's parameters (RFC 9460, section 14.3.2; RFC 9848 for ECH).
const IPV4_HINT: u16 = 4;
pub(crate) const ECH: u16 = 5;
const IPV6_HINT: u16 = 6;

/// A lifetime with its highest bit set counts as none (RFC 2181, section 8).
pub(crate) fn lifetime(ttl: u32) -> u32 {
    if ttl > i32::MAX.unsigned_abs() { 0 } else { ttl }
}

fn extended_error(record: &Record<'_>) -> Result<Option<ExtendedError>, Malformed> {
    let mut data = record.data.clone();
    let mut found = None;
    while !data.is_done() {
        let code = data.u16()?;
        let length = usize::from(data.u16()?);
        let mut value = Reader::new(data.take(length)?);
        if code == EDE && found.is_none() {
            let code = value.u16()?;
            let text = String::from_utf8_lossy(value.take(length.saturating_sub(2))?).into_owned();
            found = Some(ExtendedError { code, text: text.into() });
        }
    }
    Ok(found)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::question::tests::query;
    use hickory_proto::op::{Message, MessageType, ResponseCode};
    use hickory_proto::rr::rdata::{A, AAAA, CNAME, SOA};
    use hickory_proto::rr::{Name as HickoryName, RData, Record as HickoryRecord};
    use policy::DnsName;
    use policy::domain::{self, response_allows};
    use proptest::prelude::*;

    /// One record as `owner ttl data`.
    pub(crate) fn record(owner: &str, ttl: u32, data: RData) -> HickoryRecord {
        HickoryRecord::from_rdata(HickoryName::from_ascii(owner).unwrap(), ttl, data)
    }

    pub(crate) fn alias(target: &str) -> RData {
        RData::CNAME(CNAME(HickoryName::from_ascii(target).unwrap()))
    }

    pub(crate) fn address(text: &str) -> RData {
        match text.parse().unwrap() {
            IpAddr::V4(address) => RData::A(A(address)),
            IpAddr::V6(address) => RData::AAAA(AAAA(address)),
        }
    }

    /// Wire form of an HTTPS record's data: priority, target, parameters.
    pub(crate) fn service_data(priority: u16, target: &[u8], parameters: &[(u16, &[u8])]) -> Vec<u8> {
        let mut data = [&priority.to_be_bytes(), target].concat();
        for (key, value) in parameters {
            data.extend_from_slice(&key.to_be_bytes());
            data.extend_from_slice(&u16::try_from(value.len()).unwrap().to_be_bytes());
            data.extend_from_slice(value);
        }
        data
    }

    /// An answer to `name`, `kind`, as another implementation writes it, and the question.
    pub(crate) fn answer(name: &str, kind: u16, records: Vec<HickoryRecord>) -> (Message, Question) {
        let mut message = query(name, kind);
        let question = Question::read(&message.to_vec().unwrap()).unwrap();
        message.metadata.message_type = MessageType::Response;
        message.add_answers(records);
        (message, question)
    }

    fn read(name: &str, kind: u16, records: Vec<HickoryRecord>) -> Answer {
        let (message, question) = answer(name, kind, records);
        Answer::read(&message.to_vec().unwrap(), &question).unwrap()
    }

    fn shown(leads: &[Lead]) -> Vec<String> {
        leads.iter().map(|lead| format!("{:?} {:?} {}", lead.names, lead.addresses, lead.ttl)).collect()
    }

    #[test]
    fn every_name_of_a_complete_chain_leads_to_the_address_with_the_least_lifetime() {
        let records = vec![
            record("www.a.io.", 300, alias("cdn.io.")),
            record("cdn.io.", 20, alias("edge.io.")),
            record("edge.io.", 60, address("192.0.2.1")),
            record("edge.io.", 50, address("192.0.2.2")),
            record("other.io.", 1, address("192.0.2.3")),
        ];
        let found = read("WWW.a.io.", 1, records);
        assert_eq!(shown(&found.leads), ["[www.a.io, cdn.io, edge.io] [192.0.2.1, 192.0.2.2] 20"]);
        assert_eq!(found.addresses.len(), 3, "the stray one is seen, and nothing leads to it");
        assert_eq!(found.ttl, Some(1));
    }

    #[test]
    fn an_incomplete_or_looped_chain_leads_nowhere() {
        let looped = vec![record("a.io.", 9, alias("b.io.")), record("b.io.", 9, alias("a.io."))];
        assert_eq!(read("a.io.", 1, looped).leads, []);
        let gap = vec![record("a.io.", 9, alias("b.io.")), record("c.io.", 9, address("192.0.2.1"))];
        let found = read("a.io.", 1, gap);
        assert_eq!((found.leads.len(), found.aliases.len()), (0, 1));
    }

    #[test]
    fn hints_of_services_are_addresses_of_the_owner_and_never_of_the_target() {
        let hints = [(4, &[192, 0, 2, 1, 192, 0, 2, 2][..]), (5, &[1, 2, 3][..]), (6, &[0x20; 16][..])];
        let data = service_data(1, b"\x03svc\x02io\0", &hints);
        let unknown =
            |data| RData::Unknown { code: 65.into(), rdata: hickory_proto::rr::rdata::NULL::with(data) };
        let found = read("a.io.", 65, vec![record("a.io.", 30, unknown(data))]);
        let expected = "[a.io] [192.0.2.1, 192.0.2.2, 2020:2020:2020:2020:2020:2020:2020:2020] 30";
        assert_eq!(shown(&found.leads), [expected]);
        assert!(found.has_ech);
        for bad in [
            service_data(1, b"\0", &[(4, &[192, 0, 2])]),
            service_data(1, b"\0", &[(6, &[1; 16]), (4, &[192, 0, 2, 1])]),
            service_data(0, b"\x01a\0", &[(4, &[192, 0, 2, 1])]),
        ] {
            let (message, question) = answer("a.io.", 65, vec![record("a.io.", 30, unknown(bad))]);
            assert!(Answer::read(&message.to_vec().unwrap(), &question).is_err());
        }
    }

    #[test]
    fn lifetimes_beyond_31_bits_are_none_and_nothing_lives_as_its_zone_says() {
        let found = read("a.io.", 1, vec![record("a.io.", 1 << 31, address("192.0.2.1"))]);
        assert_eq!((found.ttl, found.leads[0].ttl), (Some(0), 0));
        let (mut message, question) = answer("a.io.", 1, Vec::new());
        message.metadata.response_code = ResponseCode::NXDomain;
        let zone = |text| HickoryName::from_ascii(text).unwrap();
        let soa = SOA::new(zone("ns.io."), zone("root.io."), 1, 2, 3, 4, 25);
        message.add_authority(record("io.", 900, RData::SOA(soa)));
        let found = Answer::read(&message.to_vec().unwrap(), &question).unwrap();
        assert_eq!((found.rcode, found.ttl), (Rcode::NXDOMAIN, Some(25)));
    }

    #[test]
    fn answers_to_something_else_and_leftover_bytes_are_refused() {
        let (message, question) = answer("a.io.", 1, vec![record("a.io.", 9, address("192.0.2.1"))]);
        let bytes = message.to_vec().unwrap();
        assert!(Answer::read(&bytes, &question).is_ok());
        assert!(Answer::read(&[&bytes[..], &[0]].concat(), &question).is_err());
        assert!(Answer::read(&bytes[..bytes.len() - 1], &question).is_err());
        let other = Question { kind: RecordType::AAAA, ..question.clone() };
        assert!(Answer::read(&bytes, &other).is_err());
        let mut asked = bytes;
        asked[2] &= !QR;
        assert!(Answer::read(&asked, &question).is_err());
    }

    /// Small worlds of names, so that chains, loops and strays occur.
    fn world() -> impl Strategy<Value = Vec<(usize, Result<usize, u8>)>> {
        prop::collection::vec(
            (0..4usize, prop_oneof![(0..4usize).prop_map(Ok), (0..4u8).prop_map(Err)]),
            0..8,
        )
    }

    proptest! {
        /// The reference of NPEP-133 in `policy` agrees with every pair that is learned.
        #[test]
        fn what_is_learned_the_reference_allows(world in world()) {
            let names = ["a.io.", "b.io.", "c.io.", "d.io."];
            let text = |last: u8| format!("192.0.2.{last}");
            let name = |at: usize| DnsName::parse(names[at]).unwrap();
            let records = world.iter().map(|(owner, data)| match data {
                Ok(target) => record(names[*owner], 9, alias(names[*target])),
                Err(last) => record(names[*owner], 9, address(&text(*last))),
            });
            let response: Vec<_> = world.iter().map(|(owner, data)| match data {
                Ok(target) => (name(*owner), domain::Answer::Alias(name(*target))),
                Err(last) => (name(*owner), domain::Answer::Address(text(*last).parse().unwrap())),
            }).collect();
            let found = read("a.io.", 1, records.collect());
            for lead in &found.leads {
                for (it, to) in lead.names.iter().flat_map(|it| lead.addresses.iter().map(move |to| (it, to))) {
                    let pattern = policy::DomainPattern::Exact(it.dns_name().unwrap());
                    prop_assert!(response_allows(&pattern, &response, *to), "{it} {to}");
                }
            }
            // With at most one alias for a name, as the protocol has it, nothing that the asked name leads to is missed.
            let aliases = |owner| world.iter().filter(|(it, data)| *it == owner && data.is_ok()).count();
            if (0..4).all(|owner| aliases(owner) < 2) {
                let asked = policy::DomainPattern::Exact(name(0));
                for last in 0..4 {
                    let to: IpAddr = text(last).parse().unwrap();
                    let learned = found.leads.iter().any(|lead| lead.addresses.contains(&to));
                    prop_assert_eq!(learned, response_allows(&asked, &response, to), "{}", to);
                }
            }
        }

        /// Where another implementation can read a message too, it finds no address that was not seen here.
        #[test]
        fn another_reader_finds_no_other_addresses(at in 0..200usize, value in any::<u8>(), cut in 0..3usize) {
            let records = vec![
                record("a.io.", 9, alias("b.io.")),
                record("b.io.", 9, address("192.0.2.1")),
                record("b.io.", 9, address("2001:db8::1")),
            ];
            let (message, question) = answer("a.io.", 1, records);
            let mut bytes = message.to_vec().unwrap();
            let at = at % bytes.len();
            bytes[at] = value;
            bytes.truncate(bytes.len() - cut);
            if let Ok(found) = Answer::read(&bytes, &question)
                && let Ok(other) = Message::from_vec(&bytes)
            {
                for record in other.answers.iter().chain(&other.authorities).chain(&other.additionals) {
                    let address = match &record.data {
                        RData::A(A(address)) => IpAddr::V4(*address),
                        RData::AAAA(AAAA(address)) => IpAddr::V6(*address),
                        _ => continue,
                    };
                    prop_assert!(found.addresses.contains(&address));
                }
            }
        }
    }
}
