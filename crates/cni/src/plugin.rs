//! One call of the plugin, as the CNI specification (1.1.0, sections 2 and 4) has it.

use serde_json::{Value, json};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// Versions of the specification that are spoken.
const VERSIONS: [&str; 5] = ["0.3.1", "0.4.0", "1.0.0", "1.1.0", "0.3.0"];
/// Where the agent answers when the configuration does not say.
const SOCKET: &str = "/run/cofferdam/cofferdam.sock";
/// Longer than the agent waits for policy.
const PATIENCE: Duration = Duration::from_secs(12);
/// Longest answer of an agent, in bytes.
const MAX_ANSWER: u64 = 64 << 10;

/// What the runtime said.
#[derive(Debug, Default)]
pub struct Call {
    /// `CNI_COMMAND`.
    pub command: String,
    /// `CNI_CONTAINERID`: of the pod's sandbox. A pod that comes again, by the same name or as the same pod, has another.
    pub container: String,
    /// `CNI_ARGS`: `NAME=VALUE;…`.
    pub arguments: String,
    /// Standard input: the configuration.
    pub input: String,
}

/// An error with its number in the specification.
#[derive(Debug)]
pub struct Failure {
    code: u32,
    message: String,
}

impl Failure {
    /// The configuration cannot be read.
    pub fn input(message: String) -> Self {
        Self { code: 6, message }
    }

    fn configuration(message: impl Into<String>) -> Self {
        Self { code: 7, message: message.into() }
    }

    fn try_again(message: String) -> Self {
        Self { code: 11, message }
    }

    /// As the runtime reads it.
    pub fn to_json(&self) -> String {
        json!({ "cniVersion": "1.0.0", "code": self.code, "msg": format!("cofferdam: {}", self.message) })
            .to_string()
    }
}

/// Answers the call: what standard output is to be.
///
/// # Errors
/// Those of the specification: the call makes no sense, or its pod's policy is not in force.
pub fn answer(call: &Call) -> Result<String, Failure> {
    answer_by(call, talk)
}

/// As [`answer`]; `talk` sends a line to the socket at a path, and returns the line that comes back.
///
/// # Errors
/// As [`answer`].
pub fn answer_by(call: &Call, talk: impl Fn(&str, &str) -> io::Result<String>) -> Result<String, Failure> {
    if call.command == "VERSION" {
        return Ok(json!({ "cniVersion": "1.1.0", "supportedVersions": VERSIONS }).to_string());
    }
    let config: Value = serde_json::from_str(&call.input)
        .map_err(|error| Failure::input(format!("the configuration is no JSON: {error}")))?;
    let pod = Pod::of(&call.arguments);
    match call.command.as_str() {
        "ADD" => add(&config, pod, &call.container, talk),
        "DEL" => {
            if let Some(pod) = pod {
                let request = json!({ "forget": {
                    "namespace": pod.namespace, "name": pod.name, "container": call.container,
                } });
                // An agent that is not there has forgotten already.
                let _ = ask(&config, &request, talk);
            }
            Ok(String::new())
        }
        "CHECK" | "GC" | "STATUS" => Ok(String::new()),
        other => Err(Failure { code: 4, message: format!("CNI_COMMAND {other:?} is unknown") }),
    }
}

struct Pod {
    namespace: String,
    name: String,
}

impl Pod {
    /// `None`: the runtime does not run it for Kubernetes.
    fn of(arguments: &str) -> Option<Self> {
        let value = |name: &str| {
            let mut pairs = arguments.split(';').filter_map(|pair| pair.split_once('='));
            pairs.find(|(key, _)| *key == name).map(|(_, value)| value.to_owned()).filter(|it| !it.is_empty())
        };
        Some(Self { namespace: value("K8S_POD_NAMESPACE")?, name: value("K8S_POD_NAME")? })
    }
}

fn add(
    config: &Value,
    pod: Option<Pod>,
    container: &str,
    talk: impl Fn(&str, &str) -> io::Result<String>,
) -> Result<String, Failure> {
    let previous = config.get("prevResult").ok_or_else(|| {
        Failure::configuration("no prevResult: this plugin is chained behind the one that makes interfaces")
    })?;
    let Some(pod) = pod else { return Ok(previous.to_string()) };
    let asked = match addresses(previous) {
        Some(addresses) => {
            let request = json!({ "settle": {
                "namespace": pod.namespace, "name": pod.name, "addresses": addresses, "container": container,
            } });
            ask(config, &request, talk)
        }
        // An agent would find nothing that is not in force.
        None => Err("the plugin before it gave no address, or one that cannot be read".to_owned()),
    };
    match asked {
        Ok(()) => Ok(previous.to_string()),
        Err(_) if is_exempt(config, &pod.namespace) => Ok(previous.to_string()),
        Err(why) => Err(Failure::try_again(format!(
            "pod {}/{} is held, for its policy is not in force: {why}",
            pod.namespace, pod.name
        ))),
    }
}

/// All addresses that the plugin before gave the pod; `None`: none, or not all of them can be told.
fn addresses(previous: &Value) -> Option<Vec<&str>> {
    let ips = previous.get("ips").and_then(Value::as_array).filter(|ips| !ips.is_empty())?;
    ips.iter().map(|ip| ip.get("address")?.as_str()?.split('/').next()).collect()
}

/// Whether pods of a namespace may start without policy: those that a cluster is repaired with.
fn is_exempt(config: &Value, namespace: &str) -> bool {
    match config.get("exemptNamespaces").and_then(Value::as_array) {
        Some(names) => names.iter().any(|name| name == namespace),
        None => namespace == "kube-system",
    }
}

/// Asks the agent; its answer is that it is so, or why not.
fn ask(
    config: &Value,
    request: &Value,
    talk: impl Fn(&str, &str) -> io::Result<String>,
) -> Result<(), String> {
    let path = config.get("socket").and_then(Value::as_str).unwrap_or(SOCKET);
    let line = talk(path, &format!("{request}\n"))
        .map_err(|error| format!("no agent answers at {path}: {error}"))?;
    let answer: Value =
        serde_json::from_str(&line).map_err(|error| format!("the agent's answer: {error}"))?;
    match answer.get("error").and_then(Value::as_str) {
        Some(why) => Err(why.to_owned()),
        None if answer.get("settled").is_some() => Ok(()),
        None => Err(format!("the agent's answer is unknown: {answer}")),
    }
}

fn talk(path: &str, line: &str) -> io::Result<String> {
    let mut stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(line.as_bytes())?;
    let mut line = String::new();
    BufReader::new(stream.take(MAX_ANSWER)).read_line(&mut line)?;
    Ok(line)
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        reason = "in a test a panic is the failure report"
    )]

    use super::*;
    use std::os::unix::net::UnixListener;
    use std::path::Path;
    use std::thread::JoinHandle;

    const ARGUMENTS: &str = "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web;K8S_POD_UID=1";

    /// An agent that answers once; what it was asked.
    fn agent(path: &Path, answer: &'static str) -> JoinHandle<Value> {
        let listener = UnixListener::bind(path).unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut line = String::new();
            BufReader::new(stream.try_clone().unwrap()).read_line(&mut line).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
            serde_json::from_str(&line).unwrap()
        })
    }

    fn call(command: &str, socket: &Path, arguments: &str) -> Result<String, Failure> {
        let config = json!({
            "cniVersion": "1.0.0", "name": "n", "type": "cofferdam-cni", "socket": socket,
            "prevResult": { "cniVersion": "1.0.0", "ips": [{ "address": "10.1.2.3/24" }, { "address": "fd00::3/64" }] },
        });
        answer(&Call {
            command: command.to_owned(),
            container: "c1".to_owned(),
            arguments: arguments.to_owned(),
            input: config.to_string(),
        })
    }

    #[test]
    fn a_pod_whose_policy_is_in_force_starts_with_the_result_of_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let agent = agent(&path, "{\"settled\":{\"generation\":7}}\n");
        let result: Value = serde_json::from_str(&call("ADD", &path, ARGUMENTS).unwrap()).unwrap();
        assert_eq!(result["ips"][0]["address"], "10.1.2.3/24");
        let asked = json!({ "settle": {
            "namespace": "shop", "name": "web", "addresses": ["10.1.2.3", "fd00::3"], "container": "c1",
        } });
        assert_eq!(agent.join().unwrap(), asked);
    }

    #[test]
    fn a_pod_that_is_gone_is_forgotten_with_the_sandbox_it_had() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let agent = agent(&path, "{\"settled\":{\"generation\":7}}\n");
        assert_eq!(call("DEL", &path, ARGUMENTS).unwrap(), "");
        let asked = json!({ "forget": { "namespace": "shop", "name": "web", "container": "c1" } });
        assert_eq!(agent.join().unwrap(), asked);
    }

    #[test]
    fn a_pod_whose_policy_is_not_in_force_is_held_and_one_of_an_exempt_namespace_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let _agent = agent(&path, "{\"error\":\"not known\"}\n");
        let failure = call("ADD", &path, ARGUMENTS).unwrap_err();
        assert_eq!(failure.code, 11);
        assert!(failure.message.contains("shop/web") && failure.message.contains("not known"), "{failure:?}");
        let nobody = folder.path().join("nobody");
        assert!(call("ADD", &nobody, ARGUMENTS).unwrap_err().message.contains("no agent answers"));
        assert!(call("ADD", &nobody, "K8S_POD_NAMESPACE=kube-system;K8S_POD_NAME=dns").is_ok());
        assert!(call("DEL", &nobody, ARGUMENTS).is_ok());
        assert!(call("ADD", &nobody, "").is_ok(), "no pod of Kubernetes");
    }

    #[test]
    fn a_pod_without_an_address_that_can_be_told_is_held_whatever_an_agent_says() {
        let call = |arguments: &str, ips: &Value| {
            let input = json!({ "prevResult": { "cniVersion": "1.0.0", "ips": ips } }).to_string();
            let (command, arguments) = ("ADD".to_owned(), arguments.to_owned());
            let call = Call { command, arguments, input, ..Call::default() };
            answer_by(&call, |_, _| Ok("{\"settled\":{}}".to_owned()))
        };
        assert!(call(ARGUMENTS, &json!([{ "address": "10.1.2.3/24" }])).is_ok());
        for ips in
            [json!(null), json!([]), json!([{ "address": "10.1.2.3/24" }, { "address": 7 }]), json!([{}])]
        {
            let held = call(ARGUMENTS, &ips).unwrap_err();
            assert!(held.code == 11 && held.message.contains("no address"), "{ips}: {held:?}");
            assert!(call("K8S_POD_NAMESPACE=kube-system;K8S_POD_NAME=dns", &ips).is_ok(), "{ips}");
        }
    }

    #[test]
    fn what_is_no_call_is_an_error_of_the_specification() {
        let broken = |command: &str, input: &str| {
            let call = Call { command: command.to_owned(), input: input.to_owned(), ..Call::default() };
            answer(&call).map_err(|failure| failure.code)
        };
        assert_eq!(broken("ADD", "{"), Err(6));
        assert_eq!(broken("ADD", "{}"), Err(7));
        assert_eq!(broken("DANCE", "{}"), Err(4));
        assert!(broken("VERSION", "").unwrap().contains("1.1.0"));
    }
}
