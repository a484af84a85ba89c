//! The detail of an entry: JSON that is looked at, and believed only as far as it has the shape that is looked for.

use serde_json::Value;

/// A record as JSON; empty where there is none, or it cannot be read.
#[derive(Debug, Default)]
pub struct Detail(Value);

impl Detail {
    /// What an entry has.
    #[must_use]
    pub fn of(text: Option<&str>) -> Self {
        Self(text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default())
    }

    /// Whether there is one.
    #[must_use]
    pub fn is_there(&self) -> bool {
        self.0.is_object()
    }

    /// What is at a path of field names.
    #[must_use]
    pub fn at(&self, path: &[&str]) -> &Value {
        path.iter().fold(&self.0, |value, name| value.get(name).unwrap_or(&Value::Null))
    }

    /// A text that is not empty.
    #[must_use]
    pub fn text(&self, path: &[&str]) -> Option<&str> {
        self.at(path).as_str().filter(|text| !text.is_empty())
    }

    /// A number that is not negative.
    #[must_use]
    pub fn number(&self, path: &[&str]) -> Option<u64> {
        self.at(path).as_u64()
    }

    /// Texts of a list; what is no text is left out.
    #[must_use]
    pub fn texts(&self, path: &[&str]) -> Vec<&str> {
        self.at(path).as_array().into_iter().flatten().filter_map(Value::as_str).collect()
    }

    /// A list.
    #[must_use]
    pub fn list(&self, path: &[&str]) -> &[Value] {
        self.at(path).as_array().map(Vec::as_slice).unwrap_or_default()
    }
}

impl From<Value> for Detail {
    fn from(value: Value) -> Self {
        Self(value)
    }
}
