//! The first word of a rule: which variables it looks at, which it leaves out, which it counts.

use regex_automata::meta::Regex;

use crate::pattern;
use crate::variable::{Shape, Variable};

/// One variable of a rule's targets.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) variable: Variable,
    pub(crate) select: Select,
    pub(crate) mode: Mode,
}

/// Which values of a variable are meant.
#[derive(Debug, Clone)]
pub(crate) enum Select {
    /// All of them.
    All,
    /// Those under this key; letters of either case are the same.
    Key(Box<[u8]>),
    /// Those whose key matches.
    Pattern(Regex),
}

/// What is done with the values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// The operator sees each.
    Inspect,
    /// The operator sees how many there are.
    Count,
    /// The rule does not look at them.
    Exclude,
}

impl Select {
    /// Whether values under `key` are meant.
    pub(crate) fn has(&self, key: &[u8]) -> bool {
        match self {
            Self::All => true,
            Self::Key(wanted) => wanted.eq_ignore_ascii_case(key),
            Self::Pattern(pattern) => pattern.is_match(key),
        }
    }
}

/// Reads `ARGS|!ARGS:foo|&TX:bar|REQUEST_COOKIES:/^x/`.
///
/// # Errors
/// Says which part is not a variable that this engine has.
pub(crate) fn parse(text: &[u8]) -> Result<Vec<Target>, String> {
    let text = std::str::from_utf8(text).map_err(|_| "targets are not UTF-8".to_owned())?;
    let parts = split(text);
    if parts.is_empty() {
        return Err("a rule without targets".to_owned());
    }
    parts.into_iter().map(one).collect()
}

/// Splits at `|` (and at `,`, which old rules use), but not within a pattern or quotes.
fn split(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut start = 0;
    let mut inside: Option<char> = None;
    let mut before = ' ';
    for (index, c) in text.char_indices() {
        match inside {
            Some(end) if c == end && before != '\\' => {
                // A slash ends a pattern only before the next target.
                let after = text.get(index + 1..).unwrap_or_default();
                if end == '\'' || after.is_empty() || after.starts_with(['|', ',']) {
                    inside = None;
                }
            }
            Some(_) => {}
            None if c == '/' && before == ':' && text.get(start..index).is_some_and(is_xml) => {}
            None if matches!(c, '/' | '\'') && before == ':' => inside = Some(c),
            None if matches!(c, '|' | ',') => {
                parts.push(text.get(start..index).unwrap_or_default());
                start = index + 1;
            }
            None => {}
        }
        before = c;
    }
    parts.push(text.get(start..).unwrap_or_default());
    parts.into_iter().map(str::trim).filter(|part| !part.is_empty()).collect()
}

/// A path through XML begins by a slash and is no pattern.
fn is_xml(target: &str) -> bool {
    target.trim_start_matches(['!', '&', ' ']).eq_ignore_ascii_case("XML:")
}

fn one(part: &str) -> Result<Target, String> {
    let (mode, rest) = match part.split_at_checked(1) {
        Some(("!", rest)) => (Mode::Exclude, rest),
        Some(("&", rest)) => (Mode::Count, rest),
        _ => (Mode::Inspect, part),
    };
    // Old rules write `TX.score` too.
    let (name, key) = match rest.split_once(':').or_else(|| rest.split_once('.')) {
        Some((name, key)) => (name, Some(key.trim_matches('\''))),
        None => (rest, None),
    };
    let variable = Variable::parse(name).ok_or_else(|| {
        format!("variable {name} is not known here; see docs/reference/waf.md for those that are")
    })?;
    let select = match key {
        None => Select::All,
        Some(path) if variable == Variable::Xml => xml_path(path)?,
        Some(_) if variable.shape() == Shape::Single => {
            return Err(format!("variable {name} has one value and no keys; write {name} alone"));
        }
        Some(key) => match key.strip_prefix('/').and_then(|key| key.strip_suffix('/')) {
            Some(text) => Select::Pattern(pattern::compile(text.as_bytes(), true)?.regex),
            None => Select::Key(key.as_bytes().into()),
        },
    };
    Ok(Target { variable, select, mode })
}

/// The two paths through XML that the engine keeps values under.
fn xml_path(path: &str) -> Result<Select, String> {
    match path {
        "/*" | "//@*" => Ok(Select::Key(path.as_bytes().into())),
        other => Err(format!("XML:{other} is not supported; /* (all text) and //@* (all attributes) are")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_split_outside_of_patterns() {
        let found =
            parse(br"ARGS|!ARGS:foo|&TX:bar|REQUEST_COOKIES:/^a|b\/c/|XML:/*|XML://@*|ARGS:'/x|y/'").unwrap();
        let seen: Vec<_> = found.iter().map(|target| (target.variable.name(), target.mode)).collect();
        assert!(parse(b"TX.score").unwrap()[0].select.has(b"SCORE"));
        assert_eq!(seen.len(), 7);
        assert_eq!(seen[1], ("ARGS", Mode::Exclude));
        assert_eq!(seen[2], ("TX", Mode::Count));
        assert!(found[3].select.has(b"b/c") && found[6].select.has(b"Y"));
    }

    #[test]
    fn unknown_targets_are_said() {
        for bad in ["NOPE", "REQUEST_METHOD:x", "XML:/a/b", ""] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
