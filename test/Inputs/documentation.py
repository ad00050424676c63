#!/usr/bin/env python3
"""Runs the examples in the descriptions of all passes and compares what comes out with what stands there.

usage: documentation.py Passes.td.. (mhc-opt is found on PATH)

Every description holds pairs of fenced blocks: IR before, and what the pass makes of it. The second block is either
whole IR (```mlir), which is compared after mhc-opt has printed it; or, with lines `...` for what is left out or
without a language (what the pass writes to its output or as errors), lines that follow each other in this order.
Names of values are free there, but each stands for one value.
"""
import difflib
import re
import subprocess
import sys
import textwrap

PASS = re.compile(r'def \w+ : Pass<"([\w-]+)"(?:, "([\w:]+)")?> \{(.*?)\n\}', re.S)
FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.S | re.M)
ANCHORS = {"::mlir::ModuleOp": "%s", "": "%s", "::mlir::func::FuncOp": "func.func(%s)", "::mlir::gpu::GPUModuleOp": "gpu.module(%s)"}


def run(ir, *options):
    done = subprocess.run(["mhc-opt", "-", "-mlir-print-op-on-diagnostic=false", *options], input=ir, capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


def lines_of(text):
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()]


def find(wanted, lines):
    """None, or the first line that does not come where it should."""
    values, at, anywhere = {}, 0, True
    for line in wanted:
        if line == "...":
            anywhere = True
            continue
        names = []
        pattern = ""
        for part in re.split(r"(%\w+)", line):
            if not part.startswith("%"):
                pattern += re.escape(part)
            elif part in values:
                pattern += re.escape(values[part]) + r"\b"
            elif part in names:
                pattern += rf"\{names.index(part) + 1}\b"
            else:
                names.append(part)
                pattern += r"(%\w+)"
        match = None
        while at < len(lines) and not match:
            match = re.fullmatch(pattern, lines[at])
            if match and (set(match.groups()) & set(values.values()) or len(set(names)) != len(set(match.groups()))):
                match = None  # two names, one value
            at += 1
            if not match and not anywhere:
                return line
        if not match:
            return line
        values.update(zip(names, match.groups()))
        anywhere = False
    return None


def check(name, anchor, before, language, after):
    """The empty text, or what is wrong."""
    pipeline = "-pass-pipeline=builtin.module(" + ANCHORS[anchor] % name + ")"
    if language != "mlir":
        _, out, err = run(before, pipeline, "-o", "/dev/null")
        # Errors begin with the name of the input.
        lines = [re.sub(r"^<stdin>:\d+:\d+: ", "", line) for line in lines_of(out + err)]
    else:
        code, out, err = run(before, pipeline)
        if code:
            return err
        lines = lines_of(out)
        if "..." not in lines_of(after):
            code, whole, err = run(after)
            if code:
                return "of the IR afterwards: " + err
            return "".join(difflib.unified_diff(whole.splitlines(True), out.splitlines(True), "description", name))
    missing = find(lines_of(after), lines)
    return missing and f"not there: {missing}\n--- {name}\n" + "\n".join(lines) + "\n"


def main():
    examples = failures = 0
    for path in sys.argv[1:]:
        for name, anchor, body in PASS.findall(open(path).read()):
            blocks = [(language, textwrap.dedent(text)) for language, text in FENCE.findall(body)]
            if not blocks or len(blocks) % 2 or any(language != "mlir" for language, _ in blocks[::2]):
                print(f"{path}: {name}: expected pairs of examples, before and after")
                failures += 1
                continue
            for (_, before), (language, after) in zip(blocks[::2], blocks[1::2]):
                problem = check(name, anchor, before, language, after)
                examples += 1
                if problem:
                    print(f"{path}: {name}: {problem}")
                    failures += 1
                else:
                    print(f"{name}: ok")
    print(f"{examples} examples, {failures} failures")
    return 1 if failures or not examples else 0


sys.exit(main())
