"""An fp64 reference of routers: choices, weights, balance losses and how assignments are sorted, and a model's layer of experts, from the formulas and with loops over tokens (numpy)."""
import math

import numpy as np


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def scores(z, kind):
    return {"softmax_before_topk": softmax, "softmax_after_topk": lambda z: z, "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
            "sqrt_softplus": lambda z: np.sqrt(np.log1p(np.exp(-np.abs(z))) + np.maximum(z, 0))}[kind](z)


def best(values, k):
    """indices of the k highest, the lower one first of equal ones"""
    return sorted(range(len(values)), key=lambda i: (-values[i], i))[:k]


class Router:
    def __init__(self, d):
        self.d, self.E, self.k = d, d["num_experts"], d["num_experts_per_tok"]
        self.losses, g = d.get("losses", []), d.get("groups", {"count": 1, "chosen": 1})
        self.G, self.chosen = g["count"], g["chosen"]

    def choose(self, z, bias):
        key = z if bias is None and self.G == 1 else scores(z, self.d["score"]) + (0 if bias is None else bias)
        index = []
        for row in key:
            row = row.copy()
            if self.G > 1:
                size = self.E // self.G
                sums = [sum(sorted(row[g * size:(g + 1) * size], reverse=True)[:self.k // self.chosen]) for g in range(self.G)]
                kept = best(sums, self.chosen)
                for g in range(self.G):
                    if g not in kept:
                        row[g * size:(g + 1) * size] = -np.inf
            index.append(best(row, self.k))
        return np.array(index, int).reshape(len(z), self.k)

    def weights(self, z, index):
        picked = np.take_along_axis(z, index, 1)
        if self.d["score"] == "softmax_after_topk":
            g = softmax(picked) if len(z) else picked
        else:
            g = np.take_along_axis(scores(z, self.d["score"]), index, 1)
            if self.d.get("normalize"):
                g = g / (g.sum(1, keepdims=True) + 1e-20)
        return self.d.get("scale", 1.0) * (np.sqrt(g) if self.d.get("gate") == "sqrt" else g)

    def balance(self, z, index, previous, top=None):
        """`top`: each token's expert of the largest logit, held in differences"""
        top = z.argmax(1) if top is None else top
        T, E, out = len(z), self.E, []
        count = lambda rows: np.bincount(rows.reshape(-1), minlength=E).astype(float)
        for loss in self.losses:
            if T == 0:
                out.append(0.0)
            elif loss["kind"] == "z":
                out.append(loss["weight"] * np.mean((np.log(np.exp(z - z.max(1, keepdims=True)).sum(1)) + z.max(1)) ** 2))
            elif loss["kind"] == "top1":
                q = softmax(z / loss["tau"])
                out.append(loss["weight"] * E * (q.mean(0) ** 2).sum() / q[np.arange(T), top].mean())
            else:
                scope, p, length = loss.get("scope", "micro_batch"), softmax(z), self.d.get("sequence_length", T)
                if scope == "sequence":
                    parts = [E * (count(index[t:t + length]) / (length * self.k) * p[t:t + length].mean(0)).sum() for t in range(0, T, length)]
                    out.append(loss["weight"] * np.mean(parts))
                else:
                    c = count(index) + (previous if scope == "global_batch" else 0)
                    out.append(loss["weight"] * E * (c / c.sum() * p.mean(0)).sum())
        return np.array(out)


def dispatch(index, E):
    flat = index.reshape(-1)
    order = np.argsort(flat, kind="stable")
    counts = np.bincount(flat, minlength=E)
    reverse = np.empty_like(order)
    reverse[order] = np.arange(len(order))
    return {"counts": counts, "offsets": np.concatenate([[0], np.cumsum(counts)]), "gather": order // index.shape[1], "reverse": reverse.reshape(index.shape)}


def layer_of_model(d, P, at, u, block, phase, ffn, held, watch):
    """u [B, S, C] -> the same of the experts at P[`at`..], and the layer's balance losses; ffn(x, name): one expert. Choices and counts are those of the first evaluation"""
    B, S, C = u.shape
    k, E = d["num_experts_per_tok"], d["n_routed_experts"]
    k = k["phases"][phase]["k"] if isinstance(k, dict) else k
    k = k[block] if isinstance(k, list) else k
    router = Router({"score": "softmax_before_topk", **d["router"], "num_experts": E, "num_experts_per_tok": k, "sequence_length": S})
    x, bias = u.reshape(B * S, C), P.get(f"{at}.gate.e_score_correction_bias")
    z = x @ P[f"{at}.gate.weight"].T
    index = held[f"{at}.index"] if f"{at}.index" in held else held(f"{at}.index", router.choose(z, bias))
    watch("logits", z)
    watch("router", (router, z, bias))
    watch("counts", np.bincount(index.reshape(-1), minlength=E))
    weight = router.weights(z, index)
    if "capacity_factor" in d["router"]:
        # The first ones of each expert by their tokens keep their weights, the others have none.
        room = np.full(E, math.ceil(d["router"]["capacity_factor"] * B * S * k / E))
        kept = np.zeros(index.shape)
        for t, choices in enumerate(index):
            kept[t] = room[choices] > 0
            room[choices] -= 1
        watch("dropped", int((kept == 0).sum()))
        weight = weight * kept
    y = sum((weight * (index == e)).sum(1, keepdims=True) * ffn(x, f"{at}.experts.{e}") for e in range(E))
    if d.get("n_shared_experts"):
        y = y + ffn(x, f"{at}.shared_experts")
        if d["router"].get("gate") == "sqrt":
            y = y / np.sqrt(2)
    return y.reshape(B, S, C), router.balance(z, index, 0, held(f"{at}.top", z.argmax(1)))
