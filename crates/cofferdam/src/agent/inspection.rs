//! The authorities with which the gateway of this node opens TLS: asked for at the controller, and renewed.
//!
//! Enters: the token of the agent's pod, the namespaces here that want an authority of their own. Leaves: means to open TLS, or why
//! there are none, to the engine. Guarantees: keys are made here and written nowhere; one that is valid is used while no other is
//! to be had, and not longer; each authority is asked for by itself, so that none fails for another; that of a namespace is forgotten
//! with its last pod here.
//! Does not: open TLS, or follow policy.

use super::Agent;
use super::credentials::read;
use anyhow::{Context, Result, bail};
use feed::enrol::{Signer, intermediate};
use gateway::{Authority, AuthorityPem, Inspection};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::Semaphore;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::sleep;

/// First and longest wait after a failure.
const WAIT: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(60)];
/// How often it is looked whether half the time is over: by the clock, for a machine may sleep.
const LOOK: Duration = Duration::from_secs(60);
/// Authorities that are asked for at a time: the controller answers few, and others of this machine ask too.
const AT_A_TIME: usize = 4;

/// What is needed to ask.
pub(crate) struct Asking {
    node: String,
    controllers: Vec<String>,
    /// File with the token.
    token: PathBuf,
    /// File with the authority that vouches for the controller.
    authority: PathBuf,
    /// Certificates (DER) by which servers are believed.
    roots: Vec<Vec<u8>>,
    turns: Semaphore,
}

/// An authority of this node, and until when it is one.
struct Held {
    means: Arc<Inspection>,
    ends: SystemTime,
}

/// Keeps the engine supplied until the future is dropped.
pub(crate) async fn follow(agent: Arc<Agent>, asking: Asking) {
    let (asking, mut wanting) = (Arc::new(asking), agent.wanting.subscribe());
    let (mut tasks, mut own) = (JoinSet::new(), BTreeMap::<Arc<str>, AbortHandle>::new());
    tasks.spawn(supply(Arc::clone(&agent), Arc::clone(&asking), Signer::Cluster));
    loop {
        let wanted = wanting.borrow_and_update().clone();
        own.retain(|space, task| {
            let is_wanted = wanted.contains(space);
            if !is_wanted {
                task.abort();
                agent.engine().inspect_own_with(space, None);
            }
            is_wanted
        });
        for space in wanted {
            own.entry(space).or_insert_with_key(|space| {
                let of = Signer::Namespace(Arc::clone(space));
                tasks.spawn(supply(Arc::clone(&agent), Arc::clone(&asking), of))
            });
        }
        // Those that were aborted.
        while tasks.try_join_next().is_some() {}
        if wanting.changed().await.is_err() {
            return;
        }
    }
}

/// Keeps the engine supplied with one authority.
async fn supply(agent: Arc<Agent>, asking: Arc<Asking>, of: Signer) {
    let tell = |means| match &of {
        Signer::Cluster => agent.engine().inspect_with(means),
        Signer::Namespace(space) => agent.engine().inspect_own_with(space, Some(means)),
    };
    let [soonest, slowest] = WAIT;
    let (mut wait, mut ends) = (soonest, SystemTime::UNIX_EPOCH);
    tell(Err("the controller was not asked for an authority yet".to_owned()));
    for address in asking.controllers.iter().cycle() {
        match asking.ask(address, &of).await {
            Ok(held) => {
                tell(Ok(held.means));
                agent.say.note(&match &of {
                    Signer::Cluster => "the gateway can open TLS where rules look at requests".to_owned(),
                    Signer::Namespace(_) => format!("the gateway can open TLS with the authority of {of}"),
                });
                (wait, ends) = (soonest, held.ends);
                until(half_way(SystemTime::now(), ends)).await;
            }
            Err(error) => {
                if SystemTime::now() >= ends {
                    tell(Err(format!("no authority from {address}: {error:#}")));
                }
                sleep(wait).await;
                wait = (wait * 2).min(slowest);
            }
        }
    }
}

impl Asking {
    /// `token` and `authority` are files.
    pub(crate) fn new(
        node: String,
        controllers: Vec<String>,
        (token, authority): (PathBuf, PathBuf),
        roots: Vec<Vec<u8>>,
    ) -> Self {
        Self { node, controllers, token, authority, roots, turns: Semaphore::new(AT_A_TIME) }
    }

    async fn ask(&self, address: &str, of: &Signer) -> Result<Held> {
        let _turn = self.turns.acquire().await?;
        let token = String::from_utf8_lossy(&read(&self.token)?).trim().to_owned();
        let given = intermediate(address, &read(&self.authority)?, &token, &self.node, of).await?;
        let ends = end(&given.chain)?;
        let authority = AuthorityPem { certificate: given.chain, key: given.key };
        Authority::of(&authority).context("what the controller gave is no authority")?;
        Ok(Held { means: Arc::new(Inspection { authority, roots: self.roots.clone() }), ends })
    }
}

/// When the first of these certificates (PEM) ends.
fn end(chain: &str) -> Result<SystemTime> {
    let own = CertificateDer::from_pem_slice(chain.as_bytes()).context("it gave no certificate")?;
    let Ok((_, own)) = x509_parser::parse_x509_certificate(&own) else {
        bail!("its certificate cannot be read")
    };
    let ends =
        u64::try_from(own.validity().not_after.timestamp()).context("its certificate is of the past")?;
    Ok(SystemTime::UNIX_EPOCH + Duration::from_secs(ends))
}

/// When it is to be renewed. The past where it is at its end.
fn half_way(now: SystemTime, ends: SystemTime) -> SystemTime {
    ends.duration_since(now).map_or(now, |left| now + left / 2)
}

async fn until(time: SystemTime) {
    // Not at once, also where it ended before it came: by a clock that is wrong, say.
    sleep(LOOK).await;
    while SystemTime::now() < time {
        sleep(LOOK).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_is_renewed_at_half_its_time() {
        let now = SystemTime::now();
        let made = Authority::generate(now).unwrap();
        let ends = end(&made.certificate).unwrap();
        let left = ends.duration_since(now).unwrap();
        assert!(
            left > Duration::from_secs(9 * 365 * 86_400) && left < Duration::from_secs(11 * 365 * 86_400)
        );
        let half = half_way(now, ends).duration_since(now).unwrap();
        assert_eq!(half, left / 2);
        assert_eq!(half_way(now, now - LOOK), now);
        assert!(end("nonsense").is_err());
    }
}
