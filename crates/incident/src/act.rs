//! What people and the program did, as the ledger has it: entries of kind `audit`.
//!
//! Enters: entries. Leaves: [`Act`]s; and for who writes such entries, their parts. Guarantees: what cannot be read is
//! [`What::Other`] and changes no state. Does not: check who may do it.

use crate::finding::cut;
use ledger::{Entry, Kind, Stored, Verdict};
use observe::Time;
use serde_json::{Map, Value};

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum What {
    /// A load of the sources is in force.
    PolicyApplied,
    /// A load of the sources is not in force, or not all of it.
    PolicyRefused,
    /// A workload was cut off.
    Contained,
    /// It is not cut off any more, for somebody said so.
    Released,
    /// It is not cut off any more, for its time was over.
    ContainmentExpired,
    /// Somebody wrote something.
    Note,
    /// Somebody looks after it.
    Acknowledged,
    /// Nobody does any more.
    Unacknowledged,
    /// It is over.
    Closed,
    /// It is not.
    Reopened,
    /// Evidence was taken out.
    Exported,
    /// Somebody logged in.
    LoggedIn,
    /// Somebody was not let in.
    LoginRefused,
    /// Records that were sent to be joined with others were not taken.
    RecordsRefused,
    /// Something that this program does not know.
    Other,
}

impl What {
    /// All that have a name.
    pub const ALL: [Self; 14] = [
        Self::PolicyApplied,
        Self::PolicyRefused,
        Self::Contained,
        Self::Released,
        Self::ContainmentExpired,
        Self::Note,
        Self::Acknowledged,
        Self::Unacknowledged,
        Self::Closed,
        Self::Reopened,
        Self::Exported,
        Self::LoggedIn,
        Self::LoginRefused,
        Self::RecordsRefused,
    ];

    /// As the reason of an entry says it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PolicyApplied => "policy-applied",
            Self::PolicyRefused => "policy-refused",
            Self::Contained => "contained",
            Self::Released => "released",
            Self::ContainmentExpired => "containment-expired",
            Self::Note => "note",
            Self::Acknowledged => "acknowledged",
            Self::Unacknowledged => "unacknowledged",
            Self::Closed => "closed",
            Self::Reopened => "reopened",
            Self::Exported => "exported",
            Self::LoggedIn => "logged-in",
            Self::LoginRefused => "login-refused",
            Self::RecordsRefused => "records-refused",
            Self::Other => "other",
        }
    }

    /// What a reason says.
    #[must_use]
    pub fn of(reason: &str) -> Self {
        Self::ALL.into_iter().find(|what| what.as_str() == reason).unwrap_or(Self::Other)
    }
}

/// One thing that was done.
#[derive(Clone, Debug, PartialEq)]
pub struct Act {
    /// Number of its entry.
    pub number: i64,
    /// When.
    pub time: Time,
    /// Who did it: the program, a user of the API, or `local:UID`; with `at NODE` where its entry came from another ledger.
    pub who: String,
    /// On what: an incident, a finding or a workload.
    pub on: String,
    /// What.
    pub what: What,
    /// More about it.
    pub detail: Map<String, Value>,
}

impl Act {
    /// What an entry tells.
    #[must_use]
    pub fn read(stored: &Stored) -> Self {
        let entry = &stored.entry;
        let detail = entry.detail.as_ref().and_then(|detail| serde_json::from_str(detail).ok());
        Self {
            number: stored.id,
            time: Time(entry.time),
            who: match &*entry.node {
                "" => cut(&entry.source),
                node => cut(&format!("{} at {node}", entry.source)),
            },
            on: cut(&entry.destination),
            what: What::of(&entry.reason),
            detail: detail.unwrap_or_default(),
        }
    }

    /// A text of its detail.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<&str> {
        self.detail.get(key)?.as_str()
    }

    /// Until when, of a containment.
    #[must_use]
    pub fn until(&self) -> Option<Time> {
        self.text("until")?.parse().ok()
    }

    /// One sentence for a person.
    #[must_use]
    pub fn sentence(&self) -> String {
        let Self { who, on, .. } = self;
        let said = self.text("text").filter(|text| !text.is_empty());
        let said = said.map(|text| format!(": {}", cut(text))).unwrap_or_default();
        match self.what {
            What::PolicyApplied => format!("policy changed{}{said}", self.changes()),
            What::PolicyRefused => format!("a change of policy was not put in force{}{said}", self.changes()),
            What::Contained => {
                let until = self.until().map(|until| format!(" until {until}")).unwrap_or_default();
                format!("{who} cut {on} off from everything{until}{said}")
            }
            What::Released => format!("{who} released {on}{said}"),
            What::ContainmentExpired => format!("the time for which {on} was cut off is over{said}"),
            What::Note => format!("{who} wrote{said}"),
            What::Acknowledged => format!("{who} looks after {on}{said}"),
            What::Unacknowledged => format!("{who} does not look after {on} any more{said}"),
            What::Closed => format!("{who} closed {on}{said}"),
            What::Reopened => format!("{who} opened {on} again{said}"),
            What::Exported => format!("{who} took out the evidence of {on}{said}"),
            What::LoggedIn => format!("{who} logged in{said}"),
            What::LoginRefused => format!("{who} was not let in{said}"),
            What::RecordsRefused => format!("records of {who} were not taken{said}"),
            What::Other => format!("{who} did something to {on} that this version does not know{said}"),
        }
    }

    /// What a load changed.
    fn changes(&self) -> String {
        let mut text = String::new();
        if let Some(generation) = self.detail.get("generation").and_then(Value::as_u64) {
            text.push_str(&format!(" to generation {generation}"));
        }
        for (key, word) in [("added", "added"), ("changed", "changed"), ("removed", "removed")] {
            let objects = self.detail.get(key).and_then(Value::as_array).into_iter().flatten();
            let names: Vec<&str> = objects.filter_map(Value::as_str).collect();
            let Some(first) = names.first() else { continue };
            let more = if names.len() > 1 { format!(" and {} more", names.len() - 1) } else { String::new() };
            text.push_str(&format!("; {word} {}{more}", cut(first)));
        }
        text
    }
}

/// The entry of something that was done. `detail` without empty lists and texts.
#[must_use]
pub fn entry(time: Time, who: &str, what: What, on: &str, detail: &Map<String, Value>) -> Entry {
    Entry {
        time: time.0,
        source: who.into(),
        destination: on.into(),
        reason: what.as_str().into(),
        // Without a detail, two of the same kind within seconds would be counted as one.
        detail: Some(Value::Object(detail.clone()).to_string()),
        ..Entry::new(Kind::Audit, Verdict::None)
    }
}
