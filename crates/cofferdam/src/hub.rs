//! The controller of a cluster whose policies come from a hub.
//!
//! Enters: options. Leaves: what the cluster takes from its hub and tells it (`spoke`), and one line whenever why it takes something not
//! changes. Guarantees: only who leads takes anything; whom to believe is read anew for each release.

use crate::control::{client, complain};
use crate::release::pinned;
use anyhow::{Context, Result};
use clap::Args;
use controller::beside::Asking;
use controller::lease::Role;
use fleet::hub::ClusterStatus;
use fleet::rollout::Denial;
use fleet::{Beside, MOST_DENIALS, Ref};
use kube::Client;
use spoke::Judge;
use spoke::identity::{Shared, Sharing};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::watch;

/// Would-be denials that are told of one release.
const MOST_TOLD: usize = 10 * MOST_DENIALS;

/// From where policies of the fleet come.
#[derive(Args, Debug)]
#[command(next_help_heading = "Policies of a fleet")]
pub(crate) struct HubArgs {
    /// Take policies from the hub that this kubeconfig reaches
    #[arg(long, value_name = "FILE", requires = "cluster", requires = "release_keys")]
    hub: Option<PathBuf>,
    /// Name of this cluster at the hub: of its ManagedCluster
    #[arg(long, value_name = "NAME", requires = "hub")]
    cluster: Option<String>,
    /// Keys that must have signed what is taken: see `cofferdam release --help`
    #[arg(long, value_name = "FILE", requires = "hub")]
    release_keys: Option<PathBuf>,
    /// Tell other clusters, through the hub, who the pods of namespaces labelled cofferdam.dev/export=identities are, and take from
    /// there what namespaces labelled import.cofferdam.dev/CLUSTER=identities import
    #[arg(long, requires = "hub")]
    identities: bool,
    /// For how long the pods of a cluster that is silent are believed; then no rule allows anything to them
    #[arg(long, value_name = "SECONDS", requires = "identities", default_value_t = spoke::identity::EXPIRE_AFTER.as_secs(),
          value_parser = clap::value_parser!(u64).range(60..=7 * 24 * 3600))]
    identities_expire: u64,
}

impl HubArgs {
    /// Runs until the future is dropped.
    ///
    /// # Errors
    /// A file cannot be used.
    pub(crate) async fn follow(
        &self,
        local: &Client,
        namespace: &str,
        mut role: watch::Receiver<Role>,
        judge: Option<Judge>,
    ) -> Result<()> {
        let (Some(hub), Some(cluster), Some(keys)) = (&self.hub, &self.cluster, &self.release_keys) else {
            return std::future::pending().await;
        };
        let hub = client(Some(hub)).await.context("--hub")?;
        // Better now than when a release comes.
        pinned(keys).context("--release-keys")?;
        if role.wait_for(|role| *role == Role::Leads).await.is_err() {
            return Ok(());
        }
        let keys = keys.clone();
        let settings = spoke::Settings {
            cluster: cluster.clone(),
            namespace: namespace.to_owned(),
            pinned: Box::new(move || pinned(&keys).map_err(|error| format!("{error:#}"))),
            judge,
        };
        let seen = settings.judge.as_ref().map(|judge| judge.said.clone());
        let (said, mut status) = watch::channel(None::<ClusterStatus>);
        let denials_of = status.clone();
        let tell = async {
            let mut told = Vec::new();
            while status.changed().await.is_ok() {
                let Some(now) = status.borrow_and_update().clone() else { continue };
                let lines: Vec<String> = now.problems.into_iter().chain(now.drift).collect();
                let news = lines.iter().filter(|line| !told.contains(*line));
                news.for_each(|line| complain(format!("fleet: {line}")));
                told = lines;
            }
        };
        let share = self.share(&hub, local, cluster, namespace);
        tokio::join!(
            spoke::run(hub.clone(), local.clone(), settings, said),
            tell,
            tell_denials(seen, denials_of),
            share
        );
        Ok(())
    }

    /// Tells the hub of pods, and takes others' from it, where that is asked for.
    async fn share(&self, hub: &Client, local: &Client, cluster: &str, namespace: &str) {
        if !self.identities {
            return;
        }
        let sharing = Sharing {
            cluster: cluster.to_owned(),
            namespace: namespace.to_owned(),
            expire_after: Duration::from_secs(self.identities_expire),
        };
        let (shared, mut seen) = watch::channel(Shared::default());
        let tell = async {
            let mut told = Vec::new();
            while seen.changed().await.is_ok() {
                let Shared { silent, problems, .. } = seen.borrow_and_update().clone();
                let silent = silent.iter().map(|cluster| {
                    format!("cluster {cluster} is silent too long: no rule allows anything to its pods until it speaks again")
                });
                let lines: Vec<String> = problems.into_iter().chain(silent).collect();
                let news = lines.iter().filter(|line| !told.contains(*line));
                news.for_each(|line| complain(format!("identities: {line}")));
                told = lines;
            }
        };
        tokio::join!(spoke::identity::share(hub.clone(), local.clone(), sharing, shared), tell);
    }

    /// Who judges beside what is enforced, and who asks for it; nobody where there is no hub.
    pub(crate) fn judging(&self) -> (Option<Judge>, Option<Asking>) {
        if self.hub.is_none() {
            return (None, None);
        }
        let (want, wanted) = watch::channel(None);
        let (say, said) = watch::channel(None);
        (Some(Judge { wanted: want, said }), Some(Asking { wanted, said: say }))
    }
}

/// Tells once of each way in which a release that is judged beside would have denied what was allowed, and in which one that is
/// in force denies what the one before it allows.
async fn tell_denials(
    seen: Option<watch::Receiver<Option<Beside>>>,
    status: watch::Receiver<Option<ClusterStatus>>,
) {
    let Some(mut seen) = seen else { return };
    let (mut of, mut told) = (None, BTreeSet::new());
    while seen.changed().await.is_ok() {
        let Some(beside) = seen.borrow_and_update().clone() else { continue };
        if of.as_ref() != Some(&beside.of) {
            (of, told) = (Some(beside.of.clone()), BTreeSet::new());
        }
        let is_shadow =
            status.borrow().as_ref().is_some_and(|status| status.shadow.as_ref() == Some(&beside.of));
        let Ref { number, .. } = &beside.of;
        let lines: Vec<String> = if is_shadow {
            let by_rule = beside.denials.iter().zip(&beside.rules);
            by_rule
                .map(|(denial, rule)| format!("release {number} would deny {}: {rule}", way(denial)))
                .collect()
        } else {
            beside
                .refused
                .iter()
                .map(|denial| format!("denied, and release {number} allows it: {}", way(denial)))
                .collect()
        };
        for line in lines {
            if told.len() < MOST_TOLD && told.insert(line.clone()) {
                complain(format!("fleet: {line}"));
            }
        }
    }
}

fn way(denial: &Denial) -> String {
    let Denial { source, destination, port, .. } = denial;
    format!("{source} to {destination} port {port}")
}
