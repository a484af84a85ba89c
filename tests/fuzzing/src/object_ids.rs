//! Any bytes as a request to a server of models that stores, and as its answer: what goes on has no id that was not swapped, and none
//! is swapped twice. Any text as a path: what is taken for an id is a segment.

use inspect::object_ids::{in_answer, in_request, way};
use inspect::task_ids::IdOf;

/// Behind what was swapped.
const MARK: char = '~';

pub(crate) fn run(bytes: &[u8]) {
    for makes in [true, false] {
        let mut mark = |_, id: &str| id.len().is_multiple_of(2).then(|| format!("{id}{MARK}"));
        if let Ok(Some(sent)) = in_request(bytes, makes, &mut mark) {
            let mut is_marked = |_, id: &str| {
                assert!(id.ends_with(MARK), "{id}");
                Some(id.to_owned())
            };
            let again = in_request(&sent, makes, &mut is_marked).expect("what was swapped can be read");
            assert_eq!(again, Some(sent));
        }
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let segments: Vec<String> = text.split('/').map(str::to_owned).collect();
    for method in ["GET", "POST", "DELETE"] {
        let Ok(way) = way(method, &segments) else { continue };
        assert!(way.ids.iter().all(|(at, _)| segments.get(*at).is_some_and(|segment| !segment.is_empty())));
    }
    let Some(shown) = in_answer(text, IdOf::Given, &mut |_, id| Some(format!("{id}{MARK}"))) else { return };
    let again = in_answer(&shown, IdOf::Given, &mut |_, id| {
        assert!(id.ends_with(MARK), "{id}");
        Some(id.to_owned())
    });
    assert_eq!(again, Some(shown));
}
