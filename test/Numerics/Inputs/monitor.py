"""Entry `monitor` against an fp64 run of the model, with the definitions of math.md 1.9 and 2.4 written out; what training says of weights and experts against its checkpoints, and by hand.

usage: monitor.py topologies | experts | training
"""
import json
import os
import subprocess
import sys
import tempfile

import numpy as np

from mhcref import DEVICE, Package, load, loss, save

B, S = 3, 7
BASE = {"kind": "language_model", "dtype": "fp32", "vocab_size": 37, "hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 6,
        "intermediate_size": 40, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "max_position_embeddings": 16}
EXPERTS = {"n_routed_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 12, "first_k_dense_replace": 1, "router": {"score": "softmax_after_topk"}}
# fp32 means of fp32 numbers, against exact ones; bf16 models round every activation, which the reference does not.
RELATIVE = {"fp32": 2e-5, "bf16": 4e-2}


def parameters(package, rng, dtype):
    out = {}
    for name, value in package.call("init", {"seed": (np.array([3]), "I64")}).items():
        moved = (value + 0.1 * rng.standard_normal(value.shape) * (1 if value.ndim == 2 else 2)).astype(np.float32)
        if dtype == "bf16":
            moved = (moved.view(np.uint32) & 0xFFFF0000).view(np.float32)
        out[name] = moved.astype(np.float64)
    return out


def log_sum_exp(z):
    top = z.max(-1, keepdims=True)
    return (top + np.log(np.exp(z - top).sum(-1, keepdims=True)))[..., 0]


def gains(H):
    """of matrices [T, out, in]: forward, backward, deviation from double stochasticity; each a mean over the tokens"""
    rows, columns = H.sum(2), H.sum(1)
    deviation = np.maximum(np.maximum(abs(rows - 1).max(1), abs(columns - 1).max(1)), np.maximum(-H.min((1, 2)), 0))
    return [abs(rows).max(1).mean(), abs(columns).max(1).mean(), deviation.mean()]


def outliers(x, deviations):
    return (abs(x - x.mean(1, keepdims=True)) > deviations * x.std(1, keepdims=True)).mean()


def seen(d, P, tokens):
    """what the reference came by, in order"""
    values = {}
    targets = np.concatenate([tokens, tokens[:, :1]], 1)  # the model's loss is of no interest here
    loss(d, P, targets, watch=lambda name, value: values.setdefault(name, []).append(value))
    return values


def compare(d, P, got, values, what, first=0):
    relative = RELATIVE[d["dtype"]]

    def near(name, want, absolute=1e-6):
        want = np.array(want)
        assert got[name].shape == want.shape, f"{what}: {name}: shape {got[name].shape}, expected {want.shape}"
        off = abs(got[name] - want) - (relative * abs(want) + absolute)
        assert (off <= 0).all(), f"{what}: {name}: {got[name].tolist()}, expected {want.tolist()}"
    expected = {"attention_z", "output_rms", "output_outliers", "stream_rms", "stream_outliers"}
    near("attention_z", [(log_sum_exp(s) ** 2).mean() for s in values["scores"]])
    for name in ("output", "stream"):
        near(name + "_rms", [np.sqrt((x ** 2).mean()) for x in values[name]])
        # An element at the very limit may fall on either side: between the shares beyond a little more and a little less.
        for share, x in zip(got[name + "_outliers"], values[name]):
            room = 1e-3 if d["dtype"] == "fp32" else 0.1
            assert outliers(x, 5 * (1 + room)) - 1e-7 <= share <= outliers(x, 5 * (1 - room)) + 1e-7, f"{what}: {name}_outliers: {share}, expected {outliers(x, 5)}"
    if "logits" in values:
        expected.add("router_z")
        near("router_z", [(log_sum_exp(z) ** 2).mean() for z in values["logits"]])
    if "mixing" in values:
        expected |= {"mixing_gains", "mixing_mean", "composite_gains", "composite_mean"}
        T, n = len(values["mixing"][0]), values["mixing"][0].shape[1]
        product, products = np.broadcast_to(np.eye(n), (T, n, n)), []
        for l, H in enumerate(values["mixing"]):
            product = H @ product if l >= first else product
            products.append(product)
        absolute = 1e-5 if d["dtype"] == "fp32" else 4e-2
        near("mixing_gains", [gains(H) for H in values["mixing"]], absolute)
        near("mixing_mean", [H.mean(0) for H in values["mixing"]], absolute)
        near("composite_gains", [gains(H) for H in products], absolute)
        near("composite_mean", [H.mean(0) for H in products], absolute)
    assert set(got) == expected, f"{what}: outputs {sorted(got)}, expected {sorted(expected)}"


def check(description, change=None, options=()):
    rng = np.random.default_rng(5)
    what = f"{description['dtype']} {description['residual']}"
    package = Package(description, *options)
    P = parameters(package, rng, description["dtype"])
    if change:
        change(P)
    tokens = rng.integers(0, description["vocab_size"], (B, S))
    inputs = {**{k: (v, "F32") for k, v in P.items()}, "tokens": (tokens, "I32")}
    got, values = package.call("monitor", inputs, threads=1), seen(description, P, tokens)
    one = package.bytes
    package.call("monitor", inputs, threads=3)
    assert one == package.bytes, f"{what}: 1 and 3 threads differ"
    compare(description, P, got, values, what)
    if "mixing" in values:  # products over other ranges
        for first in (1, len(values["mixing"]) - 1):
            compare(description, P, package.call("monitor", {**inputs, "first": (np.array([first]), "I32")}), values, f"{what}, from {first}", first)
    return got, values


def with_residual(base, **residual):
    return {**base, "residual": residual}


def topologies():
    def loud(P):  # one channel far above the others: outliers
        for name in P:
            if name.endswith("o_proj.weight"):
                P[name][7] *= 300

    def silent(P):  # branches without output, and tokens whose channels are all alike: nothing varies
        for name in P:
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                P[name][:] = 0
        P["model.embed_tokens.weight"][:] = P["model.embed_tokens.weight"][:, :1]
    got, _ = check(with_residual(BASE, topology="residual", branch_scale=0.5), loud)
    assert abs(got["output_outliers"][::2] - 1 / 48).max() < 1e-6, got["output_outliers"]
    got, _ = check(with_residual(BASE, topology="mhc", hc_mult=4), silent)
    for name in ("output_rms", "output_outliers", "stream_outliers"):
        assert not got[name].any(), f"{name}: {got[name]}"
    got, _ = check(with_residual(BASE, topology="mhc", hc_mult=4), loud)
    assert got["mixing_gains"][:, 2].max() < 1e-3, "birkhoff is doubly stochastic"
    got, _ = check(with_residual(BASE, topology="hc", hc_mult=3))
    assert got["composite_gains"][-1, 0] > 1.5, "unconstrained products grow"
    got, _ = check(with_residual(BASE, topology="mhc", hc_mult=2, manifold="identity"))
    assert np.array_equal(got["composite_mean"], [np.eye(2)] * 4) and np.array_equal(got["mixing_gains"], [[1, 1, 0]] * 4)
    check(with_residual(BASE, topology="mhc", hc_mult=3, manifold="orthogonal", convention={"res_application": "HTX"}))
    check(with_residual(BASE, topology="mhc", hc_mult=2, manifold="simplex", convention={"pre_source": "delayed", "layout": "TCn", "mappings": {"pre": "static"}}))
    check(with_residual(BASE, topology="mhc", hc_mult=2, preset="deepseek-v4.1"))
    check(with_residual(BASE, topology="mhc", hc_mult=1))
    check({**with_residual(BASE, topology="mhc", hc_mult=4), "dtype": "bf16"})


def experts():
    model = {**BASE, **EXPERTS, "num_hidden_layers": 3}
    check(with_residual(model, topology="residual"))
    check(with_residual(model, topology="mhc", hc_mult=2))
    everywhere = {k: v for k, v in model.items() if k != "intermediate_size"}
    check(with_residual({**everywhere, "first_k_dense_replace": 0}, topology="hc", hc_mult=2))
    latent = {k: v for k, v in BASE.items() if k not in ("head_dim", "num_key_value_heads")}
    check(with_residual({**latent, "attention": "mla", "attention_gate": "headwise", "kv_lora_rank": 8, "qk_nope_head_dim": 8, "qk_rope_head_dim": 8, "v_head_dim": 4}, topology="mhc", hc_mult=2))


def angle(before, after):
    before, after = before.astype(np.float64).ravel(), after.astype(np.float64).ravel()
    # twice the arcsine of half the distance of the unit vectors: exact for small angles
    return 2 * np.arcsin(np.linalg.norm(after / np.linalg.norm(after) - before / np.linalg.norm(before)) / 2)


def training():
    steps, micro = 4, 2
    model = {**with_residual({**BASE, **EXPERTS}, topology="mhc", hc_mult=2), "tie_word_embeddings": True,
             "training": {"optimizer": {"kind": "muonh", "learning_rate": 0.01}, "batch": {"sequences": 2 * micro, "sequence_length": S, "steps": steps, "micro_batch": micro}}}
    rng = np.random.default_rng(8)
    package = Package(model)
    with tempfile.TemporaryDirectory() as folder:
        at = lambda name: os.path.join(folder, name)
        tokens = rng.integers(0, model["vocab_size"], (steps, 2 * micro, S + 1))
        save(at("data.safetensors"), {"tokens": (tokens, "I32")})
        before = parameters(package, rng, "fp32")
        before["model.layers.1.mlp.gate.weight"][:] = 0  # no logit is above another: all tokens take experts 0 and 1
        save(at("start.safetensors"), {k: (v, "F32") for k, v in before.items()})

        def train(name, *options):
            device = [f"--device={DEVICE}"] if DEVICE else []
            os.mkdir(at(name))
            subprocess.run(["mhc-run", "train", package.path, f"--data={at('data.safetensors')}", f"--initial={at('start.safetensors')}", f"--metrics={at(name + '.jsonl')}", f"--save={at(name)}/",
                            "--save-every=1", *device, *options], check=True, capture_output=True)
            lines = [json.loads(line) for line in open(at(name + ".jsonl"))]
            return [line for line in lines if "loss" in line], [load(f"{at(name)}/step-{step:08d}.safetensors") for step in range(1, steps + 1)]
        lines, states = train("watched", "--monitor=1")
        plain, _ = train("plain")
        for a, b in zip(lines, plain):
            assert all(a[key] == b[key] for key in ("loss", "cross_entropy", "gradient_norm")), "watching changes the run"
        for step in range(1, steps + 1):
            name = f"step-{step:08d}.safetensors"
            assert open(f"{at('watched')}/{name}", "rb").read() == open(f"{at('plain')}/{name}", "rb").read(), "watching changes the run"
        assert not any("monitor" in line for line in plain)

        # Uneven experts, by hand: T choices for each of the first two of six.
        T = 2 * micro * S
        line = lines[0]
        assert line["expert_counts"] == [[T, T, 0, 0, 0, 0]], line["expert_counts"]
        for name, value in (("max_violation", 2), ("largest_deviation", 2), ("smallest_deviation", -1)):
            assert abs(line[name] - value) < 1e-12, f"{name}: {line[name]}"
        assert abs(line["monitor"]["router_z"][0] - np.log(6) ** 2) < 1e-5
        for line in lines:
            counts, mean = np.array(line["expert_counts"]), 2 * T / 6
            assert np.allclose(line["max_violations"], counts.max(1) / mean - 1) and np.allclose(line["smallest_deviations"], counts.min(1) / mean - 1)

        was = {k: v.astype(np.float32) for k, v in before.items()}
        for step, (line, now) in enumerate(zip(lines, states)):
            watched = line["monitor"]
            matrices = {k for k, v in was.items() if v.ndim == 2}
            stacks = {f"model.layers.1.mlp.experts.*.{which}_proj.weight" for which in ("gate", "up", "down")}
            assert set(watched["weights"]) == {k for k in matrices if ".experts." not in k} | stacks, sorted(watched["weights"])
            for name, said in watched["weights"].items():
                names = [name.replace("*", str(e)) for e in range(6)] if "*" in name else [name]
                for k, norm, turned in zip(names, np.atleast_1d(said["norm"]), np.atleast_1d(said["angle"])):
                    want = np.linalg.norm(now[k].astype(np.float64))
                    assert abs(norm - want) <= 2e-6 * want, f"step {step + 1}: norm of {k}: {norm}, expected {want}"
                    if not was[k].any() or not now[k].any():
                        continue  # nothing to turn
                    want = angle(was[k], now[k])
                    assert abs(turned - want) <= 2e-5 * want + 1e-7, f"step {step + 1}: angle of {k}: {turned}, expected {want}"
            # The last micro-batch, before the step.
            inputs = {**{k: (v, "F32") for k, v in was.items() if not k.startswith("optimizer.")}, "tokens": (tokens[step, -micro:, :-1], "I32")}
            called = package.call("monitor", inputs)
            for name in ("attention_z", "router_z", "output_rms", "stream_rms", "output_outliers", "stream_outliers"):
                assert np.array_equal(called[name], np.array(watched[name], np.float32)), name
            for kind in ("mixing", "composite"):
                assert np.array_equal(called[kind + "_mean"], np.array(watched[kind]["mean"], np.float32))
                for i, gain in enumerate(("forward_gain", "backward_gain", "deviation")):
                    assert np.array_equal(called[kind + "_gains"][:, i], np.array(watched[kind][gain], np.float32))
            was = {k: v for k, v in now.items() if not k.startswith("optimizer.")}
        assert lines[2]["monitor"]["weights"]["model.layers.0.self_attn.q_proj.weight"]["angle"] > 1e-3

        # Every three steps, and the first and the last.
        lines, _ = train("sometimes", "--monitor=3")
        assert [line["step"] for line in lines if "monitor" in line] == [1, 3, 4]

        # NaN is null, and the line stays JSON (routers refuse NaN: a model without experts).
        package = Package({**with_residual(BASE, topology="hc", hc_mult=2), "training": model["training"]})
        before = parameters(package, rng, "fp32")
        before["model.layers.0.self_attn.q_proj.weight"][0, 0] = np.nan
        save(at("start.safetensors"), {k: (v, "F32") for k, v in before.items()})
        subprocess.run(["mhc-run", "train", package.path, f"--data={at('data.safetensors')}", f"--initial={at('start.safetensors')}", f"--metrics={at('nan.jsonl')}", "--monitor=1", "--steps=1"],
                       check=True, capture_output=True)
        line = [json.loads(line, parse_constant=lambda text: sys.exit(f"{text} is no JSON")) for line in open(at("nan.jsonl"))][1]
        assert line["loss"] is None and line["skipped"] and line["monitor"]["attention_z"][0] is None
        assert line["monitor"]["weights"]["model.layers.0.self_attn.q_proj.weight"] == {"norm": None, "angle": None}
        assert line["monitor"]["weights"]["model.layers.0.self_attn.k_proj.weight"]["angle"] == 0


if __name__ == "__main__":
    modes = {"topologies": topologies, "experts": experts, "training": training}
    if len(sys.argv) != 2 or sys.argv[1] not in modes:
        sys.exit("usage: monitor.py topologies | experts | training")
    modes[sys.argv[1]]()
    print("passed")
