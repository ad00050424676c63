"""Models with experts in training: what metrics, checkpoints and the selection bias say of each other, on text that the script makes.

usage: moe_training.py
"""
import copy
import json
import os
import shutil
import subprocess
import tempfile

import numpy as np

from mhcref import DEVICE, Package, load, save

EXPERTS, SEQUENCES, LENGTH, MICRO, STEPS, RATE = 6, 8, 16, 4, 12, 1e-3
MODEL = {
    "kind": "language_model", "dtype": "fp32", "vocab_size": 256, "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32, "max_position_embeddings": LENGTH,
    "n_routed_experts": EXPERTS, "moe_intermediate_size": 12, "first_k_dense_replace": 1, "n_shared_experts": 1, "num_experts_per_tok": 2,
    "router": {"score": "sigmoid", "normalize": True, "expert_bias": {"rate": RATE}, "losses": [{"kind": "switch", "weight": 0.1, "scope": "global_batch"}, {"kind": "z", "weight": 1e-3}]},
    "residual": {"topology": "mhc", "hc_mult": 2},
    "training": {"optimizer": {"kind": "adamw", "learning_rate": 3e-3}, "batch": {"sequences": SEQUENCES, "sequence_length": LENGTH, "steps": STEPS, "micro_batch": MICRO}}}
CHOICES = SEQUENCES * LENGTH
ON = [f"--device={DEVICE}"] if DEVICE else []


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True)


def train(folder, name, model, *options):
    path = lambda ending: os.path.join(folder, name + ending)
    package = Package(model)
    shutil.copyfile(package.path, path(".mhcpkg"))
    run("mhc-run", "train", path(".mhcpkg"), f"--data={folder}/text", f"--metrics={path('.jsonl')}", f"--save={path('.safetensors')}", *ON, *options)
    with open(path(".jsonl")) as f:
        lines = [json.loads(line) for line in f]
    return [line for line in lines if "loss" in line], path(".safetensors")


def biases(weights):
    return [weights[f"model.layers.{block}.mlp.gate.e_score_correction_bias"] for block in (1, 2)]


def phases_with_groups():
    """What a phase computes is what a model with its number of choices does: groups, whose scores depend on the number, and a capacity."""
    model = lambda k: {**MODEL, "n_routed_experts": 12, "num_experts_per_tok": k, "router": {**MODEL["router"], "groups": {"count": 4, "chosen": 2}, "capacity_factor": 1.25}}
    rng = np.random.default_rng(9)
    phased, tokens = Package(model({"phases": [{"until": 0.5, "k": 4}, {"k": 2}]})), (rng.integers(0, MODEL["vocab_size"], (3, LENGTH + 1)), "I32")
    weights = {name: ((w + 0.1 * rng.standard_normal(w.shape)).astype(np.float32), "F32") for name, w in phased.call("init", {"seed": (np.array([4]), "I64")}).items()}
    for phase, k in enumerate((4, 2)):
        got = phased.call("loss_and_gradients", {**weights, "tokens": tokens, "phase": (np.array([phase]), "I32")})
        want = Package(model(k)).call("loss_and_gradients", {**weights, "tokens": tokens})
        assert np.array_equal(got["expert_counts"], want["expert_counts"]) and got["expert_counts"].sum() == 2 * 3 * LENGTH * k
        for name in want:
            assert np.abs(got[name] - want[name]).max() <= 1e-5 * np.abs(want[name]).max() + 1e-7, f"phase {phase}: {name} differs"
    print("phases: with groups and a capacity as models of 4 and of 2 choices")


def main():
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, "text"), "w") as f:
            f.write("".join(f"{i} sheep and {i * i} goats; " for i in range(3000)))
        lines, checkpoint = train(folder, "plain", MODEL)
        weights = load(checkpoint)
        # Loss-free balancing, step by step, from the counts that the metrics carry.
        expected = np.zeros((2, EXPERTS), np.float32)
        for line in lines:
            counts = np.array(line["expert_counts"])
            assert counts.shape == (2, EXPERTS) and (counts.sum(1) == 2 * CHOICES).all() and line["dropped"] == 0
            expected += np.float32(RATE) * np.sign(counts.sum(1, keepdims=True) - EXPERTS * counts).astype(np.float32)
            mean = counts.mean(1)
            assert np.allclose(line["max_violations"], (counts.max(1) - mean) / mean)
        assert np.array_equal(biases(weights), expected), f"{biases(weights)} instead of {expected}"
        assert lines[-1]["loss"] < lines[0]["loss"] - 0.5, "it does not learn"
        assert not any("e_score" in name for name in weights if name.startswith("optimizer.")), "the optimizer has states of a bias"
        print("bias: follows the counts of", len(lines), "steps")

        # The same bits with one thread, and from a checkpoint half-way.
        again, other = train(folder, "again", MODEL, "--threads=1")
        assert open(checkpoint, "rb").read() == open(other, "rb").read()
        os.mkdir(os.path.join(folder, "steps"))
        run("mhc-run", "train", *ON, f"{folder}/plain.mhcpkg", f"--data={folder}/text", f"--save={folder}/steps/", "--save-every=5")
        run("mhc-run", "train", *ON, f"{folder}/plain.mhcpkg", f"--data={folder}/text", f"--resume={folder}/steps/step-00000005.safetensors", f"--save={folder}/resumed.safetensors")
        resumed = load(f"{folder}/resumed.safetensors")
        assert all(np.array_equal(weights[name], resumed[name]) for name in weights)
        print("bits: the same with one thread and resumed")

        # Numbers that no training writes.
        for name, value, what in (("exp_avg.model.norm.weight", np.nan, "finite numbers, but element 1 is nan"), ("exp_avg_sq.model.norm.weight", -1, "finite numbers of at least 0, but element 1 is -1")):
            broken = {n: (np.array(array), "I64" if n == "optimizer.step" else "F32") for n, array in weights.items()}
            broken["optimizer." + name][0][1] = value
            save(f"{folder}/broken.safetensors", broken)
            refused = subprocess.run(["mhc-run", "train", *ON, f"{folder}/plain.mhcpkg", f"--data={folder}/text", f"--resume={folder}/broken.safetensors"], capture_output=True, text=True)
            assert refused.returncode == 1 and f"optimizer.{name}: expected {what}" in refused.stderr, refused.stderr
        print("checkpoints: broken numbers are refused")

        # A checkpoint without the bias starts from zeros.
        bare = {name: (array, "F32") for name, array in weights.items() if not name.startswith("optimizer.") and "e_score" not in name}
        save(f"{folder}/bare.safetensors", bare)
        run("mhc-run", "train", *ON, f"{folder}/plain.mhcpkg", f"--data={folder}/text", f"--initial={folder}/bare.safetensors", "--steps=1", f"--save={folder}/one.safetensors")
        assert np.abs(biases(load(f"{folder}/one.safetensors"))).max() <= np.float32(RATE)

        # Another k in each phase, of a block and over time.
        model = copy.deepcopy(MODEL)
        model["num_experts_per_tok"] = {"phases": [{"until": 0.5, "k": [1, 4, 2]}, {"k": 2}]}
        lines, _ = train(folder, "phases", model)
        assert [line["phase"] for line in lines] == [0] * 6 + [1] * 6
        for line in lines:
            assert [sum(counts) for counts in line["expert_counts"]] == ([4 * CHOICES, 2 * CHOICES] if line["phase"] == 0 else [2 * CHOICES] * 2)
        print("phases: k 4, 2 and then 2, 2")

        # Capacity: what is beyond it is dropped, of each micro-batch, and counted before.
        model = copy.deepcopy(MODEL)
        model["router"]["capacity_factor"] = 1.0
        model["router"].pop("expert_bias")
        lines, _ = train(folder, "capacity", model)
        for line in lines:
            counts = np.array(line["expert_counts"])
            each = -(-2 * MICRO * LENGTH // EXPERTS) * (SEQUENCES // MICRO)  # ceil(T k / E) of a micro-batch
            assert (counts.sum(1) == 2 * CHOICES).all() and line["dropped"] >= np.maximum(counts - each, 0).sum()
        assert lines[0]["dropped"] > 0 and np.isfinite(lines[-1]["loss"])
        print("capacity: dropped", lines[0]["dropped"], "of", 4 * CHOICES)


main()
phases_with_groups()
print("passed")
