//! What stands across the parts of an upload, in the order in which they will stand.
//!
//! Enters: texts that are joined ([`Text`]), or the list of an upload's parts ([`Joining`]). Leaves: what is found across their edges, and
//! how many parts of a list were not looked at. Guarantees: bounded memory; what lies within one of two texts that are joined is
//! not found again. Of parts that may be either of two, every choice is looked at, up to [`MAX_CHOICES`] at once. Does not:
//! judge.

use crate::edges::EDGE;
use crate::parts::{Ends, Known, Upload, Uploads};
use ::inspect::leak::{Layer, Leak, LeakClass, LeakRules, Scanner};
use ::inspect::operation::part_list::{ListKind, PartList};
use std::sync::Arc;
use std::time::Instant;

/// From this size on a text of short parts is searched before the next comes.
const MAX_TEXT: usize = 8 * 1024;
/// Most texts that parts may make, where some may be one thing or another.
const MAX_CHOICES: usize = 4;

/// Most that is found of one rule.
const MAX_PER_RULE: usize = 4;

/// Texts that stand behind each other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Text {
    bytes: Vec<u8>,
    /// Where one ends and the next begins.
    edges: Vec<usize>,
    /// Whether the upload begins with it.
    is_first: bool,
}

impl Text {
    /// Of two texts. `is_first`: nothing stands before them.
    pub(crate) fn of(before: &[u8], behind: &[u8], is_first: bool) -> Self {
        Self { bytes: [before, behind].concat(), edges: vec![before.len()], is_first }
    }

    fn join(&mut self, bytes: &[u8]) {
        if !self.bytes.is_empty() {
            self.edges.push(self.bytes.len());
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// Only its end is left.
    fn shorten(&mut self) {
        let cut = self.bytes.len().saturating_sub(EDGE);
        self.bytes.drain(..cut);
        self.edges =
            self.edges.iter().filter_map(|edge| edge.checked_sub(cut)).filter(|edge| *edge > 0).collect();
        self.is_first = false;
    }

    /// The texts alone.
    fn alone(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.edges.iter().copied());
        let ends = self.edges.iter().copied().chain(std::iter::once(self.bytes.len()));
        starts.zip(ends).filter_map(|(start, end)| self.bytes.get(start..end))
    }
}

/// What is found across the edges of texts.
pub(crate) fn across(rules: &Arc<LeakRules>, text: &Text) -> Vec<Leak> {
    if text.edges.is_empty() {
        return Vec::new();
    }
    let mut leaks = scan(rules, &text.bytes);
    leaks.retain(|leak| {
        let start = usize::try_from(leak.offset).unwrap_or(usize::MAX);
        // A file begins where the upload does: all of what came before must be there. What is wrapped is found from where its
        // wrapping begins.
        let may_begin = !matches!(leak.class, LeakClass::File(_)) || (start == 0 && text.is_first);
        let is_in = |edge: &usize| start < *edge && (leak.layer != Layer::Raw || start + leak.length > *edge);
        may_begin && text.edges.iter().any(is_in)
    });
    // How long what is wrapped is does not say where it ends, and a file reaches to where it was looked at.
    let is_vague = |leak: &Leak| leak.layer != Layer::Raw || matches!(leak.class, LeakClass::File(_));
    if leaks.iter().any(is_vague) {
        let alone: Vec<Leak> = text.alone().flat_map(|bytes| scan(rules, bytes)).collect();
        let is_same = |leak: &Leak, other: &Leak| {
            let is_file = matches!(leak.class, LeakClass::File(_));
            leak.rule == other.rule
                && leak.layer == other.layer
                && (is_file || leak.fingerprint == other.fingerprint)
        };
        leaks.retain(|leak| !is_vague(leak) || !alone.iter().any(|other| is_same(leak, other)));
    }
    leaks
}

fn scan(rules: &Arc<LeakRules>, bytes: &[u8]) -> Vec<Leak> {
    let mut scanner = Scanner::new(Arc::clone(rules));
    scanner.push(bytes);
    scanner.end();
    scanner.leaks().to_vec()
}

/// Reads the list of an upload's parts, and looks across them.
#[derive(Debug)]
pub(crate) struct Joining {
    uploads: Arc<Uploads>,
    upload: Upload,
    list: PartList,
    names: Vec<u64>,
}

/// What came of a list.
#[derive(Debug, Default)]
pub(crate) struct Joined {
    /// What is found across parts.
    pub(crate) leaks: Vec<Leak>,
    /// How many parts are listed that were not looked at, or not as all that they may be.
    pub(crate) unseen: u32,
}

impl Joining {
    pub(crate) fn new(uploads: &Arc<Uploads>, upload: Upload, kind: ListKind) -> Self {
        Self { uploads: Arc::clone(uploads), upload, list: PartList::new(kind), names: Vec::new() }
    }

    /// How many parts are listed so far; at least one, for a list is there.
    pub(crate) fn listed(&self) -> u32 {
        u32::try_from(self.names.len()).unwrap_or(u32::MAX).max(1)
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        let (uploads, names) = (&self.uploads, &mut self.names);
        self.list.push(bytes, &mut |name| names.push(uploads.name(name)));
    }

    /// Looks across the parts. The error: it is no list that is read.
    pub(crate) fn end(&mut self, rules: &Arc<LeakRules>) -> Result<Joined, &'static str> {
        self.list.end()?;
        if self.list.is_other() {
            return Ok(Joined { unseen: self.listed(), ..Joined::default() });
        }
        let parts = self.uploads.of(self.upload, &self.names, Instant::now());
        let mut joined = Joined::default();
        let see = &mut |text: &Text| {
            for leak in across(rules, text) {
                let of = |leak: &Leak| (leak.rule, leak.is_confirmed);
                let alike = || joined.leaks.iter().filter(|other| of(other) == of(&leak));
                let is_known = alike().any(|other| other.fingerprint == leak.fingerprint);
                // Noise of one rule hides nothing that another finds, and what is not certain nothing that is.
                if !is_known && alike().count() < MAX_PER_RULE {
                    joined.leaks.push(leak);
                }
            }
        };
        joined.unseen = join(&parts, see);
        Ok(joined)
    }
}

/// Gives the texts that parts make behind each other; returns how many parts were not looked at.
fn join(parts: &[Known], see: &mut dyn FnMut(&Text)) -> u32 {
    let mut open = vec![Text { is_first: true, ..Text::default() }];
    let mut unseen = 0_u32;
    for part in parts {
        if part.versions.is_empty() || part.is_unsure {
            unseen = unseen.saturating_add(1);
        }
        if part.versions.is_empty() {
            open.iter().for_each(&mut *see);
            open = vec![Text::default()];
            continue;
        }
        let mut next: Vec<Text> = Vec::new();
        for text in open {
            for ends in &part.versions {
                let text = behind(text.clone(), ends, see);
                if !next.contains(&text) {
                    next.push(text);
                }
            }
        }
        if next.len() > MAX_CHOICES {
            unseen = unseen.saturating_add(1);
            next.iter().skip(MAX_CHOICES).for_each(&mut *see);
            next.truncate(MAX_CHOICES);
        }
        open = next;
    }
    open.iter().for_each(see);
    unseen
}

/// What stands before the next part once this one stands behind a text.
fn behind(mut text: Text, ends: &Ends, see: &mut dyn FnMut(&Text)) -> Text {
    text.join(&ends.head);
    if let Some(tail) = &ends.tail {
        see(&text);
        return Text { bytes: tail.clone(), ..Text::default() };
    }
    if text.bytes.len() > MAX_TEXT {
        see(&text);
        text.shorten();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::inspect::leak::LeakOptions;

    const CANARY: &str = "canary-3f9c1d7e";

    fn rules() -> Arc<LeakRules> {
        let canaries = vec![CANARY.as_bytes().to_vec()];
        let options = LeakOptions { canaries, secrets: true, files: true, ..LeakOptions::default() };
        Arc::new(LeakRules::new(&options).unwrap())
    }

    fn part(versions: &[&str]) -> Known {
        let ends = |text: &&str| Arc::new(Ends::of(text.as_bytes(), text.as_bytes(), text.len() as u64));
        Known { versions: versions.iter().map(ends).collect(), is_unsure: false }
    }

    /// The rules of what is found across parts, and how many were not looked at.
    fn found(parts: &[Known]) -> (Vec<&'static str>, u32) {
        let (rules, mut found) = (rules(), Vec::new());
        let unseen = join(parts, &mut |text| found.extend(across(&rules, text).iter().map(|leak| leak.rule)));
        found.dedup();
        (found, unseen)
    }

    #[test]
    fn what_stands_across_parts_in_their_order_is_found_however_short_or_long_they_are() {
        let (before, behind) = CANARY.split_at(9);
        let filler = "-".repeat(3 * EDGE);
        let [first, last] = [format!("{filler}{before}"), format!("{behind}{filler}")];
        let letters: Vec<Known> = CANARY.chars().map(|letter| part(&[&letter.to_string()])).collect();
        let canary = (vec!["canary"], 0);
        assert_eq!(found(&[part(&[&first]), part(&[&last])]), canary);
        assert_eq!(found(&[part(&[before]), part(&[&behind[..3]]), part(&[&behind[3..]])]), canary);
        assert_eq!(
            found(&[part(&[&first]), part(&[&behind[..3]]), part(&[&format!("{}{filler}", &behind[3..])])]),
            canary
        );
        assert_eq!(found(&letters), canary);
        let dashes = vec![part(&[&"-".repeat(100)]); 3 * MAX_TEXT / 100];
        assert_eq!(found(&[dashes.clone(), letters.clone(), dashes].concat()), canary);
        for none in [
            vec![part(&[&last]), part(&[&first])],
            vec![part(&[&first]), part(&["-"]), part(&[&last])],
            vec![part(&[&filler]), part(&[CANARY]), part(&[&filler])],
            vec![],
        ] {
            assert_eq!(found(&none), (vec![], 0));
        }
    }

    #[test]
    fn what_was_not_seen_is_told_and_what_may_be_two_things_is_looked_at_as_both() {
        let (before, behind) = CANARY.split_at(9);
        assert_eq!(found(&[part(&[before]), Known::default(), part(&[behind])]), (vec![], 1));
        assert_eq!(found(&[part(&["x", before]), part(&["y", behind])]), (vec!["canary"], 0));
        let unsure = Known { is_unsure: true, ..part(&[before]) };
        assert_eq!(found(&[unsure, part(&[behind])]), (vec!["canary"], 1));
        let many = part(&["a", "b", "c", "d"]);
        assert_eq!(found(&[many.clone(), many, part(&[CANARY])]), (vec![], 1));
    }

    #[test]
    fn a_file_is_found_across_parts_only_where_the_upload_begins() {
        let rest = "UF\x03\0\0\0\x01\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0 and weights";
        let whole = format!("GG{rest}");
        let (rules, _) = found(&[part(&["GG"]), part(&[rest])]);
        assert_eq!(rules.len(), 1);
        assert_eq!(found(&[part(&["x"]), part(&["GG"]), part(&[rest])]), (vec![], 0));
        assert_eq!(found(&[Known::default(), part(&["GG"]), part(&[rest])]), (vec![], 1));
        assert_eq!(found(&[part(&[&whole]), part(&["behind"])]), (vec![], 0), "it is within a part");
    }

    #[test]
    fn what_is_wrapped_is_found_only_where_its_wrapping_stands_across() {
        let wrapped = "Y2FuYXJ5LTNmOWMxZDdl";
        let (before, behind) = wrapped.split_at(11);
        assert_eq!(found(&[part(&[before]), part(&[behind])]).0, ["canary"]);
        assert_eq!(found(&[part(&[&format!("{wrapped} ")]), part(&[" behind"])]), (vec![], 0));
    }
}
