//! An endpoint picker: a server of gRPC that speaks Envoy's external processing, with messages written after its definition
//! (`envoy/service/ext_proc/v3/external_processor.proto`) and not by the code that is tested.

use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Response, Status, Streaming};

#[derive(Clone, PartialEq, Message)]
pub struct ProcessingRequest {
    #[prost(message, optional, tag = "2")]
    pub request_headers: Option<HttpHeaders>,
    #[prost(message, optional, tag = "3")]
    pub response_headers: Option<HttpHeaders>,
    #[prost(message, optional, tag = "4")]
    pub request_body: Option<HttpBody>,
    #[prost(message, optional, tag = "8")]
    pub metadata_context: Option<Metadata>,
    #[prost(message, optional, tag = "11")]
    pub protocol_config: Option<ProtocolConfiguration>,
}

#[derive(Clone, PartialEq, Message)]
pub struct ProtocolConfiguration {
    #[prost(int32, tag = "1")]
    pub request_body_mode: i32,
}

#[derive(Clone, PartialEq, Message)]
pub struct HttpHeaders {
    #[prost(message, optional, tag = "1")]
    pub headers: Option<HeaderMap>,
    #[prost(bool, tag = "3")]
    pub end_of_stream: bool,
}

#[derive(Clone, PartialEq, Message)]
pub struct HeaderMap {
    #[prost(message, repeated, tag = "1")]
    pub headers: Vec<HeaderValue>,
}

#[derive(Clone, PartialEq, Message)]
pub struct HeaderValue {
    #[prost(string, tag = "1")]
    pub key: String,
    #[prost(string, tag = "2")]
    pub value: String,
    #[prost(bytes = "vec", tag = "3")]
    pub raw_value: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub struct HttpBody {
    #[prost(bytes = "vec", tag = "1")]
    pub body: Vec<u8>,
    #[prost(bool, tag = "2")]
    pub end_of_stream: bool,
}

#[derive(Clone, PartialEq, Message)]
pub struct Metadata {
    #[prost(map = "string, message", tag = "1")]
    pub filter_metadata: HashMap<String, Struct>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Struct {
    #[prost(map = "string, message", tag = "1")]
    pub fields: HashMap<String, Value>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Value {
    #[prost(oneof = "Kind", tags = "3, 5")]
    pub kind: Option<Kind>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Kind {
    #[prost(string, tag = "3")]
    Text(String),
    #[prost(message, tag = "5")]
    Struct(Struct),
}

#[derive(Clone, PartialEq, Message)]
pub struct ProcessingResponse {
    #[prost(oneof = "Said", tags = "1, 2, 3, 7")]
    pub said: Option<Said>,
    #[prost(message, optional, tag = "8")]
    pub dynamic_metadata: Option<Struct>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Said {
    #[prost(message, tag = "1")]
    RequestHeaders(Answer),
    #[prost(message, tag = "2")]
    ResponseHeaders(Answer),
    #[prost(message, tag = "3")]
    RequestBody(Answer),
    #[prost(message, tag = "7")]
    Immediate(ImmediateResponse),
}

/// HeadersResponse and BodyResponse.
#[derive(Clone, PartialEq, Message)]
pub struct Answer {
    #[prost(message, optional, tag = "1")]
    pub response: Option<CommonResponse>,
}

#[derive(Clone, PartialEq, Message)]
pub struct CommonResponse {
    #[prost(message, optional, tag = "2")]
    pub header_mutation: Option<HeaderMutation>,
    #[prost(message, optional, tag = "3")]
    pub body_mutation: Option<BodyMutation>,
    #[prost(bool, tag = "5")]
    pub clear_route_cache: bool,
}

#[derive(Clone, PartialEq, Message)]
pub struct HeaderMutation {
    #[prost(message, repeated, tag = "1")]
    pub set_headers: Vec<HeaderValueOption>,
    #[prost(string, repeated, tag = "2")]
    pub remove_headers: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
pub struct HeaderValueOption {
    #[prost(message, optional, tag = "1")]
    pub header: Option<HeaderValue>,
}

#[derive(Clone, PartialEq, Message)]
pub struct BodyMutation {
    #[prost(message, optional, tag = "3")]
    pub streamed_response: Option<HttpBody>,
}

#[derive(Clone, PartialEq, Message)]
pub struct ImmediateResponse {
    #[prost(message, optional, tag = "1")]
    pub status: Option<HttpStatus>,
    #[prost(bytes = "vec", tag = "3")]
    pub body: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub struct HttpStatus {
    #[prost(int32, tag = "1")]
    pub code: i32,
}

/// How a picker answers.
#[derive(Clone, Debug)]
pub enum Manner {
    /// It picks these, in the header and the metadata, sets further fields, and gives the body back, written so.
    Picks { pods: String, fields: Vec<(&'static str, &'static str)>, body: Option<String> },
    /// The header names the first and the metadata the second.
    Contradicts(String, String),
    /// It answers the client.
    Immediate(i32),
    /// It ends without a word.
    Ends,
    /// It never says anything.
    Silent,
    /// It ends with an error of gRPC.
    Fails,
}

pub struct Picker {
    pub address: SocketAddr,
    /// Every message of every stream.
    pub heard: Arc<Mutex<Vec<ProcessingRequest>>>,
    /// Streams that came to their end.
    pub ended: Arc<Mutex<usize>>,
}

impl Picker {
    pub async fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let picker = Self { address, heard: Arc::default(), ended: Arc::default() };
        let (heard, ended) = (Arc::clone(&picker.heard), Arc::clone(&picker.ended));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (manner, heard, ended) = (manner.clone(), Arc::clone(&heard), Arc::clone(&ended));
                let service = service_fn(move |request: Request<Incoming>| {
                    let (manner, heard, ended) = (manner.clone(), Arc::clone(&heard), Arc::clone(&ended));
                    async move { Ok::<_, Infallible>(process(request, manner, heard, ended).await) }
                });
                let http = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                tokio::spawn(http.serve_connection(TokioIo::new(stream), service));
            }
        });
        picker
    }
}

async fn process(
    request: Request<Incoming>,
    manner: Manner,
    heard: Arc<Mutex<Vec<ProcessingRequest>>>,
    ended: Arc<Mutex<usize>>,
) -> http::Response<tonic::body::Body> {
    if request.uri().path() != "/envoy.service.ext_proc.v3.ExternalProcessor/Process" {
        return Status::unimplemented("no such method").into_http();
    }
    let service = tower::service_fn(move |request: tonic::Request<Streaming<ProcessingRequest>>| {
        let (manner, heard, ended) = (manner.clone(), Arc::clone(&heard), Arc::clone(&ended));
        async move {
            if matches!(manner, Manner::Fails) {
                return Err(Status::unavailable("not the leader"));
            }
            let (sender, receiver) = mpsc::channel(8);
            let mut messages = request.into_inner();
            tokio::spawn(async move {
                let mut body = Vec::new();
                while let Ok(Some(message)) = messages.message().await {
                    let is_whole = match (&message.request_headers, &message.request_body) {
                        (Some(head), _) => head.end_of_stream,
                        (_, Some(piece)) => {
                            body.extend_from_slice(&piece.body);
                            piece.end_of_stream
                        }
                        (_, _) => false,
                    };
                    heard.lock().unwrap().push(message);
                    if !is_whole {
                        continue;
                    }
                    if matches!(manner, Manner::Ends) {
                        return;
                    }
                    // As pickers of today, it speaks when the whole body is there.
                    for response in responses(&manner, &body) {
                        if sender.send(Ok(response)).await.is_err() {
                            return;
                        }
                    }
                }
                *ended.lock().unwrap() += 1;
            });
            Ok::<_, Status>(Response::new(ReceiverStream::new(receiver)))
        }
    });
    let codec = tonic_prost::ProstCodec::<ProcessingResponse, ProcessingRequest>::default();
    tonic::server::Grpc::new(codec).streaming(service, request).await
}

const DESTINATION: &str = "x-gateway-destination-endpoint";

fn responses(manner: &Manner, sent: &[u8]) -> Vec<ProcessingResponse> {
    match manner {
        Manner::Picks { pods, fields, body } => {
            let body = body.clone().map_or_else(|| sent.to_vec(), String::into_bytes);
            let mut responses = vec![head(pods, pods, fields)];
            let pieces: Vec<&[u8]> = body.chunks(7).collect();
            for (at, piece) in pieces.iter().enumerate().filter(|_| !sent.is_empty()) {
                let streamed = HttpBody { body: piece.to_vec(), end_of_stream: at + 1 == pieces.len() };
                let mutation = BodyMutation { streamed_response: Some(streamed) };
                let common = CommonResponse { body_mutation: Some(mutation), ..CommonResponse::default() };
                let said = Some(Said::RequestBody(Answer { response: Some(common) }));
                responses.push(ProcessingResponse { said, dynamic_metadata: None });
            }
            responses
        }
        Manner::Contradicts(one, other) => vec![head(one, other, &[])],
        Manner::Immediate(code) => {
            let status = Some(HttpStatus { code: *code });
            let said = Said::Immediate(ImmediateResponse { status, body: b"none".to_vec() });
            vec![ProcessingResponse { said: Some(said), dynamic_metadata: None }]
        }
        Manner::Ends | Manner::Silent | Manner::Fails => Vec::new(),
    }
}

fn head(by_field: &str, by_metadata: &str, fields: &[(&str, &str)]) -> ProcessingResponse {
    let set = [(DESTINATION, by_field)].into_iter().chain(fields.iter().copied());
    let set_headers = set.map(|(key, value)| HeaderValueOption {
        header: Some(HeaderValue {
            key: key.to_owned(),
            value: String::new(),
            raw_value: value.as_bytes().to_vec(),
        }),
    });
    let mutation =
        HeaderMutation { set_headers: set_headers.collect(), remove_headers: vec!["x-gone".into()] };
    let common =
        CommonResponse { header_mutation: Some(mutation), body_mutation: None, clear_route_cache: true };
    let inner = Value { kind: Some(Kind::Text(by_metadata.to_owned())) };
    let inner = Struct { fields: HashMap::from([(DESTINATION.to_owned(), inner)]) };
    let outer = Value { kind: Some(Kind::Struct(inner)) };
    let metadata = Struct { fields: HashMap::from([("envoy.lb".to_owned(), outer)]) };
    let said = Some(Said::RequestHeaders(Answer { response: Some(common) }));
    ProcessingResponse { said, dynamic_metadata: Some(metadata) }
}
