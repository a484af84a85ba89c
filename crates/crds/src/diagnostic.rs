//! What is wrong with what a user wrote, as a value: which object, which field, where, and what would be right.
//!
//! The compiler and the command line reuse this type; it is printed by `Display` and serialized for `--json`.

use serde::{Serialize, Serializer};
use std::fmt;
use std::sync::Arc;

/// Where in a file something was written. What an API server holds was written in no file; see [`Position::NOWHERE`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Position {
    /// Path as it was given.
    pub file: Arc<str>,
    /// From 1.
    pub line: u32,
    /// From 1, in characters.
    pub column: u32,
}

impl Position {
    /// The line of what came from no file.
    pub const NOWHERE: u32 = 0;

    /// Whether there is a file to look into.
    pub fn is_in_a_file(&self) -> bool {
        self.line != Self::NOWHERE
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.is_in_a_file() {
            return f.write_str(&self.file);
        }
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// An object by kind, namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct ObjectName {
    /// For example `NetworkPolicy`.
    pub kind: Arc<str>,
    /// Empty for cluster-scoped kinds.
    pub namespace: Arc<str>,
    /// Name; empty if the object has none.
    pub name: Arc<str>,
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = if self.name.is_empty() { "(no name)" } else { &self.name };
        if self.namespace.is_empty() {
            return write!(f, "{} {name}", self.kind);
        }
        write!(f, "{} {}/{name}", self.kind, self.namespace)
    }
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing; nothing is wrong.
    Note,
    /// Legal, but probably not what was meant.
    Warning,
    /// The object cannot be applied as written.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// Every kind of diagnostic this crate and the compiler give. Closed, so that documentation can list it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Code {
    /// The file is larger than the reader accepts.
    FileTooLarge,
    /// The file is not UTF-8.
    NotUtf8,
    /// The document is not well-formed YAML.
    Syntax,
    /// The document is nested deeper than the reader accepts.
    TooDeep,
    /// The file, its aliases expanded, has more nodes than the reader accepts.
    TooManyNodes,
    /// A mapping has the same key twice.
    DuplicateKey,
    /// An alias names an anchor that the document does not define before it.
    UnknownAlias,
    /// A mapping key is not text.
    BadKey,
    /// A YAML feature that Kubernetes objects do not use.
    UnsupportedYaml,
    /// The document is not a Kubernetes object: no mapping, or without kind or apiVersion.
    NotAnObject,
    /// The kind is not one Cofferdam reads.
    UnknownKind,
    /// The kind belongs to a policy API, but neither kind nor version is known.
    UnknownPolicyKind,
    /// The field does not exist in this kind.
    UnknownField,
    /// The field has a value of the wrong type.
    WrongType,
    /// A required field is missing.
    MissingField,
    /// The field's value is not one of those allowed.
    InvalidValue,
    /// The name is missing or not a DNS name as Kubernetes requires.
    InvalidName,
    /// A label key or value, or a selector, breaks the rules for labels.
    InvalidSelector,
    /// Not an address block in CIDR notation, or an `except` outside its block.
    InvalidCidr,
    /// A port or port range is not valid.
    InvalidPort,
    /// A domain name pattern is not valid.
    InvalidDomain,
    /// The catalog has no such provider, or not what the policy asks of it.
    UnknownProvider,
    /// A pattern of domain names means fewer or more names than one may think.
    WildcardLabels,
    /// A rule denies by name, and nothing denies the same by address.
    UnbackedDeny,
    /// A rule limits uploads, and another that limits them less decides its connections.
    LimitsNotFirst,
    /// Fields that exclude each other are set together, or none of them is.
    ExactlyOne,
    /// A peer has no field this version knows; the rule fails closed.
    UnknownPeer,
    /// A list is longer or shorter than the API allows.
    ListLength,
    /// Two objects of one kind, namespace and name.
    DuplicateObject,
    /// Two policies of one tier have equal priority.
    EqualPriority,
    /// No pod has a port of this name.
    UnresolvedPort,
    /// The policy or peer selects nothing.
    SelectsNothing,
    /// Egress is isolated and no rule allows DNS.
    DnsNotAllowed,
    /// A rule can never match, since others before it match all it does.
    ShadowedRule,
    /// A policy cuts off the cluster's own system pods.
    SystemLockedOut,
    /// Two pods have the same address.
    OverlappingAddress,
    /// An object refers to one that is not there.
    MissingReference,
    /// What was written is valid, and this implementation cannot enforce it.
    Unsupported,
    /// A file or folder cannot be read.
    Unreadable,
    /// A limit of the implementation is exceeded.
    LimitExceeded,
}

impl Code {
    /// Stable text, for filters and documentation.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::FileTooLarge => "file-too-large",
            Self::NotUtf8 => "not-utf8",
            Self::Syntax => "syntax",
            Self::TooDeep => "too-deep",
            Self::TooManyNodes => "too-many-nodes",
            Self::DuplicateKey => "duplicate-key",
            Self::UnknownAlias => "unknown-alias",
            Self::BadKey => "bad-key",
            Self::UnsupportedYaml => "unsupported-yaml",
            Self::NotAnObject => "not-an-object",
            Self::UnknownKind => "unknown-kind",
            Self::UnknownPolicyKind => "unknown-policy-kind",
            Self::UnknownField => "unknown-field",
            Self::WrongType => "wrong-type",
            Self::MissingField => "missing-field",
            Self::InvalidValue => "invalid-value",
            Self::InvalidName => "invalid-name",
            Self::InvalidSelector => "invalid-selector",
            Self::InvalidCidr => "invalid-cidr",
            Self::InvalidPort => "invalid-port",
            Self::InvalidDomain => "invalid-domain",
            Self::UnknownProvider => "unknown-provider",
            Self::WildcardLabels => "wildcard-labels",
            Self::UnbackedDeny => "unbacked-deny",
            Self::LimitsNotFirst => "limits-not-first",
            Self::ExactlyOne => "exactly-one",
            Self::UnknownPeer => "unknown-peer",
            Self::ListLength => "list-length",
            Self::DuplicateObject => "duplicate-object",
            Self::EqualPriority => "equal-priority",
            Self::UnresolvedPort => "unresolved-port",
            Self::SelectsNothing => "selects-nothing",
            Self::DnsNotAllowed => "dns-not-allowed",
            Self::ShadowedRule => "shadowed-rule",
            Self::SystemLockedOut => "system-locked-out",
            Self::OverlappingAddress => "overlapping-address",
            Self::MissingReference => "missing-reference",
            Self::Unsupported => "unsupported",
            Self::Unreadable => "unreadable",
            Self::LimitExceeded => "limit-exceeded",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// One finding about what a user wrote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// How bad.
    pub severity: Severity,
    /// What kind.
    pub code: Code,
    /// Which object, once that is known.
    pub object: Option<ObjectName>,
    /// Path within the object, for example `spec.ingress[0].from[1].podSelector`; empty for the object itself.
    pub field: String,
    /// Where.
    pub position: Option<Position>,
    /// What is wrong, in lower case, without a period.
    pub message: String,
    /// What would be right.
    pub suggestion: Option<String>,
}

impl Diagnostic {
    /// A diagnostic about no particular object yet.
    pub fn new(severity: Severity, code: Code, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { severity, code, object: None, field: String::new(), position: None, message, suggestion: None }
    }

    /// An error.
    pub fn error(code: Code, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, code, message)
    }

    /// A warning.
    pub fn warning(code: Code, message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, code, message)
    }

    /// A note.
    pub fn note(code: Code, message: impl Into<String>) -> Self {
        Self::new(Severity::Note, code, message)
    }

    /// Says which object it is about.
    #[must_use]
    pub fn of(mut self, object: ObjectName) -> Self {
        self.object = Some(object);
        self
    }

    /// Says where.
    #[must_use]
    pub fn at(mut self, position: Position) -> Self {
        self.position = position.is_in_a_file().then_some(position);
        self
    }

    /// Says which field.
    #[must_use]
    pub fn field(mut self, field: impl Into<String>) -> Self {
        self.field = field.into();
        self
    }

    /// Says what would be right.
    #[must_use]
    pub fn suggest(mut self, suggestion: impl Into<String>) -> Self {
        self.suggestion = Some(suggestion.into());
        self
    }

    /// Whether the object cannot be applied as written.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.severity)?;
        if let Some(position) = &self.position {
            write!(f, "{position}: ")?;
        }
        if let Some(object) = &self.object {
            write!(f, "{object}: ")?;
        }
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        write!(f, "{} [{}]", self.message, self.code)?;
        if let Some(suggestion) = &self.suggestion {
            write!(f, "\n  help: {suggestion}")?;
        }
        Ok(())
    }
}
