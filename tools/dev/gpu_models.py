"""The models of gpu_check.py, by name."""
import json

STEPS = 10


def training(sequences, length, micro_batch, steps=STEPS, rate=3e-3):
    return {"optimizer": {"kind": "adamw", "learning_rate": rate, "betas": [0.9, 0.95], "eps": 1e-8, "weight_decay": 0.1},
            "schedule": {"kind": "cosine", "warmup_steps": 3, "final_fraction": 0.1},
            "batch": {"sequences": sequences, "sequence_length": length, "steps": steps, "micro_batch": micro_batch}, "clip": 1.0}


SMALL = {"kind": "language_model", "vocab_size": 61, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
         "head_dim": 6, "intermediate_size": 40, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "max_position_embeddings": 256}
RESIDUALS = {"residual": {"topology": "residual"}, "hc": {"topology": "hc", "hc_mult": 3}, "mhc": {"topology": "mhc", "hc_mult": 4}}


def gradient_models():
    """name: (description, [B, S] of the calls)"""
    models = {}
    for residual, connection in RESIDUALS.items():
        for dtype in ("fp32", "bf16"):
            models[f"{residual}-{dtype}"] = ({**SMALL, "dtype": dtype, "residual": connection, "qk_norm": residual != "mhc", "tie_word_embeddings": residual == "residual"},
                                             [(1, 1), (2, 71), (3, 129)])
    wide = {**SMALL, "hidden_size": 64, "num_attention_heads": 4, "intermediate_size": 96, "vocab_size": 300}
    for head_dim, kv in ((64, 2), (128, 4), (192, 1)):
        for dtype in ("fp32", "bf16"):
            models[f"heads{head_dim}-{dtype}"] = ({**wide, "dtype": dtype, "head_dim": head_dim, "num_key_value_heads": kv, "residual": RESIDUALS["mhc"]}, [(2, 200)])
    latent = {k: v for k, v in wide.items() if k not in ("num_key_value_heads", "head_dim")} | {"attention": "mla", "num_attention_heads": 2, "kv_lora_rank": 64}
    for dtype in ("fp32", "bf16"):
        models[f"mla192-{dtype}"] = ({**latent, "dtype": dtype, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128, "residual": RESIDUALS["mhc"]}, [(2, 200)])
    models["mla-odd-fp32"] = ({**latent, "dtype": "fp32", "kv_lora_rank": 21, "qk_nope_head_dim": 5, "qk_rope_head_dim": 6, "v_head_dim": 7, "q_lora_rank": 9, "attention_gate": "headwise",
                               "residual": RESIDUALS["residual"]}, [(3, 65)])
    # Experts: all losses, a bias, groups, a shared expert; one expert of many.
    experts = {"n_routed_experts": 12, "num_experts_per_tok": 4, "n_shared_experts": 1, "moe_intermediate_size": 40, "first_k_dense_replace": 1, "num_hidden_layers": 3}
    losses = [{"kind": "switch", "weight": 0.05, "scope": "global_batch"}, {"kind": "top1", "weight": 0.02, "tau": 0.7}, {"kind": "z", "weight": 1e-2}]
    router = {"score": "sigmoid", "groups": {"count": 4, "chosen": 2}, "normalize": True, "scale": 2.5, "expert_bias": {"rate": 1e-3}, "losses": losses}
    sparse = {**experts, "n_routed_experts": 96, "num_experts_per_tok": 1, "n_shared_experts": 0,
              "router": {"score": "softmax_before_topk", "gate": "sqrt", "losses": [{"kind": "switch", "weight": 0.05, "scope": "sequence"}]}}
    # bf16: short rows, of which prepare finds some whose choices are firm.
    for name, more, shapes in (("experts", {**experts, "router": router, "residual": RESIDUALS["mhc"]}, [(2, 71), (3, 129)]),
                               ("experts-hc", {**experts, "router": router, "residual": RESIDUALS["hc"]}, [(2, 71), (3, 129)]), ("sparse", {**sparse, "residual": RESIDUALS["residual"]}, [(2, 71)])):
        for dtype in ("fp32", "bf16"):
            models[f"{name}-{dtype}"] = ({**wide, "head_dim": 16, **more, "dtype": dtype}, shapes if dtype == "fp32" else [(24, 6)])
    models["gate-bf16"] = ({**wide, "dtype": "bf16", "head_dim": 128, "num_key_value_heads": 2, "attention_gate": "headwise", "qk_norm": True, "residual": RESIDUALS["hc"]}, [(2, 200)])
    return models


def speed_models():
    """Sizes that a GPU has something to do with."""
    base = {"kind": "language_model", "dtype": "bf16", "vocab_size": 32000, "hidden_size": 1024, "num_hidden_layers": 8, "num_attention_heads": 16,
            "num_key_value_heads": 4, "head_dim": 64, "intermediate_size": 2816, "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "tie_word_embeddings": False,
            "max_position_embeddings": 1024, "qk_norm": True, "training": training(8, 1024, 8, steps=20, rate=3e-4)}
    experts = {"n_routed_experts": 64, "num_experts_per_tok": 6, "n_shared_experts": 2, "moe_intermediate_size": 352, "first_k_dense_replace": 1,
               "router": {"score": "sigmoid", "normalize": True, "expert_bias": {"rate": 1e-3}, "losses": [{"kind": "switch", "weight": 1e-3}]}}
    return {"speed-residual": {**base, "residual": RESIDUALS["residual"]}, "speed-mhc": {**base, "residual": RESIDUALS["mhc"]},
            "speed-experts": {**base, **experts, "residual": RESIDUALS["residual"]}}


# So large that the runtime multiplies bf16 and fp32 in parts, by tensor cores.
LARGE_ROUTER = {"kind": "moe_router", "hidden_size": 2048, "num_experts": 256, "num_experts_per_tok": 8, "dtype": "bf16", "score": "sigmoid"}
LARGE_TOKENS = 8192


def example_models(root):
    models = {}
    for name in RESIDUALS:
        description = json.loads((root / f"examples/tiny-language-model/{name}.json").read_text())
        for dtype in ("fp32", "bf16"):
            # Micro-batches, so that gradients are summed over several.
            models[f"tiny-{name}-{dtype}"] = {**description, "dtype": dtype, "training": training(8, 128, 4)}
    # Experts: counts of the step, the bias that follows them, another number of choices from a step on.
    experts = {"n_routed_experts": 16, "num_experts_per_tok": {"phases": [{"until": 0.5, "k": 3}, {"k": 2}]}, "moe_intermediate_size": 64, "n_shared_experts": 1, "first_k_dense_replace": 1,
               "router": {"score": "sigmoid", "normalize": True, "expert_bias": {"rate": 1e-3}, "losses": [{"kind": "switch", "weight": 1e-3, "scope": "global_batch"}, {"kind": "z", "weight": 1e-4}]}}
    for dtype in ("fp32", "bf16"):
        models[f"tiny-experts-{dtype}"] = {**models[f"tiny-mhc-{dtype}"], **experts}
        models[f"tiny-experts-hc-{dtype}"] = {**models[f"tiny-hc-{dtype}"], **experts}
    return models
