//! An incident as one page for a person: no script, nothing loaded from elsewhere, all names escaped.

use crate::radius::Radius;
use crate::timeline::Timeline;
use crate::view::Case;
use serde_json::Value;
use std::fmt::Write as _;

/// Rows of one table of the page.
const MOST_ROWS: usize = 500;

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;color:#1c2330}\
h1{font-size:1.5rem;line-height:1.25}h2{font-size:1.1rem;margin-top:2rem}table{border-collapse:collapse;width:100%}\
th,td{text-align:left;padding:.25rem .6rem .25rem 0;border-bottom:1px solid #dde1e8;vertical-align:top;overflow-wrap:anywhere}\
th{font-weight:600}.n{text-align:right}.deny{color:#a3211d}.meta{color:#5a6472}";

/// The page.
pub(crate) fn html(case: &Case, timeline: &Timeline, reach: &[Radius]) -> String {
    let incident = &case.incident;
    let title = escaped(&incident.title);
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <title>{title}</title>\n<style>{STYLE}</style>\n<h1>{title}</h1>\n\
         <p class=meta>Incident {} &middot; {} &middot; severity {} &middot; {} of 100 points &middot; {} to {}</p>\n",
        escaped(&incident.id),
        incident.state.as_str(),
        incident.severity.as_str(),
        incident.score,
        incident.first,
        incident.last
    );
    let parts =
        incident.parts.iter().map(|part| [part.points.to_string(), part.what.clone(), part.why.clone()]);
    table(&mut page, "Why it matters", ["Points", "What", "Why"], parts, false);
    let findings = case.findings.iter().map(|finding| {
        [
            finding.time.to_string(),
            finding.severity.as_str().to_owned(),
            finding.workload.clone(),
            finding.sentence.clone(),
            finding.techniques.join(", "),
        ]
    });
    table(&mut page, "Findings", ["Since", "Severity", "Who", "What", "Techniques"], findings, false);
    let items = timeline.items.iter().map(|item| {
        [item.time.to_string(), item.kind.name().to_owned(), item.sentence.clone(), item.rule.clone()]
    });
    table(&mut page, "What happened", ["Time", "Kind", "What", "Rule"], items, timeline.truncated);
    for radius in reach {
        let did = radius.did.iter().map(|edge| {
            let text = |key: &str| match edge.get(key) {
                Some(Value::String(text)) => text.clone(),
                Some(other) => other.to_string(),
                None => String::new(),
            };
            ["destination", "port", "allowed", "denied", "first_seen", "last_seen"].map(text)
        });
        let head = format!("Whom {} reached, or tried to", radius.workload);
        let heads = ["To", "Port", "Allowed", "Denied", "First", "Last"];
        table(&mut page, &head, heads, did, false);
        let could = radius.could.iter().map(|it| [it.destination.clone(), it.port.clone(), it.rule.clone()]);
        let head = format!("Where policy lets {} go", radius.workload);
        table(&mut page, &head, ["To", "Ports", "Rule"], could, !radius.could_is_complete);
    }
    let notes =
        incident.notes.iter().map(|note| [note.time.to_string(), note.who.clone(), note.text.clone()]);
    table(&mut page, "Notes", ["Time", "Who", "Text"], notes, false);
    page.push_str("</html>\n");
    page
}

fn table<const COLUMNS: usize>(
    page: &mut String,
    head: &str,
    heads: [&str; COLUMNS],
    rows: impl Iterator<Item = [String; COLUMNS]>,
    has_more: bool,
) {
    // Writing to a string cannot fail.
    let _ = writeln!(page, "<h2>{}</h2>", escaped(head));
    let mut rows = rows.peekable();
    if rows.peek().is_some() {
        page.push_str("<table><tr>");
        for head in heads {
            let _ = write!(page, "<th>{}", escaped(head));
        }
        page.push('\n');
        for row in rows.by_ref().take(MOST_ROWS) {
            page.push_str("<tr>");
            for cell in row {
                let _ = write!(page, "<td>{}", escaped(&cell));
            }
            page.push('\n');
        }
        page.push_str("</table>\n");
    } else {
        page.push_str("<p>None that is known.</p>\n");
    }
    if rows.next().is_some() || has_more {
        page.push_str("<p class=meta>There is more than is shown here.</p>\n");
    }
}

/// Text that is nothing but text in HTML; control and direction-changing characters are written out.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            _ if c.is_control() => out.extend(c.escape_unicode()),
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                out.extend(c.escape_unicode());
            }
            _ => out.push(c),
        }
    }
    out
}
