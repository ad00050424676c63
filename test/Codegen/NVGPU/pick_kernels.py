#!/usr/bin/env python3
"""Prints kernels of a module by their names. usage: pick_kernels.py FILE.mlir NAME.."""
import re
import sys

text = open(sys.argv[1]).read().rstrip()
assert text.endswith("}"), "a module"
for part in re.split(r"(?m)^  (?=mhc\.kernel )", text[:-1])[1:]:
    if re.match(r"mhc\.kernel @(\w+)", part)[1] in sys.argv[2:]:
        print(part.rstrip())
