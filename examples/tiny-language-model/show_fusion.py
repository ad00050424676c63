#!/usr/bin/env python3
"""show_fusion.py BEFORE.mlir AFTER.mlir: prints the first forward boundary of @forward as IR, before and after fusion."""
import re
import sys


def function(path, name):
    lines = open(path).read().split("\n")
    start = next(i for i, line in enumerate(lines) if f"func.func @{name}(" in line)
    end = next(i for i in range(start, len(lines)) if lines[i] == "  }")
    return lines[start + 1:end]


def ops(lines):
    """names of the ops of a stretch, in order"""
    return [m[1] for line in lines if (m := re.search(r"= (mhc\.\w+)", line))]


after = function(sys.argv[2], "forward")
start = next(i for i, line in enumerate(after) if 'mhc.fusion "boundary"' in line and any("mhc.combine" in x for x in after[i:i + 6]))
end = next(i for i in range(start, len(after)) if after[i].strip() == "}")
fused = after[start:end + 1]
first = next(line for line in fused if "mhc.combine" in line)
place = next(i for i, line in enumerate(function(sys.argv[1], "forward")) if "mhc.combine" in line)
wanted, before = ops(fused[1:]), []
for line in function(sys.argv[1], "forward")[place:]:
    m = re.search(r"= (mhc\.\w+)", line)
    if m and m[1] in wanted:
        wanted.remove(m[1])
        before.append(line)
    if not wanted:
        break
cut = lambda line: line if len(line) <= 150 else line[:147] + "..."
print("\n".join(map(cut, before)))
print("== and after")
print("\n".join(map(cut, fused)))
