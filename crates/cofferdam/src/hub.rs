//! The controller of a cluster whose policies come from a hub, from a folder kept as it is in Git, or from a registry.
//!
//! Enters: options. Leaves: what the cluster takes from its hub and tells it (`spoke`), and one line whenever why it takes something not
//! changes. Guarantees: only who leads takes anything; whom to believe is read anew for each release.

use crate::control::{client, complain};
use crate::registry::{Releases, registry};
use crate::release::{own_fleet, pinned_for};
use anyhow::{Context, Result, ensure};
use clap::Args;
use controller::beside::Asking;
use controller::lease::Role;
use fleet::hub::ClusterStatus;
use fleet::rollout::Denial;
use fleet::{Beside, FleetName, MOST_DENIALS, Ref};
use kube::Client;
use spoke::identity::{Shared, Sharing};
use spoke::{Judge, Source};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Would-be denials that are told of one release.
const MOST_TOLD: usize = 10 * MOST_DENIALS;

/// From where policies of the fleet come.
#[derive(Args, Debug)]
#[command(next_help_heading = "Policies of a fleet")]
pub(crate) struct HubArgs {
    /// Take policies from the hub that this kubeconfig reaches
    #[arg(long, value_name = "FILE", group = "fleet", requires = "cluster", requires = "release_keys")]
    hub: Option<PathBuf>,
    /// Take policies from this folder instead, which something else keeps as it is in Git (for example git-sync), and
    /// `cofferdam release export` writes; or from a registry: oci://HOST/NAME:TAG or oci://HOST/NAME@sha256:DIGEST, where
    /// `cofferdam release push` put that folder, and oci+http:// for one without TLS
    #[arg(
        long,
        value_name = "DIR|REPOSITORY",
        group = "fleet",
        requires = "cluster",
        requires = "release_keys"
    )]
    releases: Option<Releases>,
    /// Certificates (PEM) by which the registry is known [default: those of the machine]
    #[arg(long, value_name = "FILE", requires = "releases")]
    releases_authority: Option<PathBuf>,
    /// Login for the registry: a file that `docker login` wrote, or the .dockerconfigjson of a Secret for pulling images
    #[arg(long, value_name = "FILE", requires = "releases")]
    releases_login: Option<PathBuf>,
    /// Name of this cluster at the hub, or in the folder: of its ManagedCluster
    #[arg(long, value_name = "NAME", requires = "fleet")]
    cluster: Option<String>,
    /// Keys that must have signed what is taken: see `cofferdam release --help`
    #[arg(long, value_name = "FILE", requires = "fleet")]
    release_keys: Option<PathBuf>,
    /// Name of the fleet that this cluster is of: what was signed for another one is refused (`cofferdam release build --fleet`)
    #[arg(long = "fleet", value_name = "NAME", requires = "fleet")]
    of_fleet: Option<FleetName>,
    /// Refuse releases that name no fleet, too
    #[arg(long, requires = "of_fleet")]
    fleet_named: bool,
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
        let (Some(cluster), Some(keys)) = (&self.cluster, &self.release_keys) else {
            return std::future::pending().await;
        };
        let (hub, source) = match (&self.hub, &self.releases) {
            (Some(hub), _) => {
                let hub = client(Some(hub)).await.context("--hub")?;
                (Some(hub.clone()), Source::Hub(hub))
            }
            (None, Some(releases)) => {
                ensure!(
                    fleet::folder::cluster_path(cluster).is_some(),
                    "--cluster {cluster:?} is no name of a cluster: small letters, digits, - and ."
                );
                (None, self.source(releases)?)
            }
            (None, None) => return std::future::pending().await,
        };
        // Better now than when a release comes.
        let own = own_fleet(self.of_fleet.as_ref(), self.fleet_named);
        pinned_for(keys, own.clone()).context("--release-keys")?;
        if role.wait_for(|role| *role == Role::Leads).await.is_err() {
            return Ok(());
        }
        let keys = keys.clone();
        let settings = spoke::Settings {
            cluster: cluster.clone(),
            namespace: namespace.to_owned(),
            pinned: Box::new(move || pinned_for(&keys, own.clone()).map_err(|error| format!("{error:#}"))),
            judge,
        };
        let seen = settings.judge.as_ref().map(|judge| judge.said.clone());
        let (said, mut status) = watch::channel(None::<ClusterStatus>);
        let denials_of = status.clone();
        let tell = async {
            let (mut told, mut enforced) = (Vec::new(), None);
            while status.changed().await.is_ok() {
                let Some(now) = status.borrow_and_update().clone() else { continue };
                if enforced.as_ref() != Some(&now.enforced) {
                    complain(match now.enforced.number {
                        0 => "fleet: no policy of the fleet's is in force".to_owned(),
                        _ => format!("fleet: release {} is in force", now.enforced),
                    });
                    enforced = Some(now.enforced);
                }
                tell_news("fleet", now.problems.into_iter().chain(now.drift).collect(), &mut told);
            }
        };
        let share = self.share(hub.as_ref(), local, cluster, namespace);
        tokio::join!(
            spoke::run(source, local.clone(), settings, said),
            tell,
            tell_denials(seen, denials_of),
            share
        );
        Ok(())
    }

    fn source(&self, releases: &Releases) -> Result<Source> {
        match releases {
            Releases::Folder(folder) => {
                ensure!(
                    self.releases_authority.is_none() && self.releases_login.is_none(),
                    "--releases {}: --releases-authority and --releases-login are for a registry, which begins with oci://",
                    folder.display()
                );
                Ok(Source::Folder(folder.clone()))
            }
            Releases::Registry(place) => {
                let (authority, login) = (self.releases_authority.as_deref(), self.releases_login.clone());
                let registry = registry(place.clone(), authority, login);
                Ok(Source::Registry(Arc::new(registry.with_context(|| format!("--releases {place}"))?)))
            }
        }
    }

    /// Tells the hub of pods, and takes others' from it, where that is asked for.
    async fn share(&self, hub: Option<&Client>, local: &Client, cluster: &str, namespace: &str) {
        let Some(hub) = hub.filter(|_| self.identities) else { return };
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
                tell_news("identities", problems.into_iter().chain(silent).collect(), &mut told);
            }
        };
        tokio::join!(spoke::identity::share(hub.clone(), local.clone(), sharing, shared), tell);
    }

    /// Who judges beside what is enforced, and who asks for it; nobody where there is neither hub nor releases.
    pub(crate) fn judging(&self) -> (Option<Judge>, Option<Asking>) {
        if self.hub.is_none() && self.releases.is_none() {
            return (None, None);
        }
        let (want, wanted) = watch::channel(None);
        let (say, said) = watch::channel(None);
        (Some(Judge { wanted: want, said }), Some(Asking { wanted, said: say }))
    }
}

/// Tells what is wrong and was not before; and that nothing is any more, or nobody could tell a mended fault from one that lasts.
fn tell_news(of: &str, lines: Vec<String>, told: &mut Vec<String>) {
    for line in lines.iter().filter(|line| !told.contains(*line)) {
        complain(format!("{of}: {line}"));
    }
    if lines.is_empty() && !told.is_empty() {
        complain(format!("{of}: nothing is wrong any more"));
    }
    *told = lines;
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
