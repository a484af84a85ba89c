//! Any bytes as a request to an agent or a server of tools, and as its answer: what goes on has no id that was not swapped, and none is swapped twice.

use inspect::task_ids::{Protocol, in_answer, in_request};

/// Behind what was swapped.
const MARK: char = '~';

pub(crate) fn run(bytes: &[u8]) {
    for protocol in [Protocol::Agents, Protocol::Tools] {
        let mut mark = |_, id: &str| id.len().is_multiple_of(2).then(|| format!("{id}{MARK}"));
        if let Ok(Some(sent)) = in_request(bytes, protocol, &mut mark) {
            let mut is_marked = |_, id: &str| {
                assert!(id.ends_with(MARK), "{id}");
                Some(id.to_owned())
            };
            let again = in_request(&sent, protocol, &mut is_marked).expect("what was swapped can be read");
            assert_eq!(again, Some(sent));
        }
        let Ok(text) = std::str::from_utf8(bytes) else { continue };
        let Some(shown) = in_answer(text, protocol, &mut |_, id| Some(format!("{id}{MARK}"))) else {
            continue;
        };
        let again = in_answer(&shown, protocol, &mut |_, id| {
            assert!(id.ends_with(MARK), "{id}");
            Some(id.to_owned())
        });
        assert_eq!(again, Some(shown));
    }
}
