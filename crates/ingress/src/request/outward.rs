//! A request as it goes on: its head, who gets copies of it, and who is picked to answer it.

use super::{Asking, Exchange, RETRY, Stop, Way};
use crate::body::{Outgoing, Unread};
use crate::copies::{CopyFate, Tap};
use crate::fields::{self, Origin};
use crate::filters;
use crate::picker::{self, Picked, Question, Unpicked};
use crate::pool::Spoken;
use crate::reason::Reason;
use crate::record::Guard;
use http::uri::PathAndQuery;
use http::{HeaderValue, Uri, Version, header, request};
use routes::{Backend, Mirror, Picker};
use std::sync::atomic::Ordering;

/// A head with the fields that go on.
pub(super) struct Outward {
    pub(super) head: request::Parts,
    /// As whoever is asked is to know it.
    pub(super) host: String,
    pub(super) target: PathAndQuery,
}

impl Outward {
    /// The head for somebody who is spoken to so.
    pub(super) fn addressed(&self, spoken: Spoken<'_>) -> Result<request::Parts, Stop> {
        let mut head = self.head.clone();
        if spoken.is_http2 {
            head.version = Version::HTTP_2;
            let scheme = if spoken.tls.is_some() { "https" } else { "http" };
            let uri = Uri::builder().scheme(scheme).authority(self.host.as_str());
            head.uri = uri.path_and_query(self.target.clone()).build().map_err(|_| Reason::HttpHost)?;
        } else {
            head.version = Version::HTTP_11;
            head.uri = Uri::from(self.target.clone());
            let host = HeaderValue::from_str(&self.host).map_err(|_| Reason::HttpHost)?;
            head.headers.insert(header::HOST, host);
        }
        Ok(head)
    }
}

impl Exchange {
    /// A request with the fields that go on.
    pub(super) fn outward(
        &self,
        asking: Asking<'_>,
        way: &Way<'_>,
        backend: &Backend,
        guard: &Guard,
    ) -> Outward {
        let Asking { host, asks, mut head, target } = asking;
        let origin = Origin {
            client: self.client.address.ip(),
            is_tls: self.client.tls.is_some(),
            host,
            request_id: &guard.record.request_id,
        };
        fields::forwarded(&mut head.headers, asks, &origin);
        if way.held.answers.is_some() {
            // What is compressed would be undone here, and frames of a WebSocket could not be read.
            head.headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
            head.headers.remove(header::SEC_WEBSOCKET_EXTENSIONS);
            // In parts nobody would see what stands across them.
            head.headers.remove(header::RANGE);
        }
        let consumer = guard.record.consumer.as_deref().filter(|name| !name.is_empty());
        if let Some(Ok(consumer)) = consumer.map(HeaderValue::from_str) {
            if backend.picker.is_some() {
                // Pickers share pods fairly by it, so no client says it of itself.
                head.headers.insert("x-gateway-inference-fairness-id", consumer.clone());
            }
            head.headers.insert("x-cofferdam-consumer", consumer);
        }
        let filters = [&way.rule.filters, &backend.filters];
        filters.iter().for_each(|filters| filters::change(&mut head.headers, &filters.request));
        let rewrite = backend.filters.rewrite.as_ref().or(way.rule.filters.rewrite.as_ref());
        let host = rewrite.and_then(|rewrite| rewrite.host.as_deref()).unwrap_or(host).to_owned();
        head.extensions = http::Extensions::new();
        Outward { head, host, target }
    }

    /// Who gets copies of this request. A copy that nobody can have is counted, and holds nothing up.
    pub(super) fn copies(&self, outward: &Outward, way: &Way<'_>, backend: &Backend) -> Option<Tap> {
        let copies = &self.shared.copies;
        let mut heads = Vec::new();
        for mirror in way.rule.filters.mirrors.iter().chain(&backend.filters.mirrors) {
            if !mirror.is_meant(super::spread(self.shared.next_number())) {
                continue;
            }
            match self.copied_to(outward, way, mirror) {
                Some(copy) => heads.push(copy),
                None => copies.note(CopyFate::NoEndpoint, 1),
            }
        }
        copies.tap(heads)
    }

    fn copied_to(
        &self,
        outward: &Outward,
        way: &Way<'_>,
        mirror: &Mirror,
    ) -> Option<(request::Parts, std::sync::Arc<crate::upstream::Endpoint>)> {
        let is_http2 = mirror.target.is_h2();
        let tls = match &mirror.tls {
            Some(tls) => Some(way.live.secured(tls)?),
            None => None,
        };
        let spoken = Spoken { is_http2, tls };
        let endpoint = self.shared.pool.pick(way.live.endpoints(&mirror.target), spoken, &[])?;
        Some((outward.addressed(spoken).ok()?, endpoint))
    }

    /// Whom the picker of a pool picks. `None`: nobody, and any pod may answer.
    pub(super) async fn picked(
        &self,
        picker: &Picker,
        outward: &Outward,
        way: &Way<'_>,
        (body, guard): (&mut Outgoing, &mut Guard),
        pods: &[std::net::SocketAddr],
    ) -> Result<Option<Picked>, Stop> {
        let asked = match body.hold_all().await {
            Ok(()) => {
                let question = Question {
                    method: outward.head.method.as_str(),
                    host: &outward.host,
                    target: outward.target.as_str(),
                    is_tls: self.client.tls.is_some(),
                    fields: &outward.head.headers,
                    body: body.pieces(),
                    pods,
                };
                picker::ask(&self.shared, way.live, picker, &question).await
            }
            Err(Unread::TooLarge) => Err(Unpicked::Fails("the body is larger than what is held to show it")),
            Err(unread) => return Err(unread.into()),
        };
        let why = match asked {
            Ok(picked) => return Ok(Some(picked)),
            Err(Unpicked::Answers(status)) => {
                let reason = if status == 429 { Reason::PickerSheds } else { Reason::PickerRefused };
                let stop = Stop::because(reason, format!("the picker answers {status}"));
                return Err(Stop { retry_after: Some(RETRY), ..stop });
            }
            Err(Unpicked::Fails(why)) => why,
        };
        self.shared.unpicked.fetch_add(1, Ordering::Relaxed);
        if picker.is_lenient {
            guard.record.detail = Some(format!("its endpoint picker was not followed: {why}"));
            return Ok(None);
        }
        Err(Stop { retry_after: Some(RETRY), ..Stop::because(Reason::PickerFailed, why) })
    }
}
