//! Every cluster at a hub: what it is to have, what it has, when it spoke last, and what is wrong.
//!
//! Enters: a hub's kubeconfig. Leaves: a table, or JSON. Guarantees: times are by the hub's clock; what a cluster says cannot steer a
//! terminal. Does not: ask a cluster; what it says is what it said last.

use crate::control::client_and_place;
use crate::rollout::{placed, table};
use anyhow::{Context, Result};
use clap::Args;
use fleet::Ref;
use rollouts::{SILENT, Standing, Survey};
use serde_json::{Value, json};
use std::io::Write;
use std::path::PathBuf;

/// Which hub.
#[derive(Args, Debug)]
pub(crate) struct ListArgs {
    /// How to reach the hub's API server [default: $KUBECONFIG, ~/.kube/config, or the pod's service account]
    #[arg(long, value_name = "FILE")]
    hub: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Lists them; false if one of them is not as it should be.
pub(super) fn run(args: &ListArgs, out: &mut impl Write) -> Result<bool> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the runtime")?;
    let Survey { clusters, .. } = runtime.block_on(async {
        let (hub, place) = client_and_place(args.hub.as_deref()).await.context("--hub")?;
        rollouts::survey(&hub).await.map_err(|error| placed(error.into(), &place))
    })?;
    if args.json {
        let clusters: Vec<Value> = clusters.iter().map(as_json).collect();
        writeln!(out, "{:#}", json!({ "clusters": clusters }))?;
    } else if clusters.is_empty() {
        writeln!(out, "the hub has no ManagedCluster")?;
    } else {
        let head = ["CLUSTER", "WANTED", "ENFORCED", "SHADOW", "HEARD", "POLICIES", "EFFECTIVE", "PROBLEM"];
        let rows = clusters.iter().map(row);
        table(&[vec![head.map(str::to_owned)], rows.collect()].concat(), "", out)?;
    }
    Ok(clusters.iter().all(|it| wrong(it).is_none()))
}

fn row(cluster: &Standing) -> [String; 8] {
    let none = || "-".to_owned();
    let release = |it: Option<&Ref>| it.map_or_else(none, Ref::to_string);
    let status = cluster.status.as_ref();
    [
        cluster.name.clone(),
        release(cluster.wanted.as_ref().map(|it| &it.enforce)),
        release(status.map(|it| &it.enforced)),
        release(status.and_then(|it| it.shadow.as_ref())),
        cluster.silent.map_or_else(|| "never".to_owned(), |it| format!("{it} s ago")),
        status.map_or_else(none, |it| it.effective.policies.to_string()),
        status.map_or_else(none, |it| it.effective.digest.short().to_owned()),
        wrong(cluster).unwrap_or_default(),
    ]
}

/// Why somebody should look at it, the gravest first.
fn wrong(cluster: &Standing) -> Option<String> {
    if let Some(unclear) = &cluster.unclear {
        return Some(unclear.clone());
    }
    let Some(status) = &cluster.status else { return Some("it has never said how it stands".to_owned()) };
    if cluster.silent.is_some_and(|it| it > SILENT) {
        return Some("it is silent: what it has now, nobody knows".to_owned());
    }
    if let Some(problem) = status.problems.first() {
        return Some(problem.clone());
    }
    if cluster.wanted.as_ref().is_some_and(|it| it.enforce != status.enforced) {
        return Some("it does not have yet what is wanted".to_owned());
    }
    status.drift.first().cloned()
}

fn as_json(cluster: &Standing) -> Value {
    let Standing { name, labels, wanted, drift, status, silent, unclear: _ } = cluster;
    json!({
        "name": name, "labels": labels, "wanted": wanted, "drift": drift, "status": status, "silentSeconds": silent,
        "problem": wrong(cluster),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use fleet::Memory;
    use fleet::hub::{ClusterStatus, Effective};
    use fleet::rollout::Wanted;

    #[test]
    fn the_gravest_that_is_wrong_with_a_cluster_is_told() {
        let other = Ref { number: 7, ..Ref::nothing() };
        let status = || ClusterStatus {
            beat: 1,
            enforced: Ref::nothing(),
            shadow: None,
            evidence: None,
            problems: Vec::new(),
            drift: Vec::new(),
            effective: Effective::of(&[]),
            memory: Memory::default(),
        };
        let of = |status: Option<ClusterStatus>, silent| Standing {
            name: "a".to_owned(),
            silent: status.is_some().then_some(silent),
            status,
            wanted: Some(Wanted { enforce: Ref::nothing(), shadow: None }),
            ..Standing::default()
        };
        let problem = || Some(ClusterStatus { problems: vec!["release-8: unsigned".to_owned()], ..status() });
        let drift = Some(ClusterStatus { drift: vec!["web was changed".to_owned()], ..status() });
        for (cluster, expected) in [
            (of(Some(status()), SILENT), None),
            (of(None, 0), Some("never")),
            (of(problem(), 5), Some("release-8: unsigned")),
            (of(problem(), SILENT + 1), Some("it is silent")),
            (of(Some(ClusterStatus { enforced: other, ..status() }), 5), Some("what is wanted")),
            (of(drift, 5), Some("web was changed")),
            (Standing { unclear: Some("status: odd".to_owned()), ..of(problem(), 5) }, Some("status: odd")),
        ] {
            let said = wrong(&cluster);
            assert_eq!(said.is_some(), expected.is_some(), "{said:?}");
            assert!(said.unwrap_or_default().contains(expected.unwrap_or_default()), "{expected:?}");
        }
        let wanted = Ref::nothing().to_string();
        let expected = ["a", wanted.as_str(), "-", "-", "never", "-", "-", "it has never said how it stands"];
        assert_eq!(row(&of(None, 0)), expected);
    }
}
