//! The same bytes, split in two ways, are the same hello, and the same second hello; what a hello claims is in its bytes.

use inspect::retry::{RetryWatch, Watched};
use inspect::{ClientHello, HelloReader, Outcome};

pub(crate) fn run(input: (u8, &[u8])) {
    let (size, bytes) = input;
    let size = usize::from(size).max(1);
    let whole = HelloReader::new().push(bytes);
    let mut reader = HelloReader::new();
    let split = bytes.chunks(size).fold(Outcome::NeedMore, |_, part| reader.push(part));
    assert_eq!(whole, split);
    if let Outcome::Hello(ClientHello { sni: Some(name), .. }) = &whole {
        let lower = bytes.to_ascii_lowercase();
        // In small records a name may be cut by a header.
        let in_one = bytes.len() > 5 && usize::from(bytes[3]) << 8 | usize::from(bytes[4]) > 300;
        assert!(!in_one || lower.windows(name.as_str().len()).any(|part| part == name.as_str().as_bytes()));
    }
    for early_data in [false, true] {
        let first = ClientHello { early_data, ..ClientHello::default() };
        let (mut one, mut other) = (RetryWatch::behind(&first), RetryWatch::behind(&first));
        let whole = one.push(bytes);
        let split = bytes.chunks(size).fold(Watched::Watching, |_, part| other.push(part));
        assert_eq!(whole, split);
        assert_eq!(one.holding(), other.holding());
        assert!(one.holding() <= bytes.len());
    }
}
