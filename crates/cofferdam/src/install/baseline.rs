//! `cofferdam install baseline`: policies for all namespaces that close the ways around rules on names.
//!
//! Enters: what differs from cluster to cluster. Leaves: `deploy/baseline.yaml` with that filled in. Guarantees: without
//! options it is that file. Does not: look at the cluster.

use clap::Args;
use ipnet::IpNet;

/// Without any option.
const BASELINE: &str = include_str!("../../../../deploy/baseline.yaml");
/// The line that a rule on the API server takes the place of.
const NO_API_SERVER: &str =
    "    # The API server is not closed: its addresses are the cluster's own. Name them with --api-server.\n";
/// The last line of the peers that are the cluster's DNS.
const CLUSTER_DNS: &str = "            podSelector: {matchLabels: {k8s-app: kube-dns}}\n";
/// As the baseline's rule has them.
const METADATA: &str = "169.254.169.254/32, \"fd00:ec2::254/128\"";
/// As managed clusters, kubeadm, minikube and MicroK8s serve it.
const API_SERVER_PORTS: &str = "{port: 443}, {port: 6443}, {port: 8443}, {port: 16443}";

/// What differs from cluster to cluster.
#[derive(Args, Clone, Debug, Default)]
#[command(after_help = "Examples:
  cofferdam install baseline --api-server 192.0.2.10/32 --allow-namespace cert-manager | kubectl apply -f -
  cofferdam install baseline | cofferdam policy check -f -

The addresses of the API server, not its Service's:
  kubectl get endpointslices -n default -l kubernetes.io/service-name=kubernetes
Pods of kube-system, and those that use the host's network, are never meant.")]
pub(crate) struct BaselineArgs {
    /// The API server is here; without, no rule closes it; may be repeated
    #[arg(long = "api-server", value_name = "CIDR")]
    api_servers: Vec<IpNet>,
    /// The metadata service and the API server are not closed to this namespace; may be repeated
    #[arg(long = "allow-namespace", value_name = "NAME", value_parser = namespace)]
    allowed: Vec<String>,
    /// The cluster's DNS is here too, for example a cache on each node; may be repeated
    #[arg(long = "resolver", value_name = "CIDR")]
    resolvers: Vec<IpNet>,
}

fn namespace(text: &str) -> Result<String, String> {
    let is_label = !text.is_empty()
        && text.len() <= 63
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    is_label.then(|| text.to_owned()).ok_or_else(|| "no name of a namespace".to_owned())
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
    - name: metadata-service
      action: Pass
      to: [{{networks: [{METADATA}]}}]
",
            quoted(self.allowed.iter())
        );
        if !self.api_servers.is_empty() {
            text.push_str(&self.api_server("Pass"));
        }
        text
    }
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
    use observe::about::{METADATA_SERVICES, PUBLIC_RESOLVERS};
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
        for line in [NO_API_SERVER, CLUSTER_DNS, METADATA] {
            assert_eq!(text.matches(line).count(), 1, "{line}");
        }
        let objects = objects(&text);
        assert_eq!(objects.len(), 2);
        let rules = ["metadata-service", "dns-past-the-cluster", "dns-over-tls", "dns-over-https"];
        assert_eq!(names(egress(&objects[1])), rules);
    }

    #[test]
    fn its_resolvers_are_those_that_records_know() {
        let objects = objects(BASELINE);
        let known: BTreeSet<IpNet> = PUBLIC_RESOLVERS.into_iter().map(IpNet::from).collect();
        assert_eq!(networks(egress(&objects[1]), "dns-over-https"), known);
        let metadata = networks(egress(&objects[1]), "metadata-service");
        assert!(metadata.iter().all(|block| METADATA_SERVICES.contains(&block.addr())), "{metadata:?}");
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
        assert_eq!(names(egress(&objects[2])), ["metadata-service", "api-server"]);
        assert!(text.contains("operator: In, values: [\"ops\", \"1\"]"), "{text}");
        assert!(!text.contains(NO_API_SERVER));
        let only_metadata = options("--allow-namespace ops").policies();
        assert_eq!(names(egress(&self::objects(&only_metadata)[2])), ["metadata-service"]);
    }

    #[test]
    fn what_is_no_namespace_is_refused() {
        for text in ["", "a b", "x\"]", "Upper"] {
            assert!(namespace(text).is_err(), "{text:?}");
        }
    }
}
