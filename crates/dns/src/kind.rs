//! Types of records and response codes by number (IANA, "Domain Name System (DNS) Parameters").

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;

/// The type of a record. In JSON its name: `"AAAA"`, `"TYPE123"`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordType(pub u16);

macro_rules! record_types {
    ($($name:ident = $number:literal),* $(,)?) => {
        #[expect(missing_docs, reason = "each is the registry's own name")]
        impl RecordType {
            $(pub const $name: Self = Self($number);)*

            fn known(self) -> Option<&'static str> {
                match self.0 {
                    $($number => Some(stringify!($name)),)*
                    _ => None,
                }
            }

            fn named(name: &str) -> Option<Self> {
                match name {
                    $(stringify!($name) => Some(Self::$name),)*
                    _ => name.strip_prefix("TYPE")?.parse().ok().map(Self),
                }
            }
        }
    };
}

record_types! {
    A = 1, NS = 2, CNAME = 5, SOA = 6, NULL = 10, PTR = 12, HINFO = 13, MX = 15, TXT = 16, AAAA = 28, SRV = 33,
    NAPTR = 35, DNAME = 39, OPT = 41, DS = 43, SSHFP = 44, RRSIG = 46, NSEC = 47, DNSKEY = 48, NSEC3 = 50,
    TLSA = 52, SVCB = 64, HTTPS = 65, TKEY = 249, TSIG = 250, IXFR = 251, AXFR = 252, MAILB = 253, MAILA = 254,
    ANY = 255, CAA = 257,
}

impl RecordType {
    /// Whether it can be asked for: the rest are transfers, signatures of messages, and questions for everything at
    /// once, which serve to amplify and which RFC 8482 lets a server refuse.
    pub fn is_question(self) -> bool {
        self != Self::OPT && self.0 != 0 && !(249..=255).contains(&self.0)
    }
}

impl fmt::Display for RecordType {
    /// The registry's name, or `TYPE123` (RFC 3597, section 5).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.known() {
            Some(name) => f.write_str(name),
            None => write!(f, "TYPE{}", self.0),
        }
    }
}

impl fmt::Debug for RecordType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for RecordType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RecordType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        Self::named(&text).ok_or_else(|| serde::de::Error::custom("not a record type"))
    }
}

/// The class of the Internet.
pub(crate) const IN: u16 = 1;

/// A response code, with the upper bits that EDNS adds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Rcode(pub u16);

impl Rcode {
    /// There is an answer, or there is none of this type.
    pub const NOERROR: Self = Self(0);
    /// The query could not be read.
    pub const FORMERR: Self = Self(1);
    /// It could not be answered now.
    pub const SERVFAIL: Self = Self(2);
    /// There is no such name.
    pub const NXDOMAIN: Self = Self(3);
    /// This kind of query is not known here.
    pub const NOTIMP: Self = Self(4);
    /// It will not be answered.
    pub const REFUSED: Self = Self(5);
    /// A version of EDNS that is not known (RFC 6891).
    pub const BADVERS: Self = Self(16);
}

impl fmt::Display for Rcode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match *self {
            Self::NOERROR => "NOERROR",
            Self::FORMERR => "FORMERR",
            Self::SERVFAIL => "SERVFAIL",
            Self::NXDOMAIN => "NXDOMAIN",
            Self::NOTIMP => "NOTIMP",
            Self::REFUSED => "REFUSED",
            Self::BADVERS => "BADVERS",
            Self(number) => return write!(f, "RCODE{number}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_have_names_and_transfers_are_no_questions() {
        assert_eq!(RecordType::HTTPS.to_string(), "HTTPS");
        assert_eq!(RecordType(4711).to_string(), "TYPE4711");
        for number in 0..=u16::MAX {
            assert_eq!(RecordType::named(&RecordType(number).to_string()), Some(RecordType(number)));
        }
        assert!(
            RecordType::A.is_question() && RecordType(4711).is_question() && RecordType::CAA.is_question()
        );
        assert!(
            !RecordType::AXFR.is_question()
                && !RecordType::ANY.is_question()
                && !RecordType::OPT.is_question()
        );
    }
}
