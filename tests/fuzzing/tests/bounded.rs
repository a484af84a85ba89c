//! Every target takes bytes that were made up: those of its corpus, changed a little and put together, and noise. The bytes are the
//! same in every run, so that what fails here fails again; libFuzzer finds more (`fuzz/README.md`).

#![expect(clippy::expect_used, reason = "helpers of tests; a panic is the failure report")]

use fuzzing::{TARGETS, Target};
use std::fs;
use std::panic::catch_unwind;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// How many inputs each target takes.
const INPUTS: u64 = 400;
/// Longest of them.
const LONGEST: usize = 2048;

/// Words that mean something to one reader or another.
const WORDS: [&[u8]; 24] = [
    b"\r\n\r\n",
    b"HTTP/1.1",
    b"Content-Length: 5",
    b"Transfer-Encoding: chunked",
    b"data: ",
    b"{\"",
    b"\":",
    b"[[",
    b"null",
    b"\\u0000",
    b"\xff\xff\xff\xff",
    b"\0\0\0\0",
    b"apiVersion: v1\nkind: ",
    b"\n---\n",
    b"metadata: {name: a}",
    b"' or 1=1 --",
    b"<script>",
    b"%00",
    b"../",
    b"\x16\x03\x01",
    b"PK\x03\x04",
    b"\x1f\x8b\x08",
    b"eyJ",
    b"-1e999",
];

/// Numbers that look random and are the same each time (SplitMix64).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Below `end`; 0 where that is 0.
    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % (end.max(1) as u64)).expect("below a usize")
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.next() & 0xff).expect("a byte")
    }
}

/// What is known to mean something to this target.
fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    // What libFuzzer finds on this machine has no extension, and is not the same elsewhere.
    paths.retain(|path| path.extension().is_some());
    paths.sort();
    paths.iter().map(|path| fs::read(path).expect("a file of the corpus")).collect()
}

/// The next input: one of the corpus or noise, changed in one to eight places.
fn input(numbers: &mut Numbers, corpus: &[Vec<u8>]) -> Vec<u8> {
    let known = corpus.get(numbers.below(corpus.len() + 1)).cloned();
    let mut bytes = known.unwrap_or_else(|| {
        let length = numbers.below(256);
        (0..length).map(|_| numbers.byte()).collect()
    });
    for _ in 0..=numbers.below(8) {
        let at = numbers.below(bytes.len() + 1);
        let end = (at + numbers.below(16)).min(bytes.len());
        match numbers.below(5) {
            0 => drop(bytes.splice(
                at..end,
                WORDS.get(numbers.below(WORDS.len())).copied().unwrap_or_default().iter().copied(),
            )),
            1 => drop(bytes.drain(at..end)),
            2 => bytes.insert(at, numbers.byte()),
            3 => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << numbers.below(8);
                }
            }
            _ => {
                let again: Vec<u8> = bytes.get(at..end).unwrap_or_default().to_vec();
                bytes.splice(at..at, again);
            }
        }
    }
    bytes.truncate(LONGEST);
    bytes
}

/// What became of a target: the input with which something did not hold.
fn fails(target: Target) -> Option<String> {
    let (corpus, mut numbers) = (corpus(target.name), Numbers(0xc0ff_e2da));
    // What is known must hold as it is.
    let made = (0..INPUTS).map(|_| input(&mut numbers, &corpus));
    for bytes in corpus.iter().cloned().chain(made) {
        if catch_unwind(|| (target.run)(&bytes)).is_err() {
            return Some(format!("{}: {}", target.name, bytes.escape_ascii()));
        }
    }
    None
}

#[test]
fn no_target_finds_anything_in_a_short_run() {
    let next = AtomicUsize::new(0);
    let work = || {
        let take = || TARGETS.get(next.fetch_add(1, Ordering::Relaxed)).copied();
        std::iter::from_fn(take).filter_map(fails).collect::<Vec<_>>()
    };
    let found: Vec<String> = thread::scope(|scope| {
        let workers: Vec<_> = (0..2).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("a worker")).collect()
    });
    assert!(found.is_empty(), "{found:#?}");
}

/// Cargo does not see whether libFuzzer is given every target.
#[test]
fn every_target_has_its_binary_and_its_row() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz");
    let manifest = fs::read_to_string(folder.join("Cargo.toml")).expect("a manifest");
    let readme = fs::read_to_string(folder.join("README.md")).expect("a page");
    for Target { name, .. } in TARGETS {
        let binary = fs::read_to_string(folder.join(format!("fuzz_targets/{name}.rs"))).unwrap_or_default();
        assert!(binary.contains(&format!("run(\"{name}\"")), "fuzz_targets/{name}.rs runs {name}");
        assert!(manifest.contains(&format!("name = \"{name}\"")), "fuzz/Cargo.toml has {name}");
        assert!(readme.contains(&format!("| `{name}` |")), "fuzz/README.md has {name}");
    }
}
