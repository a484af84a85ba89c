//! DetectionPolicies -> what holds for detectors.
//!
//! Guarantees: a policy that could not be read says nothing here, so that it suppresses nothing; its error was reported where
//! it was read. Does not: know detectors.

use crate::convert::{self, Context};
use crate::world::Sorted;
use crds::{Code, Diagnostic, ObjectName};
use policy::detection::{MOST_OF_NAMESPACE, Suppression, Tuned, Tuning};
use policy::{Glob, ObjectRef};

/// What holds, by namespace and name of the policy.
pub(crate) fn tunings(context: &mut Context, sorted: &Sorted<'_>) -> Vec<Tuning> {
    let mut policies: Vec<_> = sorted.detection.iter().filter(|policy| !policy.broken).collect();
    policies.sort_by_key(|policy| (&policy.meta.namespace, &policy.meta.name));
    let mut tunings = Vec::new();
    for of_namespace in policies.chunk_by(|one, other| one.meta.namespace == other.meta.namespace) {
        for (number, policy) in of_namespace.iter().enumerate() {
            if number < MOST_OF_NAMESPACE {
                tunings.push(tuning(context, policy));
            } else {
                context.report(too_many(policy));
            }
        }
    }
    tunings
}

fn too_many(policy: &crds::DetectionPolicy) -> Diagnostic {
    let name = ObjectName {
        kind: "DetectionPolicy".into(),
        namespace: policy.meta.namespace.clone(),
        name: policy.meta.name.clone(),
    };
    let message =
        format!("its namespace has more than {MOST_OF_NAMESPACE} DetectionPolicies: it is not applied");
    let diagnostic = Diagnostic::error(Code::LimitExceeded, message);
    diagnostic.suggest("one policy may speak of many detectors").of(name).at(policy.position.clone())
}

fn tuning(context: &mut Context, policy: &crds::DetectionPolicy) -> Tuning {
    let object = ObjectRef {
        kind: "DetectionPolicy".into(),
        namespace: policy.meta.namespace.clone(),
        name: policy.meta.name.clone(),
    };
    let detectors = policy.detectors.iter().enumerate().map(|(at, detector)| {
        let place = |field: String, position: &crds::Position| match convert::source(position) {
            Some(source) => format!("{object} {field} ({source})"),
            None => format!("{object} {field}"),
        };
        let field = format!("spec.detectors[{at}]");
        let tuning = &detector.value;
        let everything = tuning.disabled.iter().map(|reason| Suppression {
            subject: Glob::new("**"),
            place: place(field.clone(), &detector.position).into(),
            reason: reason.clone(),
            until: None,
        });
        let some = tuning.suppress.iter().enumerate().map(|(number, it)| Suppression {
            subject: Glob::new(&it.value.subject),
            place: place(format!("{field}.suppress[{number}]"), &it.position).into(),
            reason: it.value.reason.clone(),
            until: it.value.until,
        });
        Tuned {
            detector: tuning.name.clone(),
            threshold_percent: tuning.threshold_percent,
            suppress: everything.chain(some).collect(),
        }
    });
    Tuning {
        namespace: policy.meta.namespace.clone(),
        pods: context.selector(&policy.pods),
        detectors: detectors.collect(),
    }
}
