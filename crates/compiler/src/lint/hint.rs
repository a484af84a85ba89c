//! What may have been meant by a selector that matches nothing.
//!
//! Enters: a selector and the labels it was compared with. Leaves: one sentence, if something is near.

use super::crowd::{Crowd, Group};
use policy::{Labels, NamespaceScope, Requirement, Selector};
use std::collections::BTreeSet;

/// How many label sets are looked at for a hint.
const LABEL_SETS: usize = 200;

/// A hint for a pod selector within a namespace scope.
pub(super) fn for_pods(crowd: &Crowd<'_>, scope: &NamespaceScope, selector: &Selector) -> Option<String> {
    let near: Vec<&Labels> = match scope {
        NamespaceScope::Own(name) => groups(crowd, crowd.range(name)).map(|group| group.labels).collect(),
        NamespaceScope::Matching(_) | NamespaceScope::Elsewhere(_) => crowd
            .matching(scope, &Selector::everything())
            .filter_map(|id| crowd.group(id))
            .take(LABEL_SETS)
            .map(|g| g.labels)
            .collect(),
    };
    let on_pods = "no pod there has it";
    if let Some(hint) = nearest(selector, &near, on_pods) {
        return Some(hint);
    }
    if near.iter().any(|labels| selector.matches(labels)) || selector.is_everything() {
        return None;
    }
    let namespaces = crowd.namespace_labels().take(LABEL_SETS).any(|labels| selector.matches(labels));
    namespaces.then(|| format!("{selector} are labels of a namespace: use namespaceSelector"))
}

/// A hint for a namespace selector.
pub(super) fn for_namespaces(crowd: &Crowd<'_>, selector: &Selector) -> Option<String> {
    let near: Vec<&Labels> = crowd.namespace_labels().take(LABEL_SETS).collect();
    if let Some(hint) = nearest(selector, &near, "no namespace has it") {
        return Some(hint);
    }
    // `name: x` is what people expect every namespace to carry.
    for requirement in &*selector.0 {
        if let Requirement::In(key, values) = requirement
            && let [value] = values.as_slice()
            && near.iter().any(|labels| labels.get("kubernetes.io/metadata.name") == Some(value.as_ref()))
        {
            return Some(format!(
                "namespace {value} does not carry {key}={value}; every namespace carries kubernetes.io/metadata.name={value}"
            ));
        }
    }
    let count = u32::try_from(crowd.groups.len()).unwrap_or(u32::MAX);
    let pods = groups(crowd, 0..count).any(|group| selector.matches(group.labels));
    pods.then(|| format!("{selector} are labels of pods: use podSelector"))
}

fn groups<'a, 'w>(crowd: &'a Crowd<'w>, ids: std::ops::Range<u32>) -> impl Iterator<Item = &'a Group<'w>> {
    ids.take(LABEL_SETS).filter_map(|id| crowd.group(id))
}

/// The first requirement that nothing meets, and what is nearest to it.
fn nearest(selector: &Selector, near: &[&Labels], nobody: &str) -> Option<String> {
    let unmet =
        selector.0.iter().find(|requirement| !near.iter().any(|labels| requirement.matches(labels)))?;
    let (key, value) = match unmet {
        Requirement::In(key, values) => (key.as_ref(), values.first().map(AsRef::as_ref)),
        Requirement::Exists(key) => (key.as_ref(), None),
        Requirement::NotIn(..) | Requirement::DoesNotExist(_) => return None,
    };
    let pairs: BTreeSet<(&str, &str)> = near.iter().flat_map(|labels| labels.iter()).collect();
    let values = pairs.iter().filter(|(k, _)| *k == key).map(|(_, v)| *v);
    if let Some(meant) = value.and_then(|value| closest(value, values)) {
        return Some(format!("{nobody}; did you mean {key}={meant}?"));
    }
    let keys: BTreeSet<&str> = pairs.iter().map(|(k, _)| *k).filter(|k| *k != key).collect();
    if let Some(meant) = closest(key, keys.into_iter()) {
        return Some(match value {
            Some(value) => format!("{nobody}; did you mean {meant}={value}?"),
            None => format!("{nobody}; did you mean {meant}?"),
        });
    }
    let elsewhere = value.and_then(|value| pairs.iter().find(|(_, v)| *v == value));
    elsewhere.map(|(k, v)| format!("{nobody}; did you mean {k}={v}?"))
}

/// The candidate at most a third of the letters away.
pub(super) fn closest<'a>(text: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let most = (text.len() / 3).clamp(1, 3);
    let near = candidates.filter(|it| *it != text && it.len().abs_diff(text.len()) <= most);
    let ranked = near.map(|it| (distance(text, it), it)).filter(|(distance, _)| *distance <= most);
    ranked.min().map(|(_, it)| it)
}

/// Edits between two texts (Levenshtein); labels are at most 63 characters a part.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        if let Some(cell) = row.first_mut() {
            *cell = left;
        }
        for (cell, y) in row.iter_mut().skip(1).zip(&b) {
            let above = *cell;
            left = (diagonal + usize::from(x != *y)).min(above + 1).min(left + 1);
            *cell = left;
            diagonal = above;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closest_candidate_is_within_a_third_of_the_letters() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(closest("fronted", ["backend", "frontend"].into_iter()), Some("frontend"));
        assert_eq!(closest("web", ["db", "cache"].into_iter()), None);
    }
}
