#!/usr/bin/env python3
"""Writes the kernels of the descriptions below a folder as PTX for each chip, and assembles them where ptxas is: every description, but of
examples/models, which differ in sizes, the smallest of each family.

usage: assemble.py FOLDER CHIP.. (mhc-compile is found on PATH; ptxas there or in /usr/local/cuda/bin)
"""
import concurrent.futures
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

PTXAS = shutil.which("ptxas", path=os.environ.get("PATH", "") + os.pathsep + "/usr/local/cuda/bin")


# Of a thread, to local memory: a few values around a loop. A kernel that keeps a row where it cannot would spill thousands.
MOST_SPILLED = 512


def is_description(path):
    if path.parent.name == "models" and path.stem not in ("mhc-3b-dense", "transformer-next-d8"):
        return False
    try:
        return "kind" in json.loads(path.read_text())
    except (ValueError, TypeError):
        return False


def check(path, chip, folder):
    """The line to print, and whether all is well."""
    name = f"{path.parent.name}/{path.name} {chip}"
    ptx, plan = folder / f"{path.parent.name}-{path.stem}-{chip}.ptx", folder / f"{path.parent.name}-{path.stem}-{chip}.mlir"
    for options in (["--emit=ptx", "-o", ptx], ["--exchange=none", "--compile-to=plan", "-o", plan]):
        done = subprocess.run(["mhc-compile", path, f"--target={chip}", *options], capture_output=True, text=True)
        if done.returncode:
            return f"{name}: {done.stderr}", False
    text = ptx.read_text()
    entries = set(re.findall(r"^\.visible \.entry (\w+)\(", text, re.M))
    kernels = set(re.findall(r"^ *mhc\.kernel @(\w+)", plan.read_text(), re.M))
    if not kernels or kernels - entries:
        return f"{name}: expected all of {len(kernels)} kernels, but {sorted(kernels - entries)} are missing", False
    if f".target {chip}" not in text or ".extern .func" in text:
        return f"{name}: expected code for {chip} that calls nothing from outside", False
    if not PTXAS:
        return f"{name}: {len(kernels)} kernels, not assembled", True
    done = subprocess.run([PTXAS, "-v", f"-arch={chip}", ptx, "-o", os.devnull], capture_output=True, text=True)
    if done.returncode and "is not defined for option 'gpu-name'" in done.stdout + done.stderr:
        return f"{name}: {len(kernels)} kernels, not assembled: this ptxas does not know the chip", True
    if done.returncode:
        return f"{name}: ptxas: {done.stdout}{done.stderr}", False
    registers = [int(n) for n in re.findall(r"Used (\d+) registers", done.stdout + done.stderr)]
    spilled = [int(n) for n in re.findall(r"(\d+) bytes spill stores", done.stdout + done.stderr)]
    if not registers or len(spilled) < len(entries):
        return f"{name}: expected ptxas to say what {len(entries)} kernels take, but got: {done.stdout}{done.stderr}", False
    return f"{name}: {len(kernels)} kernels, assembled; at most {max(registers)} registers, {max(spilled)} bytes spilled", max(spilled) <= MOST_SPILLED


def main():
    paths = sorted(path for path in pathlib.Path(sys.argv[1]).rglob("*.json") if is_description(path))
    jobs = [(path, chip) for path in paths for chip in sys.argv[2:]]
    print("ptxas:", PTXAS or "not installed (neither on PATH nor in /usr/local/cuda/bin), so PTX is written and not assembled")
    with tempfile.TemporaryDirectory() as folder, concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        results = list(pool.map(lambda job: check(*job, pathlib.Path(folder)), jobs))
    for line, _ in results:
        print(line)
    return 0 if results and all(good for _, good in results) else 1


sys.exit(main())
