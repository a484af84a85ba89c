//! Own kinds that are no policy: objects of a fleet, what Cofferdam writes itself, and files that an option names.
//!
//! They may lie in one folder with policies. Each is named, with who reads it, and takes nothing from the policies beside it.

use crate::catalog;
use crate::decode::nearest;
use crate::price;

/// An own kind that is no policy: it may lie beside policies, and others read it.
pub(crate) struct ReadElsewhere {
    /// As written.
    pub(crate) kind: &'static str,
    /// What its objects say.
    pub(crate) what: &'static str,
    /// Who reads it, or where it belongs.
    pub(crate) who: &'static str,
    /// A command is told of the file. Whoever only puts it among manifests may take it for being in force.
    pub(crate) is_by_option: bool,
    /// Its objects are of no namespace.
    pub(crate) is_of_cluster: bool,
}

static READ_ELSEWHERE: [ReadElsewhere; 7] = [
    ReadElsewhere {
        kind: catalog::KIND,
        what: "a catalog of providers",
        who: "name the file with --catalog",
        is_by_option: true,
        is_of_cluster: true,
    },
    ReadElsewhere {
        kind: price::KIND,
        what: "a list of what models cost",
        who: "name the file with --prices",
        is_by_option: true,
        is_of_cluster: true,
    },
    ReadElsewhere {
        kind: "ReleaseKeys",
        what: "the keys whose releases a cluster takes",
        who: "name the file with `cofferdam release verify --keys` and `cofferdam controller --release-keys`",
        is_by_option: true,
        is_of_cluster: true,
    },
    ReadElsewhere {
        kind: "Rollout",
        what: "how a release comes to the clusters of a fleet",
        who: "apply it to the hub: `cofferdam rollouts` runs it, and `cofferdam rollout status` shows it",
        is_by_option: false,
        is_of_cluster: true,
    },
    ReadElsewhere {
        kind: "ManagedCluster",
        what: "a cluster of a fleet",
        who: "apply it to the hub: `cofferdam controller --hub` of that cluster reads it",
        is_by_option: false,
        is_of_cluster: true,
    },
    ReadElsewhere {
        kind: "PolicyRelease",
        what: "a release as a hub has it",
        who: "apply it to the hub: clusters take it from there; `cofferdam release show` reads the file that it was made of",
        is_by_option: false,
        is_of_cluster: true,
    },
    ReadElsewhere {
        kind: "PolicyStatus",
        what: "how a policy stands, as a controller writes it",
        who: "leave it out of what you apply; `kubectl get policystatuses -A` shows those of a cluster",
        is_by_option: false,
        is_of_cluster: false,
    },
];

impl ReadElsewhere {
    pub(crate) fn named(kind: &str) -> Option<&'static Self> {
        READ_ELSEWHERE.iter().find(|it| it.kind == kind)
    }

    pub(crate) fn near(kind: &str) -> Option<&'static Self> {
        nearest(kind, READ_ELSEWHERE.iter().map(|it| it.kind)).and_then(Self::named)
    }
}
