"""Layouts with a table per output channel, read by the tools that they come from, on a processor without a GPU.

usage: row_tables.py squeezellm    SOURCES MODEL NATIVE OURS DENSE
       row_tables.py any-precision SOURCES MODEL NATIVE OURS DENSE

SOURCES is a checkout of SqueezeLLM or any-precision-llm. NATIVE and OURS are what quant made of MODEL by one recipe, with --to native
and --to the layout; DENSE is OURS after `quant dequantize --dtype f32`.

1. Their packing code is given the codes and tables of NATIVE (for any-precision rounded to f16, with codes that are nearest then) and
   must make the very bytes of OURS.
2. An unpacking written from the kernels must give exactly DENSE.
3. Their loading code must take OURS: SqueezeLLM's `load_quant` a file made by torch.save, any-precision's `from_quantized` the folder
   itself; the latter then generates logits, with the kernel replaced by the unpacking of 2, equal to those of the dense weights.

Exits 1 when anything differs.
"""

import importlib.util
import json
import sys
import tempfile
import types
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open


class Folder:
    """The tensors of all safetensors files of a folder."""

    def __init__(self, path):
        self.path = Path(path)
        self.files = [safe_open(file, "pt") for file in sorted(self.path.glob("*.safetensors"))]
        self.place = {name: file for file in self.files for name in file.keys()}

    def get(self, name):
        return self.place[name].get_tensor(name)

    def state(self):
        return {name: self.get(name) for name in self.place}

    def manifest(self):
        texts = [(file.metadata() or {}).get("quant.manifest") for file in self.files]
        return {name: tensor for text in texts if text for name, tensor in json.loads(text)["tensors"].items()}


def must(condition, what):
    if not condition:
        sys.exit(f"error: {what}")


def native_codes(packed, bits, columns):
    """Codes of docs/format.md: b bits each, low bits first."""
    flat = np.unpackbits(packed.numpy(), axis=1, bitorder="little")[:, : columns * bits]
    weights = 1 << np.arange(bits)
    return (flat.reshape(len(flat), columns, bits) * weights).sum(axis=2).astype(np.uint8)


def same(ours, theirs, what):
    must(ours.dtype == theirs.dtype and ours.shape == theirs.shape, f"{what}: {ours.dtype} {tuple(ours.shape)}, {theirs.dtype} {tuple(theirs.shape)}")
    must(ours.numpy().tobytes() == theirs.contiguous().numpy().tobytes(), f"{what}: bytes differ")


def module(name, path):
    spec = importlib.util.spec_from_file_location(name, path)
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[name] = loaded
    spec.loader.exec_module(loaded)
    return loaded


# ---- SqueezeLLM


def squeezellm_unpacked(qweight, table):
    """Field by field, as the kernels take three and four bits out of words."""
    words = qweight.numpy().view(np.uint32).astype(np.uint64)
    bits = int(table.shape[1]).bit_length() - 1
    per = bits  # words of 32 codes
    blocks = words.reshape(-1, per, words.shape[1])
    codes = np.zeros((blocks.shape[0], 32, words.shape[1]), np.int64)
    for i in range(32):
        word, shift = divmod(i * bits, 32)
        field = blocks[:, word] >> np.uint64(shift)
        if shift + bits > 32:
            field |= blocks[:, word + 1] << np.uint64(32 - shift)
        codes[:, i] = (field & np.uint64((1 << bits) - 1)).astype(np.int64)
    codes = codes.reshape(-1, words.shape[1]).T
    return codes, np.take_along_axis(table.numpy(), codes, axis=1)


def squeezellm_layer(quant, name, tensor, native, ours, original):
    """Their packing of our codes, compared with ours; returns the weights that the kernels compute with."""
    layer, bits, (rows, columns) = name.removesuffix(".weight"), tensor["bit_width"], tensor["shape"]
    codes = native_codes(native.get(f"{name}.codes"), bits, columns)
    table = native.get(f"{name}.levels").numpy()
    sparse = None
    if tensor.get("outlier_count"):
        starts = native.get(f"{name}.outliers.rows").numpy().astype(np.int64)
        at = np.repeat(np.arange(rows), np.diff(starts)), native.get(f"{name}.outliers.columns").numpy().astype(np.int64)
        # The code of a weight that was taken out is that of the centroid nearest to zero: what a row of zeros is assigned to.
        codes[at] = np.abs(table).argmin(axis=1)[at[0]]
        dense = torch.zeros(rows, columns)
        dense[at] = original.float()[at]
        sparse = dense.to_sparse()
    linear = torch.nn.Linear(columns, rows, bias=False)
    theirs = quant.QuantLinearLUT(bits, columns, rows, False, include_sparse=sparse is not None, balanced=sparse is not None)
    table_of_rows = [[(table[row], codes[row])] for row in range(rows)]
    theirs.pack2(linear, (table_of_rows, sparse), sparse is not None, num_nonzero_per_thread=10)
    parts = ["qweight", "lookup_table"] + (["rows", "cols", "vals", "startrows"] if sparse is not None else [])
    for part in parts:
        same(ours.get(f"{layer}.{part}"), getattr(theirs, part), f"{layer}.{part}")
    _, weights = squeezellm_unpacked(ours.get(f"{layer}.qweight"), ours.get(f"{layer}.lookup_table"))
    if sparse is not None:
        rest = torch.sparse_csr_tensor(*(ours.get(f"{layer}.{part}") for part in ["rows", "cols", "vals"]), size=(rows, columns))
        weights = weights + rest.to_dense().numpy()
        lost = np.abs(weights - original.float().numpy())[at].max()
        must(lost <= 1e-6 * float(original.abs().max()), f"{layer}: an outlier is {lost} off")
    return weights, len(parts)


def squeezellm(sources, model, native, ours, dense):
    # The CUDA extension is asked for when the file is read, and used in the forward pass only.
    sys.modules["quant_cuda"] = types.ModuleType("quant_cuda")
    # In place of the folder of this script, which has a squeezellm.py of its own.
    sys.path[0] = str(sources)
    quant = module("squeezellm.quant", sources / "squeezellm/quant.py")
    manifest, compared = native.manifest(), 0
    must(manifest, f"{native.path}: no manifest")
    for name, tensor in manifest.items():
        weights, parts = squeezellm_layer(quant, name, tensor, native, ours, model.get(name))
        must(np.array_equal(weights.astype(np.float32), dense.get(name).numpy()), f"{name}: `quant dequantize` differs from the kernels")
        compared += parts
    print(f"SqueezeLLM's pack2 makes the same bytes of {compared} tensors of {len(manifest)} layers; unpacked weights are equal")
    squeezellm_loads(sources, model.path, ours, manifest)


def squeezellm_loads(sources, model, ours, manifest):
    """The recipe of docs/format.md, then their loader."""
    state = ours.state()
    sparse = {name.removesuffix(".qweight") for name in state if name.endswith(".qweight")}
    sparse = {f"sparse_threshold.{layer}": len(state[f"{layer}.vals"]) for layer in sparse if f"{layer}.vals" in state}
    bits = next(iter(manifest.values()))["bit_width"]
    with tempfile.TemporaryDirectory() as place:
        path = f"{place}/{ours.path.name}.pt"
        torch.save(state | sparse, path)
        llama = module("squeezellm_llama", sources / "llama.py")
        loaded = llama.load_quant(str(model), path, bits, bool(sparse), 0).state_dict()
    layers = 0
    for name in manifest:
        layer = name.removesuffix(".weight")
        for part in ["qweight", "lookup_table"] + (["rows", "cols", "vals"] if sparse else []):
            same(ours.get(f"{layer}.{part}"), loaded[f"{layer}.{part}"], f"loaded {layer}.{part}")
        layers += 1
    print(f"SqueezeLLM's load_quant holds our tensors in {layers} layers of {len(sparse)} with outliers")


# ---- any-precision


def any_precision_codes(qweight, bits):
    """Word t of 32 holds in byte i, from the high one, the inputs 8 (32 i + t) ...; a shorter last run has fewer words."""
    planes = qweight.numpy().view(np.uint32)
    _, rows, words = planes.shape
    columns = words * 32
    codes = np.zeros((rows, columns), np.int64)
    for start in range(0, words, 32):
        run = planes[:bits, :, start : start + 32]
        lanes = run.shape[2]
        big = run.astype(">u4").view(np.uint8).reshape(bits, rows, lanes, 4).transpose(0, 1, 3, 2).reshape(bits, rows, -1)
        of_planes = np.unpackbits(big, axis=2)
        for plane in of_planes:
            codes[:, start * 32 : start * 32 + lanes * 32] = codes[:, start * 32 : start * 32 + lanes * 32] << 1 | plane
        # Planes were shifted in one after the other, the highest bit first.
    return codes


def any_precision_weights(qweight, table, bits):
    return torch.from_numpy(np.take_along_axis(table.numpy(), any_precision_codes(qweight, bits), axis=1))


def nearest(values, table):
    """Codes by the rule of the project: the number of thresholds, midpoints rounded down to f32, strictly below."""
    middle = (table[:, 1:].astype(np.float64) + table[:, :-1]) / 2
    below = middle.astype(np.float32)
    below = np.where(below > middle, np.nextafter(below, np.float32(-np.inf)), below)
    return (values[:, :, None] > below[:, None, :]).sum(axis=2).astype(np.uint8)


def any_precision_layers(pack, model, native, ours):
    """Their packing of one layer of the model at a time."""
    manifest, layers, compared = native.manifest(), {}, 0
    for name in manifest:
        before, number, after = split_at_number(name.removesuffix(".weight"))
        layers.setdefault((before, number), []).append(after)
    for (before, number), modules in layers.items():
        weights, tables = {}, {}
        for after in modules:
            name = f"{before}.{number}.{after}.weight"
            table = native.get(f"{name}.levels").numpy().astype(np.float16).astype(np.float32)
            bits = manifest[name]["bit_width"]
            weights[after] = nearest(model.get(name).float().numpy(), table)[:, None, :]
            tables[after] = [[row] for row in table]
        with tempfile.TemporaryDirectory() as place:
            place = Path(place)
            for folder, content in [("weights", weights), (f"lut_{bits}", tables)]:
                (place / folder).mkdir()
                torch.save(content, place / folder / f"l{number}.pt")
            whole, _, listed = before.rpartition(".")
            _, made = pack._process_layer_data((int(number), str(place), whole, listed, modules, bits, bits))
        for name, theirs in made.items():
            same(ours.get(name), torch.from_numpy(theirs), name)
            compared += 1
    return manifest, compared


def split_at_number(layer):
    parts = layer.split(".")
    at = next(i for i, part in enumerate(parts) if part.isdigit())
    return ".".join(parts[:at]), parts[at], ".".join(parts[at + 1 :])


def any_precision(sources, model, native, ours, dense):
    pack = module("any_precision_pack", sources / "any_precision/quantization/pack.py")
    manifest, compared = any_precision_layers(pack, model, native, ours)
    for name, tensor in manifest.items():
        layer, bits = name.removesuffix(".weight"), tensor["bit_width"]
        weights = any_precision_weights(ours.get(f"{layer}.qweight"), ours.get(f"{layer}.lut{bits}"), bits)
        must(torch.equal(weights.float(), dense.get(name)), f"{name}: `quant dequantize` differs from the kernels")
    print(f"any-precision's pack makes the same bytes of {compared} tensors of {len(manifest)} layers; unpacked weights are equal")
    any_precision_loads(sources, ours, dense)


def any_precision_loads(sources, ours, dense):
    """Their loader and forward pass, with the kernels in numpy."""
    from transformers import AutoModelForCausalLM

    kernels = types.ModuleType("any_precision_ext")
    kernels.dequant_kbit = lambda qweight, table, bits: any_precision_weights(qweight, table, bits)
    kernels.matmul_kbit = lambda x, qweight, table, bits: x @ any_precision_weights(qweight, table, bits).T
    sys.modules["any_precision_ext"] = kernels
    # The package would import its quantizer, with packages that no loader needs.
    for name, folder in [("any_precision", ""), ("any_precision.modules", "modules"), ("any_precision.analyzer", "analyzer")]:
        package = types.ModuleType(name)
        package.__path__ = [str(sources / "any_precision" / folder)]
        sys.modules[name] = package
    sys.modules["any_precision.analyzer"].get_analyzer = module("any_precision.analyzer.analyzer", sources / "any_precision/analyzer/analyzer.py").get_analyzer
    loader = module("any_precision.modules.AnyPrecisionForCausalLM", sources / "any_precision/modules/AnyPrecisionForCausalLM.py")
    theirs = loader.AnyPrecisionForCausalLM.from_quantized(str(ours.path))
    plain = AutoModelForCausalLM.from_pretrained(str(dense.path), dtype=torch.float16)
    tokens = torch.arange(3, 23)[None]
    with torch.inference_mode():
        a, b = theirs(tokens).logits, plain(tokens).logits
    must(torch.isfinite(a).all() and torch.equal(a, b), f"logits differ by {(a - b).abs().max()}")
    print(f"any-precision's from_quantized loads {len(theirs.ap_linears)} layers; logits equal those of the dense weights")


if __name__ == "__main__":
    must(len(sys.argv) == 7, __doc__)
    layout, sources = sys.argv[1], Path(sys.argv[2]).resolve()
    run = {"squeezellm": squeezellm, "any-precision": any_precision}[layout]
    run(sources, *(Folder(path) for path in sys.argv[3:]))
