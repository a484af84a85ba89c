//! Requests inside TLS with a real API server: the authority, what pods trust, and real connections that are opened with it.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in a test a panic is the failure report"
)]

use crate::dns_wire;
use crate::whole::{NODES, OUTSIDE, World, eventually};
use controller::inspection::Root;
use data_encoding::BASE64;
use feed::enrol::{Signer, intermediate};
use gateway::Authority;
use lab::Place;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde_json::{Value, json};
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio_rustls::rustls;

const NAME: &str = "hub.example.com";

fn policy() -> String {
    format!(
        "
apiVersion: cofferdam.dev/v1alpha1
kind: EgressPolicy
metadata: {{name: web, namespace: shop}}
spec:
  subject: {{podSelector: {{matchLabels: {{app: web}}}}}}
  egress:
    - action: Allow
      to: [{{domains: [{NAME}]}}]
      ports: [{{port: 443}}]
      operations: [{{verbs: [download]}}]
    - action: Allow
      to: [{{networks: [{}/32]}}]
      ports: [{{protocol: UDP, port: 53}}]
",
        OUTSIDE[0]
    )
}

fn outside(number: usize) -> Ipv4Addr {
    OUTSIDE[number].parse().unwrap()
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// A resolver at the one address outside, which leads every name to a web server at the other. Returns by whom the server is
/// vouched for.
fn serve(world: &World) -> String {
    let resolver = world.lab.run(&Place::Outside, || UdpSocket::bind((outside(0), 53)).unwrap()).unwrap();
    std::thread::spawn(move || {
        let mut query = [0; 1500];
        while let Ok((length, from)) = resolver.recv_from(&mut query) {
            let _ = resolver.send_to(&dns_wire::answer_with(&query[..length], &[outside(1)]), from);
        }
    });
    let made = Authority::generate(SystemTime::now()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Authority::of(&made).unwrap()));
    let config = Arc::new(config);
    let listener = world.lab.run(&Place::Outside, || TcpListener::bind((outside(1), 443)).unwrap()).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let tls = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            std::thread::spawn(move || {
                let mut stream = rustls::StreamOwned::new(tls, stream);
                let mut request = [0; 512];
                while stream.read(&mut request).is_ok_and(|length| length > 0) {
                    if stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").is_err() {
                        return;
                    }
                }
            });
        }
    });
    made.certificate
}

/// Status of a request of `web` inside TLS, and how many certificates it was shown; or why there is none. It trusts this (PEM)
/// and nothing else.
fn ask(world: &World, trust: &str, request: &'static str) -> Result<(String, usize), String> {
    let mut roots = rustls::RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(trust.as_bytes()) {
        roots.add(root.unwrap()).unwrap();
    }
    let config = rustls::ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let fetch = move || -> std::io::Result<(String, usize)> {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.set_read_timeout(Some(Duration::from_secs(3)))?;
        let _resolved = dns_wire::query(&socket, outside(0), NAME);
        let to = SocketAddr::from((outside(1), 443));
        let stream = TcpStream::connect_timeout(&to, Duration::from_secs(3))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        let tls = rustls::ClientConnection::new(Arc::new(config), NAME.try_into().unwrap());
        let mut stream = rustls::StreamOwned::new(tls.unwrap(), stream);
        stream.write_all(request.as_bytes())?;
        let mut status = [0; 12];
        stream.read_exact(&mut status)?;
        let shown = stream.conn.peer_certificates().map_or(0, <[_]>::len);
        Ok((String::from_utf8_lossy(&status).into_owned(), shown))
    };
    let web = Place::Pod("shop".to_owned(), "web".to_owned());
    world.lab.run(&web, fetch).unwrap().map_err(|error| error.to_string())
}

/// As a registry of images is asked.
const GET: &str = "GET /v2/acme/app/manifests/v1 HTTP/1.1\r\nHost: hub.example.com\r\n\r\n";
const PUT: &str =
    "PUT /v2/acme/app/manifests/v1 HTTP/1.1\r\nHost: hub.example.com\r\nContent-Length: 2\r\n\r\n{}";

/// What a ConfigMap or Secret holds under a key, if it is there.
fn text(world: &World, list: &str, name: &str, key: &str) -> Option<String> {
    let found =
        world.get(list)["items"].as_array()?.iter().find(|it| it["metadata"]["name"] == name)?.clone();
    found["data"][key].as_str().map(str::to_owned)
}

fn trusted(world: &World, namespace: &str) -> Option<String> {
    text(world, &format!("configmaps -n {namespace}"), "cofferdam-trust", "ca.pem")
}

fn write(world: &World, data: &Value) {
    write_in(world, "cofferdam-system", data);
}

fn write_in(world: &World, namespace: &str, data: &Value) {
    // Not as `stringData`: of that, what is left out later stays.
    let bytes = |text: &Value| BASE64.encode(text.as_str().unwrap().as_bytes());
    let data: serde_json::Map<_, _> =
        data.as_object().unwrap().iter().map(|(key, text)| (key.clone(), bytes(text).into())).collect();
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "data": data,
        "metadata": { "name": "cofferdam-inspection", "namespace": namespace },
    });
    world.kubectl("apply --server-side --force-conflicts -f -", &secret.to_string());
}

#[test]
fn cluster_requests_inside_tls_are_judged_and_pods_trust_who_reads_them() {
    let Some(world) = World::start() else { return };
    world.kubectl("create serviceaccount cofferdam-agent -n cofferdam-system", "");
    let controller = world.controller_with_authority("first");
    let ca = eventually("what pods must trust", || trusted(&world, "shop"));
    eventually("the authority", || {
        world.kubectl("get configmaps -n cofferdam-system", "").contains("cofferdam-authority").then_some(())
    });

    let outside = serve(&world);
    let root = world.folder.path().join("outside.pem");
    fs::write(&root, &outside).unwrap();
    let more = ["--dns-resolver", OUTSIDE[0], "--dns-private-zone", "example.com", "--dns-hold", "600"];
    let more = [&more[..], &["--inspection-root", root.to_str().unwrap()]].concat();
    let token = world.token(NODES[0], "cofferdam-agent");
    let agent = world.agent_with_token_and(NODES[0], &token, &more);
    world.kubectl("apply -f -", &policy());
    let got = eventually("a request that is allowed", || {
        ask(&world, &ca, GET).ok().filter(|it| it.0 == "HTTP/1.1 200")
    });
    assert_eq!(got.1, 3, "the name's, the node's and the cluster's");
    assert_eq!(ask(&world, &ca, PUT).unwrap().0, "HTTP/1.1 403");
    let distrust = ask(&world, &outside, GET).unwrap_err();
    assert!(distrust.contains("invalid peer certificate"), "it was not opened: {distrust}");
    let status = world.status(NODES[0]);
    assert_eq!(status["nodes"][0]["gateway"]["opens_tls"], true, "{status:#}");
    assert_eq!(status["degraded"], json!([]), "{status:#}");

    // Another authority, made beforehand and believed beside the old one. Pods that know both can be asked by nodes of either.
    let (next, key) = Root::make(SystemTime::now()).unwrap();
    write(&world, &json!({ "tls.crt": next, "tls.key": key, "ca.crt": ca }));
    let both = eventually("both", || trusted(&world, "shop").filter(|it| it.matches("BEGIN").count() == 2));
    assert_eq!(ask(&world, &both, GET).unwrap().0, "HTTP/1.1 200");
    agent.kill();
    world.uninstall(NODES[0]);
    let agent = world.agent_with_token_and(NODES[0], &world.token(NODES[0], "cofferdam-agent"), &more);
    eventually("an agent with the new one", || {
        ask(&world, &next, GET).ok().filter(|it| it.0 == "HTTP/1.1 200")
    });

    // One that cannot vouch for nodes is no reason to take from pods what they trust; agents hear why.
    write(&world, &json!({ "tls.crt": next, "tls.key": Root::make(SystemTime::now()).unwrap().1 }));
    eventually("it is told", || controller.said().contains("the key is another one's").then_some(()));
    assert_eq!(trusted(&world, "shop").unwrap(), both);
    agent.kill();
    world.uninstall(NODES[0]);
    let agent = world.agent_with_token_and(NODES[0], &world.token(NODES[0], "cofferdam-agent"), &more);
    eventually("it is refused, and the status says why", || {
        let degraded = world.status(NODES[0])["degraded"].to_string();
        let is_told =
            degraded.contains("requests inside TLS are refused") && degraded.contains("another one's");
        is_told.then_some(())
    });
    assert!(ask(&world, &both, GET).is_err(), "nobody opens it");
    agent.kill();
    world.uninstall(NODES[0]);
}

/// Why the node's token gets it no authority signed by that of `shop`; `None`: it got one.
fn refused(world: &World, token: &str) -> Option<String> {
    let maps = "configmaps -n cofferdam-system";
    let authority = eventually("the authority", || text(world, maps, "cofferdam-authority", "ca.crt"));
    let (token, address) = (token.to_owned(), format!("{}:9443", OUTSIDE[0]));
    let ask = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let of = Signer::Namespace("shop".into());
        let asked = intermediate(&address, authority.as_bytes(), &token, NODES[1], &of);
        runtime.block_on(asked).err().map(|error| error.to_string())
    };
    world.lab.run(&Place::Node(NODES[1].to_owned()), ask).unwrap()
}

#[test]
fn cluster_pods_of_a_namespace_with_its_own_authority_trust_and_are_read_by_no_other() {
    let Some(world) = World::start() else { return };
    world.kubectl("create serviceaccount cofferdam-agent -n cofferdam-system", "");
    let controller = world.controller_with_authority("first");
    let of_all = eventually("what pods must trust", || trusted(&world, "shop"));
    let outside = serve(&world);
    let root = world.folder.path().join("outside.pem");
    fs::write(&root, &outside).unwrap();
    let more = ["--dns-resolver", OUTSIDE[0], "--dns-private-zone", "example.com", "--dns-hold", "600"];
    let more = [&more[..], &["--inspection-root", root.to_str().unwrap()]].concat();
    let start = || world.agent_with_token_and(NODES[0], &world.token(NODES[0], "cofferdam-agent"), &more);
    let agent = start();
    world.kubectl("apply -f -", &policy());
    eventually("a request read by the cluster's", || ask(&world, &of_all, GET).ok());

    // It wants its own, and has none: closed, and never read by the cluster's.
    world.kubectl("label namespace shop cofferdam.dev/inspection-authority=own", "");
    let degraded = || world.status(NODES[0])["degraded"].to_string();
    eventually("the status says so", || {
        let said = degraded();
        let is_told = said.contains("namespace shop: requests of its pods inside TLS are refused")
            && said.contains("Secret shop/cofferdam-inspection: there is none");
        is_told.then_some(())
    });
    assert!(ask(&world, &of_all, GET).is_err());
    assert!(controller.said().contains("Secret shop/cofferdam-inspection: there is none"));
    assert_eq!(
        trusted(&world, "shop").unwrap(),
        of_all,
        "what pods trust stays until there is something else"
    );

    // Its own; pods are told of another beside it where the Secret says so.
    let (certificate, key) = Root::make(SystemTime::now()).unwrap();
    write_in(&world, "shop", &json!({ "tls.crt": certificate, "tls.key": key, "ca.crt": of_all }));
    let both = eventually("both", || trusted(&world, "shop").filter(|it| it.matches("BEGIN").count() == 2));
    assert!(both.starts_with(&certificate));
    // One that was refused often asks seldom; one that starts asks at once.
    agent.kill();
    world.uninstall(NODES[0]);
    let agent = start();
    let got = eventually("a request read by its own", || ask(&world, &certificate, GET).ok());
    assert_eq!((got.0.as_str(), got.1), ("HTTP/1.1 200", 3), "the name's, the node's and the namespace's");
    let distrust = ask(&world, &of_all, GET).unwrap_err();
    assert!(distrust.contains("invalid peer certificate"), "{distrust}");
    assert!(!degraded().contains("namespace shop"), "{}", degraded());
    write_in(&world, "shop", &json!({ "tls.crt": certificate, "tls.key": key }));
    eventually("its own alone", || trusted(&world, "shop").filter(|it| *it == certificate));
    assert_eq!(trusted(&world, "cofferdam-system").unwrap(), of_all, "others have the cluster's");

    // A node gets one for namespaces of pods that the cluster placed there, and not for what it says itself.
    let token = world.token(NODES[1], "cofferdam-agent");
    assert_eq!(refused(&world, &token), None, "db is there");
    world.kubectl("delete pod db -n shop --grace-period=0 --force", "");
    let why = refused(&world, &token).unwrap();
    assert!(why.contains("namespace shop has no pod on node-b"), "{why}");
    let mirror = "{apiVersion: v1, kind: Pod, metadata: {name: m, namespace: shop, annotations: \
                  {kubernetes.io/config.mirror: x}}, spec: {nodeName: node-b, containers: [{name: c, image: i}]}}";
    world.kubectl("apply -f -", mirror);
    assert!(refused(&world, &token).is_some());

    // A broken one closes the namespace for nodes that ask anew, and takes from pods nothing that they trust.
    write_in(
        &world,
        "shop",
        &json!({ "tls.crt": certificate, "tls.key": Root::make(SystemTime::now()).unwrap().1 }),
    );
    eventually("it is told", || {
        let said = controller.said();
        said.contains("Secret shop/cofferdam-inspection: the certificate cannot vouch for nodes")
            .then_some(())
    });
    agent.kill();
    world.uninstall(NODES[0]);
    let agent = start();
    eventually("the status says why", || degraded().contains("another one's").then_some(()));
    assert!(ask(&world, &certificate, GET).is_err() && ask(&world, &of_all, GET).is_err());
    assert_eq!(trusted(&world, "shop").unwrap(), certificate);

    // Without the label it is the cluster's again.
    world.kubectl("label namespace shop cofferdam.dev/inspection-authority-", "");
    eventually("the cluster's", || trusted(&world, "shop").filter(|it| *it == of_all));
    eventually("a request read by the cluster's again", || ask(&world, &of_all, GET).ok());
    agent.kill();
    world.uninstall(NODES[0]);
}

#[test]
fn cluster_pods_are_given_what_they_must_trust_by_a_controller_with_its_own_rights() {
    let Some(world) = World::start() else { return };
    let output = Command::new(env!("CARGO_BIN_EXE_cofferdam"))
        .args(["install", "manifests", "--image", "registry.example/cofferdam:1"])
        .output()
        .unwrap();
    world.kubectl("apply --server-side --force-conflicts -f -", &String::from_utf8(output.stdout).unwrap());
    let config = world.kubeconfig_of_pod("cofferdam-controller");
    let deployed = [
        ("--json", &*format!("--kubeconfig={config}")),
        ("--listen=0.0.0.0", &*format!("--listen={}", OUTSIDE[0])),
    ];
    let controller =
        world.as_deployed(&Place::Outside, "deployment cofferdam-controller", "first", &deployed);
    let ca = eventually("what pods must trust", || trusted(&world, "shop"));
    let bundle = || text(&world, "configmaps -n shop", "cofferdam-trust", "bundle.pem");
    assert!(bundle().unwrap().starts_with(&ca));
    let secret = || world.get("secret cofferdam-inspection -n cofferdam-system")["data"].clone();
    let made = secret();
    assert!(made["tls.key"].is_string());

    // Somebody removes it, somebody puts another authority there, and a namespace comes.
    world.kubectl("delete configmap cofferdam-trust -n shop", "");
    eventually("it comes back", || trusted(&world, "shop").filter(|it| *it == ca));
    world.kubectl(
        "patch configmap cofferdam-trust -n shop --type=merge -p {\"data\":{\"ca.pem\":\"evil\"}}",
        "",
    );
    eventually("it is put right", || trusted(&world, "shop").filter(|it| *it == ca));
    world.kubectl("create namespace zoo", "");
    eventually("in a namespace that came later", || trusted(&world, "zoo").filter(|it| *it == ca));
    assert_eq!(trusted(&world, "kube-system"), None);

    // No proxy carries a Service's traffic here, so the webhook is asked where it is.
    let hook = || world.get("mutatingwebhookconfiguration cofferdam")["webhooks"][0].clone();
    eventually("the webhook's authority", || hook()["clientConfig"]["caBundle"].as_str().map(str::len));
    let url = "[{\"op\":\"remove\",\"path\":\"/webhooks/0/clientConfig/service\"},\
                {\"op\":\"add\",\"path\":\"/webhooks/0/clientConfig/url\",\"value\":\"https://localhost:9444/inject\"}]";
    world.kubectl(
        &format!("patch mutatingwebhookconfiguration cofferdam --type=json -p {}", url.replace(' ', "")),
        "",
    );
    world.kubectl("label namespace zoo cofferdam.dev/inject-trust=enabled", "");
    let pod = |name: &str, annotations: &str| {
        let object = format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, namespace: zoo, annotations: {{{annotations}}}}}, \
             spec: {{containers: [{{name: c, image: i, env: [{{name: PIP_CERT, value: /own}}]}}]}}}}"
        );
        world.kubectl("apply --validate=strict -f -", &object);
        let made = world.get(&format!("pod {name} -n zoo"))["spec"].clone();
        world.kubectl(&format!("delete pod {name} -n zoo --grace-period=0 --force"), "");
        made
    };
    let told =
        eventually("the webhook is asked", || Some(pod("a", "")).filter(|it| it["volumes"].is_array()));
    assert_eq!(told["volumes"][0]["configMap"]["name"], "cofferdam-trust");
    let container = &told["containers"][0];
    assert_eq!(container["volumeMounts"][0]["mountPath"], "/etc/cofferdam-trust");
    let variable = |name: &str| {
        let all = container["env"].as_array().unwrap();
        all.iter().find(|it| it["name"] == name).unwrap()["value"].as_str().unwrap().to_owned()
    };
    assert_eq!(variable("SSL_CERT_FILE"), "/etc/cofferdam-trust/bundle.pem");
    assert_eq!(variable("NODE_EXTRA_CA_CERTS"), "/etc/cofferdam-trust/ca.pem");
    assert_eq!(variable("PIP_CERT"), "/own");
    let left = pod("b", "cofferdam.dev/inject-trust: 'false'");
    assert!(left["volumes"].is_null() && left["containers"][0]["volumeMounts"].is_null(), "{left:#}");

    // The next controller has the same authority, and leaves what is right as it is.
    let version = || world.get("configmap cofferdam-trust -n shop")["metadata"]["resourceVersion"].clone();
    let before = version();
    assert!(!controller.said().contains("forbidden"), "{}", controller.said());
    controller.kill();
    let _controller =
        world.as_deployed(&Place::Outside, "deployment cofferdam-controller", "second", &deployed);
    world.kubectl("delete configmap cofferdam-trust -n zoo", "");
    eventually("the next one leads", || trusted(&world, "zoo").filter(|it| *it == ca));
    assert_eq!((version(), secret()), (before, made));
}
