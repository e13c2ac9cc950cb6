"""Does gguf-py, an implementation not related to ours, read our GGUF file as we do?

make FILE                  a small GGUF file of random weights, written by gguf-py
check SOURCE OURS DENSE    OURS was quantized from SOURCE, DENSE is what we decode OURS to, as safetensors
"""

import sys

import gguf
import numpy as np
from gguf.quants import dequantize
from safetensors.numpy import load_file


def make(path):
    random = np.random.default_rng(7)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_string("general.name", "random")
    writer.add_token_list(["<s>", "\u0120the", "\u0120of"])
    shapes = {"token_embd.weight": (64, 256), "blk.0.attn_q.weight": (256, 256), "blk.0.ffn_down.weight": (256, 704)}
    for name, shape in shapes.items():
        writer.add_tensor(name, (0.02 * random.standard_normal(shape)).astype(np.float32))
    writer.add_tensor("blk.0.attn_norm.weight", np.ones(256, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def values(tensor):
    return dequantize(tensor.data, tensor.tensor_type).astype(np.float32).reshape(-1)


def metadata(reader):
    changed = ("GGUF.", "general.file_type", "general.quantization_version")
    return {key: field.contents() for key, field in reader.fields.items() if not key.startswith(changed)}


def check(source, ours, dense):
    before, after, decoded = gguf.GGUFReader(source), gguf.GGUFReader(ours), load_file(dense)
    assert metadata(before) == metadata(after), "metadata differs"
    originals = {tensor.name: tensor for tensor in before.tensors}
    assert originals.keys() == {tensor.name for tensor in after.tensors} == decoded.keys(), "names differ"
    energy = error = bits = count = 0
    for tensor in after.tensors:
        read, original = values(tensor), values(originals[tensor.name])
        same = np.array_equal(read.view(np.uint32), decoded[tensor.name].astype(np.float32).reshape(-1).view(np.uint32))
        assert same, f"{tensor.name}: gguf-py decodes other values than we do"
        if tensor.tensor_type == originals[tensor.name].tensor_type:
            assert np.array_equal(tensor.data, originals[tensor.name].data), f"{tensor.name}: carried over changed"
            continue
        energy += np.sum(original.astype(np.float64) ** 2)
        error += np.sum((original.astype(np.float64) - read) ** 2)
        bits += 8 * tensor.n_bytes
        count += read.size
    assert count > 0, "nothing was quantized"
    print(f"{len(after.tensors)} tensors equal; {count} weights at {bits / count:.3f} bits, {10 * np.log10(energy / error):.3f} dB")


if __name__ == "__main__":
    {"make": make, "check": check}[sys.argv[1]](*sys.argv[2:])
