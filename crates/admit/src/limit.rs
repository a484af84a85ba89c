//! Limits of an InferencePolicy, compiled: for whom, of what, and whose account.

use crate::effective::Source;
use crate::pattern::{Patterns, Star, Whom};
use crds::{Limit as Written, LimitPer, LimitWindow, Located, Position};
use lease::{Count, Limits as Counted, Window};
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
    /// `None`: streams alone are limited.
    pub(crate) window: Option<Window>,
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
    /// In billionths of the currency of the prices.
    pub(crate) money: Option<u64>,
}

impl Most {
    /// What is counted in windows: requests, tokens in, tokens out, both, money.
    pub(crate) fn counted(&self) -> Counted<COUNTS> {
        [self.requests, self.input_tokens, self.output_tokens, self.tokens, self.money]
    }

    /// Of as much; streams are in no window.
    pub(crate) fn of(counted: Counted<COUNTS>) -> Self {
        let [requests, input_tokens, output_tokens, tokens, money] = counted;
        Self { requests, streams: None, input_tokens, output_tokens, tokens, money }
    }
}

/// How many things a limit counts in its window.
pub(crate) const COUNTS: usize = 5;

pub(crate) fn limits(written: &[Located<Written>], source: &dyn Fn(&str, &Position) -> Source) -> Limits {
    let of = |(at, Located { position, value }): (usize, &Located<Written>)| {
        let source = source(&format!("spec.limits[{at}]"), position);
        let whose = match value.per {
            LimitPer::Consumer => "consumer",
            LimitPer::Policy => "policy",
        };
        let name = value.name.as_ref().map_or_else(|| at.to_string(), |name| format!("={name}"));
        let window = value.window.map(window);
        let meta = &source.object;
        let id =
            format!("{}/{} {name} {whose} {}", meta.namespace, meta.name, window.map_or(0, Window::seconds))
                .into();
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
                money: value.money,
            },
            window,
            per: value.per,
            whom: Whom { consumers: patterns(&value.consumers), groups: patterns(&value.groups) },
            models: Patterns::of_models(&value.models, Star::Anything),
        })
    };
    written.iter().enumerate().map(of).collect()
}

fn window(written: LimitWindow) -> Window {
    match written {
        LimitWindow::Minute => Window::Minute,
        LimitWindow::Hour => Window::Hour,
        LimitWindow::Day => Window::Day,
    }
}

impl Limit {
    /// Whether tokens are counted: they, or what they cost, is limited.
    pub(crate) fn counts_tokens(&self) -> bool {
        let Most { input_tokens, output_tokens, tokens, money, .. } = self.most;
        [input_tokens, output_tokens, tokens, money].iter().any(Option::is_some)
    }

    /// What a store of shared accounts knows its counts by.
    pub(crate) fn counts(window: Window) -> [Count; COUNTS] {
        ["requests", "input", "output", "tokens", "money"].map(|name| Count { name, window })
    }

    /// By which name all gateways know one of its accounts.
    pub(crate) fn shared_name(&self, account: &str) -> Arc<str> {
        // With its length, since names of limits and consumers may have blanks.
        format!("ingress:{}:{} {account}", self.id.len(), self.id).into()
    }

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
}

/// When the window began that it is now.
pub(crate) fn begin(window: Window, now: u64) -> u64 {
    now - now.checked_rem(window.seconds()).unwrap_or(0)
}
