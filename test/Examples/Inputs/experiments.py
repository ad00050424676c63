"""Runs examples/learning-rate-transfer and examples/expert-balance on a miniature, and checks what they say of it.

usage: experiments.py EXAMPLES FOLDER
"""
import importlib.util
import json
import math
import os
import re
import subprocess
import sys
import xml.dom.minidom

EXAMPLES, FOLDER = sys.argv[1:]


def script(example, *arguments, status=0):
    ended = subprocess.run([sys.executable, os.path.join(EXAMPLES, example, "run.py"), *arguments], capture_output=True, text=True, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"})
    assert ended.returncode == status, f"{example} {arguments}: {ended}"
    return ended.stdout + ended.stderr


def module(example):
    sys.dont_write_bytecode = True
    spec = importlib.util.spec_from_file_location(example.replace("-", "_"), os.path.join(EXAMPLES, example, "run.py"))
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def read(*path):
    with open(os.path.join(*path)) as f:
        return f.read()


def lines(*path):
    return [json.loads(line) for line in read(*path).splitlines()]


def chart(*path):
    document = xml.dom.minidom.parseString(read(*path))
    for line in document.getElementsByTagName("polyline"):
        for point in line.getAttribute("points").split():
            assert all(math.isfinite(float(number)) for number in point.split(",")), path
    return len(document.getElementsByTagName("polyline"))


def learning_rates(text):
    example, folder = "learning-rate-transfer", os.path.join(FOLDER, "rates")
    assert "not prepared" in script(example, "train", folder, status=1)
    script(example, "prepare", folder, f"--text={text}", "--depths=1,2", "--widths=16,16", "--steps=3", "--sequences=2", "--length=16", "--warmup=1", "--seeds=1", "--points=2", "--lowest=0.004", "--eval-batches=2")
    # The descriptions differ in what they should: the rules of depth.
    first, second = (json.loads(read(folder, f"{name}-2.json")) for name in ("with", "without"))
    assert second.pop("residual")["branch_scale"] == 1 and second["training"]["parametrization"].pop("base_depth") == 2 and first == second
    for name, rate, branch in (("with-1", math.sqrt(8), math.sqrt(0.5)), ("with-2", 2, 0.5), ("without-1", 1, 1), ("without-2", 1, 1)):
        explained = subprocess.run(["mhc-compile", os.path.join(folder, name + ".json"), "--explain", "-o", os.path.join(FOLDER, "again.mhcpkg")], check=True, capture_output=True, text=True).stdout
        found = [float(re.search(pattern, explained, re.M)[1]) for pattern in (r"^model\.embed_tokens\.weight .* - +([\d.]+) +- ", r"^residual branches are multiplied by: ([\d.]+)$")]
        assert all(abs(a - b) < 1e-5 for a, b in zip(found, (rate, branch))), f"{name}: {found}"
    assert "are missing" in script(example, "plot", folder, status=1)
    script(example, "train", folder)
    assert "8 of them done" in script(example, "train", folder)
    runs = lines(folder, "runs.jsonl")
    assert len(runs) == 8 and len({run["validation"] for run in runs}) == 8, runs
    print(script(example, "plot", folder))
    assert chart(folder, "learning-rates.svg") == 4
    print("learning-rate-transfer: 8 runs")

    # A line that was not finished is dropped, its run done again, with the same number.
    with open(os.path.join(folder, "runs.jsonl"), "r+") as f:
        f.truncate(len(f.read()) - 5)
    assert "7 of them done" in script(example, "train", folder)
    again = lines(folder, "runs.jsonl")
    assert [run["validation"] for run in again] == [run["validation"] for run in runs]
    print("learning-rate-transfer: a killed sweep goes on")

    # Losses whose optimum is known: a parabola over log(rate) is found exactly; one variant drifts, in the other a run has diverged.
    rates = module(example)
    settings = {"lowest": 0.001, "points": 9, "factor": math.sqrt(2), "depths": [2, 8], "seeds": 2}
    grid = rates.rates(settings)
    assert abs(grid[2] / grid[0] - 2) < 1e-3
    optimum = {("with", 2): 0.004, ("with", 8): 0.0044, ("without", 2): 0.0061, ("without", 8): 0.0031}
    records = [{"variant": v, "depth": d, "rate": rate, "validation": 2 + 0.1 * math.log(rate / best) ** 2 + 0.3 * seed} for (v, d), best in optimum.items() for rate in grid for seed in range(2)]
    for record in records:
        if record["variant"] == "with" and record["rate"] == grid[-1]:
            record["diverged"] = True
            del record["validation"]
    found = rates.evaluate(settings, records)["variants"]
    for (variant, depth), best in optimum.items():
        fitted = found[variant]["depths"][str(depth)]
        assert all(abs(value / best - 1) < 1e-3 for value in [fitted["optimum"], *fitted["of_seeds"]]), fitted
    assert abs(found["without"]["moves_by_grid_steps"] - math.log2(61 / 31) * 2) < 0.01 and abs(found["with"]["moves_by_grid_steps"] - math.log2(1.1) * 2) < 0.01
    print("learning-rate-transfer: the fit finds what it should")


def expert_balance(text):
    example, folder = "expert-balance", os.path.join(FOLDER, "balance")
    script(example, "prepare", folder, f"--text={text}", "--experts=12", "--blocks=2", "--width=16", "--steps=10", "--sequences=4", "--length=16", "--seeds=1", "--early=4", "--eval-batches=1")
    script(example, "train", folder, "--jobs=2", "--threads=1")
    runs = {run["name"]: run for run in lines(folder, "runs.jsonl")}
    assert sorted(runs) == ["progressive-1", "switch-1", "top1-1"]
    for run in runs.values():
        assert len(run["steps"]) == 10 and all(most > 0 >= least >= -1 for step in run["steps"] for most, least in step["deviations"])
        assert all(abs(sum(shares) - 1) < 1e-4 and shares == sorted(shares, reverse=True) for shares in run["late_shares"])
        assert all(abs(shares[0] * 12 - 1 - late[0]) < 1e-3 and abs(shares[-1] * 12 - 1 - late[1]) < 1e-3 for shares, late in zip(run["late_shares"], run["late"]))
    # Top-1 LBL is at least 1, where all loads are even; the weight is 0.01, and there are two blocks.
    assert all(step["balancing"] >= 0.02 * (1 - 1e-5) for step in runs["top1-1"]["steps"])
    assert "90% of the" in " ".join(script(example, "prepare", "--help").split())
    print(script(example, "plot", folder))
    assert chart(folder, "expert-load.svg") == 3 * (2 * 2 + 2 + 1)
    print("expert-balance: 3 runs")
    assert module(example).deviations([[1, 2, 3, 2], [0, 0, 8, 0]]) == [[0.5, -0.5], [3.0, -1.0]]
    print("expert-balance: deviations are those of the counts")


os.makedirs(FOLDER)
text = os.path.join(FOLDER, "prose.txt")
with open(text, "w") as f:
    f.write("".join(f"{i} sheep and {i * i} goats went by; " for i in range(1500)))
learning_rates(text)
expert_balance(text)
print("passed")
