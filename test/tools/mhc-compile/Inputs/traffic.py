#!/usr/bin/env python3
"""Holds what the fusion remarks say that kernels move against what the plan moves.

usage: traffic.py [--OPTION-OF-MHC-COMPILE..] DESCRIPTION.. (mhc-compile is found on PATH)

The bytes a row of each kernel are counted here from the text of the plan: arguments with a row for each token that a
load or a store touches, rows that several tokens share by parts, and gathered rows. Each fusion of a function is then one launch of its entry that moves what its
remark says, and there is no other launch of a fusion; the launches' sums are those that --explain and --memory print.
"""
import collections
import math
import pathlib
import re
import subprocess
import sys

BITS = {"bf16": 16, "f32": 32, "f64": 64, "i32": 32}
# The functions whose launches an entry holds.
PARTS = {"train_step": ["loss_and_gradients", "update"]}

OPTIONS = [argument for argument in sys.argv[1:] if argument.startswith("--")]


def compiled(path, *options):
    return subprocess.run(["mhc-compile", path, *OPTIONS, *options], check=True, capture_output=True, text=True).stdout


def row_bytes(memory):
    """Bytes of one row, and whether there is one for each token."""
    *dims, element = memory.split("x")
    rows = dims[0] == "?"
    return math.prod(map(int, dims[1:] if rows else dims)) * BITS[element] // 8, rows, dims


def kernels_of(text):
    """Name to (read, written) a row."""
    traffic = {}
    for name, inputs, outputs, body in re.findall(r"mhc\.kernel @(\w+) attributes \{.*?segments = array<i64: (\d+), (\d+), \d+>\} \{\n(.*?)\n  \}", text, re.S):
        header = body[: body.index("\n")]
        arguments = re.findall(r"(%\w+): memref<([^>]*)>", header)
        sums = [0, 0]
        for i, (argument, memory) in enumerate(arguments[: int(inputs) + int(outputs)]):
            size, rows, dims = row_bytes(memory)
            loads = set(re.findall(rf"mhc\.row\.load +(\w+) {argument}\b", body))
            stored = re.search(rf"mhc\.row\.store %[\w#]+, {argument}\b", body)
            shared = re.search(rf"mhc\.row\.load +shared {argument} \{{divisor = (\d+)", body)
            if shared:
                size //= int(shared.group(1))  # tokens that read one row
            elif "gather" in loads:
                size = size if rows else size // int(dims[0])
            elif not (rows and (stored or "row" in loads)):
                continue
            sums[i >= int(inputs)] += size
        traffic[name] = tuple(sums)
    return traffic


def entries_of(text):
    """Entry to its launches: kernel and rows."""
    entries = {}
    for name, body in re.findall(r"^  plan\.entry @(\w+) .*?\{\n(.*?)^  \}", text, re.S | re.M):
        entries[name] = re.findall(r"plan\.launch @(\w+)\(.*? rows <([^>]*)>", body)
    return entries


def remarks_of(text):
    """The YAML's remarks and figures, read without a library: flat lists of scalars."""
    head, _, tail = text.partition("remarks:\n")
    remarks = [dict((key, value.strip('"')) for key, value in re.findall(r"^(?:  - |    )(\w+): (.*)$", item, re.M)) for item in re.split(r"(?m)^(?=  - )", tail)[1:]]
    figures = {key: value.strip('"') for key, value in re.findall(r"^(\w[^:\n]*): (.*)$", text, re.M)}
    return remarks, figures


def terms(expression):
    """`640 * T + 8` as {"T": 640, "": 8}."""
    sums = collections.Counter()
    for term in expression.split(" + "):
        factors = term.split(" * ")
        symbols = " * ".join(f for f in factors if not f.isdigit())
        sums[symbols] += math.prod(int(f) for f in factors if f.isdigit())
    return +sums


def check(path):
    plan, explained, memory = compiled(path, "--compile-to=plan"), compiled(path, "--explain=yaml"), compiled(path, "--memory")
    kernels, (remarks, figures) = kernels_of(plan), remarks_of(explained)
    fused = [r for r in remarks if r.get("pass") in ("mhc-fuse-boundaries", "mhc-fuse-coefficients") and r["name"] != "rebuild" and r["decision"] == "taken"]
    assert fused, "no fusion"
    for r in fused:
        assert int(r["bytes_saved"]) == int(r["bytes_before"]) - int(r["bytes_after"]) >= 0, r
    compared = 0
    for entry, launches in entries_of(plan).items():
        said = collections.Counter((r["name"], int(r["bytes_after"])) for r in fused if r["function"] in PARTS.get(entry, [entry]))
        done = collections.Counter((re.sub(r"_\d+$", "", kernel), sum(kernels[kernel])) for kernel, _ in launches)
        done = collections.Counter({key: n for key, n in done.items() if key[0] in ("boundary", "chain", "coefficients")})
        assert said == done, f"{entry}: remarks {dict(said - done)}, plan {dict(done - said)}"
        compared += said.total()
        for i, way in enumerate(("read", "written")):
            moved = collections.Counter()
            for kernel, rows in launches:
                for symbols, factor in terms(rows).items():
                    moved[symbols] += factor * kernels[kernel][i]
            verb = {"read": "read", "written": "write"}[way]
            printed = re.search(rf"^entry {entry} .*\n.*\n  kernels (?:read (.*) bytes and write (.*))$", memory, re.M).group(i + 1)
            assert terms(printed) == +moved, f"{entry}: --memory says that kernels {verb} {printed}, the plan {dict(moved)}"
            explained_total = figures[f"bytes {way} by {entry}"]
            assert terms(explained_total) == +moved, f"{entry}: --explain says {way} {explained_total}, the plan {dict(moved)}"
    print(f"{' '.join([pathlib.Path(path).name, *OPTIONS])}: {compared} fusions move what their remarks say")


for argument in sys.argv[1:]:
    if argument not in OPTIONS:
        check(argument)
