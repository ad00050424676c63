#!/usr/bin/env python3
"""Errors of the host's math functions (mhc-expand-math) against numpy in the next higher precision, and their special values.

usage: math_accuracy.py MHC_OPT [POINTS]; prints a table of units in the last place and fails beyond the limits.
"""
import ctypes
import subprocess
import sys
import tempfile

import numpy as np

LANES = 8
# function: (numpy's, limit in ulp for f32, for f64). f64 is measured against 80-bit numbers.
FUNCTIONS = {
    "exp": (np.exp, 1.0, 1.0),
    "exp2": (np.exp2, 1.1, 1.1),
    "expm1": (np.expm1, 2.0, 2.0),
    "log": (np.log, 1.0, 1.0),
    "log2": (np.log2, 2.0, 2.0),
    "log1p": (np.log1p, 1.5, 1.5),
    "tanh": (np.tanh, 3.0, 3.0),
    "sqrt": (np.sqrt, 0.501, 0.501),
    "rsqrt": (lambda x: 1 / np.sqrt(x), 1.5, 1.5),
}


def source():
    text = []
    for name in FUNCTIONS:
        for kind in ("f32", "f64"):
            vector = f"vector<{LANES}x{kind}>"
            for form, t in (("v", vector), ("s", kind)):
                step = LANES if form == "v" else 1
                text.append(f"""
llvm.func @{form}_{name}_{kind}(%x: !llvm.ptr, %y: !llvm.ptr, %n: i64) {{
  %c0 = arith.constant 0 : i64
  %step = arith.constant {step} : i64
  scf.for %i = %c0 to %n step %step : i64 {{
    %p = llvm.getelementptr %x[%i] : (!llvm.ptr, i64) -> !llvm.ptr, {kind}
    %q = llvm.getelementptr %y[%i] : (!llvm.ptr, i64) -> !llvm.ptr, {kind}
    %v = llvm.load %p {{alignment = 4 : i64}} : !llvm.ptr -> {t}
    %w = math.{name} %v : {t}
    llvm.store %w, %q {{alignment = 4 : i64}} : {t}, !llvm.ptr
  }}
  llvm.return
}}""")
    text.append(f"""
llvm.func @to_bf16(%x: !llvm.ptr, %y: !llvm.ptr, %n: i64) {{
  %c0 = arith.constant 0 : i64
  %step = arith.constant {LANES} : i64
  scf.for %i = %c0 to %n step %step : i64 {{
    %p = llvm.getelementptr %x[%i] : (!llvm.ptr, i64) -> !llvm.ptr, f64
    %q = llvm.getelementptr %y[%i] : (!llvm.ptr, i64) -> !llvm.ptr, bf16
    %v = llvm.load %p {{alignment = 4 : i64}} : !llvm.ptr -> vector<{LANES}xf64>
    %w = arith.truncf %v : vector<{LANES}xf64> to vector<{LANES}xbf16>
    llvm.store %w, %q {{alignment = 2 : i64}} : vector<{LANES}xbf16>, !llvm.ptr
  }}
  llvm.return
}}""")
    return "\n".join(text)


def build(mhc_opt):
    folder = tempfile.mkdtemp()
    subprocess.run([mhc_opt, "--mhc-host-lowering", f"--mhc-write-host=emit=shared output={folder}/k.so", "-", "-o", "/dev/null"],
                   input=source(), text=True, check=True)
    return ctypes.CDLL(folder + "/k.so")


def call(library, symbol, x, result=None):
    y = np.full(x.shape, 77, result or x.dtype)
    getattr(library, symbol)(x.ctypes.data_as(ctypes.c_void_p), y.ctypes.data_as(ctypes.c_void_p), ctypes.c_int64(x.size))
    return y


def points(name, dtype, count, rng):
    info = np.finfo(dtype)
    if name in ("log", "log2", "sqrt", "rsqrt"):
        x = [np.exp2(rng.uniform(info.minexp - info.nmant, info.maxexp, count)), rng.uniform(0.5, 2, count), 1 + rng.normal(size=count) * 1e-4]
    elif name == "log1p":
        x = [np.exp2(rng.uniform(-60, 100, count)), rng.uniform(-1, 1, count), -np.exp2(rng.uniform(-60, 0, count))]
    else:
        top = np.log(float(info.max)) * 1.05
        x = [rng.uniform(-top, top, count), rng.uniform(-1, 1, count), rng.normal(size=count) * np.exp2(rng.uniform(-60, 5, count))]
    x = np.concatenate([a.astype(dtype) for a in x])
    return np.concatenate([x, np.zeros(-x.size % LANES, dtype)])


def ulps(y, exact, dtype):
    """Error in units of the last place of the exact value (of the least normal number below that)."""
    info = np.finfo(dtype)
    with np.errstate(all="ignore"):
        unit = np.exp2(np.maximum(np.floor(np.log2(np.abs(exact))), info.minexp) - info.nmant)
        error = np.abs(y.astype(exact.dtype) - exact) / unit
    overflows = np.abs(exact) >= exact.dtype.type(info.max) * (1 + exact.dtype.type(info.eps) / 4)
    error = np.where(overflows, np.where(np.isinf(y), 0, np.inf), error)
    return np.where((exact == 0) | np.isinf(exact) | np.isnan(exact), np.where((y == exact) | (np.isnan(y) & np.isnan(exact)), 0, np.inf), error)


def main():
    library, count, bad = build(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1 << 16, []
    rng = np.random.default_rng(1)
    inf, nan = np.inf, np.nan
    special = [0.0, -0.0, inf, -inf, nan, 1.0, -1.0, 1e-310, -1e-310, 5e-324, 1e-40, -1e-40, 1e38, -1e38, 1e300, -1e300, 88.8, -104.5, 709.9, -746.5, 2.0, -2.0, 0.5, -0.5]
    for name, (reference, *limits) in FUNCTIONS.items():
        for dtype, wide, limit in ((np.float32, np.float64, limits[0]), (np.float64, np.longdouble, limits[1])):
            kind = "f32" if dtype == np.float32 else "f64"
            with np.errstate(all="ignore"):
                x = points(name, dtype, count, rng)
                y = call(library, f"v_{name}_{kind}", x)
                error = ulps(y, reference(x.astype(wide)), dtype)
                worst = int(np.argmax(error))
                s = np.array(special, dtype)
                vector, scalar = call(library, f"v_{name}_{kind}", s), call(library, f"s_{name}_{kind}", s)
                exact = reference(s.astype(wide))
                off = ulps(vector, exact, dtype)
            print(f"{name:6} {kind} worst {error[worst]:6.3f} ulp at {x[worst]:.9g}, mean {error.mean():.3f}; special {off.max():.3f} at {s[int(np.argmax(off))]:.9g}")
            if not error[worst] <= limit or not off.max() <= limit:
                bad.append(f"{name} {kind}")
            zero = (exact == 0) & (s == 0)
            if np.any(np.signbit(vector[zero]) != np.signbit(exact[zero])):
                bad.append(f"{name} {kind} sign of zero")
            if vector.tobytes() != scalar.tobytes() and not np.array_equal(vector, scalar, equal_nan=True):
                bad.append(f"{name} {kind} scalar differs")
    # f64 to bf16 rounds once: numbers a hair off the middle of two bf16 show a second rounding.
    with np.errstate(all="ignore"):
        middle = (np.arange(1 << 16, dtype=np.uint32) << 16 | 0x8000).view(np.float32).astype(np.float64)
    middle = middle[np.isfinite(middle)]
    x = np.concatenate([middle * (1 + 2.0**-40), middle * (1 - 2.0**-40), middle, rng.normal(size=1 << 12)])
    x = np.concatenate([x, np.zeros(-x.size % LANES)])
    y = (call(library, "to_bf16", x, np.uint16).astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    with np.errstate(all="ignore"):
        low = (np.abs(x).astype(np.float32).view(np.uint32) & 0xffff0000)
        low = np.where(low.view(np.float32) > np.abs(x), low - 0x10000, low).astype(np.uint32)
        high = (low + 0x10000).astype(np.uint32)
        a, c = low.view(np.float32).astype(np.float64), high.view(np.float32).astype(np.float64)
        mid = a + (np.where(np.isinf(c), 2.0**128, c) - a) / 2
        even = (low >> 16) % 2 == 0
        exact = np.sign(x) * np.where((np.abs(x) < mid) | ((np.abs(x) == mid) & even), a, c)
    wrong = int(np.sum(exact != y))
    print("f64 to bf16:", wrong, "of", x.size, "wrong")
    if wrong:
        bad.append("f64 to bf16")
    if bad:
        sys.exit("beyond the limits: " + ", ".join(bad))


main()
