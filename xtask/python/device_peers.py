"""What do peers take on the same GPU? torch, bitsandbytes and flash-kmeans on the workloads of `cargo xtask bench --devices`.

    python3 device_peers.py ROWS ROUNDS    # rows of 4096 samples; prints JSON

Samples are on the device before the clock starts and results stay there, so times compare with our kernel times. Peers that
are not installed are named with the reason. Without CUDA torch runs on the processor, which only shows that the script runs.
"""

import json
import statistics
import sys
import time

import torch

COLUMNS = 4096


def median_seconds(run, rounds):
    """The middle one of `rounds` times of `run`, after one that does not count."""
    run()
    if not torch.cuda.is_available():
        times = []
        for _ in range(rounds):
            start = time.perf_counter()
            run()
            times.append(time.perf_counter() - start)
        return statistics.median(times)
    times = []
    for _ in range(rounds):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        run()
        end.record()
        torch.cuda.synchronize()
        times.append(begin.elapsed_time(end) / 1e3)
    return statistics.median(times)


def lloyd_iteration(points, codevectors):
    """Nearest codevectors by a matrix product, then sums of cells. Returns mean squared error per sample."""
    half_squares = 0.5 * (codevectors * codevectors).sum(1)
    # Scores of at most 2^28 pairs at a time, so that they fit in memory.
    step = max(1, (1 << 28) // codevectors.shape[0])
    parts = [(half_squares - part @ codevectors.T).argmin(1) for part in points.split(step)]
    codes = torch.cat(parts)
    sums = torch.zeros_like(codevectors).index_add_(0, codes, points)
    counts = torch.bincount(codes, minlength=codevectors.shape[0])
    return codes, sums, counts


def vectors(samples, d, k, rounds):
    points = samples.reshape(-1, d)
    codevectors = points[:k].clone()
    seconds = median_seconds(lambda: lloyd_iteration(points, codevectors), rounds)
    codes, _, _ = lloyd_iteration(points, codevectors)
    parts = zip(points.split(1 << 20), codes.split(1 << 20))
    error = sum(((x - codevectors[c]).double() ** 2).sum().item() for x, c in parts)
    return seconds, error / samples.numel()


def flash_kmeans(samples, d, k, rounds):
    from flash_kmeans import batch_kmeans_Euclid

    points = samples.reshape(1, -1, d)
    start = points[:, :k].clone()
    return median_seconds(lambda: batch_kmeans_Euclid(points, k, max_iters=1, init_centroids=start), rounds), None


def bitsandbytes(samples, rounds):
    import bitsandbytes.functional as bnb

    packed, state = bnb.quantize_4bit(samples, blocksize=64, quant_type="nf4")
    encode = median_seconds(lambda: bnb.quantize_4bit(samples, blocksize=64, quant_type="nf4"), rounds)
    decode = median_seconds(lambda: bnb.dequantize_4bit(packed, state), rounds)
    error = ((samples - bnb.dequantize_4bit(packed, state)).double() ** 2).mean().item()
    return {"encode nf4, group 64": (encode, error), "decode nf4, group 64": (decode, None)}


def main():
    rows, rounds = int(sys.argv[1]), int(sys.argv[2])
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.backends.cuda.matmul.allow_tf32 = False
    samples = torch.randn(rows, COLUMNS, generator=torch.Generator().manual_seed(1)).to(device)
    copied = torch.empty_like(samples)
    results = [("torch", "memory copy", median_seconds(lambda: copied.copy_(samples), rounds), None)]
    missing = []

    def attempt(peer, run):
        try:
            results.extend((peer, *result) for result in run())
        except Exception as reason:  # Any failure of a peer is its result.
            missing.append(f"{peer}: {type(reason).__name__}: {str(reason).splitlines()[0][:200] if str(reason) else ''}")

    fitted = samples[: min(rows, 4096)].reshape(-1)
    shapes = [("vectors, d = 8, k = 256", 8, 256), ("vectors, d = 128, k = 1024", 128, 1024)]
    for name, d, k in shapes:
        attempt("torch", lambda: [(name, *vectors(fitted, d, k, rounds))])
        attempt("flash-kmeans", lambda: [(name, *flash_kmeans(fitted, d, k, rounds))])
    attempt("bitsandbytes", lambda: [(name, *times) for name, times in bitsandbytes(samples, rounds).items()])
    keys = ("peer", "name", "seconds", "mse")
    name = torch.cuda.get_device_name() if device == "cuda" else "the processor, for want of CUDA"
    print(json.dumps({"device": name, "results": [dict(zip(keys, r)) for r in results], "missing": missing}, indent=1))


main()
