#!/usr/bin/env python3
"""Methods of quant beside the k-quants of llama.cpp: SQNR at equal rate on the same matrices, in one run.

    python3 equal_rates.py QUANT LIBGGML_BASE FOLDER [--rows R]

Two matrices of R x 11008 f32 (R = 4096): 0.02 x standard normal, 0.02 x Student-t with 5 degrees of freedom. Ours is the report of
`quant quantize --preset`, all side information counted, and what `quant dequantize` writes is compared with the matrix once more.
ggml's blocks are made by its own quantizers, without an importance matrix, and decoded by gguf-py. FOLDER takes some 600 MB.
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


def sqnr_db(x, decoded):
    parts = zip(np.array_split(x, 16), np.array_split(decoded, 16))
    sums = [(np.sum(a.astype(np.float64) ** 2), np.sum((a.astype(np.float64) - b) ** 2)) for a, b in parts]
    signal, noise = map(sum, zip(*sums))
    return 10 * np.log10(signal / noise)


def ours(quant, folder, x, recipe):
    source, packed, decoded = (folder / f"{stem}.safetensors" for stem in ("matrix", "packed", "decoded"))
    command = [quant, "quantize", source, packed, "--preset", *recipe.split(), "--overwrite", "--json", "-"]
    totals = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)["totals"]
    subprocess.run([quant, "dequantize", packed, decoded, "--overwrite"], capture_output=True, check=True)
    with safe_open(decoded, "np") as file:
        measured = sqnr_db(x, file.get_tensor(NAME))
    assert abs(measured - totals["sqnr_db"]) < 1e-3, (measured, totals["sqnr_db"])
    return totals["rate_bits"], measured


def theirs(library, x, kind):
    kind = gguf.GGMLQuantizationType[kind]
    block_len, block_bytes = gguf.GGML_QUANT_SIZES[kind]
    blocks = np.empty((len(x), COLUMNS // block_len * block_bytes), np.uint8)
    name = kind.name if kind.name.endswith("_K") else kind.name.lower()
    function = getattr(library, f"quantize_{name[0].lower() + name[1:]}")
    function.restype = ctypes.c_size_t
    pointer = lambda array: array.ctypes.data_as(ctypes.c_void_p)
    function(pointer(x), pointer(blocks), ctypes.c_int64(len(x)), ctypes.c_int64(COLUMNS), None)
    decoded = [dequantize(part, kind).reshape(len(part), COLUMNS) for part in np.array_split(blocks, 16)]
    return 8 * blocks.size / x.size, sqnr_db(x, np.concatenate(decoded))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("quant")
    parser.add_argument("library")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=4096)
    arguments = parser.parse_args()
    library = ctypes.CDLL(arguments.library)
    print("| matrix | method | rate (bits) | SQNR (dB) |\n| --- | --- | ---: | ---: |")
    for name in ("Gaussian", "Student-t 5"):
        x = matrix(name, arguments.rows)
        save_file({NAME: x}, arguments.folder / "matrix.safetensors")
        found = [(f"ggml {kind}", theirs(library, x, kind)) for kind in THEIRS]
        found += [(recipe, ours(arguments.quant, arguments.folder, x, recipe)) for recipe in OURS]
        for method, (rate, db) in sorted(found, key=lambda entry: (-round(entry[1][0]), entry[1][1])):
            print(f"| {name} | {method} | {rate:.4f} | {db:.2f} |")


if __name__ == "__main__":
    main()
