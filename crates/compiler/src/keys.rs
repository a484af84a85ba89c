//! The keys that rules have put into requests.
//!
//! Enters: labelled Secrets, and the rules. Leaves: the keys that rules name, and a diagnostic for each rule whose key is not
//! there: its requests are refused where they are judged. Guarantees: no key is in a diagnostic. Does not: change policy.

use crate::convert::{Context, object_name, position};
use crds::{Code, Diagnostic, KeySecret};
use policy::{Inject, Key, RuleEntry, SecretRef};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// What stands in for a key that cannot be used: why, and what to do.
type Lack = (String, &'static str);

pub(crate) fn keys(
    context: &mut Context,
    secrets: &[&KeySecret],
    entries: &[RuleEntry],
) -> BTreeMap<SecretRef, Key> {
    let mut by_name: HashMap<(&str, &str), Vec<&KeySecret>> = HashMap::new();
    for secret in secrets {
        by_name.entry((&secret.meta.namespace, &secret.meta.name)).or_default().push(secret);
    }
    let (mut keys, mut told) = (BTreeMap::new(), BTreeSet::new());
    for entry in entries {
        let Some(inject) = entry.requests.as_ref().and_then(|requests| requests.inject.as_ref()) else {
            continue;
        };
        let secret = &inject.secret;
        let named = by_name.get(&(&*secret.namespace, &*secret.name)).map(Vec::as_slice);
        match key(named.unwrap_or_default(), secret) {
            Ok(key) => {
                keys.insert(secret.clone(), key);
            }
            // A rule that names a provider is several.
            Err(lack) if told.insert((entry.object.clone(), entry.index)) => {
                context.report(diagnostic(entry, lack));
            }
            Err(_) => {}
        }
    }
    keys
}

fn key(named: &[&KeySecret], secret: &SecretRef) -> Result<Key, Lack> {
    let SecretRef { namespace, name, key } = secret;
    let [first, others @ ..] = named else {
        let why = format!(
            "there is no Secret {namespace}/{name} with the label {}: \"{}\"",
            Inject::LABEL,
            Inject::LABEL_VALUE
        );
        return Err((why, "make the Secret, or add the label to the one that is there"));
    };
    if others.iter().any(|other| other.data != first.data) {
        let why = format!("there are several Secrets {namespace}/{name}, which differ");
        return Err((why, "remove all but one"));
    }
    let Some(bytes) = first.data.get(key) else {
        return Err((
            format!("the Secret {namespace}/{name} has no {key}"),
            "add it to the data of the Secret",
        ));
    };
    Key::read(&bytes.0).map_err(|flaw| {
        let why = format!("{key} of the Secret {namespace}/{name} is no key that can be sent: {flaw}");
        (why, "write the key alone, as its provider gave it")
    })
}

fn diagnostic(entry: &RuleEntry, (why, way_out): Lack) -> Diagnostic {
    let message = format!("{why}; requests that this rule would allow are refused");
    let mut diagnostic = Diagnostic::warning(Code::MissingReference, message).suggest(way_out);
    let rule = entry.field.split(".to[").next().unwrap_or_default();
    diagnostic = diagnostic.field(format!("{rule}.credentials"));
    if let Some(object) = &entry.object {
        diagnostic = diagnostic.of(object_name(object));
    }
    match &entry.source {
        Some(source) => diagnostic.at(position(source)),
        None => diagnostic,
    }
}
