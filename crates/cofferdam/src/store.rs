//! Which store is asked what was recorded, by commands and by the API: the ledger's file, a database that it is exported to, or, by
//! commands, the API of what runs elsewhere.
//!
//! Guarantees: what is asked of one store is not answered by another. Does not: take a password; files have those.

use crate::ledger_cmd::Place;
use crate::remote::RemoteArgs;
use ::ledger::Store;
use anyhow::{Context, Result};
use api::Elsewhere;
use clap::Args;
use export::{ClickHouse, Limits, Settings, Target};
use std::path::PathBuf;
use std::sync::Arc;

/// What is asked instead of the ledger's file.
#[derive(Args, Debug)]
pub(crate) struct StoreArgs {
    /// Ask this database of ClickHouse, which a ledger is exported to, instead: clickhouse+https://host:8443/database
    #[arg(long, value_name = "URL", value_parser = Target::store, conflicts_with_all = ["ledger", "socket", "api"])]
    store: Option<Target>,
    /// File with headers for it, one `Name: value` per line, that say who asks
    #[arg(long, value_name = "FILE", requires = "store")]
    store_headers: Option<PathBuf>,
    /// File with certificates (PEM) of the authorities to believe instead of the system's
    #[arg(long, value_name = "FILE", requires = "store")]
    store_ca: Option<PathBuf>,
    #[command(flatten)]
    remote: RemoteArgs,
}

impl StoreArgs {
    /// Opens it, or the ledger that `place` says.
    ///
    /// # Errors
    /// A file that goes with it is not what it should be, or the ledger cannot be opened.
    pub(crate) fn open(&self, place: &Place) -> Result<Box<dyn Store>> {
        if let Some(remote) = self.remote.or_ledger(place.ledger.as_deref())? {
            return Ok(Box::new(remote));
        }
        let Some(target) = &self.store else { return Ok(Box::new(place.open()?)) };
        let settings = Settings {
            headers: self.store_headers.clone(),
            authorities: self.store_ca.clone(),
            sender: None,
        };
        Ok(Box::new(ClickHouse::new(target, &settings).context("--store")?))
    }
}

/// What the API asks instead of the ledger's file.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct ServeStoreArgs {
    /// Answer for records, edges, the largest, the map and series by this database of ClickHouse, which the ledger is exported to, instead of the ledger's
    /// file: clickhouse+https://host:8443/database. All else is answered by the file
    #[arg(long, value_name = "URL", value_parser = Target::store, requires = "serve")]
    serve_store: Option<Target>,
    /// File with headers for it, one `Name: value` per line, that say who asks; read anew for each question
    #[arg(long, value_name = "FILE", requires = "serve_store")]
    serve_store_headers: Option<PathBuf>,
    /// File with certificates (PEM) of the authorities to believe instead of the system's
    #[arg(long, value_name = "FILE", requires = "serve_store")]
    serve_store_ca: Option<PathBuf>,
}

impl ServeStoreArgs {
    /// The store, if there is one; it is not asked yet.
    ///
    /// # Errors
    /// A file that goes with it is not what it should be, or headers would be readable on the way.
    pub(crate) fn elsewhere(&self) -> Result<Option<Elsewhere>> {
        let Some(target) = &self.serve_store else { return Ok(None) };
        let settings = Settings {
            headers: self.serve_store_headers.clone(),
            authorities: self.serve_store_ca.clone(),
            sender: None,
        };
        let store = ClickHouse::new(target, &settings).context("--serve-store")?.limited(Limits::default());
        Ok(Some(Elsewhere::new(target.to_string(), Arc::new(store))))
    }
}
