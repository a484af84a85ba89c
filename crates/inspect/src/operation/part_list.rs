//! The parts that the last request of an upload puts together, in the order in which they will stand.
//!
//! Enters: a request's method and target, which say whether it is a part or a list ([`Role`]); the body of Azure's `Put Block List`, of S3's `CompleteMultipartUpload` or of OpenAI's `complete` for uploads,
//! decoded, split anywhere; or the answer to a part of OpenAI's ([`PartName`]). Leaves: the names of parts. Guarantees: bounded;
//! what a server could read differently (entities, sections of CDATA, a document type, other elements, another encoding, two numbers of one
//! part, numbers that do not rise) is no list. Does not: know the parts.

use super::json::{Found, Json, Value};
use super::target::Target;
use crate::base64;

/// Most parts of one upload: Azure's bound.
pub const MOST_LISTED: usize = 50_000;
/// Bytes of a tag.
const MAX_TAG: usize = 1024;
/// Bytes of the name of a part.
const MAX_NAME: usize = 256;
/// Elements within each other.
const MAX_DEPTH: usize = 4;

const NOT_READ: &str = "the list of parts is not as its service describes it";
const TOO_MANY: &str = "the list has more than 50,000 parts";
const NOT_RISING: &str = "the numbers of its parts do not rise";

/// Which service's list it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ListKind {
    /// `<BlockList>`, with blocks by their ids: <https://learn.microsoft.com/rest/api/storageservices/put-block-list>.
    Azure,
    /// `<CompleteMultipartUpload>`, with parts by rising numbers:
    /// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html>.
    S3,
    /// `{"part_ids": […]}`: <https://platform.openai.com/docs/api-reference/uploads/complete>.
    OpenAi,
}

/// What a request has to do with an upload in parts. Uploads of a host are told apart by a text that is the same however
/// their paths are encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// It is a part.
    Part {
        /// Of which upload.
        upload: String,
        /// As lists name it; `None`: its answer names it.
        name: Option<Vec<u8>>,
    },
    /// It puts parts together.
    List {
        /// Of which upload.
        upload: String,
        /// By which list.
        kind: ListKind,
    },
}

impl Role {
    /// Of a request by its method and its target. `None`: it has nothing to do with an upload whose last request lists its
    /// parts.
    pub fn of(method: &str, target: &str) -> Option<Self> {
        let target = Target::read(target).ok()?;
        // Azure minds no case.
        let parameter = |name: &str| {
            let mut pairs = target.query.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
            pairs.next().map(|(_, value)| value.as_str())
        };
        let is_azure = |what: &str| parameter("comp").is_some_and(|comp| comp.eq_ignore_ascii_case(what));
        let upload = |id: &str| format!("{}\n{id}", target.segments.join("\n"));
        match method {
            "PUT" if is_azure("block") => {
                let name = block_name(parameter("blockid")?);
                Some(Self::Part { upload: upload(""), name: Some(name) })
            }
            "PUT" if is_azure("blocklist") => Some(Self::List { upload: upload(""), kind: ListKind::Azure }),
            "PUT" => {
                let number = part_number(parameter("partNumber")?)?;
                let name = Some(number.to_be_bytes().to_vec());
                Some(Self::Part { upload: upload(parameter("uploadId")?), name })
            }
            "POST" => match (parameter("uploadId"), target.segments.as_slice()) {
                (Some(id), _) => Some(Self::List { upload: upload(id), kind: ListKind::S3 }),
                (None, [folder @ .., uploads, id, last]) if uploads == "uploads" && !id.is_empty() => {
                    let upload = format!("{}\n{uploads}\n{id}\n", folder.join("\n"));
                    match last.as_str() {
                        "parts" => Some(Self::Part { upload, name: None }),
                        "complete" => Some(Self::List { upload, kind: ListKind::OpenAi }),
                        _ => None,
                    }
                }
                (None, _) => None,
            },
            _ => None,
        }
    }
}

/// The name of one of Azure's blocks, however its Base64 is written.
fn block_name(id: &str) -> Vec<u8> {
    // In a query a plus may stand for a blank.
    let id = id.trim().replace(' ', "+");
    base64::decode(id.as_bytes()).unwrap_or_else(|| id.into_bytes())
}

/// The name of one of S3's parts. `None`: it is no number.
fn part_number(text: &str) -> Option<u64> {
    let text = text.trim();
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_number)
}

/// Reads one list.
#[derive(Debug)]
pub struct PartList {
    form: Form,
    listed: usize,
    fault: Option<&'static str>,
}

#[derive(Debug)]
enum Form {
    Xml(Box<Xml>),
    Json(Box<Json>),
    /// What servers beside S3 take, who have the same parameters.
    Other,
}

impl PartList {
    /// One that begins.
    pub fn new(kind: ListKind) -> Self {
        let form = match kind {
            ListKind::Azure => Form::Xml(Box::new(Xml::new(&AZURE))),
            ListKind::S3 => Form::Xml(Box::new(Xml::new(&S3))),
            ListKind::OpenAi => Form::Json(Box::new(Json::new(vec![&["part_ids", "*"]]))),
        };
        Self { form, listed: 0, fault: None }
    }

    /// Takes the next bytes, and gives the parts that they name: blocks as [`block_name`] has them, numbers in their
    /// eight bytes, most significant first, ids as they are.
    pub fn push(&mut self, bytes: &[u8], named: &mut dyn FnMut(&[u8])) {
        if self.fault.is_some() {
            return;
        }
        let listed = &mut self.listed;
        let mut name = |name: &[u8]| {
            *listed += 1;
            if *listed > MOST_LISTED {
                return Err(TOO_MANY);
            }
            named(name);
            Ok(())
        };
        if let Form::Xml(xml) = &self.form
            && xml.may_be_other()
            && bytes.trim_ascii_start().first() == Some(&b'{')
        {
            self.form = Form::Other;
        }
        let read = match &mut self.form {
            Form::Other => Ok(()),
            Form::Xml(xml) => bytes.iter().try_for_each(|byte| xml.step(*byte, &mut name)),
            Form::Json(json) => json.push(bytes, |found| match found {
                Found::Value(_, Value::Text(id)) => name(id.as_bytes()),
                Found::Value(..) | Found::Object(..) => Err(NOT_READ),
                Found::Element => Ok(()),
            }),
        };
        self.fault = read.err();
    }

    /// Whether it is JSON where S3's would be: S3 takes none such.
    pub fn is_other(&self) -> bool {
        matches!(self.form, Form::Other)
    }

    /// Nothing follows.
    ///
    /// # Errors
    /// It is no such list.
    pub fn end(&mut self) -> Result<(), &'static str> {
        match (self.fault, &mut self.form) {
            (Some(fault), _) => Err(fault),
            (None, Form::Xml(xml)) => xml.end(),
            (None, Form::Other) => Ok(()),
            (None, Form::Json(json)) => json.end(),
        }
    }
}

/// Reads the name that OpenAI gives a part.
#[derive(Debug)]
pub struct PartName {
    json: Json,
    is_broken: bool,
}

impl Default for PartName {
    fn default() -> Self {
        Self { json: Json::new(vec![&["id"]]), is_broken: false }
    }
}

impl PartName {
    /// Takes the next bytes of an answer; gives the name once it is there.
    pub fn push(&mut self, bytes: &[u8]) -> Option<String> {
        let mut name = None;
        if !self.is_broken {
            let read = self.json.push(bytes, |found| {
                if let Found::Value(_, Value::Text(id)) = found {
                    name = Some(id);
                }
                Ok(())
            });
            self.is_broken = read.is_err();
        }
        name
    }
}

/// Which elements a list has.
#[derive(Debug)]
struct Grammar {
    root: &'static str,
    /// Within the root around each name; `None`: names are in the root.
    item: Option<&'static str>,
    names: &'static [&'static str],
    is_numbered: bool,
}

const AZURE: Grammar = Grammar {
    root: "BlockList",
    item: None,
    names: &["Latest", "Committed", "Uncommitted"],
    is_numbered: false,
};
const S3: Grammar = Grammar {
    root: "CompleteMultipartUpload",
    item: Some("Part"),
    names: &["PartNumber"],
    is_numbered: true,
};

/// Reads XML that has elements in a fixed order of depth, and nothing that could be read in two ways.
#[derive(Debug)]
struct Xml {
    grammar: &'static Grammar,
    /// Elements that are open.
    open: Vec<Vec<u8>>,
    /// The tag that is under way, behind its `<`, and the quote that it is in.
    tag: Option<(Vec<u8>, Option<u8>)>,
    /// What stands in the name that is open.
    name: Vec<u8>,
    /// Names in the item that is open.
    in_item: usize,
    last: Option<u64>,
    /// Bytes so far, as far as they may be a mark of the encoding.
    mark: usize,
    is_begun: bool,
    is_over: bool,
}

type Name<'n> = dyn FnMut(&[u8]) -> Result<(), &'static str> + 'n;

impl Xml {
    fn new(grammar: &'static Grammar) -> Self {
        Self {
            grammar,
            open: Vec::new(),
            tag: None,
            name: Vec::new(),
            in_item: 0,
            last: None,
            mark: 0,
            is_begun: false,
            is_over: false,
        }
    }

    fn step(&mut self, byte: u8, named: &mut Name<'_>) -> Result<(), &'static str> {
        const MARK: [u8; 3] = [0xef, 0xbb, 0xbf];
        if !self.is_begun && MARK.get(self.mark) == Some(&byte) {
            self.mark += 1;
            return Ok(());
        }
        if let Some((tag, quote)) = &mut self.tag {
            match (byte, *quote) {
                (b'>', None) => {
                    let tag = std::mem::take(tag);
                    self.tag = None;
                    return self.tag(&tag, named);
                }
                (b'<', None) => return Err(NOT_READ),
                (b'"' | b'\'', None) => *quote = Some(byte),
                (_, Some(open)) if open == byte => *quote = None,
                _ => {}
            }
            tag.push(byte);
            return if tag.len() > MAX_TAG { Err(NOT_READ) } else { Ok(()) };
        }
        if byte == b'<' {
            self.is_begun = true;
            self.tag = Some((Vec::new(), None));
            return Ok(());
        }
        if self.is_in_name() {
            self.name.push(byte);
            return if byte == b'&' || self.name.len() > MAX_NAME { Err(NOT_READ) } else { Ok(()) };
        }
        let is_elsewhere = self.open.len() > self.depth_of_names();
        if is_elsewhere || byte.is_ascii_whitespace() { Ok(()) } else { Err(NOT_READ) }
    }

    fn may_be_other(&self) -> bool {
        self.grammar.is_numbered && !self.is_begun && self.mark == 0
    }

    fn end(&self) -> Result<(), &'static str> {
        if self.is_over && self.tag.is_none() { Ok(()) } else { Err(NOT_READ) }
    }

    /// How many elements are open around a name.
    fn depth_of_names(&self) -> usize {
        1 + usize::from(self.grammar.item.is_some())
    }

    fn is_name(&self, name: &[u8]) -> bool {
        self.grammar.names.iter().any(|known| known.as_bytes() == name)
    }

    fn is_in_name(&self) -> bool {
        self.open.len() == self.depth_of_names() + 1
            && self.open.last().is_some_and(|open| self.is_name(open))
    }

    fn tag(&mut self, tag: &[u8], named: &mut Name<'_>) -> Result<(), &'static str> {
        if let Some(declaration) = tag.strip_prefix(b"?xml") {
            let is_first = self.open.is_empty() && !self.is_over && declaration.ends_with(b"?");
            return if is_first && is_utf8(declaration) { Ok(()) } else { Err(NOT_READ) };
        }
        if let Some(name) = tag.strip_prefix(b"/") {
            return self.close(name.trim_ascii_end(), named);
        }
        let (tag, is_empty) = tag.strip_suffix(b"/").map_or((tag, false), |tag| (tag, true));
        let name = tag.split(u8::is_ascii_whitespace).next().unwrap_or_default();
        self.open(name)?;
        if is_empty { self.close(name, named) } else { Ok(()) }
    }

    fn open(&mut self, name: &[u8]) -> Result<(), &'static str> {
        let depth = self.open.len();
        let is_item = depth + 1 == self.depth_of_names() && depth > 0;
        let is_known = match depth {
            _ if self.is_over || depth >= MAX_DEPTH || !name.first().is_some_and(u8::is_ascii_alphabetic) => {
                false
            }
            0 => name == self.grammar.root.as_bytes(),
            _ if is_item => self.grammar.item.is_some_and(|item| item.as_bytes() == name),
            // Beside the number of a part stand its tag and sums.
            _ if depth == self.depth_of_names() => self.grammar.item.is_some() || self.is_name(name),
            _ => false,
        };
        if !is_known {
            return Err(NOT_READ);
        }
        if is_item {
            self.in_item = 0;
        }
        self.name.clear();
        self.open.push(name.to_vec());
        Ok(())
    }

    fn close(&mut self, name: &[u8], named: &mut Name<'_>) -> Result<(), &'static str> {
        let is_name = self.is_in_name();
        if self.open.pop().is_none_or(|open| open != name) {
            return Err(NOT_READ);
        }
        if is_name {
            self.in_item += 1;
            let text = std::mem::take(&mut self.name);
            let text = std::str::from_utf8(&text).map_err(|_| NOT_READ)?;
            return self.named(text, named);
        }
        let is_item = self.grammar.item.is_some() && self.open.len() + 1 == self.depth_of_names();
        if is_item && self.in_item != 1 {
            return Err(NOT_READ);
        }
        self.is_over = self.open.is_empty();
        Ok(())
    }

    fn named(&mut self, text: &str, named: &mut Name<'_>) -> Result<(), &'static str> {
        if !self.grammar.is_numbered {
            return named(&block_name(text));
        }
        let number = part_number(text).ok_or(NOT_READ)?;
        if self.last.is_some_and(|last| last >= number) {
            return Err(NOT_RISING);
        }
        self.last = Some(number);
        named(&number.to_be_bytes())
    }
}

/// Whether the declaration says nothing else.
fn is_utf8(declaration: &[u8]) -> bool {
    let text = String::from_utf8_lossy(declaration).to_ascii_lowercase();
    let Some((_, encoding)) = text.split_once("encoding") else { return true };
    let encoding = encoding.trim_start().trim_start_matches('=').trim_start();
    ["utf-8", "us-ascii"].iter().any(|known| {
        encoding
            .get(1..)
            .and_then(|rest| rest.strip_prefix(known))
            .is_some_and(|rest| rest.starts_with(['"', '\'']))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names of a list, however it is split; `None`: it is none.
    fn read(kind: ListKind, body: &str) -> Option<Vec<Vec<u8>>> {
        let mut all: Vec<Option<Vec<Vec<u8>>>> = Vec::new();
        for size in [1, 3, 1000] {
            let (mut list, mut names) = (PartList::new(kind), Vec::new());
            body.as_bytes().chunks(size).for_each(|piece| {
                list.push(piece, &mut |name| names.push(name.to_vec()));
            });
            all.push(list.end().is_ok().then_some(names));
        }
        assert!(all.iter().all(|one| *one == all[0]), "{body}");
        all.remove(0)
    }

    fn names(names: &[&str]) -> Option<Vec<Vec<u8>>> {
        Some(names.iter().map(|name| name.as_bytes().to_vec()).collect())
    }

    #[test]
    fn parts_and_lists_are_known_by_method_and_target_however_they_are_encoded() {
        let of = |method: &str, target: &str| Role::of(method, target);
        let upload = |role: Option<Role>| match role {
            Some(Role::Part { upload, .. } | Role::List { upload, .. }) => Some(upload),
            None => None,
        };
        let block = of("PUT", "/c/a%20b?comp=block&blockid=YQ%3D%3D");
        assert_eq!(block, of("PUT", "/%63/a%20b?blockid=YR==&comp=%62lock&x=y"));
        assert!(matches!(&block, Some(Role::Part { name: Some(name), .. }) if name == b"a"));
        let list = of("PUT", "/c/a%20b?Comp=BlockList");
        assert!(matches!(list, Some(Role::List { kind: ListKind::Azure, .. })));
        assert_eq!(upload(block), upload(list));
        let part = of("PUT", "/b/k?partNumber=7&uploadId=u");
        let list = of("POST", "/b/k?uploadId=%75");
        assert!(matches!(list, Some(Role::List { kind: ListKind::S3, .. })));
        assert_eq!(upload(part.clone()), upload(list));
        assert_ne!(upload(part), upload(of("POST", "/b/k?uploadId=v")));
        let part = of("POST", "/v1/uploads/u1/parts");
        assert!(matches!(part, Some(Role::Part { name: None, .. })));
        assert_eq!(upload(part), upload(of("POST", "/v1/uploads/u1/complete")));
        for (method, target) in [
            ("PUT", "/c/b?comp=page"),
            ("PUT", "/c/b?comp=block"),
            ("PUT", "/b/k"),
            ("PUT", "/b/k?partNumber=x&uploadId=u"),
            ("GET", "/b/k?uploadId=u"),
            ("POST", "/v1/uploads//parts"),
            ("POST", "/v1/uploads/u1/cancel"),
            ("POST", "/v1/parts"),
        ] {
            assert_eq!(of(method, target), None, "{target}");
        }
    }

    #[test]
    fn blocks_of_azure_are_listed_in_their_order() {
        let list = "\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<BlockList xmlns='x>y'>\n  <Latest>Yg==</Latest>
            <Committed> YQ </Committed><Uncommitted a=\"1\">Yg==</Uncommitted></BlockList>\n";
        assert_eq!(read(ListKind::Azure, list), names(&["b", "a", "b"]));
        assert_eq!(read(ListKind::Azure, "<BlockList/>"), names(&[]));
        // Bits behind the last byte do not make another block of it.
        assert_eq!(block_name("YR=="), block_name("YQ=="));
        assert_eq!(block_name("a b/"), block_name("a+b/"));
        for other in [
            "",
            "<BlockList>",
            "<BlockList></BlockList><BlockList/>",
            "<BlockList><Latest>Y&#103;==</Latest></BlockList>",
            "<BlockList><Latest><![CDATA[Yg==]]></Latest></BlockList>",
            "<BlockList><!-- <Latest>Yg==</Latest> --></BlockList>",
            "<!DOCTYPE x [<!ENTITY e \"Yg==\">]><BlockList></BlockList>",
            "<BlockList><Block>Yg==</Block></BlockList>",
            "<BlockList><x:Latest>Yg==</x:Latest></BlockList>",
            "<BlockList>Yg==</BlockList>",
            "<BlockList><Latest><a/></Latest></BlockList>",
            "<?xml version=\"1.0\" encoding=\"utf-16\"?><BlockList/>",
            "<?xml version=\"1.0\" encoding=\"utf-7\"?><BlockList/>",
            "<BlockList><Latest>Yg==</Committed></BlockList>",
            "{\"part_ids\":[]}",
        ] {
            assert_eq!(read(ListKind::Azure, other), None, "{other}");
        }
    }

    #[test]
    fn parts_of_s3_are_listed_by_rising_numbers() {
        let part =
            |number: &str| format!("<Part><ETag>\"a&quot;\"</ETag><PartNumber>{number}</PartNumber></Part>");
        let list = |parts: &str| format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>");
        let numbers = |numbers: &[u64]| Some(numbers.iter().map(|one| one.to_be_bytes().to_vec()).collect());
        let read = |parts: &str| read(ListKind::S3, &list(parts));
        assert_eq!(read(&[part("1"), part(" 07\n")].concat()), numbers(&[1, 7]));
        assert_eq!(self::read(ListKind::S3, " {\"parts\":[7}"), names(&[]), "it is somebody else's");
        for other in [
            [part("2"), part("1")].concat(),
            [part("1"), part("1")].concat(),
            part("+1"),
            part(""),
            part("1 2"),
            "<Part><PartNumber>1</PartNumber><PartNumber>2</PartNumber></Part>".into(),
            "<Part><ETag>x</ETag></Part>".into(),
            "<Part><X><PartNumber>1</PartNumber></X></Part>".into(),
            "<PartNumber>1</PartNumber>".into(),
        ] {
            assert_eq!(read(&other), None, "{other}");
        }
    }

    #[test]
    fn parts_of_openai_are_listed_by_ids_and_named_in_answers() {
        let read = |body: &str| read(ListKind::OpenAi, body);
        assert_eq!(read(r#"{"md5":"x","part_ids":["part_b","part_\u0061"]}"#), names(&["part_b", "part_a"]));
        assert_eq!(read("{}"), names(&[]));
        for other in
            ["", "[]x", r#"{"part_ids":["a"],"part_ids":["b"]}"#, r#"{"part_ids":[7]}"#, r#"{"Part_ids":[]}"#]
        {
            assert_eq!(read(other), None, "{other}");
        }
        let mut name = PartName::default();
        assert_eq!(name.push(br#"{"object":"upload.part","upload":{"id":"u"},"id":"par"#), None);
        assert_eq!(name.push(br#"t_a","created_at":1}"#).as_deref(), Some("part_a"));
    }

    #[test]
    fn a_list_is_bounded() {
        let ids = vec!["\"a\""; MOST_LISTED].join(",");
        assert!(read(ListKind::OpenAi, &format!("{{\"part_ids\":[{ids}]}}")).is_some());
        assert_eq!(read(ListKind::OpenAi, &format!("{{\"part_ids\":[{ids},\"a\"]}}")), None);
        let long = format!("<BlockList><Latest>{}</Latest></BlockList>", "a".repeat(MAX_NAME + 1));
        assert_eq!(read(ListKind::Azure, &long), None);
    }
}
