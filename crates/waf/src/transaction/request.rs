//! What arrives of a request: its line, its headers, its body.

use std::sync::Arc;

use super::outcome::Limit;
use super::{MAX_HEADER_BYTES, MAX_HEADERS, Transaction};
use crate::body::{Limits, form, json, multipart, xml};
use crate::options::Beyond;
use crate::profile::{self, Part};
use crate::rule::{Engine, Phase, Processor};
use crate::transform::{decode_base64, decode_path};
use crate::variable::Variable;

/// Where an argument came from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum From {
    Query,
    Body,
}

impl Transaction {
    /// The first line: method, target as sent, and protocol such as `HTTP/1.1`.
    pub fn request_line(&mut self, method: &[u8], target: &[u8], protocol: &[u8]) {
        self.head = [method, target, protocol].join(&b' ');
        self.set(Variable::RequestLine, self.head.clone());
        self.set(Variable::RequestMethod, method.to_vec());
        self.set(Variable::RequestProtocol, protocol.to_vec());
        self.set(Variable::RequestUriRaw, target.to_vec());
        let target = without_origin(target);
        self.set(Variable::RequestUri, target.to_vec());
        let end = memchr::memchr(b'?', target).unwrap_or(target.len());
        let query = target.get(end + 1..).unwrap_or_default();
        let path = decode_path(target.get(..end).unwrap_or_default());
        self.set(Variable::QueryString, query.to_vec());
        let last = path.rsplit(|byte| matches!(byte, b'/' | b'\\')).next().unwrap_or_default();
        self.set(Variable::RequestBasename, last.to_vec());
        self.set(Variable::PathInfo, path.clone());
        self.content_path.clone_from(&path);
        self.set(Variable::RequestFilename, path);
        let limits = self.limits();
        let form = form::read(query, self.rules.options.separator, limits);
        self.note_form(&form, Phase::RequestHeaders);
        for (name, value) in form.pairs {
            self.argument(From::Query, name, value, Part::Strict);
        }
    }

    /// One header, as it came.
    pub fn request_header(&mut self, name: &[u8], value: &[u8]) {
        if !self.count_header(0, name, value, Phase::RequestHeaders) {
            return;
        }
        self.head.extend_from_slice(&[b"\r\n", name, b": ", value].concat());
        let key: Arc<[u8]> = name.into();
        self.add(Variable::RequestHeaders, &key, value.to_vec());
        self.add(Variable::RequestHeadersNames, &key, name.to_vec());
        match name.to_ascii_lowercase().as_slice() {
            b"cookie" => self.cookies(value),
            b"content-type" => self.content_type(value),
            b"host" => {
                let host = value.trim_ascii();
                let port = memchr::memrchr(b':', host)
                    .filter(|at| memchr::memchr(b']', host.get(*at..).unwrap_or_default()).is_none());
                self.set(
                    Variable::ServerName,
                    host.get(..port.unwrap_or(host.len())).unwrap_or_default().to_vec(),
                );
            }
            b"authorization" => self.authorization(value),
            _ => {}
        }
    }

    /// Counts a header; false when there are too many, or too large ones.
    pub(super) fn count_header(&mut self, side: usize, name: &[u8], value: &[u8], phase: Phase) -> bool {
        let (Some(count), Some(bytes)) = (self.header_count.get_mut(side), self.header_bytes.get_mut(side))
        else {
            return false;
        };
        *count += 1;
        *bytes += name.len() + value.len();
        let room = *count <= MAX_HEADERS && *bytes <= MAX_HEADER_BYTES;
        if !room {
            self.reached(Limit::Headers, phase);
        }
        room
    }

    fn cookies(&mut self, value: &[u8]) {
        for cookie in value.trim_ascii_end().split(|byte| *byte == b';') {
            let end = memchr::memchr(b'=', cookie).unwrap_or(cookie.len());
            let name = cookie.get(..end).unwrap_or_default().trim_ascii_start();
            if name.is_empty() {
                continue;
            }
            let key: Arc<[u8]> = name.into();
            self.add(Variable::RequestCookies, &key, cookie.get(end + 1..).unwrap_or_default().to_vec());
            self.add(Variable::RequestCookiesNames, &key, name.to_vec());
        }
    }

    fn content_type(&mut self, value: &[u8]) {
        self.content_type = value.to_vec();
        let lower = value.to_ascii_lowercase();
        let processor = if lower.starts_with(b"multipart/form-data") {
            Processor::Multipart
        } else if lower.starts_with(b"application/x-www-form-urlencoded") {
            Processor::UrlEncoded
        } else {
            return;
        };
        self.choose_processor(processor);
    }

    /// Has the body read as JSON, unless its type or a rule says as what: servers of models read it so whatever its type. After the
    /// headers are done.
    pub fn assume_json(&mut self) {
        if self.processor.is_none() {
            self.choose_processor(Processor::Json);
        }
    }

    pub(super) fn choose_processor(&mut self, processor: Processor) {
        self.processor = Some(processor);
        self.set(Variable::ReqbodyProcessor, processor.name().as_bytes().to_vec());
    }

    fn authorization(&mut self, value: &[u8]) {
        let value = value.trim_ascii();
        let end = value.iter().position(u8::is_ascii_whitespace).unwrap_or(value.len());
        let (scheme, rest) = value.split_at_checked(end).unwrap_or((value, &[]));
        self.set(Variable::AuthType, scheme.to_vec());
        if scheme.eq_ignore_ascii_case(b"basic")
            && let Some(text) = decode_base64(rest.trim_ascii())
        {
            let end = memchr::memchr(b':', &text).unwrap_or(text.len());
            self.set(Variable::RemoteUser, text.get(..end).unwrap_or_default().to_vec());
        }
    }

    /// A piece of the body; what is beyond the limit is not kept.
    pub fn request_body(&mut self, piece: &[u8]) {
        let options = &self.rules.options;
        let limit = match self.processor {
            Some(Processor::Multipart) => options.request_body_limit,
            _ => options.request_body_limit.min(options.request_body_no_files_limit),
        };
        let beyond = options.request_body_beyond;
        if !self.request_body_access {
            return;
        }
        let room = limit.saturating_sub(self.request_body.len());
        self.request_body.extend_from_slice(piece.get(..room).unwrap_or(piece));
        if piece.len() > room {
            self.set(Variable::InboundDataError, b"1".to_vec());
            match beyond {
                Beyond::Reject => self.reached(Limit::RequestBody, Phase::RequestBody),
                Beyond::ProcessPartial => {}
            }
        }
    }

    /// Makes arguments, files and texts of the body.
    pub(super) fn read_request_body(&mut self) {
        self.set(Variable::RequestBodyLength, self.request_body.len().to_string().into_bytes());
        let body = std::mem::take(&mut self.request_body);
        let raw = self.force_request_body || matches!(self.processor, None | Some(Processor::UrlEncoded));
        if raw && !body.is_empty() {
            self.set(Variable::RequestBody, body.clone());
        }
        let limits = self.limits();
        match self.processor {
            _ if !self.request_body_access || body.is_empty() => {}
            None => {}
            Some(Processor::UrlEncoded) => {
                let form = form::read(&body, self.rules.options.separator, limits);
                self.note_form(&form, Phase::RequestBody);
                for (name, value) in form.pairs {
                    self.argument(From::Body, name, value, Part::Strict);
                }
            }
            Some(Processor::Json) => {
                let document = json::read(&body, limits);
                let parts = profile::parts(self.start.profile, &self.content_path, &document);
                let json::Document { pairs, lists, fault, .. } = document;
                for list in lists {
                    let key: Arc<[u8]> = list.as_slice().into();
                    let name = self.texts.add(list);
                    self.facts.add(Variable::ArgsNames, &key, name);
                    self.facts.add(Variable::ArgsPostNames, &key, name);
                }
                for ((name, value), part) in pairs.into_iter().zip(parts) {
                    self.argument(From::Body, name, value, part);
                }
                self.note_fault(fault);
            }
            Some(Processor::Xml) => {
                let (texts, fault) = xml::read(&body, limits);
                self.add(Variable::Xml, &Arc::from(&b"/*"[..]), texts.text);
                let key: Arc<[u8]> = Arc::from(&b"//@*"[..]);
                for value in texts.attributes {
                    self.add(Variable::Xml, &key, value);
                }
                self.note_fault(fault);
            }
            Some(Processor::Multipart) => self.read_multipart(&body, limits),
        }
        let line_and_headers = self.head.len();
        let whole = line_and_headers + 4 + body.len();
        self.set(Variable::FullRequestLength, whole.to_string().into_bytes());
        if self.rules.uses(Variable::FullRequest) {
            let full = [self.head.as_slice(), b"\r\n\r\n", &body].concat();
            self.set(Variable::FullRequest, full);
        }
    }

    fn read_multipart(&mut self, body: &[u8], limits: Limits) {
        let content_type = std::mem::take(&mut self.content_type);
        let (parts, fault) = multipart::read(body, &content_type, limits);
        let flags = parts.flags;
        for (name, value) in parts.fields {
            self.set(Variable::MultipartName, name.clone());
            self.argument(From::Body, name, value, Part::Strict);
        }
        let mut size = 0;
        let fields: Arc<[u8]> = Arc::from(&[][..]);
        for file in parts.files {
            size += file.content.len();
            let key: Arc<[u8]> = file.field.as_slice().into();
            self.set(Variable::MultipartName, file.field.clone());
            self.set(Variable::MultipartFilename, file.filename.clone());
            self.add(Variable::Files, &key, file.filename);
            self.add(Variable::FilesNames, &fields, file.field);
            self.add(Variable::FilesSizes, &key, file.content.len().to_string().into_bytes());
            self.add(Variable::FilesTmpContent, &key, file.content);
        }
        self.set(Variable::FilesCombinedSize, size.to_string().into_bytes());
        for (part, header) in parts.headers {
            self.add(Variable::MultipartPartHeaders, &part.into(), header);
        }
        self.note_flags(flags, fault.is_some());
        self.note_fault(fault);
    }

    fn note_flags(&mut self, flags: multipart::Flags, fault: bool) {
        let all = [
            (Variable::MultipartBoundaryQuoted, flags.boundary_quoted),
            (Variable::MultipartBoundaryWhitespace, flags.boundary_whitespace),
            (Variable::MultipartCrlfLfLines, flags.crlf_lf_lines),
            (Variable::MultipartDataAfter, flags.data_after),
            (Variable::MultipartDataBefore, flags.data_before),
            (Variable::MultipartFileLimitExceeded, flags.file_limit_exceeded),
            (Variable::MultipartHeaderFolding, flags.header_folding),
            (Variable::MultipartInvalidHeaderFolding, flags.invalid_header_folding),
            (Variable::MultipartInvalidPart, flags.invalid_part),
            (Variable::MultipartInvalidQuoting, flags.invalid_quoting),
            (Variable::MultipartLfLine, flags.lf_line),
            (Variable::MultipartMissingSemicolon, flags.missing_semicolon),
            (Variable::MultipartUnmatchedBoundary, flags.unmatched_boundary),
        ];
        let digit = |set: bool| if set { b"1".to_vec() } else { b"0".to_vec() };
        let strict = fault
            || all.iter().any(|(variable, set)| *set && *variable != Variable::MultipartUnmatchedBoundary);
        for (variable, set) in all {
            self.set(variable, digit(set));
        }
        self.set(Variable::MultipartStrictError, digit(strict));
    }

    fn note_form(&mut self, form: &form::Form, phase: Phase) {
        if form.bad_escape {
            self.set(Variable::UrlencodedError, b"1".to_vec());
        }
        if form.too_many {
            self.reached(Limit::Arguments, phase);
        }
    }

    /// A body that could not be read is said to rules, which decide; where none of them looks, it is a limit that ends.
    fn note_fault(&mut self, fault: Option<String>) {
        let Some(fault) = fault else { return };
        let message = fault.into_bytes();
        for (flag, text) in [
            (Variable::ReqbodyError, Variable::ReqbodyErrorMsg),
            (Variable::ReqbodyProcessorError, Variable::ReqbodyProcessorErrorMsg),
        ] {
            self.set(flag, b"1".to_vec());
            self.set(text, message.clone());
        }
        if !self.rules.uses(Variable::ReqbodyError) && self.engine != Engine::Off {
            self.reached(Limit::RequestBody, Phase::RequestBody);
        }
    }

    fn limits(&self) -> Limits {
        let options = &self.rules.options;
        Limits { arguments: options.arguments.saturating_sub(self.arguments), depth: options.depth }
    }

    fn argument(&mut self, from: From, name: Vec<u8>, value: Vec<u8>, part: Part) {
        if self.arguments >= self.rules.options.arguments {
            self.reached(Limit::Arguments, Phase::RequestBody);
            return;
        }
        self.arguments += 1;
        self.arguments_size += name.len() + value.len();
        self.set(Variable::ArgsCombinedSize, self.arguments_size.to_string().into_bytes());
        let key: Arc<[u8]> = name.as_slice().into();
        let (name, value) = (self.texts.add(name), self.texts.add(value));
        let (values, names) = match from {
            From::Query => (Variable::ArgsGet, Variable::ArgsGetNames),
            From::Body => (Variable::ArgsPost, Variable::ArgsPostNames),
        };
        for variable in [Variable::Args, values] {
            self.facts.add_part(variable, &key, value, part);
        }
        for variable in [Variable::ArgsNames, names] {
            self.facts.add(variable, &key, name);
        }
    }
}

/// `http://host/path` to `/path`.
fn without_origin(target: &[u8]) -> &[u8] {
    if target.starts_with(b"/") {
        return target;
    }
    let Some(at) = memchr::memmem::find(target, b"://") else { return target };
    let scheme = target.get(..at).unwrap_or_default();
    if !scheme.iter().all(u8::is_ascii_alphanumeric) {
        return target;
    }
    let authority = target.get(at + 3..).unwrap_or_default();
    let end = authority.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(authority.len());
    authority.get(end..).unwrap_or_default()
}
