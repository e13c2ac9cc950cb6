"""Does workloads of `cargo xtask bench --devices --peers` with torch, bitsandbytes and flash-kmeans, when asked.

usage: device_peers.py SAMPLES.f32 COLUMNS FITTED_ROWS    started by benches/src/bin/devices; needs torch

Greets with a line of JSON: where peers run, their versions, and pairs of peer and workload. Then each line in is such a pair, and each
line out its seconds and mean squared error, or why it was refused. Samples are on the device before the clock starts and results stay
there. The clock is the GPU's own, between events; without CUDA all runs on the processor, by the host's clock.
"""

import importlib.metadata
import importlib.util
import json
import os
import sys
import time

import torch

ON_GPU = torch.cuda.is_available()
DEVICE = "cuda" if ON_GPU else "cpu"

# Scores at a time: on a GPU they have to fit in memory, on the processor in its cache, where torch is several times as fast.
PAIRS = 1 << (28 if ON_GPU else 20)

# Rows of a part where errors are summed: f64 takes memory.
PART = 1 << 12


def timed(run):
    """Seconds of one run."""
    if not ON_GPU:
        start = time.perf_counter()
        run()
        return time.perf_counter() - start
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize()
    begin.record()
    run()
    end.record()
    torch.cuda.synchronize()
    return begin.elapsed_time(end) / 1e3


def squared_error(parts, count):
    """Mean over `count` samples of pairs of parts, summed in f64."""
    return sum(((x - y).double() ** 2).sum().item() for x, y in parts) / count


def vector_error(points, codevectors, codes):
    """Mean over samples, for codes of points."""
    decoded = (codevectors[part] for part in codes.split(PART))
    return squared_error(zip(points.split(PART), decoded), points.numel())


def lloyd_iteration(points, codevectors):
    """Nearest codevectors by a matrix product, then sums of cells."""
    half_squares = 0.5 * (codevectors * codevectors).sum(1)
    step = max(1, PAIRS // codevectors.shape[0])
    codes = torch.cat([torch.addmm(half_squares, part, codevectors.T, alpha=-1).argmin(1) for part in points.split(step)])
    sums = torch.zeros_like(codevectors).index_add_(0, codes, points)
    counts = torch.bincount(codes, minlength=codevectors.shape[0])
    return codes, sums, counts


class Workloads:
    """Each makes a function to time, and one that tells its error."""

    def __init__(self, samples, fitted_rows):
        self.samples, self.fitted = samples, samples[:fitted_rows].reshape(-1)

    def copy(self):
        copied = torch.empty_like(self.samples)
        return lambda: copied.copy_(self.samples), lambda: None

    def torch_vectors(self, d, k):
        points = self.fitted.reshape(-1, d)
        codevectors = points[:k].clone()
        run = lambda: lloyd_iteration(points, codevectors)
        return run, lambda: vector_error(points, codevectors, run()[0])

    def flash_vectors(self, d, k):
        from flash_kmeans import batch_kmeans_Euclid

        points = self.fitted.reshape(1, -1, d)
        start = points[:, :k].clone()
        run = lambda: batch_kmeans_Euclid(points, min(k, points.shape[1]), max_iters=1, init_centroids=start.clone())
        return run, lambda: vector_error(points[0], start[0], run()[0][0].long())

    def nf4(self, decodes):
        import bitsandbytes.functional as bnb

        encode = lambda: bnb.quantize_4bit(self.samples, blocksize=64, quant_type="nf4")
        packed, state = encode()
        decode = lambda: bnb.dequantize_4bit(packed, state)
        if decodes:
            return decode, lambda: None
        return encode, lambda: squared_error(zip(self.samples.split(PART), decode().split(PART)), self.samples.numel())


PEERS = {
    ("torch", "memory copy"): lambda w: w.copy(),
    ("torch", "vectors, d = 8, k = 256"): lambda w: w.torch_vectors(8, 256),
    ("torch", "vectors, d = 128, k = 1024"): lambda w: w.torch_vectors(128, 1024),
    ("flash-kmeans", "vectors, d = 8, k = 256"): lambda w: w.flash_vectors(8, 256),
    ("flash-kmeans", "vectors, d = 128, k = 1024"): lambda w: w.flash_vectors(128, 1024),
    ("bitsandbytes", "absmax + encode nf4, 64"): lambda w: w.nf4(False),
    ("bitsandbytes", "decode nf4, group 64"): lambda w: w.nf4(True),
}


def greeting():
    is_there = lambda peer: importlib.util.find_spec(peer.replace("-", "_")) is not None
    pairs = [pair for pair in PEERS if is_there(pair[0])]
    name = torch.cuda.get_device_name() if ON_GPU else f"the processor with {torch.get_num_threads()} threads, for want of CUDA"
    versions = {peer: importlib.metadata.version(peer) for peer in sorted({peer for peer, _ in pairs})}
    return {"device": name, "is_on_gpu": ON_GPU, "versions": versions, "workloads": pairs}


def main():
    path, columns, fitted_rows = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    # Lines are answers: what packages print goes where warnings go.
    answers, sys.stdout = sys.stdout, sys.stderr
    say = lambda answer: print(json.dumps(answer), file=answers, flush=True)
    torch.backends.cuda.matmul.allow_tf32 = False
    samples = torch.from_file(path, size=os.path.getsize(path) // 4, dtype=torch.float32).reshape(-1, columns)
    workloads = Workloads(samples.to(DEVICE, copy=True), fitted_rows)
    prepared = {}
    say(greeting())
    for line in sys.stdin:
        pair = tuple(json.loads(line))
        try:
            if pair not in prepared:
                run, error = PEERS[pair](workloads)
                prepared[pair] = run, error()
            run, error = prepared[pair]
            say({"seconds": timed(run), "mse": error})
        except Exception as reason:  # Any failure of a peer is its result.
            text = str(reason).splitlines()
            say({"refused": f"{type(reason).__name__}: {text[0][:200] if text else ''}"})


main()
