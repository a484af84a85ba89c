//! What a request costs: `cost RULES [REQUEST]`, microseconds of processor time, the least of several batches' averages (Linux).

#![expect(clippy::print_stdout, reason = "a program for people")]

use std::path::Path;
use std::time::Instant;

use waf::Profile;
use waf::cases::{self, Bench, Case};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let rules = std::env::args().nth(1).ok_or("name the folder of rules")?;
    let mut found = Vec::new();
    for folder in [Path::new(&rules).to_owned(), Path::new(&rules).join("rules")] {
        for entry in std::fs::read_dir(folder).into_iter().flatten() {
            let path = entry?.path();
            if path.is_file() {
                found.push((path.display().to_string(), std::fs::read(&path)?));
            }
        }
    }
    let started = Instant::now();
    let bench = Bench::load(&found, Profile::Crs)?;
    println!("load of two set-ups: {} ms", started.elapsed().as_millis());
    let license = found
        .iter()
        .find(|(name, _)| name.ends_with("LICENSE"))
        .map(|found| found.1.clone())
        .unwrap_or_default();
    let prose = String::from_utf8_lossy(&license).into_owned();
    let sentence = "Write a short story about a gardener who finds an old letter under the roses. Keep it warm and plain. ";
    let requests: Vec<(&str, Case)> = vec![
        ("small GET", get("/search?q=old+roses&page=2")),
        ("SQLi GET", get("/search?q=1%27+union+select+password+from+users--")),
        ("chat 2 KB", chat(&sentence.repeat(20))),
        ("chat 32 KB of prose", chat(&prose.repeat(3).chars().take(32_000).collect::<String>())),
        ("chat 200 KB of prose", chat(&prose.repeat(20).chars().take(200_000).collect::<String>())),
        ("chat 64 KB of ${", chat(&"${".repeat(32_000))),
        ("chat 64 KB of <a", chat(&"<a ".repeat(21_000))),
        ("chat 64 KB of ../", chat(&"../".repeat(21_000))),
        ("chat 64 KB of select", chat(&"select(".repeat(9_000))),
        ("chat 64 KB of quotes", chat(&"' or 1=1 ".repeat(7_000))),
        ("chat 64 KB of blanks", chat(&" ".repeat(64_000))),
        ("chat 64 KB of %25", chat(&"%25".repeat(21_000))),
        ("chat 64 KB of ;", chat(&";a=".repeat(21_000))),
    ];
    let only = std::env::args().nth(2);
    for (name, case) in
        requests.iter().filter(|(name, _)| only.as_ref().is_none_or(|only| name.contains(only.as_str())))
    {
        for (rules, mode) in [(bench.blocking(), "stock"), (bench.detecting(), "all levels")] {
            for profile in [Profile::Crs, Profile::FieldAware] {
                let mut least = u64::MAX;
                let mut verdict = None;
                for _ in 0..5 {
                    let (before, mut runs) = (on_processor()?, 0);
                    while runs == 0 || on_processor()? - before < 60_000_000 {
                        verdict = cases::judge(rules, case, profile).1;
                        runs += 1;
                    }
                    least = least.min((on_processor()? - before) / runs);
                }
                println!(
                    "{name}, {mode}, {profile:?}: {} us, {}",
                    least / 1000,
                    if verdict.is_some() { "blocked" } else { "passes" }
                );
            }
        }
    }
    Ok(())
}

/// Nanoseconds that this thread has run.
fn on_processor() -> Result<u64, Box<dyn std::error::Error>> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    Ok(text.split_ascii_whitespace().next().ok_or("no schedstat")?.parse()?)
}

fn get(target: &str) -> Case {
    Case {
        line: [b"GET".to_vec(), target.as_bytes().to_vec(), b"HTTP/1.1".to_vec()],
        headers: headers(&[("Host", "www.example.com"), ("Cookie", "session=0123456789abcdef; theme=dark")]),
        status: 200,
        ..Case::default()
    }
}

fn chat(text: &str) -> Case {
    let quoted = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let body = format!(
        "{{\"model\":\"m\",\"messages\":[{{\"role\":\"user\",\"content\":\"{quoted}\"}}],\"temperature\":0.7}}"
    );
    let length = body.len().to_string();
    Case {
        line: [b"POST".to_vec(), b"/v1/chat/completions".to_vec(), b"HTTP/1.1".to_vec()],
        headers: headers(&[
            ("Host", "api.example.com"),
            ("Content-Type", "application/json"),
            ("Content-Length", &length),
        ]),
        body: body.into_bytes(),
        status: 200,
        ..Case::default()
    }
}

fn headers(more: &[(&str, &str)]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let common = [
        ("User-Agent", "OpenAI/Python 1.51.0"),
        ("Accept", "application/json"),
        ("Accept-Encoding", "gzip, deflate"),
    ];
    common
        .iter()
        .chain(more)
        .map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()))
        .collect()
}
