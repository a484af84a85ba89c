//! `--collector`: what a ledger gets is sent to the collector of the cluster, too, by who has a certificate of it.
//!
//! Enters: where the collector is, and by what this node or gateway is known. Leaves: an [`Outlet`] for who exports. Guarantees: a
//! certificate is renewed before it ends, and used to its end where it cannot be. Does not: send; the crate `export` does.

use crate::agent::credentials::Credentials;
use anyhow::{Context, Result};
use clap::Args;
use export::{Sender, Target};
use feed::tls::Identity;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How often a certificate is looked at, and the wait after a failure.
const LOOK: [Duration; 2] = [Duration::from_secs(10), Duration::from_secs(1)];

/// Whether and how records are sent to the collector of the cluster.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct SendingArgs {
    /// Send what the ledger gets to the collector of the cluster, too: https://HOST:PORT
    #[arg(long, value_name = "URL", requires = "ledger", value_parser = collector)]
    collector: Option<Target>,
    /// Folder with ca.crt, tls.crt (for the name of this node) and tls.key to show the collector, instead of what the controller
    /// is shown; read anew
    #[arg(long, value_name = "DIR", requires = "collector")]
    collector_certificates: Option<PathBuf>,
}

fn collector(url: &str) -> Result<Target, String> {
    Target::collector(url).map_err(|error| error.to_string())
}

/// A collector, and as whom it is sent something.
#[derive(Clone, Debug)]
pub(crate) struct Outlet {
    pub(crate) target: Target,
    pub(crate) sender: Sender,
}

impl SendingArgs {
    /// The outlet of a node or gateway, if one is asked for; `own` is by what it is known where nothing else is named, and which
    /// controllers give certificates for that.
    ///
    /// # Errors
    /// The system gives no thread, or what `own` says.
    pub(crate) fn outlet(
        &self,
        node: &str,
        own: impl FnOnce() -> Result<(Credentials, Vec<String>)>,
    ) -> Result<Option<Outlet>> {
        let Some(target) = self.collector.clone() else { return Ok(None) };
        let (credentials, controllers) = match &self.collector_certificates {
            Some(folder) => (Credentials::Folder(folder.clone()), Vec::new()),
            None => own()?,
        };
        let identity = shown(credentials, controllers)?;
        Ok(Some(Outlet { target, sender: Sender { node: node.to_owned(), identity } }))
    }
}

/// What may be shown as an identity, or why there is nothing.
pub(crate) type Shown = watch::Receiver<Result<Arc<Identity>, String>>;

/// An identity that is kept fresh on a thread of its own, as long as somebody looks at it.
///
/// # Errors
/// The system gives no thread.
pub(crate) fn shown(mut credentials: Credentials, controllers: Vec<String>) -> Result<Shown> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the thread that asks for certificates")?;
    let (sender, receiver) = watch::channel(Err("it was not asked for yet".to_owned()));
    let task = async move {
        let (mut turn, [look, again]) = (0_usize, LOOK);
        loop {
            // Files need no controller.
            let address = controllers.get(turn.checked_rem(controllers.len()).unwrap_or(0));
            turn = turn.wrapping_add(1);
            let found = credentials.identity(address.map_or("", String::as_str)).await;
            let usable = found.map_err(|error| error.to_string()).and_then(|identity| {
                identity.client().map_err(|error| error.to_string())?;
                Ok(Arc::new(identity))
            });
            let wait = if usable.is_ok() { look } else { again };
            sender.send_if_modified(|held| renew(held, usable));
            tokio::select! {
                () = sender.closed() => return,
                () = tokio::time::sleep(wait) => {}
            }
        }
    };
    std::thread::Builder::new()
        .name("certificate".into())
        .spawn(move || runtime.block_on(task))
        .context("starting the thread that asks for certificates")?;
    Ok(receiver)
}

/// Takes what is new. What could be used before is better than nothing.
fn renew(held: &mut Result<Arc<Identity>, String>, found: Result<Arc<Identity>, String>) -> bool {
    let is_news = match (&*held, &found) {
        (Ok(held), Ok(found)) => held != found,
        (Ok(_), Err(_)) => false,
        (Err(_), Ok(_)) => true,
        (Err(held), Err(found)) => held != found,
    };
    if is_news {
        *held = found;
    }
    is_news
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_be_used_before_is_kept_when_nothing_better_comes() {
        let identity =
            |text: &str| Arc::new(Identity { chain: text.into(), key: Vec::new(), authority: Vec::new() });
        let mut held = Err("a".to_owned());
        assert!(!renew(&mut held, Err("a".to_owned())));
        assert!(renew(&mut held, Ok(identity("x"))));
        assert!(!renew(&mut held, Ok(identity("x"))));
        assert!(!renew(&mut held, Err("b".to_owned())));
        assert!(renew(&mut held, Ok(identity("y"))));
        assert_eq!(held.unwrap().chain, b"y");
    }
}
