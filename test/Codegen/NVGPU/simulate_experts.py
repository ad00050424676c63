#!/usr/bin/env python3
"""Checks the kernels behind dispatch and grouped products without a GPU: they run on the CPU thread by thread (simt.c) and are held against numpy.
Results lie between margins, which must stay untouched.

usage: simulate_experts.py MHC_OPT [WORD]           with a word only the checks whose name has it
       simulate_experts.py MHC_OPT --runtime TEST   the runtime's launches of them: TEST, its program of tests, on the driver of fake_cuda.cpp
"""
import ctypes
import json
import os
import struct
import subprocess
import sys
import tempfile

import numpy as np

import simulate_library
from simulate_library import Simulator, say, tensor
from simulate import HERE, Tensor, build_driver, build_gpu

UNIT, ROWS = 256, 128  # of CudaExperts.cpp
SORT = ["mhc_dispatch_count", "mhc_dispatch_prefix", "mhc_dispatch_offsets", "mhc_dispatch_scatter"]

# tokens, choices, experts, kind of index, capacity
DISPATCH = [
    (0, 2, 3, "random", 0), (1, 1, 1, "random", 0), (13, 1, 257, "random", 0), (300, 6, 64, "random", 0), (517, 8, 63, "random", 0),
    (700, 2, 96, "one", 0), (333, 3, 5, "absent", 0), (400, 4, 7, "random", 150), (400, 4, 72, "one", 99), (260, 2, 9, "absent", 20),
    (64, 8, 4100, "random", 0), (520, 4, 300, "random", 5), (90, 3, 4, "nobody", 0), (31, 2, 700, "absent", 1),
    (9000, 8, 5, "absent", 0),
]

# k, n: multiples of 8 are copied by 16 bytes, of 4 and 2 by less, odd ones by elements
SIZES = [(64, 128), (96, 256), (40, 24), (136, 264), (36, 20), (130, 34), (33, 17), (1, 1), (8, 300), (16, 5)]
# rows, sizes of groups (the rest belongs to none)
GROUPS = [(0, [0, 0]), (1, [1]), (200, [0, 130, 0, 69, 1]), (300, [300]), (190, [3, 0, 128, 40]), (5, [0] * 300 + [2] + [0] * 400 + [3])]


def kernel_name(what, kind, k, n):
    return f"mhc_grouped_{'outer' if what == 'outer' else 'matmul_t' if what == 't' else 'matmul'}_{kind}_{k}_{n}"


class Experts(Simulator):
    def blocks(self, name, grid, arguments):
        values = [a.pointer if isinstance(a, Tensor) else int(a) for a in arguments]
        array = (ctypes.c_int64 * len(values))(*values)
        if self.code.simulate(getattr(self.code, "sim_" + name), array, int(grid), self.launches[name]["threads"]):
            sys.exit(f"{name}: threads wait for ever")

    def setting(self, name):
        return ctypes.c_int.in_dll(self.code, name)


def dispatch_reference(index, experts, capacity):
    flat = index.reshape(-1)
    chosen = (flat >= 0) & (flat < experts)
    counts = np.bincount(flat[chosen], minlength=experts)
    order, reverse = [], np.full(flat.size, -1)
    by_expert = [[] for _ in range(experts)]
    for place, e in enumerate(flat):
        if chosen[place]:
            by_expert[e].append(place)
    offsets = [0]
    for places in by_expert:
        for place in places[:capacity or None]:
            reverse[place] = len(order)
            order.append(place)
        offsets.append(len(order))
    order += [0] * (flat.size - len(order))
    gather = np.array(order, int) // max(index.shape[1], 1)
    return counts, np.array(offsets), gather, np.array(order, int), reverse, np.array([counts.sum() - offsets[-1]])


def check_dispatch(sim, case, rng):
    tokens, choices, experts, kind, capacity = case
    index = rng.integers(0, experts, (tokens, choices)).astype(np.int32)
    if kind == "one":
        index[:] = experts - 2
    elif kind == "nobody":
        index[:] = -1
    elif kind == "absent":
        index[rng.random(index.shape) < 0.3] = rng.choice([-1, experts, 2**31 - 1, -2**31])
    count, now = index.size, ((index >= 0) & (index < experts)).sum() // max(tokens, 1)
    # Of every expert between capacity - 1 and capacity: that is, capacity.
    most = struct.unpack("<q", struct.pack("<d", (capacity - 0.5) * experts / now if capacity else 0.0))[0]
    for longer in (1, 3) if experts < 1000 else (1,):
        piece = UNIT * longer
        blocks = -(-count // piece)
        given, table = Tensor("i32", count, index.reshape(-1)), Tensor("i32", experts * blocks)
        counts, offsets, dropped = Tensor("i32", experts), Tensor("i32", experts + 1), Tensor("i32", 1)
        gather, order, reverse = (Tensor("i32", count) for _ in range(3))
        sim.blocks("mhc_dispatch_count", blocks, [given, table, count, experts, blocks, piece])
        sim.blocks("mhc_dispatch_prefix", experts, [table, counts, blocks])
        sim.blocks("mhc_dispatch_offsets", 1, [counts, offsets, dropped if longer == 1 else 0, experts, tokens, most])
        sim.blocks("mhc_dispatch_scatter", blocks, [given, table, offsets, gather, order, reverse, count, choices, experts, blocks, piece])
        results = {"counts": counts, "offsets": offsets, "gather": gather, "order": order, "reverse": reverse}
        if longer == 1:
            results["dropped"] = dropped
        wrong = [name for (name, result), want in zip(results.items(), dispatch_reference(index, experts, capacity))
                 if not np.array_equal(result.values, want) or not result.intact()]
        say(wrong, f"dispatch {tokens} x {choices} to {experts}, {kind}, capacity {capacity}, pieces of {piece}: {wrong or 'exact'}")


def products(sim, what, kind, k, n, rows, sizes, rng, accumulate=0):
    """The kernel's result and the exact one."""
    groups = len(sizes)
    offsets = np.r_[0, np.cumsum(sizes)].astype(np.int32)
    given = Tensor("i32", groups + 1, offsets)
    x, exact_x = tensor(kind, rng.normal(size=(rows, k)))
    if what == "outer":
        y, exact_y = tensor(kind, rng.normal(size=(rows, n)))
        out, before = tensor("f32", rng.normal(size=(groups, k, n))) if accumulate else (Tensor("f32", groups * k * n), np.zeros((groups, k, n)))
        name = kernel_name(what, kind, k, n)
        grid = groups * -(-k // ROWS) * -(-n // sim.launches[name]["tile"])
        sim.blocks(name, grid, [x, y, given, out, accumulate])
        want = before + np.array([exact_x[a:e].T @ exact_y[a:e] for a, e in zip(offsets, offsets[1:])]).reshape(before.shape)
        return out, want, "f32"
    transposed = what == "t"
    w, exact_w = tensor(kind, rng.normal(size=(groups, n, k) if transposed else (groups, k, n)))
    y = Tensor(kind, rows * n)
    name = kernel_name(what, kind, k, n)
    tiles = min(rows, (rows + (ROWS - 1) * (groups + 1)) // ROWS)
    sim.blocks(name, tiles * -(-n // sim.launches[name]["tile"]), [x, w, given, y, rows, groups])
    want = np.zeros((rows, n))
    for e, (a, b) in enumerate(zip(offsets, offsets[1:])):
        want[a:b] = exact_x[a:b] @ (exact_w[e].T if transposed else exact_w[e])
    return y, want, kind


def check_product(sim, what, kind, k, n, rows, sizes, accumulate=0):
    groups = f"{len(sizes)} groups" if len(sizes) > 8 else "/".join(map(str, sizes))
    name = f"grouped {what} {kind} k {k} n {n}, {rows} rows in {groups}{', added' * accumulate}"
    seen = []
    for lazy in (0, 1):
        sim.setting("sim_lazy").value = lazy
        result, want, stored = products(sim, what, kind, k, n, rows, sizes, np.random.default_rng(5), accumulate)
        seen.append(result.memory.tobytes())
    got = result.values.astype(np.float64).reshape(want.shape)
    size = np.linalg.norm(want) + 1e-30
    error = np.linalg.norm(got - want) / size if want.size else 0.0
    limit = {"bf16": 3e-3, "f32": 1e-6}[stored]
    problems = [text for text, bad in (("margins overwritten", not result.intact()), ("copies that were not waited for", seen[0] != seen[1]),
                                       ("bank conflicts", sim.setting("sim_conflicts").value), ("addresses", sim.setting("sim_errors").value)) if bad]
    if want.size and not np.all(got[want == 0] == 0) and not accumulate:
        problems.append("not zero where it should be")
    say(not error < limit or problems, f"{name}: {error:.1e} {', '.join(problems)}")


def check_runtime(mhc_opt, test):
    if not os.path.exists(test):
        return print(f"skip: {test} was not built")
    folder = tempfile.mkdtemp()
    names = SORT + [kernel_name(what, kind, k, n) for what in ("plain", "t", "outer") for kind in ("bf16", "f32") for k, n in ((100, 36), (33, 17))]
    with open(f"{folder}/launches.json", "w") as file:
        json.dump(build_gpu(mhc_opt, "module {}", folder, names), file)
    with open(f"{folder}/kernels.ptx", "w") as file:
        file.write("not read")
    environment = {**os.environ, "LD_LIBRARY_PATH": build_driver(), "FAKE_CUDA_KERNELS": f"{folder}/gpu.so", "MHC_TEST_EXPERTS": folder}
    result = subprocess.run([test, "--gtest_filter=CudaExperts.*"], env=environment, capture_output=True, text=True)
    if result.returncode or "[  PASSED  ] 2 tests." not in result.stdout:
        sys.exit(result.stdout[-5000:] + result.stderr[-2000:])


def main():
    if sys.argv[2:3] == ["--runtime"]:
        check_runtime(sys.argv[1], sys.argv[3])
        return print("all agree")
    word = sys.argv[2] if len(sys.argv) > 2 else ""
    whats = ("plain", "t", "outer")
    cases = [(what, kind, k, n) for k, n in SIZES for kind in ("bf16", "f32") for what in whats if word in f"grouped {what} {kind} k {k} n {n}"]
    names = (SORT if word in "dispatch" else []) + [kernel_name(*case) for case in cases]
    sim = Experts(sys.argv[1], names)
    rng = np.random.default_rng(11)
    if word in "dispatch":
        for case in DISPATCH:
            check_dispatch(sim, case, rng)
    for number, (what, kind, k, n) in enumerate(cases):
        # Every size with two of the groupings, every grouping with some sizes.
        for rows, sizes in (GROUPS[i] for i in sorted({number % len(GROUPS), (number // 3 + 2) % len(GROUPS)})):
            if len(sizes) * k * n > 3e6:
                rows, sizes = GROUPS[2]
            check_product(sim, what, kind, k, n, rows, sizes)
            if what == "outer":
                check_product(sim, what, kind, k, n, rows, sizes, accumulate=1)
    if simulate_library.failures:
        sys.exit(f"{simulate_library.failures} results differ")
    print("all agree")


if __name__ == "__main__":
    main()
