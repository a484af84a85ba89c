//! `cofferdam install`: what a cluster needs, as manifests to be applied.
//!
//! Leaves: YAML on standard output. Guarantees: what is printed is what the chart of this version renders with its
//! defaults, checked in and held to it by a test. Does not: talk to a cluster.

use anyhow::{Result, ensure};
use clap::Subcommand;
use std::io::Write;

/// What `helm template` gives for the chart.
const MANIFESTS: &str = include_str!("../../../deploy/cofferdam.yaml");
/// The image that they name.
const IMAGE: &str = concat!("\"cofferdam:", env!("CARGO_PKG_VERSION"), "\"");

/// Print what a cluster needs.
#[derive(Subcommand, Debug)]
#[command(after_help = "Examples:
  cofferdam install manifests --image registry.example/cofferdam:0.1.0 | kubectl apply -f -
  cofferdam install crds | kubectl apply -f -")]
pub(crate) enum InstallCommand {
    /// Everything: namespace, definitions, rights, controller and agents
    Manifests {
        /// The image that you built from deploy/Dockerfile and pushed
        #[arg(long, value_name = "IMAGE")]
        image: String,
        /// Names of pod interfaces begin so: their traffic is dropped until their pod is managed; may be repeated
        #[arg(long, value_name = "PREFIX")]
        guard: Vec<String>,
    },
    /// The definitions of own kinds alone
    Crds,
}

/// Prints it.
pub(crate) fn run(command: &InstallCommand, out: &mut impl Write) -> Result<()> {
    match command {
        InstallCommand::Crds => {
            writeln!(out, "{}", serde_json::to_string_pretty(&controller::definition::definition())?)?;
        }
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
    fn the_chart_has_the_definition_that_the_program_makes() {
        let chart = include_str!("../../../deploy/chart/crds/policystatuses.json");
        let mut made = Vec::new();
        run(&InstallCommand::Crds, &mut made).unwrap();
        assert_eq!(chart.as_bytes(), made, "write it anew with `cofferdam install crds`");
    }
}
