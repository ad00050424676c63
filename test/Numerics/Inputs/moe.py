"""Routers and layers of experts: forward against an fp64 reference, backward against its central differences.

usage: moe.py routers | losses | hard | layers

The reference is written from the formulas with loops over tokens; choices (piecewise constant) and counts are held fixed in the differences, which is what they are to the gradient. Gradients are compared along
random directions, at tokens whose choices are clear.
"""
import os
import subprocess
import sys

import numpy as np

from mhcref import DEVICE, WITHOUT_FP64, Package, save
from routing import Router, dispatch, scores

FILE = {"fp64": "F64", "fp32": "F32", "bf16": "BF16"}
# Of gradients and outputs: 1e-4 of the norm (bf16: also 2^-8); fp64 exact to 1e-9. What the router says has limits of its own (`within`).
TOLERANCE = {"fp64": 1e-9, "fp32": 1e-4, "bf16": 1e-2}


def experts(d, x, index, weight, w):
    ffn = lambda x, gate, up, down: ((x @ gate) / (1 + np.exp(-(x @ gate))) * (x @ up)) @ down
    y = np.zeros_like(x)
    for t in range(len(x)):
        for j in range(index.shape[1]):
            e = index[t, j]
            y[t] += weight[t, j] * ffn(x[t], w["w_gate"][e], w["w_up"][e], w["w_down"][e])
    if d.get("n_shared_experts"):
        y = y + ffn(x, w["shared_gate"], w["shared_up"], w["shared_down"])
        if d.get("gate") == "sqrt":
            y /= np.sqrt(2)
    return y


class Case:
    def __init__(self, description, T, seed=0, x=None, router=None, only=None):
        self.d = {"kind": "moe_router", "hidden_size": 24, "dtype": "fp32", **description}
        self.T, self.rng, self.r, self.dtype = T, np.random.default_rng(seed), Router(self.d), self.d["dtype"]
        self.layer = self.d["kind"] == "moe_layer"
        self.name = f"{self.d}, T={T}"
        C, E, k = self.d["hidden_size"], self.r.E, self.r.k
        exact = lambda a: a if self.dtype == "fp64" else a.astype(np.float32).astype(np.float64)
        stream = lambda a: (exact(a).astype(np.float32).view(np.uint32) & 0xffff0000).view(np.float32).astype(np.float64) if self.dtype == "bf16" else exact(a)
        self.inputs = {"x": stream(self.rng.normal(size=(T, C)) if x is None else x(T, C)), "router": exact(self.rng.normal(size=(C, E)) * 1.5 / np.sqrt(C) if router is None else router(C, E))}
        self.bias = exact(self.rng.normal(size=E) * 0.1) if "expert_bias" in self.d else None
        self.previous = self.rng.integers(0, 50, size=E) if any(l.get("scope") == "global_batch" for l in self.r.losses) else None
        if self.layer:
            I, s = self.d["moe_intermediate_size"], self.d.get("n_shared_experts", 0) * self.d["moe_intermediate_size"]
            shapes = {"w_gate": (E, C, I), "w_up": (E, C, I), "w_down": (E, I, C), **({"shared_gate": (C, s), "shared_up": (C, s), "shared_down": (s, C)} if s else {})}
            for name, shape in shapes.items():
                self.inputs[name] = stream(self.rng.normal(size=shape) / np.sqrt(shape[-2]))
        given = "dy" if self.layer else "dweight"
        self.cotangents = {given: (stream if self.layer else exact)(self.rng.normal(size=(T, C) if self.layer else (T, k))), "dlosses": exact(self.rng.normal(size=len(self.r.losses)) + 2)}
        self.clear = x is None and router is None

    def forward(self, inputs, index=None):
        """outputs, and the value that the cotangents make of them"""
        z = inputs["x"] @ inputs["router"]
        index = self.r.choose(z, self.bias) if index is None else index
        weight = self.r.weights(z, index)
        out = {"logits": z, "index": index, "weight": weight, "losses": self.r.balance(z, index, self.previous), **dispatch(index, self.r.E)}
        value = (out["losses"] * self.cotangents["dlosses"]).sum()
        if self.layer:
            out["y"] = experts(self.d, inputs["x"], index, weight, inputs)
            value += (out["y"] * self.cotangents["dy"]).sum()
        else:
            value += (weight * self.cotangents["dweight"]).sum()
        return out, value

    def separate(self):
        """redraws tokens whose choices fp32 could make otherwise"""
        for _ in range(50):
            z = self.inputs["x"] @ self.inputs["router"]
            key = scores(z, self.d["score"]) + (0 if self.bias is None else self.bias) if self.bias is not None or self.r.G > 1 else z
            clear = lambda ordered: (-np.diff(ordered, axis=1) > 2e-5 * np.abs(ordered).max(1, keepdims=True)).all(1)
            close = ~clear(-np.sort(-key, 1)[:, :self.r.k + 1])
            if self.r.G > 1:
                size, m = self.r.E // self.r.G, self.r.k // self.r.chosen
                close |= ~clear(-np.sort(-np.sort(key.reshape(len(z), self.r.G, size), 2)[:, :, -m:].sum(2), 1))
                close |= ~clear(-np.sort(-key, 1))
            if not close.any():
                return
            rows = self.rng.normal(size=(close.sum(), self.inputs["x"].shape[1]))
            self.inputs["x"][close] = (rows.astype(np.float32).view(np.uint32) & 0xffff0000).view(np.float32)
        raise AssertionError(f"{self.name}: no clear choices")

    def run(self):
        if self.clear and self.T and self.r.E > 1:
            self.separate()
        package = Package(self.d)
        narrow = "F64" if self.dtype == "fp64" else "F32"
        streams = {"x", "dy", "w_gate", "w_up", "w_down", "shared_gate", "shared_up", "shared_down"}
        files = {n: (a, FILE[self.dtype] if n in streams else narrow) for n, a in self.inputs.items()}
        if self.bias is not None:
            files["expert_bias"] = (self.bias, narrow)
        if self.previous is not None:
            files["previous_counts"] = (self.previous, "I64")
        got = package.call("forward", files)
        first = package.bytes
        package.call("forward", files, threads=1)
        assert package.bytes == first, f"{self.name}: other bytes with one thread"
        want, _ = self.forward(self.inputs)
        tolerance = TOLERANCE[self.dtype]
        names = ["y", "index", "weight", "counts", "losses"] if self.layer else ["logits", "index", "weight", "counts", "offsets", "gather", "reverse", "losses"]
        assert sorted(got) == sorted(names), f"{self.name}: {sorted(got)}"
        for name in names:
            a, b = got[name], want[name]
            assert a.shape == b.shape, f"{self.name}: {name} of shape {a.shape}, not {b.shape}"
            if name in ("index", "counts", "offsets", "gather", "reverse"):
                assert np.array_equal(a, b), f"{self.name}: {name}: {a} instead of {b}"
            elif a.size:
                limit = tolerance * (np.abs(b).max() + 1e-3) if name == "y" else self.within(name, want)
                assert np.isfinite(a).all() and (np.abs(a - b) <= limit).all(), f"{self.name}: {name}: off by {np.abs(a - b).max():.3g}, {(np.abs(a - b) / limit).max():.3g} of the limit"
        files.update({"dlosses": (self.cotangents["dlosses"], narrow)})
        given = "dy" if self.layer else "dweight"
        files[given] = (self.cotangents[given], FILE[self.dtype] if self.layer else narrow)
        gradients = package.call("backward", files)
        self.check_gradients(gradients, want["index"])

    def within(self, name, want):
        """how far fp32 may be off: logits and weights of each token by its largest logit, each loss by itself and its coefficient"""
        largest, unit = np.abs(want["logits"]).max(1, keepdims=True), 1e-10 if self.dtype == "fp64" else 1e-5
        if name == "losses":
            return unit * (np.abs(want["losses"]) + 0.1 * np.abs([loss["weight"] for loss in self.r.losses]))
        return unit * np.maximum(1, largest) if name == "logits" else unit * max(1, abs(self.d.get("scale", 1))) * np.maximum(1, largest / 4)

    def check_gradients(self, got, index):
        tolerance = TOLERANCE[self.dtype]
        assert set(got) == {"d" + n for n in self.inputs} | (set() if self.layer else {"dlogits"}), f"{self.name}: {sorted(got)}"
        for name, array in self.inputs.items():
            g = got["d" + name].astype(np.float64)
            assert g.shape == array.shape and np.isfinite(g).all(), f"{self.name}: d{name}"
            if self.T == 0:
                assert not g.any(), f"{self.name}: d{name} of no token"
                continue
            for _ in range(4):
                direction = self.rng.normal(size=array.shape)
                h = 1e-5
                shifted = [self.forward({**self.inputs, name: array + s * h * direction}, index)[1] for s in (-2, -1, 1, 2)]
                exact = (shifted[0] - 8 * shifted[1] + 8 * shifted[2] - shifted[3]) / (12 * h)
                error = abs((g * direction).sum() - exact)
                # A random direction sees an error of the norm's share t as about t |g|; 4 standard deviations, and what the differences are off by.
                limit = 4 * tolerance * np.linalg.norm(g) + 1e-8 * (1 + abs(exact))
                assert error <= limit, f"{self.name}: d{name}: {(g * direction).sum():.9g} instead of {exact:.9g} along a direction, limit {limit:.3g}"
        if not self.layer: # what flows through the logits is all there is
            z = got["dlogits"]
            dx = z @ self.inputs["router"].T
            assert np.linalg.norm(got["dx"] - dx) <= max(tolerance, 1e-5) * np.linalg.norm(dx) + 1e-12, f"{self.name}: dx is not dlogits W^T"


ALL = [{"kind": "switch", "weight": 0.1, "scope": "global_batch"}, {"kind": "top1", "weight": 0.02, "tau": 2.0}, {"kind": "z", "weight": 1e-2}, {"kind": "switch", "weight": 0.3}]
SCORES = ["softmax_before_topk", "softmax_after_topk", "sigmoid", "sqrt_softplus"]


def routers():
    """every E and k, score, gate, groups, bias; E = 257 in phases of no whole vectors"""
    shapes = [(63, 1, None), (72, 8, (8, 4)), (96, 3, None), (257, 8, None), (8, 2, (4, 2)), (96, 6, (8, 3)), (5, 5, None), (63, 7, None), (257, 4, None), (72, 2, (6, 2))]
    for i, (E, k, groups) in enumerate(shapes):
        for j, score in enumerate(SCORES):
            if k == 1 and score == "softmax_after_topk":
                continue
            d = {"num_experts": E, "num_experts_per_tok": k, "score": score, "gate": ["plain", "sqrt"][(i + j) % 2], "normalize": bool((i + j // 2) % 2) and k > 1, "scale": [1.0, 2.5][i % 2],
                 "dtype": ["fp32", "bf16", "fp64"][(i + j) % (2 if WITHOUT_FP64 else 3)]}
            if groups:
                d["groups"] = {"count": groups[0], "chosen": groups[1]}
            if (i + j) % 2:
                d["expert_bias"] = {"rate": 1e-3}
            yield Case(d, [13, 37, 1, 64][j], seed=100 * i + j)


def losses():
    for i, dtype in enumerate(["fp32"] if WITHOUT_FP64 else ["fp64", "fp32"]):
        for loss in ALL + [{"kind": "switch", "weight": 0.2, "scope": "sequence"}]:
            yield Case({"num_experts": 12, "num_experts_per_tok": 3, "score": "sigmoid", "dtype": dtype, "losses": [loss]}, 20, seed=i)
        yield Case({"num_experts": 12, "num_experts_per_tok": 3, "score": "softmax_before_topk", "dtype": dtype, "losses": ALL}, 33, seed=7)
        sequences = [{"kind": "switch", "weight": 0.2, "scope": "sequence"}, {"kind": "z", "weight": 0.1}]
        yield Case({"num_experts": 12, "num_experts_per_tok": 3, "score": "softmax_before_topk", "dtype": dtype, "losses": sequences, "sequence_length": 8}, 40, seed=8)
    yield Case({"num_experts": 12, "num_experts_per_tok": 3, "score": "sigmoid", "losses": ALL}, 0)


def hard():
    zeros = lambda C, E: np.zeros((C, E))
    integers = lambda T, C: np.random.default_rng(5).integers(-2, 3, size=(T, C)).astype(float)
    ties = lambda C, E: np.random.default_rng(6).integers(-1, 2, size=(C, E)).astype(float)
    ones = lambda T, C: np.ones((T, C))
    one = lambda C, E: np.eye(1, C).T @ np.where(np.arange(E) == E // 2, 30.0, np.linspace(-1, 1, E))[None]
    for score in SCORES:
        for more in ({}, {"expert_bias": {"rate": 1e-3}}, {"groups": {"count": 9, "chosen": 3}}):
            yield Case({"num_experts": 63, "num_experts_per_tok": 6, "score": score, "losses": ALL[2:], **more}, 9, x=integers, router=zeros)  # all equal
        yield Case({"num_experts": 63, "num_experts_per_tok": 6, "score": score}, 17, x=integers, router=ties)
        yield Case({"num_experts": 9, "num_experts_per_tok": 2, "score": score, "losses": ALL}, 21, x=ones, router=one)  # all tokens on the same experts
    # The same with experts behind it: one group of all rows and empty ones before and after it; equal logits, so the lowest experts.
    layer = {"kind": "moe_layer", "moe_intermediate_size": 20, "score": "softmax_before_topk", "losses": ALL[2:]}
    for dtype in ["fp32", "bf16"]:
        yield Case({**layer, "num_experts": 96, "num_experts_per_tok": 1, "dtype": dtype}, 45, x=ones, router=one)
        yield Case({**layer, "num_experts": 63, "num_experts_per_tok": 6, "dtype": dtype}, 9, x=integers, router=zeros)


def layers():
    for i, (E, k, shared, gate) in enumerate([(6, 2, 0, "plain"), (7, 3, 1, "sqrt"), (5, 1, 2, "plain"), (16, 4, 1, "plain"), (63, 8, 0, "sqrt"), (257, 3, 0, "plain")]):
        for dtype in ["fp32", "bf16"] + ([] if WITHOUT_FP64 else ["fp64"]):
            d = {"kind": "moe_layer", "num_experts": E, "num_experts_per_tok": k, "moe_intermediate_size": 20, "n_shared_experts": shared, "gate": gate, "score": SCORES[i % 4], "dtype": dtype,
                 "losses": ALL[2:3] if i % 2 else [], "normalize": i == 3}
            if i == 2:
                d["expert_bias"] = {"rate": 1e-3}
            yield Case(d, [11, 1, 0, 30, 17, 9][i], seed=i)


def not_finite():
    """a NaN or an infinity in one token's logits, or in the selection bias: the call fails, names op and token, and writes nothing; backward too"""
    router = {"kind": "moe_router", "hidden_size": 8, "num_experts": 6, "num_experts_per_tok": 2, "dtype": "fp32", "score": "sigmoid"}
    for d in (router, {**router, "kind": "moe_layer", "moe_intermediate_size": 4}, {**router, "groups": {"count": 3, "chosen": 2}, "expert_bias": {"rate": 0.0}}):
        package = Package(d)
        i, o = (os.path.join(package.folder.name, name) for name in ("hostile.safetensors", "never.safetensors"))
        for value, where in ((np.nan, "x"), (np.inf, "x"), (-np.inf, "x"), (np.nan, "router"), *([(-np.inf, "expert_bias")] if "expert_bias" in d else [])):
            inputs = {"x": np.ones((5, 8)), "router": np.ones((8, 6))}
            backward = {"dy": np.ones((5, 8))} if d["kind"] == "moe_layer" else {"dweight": np.ones((5, 2))}
            if d["kind"] == "moe_layer":
                inputs.update({"w_gate": np.ones((6, 8, 4)), "w_up": np.ones((6, 8, 4)), "w_down": np.ones((6, 4, 8))})
            if "expert_bias" in d:
                inputs["expert_bias"] = np.zeros(6)
            if where == "expert_bias":
                inputs[where][2] = value
            else:
                inputs[where][3 if where == "x" else 0, 2] = value
            for entry, more in (("forward", {}), ("backward", {**backward, "dlosses": np.zeros(0)})):
                save(i, {name: (array, "F32") for name, array in {**inputs, **more}.items()})
                ended = subprocess.run(["mhc-run", "call", package.path, entry, f"--inputs={i}", f"--outputs={o}", *([f"--device={DEVICE}"] if DEVICE else [])], capture_output=True, text=True)
                message = f"route: the router's logits of token {3 if where == 'x' else 0} are not finite, or its selection bias"
                assert ended.returncode == 1 and message in ended.stderr and not os.path.exists(o), f"{d}, {entry}, {value} in {where}: {ended}"


if __name__ == "__main__":
    cases = list({"routers": routers, "losses": losses, "hard": hard, "layers": layers}[sys.argv[1]]())
    for case in cases:
        case.run()
    if sys.argv[1] == "hard":
        not_finite()
    print(f"{sys.argv[1]}: {len(cases)} cases\npassed")
