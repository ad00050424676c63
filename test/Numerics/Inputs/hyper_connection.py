"""Hyper-connections and chains of them: forward against the fp64 reference, backward against its central differences.

usage: hyper_connection.py shapes | pairs [PART OF] [VALUE..] | switches | conventions DTYPE | all

`shapes`: over n, C, T, types, topologies; `pairs`: hard shapes and data, every pair of values of n, C, T, type, manifold and data where T n C is at most LARGEST (of a larger one
the smaller T have the pairs), every OFth case from the PARTth on, of the types and manifolds named; `switches`: every switch of the passes; `conventions`: pairs of conventions, sampled for one type;
`all`: every pair of conventions in every type (minutes).
"""
import collections
import itertools
import random
import sys
import zlib

import numpy as np

from mhcref import WITHOUT_FP64, Convention, Held, Package, chain, coefficients, differences, normalised, sublayer, to_bf16

FILE = {"fp64": "F64", "fp32": "F32", "bf16": "BF16"}
# Limits, as measured with honest fp32 code; a = max(|alpha|, standard deviation of the logits), B = max(1, largest magnitude of the token in the tensor and its inputs).
COEFFICIENTS = {"fp64": 1e-11, "fp32": 1e-5, "bf16": 1e-5}  # of h_* and streams, times max(1, a) and max(1, |exact|) or B
STREAM = {"fp64": 0, "fp32": 2.0 ** -23, "bf16": 2.0 ** -8}  # of |exact|: the type's rounding
GRADIENTS = {"fp64": 1e-9, "fp32": 1e-4, "bf16": 1e-4}  # of a parameter's gradient: of its norm, times max(1, a)
CANCELLED = {"fp64": 1e-13, "fp32": 1e-6, "bf16": 1e-6}  # and of the norm that the sum's terms have before they cancel
ALL = {"fp64": 1e-14, "fp32": 2e-7, "bf16": 2e-7}  # and of the norm of all gradients: terms that cancel inside a token (the sphere of one stream is two points)
DIFFERENCES = 2e-9  # of the norm, and of a stream's gradient: what fourth-order differences of an fp64 function are off by at most
BASIS = 700  # tensors of more elements (a row, or a parameter) are compared along random directions
DIRECTIONS = 6
STEP = 5e-4


def magnitude(*tensors):
    """B: [T], of arrays [T, ..]"""
    return np.max([np.ones(len(tensors[0]))] + [np.abs(t).reshape(len(t), -1).max(1) for t in tensors if t.size], axis=0)


class Case:
    def __init__(self, description, T, options=(), seed=0):
        self.d, self.T, self.options, self.c = description, T, options, Convention(description)
        self.dtype, self.C, self.depth = description["dtype"], description["hidden_size"], description.get("depth", 0)
        self.what = f"{description} T={T} {' '.join(options)}"
        self.rng = np.random.default_rng(seed)
        c, C, lead = self.c, self.C, (self.depth,) if self.depth else ()
        K, m, biases = c.sizes(C)
        self.point = {"x": self.stream(T, c.n, C), "f": self.stream(*lead, T, C), "phi": self.number(self.rng.standard_normal((*lead, K, m)) / K ** 0.5),
                      "alpha": self.number(np.broadcast_to([0.8, -1.2, 0.9], (*lead, 3))), "bias": self.number(0.5 * self.rng.standard_normal((*lead, biases)))}
        if c.norm_weight:
            self.point["norm_weight"] = self.number(1 + 0.3 * self.rng.standard_normal((*lead, K)))
        if c.f_bias:
            self.point["f_bias"] = self.number(self.rng.standard_normal((*lead, C)))
        if c.delayed and not self.depth:
            self.point["h_pre_in"] = self.number(0.5 * self.rng.standard_normal((T, c.n)))
        # Random output gradients: that of a plain sum through Sinkhorn is zero and tests nothing.
        self.du, self.dx_next = self.stream(*lead, T, C), self.stream(T, c.n, C)
        self.dh_pre = self.number(self.rng.standard_normal((T, c.n)))
        self.held = Held()

    def number(self, value):
        return value if self.dtype == "fp64" else value.astype(np.float32).astype(np.float64)

    def stream(self, *shape):
        value = self.rng.standard_normal(shape)
        return to_bf16(value) if self.dtype == "bf16" else self.number(value)

    def expect(self, holds, message):
        assert holds, f"{self.what}: {message}"

    #===--- files ----------------------------------------------------------------------------------------------------===#

    def turned(self, name, value):
        """between the reference's [.., n, C] and [K, m], and what the file has"""
        swap = self.c.interleaved if name in ("x", "x_next", "dx", "dx_next") else self.c.phi_transposed and name in ("phi", "dphi")
        return np.swapaxes(value, -1, -2) if swap else value

    def tensor(self, name, value):
        streams = ("x", "f", "du", "dx_next")
        return self.turned(name, value), FILE[self.dtype] if name in streams else FILE["fp64" if self.dtype == "fp64" else "fp32"]

    def call(self, package, entry, tensors):
        outputs = package.call(entry, {name: self.tensor(name, value) for name, value in tensors.items()})
        return {name: self.turned(name, value).astype(np.float64) for name, value in outputs.items()}

    #===--- forward --------------------------------------------------------------------------------------------------===#

    def outputs(self, **moved):
        """u ([T, C] or a list of them), x_next; for one sublayer also the coefficients"""
        p = {**self.point, **moved}
        x, f, pre = p.pop("x"), p.pop("f"), p.pop("h_pre_in", None)
        if self.depth:
            return chain(x, f, p, self.c, self.held)
        return sublayer(x, f, p, self.c, self.held, pre)

    def round_as(self, got):
        """bf16 coefficients that lie within a rounding's error of a boundary may go either way: the reference takes those that the outputs show"""
        c, p = self.c, self.point
        pre, post, res = coefficients(p["x"], p, c, Held())
        turned = np.swapaxes(got["h_res"], -1, -2) if c.transposed else got["h_res"]
        self.held["post"], self.held["res"] = to_bf16(got["h_post"]) - post, to_bf16(turned) - res
        if not c.delayed:
            self.held["u"] = to_bf16(got["h_pre"]) - pre

    def near(self, name, got, want, limit):
        error = np.abs(got - want)
        self.expect(np.isfinite(got).all() and (error <= limit).all(), f"{name}: error {error.max(initial=0):.3g}, {np.max(error / limit, initial=0):.2f} times the limit")

    def stream_limit(self, name, want, B, least):
        return STREAM[self.dtype] * np.abs(want) + max(COEFFICIENTS[self.dtype] * self.a, least) * B

    def near_stream(self, name, got, want, *inputs, least=0):
        """streams and their gradients; T is the first dimension of all"""
        B = magnitude(want, *inputs).reshape(len(want), *[1] * (want.ndim - 1))
        self.near(name, got, want, self.stream_limit(name, want, B, least))
        if self.dtype == "bf16":
            # Where the exact value is a tie, the noise of `want` decides nothing.
            flipped = int(((got != to_bf16(want - least * B)) & (got != to_bf16(want + least * B))).sum())
            self.expect(flipped <= 0.02 * want.size + 1, f"{name}: {flipped} of {want.size} elements are not the rounded exact value")

    def forward(self, package):
        p = self.point
        got = self.call(package, "forward", p)
        if self.depth:
            us, x_next = self.outputs()
            self.a = max(1, *(v for k, v in self.held.items() if k.endswith("spread")))
            self.expect(set(got) == {"u", "x_next"}, f"outputs {sorted(got)}")
            # Roundings add up over the sublayers.
            for name, mine, want in [(f"u[{l}]", got["u"][l], u) for l, u in enumerate(us)] + [("x_next", got["x_next"], x_next)]:
                error, norm = np.linalg.norm(mine - want), np.linalg.norm(want)
                self.expect(error <= {"fp64": 1e-9, "fp32": 1e-5}[self.dtype] * self.a * norm, f"{name}: error {error:.3g} of {norm:.3g}")
            return
        if self.c.bf16 and self.dtype != "fp64":
            self.round_as(got)
        u, pre, post, res, x_next = self.outputs()
        self.a = max(1, self.held["spread"])
        for name, want in (("h_pre", pre), ("h_post", post), ("h_res", res)):
            self.near(name, got[name], want, COEFFICIENTS[self.dtype] * self.a * np.maximum(1, np.abs(want)))
        self.near_stream("u", got["u"], u, p["x"])
        self.near_stream("x_next", got["x_next"], x_next, p["x"], p["f"])

    #===--- backward -------------------------------------------------------------------------------------------------===#

    def objective(self, **moved):
        """what the output gradients are of, token by token: [.., T]"""
        if self.depth:
            us, x_next = self.outputs(**moved)
            total = sum((u * du).sum(-1) for u, du in zip(us, self.du))
        else:
            u, pre, _, _, x_next = self.outputs(**moved)
            total = (u * self.du).sum(-1) + ((pre * self.dh_pre).sum(-1) if self.c.delayed else 0)
        return total + (x_next * self.dx_next).sum((-1, -2))

    def derivative(self, name, directions, step=STEP):
        """[N, T]"""
        # What has no effect leaves no trace of the directions.
        return differences(lambda value: np.broadcast_to(self.objective(**{name: value}), (len(value), self.T)), self.point[name], directions, step)

    def rows_gradient(self, name):
        """of a tensor with a row for each token: all tokens at once"""
        shape = list(self.point[name].shape)
        axis = 1 if name == "f" and self.depth else 0
        shape[axis] = 1
        N = int(np.prod(shape))
        terms = self.derivative(name, np.eye(N).reshape(N, *shape))  # [N, T]
        return np.moveaxis(terms.reshape(*shape[:axis], *shape[axis + 1:], self.T), -1, axis)

    def whole(self, name, elements):
        """whether a gradient is compared element by element, by as many differences"""
        return elements <= BASIS

    def check_rows(self, name, got):
        p, value = self.point, self.point[name]
        inputs = p["x"], p["f"], self.du, self.dx_next
        if self.whole(name, value[0].size):
            self.near_stream("d" + name, got, self.rows_gradient(name), *inputs, least=DIFFERENCES)
            return
        directions = self.rng.standard_normal((DIRECTIONS, *value.shape))
        slopes, mine = self.derivative(name, directions, STEP / 4), (directions * got).reshape(DIRECTIONS, self.T, -1).sum(2)
        each = self.stream_limit("d" + name, got, magnitude(got, *inputs).reshape(self.T, *[1] * (got.ndim - 1)), DIFFERENCES)
        limit = 4 * np.linalg.norm(each.reshape(self.T, -1), axis=1)
        self.expect((np.abs(mine - slopes) <= limit).all(), f"d{name}: error {np.abs(mine - slopes).max():.3g} along a direction, limit {limit.min():.3g}")

    def check_parameter(self, name, got):
        value = self.point[name]
        N = value.size
        if self.whole(name, N):
            terms = self.derivative(name, np.eye(N).reshape(N, *value.shape))
            want = terms.sum(1).reshape(value.shape)
            norm, before, error = np.linalg.norm(want), np.linalg.norm(np.abs(terms).sum(1)), np.linalg.norm(got - want)
            limit = max(GRADIENTS[self.dtype] * self.a, DIFFERENCES) * norm + max(CANCELLED[self.dtype], 1e-11) * before + ALL[self.dtype] * self.everything
            self.expect(error <= limit, f"d{name}: error {error:.3g}, limit {limit:.3g}, norm {norm:.3g}")
            return
        directions = self.rng.standard_normal((DIRECTIONS, *value.shape))
        terms, mine = self.derivative(name, directions, STEP / 4), np.tensordot(directions, got, value.ndim)
        slopes, before = terms.sum(1), np.sqrt((np.abs(terms).sum(1) ** 2).mean())
        # The error along a random direction has the standard deviation of the error's norm.
        limit = 4 * (max(GRADIENTS[self.dtype] * self.a, DIFFERENCES) * np.linalg.norm(got) + CANCELLED[self.dtype] * before + ALL[self.dtype] * self.everything)
        self.expect((np.abs(mine - slopes) <= limit).all(), f"d{name}: error {np.abs(mine - slopes).max():.3g} along a direction, limit {limit:.3g}")

    def backward(self, package):
        p, c = self.point, self.c
        tensors = {**p, "du": self.du, "dx_next": self.dx_next}
        if c.delayed and not self.depth:
            tensors["dh_pre"] = self.dh_pre
        got = self.call(package, "backward", tensors)
        self.expect(set(got) == {"d" + name for name in p}, f"gradients {sorted(got)}")
        if not self.T:
            for name in p:
                self.expect(got["d" + name].shape == p[name].shape and not got["d" + name].any(), f"d{name} of no token")
            return
        self.everything = np.sqrt(sum((value ** 2).sum() for value in got.values()))
        for name in p:
            mine = got["d" + name]
            self.expect(np.isfinite(mine).all() and mine.shape == p[name].shape, f"d{name}: {mine.shape}, or not finite")
            if name in ("x", "f") and self.depth:
                want = self.rows_gradient(name)
                error, norm = np.linalg.norm(mine - want), np.linalg.norm(want)
                self.expect(error <= {"fp64": DIFFERENCES, "fp32": 1e-4}[self.dtype] * self.a * norm, f"d{name}: error {error:.3g} of {norm:.3g}")
            elif name in ("x", "f"):
                self.check_rows(name, mine)
            elif name == "h_pre_in":
                terms = magnitude(p["x"], self.du)[:, None] * np.abs(self.du[:, None] * p["x"]).sum(2)
                self.near("dh_pre_in", mine, self.rows_gradient(name), max(COEFFICIENTS[self.dtype], DIFFERENCES) * np.maximum(1, terms))
            elif name == "f_bias" and self.dtype == "bf16":
                # It sums df as stored, rounded.
                stored = got["df"].sum(0)
                self.near("df_bias", mine, stored, GRADIENTS["bf16"] * np.linalg.norm(stored))
            else:
                self.check_parameter(name, mine)

    def run(self):
        if self.dtype == "fp64" and WITHOUT_FP64:
            return
        package = Package(self.d, *self.options)
        with np.errstate(over="ignore", under="ignore", divide="ignore"):
            self.forward(package)
            self.backward(package)


def check(n, C, T, dtype, options=(), seed=0, **fields):
    Case({"kind": "hyper_connection_chain" if "depth" in fields else "hyper_connection", "hidden_size": C, "hc_mult": n, "dtype": dtype, **fields}, T, options, seed).run()


def shapes():
    for topology, manifold, dtype, n, C, T in (("mhc", "birkhoff", "bf16", 4, 100, 48), ("mhc", "birkhoff", "fp32", 3, 5129, 5), ("mhc", "birkhoff", "fp64", 2, 32, 1), ("mhc", "unconstrained", "bf16", 8, 32, 13),
                                               ("mhc", "identity", "fp32", 1, 7, 511), ("hc", None, "bf16", 4, 1280, 5), ("hc", None, "fp64", 3, 100, 48), ("mhc", "birkhoff", "bf16", 4, 32, 0), ("mhc", "birkhoff", "fp64", 4, 9, 70)):
        check(n, C, T, dtype, topology=topology, **({"manifold": manifold} if manifold else {}))
    check(3, 8, 0, "bf16", convention={"norm_weight": True, "f_bias": True, "pre_source": "delayed", "layout": "TCn"})


def switches():
    """every fusion and the reordering on and off: the same numbers within the order of fp32 sums"""
    for options in (("--no-fuse-boundaries",), ("--no-fuse-coefficients",), ("--no-reorder",), ("--no-rebuild",), ("--no-fuse-boundaries", "--no-fuse-coefficients", "--no-reorder")):
        check(4, 100, 13, "fp32", options, seed=3)
    check(3, 32, 13, "fp32", ("--no-fuse-boundaries", "--no-fuse-coefficients"), seed=4, topology="hc")


# ---- hard shapes ------------------------------------------------------------------------------------------------------

HARD = {"n": (1, 2, 3, 4, 8), "C": (7, 32, 100, 1280, 5129), "T": (0, 1, 13, 48, 511), "dtype": ("bf16", "fp32", "fp64"),
        "manifold": ("birkhoff", "unconstrained", "identity", "orthogonal", "sphere", "simplex", "hc"),  # hc: the topology of that name, which has none
        "data": ("normal", "logits spread 10", "rows 120 apart", "equal rows", "zero tokens")}
Values = collections.namedtuple("Values", HARD)
LARGEST = 1_500_000  # T n C
SMALL = 50_000  # T n C up to which a case costs the same: little
WORK = 4_000_000  # numbers that differences may compute; beyond, a gradient is compared along random directions
AT_ONCE = 4_000_000  # of these, in memory


class Hard(Case):
    """One sublayer, the paper's convention, on data that is hard: see tools/dev/gpu_shapes.py, which has the same on GPUs"""

    def __init__(self, values):
        n, C, T, dtype, manifold, data = values
        super().__init__({"kind": "hyper_connection", "hidden_size": C, "hc_mult": n, "dtype": dtype, **({"topology": "hc"} if manifold == "hc" else {"manifold": manifold})}, T,
                         seed=zlib.crc32(repr(values).encode()))
        self.what, p, res = f"{manifold}-n{n}-C{C}-{dtype} T={T} {data}", self.point, 2 if manifold == "hc" else 2 * n
        if data == "logits spread 10":
            if manifold == "hc":
                p["phi"] = self.number(10 * p["phi"])  # what tanh is of
            else:
                p["alpha"] = np.array([10.0, -10.0, 10.0])
        elif data == "rows 120 apart" and manifold != "identity":
            usual = Held()
            coefficients(p["x"], p, self.c, usual)
            self.held["spread"] = usual["spread"]  # what is 120 lower is exact: it makes no limit wider
            p["bias"][2 * n:].reshape(n, n)[1 % n] -= 120  # one output's
            p["bias"] = self.number(p["bias"])
        elif data == "equal rows":
            p["x"] = np.repeat(p["x"][:, :1], n, 1)
            p["phi"][:, res:], p["bias"][2 * n:] = p["phi"][:, res:res + 1], p["bias"][2 * n:2 * n + 1]
        elif data == "zero tokens":  # x of every third token, f of half of these
            p["x"][::3] = 0
            p["f"][3::6] = 0
        self.steep = 10 if data == "logits spread 10" else 1
        # 1 / r of a token of zeros is 1000: so much closer its differences have to be.
        self.size = np.where(p["x"].any((1, 2)), 1, 1 / 500)
        self.inner = None

    def whole(self, name, elements):
        n = self.c.n
        numbers = {"x": n * self.C, "f": self.C}.get(name, 0) + n * n * (40 if self.c.manifold["kind"] == "birkhoff" and name != "f" else 4)
        return elements <= BASIS and 4 * elements * self.T * numbers <= WORK

    def objective(self, **moved):
        """that of Case with its sums the other way round: what the coefficients are multiplied by needs no more than products of the streams"""
        p = {**self.point, **moved}
        pre, post, res = coefficients(p["x"], p, self.c, self.held)
        if "x" in moved or self.inner is None:
            with_du, with_dx = (p["x"] @ self.du[:, :, None])[..., 0], self.dx_next @ np.swapaxes(p["x"], -1, -2)
            self.inner = self.inner if "x" in moved else (with_du, with_dx)
        else:
            with_du, with_dx = self.inner
        with_f = (self.dx_next @ p["f"][..., None])[..., 0]
        return (pre * with_du).sum(-1) + (post * with_f).sum(-1) + (res * with_dx).sum((-1, -2))

    def derivative(self, name, directions, step=STEP):
        """in parts that fit into memory; each token's step, or phi's, so that it moves the logits by about as much as everywhere"""
        size = 1.0
        if name == "x":
            size = self.size / self.steep
            directions = directions * size.reshape(-1, 1, 1)
        elif name == "phi" and not self.whole(name, self.point["phi"].size):
            size = 4 / (self.steep * len(self.point["phi"]) ** 0.5)
            directions = directions * size
        count = max(1, AT_ONCE // (4 * max(self.point[name].size, self.T * self.c.n * (self.C if name in ("x", "f") else 4 * self.c.n))))
        parts = [super(Hard, self).derivative(name, directions[first:first + count], step) for first in range(0, len(directions), count)]
        return np.concatenate(parts) / size

    def stream_limit(self, name, want, B, least):
        limit = super().stream_limit(name, want, B, least)
        if name != "dx" or self.c.hc:
            return limit
        # What sums over the channels that cancel leave in dx: of the norm that their terms have, times phi / r. A token of zeros has 1 / r = 1000, and plain fp32 code is then several
        # times beyond the limit for streams where dh_post happens to be small.
        p, n = self.point, self.c.n
        terms = np.sqrt(np.einsum("toc,tc->to", self.dx_next ** 2, p["f"] ** 2)) @ np.abs(p["phi"][:, n:2 * n]).T
        if self.c.manifold["kind"] == "sphere":
            # dz is the part of a gradient that lies across Z (of equal rows it adds up to 0), times radius / |Z|: of some tokens 100, and so are the errors of plain fp32 code.
            v = normalised(p["x"].reshape(self.T, -1), self.c)
            small = np.linalg.norm(p["alpha"][2] * (v @ p["phi"][:, 2 * n:]) + p["bias"][2 * n:], axis=1)
            across = np.linalg.norm(np.sqrt((self.dx_next ** 2) @ np.swapaxes(p["x"] ** 2, -1, -2)), axis=(1, 2)) * np.sqrt(n) / small
            terms = terms + across[:, None] * np.linalg.norm(p["phi"][:, 2 * n:], axis=1)
        r = np.sqrt((p["x"] ** 2).mean((1, 2)) + 1e-6)
        return limit + CANCELLED[self.dtype] * np.abs(p["alpha"]).max() * (terms / r[:, None]).reshape(-1, n, self.C)


def new_pairs(v):
    """those that v is a case of: without tokens data is none, and manifolds are hardly met by one token, or one stream"""
    out = set()
    for a, b in itertools.combinations(v._asdict().items(), 2):
        names = a[0], b[0]
        if (v.T or "T" in names) and (v.T > 1 or "data" not in names or "T" in names) and (v.n > 1 or names != ("manifold", "data")):
            out.add((a, b))
    return out


def hard():
    """one after another the case with the most pairs that are new, of those a small one, of those the one whose values came least"""
    candidates = [v for v in map(Values._make, itertools.product(*HARD.values())) if v.T * v.n * v.C <= LARGEST]
    each = [new_pairs(v) for v in candidates]
    missing, chosen, came = set().union(*each), [], collections.Counter()
    while missing:
        best = max(range(len(candidates)), key=lambda k: (len(each[k] & missing), -max(SMALL, candidates[k].T * candidates[k].n * candidates[k].C), -sum(came[v] for v in enumerate(candidates[k]))))
        missing -= each[best]
        came.update(enumerate(candidates[best]))
        chosen.append(candidates[best])
    return chosen


def pairs_of_shapes(part, of, named):
    # Every part has as many that are large, and slow to compile, as the others.
    chosen = sorted(hard(), key=lambda v: (v.n, v.T * v.n * v.C))[part - 1::of]
    for field in ("dtype", "manifold"):
        wanted = [name for name in named if name in HARD[field]] or HARD[field]
        chosen = [v for v in chosen if getattr(v, field) in wanted]
    chosen = [v for v in chosen if v.dtype != "fp64" or not WITHOUT_FP64]
    for values in chosen:
        Hard(values).run()
    print(f"{len(chosen)} cases of hard shapes")


# ---- conventions ------------------------------------------------------------------------------------------------------

# None: not written. A value that has no effect beside the others is dropped (to write it is an error).
KNOBS = {
    "n": [1, 2, 3, 4, 8],
    "space": ["birkhoff", "birkhoff", "birkhoff", "permutation_hull", "orthogonal", "sphere", {"kind": "sphere", "radius": 2.5, "eps": 0.1}, "simplex", "unconstrained", "identity", "hc"],
    "preset": [None, "paper", "deepseek-v4", "deepseek-v4.1", "transformer-engine", "liger"],
    "start": [None, ("exp", "none"), ("exp", "add_eps"), ("exp", "max_eps"), ("softmax", "none"), ("softmax", "add_eps"), ("softmax", "max_eps"), ("log", "none")],
    "iterations": [None, 1, 3], "sinkhorn_eps": [None, 0.3], "first_over": [None, "outputs", "inputs"],
    "low": [False, False, True],  # one output's logits 120 below the others
    "rms": [None, {"form": "inverse_of_root_plus_eps"}, {"eps": 0.1}, {"form": "inverse_of_root_plus_eps", "eps": 0.1}, {"eps": 1e-20}],
    "res_application": [None, "HX", "HTX"], "norm_weight": [False, True], "f_bias": [False, True], "pre_source": [None, "same", "delayed"],
    "layout": [None, "TnC", "TCn"], "phi_layout": [None, "km", "mk"], "coefficient_dtype": [None, "bf16"], "pre_eps": [None, 0.02], "post_scale": [None, 0.7],
    "pre": ["dynamic", "dynamic", "static", "fixed"], "post": ["dynamic", "dynamic", "static", "fixed"], "res": ["dynamic", "dynamic", "static", "fixed"],
}


def legal(knobs):
    """the knobs that have an effect, or None"""
    k = dict(knobs)
    hc, identity, fixed = k["space"] == "hc", k["space"] == "identity", k["res"] == "fixed"
    if k["space"] == "permutation_hull" and k["n"] > 4:
        return None

    def drop(*names):
        for name in names:
            k.pop(name, None)
    if hc:
        drop("preset", "pre_eps", "post_scale")
    if fixed and not hc:
        drop("space")
    if identity:
        drop("res")
    if fixed or identity:
        drop("res_application", "low")
    if k.get("space") != "birkhoff":
        drop("start", "iterations", "sinkhorn_eps", "first_over", "low")
    else:
        preset = {"deepseek-v4": ("softmax", "add_eps"), "deepseek-v4.1": ("softmax", "add_eps"), "liger": ("softmax", "add_eps")}.get(k["preset"], ("exp", "none"))
        start = k["start"] or preset
        if start[0] != "softmax" and start[1] == "none":
            drop("sinkhorn_eps")
    if k["pre"] == "fixed":
        drop("pre_eps")
    if k["post"] == "fixed":
        drop("post_scale")
    if "dynamic" not in (k["pre"], k["post"], k.get("res")):
        drop("rms", "norm_weight", "phi_layout")
    return k


def describe(k, dtype, C, depth):
    d = {"kind": "hyper_connection", "hidden_size": C, "hc_mult": k["n"], "dtype": dtype}
    if depth:
        d.update(kind="hyper_connection_chain", depth=depth)
    if k.get("space") == "hc":
        d["topology"] = "hc"
    elif "space" in k:
        d["manifold"] = k["space"]
    if k.get("preset"):
        d["preset"] = k["preset"]
    convention = {name: k[name] for name in ("rms", "res_application", "pre_source", "layout", "phi_layout", "coefficient_dtype", "pre_eps", "post_scale") if k.get(name) is not None}
    convention.update({name: True for name in ("norm_weight", "f_bias") if k.get(name)})
    mappings = {name: k[name] for name in ("pre", "post", "res") if k.get(name, "dynamic") != "dynamic"}
    sinkhorn = {name: k[knob] for name, knob in (("first_over", "first_over"), ("iterations", "iterations"), ("eps", "sinkhorn_eps")) if k.get(knob) is not None}
    if k.get("start"):
        sinkhorn["start"], sinkhorn["denominator"] = k["start"]
    for name, value in (("mappings", mappings), ("sinkhorn", sinkhorn)):
        if value:
            convention[name] = value
    if convention:
        d["convention"] = convention
    return d


def pairs(k):
    items = sorted((name, str(value)) for name, value in k.items())
    return {(a, b) for i, a in enumerate(items) for b in items[:i]}


def sample(seed, count):
    """cases one after another, each of those drawn the one with the most pairs that are new; count None: until no pair is new"""
    draw, covered, cases = random.Random(seed), set(), []
    while count is None or len(cases) < count:
        drawn = [k for k in (legal({name: draw.choice(values) for name, values in KNOBS.items()}) for _ in range(200)) if k]
        best = max(drawn, key=lambda k: len(pairs(k) - covered))
        if not pairs(best) - covered:
            break
        covered |= pairs(best)
        cases.append(best)
    return cases, covered


def conventions(dtype, count, seed):
    cases, covered = sample(seed, count)
    draw = random.Random(seed)
    for i, k in enumerate(cases):
        depth = 2 if i % 6 == 5 and dtype != "bf16" else 0
        case = Case(describe(k, dtype, draw.choice([5, 8, 13] if depth or k["n"] == 8 else [5, 8, 13, 33]), depth), draw.choice([1, 6]), seed=i)
        if k.get("low"):
            # Row 0 of the residual mapping's matrix [out, in]; sums of logits of the other rows stay in the usual range.
            n = k["n"]
            low = [i * n if case.c.transposed else i for i in range(n)]
            case.point["bias"][..., [2 * n + e for e in low]] -= 120
        case.run()
    print(f"{dtype}: {len(cases)} cases, {len(covered)} pairs of conventions")


if __name__ == "__main__":
    mode = sys.argv[1] if len(sys.argv) > 1 else ""
    if mode == "switches":
        switches()
    elif mode == "shapes":
        shapes()
    elif mode == "pairs":
        numbers, names = [int(a) for a in sys.argv[2:] if a.isdigit()], [a for a in sys.argv[2:] if not a.isdigit()]
        pairs_of_shapes(*(numbers or (1, 1)), names)
    elif mode == "conventions":
        conventions(sys.argv[2], 14, {"fp64": 1, "fp32": 2, "bf16": 3}[sys.argv[2]])
    elif mode == "all":
        for number, name in enumerate(FILE):
            conventions(name, None, 100 + number)
    else:
        sys.exit("usage: hyper_connection.py shapes | pairs [PART OF] [VALUE..] | switches | conventions DTYPE | all")
    print("passed")
