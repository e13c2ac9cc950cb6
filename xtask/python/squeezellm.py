#!/usr/bin/env python3
"""SqueezeLLM's recipe, one weighted k-means for each row: scikit-learn beside `quant`, on one layer in one run.

    python3 squeezellm.py QUANT FOLDER [--rows R] [--sample S] [--bits B]

QUANT is the release build of the command, FOLDER takes some 700 MB. The layer has R x 11008 weights of N(0, 0.02^2) in f32
and weights of errors from chi-squared(1). scikit-learn does S of the rows, as SqueezeLLM's published script calls it, in
one process with one thread; its time is scaled to R rows and divided by the processors, as if it were perfectly parallel. (With
more threads each step ends in a barrier that spins: a busy machine then takes twenty times as long.) Time of `quant` is
that of the whole command: files read, levels found, weights encoded, measured and written.
"""

import argparse
import json
import os
import subprocess
import time
import warnings

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits

NAME = "model.layers.0.mlp.down_proj.weight"


def layer(folder, rows):
    """Writes weights and sensitivities; returns both with their paths."""
    noise = np.random.default_rng(7)
    weights = (0.02 * noise.standard_normal((rows, 11008))).astype(np.float32)
    sensitivities = noise.chisquare(1, (rows, 11008)).astype(np.float32)
    paths = [os.path.join(folder, name + ".safetensors") for name in ("layer", "fisher")]
    for path, values in zip(paths, (weights, sensitivities)):
        save_file({NAME: values}, path)
    return weights, sensitivities, paths


def ours(command, paths, bits, folder):
    """Seconds, report, and the decoded layer."""
    packed, decoded = os.path.join(folder, "ours.safetensors"), os.path.join(folder, "decoded.safetensors")
    line = [command, "quantize", paths[0], packed, "--preset", f"kmeans{bits}-row", "--weights", paths[1]]
    start = time.perf_counter()
    report = json.loads(subprocess.run(line + ["--overwrite", "--json", "-"], check=True, capture_output=True).stdout)
    seconds = time.perf_counter() - start
    subprocess.run([command, "dequantize", packed, decoded, "--overwrite"], check=True, capture_output=True)
    with safe_open(decoded, "np") as file:
        return seconds, report, file.get_tensor(NAME)


def theirs(weights, sensitivities, bits):
    """Seconds, and rows decoded."""
    warnings.simplefilter("ignore")
    start = time.perf_counter()
    decoded = []
    with threadpool_limits(1):
        for row, sensitivity in zip(weights, sensitivities):
            means = KMeans(n_clusters=1 << bits, random_state=0, n_init="auto", max_iter=50)
            means.fit(row.reshape(-1, 1), sample_weight=sensitivity)
            decoded.append(means.cluster_centers_.reshape(-1)[means.labels_])
    return time.perf_counter() - start, np.stack(decoded)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("quant")
    parser.add_argument("folder")
    parser.add_argument("--rows", type=int, default=4096)
    parser.add_argument("--sample", type=int, default=24)
    parser.add_argument("--bits", type=int, default=4)
    arguments = parser.parse_args()
    weights, sensitivities, paths = layer(arguments.folder, arguments.rows)
    chosen = np.linspace(0, arguments.rows - 1, arguments.sample).astype(int)
    processors = len(os.sched_getaffinity(0))
    # In turn: half of theirs, ours, the other half.
    half = len(chosen) // 2
    first, one = theirs(weights[chosen[:half]], sensitivities[chosen[:half]], arguments.bits)
    seconds, report, decoded = ours(arguments.quant, paths, arguments.bits, arguments.folder)
    second, two = theirs(weights[chosen[half:]], sensitivities[chosen[half:]], arguments.bits)
    peer = (first + second) / len(chosen) * arguments.rows / processors
    error = lambda rows: float((sensitivities[chosen].astype(float) * (weights[chosen].astype(float) - rows) ** 2).sum())
    excess = error(np.concatenate([one, two])) / error(decoded[chosen].astype(float)) - 1.0
    totals = report["totals"]
    print(f"{arguments.rows} x 11008, {arguments.bits} bits, {processors} processors")
    print(f"quant         {seconds:9.2f} s, {totals['rate_bits']:.4f} bits, SQNR {totals['sqnr_db']:.3f} dB, every row optimal")
    print(f"scikit-learn  {peer:9.2f} s ({len(chosen)} rows, scaled), weighted error +{100 * excess:.2f} %")
    print(f"ratio         {peer / seconds:9.1f}")


if __name__ == "__main__":
    main()
