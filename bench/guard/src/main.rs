#![allow(clippy::all, clippy::indexing_slicing, clippy::cast_possible_truncation, clippy::print_stdout, clippy::panic, clippy::unwrap_used, clippy::expect_used, missing_docs)]
mod corpus;
mod learn;
mod own;
mod random;
use learn::*;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

fn fold_of(source: &str) -> usize {
    match source {
        "s-labs" => 0,
        "hackaprompt(neuralchemy)" | "docs-garak" | "open-assistant" => 1,
        "neuralchemy-original" | "neuralchemy_v1" | "jbb-benign(neuralchemy)" | "cse-mitre-frr" => 2,
        "satml-ctf-2024" | "persistbench" | "own-templates" | "docs-llm-guard" => 3,
        "yanismiraoui" | "cse-frr-multilingual" | "awesome-chatgpt-prompts-zh" | "self-instruct-seed" => 4,
        "llmail-inject" | "enron(giskard)" | "bipia-email" | "writingbench" | "rust-book" => 5,
        "opi-composed(asb+bipia-train)" | "tau2-docs" | "tau2-json" | "tau2-tasks" | "cse-instruct" | "swe-lancer" => 6,
        "in-the-wild" | "pyrit-in-the-wild" | "gptfuzz" | "giskard" | "awesome-chatgpt-prompts" | "docs-giskard" | "cse-threatintel" => 7,
        _ => 99,
    }
}

pub(crate) fn auc(p: &[f32], n: &[f32]) -> f64 {
    let mut all: Vec<(f32, bool)> = p.iter().map(|x| (*x, true)).chain(n.iter().map(|x| (*x, false))).collect();
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut rank, mut i) = (0.0, 0);
    while i < all.len() {
        let mut j = i;
        while j < all.len() && all[j].0 == all[i].0 { j += 1; }
        let r = (i + j + 1) as f64 / 2.0;
        rank += r * all[i..j].iter().filter(|a| a.1).count() as f64;
        i = j;
    }
    (rank - p.len() as f64 * (p.len() as f64 + 1.0) / 2.0) / (p.len() as f64 * n.len() as f64)
}

pub(crate) fn threshold(n: &[f32], rate: f64) -> f32 {
    let mut v = n.to_vec();
    v.sort_by(|a, b| b.total_cmp(a));
    v[((n.len() as f64 * rate) as usize).min(n.len() - 1)]
}

fn report(rows: &[(Option<usize>, String, f32, bool)]) {
    let neg: Vec<f32> = rows.iter().filter(|r| r.0.is_none()).map(|r| r.2).collect();
    let pos: Vec<f32> = rows.iter().filter(|r| r.0.is_some()).map(|r| r.2).collect();
    let (t1, t01) = (threshold(&neg, 0.01), threshold(&neg, 0.001));
    let rec = |v: &[f32], t: f32| v.iter().filter(|x| **x > t).count() as f64 / v.len().max(1) as f64;
    println!("ALL auc {:.3} r1 {:.3} r01 {:.3}", auc(&pos, &neg), rec(&pos, t1), rec(&pos, t01));
    for f in 0..3 {
        let v: Vec<f32> = rows.iter().filter(|r| r.0 == Some(f)).map(|r| r.2).collect();
        print!("  {} auc {:.3} r1 {:.3} r01 {:.3};", ["direct", "indirect", "jailbreak"][f], auc(&v, &neg), rec(&v, t1), rec(&v, t01));
    }
    println!();
    let mut by: BTreeMap<(bool, &str), Vec<f32>> = BTreeMap::new();
    for r in rows { by.entry((r.0.is_some(), &r.1)).or_default().push(r.2); }
    let mut mac=(0.0,0.0,0.0,0.0);
    for ((p, s), v) in &by {
        if *p { println!("    + {s:32} n {:5} auc {:.3} r1 {:.3} r01 {:.3}", v.len(), auc(v, &neg), rec(v, t1), rec(v, t01));
          if v.len()>=40 {mac.0+=auc(v,&neg);mac.1+=rec(v,t1);mac.2+=rec(v,t01);mac.3+=1.0;} }
        else { print!("    - {s}: {:.1}%/{}", 100.0 * rec(v, t1), v.len()); }
    }
    println!("\nMACRO auc {:.3} r1 {:.3} r01 {:.3}", mac.0/mac.3,mac.1/mac.3,mac.2/mac.3);
}

fn main() -> anyhow::Result<()> {
    let get = |k: &str, d: f32| std::env::var(k).ok().and_then(|v| v.parse().ok()).unwrap_or(d);
    let base = std::env::var("DATA").unwrap_or("/work/shared/data/prompts".into());
    let mut rows = corpus::read(Path::new(&format!("{base}/train.jsonl")))?;
    let mut folds: Vec<usize> = rows.iter().map(|r| fold_of(&r.source)).collect();
    if get("OWN", 1.0) > 0.0 {
        let mut random = random::Random::new(5);
        let own = own::rows(&mut random);
        let carriers: Vec<&corpus::Row> = rows.iter().filter(|r| r.label == 0 && (r.family == "benign_doc" || r.family == "benign_code" || r.source=="writingbench" || r.source.starts_with("docs-"))).chain(own.iter().filter(|r| r.family == "benign_doc")).collect();
        let composed = own::composed(&carriers, &mut random);
        let more: Vec<(usize, corpus::Row)> = composed.into_iter().map(|(p, r)| (fold_of(&carriers[p].source) + 100, r)).collect();
        eprintln!("own {} composed {}", own.len(), more.len());
        folds.extend(own.iter().map(|_| 99));
        rows.extend(own);
        for (f, r) in more { folds.push(f); rows.push(r); }
    }
    let mut sources: HashMap<String, u32> = HashMap::new();
    let t = std::time::Instant::now();
    let docs: Vec<Doc> = rows.iter().map(|r| { let n = sources.len() as u32; let s = *sources.entry(r.source.clone()).or_insert(n); doc(r, s) }).collect();
    eprintln!("read {:?}, feats {}", t.elapsed(), docs.iter().map(|d| d.hashes.len()).sum::<usize>());
    let corpus = intern(docs);
    eprintln!("interned {} {:?}", corpus.hashes.len(), t.elapsed());
    let s = Settings {
        window: get("W", 48.0) as usize, stride: get("S", 16.0) as usize, epochs: get("E", 6.0) as usize, rate: get("R", 0.1), l2: get("L2", 1e-5),
        min_df: get("DF", 3.0) as u32, min_sources: get("MS", 2.0) as u32,
        scales: [get("G0", 1.0), get("G1", 1.0), get("G2", 1.0), get("G3", 1.0), get("G4", 0.5), get("G5", 0.5), get("G6", 1.0), get("G7", 1.0), get("G8", 1.0)],
        source_power: get("SP", 0.5), positive: get("POS", 1.0), whole: get("WH", 0.0),
    };
    let mut out = Vec::new();
    for fold in 0..8 {
        let train: Vec<usize> = (0..rows.len()).filter(|i| folds[*i] != fold && folds[*i] != fold + 100).collect();
        let m = Model::train(&corpus, &train, &s, 7);
        for i in (0..rows.len()).filter(|i| folds[*i] == fold) {
            let p = &corpus.docs[i];
            let pre = m.prefix(p);
            let z = windows(p.starts.len() - 1, s.window, s.stride).into_iter().map(|w| lse(m.logits(&pre, w))).fold(f32::MIN, f32::max);
            out.push((rows[i].target(), rows[i].source.clone(), z, false));
        }
    }
    eprintln!("{:?}", t.elapsed());
    report(&out);
    Ok(())
}
