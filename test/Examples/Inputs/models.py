"""Compiles every description of a folder for the CPU and a GPU; prints its counts, which the package and the report agree on, and its targets.

usage: models.py FOLDER
"""
import concurrent.futures
import json
import pathlib
import subprocess
import sys
import tempfile
import zipfile


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def line(description, folder):
    package = folder / f"{description.stem}.mhcpkg"
    run("mhc-compile", description, "--target=cpu,sm_90a", "-o", package)
    with zipfile.ZipFile(package) as members:
        manifest = json.loads(members.read("manifest.json"))
    counts = json.loads(run("mhc-compile", description, "--report=parameters"))
    assert counts == manifest["parameters"], f"{description}: report and package differ"
    package.unlink()
    return f"{description.stem}: total {counts['total']} active {counts['active']} {' '.join(sorted(manifest['targets']))}"


with tempfile.TemporaryDirectory() as folder, concurrent.futures.ThreadPoolExecutor(2) as pool:
    print(*pool.map(lambda path: line(path, pathlib.Path(folder)), sorted(pathlib.Path(sys.argv[1]).glob("*.json"))), sep="\n")
