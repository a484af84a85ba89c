//! What a connection takes of memory that does nothing: `bench-gateway idle [NAME]`.
//!
//! Enters: nothing but the machine, with the peers that are installed, and what the names of rows must contain. Leaves: a line for each row on standard error. Rows are
//! those of [`requests`](crate::requests), and TLS that is passed on unread ([`proxies`](crate::proxies)); connections had one
//! answer each.

use crate::load::{self, pin};
use crate::proxies;
use crate::requests::{Clients, How, Keys, LATER, Row, idle_and_later_bytes, idle_bytes, say, servers};
use anyhow::{Context, Result, bail};

pub(crate) fn run(only: &str) -> Result<()> {
    let named = |name: &str| name.contains(only);
    if !proxies::Row::all().iter().any(|row| named(row.name()))
        && !Row::all().iter().any(|row| named(&row.name()))
    {
        bail!("no row has {only} in its name");
    }
    pin(1)?;
    let keys = Keys::make()?;
    let (servers, clients) = (servers(&keys)?, Clients::make(&keys)?);
    let tell = |row: &str, bytes: f64| say(&format!("{row}: {:.1} KiB", bytes / 1024.0));
    for row in proxies::Row::all().into_iter().filter(|row| named(row.name())) {
        let proxy = row.start(servers.tls)?;
        let bytes =
            idle_bytes(&proxy, How::Http1(Some((clients.http1(), load::NAME)))).context(row.name())?;
        tell(&format!("{}, passed on", row.name()), bytes);
    }
    for row in Row::all().into_iter().filter(|row| named(&row.name())) {
        let proxy = row.start(servers, &keys)?;
        let how = row.client(&clients);
        if let How::Http2(_) = how {
            let [idle, later] = idle_and_later_bytes(&proxy, how).with_context(|| row.name())?;
            tell(&row.name(), idle);
            tell(&format!("{}, {} s later", row.name(), LATER.as_secs()), later);
        } else {
            tell(&row.name(), idle_bytes(&proxy, how).with_context(|| row.name())?);
        }
    }
    Ok(())
}
