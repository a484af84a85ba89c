//! The variables that rules look at: one closed table of their names.
//!
//! Source: the reference manual of ModSecurity v3, section Variables. A name that is not here is a load error, and so is
//! one that would need what this crate has not (an operating system, a directory of uploads).

macro_rules! variables {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $shape:ident;)*) => {
        /// A variable of the rule language.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Variable { $($(#[$doc])* $variant,)* }

        impl Variable {
            /// All of them, in the order of their discriminants.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The name that rules and reports use, in capitals.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// Whether it has many values, each under a key, or one.
            #[must_use]
            pub fn shape(self) -> Shape {
                match self { $(Self::$variant => Shape::$shape,)* }
            }
        }
    };
}

/// How many values a variable has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// At most one, without a key.
    Single,
    /// Any number, each under a key.
    Keyed,
}

variables! {
    /// Arguments of the query and of the body.
    Args = "ARGS", Keyed;
    /// Bytes of all arguments' names and values.
    ArgsCombinedSize = "ARGS_COMBINED_SIZE", Single;
    /// Arguments of the query.
    ArgsGet = "ARGS_GET", Keyed;
    /// Their names.
    ArgsGetNames = "ARGS_GET_NAMES", Keyed;
    /// Names of all arguments.
    ArgsNames = "ARGS_NAMES", Keyed;
    /// Arguments of the body.
    ArgsPost = "ARGS_POST", Keyed;
    /// Their names.
    ArgsPostNames = "ARGS_POST_NAMES", Keyed;
    /// Scheme of the `Authorization` header.
    AuthType = "AUTH_TYPE", Single;
    /// Milliseconds since the transaction began; the host says them.
    Duration = "DURATION", Single;
    /// Names of uploaded files, under the name of their form field.
    Files = "FILES", Keyed;
    /// Bytes of all uploaded files.
    FilesCombinedSize = "FILES_COMBINED_SIZE", Single;
    /// Names of the form fields that carry files.
    FilesNames = "FILES_NAMES", Keyed;
    /// Bytes of each uploaded file.
    FilesSizes = "FILES_SIZES", Keyed;
    /// What uploaded files hold.
    FilesTmpContent = "FILES_TMP_CONTENT", Keyed;
    /// The whole request, head and body.
    FullRequest = "FULL_REQUEST", Single;
    /// Bytes of the whole request.
    FullRequestLength = "FULL_REQUEST_LENGTH", Single;
    /// Where the client is, as the host knows it.
    Geo = "GEO", Keyed;
    /// A persistent collection for everybody.
    Global = "GLOBAL", Keyed;
    /// Gravest severity of the rules that matched.
    HighestSeverity = "HIGHEST_SEVERITY", Single;
    /// 1 when the request's body was longer than its limit.
    InboundDataError = "INBOUND_DATA_ERROR", Single;
    /// A persistent collection of one client address.
    Ip = "IP", Keyed;
    /// The value that matched last.
    MatchedVar = "MATCHED_VAR", Single;
    /// Its name.
    MatchedVarName = "MATCHED_VAR_NAME", Single;
    /// All values that the rule before in the chain matched.
    MatchedVars = "MATCHED_VARS", Keyed;
    /// Their names.
    MatchedVarsNames = "MATCHED_VARS_NAMES", Keyed;
    /// Version of the engine in digits.
    ModsecBuild = "MODSEC_BUILD", Single;
    /// 1 when quotes of the boundary are wrong.
    MultipartBoundaryQuoted = "MULTIPART_BOUNDARY_QUOTED", Single;
    /// 1 when the boundary has whitespace.
    MultipartBoundaryWhitespace = "MULTIPART_BOUNDARY_WHITESPACE", Single;
    /// 1 when lines end by CRLF and by LF.
    MultipartCrlfLfLines = "MULTIPART_CRLF_LF_LINES", Single;
    /// 1 when there is something after the last boundary.
    MultipartDataAfter = "MULTIPART_DATA_AFTER", Single;
    /// 1 when there is something before the first boundary.
    MultipartDataBefore = "MULTIPART_DATA_BEFORE", Single;
    /// 1 when there are too many files.
    MultipartFileLimitExceeded = "MULTIPART_FILE_LIMIT_EXCEEDED", Single;
    /// Name of the last file.
    MultipartFilename = "MULTIPART_FILENAME", Single;
    /// 1 when a header of a part is folded.
    MultipartHeaderFolding = "MULTIPART_HEADER_FOLDING", Single;
    /// 1 when a header of a part is folded in a way that readers differ on.
    MultipartInvalidHeaderFolding = "MULTIPART_INVALID_HEADER_FOLDING", Single;
    /// 1 when a part is wrong.
    MultipartInvalidPart = "MULTIPART_INVALID_PART", Single;
    /// 1 when quotes within a part's header are wrong.
    MultipartInvalidQuoting = "MULTIPART_INVALID_QUOTING", Single;
    /// 1 when a line ends by LF alone.
    MultipartLfLine = "MULTIPART_LF_LINE", Single;
    /// 1 when a `Content-Type` parameter lacks its semicolon.
    MultipartMissingSemicolon = "MULTIPART_MISSING_SEMICOLON", Single;
    /// Name of the last part.
    MultipartName = "MULTIPART_NAME", Single;
    /// Headers of the parts, whole, under the name of the part.
    MultipartPartHeaders = "MULTIPART_PART_HEADERS", Keyed;
    /// 1 when any of the flags above is.
    MultipartStrictError = "MULTIPART_STRICT_ERROR", Single;
    /// 1 when a line looks like a boundary and is none.
    MultipartUnmatchedBoundary = "MULTIPART_UNMATCHED_BOUNDARY", Single;
    /// 1 when the answer's body was longer than its limit.
    OutboundDataError = "OUTBOUND_DATA_ERROR", Single;
    /// Path of the request, decoded.
    PathInfo = "PATH_INFO", Single;
    /// Query of the request, as sent.
    QueryString = "QUERY_STRING", Single;
    /// Address of the client.
    RemoteAddr = "REMOTE_ADDR", Single;
    /// Name of the client: its address, for nobody looks it up.
    RemoteHost = "REMOTE_HOST", Single;
    /// Port of the client.
    RemotePort = "REMOTE_PORT", Single;
    /// User that HTTP basic authentication claims.
    RemoteUser = "REMOTE_USER", Single;
    /// 1 when the body could not be read.
    ReqbodyError = "REQBODY_ERROR", Single;
    /// Why.
    ReqbodyErrorMsg = "REQBODY_ERROR_MSG", Single;
    /// Who reads the body: `URLENCODED`, `MULTIPART`, `JSON`, `XML`.
    ReqbodyProcessor = "REQBODY_PROCESSOR", Single;
    /// As [`Variable::ReqbodyError`].
    ReqbodyProcessorError = "REQBODY_PROCESSOR_ERROR", Single;
    /// As [`Variable::ReqbodyErrorMsg`].
    ReqbodyProcessorErrorMsg = "REQBODY_PROCESSOR_ERROR_MSG", Single;
    /// Last part of the path.
    RequestBasename = "REQUEST_BASENAME", Single;
    /// The body as sent, where its processor is `URLENCODED` or a rule asks for it.
    RequestBody = "REQUEST_BODY", Single;
    /// Its bytes.
    RequestBodyLength = "REQUEST_BODY_LENGTH", Single;
    /// Cookies.
    RequestCookies = "REQUEST_COOKIES", Keyed;
    /// Their names.
    RequestCookiesNames = "REQUEST_COOKIES_NAMES", Keyed;
    /// Path of the request, decoded once.
    RequestFilename = "REQUEST_FILENAME", Single;
    /// Headers of the request.
    RequestHeaders = "REQUEST_HEADERS", Keyed;
    /// Their names.
    RequestHeadersNames = "REQUEST_HEADERS_NAMES", Keyed;
    /// First line of the request.
    RequestLine = "REQUEST_LINE", Single;
    /// Method.
    RequestMethod = "REQUEST_METHOD", Single;
    /// `HTTP/1.1` and the like.
    RequestProtocol = "REQUEST_PROTOCOL", Single;
    /// Path and query, without scheme and host.
    RequestUri = "REQUEST_URI", Single;
    /// What the first line says, as sent.
    RequestUriRaw = "REQUEST_URI_RAW", Single;
    /// A persistent collection of one resource.
    Resource = "RESOURCE", Keyed;
    /// The answer's body.
    ResponseBody = "RESPONSE_BODY", Single;
    /// Its `Content-Length`.
    ResponseContentLength = "RESPONSE_CONTENT_LENGTH", Single;
    /// Its `Content-Type`.
    ResponseContentType = "RESPONSE_CONTENT_TYPE", Single;
    /// The answer's headers.
    ResponseHeaders = "RESPONSE_HEADERS", Keyed;
    /// Their names.
    ResponseHeadersNames = "RESPONSE_HEADERS_NAMES", Keyed;
    /// Protocol of the answer.
    ResponseProtocol = "RESPONSE_PROTOCOL", Single;
    /// Status of the answer.
    ResponseStatus = "RESPONSE_STATUS", Single;
    /// Facts of the rule itself.
    Rule = "RULE", Keyed;
    /// Address of the server.
    ServerAddr = "SERVER_ADDR", Single;
    /// Host that the request names, without a port.
    ServerName = "SERVER_NAME", Single;
    /// Port of the server.
    ServerPort = "SERVER_PORT", Single;
    /// A persistent collection of one session.
    Session = "SESSION", Keyed;
    /// Key of the session.
    Sessionid = "SESSIONID", Single;
    /// First line of the answer.
    StatusLine = "STATUS_LINE", Single;
    /// `HH:MM:SS`.
    Time = "TIME", Single;
    /// Day of the month.
    TimeDay = "TIME_DAY", Single;
    /// Seconds since 1970.
    TimeEpoch = "TIME_EPOCH", Single;
    /// Hour.
    TimeHour = "TIME_HOUR", Single;
    /// Minute.
    TimeMin = "TIME_MIN", Single;
    /// Month, 0 to 11.
    TimeMon = "TIME_MON", Single;
    /// Second.
    TimeSec = "TIME_SEC", Single;
    /// Day of the week, 0 is Sunday.
    TimeWday = "TIME_WDAY", Single;
    /// Year.
    TimeYear = "TIME_YEAR", Single;
    /// What rules keep for one transaction.
    Tx = "TX", Keyed;
    /// An id of the transaction, which the host draws.
    UniqueId = "UNIQUE_ID", Single;
    /// 1 when a percent sign is not followed by two digits.
    UrlencodedError = "URLENCODED_ERROR", Single;
    /// A persistent collection of one user.
    User = "USER", Keyed;
    /// Key of the user.
    Userid = "USERID", Single;
    /// Id of the application, as configured.
    Webappid = "WEBAPPID", Single;
    /// Text and attributes of an XML body.
    Xml = "XML", Keyed;
}

/// Other spellings that the manual and old rules use.
const ALIASES: &[(&str, Variable)] = &[
    ("MULTIPART_BOUNDARY_QUOTED", Variable::MultipartBoundaryQuoted),
    ("MULTIPART_SEMICOLON_MISSING", Variable::MultipartMissingSemicolon),
    ("REQBODY_ERROR_MESSAGE", Variable::ReqbodyErrorMsg),
    ("SESSION_ID", Variable::Sessionid),
    ("USER_ID", Variable::Userid),
    ("SERVER_PROTOCOL", Variable::RequestProtocol),
];

impl Variable {
    /// The variable of a name, in any case.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let same = |known: &str| known.eq_ignore_ascii_case(name);
        let known = Self::ALL.iter().copied().find(|variable| same(variable.name()));
        known.or_else(|| ALIASES.iter().find(|(alias, _)| same(alias)).map(|(_, variable)| *variable))
    }

    /// Whether rules change its values, and not only what arrives.
    pub(crate) fn changes_while_rules_run(self) -> bool {
        self.is_persistent()
            || matches!(
                self,
                Self::Tx
                    | Self::MatchedVar
                    | Self::MatchedVarName
                    | Self::MatchedVars
                    | Self::MatchedVarsNames
                    | Self::HighestSeverity
                    | Self::Rule
            )
    }

    /// Whether rules see an empty value where it has none yet. ModSecurity says nothing of a user that nobody claims to be, and
    /// what matched is known only once something did.
    pub(crate) fn is_always_there(self) -> bool {
        self.shape() == Shape::Single
            && !matches!(self, Self::RemoteUser | Self::MatchedVar | Self::MatchedVarName)
    }

    /// Whether its values live longer than a transaction.
    #[must_use]
    pub fn is_persistent(self) -> bool {
        matches!(self, Self::Global | Self::Ip | Self::Resource | Self::Session | Self::User)
    }
}
