//! SHA-1 (RFC 3174) and MD5 (RFC 1321): rules use them to name things, never to protect them.

/// The message in blocks of 64 bytes, padded; `big` says in which order the length is written.
fn blocks(input: &[u8], big: bool) -> Vec<u8> {
    let mut message = input.to_vec();
    message.push(0x80);
    while message.len() % 64 != 56 {
        message.push(0);
    }
    let bits = (input.len() as u64).wrapping_mul(8);
    message.extend_from_slice(&if big { bits.to_be_bytes() } else { bits.to_le_bytes() });
    message
}

fn words(block: &[u8], read: fn([u8; 4]) -> u32) -> impl Iterator<Item = u32> {
    block.chunks_exact(4).filter_map(|chunk| chunk.first_chunk::<4>()).map(move |chunk| read(*chunk))
}

#[expect(clippy::unnecessary_wraps, reason = "the shape of every step")]
pub(super) fn sha1(input: &[u8]) -> Option<Vec<u8>> {
    let mut state = [0x6745_2301_u32, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];
    for block in blocks(input, true).chunks_exact(64) {
        let mut schedule: Vec<u32> = words(block, u32::from_be_bytes).collect();
        while schedule.len() < 80 {
            let back = |distance: usize| {
                schedule.len().checked_sub(distance).and_then(|at| schedule.get(at)).copied().unwrap_or(0)
            };
            let next = (back(3) ^ back(8) ^ back(14) ^ back(16)).rotate_left(1);
            schedule.push(next);
        }
        let [mut a, mut b, mut c, mut d, mut e] = state;
        for (round, word) in schedule.into_iter().enumerate() {
            let (mix, constant) = match round / 20 {
                0 => (b & c | !b & d, 0x5a82_7999),
                1 => (b ^ c ^ d, 0x6ed9_eba1),
                2 => (b & c | b & d | c & d, 0x8f1b_bcdc),
                _ => (b ^ c ^ d, 0xca62_c1d6_u32),
            };
            let next =
                a.rotate_left(5).wrapping_add(mix).wrapping_add(e).wrapping_add(constant).wrapping_add(word);
            (a, b, c, d, e) = (next, a, b.rotate_left(30), c, d);
        }
        for (slot, value) in state.iter_mut().zip([a, b, c, d, e]) {
            *slot = slot.wrapping_add(value);
        }
    }
    Some(state.iter().flat_map(|word| word.to_be_bytes()).collect())
}

/// How far each round of MD5 turns, four for each quarter.
const TURNS: [[u32; 4]; 4] = [[7, 12, 17, 22], [5, 9, 14, 20], [4, 11, 16, 23], [6, 10, 15, 21]];

/// RFC 1321 defines the constants by the sine of the round.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "below 2^32, and never negative")]
fn constant(round: u32) -> u32 {
    (f64::from(round + 1).sin().abs() * 4_294_967_296.0) as u32
}

#[expect(clippy::unnecessary_wraps, reason = "the shape of every step")]
pub(super) fn md5(input: &[u8]) -> Option<Vec<u8>> {
    let mut state = [0x6745_2301_u32, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
    for block in blocks(input, false).chunks_exact(64) {
        let words: Vec<u32> = words(block, u32::from_le_bytes).collect();
        let [mut a, mut b, mut c, mut d] = state;
        for round in 0..64_u32 {
            let (mix, index) = match round / 16 {
                0 => (b & c | !b & d, round),
                1 => (d & b | !d & c, 5 * round + 1),
                2 => (b ^ c ^ d, 3 * round + 5),
                _ => (c ^ (b | !d), 7 * round),
            };
            let word = words.get((index % 16) as usize).copied().unwrap_or(0);
            let turn = TURNS
                .get((round / 16) as usize)
                .and_then(|turns| turns.get((round % 4) as usize))
                .copied()
                .unwrap_or(0);
            let sum = a.wrapping_add(mix).wrapping_add(constant(round)).wrapping_add(word);
            (a, b, c, d) = (d, b.wrapping_add(sum.rotate_left(turn)), b, c);
        }
        for (slot, value) in state.iter_mut().zip([a, b, c, d]) {
            *slot = slot.wrapping_add(value);
        }
    }
    Some(state.iter().flat_map(|word| word.to_le_bytes()).collect())
}
