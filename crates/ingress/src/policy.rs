//! The policies of a configuration, made ready for requests: once for each rule of a route on each listener.
//!
//! Guarantees: what a policy demands and the gateway cannot do closes what it is attached to, and is told, before any request.

use crate::config::{Config, ConfigError};
use crate::sieving::Answers;
use crate::waf::Wafs;
use admit::{Closed, Effective, Place, Policies, RouteKey, Source};
use authn::{Authenticator, KeySources};
use crds::{Authentication, Mcp, ProtectionMode, Responses, ServerKind, StoredObjects, TargetKind, Waf};
use inspect::task_ids::Protocol;
use routes::{Listener, ListenerId, Rule, RuleId};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use waf::RuleSet;

/// Most pairs of a listener and a rule.
const MOST_PLACES: usize = 200_000;

/// What holds for requests of one rule that come by one listener.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) effective: Arc<Effective>,
    /// `None`: nobody can be known.
    pub(crate) authenticator: Option<Arc<Authenticator>>,
    /// Its rules; `None`: not asked.
    pub(crate) waf: Option<(Waf, RuleSet)>,
    /// What is looked for in answers; `None`: nothing.
    pub(crate) answers: Option<Arc<Answers>>,
}

impl Held {
    /// Whether its policy says that a server of tools (MCP) answers.
    pub(crate) fn speaks_mcp(&self) -> bool {
        let effective = &self.effective;
        effective.mcp.is_some() || effective.server == Some(ServerKind::Mcp)
    }

    /// By which protocol there are tasks; `None`: nobody says that there are any.
    pub(crate) fn has_tasks(&self) -> Option<Protocol> {
        has_tasks(&self.effective)
    }

    /// Whether what its server stores is for the consumer alone who was given its id.
    pub(crate) fn binds_objects(&self) -> bool {
        binds_objects(&self.effective).is_some()
    }
}

/// Where that is written.
fn binds_objects(effective: &Effective) -> Option<&Source> {
    let bound = effective.stored_objects.as_ref().filter(|(who, _)| *who == StoredObjects::PerConsumer);
    bound.map(|(_, source)| source)
}

fn has_tasks(effective: &Effective) -> Option<Protocol> {
    if effective.a2a.is_some() || effective.server == Some(ServerKind::A2a) {
        Some(Protocol::Agents)
    } else {
        (effective.mcp.is_some() || effective.server == Some(ServerKind::Mcp)).then_some(Protocol::Tools)
    }
}

/// What holds where.
#[derive(Debug, Default)]
pub(crate) struct Attached {
    places: HashMap<(ListenerId, RuleId), Arc<Held>>,
    /// Listeners where certificates of clients say who asks.
    pub(crate) mtls: BTreeSet<ListenerId>,
}

/// What requests of a place are asked with.
type Ready = (Option<Arc<Authenticator>>, Option<(Waf, RuleSet)>, Option<Arc<Answers>>);

/// Which sections say what is looked for in answers, and where it is written that ids are bound.
type Sections = (Option<*const Responses>, [Option<*const Mcp>; 2], Option<String>);

/// What is shared while the places are made ready.
struct Making<'a> {
    wafs: Wafs<'a>,
    sources: &'a KeySources,
    /// Whether it is known what models cost.
    has_prices: bool,
    authenticators: HashMap<*const Authentication, Arc<Authenticator>>,
    answers: HashMap<Sections, Arc<Answers>>,
    /// What cannot be enforced, once for each field of a policy: where it is written, and why.
    faults: BTreeMap<String, Closed>,
}

impl Attached {
    /// What cannot be enforced as it is written is closed where it would hold, and added to `faults`.
    ///
    /// # Errors
    /// There is too much.
    pub(crate) fn build(
        config: &Config,
        sources: &KeySources,
        has_prices: bool,
        faults: &mut Vec<ConfigError>,
    ) -> Result<Self, ConfigError> {
        let (policies, _told_where_they_are_read) = Policies::build(config.policies.clone());
        let wafs = Wafs::new(&config.waf);
        let mut making = Making {
            wafs,
            sources,
            has_prices,
            authenticators: HashMap::new(),
            answers: HashMap::new(),
            faults: BTreeMap::new(),
        };
        let mut attached = Self::default();
        let (listeners, rules) = (config.routing.listeners(), config.routing.rules());
        if listeners.len().saturating_mul(rules.len()) > MOST_PLACES {
            return Err(ConfigError::TooMany(MOST_PLACES));
        }
        for listener in listeners {
            for rule in rules {
                let held = making.held(&policies, listener, rule);
                if held.effective.authentication.as_ref().is_some_and(|(it, _)| it.mtls.is_some()) {
                    attached.mtls.insert(listener.id);
                }
                attached.places.insert((listener.id, rule.id), Arc::new(held));
            }
        }
        let policy = |Closed { why, source }| ConfigError::Policy { at: Box::new(source), why };
        faults.extend(making.faults.into_values().map(policy));
        Ok(attached)
    }

    /// What holds here.
    pub(crate) fn at(&self, listener: ListenerId, rule: RuleId) -> Option<&Arc<Held>> {
        self.places.get(&(listener, rule))
    }
}

impl Making<'_> {
    fn held(&mut self, policies: &Policies, listener: &Listener, rule: &Rule) -> Held {
        let kind = if rule.route.kind == "GRPCRoute" { TargetKind::GrpcRoute } else { TargetKind::HttpRoute };
        let route = RouteKey {
            kind,
            namespace: &rule.route.namespace,
            name: &rule.route.name,
            rule: rule.name.as_deref(),
        };
        let place = Place {
            gateway: (&listener.gateway.namespace, &listener.gateway.name),
            listener: &listener.name,
            route: Some(route),
        };
        let effective = policies.at(&place);
        match self.ready(&effective) {
            Ok((authenticator, waf, answers)) => Held { effective, authenticator, waf, answers },
            Err(closed) => {
                self.faults.insert(closed.source.to_string(), closed.clone());
                Held {
                    effective: Arc::new(Effective::closed(closed)),
                    authenticator: None,
                    waf: None,
                    answers: None,
                }
            }
        }
    }

    /// What the sections need.
    fn ready(&mut self, effective: &Effective) -> Result<Ready, Closed> {
        let closed = |source: &Source, why: String| Closed { why, source: source.clone() };
        if let Some(source) = effective.limits_money().filter(|_| !self.has_prices) {
            let why = "it limits money, and the gateway was given no prices: start it with --prices FILE";
            return Err(closed(source, why.to_owned()));
        }
        let authenticator = match &effective.authentication {
            Some((written, source)) => Some(self.authenticator(written).map_err(|why| closed(source, why))?),
            None => None,
        };
        let answers = self.answers(effective)?;
        let waf = match &effective.waf {
            Some((waf, source)) if waf.mode != ProtectionMode::Off => {
                Some((*waf, self.wafs.of(waf).map_err(|why| closed(source, why))?))
            }
            Some(_) | None => None,
        };
        Ok((authenticator, waf, answers))
    }

    fn authenticator(&mut self, written: &Arc<Authentication>) -> Result<Arc<Authenticator>, String> {
        let key = Arc::as_ptr(written);
        if let Some(known) = self.authenticators.get(&key) {
            return Ok(Arc::clone(known));
        }
        let made = Authenticator::new(written, self.sources)
            .map_err(|wrong| wrong.iter().map(|one| one.message.clone()).collect::<Vec<_>>().join("; "))?;
        let made = Arc::new(made);
        self.authenticators.insert(key, Arc::clone(&made));
        Ok(made)
    }

    /// What is looked for in answers, made once for each pair of sections.
    fn answers(&mut self, effective: &Effective) -> Result<Option<Arc<Answers>>, Closed> {
        let responses = effective.responses.as_ref();
        let pinned = [&effective.mcp, &effective.a2a]
            .map(|section| section.as_ref().filter(|(section, _)| section.definitions.is_some()));
        let tools = pinned.into_iter().flatten().next();
        // The ids in them become those of who asks, wherever that is written.
        let has_tasks = has_tasks(effective).is_some();
        let sections = [effective.mcp.as_ref(), effective.a2a.as_ref()].into_iter().flatten();
        let said = sections.map(|(_, source)| source).next();
        let said = said.or(effective.authentication.as_ref().map(|(_, source)| source));
        let bound = binds_objects(effective).or(said.filter(|_| has_tasks));
        let wanted = responses.map(|(_, source)| source).or(tools.map(|(_, source)| source));
        let Some(source) = wanted.or(bound) else { return Ok(None) };
        let key = (
            responses.map(|(it, _)| Arc::as_ptr(it)),
            pinned.map(|section| section.map(|(it, _)| Arc::as_ptr(it))),
            bound.map(ToString::to_string),
        );
        if let Some(known) = self.answers.get(&key) {
            return Ok(Some(Arc::clone(known)));
        }
        let written = responses.map(|(written, source)| (&**written, source));
        let made = Answers::new(written, tools.map(|(_, source)| source), bound)
            .map_err(|why| Closed { why, source: source.clone() })?;
        let made = made.map(Arc::new);
        if let Some(made) = &made {
            self.answers.insert(key, Arc::clone(made));
        }
        Ok(made)
    }
}
