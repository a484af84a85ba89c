//! Rows of tables on a terminal that is narrower than they are.
//!
//! Enters: cells and the widths of their columns. Leaves: the text of one row. Guarantees: where there is no terminal, a row is one line;
//! where there is one, what the last column says is broken between words and stands apart from the columns. Does not: break a word, or a
//! row whose other columns alone are wider than the terminal.

use std::io::IsTerminal;

/// How far the last column is set in where it stands below the others.
const INDENT: usize = 4;
/// Least width in which the last column stands beside the others.
const BESIDE: usize = 40;

/// Width of the terminal that is written to, if one is.
pub(crate) fn width() -> Option<usize> {
    let out = std::io::stdout();
    let (terminal_size::Width(width), _) =
        terminal_size::terminal_size_of(&out).filter(|_| out.is_terminal())?;
    (width > 0).then_some(usize::from(width))
}

/// The text of a row, without the end of its last line.
pub(crate) fn row(cells: &[String], widths: &[usize], room: Option<usize>) -> String {
    let Some((last, columns)) = cells.split_last() else { return String::new() };
    let mut text = String::new();
    for (cell, width) in columns.iter().zip(widths) {
        text.push_str(cell);
        text.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.chars().count()) + 2));
    }
    let before = text.chars().count();
    let Some(room) = room.filter(|room| before + last.chars().count() > *room && !columns.is_empty()) else {
        text.push_str(last);
        return text;
    };
    let is_beside = room >= before + BESIDE;
    let indent = if is_beside { before } else { INDENT };
    let lines = broken(last, room.saturating_sub(indent));
    if is_beside {
        text.push_str(lines.first().map(String::as_str).unwrap_or_default());
    } else {
        text.truncate(text.trim_end().len());
    }
    for line in lines.iter().skip(usize::from(is_beside)) {
        text.push('\n');
        text.extend(std::iter::repeat_n(' ', indent));
        text.push_str(line);
    }
    text
}

/// Words in lines that have room for them.
fn broken(text: &str, room: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        let length = word.chars().count();
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + length <= room => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(cells: &[&str], room: Option<usize>) -> String {
        let cells: Vec<String> = cells.iter().map(ToString::to_string).collect();
        row(&cells, &[6, 4, 0], room)
    }

    const WHY: &str = "NetworkPolicy train/default-deny spec.policyTypes (policies/train.yaml:2): isolated";

    #[test]
    fn what_is_read_by_programs_or_fits_is_one_line() {
        let line = format!("a       bb    {WHY}");
        assert_eq!(shown(&["a", "bb", WHY], None), line);
        assert_eq!(shown(&["a", "bb", WHY], Some(line.len())), line);
        assert_eq!((shown(&["a"], Some(1)).as_str(), shown(&[], Some(1)).as_str()), ("a", ""));
    }

    #[test]
    fn what_the_last_column_says_is_broken_between_words_beside_the_others_or_below_them() {
        assert_eq!(
            shown(&["a", "bb", WHY], Some(70)),
            "a       bb    NetworkPolicy train/default-deny spec.policyTypes\n\
             \x20             (policies/train.yaml:2): isolated"
        );
        assert_eq!(
            shown(&["a", "bb", WHY], Some(50)),
            "a       bb\n    NetworkPolicy train/default-deny\n    spec.policyTypes (policies/train.yaml:2):\n    isolated"
        );
        for line in shown(&["a", "bb", WHY], Some(60)).lines() {
            assert!(line.chars().count() <= 60, "{line}");
        }
        assert_eq!(
            shown(&["a", "bb", &"x".repeat(90)], Some(60)),
            format!("a       bb    {}", "x".repeat(90))
        );
    }
}
