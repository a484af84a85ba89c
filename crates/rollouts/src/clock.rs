//! What time it is at the hub.
//!
//! Enters: a client of the hub. Leaves: the hub's time, by this machine's steady way on from what the hub said. So when clusters were
//! heard, which the hub dates, and what time it is now are of one clock, however this machine's is set. Where the hub does not say, it is
//! this machine's.

use crate::PATIENCE;
use http::Request;
use http::header::DATE;
use k8s_openapi::jiff::Timestamp;
use k8s_openapi::jiff::fmt::rfc2822::DateTimeParser;
use kube::Client;
use kube::client::Body;
use tokio::time::timeout;

/// The hub says whole seconds, and an answer takes its time: a clock that is off by no more is taken for right.
const ALIKE: i64 = 2;

/// How far the hub's clock is ahead of this machine's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Clock {
    ahead: i64,
}

impl Clock {
    /// Asks the hub.
    pub(crate) async fn of(hub: &Client) -> Self {
        let Ok(request) = Request::get("/version").body(Body::empty()) else { return Self::default() };
        let Ok(Ok(answer)) = timeout(PATIENCE, hub.send(request)).await else { return Self::default() };
        // Whatever the answer is otherwise, it is dated.
        let said = answer.headers().get(DATE).and_then(|it| it.to_str().ok());
        said.map_or_else(Self::default, |said| Self::by(said, Timestamp::now()))
    }

    /// By what a hub said, where this machine has it `here`.
    fn by(said: &str, here: Timestamp) -> Self {
        let Ok(there) = DateTimeParser::new().parse_timestamp(said) else { return Self::default() };
        let ahead = there.as_second().saturating_sub(here.as_second());
        Self { ahead: if ahead.abs() <= ALIKE { 0 } else { ahead } }
    }

    /// Seconds since 1970, by the hub's clock.
    pub(crate) fn now(self) -> u64 {
        u64::try_from(Timestamp::now().as_second().saturating_add(self.ahead)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hub_is_as_far_ahead_as_it_says() {
        let here = Timestamp::from_second(1_795_848_346).unwrap();
        for (said, ahead) in [
            ("Sat, 28 Nov 2026 06:45:46 GMT", 0),
            ("Sat, 28 Nov 2026 06:45:44 GMT", 0),
            ("Sat, 28 Nov 2026 06:55:46 GMT", 600),
            ("Sat, 28 Nov 2026 05:45:46 GMT", -3600),
            ("yesterday", 0),
        ] {
            assert_eq!(Clock::by(said, here), Clock { ahead }, "{said}");
        }
    }
}
