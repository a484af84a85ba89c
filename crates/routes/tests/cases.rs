//! Cases after the list of the Gateway API's conformance suite (v1.5, `conformance/tests`), each named as the test there
//! whose subject it has, and own ones, whose names begin with `own-`. A file has manifests, a line `=====`, and what must
//! come of them:
//!
//! `ask PORT [sni=NAME] METHOD HOST PATH [NAME:VALUE ...] => WHAT`
//! `say KIND NAMESPACE/NAME [LISTENER or PARENT] WORD ...`, each word one that the status must have.
//!
//! `base.yaml` is read with every case.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in a test a panic is the failure report"
)]

use crds::read_objects;
use routes::{
    Asked, Condition, Filters, Found, HeaderChange, Listener, Matched, ObjectStatus, PathChange, Routing,
    Rule, Status, Target,
};
use std::fmt::Write;
use std::path::Path;

#[test]
fn every_case_comes_out_as_it_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let base = std::fs::read_to_string(folder.join("base.yaml")).unwrap();
    let mut wrong = String::new();
    let mut lines = 0;
    let mut files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|it| it == "case"));
    files.sort();
    for path in files {
        let name = path.file_stem().unwrap().to_string_lossy();
        let text = std::fs::read_to_string(&path).unwrap();
        let (manifests, expected) = text.split_once("=====\n").unwrap();
        let objects = read_objects(&name, format!("{base}---\n{manifests}").as_bytes()).objects;
        let (routing, statuses) = Routing::build(&objects);
        for line in expected.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            lines += 1;
            let result = match line.split_once(' ') {
                Some(("ask", rest)) => ask(&routing, rest),
                Some(("say", rest)) => say(&statuses, rest),
                _ => Err("what is it?".to_owned()),
            };
            if let Err(why) = result {
                writeln!(wrong, "{name}: {line}\n    {why}").unwrap();
            }
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
    assert!(lines > 200, "{lines} lines are all that was found");
}

fn ask(routing: &Routing, line: &str) -> Result<(), String> {
    let (question, expected) = line.split_once(" => ").unwrap();
    let mut words = question.split_whitespace().peekable();
    let port: u16 = words.next().unwrap().parse().unwrap();
    let sni = words.next_if(|word| word.starts_with("sni=")).map(|word| &word[4..]);
    let (method, host, target) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
    let headers: Vec<(&str, &str)> = words.map(|word| word.split_once(':').unwrap()).collect();
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    let asked = Asked { host, path, query, method, headers: &headers };
    let server = sni.or(Some(host)).filter(|name| *name != "-");
    let found = match routing.listener_for(port, server) {
        None => "no listener".to_owned(),
        Some(listener) if method == "TLS" => {
            let rule = routing.find_tls(listener.id, host);
            rule.map_or("closed".to_owned(), |rule| backends(&rule.backends))
        }
        Some(listener) => match routing.find(listener.id, &asked) {
            Found::Nothing(why) => why.status().to_string(),
            Found::Rule(rule, matched) => told(listener, rule, &matched, &asked),
        },
    };
    if found == expected { Ok(()) } else { Err(format!("it is {found}")) }
}

fn told(listener: &Listener, rule: &Rule, matched: &Matched, asked: &Asked<'_>) -> String {
    if let Some(redirect) = &rule.filters.redirect {
        return format!("{} {}", redirect.status, redirect.location(listener, asked, matched.prefix));
    }
    let mut text = match rule.pick(0) {
        None => "500".to_owned(),
        Some(_) => backends(&rule.backends),
    };
    let prefix = matched.prefix;
    filters(&mut text, &rule.filters, asked, prefix);
    for backend in rule.backends.iter().filter(|backend| backend.filters != Filters::default()) {
        text.push_str(" |");
        filters(&mut text, &backend.filters, asked, prefix);
    }
    if let Some(timeout) = rule.timeouts.request {
        write!(text, " request={timeout:?}").unwrap();
    }
    if let Some(timeout) = rule.timeouts.backend_request {
        write!(text, " backend={timeout:?}").unwrap();
    }
    text
}

fn backends(backends: &[routes::Backend]) -> String {
    let one = |backend: &routes::Backend| {
        let weight = if backend.weight == 1 { String::new() } else { format!("*{}", backend.weight) };
        let tls = backend.tls.as_ref().map_or(String::new(), |tls| format!("+tls({})", tls.hostname));
        let picker = backend.picker.as_ref().map_or(String::new(), |picker| {
            let tls = if picker.tls.is_some() { ",tls" } else { "" };
            let mode = if picker.is_lenient { "open" } else { "close" };
            format!("+picker({}{tls},{mode})", target(&picker.target))
        });
        format!("{}{picker}{tls}{weight}", target(&backend.target))
    };
    backends.iter().map(one).collect::<Vec<_>>().join(" ")
}

fn target(target: &Target) -> String {
    let h2 = if target.is_h2() { "+h2" } else { "" };
    match target {
        Target::Service { service, port, .. } => format!("{}/{}:{port}{h2}", service.namespace, service.name),
        Target::Pool { pool, .. } => format!("pool:{}/{}{h2}", pool.namespace, pool.name),
        Target::Nobody(_) => "500".to_owned(),
    }
}

fn filters(text: &mut String, filters: &Filters, asked: &Asked<'_>, prefix: Option<usize>) {
    for change in &filters.request {
        change_told(text, "", change);
    }
    for change in &filters.response {
        change_told(text, "answer.", change);
    }
    if let Some(rewrite) = &filters.rewrite {
        let path = rewrite.path.as_ref().map(|change: &PathChange| change.of(asked.path, prefix));
        write!(text, " rewrite={}{}", rewrite.host.as_deref().unwrap_or_default(), path.unwrap_or_default())
            .unwrap();
    }
    if let Some(routes::Cors(cors)) = filters.cors.as_deref() {
        let origin = |it: &crds::CorsOrigin| match it {
            crds::CorsOrigin::Any => "*".to_owned(),
            crds::CorsOrigin::One { scheme, host, port } => format!("{scheme}://{host}:{port}"),
        };
        let origins: Vec<String> = cors.origins.iter().map(origin).collect();
        write!(text, " cors={},{}s", origins.join("|"), cors.max_age).unwrap();
    }
    for mirror in &filters.mirrors {
        write!(text, " mirror={}({}/{})", target(&mirror.target), mirror.part, mirror.of).unwrap();
    }
}

fn change_told(text: &mut String, whose: &str, change: &HeaderChange) {
    for (word, pairs) in [("set", &change.set), ("add", &change.add)] {
        for (name, value) in pairs {
            write!(text, " {whose}{word}={name}:{value}").unwrap();
        }
    }
    for name in &change.remove {
        write!(text, " {whose}remove={name}").unwrap();
    }
}

fn say(statuses: &[ObjectStatus], line: &str) -> Result<(), String> {
    let mut words = line.split_whitespace().peekable();
    let (kind, name) = (words.next().unwrap(), words.next().unwrap());
    let (namespace, name) = name.split_once('/').unwrap();
    let is_it = |status: &&ObjectStatus| {
        let object = &status.object;
        &*object.kind == kind && &*object.namespace == namespace && &*object.name == name
    };
    let part = words.next_if(|word| !word.contains('=') && *word != "nothing");
    let said = match statuses.iter().find(is_it).map(|status| &status.status) {
        None => vec!["nothing".to_owned()],
        Some(Status::Class(conditions)) => shown(conditions),
        Some(Status::Used(users)) => {
            let is_it = |user: &&routes::UserStatus| {
                part.is_some_and(|part| part == format!("{}/{}", user.gateway.namespace, user.gateway.name))
            };
            match users.iter().find(is_it) {
                None => vec!["nothing".to_owned()],
                Some(user) => shown(&user.conditions),
            }
        }
        Some(Status::Gateway { conditions, listeners }) => match part {
            None => shown(conditions),
            Some(part) => {
                let listener = listeners.iter().find(|listener| &*listener.name == part).unwrap();
                let mut said = shown(&listener.conditions);
                said.push(format!("attached={}", listener.attached_routes));
                said.push(format!("kinds={}", listener.supported_kinds.join(",")));
                said
            }
        },
        Some(Status::Route(parents)) => {
            let index: usize = part.map_or(0, |part| part.parse().unwrap());
            match parents.iter().find(|parent| parent.index == index) {
                None => vec!["nothing".to_owned()],
                Some(parent) => shown(&parent.conditions),
            }
        }
    };
    let missing: Vec<&str> = words.filter(|word| !said.iter().any(|said| said == word)).collect();
    if missing.is_empty() {
        Ok(())
    } else {
        Err(format!("no {}; it says {}", missing.join(", "), said.join(" ")))
    }
}

fn shown(conditions: &[Condition]) -> Vec<String> {
    let shown = |it: &Condition| format!("{}={}/{}", it.kind.as_str(), it.holds, it.reason.as_str());
    for condition in conditions.iter().filter(|it| !it.holds && it.reason.as_str() != "NoConflicts") {
        assert!(!condition.message.is_empty(), "{condition:?} says nothing");
    }
    conditions.iter().map(shown).collect()
}
