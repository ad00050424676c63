"""Loss and gradients of tiny language models against the fp64 reference; recomputation and threads change no bit.

usage: language_model.py recompute | residual | hc | attention | blocks | conventions | readouts
"""
import os
import sys

import numpy as np

from mhcref import Held, Package, loss

BASE = {"kind": "language_model", "dtype": "fp32", "vocab_size": 61, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 6,
        "intermediate_size": 40, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "max_position_embeddings": 32}
SMALL = {**BASE, "hidden_size": 16, "num_hidden_layers": 1, "head_dim": 4, "intermediate_size": 24, "vocab_size": 29}
# Limits: of the loss; of a gradient's norm and of the norm of all gradients together.
LOSS = {"fp32": 1e-5, "bf16": 1e-3}
GRADIENT = {"fp32": (1e-4, 2e-7), "bf16": (3e-2, 1e-3)}


def parameters(package, rng, dtype):
    """away from the initial values, where gradients of the residual mapping are zero"""
    out = {}
    for name, value in package.call("init", {"seed": (np.array([3]), "I64")}).items():
        moved = (value + 0.1 * rng.standard_normal(value.shape) * (1 if value.ndim == 2 else 2)).astype(np.float32)
        if dtype == "bf16":  # weights that are bf16 numbers
            moved = (moved.view(np.uint32) & 0xFFFF0000).view(np.float32)
        out[name] = moved.astype(np.float64)
    return out


def check(description, options=()):
    rng = np.random.default_rng(11)
    dtype, what = description["dtype"], f"{description['dtype']} {description['residual']} {' '.join(options)}"
    package = Package(description, *options)
    P = parameters(package, rng, dtype)
    tokens = rng.integers(0, description["vocab_size"], (2, 12))
    inputs = {**{k: (v, "F32") for k, v in P.items()}, "tokens": (tokens, "I32")}
    got = package.call("loss_and_gradients", inputs, threads=1)
    one = package.bytes
    package.call("loss_and_gradients", inputs, threads=2)
    assert one == package.bytes, f"{what}: 1 and 2 threads differ"
    assert set(got) == {"loss", "cross_entropy"} | {"grad." + name for name in P}, f"{what}: outputs {sorted(got)}"
    held = Held()
    want = loss(description, P, tokens, held)
    assert abs(got["loss"][0] - want) <= LOSS[dtype] * want, f"{what}: loss {got['loss'][0]}, expected {want}"
    everything = np.sqrt(sum(float((got["grad." + k].astype(np.float64) ** 2).sum()) for k in P))
    own, all_of = GRADIENT[dtype]
    for name, value in P.items():
        g = got["grad." + name].astype(np.float64)
        assert g.shape == value.shape and np.isfinite(g).all(), f"{what}: grad.{name}: {g.shape}, or not finite"
        for _ in range(2):
            direction, h = rng.standard_normal(value.shape), 1e-4
            at = lambda k: loss(description, {**P, name: value + k * h * direction}, tokens, held)
            slope = (8 * (at(1) - at(-1)) - (at(2) - at(-2))) / (12 * h)
            mine = float((g * direction).sum())
            # The error along a random direction has the standard deviation of the error's norm; 1e-10: the differences.
            limit = 3.5 * (own * np.linalg.norm(g) + all_of * everything) + 1e-10
            assert abs(mine - slope) <= limit, f"{what}: grad.{name}: {mine} for {slope}, limit {limit:.3g}"
    return one


def of_residual(base, **residual):
    return {**base, "residual": residual}


def attention():
    """latent attention (parts of heads of one size and of odd ones, with and without compressed queries) and the gate"""
    latent = {k: v for k, v in SMALL.items() if k not in ("head_dim", "num_key_value_heads")} | {"attention": "mla", "num_attention_heads": 3}
    check(of_residual({**latent, "kv_lora_rank": 8, "qk_nope_head_dim": 8, "qk_rope_head_dim": 8, "v_head_dim": 4}, topology="mhc", hc_mult=2))
    check(of_residual({**latent, "kv_lora_rank": 7, "qk_nope_head_dim": 5, "qk_rope_head_dim": 6, "v_head_dim": 3, "q_lora_rank": 9, "attention_gate": "headwise"}, topology="residual"))
    check(of_residual({**latent, "dtype": "bf16", "kv_lora_rank": 12, "qk_nope_head_dim": 12, "qk_rope_head_dim": 8, "v_head_dim": 8, "q_lora_rank": 10}, topology="residual"))
    check(of_residual({**SMALL, "attention_gate": "headwise", "qk_norm": True}, topology="hc", hc_mult=2), ("--recompute-block=1",))
    check(of_residual({**SMALL, "attention_gate": "headwise", "dtype": "bf16"}, topology="residual"))


def blocks():
    """the logits in blocks of rows: the same numbers, whole blocks or not, and where one holds all"""
    model = of_residual({**SMALL, "vocab_size": 300}, topology="hc", hc_mult=2)
    for rows in (8, 16, 24, 104):
        check(model, (f"--row-block={rows}", "--row-block-bytes=1200"))
    if "MHC_TEST_TARGET" not in os.environ:  # GPUs take multiples of 8
        check(model, ("--row-block=5", "--row-block-bytes=1200"))
    check({**model, "dtype": "bf16", "tie_word_embeddings": True}, ("--row-block=16", "--row-block-bytes=1200"))


def conventions():
    """what only a whole model has (expansion, parameters stored as [m, nC], layouts inside), over presets and manifolds"""
    check(of_residual(SMALL, topology="mhc", preset="transformer-engine", hc_mult=2, convention={"norm_weight": True, "f_bias": True}, branch_scale=0.5))
    check(of_residual(SMALL, topology="mhc", preset="liger", hc_mult=3, convention={"rms": {"form": "inverse_of_root_plus_eps", "eps": 0.01}, "mappings": {"pre": "static"}}))
    check(of_residual(SMALL, topology="mhc", hc_mult=3, manifold="permutation_hull", convention={"res_application": "HTX", "coefficient_dtype": "bf16", "phi_layout": "km"}))
    check(of_residual(SMALL, topology="mhc", hc_mult=2, manifold="orthogonal", convention={"pre_source": "delayed", "f_bias": True, "post_scale": 1.5}))
    check(of_residual(SMALL, topology="mhc", hc_mult=4, manifold={"kind": "sphere", "radius": 1.5}, convention={"layout": "TCn", "mappings": {"post": "fixed"}}))
    check(of_residual(SMALL, topology="mhc", hc_mult=2, manifold="simplex", convention={"pre_eps": 0.02, "phi_layout": "mk"}, branch_scale=0.7))
    check(of_residual(SMALL, topology="hc", hc_mult=2, convention={"norm_weight": True, "f_bias": True, "rms": {"form": "inverse_of_root_plus_eps", "eps": 0.01}}, branch_scale=0.25))
    check(of_residual({**SMALL, "dtype": "bf16"}, topology="mhc", hc_mult=2, convention={"f_bias": True, "norm_weight": True, "coefficient_dtype": "bf16"}))


def readouts():
    check(of_residual(SMALL, topology="mhc", hc_mult=3, preset="deepseek-v4"))
    check(of_residual(SMALL, topology="mhc", hc_mult=3, preset="deepseek-v4.1"))
    check(of_residual(SMALL, topology="mhc", hc_mult=2, readout="sum"))
    check(of_residual(SMALL, topology="mhc", hc_mult=2, readout="head", convention={"layout": "TCn", "pre_eps": 0.01, "rms": {"form": "inverse_of_root_plus_eps", "eps": 0.1}}))
    check(of_residual(SMALL, topology="mhc", hc_mult=2, readout="mean", preset="deepseek-v4.1"))
    check(of_residual(SMALL, topology="mhc", hc_mult=2, readout="head", convention={"pre_source": "delayed"}))
    check(of_residual(SMALL, topology="hc", hc_mult=3, readout="head"))
    check({**of_residual(SMALL, topology="residual", branch_scale=0.3), "tie_word_embeddings": True})


if __name__ == "__main__":
    mode = sys.argv[1] if len(sys.argv) > 1 else ""
    if mode == "recompute":
        results = {o: check(of_residual(BASE, topology="mhc", hc_mult=4), (f"--recompute-block={o}",)) for o in ("none", "1", "2", "3", "4")}
        assert len(set(results.values())) == 1, "recomputation changes bits"
    elif mode == "residual":
        check({**of_residual(BASE, topology="residual"), "qk_norm": True, "tie_word_embeddings": True})
    elif mode == "hc":
        check({**of_residual(BASE, topology="hc", hc_mult=3), "qk_norm": True})
    elif mode == "attention":
        attention()
    elif mode == "blocks":
        blocks()
    elif mode == "conventions":
        conventions()
    elif mode == "readouts":
        readouts()
    else:
        sys.exit("usage: language_model.py recompute | residual | hc | attention | blocks | conventions | readouts")
    print("passed")
