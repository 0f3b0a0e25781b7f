#!/usr/bin/env python3
"""Makes tests/data/formats/, what src/formats/fixtures_test.cc holds us to.

gguf_py.gguf is written and its numbers are computed by gguf-py (tried with gguf 0.19.0, numpy 2.4.6):

  bytes.TYPE    random blocks of every block type, infinite, NaN, zero and denormal scales among them
  values.TYPE   gguf-py's decoding of them, f32
  x             f32 inputs: Gaussian, constant, zero, tiny and huge blocks, ties
  encoded.TYPE  gguf-py's encoding of x, for the types whose recipe is fixed

and metadata of every value type. safetensors_py.safetensors is written by the safetensors package from torch tensors.

Usage: make_quant_fixtures.py [FOLDER]    (needs gguf, numpy, torch, safetensors)
"""

import pathlib
import sys

import gguf
import numpy as np
import torch
from safetensors.torch import save_file
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFValueType

BLOCK_TYPES = "Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K Q3_K Q4_K Q5_K Q6_K IQ4_NL IQ4_XS MXFP4".split()
FIXED_RECIPES = "Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 BF16".split()
D_OFFSETS = {  # where the f16 numbers of a block lie
    "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q2_K": [80, 82], "Q3_K": [108],
    "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208], "IQ4_NL": [0], "IQ4_XS": [0], "MXFP4": [],
}
HOSTILE = [0x7C00, 0xFC00, 0x7E01, 0xFFFF, 0x0000, 0x8000, 0x0001, 0x03FF]
ELEMENTS = 768


def blocks_of(name, rng):
    block, size = GGML_QUANT_SIZES[GGMLQuantizationType[name]]
    n = ELEMENTS // block
    data = rng.integers(0, 256, (n, size), dtype=np.uint8)
    for i in range(n):
        for offset in D_OFFSETS[name]:
            if i % 3 == 2:
                value = HOSTILE[(i // 3 + offset) % len(HOSTILE)]
            else:
                value = int(np.float16(rng.uniform(-0.1, 0.1)).view(np.uint16))
            data[i, offset] = value & 255
            data[i, offset + 1] = value >> 8
    if name == "MXFP4":
        data[:4, 0] = [0, 1, 254, 255]
        data[4:, 0] = rng.integers(100, 150, n - 4)
    return data.reshape(1, -1)


def inputs(rng):
    x = (rng.standard_normal((24, 32)) * 0.02).astype(np.float32)
    x[1] = 0
    x[2] = 0.25
    x[3] = np.round(x[3] * 100) / 100  # ties among the codes
    x[4, :] = np.tile([0.5, -0.5], 16)  # two values of largest magnitude
    x[5, :] = np.tile([-0.5, 0.5], 16)
    x[6] *= 1e-9
    x[7] *= 1e-30
    x[8] *= 1e5
    x[9] = np.abs(x[9]) + 3
    x[10] = -np.abs(x[10])
    x[11, 1:] = 0
    return x.reshape(1, -1)


def main():
    folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parents[1] / "tests/data/formats")
    folder.mkdir(parents=True, exist_ok=True)
    write_gguf(folder / "gguf_py.gguf")
    write_safetensors(folder / "safetensors_py.safetensors")
    for path in sorted(folder.iterdir()):
        print(f"{path}: {path.stat().st_size} bytes")


def write_safetensors(out):
    ramp = torch.arange(6, dtype=torch.float32).reshape(2, 3) / 2
    save_file(
        {
            "f32": ramp,
            "f16": ramp.half(),
            "bf16": ramp.bfloat16(),
            "scalar": torch.tensor(7.0),
            "count": torch.tensor([1, 2, 3]),
            "f8": ramp.to(torch.float8_e4m3fn),
        },
        out,
        metadata={"format": "pt"},
    )


def write_gguf(out):
    rng = np.random.default_rng(20)
    writer = gguf.GGUFWriter(out, "fixture")
    writer.add_uint8("t.u8", 200)
    writer.add_int8("t.i8", -100)
    writer.add_uint16("t.u16", 60000)
    writer.add_int16("t.i16", -30000)
    writer.add_uint32("t.u32", 4000000000)
    writer.add_int32("t.i32", -2000000000)
    writer.add_float32("t.f32", 0.5)
    writer.add_bool("t.bool", True)
    writer.add_string("t.string", "Grüße, 世界")
    writer.add_uint64("t.u64", 2**64 - 1)
    writer.add_int64("t.i64", -(2**63))
    writer.add_float64("t.f64", 0.1)
    writer.add_array("t.strings", ["", "a", "bc", "▁the"])
    writer.add_array("t.i32s", [-1, 0, 1])
    writer.add_array("t.f32s", [0.25, -0.25])
    writer.add_array("t.bools", [True, False, True])
    writer.add_key_value("t.u8s", [1, 2, 255], GGUFValueType.ARRAY, GGUFValueType.UINT8)

    with np.errstate(all="ignore"):
        for name in BLOCK_TYPES:
            qtype = GGMLQuantizationType[name]
            data = blocks_of(name, rng)
            writer.add_tensor(f"bytes.{name}", data, raw_dtype=qtype)
            writer.add_tensor(f"values.{name}", gguf.quants.dequantize(data, qtype).astype(np.float32))
        x = inputs(rng)
        writer.add_tensor("x", x)
        for name in FIXED_RECIPES:
            qtype = GGMLQuantizationType[name]
            writer.add_tensor(f"encoded.{name}", gguf.quants.quantize(x, qtype).view(np.uint8), raw_dtype=qtype)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


main()
