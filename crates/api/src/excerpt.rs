//! The lines of a manifest around what decided.

use crate::shape::live::Line;

/// Lines before and after what decided.
const AROUND: usize = 3;
/// Lines that decide, at most.
const DECIDE: usize = 60;
/// Characters of a line.
const CHARACTERS: usize = 500;

/// The lines around a place, in order. What decides is the line and all that is written deeper behind it: a block of YAML. A line
/// that is not indented is where an object begins: then all of it decides.
pub fn excerpt(text: &str, line: u32) -> Vec<Line> {
    let at = usize::try_from(line).unwrap_or(usize::MAX).saturating_sub(1);
    let lines: Vec<&str> = text.lines().take(at.saturating_add(DECIDE + AROUND)).collect();
    let Some(first) = lines.get(at) else { return Vec::new() };
    let depth = indent(first);
    let is_inside = |line: &str| match depth {
        0 => !line.starts_with("---"),
        _ => is_blank(line) || indent(line) > depth,
    };
    let block: Vec<_> =
        lines.iter().skip(at + 1).take(DECIDE - 1).take_while(|line| is_inside(line)).collect();
    let blank = block.iter().rev().take_while(|line| is_blank(line)).count();
    let end = at + 1 + block.len() - blank;
    let shown = lines.iter().enumerate().take(end + AROUND).skip(at.saturating_sub(AROUND));
    shown
        .map(|(place, text)| Line {
            number: u32::try_from(place + 1).unwrap_or(u32::MAX),
            text: text.chars().take(CHARACTERS).collect(),
            decides: (at..end).contains(&place),
        })
        .collect()
}

/// Where the text of a line begins. The dash of a list is where its element is.
fn indent(line: &str) -> usize {
    line.len() - line.trim_start_matches(' ').len()
}

fn is_blank(line: &str) -> bool {
    let text = line.trim_start();
    text.is_empty() || text.starts_with('#')
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "spec:\n  egress:\n  - name: a\n    to:\n    - x\n\n    ports: [1]\n\n  - name: b\n    to: []\n  ingress: []\n";

    fn deciding(line: u32) -> Vec<u32> {
        excerpt(TEXT, line).iter().filter(|it| it.decides).map(|it| it.number).collect()
    }

    #[test]
    fn a_rule_decides_with_all_that_is_in_it() {
        assert_eq!(deciding(3), [3, 4, 5, 6, 7]);
        assert_eq!(deciding(9), [9, 10]);
        assert_eq!(deciding(11), [11]);
        assert_eq!(deciding(1), (1..=11).collect::<Vec<_>>());
        let numbers: Vec<_> = excerpt(TEXT, 9).iter().map(|it| it.number).collect();
        assert_eq!(numbers, (6..=11).collect::<Vec<_>>());
    }

    #[test]
    fn where_an_object_begins_all_of_it_decides_and_nothing_of_the_next() {
        let text = "# first\napiVersion: v1\nkind: A\nspec:\n  x: 1\n\n---\nkind: B\n";
        let decides =
            |line| excerpt(text, line).iter().filter(|it| it.decides).map(|it| it.number).collect::<Vec<_>>();
        assert_eq!((decides(2), decides(8)), (vec![2, 3, 4, 5], vec![8]));
    }

    #[test]
    fn what_is_not_there_or_too_long_is_left_out() {
        assert_eq!(excerpt(TEXT, 0).first().map(|it| it.number), Some(1));
        assert!(
            excerpt(TEXT, 12).is_empty() && excerpt(TEXT, u32::MAX).is_empty() && excerpt("", 1).is_empty()
        );
        let long = format!("a:\n{}", "  b: c\n".repeat(10_000));
        assert_eq!(excerpt(&long, 1).len(), DECIDE + AROUND);
        assert_eq!(excerpt(&"x".repeat(10_000), 1)[0].text.len(), CHARACTERS);
    }
}
