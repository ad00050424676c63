"""forward against the fp64 reference, backward against its central differences; over n, C, T, types, topologies, manifolds, and every switch of the passes"""
import itertools
import sys

import numpy as np

from mhcref import Package, hyper_connection, to_bf16

FILE = {"fp64": "F64", "fp32": "F32", "bf16": "BF16"}
COEFFICIENT = {"fp64": 1e-11, "fp32": 1e-5, "bf16": 1e-5}  # of h_*, times max(1, |exact|) and max(1, a)


def case(topology, manifold, dtype, n, C, T, options=(), seed=0):
    what = f"{topology} {manifold} {dtype} n={n} C={C} T={T} {' '.join(options)}"
    rng = np.random.default_rng(seed)
    K, m = (C, n + 2) if topology == "hc" else (n * C, 2 * n + (0 if manifold == "identity" else n * n))
    size = 2 * n + n * n if topology == "hc" else m
    rounded = to_bf16 if dtype == "bf16" else lambda v: v
    number = (lambda v: v) if dtype == "fp64" else lambda v: v.astype(np.float32).astype(np.float64)
    x, f = rounded(number(rng.standard_normal((T, n, C)))), rounded(number(rng.standard_normal((T, C))))
    phi = number(rng.standard_normal((K, m)) / K ** 0.5)
    alpha, bias = number(np.array([0.8, -1.2, 0.9])), number(0.5 * rng.standard_normal(size))
    d = {"kind": "hyper_connection", "hidden_size": C, "hc_mult": n, "dtype": dtype, "topology": topology}
    if topology == "mhc":
        d["manifold"] = manifold
    package, narrow = Package(d, *options), "F64" if dtype == "fp64" else "F32"
    inputs = {"x": (x, FILE[dtype]), "f": (f, FILE[dtype]), "phi": (phi, narrow), "alpha": (alpha, narrow), "bias": (bias, narrow)}
    got = package.call("forward", inputs)
    want = dict(zip(("u", "h_pre", "h_post", "h_res", "x_next"), hyper_connection(x, f, phi, alpha, bias, topology, manifold)))
    B = max(1.0, np.abs(x).max(initial=1), np.abs(f).max(initial=1))
    for name, w in want.items():
        error = np.abs(got[name] - w)
        if name.startswith("h_"):
            limit = COEFFICIENT[dtype] * 1.2 * np.maximum(1, np.abs(w))
        else:
            limit = {"bf16": 2.0 ** -8, "fp32": 2.0 ** -23, "fp64": 0}[dtype] * np.abs(w) + COEFFICIENT[dtype] * 1.2 * B
        assert (error <= limit).all(), f"{what}: {name}: error {error.max()}"
    du, dx_next = rounded(number(rng.standard_normal((T, C)))), rounded(number(rng.standard_normal((T, n, C))))
    got = package.call("backward", {**inputs, "du": (du, FILE[dtype]), "dx_next": (dx_next, FILE[dtype])})
    if not T:
        assert all(not np.any(got["d" + k]) for k in ("phi", "alpha", "bias")), f"{what}: gradients of no token"
        return package
    point = {"x": x, "f": f, "phi": phi, "alpha": alpha, "bias": bias}

    def objective(**moved):
        u, _, _, _, xn = hyper_connection(**{**point, **moved}, topology=topology, manifold=manifold)
        return float((u * du).sum() + (xn * dx_next).sum())
    # Central differences of the fp64 reference, along directions that single out every tensor.
    for name, value in point.items():
        for _ in range(2):
            direction = rng.standard_normal(value.shape)
            h = 1e-5
            slope = (objective(**{name: value + h * direction}) - objective(**{name: value - h * direction})) / (2 * h)
            mine = float((got["d" + name].astype(np.float64) * direction).sum())
            scale = np.linalg.norm(got["d" + name].astype(np.float64)) * (1 if dtype == "bf16" and name in ("x", "f") else 1) + 1e-9
            limit = {"fp64": 1e-6, "fp32": 2e-4, "bf16": 2e-2 if name in ("x", "f") else 1e-3}[dtype] * scale
            assert abs(mine - slope) <= limit + 1e-6 * abs(slope), f"{what}: d{name}: {mine} for {slope}, limit {limit}"
    return package


def switches():
    """every fusion and the reordering on and off: the same numbers within the order of fp32 sums"""
    for options in (("--no-fuse-boundaries",), ("--no-fuse-coefficients",), ("--no-reorder",), ("--no-rebuild",), ("--no-fuse-boundaries", "--no-fuse-coefficients", "--no-reorder")):
        case("mhc", "birkhoff", "fp32", 4, 100, 13, options, seed=3)
    case("hc", "-", "fp32", 3, 32, 13, ("--no-fuse-boundaries", "--no-fuse-coefficients"), seed=4)


if sys.argv[1] == "switches":
    switches()
elif sys.argv[1] == "shapes":
    for topology, manifold, dtype, n, C, T in (("mhc", "birkhoff", "bf16", 4, 100, 48), ("mhc", "birkhoff", "fp32", 3, 5129, 13), ("mhc", "birkhoff", "fp64", 2, 32, 1), ("mhc", "unconstrained", "bf16", 8, 32, 13),
                                               ("mhc", "identity", "fp32", 1, 7, 511), ("hc", "-", "bf16", 4, 1280, 13), ("hc", "-", "fp64", 3, 100, 48), ("mhc", "birkhoff", "bf16", 4, 32, 0), ("mhc", "birkhoff", "fp64", 4, 9, 70)):
        case(topology, manifold, dtype, n, C, T)
else:
    sys.exit("hyper_connection.py: shapes | switches")
print("passed")
