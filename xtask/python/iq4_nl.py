"""IQ4_NL by us and by ggml: error and speed per core, in turn in one run.

    python iq4_nl.py QUANT LIBGGML_BASE FOLDER [ROUNDS [KERNELS]]

Two matrices of 4096 x 11008 f32: 0.02 x standard normal, 0.02 x Student-t with 5 degrees of freedom. Ours is the whole of
`quant quantize --preset iq4_nl --to gguf --threads 1`, reading and writing included, as its report times it; ggml's is
quantize_iq4_nl on the first 256 rows, which lie in memory. SQNR is what gguf-py decodes. KERNELS is the example iq4_nl of
the crate quant: weights of the same distributions to blocks, both in memory, as ggml does it.
"""

import ctypes
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import gguf
import numpy as np
from gguf.quants import dequantize

ROWS, COLUMNS, THEIRS = 4096, 11008, 256


def matrix(name, rows=ROWS):
    """Weights of the shape of a layer, seeded."""
    random = np.random.default_rng(7)
    normal = random.standard_normal((rows, COLUMNS), dtype=np.float32)
    if name == "Gaussian":
        return np.float32(0.02) * normal
    chi = random.chisquare(5, size=(rows, COLUMNS)).astype(np.float32)
    return np.float32(0.02) * normal / np.sqrt(chi / 5)


def sqnr_db(x, decoded):
    signal = np.sum(x.astype(np.float64) ** 2)
    return 10 * np.log10(signal / np.sum((x.astype(np.float64) - decoded) ** 2))


def write(path, x):
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tensor("blk.0.ffn_up.weight", x)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def ours(quant, source, output):
    command = [quant, "quantize", source, output, "--preset", "iq4_nl", "--to", "gguf", "--threads", "1", "--overwrite"]
    report = subprocess.run([*command, "--json", "-"], capture_output=True, check=True).stdout
    return json.loads(report)["totals"]["seconds"]


def theirs(library, x, blocks):
    pointer = lambda array: array.ctypes.data_as(ctypes.c_void_p)
    start = time.perf_counter()
    library.quantize_iq4_nl(pointer(x), pointer(blocks), ctypes.c_int64(len(x)), ctypes.c_int64(COLUMNS), None)
    return time.perf_counter() - start


def in_memory(kernels, name):
    command = [kernels, "student" if name.startswith("Student") else "normal", "3"]
    lines = subprocess.run(command, capture_output=True, check=True, text=True).stdout.splitlines()
    # The first round touches the buffers for the first time.
    return statistics.median(float(line.split()[0]) for line in lines[1:]) * 1e6


def main(quant, library, folder, rounds="5", kernels=None):
    library, folder = ctypes.CDLL(library), Path(folder)
    library.quantize_iq4_nl.restype = ctypes.c_size_t
    print("| matrix | ours (dB) | ggml (dB) | ours (M weights/s) | ggml (M weights/s) | ratio, median of rounds |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for name in ("Gaussian", "Student-t 5"):
        x = matrix(name)
        source, output = folder / "matrix.gguf", folder / "matrix-iq4_nl.gguf"
        write(source, x)
        blocks = np.empty((THEIRS, COLUMNS // 32 * 18), np.uint8)
        part = np.ascontiguousarray(x[:THEIRS])
        rates, kernel_rates = [], []
        for _ in range(int(rounds)):
            rates.append((x.size / ours(quant, source, output), part.size / theirs(library, part, blocks)))
            if kernels:
                kernel_rates.append(in_memory(kernels, name))
        tensor = gguf.GGUFReader(output).tensors[0]
        mine = sqnr_db(x, dequantize(tensor.data, tensor.tensor_type).reshape(x.shape))
        other = sqnr_db(part, dequantize(blocks, gguf.GGMLQuantizationType.IQ4_NL).reshape(part.shape))
        ratio = statistics.median(a / b for a, b in rates)
        best = [max(rate) / 1e6 for rate in zip(*rates)]
        print(f"| {name} | {mine:.3f} | {other:.3f} | {best[0]:.1f} | {best[1]:.2f} | {ratio:.1f} |")
        if kernels:
            ratio = statistics.median(k / b for k, (_, b) in zip(kernel_rates, rates))
            print(f"| {name}, in memory | | | {max(kernel_rates) / 1e6:.1f} | {best[1]:.2f} | {ratio:.1f} |")


if __name__ == "__main__":
    main(*sys.argv[1:])
