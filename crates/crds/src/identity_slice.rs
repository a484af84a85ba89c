//! `cofferdam.dev/v1alpha1`: IdentitySlice, as written.
//!
//! What it says: some of the pods that a namespace of another cluster exports, with their labels and addresses. Guarantees: one
//! that cannot be read comes back as `broken` and without pods, so that nothing is taken for one of them. Does not: know who
//! consents, or whose addresses they are (`compiler`).

use crate::decode::{Decoder, Map};
use crate::diagnostic::{Code, Diagnostic, Position};
use crate::document::Node;
use crate::meta::{ObjectMeta, Scope, address, labels, short};
use crate::name;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

/// Most pods in one slice.
pub const MOST_IDENTITIES: usize = 256;
/// Most addresses of one pod.
const MOST_ADDRESSES: usize = 16;
/// Longest kind and name of a workload, and name of a service account, in bytes.
const MOST_TEXT: usize = 253;

/// One object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentitySlice {
    /// Metadata.
    pub meta: ObjectMeta,
    /// Where.
    pub position: Position,
    /// An error was reported; it has no pods then.
    pub broken: bool,
    /// `cluster`: where the pods run; empty where it cannot be read.
    pub cluster: Arc<str>,
    /// `namespace`: theirs, in that cluster; empty where it cannot be read.
    pub namespace: Arc<str>,
    /// `namespaceLabels`
    pub namespace_labels: BTreeMap<Arc<str>, Arc<str>>,
    /// `expired: true`: nothing was heard of the cluster for too long.
    pub expired: bool,
    /// `withheld`: so many pods of the namespace are not taken, for there are too many.
    pub withheld: u32,
    /// `pods`
    pub pods: Vec<Identity>,
}

/// A pod that is exported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Name.
    pub name: Arc<str>,
    /// Labels.
    pub labels: BTreeMap<Arc<str>, Arc<str>>,
    /// Addresses, at least one, each once.
    pub addresses: Vec<IpAddr>,
    /// `serviceAccount`; `default` if not written.
    pub service_account: Arc<str>,
    /// Kind and name of what made it: `Pod` and its own name if not written.
    pub workload: (Arc<str>, Arc<str>),
}

impl IdentitySlice {
    pub(crate) fn decode<'n>(d: &mut Decoder<'n>, object: Map<'n>) -> Self {
        let meta = ObjectMeta::decode(d, object, Scope::Namespaced, true);
        let mut slice = Self {
            meta,
            position: d.position(object.place),
            broken: true,
            cluster: "".into(),
            namespace: "".into(),
            namespace_labels: BTreeMap::new(),
            expired: false,
            withheld: 0,
            pods: Vec::new(),
        };
        d.required(object, "spec", |d, node| slice.spec(d, node));
        slice.broken = d.is_broken();
        if slice.broken {
            // Half a list would be another one.
            slice.pods.clear();
        }
        slice
    }

    fn spec<'n>(&mut self, d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<()> {
        let map =
            d.strict(node, &["cluster", "namespace", "namespaceLabels", "expired", "withheld", "pods"])?;
        self.cluster = d.required(map, "cluster", |d, node| label(d, node, "cluster")).unwrap_or_default();
        self.namespace =
            d.required(map, "namespace", |d, node| label(d, node, "namespace")).unwrap_or_default();
        self.namespace_labels = d.field(map, "namespaceLabels", labels).unwrap_or_default();
        self.expired = d.field(map, "expired", Decoder::boolean).flatten().unwrap_or(false);
        self.withheld = d.field(map, "withheld", Decoder::count).flatten().unwrap_or(0);
        self.pods = d
            .required(map, "pods", |d, node| {
                d.check_length(node, 0, MOST_IDENTITIES);
                d.list(node, identity)
            })
            .unwrap_or_default();
        Some(())
    }
}

/// The name of a cluster or a namespace: a DNS label.
pub(crate) fn label<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>, of: &str) -> Option<Arc<str>> {
    let text = d.string(node)?;
    if let Some(wrong) = name::dns_label(&text) {
        d.error(node.place, Code::InvalidName, format!("{:?} is no {of} name: {wrong}", short(&text)));
        return None;
    }
    Some(text)
}

fn identity<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<Identity> {
    let map = d.strict(node, &["name", "labels", "addresses", "serviceAccount", "workload"])?;
    let name = d.required(map, "name", |d, node| {
        let text = d.string(node)?;
        if let Some(wrong) = name::dns_subdomain(&text) {
            d.error(node.place, Code::InvalidName, format!("{:?} is no pod name: {wrong}", short(&text)));
            return None;
        }
        Some(text)
    })?;
    let addresses = d.required(map, "addresses", |d, node| {
        d.check_length(node, 1, MOST_ADDRESSES);
        let mut addresses = d.list(node, |d, node| {
            let found = address(d, node)?;
            if !is_of_a_pod(found) {
                let message = format!("{found} is no address that a pod can have");
                let diagnostic = Diagnostic::error(Code::InvalidValue, message);
                d.report(node.place, diagnostic.suggest("write the addresses of status.podIPs"));
                return None;
            }
            Some(found)
        })?;
        addresses.sort_unstable();
        addresses.dedup();
        Some(addresses)
    })?;
    let workload = d.field(map, "workload", |d, node| {
        let map = d.strict(node, &["kind", "name"])?;
        let kind = d.required(map, "kind", text);
        let name = d.required(map, "name", text);
        Some((kind?, name?))
    });
    Some(Identity {
        labels: d.field(map, "labels", labels).unwrap_or_default(),
        addresses,
        service_account: d.field(map, "serviceAccount", text).flatten().unwrap_or_else(|| "default".into()),
        workload: workload.flatten().unwrap_or_else(|| ("Pod".into(), name.clone())),
        name,
    })
}

/// Not one that means every host or many hosts, nor one that is good on one link only: who claimed the metadata address of a
/// cloud would have every rule for its pods open that.
fn is_of_a_pod(address: IpAddr) -> bool {
    let of_link = match address.to_canonical() {
        IpAddr::V4(address) => address.is_link_local() || address.is_broadcast(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    let address = address.to_canonical();
    !(of_link || address.is_loopback() || address.is_multicast() || address.is_unspecified())
}

fn text<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<Arc<str>> {
    let text = d.string(node)?;
    if text.is_empty() || text.len() > MOST_TEXT {
        d.error(node.place, Code::InvalidValue, format!("it has 1 to {MOST_TEXT} bytes"));
        return None;
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Object, read_objects};

    const WHOLE: &str = "apiVersion: cofferdam.dev/v1alpha1
kind: IdentitySlice
metadata: {name: ml-0, namespace: west}
spec:
  cluster: west
  namespace: ml
  namespaceLabels: {team: a}
  pods:
  - {name: train-0, labels: {app: train}, addresses: [10.8.0.2], workload: {kind: Job, name: train}}
  - {name: db, addresses: [10.8.0.4, 'fd00::4', 10.8.0.4]}
";

    fn read(text: &str) -> (IdentitySlice, String) {
        let mut read = read_objects("s.yaml", text.as_bytes());
        let told: Vec<_> = read.diagnostics.iter().map(ToString::to_string).collect();
        let Object::IdentitySlice(slice) = read.objects.remove(0) else { panic!("a slice") };
        (slice, told.join("\n"))
    }

    #[test]
    fn a_slice_is_read_whole() {
        let (slice, told) = read(WHOLE);
        assert_eq!(told, "");
        assert!(!slice.broken && !slice.expired && slice.withheld == 0);
        assert_eq!(read(&WHOLE.replacen("  pods:", "  withheld: 7\n  pods:", 1)).0.withheld, 7);
        assert_eq!((&*slice.cluster, &*slice.namespace), ("west", "ml"));
        let [train, db] = &slice.pods[..] else { panic!("{:?}", slice.pods) };
        assert_eq!(train.workload, ("Job".into(), "train".into()));
        assert_eq!((&*db.service_account, db.addresses.len()), ("default", 2));
        assert_eq!(db.workload, ("Pod".into(), "db".into()));
    }

    #[test]
    fn a_slice_with_anything_wrong_exports_nobody() {
        for (from, to, expected) in [
            ("cluster: west", "cluster: we@st", "is no cluster name"),
            ("namespace: ml\n", "namespace: m@l\n", "is no namespace name"),
            ("10.8.0.2", "169.254.169.254", "no address that a pod can have"),
            ("10.8.0.2", "127.0.0.1", "no address that a pod can have"),
            ("10.8.0.2", "'::ffff:127.0.0.1'", "no address that a pod can have"),
            ("10.8.0.2", "here", "is no IP address"),
            ("addresses: [10.8.0.2], ", "", "addresses"),
            ("name: train-0", "name: Train", "is no pod name"),
            ("app: train", "app: tra in", "is no label value"),
            ("  pods:", "  pod:", "pod"),
            ("  pods:", "  withheld: -1\n  pods:", "is not a count"),
        ] {
            let text = WHOLE.replacen(from, to, 1);
            assert_ne!(text, WHOLE, "{from}");
            let (slice, told) = read(&text);
            assert!(slice.broken && slice.pods.is_empty(), "{to}: {slice:?}");
            assert!(told.contains(expected) && told.contains("s.yaml:"), "{to}: {told}");
        }
    }
}
