//! Any bytes as what a store of shared budgets answers: as many grants as were asked for, or none; of a line no more than a kilobyte.

use futures_util::FutureExt;
use purse::reply::{grants, line};

pub(crate) fn run(bytes: &[u8]) {
    let mut lines = bytes;
    while let Ok(line) = line(&mut lines).now_or_never().expect("nothing is waited for") {
        // What is no UTF-8 is written with three bytes for one.
        assert!(line.len() <= 3 * 1024);
    }
    for counts in [0, 1, 2, 7] {
        let mut rest = bytes;
        let Ok(granted) = grants(&mut rest, counts).now_or_never().expect("nothing is waited for") else {
            continue;
        };
        assert_eq!(granted.len(), counts);
        let read = bytes.len() - rest.len();
        assert!(read >= 4 + 8 * counts, "{read} bytes for {counts} counts");
    }
}
