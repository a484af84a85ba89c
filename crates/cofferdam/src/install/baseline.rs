//! `cofferdam install baseline`: policies for all namespaces that close the ways around rules on names.
//!
//! Enters: what differs from cluster to cluster. Leaves: `deploy/baseline.yaml` with that filled in. Guarantees: without
//! options it is that file, and its rules on metadata are made of [`policy::metadata`]. Does not: look at the cluster.

use clap::Args;
use ipnet::IpNet;
use policy::metadata::{At, PLACES, Place, Whose};
use std::net::IpAddr;

/// Without any option.
const BASELINE: &str = include_str!("../../../../deploy/baseline.yaml");
/// The line that a rule on the API server takes the place of.
const NO_API_SERVER: &str =
    "    # The API server is not closed: its addresses are the cluster's own. Name them with --api-server.\n";
/// The last line of the peers that are the cluster's DNS.
const CLUSTER_DNS: &str = "            podSelector: {matchLabels: {k8s-app: kube-dns}}\n";
/// As managed clusters, kubeadm, minikube and MicroK8s serve it.
const API_SERVER_PORTS: &str = "{port: 443}, {port: 6443}, {port: 8443}, {port: 16443}";

/// What differs from cluster to cluster.
#[derive(Args, Clone, Debug, Default)]
#[command(after_help = "Examples:
  cofferdam install baseline --api-server 192.0.2.10/32 --allow-namespace cert-manager \
    --allow-namespace cofferdam-system | kubectl apply -f -
  cofferdam install baseline | cofferdam policy check -f -

The addresses of the API server, not its Service's:
  kubectl get endpointslices -n default -l kubernetes.io/service-name=kubernetes
Pods of kube-system, and those that use the host's network, are never meant. Allow the namespace that Cofferdam is in
where it has an ingress gateway, a collector or a hub: they ask the API server.")]
pub(crate) struct BaselineArgs {
    /// The API server is here; without, no rule closes it; may be repeated
    #[arg(long = "api-server", value_name = "CIDR", value_parser = block)]
    api_servers: Vec<IpNet>,
    /// The metadata service and the API server are not closed to this namespace; may be repeated
    #[arg(long = "allow-namespace", value_name = "NAME", value_parser = namespace)]
    allowed: Vec<String>,
    /// The cluster's DNS is here too, for example a cache on each node; may be repeated
    #[arg(long = "resolver", value_name = "CIDR", value_parser = block)]
    resolvers: Vec<IpNet>,
}

fn namespace(text: &str) -> Result<String, String> {
    // RFC 1123: an API server refuses a selector with any other value, and the whole policy with it.
    let is_label = (1..=63).contains(&text.len())
        && !text.starts_with('-')
        && !text.ends_with('-')
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    let rule =
        "no name of a namespace: those have lower case letters, digits and, within, hyphens, 63 at most";
    is_label.then(|| text.to_owned()).ok_or_else(|| rule.to_owned())
}

/// A block, or one address.
fn block(text: &str) -> Result<IpNet, String> {
    let one = || text.parse().map(|address: IpAddr| IpNet::from(address));
    text.parse()
        .or_else(|_| one())
        .map_err(|_| "neither a block such as 192.0.2.0/24 nor an address".to_owned())
}

impl BaselineArgs {
    /// The policies, as YAML.
    pub(crate) fn policies(&self) -> String {
        let mut text = BASELINE.to_owned();
        if !self.resolvers.is_empty() {
            let peer = format!("        - networks: [{}]\n", blocks(&self.resolvers));
            text = text.replace(CLUSTER_DNS, &format!("{CLUSTER_DNS}{peer}"));
        }
        if !self.api_servers.is_empty() {
            text = text.replace(NO_API_SERVER, &self.api_server("Deny"));
        }
        if !self.allowed.is_empty() {
            text.push_str(&self.exceptions());
        }
        text
    }

    fn api_server(&self, action: &str) -> String {
        format!(
            "    - name: api-server\n      action: {action}\n      to: [{{networks: [{}]}}]\n      ports: [{API_SERVER_PORTS}]\n",
            blocks(&self.api_servers)
        )
    }

    /// Judged before the baseline.
    fn exceptions(&self) -> String {
        let mut text = format!(
            "---
# What these namespaces may reach is left to their own policies: Pass grants nothing, it only leaves the Admin tier.
apiVersion: cofferdam.dev/v1alpha1
kind: ClusterEgressPolicy
metadata: {{name: cofferdam-baseline-exceptions}}
spec:
  tier: Admin
  priority: 898
  subject:
    namespaces:
      matchExpressions: [{{key: kubernetes.io/metadata.name, operator: In, values: [{}]}}]
  egress:
{}",
            quoted(self.allowed.iter()),
            metadata("Pass")
        );
        if !self.api_servers.is_empty() {
            text.push_str(&self.api_server("Pass"));
        }
        text
    }
}

/// Rules on every place where machines are handed their credentials: one on those that are for nothing else, and one on each
/// that is something else at other ports.
fn metadata(action: &str) -> String {
    let of_machines = || PLACES.iter().filter(|place| place.whose == Whose::Machine);
    let peer = |place: &Place| {
        format!("        - networks: [{}] # {}\n", blocks(&[place.address.into()]), place.providers)
    };
    let mut text = format!("    - name: metadata-service\n      action: {action}\n      to:\n");
    text.extend(of_machines().filter(|place| place.ports == At::EveryPort).map(peer));
    for place in of_machines() {
        let At::Tcp(ports) = place.ports else { continue };
        let ports = ports.iter().map(|port| format!("{{port: {port}}}")).collect::<Vec<_>>().join(", ");
        let peer = peer(place);
        text.push_str(&format!(
            "    - name: metadata-service-at-ports\n      action: {action}\n      to:\n{peer}      ports: [{ports}]\n"
        ));
    }
    text
}

fn blocks(blocks: &[IpNet]) -> String {
    quoted(blocks.iter().map(IpNet::trunc))
}

/// As a flow sequence has them: some names and addresses would else be numbers or mappings.
fn quoted(items: impl Iterator<Item = impl ToString>) -> String {
    items.map(|item| format!("\"{}\"", item.to_string())).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crds::{EgressPeer, EgressPolicy, Object};
    use observe::about::PUBLIC_RESOLVERS;
    use std::collections::BTreeSet;

    fn options(words: &str) -> BaselineArgs {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            args: BaselineArgs,
        }
        let line = <Line as clap::Parser>::try_parse_from(format!("x {words}").split_whitespace());
        line.map(|line| line.args).unwrap()
    }

    #[test]
    fn one_address_is_a_block_too_and_what_is_none_is_told_how_to_be() {
        let args = options("--api-server 192.0.2.10 --api-server 2001:db8::/64 --resolver 2001:db8::1");
        assert_eq!(
            args.api_servers,
            ["192.0.2.10/32".parse().unwrap(), "2001:db8::/64".parse::<IpNet>().unwrap()]
        );
        assert_eq!(args.resolvers, ["2001:db8::1/128".parse::<IpNet>().unwrap()]);
        assert!(block("192.0.2.300").unwrap_err().contains("192.0.2.0/24"));
        assert!(namespace("Foo_").unwrap_err().contains("lower case"));
    }

    fn objects(text: &str) -> Vec<Object> {
        let read = crds::read_objects("baseline.yaml", text.as_bytes());
        assert!(read.diagnostics.is_empty(), "{:#?}", read.diagnostics);
        read.objects
    }

    fn egress(object: &Object) -> &EgressPolicy {
        let Object::EgressPolicy(policy) = object else { panic!("{object:?}") };
        policy
    }

    fn names(policy: &EgressPolicy) -> Vec<&str> {
        policy.egress.rules.iter().filter_map(|rule| rule.name.as_deref()).collect()
    }

    /// Addresses of a rule's networks.
    fn networks(policy: &EgressPolicy, rule: &str) -> BTreeSet<IpNet> {
        let rules = policy.egress.rules.iter().filter(|it| it.name.as_deref() == Some(rule));
        let peers = rules.flat_map(|rule| &rule.peers);
        let blocks = peers.filter_map(|peer| match &peer.value {
            EgressPeer::Networks(blocks) => Some(blocks),
            _ => None,
        });
        blocks.flatten().copied().collect()
    }

    #[test]
    fn without_options_it_is_the_file() {
        let text = options("").policies();
        assert_eq!(text, BASELINE);
        for line in [NO_API_SERVER, CLUSTER_DNS, &metadata("Deny")] {
            assert_eq!(text.matches(line).count(), 1, "deploy/baseline.yaml has once:\n{line}");
        }
        let objects = objects(&text);
        assert_eq!(objects.len(), 2);
        let rules = [
            "metadata-service",
            "metadata-service-at-ports",
            "dns-past-the-cluster",
            "dns-over-tls",
            "dns-over-https",
        ];
        assert_eq!(names(egress(&objects[1])), rules);
    }

    #[test]
    fn its_resolvers_are_those_that_records_know() {
        let objects = objects(BASELINE);
        let known: BTreeSet<IpNet> = PUBLIC_RESOLVERS.into_iter().map(IpNet::from).collect();
        assert_eq!(networks(egress(&objects[1]), "dns-over-https"), known);
    }

    /// Rules that mean an address, with their ports: `None` is every one.
    fn rules_on(policy: &EgressPolicy, address: std::net::IpAddr) -> Vec<(&str, Option<Vec<u16>>)> {
        let of_metadata = |rule: &&str| rule.starts_with("metadata-service");
        let rules = names(policy).into_iter().filter(of_metadata);
        let rules = rules.filter(|rule| networks(policy, rule).contains(&address.into()));
        let ports = |rule: &str| {
            let rule = policy.egress.rules.iter().find(|it| it.name.as_deref() == Some(rule)).unwrap();
            let ports: Vec<u16> = rule.ports.iter().filter_map(|port| Some(port.value.range?.0)).collect();
            (!rule.ports.is_empty()).then_some(ports)
        };
        rules.map(|rule| (rule, ports(rule))).collect()
    }

    #[test]
    fn every_place_of_the_machines_credentials_is_denied_and_none_of_the_workloads() {
        let text = options("--allow-namespace ops").policies();
        let objects = objects(&text);
        for place in PLACES {
            for policy in [egress(&objects[1]), egress(&objects[2])] {
                let expected = match (place.whose, place.ports) {
                    (Whose::Machine, At::EveryPort) => vec![("metadata-service", None)],
                    (Whose::Machine, At::Tcp(ports)) => {
                        vec![("metadata-service-at-ports", Some(ports.to_vec()))]
                    }
                    (Whose::Workload, At::EveryPort | At::Tcp(_)) => vec![],
                };
                assert_eq!(rules_on(policy, place.address), expected, "{}", place.address);
            }
        }
    }

    #[test]
    fn the_guide_lists_every_place() {
        let guide = include_str!("../../../../docs/how-to/allow-egress-by-domain.md");
        let (_, list) = guide.split_once("### Where clouds hand out credentials").unwrap();
        let (list, _) = list.split_once("\n## ").unwrap();
        for place in PLACES {
            let whose = match place.whose {
                Whose::Machine => "| the machine's |",
                Whose::Workload => "| the workload's |",
            };
            let address = place.address.to_string();
            let told = |line: &str| {
                let addresses = line.split(['|', ',', ' ']);
                line.ends_with(whose) && addresses.into_iter().any(|word| word == address)
            };
            assert!(list.lines().any(told), "{address} {whose}");
        }
    }

    #[test]
    fn what_a_cluster_has_of_its_own_is_filled_in() {
        let text = options(
            "--api-server 192.0.2.10/24 --api-server 2001:db8::a/128 --allow-namespace ops --allow-namespace 1 \
             --resolver 169.254.20.10/32",
        )
        .policies();
        let objects = objects(&text);
        let [Object::ClusterPolicy(_), ..] = objects.as_slice() else { panic!("{objects:?}") };
        assert!(text.contains("        - networks: [\"169.254.20.10/32\"]\n      protocols:"), "{text}");
        let api_server = ["192.0.2.0/24", "2001:db8::a/128"].map(|block| block.parse().unwrap()).into();
        assert_eq!(networks(egress(&objects[1]), "api-server"), api_server);
        assert_eq!(networks(egress(&objects[2]), "api-server"), api_server);
        let exceptions = ["metadata-service", "metadata-service-at-ports", "api-server"];
        assert_eq!(names(egress(&objects[2])), exceptions);
        assert!(text.contains("operator: In, values: [\"ops\", \"1\"]"), "{text}");
        assert!(!text.contains(NO_API_SERVER));
        let only_metadata = options("--allow-namespace ops").policies();
        assert_eq!(names(egress(&self::objects(&only_metadata)[2])), exceptions[..2]);
    }

    #[test]
    fn what_is_no_namespace_is_refused() {
        for text in ["", "a b", "x\"]", "Upper", "-x", "x-", &"x".repeat(64)] {
            assert!(namespace(text).is_err(), "{text:?}");
        }
        for text in ["x", "1", "a-b", &"x".repeat(63)] {
            assert!(namespace(text).is_ok(), "{text:?}");
        }
    }
}
