//! A name that leads to ever other addresses, many clients, and agent and proxies that are killed at random: nobody who
//! may connect fails, and nobody who may not gets through. And very many names.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests; a panic is the failure report"
)]

mod dns_wire;
mod machine;

use machine::resolver::{RESOLVER, Resolver, ask};
use machine::{Machine, Up};
use nix::sys::signal::{Signal, kill};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const POLICY: &str = "\
apiVersion: cofferdam.dev/v1alpha1
kind: EgressPolicy
metadata: { name: web, namespace: prod }
spec:
  subject: { podSelector: { matchLabels: { app: web } } }
  egress:
    - action: Allow
      to: [{ domains: [hub.example.com, '*.many.example.com'] }]
      ports: [{ protocol: TCP, port: 80 }]
    - action: Allow
      to: [{ networks: [10.9.2.2/32] }]
      ports: [{ protocol: UDP, port: 53 }]
";

const CLIENTS: usize = 200;
/// Addresses of the name; those of the other name are as many behind them.
const ADDRESSES: u32 = 500;
const FIRST: u32 = u32::from_be_bytes([151, 101, 0, 0]);
/// Of each answer.
const AT_ONCE: u32 = 8;
const LASTS: Duration = Duration::from_secs(20);
/// Seconds that it lasts instead, the second half of them without deaths, when what processes hold must stay level.
const SOAK: &str = "COFFERDAM_SOAK_SECONDS";
/// Processes that are looked at.
const ROLES: [&str; 3] = ["dns-proxy", "gateway-proxy", "\0up\0"];

/// A number that is another one each time.
fn random(state: &mut u64) -> u32 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    u32::try_from(*state >> 33).unwrap()
}

/// Eight addresses in a row from a random one on, with a TTL of a second.
fn rotating(query: &[u8], state: &mut u64) -> Vec<u8> {
    let is_allowed = query.windows(4).any(|part| part == b"\x03hub");
    let base = FIRST + if is_allowed { 0 } else { ADDRESSES };
    let first = random(state) % ADDRESSES;
    let addresses = (0..AT_ONCE).map(|more| Ipv4Addr::from(base + (first + more) % ADDRESSES));
    machine::resolver::answer_with(query, &addresses.collect::<Vec<_>>())
}

/// Answers every request, and counts connections that came to addresses of the other name.
fn serve(machine: &Machine, strangers: &Arc<AtomicU64>) {
    machine.must("b", "ip route add local 151.101.0.0/18 dev lo");
    machine.must("n", "ip route add 151.101.0.0/18 via 10.9.2.2");
    let listener = machine.at("b", || TcpListener::bind("0.0.0.0:80").unwrap());
    let strangers = Arc::clone(strangers);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let strangers = Arc::clone(&strangers);
            std::thread::spawn(move || answer(stream, &strangers));
        }
    });
}

fn answer(mut stream: TcpStream, strangers: &AtomicU64) {
    let Ok(to) = stream.local_addr() else { return };
    if let IpAddr::V4(to) = to.ip()
        && u32::from(to) >= FIRST + ADDRESSES
    {
        strangers.fetch_add(1, Ordering::Relaxed);
    }
    let mut request = [0; 256];
    while stream.read(&mut request).is_ok_and(|length| length > 0) {
        if stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").is_err() {
            return;
        }
    }
}

/// What one client did: requests that were answered, and what went wrong.
#[derive(Default)]
struct Did {
    answered: u64,
    failed: Vec<String>,
    denied: u64,
    through: Vec<String>,
}

/// As a resolver library does: asks again when there is no answer, or the server could not answer.
fn resolve(name: &str) -> Option<Vec<Ipv4Addr>> {
    let deadline = Instant::now() + Duration::from_secs(10);
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    while Instant::now() < deadline {
        match machine::resolver::query(&socket, RESOLVER, name) {
            Some((0, addresses)) if !addresses.is_empty() => return Some(addresses),
            Some((5, _)) => return None,
            _ => std::thread::sleep(Duration::from_millis(100)),
        }
    }
    None
}

/// A request to any of the addresses, as clients do: the next when one does not answer.
fn request(addresses: &[Ipv4Addr], host: &str) -> Result<(), String> {
    let mut last = String::new();
    for address in addresses.iter().take(3) {
        let fetched = || -> std::io::Result<[u8; 12]> {
            let to = SocketAddr::from((*address, 80));
            let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(5))?;
            stream.set_read_timeout(Some(Duration::from_secs(5)))?;
            stream.write_all(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes())?;
            let mut status = [0; 12];
            stream.read_exact(&mut status)?;
            Ok(status)
        };
        match fetched() {
            Ok(status) if &status == b"HTTP/1.1 200" => return Ok(()),
            Ok(status) => last = format!("{address}: {}", String::from_utf8_lossy(&status)),
            Err(error) => last = format!("{address}: {error}"),
        }
    }
    Err(last)
}

fn client(number: usize, end: Instant) -> Did {
    let mut did = Did::default();
    let mut state = 77 + number as u64;
    while Instant::now() < end {
        if random(&mut state).is_multiple_of(8) {
            // Whoever may ask for the other name still may not connect, by whatever name it says.
            let strange = resolve("evil.example.com").unwrap_or_default();
            let strange = strange.get(..1).unwrap_or_default();
            match request(strange, "hub.example.com") {
                Ok(()) => did.through.push(format!("{strange:?}")),
                Err(_) => did.denied += 1,
            }
        } else {
            match resolve("hub.example.com") {
                None => {
                    let left = end.saturating_duration_since(Instant::now());
                    did.failed.push(format!("no answer of DNS for ten seconds, {left:?} before the end"));
                }
                Some(addresses) => match request(&addresses, "hub.example.com") {
                    Ok(()) => did.answered += 1,
                    Err(why) => did.failed.push(why),
                },
            }
        }
        std::thread::sleep(Duration::from_millis(u64::from(random(&mut state) % 400)));
    }
    did
}

/// Memory in KiB and open files of a process.
fn held(pid: nix::unistd::Pid) -> Option<[u64; 2]> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let memory = memory.trim().strip_suffix(" kB")?.parse().ok()?;
    Some([memory, std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count() as u64])
}

/// What each role holds, the most over some seconds.
fn most_held(machine: &Machine, lasts: Duration) -> [[u64; 2]; 3] {
    let end = Instant::now() + lasts;
    let mut most = [[0; 2]; 3];
    while Instant::now() < end {
        for (most, role) in most.iter_mut().zip(ROLES) {
            for held in machine.running(role).into_iter().filter_map(held) {
                *most = [most[0].max(held[0]), most[1].max(held[1])];
            }
        }
        std::thread::sleep(Duration::from_millis(500));
    }
    most
}

/// Nobody holds more at the end of a long time than at its beginning, but for what an allocator keeps.
fn assert_level(machine: &Machine, until: Instant) -> String {
    let lasts = until.saturating_duration_since(Instant::now());
    let first = most_held(machine, lasts / 4);
    std::thread::sleep(lasts / 4);
    let last = most_held(machine, lasts / 4);
    let told = format!("memory in KiB and open files, at most: {ROLES:?} {first:?}, later {last:?}");
    for (role, (first, last)) in ROLES.into_iter().zip(first.into_iter().zip(last)) {
        assert!(first[0] > 0, "{role} was not found");
        assert!(last[0] <= first[0] + first[0] / 5 + 4096, "memory of {role}: {first:?}, later {last:?}");
        assert!(last[1] <= first[1] + first[1] / 5 + 64, "open files of {role}: {first:?}, later {last:?}");
    }
    told
}

#[test]
fn netns_a_rotating_name_under_deaths_fails_nobody_and_lets_no_stranger_through() {
    let machine = Machine::new("c");
    machine.write("policy.yaml", POLICY);
    let mut seed = 1;
    let _resolver = Resolver::start_with(&machine, move |query| rotating(query, &mut seed));
    let strangers = Arc::new(AtomicU64::new(0));
    serve(&machine, &strangers);
    // Few, so that what is kept of them is soon all that is ever kept.
    let options = ["--dns-resolver", "10.9.2.2", "--records", "2000"];
    let mut up = Some(Up::start_with(&machine, &options));
    assert_eq!(ask(&machine, "hub.example.com"), Some(0));
    let soak = std::env::var(SOAK).ok().map(|seconds| Duration::from_secs(seconds.parse().unwrap()));
    let end = Instant::now() + soak.unwrap_or(LASTS);
    let deaths_end = end - soak.unwrap_or_default() / 2;
    let clients: Vec<_> =
        (0..CLIENTS).map(|number| machine.spawn_at("a", move || client(number, end))).collect();
    let mut state = 5;
    let mut deaths = [0; 3];
    while Instant::now() + Duration::from_secs(3) < deaths_end {
        std::thread::sleep(Duration::from_millis(500 + u64::from(random(&mut state) % 1000)));
        let victim = random(&mut state) % 3;
        match victim {
            0 => {
                up.take().unwrap().kill();
                up = Some(Up::start_with(&machine, &options));
            }
            1 => machine.running("dns-proxy").iter().for_each(|pid| kill(*pid, Signal::SIGKILL).unwrap()),
            _ => machine.running("gateway-proxy").iter().for_each(|pid| kill(*pid, Signal::SIGKILL).unwrap()),
        }
        deaths[victim as usize] += 1;
    }
    if soak.is_some() {
        println!("{}", assert_level(&machine, end));
    }
    let did: Vec<Did> = clients.into_iter().map(|client| client.join().unwrap()).collect();
    let sum = |count: fn(&Did) -> u64| did.iter().map(count).sum::<u64>();
    let failed: Vec<_> = did.iter().flat_map(|did| &did.failed).collect();
    let through: Vec<_> = did.iter().flat_map(|did| &did.through).collect();
    let told = format!(
        "{} answered, {} failed, {} denied; killed: agent {}, DNS proxy {}, gateway {}",
        sum(|did| did.answered),
        failed.len(),
        sum(|did| did.denied),
        deaths[0],
        deaths[1],
        deaths[2]
    );
    let up = up.unwrap();
    let status = up.status();
    println!("{told}; DNS {}, gateway {}", status["nodes"][0]["dns"], status["nodes"][0]["gateway"]);
    assert!(through.is_empty() && strangers.load(Ordering::Relaxed) == 0, "{told}: {through:?}");
    assert!(failed.is_empty(), "{told}: {:?}", failed.iter().take(10).collect::<Vec<_>>());
    assert!(sum(|did| did.answered) > 1000 && sum(|did| did.denied) > 10, "{told}");
    assert_eq!(status["resolver"]["verdict_disagreements"], 0, "{status:#}");
}

#[test]
fn netns_a_proxy_that_dies_again_and_again_answers_within_the_patience_of_clients() {
    let machine = Machine::new("k");
    machine.write("policy.yaml", POLICY);
    let mut seed = 1;
    let _resolver = Resolver::start_with(&machine, move |query| rotating(query, &mut seed));
    let _up = Up::start_with(&machine, &["--dns-resolver", "10.9.2.2"]);
    for deaths in 0..12 {
        let found = machine.at("a", || resolve("hub.example.com"));
        assert!(found.is_some(), "after {deaths} deaths");
        machine.running("dns-proxy").iter().for_each(|pid| kill(*pid, Signal::SIGKILL).unwrap());
    }
}

const MANY: u32 = 10_000;
/// In an answer of DNS over UDP.
const FIT: u32 = 25;

/// A name of its own has an address of its own; the others share a thousand, some at a time.
fn many(query: &[u8], turn: &mut u32) -> Vec<u8> {
    let label = query.get(13..13 + usize::from(query[12])).unwrap();
    let number =
        std::str::from_utf8(label).ok().and_then(|label| label.strip_prefix('n')?.parse::<u32>().ok());
    let addresses: Vec<Ipv4Addr> = match number {
        Some(number) => vec![Ipv4Addr::from(FIRST + number)],
        None => {
            *turn += FIT;
            (0..FIT).map(|more| Ipv4Addr::from(FIRST + MANY + (*turn + more) % 1000)).collect()
        }
    };
    machine::resolver::answer_with(query, &addresses)
}

#[test]
fn netns_ten_thousand_names_and_a_thousand_addresses_of_one_are_open_at_once() {
    let machine = Machine::new("m");
    machine.write("policy.yaml", POLICY);
    let mut turn = 0;
    let _resolver = Resolver::start_with(&machine, move |query| many(query, &mut turn));
    let strangers = Arc::new(AtomicU64::new(0));
    serve(&machine, &strangers);
    let up = Up::start_with(&machine, &["--dns-resolver", "10.9.2.2", "--dns-hold", "600"]);
    let asking = machine.spawn_at("a", || {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let ask = |name: &str| {
            // A pod that asks faster than it may is refused for a while.
            let end = Instant::now() + Duration::from_secs(30);
            loop {
                match machine::resolver::query(&socket, RESOLVER, name) {
                    Some((0, addresses)) if !addresses.is_empty() => return,
                    other => assert!(Instant::now() < end, "{name}: {other:?}"),
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        };
        (0..MANY).for_each(|number| ask(&format!("n{number}.many.example.com")));
        // The answer is kept for a second; each name has the next part of the addresses.
        (0..1000_u32.div_ceil(FIT)).for_each(|part| ask(&format!("part{part}.many.example.com")));
    });
    asking.join().unwrap();
    let status = up.status();
    let dns = &status["nodes"][0]["dns"];
    println!("{dns}, {}", status["nodes"][0]["gateway"]);
    assert_eq!(dns["opened"], u64::from(MANY) + 1000, "{status:#}");
    assert_eq!(status["degraded"], serde_json::json!([]));
    for number in [0, 1, MANY / 2, MANY - 1, MANY + FIT, MANY + 999] {
        let name = if number < MANY {
            format!("n{number}.many.example.com")
        } else {
            "part0.many.example.com".to_owned()
        };
        let to = Ipv4Addr::from(FIRST + number);
        let fetched = machine.at("a", move || request(&[to], &name));
        // Of the last addresses each has the name with which it was given.
        assert_eq!(fetched.is_ok(), number <= MANY + FIT, "{number}: {fetched:?}");
    }
    // All that at once, to a kernel and a gateway that begin anew.
    up.kill();
    let up = Up::start_with(&machine, &["--dns-resolver", "10.9.2.2", "--dns-hold", "600"]);
    assert_eq!(up.status()["nodes"][0]["dns"]["opened"], u64::from(MANY) + 1000);
    let fetched = machine.at("a", || request(&[Ipv4Addr::from(FIRST + 77)], "n77.many.example.com"));
    assert!(fetched.is_ok(), "{fetched:?}");
}
