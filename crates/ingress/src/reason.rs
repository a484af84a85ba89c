//! Why a request went on, or not: one closed table.

use policy::Verdict;
use serde::Serialize;

/// Why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// It may go on.
    Allowed,
    /// A rule of its route redirects it.
    Redirected,
    /// A browser asked whether a page may ask, and its route said so.
    Preflight,
    /// Its client went before it was judged.
    NotJudged,
    /// Readers of HTTP could understand it differently.
    HttpMalformed,
    /// It names no host, or several.
    HttpHost,
    /// It asks for a tunnel or a protocol that is not passed on.
    HttpTunnel,
    /// Its head or body took too long to come.
    Timeout,
    /// No listener has its host.
    NoListener,
    /// No route has it.
    NoRoute,
    /// Its host belongs to another listener than the connection.
    Misdirected,
    /// Servers read its path or query differently.
    TargetAmbiguous,
    /// Its route names nobody who answers.
    NoBackend,
    /// Nobody of its backend is there.
    NoEndpoint,
    /// No endpoint of its backend could be reached.
    ServerUnreachable,
    /// The endpoint broke off before it answered.
    ServerBroke,
    /// The endpoint did not answer in time.
    ServerTimeout,
    /// The endpoint picker of its pool does not answer as it must.
    PickerFailed,
    /// The endpoint picker of its pool says that nobody can answer.
    PickerRefused,
    /// The endpoint picker of its pool sheds it.
    PickerSheds,
    /// The gateway has as much to do as it can.
    Overloaded,
    /// Its consumer has too many requests waiting.
    TooManyWaiting,
    /// Its address has as many connections as one may have.
    TooManyConnections,
    /// Its body is larger than what is held to look at it.
    BodyTooLarge,
    /// Its body, as it went on, contradicted what was judged.
    RequestChanged,
    /// What it does could not be told, and its policy must know.
    NotUnderstood,
    /// Nobody knows who sent it.
    Unauthenticated,
    /// What it does to the server is of a class that no rule allows.
    Shielded,
    /// No rule allows it, or one denies it.
    NotAllowed,
    /// It calls a tool with arguments with which no rule allows it.
    ToolArguments,
    /// A limit of its policy is spent.
    LimitSpent,
    /// A limit is of tokens or money, and those of a WebSocket cannot be counted.
    LimitUnread,
    /// The store of shared limits cannot be reached, and what this gateway may use without it is used up.
    LimitStore,
    /// A limit is of money, and nobody knows what it costs.
    NoPrice,
    /// The web application firewall takes it for an attack.
    WafBlocked,
    /// A text in it looks like an attempt to turn the model.
    GuardBlocked,
    /// It cannot be inspected, and its policy demands that.
    Uninspected,
    /// Something that must not get out was found in its answer.
    LeakBlocked,
    /// No policy says who may ask.
    NoPolicy,
    /// A policy that cannot be applied is attached to its route.
    PolicyClosed,
    /// The keys by which its sender is known are not there.
    KeysNotThere,
    /// A browser asks for a page that may not.
    OriginDenied,
    /// It calls a tool that is not what it was.
    ToolQuarantined,
    /// It asks an agent that does not say of itself what it did.
    CardQuarantined,
    /// It names a session, task, conversation or stored object that was not given to who sent it.
    NotGiven,
}

impl Reason {
    /// Every one of them.
    pub const ALL: [Self; 45] = [
        Self::Allowed,
        Self::Redirected,
        Self::Preflight,
        Self::NotJudged,
        Self::HttpMalformed,
        Self::HttpHost,
        Self::HttpTunnel,
        Self::Timeout,
        Self::NoListener,
        Self::NoRoute,
        Self::Misdirected,
        Self::TargetAmbiguous,
        Self::NoBackend,
        Self::NoEndpoint,
        Self::ServerUnreachable,
        Self::ServerBroke,
        Self::ServerTimeout,
        Self::PickerFailed,
        Self::PickerRefused,
        Self::PickerSheds,
        Self::Overloaded,
        Self::TooManyWaiting,
        Self::TooManyConnections,
        Self::BodyTooLarge,
        Self::RequestChanged,
        Self::NotUnderstood,
        Self::Unauthenticated,
        Self::Shielded,
        Self::NotAllowed,
        Self::ToolArguments,
        Self::LimitSpent,
        Self::LimitUnread,
        Self::LimitStore,
        Self::NoPrice,
        Self::WafBlocked,
        Self::GuardBlocked,
        Self::Uninspected,
        Self::LeakBlocked,
        Self::NoPolicy,
        Self::PolicyClosed,
        Self::KeysNotThere,
        Self::OriginDenied,
        Self::ToolQuarantined,
        Self::CardQuarantined,
        Self::NotGiven,
    ];

    /// A word in kebab-case, for machines.
    pub fn as_str(self) -> &'static str {
        self.row().0
    }

    /// Status of the answer where it is the gateway's own (RFC 9110, section 15).
    pub fn status(self) -> u16 {
        self.row().1
    }

    /// A clause for a person.
    pub fn describe(self) -> &'static str {
        self.row().2
    }

    /// Whether the request may go on.
    pub fn verdict(self) -> Verdict {
        match self.status() {
            200..=399 => Verdict::Allow,
            _ => Verdict::Deny,
        }
    }

    fn row(self) -> (&'static str, u16, &'static str) {
        match self {
            Self::Allowed => ("allowed", 200, "it is allowed"),
            Self::Redirected => ("redirected", 302, "its route redirects it"),
            Self::Preflight => ("preflight", 204, "its route answers what a browser asks of CORS"),
            Self::NotJudged => ("not-judged", 499, "its client went before it was judged"),
            Self::HttpMalformed => ("http-malformed", 400, "readers of HTTP could understand it differently"),
            Self::HttpHost => ("http-host", 400, "it names no host, or several"),
            Self::HttpTunnel => {
                ("http-tunnel", 501, "it asks for a tunnel or a protocol that is not passed on")
            }
            Self::Timeout => ("timeout", 408, "it took too long to come"),
            Self::NoListener => ("no-listener", 404, "no listener has its host"),
            Self::NoRoute => ("no-route", 404, "no route has it"),
            Self::Misdirected => {
                ("misdirected", 421, "its host belongs to another listener than its connection")
            }
            Self::TargetAmbiguous => ("target-ambiguous", 400, "servers read its path or query differently"),
            Self::NoBackend => ("no-backend", 500, "its route names nobody who answers"),
            Self::NoEndpoint => ("no-endpoint", 503, "nobody of its backend is there"),
            Self::ServerUnreachable => {
                ("server-unreachable", 502, "no endpoint of its backend could be reached")
            }
            Self::ServerBroke => ("server-broke", 502, "the server broke off before it answered"),
            Self::ServerTimeout => ("server-timeout", 504, "the server did not answer in time"),
            Self::PickerFailed => {
                ("picker-failed", 503, "the endpoint picker of its pool does not answer as it must")
            }
            Self::PickerRefused => {
                ("picker-refused", 503, "the endpoint picker of its pool says that nobody can answer")
            }
            Self::PickerSheds => {
                ("picker-sheds", 429, "the endpoint picker of its pool sheds it, for there is too much to do")
            }
            Self::Overloaded => ("overloaded", 503, "the gateway has as much to do as it can"),
            Self::TooManyWaiting => {
                ("too-many-waiting", 429, "too many requests of the same consumer are waiting")
            }
            Self::TooManyConnections => {
                ("too-many-connections", 429, "its address has as many connections as one may have")
            }
            Self::BodyTooLarge => {
                ("body-too-large", 413, "its body is larger than what is held to look at it")
            }
            Self::RequestChanged => ("request-changed", 400, "its body contradicted what was judged of it"),
            Self::NotUnderstood => ("not-understood", 403, "what it does could not be told"),
            Self::Unauthenticated => ("unauthenticated", 401, "nobody knows who sent it"),
            Self::Shielded => {
                ("shielded", 403, "what it does to the server is of a class that is not allowed")
            }
            Self::NotAllowed => ("not-allowed", 403, "no rule allows it"),
            Self::ToolArguments => {
                ("tool-arguments", 403, "a tool is called with what a condition of the rule does not allow")
            }
            Self::LimitSpent => ("limit-spent", 429, "a limit is spent"),
            Self::LimitUnread => (
                "limit-unread",
                403,
                "a limit is of tokens or money, and those of a WebSocket, of a batch, or of a limit that is no number cannot be counted",
            ),
            Self::LimitStore => (
                "limit-store",
                503,
                "the store of shared limits cannot be reached, or too many requests wait for it, and what this gateway may use without it is used up",
            ),
            Self::NoPrice => ("no-price", 403, "a limit is of money, and what it costs is not known"),
            Self::WafBlocked => ("waf-blocked", 403, "it looks like an attack on the server"),
            Self::GuardBlocked => ("guard-blocked", 403, "a text in it looks like an attack on the model"),
            Self::Uninspected => ("uninspected", 403, "it cannot be inspected"),
            Self::LeakBlocked => ("leak-blocked", 403, "its answer holds what must not get out"),
            Self::NoPolicy => ("no-policy", 403, "no policy says who may ask"),
            Self::PolicyClosed => {
                ("policy-closed", 503, "a policy that cannot be applied is attached to its route")
            }
            Self::KeysNotThere => {
                ("keys-not-there", 503, "the keys by which its sender is known are not there")
            }
            Self::OriginDenied => ("origin-denied", 403, "the page that a browser asks for may not"),
            Self::ToolQuarantined => ("tool-quarantined", 403, "the tool that it calls is in quarantine"),
            Self::CardQuarantined => {
                ("card-quarantined", 403, "the card of the agent that it asks is in quarantine")
            }
            Self::NotGiven => (
                "not-given",
                404,
                "its session, task, conversation or stored object was not given to who asks",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_reason_has_a_word_of_its_own_that_is_also_the_one_in_json() {
        let words: BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
        assert_eq!(words.len(), Reason::ALL.len());
        for reason in Reason::ALL {
            let json = serde_json::to_string(&reason).unwrap();
            assert_eq!(json, format!("\"{}\"", reason.as_str()));
        }
    }
}
