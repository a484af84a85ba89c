//! Texts of rules with `%{variable}` in them.

use std::borrow::Cow;

use crate::variable::Variable;

/// Longest text that a template expands to; what is beyond is cut.
const MAX_EXPANDED: usize = 64 << 10;

/// A text whose variables are filled in when a rule runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(Box<[u8]>),
    Value(Variable, Option<Box<[u8]>>),
}

/// Where the values come from: appends the value of a variable under a key.
pub(crate) type Lookup<'a> = dyn Fn(Variable, Option<&[u8]>, &mut Vec<u8>) + 'a;

impl Template {
    /// Reads a text.
    ///
    /// # Errors
    /// Names a variable that is not known.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(start) = memchr::memmem::find(rest, b"%{") {
            let (before, behind) = rest.split_at_checked(start).unwrap_or((rest, &[]));
            let behind = behind.get(2..).unwrap_or_default();
            let Some(end) = behind.iter().position(|byte| *byte == b'}') else { break };
            let (name, behind) = behind.split_at_checked(end).unwrap_or((behind, &[]));
            if !before.is_empty() {
                parts.push(Part::Text(before.into()));
            }
            parts.push(value(name)?);
            rest = behind.get(1..).unwrap_or_default();
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.into()));
        }
        Ok(Self(parts))
    }

    /// The text, when nothing has to be filled in.
    pub(crate) fn constant(&self) -> Option<&[u8]> {
        match self.0.as_slice() {
            [] => Some(&[]),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// The text with its variables filled in.
    pub(crate) fn expand(&self, lookup: &Lookup<'_>) -> Cow<'_, [u8]> {
        if let Some(text) = self.constant() {
            return Cow::Borrowed(text);
        }
        let mut out = Vec::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => out.extend_from_slice(text),
                Part::Value(variable, key) => lookup(*variable, key.as_deref(), &mut out),
            }
            out.truncate(MAX_EXPANDED);
        }
        Cow::Owned(out)
    }
}

fn value(name: &[u8]) -> Result<Part, String> {
    let text = String::from_utf8_lossy(name);
    let (variable, key) = match text.split_once(['.', ':']) {
        Some((variable, key)) => (variable, Some(key.as_bytes().into())),
        None => (text.as_ref(), None),
    };
    match Variable::parse(variable.trim()) {
        Some(variable) => Ok(Part::Value(variable, key)),
        None => Err(format!("%{{{text}}} names a variable that is not known here")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_filled_in() {
        let template = Template::parse(b"a %{TX.0} b%{matched_var}%").unwrap();
        let lookup = |variable: Variable, key: Option<&[u8]>, out: &mut Vec<u8>| {
            out.extend_from_slice(variable.name().as_bytes());
            out.extend_from_slice(key.unwrap_or_default());
        };
        assert_eq!(template.expand(&lookup).as_ref(), b"a TX0 bMATCHED_VAR%");
        assert!(Template::parse(b"%{nope.x}").is_err());
        assert_eq!(Template::parse(b"50%{").unwrap().constant(), Some(&b"50%{"[..]));
    }
}
