"""The literature's models, small, on every residual topology: they learn real text, count their experts and follow their schedules; any number of threads gives the same bits.

usage: literature.py

Descriptions are those of examples/models with other sizes; the text is the examples' (Debian package bible-kjv) or else the documentation.
"""
import concurrent.futures
import copy
import json
import os
import pathlib
import shutil
import subprocess

import numpy as np

from mhcref import DEVICE, Package

ROOT = pathlib.Path(__file__).resolve().parents[3]
LENGTH, MICRO, SEQUENCES, STEPS = 32, 4, 8, 20
SMALL = {"dtype": "fp32", "vocab_size": 256, "hidden_size": 32, "num_attention_heads": 4, "moe_intermediate_size": 16, "max_position_embeddings": LENGTH}
GROUPED = {"num_key_value_heads": 2, "head_dim": 8}
ADAMW = {"kind": "adamw", "betas": [0.9, 0.95], "weight_decay": 0.1}
RESIDUALS = {"residual": {"topology": "residual"}, "hc": {"topology": "hc", "hc_mult": 3}, "mhc": {"topology": "mhc", "hc_mult": 4}}


def models():
    """name: (description without a topology, k of the MoE blocks by phase, learning rates as shares of the base rate by step, by how much the cross-entropy falls at least)"""
    shape = lambda name: json.loads((ROOT / f"examples/models/{name}.json").read_text())
    batch = {"sequences": SEQUENCES, "sequence_length": LENGTH, "steps": STEPS, "micro_batch": MICRO}

    mhc = {**shape("mhc-3b"), **SMALL, "num_hidden_layers": 2, "intermediate_size": 64, "kv_lora_rank": 16, "qk_nope_head_dim": 8, "qk_rope_head_dim": 4, "v_head_dim": 8, "n_routed_experts": 8,
           "num_experts_per_tok": 3}
    schedule = {**mhc["training"]["schedule"], "warmup_steps": 2}
    mhc["training"] = {**mhc["training"], "optimizer": {**mhc["training"]["optimizer"], "learning_rate": 1e-2}, "schedule": schedule, "batch": batch}
    yield "mhc", mhc, [[3]], {1: 0.5, 2: 1, 16: 1, 17: 0.316, 18: 0.316, 19: 0.1, 20: 0.1}, FALLS["mhc"]

    moe = {**shape("transformer-next-moe-d8"), **SMALL, **GROUPED, "num_hidden_layers": 2, "n_routed_experts": 7, "num_experts_per_tok": 3}
    bases = {"base_depth": 2, "base_width": 32, "base_tokens": STEPS * SEQUENCES * LENGTH}
    moe["training"] = {"optimizer": {"kind": "muonh", "learning_rate": 0.15, "betas": [0.9, 0.95], "eps": 1e-8}, "parametrization": {"kind": "hyperp", **bases},
                       "schedule": {"kind": "linear", "final_fraction": 0.1}, "batch": batch, "clip": 1.0}
    yield "transformer-next", moe, [[3, 3]], {1: 1, 11: 0.55, 20: 0.145}, FALLS["transformer-next"]

    sigma = {**shape("sigma-moe-tiny"), **SMALL, **GROUPED, "num_hidden_layers": 3, "n_routed_experts": 12, "num_experts_per_tok": {"phases": [{"until": 0.7, "k": [4, 4, 2]}, {"k": 1}]}}
    phases = [{"until": 0.6, "shape": "constant"}, {"until": 0.9, "shape": "cosine", "to": 0.615}, {"until": 1.0, "shape": "linear", "to": 0.1}]
    sigma["training"] = {"optimizer": {**ADAMW, "learning_rate": 1e-2, "eps": 1e-9}, "schedule": {"kind": "phases", "warmup_steps": 2, "phases": phases},
                         "batch": {**batch, "ramp": {"from": MICRO, "until": 0.4}}, "clip": 1.0}
    yield "sigma", sigma, [[4, 4, 2], [1, 1, 1]], {1: 0.5, 2: 1}, FALLS["sigma"]


FALLS = {"mhc": 2.0, "transformer-next": 1.2, "sigma": 1.5}


def write_text(path):
    if shutil.which("bible") or os.path.exists("/usr/games/bible"):
        text = subprocess.run([shutil.which("bible") or "/usr/games/bible", "gen1:1-gen20:1"], check=True, capture_output=True).stdout
    else:
        text = b"".join(file.read_bytes() for file in sorted((ROOT / "docs").glob("*.md")))
    assert len(text) > STEPS * SEQUENCES * (LENGTH + 1), "too little text"
    pathlib.Path(path).write_bytes(text)


def train(package, *options):
    at = lambda name: os.path.join(package.folder.name, name)
    write_text(at("text"))
    ended = subprocess.run(["mhc-run", "train", package.path, f"--data={at('text')}", f"--metrics={at('metrics')}", f"--save={at('saved')}", "--seed=1",
                            *([f"--device={DEVICE}"] if DEVICE else []), *options], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    with open(at("metrics")) as metrics, open(at("saved"), "rb") as saved:
        return [line for line in map(json.loads, metrics) if "loss" in line], saved.read()


def check(name, model, ks, rates, fall, topology):
    residual = copy.deepcopy(RESIDUALS[topology])
    if topology != "residual" and "convention" in model.get("residual", {}):
        residual["convention"] = model["residual"]["convention"]
    package = Package({**model, "residual": residual})
    ramp, all_tokens = "ramp" in model["training"]["batch"], STEPS * SEQUENCES * LENGTH
    lines, saved = train(package, "--threads=2")
    what = f"{name} on {topology}"
    if topology == "mhc" and ramp:
        assert train(package, "--threads=1")[1] == saved, f"{what}: 1 and 2 threads differ"
    assert [line["step"] for line in lines] == list(range(1, len(lines) + 1)) and (len(lines) > STEPS if ramp else len(lines) == STEPS), f"{what}: {len(lines)} steps"
    curve = [line["cross_entropy"] for line in lines]
    assert abs(curve[0] - np.log(256)) < 0.2, f"{what}: starts at {curve[0]}"
    last = np.mean(curve[-3:])
    assert np.isfinite(curve).all() and last < curve[0] - fall, f"{what}: the cross-entropy falls from {curve[0]:.3f} to {last:.3f}, less than by {fall}"
    base = model["training"]["optimizer"]["learning_rate"]
    for step, share in rates.items():
        got = lines[step - 1]["learning_rate"] / base
        assert abs(got - share) < 1e-5, f"{what}: step {step} has a rate of {got} of the base rate, not {share}"
    # Assignments: tokens of the step times k of block and phase; the sequences of a ramp grow to the whole batch.
    sizes = [np.array(line["expert_counts"]).sum(1) / ks[line.get("phase", 0)] / LENGTH for line in lines]
    assert all((size == size[0]).all() and size[0] % MICRO == 0 for size in sizes), f"{what}: counts of {sizes} sequences"
    sizes = [int(size[0]) for size in sizes]
    assert sizes[0] == (MICRO if ramp else SEQUENCES) and sizes[-1] == SEQUENCES, f"{what}: {sizes} sequences a step"
    assert sizes == sorted(sizes) and np.array_equal(np.cumsum(sizes) * LENGTH, [line["tokens"] for line in lines]), f"{what}: {sizes} sequences a step"
    assert all_tokens <= lines[-1]["tokens"] < all_tokens + SEQUENCES * LENGTH, f"{what}: {lines[-1]['tokens']} tokens"
    seen = [line.get("phase", 0) for line in lines]
    assert seen == sorted(seen) and set(seen) == set(range(len(ks))), f"{what}: phases {seen}"
    return f"{what}: cross-entropy {curve[0]:.3f} .. {last:.3f}"


if __name__ == "__main__":
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for said in pool.map(lambda case: check(*case), [(*model, topology) for model in models() for topology in RESIDUALS]):
            print(said, flush=True)
    print("passed")
