"""Optimizer steps against an fp64 reference written from the formulas; norms over 10,000 steps; what weight decay does on a sphere.

usage: optimizer.py steps | spheres | decay | drift
"""
import os
import subprocess
import sys

import numpy as np

from mhcref import DEVICE, Package, load, save

COEFFICIENTS = ((4.0848, -6.8946, 2.9270), (3.9505, -6.3029, 2.6377), (3.7418, -5.5913, 2.3037), (2.8769, -3.1427, 1.2046), (2.8366, -3.0525, 1.2012))
# Limits: of a state's norm; of w's norm, plus a share of the step's: Newton-Schulz in fp32, in bf16, Adam.
STATE, WEIGHT, MUON, MUON_BF16, ADAM = 1e-6, 1e-6, 2e-4, 0.1, 1e-5


def orthogonal(u, eps):
    """each matrix of the last two dimensions"""
    x = u / (np.sqrt((u * u).sum((-2, -1), keepdims=True)) + eps)
    for a, b, c in COEFFICIENTS:
        gram = x @ np.swapaxes(x, -1, -2)
        x = a * x + b * (gram @ x) + c * (gram @ (gram @ x))
    return x


def norms(v, scope):
    axes = (-2, -1) if v.ndim == 3 and scope != "stack" else tuple(range(v.ndim))
    return np.sqrt((v * v).sum(axes, keepdims=True))


def on_sphere(w, direction, radius, rate, scope):
    length = norms(direction, scope)
    radius = radius.reshape(length.shape)
    y = w - rate * np.divide(radius, length, out=np.zeros_like(length), where=length > 0) * direction
    length = norms(y, scope)
    return y * np.divide(radius, length, out=np.zeros_like(length), where=length > 0)


def step(d, x):
    """the formulas of one step; x: inputs in fp64"""
    rate, g, w, scope = float(x["lr"][0]), x["g"], x["w"], d.get("norm_scope", "expert")
    if d["optimizer"] in ("muon", "muonh"):
        mu = d["betas"][0]
        m = mu * x["momentum"] + g
        o = orthogonal(mu * m + g if d.get("nesterov", True) else m, d["eps"])
        w = on_sphere(w, o, x["radius"], rate, scope) if d["optimizer"] == "muonh" else w - rate * d.get("weight_decay", 0) * w - rate * o
        return {"w": w, "momentum": m}
    (b1, b2), s = d["betas"], int(x["step"][0])
    m, v = b1 * x["exp_avg"] + (1 - b1) * g, b2 * x["exp_avg_sq"] + (1 - b2) * g * g
    direction = np.where(v.astype(np.float32) == 0, 0, m / (1 - b1 ** s) / (np.sqrt(v / (1 - b2 ** s)) + d["eps"]))
    w = on_sphere(w, direction, x["radius"], rate, scope) if d["optimizer"] == "adamh" else w - rate * d.get("weight_decay", 0) * w - rate * direction
    return {"w": w, "exp_avg": m, "exp_avg_sq": v}


def example(d, rng, number=1):
    shape = d["shape"]
    gradient = lambda: rng.standard_normal(shape) * (10.0 ** rng.uniform(-2, 2, (shape[0], 1, 1)) if len(shape) == 3 else 1)
    w = rng.standard_normal(shape) * 0.03
    x = {"w": 1.02 * w, "g": gradient(), "lr": np.array([0.02]), "step": np.array([number])}
    if d["optimizer"].endswith("h"):
        x["radius"] = norms(w, d.get("norm_scope", "expert")).reshape(-1)
    if d["optimizer"].startswith("muon"):
        x["momentum"] = 0.3 * gradient() * (number > 1)
    else:
        x["exp_avg"], x["exp_avg_sq"] = 0.3 * gradient() * (number > 1), gradient() ** 2 * (number > 1)
    return {k: v if k == "step" else v.astype(np.float32).astype(np.float64) for k, v in x.items()}


def call(package, x, threads=2):
    return {k: v.astype(np.float64) for k, v in package.call("step", {k: (v, "I64" if k == "step" else "F32") for k, v in x.items()}, threads=threads).items()}


def check(d, x, what=""):
    package = Package(d)
    got, want = call(package, x, 1), step(d, x)
    one = package.bytes
    call(package, x, 2)
    assert one == package.bytes, f"{d}: 1 and 2 threads differ"
    assert set(got) == set(want), f"{d}: outputs {sorted(got)}"
    for name, exact in want.items():
        error, size = np.linalg.norm(got[name] - exact), np.linalg.norm(exact)
        share = 0 if name != "w" else ADAM if d["optimizer"].startswith("adam") else MUON_BF16 if DEVICE else MUON
        limit = (WEIGHT if name == "w" else STATE) * size + share * np.linalg.norm(exact - x["w"]) + 1e-37
        assert error <= limit, f"{d} {what}: {name} is off by {error:.3g}, limit {limit:.3g}"
    return got


def description(optimizer, shape, **more):
    muon = optimizer.startswith("muon")
    return {"kind": "optimizer", "optimizer": optimizer, "shape": shape, "betas": [0.95] if muon else [0.9, 0.95], "eps": 1e-7 if muon else 1e-8, **more}


def steps():
    """every optimizer on small and split rows, wide and tall matrices, stacks; rows that nothing divides"""
    rng = np.random.default_rng(1)
    for optimizer in ("muonh", "muon", "adamh", "adamw"):
        for shape in ([48, 80], [80, 48], [1, 24], [24, 1], [3, 20, 36], [96, 100], [2, 128, 48], [67, 71], [4099, 1] if optimizer.startswith("adam") else [1, 4099]):
            check(description(optimizer, shape), example(description(optimizer, shape), rng, 7))
    check(description("adamw", [5003], weight_decay=0.1), example(description("adamw", [5003]), rng, 3))
    check(description("muon", [40, 24], weight_decay=0.1), example(description("muon", [40, 24]), rng, 3))
    check(description("muonh", [40, 24], nesterov=False), example(description("muonh", [40, 24]), rng, 3))
    for shape in ([64, 64], [3, 72, 96]): # small gradients and an eps that counts
        d = description("muonh", shape, eps=1e-2)
        x = example(d, rng)
        check(d, {**x, "g": 1e-4 * x["g"]})


def spheres():
    """scopes, directions and weights of zeros: no step, no division"""
    rng = np.random.default_rng(2)
    for optimizer in ("muonh", "adamh"):
        for scope in ("matrix", "expert", "stack"):
            for shape in ([4, 24, 40], [3, 96, 64]):
                d = description(optimizer, shape, norm_scope=scope)
                got = check(d, example(d, rng, 5))
                assert norms(got["w"], scope).size == (1 if scope == "stack" else shape[0])
        d = description(optimizer, [4, 24, 40])
        x = example(d, rng)
        x["g"][1] = x["g"][2] = 0  # no direction: back to the radius; a matrix of zeros stays one
        x["w"][2] = x["w"][3] = 0
        x["radius"][2] = x["radius"][3] = 0
        got = check(d, x, "zeros")
        assert not got["w"][2].any() and not got["w"][3].any()
        assert abs(np.linalg.norm(got["w"][1]) / x["radius"][1] - 1) < 1e-6
        state = "momentum" if optimizer == "muonh" else "exp_avg"
        assert got[state][3].any(), "the momentum moves on"
    for optimizer in ("muonh", "muon", "adamh", "adamw"):  # what is no number stays none: it must not look like a step of 0, or like weights of 0
        d = description(optimizer, [2, 24, 40])
        for value, of in ((np.nan, "g"), (np.inf, "g"), (1e30, "w")):
            if value != 1e30 or optimizer in ("muonh", "adamh"):  # whose squares are more than fp32 holds
                x = example(d, rng)
                x[of][:] = value
                got = call(Package(d), x)
                assert not np.isfinite(got["w"]).any(), f"{optimizer}: {of} of {value} makes weights of {got['w'].ravel()[:3]}"


def refusals():
    """numbers that no update can take"""
    rng = np.random.default_rng(4)
    d = description("muonh", [3, 24, 40])
    x, package = example(d, rng), Package(d)
    path = os.path.join(package.folder.name, "in.safetensors")
    radius = x["radius"].copy()
    radius[1] = -1
    for change, message in (({"step": np.array([0])}, "step: expected a number of at least 1, but got 0"), ({"lr": np.array([np.nan])}, "lr: expected a finite number, but got nan"),
                            ({"radius": radius}, "radius: expected finite numbers of at least 0, but element 1 is -1")):
        save(path, {k: (v, "I64" if k == "step" else "F32") for k, v in {**x, **change}.items()})
        refused = subprocess.run(["mhc-run", "call", package.path, "step", f"--inputs={path}", f"--outputs={path}.out"], capture_output=True, text=True)
        assert refused.returncode == 1 and message in refused.stderr and not os.path.exists(path + ".out"), refused


def decay():
    """Corollary 1.1: weight decay before the projection changes the result in second order of the rate only; of CPUs: a direction in bf16 differs by more than what is asked for"""
    rng = np.random.default_rng(3)
    d = description("muonh", [48, 64])
    x = example(d, rng)
    x["w"] = (x["w"] * (x["radius"] / np.linalg.norm(x["w"]))).astype(np.float32).astype(np.float64)
    package, apart, moved = Package(d), [], []
    for rate in (0.08, 0.04, 0.02):
        x["lr"] = np.array([rate], np.float32).astype(np.float64)
        got = call(package, x)["w"]
        o = orthogonal(d["betas"][0] * (d["betas"][0] * x["momentum"] + x["g"]) + x["g"], d["eps"])
        y = (1 - float(x["lr"][0]) * 0.5) * x["w"] - float(x["lr"][0]) * x["radius"] / np.linalg.norm(o) * o
        decayed = y * x["radius"] / np.linalg.norm(y)
        apart.append(np.linalg.norm(got - decayed))
        moved.append(np.linalg.norm(got - x["w"]))
    print("weight decay 0.5 moves the result by", [f"{a / m:.4f}" for a, m in zip(apart, moved)], "of the step")
    for a, b in zip(apart, apart[1:]):
        assert 3 < a / b < 5, f"halving the rate divides the difference by {a / b:.2f}, not by 4"


MODEL = {"kind": "language_model", "dtype": "fp32", "vocab_size": 16, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24, "max_position_embeddings": 8,
         "training": {"optimizer": {"kind": "muonh", "learning_rate": 0.02}, "parametrization": "hyperp", "batch": {"sequences": 1, "sequence_length": 8, "steps": 10000}}}


def drift():
    """norms after 10,000 steps, as they are and rounded to bf16"""
    package = Package(MODEL)
    folder = package.folder.name
    data, saved = os.path.join(folder, "data.txt"), os.path.join(folder, "saved.safetensors")
    with open(data, "wb") as f:
        f.write(bytes(np.random.default_rng(4).integers(0, 16, 4000, np.uint8)))
    device = [f"--device={DEVICE}"] if DEVICE else []
    subprocess.run(["mhc-run", "train", package.path, f"--data={data}", f"--save={saved}", "--seed=1", *device], check=True, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    state = load(saved)
    radii = {name[len("optimizer.radius."):]: float(value[0]) for name, value in state.items() if name.startswith("optimizer.radius.")}
    assert len(radii) == 8, sorted(radii)
    # They are those of the initial values, the weights have moved far from these, and no step was left out.
    assert int(state["optimizer.step"][0]) == 10000
    initial = package.call("init", {"seed": (np.array([1]), "I64")})
    for name, radius in radii.items():
        first, last = initial[name].astype(np.float64), state[name].astype(np.float64)
        assert abs(np.linalg.norm(first) / radius - 1) < 1e-6, f"{name}: the radius is not the initial norm"
        assert (first * last).sum() < 0.9 * radius ** 2, f"{name} has hardly moved"
    exact = [abs(np.linalg.norm(state[name].astype(np.float64)) / radius - 1) for name, radius in radii.items()]
    rounded = []
    for name, radius in radii.items():
        bits = state[name].astype(np.float32).view(np.uint32).astype(np.uint64)
        bits = (bits + 0x7fff + ((bits >> 16) & 1)) & 0xffff0000
        rounded.append(abs(np.linalg.norm(bits.astype(np.uint32).view(np.float32).astype(np.float64)) / radius - 1))
    print(f"after {int(state['optimizer.step'][0])} steps norms are off by {max(exact):.1e}, rounded to bf16 by {max(rounded):.1e}")
    assert max(exact) < 1e-6 and max(rounded) < 1e-3


if __name__ == "__main__":
    modes = {"steps": steps, "spheres": spheres, "decay": decay, "drift": drift, "refusals": refusals}
    if len(sys.argv) != 2 or sys.argv[1] not in modes:
        sys.exit("usage: optimizer.py " + " | ".join(modes))
    modes[sys.argv[1]]()
    print("passed")
