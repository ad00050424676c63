#!/usr/bin/env python3
"""Runs packages of language models with `mhc-run --device=cuda` where there is no GPU: fake_cuda.cpp stands in for the driver and cuBLASLt, and the
package's GPU kernels run on the CPU thread by thread. CPU and "GPU" must agree.

usage: simulate_model.py BUILD/bin [WORD]
"""
import json
import os
import subprocess
import sys
import tempfile
import zipfile

import numpy as np

import simulate

BASE = {"kind": "language_model", "dtype": "fp32", "vocab_size": 61, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 6, "intermediate_size": 40, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "max_position_embeddings": 80,
        "training": {"optimizer": {"kind": "adamw", "learning_rate": 3e-3, "betas": [0.9, 0.95], "eps": 1e-8, "weight_decay": 0.1},
                     "schedule": {"kind": "cosine", "warmup_steps": 2, "final_fraction": 0.1},
                     "batch": {"sequences": 4, "sequence_length": 12, "steps": 4, "micro_batch": 2}, "clip": 1.0}}
MODELS = {
    "residual-fp32": {**BASE, "residual": {"topology": "residual"}, "qk_norm": True, "tie_word_embeddings": True},
    "hc-fp32": {**BASE, "residual": {"topology": "hc", "hc_mult": 3}, "qk_norm": True},
    "mhc-fp32": {**BASE, "residual": {"topology": "mhc", "hc_mult": 4}},
    "mhc-bf16": {**BASE, "dtype": "bf16", "residual": {"topology": "mhc", "hc_mult": 4}},
    "residual-bf16": {**BASE, "dtype": "bf16", "residual": {"topology": "residual"}, "tie_word_embeddings": True},
    "muonh-fp32": {**BASE, "hidden_size": 32, "head_dim": 8, "num_hidden_layers": 1, "intermediate_size": 136, "residual": {"topology": "residual"},
                   "training": {**BASE["training"], "optimizer": {"kind": "muonh", "learning_rate": 3e-3}, "clip": 0.5}},
}
OPTIMIZERS = {f"step-{kind}": {"kind": "optimizer", "optimizer": kind, "shape": shape, "betas": [0.95] if kind.startswith("muon") else [0.9, 0.95], "eps": 1e-7}
              for kind, shape in (("muonh", [3, 72, 64]), ("muon", [40, 136]), ("adamh", [2, 64, 80]), ("adamw", [5000]))}


def read(path):
    with open(path, "rb") as file:
        data = file.read()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8:8 + size])
    kinds = {"F32": np.float32, "I32": np.int32, "I64": np.int64}
    return {name: np.frombuffer(data[8 + size + t["data_offsets"][0]:8 + size + t["data_offsets"][1]], kinds[t["dtype"]]).reshape(t["shape"])
            for name, t in header.items() if name != "__metadata__"}


def write(path, tensors):
    names = {np.dtype(np.float32): "F32", np.dtype(np.int32): "I32", np.dtype(np.int64): "I64"}
    header, data = {}, b""
    for name, x in tensors.items():
        header[name] = {"dtype": names[x.dtype], "shape": list(x.shape), "data_offsets": [len(data), len(data) + x.nbytes]}
        data += np.ascontiguousarray(x).tobytes()
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text + data)


class Model:
    def __init__(self, programs, driver, name, description):
        self.programs, self.driver, self.name = programs, driver, name
        self.folder = tempfile.mkdtemp()
        self.package = f"{self.folder}/model.mhcpkg"
        with open(f"{self.folder}/model.json", "w") as file:
            json.dump(description, file)
        compiler = [f"{programs}/mhc-compile", f"{self.folder}/model.json"]
        subprocess.run([*compiler, "--target=cpu,sm_90a", "-o", self.package], check=True)
        # Where CPU and GPU have programs of their own the kernels are those of the latter.
        optimizer = description.get("optimizer", description.get("training", {}).get("optimizer", {}).get("kind", ""))
        own = ["--target=sm_90a"] if optimizer.startswith("muon") else []
        subprocess.run([*compiler, "--compile-to=plan", *own, "-o", f"{self.folder}/plan.mlir"], check=True)
        with zipfile.ZipFile(self.package) as file:
            library = [k["symbol"] for k in json.loads(file.read("plan.json"))["targets"]["sm_90a"].get("library", [])]
        optimizer = f"{programs}/mhc-opt"
        scheduled = simulate.run([optimizer, "--mhc-schedule-kernels=family=simple", f"{self.folder}/plan.mlir"], "")
        simulate.build_gpu(optimizer, scheduled, self.folder, library)

    def run(self, device, arguments, fails=False, **environment):
        environment = {**os.environ, "MHC_POISON": "1", **environment}
        if device == "cuda":
            environment.update(LD_LIBRARY_PATH=self.driver, FAKE_CUDA_KERNELS=f"{self.folder}/gpu.so")
        result = subprocess.run([f"{self.programs}/mhc-run", arguments[0], self.package, *arguments[1:], f"--device={device}"], env=environment,
                                capture_output=True, text=True)
        if (result.returncode != 0) != fails:
            sys.exit(f"{self.name} {device} {' '.join(arguments)}: {result.stderr[-2000:]}")
        return result.stderr

    def call(self, device, entry, inputs, **environment):
        write(f"{self.folder}/in.safetensors", inputs)
        self.run(device, ["call", entry, f"--inputs={self.folder}/in.safetensors", f"--outputs={self.folder}/out.safetensors"], **environment)
        return read(f"{self.folder}/out.safetensors")

    def train(self, device, *options, **environment):
        path = f"{self.folder}/train"
        for end in (".jsonl", ".safetensors"):
            if os.path.exists(path + end) and not options[-1:] == ("keep",):
                os.remove(path + end)
        log = self.run(device, ["train", f"--data={self.folder}/data", f"--metrics={path}.jsonl", f"--save={path}.safetensors", "--seed=5", *options], **environment)
        with open(path + ".jsonl") as file:
            losses = [json.loads(line)["loss"] for line in file if '"loss"' in line]
        with open(path + ".safetensors", "rb") as file:
            return losses, file.read(), log


def check_step(model, description):
    rng, shape = np.random.default_rng(4), description["shape"]
    draw = lambda scale=1: (scale * rng.standard_normal(shape)).astype(np.float32)
    muon, inputs = description["optimizer"].startswith("muon"), {"w": draw(0.02), "g": draw(), "lr": np.array([0.02], np.float32), "step": np.array([5])}
    inputs.update({"momentum": draw(0.3)} if muon else {"exp_avg": draw(0.3), "exp_avg_sq": draw() ** 2})
    if description["optimizer"].endswith("h"):
        inputs["radius"] = np.sqrt((inputs["w"].astype(np.float64) ** 2).sum((-2, -1))).astype(np.float32).reshape(-1)
    want, got = (model.call(d, "step", inputs) for d in ("cpu", "cuda"))
    for name, x in want.items():
        error, size = np.linalg.norm(got[name].astype(np.float64) - x), np.linalg.norm(x)
        limit = 1e-6 * size + ((0.1 if muon else 1e-5) * np.linalg.norm(x - inputs["w"]) if name == "w" else 0)
        assert error <= limit, f"{model.name} {name}: {error:.2e}, at most {limit:.2e}"
    print(f"ok  {model.name}", flush=True)


def check(model, description):
    rng = np.random.default_rng(2)
    low = description["dtype"] == "bf16"
    rough = low or description["training"]["optimizer"]["kind"] != "adamw" # Newton-Schulz is in bf16
    weights = {n: (x + 0.1 * rng.standard_normal(x.shape)).astype(np.float32) for n, x in model.call("cpu", "init", {"seed": np.array([3])}).items()}
    # More tokens than a tile of attention has, and a length that fills none.
    tokens = rng.integers(0, description["vocab_size"], (2, 71)).astype(np.int32)
    inputs = {**weights, "tokens": tokens}
    want, got = (model.call(d, "loss_and_gradients", inputs) for d in ("cpu", "cuda"))
    assert set(want) == set(got)
    everything = np.sqrt(sum(float((x.astype(np.float64) ** 2).sum()) for n, x in want.items() if n.startswith("grad.")))
    worst = 0
    for name, x in want.items():
        error = np.linalg.norm(got[name].astype(np.float64) - x)
        if name.startswith("grad."):
            limit = (3e-2 if low else 1e-4) * np.linalg.norm(x) + (1e-3 if low else 1e-6) * everything
        else:
            limit = (1e-3 if low else 1e-5) * np.linalg.norm(x)
        worst = max(worst, error / limit)
        assert error <= limit, f"{model.name} {name}: {error:.2e}, at most {limit:.2e}"
    print(f"ok  {model.name} loss_and_gradients: {worst:.2f} of what is allowed", flush=True)

    inputs["tokens"] = tokens[:, :-1]
    want, got = (model.call(d, "monitor", inputs) for d in ("cpu", "cuda"))
    for name, x in want.items():
        assert np.allclose(got[name], x, rtol=3e-2 if low else 2e-5, atol=3e-2 if low else 1e-5), f"{model.name} monitor {name}: {got[name]}, expected {x}"
    print(f"ok  {model.name} monitor: {len(want)} outputs", flush=True)

    wrong = tokens.copy()
    wrong[1, 7] = description["vocab_size"]
    write(f"{model.folder}/in.safetensors", {**weights, "tokens": wrong})
    errors = [model.run(d, ["call", "loss_and_gradients", f"--inputs={model.folder}/in.safetensors", f"--outputs={model.folder}/x.safetensors"], fails=True)
              for d in ("cpu", "cuda")]
    assert errors[0] == errors[1] and "row 1, column 7" in errors[0], errors
    print(f"ok  {model.name} a token outside the vocabulary", flush=True)

    with open(f"{model.folder}/data", "wb") as file:
        file.write(rng.integers(0, description["vocab_size"], 4000).astype(np.uint8).tobytes())
    (a, _, _), (b, first, log) = model.train("cpu"), model.train("cuda")
    assert "a graph of" in log, log
    error = max(abs(x - y) / y for x, y in zip(a, b))
    assert len(a) == len(b) == 4 and error < (2e-3 if rough else 1e-4), (a, b)
    _, eager, log = model.train("cuda", MHC_CUDA_GRAPH="0")
    assert eager == first and "a graph of" not in log
    _, eager, _ = model.train("cuda", FAKE_CUDA_NO_GRAPHS="1")
    assert eager == first
    _, watched, _ = model.train("cuda", "--monitor=2")
    assert watched == first, "watching changes the run"
    with open(f"{model.folder}/train.jsonl") as file:
        seen = [json.loads(line)["monitor"]["weights"] for line in file if '"monitor"' in line]
    assert len(seen) == 3 and all(0 <= weight["angle"] < 1 and weight["norm"] > 0 for weights in seen for weight in weights.values()), seen
    model.train("cuda")
    os.rename(f"{model.folder}/train.safetensors", f"{model.folder}/whole.safetensors")
    model.train("cuda", "--save-every=2", f"--save={model.folder}/parts/") if False else None
    print(f"ok  {model.name} training: losses within {error:.1e}, recorded or not", flush=True)


def main():
    programs, word = os.path.abspath(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else ""
    driver = simulate.build_driver()
    for name, description in MODELS.items():
        if word in name:
            check(Model(programs, driver, name, description), description)
    for name, description in OPTIMIZERS.items():
        if word in name:
            check_step(Model(programs, driver, name, description), description)
    print("all agree")


if __name__ == "__main__":
    main()
