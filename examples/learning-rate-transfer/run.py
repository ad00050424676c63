#!/usr/bin/env python3
"""The best learning rate at depths 2, 4 and 8, with the depth rules of HyperP and without them.

    run.py prepare FOLDER [--target=cpu|sm_90a]     run.py train FOLDER [--device=cpu|cuda] [--jobs=N]     run.py plot FOLDER
"""
import math
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "common"))
import chart
import experiment

OPTIONS = [
    ("depths", [2, 4, 8], "blocks"), ("widths", [16, 32, 64], "hidden size at each of the depths"), ("steps", 300, "of each run"), ("sequences", 16, "in a step"), ("length", 64, "of a sequence"), ("warmup", 10, "steps"),
    ("seeds", 2, "runs of each point"), ("lowest", 0.0005, "learning rate"), ("points", 7, "learning rates"), ("factor", 2.0, "from one learning rate to the next"), ("eval_batches", 32, "of held-out text")]
VARIANTS = {"with": "with 1/sqrt(2d) and sqrt(8/d)", "without": "without"}


def description(settings, variant, depth):
    width = settings["widths"][settings["depths"].index(depth)]
    model = {
        "kind": "language_model", "dtype": "fp32", "vocab_size": 256, "hidden_size": width, "num_hidden_layers": depth, "num_attention_heads": max(1, width // 16), "intermediate_size": 3 * width,
        "max_position_embeddings": settings["length"], "qk_norm": True, "tie_word_embeddings": True,
        "training": {
            "optimizer": {"kind": "muonh", "learning_rate": settings["lowest"]}, "parametrization": {"kind": "hyperp"},
            "schedule": {"kind": "linear", "warmup_steps": settings["warmup"], "final_fraction": 0.1},
            "batch": {"sequences": settings["sequences"], "sequence_length": settings["length"], "steps": settings["steps"]}}}
    if variant == "without":  # branches as they are, and a factor sqrt(d/d)
        model["residual"] = {"topology": "residual", "branch_scale": 1.0}
        model["training"]["parametrization"]["base_depth"] = depth
    return model


def rates(settings):
    return [float(f"{settings['lowest'] * settings['factor'] ** i:.4g}") for i in range(settings["points"])]


def prepare(settings):
    if len(settings["widths"]) != len(settings["depths"]):
        sys.exit("--widths: expected a hidden size for each depth")
    descriptions = {f"{variant}-{depth}": description(settings, variant, depth) for variant in VARIANTS for depth in settings["depths"]}
    # Deep ones first: they take longest.
    runs = [{"name": f"{variant}-{depth}-{rate:g}-{seed}", "package": f"{variant}-{depth}", "variant": variant, "depth": depth, "rate": rate,
             "options": [f"--learning-rate={rate:g}", f"--seed={seed}", f"--eval-batches={settings['eval_batches']}"]}
            for seed in range(1, settings["seeds"] + 1) for depth in sorted(settings["depths"], reverse=True) for variant in VARIANTS for rate in rates(settings)]
    return descriptions, runs


def measure(run, lines):
    return {"validation": lines[-1]["validation_loss"]}


def parabola(xs, ys):
    """where the parabola through the lowest point and its neighbours is lowest, None if the lowest is at an end"""
    at = min(range(len(ys)), key=lambda i: ys[i])
    if at == 0 or at == len(ys) - 1 or not all(map(math.isfinite, ys[at - 1:at + 2])):
        return None
    (a, b, c), step = ys[at - 1:at + 2], xs[at + 1] - xs[at]
    return xs[at] + step * (a - c) / (2 * (a - 2 * b + c))


def evaluate(settings, records):
    grid, out = rates(settings), {}
    for variant in VARIANTS:
        best = {}
        for depth in settings["depths"]:
            losses = [[r.get("validation", math.inf) for r in records if (r["variant"], r["depth"], r["rate"]) == (variant, depth, rate)] for rate in grid]
            means = [sum(some) / len(some) for some in losses]
            lowest = min(range(len(grid)), key=lambda i: means[i])
            fitted = parabola([math.log(rate) for rate in grid], means)
            # The seeds one by one tell how far the optimum is known.
            single = [parabola([math.log(rate) for rate in grid], [some[seed] for some in losses]) for seed in range(settings["seeds"])]
            best[str(depth)] = {"optimum": fitted and round(math.exp(fitted), 6), "of_seeds": [x and round(math.exp(x), 6) for x in single], "grid_point": grid[lowest],
                                "validation": means[lowest], "means": [m if math.isfinite(m) else None for m in means]}
        optima = [b["optimum"] for b in best.values()]
        moved = None if None in optima else math.log(max(optima) / min(optima), settings["factor"])
        out[variant] = {"depths": best, "moves_by_grid_steps": moved and round(moved, 2)}
    return {"settings": settings, "rates": grid, "variants": out}


def draw(settings, results, records):
    panels, text = [], ["| | depth | best learning rate | of the seeds | validation loss there |", "|---|---|---|---|---|"]
    show = lambda rate: f"{rate:.5f}" if rate else "at the end of the grid"
    for variant, title in VARIANTS.items():
        panel = chart.Panel(title, "learning rate", "validation loss, nats a byte", log_x=True)
        for i, (depth, best) in enumerate(results["variants"][variant]["depths"].items()):
            panel.line(results["rates"], best["means"], f"d = {depth}", i, marks=True)
            panel.mark(best["grid_point"], best["validation"], i)
            text.append(f"| {variant} | {depth} | {show(best['optimum'])} | {', '.join(map(show, best['of_seeds']))} | {best['validation']:.4f} |")
        panels.append(panel)
    for variant in VARIANTS:
        moved = results["variants"][variant]["moves_by_grid_steps"]
        text.append(f"\n{variant}: " + ("an optimum is at the end of the grid" if moved is None else f"the optimum moves by {moved:.2f} grid steps"))
    return {"learning-rates.svg": chart.svg(panels, same_y=True)}, "\n".join(text)


if __name__ == "__main__":
    experiment.main(__doc__.split("\n")[0], OPTIONS, prepare, measure, evaluate, draw)
