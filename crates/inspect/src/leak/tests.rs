use super::*;
use crate::leak::unwrap::Base64;
use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;
use std::io::Write;

mod secrets;

fn all_rules() -> Arc<LeakRules> {
    let options = LeakOptions {
        secrets: true,
        pii: true,
        canaries: vec![b"canary-4711-do-not-send".to_vec()],
        files: true,
        opaque_from: Some(3 * 4096),
        salt: b"salt".to_vec(),
    };
    Arc::new(LeakRules::new(&options).unwrap())
}

fn scan_with(rules: &Arc<LeakRules>, body: &[u8], piece: usize) -> Scanner {
    let mut scanner = Scanner::new(Arc::clone(rules));
    body.chunks(piece).for_each(|bytes| scanner.push(bytes));
    scanner.end();
    scanner
}

fn scan(body: &[u8]) -> Scanner {
    scan_with(&all_rules(), body, usize::MAX)
}

fn found(body: &[u8]) -> Vec<(&'static str, Layer, u64)> {
    scan(body).leaks().iter().map(|leak| (leak.rule, leak.layer, leak.offset)).collect()
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for group in bytes.chunks(3) {
        let at = |index: usize| u32::from(group.get(index).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for index in 0..=group.len() {
            out.push(char::from(ALPHABET[usize::try_from(bits >> (18 - 6 * index) & 63).unwrap()]));
        }
    }
    out
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Bytes without a pattern, by a linear congruential generator (Knuth's constants).
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        u8::try_from(state >> 56).unwrap()
    };
    (0..length).map(|_| next()).collect()
}

const CARD: &str = "4539 5787 6362 1486";

#[test]
fn numbers_of_people_are_found_by_their_check_digits() {
    let cases = [
        ("card 4539 5787 6362 1486.", "payment-card"),
        ("\"number\": \"4539578763621486\"", "payment-card"),
        ("3782-822463-10005", "payment-card"),
        (r#"{"text":"\n4539578763621486\n"}"#, "payment-card"),
        ("pay to DE89 3704 0044 0532 0130 00 please", "iban"),
        ("\"GB82WEST12345698765432\"", "iban"),
        ("SSN: 123-45-6789", "us-ssn"),
        ("social security number 123456789", "us-ssn"),
        ("Steuer-IdNr. 86 095 742 719", "de-tax-id"),
        ("NIR 2 55 08 14 168 025 38", "fr-nir"),
        ("DNI 12345678Z", "es-dni"),
        ("NIE: X1234567L", "es-dni"),
        ("CF RSSMRA85T10A562S", "it-codice-fiscale"),
        ("BSN 111222333", "nl-bsn"),
        ("pesel=44051401359", "pl-pesel"),
        ("529.982.247-25", "br-cpf"),
        ("CPF 52998224725", "br-cpf"),
        ("National Insurance number AB 12 34 56 C", "uk-nino"),
    ];
    for (text, rule) in cases {
        let rules: Vec<_> = found(text.as_bytes()).iter().map(|leak| leak.0).collect();
        assert_eq!(rules, [rule], "{text}");
    }
}

#[test]
fn numbers_of_machines_are_nobodys() {
    let texts = [
        "4539578763621487",
        "\"id\": 4539578763621486",
        "\"user_id\":\"4539578763621486\"",
        "timestamp=4539578763621486",
        "0.4539578763621486",
        "4539578763621486.25",
        "4539578763621486e3",
        "123e4567-e89b-12d3-a456-426614174000",
        "d41d8cd98f00b204e9800998ecf8427e4539578763621486",
        "2 4539 5787 6362 1486",
        "4539 5787-6362 1486",
        "4444444444444444",
        "123-45-6789",
        "ssn 000-45-6789",
        "111222333",
        "44051401359",
        "12345678Z",
        "AB123456C",
        "DE89 3704 0044 0532 0130 01",
        "1700000000000",
        "[0.12345678901234567, -12345678901, 4e10]",
        "2024-01-01T00:00:00.000000Z",
    ];
    for text in texts {
        assert_eq!(found(text.as_bytes()), [], "{text}");
    }
}

#[test]
fn addresses_count_from_a_number_on() {
    let some = |count: u64| (0..count).map(|at| format!("user{at}@mail.test, ")).collect::<String>();
    assert_eq!(found(some(EMAILS_FROM - 1).as_bytes()), []);
    assert_eq!(found(some(EMAILS_FROM + 50).as_bytes()).len(), 1);
    assert_eq!(found("@app.get @x @dataclass.y ".repeat(100).as_bytes()), []);
}

#[test]
fn a_canary_is_found_in_every_writing() {
    let canary = "canary-4711-do-not-send";
    let texts = [
        canary.to_owned(),
        format!("xx{canary}yy"),
        hex(canary.as_bytes()),
        hex(canary.as_bytes()).to_uppercase(),
        base64(canary.as_bytes()),
        base64(format!("a{canary}").as_bytes()),
        base64(format!("ab{canary}").as_bytes()),
    ];
    for text in texts {
        assert!(
            found(text.as_bytes()).contains(&("canary", Layer::Raw, found(text.as_bytes())[0].2)),
            "{text}"
        );
    }
    assert_eq!(found(b"canary-4711-do-not-sen"), []);
}

#[test]
fn one_layer_is_undone() {
    let card = format!("{CARD} {}", "the rest of a letter ".repeat(5));
    let every_byte: String = card.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let cases = [
        (format!("a: {}", base64(card.as_bytes())), Layer::Base64),
        (format!("a: {}", hex(card.as_bytes())), Layer::Hex),
        (format!("a: {every_byte}"), Layer::Percent),
        (format!("a: {}", base64(&gzip(card.as_bytes()))), Layer::Gzip),
        (format!("a: {}", hex(&gzip(card.as_bytes()))), Layer::Gzip),
    ];
    for (text, layer) in cases {
        assert_eq!(found(text.as_bytes()), [("payment-card", layer, 3)], "{text}");
    }
    assert_eq!(found(&gzip(card.as_bytes())), [("payment-card", Layer::Gzip, 0)]);
    let zstd =
        ruzstd::encoding::compress_to_vec(card.as_bytes(), ruzstd::encoding::CompressionLevel::Fastest);
    assert!(found(&zstd).contains(&("payment-card", Layer::Zstd, 0)));
}

#[test]
fn files_are_found_where_they_may_begin() {
    let tensors =
        b"\x40\0\0\0\0\0\0\0{\"w\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}      \0\0\0\0";
    let sample = format!(r#"{{"files":[{{"path":"a","sample":"{}"}}]}}"#, base64(tensors));
    let part = [b"--b\r\nContent-Type: text/plain\r\n\r\n".as_slice(), tensors, b"\r\n--b--\r\n"].concat();
    assert_eq!(found(tensors), [("file-safetensors", Layer::Raw, 0)]);
    assert_eq!(found(sample.as_bytes()), [("file-safetensors", Layer::Base64, 32)]);
    assert_eq!(found(&part), [("file-safetensors", Layer::Raw, 33)]);
    assert_eq!(found(&gzip(tensors)), [("file-safetensors", Layer::Gzip, 0)]);
    assert_eq!(found(&[b"x".as_slice(), tensors].concat()), []);
}

#[test]
fn what_nobody_can_read_is_found_in_bodies_parts_and_encodings_and_known_forms_are_not() {
    let (random, text) = (noise(4 * 4096), b"plain text ".repeat(1000));
    let part = |body: &[u8]| {
        let head = b"--b\r\nContent-Type: text/plain\r\n\r\n".as_slice();
        [head, body, b"\r\n--b\r\n\r\n", &text, b"\r\n--b--\r\n"].concat()
    };
    let picture = [
        b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR".as_slice(),
        &[0; 17],
        &u32::try_from(random.len()).unwrap().to_be_bytes(),
        b"IDAT",
        &random,
        &[0; 8],
        b"IEND\0\0\0\0",
    ]
    .concat();
    let packed = gzip(&text.repeat(40));
    for (body, expected) in [
        (random.clone(), Some((Layer::Raw, 0))),
        ([&text[..], &random].concat(), Some((Layer::Raw, 0))),
        (part(&random), Some((Layer::Raw, 33))),
        ([&part(&text)[..], &random].concat(), Some((Layer::Raw, 0))),
        (format!(r#"{{"data":"{}"}}"#, base64(&random)).into_bytes(), Some((Layer::Base64, 9))),
        (gzip(&random), Some((Layer::Gzip, 0))),
        // Cut short, so that it does not unpack.
        ([&gzip(&random)[..20], &random].concat(), Some((Layer::Raw, 0))),
        (text.clone(), None),
        (noise(2 * 4096), None),
        (picture.clone(), None),
        (part(&picture), None),
        (base64(&picture).into_bytes(), None),
        ([&picture[..], &random].concat(), Some((Layer::Raw, 0))),
        (packed, None),
    ] {
        for piece in [333, usize::MAX] {
            let scanner = scan_with(&all_rules(), &body, piece);
            let mut found = scanner.leaks().iter().filter(|leak| leak.class == LeakClass::Opaque);
            let first = found.next().map(|leak| (leak.layer, leak.offset));
            assert_eq!(first, expected, "{} {piece}", body[..20].escape_ascii());
            assert!(
                scanner.leaks().iter().all(|leak| leak.class != LeakClass::Opaque || leak.length == 12_288)
            );
        }
    }
}

/// Each of them becomes no more than anything may.
#[test]
fn many_small_bombs_are_one() {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&vec![0; 1 << 20]).unwrap();
    let small = base64(&encoder.finish().unwrap());
    let is_told = |body: &str, piece| {
        scan_with(&all_rules(), body.as_bytes(), piece).leaks().iter().any(|leak| leak.rule == "packing-bomb")
    };
    let many = [small.as_str(); 20].join(" ");
    assert!(many.len() < 60_000, "{}", many.len());
    for piece in [1000, usize::MAX] {
        assert!(!is_told(&small, piece) && is_told(&many, piece), "in pieces of {piece}");
    }
}

#[test]
fn a_bomb_in_a_body_is_told_of() {
    let bomb = gzip(&vec![0; 8 << 20]);
    assert_eq!(found(&bomb).iter().map(|leak| leak.0).collect::<Vec<_>>(), ["packing-bomb"]);
}

#[test]
fn the_text_is_in_no_leak_and_its_range_is() {
    let text = format!("first {CARD}, then {CARD}");
    let scanner = scan(text.as_bytes());
    let ranges: Vec<_> = scanner.spans().unwrap().iter().map(|span| span.range.clone()).collect();
    assert_eq!(ranges, [6..25, 32..51]);
    assert_eq!(scanner.leaks().len(), 1);
    assert!(!format!("{scanner:?}").contains("5787"));
    assert_eq!(scanner.leaks()[0].fingerprint, Fingerprint::of(b"salt", CARD.as_bytes()));
}

#[test]
fn noise_of_one_rule_does_not_hide_another() {
    let mut text: String = (0..2000).map(|at| format!("postgres://user:q{at}w@host/db ")).collect();
    text.push_str(CARD);
    let scanner = scan(text.as_bytes());
    let rules: Vec<_> = scanner.leaks().iter().map(|leak| leak.rule).collect();
    assert_eq!(rules, [vec!["database-url"; MAX_PER_RULE], vec!["payment-card"]].concat());
    assert!(scanner.is_cut());
}

#[test]
fn what_was_judged_lags_no_more_than_is_said() {
    let mut scanner = Scanner::new(all_rules());
    for round in 1..200u64 {
        scanner.push(&[b'.'; 777]);
        assert!(round * 777 - scanner.judged() <= HOLD_BACK as u64, "{round}");
    }
}

#[test]
fn what_is_not_asked_for_is_not_found() {
    let rules = Arc::new(LeakRules::new(&LeakOptions::default()).unwrap());
    let text = format!("{CARD} postgres://app:kT7vRq2x@db.internal/app");
    assert_eq!(scan_with(&rules, text.as_bytes(), 10).leaks(), []);
    assert_eq!(scan_with(&rules, b"GGUF\x03\0\0\0", 10).leaks(), []);
}

fn piece_of_body() -> impl Strategy<Value = Vec<u8>> {
    let texts = [
        CARD.to_owned(),
        "canary-4711-do-not-send".to_owned(),
        "postgres://app:kT7vRq2x@db.internal/app".to_owned(),
        "DE89 3704 0044 0532 0130 00".to_owned(),
        "%34539 %35".to_owned(),
        "\\n".to_owned(),
        "--b\r\n\r\n".to_owned(),
        "a@b.test ".repeat(7),
        base64(format!("{CARD} {}", "and more ".repeat(9)).as_bytes()),
        base64(&gzip(CARD.repeat(9).as_bytes())),
        "x".repeat(5000),
    ];
    prop_oneof![
        proptest::sample::select(texts.to_vec()).prop_map(String::into_bytes),
        "[ -~]{0,30}".prop_map(String::into_bytes),
        proptest::collection::vec(any::<u8>(), 0..90),
        Just(gzip(CARD.as_bytes())),
        Just(b"GGUF\x03\0\0\0".to_vec()),
    ]
}

proptest! {
    #[test]
    fn where_a_body_is_split_changes_nothing(pieces in proptest::collection::vec(piece_of_body(), 0..24), piece in 1usize..3000) {
        let rules = all_rules();
        let body = pieces.concat();
        let (whole, split) = (scan_with(&rules, &body, usize::MAX), scan_with(&rules, &body, piece));
        prop_assert_eq!(whole.leaks(), split.leaks());
        prop_assert_eq!(whole.spans(), split.spans());
    }
}

#[test]
fn base64_decodes_as_its_encoder_encodes() {
    let text = b"any carnal pleas";
    let mut decoder = Base64::default();
    let decoded: Vec<u8> =
        base64(text).bytes().filter_map(unwrap::sextet).filter_map(|value| decoder.push(value)).collect();
    assert_eq!(decoded, text);
}
