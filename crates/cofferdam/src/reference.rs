//! `cofferdam reference`: pages of the documentation that are made from the program itself.
//!
//! Leaves: Markdown. Guarantees: what it says is what the program has, for it is read from the tables that the program goes by;
//! `tests/reference.rs` holds the pages in `docs/reference/` to it. Does not: explain; other pages do.

mod configuration;
mod metrics;

use anyhow::Result;
use clap::{Arg, ArgAction, Command, Subcommand};
use serde_json::{Map, Value};
use std::io::Write;

/// Print pages of the reference, as Markdown
#[derive(Debug, Subcommand)]
pub(crate) enum ReferenceCommand {
    /// Every command with its options
    Cli,
    /// Every own kind with its fields
    Kinds,
    /// Every reason that a record may have
    Reasons,
    /// Every figure that each role has for Prometheus
    Metrics,
    /// What the program reads besides its arguments: variables of the environment, and files that options name
    Configuration,
}

/// Runs `cofferdam reference`, with the program's command line.
pub(crate) fn run(command: &ReferenceCommand, mut program: Command, out: &mut impl Write) -> Result<()> {
    match command {
        ReferenceCommand::Cli => {
            program.build();
            heading(
                out,
                "Commands",
                "cli",
                "Exit codes: 0 as asked; 1 the answer is no, or not everything is in force; 2 it could not be done.",
            )?;
            command_page(&program, "", out)?;
        }
        ReferenceCommand::Kinds => {
            heading(
                out,
                "Own kinds",
                "kinds",
                "Fields in bold must be given. `[]` is an item of a list, `{}` a value of a map. What NetworkPolicy, ClusterNetworkPolicy and the kinds of the Gateway API mean is specified elsewhere.",
            )?;
            let of_fleets = fleet::hub::definitions();
            for definition in controller::definition::definitions().iter().chain(&of_fleets) {
                kind_page(definition, out)?;
            }
        }
        ReferenceCommand::Reasons => {
            heading(
                out,
                "Reasons",
                "reasons",
                "Each record has the reason of its verdict, as a word that stays the same between versions. Words are of the kind of record that they stand in.",
            )?;
            reasons(out)?;
        }
        ReferenceCommand::Metrics => metrics::page(out)?,
        ReferenceCommand::Configuration => {
            program.build();
            configuration::page(&program, out)?;
        }
    }
    Ok(())
}

fn heading(out: &mut impl Write, title: &str, page: &str, note: &str) -> Result<()> {
    writeln!(out, "# {title}\n\n<!-- cofferdam reference {page} -->\n\n{note}")?;
    Ok(())
}

/// One command, and those below it.
fn command_page(command: &Command, above: &str, out: &mut impl Write) -> Result<()> {
    let name = format!("{above}{}", command.get_name());
    if !above.is_empty() {
        let about = command.get_long_about().or(command.get_about()).map(ToString::to_string);
        writeln!(out, "\n## {name}\n\n{}", text(&about.unwrap_or_default()))?;
        let arguments: Vec<&Arg> = command.get_arguments().filter(|it| is_told(it)).collect();
        if !arguments.is_empty() {
            writeln!(out, "\n| argument | meaning |\n| --- | --- |")?;
            for argument in arguments {
                writeln!(
                    out,
                    "| `{}` | {} |",
                    written(argument).replace('|', "\\|"),
                    cell(&meaning(argument))
                )?;
            }
        }
        if let Some(after) = command.get_after_help() {
            writeln!(out, "\n```text\n{}\n```", after.to_string().trim())?;
        }
    }
    let below = format!("{name} ");
    for command in command.get_subcommands().filter(|it| !it.is_hide_set() && it.get_name() != "help") {
        command_page(command, &below, out)?;
    }
    Ok(())
}

fn is_told(argument: &Arg) -> bool {
    !argument.is_hide_set() && !["help", "version"].contains(&argument.get_id().as_str())
}

fn takes_value(argument: &Arg) -> bool {
    matches!(argument.get_action(), ArgAction::Set | ArgAction::Append)
}

/// As somebody would write it.
fn written(argument: &Arg) -> String {
    let takes = takes_value(argument);
    let names = argument.get_value_names().unwrap_or_default();
    let values: Vec<String> = names.iter().map(|name| format!("<{name}>")).collect();
    let values = if takes { values.join(" ") } else { String::new() };
    let short = argument.get_short().map(|short| format!("-{short}"));
    let long = argument.get_long().map(|long| format!("--{long}"));
    let flags: Vec<String> = short.into_iter().chain(long).collect();
    let mut parts = vec![flags.join(", "), values];
    parts.retain(|part| !part.is_empty());
    parts.join(" ")
}

fn meaning(argument: &Arg) -> String {
    let help = argument.get_long_help().or(argument.get_help()).map(ToString::to_string);
    let mut said = vec![help.unwrap_or_default()];
    let takes = takes_value(argument);
    let choices: Vec<String> = argument
        .get_possible_values()
        .iter()
        .filter(|value| takes && !value.is_hide_set())
        .map(|value| format!("`{}`", value.get_name()))
        .collect();
    if !choices.is_empty() {
        said.push(format!("One of {}", choices.join(", ")));
    }
    let defaults: Vec<String> =
        argument.get_default_values().iter().map(|it| it.display().to_string()).collect();
    if takes && !defaults.is_empty() {
        said.push(format!("Default: `{}`", defaults.join(" ")));
    }
    let parts: Vec<&str> = said.iter().map(|part| part.trim().trim_end_matches('.')).collect();
    parts.join(". ")
}

/// One kind, with all its fields.
fn kind_page(definition: &Value, out: &mut impl Write) -> Result<()> {
    let word = |pointer: &str| definition.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let version = definition.pointer("/spec/versions/0").unwrap_or(&Value::Null);
    let schema = version.pointer("/schema/openAPIV3Schema").unwrap_or(&Value::Null);
    writeln!(
        out,
        "\n## {}\n\n`{}/{}`, {}. {}\n\n| field | type | meaning |\n| --- | --- | --- |",
        word("/spec/names/kind"),
        word("/spec/group"),
        version.get("name").and_then(Value::as_str).unwrap_or_default(),
        word("/spec/scope").to_lowercase(),
        text(schema.get("description").and_then(Value::as_str).unwrap_or_default()),
    )?;
    for part in ["spec", "status"] {
        if let Some(part_schema) = schema.get("properties").and_then(|all| all.get(part)) {
            fields(part_schema, part, false, out)?;
        }
    }
    Ok(())
}

/// One field, and those below it.
fn fields(schema: &Value, path: &str, is_required: bool, out: &mut impl Write) -> Result<()> {
    let said = schema.get("description").and_then(Value::as_str).unwrap_or_default();
    let path_cell = if is_required { format!("**`{path}`**") } else { format!("`{path}`") };
    writeln!(out, "| {path_cell} | {} | {} |", cell(&kind_of(schema)), cell(said))?;
    below(schema, path, out)
}

/// Label selectors are the same everywhere, and known.
fn is_selector(schema: &Value) -> bool {
    schema.pointer("/properties/matchExpressions").is_some()
        && schema.pointer("/properties/matchLabels").is_some()
}

fn below(schema: &Value, path: &str, out: &mut impl Write) -> Result<()> {
    if is_selector(schema) {
        return Ok(());
    }
    if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
        let required = schema.get("required").and_then(Value::as_array);
        for (name, property) in properties {
            let is_required = required.is_some_and(|all| all.iter().any(|it| it == name.as_str()));
            fields(property, &format!("{path}.{name}"), is_required, out)?;
        }
    }
    for (inside, mark) in [("items", "[]"), ("additionalProperties", "{}")] {
        if let Some(item) = schema.get(inside).filter(|it| it.is_object()) {
            below(item, &format!("{path}{mark}"), out)?;
        }
    }
    Ok(())
}

/// What may stand in a field, with its bounds.
fn kind_of(schema: &Value) -> String {
    let Some(object) = schema.as_object() else { return String::new() };
    let word = |key: &str| object.get(key).and_then(Value::as_str);
    let mut said = match (word("type"), object.get("items")) {
        _ if is_selector(schema) => "label selector".to_owned(),
        (Some("array"), Some(items)) => format!("list of {}", kind_of(items)),
        (Some(kind), _) => kind.to_owned(),
        (None, _) if object.contains_key("x-kubernetes-int-or-string") => "integer or string".to_owned(),
        (None, _) => "any".to_owned(),
    };
    if let Some(choices) = object.get("enum").and_then(Value::as_array) {
        let choices: Vec<String> =
            choices.iter().filter_map(Value::as_str).map(|it| format!("`{it}`")).collect();
        said = choices.join(", ");
    }
    if let Some(default) = object.get("default") {
        said.push_str(&format!("; default `{default}`"));
    }
    for (keys, of) in [
        (["minimum", "maximum"], ""),
        (["minItems", "maxItems"], " items"),
        (["minLength", "maxLength"], " bytes"),
    ] {
        if let Some(range) = range(object, keys) {
            said.push_str(&format!("; {range}{of}"));
        }
    }
    said
}

fn range(object: &Map<String, Value>, [least, most]: [&str; 2]) -> Option<String> {
    match (object.get(least), object.get(most)) {
        (Some(least), Some(most)) => Some(format!("{least} to {most}")),
        (Some(least), None) => Some(format!("at least {least}")),
        (None, Some(most)) => Some(format!("at most {most}")),
        (None, None) => None,
    }
}

/// Reasons by the kind of record; a reason's word is that of its JSON.
fn reasons(out: &mut impl Write) -> Result<()> {
    let verdict = |is: policy::Verdict| is.to_string();
    let connections =
        policy::Reason::ALL.map(|it| (it.as_str().into(), verdict(it.verdict()), it.describe()));
    table(out, "Connections: `cofferdam flows`", "verdict", connections)?;
    let questions = dns::Reason::ALL.map(|it| (word(&it), word(&it.verdict()), it.describe()));
    table(out, "DNS: `cofferdam dns`", "verdict", questions)?;
    let gateway = gateway::Reason::ALL.map(|it| (it.as_str().into(), verdict(it.verdict()), it.describe()));
    table(
        out,
        "Connections to names, and requests: `cofferdam connections`, `cofferdam calls`",
        "verdict",
        gateway,
    )?;
    let ingress = ingress::Reason::ALL.map(|it| (it.as_str().into(), it.status().to_string(), it.describe()));
    table(out, "Requests to the ingress gateway", "status", ingress)?;
    let who = authn::Reason::ALL.map(|it| (it.as_str().into(), "deny".to_owned(), it.describe()));
    table(
        out,
        "Who asks the ingress gateway, where that is not known: besides `unauthenticated`",
        "status",
        who,
    )
}

fn word(of: &impl serde::Serialize) -> String {
    serde_json::to_value(of).ok().as_ref().and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn table<'a>(
    out: &mut impl Write,
    title: &str,
    middle: &str,
    rows: impl IntoIterator<Item = (String, String, &'a str)>,
) -> Result<()> {
    writeln!(out, "\n## {title}\n\n| reason | {middle} | meaning |\n| --- | --- | --- |")?;
    for (word, middle, meaning) in rows {
        writeln!(out, "| `{word}` | {middle} | {} |", cell(meaning))?;
    }
    Ok(())
}

/// A text as a cell of a table.
fn cell(said: &str) -> String {
    text(said).replace('|', "\\|").split('\n').map(str::trim).collect::<Vec<_>>().join(" ")
}

/// A text in which nothing is markup by accident.
fn text(said: &str) -> String {
    said.replace('<', "&lt;").trim().to_owned()
}
