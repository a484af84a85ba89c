//! The edges of the parts of an upload, so that what stands across two of them is seen.
//!
//! Enters: where a part of which upload stands ([`Place`]), its first bytes, and at its end its last ones. Leaves: the bytes
//! that stand before and behind it, as far as these parts came. Guarantees: at most [`EDGE`] bytes of each side of a part, of
//! at most [`MAX_EDGES`] parts, for [`LIFETIME`]; for want of room whoever has most loses it, and it is counted. Parts may come in any order.
//! Of what is appended (Azure), where several requests at once may change places, a part is taken to stand beside each of
//! the [`NEAR`] that came before and behind it. Does not: order uploads whose last request tells the order (`parts`).

use crate::counters::{Counters, add};
use crate::files::most;
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
/// Of parts without a known order, how many that came before one, and behind it, may stand beside it.
const NEAR: u64 = 8;
/// Where it is counted how many parts of an upload came.
const COUNT: u64 = u64::MAX;
/// How long they are kept.
const LIFETIME: Duration = Duration::from_secs(900);

/// Which upload of which pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Mark {
    pod: IpAddr,
    upload: [u64; 2],
}

/// Where a part stands in which upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    upload: Mark,
    at: u64,
    order: Order,
}

/// How parts are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// `at` counts bytes.
    Offset,
    /// `at` counts parts.
    Number,
    /// `at` counts parts as they came, which need not be how they will stand.
    Arrival,
}

impl Place {
    /// Where the next part stands, of one with so many bytes.
    fn behind(self, length: u64) -> u64 {
        self.at.saturating_add(match self.order {
            Order::Number | Order::Arrival => 1,
            Order::Offset => length,
        })
    }

    /// Other parts that may stand beside it, besides the one that is next in order.
    fn near(self) -> impl Iterator<Item = u64> {
        let reach = match self.order {
            Order::Number | Order::Offset => 0,
            Order::Arrival => NEAR,
        };
        let around = self.at.saturating_sub(reach)..=self.at.saturating_add(reach);
        around.filter(move |at| *at != self.at)
    }
}

/// What stands, or may stand, at one side of a part.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Beside {
    /// Of the part that is next in order.
    pub(crate) next: Option<Vec<u8>>,
    /// Of others that may be.
    pub(crate) others: Vec<Vec<u8>>,
}

#[derive(Debug, Default)]
struct Edge {
    /// First bytes of the part that begins there.
    head: Option<Vec<u8>>,
    /// Last bytes of the part that ends there.
    tail: Option<Vec<u8>>,
    /// How many parts of its upload came; only at [`COUNT`].
    parts: u64,
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
        let azure = |what: &str| parameter("comp") == Some(what);
        let (upload, at, order) = match *method {
            // S3, and storage that speaks it (also behind Git LFS).
            Method::PUT if parameter("partNumber").is_some() => {
                (parameter("uploadId")?, number(parameter("partNumber")?)?, Order::Number)
            }
            // Resumable uploads of Google's: `bytes 0-9/100`.
            Method::PUT if field("content-range").is_some() => {
                let range = field("content-range")?.strip_prefix("bytes ")?;
                let upload = parameter("upload_id").or(parameter("session_crd")).unwrap_or_default();
                (upload, number(range.split_once('-')?.0)?, Order::Offset)
            }
            // Azure: pages say where they stand (`bytes=0-511`); what is appended stands in the order in which it comes.
            Method::PUT if azure("page") => {
                let range = field("x-ms-range").or(field("range"))?.strip_prefix("bytes=")?;
                ("", number(range.split_once('-')?.0)?, Order::Offset)
            }
            Method::PUT if azure("appendblock") => ("", COUNT, Order::Arrival),
            Method::PATCH if parameter("action") == Some("append") => {
                ("", number(parameter("position")?)?, Order::Offset)
            }
            // tus.io, and uploads of layers to registries.
            Method::PATCH if field("upload-offset").is_some() => {
                ("", number(field("upload-offset")?)?, Order::Offset)
            }
            Method::PATCH if field("content-range").is_some() => {
                ("", number(field("content-range")?.split_once('-')?.0)?, Order::Offset)
            }
            _ => return None,
        };
        let what = (host, uri.path(), upload);
        let upload = Mark { pod, upload: self.keys.each_ref().map(|key| key.hash_one(what)) };
        let at = match order {
            Order::Arrival => self.next_of(upload, Instant::now()),
            Order::Number | Order::Offset => at,
        };
        Some(Place { upload, at, order })
    }

    /// The number of a part that comes, among those of its upload.
    fn next_of(&self, upload: Mark, now: Instant) -> u64 {
        self.edge(&mut self.known(), (upload, COUNT), now, |edge| {
            edge.parts += 1;
            edge.parts
        })
    }

    /// A part began so. Gives the last bytes of those before it.
    pub(crate) fn begins(&self, place: Place, head: &[u8], now: Instant) -> Beside {
        let head = head.get(..head.len().min(EDGE)).unwrap_or_default().to_vec();
        let mut known = self.known();
        let next = self.edge(&mut known, (place.upload, place.at), now, |edge| {
            edge.head = Some(head);
            edge.tail.clone()
        });
        // The end of a part is kept where the one behind it would begin. That of the one next in order was just given.
        let ends = place.near().map(|at| at.saturating_add(1)).filter(|at| *at != place.at);
        let others = ends.filter_map(|at| living(&known, (place.upload, at), now)?.tail.clone());
        Beside { next, others: others.collect() }
    }

    /// A part of so many bytes ended so. Gives the first bytes of those behind it.
    pub(crate) fn ends(&self, place: Place, length: u64, tail: &[u8], now: Instant) -> Beside {
        let tail = tail.get(tail.len().saturating_sub(EDGE)..).unwrap_or_default().to_vec();
        let mut known = self.known();
        let behind = place.behind(length);
        let next = self.edge(&mut known, (place.upload, behind), now, |edge| {
            edge.tail = Some(tail);
            edge.head.clone()
        });
        let begins = place.near().filter(|at| *at != behind);
        let others = begins.filter_map(|at| living(&known, (place.upload, at), now)?.head.clone());
        Beside { next, others: others.collect() }
    }

    fn edge<T>(
        &self,
        known: &mut HashMap<(Mark, u64), Edge>,
        key: (Mark, u64),
        now: Instant,
        ask: impl FnOnce(&mut Edge) -> T,
    ) -> T {
        if known.len() >= MAX_EDGES && !known.contains_key(&key) {
            known.retain(|_, edge| edge.until.is_some_and(|until| now <= until));
            if known.len() >= MAX_EDGES {
                let before = known.len();
                let most = most(known.keys().map(|(upload, _)| upload.pod));
                known.retain(|(upload, _), _| Some(upload.pod) != most);
                add(&self.counters.edges_lost, (before - known.len()) as u64);
            }
        }
        let edge = known.entry(key).or_default();
        if edge.until.is_some_and(|until| until < now) {
            *edge = Edge::default();
        }
        edge.until = Some(now + LIFETIME);
        ask(edge)
    }
}

fn living(known: &HashMap<(Mark, u64), Edge>, key: (Mark, u64), now: Instant) -> Option<&Edge> {
    known.get(&key).filter(|edge| edge.until.is_some_and(|until| now <= until))
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
    fn parts_without_a_known_order_are_counted_as_they_come() {
        let edges = edges();
        let append =
            |blob: &str| place(&edges, Method::PUT, &format!("/c/{blob}?comp=appendblock"), None).unwrap();
        let (one, two, other) = (append("x"), append("x"), append("y"));
        assert_eq!((one.at, two.at, other.at), (1, 2, 1));
        assert_eq!((one.upload == two.upload, one.upload == other.upload), (true, false));
        assert_eq!(one.behind(9), 2);
        let page =
            place(&edges, Method::PUT, "/c/x?comp=page", Some(("x-ms-range", "bytes=512-1023"))).unwrap();
        assert_eq!((page.at, page.behind(512)), (512, 1024));
        let lake = place(&edges, Method::PATCH, "/f/x?action=append&position=7", None).unwrap();
        assert_eq!((lake.at, lake.behind(3)), (7, 10));
        for (method, target) in [
            (Method::PUT, "/c/x?comp=blocklist"),
            (Method::PUT, "/c/x?comp=block&blockid=eA=="),
            (Method::PUT, "/c/x?comp=page"),
            (Method::POST, "/v1/uploads/u1/parts"),
            (Method::POST, "/v1/uploads/u1/complete"),
        ] {
            assert_eq!(place(&edges, method, target, None), None, "{target}");
        }
    }

    #[test]
    fn parts_without_a_known_order_meet_all_that_came_near_them_but_not_themselves() {
        let (edges, now) = (edges(), Instant::now());
        let part = || place(&edges, Method::PUT, "/c/x?comp=appendblock", None).unwrap();
        let parts: Vec<_> = (0..12).map(|_| part()).collect();
        for (at, place) in parts.iter().enumerate() {
            edges.begins(*place, format!("head {at}").as_bytes(), now);
            edges.ends(*place, 99, format!("tail {at}").as_bytes(), now);
        }
        let texts = |what: &str, of: &[u64]| -> Vec<Vec<u8>> {
            of.iter().map(|at| format!("{what} {at}").into_bytes()).collect()
        };
        let before = edges.begins(parts[9], b"head 9", now);
        assert_eq!(before.next, texts("tail", &[8]).pop());
        assert_eq!(before.others, texts("tail", &[1, 2, 3, 4, 5, 6, 7, 10, 11]));
        let behind = edges.ends(parts[1], 99, b"tail 1", now);
        assert_eq!(behind.next, texts("head", &[2]).pop());
        assert_eq!(behind.others, texts("head", &[0, 3, 4, 5, 6, 7, 8, 9]));
        assert_eq!(edges.begins(parts[9], b"head 9", now + 2 * LIFETIME), Beside::default());
    }

    #[test]
    fn edges_meet_in_whatever_order_parts_come_and_are_bounded() {
        let (edges, now) = (edges(), Instant::now());
        let part = |at| place(&edges, Method::PUT, &format!("/k?partNumber={at}&uploadId=x"), None).unwrap();
        let two = Beside { next: Some(b"two".to_vec()), others: vec![] };
        assert_eq!(edges.begins(part(2), b"two", now), Beside::default());
        assert_eq!(edges.ends(part(2), 3, b"two", now), Beside::default());
        assert_eq!(edges.begins(part(1), b"one", now), Beside::default());
        assert_eq!(edges.ends(part(1), 3, b"one", now), two);
        assert_eq!(edges.begins(part(3), &[b'x'; 2 * EDGE], now), two);
        assert_eq!(edges.begins(part(3), b"three", now + 2 * LIFETIME), Beside::default(), "too long ago");
        let uri = "/k?partNumber=1&uploadId=x".parse().unwrap();
        let other = IpAddr::from([10, 0, 0, 2]);
        let other = edges.place(other, "s3.example", &Method::PUT, &uri, &HeaderMap::new()).unwrap();
        assert_eq!(edges.ends(other, 5, b"other", now), Beside::default());
        for at in 0..=MAX_EDGES {
            edges.begins(part(at), b"x", now);
        }
        assert!(edges.known().len() <= MAX_EDGES);
        let behind = Place { at: 2, ..other };
        assert_eq!(edges.begins(behind, b"x", now).next.as_deref(), Some(&b"other"[..]), "it is another's");
        assert!(edges.counters.read().edges_lost > 0);
    }
}
