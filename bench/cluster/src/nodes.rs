//! Thousands of nodes that follow one controller: real connections with certificates of their own, and nothing behind.

use crate::quantiles;
use crate::system::{System, address};
use crate::writer::Writer;
use anyhow::{Result, bail};
use feed::Replica;
use feed::client::{Enforced, Node, follow};
use feed::tls::{Identity, node_name};
use serde_json::{Value, json};
use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// How long all nodes may take.
const PATIENCE: Duration = Duration::from_secs(180);

/// What each node has, and since when.
type Have = Arc<Mutex<Vec<(u64, Instant)>>>;

struct Simulated {
    number: usize,
    identity: Identity,
    have: Have,
}

impl Node for Simulated {
    fn identity(&mut self, _address: &str) -> impl Future<Output = io::Result<Identity>> + Send {
        std::future::ready(Ok(self.identity.clone()))
    }

    fn received(&mut self, replica: &Replica) -> impl Future<Output = Enforced> + Send {
        let generation = replica.generation();
        let mut have = self.have.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = have.get_mut(self.number) {
            *slot = (generation.0, Instant::now());
        }
        std::future::ready(Enforced { generation: Some(generation), ..Enforced::default() })
    }

    fn connected(&mut self, _problem: Option<String>) {}

    fn changed(&mut self) -> impl Future<Output = Enforced> + Send {
        std::future::pending()
    }
}

/// Connects the nodes, then changes what concerns all of them.
pub(crate) async fn measure(system: &System, writer: &Writer, count: usize) -> Result<Value> {
    let now = Instant::now();
    let have: Have = Arc::new(Mutex::new(vec![(0, now); count]));
    let mut tasks = Vec::new();
    // The first is the node of the real agent.
    for number in 1..count {
        let name = format!("node-{number}");
        let identity = system.authority.issue(&[node_name(&name)], SystemTime::now())?;
        let mut node = Simulated { number, identity, have: Arc::clone(&have) };
        let task = async move {
            follow(&[address()], &name, "simulated", Replica::default(), &mut node).await;
        };
        tasks.push(tokio::spawn(task));
    }
    let begin = now;
    let connected = wait(&have, 1).await?;
    let mut all = seconds(&connected, begin);
    let begin = Instant::now();
    let revision = writer.policy_for_all(7).await?;
    let reached = wait(&have, revision).await?;
    let mut change = seconds(&reached, begin);
    tasks.iter().for_each(tokio::task::JoinHandle::abort);
    Ok(json!({
        "count": count,
        "first_state_ms": quantiles(&mut all),
        "change_for_all_ms": quantiles(&mut change),
    }))
}

fn seconds(at: &[Instant], begin: Instant) -> Vec<f64> {
    at.iter().map(|at| at.saturating_duration_since(begin).as_secs_f64() * 1000.0).collect()
}

/// When each node had a state that holds the revision.
async fn wait(have: &Have, revision: u64) -> Result<Vec<Instant>> {
    let end = Instant::now() + PATIENCE;
    loop {
        {
            let have = have.lock().unwrap_or_else(PoisonError::into_inner);
            let nodes = have.iter().skip(1);
            let lacking = nodes.clone().filter(|(generation, _)| *generation < revision).count();
            if lacking == 0 {
                return Ok(nodes.map(|(_, at)| *at).collect());
            }
            if Instant::now() > end {
                bail!("{lacking} of {} nodes lack revision {revision} after {PATIENCE:?}", have.len() - 1);
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
