"""Compares the NF4 codes of a native checkpoint, weight by weight, with two independent ones.

usage: check_codes.py MODEL NATIVE     MODEL is a Hugging Face folder, NATIVE what quant made of it with
                                       --preset nf4 --group 64 --scale absmax

1. A plain implementation of the definition, in numpy: scale = max|x| of 64 samples of a row, code = number of thresholds t with
   x > fl(t * scale). Every code and every scale must be equal.
2. bitsandbytes itself. It multiplies by a rounded reciprocal, so samples within a rounding error of a threshold may differ; each
   one that does is checked to be such a case.

Exits 1 when anything else differs.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from bitsandbytes import functional as bnb
from safetensors import safe_open

# Dettmers, Pagnoni, Holtzman, Zettlemoyer 2023, "QLoRA", appendix E.
NF4 = np.array(
    [-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
     -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
     0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0], dtype=np.float32)
MIDPOINTS = (NF4[1:].astype(np.float64) + NF4[:-1]) / 2
NEAREST = MIDPOINTS.astype(np.float32)
# The largest f32 that is not above the midpoint: no sample lies between the two.
THRESHOLDS = np.where(NEAREST > MIDPOINTS, np.nextafter(NEAREST, np.float32(-2)), NEAREST)
BLOCK = 64


class Folder:
    """The tensors of all safetensors files of a folder, or of one file."""

    def __init__(self, path):
        path = Path(path)
        files = [path] if path.is_file() else sorted(path.glob("*.safetensors"))
        self.files = [safe_open(file, "pt") for file in files]
        self.place = {name: file for file in self.files for name in file.keys()}

    def get(self, name):
        return self.place[name].get_tensor(name)

    def manifest(self):
        merged = {}
        for file in self.files:
            text = (file.metadata() or {}).get("quant.manifest")
            merged |= json.loads(text)["tensors"] if text else {}
        return merged


def by_definition(x):
    """Codes and scales of a matrix, f32; the last group of a row may be shorter."""
    rows, columns = x.shape
    padded = np.zeros((rows, -(-columns // BLOCK) * BLOCK), np.float32)
    padded[:, :columns] = x
    groups = padded.reshape(rows, -1, BLOCK)
    scales = np.abs(groups).max(axis=2)
    codes = np.zeros(groups.shape, np.uint8)
    for threshold in THRESHOLDS:
        codes += groups > (threshold * scales)[:, :, None]
    return codes.reshape(rows, -1)[:, :columns], scales.reshape(-1)


def unpacked(packed, columns):
    """4-bit codes, the first in the low nibble."""
    return np.stack([packed & 15, packed >> 4], axis=-1).reshape(packed.shape[0], -1)[:, :columns]


def by_bitsandbytes(x):
    codes, _ = bnb.quantize_4bit(x, blocksize=BLOCK, quant_type="nf4")
    codes = codes.numpy().reshape(-1)
    return np.stack([codes >> 4, codes & 15], axis=-1).reshape(x.shape)


def unexplained(x, ours, theirs, scales):
    """Differences other than between neighbours, at a threshold, within two rounding errors of f32."""
    row, column = np.nonzero(ours != theirs)
    lower = np.minimum(ours, theirs)[row, column].astype(int)
    neighbours = np.abs(ours.astype(int) - theirs.astype(int))[row, column] == 1
    scale = scales.reshape(x.shape[0], -1)[row, column // BLOCK].astype(np.float64)
    threshold = THRESHOLDS[np.minimum(lower, 14)].astype(np.float64) * scale
    distance = np.abs(x[row, column].astype(np.float64) - threshold)
    return int((~(neighbours & (distance <= 2.0**-22 * np.abs(threshold)))).sum())


def main():
    source, native = Folder(sys.argv[1]), Folder(sys.argv[2])
    weight_count = code_differences = scale_differences = bnb_count = bnb_differences = bnb_unexplained = 0
    manifest = native.manifest()
    for name, entry in sorted(manifest.items()):
        weights = source.get(name)
        columns = entry["columns"]
        x = weights.float().numpy().reshape(-1, columns)
        ours = unpacked(native.get(f"{name}.codes").numpy().reshape(x.shape[0], -1), columns)
        codes, scales = by_definition(x)
        weight_count += x.size
        code_differences += int((codes != ours).sum())
        scale_differences += int((scales != native.get(f"{name}.scales").numpy().reshape(-1)).sum())
        if columns % BLOCK == 0:
            theirs = by_bitsandbytes(weights.reshape(-1, columns))
            bnb_count += x.size
            bnb_differences += int((theirs != ours).sum())
            bnb_unexplained += unexplained(x, ours, theirs, scales)
    print(f"{len(manifest)} tensors, {weight_count} weights")
    print(f"by definition: {code_differences} codes and {scale_differences} scales differ")
    print(f"bitsandbytes: {bnb_differences} of {bnb_count} codes differ, {bnb_unexplained} of them not at a threshold")
    return 1 if code_differences or scale_differences or bnb_unexplained or not weight_count else 0


if __name__ == "__main__":
    torch.set_num_threads(2)
    sys.exit(main())
