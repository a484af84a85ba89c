//! Learns what each feature weighs.
use crate::corpus::Row;
use guard::features::{Group, Reading};
use guard::fold::Folded;
use std::collections::HashMap;

pub(crate) struct Doc {
    pub hashes: Vec<(u32, u8, u64)>,
    pub tokens: usize,
    pub target: Option<usize>,
    pub source: u32,
}

#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub window: usize,
    pub stride: usize,
    pub epochs: usize,
    pub rate: f32,
    pub l2: f32,
    pub min_df: u32,
    pub min_sources: u32,
    pub scales: [f32; 9],
    pub source_power: f32,
    pub positive: f32,
    pub whole: f32,
}

pub(crate) fn doc(row: &Row, source: u32) -> Doc {
    let folded = Folded::of(&row.text);
    let reading = Reading::of(&folded.chars);
    let mut hashes = Vec::new();
    reading.features(&folded.chars, |at, group: Group, hash| hashes.push((at as u32, group as u8, hash)));
    Doc { hashes, tokens: reading.tokens.len().max(1), target: row.target(), source }
}

/// Every feature of a corpus, interned: docs hold places in `hashes`.
pub(crate) struct Corpus {
    pub docs: Vec<Placed>,
    pub hashes: Vec<u64>,
    pub groups: Vec<u8>,
}

/// Features by place.
pub(crate) struct Placed {
    pub ids: Vec<u32>,
    pub starts: Vec<u32>,
    pub target: Option<usize>,
    pub source: u32,
}

pub(crate) fn intern(docs: Vec<Doc>) -> Corpus {
    let mut all: Vec<(u64, u32, u8)> = docs
        .iter()
        .enumerate()
        .flat_map(|(i, d)| d.hashes.iter().map(move |(_, g, h)| (*h, i as u32, *g)))
        .collect();
    all.sort_unstable();
    all.dedup();
    let (mut hashes, mut groups) = (Vec::new(), Vec::new());
    for same in all.chunk_by(|a, b| a.0 == b.0) {
        if same.len() >= 2 {
            hashes.push(same[0].0);
            groups.push(same[0].2);
        }
    }
    drop(all);
    let map: HashMap<u64, u32, BH> = hashes.iter().enumerate().map(|(i, h)| (*h, i as u32)).collect();
    let docs = docs.into_iter().map(|d| place(&d, &map)).collect();
    Corpus { docs, hashes, groups }
}

#[derive(Default, Clone, Copy)]
pub(crate) struct BH;
#[derive(Default)]
pub(crate) struct HH(u64);
impl std::hash::BuildHasher for BH {
    type Hasher = HH;
    fn build_hasher(&self) -> HH {
        HH(0)
    }
}
impl std::hash::Hasher for HH {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, _: &[u8]) {}
    fn write_u64(&mut self, v: u64) {
        self.0 = v;
    }
}

pub(crate) struct Model {
    /// scale per feature; 0: not in use.
    pub scale: Vec<f32>,
    pub weights: Vec<[f32; 3]>,
    pub bias: [f32; 3],
}

pub(crate) fn lse(z: [f32; 3]) -> f32 {
    let m = z.iter().copied().fold(f32::MIN, f32::max);
    m + z.iter().map(|z| (z - m).exp()).sum::<f32>().ln()
}

pub(crate) fn windows(tokens: usize, window: usize, stride: usize) -> Vec<(usize, usize)> {
    if tokens <= window {
        return vec![(0, tokens)];
    }
    let mut all = Vec::new();
    let mut at = 0;
    while at + window < tokens {
        all.push((at, at + window));
        at += stride;
    }
    all.push((tokens - window, tokens));
    all
}

impl Model {
    pub(crate) fn train(corpus: &Corpus, picked: &[usize], s: &Settings, seed: u64) -> Self {
        let n = corpus.hashes.len();
        let (mut df, mut src, mut last) = (vec![0u32; n], vec![0u64; n], vec![u32::MAX; n]);
        let mut sizes: HashMap<(u32, bool), f32> = HashMap::new();
        for &i in picked {
            let d = &corpus.docs[i];
            *sizes.entry((d.source, d.target.is_some())).or_default() += 1.0;
            for &id in &d.ids {
                let id = id as usize;
                if last[id] != i as u32 {
                    last[id] = i as u32;
                    df[id] += 1;
                    src[id] |= 1 << (d.source % 64);
                }
            }
        }
        let scale = (0..n)
            .map(|i| {
                let ok = df[i] >= s.min_df && src[i].count_ones() >= s.min_sources;
                if ok { s.scales[corpus.groups[i] as usize] } else { 0.0 }
            })
            .collect();
        let mut m = Self { scale, weights: vec![[0.0; 3]; n], bias: [-2.0; 3] };
        let mut acc = vec![[1e-3f32; 3]; n];
        let mut bacc = [1e-3f32; 3];
        let mut rng = crate::random::Random::new(seed);
        let mut order: Vec<usize> = picked.to_vec();
        for _ in 0..s.epochs {
            for i in (1..order.len()).rev() {
                order.swap(i, rng.below(i + 1));
            }
            for &i in &order {
                let d = &corpus.docs[i];
                let size = sizes[&(d.source, d.target.is_some())];
                let dw = (size / 500.0).powf(-s.source_power) * if d.target.is_some() { s.positive } else { 1.0 };
                let pre = m.prefix(d);
                let tokens = d.starts.len() - 1;
                let ws = windows(tokens, s.window, s.stride);
                let key = |w: &(usize, usize)| {
                    let z = m.logits(&pre, *w);
                    d.target.map_or_else(|| lse(z), |f| z[f])
                };
                let best = ws.iter().copied().max_by(|a, b| key(a).total_cmp(&key(b))).unwrap_or((0, tokens));
                let mut picks = vec![(best, dw)];
                if d.target.is_none() && ws.len() > 1 {
                    picks.push((ws[rng.below(ws.len())], dw * 0.5));
                }
                if s.whole > 0.0 && ws.len() > 1 {
                    picks.push(((0, tokens), dw * s.whole));
                }
                for (w, weight) in picks {
                    let z = m.logits(&pre, w);
                    let total = 1.0 + z.iter().map(|z| z.exp()).sum::<f32>();
                    let norm = 1.0 / ((w.1 - w.0).max(1) as f32).sqrt();
                    let g: [f32; 3] = std::array::from_fn(|f| {
                        (z[f].exp() / total - if d.target == Some(f) { 1.0 } else { 0.0 }) * weight
                    });
                    for f in 0..3 {
                        bacc[f] += g[f] * g[f];
                        m.bias[f] -= s.rate * g[f] / bacc[f].sqrt();
                    }
                    for id in &d.ids[d.starts[w.0] as usize..d.starts[w.1] as usize] {
                        let id = *id as usize;
                        let sc = m.scale[id];
                        if sc == 0.0 {
                            continue;
                        }
                        for f in 0..3 {
                            let gr = g[f] * norm * sc + s.l2 * m.weights[id][f];
                            acc[id][f] += gr * gr;
                            m.weights[id][f] -= s.rate * gr / acc[id][f].sqrt();
                        }
                    }
                }
            }
        }
        m
    }

    pub(crate) fn prefix(&self, d: &Placed) -> Vec<[f32; 3]> {
        let mut out = Vec::with_capacity(d.starts.len());
        let mut sum = [0.0f32; 3];
        out.push(sum);
        for t in 0..d.starts.len() - 1 {
            for id in &d.ids[d.starts[t] as usize..d.starts[t + 1] as usize] {
                let w = self.weights[*id as usize];
                let sc = self.scale[*id as usize];
                for f in 0..3 {
                    sum[f] += w[f] * sc;
                }
            }
            out.push(sum);
        }
        out
    }

    pub(crate) fn logits(&self, pre: &[[f32; 3]], w: (usize, usize)) -> [f32; 3] {
        let norm = 1.0 / ((w.1 - w.0).max(1) as f32).sqrt();
        std::array::from_fn(|f| (self.bias[f] + (pre[w.1][f] - pre[w.0][f]) * norm).clamp(-30.0, 30.0))
    }
}

fn place(d: &Doc, vocabulary: &HashMap<u64, u32, BH>) -> Placed {
    let mut ids = Vec::new();
    let mut starts = vec![0u32];
    let mut cur = 0;
    for (at, _, h) in &d.hashes {
        while cur < *at {
            starts.push(ids.len() as u32);
            cur += 1;
        }
        if let Some(id) = vocabulary.get(h) {
            ids.push(*id);
        }
    }
    while starts.len() <= d.tokens {
        starts.push(ids.len() as u32);
    }
    Placed { ids, starts, target: d.target, source: d.source }
}
