//! Limits that hold: over a kill, between gateways, and of money.

use super::gateway::Gateway;
use crate::ingress_gateway::{CHAT, KEY, folder, manifests, model, write};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use store::{Server, wait_for};

#[path = "../../../gateway/tests/support/store.rs"]
mod store;

/// A thousandth for each token, of one model.
const PRICES: &str = "
apiVersion: cofferdam.dev/v1alpha1
kind: PriceList
currency: EUR
prices:
- {provider: openai-compatible, model: llama, input: '1000', output: '1000', source: made up, date: 2026-01-31}
";
/// 26 tokens are set aside for the question and 10 for the answer; the server says 7 and 3.
const ASKED: [&str; 2] =
    ["--json", r#"{"model":"llama","max_tokens":10,"messages":[{"role":"user","content":"hi"}]}"#];

fn ask(gateway: &Gateway, chat: &[&str]) -> (u16, String) {
    gateway.curl(&[&KEY[..], chat].concat(), "/v1/chat/completions")
}

/// The first account that is kept, once so many requests are counted in it.
fn kept(state: &Path, requests: u64) -> Value {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        let text = fs::read_to_string(state.join("limits.json")).unwrap_or_default();
        let accounts: Value = serde_json::from_str(&text).unwrap_or_default();
        if accounts[0]["requests"] == requests {
            return accounts[0].clone();
        }
        assert!(Instant::now() < end, "never {requests}: {text}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn what_was_used_outlives_a_gateway_that_is_killed() {
    let folder = folder(model(), "  limits: [{name: day, per: consumer, requests: 3, window: 1d}]");
    let state = folder.path().join("state");
    let args = ["--state", state.to_str().unwrap()];
    let mut gateway = Gateway::start(folder.path(), &args);
    assert_eq!((ask(&gateway, &CHAT).0, ask(&gateway, &CHAT).0), (200, 200));
    let account = kept(&state, 2);
    assert_eq!(
        (&account["account"], &account["limit"]),
        (&json!("team-a"), &json!("ai/models =day consumer 86400"))
    );
    let files = folder.path().join("manifests");
    let program = env!("CARGO_BIN_EXE_cofferdam");
    let second =
        Command::new(program).arg("ingress-gateway").arg("-f").arg(&files).args(args).output().unwrap();
    let told = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(!second.status.success() && told.contains("another process has this folder"), "{told}");
    // SIGKILL.
    gateway.child.kill().unwrap();
    gateway.child.wait().unwrap();
    let gateway = Gateway::start(folder.path(), &args);
    assert_eq!(ask(&gateway, &CHAT).0, 200);
    let (status, body) = ask(&gateway, &CHAT);
    assert!(status == 429 && body.contains("limit-spent"), "{status} {body}");
}

#[test]
fn money_is_limited_by_the_prices_that_were_given_and_what_has_none_is_refused() {
    let server = model();
    let folder = folder(server, "  limits: [{per: consumer, money: '0.05', window: 1d}]");
    let gateway = Gateway::start(folder.path(), &[]);
    let (status, body) = ask(&gateway, &ASKED);
    assert!(status == 503 && body.contains("--prices"), "{status} {body}");
    drop(gateway);
    let prices = folder.path().join("prices.yaml");
    fs::write(&prices, PRICES).unwrap();
    let gateway = Gateway::start(folder.path(), &["--prices", prices.to_str().unwrap()]);
    let more = [&KEY[..], &ASKED[..], &["--include"]].concat();
    let (status, answer) = gateway.curl(&more, "/v1/chat/completions");
    assert_eq!(status, 200, "{answer}");
    assert!(answer.contains("x-ratelimit-limit-money: 0.05"), "{answer}");
    // 0.036 are set aside for each, and 0.01 are what it costs.
    let record = gateway.next("request");
    assert_eq!(record["cost"], json!({"nanos": 10_000_000}), "{record:#}");
    assert_eq!(ask(&gateway, &ASKED).0, 200);
    let (status, answer) = gateway.curl(&more, "/v1/chat/completions");
    assert_eq!(status, 429, "{answer}");
    for part in
        ["retry-after: ", "x-ratelimit-remaining-money: 0.03", "limit-spent", "0.05 of money are allowed"]
    {
        assert!(answer.contains(part), "{part}: {answer}");
    }
    let other = ["--json", r#"{"model":"gpt","max_tokens":10,"messages":[]}"#];
    let (status, body) = ask(&gateway, &other);
    assert!(status == 403 && body.contains("no-price") && body.contains("model gpt"), "{status} {body}");
}

#[test]
fn gateways_share_their_limits_through_a_store_and_without_it_refuse_what_was_not_granted() {
    const MOST: usize = 20;
    let limit = format!("  limits: [{{per: consumer, requests: {MOST}, window: 1d}}]");
    let folder = folder(model(), &limit);
    let server = Server::start(folder.path(), &[]);
    let url = format!("unix:{}", folder.path().join(store::SOCKET).display());
    let args = ["--budget-store", &url, "--budget-store-down", "deny"];
    let mut gateways: Vec<Gateway> = (0..2).map(|_| Gateway::start(folder.path(), &args)).collect();
    let mut answered = 0;
    for at in 0..MOST - 5 {
        let (status, body) = ask(&gateways[at % 2], &CHAT);
        assert_eq!(status, 200, "{at}: {body}");
        answered += 1;
    }
    // What one of them used is not forgotten when it is killed, and another takes its place.
    gateways[0].child.kill().unwrap();
    gateways[0].child.wait().unwrap();
    gateways[0] = Gateway::start(folder.path(), &args);
    for at in 0..2 * MOST {
        let (status, body) = ask(&gateways[at % 2], &CHAT);
        assert!(status == 200 || status == 429 && body.contains("limit-spent"), "{at}: {status} {body}");
        answered += usize::from(status == 200);
    }
    assert_eq!(answered, MOST, "together, and however they die");
    write(&folder, &manifests(model(), "  limits: [{name: other, per: consumer, requests: 20, window: 1d}]"));
    gateways[1].note("in force");
    drop(server);
    // What was held when it went may be used; a request more is not known to be there.
    let refused = |gateway: &Gateway| (0..5).map(|_| ask(gateway, &CHAT)).find(|(status, _)| *status != 200);
    let (status, body) = refused(&gateways[1]).unwrap();
    assert!(status == 503 && body.contains("limit-store"), "{status} {body}");
    let told = gateways[1].note("the store of shared limits cannot be reached");
    assert!(!told.is_empty());
    let _server = Server::start(folder.path(), &[]);
    wait_for(|| ask(&gateways[1], &CHAT).0 == 200);
}
