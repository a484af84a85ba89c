//! What the engine itself takes, without sockets: where the time of an answer goes.

use crate::servers;
use anyhow::{Context, Result};
use dns::Query;
use dns::engine::{Arrival, Client, Engine, Now};
use serde_json::{Value, json};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Instant, SystemTime};

const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Nanoseconds for an answer, kept and asked, of a pod whose policies speak of the names and of one whose do not.
pub(crate) fn measure(count: u32) -> Result<Value> {
    let of = |bound| -> Result<Value> {
        let mut engine = engine(bound)?;
        let asked = time(count, |number| answer(&mut engine, u64::from(number)))?;
        let kept = time(count, |number| answer(&mut engine, u64::from(number % 1000)))?;
        Ok(json!({ "asked_ns": asked, "kept_ns": kept }))
    };
    Ok(json!({ "bound": of(true)?, "not bound": of(false)? }))
}

fn engine(bound: bool) -> Result<Engine> {
    let mut state = 1_u32;
    // Good enough for a measurement (Numerical Recipes' constants).
    let random = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state
    };
    let mut engine = Engine::new(64, Box::new(random));
    engine.set_state(servers::state(bound, dns::Settings::default())?);
    Ok(engine)
}

fn time<T>(count: u32, mut act: impl FnMut(u32) -> Result<T>) -> Result<f64> {
    let before = processor_time()?;
    for number in 0..count {
        std::hint::black_box(act(number)?);
    }
    Ok((processor_time()? - before) / f64::from(count))
}

/// Nanoseconds that this thread has run.
fn processor_time() -> Result<f64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    Ok(text.split(' ').next().context("schedstat")?.parse()?)
}

/// One question up to its reply, and its record.
fn answer(engine: &mut Engine, number: u64) -> Result<Query> {
    let now = Now { at: Instant::now(), time: SystemTime::now().into() };
    let client = Client::Udp { peer: SocketAddr::new(LOCAL, 4711), local: LOCAL };
    let bytes = crate::load::query(7, number);
    engine.query(now, &Arrival { client, pod: LOCAL, resolver: LOCAL, bytes: &bytes });
    let mut out = engine.take_outbox();
    if let Some(ask) = out.asks.pop() {
        let reply = crate::stub::answer(&ask.bytes).context("a query")?;
        engine.answer(now, ask.socket, ask.server, &reply);
        out = engine.take_outbox();
    }
    if let Some((id, _)) = out.learns.pop() {
        engine.learned(now, id, Ok(300));
        out = engine.take_outbox();
    }
    // Once a batch.
    if number.is_multiple_of(16) {
        engine.next_timer();
    }
    out.records.pop().context("no reply")
}
