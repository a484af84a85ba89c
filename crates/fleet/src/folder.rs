//! A folder that says to clusters what a hub says: the same objects, as files that can stand in Git.
//!
//! Leaves: where each object is, and its text; the other way round, what a cluster's file says. Guarantees: only JSON, so that the
//! beginning of a file that is being written is never taken for the whole; what a cluster's file says of how the cluster stands is
//! passed over, for no cluster writes there. Does not: read or write files.

use crate::hub::{API_VERSION, ClusterSpec, release_name};
use crate::release::Ref;
use serde_json::{Value, json};

/// Most bytes of a cluster's file.
pub const MOST_CLUSTER_BYTES: u64 = 64 * 1024;
/// Most bytes of a cluster's name: a label of DNS and more.
const MOST_NAME: usize = 253;

/// Where in the folder a release is.
pub fn release_path(release: &Ref) -> String {
    format!("releases/{}.json", release_name(release))
}

/// Where in the folder is said what a cluster is to have. `None`: there is no cluster of such a name.
pub fn cluster_path(cluster: &str) -> Option<String> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
    let is_name = cluster.len() <= MOST_NAME
        && cluster.chars().all(fits)
        && cluster.split('.').all(|label| !label.is_empty() && !label.starts_with('-'));
    is_name.then(|| format!("clusters/{cluster}.json"))
}

/// The text of a cluster's file: its object at a hub.
pub fn cluster_text(cluster: &str, spec: &ClusterSpec) -> String {
    let object = json!({
        "apiVersion": API_VERSION, "kind": "ManagedCluster", "metadata": { "name": cluster }, "spec": spec,
    });
    format!("{object:#}\n")
}

/// What a cluster's file says that it is to have: its `spec`.
///
/// # Errors
/// It is no whole file, or that of something else.
pub fn read_cluster(cluster: &str, text: &[u8]) -> Result<Value, String> {
    let read: Value = serde_json::from_slice(text)
        .map_err(|error| format!("it is no JSON, or not wholly written yet: {error}"))?;
    let of = |pointer: &str| read.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    if (of("/apiVersion"), of("/kind")) != (API_VERSION, "ManagedCluster") {
        return Err(format!("it is no ManagedCluster of {API_VERSION}"));
    }
    if of("/metadata/name") != cluster {
        return Err("it is of another cluster, by its metadata.name".to_owned());
    }
    Ok(read.get("spec").cloned().unwrap_or_else(|| json!({})))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollout::Wanted;

    #[test]
    fn a_cluster_has_a_file_by_its_name_and_nothing_else_does() {
        assert_eq!(cluster_path("dev-1").as_deref(), Some("clusters/dev-1.json"));
        assert_eq!(cluster_path("dev-1.example").as_deref(), Some("clusters/dev-1.example.json"));
        for name in ["", ".", "..", "../x", "a/b", "a..b", ".git", "-a", "A", "a\0", &"a".repeat(254)] {
            assert_eq!(cluster_path(name), None, "{name:?}");
        }
    }

    #[test]
    fn what_is_written_is_read_and_no_beginning_of_it_is() {
        let spec = ClusterSpec {
            wanted: Some(Wanted { enforce: Ref::nothing(), shadow: None }),
            ..ClusterSpec::default()
        };
        let text = cluster_text("dev", &spec);
        let read = read_cluster("dev", text.as_bytes()).unwrap();
        assert_eq!(serde_json::from_value::<ClusterSpec>(read).unwrap(), spec);
        for end in 0..text.trim_end().len() {
            assert!(read_cluster("dev", text.get(..end).unwrap().as_bytes()).is_err(), "{end}");
        }
        assert!(read_cluster("prod", text.as_bytes()).unwrap_err().contains("another cluster"));
        let other = text.replace("ManagedCluster", "Pod");
        assert!(read_cluster("dev", other.as_bytes()).unwrap_err().contains("no ManagedCluster"));
    }
}
