//! Amounts of money, in whole billionths of whatever currency the prices are in.

use std::fmt;

/// Billionths of one unit of a currency.
pub const NANOS: u64 = 1_000_000_000;
/// Decimals that are shown at least.
const SHOWN: usize = 2;

/// An amount, in billionths ([`NANOS`]). Shown as a decimal number with at least two decimals, without its currency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Money(pub u64);

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimals = format!("{:09}", self.0 % NANOS);
        let length = decimals.trim_end_matches('0').len().max(SHOWN);
        write!(f, "{}.{}", self.0 / NANOS, decimals.get(..length).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_shown_exactly() {
        for (nanos, expected) in [
            (0, "0.00"),
            (5 * NANOS, "5.00"),
            (1_500_000_000, "1.50"),
            (37_500, "0.0000375"),
            (u64::MAX, "18446744073.709551615"),
        ] {
            assert_eq!(Money(nanos).to_string(), expected);
        }
    }
}
