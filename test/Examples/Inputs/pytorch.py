#!/usr/bin/env python3
"""Byte-compiles the scripts of examples/pytorch, and runs them where torch is.

usage: pytorch.py FOLDER SCRATCH (mhc-compile and mhc-run are found on PATH; $MHC_TORCH_PYTHON: a Python that has torch)
"""
import importlib.util
import os
import pathlib
import py_compile
import subprocess
import sys

folder, scratch = map(pathlib.Path, sys.argv[1:])
os.makedirs(scratch, exist_ok=True)
for script in sorted(folder.glob("*.py")):
    py_compile.compile(script, cfile=scratch / (script.name + "c"), doraise=True)
    print("compiles:", script.name, flush=True)  # others write, too
package = scratch / "hyper_connection.mhcpkg"
subprocess.run(["mhc-compile", folder / "hyper_connection.json", "-o", package], check=True)
python = os.environ.get("MHC_TORCH_PYTHON") or (sys.executable if importlib.util.find_spec("torch") else None)
if not python:
    print("not run: this Python has no torch")
    sys.exit()
# No byte code beside the sources.
subprocess.run([python, folder / "hyper_connection.py", package], check=True, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"})
print("ran")
