//! May this pod ask this resolver this question?
//!
//! Enters: rules, pod, question, resolver. Leaves: a [`Permit`], without which nothing goes upstream, or why not.
//! Guarantees: pure; a question that no rule covers is refused with the rule that refuses the rest.

use crate::question::Question;
use crate::record::Reason;
use crate::state::{Addresses, PodQuestions, PodRules, Resolvers, Rules};
use std::net::IpAddr;
use std::sync::Arc;

/// What was decided.
#[must_use]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It may be asked.
    Allow(Permit),
    /// It is refused.
    Refuse(Refusal),
}

/// That a question may go to a resolver. Only [`decide`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permit {
    source: Source,
    rule: Option<Arc<str>>,
}

impl Permit {
    /// Who is to answer.
    pub fn source(&self) -> Source {
        self.source
    }

    /// The rule that allows the name, where names are restricted.
    pub fn rule(&self) -> Option<&Arc<str>> {
        self.rule.as_ref()
    }
}

/// Who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// Any of a group of trusted resolvers, this one first. They are taken to know the same, share what is kept, and teach.
    Trusted {
        /// Whom the pod asked.
        first: IpAddr,
        /// The group, by its place in the state.
        group: usize,
    },
    /// A resolver of the pod's own choice, whose answers teach nothing.
    Other(IpAddr),
}

/// Why a question is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub reason: Reason,
    /// The rule, where one says so.
    pub rule: Option<Arc<str>>,
}

/// Decides on one question.
pub fn decide(rules: &Rules, pod: &PodRules, question: &Question, resolver: IpAddr) -> Decision {
    let refuse = |reason, rule: Option<&Arc<str>>| Decision::Refuse(Refusal { reason, rule: rule.cloned() });
    if !question.kind.is_question() {
        return refuse(Reason::RecordType, None);
    }
    let lists = match pod.resolvers() {
        Resolvers::Any => &[],
        Resolvers::Only(lists) => lists.as_slice(),
    };
    let refuses = |list: &&Addresses| !list.allowed.iter().any(|net| net.contains(&resolver));
    if let Some(list) = lists.iter().find(refuses) {
        return refuse(Reason::Resolver, Some(&list.otherwise));
    }
    let lists = match &pod.questions {
        PodQuestions::Any => &[],
        PodQuestions::Only(lists) => lists.as_slice(),
    };
    let mut rule = None;
    for (allowed, otherwise) in lists {
        match allowed.find(&question.name) {
            Some(allowing) => rule = Some(Arc::clone(allowing)),
            None => return refuse(Reason::Name, Some(otherwise)),
        }
    }
    let source = match rules.group_of(resolver) {
        Some(group) => Source::Trusted { first: resolver, group },
        None => Source::Other(resolver),
    };
    Decision::Allow(Permit { source, rule })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::question::tests::query;
    use crate::state::{AllowedName, Names, Pod, Questions, Settings, State};
    use policy::{DomainPattern, Generation};

    const POD: &str = "10.0.0.1";
    const TRUSTED: &str = "10.96.0.10";

    fn check(pod: Pod, (name, kind): (&str, u16), resolver: &str, expected: &str) {
        let state = State {
            generation: Generation(1),
            pods: vec![pod],
            trusted: vec![vec![TRUSTED.parse().unwrap()]],
            private_zones: Vec::new(),
            settings: Settings::default(),
        };
        let rules = Rules::new(state, None);
        let question = Question::read(&query(name, kind).to_vec().unwrap()).unwrap();
        let pod = rules.pod(POD.parse().unwrap()).unwrap();
        let found = match decide(&rules, pod, &question, resolver.parse().unwrap()) {
            Decision::Allow(permit) => format!("{:?} {:?}", permit.source(), permit.rule()),
            Decision::Refuse(refusal) => format!("{:?} {:?}", refusal.reason, refusal.rule),
        };
        assert_eq!(found, expected);
    }

    fn pod(questions: Questions, resolvers: Resolvers) -> Pod {
        let addresses = vec![POD.parse().unwrap()];
        Pod { identity: "uid".into(), addresses, patterns: Vec::new(), questions, resolvers }
    }

    #[test]
    fn any_question_may_be_asked_of_anybody_by_default() {
        let any = || pod(Questions::Any, Resolvers::Any);
        check(any(), ("a.io.", 1), TRUSTED, "Trusted { first: 10.96.0.10, group: 0 } None");
        check(any(), ("a.io.", 1), "8.8.8.8", "Other(8.8.8.8) None");
        check(any(), ("a.io.", 252), TRUSTED, "RecordType None");
        check(any(), ("a.io.", 255), TRUSTED, "RecordType None");
    }

    #[test]
    fn only_what_a_rule_names_may_be_asked_where_rules_name_something() {
        let only = || {
            let allowed = AllowedName { pattern: DomainPattern::parse("*.a.io").unwrap(), rule: "r0".into() };
            pod(
                Questions::Only(vec![Names { allowed: vec![allowed], otherwise: "rest".into() }]),
                Resolvers::Any,
            )
        };
        check(only(), ("X.A.io.", 1), TRUSTED, "Trusted { first: 10.96.0.10, group: 0 } Some(\"r0\")");
        check(only(), ("a.io.", 1), TRUSTED, "Name Some(\"rest\")");
        check(only(), (".", 2), TRUSTED, "Name Some(\"rest\")");
        let none = pod(
            Questions::Only(vec![Names { allowed: Vec::new(), otherwise: "rest".into() }]),
            Resolvers::Any,
        );
        check(none, ("a.io.", 1), TRUSTED, "Name Some(\"rest\")");
    }

    #[test]
    fn a_resolver_that_is_not_named_is_refused_before_the_name() {
        let allowed = vec!["10.96.0.10/32".parse().unwrap()];
        let only = Resolvers::Only(vec![Addresses { allowed, otherwise: "dns".into() }]);
        check(pod(Questions::Any, only.clone()), ("a.io.", 1), "8.8.8.8", "Resolver Some(\"dns\")");
        check(
            pod(Questions::Any, only),
            ("a.io.", 1),
            TRUSTED,
            "Trusted { first: 10.96.0.10, group: 0 } None",
        );
    }
}
