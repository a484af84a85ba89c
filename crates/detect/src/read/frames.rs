//! Files of captures -> frames, in the two forms that there are.
//!
//! Enters: bytes from where the last frame ended. Leaves: the next frame, with its time and the kind of its link. Guarantees: nothing is
//! read beyond [`LARGEST`] and [`INTERFACES`]; what is damaged, or of a link that [`packet`] does not read, is said. Formats:
//! <https://www.ietf.org/archive/id/draft-ietf-opsawg-pcap-06.html>, <https://www.ietf.org/archive/id/draft-ietf-opsawg-pcapng-04.html>.

use super::packet;
use crate::event::SECOND;

/// Largest packet in bytes; what tools write at most.
const LARGEST: usize = 1 << 18;
/// Interfaces of one section of a capture.
const INTERFACES: usize = 1024;
/// Bytes of the header of a file, and of a packet.
const FILE_HEADER: usize = 24;
const PACKET_HEADER: usize = 16;
/// First bytes of a section of pcapng, the same in either order, and how many bytes say in which order numbers are.
const SECTION: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];
const SECTION_HEADER: usize = 12;
/// Other blocks (sections 4.2, 4.3 and 4.4 of the draft, and B for the last).
const INTERFACE: u32 = 1;
const SIMPLE_PACKET: u32 = 3;
const ENHANCED_PACKET: u32 = 6;
const OBSOLETE_PACKET: u32 = 2;
/// Options of an interface: how long a tick is, and seconds to add.
const RESOLUTION: u16 = 9;
const OFFSET: u16 = 14;

/// First bytes of a file that is a capture.
pub(super) fn is_one(bytes: &[u8]) -> bool {
    Order::of(bytes).is_some() || bytes.starts_with(&SECTION)
}

/// A frame: when, in microseconds since 1970, its link's kind, and its bytes.
pub(super) type Frame<'a> = (u64, u32, &'a [u8]);
/// How many bytes were read, and the frame that was in them.
type Step<'a> = (usize, Option<Frame<'a>>);

/// What is known of a file behind its first bytes.
#[derive(Debug)]
pub(super) enum Frames {
    /// As `tcpdump -w` writes it.
    Pcap { order: Order, has_nanos: bool, link: u32 },
    /// As Wireshark and `dumpcap` write it.
    Pcapng { order: Order, interfaces: Vec<Interface>, last: u64 },
}

/// How numbers are written.
#[derive(Clone, Copy, Debug)]
pub(super) enum Order {
    Big,
    Little,
}

/// Where frames of pcapng came from.
#[derive(Debug)]
pub(super) struct Interface {
    link: u32,
    /// Ticks of a second.
    ticks: u128,
    /// Seconds to add.
    offset: i64,
}

impl Order {
    /// And whether fractions of seconds are billionths.
    fn of(bytes: &[u8]) -> Option<(Self, bool)> {
        match bytes.get(..4)? {
            [0xd4, 0xc3, 0xb2, 0xa1] => Some((Self::Little, false)),
            [0x4d, 0x3c, 0xb2, 0xa1] => Some((Self::Little, true)),
            [0xa1, 0xb2, 0xc3, 0xd4] => Some((Self::Big, false)),
            [0xa1, 0xb2, 0x3c, 0x4d] => Some((Self::Big, true)),
            _ => None,
        }
    }

    /// Four bytes; 0 where there are fewer.
    fn number(self, bytes: &[u8], at: usize) -> u32 {
        let four = bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or_default();
        match self {
            Self::Big => u32::from_be_bytes(four),
            Self::Little => u32::from_le_bytes(four),
        }
    }

    /// Two bytes.
    fn short(self, bytes: &[u8], at: usize) -> u16 {
        let two = bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or_default();
        match self {
            Self::Big => u16::from_be_bytes(two),
            Self::Little => u16::from_le_bytes(two),
        }
    }

    fn length(self, bytes: &[u8], at: usize) -> usize {
        usize::try_from(self.number(bytes, at)).unwrap_or(usize::MAX)
    }
}

impl Frames {
    /// How a file begins, and how many bytes that takes; `None`: there are too few yet.
    pub(super) fn begin(bytes: &[u8]) -> Result<Option<(Self, usize)>, String> {
        if bytes.len() < FILE_HEADER {
            return Ok(None);
        }
        if bytes.starts_with(&SECTION) {
            // The order is said by the section itself.
            return Ok(Some((Self::Pcapng { order: Order::Little, interfaces: Vec::new(), last: 0 }, 0)));
        }
        let (order, has_nanos) =
            Order::of(bytes).ok_or("this is no capture: its first bytes are not those of pcap or pcapng")?;
        // The upper bits say how long check sums of frames are.
        let link = known(order.number(bytes, 20) & 0x0fff_ffff)?;
        Ok(Some((Self::Pcap { order, has_nanos, link }, FILE_HEADER)))
    }

    /// What comes next; `None`: there are too few bytes yet.
    pub(super) fn next<'a>(&mut self, bytes: &'a [u8]) -> Result<Option<Step<'a>>, String> {
        match self {
            Self::Pcap { order, has_nanos, link } => pcap(*order, *has_nanos, *link, bytes),
            Self::Pcapng { order, interfaces, last } => pcapng(order, interfaces, last, bytes),
        }
    }
}

fn known(link: u32) -> Result<u32, String> {
    if packet::is_known(link) {
        return Ok(link);
    }
    Err(format!("frames of link type {link} are not read: capture Ethernet, raw IP or `-i any`"))
}

fn pcap(order: Order, has_nanos: bool, link: u32, bytes: &[u8]) -> Result<Option<Step<'_>>, String> {
    if bytes.len() < PACKET_HEADER {
        return Ok(None);
    }
    let length = order.length(bytes, 8);
    if length > LARGEST {
        return Err(format!("a packet of {length} bytes: the capture is damaged here"));
    }
    let end = PACKET_HEADER + length;
    let Some(frame) = bytes.get(PACKET_HEADER..end) else { return Ok(None) };
    let fraction = u64::from(order.number(bytes, 4)) / if has_nanos { 1000 } else { 1 };
    let time = u64::from(order.number(bytes, 0)) * SECOND + fraction;
    Ok(Some((end, Some((time, link, frame)))))
}

fn pcapng<'a>(
    order: &mut Order,
    interfaces: &mut Vec<Interface>,
    last: &mut u64,
    bytes: &'a [u8],
) -> Result<Option<Step<'a>>, String> {
    let damaged = |length: usize| format!("a block of {length} bytes: the capture is damaged here");
    if bytes.len() < SECTION_HEADER {
        return Ok(None);
    }
    if bytes.starts_with(&SECTION) {
        *order = match bytes.get(8..12) {
            Some([0x1a, 0x2b, 0x3c, 0x4d]) => Order::Big,
            Some([0x4d, 0x3c, 0x2b, 0x1a]) => Order::Little,
            _ => return Err("a section that does not say how its numbers are written".to_owned()),
        };
        interfaces.clear();
    }
    let length = order.length(bytes, 4);
    if length < SECTION_HEADER || !length.is_multiple_of(4) || length > 2 * LARGEST {
        return Err(damaged(length));
    }
    let Some(block) = bytes.get(8..length) else { return Ok(None) };
    // The length stands at the end once more.
    let body = block.get(..block.len().saturating_sub(4)).unwrap_or_default();
    let (interface, ticks, at, size) = match order.number(bytes, 0) {
        INTERFACE if interfaces.len() >= INTERFACES => {
            return Err(format!("a section with more than {INTERFACES} interfaces"));
        }
        INTERFACE => {
            interfaces.push(described(*order, body)?);
            return Ok(Some((length, None)));
        }
        ENHANCED_PACKET => (order.length(body, 0), Some(ticks(*order, body, 4)), 20, order.length(body, 12)),
        OBSOLETE_PACKET => {
            (usize::from(order.short(body, 0)), Some(ticks(*order, body, 4)), 20, order.length(body, 12))
        }
        // It has all of the packet that fits into the block.
        SIMPLE_PACKET => (0, None, 4, order.length(body, 0).min(body.len().saturating_sub(4))),
        _ => return Ok(Some((length, None))),
    };
    let interface =
        interfaces.get(interface).ok_or("a packet of an interface that nothing was said about")?;
    let frame = body.get(at..).and_then(|rest| rest.get(..size)).ok_or_else(|| damaged(length))?;
    // One without a time came with the one before.
    *last = ticks.map_or(*last, |ticks| interface.time(ticks));
    Ok(Some((length, Some((*last, known(interface.link)?, frame)))))
}

/// The upper half of a time comes first, whatever the order.
fn ticks(order: Order, body: &[u8], at: usize) -> u64 {
    (u64::from(order.number(body, at)) << 32) | u64::from(order.number(body, at + 4))
}

fn described(order: Order, body: &[u8]) -> Result<Interface, String> {
    let mut found = Interface { link: u32::from(order.short(body, 0)), ticks: 1_000_000, offset: 0 };
    let mut options = body.get(8..).unwrap_or_default();
    while options.len() >= 4 {
        let (code, size) = (order.short(options, 0), usize::from(order.short(options, 2)));
        let value = options.get(4..4 + size).ok_or("an interface whose options are damaged")?;
        match (code, value) {
            (0, _) => break,
            (RESOLUTION, [power]) => {
                let base = if power & 0x80 == 0 { 10_u128 } else { 2 };
                let ticks = base.checked_pow(u32::from(power & 0x7f));
                found.ticks = ticks.ok_or("an interface whose ticks are too short to be counted")?;
            }
            (OFFSET, value) if value.len() == 8 => {
                let (first, second) = (order.number(value, 0), order.number(value, 4));
                let (high, low) = if let Order::Big = order { (first, second) } else { (second, first) };
                found.offset = ((u64::from(high) << 32) | u64::from(low)).cast_signed();
            }
            _ => {}
        }
        options = options.get(4 + size.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(found)
}

impl Interface {
    /// Microseconds since 1970.
    fn time(&self, ticks: u64) -> u64 {
        let whole = u128::from(ticks) * u128::from(SECOND) / self.ticks;
        let micros = u64::try_from(whole).unwrap_or(u64::MAX);
        let offset = self.offset.unsigned_abs().saturating_mul(SECOND);
        if self.offset < 0 { micros.saturating_sub(offset) } else { micros.saturating_add(offset) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A block, with numbers in this order.
    fn block(is_big: bool, kind: u32, body: &[u8]) -> Vec<u8> {
        let number = |number: u32| if is_big { number.to_be_bytes() } else { number.to_le_bytes() };
        let length = number(u32::try_from(12 + body.len()).unwrap());
        [&number(kind)[..], &length, body, &length].concat()
    }

    fn frames(bytes: &[u8]) -> Result<Vec<(u64, u32, Vec<u8>)>, String> {
        let (mut frames, mut at) = Frames::begin(bytes)?.unwrap();
        let mut found = Vec::new();
        while let Some((length, frame)) = frames.next(&bytes[at..])? {
            found.extend(frame.map(|(time, link, frame)| (time, link, frame.to_vec())));
            at += length;
        }
        assert_eq!(at, bytes.len(), "all is read");
        Ok(found)
    }

    #[test]
    fn frames_of_all_kinds_of_blocks_and_sections_come_with_their_times() {
        let section = |is_big: bool| {
            let magic = if is_big { [0x1a, 0x2b, 0x3c, 0x4d] } else { [0x4d, 0x3c, 0x2b, 0x1a] };
            let number = |number: u32| if is_big { number.to_be_bytes() } else { number.to_le_bytes() };
            let short = |number: u16| if is_big { number.to_be_bytes() } else { number.to_le_bytes() };
            let micros = [&short(1)[..], &[0; 6]].concat();
            let nanos = [
                &short(101)[..],
                &[0; 6],
                &short(2),
                &short(3),
                b"eth\0",
                &short(RESOLUTION),
                &short(1),
                &[9, 0, 0, 0],
                &short(OFFSET),
                &short(8),
                &(if is_big { 10_i64.to_be_bytes() } else { 10_i64.to_le_bytes() }),
                &[0; 4],
            ]
            .concat();
            let packet = |interface: &[u8], ticks: u64| {
                let halves =
                    [u32::try_from(ticks >> 32).unwrap(), u32::try_from(ticks & 0xffff_ffff).unwrap()];
                let numbers = [halves[0], halves[1], 5, 9].map(number).concat();
                [interface, &numbers, b"hello\0\0\0"].concat()
            };
            [
                block(is_big, u32::from_be_bytes(SECTION), &[&magic[..], &[0; 12]].concat()),
                block(is_big, INTERFACE, &micros),
                block(is_big, INTERFACE, &nanos),
                block(is_big, ENHANCED_PACKET, &packet(&number(0), 1_800_000_000_000_007)),
                block(is_big, 0x0bad, b"name"),
                block(
                    is_big,
                    OBSOLETE_PACKET,
                    &packet(&[short(1), short(0)].concat(), 1_800_000_000_000_008_999),
                ),
                block(is_big, SIMPLE_PACKET, &[&number(3)[..], b"abc\0"].concat()),
            ]
            .concat()
        };
        let expected = [
            (1_800_000_000_000_007, 1, b"hello".to_vec()),
            (1_800_000_010_000_008, 101, b"hello".to_vec()),
            (1_800_000_010_000_008, 1, b"abc".to_vec()),
        ];
        let both = [section(false), section(true)].concat();
        assert_eq!(frames(&both).unwrap(), [expected.clone(), expected].concat());
        for end in 0..both.len() {
            if let Some((mut frames, mut at)) = Frames::begin(&both[..end]).unwrap() {
                while let Some((length, _)) = frames.next(&both[at..end]).unwrap() {
                    at += length;
                }
            }
        }
    }

    #[test]
    fn what_is_damaged_or_of_another_link_is_said() {
        let magic = [&[0x4d, 0x3c, 0x2b, 0x1a][..], &[0; 12]].concat();
        let section = block(false, u32::from_be_bytes(SECTION), &magic);
        let usb = block(false, INTERFACE, &[220, 0, 0, 0, 0, 0, 0, 0]);
        let packet = block(false, ENHANCED_PACKET, &[[0; 20], [7; 20]].concat());
        let cut = block(false, ENHANCED_PACKET, &[&[0; 12][..], &[99, 0, 0, 0], &[0; 8]].concat());
        let ether = block(false, INTERFACE, &[1, 0, 0, 0, 0, 0, 0, 0]);
        let fast = block(false, INTERFACE, &[1, 0, 0, 0, 0, 0, 0, 0, 9, 0, 1, 0, 0x7f, 0, 0, 0]);
        let options = block(false, INTERFACE, &[1, 0, 0, 0, 0, 0, 0, 0, 9, 0, 99, 0]);
        for (blocks, expected) in [
            (vec![&packet], "interface that nothing was said about"),
            (vec![&usb, &packet], "link type 220"),
            (vec![&ether, &cut], "damaged"),
            (vec![&fast], "too short to be counted"),
            (vec![&options], "options are damaged"),
            (vec![&ether; INTERFACES + 1], "more than 1024 interfaces"),
        ] {
            let bytes: Vec<u8> = [&section].into_iter().chain(blocks).flatten().copied().collect();
            let error = frames(&bytes).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
        for (at, byte) in [(4, 3), (7, 0xff), (8, 0)] {
            let mut bytes = section.clone();
            bytes[at] = byte;
            assert!(frames(&bytes).is_err(), "{at}");
        }
    }
}
