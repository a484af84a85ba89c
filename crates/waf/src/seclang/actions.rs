//! The list of actions of a rule: names, and values with their quotes taken off.

/// One action as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) name: String,
    pub(crate) value: Option<Vec<u8>>,
}

/// Reads `name`, `name:value` and `name:'value, with commas'`, separated by commas.
///
/// # Errors
/// Says what is wrong when a quote is not closed or a name is missing.
pub(crate) fn parse(text: &[u8]) -> Result<Vec<Written>, String> {
    let mut actions = Vec::new();
    let mut rest = text.trim_ascii();
    while !rest.is_empty() {
        let end = rest.iter().position(|byte| matches!(byte, b':' | b',')).unwrap_or(rest.len());
        let (name, after) = rest.split_at_checked(end).unwrap_or((rest, &[]));
        let name = String::from_utf8_lossy(name.trim_ascii()).into_owned();
        if name.is_empty() {
            return Err("an action without a name; take the extra comma away".to_owned());
        }
        let (value, after) = match after.strip_prefix(b":") {
            None => (None, after),
            Some(value) => {
                let (value, after) =
                    value_of(value).ok_or_else(|| format!("the quote of action {name} is not closed"))?;
                (Some(value), after)
            }
        };
        actions.push(Written { name, value });
        let after = after.trim_ascii_start();
        rest = match after.strip_prefix(b",") {
            Some(more) => more.trim_ascii_start(),
            None if after.is_empty() => after,
            None => return Err("actions are not separated by a comma".to_owned()),
        };
    }
    Ok(actions)
}

fn value_of(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let text = text.trim_ascii_start();
    let Some(inner) = text.strip_prefix(b"'") else {
        let end = text.iter().position(|byte| *byte == b',').unwrap_or(text.len());
        let (value, after) = text.split_at_checked(end)?;
        return Some((value.trim_ascii_end().to_vec(), after));
    };
    let mut value = Vec::new();
    let mut bytes = inner.iter().copied().enumerate();
    while let Some((index, byte)) = bytes.next() {
        match byte {
            b'\'' => return Some((value, inner.get(index + 1..)?)),
            b'\\' => {
                let (_, next) = bytes.next()?;
                if next != b'\'' {
                    value.push(b'\\');
                }
                value.push(next);
            }
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_may_be_quoted_and_hold_commas() {
        let list =
            parse(b"id:1, phase:2,\\tblock,msg:'a, \\'b\\'',setvar:'tx.a=+%{tx.b}'").map(|list| list.len());
        assert_eq!(list, Ok(5));
        let list = parse(b"msg:'a, \\'b\\'',chain").unwrap();
        assert_eq!(list[0].value.as_deref(), Some(&b"a, 'b'"[..]));
        assert_eq!(list[1], Written { name: "chain".to_owned(), value: None });
    }

    #[test]
    fn what_is_not_a_list_of_actions_is_said() {
        for bad in [&b"msg:'a"[..], b"id:1,,block", b"msg:'a'b"] {
            assert!(parse(bad).is_err(), "{}", String::from_utf8_lossy(bad));
        }
    }
}
