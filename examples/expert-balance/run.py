#!/usr/bin/env python3
"""How evenly tokens are spread over 96 experts, one a token: the usual balancing loss, Top-1 LBL, and progressive sparsification.

    run.py prepare FOLDER [--target=cpu|sm_90a]     run.py train FOLDER [--device=cpu|cuda] [--jobs=N]     run.py plot FOLDER
"""
import math
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "common"))
import chart
import experiment

OPTIONS = [
    ("experts", 96, "in each block, one a token"), ("blocks", 6, "all with experts"), ("width", 64, "hidden size; experts have half of it"), ("steps", 600, "of each run"), ("sequences", 64, "in a step"),
    ("length", 64, "of a sequence"), ("weight", 0.01, "of the balancing loss"), ("tau", 0.1, "temperature of Top-1 LBL"), ("rate", 0.003, "learning rate"),
    ("early", [8, 4, 2], "experts a token of the first blocks under progressive sparsification, until 90% of the training"), ("seeds", 2, "runs of each kind"), ("eval_batches", 16, "of held-out text")]
VARIANTS = {"switch": "LBL", "top1": "Top-1 LBL", "progressive": "LBL, progressive sparsification"}


def description(settings, variant):
    blocks, width, early = settings["blocks"], settings["width"], settings["early"]
    loss = {"kind": "top1", "weight": settings["weight"], "tau": settings["tau"]} if variant == "top1" else {"kind": "switch", "weight": settings["weight"], "scope": "global_batch"}
    return {
        "kind": "language_model", "dtype": "fp32", "vocab_size": 256, "hidden_size": width, "num_hidden_layers": blocks, "num_attention_heads": max(1, width // 16), "max_position_embeddings": settings["length"],
        "qk_norm": True, "n_routed_experts": settings["experts"], "moe_intermediate_size": width // 2,
        "num_experts_per_tok": {"phases": [{"until": 0.9, "k": (early + [1] * blocks)[:blocks]}, {"k": 1}]} if variant == "progressive" else 1,
        "router": {"losses": [loss]},
        "training": {
            "optimizer": {"kind": "adamw", "learning_rate": settings["rate"], "weight_decay": 0.1}, "schedule": {"kind": "cosine", "warmup_steps": 20, "final_fraction": 0.1}, "clip": 1.0,
            "batch": {"sequences": settings["sequences"], "sequence_length": settings["length"], "steps": settings["steps"]}}}


def prepare(settings):
    runs = [{"name": f"{variant}-{seed}", "package": variant, "variant": variant, "seed": seed, "options": [f"--seed={seed}", f"--eval-batches={settings['eval_batches']}"]}
            for seed in range(1, settings["seeds"] + 1) for variant in VARIANTS]
    return {variant: description(settings, variant) for variant in VARIANTS}, runs


def deviations(counts):
    """[most, least] of (tokens of an expert - what it would have if all had the same) / that, block by block"""
    return [[round(limit(block) * len(block) / sum(block) - 1, 4) for limit in (max, min)] for block in counts]


def measure(run, lines):
    steps = [line for line in lines if "expert_counts" in line]
    # The last tenth of the steps comes after the switch to one expert a token, where there is one.
    tenth = max(1, len(steps) // 10)
    sums = lambda some: [[sum(counts) for counts in zip(*blocks)] for blocks in zip(*(line["expert_counts"] for line in some))]
    total = sums(steps[-tenth:])
    return {"validation": lines[-1]["validation_loss"], "before": deviations(sums(steps[-2 * tenth:-tenth])), "late": deviations(total), "late_shares": [sorted((round(count / sum(block), 6) for count in block), reverse=True) for block in total],
            "steps": [{"step": line["step"], "loss": round(line["cross_entropy"], 5), "balancing": round(line["loss"] - line["cross_entropy"], 7), "deviations": deviations(line["expert_counts"])} for line in steps]}


def evaluate(settings, records):
    out = {}
    mean = lambda values: round(sum(values) / len(values), 4)
    for variant in VARIANTS:
        some = [record for record in records if record["variant"] == variant]
        out[variant] = {
            "validation": [record["validation"] for record in some],
            # By block, means over the seeds; of the last tenth of the steps, and of the tenth before it.
            **{name: [mean([record[when][block][which] for record in some]) for block in range(settings["blocks"])]
               for name, when, which in (("most", "late", 0), ("least", "late", 1), ("most_before", "before", 0), ("least_before", "before", 1))},
            "spread": mean([math.sqrt(sum((share * len(shares) - 1) ** 2 for share in shares) / len(shares)) for record in some for shares in record["late_shares"]]),
            "unused": mean([sum(share == 0 for share in shares) for record in some for shares in record["late_shares"]]),
            "balancing_loss": mean([record["steps"][-1]["balancing"] / settings["weight"] / settings["blocks"] for record in some])}
    return {"settings": settings, "variants": out}


def smooth(values, window):
    return [sum(values[max(0, i - window + 1):i + 1]) / (i - max(0, i - window + 1) + 1) for i in range(len(values))]


def draw(settings, results, records):
    seed = [record for record in records if record["seed"] == 1]
    blocks = [0, settings["blocks"] - 1] if settings["blocks"] > 1 else [0]
    percent = lambda values: [100 * value for value in values]
    panels = []
    for block in blocks:
        panel = chart.Panel(f"most and least loaded expert, block {block}", "step", "relative deviation, %", top=1000)
        for i, record in enumerate(seed):
            steps, window = record["steps"], max(1, len(record["steps"]) // 50)
            for which in (0, 1):
                panel.line([s["step"] for s in steps], percent(smooth([s["deviations"][block][which] for s in steps], window)), None if which else VARIANTS[record["variant"]], i, dashed=bool(which))
        panels.append(panel)
    panel = chart.Panel("last tenth of the steps, by block", "block", "relative deviation, %")
    for i, variant in enumerate(VARIANTS):
        for which in ("most", "least"):
            panel.line(range(settings["blocks"]), percent(results["variants"][variant][which]), VARIANTS[variant] if which == "most" else None, i, marks=True, dashed=which == "least")
    panels.append(panel)
    panel = chart.Panel("last tenth of the steps, block 0", "expert, in the order of its load", "share of the tokens, %")
    for i, record in enumerate(seed):
        panel.line(range(1, settings["experts"] + 1), percent(record["late_shares"][0]), VARIANTS[record["variant"]], i)
    panels.append(panel)
    text = ["| | validation loss | block 0: most, least | the tenth of the steps before | last block: most, least | standard deviation of the loads | experts without a token, of a block | loss over its weight, 1 where loads or probabilities are even |",
            "|---|---|---|---|---|---|---|---|"]
    for variant, title in VARIANTS.items():
        r = results["variants"][variant]
        text.append(f"| {title} | {', '.join(f'{v:.4f}' for v in r['validation'])} | {r['most'][0]:+.0%}, {r['least'][0]:+.0%} | {r['most_before'][0]:+.0%}, {r['least_before'][0]:+.0%} | "
                    f"{r['most'][-1]:+.0%}, {r['least'][-1]:+.0%} | {r['spread']:.0%} | {r['unused']:.1f} | {r['balancing_loss']:.3f} |")
    return {"expert-load.svg": chart.svg(panels)}, "\n".join(text)


if __name__ == "__main__":
    experiment.main(__doc__.split("\n")[0], OPTIONS, prepare, measure, evaluate, draw)
