//! Learns how the parts of a text are put together: a logistic function of a few numbers, of the view that is most suspicious.

use guard::look::Look;
use guard::model::Head;

/// Passes over all texts.
const EPOCHS: usize = 60;
const RATE: f64 = 0.5;
const SHRINK: f64 = 1e-4;
/// What the coefficients begin with: the most suspicious window alone.
const BEGIN: f32 = 1.0;

/// A text in its views, whether it is an attack, and how much it counts.
pub(crate) struct Example<'a> {
    pub(crate) looks: &'a [Look],
    pub(crate) is_attack: bool,
    pub(crate) importance: f64,
}

/// The view that the head finds most suspicious, and what it says of it.
pub(crate) fn most(head: &Head, looks: &[Look]) -> Option<(f32, usize)> {
    let logits = looks.iter().map(|look| head.logit(&look.inputs)).zip(0..);
    logits.max_by(|(one, _), (other, _)| one.total_cmp(other))
}

/// Learns it.
pub(crate) fn learn(examples: &[Example<'_>]) -> Head {
    let mut coefficients = [0.0; Head::INPUTS];
    coefficients[0] = BEGIN;
    let mut head = Head { coefficients, constant: 0.0 };
    let total: f64 = examples.iter().map(|example| example.importance).sum();
    // Inputs differ in size: each coefficient has a step of its own (AdaGrad on the whole slope).
    let mut squares = [1e-8; Head::INPUTS + 1];
    for _ in 0..EPOCHS {
        let mut slopes = [0.0; Head::INPUTS + 1];
        for example in examples {
            let Some((logit, view)) = most(&head, example.looks) else { continue };
            let Some(look) = example.looks.get(view) else { continue };
            let says = 1.0 / (1.0 + (-f64::from(logit)).exp());
            let slope = (says - f64::from(u8::from(example.is_attack))) * example.importance / total;
            let inputs = look.inputs.iter().copied().chain([1.0]);
            slopes.iter_mut().zip(inputs).for_each(|(sum, input)| *sum += slope * f64::from(input));
        }
        let values = head.coefficients.iter_mut().chain([&mut head.constant]);
        for ((value, slope), square) in values.zip(slopes).zip(&mut squares) {
            let slope = slope + SHRINK * f64::from(*value);
            *square += slope * slope;
            #[expect(clippy::cast_possible_truncation, reason = "a coefficient needs no more")]
            let step = (RATE * slope / square.sqrt()) as f32;
            *value -= step;
        }
    }
    head
}
