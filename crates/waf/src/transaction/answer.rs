//! What arrives of an answer: its status, its headers, its body.

use std::sync::Arc;

use super::Transaction;
use super::outcome::Limit;
use crate::options::Beyond;
use crate::rule::Phase;
use crate::variable::Variable;

impl Transaction {
    /// Status and protocol of the answer.
    pub fn response_status(&mut self, status: u16, protocol: &[u8]) {
        let text = status.to_string().into_bytes();
        self.set(Variable::StatusLine, [protocol, &text].join(&b' '));
        self.set(Variable::ResponseStatus, text);
        self.set(Variable::ResponseProtocol, protocol.to_vec());
    }

    /// One header of the answer, as it came.
    pub fn response_header(&mut self, name: &[u8], value: &[u8]) {
        if !self.count_header(1, name, value, Phase::ResponseHeaders) {
            return;
        }
        let key: Arc<[u8]> = name.into();
        self.add(Variable::ResponseHeaders, &key, value.to_vec());
        self.add(Variable::ResponseHeadersNames, &key, name.to_vec());
        match name.to_ascii_lowercase().as_slice() {
            b"content-type" => {
                let end = memchr::memchr(b';', value).unwrap_or(value.len());
                self.response_type = value.get(..end).unwrap_or_default().trim_ascii().to_ascii_lowercase();
                self.set(Variable::ResponseContentType, value.to_vec());
            }
            b"content-length" => self.set(Variable::ResponseContentLength, value.to_vec()),
            _ => {}
        }
    }

    /// A piece of the answer's body; what is beyond the limit, or of a type that is not looked at, is not kept.
    pub fn response_body(&mut self, piece: &[u8]) {
        if !self.keeps_response_body() {
            return;
        }
        let options = &self.rules.options;
        let room = options.response_body_limit.saturating_sub(self.response_body.len());
        let beyond = options.response_body_beyond;
        self.response_body.extend_from_slice(piece.get(..room).unwrap_or(piece));
        if piece.len() > room {
            self.set(Variable::OutboundDataError, b"1".to_vec());
            match beyond {
                Beyond::Reject => self.reached(Limit::ResponseBody, Phase::ResponseBody),
                Beyond::ProcessPartial => {}
            }
        }
    }

    pub(super) fn keeps_response_body(&self) -> bool {
        let types = &self.rules.options.response_types;
        let known = |known: &String| known.as_bytes().eq_ignore_ascii_case(&self.response_type);
        self.response_body_access && types.iter().any(known)
    }

    pub(super) fn read_response_body(&mut self) {
        let body = std::mem::take(&mut self.response_body);
        if !body.is_empty() {
            self.set(Variable::ResponseBody, body);
        }
    }
}
