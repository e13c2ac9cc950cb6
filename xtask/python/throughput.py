"""Times bitsandbytes and quant on the same matrix, in turn, and writes a record.

usage: throughput.py ROUNDS_BINARY [RECORD]    ROUNDS_BINARY is built from benches/src/bin/rounds.rs

The matrix is 4096 x 11008 samples of N(0, 0.02^2), f32 and the same rounded to bf16. Every round runs each contestant once, starting with
another one each time. The ratios are medians of the ratios within rounds: of time by the clock, and of processor time over all threads,
which is the fairer one where other programs share the machine. bitsandbytes allocates its output within the time; so does "afresh" of
ours. MSE and SQNR are measured on what each decodes, in f32 and by f64 sums. "of the copy" is the time of copying the matrix over the
contestant's.
"""

import itertools
import json
import math
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import bitsandbytes
import numpy as np
import torch
from bitsandbytes import functional as bnb

ROWS, COLUMNS, DEVIATION, ROUNDS, BLOCK = 4096, 11008, 0.02, 11, 64
DTYPES = {torch.float32: "F32", torch.bfloat16: "BF16"}
COMMAND = "cargo xtask interop --only throughput --write"
OURS = {
    "absmax": "quant, NF4 absmax: scales and codes, buffers made before",
    "absmax-afresh": "quant, NF4 absmax: the same, buffers made within, as bitsandbytes does",
    "absmax-whole": "quant, NF4 absmax: the same, buffers made within, input checked, error measured",
    "search": "quant, NF4 signed search: scales and codes, buffers made before",
    "search-afresh": "quant, NF4 signed search: the same, buffers made within",
}


class Rounds:
    """The partner process: one line in, one run, one line out."""

    def __init__(self, binary, matrix, threads):
        self.file = tempfile.NamedTemporaryFile(suffix=".bin")
        matrix.view(torch.uint8).numpy().tofile(self.file.name)
        shape = [DTYPES[matrix.dtype], *(str(n) for n in matrix.shape)]
        self.process = subprocess.Popen([binary, self.file.name, *shape, str(threads)], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def run(self, name):
        self.process.stdin.write(name + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"{self.process.args[0]} ended early")
        return json.loads(line)

    def cpu_seconds(self):
        """The clock of time.process_time(), of the partner: clock_getcpuclockid(3) of Linux, MAKE_PROCESS_CPUCLOCK(pid, CPUCLOCK_SCHED)."""
        return time.clock_gettime((~self.process.pid << 3) | 2)


def quality_of_theirs(x):
    """Decoded to f32, as ours is: rounding the decoded samples to bf16 is no part of a quantizer's error."""
    codes, state = bnb.quantize_4bit(x, blocksize=BLOCK, quant_type="nf4")
    state.dtype = torch.float32
    x, decoded = x.double(), bnb.dequantize_4bit(codes, state).double()
    mse = float(((x - decoded) ** 2).mean())
    return {"mse": mse, "sqnr_db": 10 * math.log10(float((x * x).mean()) / mse)}


def cpu_model():
    info = Path("/proc/cpuinfo")
    names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")] if info.exists() else []
    return f"{names[0]}, {len(names)} logical" if names else platform.processor()


def measure(binary, dtype, threads):
    torch.set_num_threads(threads)
    noise = (DEVIATION * np.random.default_rng(1).standard_normal((ROWS, COLUMNS))).astype(np.float32)
    x = torch.from_numpy(noise).to(dtype)
    partner = Rounds(binary, x, threads)
    quality = {"bitsandbytes": quality_of_theirs(x)} | {name: partner.run(f"quality {name}") for name in OURS}
    partner.run("copy")
    names = ["bitsandbytes", *OURS, "copy"]
    seconds = {name: [] for name in names}
    for round_index in range(ROUNDS):
        for turn in range(len(names)):
            name = names[(round_index + turn) % len(names)]
            if name == "bitsandbytes":
                start, cpu_start = time.perf_counter(), time.process_time()
                bnb.quantize_4bit(x, blocksize=BLOCK, quant_type="nf4")
                seconds[name].append((time.perf_counter() - start, time.process_time() - cpu_start))
            else:
                cpu_start = partner.cpu_seconds()
                wall = partner.run(name)["seconds"]
                seconds[name].append((wall, partner.cpu_seconds() - cpu_start))
    return seconds, quality


def rows(seconds, quality):
    labels = {"bitsandbytes": f"bitsandbytes {bitsandbytes.__version__}, quantize_4bit NF4"} | OURS | {"copy": "memory copy"}
    weight_count = ROWS * COLUMNS / 1e6
    lines = ["| contestant | Mweight/s | fastest–slowest | ratio | Mweight/CPU-s | ratio, CPU | of the copy | MSE | SQNR (dB) |",
             "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"]
    for name, label in labels.items():
        rates = sorted(weight_count / wall for wall, _ in seconds[name])
        cpu_rate = statistics.median(weight_count / cpu for _, cpu in seconds[name])
        wall, cpu = (statistics.median(b[i] / s[i] for b, s in zip(seconds["bitsandbytes"], seconds[name])) for i in (0, 1))
        of_copy = statistics.median(c[0] / s[0] for c, s in zip(seconds["copy"], seconds[name]))
        figures = f"{quality[name]['mse']:.4e} | {quality[name]['sqnr_db']:.3f}" if name in quality else " | "
        speed = f"{statistics.median(rates):.1f} | {rates[-1]:.1f}–{rates[0]:.1f} | {wall:.1f} | {cpu_rate:.1f} | {cpu:.1f} | {of_copy:.2f}"
        lines.append(f"| {label} | {speed} | {figures} |")
    return lines


def main():
    binary, record = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None
    text = ["# Quantize throughput, CPU, against bitsandbytes", ""]
    text += [f"{ROWS} × {COLUMNS} samples of N(0, {DEVIATION}²), f32 and bf16; block {BLOCK}, f32 scales, 4.5 bits. {ROUNDS} interleaved rounds. *Ratio* is the",
             "median, over rounds, of the time of bitsandbytes over the contestant's, by the clock and in processor time of all threads.",
             "Rates are medians and hold for this machine only; where other programs share it, the ratio of processor time is the one to quote.", "",
             f"* Command: `{COMMAND}`", f"* Machine: {cpu_model()}", f"* torch {torch.__version__}", ""]
    for dtype, threads in itertools.product(DTYPES, (1, torch.get_num_threads())):
        table = rows(*measure(binary, dtype, threads))
        title = f"{DTYPES[dtype].lower()}, {threads} thread{'s' if threads > 1 else ''}"
        text += [f"## {title}", "", *table, ""]
        print("\n".join([title, *table]), flush=True)
    if record:
        Path(record).write_text("\n".join(text).rstrip() + "\n")
        print(f"written: {record}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
