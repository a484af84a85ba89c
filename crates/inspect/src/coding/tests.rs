use super::*;
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use proptest::prelude::*;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};
use std::io::Write;

const SENTENCE: &str = "the same sentence, again and again; ";
const CAP: u64 = 64 << 20;

/// Twenty times the sentence, by the reference encoder of brotli.
const BROTLI: &str = "1bcf02e0a540767a10430ea90c6cc079c269f8d5e74592fd206c2601";
/// Three million zero bytes, by the same.
const BROTLI_BOMB: &str = "9bbfc62df82700e2b14020cfb705";

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    compress_to_vec(bytes, CompressionLevel::Fastest)
}

fn decode(encoding: &str, body: &[u8], piece: usize, cap: u64) -> Result<Vec<u8>, CodingFlaw> {
    let mut decoder = Decoder::new([encoding.as_bytes()], cap)?;
    let mut out = Vec::new();
    for bytes in body.chunks(piece) {
        decoder.push(bytes, &mut out)?;
    }
    decoder.end()?;
    Ok(out)
}

fn check(encoding: &str, body: &[u8], expected: Result<&[u8], CodingFlaw>) {
    for piece in [1, 7, 4096, usize::MAX] {
        let found = decode(encoding, body, piece, CAP);
        assert_eq!(found.as_deref().map_err(|flaw| *flaw), expected, "{encoding} in pieces of {piece}");
    }
}

#[test]
fn each_coding_and_their_order_are_undone() {
    let text = SENTENCE.repeat(20);
    let plain = text.as_bytes();
    check("identity", plain, Ok(plain));
    check("", plain, Ok(plain));
    check("gzip", &gzip(plain), Ok(plain));
    check(" X-GZIP ", &gzip(plain), Ok(plain));
    check("deflate", &zlib(plain), Ok(plain));
    check("br", &hex(BROTLI), Ok(plain));
    check("zstd", &zstd(plain), Ok(plain));
    check("zstd, identity, gzip", &gzip(&zstd(plain)), Ok(plain));
    check("deflate,gzip , zstd", &zstd(&gzip(&zlib(plain))), Ok(plain));
    check("gzip", b"", Ok(b""));
}

#[test]
fn codings_that_are_not_known_or_too_many_are_refused() {
    check("compress", b"", Err(CodingFlaw::Unsupported));
    check("gzip, aws-chunked", b"", Err(CodingFlaw::Unsupported));
    check("gzip;q=1", b"", Err(CodingFlaw::Unsupported));
    check("gzip,gzip,gzip,gzip", b"", Err(CodingFlaw::TooManyLayers));
}

#[test]
fn anything_behind_the_end_is_a_flaw_and_so_is_an_early_end() {
    let plain = SENTENCE.repeat(20);
    let bodies = [
        ("gzip", gzip(plain.as_bytes())),
        ("deflate", zlib(plain.as_bytes())),
        ("br", hex(BROTLI)),
        ("zstd", zstd(plain.as_bytes())),
    ];
    for (encoding, body) in bodies {
        let twice = [body.as_slice(), &body].concat();
        check(encoding, &twice, Err(CodingFlaw::Trailing));
        check(encoding, &[body.as_slice(), b"\0"].concat(), Err(CodingFlaw::Trailing));
        check(encoding, &body[..body.len() - 1], Err(CodingFlaw::Truncated));
        check(encoding, &body[..1], Err(CodingFlaw::Truncated));
    }
}

#[test]
fn what_is_not_its_coding_is_malformed() {
    check("zstd", b"u006\xd6", Err(CodingFlaw::Malformed));
    check("gzip", SENTENCE.as_bytes(), Err(CodingFlaw::Malformed));
    check("zstd", SENTENCE.as_bytes(), Err(CodingFlaw::Malformed));
    check("deflate", SENTENCE.as_bytes(), Err(CodingFlaw::Malformed));
    check("br", &[0x11, 0, 0, 0], Err(CodingFlaw::Malformed));
    let mut reserved = gzip(b"x");
    reserved[3] = 0x80;
    check("gzip", &reserved, Err(CodingFlaw::Malformed));
    let endless_name = [b"\x1f\x8b\x08\x08\0\0\0\0\0\0".as_slice(), &[b'n'; 2000]].concat();
    check("gzip", &endless_name, Err(CodingFlaw::Malformed));
    let mut wrong_sum = gzip(b"x");
    let at = wrong_sum.len() - 6;
    wrong_sum[at] ^= 1;
    check("gzip", &wrong_sum, Err(CodingFlaw::Checksum));
}

#[test]
fn optional_fields_of_gzip_are_skipped() {
    let plain = gzip(b"x");
    let fields = b"\x03\0abcname\0comment\0\0\0";
    let body = [b"\x1f\x8b\x08\x1e\0\0\0\0\0\0".as_slice(), fields, &plain[10..]].concat();
    check("gzip", &body, Ok(b"x"));
}

#[test]
fn bombs_are_refused_by_ratio_in_each_layer() {
    let zeros = vec![0; 16 << 20];
    check("gzip", &gzip(&zeros), Err(CodingFlaw::Ratio));
    check("deflate", &zlib(&zeros), Err(CodingFlaw::Ratio));
    check("br", &hex(BROTLI_BOMB), Err(CodingFlaw::Ratio));
    // Twelve mebibytes of blocks that each repeat one byte 128 Ki times.
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0, 0x38];
    (0..96).for_each(|_| frame.extend([0x02, 0, 0x10, b'z']));
    frame.extend([1, 0, 0]);
    check("zstd", &frame, Err(CodingFlaw::Ratio));
    // A bomb inside whose bytes say nothing: the outer layer alone is judged as well.
    check("gzip, gzip", &gzip(&gzip(&zeros)), Err(CodingFlaw::Ratio));
}

#[test]
fn layers_over_each_other_become_no_more_than_one_may() {
    // Blocks that repeat one byte 128 Ki times, each behind 2000 zeros as they are: 66 times their size, and packed well again.
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0, 0x38];
    for _ in 0..60 {
        frame.extend([0x80, 0x3e, 0]);
        frame.extend([0; 2000]);
        frame.extend([0x02, 0, 0x10, b'z']);
    }
    frame.extend([1, 0, 0]);
    let length = 60 * (2000 + (128 << 10));
    assert_eq!(decode("zstd", &frame, 4096, CAP).map(|out| out.len()), Ok(length));
    check("zstd, gzip", &gzip(&frame), Err(CodingFlaw::Ratio));
}

#[test]
fn the_cap_holds_for_what_is_given_and_for_each_layer() {
    let plain = SENTENCE.repeat(2000);
    let length = plain.len() as u64;
    for (encoding, body) in [("gzip", gzip(plain.as_bytes())), ("zstd", zstd(plain.as_bytes()))] {
        assert_eq!(decode(encoding, &body, 100, length).map(|out| out.len()), Ok(plain.len()), "{encoding}");
        assert_eq!(decode(encoding, &body, 100, length - 1), Err(CodingFlaw::TooLarge), "{encoding}");
    }
    assert_eq!(decode("identity", b"four", 1, 3), Err(CodingFlaw::TooLarge));
}

#[test]
fn big_windows_and_dictionaries_of_zstd_are_refused() {
    // Window descriptor: exponent 14 over 10, so 16 MiB; then 3 TiB.
    for descriptor in [14 << 3, 0xfe] {
        check("zstd", &[0x28, 0xb5, 0x2f, 0xfd, 0, descriptor, 1, 0, 0], Err(CodingFlaw::Window));
    }
    // One segment of 2^40 bytes; a dictionary of the number 7.
    check("zstd", &[0x28, 0xb5, 0x2f, 0xfd, 0xe0, 0, 0, 0, 0, 0, 1, 0, 0, 1, 0, 0], Err(CodingFlaw::Window));
    check("zstd", &[0x28, 0xb5, 0x2f, 0xfd, 1, 0, 7, 1, 0, 0], Err(CodingFlaw::Window));
    check("zstd", &[0x28, 0xb5, 0x2f, 0xfd, 0, 13 << 3, 1, 0, 0], Ok(b""));
}

#[test]
fn a_flaw_stays() {
    let mut decoder = Decoder::new([b"gzip".as_slice()], CAP).unwrap();
    let mut out = Vec::new();
    assert_eq!(decoder.push(b"no", &mut out), Err(CodingFlaw::Malformed));
    assert_eq!(decoder.push(&gzip(b"x"), &mut out), Err(CodingFlaw::Malformed));
    assert_eq!(decoder.end(), Err(CodingFlaw::Malformed));
    assert!(out.is_empty());
}

proptest! {
    #[test]
    fn where_the_input_is_split_changes_nothing(
        words in proptest::collection::vec("[a-c]{1,9}", 0..400),
        damage in proptest::option::of((any::<prop::sample::Index>(), 1u8..)),
        piece in 1usize..600,
        which in 0usize..4,
    ) {
        let plain = words.concat().into_bytes();
        let (encoding, mut body) = match which {
            0 => ("gzip", gzip(&plain)),
            1 => ("deflate", zlib(&plain)),
            2 => ("zstd,gzip", gzip(&zstd(&plain))),
            _ => ("br", hex(BROTLI)),
        };
        match damage {
            Some((at, change)) => {
                let at = at.index(body.len());
                body[at] ^= change;
            }
            None if which != 3 => prop_assert_eq!(decode(encoding, &body, piece, CAP), Ok(plain)),
            None => {}
        }
        let collected = |piece: usize| {
            let mut decoder = Decoder::new([encoding.as_bytes()], CAP).unwrap();
            let mut out = Vec::new();
            let pushed = body.chunks(piece).try_for_each(|bytes| decoder.push(bytes, &mut out));
            (pushed.and_then(|()| decoder.end()), out)
        };
        let (split, whole) = (collected(piece), collected(usize::MAX));
        prop_assert_eq!(&split.0, &whole.0);
        // A decoder of brotli forgets what it has not given when it meets a flaw.
        if which != 3 || whole.0.is_ok() {
            prop_assert_eq!(&split.1, &whole.1);
        }
    }
}
