//! The edges of the parts of an upload, so that what stands across two of them is seen.
//!
//! Enters: where a part of which upload stands ([`Place`]), its first bytes, and at its end its last ones. Leaves: the bytes
//! that stand before and behind it, as far as these parts came. Guarantees: at most [`EDGE`] bytes of each side of a part, of
//! at most [`MAX_EDGES`] parts, for [`LIFETIME`]; what is forgotten for want of room is counted. Parts may come in any order.
//! Does not: know the order of parts that only the last request of an upload tells (blocks of Azure, parts of OpenAI).

use crate::counters::{Counters, add};
use http::{HeaderMap, Method, Uri};
use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Bytes of each side of a part that are kept: what is longer is found in one of both.
pub(crate) const EDGE: usize = 512;
/// Most parts' edges.
const MAX_EDGES: usize = 4096;
/// How long they are kept.
const LIFETIME: Duration = Duration::from_secs(900);

type Mark = [u64; 2];

/// Where a part stands in which upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    upload: Mark,
    at: u64,
    /// Whether parts are numbered; else `at` counts bytes.
    is_numbered: bool,
}

impl Place {
    /// Where the next part stands, of one with so many bytes.
    fn behind(self, length: u64) -> u64 {
        self.at.saturating_add(if self.is_numbered { 1 } else { length })
    }
}

#[derive(Debug, Default)]
struct Edge {
    /// First bytes of the part that begins there.
    head: Option<Vec<u8>>,
    /// Last bytes of the part that ends there.
    tail: Option<Vec<u8>>,
    until: Option<Instant>,
}

/// Edges of parts of uploads that are under way.
#[derive(Debug)]
pub(crate) struct Edges {
    known: Mutex<HashMap<(Mark, u64), Edge>>,
    keys: [RandomState; 2],
    counters: Arc<Counters>,
}

impl Edges {
    pub(crate) fn new(counters: Arc<Counters>) -> Self {
        Self { known: Mutex::default(), keys: <[RandomState; 2]>::default(), counters }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<(Mark, u64), Edge>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Of which upload a request is a part. `None`: of none that is known, or its place is not told.
    pub(crate) fn place(
        &self,
        pod: IpAddr,
        host: &str,
        method: &Method,
        uri: &Uri,
        fields: &HeaderMap,
    ) -> Option<Place> {
        let query = uri.query().unwrap_or_default();
        let parameter = |name: &str| {
            query
                .split('&')
                .find_map(|pair| pair.split_once('=').filter(|(key, _)| *key == name))
                .map(|(_, it)| it)
        };
        let field = |name: &str| fields.get(name).and_then(|value| value.to_str().ok());
        let number = |text: &str| text.trim().parse::<u64>().ok();
        let (upload, at, is_numbered) = match *method {
            // S3, and storage that speaks it (also behind Git LFS).
            Method::PUT if parameter("partNumber").is_some() => {
                (parameter("uploadId")?, number(parameter("partNumber")?)?, true)
            }
            // Resumable uploads of Google's: `bytes 0-9/100`.
            Method::PUT if field("content-range").is_some() => {
                let range = field("content-range")?.strip_prefix("bytes ")?;
                let upload = parameter("upload_id").or(parameter("session_crd")).unwrap_or_default();
                (upload, number(range.split_once('-')?.0)?, false)
            }
            // tus.io, and uploads of layers to registries.
            Method::PATCH if field("upload-offset").is_some() => {
                ("", number(field("upload-offset")?)?, false)
            }
            Method::PATCH if field("content-range").is_some() => {
                ("", number(field("content-range")?.split_once('-')?.0)?, false)
            }
            _ => return None,
        };
        let what = (pod, host, uri.path(), upload);
        Some(Place { upload: self.keys.each_ref().map(|key| key.hash_one(what)), at, is_numbered })
    }

    /// A part began so. Gives the last bytes of the one before it.
    pub(crate) fn begins(&self, place: Place, head: &[u8], now: Instant) -> Option<Vec<u8>> {
        let head = head.get(..head.len().min(EDGE)).unwrap_or_default().to_vec();
        self.edge(place.upload, place.at, now, |edge| {
            edge.head = Some(head);
            edge.tail.clone()
        })
    }

    /// A part of so many bytes ended so. Gives the first bytes of the one behind it.
    pub(crate) fn ends(&self, place: Place, length: u64, tail: &[u8], now: Instant) -> Option<Vec<u8>> {
        let tail = tail.get(tail.len().saturating_sub(EDGE)..).unwrap_or_default().to_vec();
        self.edge(place.upload, place.behind(length), now, |edge| {
            edge.tail = Some(tail);
            edge.head.clone()
        })
    }

    fn edge<T>(&self, upload: Mark, at: u64, now: Instant, ask: impl FnOnce(&mut Edge) -> T) -> T {
        let mut known = self.known();
        if known.len() >= MAX_EDGES && !known.contains_key(&(upload, at)) {
            known.retain(|_, edge| edge.until.is_some_and(|until| now <= until));
            if known.len() >= MAX_EDGES {
                add(&self.counters.edges_lost, known.len() as u64);
                known.clear();
            }
        }
        let edge = known.entry((upload, at)).or_default();
        if edge.until.is_some_and(|until| until < now) {
            *edge = Edge::default();
        }
        edge.until = Some(now + LIFETIME);
        ask(edge)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POD: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));

    fn edges() -> Edges {
        Edges::new(Arc::new(Counters::new()))
    }

    fn place(
        edges: &Edges,
        method: Method,
        target: &str,
        field: Option<(&'static str, &str)>,
    ) -> Option<Place> {
        let mut fields = HeaderMap::new();
        field.into_iter().for_each(|(name, value)| drop(fields.insert(name, value.parse().unwrap())));
        edges.place(POD, "s3.example", &method, &target.parse().unwrap(), &fields)
    }

    #[test]
    fn parts_are_placed_by_number_or_by_offset_in_their_upload() {
        let edges = edges();
        let s3 = |part: u64, upload: &str| {
            place(&edges, Method::PUT, &format!("/b/k?partNumber={part}&uploadId={upload}"), None)
        };
        let one = s3(1, "x").unwrap();
        assert_eq!((one.at, one.behind(99)), (1, 2));
        assert_eq!(one.upload, s3(2, "x").unwrap().upload);
        assert_ne!(one.upload, s3(1, "y").unwrap().upload);
        let range = Some(("content-range", "bytes 100-199/*"));
        let google = place(&edges, Method::PUT, "/upload?upload_id=x", range).unwrap();
        assert_eq!((google.at, google.behind(100)), (100, 200));
        let tus = place(&edges, Method::PATCH, "/files/1", Some(("upload-offset", "7"))).unwrap();
        assert_eq!((tus.at, tus.behind(3)), (7, 10));
        let layer =
            place(&edges, Method::PATCH, "/v2/a/blobs/uploads/1", Some(("content-range", "5-9"))).unwrap();
        assert_eq!(layer.at, 5);
        for (method, target, field) in [
            (Method::PUT, "/b/k", None),
            (Method::PUT, "/b/k?partNumber=x&uploadId=y", None),
            (Method::PUT, "/b/k?partNumber=1", None),
            (Method::PUT, "/b/k", Some(("content-range", "bytes */100"))),
            (Method::POST, "/b/k?partNumber=1&uploadId=y", None),
        ] {
            assert_eq!(place(&edges, method, target, field), None, "{target}");
        }
    }

    #[test]
    fn edges_meet_in_whatever_order_parts_come_and_are_bounded() {
        let (edges, now) = (edges(), Instant::now());
        let part = |at| place(&edges, Method::PUT, &format!("/k?partNumber={at}&uploadId=x"), None).unwrap();
        assert_eq!(edges.begins(part(2), b"two", now), None);
        assert_eq!(edges.ends(part(2), 3, b"two", now), None);
        assert_eq!(edges.begins(part(1), b"one", now), None);
        assert_eq!(edges.ends(part(1), 3, b"one", now), Some(b"two".to_vec()));
        assert_eq!(edges.begins(part(3), &[b'x'; 2 * EDGE], now), Some(b"two".to_vec()));
        assert_eq!(edges.begins(part(3), b"three", now + 2 * LIFETIME), None, "that was too long ago");
        for at in 0..=MAX_EDGES {
            edges.begins(part(at), b"x", now);
        }
        assert!(edges.known().len() <= MAX_EDGES);
        assert!(edges.counters.read().edges_lost > 0);
    }
}
