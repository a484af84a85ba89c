//! Learns what each feature weighs.
//!
//! A text is known to be an attack or not as a whole, while only some place in it is: of an attack its most suspicious window
//! is taken for what it is, of a harmless text the most suspicious one for harmless (multiple-instance learning), and at less
//! weight the whole and a window by chance. A multinomial logistic function of the sums of weights, divided by the root of
//! the window's length; AdaGrad. Each time a text is seen some of its features are left out, so that none is relied on alone, and
//! what is kept is the mean of the weights on the way.

use crate::corpus::Row;
use crate::random::Random;
use guard::features::{Group, Reading};
use guard::fold::Folded;
use guard::window::{Logits, SMALL, SMALL_STRIDE, STRIDE, WINDOW, any, logits, windows};
use std::collections::HashMap;

/// Settings, chosen by what they do on sources left out.
const EPOCHS: usize = 5;
const RATE: f32 = 0.1;
const SHRINK: f32 = 1e-5;
/// Texts and sources that a feature must be in.
const MIN_TEXTS: u32 = 4;
const MIN_SOURCES: u32 = 2;
/// How much less the texts of a large source count: its size to this power.
const EVEN: f32 = 0.5;
/// How much the whole of a long text counts beside its most suspicious window, a window by chance, and the most suspicious small
/// one.
const WHOLE: f32 = 0.3;
const CHANCE: f32 = 0.5;
const SMALLEST: f32 = 0.25;
/// How many of its features a text is seen without, each time others.
const DROPPED: f32 = 0.2;
/// How often all is learned, each time with other things by chance: what is kept is the mean.
const MEMBERS: u16 = 3;
/// How often in a pass the weights are added to the mean; in the first pass they are not.
const MEANS: usize = 3;
const BIAS: f32 = -2.0;
/// So that the first step is no larger than the others.
const FIRST_SQUARE: f32 = 1e-3;

/// How far a feature of the group may go: pieces and marks are many and say little each.
fn scale(group: Group) -> f32 {
    match group {
        Group::Piece | Group::Mark => 0.5,
        Group::Word | Group::Pair | Group::Triple | Group::Skip => 1.0,
        Group::Concept | Group::Concepts | Group::Order | Group::First | Group::Frame => 1.0,
    }
}

/// A text as numbers of features.
struct Text {
    features: Vec<u32>,
    /// Where the features of each token begin, and the end.
    starts: Vec<usize>,
    target: Option<usize>,
    source: u32,
}

/// All texts, and the hash and group of each feature that at least two of them have.
pub(crate) struct Texts {
    texts: Vec<Text>,
    features: Vec<(u64, Group)>,
}

/// What was learned: the weights of each feature, by its hash, and in how many texts it is.
pub(crate) struct Learned {
    pub(crate) bias: Logits,
    pub(crate) weights: Vec<(u64, Logits, u32)>,
}

impl Texts {
    /// Reads the rows.
    pub(crate) fn of(rows: &[Row]) -> Self {
        let mut sources: HashMap<&str, u32> = HashMap::new();
        let mut read = Vec::with_capacity(rows.len());
        let mut all: Vec<(u64, u32, Group)> = Vec::new();
        for (row, place) in rows.iter().zip(0u32..) {
            let folded = Folded::of(&row.text);
            let reading = Reading::of(&folded.chars);
            let mut hashes: Vec<(usize, u64)> = Vec::new();
            reading.features(&folded.chars, |at, group, hash| {
                hashes.push((at, hash));
                all.push((hash, place, group));
            });
            let next = u32::try_from(sources.len()).unwrap_or(u32::MAX);
            let source = *sources.entry(&row.source).or_insert(next);
            read.push((hashes, reading.tokens.len(), row.target(), source));
        }
        all.sort_unstable();
        all.dedup();
        let several = all.chunk_by(|one, other| one.0 == other.0).filter(|same| same.len() > 1);
        let features: Vec<(u64, Group)> =
            several.filter_map(|same| same.first().map(|(hash, _, group)| (*hash, *group))).collect();
        let numbers: HashMap<u64, u32> = features.iter().map(|(hash, _)| *hash).zip(0..).collect();
        let texts = read.into_iter().map(|(hashes, tokens, target, source)| {
            let (mut numbered, mut starts) = (Vec::new(), vec![0]);
            for (at, hash) in hashes {
                starts.resize(starts.len().max(at + 1), numbered.len());
                numbered.extend(numbers.get(&hash));
            }
            starts.resize(tokens + 1, numbered.len());
            Text { features: numbered, starts, target, source }
        });
        Self { texts: texts.collect(), features }
    }

    /// Learns from the texts at these places.
    pub(crate) fn learn(&self, places: &[usize], seed: u64) -> Learned {
        let texts: Vec<&Text> = places.iter().filter_map(|place| self.texts.get(*place)).collect();
        let counts = self.counts(&texts);
        // Features that are used, in a table of their own, which is small enough for the processor's cache.
        let is_used =
            |(texts, sources): &(u32, u64)| *texts >= MIN_TEXTS && sources.count_ones() >= MIN_SOURCES;
        let used: Vec<usize> = counts
            .iter()
            .enumerate()
            .filter(|(_, counts)| is_used(counts))
            .map(|(feature, _)| feature)
            .collect();
        let mut places = vec![None; self.features.len()];
        for (feature, place) in used.iter().zip(0u32..) {
            if let Some(known) = places.get_mut(*feature) {
                *known = Some(place);
            }
        }
        let kept: Vec<Text> = texts.iter().map(|text| text.with(&places)).collect();
        let groups: Vec<Group> =
            used.iter().filter_map(|feature| self.features.get(*feature)).map(|(_, group)| *group).collect();
        let (bias, weights) = mean(&kept, &groups, seed);
        let named = used.iter().zip(weights).filter_map(|(feature, weights)| {
            let (hash, _) = self.features.get(*feature)?;
            let (texts, _) = counts.get(*feature)?;
            Some((*hash, weights, *texts))
        });
        Learned { bias, weights: named.collect() }
    }

    /// In how many texts each feature is, and a bit for each source.
    fn counts(&self, texts: &[&Text]) -> Vec<(u32, u64)> {
        let mut counts = vec![(0, 0); self.features.len()];
        let mut last = vec![usize::MAX; self.features.len()];
        for (place, text) in texts.iter().enumerate() {
            for feature in text.features.iter().map(|feature| index(*feature)) {
                if let (Some(last), Some((texts, sources))) = (last.get_mut(feature), counts.get_mut(feature))
                    && *last != place
                {
                    *last = place;
                    *texts += 1;
                    *sources |= 1 << (text.source % 64);
                }
            }
        }
        counts
    }
}

/// The mean of what is learned [`MEMBERS`] times: the bias, and the weights of each feature.
fn mean(texts: &[Text], groups: &[Group], seed: u64) -> (Logits, Vec<Logits>) {
    let part = f32::from(MEMBERS).recip();
    let (mut bias, mut weights) = ([0.0; 3], vec![[0.0; 3]; groups.len()]);
    for member in 0..MEMBERS {
        let features = groups.iter().map(|group| Feature::new(*group)).collect();
        let mut weigher = Weigher { features, bias: [BIAS; 3], bias_squares: [FIRST_SQUARE; 3], salt: 0 };
        weigher.learn(texts, &mut Random::new(seed + 1000 * u64::from(member)));
        add(&mut bias, weigher.bias, part);
        for (sum, feature) in weights.iter_mut().zip(&weigher.features) {
            add(sum, feature.weights, part * feature.scale);
        }
    }
    (bias, weights)
}

fn add(sums: &mut Logits, logits: Logits, part: f32) {
    sums.iter_mut().zip(logits).for_each(|(sum, logit)| *sum += logit * part);
}

/// How many attacks and how many others each source has.
fn sizes(texts: &[Text]) -> HashMap<(u32, bool), f32> {
    let mut sizes = HashMap::new();
    for text in texts {
        *sizes.entry((text.source, text.target.is_some())).or_default() += 1.0;
    }
    sizes
}

impl Text {
    /// The same text with features by other numbers, without those that have none.
    fn with(&self, numbers: &[Option<u32>]) -> Self {
        let (mut features, mut starts) = (Vec::with_capacity(self.features.len()), vec![0]);
        for ends in self.starts.windows(2) {
            let of_token =
                ends.first().zip(ends.last()).and_then(|(start, end)| self.features.get(*start..*end));
            let of_token = of_token.unwrap_or_default().iter();
            features.extend(of_token.filter_map(|feature| numbers.get(index(*feature)).copied().flatten()));
            starts.push(features.len());
        }
        Self { features, starts, target: self.target, source: self.source }
    }
}

/// What is known of a feature.
struct Feature {
    scale: f32,
    weights: Logits,
    /// Sums of squares of what each weight was moved by.
    squares: Logits,
    /// The sum of the weights on the way, of which the mean is kept.
    sum: Logits,
}

impl Feature {
    fn new(group: Group) -> Self {
        Self { scale: scale(group), weights: [0.0; 3], squares: [FIRST_SQUARE; 3], sum: [0.0; 3] }
    }

    fn add(&mut self) {
        self.sum.iter_mut().zip(self.weights).for_each(|(sum, weight)| *sum += weight);
    }
}

struct Weigher {
    features: Vec<Feature>,
    bias: Logits,
    bias_squares: Logits,
    /// Decides which features the text is seen without.
    salt: u64,
}

impl Weigher {
    fn learn(&mut self, texts: &[Text], random: &mut Random) {
        let sizes = sizes(texts);
        let mut order: Vec<usize> = (0..texts.len()).collect();
        let mut means = 0.0;
        for epoch in 0..EPOCHS {
            for last in (1..order.len()).rev() {
                order.swap(last, random.below(last + 1));
            }
            for (count, text) in order.iter().filter_map(|place| texts.get(*place)).enumerate() {
                let size = sizes.get(&(text.source, text.target.is_some())).copied().unwrap_or(1.0);
                self.salt = random.next();
                self.step(text, (size / 500.0).powf(-EVEN), random);
                if epoch > 0 && count % (order.len() / MEANS).max(1) == 1 {
                    means += 1.0;
                    self.features.iter_mut().for_each(Feature::add);
                }
            }
        }
        for feature in &mut self.features {
            feature.weights = feature.sum.map(|sum| sum / f32::max(means, 1.0));
        }
    }

    /// Whether the text is seen with the feature this time.
    fn is_kept(&self, place: u32) -> bool {
        let mixed = (u64::from(place) + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ self.salt;
        let high = (mixed ^ mixed >> 29).wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 32;
        f64::from(u32::try_from(high).unwrap_or(u32::MAX)) >= f64::from(DROPPED) * 4_294_967_296.0
    }

    fn sums(&self, text: &Text) -> Vec<Logits> {
        let mut sum = [0.0; 3];
        let mut sums = Vec::with_capacity(text.starts.len());
        sums.push(sum);
        for ends in text.starts.windows(2) {
            let of_token =
                ends.first().zip(ends.last()).and_then(|(start, end)| text.features.get(*start..*end));
            for place in of_token.unwrap_or_default().iter().filter(|place| self.is_kept(**place)) {
                if let Some(feature) = self.features.get(index(*place)) {
                    let scale = feature.scale / (1.0 - DROPPED);
                    sum.iter_mut().zip(feature.weights).for_each(|(sum, weight)| *sum += weight * scale);
                }
            }
            sums.push(sum);
        }
        sums
    }

    fn step(&mut self, text: &Text, importance: f32, random: &mut Random) {
        let sums = self.sums(text);
        let all: Vec<(usize, usize)> = windows(sums.len() - 1, WINDOW, STRIDE).collect();
        let bias = self.bias;
        let value = |window: &(usize, usize)| {
            let logits = logits(&sums, bias, *window);
            text.target.and_then(|target| logits.get(target).copied()).unwrap_or_else(|| any(logits))
        };
        let most = |one: &(usize, usize), other: &(usize, usize)| value(one).total_cmp(&value(other));
        let Some(best) = all.iter().copied().max_by(most) else { return };
        self.learn_window(text, &sums, best, importance);
        let small = windows(sums.len() - 1, SMALL, SMALL_STRIDE).filter(|_| sums.len() > SMALL + 1);
        if let Some(small) = small.max_by(most) {
            self.learn_window(text, &sums, small, importance * SMALLEST);
        }
        if all.len() > 1 {
            if let Some(chance) = all.get(random.below(all.len())).filter(|_| text.target.is_none()) {
                self.learn_window(text, &sums, *chance, importance * CHANCE);
            }
            self.learn_window(text, &sums, (0, sums.len() - 1), importance * WHOLE);
        }
    }

    fn learn_window(&mut self, text: &Text, sums: &[Logits], window: (usize, usize), importance: f32) {
        let logits = logits(sums, self.bias, window);
        let total = 1.0 + logits.iter().map(|logit| logit.exp()).sum::<f32>();
        let mut slope = logits.map(|logit| logit.exp() / total * importance);
        if let Some(slope) = text.target.and_then(|target| slope.get_mut(target)) {
            *slope -= importance;
        }
        descend(&mut self.bias, &mut self.bias_squares, slope);
        let length = u16::try_from((window.1 - window.0).max(1)).unwrap_or(u16::MAX);
        let norm = f32::from(length).sqrt().recip();
        let ends = (text.starts.get(window.0), text.starts.get(window.1));
        let (Some(start), Some(end)) = ends else { return };
        for place in text.features.get(*start..*end).unwrap_or_default() {
            if !self.is_kept(*place) {
                continue;
            }
            if let Some(feature) = self.features.get_mut(index(*place)) {
                let mut slope = slope.map(|slope| slope * norm * feature.scale / (1.0 - DROPPED));
                slope.iter_mut().zip(feature.weights).for_each(|(slope, weight)| *slope += SHRINK * weight);
                descend(&mut feature.weights, &mut feature.squares, slope);
            }
        }
    }
}

/// One step of AdaGrad.
fn descend(weights: &mut Logits, squares: &mut Logits, slope: Logits) {
    for ((weight, square), slope) in weights.iter_mut().zip(squares).zip(slope) {
        *square += slope * slope;
        *weight -= RATE * slope / square.sqrt();
    }
}

fn index(feature: u32) -> usize {
    usize::try_from(feature).unwrap_or(usize::MAX)
}
