//! Does the forward pass compute what transformers computes? Tiny random models of every supported architecture.

mod common;

use common::{NAMES, open};
use quant_eval::perplexity::{self, Plan};

#[test]
fn logits_and_likelihoods_are_those_of_transformers() {
    for name in NAMES {
        let (model, windows, expected) = open(name);
        let mut hidden = model.embed(&windows.concat()).unwrap();
        for index in 0..model.config().layer_count {
            let layer = model.layer(index).unwrap();
            model.advance(&layer, &mut hidden, windows.context(), &mut |_, _| ());
        }
        let logits = model.logits(&hidden).unwrap();
        let last = &logits[logits.len() - model.vocabulary()..];
        let scale = expected.logits[0].iter().fold(0.0, |m: f64, x| m.max(x.abs()));
        for (found, expected) in last.iter().zip(&expected.logits[0]) {
            assert!((f64::from(*found) - expected).abs() < 1e-5 * scale, "{name}: logit {found} instead of {expected}");
        }
        let score = perplexity::evaluate(&model, &windows, &Plan::full_precision(), &mut |_, _| ()).unwrap();
        assert_eq!(score.token_count(), expected.log_likelihoods.len(), "{name}");
        for (found, expected) in score.negative_log_likelihoods.iter().zip(&expected.log_likelihoods) {
            assert!((found + expected).abs() < 1e-4, "{name}: ln p {} instead of {expected}", -found);
        }
    }
}

#[test]
fn windows_do_not_see_each_other() {
    let (model, _, expected) = open("llama");
    let plan = Plan::full_precision();
    let score = |tokens: &[u32], context: usize| {
        let windows = quant_eval::text::Windows::new(tokens, context, context, None).unwrap();
        perplexity::evaluate(&model, &windows, &plan, &mut |_, _| ()).unwrap().negative_log_likelihoods
    };
    let (together, first) = (score(&expected.tokens, 12), score(&expected.tokens[..12], 12));
    let second = score(&expected.tokens[12..], 12);
    let apart = [first, second].concat();
    assert!(together.iter().zip(&apart).all(|(a, b)| (a - b).abs() < 1e-6), "{together:?} against {apart:?}");
}

#[test]
fn a_token_outside_the_vocabulary_is_refused() {
    let (model, ..) = open("qwen2");
    let error = model.embed(&[0, 96]).unwrap_err();
    assert!(error.is_refused_input() && error.to_string().contains("96"), "{error}");
}
