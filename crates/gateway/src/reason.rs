//! Why a connection was let through or not, and how it ended. Closed tables: records, metrics and documentation all use
//! these.

use policy::Verdict;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Why a connection was judged as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// It claims a name that its pod resolved to this address and that a rule allows.
    NameAllowed,
    /// It claims no name, and every name that its pod resolved to this address is allowed.
    EveryNameAllowed,
    /// Whoever the address belongs to, policy allows it.
    AddressAllowed,
    /// A rule allows the request.
    RequestAllowed,
    /// It ended before it was judged.
    NotJudged,
    /// No policy was received yet.
    NoPolicy,
    /// The address is no pod's of this node.
    UnknownPod,
    /// The pod resolved no allowed name to this address.
    NotResolved,
    /// A TLS hello without a name, or an HTTP host that is an address.
    NoName,
    /// The name in the hello is none that the pod resolved to this address and that a rule speaks of.
    NameMismatch,
    /// The HTTP host is none that the pod resolved to this address and that a rule speaks of; or not the one for which
    /// the connection was opened.
    HostMismatch,
    /// The name was resolved to this address, and no rule allows it on this port.
    NameNotAllowed,
    /// The hello may hide another name (Encrypted ClientHello).
    EncryptedHello,
    /// Something else than TLS on a port for TLS.
    NotTls,
    /// Neither TLS nor HTTP/1: it claims no name.
    Opaque,
    /// A hello that servers could read differently.
    HelloMalformed,
    /// A hello beyond the bound.
    HelloTooLarge,
    /// A second hello that asks for something else than the first.
    SecondHello,
    /// No whole hello or request head in time.
    Timeout,
    /// The client ended before its hello or request head was whole.
    Incomplete,
    /// A later request on the connection is for another host than the first.
    LaterHost,
    /// An HTTP request that breaks the grammar, or whose end servers could see at different places.
    HttpMalformed,
    /// An HTTP request head beyond the bound.
    HttpTooLarge,
    /// An HTTP request without host, or with several.
    HttpHost,
    /// A tunnel or another protocol inside HTTP, or HTTP/2 in clear where it is not known for whom it is or nobody judges its
    /// requests: what follows is not read.
    HttpTunnel,
    /// It was let through as a connection on which the server speaks first, and then says for whom it is.
    LateClaim,
    /// The server's certificate is for other names than the one that was allowed.
    CertificateName,
    /// A server's answer to the hello, or a certificate in it, that cannot be read or is beyond the bound.
    ServerFlight,
    /// QUIC, which is not let through yet.
    Quic,
    /// Too many connections are open.
    TooMany,
    /// Too many connections of this pod are open.
    TooManyOfPod,
    /// The pod sent as much as this connection may carry.
    UploadCeiling,
    /// The pod sent more than goes with downloading.
    DownloadOnly,
    /// The pod sent as much as the rule allows in an hour.
    UploadHour,
    /// The pod sent as much as the rule allows in a day.
    UploadDay,
    /// It is allowed certain requests, and is not HTTP.
    NotHttp,
    /// It was let through unread, and the rule now allows certain requests only.
    Unread,
    /// It would have to be opened, and there is no authority to open it with.
    NoAuthority,
    /// The server's certificate does not verify.
    ServerCertificate,
    /// The TLS handshake with the server failed.
    ServerHandshake,
    /// The server of a request cannot be reached.
    ServerUnreachable,
    /// The client does not take our certificate.
    ClientDistrusts,
    /// The TLS handshake with the client failed, for another reason than its distrust.
    ClientHandshake,
    /// No rule allows the request.
    RequestNotAllowed,
    /// What a request does was not known within the bound of what is held of its body.
    RequestTooLarge,
    /// What came later in a body contradicts what the request was judged by.
    RequestChanged,
    /// Something was found in the request that must not leave.
    LeakBlocked,
    /// The rule blocks leaks, and the request cannot be searched for them.
    LeakUnread,
    /// The pod made as many requests as the rule allows.
    QuotaRequests,
    /// The pod's requests took as many tokens as the rule allows, or this one would take more.
    QuotaTokens,
    /// No replica of the central gateway, through which it must go, takes it.
    CentralUnreachable,
    /// The central gateway, through which it must go, refuses it.
    CentralRefused,
    /// The node that asks for it is not the one that the pod is on.
    NotOnNode,
    /// An address to which the central gateway connects nobody.
    BarredDestination,
    /// A CONNECT of a node that cannot be read.
    ConnectMalformed,
    /// The pod's requests cost as much as the rule allows, or this one could cost more.
    QuotaMoney,
    /// The rule limits what calls cost, and the model has no price.
    NoPrice,
    /// The rule limits tokens or money, and those of a WebSocket cannot be counted.
    QuotaUnread,
    /// The store of shared budgets cannot be reached, and what this node may use without it is used up.
    QuotaStore,
    /// The explicit proxy was asked for something else than a tunnel or an `http` address.
    NotForProxy,
    /// The pod may not ask DNS for the name that it asked the explicit proxy for.
    LookupRefused,
    /// The name has no address, or no resolver says so.
    NoAddress,
    /// The explicit proxy does not go there: inside the cluster, or to this machine.
    Inside,
    /// What came through a tunnel is for another name than the tunnel.
    TunnelName,
    /// The server did not answer in time.
    ServerSilent,
    /// Too many names of this pod wait to be looked up for the explicit proxy.
    TooManyAsked,
    /// Something was found in the request that the rule has masked, and where it is, that cannot be done.
    LeakUnmasked,
    /// Something was found in the file that an answer brings for which it is stopped.
    AnswerBlocked,
    /// The rule blocks unsafe files, and what an answer brings cannot be read.
    AnswerUnread,
    /// The rule allows certain requests, and TLS to this name must not be opened.
    NeverOpened,
    /// Clients of the pod do not trust the inspection CA, and the rule passes what cannot be opened.
    PassedUnopened,
    /// The key that the rule puts into requests is not there.
    KeyMissing,
    /// It would carry the key that the rule puts into requests, and leaves without TLS.
    KeyInClear,
    /// It is signed with the pod's own key, and the rule puts another into requests.
    KeySigned,
    /// The form in which the service takes the key that the rule puts into requests is not known.
    KeyForm,
    /// The certificate of who comes to the egress gateway is that of no workload.
    WorkloadUnknown,
    /// No rule that somebody wrote lets the workload go there: for one outside the cluster that is not enough.
    WorkloadUnselected,
    /// The rule demands what only the gateway of a node does: count bytes over time, put in keys, or keep contents; or it has budgets, and
    /// there is no store of them.
    NeedsNode,
    /// What a request does is not known yet, and its pod, or all, have as much of such requests held as may be.
    TooMuchHeld,
    /// The certificate by which a workload is known came to its end, or is not believed any more.
    CertificateEnded,
    /// All rules for its server allow only what an answer led to, and none led to that server.
    NotReferred,
    /// It has the provider contact a host that its workload may not reach itself, or it cannot be told whom.
    ProviderEgress,
    /// Its rule limits uploads as the connection was not limited when it was opened, so that nobody counts what is sent.
    LimitsChanged,
}

impl Reason {
    /// Every reason, in a fixed order.
    pub const ALL: [Self; 83] = [
        Self::NameAllowed,
        Self::EveryNameAllowed,
        Self::AddressAllowed,
        Self::RequestAllowed,
        Self::NotJudged,
        Self::NoPolicy,
        Self::UnknownPod,
        Self::NotResolved,
        Self::NoName,
        Self::NameMismatch,
        Self::HostMismatch,
        Self::NameNotAllowed,
        Self::EncryptedHello,
        Self::NotTls,
        Self::Opaque,
        Self::HelloMalformed,
        Self::HelloTooLarge,
        Self::SecondHello,
        Self::Timeout,
        Self::Incomplete,
        Self::LaterHost,
        Self::HttpMalformed,
        Self::HttpTooLarge,
        Self::HttpHost,
        Self::HttpTunnel,
        Self::LateClaim,
        Self::CertificateName,
        Self::ServerFlight,
        Self::Quic,
        Self::TooMany,
        Self::TooManyOfPod,
        Self::UploadCeiling,
        Self::DownloadOnly,
        Self::UploadHour,
        Self::UploadDay,
        Self::NotHttp,
        Self::Unread,
        Self::NoAuthority,
        Self::ServerCertificate,
        Self::ServerHandshake,
        Self::ServerUnreachable,
        Self::ClientDistrusts,
        Self::ClientHandshake,
        Self::RequestNotAllowed,
        Self::RequestTooLarge,
        Self::RequestChanged,
        Self::LeakBlocked,
        Self::LeakUnread,
        Self::QuotaRequests,
        Self::QuotaTokens,
        Self::CentralUnreachable,
        Self::CentralRefused,
        Self::NotOnNode,
        Self::BarredDestination,
        Self::ConnectMalformed,
        Self::QuotaMoney,
        Self::NoPrice,
        Self::QuotaUnread,
        Self::QuotaStore,
        Self::NotForProxy,
        Self::LookupRefused,
        Self::NoAddress,
        Self::Inside,
        Self::TunnelName,
        Self::ServerSilent,
        Self::TooManyAsked,
        Self::LeakUnmasked,
        Self::AnswerBlocked,
        Self::AnswerUnread,
        Self::NeverOpened,
        Self::PassedUnopened,
        Self::KeyMissing,
        Self::KeyInClear,
        Self::KeySigned,
        Self::KeyForm,
        Self::WorkloadUnknown,
        Self::WorkloadUnselected,
        Self::NeedsNode,
        Self::TooMuchHeld,
        Self::CertificateEnded,
        Self::NotReferred,
        Self::ProviderEgress,
        Self::LimitsChanged,
    ];

    /// The verdict that always comes with this reason.
    pub fn verdict(self) -> Verdict {
        match self {
            Self::NameAllowed
            | Self::EveryNameAllowed
            | Self::AddressAllowed
            | Self::RequestAllowed
            | Self::PassedUnopened => Verdict::Allow,
            Self::NotJudged
            | Self::NoPolicy
            | Self::UnknownPod
            | Self::NotResolved
            | Self::NoName
            | Self::NameMismatch
            | Self::HostMismatch
            | Self::NameNotAllowed
            | Self::EncryptedHello
            | Self::NotTls
            | Self::Opaque
            | Self::HelloMalformed
            | Self::HelloTooLarge
            | Self::SecondHello
            | Self::Timeout
            | Self::Incomplete
            | Self::LaterHost
            | Self::HttpMalformed
            | Self::HttpTooLarge
            | Self::HttpHost
            | Self::HttpTunnel
            | Self::LateClaim
            | Self::CertificateName
            | Self::ServerFlight
            | Self::Quic
            | Self::TooMany
            | Self::TooManyOfPod
            | Self::UploadCeiling
            | Self::DownloadOnly
            | Self::UploadHour
            | Self::UploadDay
            | Self::NotHttp
            | Self::Unread
            | Self::NoAuthority
            | Self::ServerCertificate
            | Self::ServerHandshake
            | Self::ServerUnreachable
            | Self::ClientDistrusts
            | Self::ClientHandshake
            | Self::RequestNotAllowed
            | Self::RequestTooLarge
            | Self::RequestChanged
            | Self::LeakBlocked
            | Self::LeakUnread
            | Self::QuotaRequests
            | Self::QuotaTokens
            | Self::CentralUnreachable
            | Self::CentralRefused
            | Self::NotOnNode
            | Self::BarredDestination
            | Self::ConnectMalformed
            | Self::QuotaMoney
            | Self::NoPrice
            | Self::QuotaUnread
            | Self::QuotaStore
            | Self::NotForProxy
            | Self::LookupRefused
            | Self::NoAddress
            | Self::Inside
            | Self::TunnelName
            | Self::ServerSilent
            | Self::TooManyAsked
            | Self::LeakUnmasked
            | Self::AnswerBlocked
            | Self::AnswerUnread
            | Self::NeverOpened
            | Self::WorkloadUnknown
            | Self::WorkloadUnselected
            | Self::NeedsNode
            | Self::CertificateEnded
            | Self::NotReferred
            | Self::ProviderEgress
            | Self::LimitsChanged
            | Self::KeyMissing
            | Self::KeyInClear
            | Self::KeySigned
            | Self::KeyForm
            | Self::TooMuchHeld => Verdict::Deny,
        }
    }

    /// Short stable word for records and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NameAllowed => "name-allowed",
            Self::EveryNameAllowed => "every-name-allowed",
            Self::AddressAllowed => "address-allowed",
            Self::RequestAllowed => "request-allowed",
            Self::NotJudged => "not-judged",
            Self::NoPolicy => "no-policy",
            Self::UnknownPod => "unknown-pod",
            Self::NotResolved => "not-resolved",
            Self::NoName => "no-name",
            Self::NameMismatch => "name-mismatch",
            Self::HostMismatch => "host-mismatch",
            Self::NameNotAllowed => "name-not-allowed",
            Self::EncryptedHello => "encrypted-hello",
            Self::NotTls => "not-tls",
            Self::Opaque => "opaque",
            Self::HelloMalformed => "hello-malformed",
            Self::HelloTooLarge => "hello-too-large",
            Self::SecondHello => "second-hello",
            Self::Timeout => "timeout",
            Self::Incomplete => "incomplete",
            Self::LaterHost => "later-host",
            Self::HttpMalformed => "http-malformed",
            Self::HttpTooLarge => "http-too-large",
            Self::HttpHost => "http-host",
            Self::HttpTunnel => "http-tunnel",
            Self::LateClaim => "late-claim",
            Self::CertificateName => "certificate-name",
            Self::ServerFlight => "server-flight",
            Self::Quic => "quic",
            Self::TooMany => "too-many",
            Self::TooManyOfPod => "too-many-of-pod",
            Self::UploadCeiling => "upload-ceiling",
            Self::DownloadOnly => "download-only",
            Self::UploadHour => "upload-hour",
            Self::UploadDay => "upload-day",
            Self::NotHttp => "not-http",
            Self::Unread => "unread",
            Self::NoAuthority => "no-authority",
            Self::ServerCertificate => "server-certificate",
            Self::ServerHandshake => "server-handshake",
            Self::ServerUnreachable => "server-unreachable",
            Self::ClientDistrusts => "client-distrusts",
            Self::ClientHandshake => "client-handshake",
            Self::RequestNotAllowed => "request-not-allowed",
            Self::RequestTooLarge => "request-too-large",
            Self::RequestChanged => "request-changed",
            Self::LeakBlocked => "leak-blocked",
            Self::LeakUnread => "leak-unread",
            Self::QuotaRequests => "quota-requests",
            Self::QuotaTokens => "quota-tokens",
            Self::CentralUnreachable => "central-unreachable",
            Self::CentralRefused => "central-refused",
            Self::NotOnNode => "not-on-node",
            Self::BarredDestination => "barred-destination",
            Self::ConnectMalformed => "connect-malformed",
            Self::QuotaMoney => "quota-money",
            Self::NoPrice => "no-price",
            Self::QuotaUnread => "quota-unread",
            Self::QuotaStore => "quota-store",
            Self::NotForProxy => "not-for-proxy",
            Self::LookupRefused => "lookup-refused",
            Self::NoAddress => "no-address",
            Self::Inside => "inside",
            Self::TunnelName => "tunnel-name",
            Self::ServerSilent => "server-silent",
            Self::TooManyAsked => "too-many-asked",
            Self::LeakUnmasked => "leak-unmasked",
            Self::AnswerBlocked => "answer-blocked",
            Self::AnswerUnread => "answer-unread",
            Self::NeverOpened => "never-opened",
            Self::PassedUnopened => "passed-unopened",
            Self::KeyMissing => "key-missing",
            Self::KeyInClear => "key-in-clear",
            Self::KeySigned => "key-signed",
            Self::KeyForm => "key-form",
            Self::WorkloadUnknown => "workload-unknown",
            Self::WorkloadUnselected => "workload-unselected",
            Self::NeedsNode => "needs-node",
            Self::TooMuchHeld => "too-much-held",
            Self::CertificateEnded => "certificate-ended",
            Self::NotReferred => "not-referred",
            Self::ProviderEgress => "provider-egress",
            Self::LimitsChanged => "limits-changed",
        }
    }

    /// One sentence for a person.
    pub fn describe(self) -> &'static str {
        match self {
            Self::NameAllowed => "a rule allows the name, and this pod resolved it to this address",
            Self::EveryNameAllowed => {
                "it names nobody, and every name that this pod resolved to this address is allowed"
            }
            Self::AddressAllowed => "a rule allows the address, whatever name it has",
            Self::RequestAllowed => "a rule allows the request",
            Self::NotJudged => "it ended before it was judged",
            Self::NoPolicy => "no policy was received yet, so nothing may pass",
            Self::UnknownPod => "the address is no pod's of this node",
            Self::NotResolved => "this pod resolved no allowed name to this address",
            Self::NoName => "it names nobody, and only names are allowed at this address",
            Self::NameMismatch => {
                "no rule speaks of the name in the TLS hello, or this pod did not resolve it to this address"
            }
            Self::HostMismatch => {
                "no rule speaks of the host of the request, this pod did not resolve it to this address, or the connection is for another"
            }
            Self::NameNotAllowed => "no rule allows this name on this port",
            Self::EncryptedHello => {
                "the TLS hello may hide another name (ECH, or its imitation, which looks the same)"
            }
            Self::NotTls => "this port is for TLS, and the connection does not speak it",
            Self::Opaque => "it speaks neither TLS nor HTTP/1, so it is not known for whom it is",
            Self::HelloMalformed => "a TLS hello that servers could read differently",
            Self::HelloTooLarge => "a TLS hello beyond the bound",
            Self::SecondHello => "a second TLS hello asks for something else than the first",
            Self::Timeout => "no whole TLS hello or request head came in time",
            Self::Incomplete => "the client ended before its TLS hello or request head was whole",
            Self::LaterHost => "a later request on this connection is for another host than the first",
            Self::HttpMalformed => "an HTTP request that servers could read differently",
            Self::HttpTooLarge => "an HTTP request head beyond the bound",
            Self::HttpHost => "an HTTP request without host, or with several",
            Self::HttpTunnel => {
                "CONNECT, Upgrade, or HTTP/2 in clear to an address of several names or by a rule without requests: what follows is not read"
            }
            Self::LateClaim => "it waited for the server to speak first, and then spoke TLS or HTTP itself",
            Self::CertificateName => "the server's certificate is for other names",
            Self::ServerFlight => {
                "the server's answer to the TLS hello, or the certificate in it, cannot be read"
            }
            Self::Quic => "QUIC to a named address is not let through; over TCP it is",
            Self::TooMany => "too many connections are open",
            Self::TooManyOfPod => "too many connections of this pod are open",
            Self::UploadCeiling => "the pod sent as much as one connection may carry",
            Self::UploadHour => "the pod sent as much as the rule allows in an hour",
            Self::UploadDay => "the pod sent as much as the rule allows in a day",
            Self::DownloadOnly => "the rule is for downloading, and the pod sent more than goes with that",
            Self::NotHttp => "the rule allows certain requests, and this connection is not HTTP",
            Self::Unread => {
                "the rule now allows certain requests only, and this connection was let through unread"
            }
            Self::NoAuthority => {
                "the rule allows certain requests, and the gateway was given no inspection CA to open the pod's TLS with"
            }
            Self::ServerCertificate => "the server's certificate does not verify",
            Self::ServerHandshake => "the TLS handshake with the server failed",
            Self::ServerUnreachable => "the server cannot be reached",
            Self::ClientDistrusts => {
                "the client does not trust the inspection CA: pinned or the trust bundle is missing"
            }
            Self::ClientHandshake => "the TLS handshake with the client failed",
            Self::RequestNotAllowed => "no rule allows this request",
            Self::RequestTooLarge => {
                "what the request does is not known within the part of its body that may be held"
            }
            Self::RequestChanged => "what came later in the body contradicts what the request was judged by",
            Self::LeakBlocked => "something was found in the request that must not leave",
            Self::LeakUnread => {
                "the rule blocks leaks, and the request is in a form that cannot be searched for them"
            }
            Self::QuotaRequests => "the pod made as many requests as the rule allows",
            Self::QuotaTokens => {
                "the pod's requests took as many tokens as the rule allows, or this one could take more than are left"
            }
            Self::QuotaMoney => {
                "the pod's requests cost as much as the rule allows, or this one could cost more than is left"
            }
            Self::NoPrice => {
                "the rule limits what calls cost, and the price list of this node has no price for this provider's model"
            }
            Self::QuotaUnread => {
                "the rule limits tokens or money, and those of a WebSocket, of a batch whose requests are elsewhere, or of a limit that is no number cannot be counted"
            }
            Self::QuotaStore => {
                "the store of shared budgets cannot be reached, or too many requests wait for it, and what this gateway may use without it is used up"
            }
            Self::CentralUnreachable => {
                "no replica of the egress gateway, through which it must go, takes it"
            }
            Self::CentralRefused => {
                "the egress gateway, through which it must go, refuses it; its own record says why"
            }
            Self::NotOnNode => "the node that asks for it is not the one that the pod is on",
            Self::BarredDestination => {
                "the egress gateway connects nobody there: inside the cluster, of one machine, or private and not allowed as an address"
            }
            Self::ConnectMalformed => "a node asked for something that cannot be read",
            Self::NotForProxy => {
                "the explicit proxy takes CONNECT host:port, and requests for a whole http:// address; this is neither"
            }
            Self::LookupRefused => "this pod may not look up the name, so the explicit proxy does not either",
            Self::NoAddress => "no address of the name could be found",
            Self::Inside => {
                "the explicit proxy does not go to addresses of the cluster, of this node or of this machine alone, whatever policy allows: connect directly (NO_PROXY)"
            }
            Self::TunnelName => {
                "the connection in the tunnel is for another name than the tunnel was asked for"
            }
            Self::ServerSilent => "the server did not answer in time",
            Self::TooManyAsked => {
                "too many names of this pod wait to be looked up, or were asked for too fast"
            }
            Self::LeakUnmasked => {
                "something was found in the request that must not leave, and it cannot be masked there"
            }
            Self::AnswerBlocked => "something was found in the file that the answer brings",
            Self::AnswerUnread => "the rule blocks unsafe files, and what the answer brings cannot be read",
            Self::NeverOpened => {
                "the rule allows certain requests, and TLS to this name is never opened here (--never-open)"
            }
            Self::PassedUnopened => {
                "the pod's client does not trust the inspection CA, and the rule lets that pass (whenUnopened: Pass): its requests were not judged, its name and limits of upload were"
            }
            Self::KeyMissing => {
                "the rule has a key put into requests, and its Secret is missing, not labelled cofferdam.dev/inject: \"true\", or has no such key; or, at an egress gateway, the policy does not name cofferdam.dev/service-account in its subject"
            }
            Self::KeyInClear => "the rule has a key put into requests, and this one would leave without TLS",
            Self::KeySigned => {
                "the rule has a key put into requests, and this one is signed with another, which no key can take the place of"
            }
            Self::KeyForm => {
                "the rule has a key put into requests, and how this service takes it is not known: name the field (header)"
            }
            Self::WorkloadUnknown => {
                "the certificate is that of no workload: it needs the URI spiffe://DOMAIN/ns/NAMESPACE/sa/ACCOUNT, of the egress gateway's domain and by its authority"
            }
            Self::WorkloadUnselected => {
                "no rule allows it, and who comes from outside the cluster gets only where a rule says so"
            }
            Self::NeedsNode => {
                "the rule keeps contents, which only the gateway of a node does; or it has budgets, and this gateway no --budget-store, or no room for another account: this workload needs a rule without, or the gateway a store"
            }
            Self::TooMuchHeld => {
                "the requests of this pod that wait to be understood take as much memory as is left for others: fewer large ones at once"
            }
            Self::CertificateEnded => {
                "the certificate that it came with has ended, or its authority is not believed any more: it has to come again with another"
            }
            Self::ProviderEgress => {
                "it has the provider contact a host that this workload may not reach itself, or it cannot be told whom"
            }
            Self::LimitsChanged => {
                "the rule limits uploads, or limits them more, than this connection was limited when it was opened: open another; where another rule for this server comes first, that one needs limits too"
            }
            Self::NotReferred => {
                "the rule allows only what an answer led to a short while ago (onlyReferred, redirects), and none led to this server: ask for it where it is referred from"
            }
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// Refused before anything was forwarded.
    Refused,
    /// Both sides were done.
    Closed,
    /// Cut while it was open, for the reason in its record.
    Cut,
    /// Nothing passed for too long.
    Idle,
    /// The pod's side broke off.
    PodGone,
    /// The server's side broke off.
    ServerGone,
    /// The server could not be reached.
    Unreachable,
    /// The proxy was told to stop, and waited for it long enough.
    Drained,
    /// Its task ended before it did.
    Cancelled,
}

impl End {
    /// Every end, in a fixed order.
    pub const ALL: [Self; 9] = [
        Self::Refused,
        Self::Closed,
        Self::Cut,
        Self::Idle,
        Self::PodGone,
        Self::ServerGone,
        Self::Unreachable,
        Self::Drained,
        Self::Cancelled,
    ];

    /// Short stable word for records and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Closed => "closed",
            Self::Cut => "cut",
            Self::Idle => "idle",
            Self::PodGone => "pod-gone",
            Self::ServerGone => "server-gone",
            Self::Unreachable => "unreachable",
            Self::Drained => "drained",
            Self::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn words_are_unique_and_are_what_json_shows() {
        let words: BTreeSet<&str> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
        assert_eq!(words.len(), Reason::ALL.len());
        for reason in Reason::ALL {
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.as_str());
            assert!(!reason.describe().is_empty());
        }
        for end in End::ALL {
            assert_eq!(serde_json::to_value(end).unwrap(), end.as_str());
        }
    }
}
