#!/usr/bin/env python3
"""Writes kernels behind library commands as PTX for each chip, and assembles them where ptxas is: nothing may be spilled.

usage: assemble_library.py CHIP,.. KERNEL.. (mhc-opt is found on PATH; ptxas there or in /usr/local/cuda/bin)
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile

PTXAS = shutil.which("ptxas", path=os.environ.get("PATH", "") + os.pathsep + "/usr/local/cuda/bin")


def main():
    names = ",".join(sys.argv[2:])
    for chip in sys.argv[1].split(","):
        with tempfile.TemporaryDirectory() as folder:
            path = f"{folder}/kernels.ptx"
            passes = f"builtin.module(mhc-emit-simple{{library={names}}},gpu.module(mhc-write-ptx{{chip={chip} output={path}}}))"
            subprocess.run(["mhc-opt", "-", f"-pass-pipeline={passes}", "-o", os.devnull], input=b"module {}", check=True)
            with open(path) as file:
                text = file.read()
            missing = set(sys.argv[2:]) - set(re.findall(r"^\.visible \.entry (\w+)\(", text, re.M))
            if missing or ".extern .func" in text or ".local" in text:
                sys.exit(f"{chip}: missing {sorted(missing)}, or local memory, or calls")
            if not PTXAS:
                print(f"{chip}: {len(names.split(','))} kernels, not assembled")
                continue
            done = subprocess.run([PTXAS, "-v", f"-arch={chip}", path, "-o", os.devnull], capture_output=True, text=True)
            if done.returncode:
                sys.exit(f"{chip}: {done.stderr[:2000]}")
            functions = re.findall(r"Function properties for (\w+)\s+(\d+) bytes stack frame, (\d+) bytes spill stores", done.stderr)
            spilling = [f for f in functions if f[1] != "0" or f[2] != "0"]
            if spilling:
                sys.exit(f"{chip}: spilled {spilling}")
            most = max(int(n) for n in re.findall(r"Used (\d+) registers", done.stderr))
            print(f"{chip}: {len(names.split(','))} kernels, assembled; at most {most} registers, 0 bytes spilled")


if __name__ == "__main__":
    main()
