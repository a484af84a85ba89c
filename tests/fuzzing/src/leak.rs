//! Bytes as a body that leaks and as a file that is downloaded, whole and split: the same is found.

use inspect::leak::archive::{Danger, Watch};
use inspect::leak::{Leak, LeakOptions, LeakRules, Scanner};
use std::sync::{Arc, LazyLock};

static RULES: LazyLock<Arc<LeakRules>> = LazyLock::new(|| {
    let canaries = vec![b"canary-4711".to_vec()];
    let opaque_from = Some(4096);
    let options =
        LeakOptions { secrets: true, pii: true, canaries, files: true, opaque_from, salt: Vec::new() };
    Arc::new(LeakRules::new(&options).expect("rules that hold"))
});

fn leaks(body: &[u8], piece: usize) -> Vec<Leak> {
    let mut scanner = Scanner::new(Arc::clone(&RULES));
    body.chunks(piece).for_each(|bytes| scanner.push(bytes));
    scanner.end();
    scanner.leaks().to_vec()
}

fn dangers(name: &str, file: &[u8], piece: usize) -> Vec<Danger> {
    let mut watch = Watch::new(name);
    file.chunks(piece).for_each(|bytes| watch.push(bytes));
    watch.end();
    watch.dangers().into_iter().cloned().collect()
}

pub(crate) fn run(data: &[u8]) {
    let Some((choice, body)) = data.split_first() else { return };
    let piece = usize::from(*choice) + 1;
    assert_eq!(leaks(body, piece), leaks(body, usize::MAX));
    for name in ["", "model.pkl"] {
        assert_eq!(dangers(name, body, piece), dangers(name, body, usize::MAX));
    }
}
