"""Loads a bitsandbytes folder and the dense folder of the same recipe, and compares weights and generated tokens.

usage: check_bitsandbytes.py BITSANDBYTES DENSE

Both are loaded by transformers on the CPU; DENSE is in the dtype of the model, to which bitsandbytes rounds what it decodes. Every
weight that bitsandbytes decodes must equal the dense one, and 32 greedy tokens from each of three prompts must be those of the dense
weights twice, computing in f32: from the quantized layers, and from the model that transformers' own `dequantize()` makes of them.
Exits 1 otherwise.

On processors with AVX-512 BF16, bitsandbytes multiplies in bf16 even when asked for f32, and rounds the scales to bf16 first, so its stock
kernel works with other weights than it decodes. It is switched off for the comparison of tokens. With it, every layer's output must be within
1 % of the dense weights' (bf16 rounding is 0.3 %), and what it generates is printed for information.
"""

import sys
from pathlib import Path

import torch
from bitsandbytes import functional as bnb
from bitsandbytes.nn import Linear4bit
from transformers import AutoModelForCausalLM, AutoTokenizer

PROMPTS = ["The capital of France is", "Once upon a time, there was a little", "def fibonacci(n):"]
TOKEN_COUNT = 32
BF16_TOLERANCE = 0.01


def prompts(folder, vocabulary):
    """Token ids of the prompts; seeded ids where the folder has no tokenizer."""
    if (Path(folder) / "tokenizer.json").exists():
        tokenizer = AutoTokenizer.from_pretrained(folder)
        return [tokenizer(text, return_tensors="pt").input_ids for text in PROMPTS], tokenizer
    generator = torch.Generator().manual_seed(7)
    return [torch.randint(3, vocabulary, (1, 8), generator=generator) for _ in PROMPTS], None


def weights(quantized, dense):
    """Number of layers and weights compared, of weights that differ, and the largest difference."""
    dense_modules = dict(dense.named_modules())
    layers = [(name, m) for name, m in quantized.named_modules() if isinstance(m, Linear4bit)]
    count = differing = 0
    largest = 0.0
    for name, module in layers:
        decoded = bnb.dequantize_4bit(module.weight.data, module.weight.quant_state).float()
        difference = (decoded - dense_modules[name].weight.data.float()).abs()
        count += difference.numel()
        differing += int((difference > 0).sum())
        largest = max(largest, float(difference.max()))
    return len(layers), count, differing, largest


def bf16_failures(layers, dense):
    """Prints the largest relative error of the bf16 kernel's outputs; returns the number of layers beyond the tolerance."""
    dense_modules = dict(dense.named_modules())
    generator = torch.Generator().manual_seed(7)
    errors = []
    with torch.inference_mode():
        for name, layer in layers:
            for row_count in (1, 8):
                x = torch.randn(1, row_count, layer.in_features, generator=generator)
                expected = torch.nn.functional.linear(x, dense_modules[name].weight)
                output = layer(x) if layer.bias is None else layer(x) - layer.bias
                errors.append(float((output - expected).norm() / expected.norm()))
    print(f"bf16 kernel: the outputs of {len(layers)} layers differ by at most {max(errors):.2%} from those of the dense weights")
    return sum(error > BF16_TOLERANCE for error in errors)


def tokens(model, ids):
    with torch.inference_mode():
        out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=TOKEN_COUNT, min_new_tokens=TOKEN_COUNT,
                             do_sample=False, pad_token_id=0)
    return out[0, ids.shape[1]:]


def compare(label, model, ids, expected):
    """Prints how many tokens are those expected; returns the number of prompts that fail."""
    same = [int((tokens(model, prompt) == theirs).sum()) for prompt, theirs in zip(ids, expected)]
    print(f"{label}: {same} of {TOKEN_COUNT} tokens are those of the dense weights")
    return sum(count != TOKEN_COUNT for count in same)


def main():
    torch.set_num_threads(2)
    quantized = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32).eval()
    dense = AutoModelForCausalLM.from_pretrained(sys.argv[2], dtype=torch.float32).eval()
    layer_count, count, differing, largest = weights(quantized, dense)
    print(f"{layer_count} layers, {count} weights: {differing} differ from the dense folder, largest difference {largest:g}")
    ids, tokenizer = prompts(sys.argv[2], dense.config.vocab_size)
    expected = [tokens(dense, prompt) for prompt in ids]
    for theirs in expected:
        print(f"dense weights: {repr(tokenizer.decode(theirs)) if tokenizer else theirs.tolist()}")
    layers = [(name, m) for name, m in quantized.named_modules() if isinstance(m, Linear4bit)]
    stock = [m.support_avx512bf16_for_cpu for _, m in layers]
    for _, layer in layers:
        layer.support_avx512bf16_for_cpu = False
    failures = int(differing > 0) + int(layer_count == 0) + compare("quantized layers", quantized, ids, expected)
    if any(stock):
        for _, layer in layers:
            layer.support_avx512bf16_for_cpu = True
        failures += bf16_failures(layers, dense)
        compare("for information, quantized layers with the bf16 kernel", quantized, ids, expected)
    # As stored: the bf16 kernel repacks the weights of a model that it has run.
    decoded = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32).dequantize().float().eval()
    failures += compare("dequantize()", decoded, ids, expected)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
