//! By which central gateway connections to names leave, and what this node shows it.
//!
//! Enters: options, certificates. Leaves: replicas and a certificate that is valid, to the engine. Guarantees: once it was
//! asked for, nothing leaves another way: until there are both, what would have to leave is refused, and the status says why.
//! Does not: connect, or judge.

use super::engine::Engine;
use crate::agent::credentials::Credentials;
use anyhow::{Context, Result, bail};
use clap::Args;
use gateway::{Egress, Shown};
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How often names of replicas are looked up, and certificates looked at.
const LOOK: Duration = Duration::from_secs(10);
/// The same after a failure.
const AGAIN: Duration = Duration::from_secs(1);
/// Replicas that are used, at most.
const REPLICAS: usize = 64;

/// Where the central gateway is.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Central egress gateway")]
pub(crate) struct EgressArgs {
    /// Have connections to names leave the cluster by the egress gateway here (HOST:PORT), and no other way; may be
    /// repeated. A name is looked up again and again, and may have several addresses
    #[arg(long = "egress-gateway", value_name = "ADDRESS", conflicts_with_all = ["no_dns", "no_gateway"])]
    egress_gateways: Vec<String>,
    /// Folder with ca.crt, tls.crt and tls.key that this node shows it [default: as the agent shows the controller]
    #[arg(long = "egress-certificates", value_name = "DIR", requires = "egress_gateways")]
    egress_certificates: Option<PathBuf>,
}

impl EgressArgs {
    /// What holds until more is known; `None`: connections leave from this node.
    pub(crate) fn unknown(&self) -> Option<Arc<Egress>> {
        (!self.egress_gateways.is_empty()).then(|| Arc::new(Egress { replicas: Vec::new(), shown: None }))
    }

    /// Keeps the engine supplied, on a thread of its own, until the process ends. `own` and `controllers`: how to come by
    /// a certificate where none is given.
    pub(crate) fn follow(
        &self,
        engine: &Arc<Mutex<Engine>>,
        own: Option<Credentials>,
        controllers: &[String],
    ) -> Result<()> {
        if self.egress_gateways.is_empty() {
            return Ok(());
        }
        let given = self.egress_certificates.clone().map(Credentials::Folder);
        let credentials = given.or(own).context("--egress-gateway needs --egress-certificates here")?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("starting the thread that looks for the egress gateway")?;
        let (gateways, engine, controllers) =
            (self.egress_gateways.clone(), Arc::clone(engine), controllers.to_vec());
        let following = following(gateways, credentials, controllers, move |egress| {
            engine.lock().unwrap_or_else(PoisonError::into_inner).leave_by(egress);
        });
        std::thread::Builder::new()
            .name("egress".into())
            .spawn(move || runtime.block_on(following))
            .context("starting the thread that looks for the egress gateway")?;
        Ok(())
    }
}

async fn following(
    gateways: Vec<String>,
    mut credentials: Credentials,
    controllers: Vec<String>,
    tell: impl Fn(Result<Egress, String>),
) {
    let mut turn = 0_usize;
    loop {
        // Files need no controller.
        let controller = controllers.get(turn.checked_rem(controllers.len()).unwrap_or(0));
        turn = turn.wrapping_add(1);
        let found = found(&gateways, &mut credentials, controller.map_or("", String::as_str)).await;
        let wait = if found.is_ok() { LOOK } else { AGAIN };
        tell(found.map_err(|error| format!("{error:#}")));
        tokio::time::sleep(wait).await;
    }
}

async fn found(gateways: &[String], credentials: &mut Credentials, controller: &str) -> Result<Egress> {
    let identity = credentials.identity(controller).await.context("the certificate of this node")?;
    let mut replicas = Vec::new();
    for gateway in gateways {
        replicas.extend(looked_up(gateway)?);
    }
    replicas.sort_unstable();
    replicas.dedup();
    replicas.truncate(REPLICAS);
    if replicas.is_empty() {
        bail!("{} has no address", gateways.join(" and "));
    }
    Ok(Egress { replicas, shown: Some(Shown::from(&identity)) })
}

/// Addresses of a HOST:PORT; that of an IPv6 Service may come without brackets. Blocks this thread, which does nothing else.
fn looked_up(gateway: &str) -> Result<Vec<SocketAddr>> {
    let (host, port) = gateway.rsplit_once(':').with_context(|| format!("{gateway} is no HOST:PORT"))?;
    let port: u16 = port.parse().with_context(|| format!("{gateway}: its port is no number"))?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let found = (host, port).to_socket_addrs().with_context(|| format!("looking up {gateway}"))?;
    Ok(found.collect())
}

#[cfg(test)]
mod tests {
    use super::looked_up;

    #[test]
    fn addresses_need_no_lookup_and_nonsense_is_told() {
        for (text, found) in [
            ("10.0.0.2:9445", "10.0.0.2:9445"),
            ("[fd00::2]:9445", "[fd00::2]:9445"),
            ("fd00::2:9445", "[fd00::2]:9445"),
        ] {
            assert_eq!(looked_up(text).unwrap(), [found.parse().unwrap()], "{text}");
        }
        for text in ["10.0.0.2", "10.0.0.2:", "10.0.0.2:https", ""] {
            assert!(looked_up(text).is_err(), "{text}");
        }
    }
}
