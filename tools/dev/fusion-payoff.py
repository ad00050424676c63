#!/usr/bin/env python3
"""What fusion pays on this machine, predicted and measured.

Compiles chains of hyper-connections with nothing fused and with everything fused, checks
that both give the same results, and runs `mhc-run bench` on their forward and backward passes. The prediction of a kernel is the larger of its
bytes over the machine's copy rate and its arithmetic over the machine's multiply-add rate, both measured in the same run; the prediction of an entry is
the sum over its kernels. Arithmetic is the floating-point operations of the scheduled kernel, and the conversions of bf16 streams: without instructions for it
a vector takes 2 to widen and 8 to round (to nearest even, NaNs kept), and each takes a place that a multiply-add (2 operations) could have.

    tools/dev/fusion-payoff.py                       # C = 1280 and 2560, T = 1024 and 4096, 1 and 2 threads
    tools/dev/fusion-payoff.py --channels=1280 --tokens=4096 --threads=1 --kernels
    tools/dev/fusion-payoff.py --work=DIR --compile-only; tools/dev/fusion-payoff.py --work=DIR --measure-only

With --check the exit status is 1 where a fused entry is slower than the unfused one.
"""

import argparse
import array
import itertools
import json
import math
import pathlib
import random
import re
import shutil
import struct
import subprocess
import sys
import tempfile

VARIANTS = {
    "unfused": ["--no-fuse-boundaries", "--no-fuse-coefficients", "--no-rebuild"],
    "fused": [],
}
ENTRIES = ["forward", "backward"]


# ---------------------------------------------------------------- operations of a kernel, from the IR

FLOAT_OP = re.compile(r"= (?:arith\.(?:addf|subf|mulf|divf|negf|maximumf|minimumf)|math\.\w+)\b")
CONSTANT = re.compile(r"(%\w+) = arith\.constant (-?\d+) : index")
LOOP = re.compile(r"scf\.for %\w+ = (%\w+) to (%\w+) step (%\w+)")
WIDE = re.compile(r"<(\d+)x(\d+)x(?:bf16|f32|f64)>")


def wide_shapes(text):
    """The streams and channels of each wide type in the text (wide and narrow types may print without their names)."""
    return [(int(streams), int(channels)) for streams, channels in WIDE.findall(text)]


def numbers(shape):
    """Elements of "<4x4xf32>"."""
    product = 1
    for number in re.findall(r"(\d+)x", shape):
        product *= int(number)
    return product


WIDEN, ROUND = 2, 8  # instructions a vector


def conversions(line):
    """Instructions an element row of bf16 takes where it is loaded or rounded, counted as the operations of multiply-adds."""
    wide = re.findall(r"<(\d+)x(\d+)xbf16>", line[line.index(" : ") :]) if " : " in line else []
    if not wide or not ("mhc.row.load" in line or "mhc.row.cast" in line):
        return 0
    if "mhc.row.load" in line and "wide<" not in line:
        return 0
    rounds = "mhc.row.cast" in line and line.rstrip().endswith("bf16>")
    streams, channels = wide[-1]
    return 2 * (ROUND if rounds else WIDEN) * int(streams) * int(channels) if rounds or "mhc.row.load" in line else 0


def primitive_flops(line):
    """Operations a token of a primitive without a region; a multiply-add counts two."""
    types = line[line.index(" : ") :]
    listed = re.findall(r"<[\dx]+(?:bf16|f32|f64)>", types)
    memory = re.findall(r"memref(<[\dx]+f\d+>)", types)
    if "mhc.row.project " in line or "mhc.row.project_t " in line or "mhc.row.outer_tokens " in line:
        # every element of the row meets each column of the parameter
        rows_times_columns = numbers(memory[0])
        values = max(numbers(shape) for shape in listed if shape not in memory)
        columns = min(int(n) for n in re.findall(r"(\d+)x", memory[0]))
        return 2 * values * columns if rows_times_columns else 0
    if "mhc.row.mix " in line:
        result = listed[-1]
        streams = wide_shapes(listed[-2])[0][0]
        first = 0 if " init " in line else 1  # without a start the first term is a product
        return numbers(result) * (2 * streams - first)
    if "mhc.row.dot " in line:
        (a, channels), (b, _) = wide_shapes(types)[:2]
        return 2 * a * b * channels
    if "mhc.row.reduce " in line:
        return numbers(listed[0])
    if "mhc.row.sum_tokens " in line:
        return numbers(listed[0])
    return 0


def kernel_flops(ir):
    """Operations a row of each kernel, and those that conversions stand for. Of `scf.if` the second branch counts: the first one is the exact form for tokens whose numbers would underflow."""
    flops, name = {}, None
    constants, stack = {}, []  # a factor for each open brace
    for line in ir.splitlines():
        opened = re.match(r"\s*mhc\.kernel @(\S+) ", line)
        if opened:
            name, constants, stack = opened.group(1), {}, [1]
            flops[name] = [0, 0]
            continue
        if name is None:
            continue
        constant = CONSTANT.search(line)
        if constant:
            constants[constant.group(1)] = int(constant.group(2))
        factor = stack[-1]
        if FLOAT_OP.search(line):
            flops[name][0] += factor
        elif "mhc.row." in line and "{\n" not in line and not line.rstrip().endswith("{"):
            if " : " in line:
                flops[name][0] += factor * primitive_flops(line)
                flops[name][1] += factor * conversions(line)
        stripped = line.strip()
        if stripped.startswith("} else {"):
            stack.pop()
            stack.append(stack[-1])
        elif stripped.endswith("{"):
            loop = LOOP.search(line)
            if loop:
                begin, end, step = (constants[bound] for bound in loop.groups())
                factor *= len(range(begin, end, step))
            elif "mhc.row.map " in line:
                (streams, channels) = wide_shapes(line)[-1]
                factor *= streams * channels
            elif "scf.if " in line:
                factor = 0
            stack.append(factor)
        elif stripped.startswith("}"):
            stack.pop()
            if not stack:
                name = None
    return flops


# ---------------------------------------------------------------- the same results

def write_safetensors(path, tensors):
    header, offset = {}, 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + len(data)]}
        offset += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(data for _, _, data in tensors.values()))


def read_safetensors(path):
    content = path.read_bytes()
    size = struct.unpack("<Q", content[:8])[0]
    tensors = {}
    for name, entry in json.loads(content[8 : 8 + size]).items():
        if name == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        data = content[8 + size + begin : 8 + size + end]
        if entry["dtype"] == "BF16":  # the upper halves of fp32 numbers
            wide = bytearray(2 * len(data))
            wide[2::4], wide[3::4] = data[0::2], data[1::2]
            data = bytes(wide)
        tensors[name] = array.array("f", data)
    return tensors


def random_inputs(mhc_run, package, entry, rows):
    info = json.loads(output([mhc_run, "info", package, "--json"]))
    source = random.Random(1)
    tensors = {}
    for spec in info["entries"][entry]["inputs"]:
        shape = [rows if isinstance(dim, str) else dim for dim in spec["shape"]]
        scale = max(shape[-2:]) ** -0.5 if spec["name"] == "phi" else 1
        data = array.array("f", (scale * source.gauss(0, 1) for _ in range(math.prod(shape)))).tobytes()
        if spec["dtype"] == "bf16":
            narrow = bytearray(len(data) // 2)
            narrow[0::2], narrow[1::2] = data[2::4], data[3::4]
            tensors[spec["name"]] = ("BF16", shape, bytes(narrow))
        else:
            tensors[spec["name"]] = ("F32", shape, data)
    return tensors


def distance(result, expected):
    """2-norm of the difference, relative to the expected tensor's."""
    norm = math.sqrt(sum(value * value for value in expected))
    return math.sqrt(sum((a - b) ** 2 for a, b in zip(result, expected))) / max(norm, 1e-30)


def check_same(mhc_run, packages, work):
    """All variants compute the same: up to the order of fp32 sums, which flips a rounding here and there."""
    worst = 0
    for entry in ENTRIES:
        inputs = work / "inputs.safetensors"
        first = next(iter(packages.values()))
        write_safetensors(inputs, random_inputs(mhc_run, first, entry, 21))
        results = {}
        for variant, package in packages.items():
            outputs = work / "outputs.safetensors"
            output([mhc_run, "call", package, entry, f"--inputs={inputs}", f"--outputs={outputs}"])
            results[variant] = read_safetensors(outputs)
        for variant in results:
            for name, expected in results["unfused"].items():
                error = distance(results[variant][name], expected)
                worst = max(worst, error)
                if not error < 2e-2:
                    sys.exit(f"{variant}: {entry}: {name} differs from the unfused result by {error:.1e} of its norm")
    return worst


# ---------------------------------------------------------------- compile, measure, report

def output(command):
    result = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if result.returncode:
        sys.exit(f"{' '.join(str(word) for word in command)}: exit status {result.returncode}\n{result.stderr}")
    return result.stdout


def package_name(channels, variant):
    return f"c{channels}-{variant.replace(', ', '-').replace(' ', '-')}"


def compile_all(options, work):
    for channels, variant in itertools.product(options.channels, VARIANTS):
        name = package_name(channels, variant)
        description = work / f"c{channels}.json"
        description.write_text(json.dumps({"kind": "hyper_connection_chain", "hidden_size": channels, "hc_mult": options.streams,
                                           "depth": options.depth, "dtype": options.dtype}))
        flags = VARIANTS[variant] + ([f"--mcpu={options.mcpu}"] if options.mcpu else []) + [f"--target={options.target}"]
        compiler = options.bin / "mhc-compile"
        output([compiler, description, "-o", work / f"{name}.mhcpkg", *flags])
        ir = output([compiler, description, "--compile-to=kernels", "-o", "-", *flags])
        kernels = work / f"{name}.mlir"
        kernels.write_text(ir)
        scheduled = output([options.bin / "mhc-opt", kernels, "--mhc-schedule-kernels=family=cpu"])
        (work / f"{name}.flops.json").write_text(json.dumps(kernel_flops(scheduled)))


def predict(result, flops, tokens):
    """Seconds of the entry, and each kernel's with what bounds it."""
    kernels, total = [], 0
    for kernel in result["kernels"]:
        moved = (kernel["read"] + kernel["written"]) / result["copy_rate"]
        # every launch of a chain's kernel has a row for each token
        computed = sum(flops[kernel["name"]]) * tokens * kernel["launches"] / result["fma_rate"]
        total += max(moved, computed)
        kernels.append((kernel, moved, computed))
    return total, kernels


def print_kernels(kernels):
    print(f"      {'kernel':<18} {'launches':>8} {'MB':>9} {'Gflop':>8} {'memory ms':>10} {'arith ms':>8} {'measured ms':>11} {'x larger':>8}")
    for kernel, moved, computed, operations in sorted(kernels, key=lambda item: -item[0]["seconds"]):
        floor = max(moved, computed)
        print(f"      {kernel['name']:<18} {kernel['launches']:>8} {(kernel['read'] + kernel['written']) * 1e-6:>9.1f} {operations * 1e-9:>8.3f}"
              f" {moved * 1e3:>10.3f} {computed * 1e3:>8.3f} {kernel['seconds'] * 1e3:>11.3f} {kernel['seconds'] / floor if floor else 0:>8.2f}")


def measure_all(options, work):
    mhc_run = options.bin / "mhc-run"
    slower = []
    for channels in options.channels:
        packages = {variant: work / f"{package_name(channels, variant)}.mhcpkg" for variant in VARIANTS}
        flops = {variant: json.loads((work / f"{package_name(channels, variant)}.flops.json").read_text()) for variant in VARIANTS}
        worst = check_same(mhc_run, packages, work)
        print(f"C = {channels}: all variants agree within {worst:.1e} of each tensor's norm")
        for tokens, threads in itertools.product(options.tokens, options.threads):
            runs = {}
            for _ in range(options.rounds):  # in turn, so that a change of the machine's load meets all of them
                for entry, variant in itertools.product(ENTRIES, VARIANTS):
                    result = json.loads(output([mhc_run, "bench", packages[variant], entry, f"--shape=T={tokens}", f"--threads={threads}",
                                                f"--repeat={options.repeat}", "--json"]))
                    best = runs.get((entry, variant))
                    if not best or result["seconds"] < best["seconds"]:
                        runs[entry, variant] = result
            copy = max(result["copy_rate"] for result in runs.values())
            fma = max(result["fma_rate"] or 0 for result in runs.values())
            if not fma:
                sys.exit("this processor's multiply-add rate is not known to mhc-run")
            print(f"\nC = {channels}, T = {tokens}, {threads} thread(s): copy {copy * 1e-9:.1f} GB/s, multiply-add {fma * 1e-9:.0f} Gflop/s")
            print(f"  {'entry':<9} {'variant':<14} {'MB':>8} {'Gflop':>7} {'predicted ms':>12} {'measured ms':>11} {'ratio':>6}"
                  f" {'speedup predicted':>18} {'measured':>9}")
            for entry in ENTRIES:
                base = None
                for variant in VARIANTS:
                    result = runs[entry, variant]
                    result.update(copy_rate=copy, fma_rate=fma)
                    predicted, kernels = predict(result, flops[variant], tokens)
                    operations = [flops[variant][kernel["name"]][0] * tokens * kernel["launches"] for kernel, _, _ in kernels]
                    base = base or (predicted, result["seconds"])
                    speedup = (base[0] / predicted, base[1] / result["seconds"])
                    print(f"  {entry:<9} {variant:<14} {(result['read'] + result['written']) * 1e-6:>8.1f} {sum(operations) * 1e-9:>7.2f}"
                          f" {predicted * 1e3:>12.2f} {result['seconds'] * 1e3:>11.2f} {result['seconds'] / predicted:>6.2f}"
                          f" {speedup[0]:>18.2f} {speedup[1]:>9.2f}")
                    if speedup[1] < 1:
                        slower.append(f"C = {channels}, T = {tokens}, {threads} thread(s), {entry}, {variant}: {speedup[1]:.2f}")
                    if options.kernels:
                        print_kernels([(*kernel, count) for kernel, count in zip(kernels, operations)])
            sys.stdout.flush()
    print("\nnever slower" if not slower else "\nslower than unfused:\n  " + "\n  ".join(slower))
    return 1 if slower and options.check else 0


def integers(text):
    return [int(word) for word in text.split(",")]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    root = pathlib.Path(__file__).resolve().parents[2]
    parser.add_argument("--bin", type=pathlib.Path, default=root / "build" / "bin", help="where mhc-compile and mhc-run are")
    parser.add_argument("--channels", type=integers, default=[1280, 2560])
    parser.add_argument("--tokens", type=integers, default=[1024, 4096])
    parser.add_argument("--threads", type=integers, default=[1, 2])
    parser.add_argument("--depth", type=int, default=8)
    parser.add_argument("--streams", type=int, default=4)
    parser.add_argument("--dtype", default="bf16", help="of the streams: bf16 or fp32")
    parser.add_argument("--mcpu", help="of the host code (mhc-compile --mcpu)")
    parser.add_argument("--target", default="cpu", help="of the packages (mhc-compile --target)")
    parser.add_argument("--repeat", type=int, default=5, help="runs of which bench takes the median")
    parser.add_argument("--rounds", type=int, default=3, help="times that bench is started; the fastest counts")
    parser.add_argument("--kernels", action="store_true", help="print each kernel")
    parser.add_argument("--check", action="store_true", help="fail where fusion makes an entry slower")
    parser.add_argument("--work", type=pathlib.Path, help="folder for packages; kept")
    parser.add_argument("--compile-only", action="store_true")
    parser.add_argument("--measure-only", action="store_true", help="on packages that --compile-only left in --work")
    options = parser.parse_args()
    if (options.compile_only or options.measure_only) and not options.work:
        parser.error("--compile-only and --measure-only need --work")
    work = options.work or pathlib.Path(tempfile.mkdtemp(prefix="fusion-payoff-"))
    work.mkdir(parents=True, exist_ok=True)
    try:
        if not options.measure_only:
            compile_all(options, work)
        return 0 if options.compile_only else measure_all(options, work)
    finally:
        if not options.work:
            shutil.rmtree(work)


if __name__ == "__main__":
    sys.exit(main())
