//! Zeek's logs: `dns.log` and `conn.log`, as JSON or as its own table. Fields: <https://docs.zeek.org/en/master/logs/index.html>. Names of
//! fields with a dot (`id.orig_h`) may have a line below in its place, or be objects (`id` with `orig_h`), as collectors write them; numbers
//! may be texts. Other logs say nothing of interest here.

use super::TYPE_A;
use crate::event::{Event, Flow, Lookup, NXDOMAIN, Phase, Place, RecordId, What, clean_name};
use observe::Time;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

#[derive(Deserialize)]
struct Row<'a> {
    ts: Stamp<'a>,
    #[serde(alias = "id.orig_h")]
    id_orig_h: IpAddr,
    #[serde(alias = "id.resp_h")]
    id_resp_h: IpAddr,
    #[serde(default, alias = "id.resp_p")]
    id_resp_p: u16,
    #[serde(default, borrow)]
    proto: Cow<'a, str>,
    #[serde(default, borrow)]
    query: Option<Cow<'a, str>>,
    #[serde(default)]
    qtype: Option<u16>,
    #[serde(default)]
    rcode: Option<u16>,
    #[serde(default, borrow)]
    rcode_name: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    answers: Option<Vec<Cow<'a, str>>>,
    #[serde(default, borrow)]
    conn_state: Option<Cow<'a, str>>,
    #[serde(default)]
    duration: Option<f64>,
    #[serde(default)]
    orig_bytes: Option<u64>,
    #[serde(default)]
    resp_bytes: Option<u64>,
}

/// Seconds or milliseconds since 1970, or text, by how Zeek was told to write times (`LogAscii::json_timestamps`); what collectors make of
/// a number may be text, too.
#[derive(Deserialize)]
#[serde(untagged)]
enum Stamp<'a> {
    Number(f64),
    #[serde(borrow)]
    Text(Cow<'a, str>),
}

/// Whether the object is of a log with connections.
pub(super) fn is_one(line: &str) -> bool {
    line.contains("\"ts\"")
        && ["\"id.orig_h\"", "\"id_orig_h\"", "\"orig_h\""].iter().any(|field| line.contains(field))
}

pub(super) fn read(line: &str, record: &RecordId, events: &mut Vec<Event>) -> Result<(), String> {
    // Lines of other logs are read no further: their fields may have the same names and other types.
    if !line.contains("\"query\"") && !line.contains("\"conn_state\"") {
        return Ok(());
    }
    let wrong = |why: String| format!("not a line of Zeek's dns.log or conn.log: {why}");
    // Nearly all lines are as Zeek writes them; the others are worth a second look.
    match serde_json::from_str::<Row<'_>>(line) {
        Ok(row) => tell(&row, record, events),
        Err(error) => {
            let fields: Map<String, Value> =
                serde_json::from_str(line).map_err(|error| wrong(error.to_string()))?;
            let row = row(&fields).map_err(|why| wrong(format!("{why} ({error})")))?;
            tell(&row, record, events)
        }
    }
}

fn tell(row: &Row<'_>, record: &RecordId, events: &mut Vec<Event>) -> Result<(), String> {
    let time = match &row.ts {
        Stamp::Number(number) => moment(*number),
        Stamp::Text(text) => match text.parse() {
            Ok(number) => moment(number),
            Err(_) => text.parse().map_err(|error| format!("field ts: {error}"))?,
        },
    };
    let what = match (&row.query, &row.conn_state) {
        (Some(query), _) => What::Lookup(lookup(row, query)),
        (None, Some(state)) => What::Flow(flow(row, state)),
        (None, None) => return Ok(()),
    };
    events.push(Event::new(time, row.id_orig_h.to_string().into(), record.clone(), what));
    Ok(())
}

/// A row of fields whose types or places are others than Zeek's own.
fn row(fields: &Map<String, Value>) -> Result<Row<'static>, String> {
    let text = |name: &str| field(fields, name);
    let address = |name: &str| match text(name) {
        Some(it) => it.parse::<IpAddr>().map(Some).map_err(|_| format!("field {name} is no address: {it}")),
        None => Ok(None),
    };
    let query = text("query").map(Cow::Owned);
    let resp = address("id.resp_h")?;
    let ts = text("ts").ok_or("field ts is missing")?;
    // Whom it asked says nothing of a name; whom it connected to is all of a connection.
    if resp.is_none() && query.is_none() {
        return Err("field id.resp_h is missing".to_owned());
    }
    Ok(Row {
        ts: Stamp::Text(Cow::Owned(ts)),
        id_orig_h: address("id.orig_h")?.ok_or("field id.orig_h is missing")?,
        id_resp_h: resp.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        id_resp_p: number(text("id.resp_p")).unwrap_or(0),
        proto: Cow::Owned(text("proto").unwrap_or_default()),
        query,
        qtype: number(text("qtype")),
        rcode: number(text("rcode")),
        rcode_name: text("rcode_name").map(Cow::Owned),
        answers: text("answers").map(|answers| vec![Cow::Owned(answers)]),
        conn_state: text("conn_state").map(Cow::Owned),
        duration: number(text("duration")),
        orig_bytes: number(text("orig_bytes")),
        resp_bytes: number(text("resp_bytes")),
    })
}

/// A number, with or without what is behind its point; `None`: there is none.
fn number<N: FromStr>(text: Option<String>) -> Option<N> {
    let text = text?;
    text.parse().ok().or_else(|| text.split('.').next()?.parse().ok())
}

/// A field as text, by each way in which its name is written; `None`: it is not there, or says that nothing is known.
fn field(fields: &Map<String, Value>, name: &str) -> Option<String> {
    let parts = || name.split_once('.');
    let value = fields
        .get(name)
        .or_else(|| fields.get(&name.replace('.', "_")))
        .or_else(|| fields.get(parts()?.0)?.get(parts()?.1))?;
    match value {
        Value::Null => None,
        Value::String(text) if text == "-" || text == "(empty)" => None,
        Value::String(text) => Some(text.clone()),
        Value::Array(all) => Some(all.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(",")),
        other => Some(other.to_string()),
    }
}

/// The columns of a table of Zeek's, from its line of `#fields`.
#[derive(Debug, Default)]
pub(super) struct Table(Vec<String>);

/// Most columns of a table.
const COLUMNS: usize = 256;

impl Table {
    /// Takes a line that begins with `#`.
    pub(super) fn head(&mut self, line: &[u8]) {
        if let Some(names) = line.strip_prefix(b"#fields\t") {
            let names = String::from_utf8_lossy(names);
            self.0 = names.split('\t').take(COLUMNS).map(str::to_owned).collect();
        }
    }

    /// Whether there was such a line, so that what follows are rows.
    pub(super) fn is_open(&self) -> bool {
        !self.0.is_empty()
    }

    /// Takes a row.
    pub(super) fn row(&self, line: &str, record: &RecordId, events: &mut Vec<Event>) -> Result<(), String> {
        if !self.0.iter().any(|name| name == "query" || name == "conn_state") {
            return Ok(());
        }
        let values = line.split('\t').map(|value| Value::String(value.to_owned()));
        let fields: Map<String, Value> = self.0.iter().cloned().zip(values).collect();
        let row = row(&fields).map_err(|why| format!("not a row of Zeek's dns.log or conn.log: {why}"))?;
        tell(&row, record, events)
    }
}

fn lookup(row: &Row<'_>, query: &str) -> Lookup {
    let answers = row.answers.iter().flatten().map(|answer| answer.len()).sum::<usize>();
    Lookup {
        name: clean_name(query.as_bytes()),
        kind: row.qtype.unwrap_or(TYPE_A),
        rcode: row.rcode.or_else(|| code(row.rcode_name.as_deref()?)),
        answer_bytes: u32::try_from(answers).unwrap_or(u32::MAX),
    }
}

/// The code of an answer by its name; of the others only one is told apart.
fn code(name: &str) -> Option<u16> {
    match name {
        "NOERROR" => Some(0),
        "NXDOMAIN" => Some(NXDOMAIN),
        _ => None,
    }
}

fn flow(row: &Row<'_>, state: &str) -> Flow {
    // Nobody answered, it was rejected, or reset before it was open.
    let failed = matches!(state, "S0" | "REJ" | "RSTOS0" | "RSTRH" | "SH") && row.proto != "udp";
    Flow {
        phase: if failed { Phase::Failed } else { Phase::Whole },
        from_node: false,
        address: row.id_resp_h,
        name: None,
        place: Place::Unknown,
        port: row.id_resp_p,
        protocol: match &*row.proto {
            "tcp" => 6,
            "udp" => 17,
            "icmp" => 1,
            _ => 0,
        },
        sent: row.orig_bytes.unwrap_or(0),
        received: row.resp_bytes.unwrap_or(0),
        duration: micros(row.duration.unwrap_or(0.0)),
    }
}

/// As seconds, numbers from here on would be of the year 5138.
const MILLISECONDS: f64 = 1e11;

fn moment(number: f64) -> Time {
    Time(micros(if number >= MILLISECONDS { number / 1000.0 } else { number }))
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is clamped to what fits")]
fn micros(seconds: f64) -> u64 {
    (seconds * 1e6).clamp(0.0, 9e18) as u64
}
