"""Proposition 6 of HyperP: with gate `sqrt` the RMS of what the experts give together is that of one of them, whatever k and the gates are; with a plain gate it shrinks to sqrt(sum g^2).

It holds for experts whose outputs are of one RMS and uncorrelated. Experts of independent random weights are; experts that are all the same are not, and there it is the plain gate that keeps the RMS.
All of it is measured on outputs of compiled layers.
"""
import numpy as np

from mhcref import Package

C, E, I, T = 96, 32, 64, 384
# Sampling: pairs of 384 tokens' outputs in 96 dimensions, correlated by about 1 / sqrt(96) each, and experts of slightly unequal RMS.
LIMIT = 0.01
WIDTHS = {"fp32": 1e-5, "bf16": 2e-2}


def rms(y):
    return np.sqrt(np.mean(np.asarray(y, np.float64) ** 2))


def layer(k, gate, dtype, inputs, shared=0):
    d = {"kind": "moe_layer", "hidden_size": C, "num_experts": E, "num_experts_per_tok": k, "dtype": dtype, "score": "softmax_after_topk", "gate": gate, "moe_intermediate_size": I, "n_shared_experts": shared,
         "allow_constant_gate": k == 1}
    kind = "BF16" if dtype == "bf16" else "F32"
    return Package(d).call("forward", {name: (value, "F32" if name == "router" else kind) for name, value in inputs.items() if shared or not name.startswith("shared")})


def draw(rng, dtype, same):
    bf16 = lambda a: (a.astype(np.float32).view(np.uint32) & 0xffff0000).view(np.float32).astype(np.float64)
    number = lambda *shape: (bf16 if dtype == "bf16" else lambda a: a)(rng.normal(size=shape) / np.sqrt(shape[-2]))
    stack = lambda *shape: np.repeat(number(1, *shape), E, 0) if same else number(E, *shape)
    x = (bf16 if dtype == "bf16" else lambda a: a)(rng.normal(size=(T, C)))
    return {"x": x, "router": 1.5 * rng.normal(size=(C, E)) / np.sqrt(C), "w_gate": stack(C, I), "w_up": stack(C, I), "w_down": stack(I, C),
            "shared_gate": number(C, I), "shared_up": number(C, I), "shared_down": number(I, C)}


def independent(dtype):
    inputs = draw(np.random.default_rng(1), dtype, same=False)
    one = rms(layer(1, "plain", dtype, inputs)["y"])
    plain_of = {}
    for k in (1, 2, 3, 4, 6, 8):
        sqrt, plain = layer(k, "sqrt", dtype, inputs), layer(k, "plain", dtype, inputs)
        g = plain["weight"].astype(np.float64)
        assert np.abs(g.sum(1) - 1).max() < 1e-5 and np.abs((sqrt["weight"].astype(np.float64) ** 2).sum(1) - 1).max() < 1e-5, "gates do not add up to 1"
        kept, shrunk, expected = rms(sqrt["y"]) / one, rms(plain["y"]) / one, np.sqrt((g * g).sum(1).mean())
        print(f"{dtype}, k = {k}: RMS over that of one expert: sqrt {kept:.4f}, plain {shrunk:.4f}, sqrt(sum g^2) = {expected:.4f}")
        assert abs(kept - 1) < LIMIT, f"k = {k}: gate sqrt gives {kept:.4f} times the RMS of an expert"
        assert abs(shrunk / expected - 1) < LIMIT, f"k = {k}: a plain gate gives {shrunk:.4f} times the RMS of an expert, not {expected:.4f}"
        plain_of[k] = shrunk
    assert all(a > b + 0.02 for a, b in zip(list(plain_of.values()), list(plain_of.values())[1:])) and plain_of[8] < 0.65, "the gates are too uneven for the two to differ"
    # The shared expert has the RMS of the others: (y + shared) / sqrt(2) keeps it.
    with_shared = rms(layer(4, "sqrt", dtype, inputs, shared=1)["y"]) / one
    print(f"{dtype}, k = 4 and a shared expert: {with_shared:.4f}")
    assert abs(with_shared - 1) < 2 * LIMIT  # one shared expert's RMS differs from the mean of the others' more than their mean from itself


def same(dtype):
    """all outputs of a token are one vector: a plain gate gives exactly it, gate sqrt sum sqrt(g) of it"""
    inputs = draw(np.random.default_rng(2), dtype, same=True)
    one = layer(1, "plain", dtype, inputs)["y"].astype(np.float64)
    sqrt, plain = layer(4, "sqrt", dtype, inputs), layer(4, "plain", dtype, inputs)
    near = lambda a, b: np.abs(a - b).max() <= WIDTHS[dtype] * np.abs(b).max()
    assert near(plain["y"], one), "a plain gate over equal experts"
    grown = sqrt["weight"].astype(np.float64).sum(1, keepdims=True)
    assert near(sqrt["y"], grown * one), "gate sqrt over equal experts"
    print(f"{dtype}, equal experts, k = 4: plain {rms(plain['y']) / rms(one):.4f}, sqrt {rms(sqrt['y']) / rms(one):.4f}")
    assert rms(sqrt["y"]) / rms(one) > 1.5


for dtype in WIDTHS:
    independent(dtype)
    same(dtype)
print("passed")
