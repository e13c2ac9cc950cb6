"""Answers requests of kmeans_workloads.rs: one line in, `seconds mse processor_seconds` or a reason out.

Needs numpy and any of flash1dkmeans, kmeans1d, ckwrap, joblib, faiss-cpu, scikit-learn (SqueezeLLM names 1.3.1). Compiled code is warmed up before it is timed.
"""

import os
import sys
import time
from pathlib import Path

import numpy as np

folder = Path(sys.argv[1])
x = np.load(folder / "x.npy")
rows = np.load(folder / "rows.npy", mmap_mode="r")
weights = np.load(folder / "weights.npy", mmap_mode="r")


def nearest_error(samples, levels, weight=None):
    levels = np.sort(np.asarray(levels, dtype=np.float64).ravel())
    samples = samples.astype(np.float64)
    codes = np.searchsorted((levels[1:] + levels[:-1]) / 2, samples)
    return np.average((samples - levels[codes]) ** 2, weights=weight)


processor_seconds = float("nan")


def timed(run):
    """Seconds by the clock, and the result; processor seconds of this process are left in the global."""
    global processor_seconds
    start, processor = time.perf_counter(), time.process_time()
    levels = run()
    processor_seconds = time.process_time() - processor
    return time.perf_counter() - start, levels


def flash(count, k):
    import flash1dkmeans

    data = x[:count]
    flash1dkmeans.kmeans_1d(data[:5000].copy(), k)
    seconds, (levels, _) = timed(lambda: flash1dkmeans.kmeans_1d(data, k))
    return seconds, nearest_error(data, levels)


def unique(count, k):
    """What coremltools does for 16-bit weights: distinct values with counts, then weighted exact k-means."""
    try:
        from coremltools.optimize._utils import _kmeans1d_optional_import  # noqa: F401
    except Exception:
        pass
    data = x[:count].astype(np.float16)

    def run():
        from coremltools._deps import kmeans1d

        values, inverse, counts = np.unique(data, return_inverse=True, return_counts=True)
        labels, levels = kmeans1d.cluster(values, k, weights=counts)
        np.asarray(labels)[inverse]
        return levels

    seconds, levels = timed(run)
    return seconds, nearest_error(data, levels)


def ckwrap(count, k):
    import ckwrap as package

    data = x[:count].astype(np.float64)
    seconds, fit = timed(lambda: package.ckmeans(data, k))
    return seconds, nearest_error(x[:count], fit.centers)


def flash_part(start, stop, k):
    import flash1dkmeans

    out = []
    for row in range(start, stop):
        levels, labels = flash1dkmeans.kmeans_1d(rows[row], k, sample_weights=weights[row], max_iter=50)
        out.append(levels)
    return out


def flash_rows(processes, k):
    from joblib import Parallel, delayed

    parts = np.linspace(0, len(rows), 8 * processes + 1).astype(int)
    pool = Parallel(n_jobs=processes)
    pool(delayed(flash_part)(0, 4, k) for _ in range(processes))
    jobs = [delayed(flash_part)(a, b, k) for a, b in zip(parts, parts[1:])]
    seconds, found = timed(lambda: pool(jobs))
    levels = [y for part in found for y in part]
    return seconds, np.mean([nearest_error(rows[i], y, weights[i]) for i, y in enumerate(levels)])


def ckwrap_rows(processes, k):
    import ckwrap as package

    some = range(0, len(rows), len(rows) // 32)
    run = lambda: [package.ckmeans(rows[i].astype(float), k, weights=weights[i].astype(float)).centers for i in some]
    seconds, levels = timed(run)
    # Not all rows are fitted, so there is no error to compare.
    return seconds * len(rows) / len(some) / processes, float("inf")


def sklearn_row(row):
    """One row as SqueezeLLM's script fits it, which also allows each process one thread."""
    import warnings

    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    warnings.simplefilter("ignore")
    samples, weight = np.asarray(wide_rows[row]), np.asarray(wide_weights[row])
    with threadpool_limits(1):
        means = KMeans(n_clusters=wide_levels, random_state=0, n_init="auto", max_iter=50)
        means.fit(samples.reshape(-1, 1), sample_weight=weight)
    return means.cluster_centers_.reshape(-1), means.labels_.astype(np.uint8)


def sklearn_rows(processes, k):
    global wide_rows, wide_weights, wide_levels
    wide_rows, wide_weights = (np.load(folder / f"wide_{name}.npy", mmap_mode="r") for name in ("rows", "weights"))
    wide_levels = k
    from multiprocessing import get_context

    some = range(0, len(wide_rows), len(wide_rows) // 256)
    with get_context("fork").Pool(processes) as pool:
        list(pool.imap(sklearn_row, range(2 * processes)))
        seconds, found = timed(lambda: list(pool.imap(sklearn_row, some)))
    errors = [nearest_error(wide_rows[i], levels, wide_weights[i]) for i, (levels, _) in zip(some, found)]
    return seconds * len(wide_rows) / len(some), np.mean(errors)


def vector_error(data, centroids):
    """Mean squared error per sample in f64: what faiss states comes from sums in f32, and is off by 1e-5."""
    y = centroids.astype(np.float64)
    cost, half_squares = 0.0, (y**2).sum(1) / 2
    for part in np.array_split(data, max(1, len(data) * len(y) // 20_000_000)):
        part = part.astype(np.float64)
        cost += 2 * (half_squares - part @ y.T).min(1).sum() + (part**2).sum()
    return cost / data.size


def faiss_lloyd(data, steps, k):
    """All points, from the first of them on; the error is that of the last centroids, as ours is."""
    import faiss

    faiss.omp_set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    options = dict(niter=steps, max_points_per_centroid=10**9, min_points_per_centroid=1)
    fit = faiss.Kmeans(data.shape[1], k, **options)
    seconds, _ = timed(lambda: fit.train(data, init_centroids=data[:k].copy()))
    return seconds, vector_error(data, fit.centroids)


def faiss_8(steps, k):
    return faiss_lloyd(x[:8_000_000].reshape(-1, 8), steps, k)


def faiss_128(steps, k):
    return faiss_lloyd(x.reshape(-1, 128), steps, k)


for line in sys.stdin:
    verb, first, k = line.split()
    try:
        seconds, mse = globals()[verb](int(first), int(k))
        # What other processes used is not known here.
        in_others = verb == "sklearn_rows" or verb == "flash_rows" and first != "1"
        print(seconds, mse, "unknown" if in_others else processor_seconds, flush=True)
    except Exception as error:  # a missing or refusing peer is an answer too
        print("refused:", type(error).__name__, error, flush=True)
