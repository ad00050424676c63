"""Updates of whole models: what `mhc-run train` makes of the gradients that `loss_and_gradients` gives, against the formulas in fp64, with every optimizer and parametrisation.

usage: training.py [NAME ..]
"""
import json
import math
import os
import re
import subprocess
import sys

import numpy as np

from mhcref import DEVICE, Package, load, save
from optimizer import ADAM, MUON, STATE, WEIGHT, orthogonal

MODEL = {"kind": "language_model", "dtype": "fp32", "vocab_size": 37, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8,
         "intermediate_size": 48, "qk_norm": True, "attention_gate": "headwise", "max_position_embeddings": 16, "residual": {"topology": "mhc", "hc_mult": 2}}
BATCH = {"sequences": 4, "sequence_length": 8, "steps": 6, "micro_batch": 2}
PHASES = {"kind": "phases", "warmup_steps": 2, "phases": [{"until": 0.1, "shape": "constant"}, {"until": 0.5, "shape": "cosine", "to": 0.6}, {"until": 1.0, "shape": "linear", "to": 0.1}]}
# One dense block, then experts with what all of them have in common: a shared one, losses, a bias that the counts of the whole step move.
EXPERTS = {"num_hidden_layers": 3, "first_k_dense_replace": 1, "n_routed_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 24, "n_shared_experts": 1,
           "router": {"score": "sigmoid", "normalize": True, "expert_bias": {"rate": 0.01}, "losses": [{"kind": "switch", "weight": 0.01}, {"kind": "z", "weight": 1e-3}]}}
CASES = {
    "adamw": {"optimizer": {"kind": "adamw", "learning_rate": 3e-3, "weight_decay": 0.1}, "clip": 0.5},
    "muonh": {"optimizer": {"kind": "muonh", "learning_rate": 0.01}, "clip": 0.3, "schedule": PHASES},
    "hyperp": {"optimizer": {"kind": "muonh", "learning_rate": 0.02, "momentum": 0.9, "ns_eps": 1e-8}, "parametrization": {"kind": "hyperp", "base_depth": 6, "base_tokens": 500}},
    "muon": {"optimizer": {"kind": "muon", "learning_rate": 0.01, "weight_decay": 0.2}, "schedule": {"kind": "linear", "warmup_steps": 3, "final_fraction": 0.1}},
    "mup": {"optimizer": {"kind": "muon", "learning_rate": 0.01, "weight_decay": 0.2}, "parametrization": {"kind": "mup", "base_width": 64}, "clip": 1.0},
    "mup++": {"optimizer": {"kind": "muon", "learning_rate": 0.01, "weight_decay": 0.2}, "parametrization": {"kind": "mup++", "base_width": 64, "base_depth": 4}},
    "experts-adamw": {"model": EXPERTS, "optimizer": {"kind": "adamw", "learning_rate": 3e-3, "weight_decay": 0.1}, "clip": 0.5},
    "experts-muon": {"model": EXPERTS, "optimizer": {"kind": "muon", "learning_rate": 0.01, "weight_decay": 0.2}},
    "experts-muonh": {"model": EXPERTS, "optimizer": {"kind": "muonh", "learning_rate": 0.01}, "clip": 0.3},
    "experts-stack": {"model": EXPERTS, "optimizer": {"kind": "muonh", "learning_rate": 0.01, "norm_scope": "stack"}},
}
BIAS = "e_score_correction_bias"

def is_hidden(name):
    return "_proj.weight" in name or name.endswith("mlp.gate.weight")


def stack_of(d, name):
    """what shares a norm: the name, or that of all experts with * for the number"""
    return re.sub(r"experts\.\d+\.", "experts.*.", name) if d["training"]["optimizer"].get("norm_scope") == "stack" else name


def schedule(training, step, steps):
    s = training.get("schedule", {"kind": "constant"})
    warm, p = s.get("warmup_steps", 0), (step - 1) / steps
    ramp = min(1.0, step / warm) if warm else 1.0
    if s["kind"] == "linear":
        return ramp * (1 - (1 - s["final_fraction"]) * max(0.0, p - warm / steps) / (1 - warm / steps))
    if s["kind"] == "phases":
        begin, level = 0.0, 1.0
        for phase in s["phases"]:
            to = phase.get("to", level)
            if p < phase["until"]:
                share = (p - begin) / (phase["until"] - begin)
                return ramp * (to + (level - to) * (1 + math.cos(math.pi * share)) / 2 if phase["shape"] == "cosine" else level + (to - level) * share)
            begin, level = phase["until"], to
    return ramp


def factors(d, name, shape):
    """of the learning rate and of the weight decay"""
    t, p = d["training"], d["training"].get("parametrization", "none")
    kind = p if isinstance(p, str) else p["kind"]
    optimizer, hidden = t["optimizer"]["kind"], is_hidden(name)
    matrix = len(shape) == 2 and ".hc_" not in name
    if optimizer == "adamw":
        return 1.0, float(matrix)
    depth = math.sqrt(p["base_depth"] / d["num_hidden_layers"]) if kind in ("hyperp", "mup++") else 1.0
    rate = depth
    if hidden and kind == "hyperp":
        rate *= (BATCH["steps"] * BATCH["sequences"] * BATCH["sequence_length"] / p["base_tokens"]) ** -0.32
    if hidden and optimizer == "muon":
        rate *= math.sqrt(shape[0] / shape[1])
    return rate, (p["base_width"] / d["hidden_size"] if kind in ("mup", "mup++") else 1.0) * (hidden and optimizer == "muon")


def to_sphere(w, direction, radius, rate):
    size = np.linalg.norm(direction)
    y = w - (rate * radius / size * direction if size > 0 else 0)
    return y * radius / np.linalg.norm(y)


def update(d, W, S, G, number):
    """one step in fp64: parameters, states, the matrices whose directions are orthogonalised"""
    t, o = d["training"], {"betas": [0.9, 0.95], "eps": 1e-8, "momentum": 0.95, "ns_eps": 1e-7, "weight_decay": 0.0, **d["training"]["optimizer"]}
    norm = math.sqrt(sum((g * g).sum() for g in G.values()))
    clip = min(1.0, t["clip"] / norm) if t.get("clip") else 1.0
    shape_now = schedule(t, number, BATCH["steps"])
    b1, b2 = o["betas"]
    W, S, on_sphere, momenta = dict(W), dict(S), {}, {}
    for name in G:
        g, (rate, decay) = clip * G[name], factors(d, name, G[name].shape)
        rate *= o["learning_rate"] * shape_now
        state = lambda s: f"optimizer.{s}.{name}"
        if o["kind"] != "adamw" and is_hidden(name):
            m = S[state("momentum")] = o["momentum"] * S.get(state("momentum"), 0) + g
            momenta[name] = o["momentum"] * m + g
            direction = orthogonal(momenta[name], o["ns_eps"])
            if o["kind"] == "muonh":
                on_sphere.setdefault(stack_of(d, name), []).append((name, direction, rate))
            else:
                W[name] = W[name] - o["weight_decay"] * decay * shape_now * W[name] - rate * direction
            continue
        m = S[state("exp_avg")] = b1 * S.get(state("exp_avg"), 0) + (1 - b1) * g
        v = S[state("exp_avg_sq")] = b2 * S.get(state("exp_avg_sq"), 0) + (1 - b2) * g * g
        direction = np.where(v.astype(np.float32) == 0, 0, m / (1 - b1 ** number) / (np.sqrt(v / (1 - b2 ** number)) + o["eps"]))
        if o["kind"] == "muonh" and name == "lm_head.weight":
            W[name] = to_sphere(W[name], direction, S[state("radius")], rate)
        else:
            W[name] = W[name] - rate * o["weight_decay"] * decay * W[name] - rate * direction
    for parts in on_sphere.values():
        names = [name for name, _, _ in parts]
        moved = to_sphere(np.stack([W[name] for name in names]), np.stack([direction for _, direction, _ in parts]), S[f"optimizer.radius.{names[0]}"], parts[0][2])
        W.update(zip(names, moved))
    return W, S, momenta, norm, o["learning_rate"] * shape_now


def away(matrix, weight, a, b):
    """How far apart two steps of a weight are, as 1 - their cosine, in the space of the matrix's singular vectors above a twentieth of the largest value: of the others Newton-Schulz in bf16
    makes what rounding leaves of them, and gradients of few tokens have few large ones. Of no gradient at all (an expert without tokens) the step can only be along the weight."""
    u, values, v = np.linalg.svd(matrix, full_matrices=False)
    if values[0] == 0:
        along = (a * weight).sum() / (weight * weight).sum() * weight
        return np.linalg.norm(a - along) / (1e-6 * np.linalg.norm(weight)) * 0.01
    u, v = u[:, values > 0.05 * values[0]], v[values > 0.05 * values[0]]
    a, b = u.T @ a @ v.T, u.T @ b @ v.T
    return 1 - (a * b).sum() / (np.linalg.norm(a) * np.linalg.norm(b))


def check(name):
    training = dict(CASES[name])
    d = {**MODEL, **training.pop("model", {}), "training": {"batch": BATCH, **training}}
    package, rng = Package(d), np.random.default_rng(5)
    path = lambda n: os.path.join(package.folder.name, n)
    initial = {k: (v + 0.05 * rng.standard_normal(v.shape)).astype(np.float32) for k, v in package.call("init", {"seed": (np.array([2]), "I64")}).items()}
    tokens = rng.integers(0, d["vocab_size"], (BATCH["steps"], BATCH["sequences"], BATCH["sequence_length"] + 1))
    save(path("data.safetensors"), {"tokens": (tokens, "I32")})
    save(path("initial.safetensors"), {k: (v, "F32") for k, v in initial.items()})
    os.mkdir(path("run"))
    device = [f"--device={DEVICE}"] if DEVICE else []
    subprocess.run(["mhc-run", "train", package.path, f"--data={path('data.safetensors')}", f"--initial={path('initial.safetensors')}", f"--save={path('run')}", "--save-every=1",
                    f"--metrics={path('metrics.jsonl')}", *device], check=True, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    metrics = [json.loads(line) for line in open(path("metrics.jsonl"))][1:]
    W, S = {k: v.astype(np.float64) for k, v in initial.items()}, {}
    sphere = [p for p in W if d["training"]["optimizer"]["kind"] == "muonh" and (is_hidden(p) or p == "lm_head.weight")]
    norms = lambda: {p: math.sqrt(sum((W[q] ** 2).sum() for q in sphere if stack_of(d, q) == stack_of(d, p))) for p in sphere}
    S = {f"optimizer.radius.{p}": size for p, size in norms().items()}
    biases = [p for p in W if p.endswith(BIAS)]
    adam = d["training"]["optimizer"]["kind"] == "adamw"
    for number in range(1, BATCH["steps"] + 1):
        # One step on from the state before: errors do not pile up.
        G, counts = {}, 0
        for part in tokens[number - 1].reshape(2, 2, -1):
            got = package.call("loss_and_gradients", {**{k: (v, "F32") for k, v in W.items()}, "tokens": (part, "I32")})
            G = {k: G.get(k, 0) + got["grad." + k].astype(np.float64) / 2 for k in W if k not in biases}
            counts = counts + got.get("expert_counts", 0)
        want, states, momenta, norm, rate = update(d, W, S, G, number)
        line = metrics[number - 1]
        for block, p in enumerate(biases):
            assert counts[block].tolist() == line["expert_counts"][block] and counts[block].sum() == 2 * BATCH["sequences"] * BATCH["sequence_length"], f"{name}: step {number}: {counts} for {line['expert_counts']}"
            want[p] = W[p] + d["router"]["expert_bias"]["rate"] * np.sign(counts[block].mean() - counts[block])
        assert abs(line["learning_rate"] / rate - 1) < 1e-6 and abs(line["gradient_norm"] / norm - 1) < 1e-4, f"{name}: step {number}: rate {line['learning_rate']} for {rate}, norm {line['gradient_norm']} for {norm}"
        saved = {k: v.astype(np.float64) for k, v in load(path(f"run/step-{number:08d}.safetensors")).items()}
        assert set(saved) == set(want) | set(states) | {"optimizer.step"}, f"{name}: {sorted(set(saved) ^ (set(want) | set(states)))[:5]}"
        for k, exact in {**want, **states}.items():
            error, size = np.linalg.norm(saved[k] - exact), np.linalg.norm(exact)
            muon = not adam and is_hidden(k)
            if muon and DEVICE and k in W:
                apart = away(momenta[k], W[k], saved[k] - W[k], exact - W[k])
                assert apart <= 0.01, f"{name}: step {number}: {k} goes another way: by {apart:.3g}"
                continue
            share = 0 if k in states else MUON if muon else ADAM
            # Gradients of the step and of the call are sums in another order.
            limit = (WEIGHT if k in want else 20 * STATE) * size + 10 * share * (np.linalg.norm(exact - W[k]) if k in want else 0) + 1e-9
            assert error <= limit, f"{name}: step {number}: {k} is off by {error:.3g} of {size:.3g}, limit {limit:.3g}"
        W, S = {k: saved[k] for k in W}, {k: saved[k] for k in states}
    for p, size in norms().items():
        assert abs(size / S[f"optimizer.radius.{p}"][0] - 1) < 1e-6, f"{name}: {p} has left its sphere"


if __name__ == "__main__":
    for case in sys.argv[1:] or CASES:
        check(case)
    print("passed")
