//! What budgets of money are counted by, and where budgets are shared with other nodes.
//!
//! Enters: options and the files they name. Leaves: prices, and the means to reach a store. Guarantees: a file that cannot be read
//! or has an error ends the start. Does not: talk to the store; the gateway does.

use super::inspection::{certificates, system_roots};
use crate::prices;
use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use gateway::{Prices, StoreAddress, StoreMeans, WhenDown};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where the server listens if nothing else is said.
const PORT: u16 = 6379;

/// What budgets of requests, tokens and money are counted by.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Budgets")]
pub(crate) struct SpendingArgs {
    /// What models cost (a PriceList); without, calls under a budget of money are refused
    #[arg(long, value_name = "FILE")]
    prices: Option<PathBuf>,
    /// Share budgets in a Valkey or Redis server: those of pods among their workload instead of per pod on its node, those of workloads
    /// outside nodes, which have none without it, and what these upload, and limits of InferencePolicies among ingress gateways instead
    /// of per process: redis://[USER@]HOST[:PORT], rediss://… with TLS, or unix:PATH
    #[arg(long, value_name = "URL", value_parser = url)]
    budget_store: Option<Url>,
    /// File with its password
    #[arg(long, value_name = "FILE", requires = "budget_store")]
    budget_store_password: Option<PathBuf>,
    /// Certificates (PEM) of authorities to believe it by, instead of the system's
    #[arg(long, value_name = "FILE", requires = "budget_store")]
    budget_store_ca: Option<PathBuf>,
    /// While it cannot be reached: use a tenth of what was left when it was last heard, or deny what needs more than was granted
    #[arg(long, value_name = "WHAT", requires = "budget_store", default_value = "share")]
    budget_store_down: Down,
}

/// What is done while the store cannot be reached.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Down {
    #[default]
    Share,
    Deny,
}

/// Where a store is.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Url {
    address: StoreAddress,
    user: Option<String>,
    is_tls: bool,
}

impl SpendingArgs {
    /// Whether anything is to be counted by.
    pub(crate) fn is_given(&self) -> bool {
        self.prices.is_some() || self.budget_store.is_some()
    }

    /// What calls cost; nothing where nobody says.
    pub(crate) fn prices(&self) -> Result<Option<Arc<Prices>>> {
        self.prices.as_deref().map(prices::load).transpose()
    }

    /// How to reach the store, but for the node's name; nothing where there is none.
    pub(crate) fn store(&self) -> Result<Option<StoreMeans>> {
        let Some(Url { address, user, is_tls }) = self.budget_store.clone() else { return Ok(None) };
        if !is_tls && self.budget_store_ca.is_some() {
            bail!("--budget-store-ca is of no use without TLS: write rediss://");
        }
        let down = match self.budget_store_down {
            Down::Share => WhenDown::Share,
            Down::Deny => WhenDown::Deny,
        };
        let password = self.budget_store_password.as_deref().map(password).transpose()?;
        let roots = is_tls.then(|| self.roots()).transpose()?;
        Ok(Some(StoreMeans { address, roots, user, password, node: "".into(), down }))
    }

    fn roots(&self) -> Result<Vec<Vec<u8>>> {
        let Some(path) = &self.budget_store_ca else { return Ok(system_roots()) };
        let reading = || format!("reading {}", path.display());
        let found = certificates(&fs::read(path).with_context(reading)?).with_context(reading)?;
        if found.is_empty() {
            bail!("{} has no certificate: it must be PEM", path.display());
        }
        Ok(found)
    }
}

fn password(path: &Path) -> Result<String> {
    let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    let password = text.trim_end_matches(['\r', '\n']);
    if password.is_empty() {
        bail!("{} has no password", path.display());
    }
    Ok(password.to_owned())
}

fn url(text: &str) -> Result<Url, String> {
    let wrong = || {
        format!("{text:?} is none of redis://[USER@]HOST[:PORT], rediss://[USER@]HOST[:PORT] and unix:PATH")
    };
    if let Some(path) = text.strip_prefix("unix:").filter(|path| path.starts_with('/')) {
        return Ok(Url { address: StoreAddress::Unix(path.into()), user: None, is_tls: false });
    }
    let (is_tls, rest) = match (text.strip_prefix("redis://"), text.strip_prefix("rediss://")) {
        (Some(rest), _) => (false, rest),
        (None, Some(rest)) => (true, rest),
        (None, None) => return Err(wrong()),
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let (user, place) = match rest.rsplit_once('@') {
        Some((user, _)) if user.contains(':') => {
            return Err("the password goes into a file: --budget-store-password".to_owned());
        }
        Some((user, place)) => (Some(user.to_owned()).filter(|user| !user.is_empty()), place),
        None => (None, rest),
    };
    let (host, port) = match place.rsplit_once(':') {
        Some((host, port)) if !host.ends_with(':') && !port.ends_with(']') => {
            (host, port.parse().map_err(|_| wrong())?)
        }
        Some(_) | None => (place, PORT),
    };
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if host.is_empty() || host.contains('/') {
        return Err(wrong());
    }
    Ok(Url { address: StoreAddress::Tcp(host.to_owned(), port), user, is_tls })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_named_by_a_url_without_its_password() {
        let tcp = |host: &str, port| StoreAddress::Tcp(host.to_owned(), port);
        for (text, expected) in [
            ("redis://store", Some((tcp("store", 6379), None, false))),
            ("redis://store:7000/", Some((tcp("store", 7000), None, false))),
            ("rediss://me@store.example:7000", Some((tcp("store.example", 7000), Some("me"), true))),
            ("redis://10.0.0.7:7000", Some((tcp("10.0.0.7", 7000), None, false))),
            ("redis://[fd00::7]:7000", Some((tcp("fd00::7", 7000), None, false))),
            ("redis://[fd00::7]", Some((tcp("fd00::7", 6379), None, false))),
            ("unix:/run/store", Some((StoreAddress::Unix("/run/store".into()), None, false))),
            ("unix:store", None),
            ("redis://me:secret@store", None),
            ("redis://", None),
            ("redis://store/1", None),
            ("redis://store:x", None),
            ("http://store", None),
            ("store:6379", None),
        ] {
            let expected = expected.map(|(address, user, is_tls)| Url {
                address,
                user: user.map(str::to_owned),
                is_tls,
            });
            assert_eq!(url(text).ok(), expected, "{text}");
        }
    }
}
