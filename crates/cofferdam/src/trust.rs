//! Requests inside TLS, at the controller: the inspection authority, and that pods trust it.
//!
//! Enters: options, what this machine trusts. Leaves: who may vouch for nodes, ConfigMaps. Does not: open TLS. Agents do.

use crate::control::complain;
use crate::up::inspection::system_trust;
use clap::{Args, ValueEnum};
use controller::lease::Role;
use controller::trust::{self, Authorities, Delivery};
use kube::Client;
use tokio::sync::watch;

/// Why nobody is vouched for before the Secret was read.
pub(crate) const NOT_YET: &str = "the controller has not read its inspection authority yet";

/// How requests inside TLS are made readable.
#[derive(Args, Debug)]
#[command(next_help_heading = "Requests inside TLS")]
pub(crate) struct TrustArgs {
    /// Keep no inspection authority: requests inside TLS are then refused where policies look at them
    #[arg(long)]
    no_inspection: bool,
    /// In which namespaces pods find what they must trust, in the ConfigMap cofferdam-trust
    #[arg(long, value_name = "WHERE", default_value = "all", conflicts_with = "no_inspection")]
    trust: Where,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Where {
    /// All, but those of the cluster's own and those labelled cofferdam.dev/trust=disabled
    All,
    /// Those labelled cofferdam.dev/trust=enabled or cofferdam.dev/inject-trust=enabled
    Labelled,
    /// None: somebody else gives it to them
    None,
}

impl TrustArgs {
    /// Runs until the future is dropped. Only agents that `can_enrol` are given anything.
    pub(crate) async fn keep(
        &self,
        can_enrol: bool,
        client: &Client,
        namespace: &str,
        role: watch::Receiver<Role>,
        to: watch::Sender<Authorities>,
    ) {
        if self.no_inspection || !can_enrol {
            to.send_replace(Authorities::none("the controller keeps no inspection authority"));
            return std::future::pending().await;
        }
        let delivery = match self.trust {
            Where::All => Delivery::All,
            Where::Labelled => Delivery::Labelled,
            Where::None => Delivery::Nowhere,
        };
        let system = system_trust();
        if system.is_empty() && delivery != Delivery::Nowhere {
            complain(
                "this system trusts no authority, so bundle.pem of the ConfigMaps has only the own one"
                    .to_owned(),
            );
        }
        let held = to.subscribe();
        tokio::select! {
            () = trust::follow(client, namespace, role.clone(), &to, complain) => {}
            () = trust::own::follow(client, role.clone(), &to, complain) => {}
            () = trust::keep(client, delivery, &system, role, held, complain) => {}
        }
    }
}
