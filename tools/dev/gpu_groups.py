"""Language models whose boundaries run in groups of blocks forward and backward (schedule family group), beside the same models without groups (--exchange=none): loss and gradients against
the CPU's, the same bits twice, and a step's time. A part of gpu_check.py: `prepare` where the compiler is, `run` where the GPU is."""
import json
import subprocess

import numpy as np

FORMS = {"groups": (), "simple": ("--exchange=none",)}
RECOMPUTED = {"kept": ("--recompute-block=none",), "recomputed": ()}
MHC = {"topology": "mhc", "hc_mult": 4}
EXPERTS = {"n_routed_experts": 8, "num_experts_per_tok": 2, "n_shared_experts": 1, "first_k_dense_replace": 1, "router": {"score": "sigmoid", "gate": "sqrt"}}


def right():
    """name: (description, [B, S] of the calls); experts: short rows, of which prepare finds some whose choices are firm"""
    base = {"kind": "language_model", "dtype": "bf16", "vocab_size": 300, "hidden_size": 256, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 64,
            "intermediate_size": 96, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "max_position_embeddings": 512, "residual": MHC}
    return {"groups-256": ({**base, "residual": {**MHC, "branch_scale": 0.5}}, [(1, 1), (2, 71), (4, 500)]),
            "groups-1280": ({**base, "hidden_size": 1280, "num_hidden_layers": 2, "residual": {**MHC, "convention": {"norm_weight": True}}}, [(2, 200)]),
            "groups-interleaved-phi": ({**base, "residual": {**MHC, "branch_scale": 0.5, "preset": "transformer-engine"}}, [(2, 71)]),
            "groups-hc": ({**base, "residual": {"topology": "hc", "hc_mult": 4}}, [(2, 71)]),
            "groups-experts": ({**base, **EXPERTS, "moe_intermediate_size": 96}, [(24, 6)])}


def fast():
    """name: description; T = 8192"""
    base = {"kind": "language_model", "dtype": "bf16", "vocab_size": 32000, "num_hidden_layers": 6, "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "tie_word_embeddings": False,
            "max_position_embeddings": 2048, "head_dim": 128, "residual": MHC}
    of = lambda C: {"hidden_size": C, "num_attention_heads": C // 128, "num_key_value_heads": C // 256, "intermediate_size": 14 * C // 5}
    experts = {**EXPERTS, "n_routed_experts": 16, "num_experts_per_tok": 4, "moe_intermediate_size": 896}
    return {"groups-speed-1280": {**base, **of(1280)}, "groups-speed-2560": {**base, **of(2560)}, "groups-speed-experts": {**base, **of(1280), **experts}}


def prepare(out, programs, prepare_gradients):
    rng = np.random.default_rng(7)

    def compile_package(name, description, *options, targets="sm_90a"):
        (out / f"{name}.json").write_text(json.dumps(description, indent=1))
        subprocess.run([programs / "mhc-compile", out / f"{name}.json", f"--target={targets}", *options, "-o", out / f"{name}.mhcpkg"], check=True)

    for name, (description, shapes) in right().items():
        compile_package(name, description, targets="cpu,sm_90a")
        prepare_gradients(out, programs, name, description, shapes, rng)
        compile_package(f"{name}-kept", description, *RECOMPUTED["kept"])
        compile_package(f"{name}-simple", description, *FORMS["simple"])
    for name, description in fast().items():
        for form, options in FORMS.items():
            for blocks, more in RECOMPUTED.items():
                compile_package(f"{name}-{form}-{blocks}", description, *options, *more)
    print(f"compiled {3 * len(right())} language models with and without groups, {4 * len(fast())} to be timed", flush=True)


def run(checks):
    for name, (description, shapes) in right().items():
        for package in (name, f"{name}-kept", f"{name}-simple"):
            checks.compare_gradients(package, name, description, shapes)
        b, s = shapes[-1]
        results = []
        for i in range(2):
            path = checks.work / f"{name}.{i}"
            if not checks.run(["call", checks.out / f"{name}.mhcpkg", "loss_and_gradients", "--device=cuda", f"--inputs={checks.out}/{name}-{b}x{s}.in", f"--outputs={path}"]).returncode:
                results.append(path.read_bytes())
        checks.say(len(results) == 2 and results[0] == results[1], f"{name} {b} x {s}: the same bits twice")
    for name in fast():
        for blocks in RECOMPUTED:
            for form in FORMS:
                result = checks.run(["bench", checks.out / f"{name}-{form}-{blocks}.mhcpkg", "loss_and_gradients", "--device=cuda", "--shape=B=4,S=2048", "--repeat=7", "--warmup=2"])
                print(f"     {name}, streams {blocks}, {form}:", flush=True)
                print("\n".join("       " + line for line in result.stdout.splitlines()[:28]), flush=True)
