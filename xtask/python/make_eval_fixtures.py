#!/usr/bin/env python3
"""Fixtures of crates/quant-eval/tests/fixtures, made by the real transformers.

    make_eval_fixtures.py tiny OUT            five tiny random models with their logits
    make_eval_fixtures.py real MODEL TEXT OUT.json    tokens of a text and ln p of each, by MODEL
    make_eval_fixtures.py score MODEL TOKENS.json OUT.json    ln p of the committed fixture's tokens, by any MODEL
    make_eval_fixtures.py compare EVAL.json FIXTURE.json    `quant eval --token-file … --json` against them
"""

import json
import math
import os
import sys

import torch
import transformers

TOLERANCE = 1e-3
TOKENS = 24


def tiny(out):
    shared = dict(vocab_size=96, hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=4, rms_norm_eps=1e-5)
    scaling = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=8, rope_theta=500.0)
    configs = {
        "llama": transformers.LlamaConfig(**shared, num_key_value_heads=2, tie_word_embeddings=True, rope_parameters=scaling),
        "mistral": transformers.MistralConfig(**shared, num_key_value_heads=1, head_dim=8, sliding_window=6, tie_word_embeddings=False),
        "qwen2": transformers.Qwen2Config(**shared, num_key_value_heads=4, tie_word_embeddings=True),
        "qwen3": transformers.Qwen3Config(**shared, num_key_value_heads=2, head_dim=10, tie_word_embeddings=True),
        "qwen2-windowed": transformers.Qwen2Config(**shared, num_key_value_heads=2, tie_word_embeddings=True, use_sliding_window=True, sliding_window=6, max_window_layers=1),
    }
    for seed, (name, config) in enumerate(configs.items()):
        torch.manual_seed(seed)
        config._attn_implementation = "eager"
        model = transformers.AutoModelForCausalLM.from_config(config).eval()
        with torch.no_grad():
            for key, parameter in model.named_parameters():
                # Norms and biases that differ from 1 and 0, and weights whose bf16 form is exact.
                noise = torch.randn_like(parameter)
                parameter.copy_((1 + 0.2 * noise if "norm" in key else 0.25 * noise).bfloat16().float())
        tokens = torch.randint(0, config.vocab_size, (1, TOKENS))
        with torch.inference_mode():
            logits = model(tokens).logits[0]
        folder = os.path.join(out, name)
        model.to(torch.bfloat16).save_pretrained(folder)
        os.remove(os.path.join(folder, "generation_config.json"))
        expected = dict(tokens=tokens[0].tolist(), logits=[[round(x, 6) for x in row] for row in logits[-1:].tolist()])
        expected["log_likelihoods"] = likelihoods(logits, tokens[0])
        with open(os.path.join(folder, "expected.json"), "w") as file:
            file.write(json.dumps(expected, separators=(",", ":")) + "\n")


def likelihoods(logits, tokens):
    scores = torch.log_softmax(logits.double(), -1)
    return [round(scores[i, tokens[i + 1]].item(), 7) for i in range(len(tokens) - 1)]


def real(model, text, out):
    tokenizer = transformers.AutoTokenizer.from_pretrained(model)
    loaded = transformers.AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
    tokens = tokenizer(open(text, encoding="utf-8").read(20000), return_tensors="pt", add_special_tokens=False).input_ids[0, :512]
    with torch.inference_mode():
        logits = loaded(tokens[None]).logits[0].float()
    fixture = dict(made_by=f"transformers {transformers.__version__}, torch {torch.__version__}, f32", model="SmolLM2-135M-Instruct, the Q4_1 release dequantized",
                   tokens=tokens.tolist(), log_likelihoods=[round(x, 5) for x in likelihoods(logits, tokens)])
    with open(out, "w") as file:
        file.write(json.dumps(fixture, separators=(",", ":")) + "\n")


def score(model, tokens_out, out):
    """Tokens of the committed fixture, brought into the model's vocabulary; says whether the fixture is of this model."""
    fixture = json.load(open(os.path.join(os.path.dirname(__file__), "../../crates/quant-eval/tests/fixtures/smollm2.json")))
    loaded = transformers.AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
    tokens = torch.tensor([t % loaded.config.vocab_size for t in fixture["tokens"]])
    with torch.inference_mode():
        found = likelihoods(loaded(tokens[None]).logits[0].float(), tokens)
    same = max(abs(a - b) for a, b in zip(found, fixture["log_likelihoods"])) < TOLERANCE
    print("the committed fixture is", "what transformers computes with this model" if same else "of another model")
    json.dump(tokens.tolist(), open(tokens_out, "w"))
    json.dump(dict(log_likelihoods=found), open(out, "w"))


def compare(ours, theirs):
    found = json.load(open(ours))["negative_log_likelihoods"]
    expected = [-x for x in json.load(open(theirs))["log_likelihoods"]]
    assert len(found) == len(expected), (len(found), len(expected))
    worst = max(abs(a - b) for a, b in zip(found, expected))
    a, b = (math.exp(sum(x) / len(x)) for x in (found, expected))
    print(f"{len(found)} tokens: perplexity {a:.5f}, transformers {b:.5f}, relative difference {abs(a / b - 1):.1e}; largest difference of ln p {worst:.1e}")
    assert abs(a / b - 1) <= TOLERANCE


if __name__ == "__main__":
    {"tiny": tiny, "real": real, "score": score, "compare": compare}[sys.argv[1]](*sys.argv[2:])
