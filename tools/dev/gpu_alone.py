"""Routers, layers of experts and optimizers alone on a GPU: `mhc-run bench` of each of their entries, at the sizes of mHC 3B and of Sigma-MoE-Tiny. A part of gpu_check.py, which has
what is right about them elsewhere (conventions, products, experts)."""
TOKENS = 16384


def models():
    """name: (description, its entries and their symbols)"""
    large = {"hidden_size": 1280, "num_experts": 64, "num_experts_per_tok": 6, "dtype": "bf16", "score": "sigmoid", "normalize": True, "expert_bias": {"rate": 1e-3},
             "losses": [{"kind": "switch", "weight": 1e-3}, {"kind": "z", "weight": 1e-4}]}
    sparse = {"hidden_size": 1536, "num_experts": 96, "num_experts_per_tok": 1, "dtype": "bf16", "score": "softmax_before_topk", "losses": [{"kind": "top1", "weight": 1e-3, "tau": 1.0}]}
    found = {}
    for name, router, width in (("mhc-3b", large, {"moe_intermediate_size": 896, "n_shared_experts": 2}), ("sigma", sparse, {"moe_intermediate_size": 768})):
        entries = {"forward": f"T={TOKENS}", "backward": f"T={TOKENS}"} | ({"update_bias": ""} if "expert_bias" in router else {})
        found[f"router-{name}"] = ({**router, "kind": "moe_router"}, entries)
        found[f"layer-{name}"] = ({**router, "kind": "moe_layer", **width}, entries)
    # One stack of experts' matrices.
    for optimizer in ("muonh", "muon", "adamh", "adamw"):
        betas, eps = ([0.95], 1e-7) if optimizer.startswith("muon") else ([0.9, 0.95], 1e-8)
        found[f"optimizer-{optimizer}"] = ({"kind": "optimizer", "optimizer": optimizer, "shape": [64, 1280, 896], "betas": betas, "eps": eps}, {"step": ""})
    return found


def run(checks):
    for name, (_, entries) in models().items():
        for entry, symbols in entries.items():
            options = [f"--shape={symbols}"] if symbols else []
            done = checks.run(["bench", checks.out / f"alone-{name}.mhcpkg", entry, "--device=cuda", "--repeat=7", *options])
            checks.say(done.returncode == 0, f"bench of {name} {entry}")
            print("\n".join("     " + line for line in done.stdout.splitlines()[2:]), flush=True)
