"""Is a GGUF file that we made of a Hugging Face folder what llama.cpp's own converter would make, and does it run alike?

FOLDER OURS DENSE [LLAMA]    OURS was made of FOLDER, DENSE is what we decode OURS to; LLAMA is llama.cpp's llama-simple

Names are taken from gguf-py's table, rows of queries and keys are permuted as llama.cpp's converter does it, tokens come
from transformers. With LLAMA, both generate greedily from the same decoded weights.
"""

import json
import subprocess
import sys
from pathlib import Path

import gguf
import numpy as np
import torch
from gguf.quants import dequantize
from safetensors import safe_open
from safetensors.numpy import load_file
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

PROMPTS = ["The capital of France is", "Once upon a time, there was a", "def fibonacci(n):\n"]
TOKENS = 32


def permute(weights, heads):
    return weights.reshape(heads, 2, weights.shape[0] // heads // 2, *weights.shape[1:]).swapaxes(1, 2).reshape(weights.shape)


def unpermute(weights, heads):
    return weights.reshape(heads, weights.shape[0] // heads // 2, 2, *weights.shape[1:]).swapaxes(1, 2).reshape(weights.shape)


def heads_of(name, config):
    if config.model_type not in ("llama", "mistral"):
        return None
    key_heads = config.num_key_value_heads or config.num_attention_heads
    return config.num_attention_heads if "attn_q." in name else key_heads if "attn_k." in name else None


def source(folder):
    for path in sorted(Path(folder).glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():
                yield name, file.get_tensor(name)


def check_tokenizer(folder, reader):
    tokenizer = json.loads((Path(folder) / "tokenizer.json").read_text())
    field = lambda key: reader.fields[f"tokenizer.ggml.{key}"].contents()
    tokens, types = field("tokens"), field("token_type")
    vocabulary = {**tokenizer["model"]["vocab"], **{t["content"]: t["id"] for t in tokenizer["added_tokens"]}}
    for text, number in vocabulary.items():
        assert tokens[number] == text, f"token {number} is {tokens[number]!r}, {text!r} expected"
    special = {t["id"] for t in tokenizer["added_tokens"] if t["special"]}
    assert special == {i for i, kind in enumerate(types) if kind == 3}, "control tokens differ"
    merges = [m if isinstance(m, str) else " ".join(m) for m in tokenizer["model"]["merges"]]
    assert merges == field("merges"), "merges differ"
    print(f"{len(vocabulary)} tokens, {len(merges)} merges as in tokenizer.json, split as {field('pre')!r}")


def check_tensors(folder, config, reader, decoded):
    """Compares with gguf-py, bit for bit, and with the folder; returns what transformers is to load."""
    names = gguf.get_tensor_name_map(getattr(gguf.MODEL_ARCH, reader.fields["general.architecture"].contents().upper()),
                                     config.num_hidden_layers)
    ours = {t.name: t for t in reader.tensors}
    assert ours.keys() == decoded.keys(), "names differ"
    state, energy, error, count = {}, 0.0, 0.0, 0
    for name, original in source(folder):
        if config.tie_word_embeddings and name == "lm_head.weight":
            continue
        place = names.get_name(name, try_suffixes=(".weight", ".bias"))
        tensor = ours.pop(place)
        read = dequantize(tensor.data, tensor.tensor_type).astype(np.float32).reshape(original.shape)
        same = np.array_equal(read.view(np.uint32), decoded[place].astype(np.float32).reshape(read.shape).view(np.uint32))
        assert same, f"{place}: gguf-py decodes other values than we do"
        original = original.float().numpy()
        heads = heads_of(place, config)
        expected = permute(original, heads) if heads else original
        if tensor.tensor_type in (gguf.GGMLQuantizationType.F32, gguf.GGMLQuantizationType.F16, gguf.GGMLQuantizationType.BF16):
            close = np.array_equal(expected, read) or np.abs(expected - read).max() <= 2.0**-8 * np.abs(expected).max()
            assert close, f"{place}: carried over changed"
        else:
            energy += np.sum(expected.astype(np.float64) ** 2)
            error += np.sum((expected.astype(np.float64) - read) ** 2)
            count += read.size
        state[name] = torch.from_numpy(np.ascontiguousarray(unpermute(read, heads) if heads else read))
    assert set(ours) <= {"rope_freqs.weight"}, f"nothing asks for {list(ours)}"
    if count:
        sqnr = 10 * np.log10(energy / error)
        assert sqnr > 15, f"only {sqnr:.2f} dB: rows are out of place"
        print(f"{len(state)} tensors bit for bit as gguf-py decodes them; {count} weights in blocks, {sqnr:.3f} dB")
    else:
        print(f"{len(state)} tensors bit for bit as gguf-py decodes them")
    return state


def compare_generation(folder, config, state, ours, llama):
    model = AutoModelForCausalLM.from_config(config).float().eval()
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected and set(missing) <= {"lm_head.weight"}, (missing, unexpected)
    model.tie_weights()
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(Path(folder) / "tokenizer.json"))
    for prompt in PROMPTS:
        numbers = torch.tensor([tokenizer(prompt)["input_ids"]])
        with torch.no_grad():
            out = model.generate(numbers, max_new_tokens=TOKENS, do_sample=False, output_logits=True,
                                 return_dict_in_generate=True, pad_token_id=0)
        theirs = tokenizer.decode(out.sequences[0], skip_special_tokens=True)
        run = subprocess.run([llama, "-m", ours, "-n", str(TOKENS), prompt], capture_output=True, check=True)
        text = run.stdout.decode("utf-8", "replace").rstrip("\n")
        begin = numbers.shape[1]
        equal = 0
        for step in range(1, out.sequences.shape[1] - begin + 1):
            part = tokenizer.decode(out.sequences[0][: begin + step], skip_special_tokens=True)
            if not text.startswith(part.rstrip("\ufffd")):
                break
            equal = step
        else:
            print(f"{prompt!r}: {equal} greedy tokens alike: {theirs[len(prompt):]!r}")
            continue
        top = torch.topk(out.logits[equal][0], 2).values
        print(f"{prompt!r}: {equal} greedy tokens alike, then transformers' best two logits are {top[0] - top[1]:.4f} apart")
        assert top[0] - top[1] < 0.5, f"no near tie: {theirs!r} against {text!r}"


def main(folder, ours, dense, llama=None):
    config, reader = AutoConfig.from_pretrained(folder), gguf.GGUFReader(ours)
    check_tokenizer(folder, reader)
    state = check_tensors(folder, config, reader, load_file(dense))
    if llama:
        compare_generation(folder, config, state, ours, llama)
    else:
        print("llama.cpp was not run: give its `llama-simple` with --llama")


if __name__ == "__main__":
    main(*sys.argv[1:])
