"""Many small training runs of a few descriptions, in three steps that may happen on three machines: prepare (compiles; needs mhc-compile), train (needs mhc-run alone), plot. Python's standard library only.

A folder holds it all: experiment.json (settings, the list of runs), descriptions, packages, text, runs.jsonl (a line for each finished run: what is in it is not run again), results.json and charts.
"""
import argparse
import concurrent.futures
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def find(tool):
    """a program of the build, or of PATH"""
    path = shutil.which(tool) or shutil.which(tool, path=os.path.join(ROOT, "build", "bin"))
    if not path:
        sys.exit(f"{tool} was not found: neither on PATH nor in {ROOT}/build/bin")
    return path


def write(path, text):
    """whole or not at all"""
    with open(path + ".part", "w") as f:
        f.write(text)
    os.replace(path + ".part", path)


def dump(value):
    """JSON with a line for each entry of the outer levels"""
    text = json.dumps(value, indent=1)
    return re.sub(r"\[\s+([^\[\]{}]*?)\s+\]", lambda m: "[" + re.sub(r"\s+", " ", m[1]) + "]", text) + "\n"


class Experiment:
    def __init__(self, folder):
        self.folder = folder

    def path(self, name):
        return os.path.join(self.folder, name)

    # ---- prepare ------------------------------------------------------------------------------------------------------

    def prepare(self, settings, descriptions, runs, target, text):
        """descriptions: name -> description; runs: each with `name`, `package` (a name of descriptions), `options` of mhc-run train"""
        os.makedirs(self.folder, exist_ok=True)
        if os.path.exists(self.path("runs.jsonl")):
            sys.exit(f"{self.folder} has results of runs: take another folder, or remove runs.jsonl")
        self.pack_text(text)
        compiler = find("mhc-compile")
        for name, description in descriptions.items():
            write(self.path(name + ".json"), json.dumps(description, indent=1) + "\n")
            subprocess.run([compiler, self.path(name + ".json"), "-o", self.path(name + ".mhcpkg"), f"--target={target}"], check=True)
            print(f"{name}.mhcpkg: {os.path.getsize(self.path(name + '.mhcpkg')) / 2**20:.1f} MiB", flush=True)
        write(self.path("experiment.json"), dump({"settings": settings, "target": target, "runs": runs}))
        size = sum(os.path.getsize(self.path(name)) for name in os.listdir(self.folder))
        print(f"{len(runs)} runs of {len(descriptions)} packages are prepared: {size / 2**20:.1f} MiB in {self.folder}")

    def pack_text(self, source):
        target = self.path("text.txt")
        if source:
            shutil.copyfile(source, target)
        elif not os.path.exists(target):
            if not shutil.which("bible"):
                sys.exit("no text: install the Debian package bible-kjv (4 MB of public-domain prose), or name a text by --text=FILE")
            write(target, subprocess.run(["bible", "gen1:1-rev22:21"], check=True, capture_output=True, text=True).stdout)

    # ---- train --------------------------------------------------------------------------------------------------------

    def load(self):
        try:
            with open(self.path("experiment.json")) as f:
                self.document = json.load(f)
            self.settings, self.runs = self.document["settings"], self.document["runs"]
        except (FileNotFoundError, NotADirectoryError):
            sys.exit(f"{self.folder} is not prepared: there is no experiment.json in it")
        except (ValueError, TypeError, KeyError) as error:
            sys.exit(f"{self.path('experiment.json')}: expected what 'prepare' writes ({error!r}): prepare the folder again")

    def done(self, results):
        """name -> line of runs.jsonl"""
        found = {}
        if os.path.exists(results):
            with open(results) as f:
                for number, line in enumerate(f, 1):
                    if not line.endswith("\n"): # one that a killed run did not finish
                        continue
                    try:
                        record = json.loads(line)
                        found[record["name"]] = record
                    except (ValueError, TypeError, KeyError):
                        sys.exit(f"{results}:{number}: expected the JSON object of a finished run: remove the line, and the run is done again")
        return found

    def train(self, results, device, jobs, threads, measure):
        """runs what is missing; measure(run, metrics lines) -> what is kept of a finished run"""
        self.load()
        done, lock, begin = self.done(results), threading.Lock(), time.time()
        missing = [run for run in self.runs if run["name"] not in done]
        trainer, problems = find("mhc-run"), []
        print(f"{len(self.runs)} runs, {len(self.runs) - len(missing)} of them done", flush=True)
        if os.path.exists(results):
            with open(results, "rb+") as f: # a line without an end would be glued to the next one
                content = f.read()
                f.truncate(content.rfind(b"\n") + 1)

        def one(run):
            if problems:
                return
            started = time.time()
            with tempfile.TemporaryDirectory() as scratch:
                metrics = os.path.join(scratch, "metrics.jsonl")
                command = [trainer, "train", self.path(run["package"] + ".mhcpkg"), f"--data={self.path('text.txt')}", f"--metrics={metrics}", f"--device={device}", *run["options"]]
                ended = subprocess.run(command + ([f"--threads={threads}"] if threads else []), capture_output=True, text=True)
                lines = []
                if os.path.exists(metrics):
                    with open(metrics) as f:
                        lines = [json.loads(line) for line in f]
            record = {"name": run["name"], "device": device, "seconds": round(time.time() - started, 2)}
            if ended.returncode == 0:
                record.update(measure(run, lines))
            elif "have not been finite" in ended.stderr:
                record["diverged"] = True
            else:
                problems.append(f"{run['name']}: {ended.stderr.strip() or ended.returncode}")
                return
            with lock:
                with open(results, "a") as f:
                    f.write(json.dumps(record) + "\n")
                done[run["name"]] = record
                print(f"[{len(done)}/{len(self.runs)}, {time.time() - begin:.0f} s] {self.describe(record)}", flush=True)

        with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
            list(pool.map(one, missing))
        if problems:
            sys.exit("a run failed; what is done is kept\n" + problems[0])

    def describe(self, record):
        values = [f"{key} {value:.4f}" for key, value in record.items() if isinstance(value, float) and key != "seconds"]
        return f"{record['name']}: " + ("diverged" if record.get("diverged") else ", ".join(values)) + f" ({record['seconds']:.1f} s)"


def main(title, options, prepare, measure, evaluate, draw):
    """The command line that both examples have.

    options: list of (name, default, help), settings that prepare takes; prepare(settings) -> descriptions, runs; measure as in Experiment.train;
    evaluate(settings, records) -> results (JSON); draw(settings, results, records) -> file name -> SVG, and the text that goes to standard output.
    """
    parser = argparse.ArgumentParser(description=title)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verb = verbs.add_parser("prepare", help="write descriptions, compile them, pack the text")
    verb.add_argument("folder")
    verb.add_argument("--target", default="cpu", help="of mhc-compile, e.g. sm_90a (default: cpu)")
    verb.add_argument("--text", help="a file to train on (default: the King James Bible, of the Debian package bible-kjv)")
    for name, default, text in options:
        split = isinstance(default, list)
        parse = (lambda kind: lambda value: [kind(x) for x in value.split(",")])(type(default[0])) if split else type(default)
        shown = text.replace("%", "%%") # argparse formats it
        verb.add_argument("--" + name.replace("_", "-"), type=parse, default=default, help=f"{shown} (default: {','.join(map(str, default)) if split else default})", metavar="LIST" if split else "N")
    verb = verbs.add_parser("train", help="the runs that are not done yet")
    verb.add_argument("folder")
    verb.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    verb.add_argument("--jobs", type=int, default=1, help="runs at a time (default: 1)")
    verb.add_argument("--threads", type=int, help="of each run (default: that of mhc-run)")
    verb.add_argument("--results", help="where finished runs are kept (default: FOLDER/runs.jsonl)")
    verb = verbs.add_parser("plot", help="results.json, charts, and a table for the README")
    verb.add_argument("folder")
    verb.add_argument("--results", help="the finished runs (default: FOLDER/runs.jsonl)")
    arguments = parser.parse_args()

    experiment = Experiment(arguments.folder)
    if arguments.verb == "prepare":
        settings = {name: getattr(arguments, name) for name, _, _ in options}
        experiment.prepare(settings, *prepare(settings), arguments.target, arguments.text)
        return
    results = arguments.results or experiment.path("runs.jsonl")
    if arguments.verb == "train":
        experiment.train(results, arguments.device, arguments.jobs, arguments.threads, measure)
        return
    experiment.load()
    done = experiment.done(results)
    records = [{**run, **done[run["name"]]} for run in experiment.runs if run["name"] in done]
    if len(records) < len(experiment.runs):
        sys.exit(f"{len(experiment.runs) - len(records)} of {len(experiment.runs)} runs are missing: train first")
    evaluated = evaluate(experiment.settings, records)
    evaluated["device"] = sorted({record["device"] for record in records})
    evaluated["seconds"] = round(sum(record["seconds"] for record in records), 1)
    write(experiment.path("results.json"), dump(evaluated))
    charts, text = draw(experiment.settings, evaluated, records)
    for name, svg in charts.items():
        write(experiment.path(name), svg)
    print(text)
