"""Encodes seeded inputs with the real bitsandbytes on the CPU, to be compared with in Rust.

usage: make_fixture.py OUT            writes the fixture
       make_fixture.py --check OUT    encodes again and compares; exits 1 on any difference

The fixture is one safetensors file. For each case C in gaussian, heavy, zeros, thresholds, bf16:

  C.x                          the input, f32 (bf16 for case bf16), [rows, columns]
  C.nf4_64.codes               u8 [rows * columns / 2]: flat row-major order, the FIRST sample of a pair in the HIGH nibble
  C.nf4_64.absmax              f32 [rows * columns / 64]
  C.nf4_32.*, C.fp4_64.*, C.fp4_32.*    the same for the other block and the other codebook (codes in bitsandbytes' order)

and besides:

  gaussian.nf4_32_dq.codes, .absmax_codes (u8), .nested_absmax (f32), .offset (f32 [1]), .absmax (f32, as decoded)
  heavy.nf4_64.decoded         f32, what dequantize_4bit returns
  dynamic_map                  f32 [256], the levels of the 8-bit codes of scales
  nf4.levels, fp4.levels       f32 [16], in code order
"""

import sys

import bitsandbytes
import numpy as np
import torch
from bitsandbytes import functional as bnb
from safetensors import safe_open
from safetensors.torch import load_file, save_file

BLOCKS = (64, 32)
KINDS = ("nf4", "fp4")


def cases():
    """Seeded inputs; every row is a whole number of blocks of 64."""
    rng = np.random.default_rng(20261122)
    gaussian = 0.02 * rng.standard_normal((64, 256))
    heavy = 0.02 * rng.standard_t(5, (32, 256))
    bf16 = 0.02 * rng.standard_normal((32, 256))
    zeros = np.zeros((4, 128))
    zeros[1, ::2] = -0.0
    zeros[2, 5] = -3.0  # one sample other than zero in its block
    zeros[3, :64] = 0.25  # all equal
    zeros[3, 64:] = rng.choice([-1.0, 1.0], 64)
    as_f32 = {"gaussian": gaussian, "heavy": heavy, "zeros": zeros, "thresholds": thresholds()}
    tensors = {name: torch.from_numpy(x.astype(np.float32)) for name, x in as_f32.items()}
    tensors["bf16"] = torch.from_numpy(bf16.astype(np.float32)).bfloat16()
    return tensors


def thresholds():
    """NF4 and FP4 thresholds and one ULP either side, in blocks whose largest magnitude is 1, so that x / absmax is x."""
    rows = []
    for kind in KINDS:
        levels = np.sort(bnb.get_4bit_type(kind, device="cpu").numpy().astype(np.float32))
        middle = ((levels[1:].astype(np.float64) + levels[:-1]) / 2).astype(np.float32)
        below, above = np.nextafter(middle, np.float32(-2)), np.nextafter(middle, np.float32(2))
        for run in (middle, below, above, levels):
            row = np.zeros(64, np.float32)
            row[: run.size] = run
            row[32 : 32 + run.size] = run
            row[31] = row[63] = 1.0
            rows.append(row)
    return np.stack(rows)


def encode():
    tensors = {}
    for name, x in cases().items():
        tensors[f"{name}.x"] = x
        for kind in KINDS:
            for block in BLOCKS:
                codes, state = bnb.quantize_4bit(x, blocksize=block, quant_type=kind)
                tensors[f"{name}.{kind}_{block}.codes"] = codes.flatten()
                tensors[f"{name}.{kind}_{block}.absmax"] = state.absmax
    tensors |= double_quantized(tensors["gaussian.x"])
    heavy = bnb.quantize_4bit(tensors["heavy.x"], blocksize=64, quant_type="nf4")
    tensors["heavy.nf4_64.decoded"] = bnb.dequantize_4bit(*heavy)
    tensors["dynamic_map"] = bnb.create_dynamic_map().float()
    for kind in KINDS:
        tensors[f"{kind}.levels"] = bnb.get_4bit_type(kind, device="cpu").float()
    return {name: t.contiguous() for name, t in tensors.items()}


def double_quantized(x):
    codes, state = bnb.quantize_4bit(x, blocksize=32, quant_type="nf4", compress_statistics=True)
    nested = bnb.dequantize_blockwise(state.absmax, state.state2) + state.offset
    return {
        "gaussian.nf4_32_dq.codes": codes.flatten(),
        "gaussian.nf4_32_dq.absmax_codes": state.absmax,
        "gaussian.nf4_32_dq.nested_absmax": state.state2.absmax,
        "gaussian.nf4_32_dq.offset": state.offset.reshape(1).float(),
        "gaussian.nf4_32_dq.absmax": nested.float(),
    }


def main():
    path = sys.argv[-1]
    tensors = encode()
    if sys.argv[1] != "--check":
        metadata = {"made_by": "xtask/python/make_fixture.py", "bitsandbytes": bitsandbytes.__version__}
        save_file(tensors, path, metadata=metadata)
        print(f"wrote {path}: {len(tensors)} tensors, bitsandbytes {bitsandbytes.__version__}")
        return 0
    stored = load_file(path)
    with safe_open(path, "pt") as file:
        version = file.metadata().get("bitsandbytes", "unknown")
    differing = [n for n in tensors.keys() | stored.keys() if n not in tensors or n not in stored or not torch.equal(tensors[n], stored[n])]
    print(f"{len(stored)} tensors made by bitsandbytes {version}, encoded again by {bitsandbytes.__version__}: {len(differing)} differ")
    for name in sorted(differing):
        print(f"  differs: {name}")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
