"""Writes golden cases of rounding with error feedback, in float64 and by another way than the program goes.

At every step the second moment of the columns that are not rounded yet is inverted anew, as optimal brain surgeon is
written down; no Cholesky factor is used. Needs numpy.

    python make_feedback_fixture.py crates/quant-core/tests/golden/feedback.json
"""

import json
import sys

import numpy as np

NF3 = [-1.0, -0.5, -0.25, 0.0, 0.2, 0.4, 0.7, 1.0]
UNIFORM = [-4.0, -3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0]


def encode(x, levels, scale):
    """The nearest level of the scaled codebook; thresholds are midpoints, rounded to float32 as the program's."""
    levels = np.asarray(levels, dtype=np.float32)
    middles = ((levels[1:].astype(np.float64) + levels[:-1]) / 2).astype(np.float32)
    sign = -1 if scale < 0 else 1
    return int(np.sum(np.float32(sign * x) > middles * np.float32(abs(scale))))


def round_row(row, moment, order, levels, scales):
    """Codes of one row; scales[c] is the scale of column c."""
    row = row.astype(np.float64).copy()
    codes, left = [0] * len(row), list(order)
    decoded = np.zeros(len(row))
    while left:
        column = left[0]
        inverse = np.linalg.inv(moment[np.ix_(left, left)])
        codes[column] = encode(row[column], levels, scales[column])
        decoded[column] = np.float32(levels[codes[column]]) * np.float32(scales[column])
        row[left] -= (row[column] - decoded[column]) / inverse[0, 0] * inverse[0]
        left = left[1:]
    return codes, decoded


def case(rng, rows, columns, levels, group, damping, by_activity, per_row):
    mixing = rng.normal(size=(columns, columns)) * np.exp(rng.normal(size=columns))
    moment = mixing @ mixing.T / columns
    moment = np.round((moment + moment.T) / 2, 6)
    weights = rng.normal(size=(rows, columns)).astype(np.float32)
    count = -(-columns // group)
    scales = (rng.uniform(0.5, 1.0, size=(rows, count)) * rng.choice([-1, 1], size=(rows, count))).astype(np.float32)
    codebooks = []
    for row in range(rows if per_row else 1):
        moved = np.asarray(levels) * (1 + 0.1 * row)
        codebooks.append([float(x) for x in moved.astype(np.float32)])
    damped = moment + damping * np.trace(moment) / columns * np.eye(columns)
    order = np.argsort(-np.diag(moment), kind="stable") if by_activity else np.arange(columns)
    codes, errors, plain = [], [], []
    for row in range(rows):
        book, own = codebooks[row if per_row else 0], scales[row][np.arange(columns) // group]
        found, decoded = round_row(weights[row], damped, order, book, own)
        codes.append(found)
        errors.append(weights[row] - decoded)
        nearest = [encode(x, book, s) for x, s in zip(weights[row], own)]
        plain.append(weights[row].astype(np.float64) - np.array([np.float32(book[c]) * s for c, s in zip(nearest, own)]))
    loss = lambda e: float(np.sum((np.array(e) @ moment) * np.array(e)))
    return {
        "moment": moment.tolist(),
        "weights": [[float(x) for x in row] for row in weights],
        "codebooks": codebooks,
        "scales": [float(x) for x in scales.ravel()],
        "group": group,
        "damping": damping,
        "activation_order": bool(by_activity),
        "order": [int(x) for x in order],
        "codes": codes,
        "loss": loss(errors),
        "loss_nearest": loss(plain),
    }


def main():
    rng = np.random.default_rng(7)
    cases = [
        case(rng, 3, 8, UNIFORM, 8, 0.01, False, False),
        case(rng, 3, 8, UNIFORM, 8, 0.01, True, False),
        case(rng, 4, 24, NF3, 8, 0.01, False, False),
        case(rng, 4, 24, NF3, 7, 0.0, True, False),
        case(rng, 5, 70, NF3, 70, 0.1, True, True),
        case(rng, 2, 1, NF3, 1, 0.01, False, True),
    ]
    with open(sys.argv[1], "w") as out:
        json.dump({"generator": "xtask/python/make_feedback_fixture.py", "cases": cases}, out)
        out.write("\n")


main()
