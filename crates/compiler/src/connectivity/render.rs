//! The allow list as text, JSON, CSV, Graphviz dot, Mermaid and SVG.
//!
//! Enters: entries as [`super::connectivity`] gives them. Leaves: one string. Guarantees: names from manifests
//! cannot break out of the format they are written into. Does not: call Graphviz or any other program.

mod svg;

use super::{Entry, Peer, PortRange, Protocols};
use std::collections::BTreeMap;
use std::fmt::Write;

pub use svg::svg;

/// One line an entry: `from -> to : protocol ports`.
pub fn text(entries: &[Entry]) -> String {
    let mut out = String::new();
    for (from, to, what) in edges(entries) {
        line(&mut out, format_args!("{from} -> {to} : {what}"));
    }
    out
}

/// An array of `{from, to, protocol, port}`, one element for each port range. `from` and `to` are written
/// `workload:namespace/name[Kind]`, `ip:first-last` or `ingress-controller`; `port` is a number, `"first-last"` or
/// `"*"`; `protocol` is a name or `"*"`, or `"without ports"`.
pub fn json(entries: &[Entry]) -> String {
    let mut elements = Vec::new();
    for (entry, range) in rows(entries) {
        let port = match *range {
            PortRange { first, last } if first == last => first.to_string(),
            PortRange { .. } => format!("\"{range}\""),
        };
        elements.push(format!(
            "  {{\"from\": {}, \"to\": {}, \"protocol\": {}, \"port\": {port}}}",
            quoted(&prefixed(&entry.from)),
            quoted(&prefixed(&entry.to)),
            quoted(&entry.protocol.to_string()),
        ));
    }
    if elements.is_empty() {
        return "[]\n".to_owned();
    }
    format!("[\n{}\n]\n", elements.join(",\n"))
}

/// RFC 4180, with a header; one record for each port range.
pub fn csv(entries: &[Entry]) -> String {
    let mut out = String::from("from,to,protocol,ports\r\n");
    for (entry, range) in rows(entries) {
        let fields =
            [entry.from.to_string(), entry.to.to_string(), entry.protocol.to_string(), range.to_string()];
        let fields: Vec<String> = fields.iter().map(|field| csv_field(field)).collect();
        out.push_str(&fields.join(","));
        out.push_str("\r\n");
    }
    out
}

/// A Graphviz graph: one cluster a namespace, one edge a pair.
pub fn dot(entries: &[Entry]) -> String {
    let mut out = String::from(
        "digraph connectivity {\n  rankdir=LR;\n  node [shape=box, style=rounded, fontname=\"sans-serif\"];\n  \
         edge [fontname=\"sans-serif\", fontsize=10];\n",
    );
    for (number, (namespace, peers)) in grouped(entries).into_iter().enumerate() {
        let inside = namespace.is_some();
        if let Some(namespace) = namespace {
            line(&mut out, format_args!("  subgraph cluster_{number} {{\n    label={};", quoted(namespace)));
        }
        for peer in peers {
            let (id, label) = (quoted(&prefixed(peer)), quoted(&short(peer)));
            line(&mut out, format_args!("    {id} [label={label}];"));
        }
        if inside {
            out.push_str("  }\n");
        }
    }
    for (from, to, what) in edges(entries) {
        let ends = (quoted(&prefixed(from)), quoted(&prefixed(to)));
        line(&mut out, format_args!("  {} -> {} [label={}];", ends.0, ends.1, quoted(&what)));
    }
    out.push_str("}\n");
    out
}

/// A Mermaid flowchart: one subgraph a namespace, one edge a pair.
pub fn mermaid(entries: &[Entry]) -> String {
    let mut out = String::from("flowchart LR\n");
    let mut ids: BTreeMap<&Peer, usize> = BTreeMap::new();
    for (number, (namespace, peers)) in grouped(entries).into_iter().enumerate() {
        if let Some(namespace) = namespace {
            line(&mut out, format_args!("  subgraph s{number}[\"{}\"]", entities(namespace)));
        }
        for peer in peers {
            let id = ids.len();
            ids.insert(peer, id);
            line(&mut out, format_args!("    n{id}[\"{}\"]", entities(&short(peer))));
        }
        if namespace.is_some() {
            out.push_str("  end\n");
        }
    }
    for (from, to, what) in edges(entries) {
        if let (Some(from), Some(to)) = (ids.get(from), ids.get(to)) {
            line(&mut out, format_args!("  n{from} -->|\"{}\"| n{to}", entities(&what)));
        }
    }
    out
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{text}");
}

fn rows(entries: &[Entry]) -> impl Iterator<Item = (&Entry, &PortRange)> {
    entries.iter().flat_map(|entry| entry.ports.iter().map(move |range| (entry, range)))
}

/// Each pair once, with everything it may do.
fn edges(entries: &[Entry]) -> Vec<(&Peer, &Peer, String)> {
    let mut pairs: BTreeMap<(&Peer, &Peer), Vec<String>> = BTreeMap::new();
    for entry in entries {
        pairs.entry((&entry.from, &entry.to)).or_default().push(what(entry));
    }
    pairs.into_iter().map(|((from, to), what)| (from, to, what.join("; "))).collect()
}

fn what(entry: &Entry) -> String {
    match entry.protocol {
        Protocols::All => "everything".to_owned(),
        Protocols::Portless => "protocols without ports".to_owned(),
        Protocols::One(protocol) if entry.ports == [PortRange::ALL] => format!("{protocol} *"),
        Protocols::One(protocol) => {
            let ports: Vec<String> = entry.ports.iter().map(PortRange::to_string).collect();
            format!("{protocol} {}", ports.join(","))
        }
    }
}

/// Peers by namespace; those of none first.
fn grouped(entries: &[Entry]) -> BTreeMap<Option<&str>, Vec<&Peer>> {
    let mut groups: BTreeMap<Option<&str>, Vec<&Peer>> = BTreeMap::new();
    for peer in entries.iter().flat_map(|entry| [&entry.from, &entry.to]) {
        groups.entry(namespace(peer)).or_default().push(peer);
    }
    for peers in groups.values_mut() {
        peers.sort_unstable();
        peers.dedup();
    }
    groups
}

fn namespace(peer: &Peer) -> Option<&str> {
    match peer {
        Peer::Workload { namespace, .. } => Some(namespace),
        Peer::Range(..) | Peer::IngressController => None,
    }
}

fn short(peer: &Peer) -> String {
    match peer {
        Peer::Workload { workload, .. } => format!("{} ({})", workload.name, workload.kind),
        Peer::Range(..) | Peer::IngressController => peer.to_string(),
    }
}

fn prefixed(peer: &Peer) -> String {
    match peer {
        Peer::Workload { .. } => format!("workload:{peer}"),
        Peer::Range(..) => format!("ip:{peer}"),
        Peer::IngressController => peer.to_string(),
    }
}

/// A JSON string; Graphviz reads the same escapes.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A field that a spreadsheet reads as text: quoted where RFC 4180 asks for it.
fn csv_field(text: &str) -> String {
    if text.contains([',', '"', '\r', '\n']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

/// Text inside XML or a Mermaid label.
fn entities(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use policy::{Protocol, WorkloadRef};

    fn entries() -> Vec<Entry> {
        let workload = |namespace: &str, name: &str| Peer::Workload {
            namespace: namespace.into(),
            workload: WorkloadRef { kind: "Deployment".into(), name: name.into() },
        };
        let everywhere = Peer::Range("0.0.0.0".parse().unwrap(), "255.255.255.255".parse().unwrap());
        let (web, odd) = (workload("shop", "web"), workload("shop", "a\"<b>,"));
        let one = |from: &Peer, to: &Peer, protocol, ports: &[(u16, u16)]| Entry {
            from: from.clone(),
            to: to.clone(),
            protocol,
            ports: ports.iter().map(|&(first, last)| PortRange { first, last }).collect(),
        };
        vec![
            one(&web, &odd, Protocols::One(Protocol::TCP), &[(80, 80), (8000, 8080)]),
            one(&web, &odd, Protocols::One(Protocol::UDP), &[(1, 65535)]),
            one(&everywhere, &web, Protocols::All, &[(1, 65535)]),
        ]
    }

    #[test]
    fn every_format_keeps_odd_names_inside_its_quotes() {
        let entries = entries();
        assert!(
            text(&entries)
                .contains("shop/web[Deployment] -> shop/a\"<b>,[Deployment] : TCP 80,8000-8080; UDP *\n")
        );
        let parsed: serde_json::Value = serde_json::from_str(&json(&entries)).unwrap();
        assert_eq!(parsed[0]["to"], "workload:shop/a\"<b>,[Deployment]");
        assert_eq!((&parsed[0]["port"], &parsed[1]["port"]), (&80.into(), &"8000-8080".into()));
        assert_eq!(parsed[3]["from"], "ip:0.0.0.0-255.255.255.255");
        assert!(csv(&entries).contains("shop/web[Deployment],\"shop/a\"\"<b>,[Deployment]\",TCP,80\r\n"));
        assert!(dot(&entries).contains("\"workload:shop/a\\\"<b>,[Deployment]\""));
        assert!(mermaid(&entries).contains("a&quot;&lt;b&gt;, (Deployment)"));
        let picture = svg(&entries);
        assert!(picture.contains("a&quot;&lt;b&gt;,") && !picture.contains("<b>"));
    }

    #[test]
    fn an_empty_list_is_a_valid_document() {
        assert_eq!(json(&[]), "[]\n");
        assert!(svg(&[]).starts_with("<svg") && svg(&[]).ends_with("</svg>\n"));
    }
}
