//! Any text as a message of an MCP server: of what is left, every tool was looked at and may be seen, and nothing is left out twice.

use inspect::tool_list::keep;

pub(crate) fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let is_seen = |name: &str| name.len().is_multiple_of(2);
    let Some(kept) = keep(text, &mut |tool| is_seen(tool.name)) else { return };
    let mut names = Vec::new();
    let again = keep(&kept, &mut |tool| {
        names.push(tool.name.to_owned());
        true
    });
    assert_eq!(again.as_deref(), Some(&*kept));
    assert!(names.iter().all(|name| is_seen(name)), "{names:?}");
}
