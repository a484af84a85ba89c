//! Any bytes as a call of the CNI plugin, and as what the agent answers it: whatever they are, a pod starts only with the result
//! that came in, and only where the agent said that its policy is in force or its namespace is exempt.

use cni::plugin::{Call, answer_by};
use serde_json::{Value, json};
use std::cell::Cell;

pub(crate) fn run(input: (u8, &str, &str, &str)) {
    let (command, arguments, config, said) = input;
    let command = ["ADD", "DEL", "CHECK", "VERSION", "X"][usize::from(command) % 5];
    let asked = Cell::new(None);
    let talk = |_: &str, line: &str| {
        asked.set(serde_json::from_str::<Value>(line).ok());
        Ok(said.to_owned())
    };
    // The same text is a configuration, and the result that is chained into a well formed one.
    let around =
        json!({ "prevResult": serde_json::from_str::<Value>(config).unwrap_or_default() }).to_string();
    for input in [config, &around] {
        let call = Call {
            command: command.to_owned(),
            container: "c".to_owned(),
            arguments: arguments.to_owned(),
            input: input.to_owned(),
        };
        let answered = answer_by(&call, talk);
        let request = asked.take();
        let (Ok(answer), "ADD") = (answered, command) else { continue };
        let config: Value = serde_json::from_str(input).expect("it was a configuration");
        assert_eq!(answer, config["prevResult"].to_string());
        let value = |name: &str| {
            let mut pairs = arguments.split(';').filter_map(|pair| pair.split_once('='));
            pairs.find(|(key, _)| *key == name).map(|(_, value)| value).filter(|it| !it.is_empty())
        };
        let (Some(namespace), Some(name)) = (value("K8S_POD_NAMESPACE"), value("K8S_POD_NAME")) else {
            continue;
        };
        let is_exempt = match config["exemptNamespaces"].as_array() {
            Some(names) => names.iter().any(|name| *name == namespace),
            None => namespace == "kube-system",
        };
        if !is_exempt {
            let request = request.expect("the agent was asked");
            assert_eq!(
                (&request["settle"]["namespace"], &request["settle"]["name"]),
                (&json!(namespace), &json!(name))
            );
            let given = config["prevResult"]["ips"].as_array().map_or(0, Vec::len);
            assert!(given > 0 && request["settle"]["addresses"].as_array().map(Vec::len) == Some(given));
            let said: Value = serde_json::from_str(said).expect("the agent answered");
            assert!(said.get("settled").is_some() && !said["error"].is_string());
        }
    }
}
