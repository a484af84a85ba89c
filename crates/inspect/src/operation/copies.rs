//! What the Hub copies on its own at a request whose body says from where, and to where.
//!
//! Enters: what kind of a repository it is, then the body. Leaves: which fields of the body say it; for buckets, whose bodies
//! are lines of JSON, the repositories that are read (`Operation::sources`). Guarantees: names are those that the Hub gives, and
//! look as they do in paths; a line that is no JSON is an error. Does not: read which files are copied.
//!
//! The fields are those that its client sends (`huggingface_hub`: `duplicate_repo`, `_duplicate_lfs_files`, `batch_bucket_files`).

use super::json::{Found, Json, Path, Value};
use super::request::{Field, Says};
use policy::Operation;

/// Where files of a repository that keeps them in large storage are duplicated to.
pub(super) const TARGET: &[Field] = &[
    Field { path: &["target", "type"], says: Says::Kind },
    Field { path: &["target", "name"], says: Says::NameOf("") },
];
/// Of a line.
const LINE: [Path; 3] = [&["type"], &["sourceRepoType"], &["sourceRepoId"]];
/// Repositories that one request may have read.
const MOST: usize = 64;

/// What says where to a repository of this kind is duplicated.
pub(super) fn duplicate(kind: &str) -> &'static [Field] {
    match kind {
        "datasets" => &[Field { path: &["repository"], says: Says::NameOf("datasets/") }],
        "spaces" => &[Field { path: &["repository"], says: Says::NameOf("spaces/") }],
        "kernels" => &[Field { path: &["repository"], says: Says::NameOf("kernels/") }],
        _ => &[Field { path: &["repository"], says: Says::NameOf("") }],
    }
}

/// With what the names of repositories of this kind begin.
///
/// # Errors
/// There is no such kind.
pub(super) fn beginning(kind: &str) -> Result<&'static str, &'static str> {
    Ok(match kind {
        "model" => "",
        "dataset" => "datasets/",
        "space" => "spaces/",
        "kernel" => "kernels/",
        "bucket" => "buckets/",
        _ => return Err("nothing is known of this kind of repository"),
    })
}

/// A name as it is.
///
/// # Errors
/// It is none, and somebody could resolve it to another.
pub(super) fn name(text: String) -> Result<String, &'static str> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let is_part = |part: &str| !matches!(part, "" | "." | "..") && part.bytes().all(is_plain);
    let is_name = text.split('/').count() <= 2 && text.split('/').all(is_part);
    if is_name { Ok(text) } else { Err("the name of the repository is none") }
}

/// Reads what a bucket gets.
#[derive(Debug)]
pub(super) struct Copies {
    line: Json,
    is_copy: bool,
    kind: Option<String>,
    id: Option<String>,
}

impl Default for Copies {
    fn default() -> Self {
        Self { line: Json::new(LINE.to_vec()), is_copy: false, kind: None, id: None }
    }
}

impl Copies {
    /// Takes the next bytes. An error is final.
    pub(super) fn push(&mut self, bytes: &[u8], operation: &mut Operation) -> Result<(), &'static str> {
        for (at, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
            if at > 0 {
                self.end(operation)?;
            }
            self.take(line)?;
        }
        Ok(())
    }

    /// The line is over.
    pub(super) fn end(&mut self, operation: &mut Operation) -> Result<(), &'static str> {
        let mut line = std::mem::take(self);
        if !line.line.has_begun() {
            return Ok(());
        }
        line.line.end()?;
        if !line.is_copy && line.kind.is_none() && line.id.is_none() {
            return Ok(());
        }
        let kind = line.kind.as_deref().map(beginning).transpose()?;
        let source = match (kind, line.id) {
            (Some(kind), Some(id)) => format!("{kind}{}", name(id)?),
            _ => String::new(),
        };
        if !operation.sources.contains(&source) {
            if operation.sources.len() == MOST {
                return Err("files of more than 64 repositories are copied at once");
            }
            operation.sources.push(source);
        }
        Ok(())
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), &'static str> {
        let Self { line, is_copy, kind, id } = self;
        line.push(bytes, |found| {
            match found {
                Found::Value(0, Value::Text(what)) => *is_copy = what == "copyFile",
                Found::Value(1, Value::Text(text)) => *kind = Some(text),
                Found::Value(2, Value::Text(text)) => *id = Some(text),
                Found::Value(_, Value::Null) => {}
                Found::Value(..) => return Err("a field that decides is no text"),
                Found::Object(..) | Found::Element => {}
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample::check;

    #[test]
    fn what_the_hub_copies_is_judged_by_where_it_comes_from() {
        let hub = "https://huggingface.co/api";
        let unknown = "huggingface unknown unknown";
        let batch = format!("POST {hub}/buckets/o/b/batch\ncontent-type: application/x-ndjson");
        let line = |fields: &str| format!("{{\"type\":\"copyFile\",\"path\":\"x\"{fields}}}\n");
        let add = "{\"type\":\"addFile\",\"path\":\"x\",\"xetHash\":\"h\"}\n";
        let secret = line(r#","sourceRepoType":"dataset","sourceRepoId":"o/secret""#);
        check(&[
            (
                &format!("POST {hub}/models/o/m/duplicate"),
                r#"{"repository":"me/m","private":true}"#,
                "huggingface copy upload resource=me/m from=o/m",
            ),
            (
                &format!("POST {hub}/spaces/o/s/duplicate"),
                r#"{"repository":"me/s"}"#,
                "huggingface copy upload resource=spaces/me/s from=spaces/o/s",
            ),
            (&format!("POST {hub}/models/o/m/duplicate"), "{}", "huggingface copy upload from=o/m"),
            (&format!("POST {hub}/models/o/m/duplicate"), r#"{"repository":"me/../o/m"}"#, unknown),
            (&format!("POST {hub}/models/o/m/duplicate"), r#"{"repository":["me/m"]}"#, unknown),
            (
                &format!("POST {hub}/datasets/o/d/lfs-files/duplicate"),
                r#"{"target":{"type":"model","name":"me/m"},"files":[]}"#,
                "huggingface copy upload resource=me/m from=datasets/o/d",
            ),
            (
                &format!("POST {hub}/models/o/m/lfs-files/duplicate"),
                r#"{"files":[],"target":{"name":"me/d","type":"dataset"}}"#,
                "huggingface copy upload resource=datasets/me/d from=o/m",
            ),
            (
                &format!("POST {hub}/models/o/m/lfs-files/duplicate"),
                r#"{"target":{"name":"me/d","type":"other"}}"#,
                unknown,
            ),
            (&batch, add, "huggingface buckets upload resource=buckets/o/b"),
            (
                &batch,
                &format!("{add}{secret}{secret}{add}"),
                "huggingface buckets upload resource=buckets/o/b from=datasets/o/secret",
            ),
            (
                &batch,
                secret.trim_end(),
                "huggingface buckets upload resource=buckets/o/b from=datasets/o/secret",
            ),
            (&batch, &line(""), "huggingface buckets upload resource=buckets/o/b from=?"),
            (&batch, &line(r#","sourceRepoType":"model","sourceRepoId":"../x""#), unknown),
            (&batch, &line(r#","sourceRepoId":"o/a","SourceRepoId":"o/b""#), unknown),
            (&batch, &add.replace(",", ",\n"), unknown),
        ]);
    }
}
