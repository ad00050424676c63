#!/usr/bin/env python3
"""Builds a libcuda.so.1 that runs the kernels of a description on the CPU, thread by thread (fake_cuda.c).

usage: fake_cuda.py DESCRIPTION FOLDER (mhc-compile and mhc-opt are found on PATH)
"""
import os
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent / "Codegen" / "NVGPU"))
import simulate  # noqa: E402

description, folder = sys.argv[1:]
os.makedirs(folder, exist_ok=True)
plan = simulate.run(["mhc-compile", description, "--target=sm_90a", "--exchange=none", "--compile-to=plan"], "")
launches = simulate.build_gpu("mhc-opt", simulate.run(["mhc-opt", "--mhc-schedule-kernels=family=simple", "-"], plan), folder)
with open(f"{folder}/launches.c", "w") as file:
    print("#include <string.h>", file=file)
    for what in ("threads", "shared"):
        print(f"int fake_{what}(const char *name) {{", file=file)
        for name, launch in launches.items():
            print(f'  if (!strcmp(name, "{name}")) return {launch[what]};', file=file)
        print("  return -1;\n}", file=file)
subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", f"{folder}/libcuda.so.1", HERE / "fake_cuda.c", f"{folder}/launches.c", pathlib.Path(simulate.HERE) / "simt.c", f"{folder}/gpu.o", "-lm"],
               check=True)
print("kernels:", *sorted(launches))
