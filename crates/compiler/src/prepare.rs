//! Objects that are compiled again and again: what would be the same each time is done once.
//!
//! Enters: objects. Leaves: [`Prepared`] ones, which equal each other as the objects do. Guarantees: what equal objects
//! have in common is in memory once; what objects that are gone had is forgotten. Does not: look at two objects at once.

use crate::world::elsewhere::WrittenSlice;
use crate::world::pods::WrittenPod;
use crds::Object;
use policy::intern::Interner;

/// Growth before it is looked for what nobody has any more.
const SLACK: usize = 1024;

/// An object ready to be compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepared(pub(crate) Form);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Pod(WrittenPod),
    Slice(Box<WrittenSlice>),
    /// Neither a Pod nor an IdentitySlice.
    Other(Box<Object>),
}

impl Prepared {
    /// Whether it is a Containment.
    pub fn is_containment(&self) -> bool {
        matches!(&self.0, Form::Other(object) if matches!(&**object, Object::Containment(_)))
    }

    /// Whether it is a Containment whose time is over at `seconds` since 1970.
    pub fn is_over(&self, seconds: u64) -> bool {
        match &self.0 {
            Form::Pod(_) | Form::Slice(_) => false,
            Form::Other(object) => matches!(&**object, Object::Containment(it) if it.is_over(seconds)),
        }
    }
}

/// Makes objects ready.
#[derive(Debug, Default)]
pub struct Preparer {
    pub(crate) interner: Interner,
    /// What the interner held when it last forgot.
    used: usize,
}

impl Preparer {
    /// Makes an object ready.
    pub fn prepare(&mut self, object: Object) -> Prepared {
        if self.interner.len() > 2 * self.used + SLACK {
            self.interner.forget_unused();
            self.used = self.interner.len();
        }
        Prepared(match object {
            Object::Pod(pod) => Form::Pod(WrittenPod::new(&mut self.interner, &pod)),
            Object::IdentitySlice(slice) => {
                Form::Slice(Box::new(WrittenSlice::new(&mut self.interner, &slice)))
            }
            other => Form::Other(Box::new(other)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(number: usize) -> Object {
        let yaml = format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: p{number}, namespace: x, labels: {{app: web, pod: p{number}}}}}, \
             spec: {{containers: [{{name: c, image: i}}]}}}}"
        );
        crds::read_objects("x", yaml.as_bytes()).objects.remove(0)
    }

    #[test]
    fn what_objects_that_are_gone_had_is_forgotten() {
        let mut preparer = Preparer::default();
        let kept: Vec<Prepared> = (0..10).map(|number| preparer.prepare(pod(number))).collect();
        for number in 10..5000 {
            drop(preparer.prepare(pod(number)));
        }
        assert!(preparer.interner.len() < 2 * SLACK, "{}", preparer.interner.len());
        let again = preparer.prepare(pod(3));
        assert!(kept.contains(&again));
        let (Form::Pod(again), Some(Prepared(Form::Pod(first)))) = (&again.0, kept.get(3)) else {
            unreachable!("pods are pods")
        };
        assert!(std::sync::Arc::ptr_eq(&again.pod.labels.0, &first.pod.labels.0), "in memory once");
    }
}
