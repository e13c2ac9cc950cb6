"""LUT-B files against the prototype of compressed-tensors that the format comes from.

usage: lut_b.py SOURCES MODEL OURS DENSE

SOURCES is a checkout of the prototype's branch, OURS what quant made of MODEL with --to lut-b, DENSE is OURS after
`quant dequantize --dtype f32`.

1. Their decoding of OURS must give exactly DENSE.
2. Their assignment, given our levels, must decode to the same weights: codes are nearest by both rules.
3. Their own fit, eight iterations of Lloyd's algorithm in E4M3, is measured beside ours.

Exits 1 when anything differs.
"""

import importlib.util
import sys
import types
from pathlib import Path

import torch
from safetensors import safe_open


def prototype(sources):
    """The one file that codes and decodes; it asks the package for the names of settings only."""
    for name in ["compressed_tensors", "compressed_tensors.quantization"]:
        sys.modules[name] = types.ModuleType(name)
    settings = types.ModuleType("compressed_tensors.quantization.quant_args")
    settings.QuantizationArgs = settings.QuantizationStrategy = settings.QuantizationType = object
    sys.modules[settings.__name__] = settings
    path = sources / "src/compressed_tensors/quantization/utils/lut_b.py"
    spec = importlib.util.spec_from_file_location("lut_b_prototype", path)
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def tensors(path):
    files = [safe_open(file, "pt") for file in sorted(Path(path).glob("*.safetensors"))]
    return {name: file for file in files for name in file.keys()}


def main(sources, model, ours, dense):
    theirs = prototype(Path(sources))
    model, ours, dense = tensors(model), tensors(ours), tensors(dense)
    layers = [name.removesuffix(".weight_packed") for name in ours if name.endswith(".weight_packed")]
    assert layers, "no layer in LUT-B"
    energy = errors = fitted_errors = 0.0
    for layer in layers:
        get = lambda place, name: place[f"{layer}.{name}"].get_tensor(f"{layer}.{name}")
        weight, packed, levels = get(model, "weight").float(), get(ours, "weight_packed"), get(ours, "weight_codebook")
        decoded = theirs.dequantize_lut_b(packed, levels, dtype=torch.float32)
        if not torch.equal(decoded, get(dense, "weight")):
            sys.exit(f"error: {layer}: `quant dequantize` differs from the prototype")
        again = theirs.dequantize_lut_b(*theirs.quantize_lut_b(weight, levels), dtype=torch.float32)
        if not torch.equal(again, decoded):
            sys.exit(f"error: {layer}: codes differ from the prototype's for the same levels")
        fitted = theirs.fake_quantize_lut_b(weight)
        energy += weight.double().square().sum().item()
        errors += (weight - decoded).double().square().sum().item()
        fitted_errors += (weight - fitted).double().square().sum().item()
    db = lambda error: 10 * torch.log10(torch.tensor(energy / error)).item()
    print(f"{len(layers)} layers decode and encode alike; SQNR {db(errors):.2f} dB, the prototype's own fit {db(fitted_errors):.2f} dB")


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    main(*sys.argv[1:])
