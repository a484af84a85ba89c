//! Rules of nf_tables as bytecode: each method appends one expression.
//!
//! A rule is evaluated left to right; a comparison that fails or a lookup that misses ends the rule and the next one
//! runs. Registers hold 4 bytes each and do not survive from one rule to the next.
//! Source: `linux/netfilter/nf_tables.h`.

use super::program::Family;
use crate::netlink::{Attributes, Messages};

/// A register of 4 bytes; longer values take several in a row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Register(u32);

impl Register {
    /// The register with this number, 0 to 15.
    pub(crate) const fn new(number: u32) -> Self {
        Self(8 + number)
    }
}

/// Which tuple of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Tuple {
    /// As its first packet had it.
    Original = 0,
    /// As answers have it: its source is the destination after translation.
    Reply = 1,
}

/// What of the connection to load. Numbers of `enum nft_ct_keys`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ct {
    State = 0,
    Direction = 1,
    /// Bits of `enum ip_conntrack_status`.
    Status = 2,
    Mark = 3,
    Protocol = 10,
    ProtoSrc = 11,
    SrcIp = 19,
    DstIp = 20,
    SrcIp6 = 21,
    DstIp6 = 22,
}

/// What of the packet's metadata to load. Numbers of `enum nft_meta_keys`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Meta {
    Priority = 2,
    Mark = 3,
    /// Number of the interface, in the byte order of the machine; 0 if there is none.
    Input = 4,
    /// See [`Meta::Input`].
    Output = 5,
    InputName = 6,
    OutputName = 7,
    Family = 15,
    Protocol = 16,
}

/// What of the socket that a packet belongs to to load, as a byte of 0 or 1. Numbers of `enum nft_socket_keys`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Sock {
    /// It may have addresses that are not the machine's.
    Transparent = 0,
    /// It has no address of its own. Ends the rule for what is not yet or no longer a whole connection.
    Wildcard = 2,
}

/// From where a payload offset counts.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Base {
    /// The frame's addresses and type, with the tag that a network card has taken out.
    Link = 0,
    Network = 1,
    Transport = 2,
}

/// Which address [`Rule::place`] looks up. Flags of `enum nft_fib_flags`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place {
    Source = 1 | 1 << 3,
    Destination = 1 << 1,
}

/// What is found. Numbers of `linux/rtnetlink.h`, in the byte order of the machine.
pub(crate) mod place {
    /// An address of the node.
    pub(crate) const OWN: u32 = 2;
    /// All hosts of a network.
    pub(crate) const BROADCAST: u32 = 3;
}

/// How to compare.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Compare {
    Equal = 0,
    NotEqual = 1,
    AtMost = 3,
    AtLeast = 5,
}

/// How a rule ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End<'a> {
    Accept,
    Drop,
    Return,
    Jump(&'a str),
    Goto(&'a str),
}

/// Bits of `ct state`.
pub(crate) mod state {
    /// Belongs to no connection.
    pub(crate) const INVALID: u32 = 1;
    /// Belongs to a connection that was answered.
    pub(crate) const ESTABLISHED: u32 = 1 << 1;
    /// An ICMP error or an expected connection.
    pub(crate) const RELATED: u32 = 1 << 2;
    /// Opens a connection.
    pub(crate) const NEW: u32 = 1 << 3;
    /// Exempt from tracking.
    pub(crate) const UNTRACKED: u32 = 1 << 6;
}

/// Expressions of one rule.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rule {
    expressions: Messages,
}

impl Rule {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// The encoded list of expressions.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.expressions.bytes()
    }

    fn expression(mut self, name: &str, fill: impl FnOnce(&mut Attributes<'_>)) -> Self {
        self.expressions.attributes().nest(1, |element| write_expression(element, name, fill));
        self
    }

    pub(crate) fn ct(self, key: Ct, to: Register) -> Self {
        self.expression("ct", |a| {
            a.u32(1, to.0).u32(2, key as u32);
        })
    }

    pub(crate) fn ct_tuple(self, key: Ct, tuple: Tuple, to: Register) -> Self {
        self.expression("ct", |a| {
            a.u32(1, to.0).u32(2, key as u32).u8(3, tuple as u8);
        })
    }

    pub(crate) fn set_ct_mark(self, from: Register) -> Self {
        self.expression("ct", |a| {
            a.u32(2, Ct::Mark as u32).u32(4, from.0);
        })
    }

    pub(crate) fn meta(self, key: Meta, to: Register) -> Self {
        self.expression("meta", |a| {
            a.u32(1, to.0).u32(2, key as u32);
        })
    }

    /// The interface by which the packet's source would be answered, if that is the one it came in by; else 0.
    pub(crate) fn way_back(self, to: Register) -> Self {
        const INTERFACE: u32 = 1;
        const OF_SOURCE: u32 = 1;
        const COME_IN_BY: u32 = 1 << 3;
        self.expression("fib", |a| {
            a.u32(1, to.0).u32(2, INTERFACE).u32(3, OF_SOURCE | COME_IN_BY);
        })
    }

    /// What the packet's source or destination is to the node; a source is looked for on the interface it came in by.
    pub(crate) fn place(self, place: Place, to: Register) -> Self {
        const KIND: u32 = 3;
        self.expression("fib", |a| {
            a.u32(1, to.0).u32(2, KIND).u32(3, place as u32);
        })
    }

    pub(crate) fn set_priority(self, from: Register) -> Self {
        self.expression("meta", |a| {
            a.u32(2, Meta::Priority as u32).u32(3, from.0);
        })
    }

    pub(crate) fn set_packet_mark(self, from: Register) -> Self {
        self.expression("meta", |a| {
            a.u32(2, Meta::Mark as u32).u32(3, from.0);
        })
    }

    pub(crate) fn payload(self, base: Base, offset: u32, length: u32, to: Register) -> Self {
        self.expression("payload", |a| {
            a.u32(1, to.0).u32(2, base as u32).u32(3, offset).u32(4, length);
        })
    }

    /// Overwrites a part of an ICMPv6 message, and mends its checksum.
    pub(crate) fn set_icmpv6(self, from: Register, offset: u32, length: u32) -> Self {
        const INTERNET: u32 = 1;
        const CHECKSUM: u32 = 2;
        self.expression("payload", |a| {
            a.u32(2, Base::Transport as u32).u32(3, offset).u32(4, length);
            a.u32(5, from.0).u32(6, INTERNET).u32(7, CHECKSUM);
        })
    }

    pub(crate) fn load(self, value: &[u8], to: Register) -> Self {
        self.expression("immediate", |a| {
            a.u32(1, to.0).nest(2, |data| {
                data.bytes(1, value);
            });
        })
    }

    /// Whether the first bits of an address are these.
    pub(crate) fn begins(self, address: Register, (mask, value): ([u8; 4], [u8; 4])) -> Self {
        let masked = self.bits(address, u32::from_ne_bytes(mask), 0);
        masked.compare(address, Compare::Equal, &value)
    }

    /// `register = (register & mask) ^ xor`, in the byte order of this machine.
    pub(crate) fn bits(self, register: Register, mask: u32, xor: u32) -> Self {
        self.expression("bitwise", |a| {
            a.u32(1, register.0).u32(2, register.0).u32(3, 4);
            a.nest(4, |data| {
                data.bytes(1, &mask.to_ne_bytes());
            });
            a.nest(5, |data| {
                data.bytes(1, &xor.to_ne_bytes());
            });
        })
    }

    /// Takes two registers as one number, the first one being its upper half, and shifts it up by so many bits.
    pub(crate) fn shift_pair_up(self, first: Register, bits: u32) -> Self {
        self.expression("bitwise", |a| {
            a.u32(1, first.0).u32(2, first.0).u32(3, 8).u32(6, 1);
            a.nest(7, |data| {
                data.bytes(1, &bits.to_ne_bytes());
            });
        })
    }

    pub(crate) fn compare(self, register: Register, how: Compare, value: &[u8]) -> Self {
        self.expression("cmp", |a| {
            a.u32(1, register.0).u32(2, how as u32).nest(3, |data| {
                data.bytes(1, value);
            });
        })
    }

    /// Goes on if the set has the key, and if its quota, should it have one, is used up.
    pub(crate) fn found(self, set: &str, key: Register) -> Self {
        self.expression("lookup", |a| {
            a.text(1, set).u32(2, key.0);
        })
    }

    /// Loads the value of the key and goes on; ends the rule if the map has none.
    pub(crate) fn lookup(self, map: &str, key: Register, value: Register) -> Self {
        self.expression("lookup", |a| {
            a.text(1, map).u32(2, key.0).u32(3, value.0);
        })
    }

    /// Adds the key with a counter, or counts on the one that is there. Ends the rule if the set is full, or if the
    /// kernel has no memory at hand: while it handles packets it cannot wait for some, and bursts of new keys get there.
    pub(crate) fn count_in(self, set: &str, key: Register) -> Self {
        self.expression("dynset", |a| {
            a.text(1, set).u32(3, 0).u32(4, key.0);
            a.nest(7, |expression| write_expression(expression, "counter", |_| {}));
        })
    }

    pub(crate) fn counter(self) -> Self {
        self.expression("counter", |_| {})
    }

    /// Ends the rule for packets above so many a second.
    pub(crate) fn at_most(self, per_second: u32) -> Self {
        self.expression("limit", |a| {
            a.u64(1, per_second.into()).u64(2, 1).u32(3, per_second).u32(4, 0);
        })
    }

    pub(crate) fn log(self, group: u16, prefix: &str) -> Self {
        self.expression("log", |a| {
            a.u16(1, group).text(2, prefix);
        })
    }

    /// Ends the rule if no socket of this machine has the packet's addresses.
    pub(crate) fn socket(self, key: Sock, to: Register) -> Self {
        self.expression("socket", |a| {
            a.u32(1, key as u32).u32(2, to.0);
        })
    }

    /// Hands the packet to the socket that has its connection, or else to the one that listens at the address and port
    /// in the registers (without an address: at one of the interface the packet came by). Ends the rule if none does.
    pub(crate) fn hand_to(self, family: Family, address: Option<Register>, port: Register) -> Self {
        self.expression("tproxy", |a| {
            a.u32(1, u32::from(family.number())).u32(3, port.0);
            if let Some(address) = address {
                a.u32(2, address.0);
            }
        })
    }

    pub(crate) fn end(self, end: End<'_>) -> Self {
        let (code, chain) = match end {
            End::Drop => (0, None),
            End::Accept => (1, None),
            End::Jump(chain) => (-3, Some(chain)),
            End::Goto(chain) => (-4, Some(chain)),
            End::Return => (-5, None),
        };
        let code: i32 = code;
        self.expression("immediate", |a| {
            a.u32(1, 0).nest(2, |data| {
                data.nest(2, |verdict| {
                    verdict.bytes(1, &code.to_be_bytes());
                    if let Some(chain) = chain {
                        verdict.text(2, chain);
                    }
                });
            });
        })
    }
}

/// The expression of an element that counts bytes and is met once so many are used up, by the packet at hand or before.
pub(crate) fn write_quota(a: &mut Attributes<'_>, limit: u64, used: u64) {
    const OVER: u32 = 1;
    write_expression(a, "quota", |a| {
        a.u64(1, limit).u32(2, OVER).u64(4, used);
    });
}

fn write_expression(a: &mut Attributes<'_>, name: &str, fill: impl FnOnce(&mut Attributes<'_>)) {
    a.text(1, name).nest(2, fill);
}
