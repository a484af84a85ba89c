//! Limits of an InferencePolicy, compiled: for whom, of what, and whose account.

use crate::effective::Source;
use crate::pattern::{Patterns, Star, Whom};
use crds::{Limit as Written, LimitPer, Located, Position};
use policy::Consumer;
use std::sync::Arc;

/// All limits of a policy.
pub(crate) type Limits = Arc<[Arc<Limit>]>;

/// One limit.
#[derive(Debug)]
pub(crate) struct Limit {
    /// What its accounts are called by; the same after a change of anything but its name (or place), what it is per, and
    /// its window.
    pub(crate) id: Arc<str>,
    pub(crate) source: Source,
    pub(crate) most: Most,
    /// The length of the window in seconds; `None`: streams alone are limited.
    pub(crate) window: Option<u64>,
    per: LimitPer,
    whom: Whom,
    models: Patterns,
}

/// How much there may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Most {
    pub(crate) requests: Option<u64>,
    pub(crate) streams: Option<u64>,
    pub(crate) input_tokens: Option<u64>,
    pub(crate) output_tokens: Option<u64>,
    pub(crate) tokens: Option<u64>,
}

pub(crate) fn limits(written: &[Located<Written>], source: &dyn Fn(&str, &Position) -> Source) -> Limits {
    let of = |(at, Located { position, value }): (usize, &Located<Written>)| {
        let source = source(&format!("spec.limits[{at}]"), position);
        let whose = match value.per {
            LimitPer::Consumer => "consumer",
            LimitPer::Policy => "policy",
        };
        let name = value.name.as_ref().map_or_else(|| at.to_string(), |name| format!("={name}"));
        let window = value.window.map(crds::LimitWindow::seconds);
        let meta = &source.object;
        let id = format!("{}/{} {name} {whose} {}", meta.namespace, meta.name, window.unwrap_or(0)).into();
        let patterns = |list: &[Arc<str>]| Patterns::new(list, Star::Anything);
        Arc::new(Limit {
            id,
            source,
            most: Most {
                requests: value.requests,
                streams: value.streams.map(u64::from),
                input_tokens: value.input_tokens,
                output_tokens: value.output_tokens,
                tokens: value.tokens,
            },
            window,
            per: value.per,
            whom: Whom { consumers: patterns(&value.consumers), groups: patterns(&value.groups) },
            models: patterns(&value.models),
        })
    };
    written.iter().enumerate().map(of).collect()
}

impl Limit {
    /// Whether it holds. A model that is not named may be any.
    pub(crate) fn holds(&self, consumer: &Consumer, model: Option<&str>) -> bool {
        self.whom.is(consumer) && (model.is_none() || self.models.admits(model))
    }

    /// Whose account is drawn on.
    pub(crate) fn account(&self, consumer: &Consumer) -> Arc<str> {
        match self.per {
            LimitPer::Consumer => consumer.name.clone(),
            LimitPer::Policy => "".into(),
        }
    }

    /// When the window began that it is now.
    pub(crate) fn begin(&self, now: u64) -> u64 {
        self.window.map_or(0, |window| now - now.checked_rem(window).unwrap_or(0))
    }
}
