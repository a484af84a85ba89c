//! Whom a request has its provider contact ([`Contact`]), and whom a rule lets it ([`ProviderEgress`]).
//!
//! Enters: contacts, as `inspect` reads them off a body, with what [`crate::OwnEgress`] says of each. Leaves: the first that no
//! policy allows. Guarantees: what nobody judged, and what cannot be told, is allowed only by a rule that allows anybody.
//! Does not: read bodies.

use crate::domain::{DnsName, DomainPattern};
use crate::operation::Operation;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// One field by which a request has its provider contact somebody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contact {
    /// Where in the body: `tools[0].server_url`. The client's text, at most 256 bytes: show it as such.
    pub at: String,
    /// Who that is.
    #[serde(flatten)]
    pub whom: Whom,
    /// Whether the sender may go there itself.
    #[serde(skip)]
    pub own: Own,
}

/// Who is contacted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Whom {
    /// A host.
    Host {
        /// A name in lower case without a trailing dot, or an address.
        name: String,
        /// At which TCP port.
        port: u16,
        /// What the provider asks of it.
        #[serde(skip)]
        asks: Asks,
    },
    /// A domain to which a tool of the provider's is limited, with all below it.
    Domain(DnsName),
    /// A tool of the provider's that contacts hosts which the request does not name.
    Tool {
        /// As the request names it.
        name: String,
        /// Whether the request limits it to domains.
        limited: bool,
    },
    /// That cannot be told. Why, for a person.
    Unread(Cow<'static, str>),
}

/// What is asked of a host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Asks {
    /// Whatever the provider, or the host, likes: a server of tools, a hook.
    #[default]
    Anything,
    /// One GET; what that does there.
    Fetch(Box<Operation>),
    /// To store something; what that does there.
    Store(Box<Operation>),
}

/// Whether the sender of a request may go itself where it has its provider go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Own {
    /// Nobody said.
    #[default]
    Unjudged,
    /// It may.
    Allowed,
    /// It may not, by this rule, as text.
    Denied(Arc<str>),
}

/// Whom a rule lets requests have their provider contact, beside whom the sender may reach itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProviderEgress {
    /// Hosts of these names. [`DomainPattern::Any`]: anybody, also where it cannot be told who that is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub domains: Vec<DomainPattern>,
    /// Tools of the provider's that contact hosts of their own choice.
    #[serde(default, skip_serializing_if = "HostedTools::is_deny")]
    pub hosted_tools: HostedTools,
}

/// Which of the provider's tools with a network may be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum HostedTools {
    /// None.
    #[default]
    Deny,
    /// Those that the request limits to domains, each of which is judged as a host.
    AllowedDomains,
    /// All.
    Allow,
}

impl HostedTools {
    /// All, as they are written.
    pub const WORDS: [(&'static str, Self); 3] =
        [("Deny", Self::Deny), ("AllowedDomains", Self::AllowedDomains), ("Allow", Self::Allow)];

    fn is_deny(&self) -> bool {
        *self == Self::Deny
    }
}

impl ProviderEgress {
    /// Whether it allows nobody.
    pub fn is_closed(&self) -> bool {
        *self == Self::default()
    }

    /// The first of these that it does not allow.
    pub fn refused<'c>(&self, contacts: &'c [Contact]) -> Option<&'c Contact> {
        contacts.iter().find(|contact| !self.allows(contact))
    }

    fn allows(&self, contact: &Contact) -> bool {
        let is_own = contact.own == Own::Allowed;
        match &contact.whom {
            Whom::Host { name, .. } => is_own || self.names(name),
            Whom::Domain(name) => {
                let below = DomainPattern::Below(name.clone());
                let covers = |wanted: &DomainPattern| self.domains.iter().any(|own| own.covers(wanted));
                is_own
                    || self.hosted_tools == HostedTools::Allow
                    || covers(&below) && covers(&DomainPattern::Exact(name.clone()))
            }
            Whom::Tool { limited, .. } => match self.hosted_tools {
                HostedTools::Deny => false,
                HostedTools::AllowedDomains => *limited,
                HostedTools::Allow => true,
            },
            Whom::Unread(_) => self.domains.contains(&DomainPattern::Any),
        }
    }

    fn names(&self, host: &str) -> bool {
        // An address has no name that a pattern could mean.
        let name = DnsName::parse(host).ok().filter(|_| host.parse::<std::net::IpAddr>().is_err());
        self.domains.iter().any(|pattern| match pattern {
            DomainPattern::Any => true,
            DomainPattern::Exact(_)
            | DomainPattern::OneBelow(_)
            | DomainPattern::Below(_)
            | DomainPattern::Outside(_) => name.as_ref().is_some_and(|name| pattern.matches(name)),
        })
    }
}

/// In short: `mcp.example:443`, `web_search`.
impl fmt::Display for Whom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host { name, port, .. } if name.contains(':') => write!(f, "[{name}]:{port}"),
            Self::Host { name, port, .. } => write!(f, "{name}:{port}"),
            Self::Domain(name) => write!(f, "{name} and names below it"),
            Self::Tool { name, .. } => f.write_str(name),
            Self::Unread(_) => f.write_str("somebody who cannot be told"),
        }
    }
}

/// Why it is refused, for a person.
impl fmt::Display for Contact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, whom, own } = self;
        let by = match own {
            Own::Unjudged => "where nobody said whether this workload may go itself".to_owned(),
            Own::Allowed => "where this workload may go itself".to_owned(),
            Own::Denied(rule) => format!("where this workload may not go itself: {rule}"),
        };
        match whom {
            Whom::Host { .. } | Whom::Domain(_) => write!(f, "{at} has the provider contact {whom}, {by}"),
            Whom::Tool { name, .. } => write!(
                f,
                "{at} has the provider use {name}, which contacts hosts of its own choice: only a rule with \
                 providerEgress.hostedTools allows that"
            ),
            Whom::Unread(why) => write!(f, "{at}: whom the provider contacts cannot be told, for {why}"),
        }
    }
}

impl fmt::Display for ProviderEgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { domains, hosted_tools } = self;
        let mut told: Vec<String> = domains.iter().map(ToString::to_string).collect();
        told.extend(match hosted_tools {
            HostedTools::Deny => None,
            HostedTools::AllowedDomains => {
                Some("with tools of its own that are limited to domains".to_owned())
            }
            HostedTools::Allow => Some("with tools of its own".to_owned()),
        });
        write!(f, "the provider may contact {}", told.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str, own: Own) -> Contact {
        let whom = Whom::Host { name: name.into(), port: 443, asks: Asks::Anything };
        Contact { at: "tools[0].server_url".into(), whom, own }
    }

    fn other(whom: Whom) -> Contact {
        Contact { at: "x".into(), whom, own: Own::Unjudged }
    }

    fn rule(domains: &[&str], hosted_tools: HostedTools) -> ProviderEgress {
        let domains = domains.iter().map(|text| DomainPattern::parse_shown(text).unwrap()).collect();
        ProviderEgress { domains, hosted_tools }
    }

    #[test]
    fn what_nobody_allowed_is_refused() {
        let domain = |name: &str| other(Whom::Domain(DnsName::parse(name).unwrap()));
        let tool = |limited| other(Whom::Tool { name: "web_search".into(), limited });
        let denied = Own::Denied("a rule".into());
        let (none, all) = (HostedTools::Deny, HostedTools::Allow);
        let limited = HostedTools::AllowedDomains;
        for (domains, tools, contact, expected) in [
            (&[][..], none, host("a.io", Own::Allowed), true),
            (&[], all, host("a.io", Own::Unjudged), false),
            (&[], all, host("a.io", denied.clone()), false),
            (&["*.a.io"], none, host("x.a.io", denied.clone()), true),
            (&["*.a.io"], none, host("a.io", denied.clone()), false),
            (&["**"], none, host("192.0.2.1", denied.clone()), true),
            (&["**.io"], none, host("192.0.2.1", denied), false),
            (&["**"], none, other(Whom::Unread("x".into())), true),
            (&["**.io"], all, other(Whom::Unread("x".into())), false),
            (&["**"], none, tool(false), false),
            (&["**"], limited, tool(false), false),
            (&[], limited, tool(true), true),
            (&[], all, tool(false), true),
            (&[], all, domain("a.io"), true),
            (&["a.io"], limited, domain("a.io"), false),
            (&["**.a.io"], limited, domain("a.io"), false),
            (&["a.io", "**.a.io"], limited, domain("a.io"), true),
        ] {
            let refused = rule(domains, tools).refused(std::slice::from_ref(&contact)).is_some();
            assert_eq!(!refused, expected, "{domains:?} {tools:?} {contact}");
        }
    }

    #[test]
    fn a_contact_is_written_without_what_is_asked_and_judged() {
        let json = serde_json::to_string(&host("a.io", Own::Allowed)).unwrap();
        assert_eq!(json, r#"{"at":"tools[0].server_url","host":{"name":"a.io","port":443}}"#);
        let read: Contact = serde_json::from_str(&json).unwrap();
        assert_eq!(read, host("a.io", Own::Unjudged));
        let text = host("::1", Own::Denied("EgressPolicy ml/a spec.subject (a.yaml:3)".into())).to_string();
        let expected = "tools[0].server_url has the provider contact [::1]:443, where this workload may not go itself: \
                        EgressPolicy ml/a spec.subject (a.yaml:3)";
        assert_eq!(text, expected);
    }
}
