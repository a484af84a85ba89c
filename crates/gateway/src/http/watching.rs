//! Looks for what a file that an answer brings would do to who opens it, as it goes by.
//!
//! Enters: what the allowing rule looks for, the head of an answer, and its body as it came. Leaves: findings, and the reason
//! for which the answer must not come to its end. Guarantees: a piece that completes something for which it is stopped does
//! not go on; where a rule blocks anything, what cannot be read does not come to its end. A part of a file is read on from
//! where an earlier one ended, and passes unread where nothing of the file is a danger. Does not: look into answers of models
//! and tools, and to requests for tokens; hold anything back.

use super::hold::Held;
use super::leading::Asked;
use super::reading::decoder;
use crate::files::{Before, FileFact, Files, MAX_FACTS, Mark, Progress, Reader};
use crate::reason::Reason;
use ::inspect::leak::archive::Watch;
use http::{HeaderMap, Method, StatusCode, header, response};
use policy::{AnswerFiles, LeakAction, Operation, Verb};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a part of a file waits for what stands before it.
const PATIENCE: Duration = Duration::from_secs(8);
/// Longest name of a file that is looked at, in bytes.
const MAX_NAME: usize = 1024;

/// Why a file does not come, and what was found.
pub(crate) type Stopped = (Reason, Vec<FileFact>);

/// Watches one answer.
#[derive(Debug)]
pub(crate) struct Watching {
    answers: AnswerFiles,
    files: Arc<Files>,
    mark: Mark,
    /// Length of the file, and where this part of it ends, where that was said.
    total: Option<u64>,
    end: Option<u64>,
    /// `None`: it is not read any further.
    reader: Option<Box<Reader>>,
    found: usize,
    facts: Vec<FileFact>,
    stops: Option<Reason>,
}

/// What a part is of (RFC 9110, section 14.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Part {
    start: u64,
    /// Behind its last byte.
    end: u64,
    total: Option<u64>,
}

/// Begins to watch an answer. `None`: there is nothing to be watched.
///
/// # Errors
/// It must not come at all.
pub(crate) async fn watch(
    answers: AnswerFiles,
    files: &Arc<Files>,
    asked: &Asked,
    method: &Method,
    operation: &Operation,
    head: &response::Parts,
) -> Result<Option<Watching>, Stopped> {
    let brings_file = match operation.verb {
        Verb::Call | Verb::Authorize => false,
        Verb::Download | Verb::Upload | Verb::Mutate | Verb::Admin | Verb::Meta | Verb::Unknown => true,
    };
    let is_empty = matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if answers.is_open() || !brings_file || is_empty || method == Method::HEAD {
        return Ok(None);
    }
    let mut watching = Watching {
        answers,
        files: Arc::clone(files),
        mark: files.mark(asked.pod.address(), &asked.url),
        total: None,
        end: None,
        reader: None,
        found: 0,
        facts: Vec::new(),
        stops: None,
    };
    watching.begin(asked, operation, head).await;
    match watching.stops {
        Some(reason) => Err((reason, std::mem::take(&mut watching.facts))),
        None => Ok(Some(watching)),
    }
}

impl Watching {
    async fn begin(&mut self, asked: &Asked, operation: &Operation, head: &response::Parts) {
        if let Some(why) = unread_form(asked, operation) {
            return self.unread("answer-form", why);
        }
        let hold = self.files.hold.share(asked.pod.address());
        let Some(decoder) = decoder(&head.headers, &hold) else {
            return self.unread("answer-coding", "its content coding is not known");
        };
        let length = text(&head.headers, header::CONTENT_LENGTH).and_then(|length| length.parse().ok());
        let whole = Part { start: 0, end: length.unwrap_or(u64::MAX), total: length };
        let part = if head.status == StatusCode::PARTIAL_CONTENT { part(&head.headers) } else { Some(whole) };
        let Some(part) = part else {
            return self.unread("answer-form", "it is several parts of a file in one");
        };
        (self.total, self.end) = (part.total, Some(part.end));
        if part.start == 0 {
            let name = text(&head.headers, header::CONTENT_DISPOSITION).and_then(file_name);
            let name = name.unwrap_or_else(|| asked.url.target.split('?').next().unwrap_or_default());
            let held = Held::none(&hold);
            self.reader = Some(Box::new(Reader { decoder, watch: Watch::new(name), at: 0, held }));
            return self.tell(Progress::UnderWay);
        }
        // What is only told of waits for nothing.
        let blocks = [self.answers.pickles, self.answers.archives].contains(&Some(LeakAction::Block));
        let patience = if blocks { PATIENCE } else { Duration::ZERO };
        match self.files.before(self.mark, part.start, part.total, patience).await {
            Before::Harmless => {}
            Before::ReadOn(reader) => self.reader = Some(reader),
            Before::Stopped => {
                self.unread("answer-part", "a part of a file in which something was found before")
            }
            Before::Nothing => {
                let why = "a part of a file that was not read up to it: remove what is there of the file, and download it \
                           whole or in order";
                self.unread("answer-part", why);
            }
        }
    }

    /// Why it must not come to its end.
    pub(crate) fn stops(&self) -> Option<Reason> {
        self.stops
    }

    /// What was found so far; what stops it first.
    pub(crate) fn facts(&self) -> &[FileFact] {
        &self.facts
    }

    /// Takes the next piece, before it goes on.
    pub(crate) fn push(&mut self, piece: &[u8]) {
        let Some(reader) = &mut self.reader else { return };
        let before = reader.watch.weight();
        let watch = &mut reader.watch;
        let read = reader.decoder.push_to(piece, &mut |bytes| {
            watch.push(bytes);
            Ok(())
        });
        reader.at += piece.len() as u64;
        let more = reader.watch.weight().saturating_sub(before);
        let has_room = reader.held.more(more).is_ok() || {
            self.files.forget_paused(self.mark.pod(), Instant::now());
            reader.held.more(more).is_ok()
        };
        let is_harmless = reader.watch.is_harmless();
        self.look();
        if let Err(flaw) = read {
            self.unread("answer-coding", flaw.as_str());
        } else if !has_room {
            self.unread("answer-memory", "too much would have to be held to read it");
        } else if is_harmless {
            self.reader = None;
            self.tell(Progress::Harmless);
        }
    }

    /// The answer is over.
    pub(crate) fn end(&mut self) {
        let Some(mut reader) = self.reader.take() else { return };
        let is_whole = self.total.is_none_or(|total| reader.at >= total);
        if !is_whole {
            return self.tell(Progress::Paused(reader));
        }
        let flaw = reader.decoder.end().err();
        reader.watch.end();
        self.reader = Some(reader);
        self.look();
        self.reader = None;
        match flaw {
            Some(flaw) => self.unread("answer-coding", flaw.as_str()),
            None if self.facts.is_empty() => self.tell(Progress::Harmless),
            None => {}
        }
    }

    /// Whether the piece that brings it so far is its last.
    pub(crate) fn is_last(&self) -> bool {
        self.reader.as_ref().is_some_and(|reader| self.end == Some(reader.at))
    }

    fn look(&mut self) {
        let Some(reader) = &self.reader else { return };
        let dangers = reader.watch.dangers();
        if dangers.len() == self.found {
            return;
        }
        self.found = dangers.len();
        self.facts = dangers.into_iter().filter_map(|danger| FileFact::of(danger, self.answers)).collect();
        self.judge();
    }

    fn unread(&mut self, rule: &'static str, why: &str) {
        self.reader = None;
        self.facts.push(FileFact::unread(rule, why, self.answers));
        self.judge();
    }

    fn judge(&mut self) {
        // What stopped it must not be lost; nor what is worse than not being read.
        self.facts.sort_by_key(|fact| (!fact.blocked, fact.is_unread(), !fact.malicious));
        self.facts.truncate(MAX_FACTS);
        if self.stops.is_none()
            && let Some(fact) = self.facts.first().filter(|fact| fact.blocked)
        {
            let is_unread = fact.is_unread();
            self.stops = Some(if is_unread { Reason::AnswerUnread } else { Reason::AnswerBlocked });
            // A part that is not read says nothing of the file.
            if !is_unread {
                self.tell(Progress::Stopped);
            }
        }
    }

    fn tell(&self, progress: Progress) {
        self.files.tell(self.mark, self.total, progress, Instant::now());
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        if let Some(reader) = self.reader.take().filter(|_| self.stops.is_none()) {
            self.tell(Progress::Paused(reader));
        }
    }
}

/// What is no file, but has files in a form that is not undone here.
fn unread_form(asked: &Asked, operation: &Operation) -> Option<&'static str> {
    let path = asked.url.target.split('?').next().unwrap_or_default();
    let has_segment = |words: &[&str]| path.split('/').any(|segment| words.contains(&segment));
    match &*operation.api {
        "cas" if has_segment(&["xorbs", "xorb", "get_xorb", "chunks", "chunk"]) => {
            Some("chunks of several files (Xet): set HF_HUB_DISABLE_XET=1 and download the file itself")
        }
        "git" if !path.ends_with("/info/refs") && !path.ends_with("/HEAD") => {
            Some("files packed by git: download them singly, or by Git LFS")
        }
        _ => None,
    }
}

fn text(fields: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    fields.get(name)?.to_str().ok()
}

/// The name in `attachment; filename="model.bin"`.
fn file_name(disposition: &str) -> Option<&str> {
    let at = disposition.to_ascii_lowercase().rfind("filename")?;
    let value = disposition.get(at..)?.split_once('=')?.1;
    let value = value.split(';').next()?.trim().trim_matches('"');
    (value.len() <= MAX_NAME).then_some(value)
}

/// `bytes 0-9/100`, the length of the whole or `*`.
fn part(fields: &HeaderMap) -> Option<Part> {
    let range = text(fields, header::CONTENT_RANGE)?.trim().strip_prefix("bytes ")?;
    let (range, total) = range.split_once('/')?;
    let (first, last) = range.trim().split_once('-')?;
    let (start, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
    let total = if total == "*" { None } else { Some(total.parse().ok()?) };
    let end = last.checked_add(1)?;
    (start < end && total.is_none_or(|total| end <= total)).then_some(Part { start, end, total })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_read_strictly() {
        for (range, expected) in [
            ("bytes 0-9/100", Some((0, 10, Some(100)))),
            ("bytes 5-9/10", Some((5, 10, Some(10)))),
            ("bytes 5-9/*", Some((5, 10, None))),
            ("bytes 9-5/10", None),
            ("bytes 5-10/10", None),
            ("bytes */10", None),
            ("items 0-9/100", None),
            ("bytes 0-18446744073709551615/*", None),
        ] {
            let mut fields = HeaderMap::new();
            fields.insert(header::CONTENT_RANGE, range.parse().unwrap());
            let read = part(&fields).map(|part| (part.start, part.end, part.total));
            assert_eq!(read, expected, "{range}");
        }
        assert_eq!(part(&HeaderMap::new()), None);
    }

    #[test]
    fn a_file_has_the_name_that_its_answer_gives_it() {
        for (disposition, expected) in [
            ("attachment; filename=\"model.bin\"", Some("model.bin")),
            ("attachment; filename=a.pkl; size=1", Some("a.pkl")),
            ("inline; filename*=UTF-8''model.pt; filename=\"model.pt\";", Some("model.pt")),
            ("attachment", None),
        ] {
            assert_eq!(file_name(disposition), expected, "{disposition}");
        }
    }
}
