#!/usr/bin/env python3
"""Checks boundaries of schedule family group whose blocks are no cluster without a GPU: all blocks run at a time on the CPU, thread by thread (simt_gang.c), by chance in
another order each time, and must agree with family cpu. Tokens are so many that the rings of sums go round more than once.

usage: simulate_gang.py MHC_OPT KERNELS.mlir [SEEDS [BLOCKS:STAGES:LAG | ROWS:SEEDS]]     three numbers for forward's kernels: their form with rings, and these numbers; two: rows more to run
"""
import ctypes
import re
import subprocess
import sys
import tempfile

import numpy as np

import simulate
from simulate import HERE, Tensor, parse, run, to_bf16, together


def gang_text(text):
    """What simulate.host_text does not know, as calls of simt_gang.c."""
    rules = [
        (r"nvvm\.mbarrier\.init (%\w+), (%\w+) : [^\n]*", r"llvm.call @sim_mbarrier_init(\1, \2) : (!llvm.ptr<3>, i32) -> ()"),
        (r"nvvm\.mbarrier\.try_wait (%\w+), (%\w+) : [^\n]*", r"llvm.call @sim_mbarrier_try(\1, \2) : (!llvm.ptr<3>, i32) -> i1"),
        (r"nvvm\.mbarrier\.arrive\.expect_tx (%\w+), (%\w+) : [^\n]*", r"llvm.call @sim_mbarrier_expect(\1, \2) : (!llvm.ptr<3>, i32) -> ()"),
        (r"%\w+ = nvvm\.mbarrier\.arrive (%\w+) : [^\n]*", r"llvm.call @sim_mbarrier_arrive(\1) : (!llvm.ptr<3>) -> ()"),
        (r"nvvm\.cp\.async\.bulk\.tensor\.global\.shared\.cta (%\w+), (%\w+), box\[(.*?)\][^\n]*",
         r"llvm.call @sim_store_box(\1, \2, \3) : (!llvm.ptr, !llvm.ptr<3>, i32, i32, i32, i32) -> ()"),
        (r"nvvm\.cp\.async\.bulk\.tensor\.shared\.cluster\.global (%\w+), (%\w+), (%\w+), box\[(.*?)\][^\n]*",
         r"llvm.call @sim_load_box(\1, \2, \3, \4) : (!llvm.ptr<3>, !llvm.ptr, !llvm.ptr<3>, i32, i32, i32, i32) -> ()"),
        (r"nvvm\.cp\.async\.bulk\.shared\.cluster\.global (%\w+), (%\w+), (%\w+), (%\w+) [^\n]*",
         r"llvm.call @sim_load_bulk(\1, \2, \3, \4) : (!llvm.ptr<3>, !llvm.ptr<1>, !llvm.ptr<3>, i32) -> ()"),
        (r"nvvm\.cp\.async\.bulk\.wait_group (\d+)[^\n]*", pending),
        (r"nvvm\.cp\.async\.bulk\.commit\.group[^\n]*", "llvm.call @sim_commit_bulk() : () -> ()"),
        (r"nvvm\.(fence\.|prefetch|setmaxregister)[^\n]*", ""),
        (r"nvvm\.barrier id = (%\w+) number_of_threads = (%\w+)", r"llvm.call @sim_named_barrier(\1, \2) : (i32, i32) -> ()"),
        (r"nvvm\.bar\.warp\.sync [^\n]*", "llvm.call @sim_sync_warp() : () -> ()"),
        (r'llvm\.inline_asm has_side_effects "nanosleep[^\n]*', "llvm.call @sim_yield() : () -> ()"),
        (r'(%\w+) = llvm\.inline_asm has_side_effects "ld\.relaxed\.gpu\.global\.v4[^\n]*\}" (%\w+) : [^\n]*', together(r"llvm.call @sim_load_words(\2) : (!llvm.ptr<1>) -> ()", "word")),
        (r"llvm\.load volatile (%\w+) \{[^\n]*-> i32\n", "llvm.call @sim_load_volatile(\\1) : (!llvm.ptr<3>) -> i32\n"),
        (r"llvm\.load volatile ", "llvm.load "),  # what a thread knows, which stays as it is
        (r'llvm\.inline_asm has_side_effects "st\.relaxed\.gpu\.global\.v4[^\n]*\}" ([^:\n]*) : [^\n]*',
         r"llvm.call @sim_store_words(\1) : (i32, i32, i32, i32, !llvm.ptr<1>) -> ()"),
        (r"nvvm\.mbarrier\.expect_tx (%\w+), (%\w+) : [^\n]*", r"llvm.call @sim_mbarrier_expect_bytes(\1, \2) : (!llvm.ptr<3>, i32) -> ()"),
        (r'atomic syncscope\("device"\) monotonic', "atomic monotonic"),
        (r", llvm\.byval = !llvm\.array<128 x i8>, nvvm\.grid_constant", ""),
        (r"mhc\.(gang|launch) = \{[^}]*\}, ", ""),
        (r", nvvm\.minctasm = 1 : i32", ""),
        (r"nvvm\.read\.ptx\.sreg\.tid\.x : i32", "llvm.call @sim_gang_tid() : () -> i32"),
    ]
    for pattern, to in rules:
        text = re.sub(pattern, to, text)
    return text


def pending(match):
    pending.count = getattr(pending, "count", 0) + 1
    return f"%pending_{pending.count} = llvm.mlir.constant({match[1]} : i32) : i32\nllvm.call @sim_wait_bulk(%pending_{pending.count}) : (i32) -> ()"


DECLARATIONS = """
  llvm.func @sim_gang_tid() -> i32
  llvm.func @sim_mbarrier_init(!llvm.ptr<3>, i32)
  llvm.func @sim_mbarrier_try(!llvm.ptr<3>, i32) -> i1
  llvm.func @sim_mbarrier_expect(!llvm.ptr<3>, i32)
  llvm.func @sim_mbarrier_expect_bytes(!llvm.ptr<3>, i32)
  llvm.func @sim_mbarrier_arrive(!llvm.ptr<3>)
  llvm.func @sim_store_box(!llvm.ptr, !llvm.ptr<3>, i32, i32, i32, i32)
  llvm.func @sim_load_box(!llvm.ptr<3>, !llvm.ptr, !llvm.ptr<3>, i32, i32, i32, i32)
  llvm.func @sim_load_bulk(!llvm.ptr<3>, !llvm.ptr<1>, !llvm.ptr<3>, i32)
  llvm.func @sim_commit_bulk()
  llvm.func @sim_wait_bulk(i32)
  llvm.func @sim_named_barrier(i32, i32)
  llvm.func @sim_sync_warp()
  llvm.func @sim_yield()
  llvm.func @sim_load_words(!llvm.ptr<1>)
  llvm.func @sim_store_words(i32, i32, i32, i32, !llvm.ptr<1>)
  llvm.func @sim_load_volatile(!llvm.ptr<3>) -> i32
"""


class Map(ctypes.Structure):
    _fields_ = [("base", ctypes.c_int64)] + [(name, ctypes.c_int64) for name in ("channels", "streams", "rows", "boxes")]


def numbers(text):
    return {key: int(value) for key, value in re.findall(r"(\w+) = (-?\d+) : i64", text)}


def groups_of(launch):
    return 2 if launch["group"] <= 2 else 1


def build(mhc_opt, source, choice):
    folder = tempfile.mkdtemp()
    chosen = source
    if choice:
        blocks, stages, lag = choice.split(":")
        asked = f'mhc.requested = #mhc.schedule<"group", blocks = {blocks}, exchange = memory, lag = {lag}, stages = {stages}>'
        chosen = re.sub(r"(mhc\.kernel @\w+ attributes \{)", rf"\1{asked}, ", source)
    scheduled = run([mhc_opt, "--mhc-schedule-kernels=family=group", "-"], chosen)
    emitted = run([mhc_opt, "--mhc-emit-simple", "--mhc-nvptx-lowering", "-"], scheduled)
    launches = {}
    for name, attributes in re.findall(r"llvm\.func @(\w+)\([^\n]*attributes \{([^\n]*)", emitted):
        gang = re.search(r"mhc\.gang = \{([^}]*)\}", attributes)
        if gang:
            launch = re.search(r"mhc\.launch = \{([^}]*)\}", attributes)[1]
            launches[name] = {**numbers(gang[1]), **numbers(launch), "interleaved": "interleaved" in launch, "maps": [int(n) for n in re.search(r"maps = array<i64: ([^>]*)>", launch)[1].split(", ")]}
    assert launches, "no kernel of the file is one of a group without a cluster"
    most = max(groups_of(launch) * launch["group"] * launch["threads"] for launch in launches.values())
    host = simulate.host_text(gang_text(emitted))
    # Tensor maps are pointers of the host among the wrappers' arguments.
    host = host.replace("module {", "module {" + DECLARATIONS, 1)
    run([mhc_opt, f"--mhc-write-host=emit=object output={folder}/gpu.o", "-", "-o", "/dev/null"], host)
    subprocess.run(["cc", "-O2", f"-DMAX_THREADS={most}", "-shared", "-fPIC", "-o", f"{folder}/gpu.so", f"{HERE}/simt_gang.c", f"{folder}/gpu.o", "-lm"], check=True)
    run([mhc_opt, "--mhc-schedule-kernels=family=cpu", "--mhc-emit-cpu", "--mhc-host-lowering",
         f"--mhc-write-host=emit=shared output={folder}/cpu.so", "-", "-o", "/dev/null"], source)
    return ctypes.CDLL(f"{folder}/gpu.so"), ctypes.CDLL(f"{folder}/cpu.so"), launches


def check(gpu, cpu, launch, name, kernel, rows, seed):
    (types, (inputs, outputs, _), _), rng, failures = kernel, np.random.default_rng(seed), 0
    values = []
    for dtype, shape, _ in types:
        v = rng.normal(size=int(np.prod([rows if d is None else d for d in shape]))).astype(np.float32)
        # Norms and activations of coefficients do not take just anything.
        v = np.abs(v) + 0.5 if dtype == "f32" and shape[-1] == 1 else v
        values.append(to_bf16(v) if dtype == "bf16" else v)
    groups = min(groups_of(launch), -(-rows // launch["tile"]))
    grid, partials = groups * launch["group"], 3
    tensors = [[Tensor(t, v.size, v if i < inputs else None) for i, ((t, _, _), v) in enumerate(zip(types[:inputs + outputs], values))] +
               [Tensor(t, v.size * times) for (t, _, _), v in zip(types[inputs + outputs:], values[inputs + outputs:])] for times in (groups, partials)]
    mine, ref = tensors
    # Rows may be read to whole 16 bytes.
    workspace = np.full(groups * launch["workspace"] // 4, -1, np.int32)
    channels = launch["map_channels"]
    streams = [mine[a].count // rows // channels for a in launch["maps"]]
    maps = [Map(mine[a].pointer, channels * n, 1, rows, launch["boxes"] * n) if launch["interleaved"] else Map(mine[a].pointer, channels, n, rows, launch["boxes"])
            for a, n in zip(launch["maps"], streams)]
    pointers = (ctypes.c_int64 * (len(mine) + 2 + len(maps)))(*[t.pointer for t in mine], rows, workspace.ctypes.data, *[ctypes.addressof(m) for m in maps])
    ctypes.c_uint.in_dll(gpu, "sim_seed").value = seed
    errors = ctypes.c_int.in_dll(gpu, "sim_errors")
    errors.value = 0
    if gpu.simulate_gang(getattr(gpu, "sim_" + name), pointers, grid, launch["threads"]):
        sys.exit(f"{name} rows {rows} seed {seed}: threads wait for ever")
    arguments, integers, part = (ctypes.c_int64 * len(ref))(*[t.pointer for t in ref]), (ctypes.c_int64 * 1)(rows), -(-rows // partials)
    for p in range(partials):
        getattr(cpu, name)(arguments, integers, ctypes.c_int64(min(p * part, rows)), ctypes.c_int64(min((p + 1) * part, rows)), ctypes.c_int64(p))
    for i in range(inputs, len(types)):
        x, y = mine[i].values, ref[i].values
        if i >= inputs + outputs:
            x, y = x.reshape(groups, -1).sum(0, dtype=np.float64), y.reshape(partials, -1).sum(0, dtype=np.float64)
        scale = np.abs(y.astype(np.float64)).max(initial=0) + 1e-30
        error = np.linalg.norm(x.astype(np.float64) - y) / (np.linalg.norm(y.astype(np.float64)) + 1e-30)
        # phi has 16 significant bits; rows are rounded, which may fall on the other side.
        bad = not error < (2e-3 if types[i][0] == "bf16" else 2e-4) or not mine[i].intact()
        failures += bad
        print(f"{'BAD ' if bad else 'ok  '} {name} rows {rows} seed {seed} argument {i} {types[i][:2]}: {error:.1e}{'' if mine[i].intact() else ', margins overwritten'}", flush=True)
    if errors.value:
        print(f"BAD  {name} rows {rows} seed {seed}: {errors.value} addresses or counts that no device would take")
        failures += 1
    return failures


def main():
    source = open(sys.argv[2]).read()
    more = sys.argv[4] if len(sys.argv) > 4 else None
    # One token in the last tile, of as many as have gone round the stages: what the others' places hold must not matter.
    extra = [tuple(map(int, more.split(":")))] if more and more.count(":") == 1 else []
    gpu, cpu, launches = build(sys.argv[1], source, None if extra else more)
    kernels, failures = parse(source), 0
    for name, launch in launches.items():
        for rows, seeds in ((5, 1), (61, 1), (1003, int(sys.argv[3]) if len(sys.argv) > 3 else 2), *extra):
            for seed in range(1, seeds + 1):
                failures += check(gpu, cpu, launch, name, kernels[name], rows, seed)
    if failures:
        sys.exit(f"{failures} results differ")
    print("all agree")


if __name__ == "__main__":
    main()
