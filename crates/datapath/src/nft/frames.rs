//! What pods of one bridge send each other past the hooks of IP: frames with the tag of VLAN 0.
//!
//! Such a tag says a priority and no network, and who gets it takes the packet as if it had none; but netfilter's hooks of IP
//! are not called for a tagged frame (`bridge-nf-filter-vlan-tagged` is 0), nor, whatever is set, for one with two tags. Frames
//! of real VLANs reach nobody who has not asked for that VLAN. Nothing else of frames is looked at, and no drop is logged.
//! Source: kernel documentation `networking/ip-sysctl`, IEEE 802.1Q 6.9.

use super::adopt::table_comment_of;
use super::batch::{BRIDGE, Batch, comment_bytes, delete_table_of};
use super::expr::{Base, Compare, End, Register, Rule};
use crate::error::{ApplyError, absent_is_fine};
use crate::netlink::Socket;

const TABLE: &str = "cofferdam_frames";
const COMMENT: &str = "drops frames tagged for VLAN 0, which would pass the rules unjudged; schema 1";
const CHAIN: &str = "forward";
/// `NF_BR_FORWARD`.
const HOOK_FORWARD: u32 = 2;
/// Before other filters.
const PRIORITY: i32 = -205;
/// Types of tagged frames: IEEE 802.1Q and 802.1ad.
const TAGGED: [[u8; 2]; 2] = [[0x81, 0x00], [0x88, 0xa8]];
/// Where a frame has its type, and where the number of its VLAN.
const TYPE: u32 = 12;
const VLAN: u32 = 14;

const A: Register = Register::new(0);

/// Drops them on every bridge of this network namespace, unless that is so already.
pub(super) fn close(socket: &mut Socket) -> Result<(), ApplyError> {
    if table_comment_of(BRIDGE, socket, TABLE)? == Some(comment_bytes(COMMENT)) {
        return Ok(());
    }
    let mut batch = Batch::of_family(BRIDGE, socket.messages());
    batch.replace_table(TABLE, COMMENT);
    batch.new_chain(TABLE, CHAIN, Some((HOOK_FORWARD, PRIORITY)));
    for (index, rule) in TAGGED.map(drop_tagged).iter().enumerate() {
        batch.append_rule(TABLE, CHAIN, index, rule);
    }
    let (messages, acknowledged, doing) = batch.finish(TABLE);
    let sent = socket.transact(&messages, acknowledged);
    sent.map_err(|error| ApplyError::from_transact(error, &doing))
}

/// Lets them pass again.
pub(super) fn open(socket: &mut Socket) -> Result<(), ApplyError> {
    let (messages, acknowledged) = delete_table_of(BRIDGE, socket.messages(), TABLE);
    absent_is_fine(socket.transact(&messages, acknowledged))
}

fn drop_tagged(of_type: [u8; 2]) -> Rule {
    let number = u32::from_ne_bytes([0x0f, 0xff, 0, 0]);
    Rule::new()
        .payload(Base::Link, TYPE, 2, A)
        .compare(A, Compare::Equal, &of_type)
        .payload(Base::Link, VLAN, 2, A)
        .bits(A, number, 0)
        .compare(A, Compare::Equal, &[0; 2])
        .counter()
        .end(End::Drop)
}
