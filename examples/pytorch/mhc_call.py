"""Runs entries of compiled packages on PyTorch tensors.

`call(package, entry, tensors, device)` hands tensors to `mhc-run call` and brings its results back, as safetensors
files; `save` and `load` write and read these without further Python packages. mhc-run is looked for in $MHC_RUN, then
on PATH. `device`: cpu, or cuda where the package has code for the GPU; results are CPU tensors either way.
"""
import ctypes
import json
import math
import os
import struct
import subprocess
import tempfile

import torch

DTYPES = {"BF16": torch.bfloat16, "F32": torch.float32, "F64": torch.float64, "I32": torch.int32, "I64": torch.int64}


def save(path, tensors):
    tensors, header, end = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}, {}, 0
    for name, t in tensors.items():
        word = next(word for word, dtype in DTYPES.items() if dtype == t.dtype)
        header[name] = {"dtype": word, "shape": list(t.shape), "data_offsets": [end, end := end + t.nbytes]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at a multiple of 8
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for t in tensors.values():
            file.write(ctypes.string_at(t.data_ptr(), t.nbytes))


def load(path):
    with open(path, "rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        data, result = bytearray(file.read()), {}
    for name, entry in header.items():
        if name != "__metadata__":
            begin, end = entry["data_offsets"]
            result[name] = torch.frombuffer(data[begin:end] or bytearray(8), dtype=DTYPES[entry["dtype"]])[: math.prod(entry["shape"])].reshape(entry["shape"])
    return result


def call(package, entry, tensors, device="cpu"):
    with tempfile.TemporaryDirectory() as folder:
        inputs, outputs = os.path.join(folder, "in.safetensors"), os.path.join(folder, "out.safetensors")
        save(inputs, tensors)
        subprocess.run([os.environ.get("MHC_RUN", "mhc-run"), "call", package, entry, f"--inputs={inputs}", f"--outputs={outputs}", f"--device={device}"], check=True)
        return load(outputs)
