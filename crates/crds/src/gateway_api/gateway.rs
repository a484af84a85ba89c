//! `gateway.networking.k8s.io` GatewayClass and Gateway.

use crate::decode::{Decoder, Map};
use crate::diagnostic::{Code, Position};
use crate::document::Node;
use crate::gateway_api::reference::{REFERENCE, Reference, Usual, hostname, refuse, section_name};
use crate::meta::{Located, ObjectMeta, Scope};
use crate::pod::port_number;
use crate::selector::LabelSelector;
use std::sync::Arc;

/// Most listeners of a Gateway, and most certificates of a listener.
const MOST: usize = 64;
/// Most kinds that a listener names.
const MOST_KINDS: usize = 8;

/// GatewayClass: who answers for gateways of this class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayClass {
    /// Metadata.
    pub meta: ObjectMeta,
    /// Where.
    pub position: Position,
    /// What is wrong with it.
    pub broken: Option<Arc<str>>,
    /// `spec.controllerName`
    pub controller: Arc<str>,
    /// `spec.parametersRef`
    pub parameters: Option<Reference>,
}

/// Gateway: where is listened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateway {
    /// Metadata.
    pub meta: ObjectMeta,
    /// Where.
    pub position: Position,
    /// What is wrong with it.
    pub broken: Option<Arc<str>>,
    /// `spec.gatewayClassName`
    pub class: Arc<str>,
    /// `spec.listeners`
    pub listeners: Vec<GatewayListener>,
    /// `spec.addresses`: their places and types.
    pub addresses: Vec<Located<Arc<str>>>,
    /// `spec.infrastructure.parametersRef`
    pub parameters: Option<Reference>,
}

/// One listener as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayListener {
    /// Where.
    pub position: Position,
    /// `name`
    pub name: Arc<str>,
    /// `hostname`. `None`: any.
    pub hostname: Option<Arc<str>>,
    /// `port`
    pub port: u16,
    /// `protocol`
    pub protocol: Arc<str>,
    /// `tls`
    pub tls: Option<ListenerTls>,
    /// `allowedRoutes.namespaces`
    pub from: AllowedFrom,
    /// `allowedRoutes.kinds`: group and kind. Empty: all that the protocol allows.
    pub kinds: Vec<(Arc<str>, Arc<str>)>,
}

/// `tls` of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerTls {
    /// `mode: Passthrough`
    pub is_passthrough: bool,
    /// `certificateRefs`
    pub certificates: Vec<Reference>,
}

/// Routes of which namespaces may attach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowedFrom {
    /// Of every one.
    All,
    /// Of the Gateway's own.
    Same,
    /// Of those with these labels.
    Selector(LabelSelector),
    /// Of none.
    None,
}

impl GatewayClass {
    pub(crate) fn decode<'n>(d: &mut Decoder<'n>, object: Map<'n>) -> Self {
        let meta = ObjectMeta::decode(d, object, Scope::Cluster, true);
        let spec = d.required(object, "spec", |d, node| {
            let map = d.strict(node, &["controllerName", "parametersRef", "description"])?;
            let controller = d.required(map, "controllerName", Decoder::string);
            let parameters = d.field(map, "parametersRef", parameters).flatten();
            Some((controller?, parameters))
        });
        let (controller, parameters) = spec.unwrap_or_default();
        Self { meta, position: d.position(object.place), broken: d.first_error(), controller, parameters }
    }
}

impl Gateway {
    pub(crate) fn decode<'n>(d: &mut Decoder<'n>, object: Map<'n>) -> Self {
        let mut gateway = Self {
            meta: ObjectMeta::decode(d, object, Scope::Namespaced, true),
            position: d.position(object.place),
            broken: None,
            class: Arc::default(),
            listeners: Vec::new(),
            addresses: Vec::new(),
            parameters: None,
        };
        d.required(object, "spec", |d, node| gateway.spec(d, node));
        gateway.broken = d.first_error();
        gateway
    }

    fn spec<'n>(&mut self, d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<()> {
        const UNSUPPORTED: [&str; 3] = ["allowedListeners", "tls", "defaultScope"];
        let known = ["gatewayClassName", "listeners", "addresses", "infrastructure"];
        let map = d.strict(node, &[known.as_slice(), &UNSUPPORTED].concat())?;
        refuse(d, map, &UNSUPPORTED);
        self.class = d.required(map, "gatewayClassName", Decoder::string).unwrap_or_default();
        let listeners = d.required(map, "listeners", |d, node| {
            d.check_length(node, 1, MOST);
            d.list(node, listener)
        });
        self.listeners = listeners.unwrap_or_default();
        self.unique_names(d, map);
        let addresses = d.field(map, "addresses", |d, node| {
            d.located(node, |d, node| {
                let map = d.strict(node, &["type", "value"])?;
                Some(d.field(map, "type", Decoder::string).flatten().unwrap_or_else(|| "IPAddress".into()))
            })
        });
        self.addresses = addresses.flatten().unwrap_or_default();
        d.field(map, "infrastructure", |d, node| {
            let map = d.strict(node, &["labels", "annotations", "parametersRef"])?;
            self.parameters = d.field(map, "parametersRef", parameters).flatten();
            Some(())
        });
        Some(())
    }

    fn unique_names<'n>(&self, d: &mut Decoder<'n>, spec: Map<'n>) {
        let mut names: Vec<&str> = self.listeners.iter().map(|listener| &*listener.name).collect();
        names.sort_unstable();
        let twice = names.windows(2).find(|pair| pair.first() == pair.last());
        if let Some(name) = twice.and_then(|pair| pair.first()) {
            let message = format!("two listeners have the name {name:?}");
            d.error(spec.place, Code::InvalidValue, message);
        }
    }
}

fn parameters<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<Reference> {
    Reference::decode(d, node, Usual("", ""), &REFERENCE)
}

fn listener<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<GatewayListener> {
    let map = d.strict(node, &["name", "hostname", "port", "protocol", "tls", "allowedRoutes"])?;
    let name = d.required(map, "name", section_name);
    let hostname = d.field(map, "hostname", |d, node| match d.str(node)? {
        "" => None,
        _ => hostname(d, node),
    });
    let port = d.required(map, "port", port_number);
    let protocol = d.required(map, "protocol", Decoder::string);
    let tls = d.field(map, "tls", tls).flatten();
    let (from, kinds) =
        d.field(map, "allowedRoutes", allowed).flatten().unwrap_or((AllowedFrom::Same, vec![]));
    Some(GatewayListener {
        position: d.position(node.place),
        name: name?,
        hostname: hostname.flatten(),
        port: port?,
        protocol: protocol?,
        tls,
        from,
        kinds,
    })
}

fn tls<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<ListenerTls> {
    let map = d.strict(node, &["mode", "certificateRefs", "options"])?;
    refuse(d, map, &["options"]);
    let mode = d.field(map, "mode", |d, node| d.one_of(node, &[("Terminate", false), ("Passthrough", true)]));
    let certificates = d.field(map, "certificateRefs", |d, node| {
        d.check_length(node, 0, MOST);
        d.list(node, |d, node| Reference::decode(d, node, Usual("", "Secret"), &REFERENCE))
    });
    Some(ListenerTls {
        is_passthrough: mode.flatten().unwrap_or(false),
        certificates: certificates.flatten().unwrap_or_default(),
    })
}

type Allowed = (AllowedFrom, Vec<(Arc<str>, Arc<str>)>);

fn allowed<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<Allowed> {
    let map = d.strict(node, &["namespaces", "kinds"])?;
    let from = d.field(map, "namespaces", allowed_from).unwrap_or(Some(AllowedFrom::Same));
    let kinds = d.field(map, "kinds", |d, node| {
        d.check_length(node, 0, MOST_KINDS);
        d.list(node, |d, node| {
            let map = d.strict(node, &["group", "kind"])?;
            let group = d.field(map, "group", Decoder::string).unwrap_or_else(|| Some(super::GROUP.into()));
            Some((group?, d.required(map, "kind", Decoder::string)?))
        })
    });
    Some((from?, kinds.flatten().unwrap_or_default()))
}

fn allowed_from<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<AllowedFrom> {
    let map = d.strict(node, &["from", "selector"])?;
    let selector = d.field(map, "selector", LabelSelector::decode);
    let words = [("All", "All"), ("Same", "Same"), ("Selector", "Selector"), ("None", "None")];
    match d.field(map, "from", |d, node| d.one_of(node, &words)).unwrap_or(Some("Same"))? {
        "All" => Some(AllowedFrom::All),
        "None" => Some(AllowedFrom::None),
        "Selector" => {
            if selector.is_none() {
                d.error(node.place, Code::MissingField, "from: Selector needs a selector");
            }
            selector.flatten().map(AllowedFrom::Selector)
        }
        _ => Some(AllowedFrom::Same),
    }
}
