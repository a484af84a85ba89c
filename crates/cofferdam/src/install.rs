//! `cofferdam install`: what a cluster needs, as manifests to be applied.
//!
//! Leaves: YAML on standard output. Guarantees: the manifests are what the chart of this version renders with its
//! defaults, checked in and held to it by a test. Does not: talk to a cluster.

mod baseline;

use self::baseline::BaselineArgs;
use anyhow::{Context, Result, ensure};
use clap::Subcommand;
use controller::definition;
use serde_json::{Value, json};
use std::io::Write;

/// What `helm template` gives for the chart.
const MANIFESTS: &str = include_str!("../../../deploy/cofferdam.yaml");
/// The image that they name.
const IMAGE: &str = concat!("\"cofferdam:", env!("CARGO_PKG_VERSION"), "\"");

/// Print the manifests that a cluster needs.
#[derive(Subcommand, Debug)]
#[command(after_help = "Examples:
  cofferdam install manifests --image registry.example/cofferdam:0.1.0 | kubectl apply -f -
  cofferdam install crds | kubectl apply -f -
  cofferdam install baseline --api-server 192.0.2.10/32 | kubectl apply -f -")]
pub(crate) enum InstallCommand {
    /// Everything: namespace, definitions, rights, controller and agents
    #[command(
        after_help = "Examples:\n  cofferdam install manifests --image registry.example/cofferdam:0.1.0 | kubectl apply -f -\n  cofferdam install manifests --image registry.example/cofferdam:0.1.0 --guard veth > cofferdam.yaml"
    )]
    Manifests {
        /// The image that you built from deploy/Dockerfile and pushed
        #[arg(long, value_name = "IMAGE")]
        image: String,
        /// Names of pod interfaces begin so: their traffic is dropped until their pod is managed; may be repeated
        #[arg(long, value_name = "PREFIX")]
        guard: Vec<String>,
    },
    /// Policies that close the ways around rules on names
    Baseline(BaselineArgs),
    /// The definitions of own kinds alone
    #[command(
        after_help = "Examples:\n  cofferdam install crds | kubectl apply -f -\n  cofferdam install crds --kind EgressPolicy"
    )]
    Crds {
        /// Only that of this kind
        #[arg(long, value_name = "KIND")]
        kind: Option<String>,
    },
    /// The definitions of what stands at the hub of a fleet of clusters
    #[command(after_help = "Example:\n  cofferdam install hub | kubectl --context hub apply -f -")]
    Hub,
}

/// Prints it.
pub(crate) fn run(command: &InstallCommand, out: &mut impl Write) -> Result<()> {
    match command {
        InstallCommand::Crds { kind } => {
            let chosen = match kind {
                None => definition::list(),
                Some(kind) => {
                    let is_it = |it: &Value| it.pointer("/spec/names/kind").is_some_and(|it| it == kind);
                    let all = definition::definitions();
                    let name = |it: &Value| {
                        it.pointer("/spec/names/kind").map(|it| it.as_str().unwrap_or_default().to_owned())
                    };
                    let names: Vec<String> = all.iter().filter_map(name).collect();
                    all.into_iter().find(is_it).with_context(|| {
                        format!(
                            "--kind {kind:?} is no kind of Cofferdam's own; there are {}",
                            names.join(", ")
                        )
                    })?
                }
            };
            writeln!(out, "{}", serde_json::to_string_pretty(&chosen)?)?;
        }
        InstallCommand::Hub => {
            let slices = fleet::hub::identity_slice();
            let all = fleet::hub::definitions().into_iter().chain([slices]).chain(fleet::hub::guards());
            let items: Vec<Value> = all.collect();
            let list = json!({ "apiVersion": "v1", "kind": "List", "items": items });
            writeln!(out, "{}", serde_json::to_string_pretty(&list)?)?;
        }
        InstallCommand::Baseline(args) => out.write_all(args.policies().as_bytes())?,
        InstallCommand::Manifests { image, guard } => {
            let fits = |text: &str, more: &str| {
                !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
            };
            ensure!(fits(image, "./:@_-"), "--image {image:?} is no name of an image");
            for prefix in guard {
                ensure!(fits(prefix, "._-"), "--guard {prefix:?} is not how names of interfaces begin");
            }
            out.write_all(manifests(image, guard).as_bytes())?;
        }
    }
    Ok(())
}

fn manifests(image: &str, guard: &[String]) -> String {
    let guards: Vec<String> =
        guard.iter().map(|prefix| format!("\n            - --guard={prefix}")).collect();
    let state = "            - --state=/run/cofferdam";
    MANIFESTS.replace(IMAGE, &format!("\"{image}\"")).replace(state, &format!("{state}{}", guards.concat()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn image_and_guard_are_where_they_belong() {
        let text = manifests("registry.example/a:1", &["veth".to_owned(), "cali".to_owned()]);
        assert_eq!(text.matches("image: \"registry.example/a:1\"").count(), 2);
        assert!(!text.contains(IMAGE));
        assert!(
            text.contains("--state=/run/cofferdam\n            - --guard=veth\n            - --guard=cali\n")
        );
    }

    #[test]
    fn what_is_no_image_is_refused() {
        for image in ["", "a b", "x\"\n- evil"] {
            let command = InstallCommand::Manifests { image: image.to_owned(), guard: Vec::new() };
            assert!(run(&command, &mut Vec::new()).is_err(), "{image:?}");
        }
    }

    #[test]
    fn the_chart_has_the_definitions_that_the_program_makes() {
        let chart = [
            ("PolicyStatus", include_str!("../../../deploy/chart/crds/policystatuses.json")),
            ("EgressPolicy", include_str!("../../../deploy/chart/crds/egresspolicies.json")),
            ("ClusterEgressPolicy", include_str!("../../../deploy/chart/crds/clusteregresspolicies.json")),
            ("InferencePolicy", include_str!("../../../deploy/chart/crds/inferencepolicies.json")),
            ("DetectionPolicy", include_str!("../../../deploy/chart/crds/detectionpolicies.json")),
            ("Containment", include_str!("../../../deploy/chart/crds/containments.json")),
            ("IdentitySlice", include_str!("../../../deploy/chart/crds/identityslices.json")),
        ];
        assert_eq!(chart.len(), definition::definitions().len());
        for (kind, text) in chart {
            let mut made = Vec::new();
            run(&InstallCommand::Crds { kind: Some(kind.to_owned()) }, &mut made).unwrap();
            assert!(text.as_bytes() == made, "write it anew with `cofferdam install crds --kind {kind}`");
        }
    }

    #[test]
    fn all_definitions_are_one_list_and_no_other_kind_is_known() {
        let mut made = Vec::new();
        run(&InstallCommand::Crds { kind: None }, &mut made).unwrap();
        let list: Value = serde_json::from_slice(&made).unwrap();
        assert_eq!((&list["kind"], list["items"].as_array().unwrap().len()), (&"List".into(), 7));
        let other = InstallCommand::Crds { kind: Some("Pod".to_owned()) };
        assert!(run(&other, &mut Vec::new()).is_err());
    }
}
