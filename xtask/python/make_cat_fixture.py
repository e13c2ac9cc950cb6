#!/usr/bin/env python3
"""Independent float64 values for crates/quant-core/tests/golden/cat_more.json: numpy only, nothing of ours.

    make_cat_fixture.py OUT.json            writes the rank-deficient case and the shared-input case
    make_cat_fixture.py --check CAT.json    recomputes the cases of tests/golden/cat.json and compares

Layer Y = X W^T; a transform makes it (X T^T)(W T^-1)^T. Sx = X^T X/tokens, Sw = W^T W. Damping S + eps (tr S/d) I enters
the construction of T only. Weights per row, symmetric; inputs per token, asymmetric; round half to even.
"""

import json
import sys

import numpy as np

BITS = (4, 8)


def db(x):
    return 10 * np.log10(x)


def power(s, p):
    values, vectors = np.linalg.eigh(s)
    return (vectors * np.maximum(values, 0) ** p) @ vectors.T


def mean(sx, sw):
    """Sx^-1 # Sw by Cholesky and SVD: no square root of a matrix, unlike the Rust side."""
    lx, lw = np.linalg.cholesky(sx), np.linalg.cholesky(sw)
    u, s, _ = np.linalg.svd(lw.T @ lx)
    return lw @ (u / s) @ u.T @ lw.T


def damp(s, eps):
    return s + eps * np.trace(s) / len(s) * np.eye(len(s))


def quantize_weights(w, bits):
    n = 2 ** (bits - 1) - 1
    s = np.abs(w).max(1, keepdims=True) / n
    return np.clip(np.rint(w / s), -n, n) * s


def quantize_inputs(x, bits):
    n = 2**bits - 1
    low, high = np.minimum(x.min(1, keepdims=True), 0), np.maximum(x.max(1, keepdims=True), 0)
    s = (high - low) / n
    z = np.rint(-low / s)
    return (np.clip(np.rint(x / s) + z, 0, n) - z) * s


def tie_margin(x, w, bits):
    """The least distance of a scaled value from a half-integer: rounding noise must not reach it."""
    n = 2 ** (bits - 1) - 1
    scaled = w / (np.abs(w).max(1, keepdims=True) / n)
    low, high = np.minimum(x.min(1, keepdims=True), 0), np.maximum(x.max(1, keepdims=True), 0)
    s = (high - low) / (2**bits - 1)
    every = np.concatenate([scaled.ravel(), (x / s).ravel(), (-low / s).ravel()])
    return float(np.abs(np.abs(every - np.rint(every)) - 0.5).min())


def sqnr(y, other):
    return float(db((y**2).sum() / ((y - other) ** 2).sum()))


def score(x, w):
    sx, sw = x.T @ x / len(x), w.T @ w
    a = np.trace(sx @ sw) / (np.trace(sx) * np.trace(sw))
    asymmetric = lambda v: (np.maximum(v.max(1), 0) - np.minimum(v.min(1), 0)) ** 2
    symmetric = lambda v: (2 * np.abs(v).max(1)) ** 2
    c = lambda v, r: float((v**2).sum() / r(v).sum())
    out = dict(A=float(a), Cx_asym=c(x, asymmetric), Cx_sym=c(x, symmetric), Cw_sym=c(w, symmetric), Cw_asym=c(w, asymmetric))
    for bits in BITS:
        nx, nw = 2**bits - 1, 2**bits - 2
        qx, qw = 12 * nx**2 * out["Cx_asym"] * a, 12 * nw**2 * out["Cw_sym"] * a
        spread = x.shape[1] / (12 * nx**2 * out["Cx_asym"])
        y, xq, wq = x @ w.T, quantize_inputs(x, bits), quantize_weights(w, bits)
        out[f"w{bits}a{bits}"] = dict(
            pred_sqnr_db=float(-db(1 / qx + 1 / qw)), pred_sqnr_x_db=float(db(qx)), pred_sqnr_w_db=float(db(qw)),
            pred_sqnr_cross_db=float(-db(1 / qx + (1 + spread) / qw)), meas_sqnr_db=sqnr(y, xq @ wq.T),
            meas_sqnr_x_db=sqnr(y, xq @ w.T), meas_sqnr_w_db=sqnr(y, x @ wq.T), tie_margin=tie_margin(x, w, bits))
    return out


def block_root(sx, sw, block):
    d = len(sx)
    m = np.zeros((d, d))
    for start in range(0, d, block):
        b = slice(start, min(d, start + block))
        m[b, b] = power(mean(sx[b, b], sw[b, b]), 0.5)
    return m


def maps(x, w_of_max, sx, sw, hadamard, signs, blocks):
    """Every transform by name; sx and sw are damped already."""
    h = np.array(hadamard) / np.sqrt(len(signs)) * np.array(signs)
    full = power(mean(sx, sw), 0.5)
    yield "identity", np.eye(len(sx))
    yield "smooth_0.5", np.diag(1 / np.sqrt(np.abs(x).max(0) / np.abs(w_of_max).max(0)))
    yield "diag", np.diag((np.diag(sw) / np.diag(sx)) ** 0.25)
    yield "hadamard", h
    for block in blocks:
        yield f"cat_block{block}", h @ block_root(sx, sw, block)
    yield "cat_full", h @ full
    yield "align_full_no_hadamard", full


def expect(case):
    x, w = np.array(case["X"]), np.array(case["W"])
    sx, sw = x.T @ x / len(x), w.T @ w
    dx, dw = damp(sx, case["eps"]), damp(sw, case["eps"])
    singular = np.sqrt(np.maximum(np.linalg.eigvalsh(power(dx, 0.5) @ dw @ power(dx, 0.5)), 0))[::-1]
    out = dict(Sx=sx, Sw=sw, G=mean(dx, dw), singular_values=singular, A_max=float((singular**2).sum() / singular.sum() ** 2))
    out["M"] = power(out["G"], 0.5)
    out["Minv"] = np.linalg.inv(out["M"])
    signs = case["signs"]
    blocks = case["blocks"]
    out["A_block_max"] = {}
    for block in [1, *blocks]:
        tau = 0.0
        for start in range(0, len(dx), block):
            b = slice(start, min(len(dx), start + block))
            tau += np.linalg.svd(np.linalg.cholesky(dw[b, b]).T @ np.linalg.cholesky(dx[b, b]), compute_uv=False).sum()
        out["A_block_max"][str(block)] = float(np.trace(dx @ dw) / tau**2)
    transforms = maps(x, w, dx, dw, case["hadamard_core_times_sylvester"], signs, blocks)
    out["transforms"] = {name: score(x @ t.T, w @ np.linalg.inv(t)) for name, t in transforms}
    return out


def plain(value):
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    return value.tolist() if isinstance(value, np.ndarray) else value


def sylvester(order):
    h = np.ones((1, 1))
    while len(h) < order:
        h = np.block([[h, h], [h, -h]])
    return h.tolist()


def deficient(rng):
    """16 channels into 6 outputs: Sw has rank 6, so eps carries the rest."""
    x = rng.standard_normal((40, 16)) @ (0.4 * rng.standard_normal((16, 16)) + np.eye(16))
    x[:, 3] *= 9
    case = dict(name="deficient6x16", d=16, d_out=6, tokens=40, eps=1e-3, blocks=[4, 8], signs=np.sign(rng.standard_normal(16)).tolist(),
                X=np.round(x, 6).tolist(), W=np.round(0.3 * rng.standard_normal((6, 16)), 6).tolist(),
                hadamard_core_times_sylvester=sylvester(16))
    case["expect"] = plain(expect(case))
    return case


def shared(rng):
    """Three weights on one input: plain and output-energy weighted sums, one block of 8 channels, then Hadamard."""
    x = np.round(rng.standard_normal((48, 8)) @ (0.5 * rng.standard_normal((8, 8)) + np.diag([1, 1, 5, 1, 1, 2, 1, 1])), 6)
    weights = [np.round(scale * rng.standard_normal((rows, 8)), 6) for rows, scale in ((8, 1.0), (4, 0.2), (4, 0.05))]
    signs = np.sign(rng.standard_normal(8))
    sx = x.T @ x / len(x)
    h = np.array(sylvester(8)) / np.sqrt(8) * signs
    expected = {}
    for name in ("plain", "output_energy"):
        factor = lambda w: 1.0 if name == "plain" else 1 / np.trace(w.T @ w @ sx)
        sw = sum(factor(w) * w.T @ w for w in weights)
        t = h @ power(mean(sx, sw), 0.5)
        scores = [score(x @ t.T, w @ np.linalg.inv(t)) for w in weights]
        expected[name] = dict(Sw=sw.tolist(), weights=scores)
    return dict(name="shared8", X=x.tolist(), weights=[w.tolist() for w in weights], signs=signs.tolist(), expect=expected)


def compare(path):
    worst = {}
    for case in json.load(open(path))["layers"]:
        case["blocks"] = [int(k) for k in case["expect"]["A_block_max"] if k != "1"]
        found = plain(expect(case))

        def visit(a, b, key):
            if isinstance(a, dict):
                for k in a:
                    if k in b:
                        visit(a[k], b[k], k)
            elif isinstance(a, list):
                worst[key] = max(worst.get(key, 0), float(np.abs(np.array(a) - np.array(b)).max()))
            else:
                worst[key] = max(worst.get(key, 0), abs(a - b))

        visit(found, case["expect"], case["name"])
    for key, value in sorted(worst.items()):
        print(f"{key:24} {value:.1e}")
    assert max(v for k, v in worst.items() if "tie" not in k) < 1e-9


if __name__ == "__main__":
    if sys.argv[1] == "--check":
        compare(sys.argv[2])
    else:
        rng = np.random.default_rng(20260304)
        cases = dict(layers=[deficient(rng)], shared=shared(rng))
        ties = [v["tie_margin"] for t in cases["layers"][0]["expect"]["transforms"].values() for k, v in t.items() if k.startswith("w")]
        assert min(ties) > 1e-7, "another seed: a value lies on a tie"
        text = json.dumps(cases, separators=(",", ":"))
        open(sys.argv[1], "w").write(text.replace("],[", "],\n[") + "\n")
