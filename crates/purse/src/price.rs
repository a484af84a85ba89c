//! What tokens cost, by the prices that the user gives.
//!
//! Enters: a provider and a model, and tokens. Leaves: billionths of a currency. Guarantees: whole numbers only; a part of a
//! billionth counts as one; what is too large to count is as large as can be counted. Does not: know any price itself.

use policy::{Glob, Operation};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Tokens of which a price is.
const MILLION: u128 = 1_000_000;

/// Prices, in order: the first that is meant counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prices {
    /// ISO 4217: `USD`.
    pub currency: Arc<str>,
    /// The prices.
    pub prices: Vec<Arc<Price>>,
}

/// What some models of a provider cost, in billionths of the currency for a million tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Price {
    /// As [`Operation::provider`] has it.
    pub provider: Arc<str>,
    /// Which models. A call that names none is one of the model with the empty name.
    pub model: Glob,
    /// Of tokens that go in.
    pub input: u64,
    /// Of those of them that were found in a cache. `None`: as the others.
    pub cached_input: Option<u64>,
    /// Of those of them that were written to a cache. `None`: as the others.
    pub cache_write: Option<u64>,
    /// Of tokens that come out.
    pub output: u64,
}

/// Tokens of one call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    /// All that went in.
    pub input: u64,
    /// Of those, found in a cache.
    pub cached: u64,
    /// Of those, written to a cache.
    pub written: u64,
    /// All that came out.
    pub output: u64,
}

impl Tokens {
    /// All of them.
    pub fn sum(&self) -> u64 {
        self.input.saturating_add(self.output)
    }
}

/// What one call cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// In billionths of the currency of the prices.
    pub nanos: u64,
    /// Whether the provider did not say how many tokens there were, so that they were estimated.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_estimated: bool,
}

impl Prices {
    /// The price of what a call asks.
    pub fn of(&self, operation: &Operation) -> Option<Arc<Price>> {
        let provider = operation.provider.as_deref()?;
        let model = operation.model.as_deref().unwrap_or_default();
        let is_meant = |price: &&Arc<Price>| &*price.provider == provider && price.model.matches(model);
        self.prices.iter().find(is_meant).cloned()
    }
}

impl Price {
    /// What so many cost, in billionths; rounded up.
    pub fn cost(&self, tokens: Tokens) -> u64 {
        let Tokens { input, cached, written, output } = tokens;
        // What a server says of its cache cannot make more of its input than there is.
        let cached = cached.min(input);
        let written = written.min(input - cached);
        let plain = input - cached - written;
        let all = [
            (plain, self.input),
            (cached, self.cached_input.unwrap_or(self.input)),
            (written, self.cache_write.unwrap_or(self.input)),
            (output, self.output),
        ];
        // Each is below 2^128 / 4 as long as prices are below 2^62.
        let sum = all.iter().fold(0_u128, |sum, (tokens, price)| {
            sum.saturating_add(u128::from(*tokens).saturating_mul(u128::from(*price)))
        });
        u64::try_from(sum.div_ceil(MILLION)).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use policy::NANOS;

    fn price(provider: &str, model: &str, input: u64) -> Arc<Price> {
        Arc::new(Price {
            provider: provider.into(),
            model: Glob::new(model),
            input,
            cached_input: Some(input / 10),
            cache_write: None,
            output: 4 * input,
        })
    }

    #[test]
    fn the_first_price_that_is_meant_counts() {
        let all = [price("openai", "gpt-4o-mini*", 1), price("openai", "gpt-4o*", 2), price("mcp", "*", 0)];
        let prices = Prices { currency: "USD".into(), prices: all.into() };
        for (provider, model, expected) in [
            (Some("openai"), Some("gpt-4o-mini"), Some(1)),
            (Some("openai"), Some("gpt-4o"), Some(2)),
            (Some("openai"), Some("o3"), None),
            (Some("openai"), None, None),
            (Some("azure"), Some("gpt-4o"), None),
            (Some("mcp"), None, Some(0)),
            (None, Some("gpt-4o"), None),
        ] {
            let unknown = Operation::unknown("test");
            let operation =
                Operation { provider: provider.map(Into::into), model: model.map(Into::into), ..unknown };
            assert_eq!(prices.of(&operation).map(|it| it.input), expected, "{provider:?} {model:?}");
        }
    }

    #[test]
    fn costs_are_whole_and_rounded_up() {
        let price = price("p", "m", 2 * NANOS);
        let tokens = |input, cached, written, output| Tokens { input, cached, written, output };
        for (tokens, expected) in [
            (tokens(0, 0, 0, 0), 0),
            (tokens(1_000_000, 0, 0, 0), 2 * NANOS),
            (tokens(1_000_000, 1_000_000, 0, 0), NANOS / 5),
            (tokens(1_000_000, 0, 1_000_000, 0), 2 * NANOS),
            (tokens(10, 99, 99, 0), 2000),
            (tokens(0, 0, 0, 1_000_000), 8 * NANOS),
            (tokens(u64::MAX, 0, 0, u64::MAX), u64::MAX),
        ] {
            assert_eq!(price.cost(tokens), expected, "{tokens:?}");
        }
        let small = Price { input: 1, ..(*price).clone() };
        assert_eq!(small.cost(tokens(1, 0, 0, 0)), 1);
    }
}
