//! The proxies that are compared, each a process of its own with one thread on processor 0.

use crate::load;
use crate::requests::{Keys, NAME, Transport};
use anyhow::{Context, Result, bail};
use gateway::{
    Bound, Counters, Gateway, Inspection, Limits, Named, Phase, PodState, Record, RequestRule, RuleFacts,
    Rules, Sink, State, Table,
};
use policy::table::{self, Ruling};
use policy::{DnsName, Glob, LeakAction, Leaks, Requests, RuleId, Verdict};
use serde_json::json;
use std::collections::HashMap;
use std::fs::Permissions;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

/// A row of the comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Row {
    /// `mode tcp`, by server name, as its manual shows it.
    HaProxy,
    /// The same with `option splice-auto`.
    HaProxySplice,
    /// `tls_inspector` and `tcp_proxy`, one worker; where there is an `envoy`.
    Envoy,
    /// The gateway, as it is by default.
    Cofferdam,
    /// The gateway without splice.
    CofferdamCopy,
}

impl Row {
    pub(crate) fn all() -> Vec<Self> {
        let mut all = vec![Self::HaProxy, Self::HaProxySplice, Self::Cofferdam, Self::CofferdamCopy];
        if envoy_version().is_some() {
            all.insert(2, Self::Envoy);
        }
        all
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::HaProxy => "haproxy",
            Self::HaProxySplice => "haproxy splice-auto",
            Self::Envoy => "envoy",
            Self::Cofferdam => "cofferdam",
            Self::CofferdamCopy => "cofferdam without splice",
        }
    }

    pub(crate) fn start(self, server: u16) -> Result<Proxy> {
        match self {
            Self::HaProxy => haproxy(server, ""),
            Self::HaProxySplice => haproxy(server, "option splice-auto"),
            Self::Envoy => envoy(server),
            Self::Cofferdam => cofferdam(server, Limits::default().splice_after),
            Self::CofferdamCopy => cofferdam(server, u64::MAX),
        }
    }
}

/// A proxy that runs; killed on drop.
pub(crate) struct Proxy {
    child: Child,
    port: u16,
    _configuration: Option<Box<dyn std::any::Any>>,
}

impl Proxy {
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Processor seconds that its threads had so far.
    pub(crate) fn processor_seconds(&self) -> Result<f64> {
        let mut nanoseconds = 0.0;
        for task in std::fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let text = std::fs::read_to_string(task?.path().join("schedstat"))?;
            nanoseconds += text.split(' ').next().context("schedstat")?.parse::<f64>()?;
        }
        Ok(nanoseconds / 1e9)
    }

    /// Its share of memory, in bytes (PSS).
    pub(crate) fn memory(&self) -> Result<f64> {
        let text = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", self.child.id()))?;
        let line = text.lines().find(|line| line.starts_with("Pss:")).context("smaps_rollup")?;
        let kib: f64 = line.split_whitespace().nth(1).context("Pss")?.parse()?;
        Ok(kib * 1024.0)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}

pub(crate) fn haproxy_version() -> Result<String> {
    let output = Command::new("haproxy").arg("-v").output().context("haproxy is not installed")?;
    Ok(String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().to_owned())
}

/// What `envoy` says it is; none where there is none.
pub(crate) fn envoy_version() -> Option<String> {
    let output = Command::new("envoy").arg("--version").output().ok()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    // Before it stands where the program is.
    said.lines().find_map(|line| Some(line.split_once("version:")?.1.trim().to_owned()))
}

fn envoy(server: u16) -> Result<Proxy> {
    let port = free_port()?;
    let kind = |name: &str| format!("type.googleapis.com/envoy.extensions.filters.{name}");
    let address = |port: u16| json!({ "socket_address": { "address": "127.0.0.1", "port_value": port } });
    let endpoint = json!({ "endpoint": { "address": address(server) } });
    let configuration = json!({ "static_resources": {
        "listeners": [{
            "name": "names",
            "address": address(port),
            "listener_filters": [{
                "name": "envoy.filters.listener.tls_inspector",
                "typed_config": { "@type": kind("listener.tls_inspector.v3.TlsInspector") },
            }],
            "filter_chains": [{
                "filter_chain_match": { "server_names": [load::NAME] },
                "filters": [{
                    "name": "envoy.filters.network.tcp_proxy",
                    "typed_config": {
                        "@type": kind("network.tcp_proxy.v3.TcpProxy"),
                        "stat_prefix": "there",
                        "cluster": "there",
                    },
                }],
            }],
        }],
        "clusters": [{
            "name": "there",
            "type": "STATIC",
            "connect_timeout": "5s",
            "load_assignment": { "cluster_name": "there", "endpoints": [{ "lb_endpoints": [endpoint] }] },
        }],
    } });
    let mut file = tempfile::Builder::new().suffix(".json").tempfile()?;
    file.write_all(configuration.to_string().as_bytes())?;
    let child = on_processor_0()
        .args(["envoy", "--concurrency", "1", "--disable-hot-restart", "--log-level", "off", "-c"])
        .arg(file.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .context("starting envoy")?;
    wait_for(Proxy { child, port, _configuration: Some(Box::new(file)) })
}

/// Waits until it takes connections, while it lives.
fn wait_for(mut proxy: Proxy) -> Result<Proxy> {
    while TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port)).is_err() {
        if let Some(status) = proxy.child.try_wait()? {
            bail!("it ended: {status}");
        }
        std::thread::yield_now();
    }
    Ok(proxy)
}

fn haproxy(server: u16, option: &str) -> Result<Proxy> {
    let port = free_port()?;
    let configuration = format!(
        "global
  nbthread 1
  maxconn 4000
defaults
  mode tcp
  timeout connect 5s
  timeout client 600s
  timeout server 600s
frontend names
  {option}
  bind 127.0.0.1:{port} backlog 4096
  tcp-request inspect-delay 5s
  tcp-request content accept if {{ req.ssl_hello_type 1 }}
  tcp-request content reject
  acl ok req.ssl_sni -i {}
  use_backend there if ok
backend there
  {option}
  server s 127.0.0.1:{server}
",
        load::NAME
    );
    let mut file = tempfile::NamedTempFile::new()?;
    file.write_all(configuration.as_bytes())?;
    let child = on_processor_0()
        .args(["haproxy", "-db", "-q", "-f"])
        .arg(file.path())
        .stdin(Stdio::null())
        .spawn()
        .context("starting haproxy")?;
    wait_for(Proxy { child, port, _configuration: Some(Box::new(file)) })
}

/// Runs what is appended on processor 0, and not longer than this process.
fn on_processor_0() -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "taskset", "-c", "0"]);
    command
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

fn cofferdam(server: u16, splice_after: u64) -> Result<Proxy> {
    let mut child = on_processor_0()
        .arg(std::env::current_exe()?)
        .args(["proxy", &server.to_string(), &splice_after.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("starting the gateway")?;
    let mut line = String::new();
    BufReader::new(child.stdout.take().context("its output")?).read_line(&mut line)?;
    Ok(Proxy { port: line.trim().parse()?, child, _configuration: None })
}

/// A proxy that forwards requests as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    HaProxy,
    Envoy,
    /// One worker, without buffering.
    Nginx,
    /// As accelerator, without a cache.
    Squid,
}

impl Peer {
    /// Whether it speaks so on both sides: nginx and Squid ask servers in HTTP/1 alone.
    pub(crate) fn speaks(self, transport: Transport) -> bool {
        match self {
            Self::HaProxy | Self::Envoy => true,
            Self::Nginx | Self::Squid => transport != Transport::Http2,
        }
    }

    pub(crate) const ALL: [Self; 4] = [Self::HaProxy, Self::Envoy, Self::Nginx, Self::Squid];

    /// How its program is called.
    pub(crate) fn program(self) -> &'static str {
        match self {
            Self::HaProxy => "haproxy",
            Self::Envoy => "envoy",
            Self::Nginx => "nginx",
            Self::Squid => "squid",
        }
    }

    /// What its program says it is; none where there is none.
    pub(crate) fn version(self) -> Option<String> {
        let output = match self {
            Self::Envoy => return envoy_version(),
            Self::HaProxy | Self::Nginx | Self::Squid => {
                Command::new(self.program()).arg("-v").output().ok()?
            }
        };
        let said = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&said).lines().next().map(str::to_owned)
    }
}

/// What the gateway judges requests by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Judged {
    Operations,
    OperationsAndLeaks,
}

/// A peer between clients and the server, both sides in the same transport.
pub(crate) fn http_peer(peer: Peer, transport: Transport, server: u16, keys: &Keys) -> Result<Proxy> {
    let folder = tempfile::tempdir()?;
    let write = |name: &str, text: &str| -> Result<String> {
        let path = folder.path().join(name);
        std::fs::write(&path, text)?;
        Ok(path.to_string_lossy().into_owned())
    };
    let (certificate, key) = &keys.server;
    let both = write("both.pem", &format!("{certificate}{key}"))?;
    let files = Files {
        both,
        certificate: write("certificate.pem", certificate)?,
        key: write("key.pem", key)?,
        trusted: write("trusted.pem", &keys.trusted)?,
    };
    let port = free_port()?;
    let tls = transport.is_tls();
    let alpn = if transport == Transport::Http2 { "h2" } else { "http/1.1" };
    let mut command = on_processor_0();
    match peer {
        Peer::HaProxy => {
            let path = write("haproxy.cfg", &haproxy_http(port, server, tls.then_some((&files, alpn))))?;
            command.args(["haproxy", "-db", "-q", "-f", &path]);
        }
        Peer::Envoy => {
            let path =
                write("envoy.json", &envoy_http(port, server, tls.then_some((&files, alpn))).to_string())?;
            command.args([
                "envoy",
                "--concurrency",
                "1",
                "--disable-hot-restart",
                "--log-level",
                "off",
                "-c",
                &path,
            ]);
        }
        Peer::Nginx => {
            let text = nginx_http(folder.path(), port, server, tls.then_some(&files));
            let path = write("nginx.conf", &text)?;
            command.args(["nginx", "-e", "/dev/null", "-c", &path]);
        }
        Peer::Squid => {
            // It does not stay root.
            std::fs::set_permissions(folder.path(), Permissions::from_mode(0o777))?;
            let text = squid_http(folder.path(), port, server, tls.then_some(&files));
            let path = write("squid.conf", &text)?;
            // One process: it would be its child that serves.
            command.args(["squid", "-N", "-f", &path]);
        }
    }
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("starting a peer")?;
    wait_for(Proxy { child, port, _configuration: Some(Box::new(folder)) })
}

/// Where a peer finds what it needs for TLS.
struct Files {
    both: String,
    certificate: String,
    key: String,
    trusted: String,
}

fn haproxy_http(port: u16, server: u16, tls: Option<(&Files, &str)>) -> String {
    let bind = tls.map(|(it, alpn)| format!(" ssl crt {} alpn {alpn}", it.both)).unwrap_or_default();
    let verify = tls
        .map(|(it, alpn)| {
            format!(
                " ssl verify required ca-file {} sni str({NAME}) verifyhost {NAME} alpn {alpn}",
                it.trusted
            )
        })
        .unwrap_or_default();
    format!(
        "global
  nbthread 1
  maxconn 8000
defaults
  mode http
  timeout connect 5s
  timeout client 600s
  timeout server 600s
  http-reuse always
  option http-no-delay
frontend requests
  option forwardfor
  bind 127.0.0.1:{port} backlog 4096{bind}
  default_backend there
backend there
  server s 127.0.0.1:{server} pool-max-conn 2048{verify}
"
    )
}

fn nginx_http(folder: &Path, port: u16, server: u16, tls: Option<&Files>) -> String {
    let folder = folder.display();
    let listen = if tls.is_some() { " ssl" } else { "" };
    let scheme = if tls.is_some() { "https" } else { "http" };
    let both = tls.map(|it| {
        format!(
            "ssl_certificate {}; ssl_certificate_key {}; ssl_session_tickets off;
    proxy_ssl_server_name on; proxy_ssl_name {NAME}; proxy_ssl_verify on; proxy_ssl_trusted_certificate {};",
            it.certificate, it.key, it.trusted
        )
    });
    let paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let paths = paths.map(|it| format!("{it}_temp_path {folder}/{it};")).join(" ");
    format!(
        "daemon off; master_process off; worker_processes 1; pid {folder}/nginx.pid; error_log /dev/null crit;
events {{ worker_connections 16384; }}
http {{
  access_log off; keepalive_requests 100000000; keepalive_timeout 600; tcp_nodelay on; {paths}
  upstream up {{ server 127.0.0.1:{server}; keepalive 2048; keepalive_requests 100000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096{listen}; {}
    proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_set_header Host $host;
    proxy_set_header X-Forwarded-For $remote_addr; proxy_buffering off;
    location / {{ proxy_pass {scheme}://up; }}
  }}
}}
",
        both.unwrap_or_default()
    )
}

fn squid_http(folder: &Path, port: u16, server: u16, tls: Option<&Files>) -> String {
    let folder = folder.display();
    let (listen, upstream) = tls.map_or_else(
        || (format!("http_port 127.0.0.1:{port}"), String::new()),
        |it| {
            (
                format!("https_port 127.0.0.1:{port} tls-cert={} tls-key={}", it.certificate, it.key),
                format!("tls tls-cafile={} ssldomain={NAME}", it.trusted),
            )
        },
    );
    format!(
        "{listen} accel defaultsite={NAME}
cache_peer 127.0.0.1 parent {server} 0 no-query originserver {upstream}
http_access allow all
never_direct allow all
cache deny all
access_log none
cache_log /dev/null
cache_store_log none
pid_filename none
coredump_dir {folder}
netdb_filename none
pinger_enable off
shutdown_lifetime 1 seconds
max_filedescriptors 16384
client_lifetime 1 hour
cache_effective_user nobody
cache_effective_group nogroup
dns_nameservers 127.0.0.1
"
    )
}

/// Gives one end its TLS.
fn add(end: &mut serde_json::Value, socket: serde_json::Value) {
    if let Some(fields) = end.as_object_mut() {
        fields.insert("transport_socket".to_owned(), socket);
    }
}

fn envoy_http(port: u16, server: u16, tls: Option<(&Files, &str)>) -> serde_json::Value {
    let kind = |name: &str| format!("type.googleapis.com/envoy.extensions.{name}");
    let address = |port: u16| json!({ "socket_address": { "address": "127.0.0.1", "port_value": port } });
    let file = |path: &str| json!({ "filename": path });
    let mut chain = json!({ "filters": [{
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": {
            "@type": kind("filters.network.http_connection_manager.v3.HttpConnectionManager"),
            "stat_prefix": "requests",
            "route_config": { "virtual_hosts": [{
                "name": "all", "domains": ["*"],
                "routes": [{ "match": { "prefix": "/" }, "route": { "cluster": "there", "timeout": "0s" } }],
            }] },
            "http_filters": [{
                "name": "envoy.filters.http.router",
                "typed_config": { "@type": kind("filters.http.router.v3.Router") },
            }],
        },
    }] });
    let mut cluster = json!({
        "name": "there", "type": "STATIC", "connect_timeout": "5s",
        "load_assignment": { "cluster_name": "there", "endpoints": [{ "lb_endpoints": [
            { "endpoint": { "address": address(server) } },
        ] }] },
    });
    if let Some((files, alpn)) = tls {
        let certificates =
            json!([{ "certificate_chain": file(&files.certificate), "private_key": file(&files.key) }]);
        add(
            &mut chain,
            json!({ "name": "envoy.transport_sockets.tls", "typed_config": {
            "@type": kind("transport_sockets.tls.v3.DownstreamTlsContext"),
            "common_tls_context": { "tls_certificates": certificates, "alpn_protocols": [alpn] },
        } }),
        );
        let trusted = json!({
            "trusted_ca": file(&files.trusted),
            "match_typed_subject_alt_names": [{ "san_type": "DNS", "matcher": { "exact": NAME } }],
        });
        add(
            &mut cluster,
            json!({ "name": "envoy.transport_sockets.tls", "typed_config": {
            "@type": kind("transport_sockets.tls.v3.UpstreamTlsContext"),
            "sni": NAME, "common_tls_context": { "validation_context": trusted, "alpn_protocols": [alpn] },
        } }),
        );
        if alpn == "h2"
            && let Some(fields) = cluster.as_object_mut()
        {
            let options = json!({ "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": kind("upstreams.http.v3.HttpProtocolOptions"),
                "explicit_http_config": { "http2_protocol_options": {} },
            } });
            fields.insert("typed_extension_protocol_options".to_owned(), options);
        }
    }
    json!({ "static_resources": {
        "listeners": [{ "name": "requests", "address": address(port), "filter_chains": [chain] }],
        "clusters": [cluster],
    } })
}

/// The gateway, which opens connections and judges their requests.
pub(crate) fn judging(judged: Judged, server: u16, keys: &Keys) -> Result<Proxy> {
    let to = SocketAddr::from((Ipv4Addr::LOCALHOST, server));
    let leaks = match judged {
        Judged::Operations => Leaks::default(),
        Judged::OperationsAndLeaks => {
            Leaks { secrets: Some(LeakAction::Block), personal: Some(LeakAction::Block), ..Leaks::default() }
        }
    };
    let requests = Requests { models: vec![Glob::new("gpt-4o*")], leaks, ..Requests::default() };
    let ports = vec![(0, u16::MAX)];
    let names = vec![policy::DomainPattern::parse(NAME)?];
    let rule = RequestRule { requests, names, ports, shared: true };
    let inspection = Inspection { authority: keys.authority.clone(), roots: keys.roots()? };
    let asked = serde_json::to_string(&json!({ "to": to, "rule": rule, "inspection": inspection }))?;
    let mut file = tempfile::NamedTempFile::new()?;
    file.write_all(asked.as_bytes())?;
    let mut child = on_processor_0()
        .arg(std::env::current_exe()?)
        .args(["proxy", "--requests"])
        .arg(file.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("starting the gateway")?;
    let mut line = String::new();
    BufReader::new(child.stdout.take().context("its output")?).read_line(&mut line)?;
    Ok(Proxy { port: line.trim().parse()?, child, _configuration: Some(Box::new(file)) })
}

/// The process of the gateway's rows that judge requests.
fn serve_requests(path: &str) -> Result<()> {
    #[derive(serde::Deserialize)]
    struct Asked {
        to: SocketAddr,
        rule: RequestRule,
        inspection: Inspection,
    }
    let Asked { to, rule, inspection } = serde_json::from_str(&std::fs::read_to_string(path)?)?;
    let facts = RuleFacts { text: "a rule".into(), requests: Some(Arc::new(rule)), ..RuleFacts::default() };
    let mut state = state(to, NAME, facts)?;
    state.inspection = Some(Arc::new(inspection));
    serve_state(to, state, Limits { max_per_pod: 8000, ..Limits::default() })
}

/// Takes records as a process would that writes them elsewhere.
struct Nowhere;

impl Sink for Nowhere {
    fn take(&self, record: Record) -> bool {
        std::hint::black_box(record);
        true
    }
}

/// The process of the gateway's rows: 1,000 pods with 100 addresses each, of which one is used.
pub(crate) fn serve(arguments: &[String]) -> Result<()> {
    let [server, splice_after] = arguments else { bail!("proxy SERVER_PORT SPLICE_AFTER") };
    if server == "--requests" {
        return serve_requests(splice_after);
    }
    let to = SocketAddr::from((Ipv4Addr::LOCALHOST, server.parse()?));
    let facts = RuleFacts { text: "a rule".into(), ..RuleFacts::default() };
    let limits = Limits { splice_after: splice_after.parse()?, ..Limits::default() };
    serve_state(to, state(to, load::NAME, facts)?, limits)
}

fn serve_state(to: SocketAddr, state: State, limits: Limits) -> Result<()> {
    let table = Arc::new(Table::new());
    table.try_replace(state)?;
    let (_phase, told) = tokio::sync::watch::channel(Phase::default());
    let gateway = Gateway::new(table, Arc::new(Nowhere), Arc::new(Counters::new()), limits, told);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    writeln!(std::io::stdout(), "{}", listener.local_addr()?.port())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(Arc::new(gateway.standing_for(to)).serve(vec![listener]))?;
    Ok(())
}

fn state(to: SocketAddr, name: &str, facts: RuleFacts) -> Result<State> {
    let row = |verdict, rule| {
        let otherwise = Ruling { verdict, rule: RuleId(rule) };
        Arc::new(table::Row { otherwise, cells: Vec::new() })
    };
    let named = Named { row: row(Verdict::Allow, 17), is_live: true };
    let names = [(DnsName::parse(name)?, named)].into();
    let bound = Bound { names, unnamed: row(Verdict::Deny, 16), adds: false };
    let rules: HashMap<_, _> = [(RuleId(17), Arc::new(facts))].into();
    let mut state = State { rules: Rules { tls_ports: [].into(), ..Rules::default() }, ..State::default() };
    for pod in 0..1000_u32 {
        let addresses = (0..100_u32).map(|n| (Ipv4Addr::from(0xc633_6400 + n).into(), bound.clone()));
        let mut bound_there: HashMap<_, _> = addresses.collect();
        bound_there.insert(to.ip(), bound.clone());
        let address = if pod == 0 { Ipv4Addr::LOCALHOST } else { Ipv4Addr::from(0x0a00_0000 + pod) };
        state.pods.insert(
            address.into(),
            PodState { rules: rules.clone(), bound: bound_there, ..PodState::default() },
        );
    }
    Ok(state)
}
