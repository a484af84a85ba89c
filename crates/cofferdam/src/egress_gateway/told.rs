//! What an egress gateway tells of each connection, and of each request of a workload that it opened TLS for: a line, and an entry
//! of its ledger where it has one. That the upload of a rule is used up is a finding there, as it is on nodes.

use crate::calls::why;
use crate::printer::{Manner, Printer};
use crate::up::calls::ApiCall;
use crate::up::passage::Passage;
use crate::up::pen::{Pen, Recorded};
use crate::up::sight::{Seen, Spent};
use crate::up::watcher::Watcher;
use detect::event::{self, Limit};
use gateway::{Call, Reached, Record, Sink, Window};
use observe::{End, EndKind};
use policy::Verdict;
use std::io;
use std::sync::Arc;

/// Prints records on threads of its own, and has them kept.
pub(super) struct Told {
    connections: Printer<Record>,
    calls: Printer<Call>,
    /// Keeps them on disk.
    pen: Option<Arc<Pen>>,
    /// Makes findings, for what is kept on disk.
    watcher: Option<Arc<Watcher>>,
    /// The node of these records.
    node: Arc<str>,
}

impl Told {
    pub(super) fn start(
        as_json: bool,
        pen: Option<Arc<Pen>>,
        watcher: Option<Arc<Watcher>>,
        node: &str,
    ) -> io::Result<Arc<Self>> {
        let connections = Printer::start(Manner { field: "central", line, as_json })?;
        let calls = Printer::start(Manner { field: "call", line: line_of_call, as_json })?;
        Ok(Arc::new(Self { connections, calls, pen, watcher, node: node.into() }))
    }
}

impl Sink for Told {
    fn take(&self, record: Record) -> bool {
        if let Some(pen) = &self.pen {
            // It does not know pods by name, as their nodes do.
            let (node, record) = (Arc::clone(&self.node), record.clone());
            pen.write(Passage { sequence: 0, node, from: None, record }.entry());
        }
        self.connections.take(record)
    }

    fn call(&self, call: Call) -> bool {
        if let Some(pen) = &self.pen {
            let (node, call) = (Arc::clone(&self.node), call.clone());
            pen.write(ApiCall { sequence: 0, node, from: None, call }.entry());
        }
        self.calls.take(call)
    }

    fn reached(&self, reached: Reached) {
        if let Some(watcher) = &self.watcher {
            watcher.see(Seen::Spent(Box::new(spent(reached, &self.node))));
        }
    }
}

/// As detectors hear of it.
fn spent(reached: Reached, node: &Arc<str>) -> Spent {
    let Reached { time, workload, rule, window, limit } = reached;
    let of_window = match window {
        Window::Hour => Limit::UploadHour,
        Window::Day => Limit::UploadDay,
    };
    // It stands under one.
    let from = workload.addresses.first().map(|address| End {
        kind: EndKind::Pod,
        namespace: Some(workload.namespace.clone()),
        name: Some(workload.name.clone()),
        address: *address,
        port: 0,
        workload: Some(workload.workload.clone()),
        labels: Arc::clone(&workload.labels.0),
        names: Arc::default(),
    });
    Spent {
        time,
        node: Arc::clone(node),
        pod: (workload.namespace.clone(), workload.name.clone()),
        from,
        rule,
        reached: event::Reached { limit: of_window, whom: None, bytes: limit },
    }
}

fn line_of_call(call: &Call) -> String {
    let verdict = match call.verdict {
        Verdict::Allow => "allow",
        Verdict::Deny => "DENY",
    };
    format!(
        "{} {verdict} {} as {} {} {} {} {}: {}, {} bytes sent, {} received",
        call.time.clock(),
        call.pod.ip(),
        call.asked_by.as_deref().unwrap_or("-"),
        call.name,
        call.method,
        call.path,
        call.status,
        why(call),
        call.bytes_up,
        call.bytes_down,
    )
}

fn line(record: &Record) -> String {
    let verdict = match record.verdict {
        Verdict::Allow => "allow",
        Verdict::Deny => "DENY",
    };
    let asked = record.explicit.as_deref().map(|explicit| explicit.asked.as_str());
    let whom = record.claim.name.as_deref().or(asked).unwrap_or("-");
    format!(
        "{} {verdict} {} {} {} to {whom} at {}: {}, {}, {} bytes sent, {} received{}",
        record.time.clock(),
        record.pod.ip(),
        if record.explicit.is_some() { "as" } else { "of node" },
        record.asked_by.as_deref().unwrap_or("-"),
        record.destination,
        record.reason.describe(),
        record.end,
        record.bytes_up,
        record.bytes_down,
        record.rule.as_ref().map(|rule| format!(" ({rule})")).unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use policy::{Labels, Pod, WorkloadRef};

    #[test]
    fn who_used_up_an_upload_is_known_to_detectors_by_his_service_account() {
        let workload = Pod {
            namespace: "team".into(),
            name: "serviceaccount:runner".into(),
            labels: Labels::default(),
            service_account: "runner".into(),
            node: None,
            addresses: vec!["100:0:0:1::1".parse().unwrap()],
            ports: Vec::new(),
            host_network: false,
            workload: WorkloadRef { kind: "ServiceAccount".into(), name: "runner".into() },
        };
        let time = std::time::SystemTime::now().into();
        let (workload, rule) = (Arc::new(workload), "EgressPolicy team/runners".into());
        let reached = Reached { time, workload, rule, window: Window::Day, limit: 5 };
        let spent = spent(reached, &"egress-gateway/a".into());
        assert_eq!(spent.from.unwrap().workload(), "team/ServiceAccount/runner");
        assert_eq!((spent.reached.limit, spent.reached.bytes), (Limit::UploadDay, 5));
    }
}
