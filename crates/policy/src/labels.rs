//! Labels and label selectors, as Kubernetes defines them
//! (<https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/>).

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// The labels of one object. Shared, because many pods carry the same set.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Labels(pub Arc<BTreeMap<Arc<str>, Arc<str>>>);

impl Labels {
    /// The value of `key`, if the object carries it.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(AsRef::as_ref)
    }

    /// Key-value pairs in key order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_ref(), value.as_ref()))
    }
}

impl<K: AsRef<str>, V: AsRef<str>> FromIterator<(K, V)> for Labels {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        Self(Arc::new(pairs.into_iter().map(|(k, v)| (k.as_ref().into(), v.as_ref().into())).collect()))
    }
}

/// One condition of a selector. `matchLabels` entries are `In` with one value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Requirement {
    /// The key is present and its value is one of these.
    In(Arc<str>, Vec<Arc<str>>),
    /// The key is absent, or its value is none of these.
    NotIn(Arc<str>, Vec<Arc<str>>),
    /// The key is present.
    Exists(Arc<str>),
    /// The key is absent.
    DoesNotExist(Arc<str>),
}

impl Requirement {
    /// Whether `labels` meet this condition.
    pub fn matches(&self, labels: &Labels) -> bool {
        match self {
            Self::In(key, values) => labels.get(key).is_some_and(|v| values.iter().any(|x| x.as_ref() == v)),
            Self::NotIn(key, values) => {
                labels.get(key).is_none_or(|v| values.iter().all(|x| x.as_ref() != v))
            }
            Self::Exists(key) => labels.get(key).is_some(),
            Self::DoesNotExist(key) => labels.get(key).is_none(),
        }
    }
}

/// A label selector: all requirements must hold. No requirement selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Selector(pub Arc<[Requirement]>);

impl Selector {
    /// The selector `{}`.
    pub fn everything() -> Self {
        Self::default()
    }

    /// Whether `labels` meet every requirement.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.0.iter().all(|requirement| requirement.matches(labels))
    }

    /// Whether this is `{}`.
    pub fn is_everything(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<Requirement> for Selector {
    /// Requirements are sorted, so that equal selectors compare equal however they were written.
    fn from_iter<I: IntoIterator<Item = Requirement>>(requirements: I) -> Self {
        let mut all: Vec<_> = requirements.into_iter().collect();
        all.sort();
        all.dedup();
        Self(all.into())
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_everything() {
            return f.write_str("*");
        }
        for (i, requirement) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            match requirement {
                Requirement::In(key, values) if values.len() == 1 => write!(f, "{key}={}", values.concat())?,
                Requirement::In(key, values) => write!(f, "{key} in ({})", values.join(","))?,
                Requirement::NotIn(key, values) => write!(f, "{key} notin ({})", values.join(","))?,
                Requirement::Exists(key) => write!(f, "{key}")?,
                Requirement::DoesNotExist(key) => write!(f, "!{key}")?,
            }
        }
        Ok(())
    }
}
