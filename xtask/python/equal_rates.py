#!/usr/bin/env python3
"""Methods of quant beside the k-quants of llama.cpp: SQNR at equal rate on the same matrices, in one run.

    python3 equal_rates.py QUANT LIBGGML_BASE FOLDER [--rows R] [--model CHECKPOINT.safetensors]...

Two matrices of R x 11008 f32 (R = 4096): 0.02 x standard normal, 0.02 x Student-t with 5 degrees of freedom; R = 0 leaves them out.
Then every linear of each checkpoint. Ours is the report of `quant quantize --preset`, all side information counted, and what `quant
dequantize` writes is compared with the weights once more. ggml's blocks are made by its own quantizers, without an importance
matrix, and decoded by gguf-py; they run on from row to row where a row is no whole number of blocks. FOLDER takes some 600 MB, or
twice a checkpoint.
"""

import argparse
import ctypes
import json
import subprocess
from pathlib import Path

import gguf
import numpy as np
from gguf.quants import dequantize
from iq4_nl import COLUMNS, matrix
from safetensors import safe_open
from safetensors.numpy import save_file

NAME = "model.layers.0.mlp.down_proj.weight"
OURS = ["switched4", "ecsq4.49", "lloyd4 --group 32 --double-quant", "iq4_nl", "switched3", "ecsq3.43"]
THEIRS = ["Q4_K", "IQ4_XS", "IQ4_NL", "Q3_K"]


def sqnr_db(pairs):
    """SQNR of decoded weights, for pairs of (weights, decoded)."""
    signal = noise = 0.0
    for x, decoded in pairs:
        for a, b in zip(np.array_split(x, 16), np.array_split(decoded, 16)):
            signal += np.sum(a.astype(np.float64) ** 2)
            noise += np.sum((a.astype(np.float64) - b) ** 2)
    return 10 * np.log10(signal / noise)


def ours(quant, folder, source, recipe):
    """Rate and SQNR of a checkpoint's linears by one of our recipes, and the names of those linears."""
    packed, decoded = (folder / f"{stem}.safetensors" for stem in ("packed", "decoded"))
    command = [quant, "quantize", source, packed, "--preset", *recipe.split(), "--overwrite", "--json", "-"]
    report = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    subprocess.run([quant, "dequantize", packed, decoded, "--overwrite"], capture_output=True, check=True)
    names = [tensor["name"] for tensor in report["tensors"] if "reason" not in tensor]
    with safe_open(source, "np") as given, safe_open(decoded, "np") as file:
        measured = sqnr_db((given.get_tensor(name), file.get_tensor(name)) for name in names)
    totals = report["totals"]
    assert abs(measured - totals["sqnr_db"]) < 1e-3, (measured, totals["sqnr_db"])
    return totals["rate_bits"], measured, names


def decode_by_ggml(library, x, kind):
    """Bytes of ggml's blocks of a matrix, and what they stand for."""
    block_len, block_bytes = gguf.GGML_QUANT_SIZES[kind]
    # Blocks that cross rows have the samples of a matrix as one row.
    columns = COLUMNS if x.size % COLUMNS == 0 else x.size
    if columns % block_len != 0:
        raise SystemExit(f"{x.shape[0]} x {x.shape[1]} weights are no whole number of {kind.name}'s blocks of {block_len}")
    blocks = np.empty((x.size // columns, columns // block_len * block_bytes), np.uint8)
    name = kind.name if kind.name.endswith("_K") else kind.name.lower()
    function = getattr(library, f"quantize_{name[0].lower() + name[1:]}")
    function.restype = ctypes.c_size_t
    pointer = lambda array: array.ctypes.data_as(ctypes.c_void_p)
    function(pointer(x), pointer(blocks), ctypes.c_int64(len(blocks)), ctypes.c_int64(columns), None)
    decoded = [dequantize(part, kind).ravel() for part in np.array_split(blocks, min(16, len(blocks)))]
    return blocks.size, np.concatenate(decoded).reshape(x.shape)


def theirs(library, source, names, kind):
    """Rate and SQNR of the same linears by one of ggml's formats."""
    kind, sizes = gguf.GGMLQuantizationType[kind], []

    def pairs(file):
        for name in names:
            x = np.ascontiguousarray(file.get_tensor(name), np.float32)
            block_bytes, decoded = decode_by_ggml(library, x, kind)
            sizes.append((block_bytes, x.size))
            yield x, decoded

    with safe_open(source, "np") as file:
        db = sqnr_db(pairs(file))
    block_bytes, samples = map(sum, zip(*sizes))
    return 8 * block_bytes / samples, db


def compare(arguments, library, title, source):
    found = [(recipe, ours(arguments.quant, arguments.folder, source, recipe)) for recipe in OURS]
    names = found[0][1][2]
    assert all(entry[1][2] == names for entry in found)
    rows = [(recipe, rate, db) for recipe, (rate, db, _) in found]
    rows += [(f"ggml {kind}", *theirs(library, source, names, kind)) for kind in THEIRS]
    for method, rate, db in sorted(rows, key=lambda row: (-round(row[1]), row[2])):
        print(f"| {title} | {method} | {rate:.4f} | {db:.2f} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("quant")
    parser.add_argument("library")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=4096)
    parser.add_argument("--model", type=Path, action="append", default=[])
    arguments = parser.parse_args()
    library = ctypes.CDLL(arguments.library)
    print("| weights | method | rate (bits) | SQNR (dB) |\n| --- | --- | ---: | ---: |")
    for title in ("Gaussian", "Student-t 5") if arguments.rows > 0 else ():
        source = arguments.folder / "matrix.safetensors"
        save_file({NAME: matrix(title, arguments.rows)}, source)
        compare(arguments, library, title, source)
    for source in arguments.model:
        compare(arguments, library, source.parent.name, source)


if __name__ == "__main__":
    main()
