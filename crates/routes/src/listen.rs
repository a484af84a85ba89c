//! Gateways -> listeners in force, and what each says of itself.

use crate::CONTROLLER;
use crate::known::{GROUP, Known};
use crate::matching::Age;
use crate::routing::{ListenerProtocol, Tls};
use crate::status::{Condition, ConditionKind, ListenerStatus, ObjectStatus, Reason, Status};
use crds::{Gateway, GatewayClass, GatewayListener, ObjectName, TlsSecret};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// The class that is ours where no GatewayClass of this name says otherwise.
const CLASS: &str = "cofferdam";

type Wrong = (Reason, String);

/// A gateway of ours, with its listeners.
pub(crate) struct Ours<'o> {
    pub(crate) gateway: &'o Gateway,
    /// Why nothing of it is in force.
    wrong: Option<Wrong>,
    pub(crate) listeners: Vec<Draft<'o>>,
}

/// A listener before all is known of it.
pub(crate) struct Draft<'o> {
    pub(crate) written: &'o GatewayListener,
    pub(crate) protocol: Option<ListenerProtocol>,
    pub(crate) tls: Tls,
    /// Kinds of routes that may attach.
    pub(crate) kinds: Vec<&'static str>,
    pub(crate) attached: usize,
    accepted: Option<Wrong>,
    resolved: Option<Wrong>,
    /// Whether what is not resolved keeps it from being in force.
    is_open: bool,
    conflict: Option<Wrong>,
}

impl Ours<'_> {
    /// Whether this listener takes requests.
    pub(crate) fn is_in_force(&self, draft: &Draft<'_>) -> bool {
        self.wrong.is_none() && draft.is_in_force()
    }

    /// Whether this listener would take requests if it had a certificate.
    pub(crate) fn lacks_certificate(&self, draft: &Draft<'_>) -> bool {
        self.wrong.is_none() && draft.accepted.is_none() && draft.conflict.is_none() && !draft.is_open
    }
}

impl Draft<'_> {
    fn is_in_force(&self) -> bool {
        self.accepted.is_none() && self.conflict.is_none() && self.is_open
    }
}

/// Every gateway of our classes, the oldest first, and the statuses of classes.
pub(crate) fn gateways<'o>(known: &Known<'o>) -> (Vec<Ours<'o>>, Vec<ObjectStatus>) {
    let statuses =
        known.classes.iter().filter(|class| is_ours(class)).map(|class| class_status(class)).collect();
    let mut ours: Vec<&Gateway> =
        known.gateways.iter().copied().filter(|it| has_our_class(known, it)).collect();
    ours.sort_by_cached_key(|gateway| Age::of(&gateway.meta));
    let mut ours: Vec<Ours<'_>> = ours.into_iter().map(|gateway| draft(known, gateway)).collect();
    find_conflicts(&mut ours);
    (ours, statuses)
}

fn is_ours(class: &GatewayClass) -> bool {
    &*class.controller == CONTROLLER
}

fn has_our_class(known: &Known<'_>, gateway: &Gateway) -> bool {
    match known.classes.iter().find(|class| class.meta.name == gateway.class) {
        Some(class) => is_ours(class) && class.broken.is_none() && class.parameters.is_none(),
        None => &*gateway.class == CLASS,
    }
}

fn class_status(class: &GatewayClass) -> ObjectStatus {
    let wrong = match (&class.broken, &class.parameters) {
        (Some(why), _) => Some((Reason::InvalidParameters, why.to_string())),
        (None, Some(_)) => {
            Some((Reason::InvalidParameters, "this class has no parameters: leave parametersRef out".into()))
        }
        (None, None) => None,
    };
    ObjectStatus {
        object: ObjectName {
            kind: "GatewayClass".into(),
            namespace: "".into(),
            name: class.meta.name.clone(),
        },
        position: class.position.clone(),
        generation: class.meta.generation,
        status: Status::Class(vec![Condition::of(ConditionKind::Accepted, wrong)]),
    }
}

fn draft<'o>(known: &Known<'o>, gateway: &'o Gateway) -> Ours<'o> {
    let wrong = match (&gateway.broken, &gateway.parameters, gateway.addresses.first()) {
        (Some(why), _, _) => Some((Reason::Invalid, why.to_string())),
        (None, Some(_), _) => {
            Some((Reason::InvalidParameters, "there are no parameters: leave parametersRef out".into()))
        }
        (None, None, Some(address)) => {
            let message = format!(
                "addresses of type {} are not given; the gateway listens on every address of its pods: leave them out",
                address.value
            );
            Some((Reason::UnsupportedAddress, message))
        }
        (None, None, None) => None,
    };
    let listeners = gateway.listeners.iter().map(|listener| draft_listener(known, gateway, listener));
    Ours { gateway, wrong, listeners: listeners.collect() }
}

fn draft_listener<'o>(known: &Known<'o>, gateway: &Gateway, written: &'o GatewayListener) -> Draft<'o> {
    let protocol = match &*written.protocol {
        "HTTP" => Some(ListenerProtocol::Http),
        "HTTPS" => Some(ListenerProtocol::Https),
        "TLS" => Some(ListenerProtocol::Tls),
        _ => None,
    };
    let mut draft = Draft {
        written,
        protocol,
        tls: Tls::None,
        kinds: Vec::new(),
        attached: 0,
        accepted: None,
        resolved: None,
        is_open: true,
        conflict: None,
    };
    let Some(protocol) = protocol else {
        let message = format!("{} is not spoken here; HTTP, HTTPS and TLS are", written.protocol);
        draft.accepted = Some((Reason::UnsupportedProtocol, message));
        return draft;
    };
    draft.kinds = kinds(protocol, written, &mut draft.resolved);
    let is_passthrough = written.tls.as_ref().is_some_and(|tls| tls.is_passthrough);
    match (protocol, &written.tls) {
        (ListenerProtocol::Http, None) => {}
        (ListenerProtocol::Http, Some(_)) => {
            draft.accepted =
                Some((Reason::UnsupportedValue, "with HTTP there is no tls: write HTTPS".into()));
        }
        (ListenerProtocol::Https, _) if !is_passthrough => match certificates(known, gateway, written) {
            Ok(certificates) => draft.tls = Tls::Terminate(certificates),
            Err(wrong) => {
                draft.is_open = false;
                draft.resolved = Some(wrong);
            }
        },
        (ListenerProtocol::Tls, _) if is_passthrough => draft.tls = Tls::Passthrough,
        (ListenerProtocol::Https, _) => {
            let message = "HTTPS ends here: write mode: Terminate, or protocol: TLS";
            draft.accepted = Some((Reason::UnsupportedValue, message.into()));
        }
        (ListenerProtocol::Tls, _) => {
            let message = "TLS is handed on as it is: write mode: Passthrough, or protocol: HTTPS";
            // No route can attach where TLS would end and what comes out of it be handed on.
            draft.kinds.clear();
            draft.accepted = Some((Reason::UnsupportedValue, message.into()));
        }
    }
    draft
}

/// Kinds that may attach. Those that a listener names and cannot have are left out, and told of.
fn kinds(
    protocol: ListenerProtocol,
    written: &GatewayListener,
    wrong: &mut Option<Wrong>,
) -> Vec<&'static str> {
    let possible: &[&'static str] = match protocol {
        ListenerProtocol::Http | ListenerProtocol::Https => &["HTTPRoute", "GRPCRoute"],
        ListenerProtocol::Tls => &["TLSRoute"],
    };
    if written.kinds.is_empty() {
        return possible.to_vec();
    }
    let mut kinds = Vec::new();
    for (group, kind) in &written.kinds {
        match possible.iter().find(|possible| &**group == GROUP && **possible == &**kind) {
            Some(known) if kinds.contains(known) => {}
            Some(known) => kinds.push(*known),
            None => {
                let message = format!("{kind} of {group:?} cannot attach here; {} can", possible.join(", "));
                *wrong = Some((Reason::InvalidRouteKinds, message));
            }
        }
    }
    kinds
}

fn certificates(
    known: &Known<'_>,
    gateway: &Gateway,
    written: &GatewayListener,
) -> Result<Vec<Arc<TlsSecret>>, Wrong> {
    let references = written.tls.iter().flat_map(|tls| &tls.certificates);
    let mut found = Vec::new();
    for reference in references {
        let namespace = &gateway.meta.namespace;
        if !reference.group.is_empty() || &*reference.kind != "Secret" {
            let message = format!("{} {} is no Secret", reference.kind, reference.name);
            return Err((Reason::InvalidCertificateRef, message));
        }
        let meant = Known::meant(reference, namespace);
        let shown = format!("Secret {}/{}", meant.namespace, meant.name);
        if !known.may_refer("Gateway", namespace, reference) {
            let message =
                format!("{shown}: no ReferenceGrant there lets Gateways of {namespace} refer to it");
            return Err((Reason::RefNotPermitted, message));
        }
        let secret = known.secrets.get(&meant).ok_or_else(|| {
            (Reason::InvalidCertificateRef, format!("{shown} of type kubernetes.io/tls is not there"))
        })?;
        let has = |bytes: &[u8], word: &str| String::from_utf8_lossy(bytes).contains(word);
        if !has(&secret.certificate, "-----BEGIN CERTIFICATE-----") || !has(&secret.key.0, "PRIVATE KEY-----")
        {
            let message = format!("{shown} has no certificate in tls.crt or no key in tls.key, in PEM");
            return Err((Reason::InvalidCertificateRef, message));
        }
        found.push(secret.clone());
    }
    if found.is_empty() {
        return Err((Reason::InvalidCertificateRef, "HTTPS needs certificateRefs".into()));
    }
    Ok(found)
}

/// Of one port: whether it is used with TLS, and who has which host name.
type Taken = (bool, HashMap<Option<Arc<str>>, String>);

/// Listeners of one gateway that exclude each other are none of them in force, as the API wants it. Of several gateways,
/// which here share their ports, the oldest has the port and the name.
fn find_conflicts(ours: &mut [Ours<'_>]) {
    let mut taken: HashMap<u16, Taken> = HashMap::new();
    for gateway in ours.iter_mut().filter(|gateway| gateway.wrong.is_none()) {
        conflicts_within(&mut gateway.listeners);
        let owner = format!("{}/{}", gateway.gateway.meta.namespace, gateway.gateway.meta.name);
        for draft in
            gateway.listeners.iter_mut().filter(|draft| draft.accepted.is_none() && draft.conflict.is_none())
        {
            let is_tls = draft.protocol != Some(ListenerProtocol::Http);
            let (their_tls, names) =
                taken.entry(draft.written.port).or_insert_with(|| (is_tls, HashMap::new()));
            if *their_tls != is_tls {
                let message =
                    format!("an older Gateway has port {} for another protocol", draft.written.port);
                draft.conflict = Some((Reason::ProtocolConflict, message));
            } else if let Some(other) = names.get(&draft.written.hostname).filter(|other| **other != owner) {
                let message = format!("Gateway {other} is older and has the same port and host name");
                draft.conflict = Some((Reason::HostnameConflict, message));
            } else {
                names.insert(draft.written.hostname.clone(), owner.clone());
            }
        }
    }
}

fn conflicts_within(listeners: &mut [Draft<'_>]) {
    let mut ports: BTreeMap<u16, Vec<&mut Draft<'_>>> = BTreeMap::new();
    for draft in listeners.iter_mut().filter(|draft| draft.accepted.is_none()) {
        ports.entry(draft.written.port).or_default().push(draft);
    }
    for (port, mut drafts) in ports {
        let is_plain = |draft: &&mut Draft<'_>| draft.protocol == Some(ListenerProtocol::Http);
        let plain = drafts.iter().filter(|draft| is_plain(draft)).count();
        let is_mixed = plain > 0 && plain < drafts.len();
        let mut names: HashMap<Option<&str>, usize> = HashMap::new();
        for draft in &drafts {
            *names.entry(draft.written.hostname.as_deref()).or_default() += 1;
        }
        for draft in &mut drafts {
            let same = names.get(&draft.written.hostname.as_deref()).copied().unwrap_or_default();
            if is_mixed {
                let message = format!("port {port} is used with TLS and without");
                draft.conflict = Some((Reason::ProtocolConflict, message));
            } else if same > 1 {
                let message = format!("{same} listeners of port {port} have this host name");
                draft.conflict = Some((Reason::HostnameConflict, message));
            }
        }
    }
}

/// What a gateway says of itself once routes are attached.
pub(crate) fn status(ours: Ours<'_>) -> ObjectStatus {
    let bad = ours.listeners.iter().filter(|draft| !draft.is_in_force()).count();
    let some_bad =
        format!("{bad} of {} listeners are not in force; their conditions say why", ours.listeners.len());
    let all_bad = bad == ours.listeners.len();
    let accepted = match &ours.wrong {
        Some((reason, message)) => Condition::no(ConditionKind::Accepted, *reason, message.clone()),
        None if all_bad => Condition::no(ConditionKind::Accepted, Reason::ListenersNotValid, some_bad),
        None if bad > 0 => Condition {
            kind: ConditionKind::Accepted,
            holds: true,
            reason: Reason::ListenersNotValid,
            message: some_bad,
        },
        None => Condition::yes(ConditionKind::Accepted, Reason::Accepted),
    };
    let is_off = ours.wrong.is_some() || all_bad;
    let off = is_off.then(|| (Reason::Invalid, "nothing of it is in force: see Accepted".to_owned()));
    let is_gateway_off = ours.wrong.is_some();
    let meta = &ours.gateway.meta;
    ObjectStatus {
        object: ObjectName {
            kind: "Gateway".into(),
            namespace: meta.namespace.clone(),
            name: meta.name.clone(),
        },
        position: ours.gateway.position.clone(),
        generation: meta.generation,
        status: Status::Gateway {
            conditions: vec![accepted, Condition::of(ConditionKind::Programmed, off)],
            listeners: ours
                .listeners
                .into_iter()
                .map(|draft| listener_status(draft, is_gateway_off))
                .collect(),
        },
    }
}

fn listener_status(draft: Draft<'_>, is_gateway_off: bool) -> ListenerStatus {
    let is_off = is_gateway_off || !draft.is_in_force();
    let off = is_off.then(|| (Reason::Invalid, "it is not in force: see its other conditions".to_owned()));
    let conflicted = match &draft.conflict {
        None => Condition::no(ConditionKind::Conflicted, Reason::NoConflicts, ""),
        Some((reason, message)) => {
            Condition { holds: true, ..Condition::no(ConditionKind::Conflicted, *reason, message.clone()) }
        }
    };
    ListenerStatus {
        name: draft.written.name.clone(),
        supported_kinds: draft.kinds,
        attached_routes: draft.attached,
        conditions: vec![
            Condition::of(ConditionKind::Accepted, draft.accepted.or(draft.conflict)),
            Condition::of(ConditionKind::Programmed, off),
            Condition::of(ConditionKind::ResolvedRefs, draft.resolved),
            conflicted,
        ],
    }
}
