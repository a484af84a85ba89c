//! `cofferdam clusters ask`: one question to the APIs of several clusters at once.
//!
//! Enters: where each cluster's API is, and a command that can ask one. Leaves: what each answered, under its name. Guarantees: the
//! question is understood before anybody is asked; who does not answer in time, or with an error, is named in the answer, which is
//! then marked as part of the whole; nobody waits for another. Does not: order rows of different clusters, or add up what they count.

use crate::form::Output;
use crate::plain::printable;
use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::json;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Most clusters that are asked.
const MOST: usize = 200;
/// So many at a time.
const AT_ONCE: usize = 16;
/// Most bytes of one cluster's answer.
const MOST_BYTES: u64 = 64 << 20;
/// Most bytes of why one has none.
const MOST_WHY: u64 = 4096;
/// How often it is looked whether one has ended.
const LOOK: Duration = Duration::from_millis(20);

/// Whom to ask, and what.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  cofferdam clusters ask --at west=https://west.example:8443 --token west=west.token -- edges --new --since 24h
  cofferdam clusters ask -o jsonl --at west=https://west.example:8443 --token west=west.token -- findings --severity high")]
pub(crate) struct AskArgs {
    /// A cluster, and where its HTTP API is: that of its collector; once for each
    #[arg(long = "at", value_name = "CLUSTER=URL", value_parser = pair, required = true)]
    at: Vec<(String, String)>,
    /// File with a token for a cluster's API
    #[arg(long, value_name = "CLUSTER=FILE", value_parser = pair)]
    token: Vec<(String, String)>,
    /// Certificates (PEM) by which a cluster's API is known over https, instead of the system's
    #[arg(long, visible_alias = "api-ca", value_name = "CLUSTER=FILE", value_parser = pair)]
    authority: Vec<(String, String)>,
    /// So many seconds a cluster may take
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    wait: u64,
    /// As what it is written: tables one below the other, or rows that say their cluster
    #[arg(long, short = 'o', value_name = "FORM", default_value = "table")]
    output: Output,
    /// A command that lists and can ask an API, with its options: edges --new --since 24h
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<String>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() && !value.is_empty() => {
            Ok((name.to_owned(), value.to_owned()))
        }
        _ => Err("it is no CLUSTER=VALUE".to_owned()),
    }
}

/// A cluster, and the words that ask it.
struct Asked {
    cluster: String,
    words: Vec<String>,
}

/// What a cluster said, or why nothing.
type Said = Result<String, String>;

/// Asks everybody; false if somebody did not answer.
pub(super) fn run(args: &AskArgs, out: &mut impl Write) -> Result<bool> {
    let all = questions(args)?;
    let program = std::env::current_exe().context("finding this program")?;
    let wait = Duration::from_secs(args.wait);
    let mut said = Vec::new();
    for few in all.chunks(AT_ONCE) {
        thread::scope(|scope| {
            let asking: Vec<_> =
                few.iter().map(|it| scope.spawn(|| ask(&program, &it.words, wait))).collect();
            said.extend(asking.into_iter().map(|it| {
                it.join().unwrap_or_else(|_| Err("this program failed while it asked".to_owned()))
            }));
        });
    }
    let said: Vec<_> = all.iter().map(|it| it.cluster.as_str()).zip(said).collect();
    write(&said, args.output, out)
}

/// The question for each cluster, as words of this program's own.
fn questions(args: &AskArgs) -> Result<Vec<Asked>> {
    let tokens = by_cluster("--token", &args.token, &args.at)?;
    let authorities = by_cluster("--authority", &args.authority, &args.at)?;
    by_cluster("--at", &args.at, &args.at)?;
    if args.at.len() > MOST {
        bail!("{} clusters: at most {MOST} are asked at a time", args.at.len());
    }
    if args.command.iter().any(|word| matches!(word.as_str(), "--follow" | "-f" | "-F")) {
        bail!("--follow never ends: ask each cluster by itself");
    }
    let form = match args.output {
        Output::Table => "table",
        Output::Csv => "csv",
        Output::Json | Output::Jsonl => "jsonl",
    };
    let mut all = Vec::new();
    for (cluster, url) in &args.at {
        let Some(token) = tokens.get(cluster.as_str()) else {
            bail!("{cluster} has no token: --token {cluster}=FILE");
        };
        let mut words = args.command.clone();
        words.extend(["--api", url, "--token", token, "-o", form].map(str::to_owned));
        if let Some(authority) = authorities.get(cluster.as_str()) {
            words.extend(["--authority", authority].map(str::to_owned));
        }
        // Nobody is asked what nobody understands; and a command that cannot ask an API is none for this.
        let whole = std::iter::once("cofferdam").chain(words.iter().map(String::as_str));
        if let Err(error) = crate::cli::understood(whole) {
            let why = error.render().to_string();
            let why = why.lines().next().unwrap_or_default().trim_start_matches("error: ");
            bail!("{}: it cannot be asked of {cluster}: {why}", args.command.join(" "));
        }
        all.push(Asked { cluster: cluster.clone(), words });
    }
    Ok(all)
}

/// Values by cluster: one for each, and for none that is not asked.
fn by_cluster<'a>(
    option: &str,
    values: &'a [(String, String)],
    at: &[(String, String)],
) -> Result<BTreeMap<&'a str, &'a str>> {
    let mut all = BTreeMap::new();
    for (cluster, value) in values {
        if !at.iter().any(|(known, _)| known == cluster) {
            bail!("{option} {cluster}=...: no --at names {cluster}");
        }
        if all.insert(cluster.as_str(), value.as_str()).is_some() {
            bail!("{option} names {cluster} twice");
        }
    }
    Ok(all)
}

fn ask(program: &Path, words: &[String], wait: Duration) -> Said {
    let failed = |error: std::io::Error| format!("it could not be asked: {error}");
    let mut command = Command::new(program);
    command.args(words).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(failed)?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    thread::scope(|scope| {
        let answer = scope.spawn(|| read(stdout, MOST_BYTES));
        let why = scope.spawn(|| read(stderr, MOST_WHY));
        let ended = until(&mut child, Instant::now() + wait);
        // Whoever still writes is told that nobody reads; what was read of an answer that was cut is none.
        let (answer, why) = (answer.join().unwrap_or_default(), why.join().unwrap_or_default());
        match ended.map_err(failed)? {
            None => Err(format!("no answer within {} s", wait.as_secs())),
            Some(status) if status.code().is_some_and(|code| code <= 1) => {
                answer.ok_or_else(|| format!("its answer has more than {} MiB", MOST_BYTES >> 20))
            }
            Some(_) => {
                let why = why.unwrap_or_default();
                let why = why.trim().trim_start_matches("cofferdam: ");
                Err(if why.is_empty() { "it could not be asked".to_owned() } else { why.to_owned() })
            }
        }
    })
}

/// All there is; `None` where that is more.
fn read(from: Option<impl Read>, most: u64) -> Option<String> {
    let mut bytes = Vec::new();
    let _cut = from?.take(most + 1).read_to_end(&mut bytes);
    (bytes.len() as u64 <= most).then(|| String::from_utf8_lossy(&bytes).into_owned())
}

/// Waits until it ended, or ends it. `None`: it took too long.
fn until(child: &mut Child, end: Instant) -> std::io::Result<Option<std::process::ExitStatus>> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= end {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(LOOK);
    }
}

/// Writes what each said; false if it is part of the whole.
fn write(said: &[(&str, Said)], output: Output, out: &mut impl Write) -> Result<bool> {
    let missing = said.iter().filter(|(_, said)| said.is_err()).count();
    match output {
        Output::Table => {
            for (cluster, said) in said {
                writeln!(out, "== {}", printable(cluster))?;
                match said {
                    Ok(table) if table.is_empty() => writeln!(out, "there are none that match")?,
                    Ok(table) => write!(out, "{table}")?,
                    Err(why) => writeln!(out, "NOT ANSWERED: {}", printable(why))?,
                }
            }
        }
        Output::Csv => {
            let mut has_head = false;
            for (cluster, said) in said {
                let Ok(text) = said else { continue };
                for (at, line) in text.lines().enumerate() {
                    if at > 0 {
                        writeln!(out, "{},{line}", crate::form::csv(cluster))?;
                    } else if !std::mem::replace(&mut has_head, true) {
                        writeln!(out, "cluster,{line}")?;
                    }
                }
            }
        }
        Output::Json | Output::Jsonl => {
            let rows: Vec<String> = said.iter().flat_map(|(cluster, said)| rows(cluster, said)).collect();
            if output == Output::Jsonl {
                rows.iter().try_for_each(|row| writeln!(out, "{row}"))?;
            } else {
                writeln!(out, "[{}]", rows.join(",\n"))?;
            }
        }
    }
    if missing > 0 {
        let mut err = std::io::stderr();
        if !matches!(output, Output::Table) {
            for (cluster, why) in
                said.iter().filter_map(|(cluster, said)| Some((cluster, said.as_ref().err()?)))
            {
                writeln!(err, "{}: not answered: {}", printable(cluster), printable(why))?;
            }
        }
        writeln!(err, "PARTIAL: {missing} of {} clusters did not answer", said.len())?;
    }
    Ok(missing == 0)
}

/// Objects that say their cluster; one with `error` for a cluster that did not answer.
fn rows(cluster: &str, said: &Said) -> Vec<String> {
    let name = json!(cluster);
    match said {
        Ok(lines) => {
            let object = |line: &str| Some(line.trim().strip_prefix('{')?.to_owned());
            let with = |rest: String| {
                let comma = if rest.trim_start().starts_with('}') { "" } else { "," };
                format!("{{\"cluster\":{name}{comma}{rest}")
            };
            lines.lines().filter_map(object).map(with).collect()
        }
        Err(why) => vec![json!({ "cluster": cluster, "error": why }).to_string()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Alone {
        #[command(flatten)]
        args: AskArgs,
    }

    fn written(output: Output) -> (String, bool) {
        let rows = match output {
            Output::Table => "A  B\n1  2\n",
            Output::Csv => "a,b\n1,2\n",
            Output::Json | Output::Jsonl => "{\"a\":1}\n{}\n",
        };
        let said = [
            ("west", Ok(rows.to_owned())),
            ("east\u{1b}", Err("gone".to_owned())),
            ("n", Ok(rows.to_owned())),
        ];
        let mut out = Vec::new();
        let is_whole = write(&said, output, &mut out).unwrap();
        (String::from_utf8(out).unwrap(), is_whole)
    }

    #[test]
    fn each_row_says_its_cluster_and_who_is_missing_is_told() {
        let (table, is_whole) = written(Output::Table);
        assert_eq!(table, "== west\nA  B\n1  2\n== east\\u{1b}\nNOT ANSWERED: gone\n== n\nA  B\n1  2\n");
        assert!(!is_whole);
        let mut none = Vec::new();
        assert!(write(&[("e", Ok(String::new()))], Output::Table, &mut none).unwrap());
        assert_eq!(String::from_utf8(none).unwrap(), "== e\nthere are none that match\n");
        assert_eq!(written(Output::Csv).0, "cluster,a,b\nwest,1,2\nn,1,2\n");
        let (lines, _) = written(Output::Jsonl);
        let objects: Vec<serde_json::Value> =
            lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(
            objects,
            [
                json!({ "cluster": "west", "a": 1 }),
                json!({ "cluster": "west" }),
                json!({ "cluster": "east\u{1b}", "error": "gone" }),
                json!({ "cluster": "n", "a": 1 }),
                json!({ "cluster": "n" }),
            ]
        );
        let array: Vec<serde_json::Value> = serde_json::from_str(&written(Output::Json).0).unwrap();
        assert_eq!(array, objects);
    }

    #[test]
    fn what_cannot_be_asked_is_told_before_anybody_is() {
        let told = |words: &str| {
            let Alone { args } = Alone::try_parse_from(format!("ask {words}").split(' ')).unwrap();
            questions(&args).map_or_else(|error| error.to_string(), |all| format!("{} asked", all.len()))
        };
        let both = "--at a=http://127.0.0.1:1 --at b=http://127.0.0.1:2 --token a=t --token b=t";
        assert_eq!(told(&format!("{both} -- edges --new --since 24h")), "2 asked");
        assert_eq!(told(&format!("{both} -- findings")), "2 asked");
        for (words, why) in [
            ("--at a=http://127.0.0.1:1 -- edges", "a has no token: --token a=FILE"),
            ("--at a=http://127.0.0.1:1 --token b=t -- edges", "--token b=...: no --at names b"),
            (
                "--at a=http://127.0.0.1:1 --at a=http://127.0.0.1:2 --token a=t -- edges",
                "--at names a twice",
            ),
            ("--at a=http://127.0.0.1:1 --token a=t -- findings --follow", "--follow never ends"),
            (
                "--at a=http://127.0.0.1:1 --token a=t -- edges --sine 1h",
                "unexpected argument '--sine' found",
            ),
            ("--at a=http://127.0.0.1:1 --token a=t -- catalog list", "it cannot be asked of a"),
        ] {
            assert!(told(words).contains(why), "{words}: {}", told(words));
        }
    }
}
