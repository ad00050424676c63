"""loss and gradients of tiny language models against the fp64 reference; recomputation and threads change no bit"""
import sys

import numpy as np

from mhcref import Package, loss

BASE = {"kind": "language_model", "dtype": "fp32", "vocab_size": 61, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 6,
        "intermediate_size": 40, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "max_position_embeddings": 32}


def parameters(package, rng):
    """away from the initial values, where gradients of the residual mapping are zero"""
    out = {}
    for name, value in package.call("init", {"seed": (np.array([3]), "I64")}).items():
        out[name] = (value + 0.1 * rng.standard_normal(value.shape) * (1 if value.ndim == 2 else 2)).astype(np.float32).astype(np.float64)
    return out


def check(description, options=()):
    rng = np.random.default_rng(11)
    package = Package(description, *options)
    P = parameters(package, rng)
    tokens = rng.integers(0, description["vocab_size"], (2, 12))
    inputs = {**{k: (v, "F32") for k, v in P.items()}, "tokens": (tokens, "I32")}
    got = package.call("loss_and_gradients", inputs, threads=1)
    one = package.bytes
    package.call("loss_and_gradients", inputs, threads=2)
    assert one == package.bytes, "1 and 2 threads differ"
    want = loss(description, P, tokens)
    assert abs(got["loss"][0] - want) <= 1e-5 * want, f"loss {got['loss'][0]}, expected {want}"
    everything = np.sqrt(sum(float((got["grad." + k].astype(np.float64) ** 2).sum()) for k in P))
    for name, value in P.items():
        direction, h = rng.standard_normal(value.shape), 1e-5
        slope = (loss(description, {**P, name: value + h * direction}, tokens) - loss(description, {**P, name: value - h * direction}, tokens)) / (2 * h)
        g = got["grad." + name].astype(np.float64)
        mine = float((g * direction).sum())
        assert abs(mine - slope) <= 3e-4 * np.linalg.norm(g) + 1e-6 * everything, f"grad.{name}: {mine} for {slope}"
    return one


if sys.argv[1] == "recompute":
    d = {**BASE, "residual": {"topology": "mhc", "hc_mult": 4}}
    results = {o: check(d, (f"--recompute-block={o}",)) for o in ("none", "1", "2", "3", "4")}
    assert len(set(results.values())) == 1, "recomputation changes bits"
elif sys.argv[1] == "residual":
    check({**BASE, "residual": {"topology": "residual"}, "qk_norm": True, "tie_word_embeddings": True})
elif sys.argv[1] == "hc":
    check({**BASE, "residual": {"topology": "hc", "hc_mult": 3}, "qk_norm": True})
else:
    sys.exit("language_model.py: recompute | residual | hc")
print("passed")
