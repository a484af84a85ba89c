//! Zeek's JSON logs: `dns.log` and `conn.log`. Fields: <https://docs.zeek.org/en/master/logs/index.html>. Names of fields with a dot
//! (`id.orig_h`) may have a line below in its place, as collectors write them. Other logs say nothing of interest here.

use super::TYPE_A;
use crate::event::{Event, Flow, Lookup, Phase, Place, RecordId, What, clean_name};
use observe::Time;
use serde::Deserialize;
use std::borrow::Cow;
use std::net::IpAddr;

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
    line.contains("\"ts\"") && (line.contains("\"id.orig_h\"") || line.contains("\"id_orig_h\""))
}

pub(super) fn read(line: &str, record: &RecordId, events: &mut Vec<Event>) -> Result<(), String> {
    // Lines of other logs are read no further: their fields may have the same names and other types.
    if !line.contains("\"query\"") && !line.contains("\"conn_state\"") {
        return Ok(());
    }
    let row: Row<'_> = serde_json::from_str(line)
        .map_err(|error| format!("not a line of Zeek's dns.log or conn.log: {error}"))?;
    let time = match &row.ts {
        Stamp::Number(number) => moment(*number),
        Stamp::Text(text) => match text.parse() {
            Ok(number) => moment(number),
            Err(_) => text.parse().map_err(|error| format!("field ts: {error}"))?,
        },
    };
    let what = match (&row.query, &row.conn_state) {
        (Some(query), _) => What::Lookup(lookup(&row, query)),
        (None, Some(state)) => What::Flow(flow(&row, state)),
        (None, None) => return Ok(()),
    };
    events.push(Event::new(time, row.id_orig_h.to_string().into(), record.clone(), what));
    Ok(())
}

fn lookup(row: &Row<'_>, query: &str) -> Lookup {
    let answers = row.answers.iter().flatten().map(|answer| answer.len()).sum::<usize>();
    Lookup {
        name: clean_name(query.as_bytes()),
        kind: row.qtype.unwrap_or(TYPE_A),
        rcode: row.rcode,
        answer_bytes: u32::try_from(answers).unwrap_or(u32::MAX),
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
