//! What is answered: the types that are written as JSON, and that the OpenAPI document is made of.

pub mod fleet;
pub mod incident;
pub mod live;
pub mod records;
pub mod walk;

use observe::Time;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// A point in time: RFC 3339, UTC, microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Moment(pub Time);

impl Moment {
    /// Of microseconds since 1970.
    pub fn of(micros: u64) -> Self {
        Self(Time(micros))
    }
}

impl JsonSchema for Moment {
    fn schema_name() -> Cow<'static, str> {
        "Moment".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "format": "date-time",
            "description": "A point in time: RFC 3339, UTC, microseconds.",
        })
    }
}

/// A page of a list.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "ListOf{T}")]
pub struct List<T> {
    /// The newest, or the largest, first.
    pub items: Vec<T>,
    /// To be given as `before` for those that follow; null: there are no more.
    pub next: Option<i64>,
    /// What is not in the ledger: how many records found no room since it was begun.
    pub lost: u64,
}

/// Nothing needs to be said.
#[derive(Clone, Copy, Debug, Default, Serialize, JsonSchema)]
pub struct Done {}
