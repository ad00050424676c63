#!/usr/bin/env python3
"""Checks kernels of schedule family simple without a GPU: they run on the CPU thread by thread (simt.c) and must agree with family cpu.

usage: simulate.py MHC_OPT [KERNELS.mlir]; without a file, kernels made here for many shapes. Tensors have margins, which must stay untouched.
"""
import ctypes
import os
import re
import subprocess
import sys
import tempfile

import numpy as np

import make_kernels

HERE = os.path.dirname(os.path.abspath(__file__))
SIZES = {"bf16": (np.uint16, 2), "f32": (np.float32, 4), "i32": (np.int32, 4)}
MARGIN = 64


def run(command, text):
    result = subprocess.run(command, input=text, capture_output=True, text=True)
    if result.returncode:
        sys.exit(f"{' '.join(command)}: {result.stderr[:4000]}")
    return result.stdout


def together(call, results):
    """For re.sub, the first group of whose pattern is a value of four parts: the call that makes them, then its results (`word` or `sum`) one by one."""
    kind = "i32" if results == "word" else "f32"
    struct = f"!llvm.struct<({', '.join([kind] * 4)})>"
    def written(match):
        name = match[1][1:]
        lines = [match.expand(call), f"%part_{name} = llvm.mlir.undef : {struct}"]
        for i in range(4):
            before, after = f"%part{i or ''}_{name}", f"%part{i + 1}_{name}" if i < 3 else f"%{name}"
            lines.append(f"%{results}{i}_{name} = llvm.call @sim_{results}{i}() : () -> {kind}")
            lines.append(f"{after} = llvm.insertvalue %{results}{i}_{name}, {before}[{i}] : {struct}")
        return "\n".join(lines)
    return written


def host_text(text):
    """The lowered gpu.module as a module of host functions that call simt.c."""
    def converted(match):
        return (f"%word{match[1][1:]} = llvm.call @sim_cvt({match[2]}, {match[3]}) : (f32, f32) -> i32\n"
                f"{match[1]} = llvm.bitcast %word{match[1][1:]} : i32 to vector<2xbf16>")
    rules = [
        (r"(%\w+) = nvvm\.ldmatrix (%\w+) \{[^\n]*mma_layout<(row|col)>[^\n]*", together(r"llvm.call @sim_ldmatrix_\3(\2) : (!llvm.ptr<3>) -> ()", "word")),
        (r"(%\w+) = nvvm\.mma\.sync A\[(%\w+, %\w+)\] +B\[(%\w+)\] +C\[(.*?)\][^\n]*",
         together(r"llvm.call @sim_mma_k8(\2, \3, \4) : (i32, i32, i32, f32, f32, f32, f32) -> ()", "sum")),
        (r"(%\w+) = nvvm\.mma\.sync A\[(.*?)\] +B\[(.*?)\] +C\[(.*?)\][^\n]*",
         together(r"llvm.call @sim_mma(\2, \3, \4) : (i32, i32, i32, i32, i32, i32, f32, f32, f32, f32) -> ()", "sum")),
        (r"nvvm\.cp\.async\.shared\.global (%\w+), (%\w+), (\d+), cache = +c[ag], (%\w+) :[^\n]*",
         r"llvm.call @sim_async\3(\1, \2, \4) : (!llvm.ptr<3>, !llvm.ptr<1>, i32) -> ()"),
        (r"nvvm\.cp\.async\.shared\.global (%\w+), (%\w+), (\d+), cache = +c[ag] :[^\n]*",
         r"llvm.call @sim_async_all\3(\1, \2) : (!llvm.ptr<3>, !llvm.ptr<1>) -> ()"),
        (r"nvvm\.cp\.async\.commit\.group", "llvm.call @sim_async_commit() : () -> ()"),
        (r"nvvm\.cp\.async\.wait\.group (\d+)", r"llvm.call @sim_async_wait\1() : () -> ()"),
        (r"nvvm\.match\.sync +any %\S+, (%\S+) +: i32 -> i32", r"llvm.call @sim_match(\1) : (i32) -> i32"),
        (r"nvvm\.shfl\.sync +up %\S+, (%\S+), (%\S+), %\S+ +: i32 -> i32", r"llvm.call @sim_shfl_up_i32(\1, \2) : (i32, i32) -> i32"),
        (r"nvvm\.read\.ptx\.sreg\.(tid|ctaid|nctaid)\.x : i32", r"llvm.call @sim_\1() : () -> i32"),
        (r"nvvm\.barrier", "llvm.call @sim_barrier() : () -> ()"),
        (r"nvvm\.shfl\.sync +bfly %\S+, (%\S+), (%\S+), %\S+ +: f32 -> f32", r"llvm.call @sim_shfl_bfly_f32(\1, \2) : (f32, i32) -> f32"),
        (r"nvvm\.vote\.sync +any %\S+, (%\S+) -> i1", r"llvm.call @sim_any(\1) : (i1) -> i1"),
        (r"nvvm\.vote\.sync +ballot %\S+, (%\S+) -> i32", r"llvm.call @sim_ballot(\1) : (i1) -> i32"),
        (r"(%\w+) = nvvm\.convert\.f32x2\.to\.bf16x2 +(%\w+), (%\w+) .*", converted),
        (r'llvm\.call_intrinsic "llvm\.nvvm\.ex2\.approx\.ftz"', "llvm.call @sim_ex2"),
        (r'llvm\.call_intrinsic "llvm\.nvvm\.lg2\.approx\.ftz\.f"', "llvm.call @sim_lg2"),
        (r'llvm\.call_intrinsic "llvm\.nvvm\.rcp\.approx\.ftz\.f"', "llvm.call @sim_rcp"),
        (r'llvm\.inline_asm has_side_effects "//[^"]*", "" *: \(\) -> \(\)', ""),
        (r'llvm\.call_intrinsic "llvm\.nvvm\.rsqrt\.approx\.f"', "llvm.call @sim_rsqrt"),
        (r"nvvm\.kernel, nvvm\.maxntid = array<i32: \d+>", 'host'),
        (r"gpu\.module @kernels", "builtin.module"),
    ]
    for pattern, to in rules:
        text = re.sub(pattern, to, text)
    declarations = """
  llvm.func @sim_tid() -> i32
  llvm.func @sim_ctaid() -> i32
  llvm.func @sim_nctaid() -> i32
  llvm.func @sim_barrier()
  llvm.func @sim_shfl_bfly_f32(f32, i32) -> f32
  llvm.func @sim_shfl_up_i32(i32, i32) -> i32
  llvm.func @sim_match(i32) -> i32
  llvm.func @sim_ldmatrix_row(!llvm.ptr<3>)
  llvm.func @sim_ldmatrix_col(!llvm.ptr<3>)
  llvm.func @sim_mma(i32, i32, i32, i32, i32, i32, f32, f32, f32, f32)
  llvm.func @sim_mma_k8(i32, i32, i32, f32, f32, f32, f32)
  llvm.func @sim_async_commit()
  llvm.func @sim_any(i1) -> i1
  llvm.func @sim_ballot(i1) -> i32
  llvm.func @sim_cvt(f32, f32) -> i32
  llvm.func @sim_ex2(f32) -> f32
  llvm.func @sim_lg2(f32) -> f32
  llvm.func @sim_rsqrt(f32) -> f32
  llvm.func @sim_rcp(f32) -> f32
"""
    for bytes in (4, 8, 16):
        declarations += f"  llvm.func @sim_async{bytes}(!llvm.ptr<3>, !llvm.ptr<1>, i32)\n  llvm.func @sim_async_all{bytes}(!llvm.ptr<3>, !llvm.ptr<1>)\n"
    for i in range(4):
        declarations += f"  llvm.func @sim_word{i}() -> i32\n  llvm.func @sim_sum{i}() -> f32\n  llvm.func @sim_async_wait{i}()\n"
    start = text.index("builtin.module {") + len("builtin.module {")
    end = text.rindex("}", 0, text.rindex("}"))
    # A wrapper for each kernel takes its arguments as an array, as a fiber cannot.
    wrappers = ""
    for name, arguments in re.findall(r"llvm\.func @(\w+)\(([^{}]*(?:\{[^{}]*\}[^{}]*)*)\) attributes \{.*host", text):
        types = re.findall(r"%arg\d+: (!llvm\.ptr(?:<1>)?|i64)", arguments)
        wrappers += f"  llvm.func @sim_{name}(%a: !llvm.ptr) {{\n"
        for i, t in enumerate(types):
            wrappers += f"    %p{i} = llvm.getelementptr %a[{i}] : (!llvm.ptr) -> !llvm.ptr, i64\n    %v{i} = llvm.load %p{i} : !llvm.ptr -> {t}\n"
        wrappers += f"    llvm.call @{name}({', '.join(f'%v{i}' for i in range(len(types)))}) : ({', '.join(types)}) -> ()\n    llvm.return\n  }}\n"
        wrappers += f"  llvm.func @arguments_of_{name}() -> i32 {{\n    %n = llvm.mlir.constant({len(types)} : i32) : i32\n    llvm.return %n : i32\n  }}\n"
    aliases = "".join(line + "\n" for line in text.split("\n") if line.startswith("#"))
    return aliases + "module {" + declarations + text[start:end] + wrappers + "}"


def build_gpu(mhc_opt, source, folder, library=()):
    """The kernels of a scheduled module and those of the library, as a shared object; and how each is launched."""
    emit = "--mhc-emit-simple" + (f"=library={','.join(library)}" if library else "")
    simple = run([mhc_opt, emit, "--mhc-nvptx-lowering", "-"], source)
    launches = {m[0]: {k: int(v) for k, v in re.findall(r"(\w+) = (\d+)", m[1])}
                for m in re.findall(r"llvm\.func @(\w+)\(.*mhc\.launch = \{([^}]*)\}", simple)}
    run([mhc_opt, f"--mhc-write-host=emit=object output={folder}/gpu.o", "-", "-o", "/dev/null"], host_text(simple))
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", f"{folder}/gpu.so", f"{HERE}/simt.c", f"{folder}/gpu.o", "-lm"], check=True)
    return launches


def build_driver():
    """A folder with fake_cuda.cpp under the names of CUDA's libraries."""
    folder = tempfile.mkdtemp()
    subprocess.run(["c++", "-std=c++20", "-O2", "-shared", "-fPIC", "-o", f"{folder}/libcuda.so.1", f"{HERE}/fake_cuda.cpp", "-ldl"], check=True)
    os.symlink("libcuda.so.1", f"{folder}/libcublasLt.so.13")
    return folder


def build(mhc_opt, source, options=""):
    folder = tempfile.mkdtemp()
    launches = build_gpu(mhc_opt, run([mhc_opt, f"--mhc-schedule-kernels=family=simple {options}", "-"], source), folder)
    run([mhc_opt, "--mhc-schedule-kernels=family=cpu", "--mhc-emit-cpu", "--mhc-host-lowering",
         f"--mhc-write-host=emit=shared output={folder}/cpu.so", "-", "-o", "/dev/null"], source)
    return ctypes.CDLL(f"{folder}/gpu.so"), ctypes.CDLL(f"{folder}/cpu.so"), launches


class Tensor:
    """Memory with margins."""
    def __init__(self, dtype, count, values=None):
        self.dtype, self.count = dtype, count
        kind = SIZES[dtype][0]
        self.memory = np.full(count + 2 * MARGIN, 0x7fc1 if dtype == "bf16" else np.nan if dtype == "f32" else -(1 << 30), kind)
        self.margins = self.memory.copy()
        if values is not None:
            self.memory[MARGIN:MARGIN + count] = values

    @property
    def pointer(self):
        return self.memory.ctypes.data + MARGIN * SIZES[self.dtype][1]

    @property
    def values(self):
        raw = self.memory[MARGIN:MARGIN + self.count]
        return (raw.astype(np.uint32) << 16).view(np.float32) if self.dtype == "bf16" else raw

    def intact(self):
        ends = np.r_[0:MARGIN, MARGIN + self.count:self.memory.size]
        return self.memory[ends].tobytes() == self.margins[ends].tobytes()


def to_bf16(x):
    bits = x.astype(np.float32).view(np.uint32)
    return ((bits + 0x7fff + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def parse(source):
    """name: (arguments [(dtype, shape, whether rows of it are looked up)], segments, ints)"""
    kernels = {}
    for body in source.split("mhc.kernel ")[1:]:
        name = re.match(r"@(\w+)", body)[1]
        looked_up = set(re.findall(r"mhc\.row\.load (?:gather|position) (%\w+)", body))
        arguments = [(t.split("x"), n in looked_up) for n, t in re.findall(r"(%\w+): memref<([^>]*)>", re.search(r"\^bb0\((.*?)\):", body, re.S)[1])]
        kernels[name] = ([(t[-1], [None if d == "?" else int(d) for d in t[:-1]], u) for t, u in arguments],
                         [int(d) for d in re.search(r"segments = array<i64: (\d+), (\d+), (\d+)>", body).groups()],
                         re.findall(r'"(\w+)"', re.search(r"ints = \[(.*?)\]", body)[1]))
    return kernels


def compare(name, mine, other, what):
    x, y = mine.astype(np.float64), other.astype(np.float64)
    if not np.array_equal(np.isfinite(x), np.isfinite(y)):
        return True, "infinite or NaN at other places"
    x, y = (np.nan_to_num(a, nan=0, posinf=0, neginf=0) for a in (x, y))
    if what == "bf16":
        differ = x != y
        bad = differ & ~(np.abs(x - y) <= 2.0**-7 * np.abs(y) + 1e-5 * np.abs(y).max(initial=0))
        return bad.any() or differ.mean() > 0.02, f"{differ.mean():.2%} differ"
    scale = np.abs(y).max(initial=0) + 1e-30
    error = np.abs(x - y).max(initial=0) / scale
    # A sum of rounded values: a rounding may fall on the other side.
    return not error < (1e-3 if what == "sum" and "bf16" in name else 2e-5), f"{error:.1e}"


def check(gpu, cpu, launches, kernels, rows, rng):
    failures = 0
    for name, (types, segments, ints) in kernels.items():
        launch = launches[name]
        inputs, outputs, reductions = segments
        values, S = [], 7
        for dtype, shape, looked_up in types:
            count = int(np.prod([(19 if looked_up else rows) if d is None else d for d in shape]))
            if dtype == "i32":
                v = rng.integers(0, 19, count).astype(np.int32)
            else:
                v = rng.normal(size=count).astype(np.float32)
                v = to_bf16(v) if dtype == "bf16" else v
            values.append(v)
        grid = min(-(-rows // launch["tile"]), 5)
        partials = 3
        mine = [Tensor(t, v.size, v if i < inputs else None) for i, ((t, _, _), v) in enumerate(zip(types[:inputs + outputs], values))]
        ref = [Tensor(t, v.size, v if i < inputs else None) for i, ((t, _, _), v) in enumerate(zip(types[:inputs + outputs], values))]
        mine += [Tensor(t, v.size * grid) for (t, _, _), v in zip(types[inputs + outputs:], values[inputs + outputs:])]
        block = -(-rows // partials)
        ref += [Tensor(t, v.size * partials) for (t, _, _), v in zip(types[inputs + outputs:], values[inputs + outputs:])]
        pointers = (ctypes.c_int64 * (len(mine) + 1 + len(ints)))(*[t.pointer for t in mine], rows, *[S] * len(ints))
        if gpu.simulate(getattr(gpu, "sim_" + name), pointers, grid, launch["threads"]):
            sys.exit(f"{name}: threads wait for ever")
        arguments = (ctypes.c_int64 * len(ref))(*[t.pointer for t in ref])
        integers = (ctypes.c_int64 * (1 + len(ints)))(rows, *[S] * len(ints))
        for p in range(partials):
            getattr(cpu, name)(arguments, integers, ctypes.c_int64(min(p * block, rows)), ctypes.c_int64(min((p + 1) * block, rows)), ctypes.c_int64(p))
        for i in range(inputs, len(types)):
            x, y = mine[i].values, ref[i].values
            if i >= inputs + outputs:
                x, y = x.reshape(grid, -1).sum(0, dtype=np.float64), y.reshape(partials, -1).sum(0, dtype=np.float64)
            bad, text = compare(name, x, y, types[i][0] if i < inputs + outputs else "sum")
            bad |= not mine[i].intact()
            failures += bad
            print(f"{'BAD ' if bad else 'ok  '} {name} rows {rows} argument {i} {types[i][:2]}: {text}{'' if mine[i].intact() else ', margins overwritten'}")
    return failures


def main():
    source = open(sys.argv[2]).read() if len(sys.argv) > 2 else make_kernels.source()
    rng, failures = np.random.default_rng(1), 0
    for options, sizes in (("", (1, 13, 77)), ("tile=32", (1, 77)), ("tile=4 threads=32", (11,)), ("tile=64 threads=128", (200,))):
        print(f"schedule {options or 'by default'}")
        gpu, cpu, launches = build(sys.argv[1], source, options)
        for rows in sizes:
            failures += check(gpu, cpu, launches, parse(source), rows, rng)
    if failures:
        sys.exit(f"{failures} results differ")
    print("all agree")


if __name__ == "__main__":
    main()
