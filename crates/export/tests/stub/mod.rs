//! A collector that takes requests of HTTP/1.1, records them and answers as it was told, and holds each strictly to the protocol.

#![allow(dead_code, reason = "each test uses some of it")]

use flate2::read::GzDecoder;
use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) path: String,
    /// Names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    /// Unpacked.
    pub(crate) body: Vec<u8>,
}

impl Asked {
    pub(crate) fn lines(&self) -> Vec<serde_json::Value> {
        let text = std::str::from_utf8(&self.body).unwrap();
        assert!(text.ends_with('\n'), "the last line has no end");
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

pub(crate) struct Collector {
    pub(crate) address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
}

pub(crate) fn answer(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n{body}", body.len())
}

impl Collector {
    /// Answers so, whole, from the status line on, in this order, and then with 200. An empty answer: the connection is closed.
    pub(crate) fn start(answers: &[String]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let left = Arc::new(Mutex::new(answers.iter().cloned().collect()));
        let kept = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                let (kept, left) = (Arc::clone(&kept), Arc::clone(&left));
                std::thread::spawn(move || serve(&stream, &kept, &left));
            }
        });
        Self { address, asked }
    }

    pub(crate) fn url(&self, prefix: &str, path: &str) -> String {
        format!("{prefix}http://{}{path}", self.address)
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

pub(crate) fn serve<S>(stream: &S, kept: &Mutex<Vec<Asked>>, answers: &Mutex<VecDeque<String>>)
where
    for<'a> &'a S: Read + Write,
{
    let mut reader = BufReader::new(stream);
    while let Some(asked) = request(&mut reader) {
        kept.lock().unwrap().push(asked);
        let next = answers.lock().unwrap().pop_front();
        let next = next.unwrap_or_else(|| answer("200 OK", "", "{}"));
        if next.is_empty() {
            return;
        }
        let mut out = stream;
        out.write_all(next.as_bytes()).unwrap();
    }
}

fn request(reader: &mut impl BufRead) -> Option<Asked> {
    let mut line = String::new();
    if reader.read_line(&mut line).unwrap_or(0) == 0 {
        return None;
    }
    let parts: Vec<&str> = line.trim_end_matches("\r\n").split(' ').collect();
    let [method, path, version] = parts[..] else { panic!("{line:?} is no request line") };
    assert_eq!((method, version), ("POST", "HTTP/1.1"));
    let path = path.to_owned();
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let line = line.strip_suffix("\r\n").unwrap();
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(": ").unwrap();
        let twice = headers.insert(name.to_lowercase(), value.to_owned());
        assert_eq!(twice, None, "{name} is there twice");
    }
    for name in ["host", "content-type", "user-agent"] {
        assert!(headers.contains_key(name), "no {name} in {headers:?}");
    }
    assert_eq!(headers["content-encoding"], "gzip");
    let mut packed = vec![0; headers["content-length"].parse().unwrap()];
    reader.read_exact(&mut packed).unwrap();
    let mut body = Vec::new();
    GzDecoder::new(&packed[..]).read_to_end(&mut body).unwrap();
    Some(Asked { path, headers, body })
}
