//! Bytes as a body in each content coding, whole and split: the same comes out, within its bounds.

use inspect::coding::{CodingFlaw, Decoder};

const CAP: u64 = 4 << 20;

fn decode(encoding: &[u8], body: &[u8], piece: usize) -> (Result<(), CodingFlaw>, Vec<u8>) {
    let mut out = Vec::new();
    let mut decoder = Decoder::new([encoding], CAP).expect("a coding that is known");
    let pushed = body.chunks(piece).try_for_each(|bytes| decoder.push(bytes, &mut out));
    (pushed.and_then(|()| decoder.end()), out)
}

pub(crate) fn run(data: &[u8]) {
    let Some((choice, body)) = data.split_first() else { return };
    let encodings: [&[u8]; 6] = [b"gzip", b"deflate", b"br", b"zstd", b"gzip, zstd", b"br, deflate, gzip"];
    let encoding = encodings[usize::from(choice & 7) % encodings.len()];
    let whole = decode(encoding, body, usize::MAX);
    let split = decode(encoding, body, usize::from(choice >> 3) + 1);
    assert_eq!(whole.0, split.0);
    assert!(whole.1.len() as u64 <= CAP);
    if whole.0.is_ok() {
        assert_eq!(whole.1, split.1);
    }
}
