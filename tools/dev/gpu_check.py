"""The checks of gpu-check.sh: `prepare OUT BIN` (or `prepare-groups OUT BIN`) where the compiler is, `run OUT BIN [WORD..]` where the GPU is."""
import concurrent.futures
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import time

import numpy as np

import gpu_alone
import gpu_boundary
import gpu_chains
import gpu_experts
import gpu_groups
import gpu_shapes
from gpu_models import LARGE_ROUTER, LARGE_TOKENS, STEPS, example_models, gradient_models, speed_models

TARGETS = "cpu,sm_90a"
# Models for the sanitizer; those whose boundaries run in clusters, without: of 64 channels a cluster is one block, and memcheck takes for an error what a block sends itself
# ("Cluster needs to have at least 2 blocks"); racecheck does not follow their barriers. A cluster of several blocks: the chain of `boundary`.
SANITIZED = ("mhc-fp32", "residual-bf16", "heads192-bf16", "experts-fp32", "experts-bf16", "experts-hc-bf16")
IN_CLUSTERS = ("heads192-bf16", "experts-bf16")


# Modes of the numerics tests: an fp64 reference in numpy and its differences. prepare runs them on the CPU and keeps the packages; no fp64 on GPUs.
NUMERICS = [("hyper_connection.py", "conventions", "fp32"), ("hyper_connection.py", "conventions", "bf16"), ("hyper_connection.py", "shapes"), ("hyper_connection.py", "switches"),
            ("hyper_connection.py", "pairs", "sphere", "simplex"),  # which gpu_shapes has not
            *(("language_model.py", mode) for mode in ("attention", "blocks", "conventions", "readouts", "hc", "residual", "experts")),
            *(("optimizer.py", mode) for mode in ("steps", "spheres", "drift")), ("training.py",),
            *(("moe.py", mode) for mode in ("routers", "losses", "hard", "layers")), ("moe_training.py",), ("literature.py",),
            *(("monitor.py", mode) for mode in ("topologies", "experts", "training"))]


def numerics(out, programs, workers, **environment):
    """(mode, whether it passed, what it wrote), one after another"""
    tests = pathlib.Path(__file__).resolve().parents[2] / "test/Numerics/Inputs"
    environment = {**os.environ, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "OPENBLAS_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1",
                   "MHC_TEST_STORE": str((out / "numerics").resolve()), "MHC_TEST_TARGET": TARGETS, **environment}

    def one(mode):
        result = subprocess.run([sys.executable, tests / mode[0], *mode[1:]], capture_output=True, text=True, env=environment)
        # Of a traceback the last line alone.
        said = [line for line in (result.stdout + result.stderr).splitlines() if line and not line.startswith((" ", "Traceback"))]
        return " ".join(mode), result.returncode == 0 and result.stdout.splitlines()[-1:] == ["passed"], said[-6:]

    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        yield from pool.map(one, NUMERICS)


# ---------------------------------------------------------------------------- files
KINDS = {"F32": np.float32, "BF16": np.uint16, "I32": np.int32, "I64": np.int64}  # bf16 by its bits


def views(data, start, header):
    return {name: data[start + t["data_offsets"][0]:start + t["data_offsets"][1]].view(KINDS[t["dtype"]]).reshape(t["shape"]) for name, t in header.items() if name != "__metadata__"}


def read(path):
    """Arrays that lie in the file, so that large ones need no memory; to write to them does not change it"""
    data = np.memmap(path, np.uint8, "c")
    size = int.from_bytes(data[:8].tobytes(), "little")
    return views(data, 8 + size, json.loads(data[8:8 + size].tobytes()))


def create(path, tensors):
    """A new file, from name: (kind, shape), as arrays to be filled"""
    header, at = {}, 0
    for name, (kind, shape) in tensors.items():
        end = at + int(np.prod(shape, dtype=np.int64)) * np.dtype(KINDS[kind]).itemsize
        header[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(header).encode()
    # Another file, should an array of read() still lie in the old one.
    pathlib.Path(path).unlink(missing_ok=True)
    data = np.memmap(path, np.uint8, "w+", shape=8 + len(text) + at)
    data[:8 + len(text)] = np.frombuffer(len(text).to_bytes(8, "little") + text, np.uint8)
    return views(data, 8 + len(text), header)


def write(path, tensors):
    names = {np.dtype(kind): name for name, kind in KINDS.items()}
    arrays = create(path, {name: (names[x.dtype], x.shape) for name, x in tensors.items()})
    for name, x in tensors.items():
        arrays[name][...] = x


def losses(path):
    with open(path) as file:
        return [json.loads(line)["loss"] for line in file if '"loss"' in line]


# ---------------------------------------------------------------------------- prepare
def text(count, rng):
    """Bytes with something to learn: words of a small vocabulary, some more often than others."""
    words = ["".join(map(chr, rng.integers(97, 123, rng.integers(2, 9)))) for _ in range(300)]
    weights = 1 / np.arange(1, 301)
    chosen = rng.choice(300, count // 4, p=weights / weights.sum())
    return " ".join(words[i] for i in chosen).encode()[:count]


def bf16(x):
    return (x.view(np.uint32) & 0xffff0000).view(np.float32)


def firm_rows(call, weights, vocabulary, b, s, rng):
    """[b, s + 1] tokens. Where a token's expert (or the largest score, of which Top-1 LBL takes the gradient) is chosen by a hair, another device chooses another one, and gradients
    differ by more than any limit that would show an error. So rows in which weights that move by up to two steps of bf16, to either side, change no count, and no router's
    gradient by a leap (a few percent are usual, leaps are above twenty). call(weights, tokens): loss and gradients."""
    moves, rows = [{key: 2.0**-7 * rng.uniform(-1, 1, x.shape) for key, x in weights.items()} for _ in range(12)], []
    others = [{key: bf16((x * (1 + side * move[key])).astype(np.float32)) for key, x in weights.items()} for move in moves for side in (1, -1)]

    def firm(wanted, got):
        steps = [np.linalg.norm(got[key] - x) / np.linalg.norm(x) for key, x in wanted.items() if key.endswith("mlp.gate.weight")]
        return (got["expert_counts"] == wanted["expert_counts"]).all() and max(steps) < 0.15

    for _ in range(100 * b):
        row = rng.integers(0, vocabulary, (1, s + 1)).astype(np.int32)
        wanted = call(weights, row)
        if all(firm(wanted, call(other, row)) for other in others):
            rows.append(row)
            if len(rows) == b:
                return np.concatenate(rows)
    sys.exit(f"{len(rows)} of {b} rows of {s} tokens have firm choices")


def prepare_gradients(out, programs, name, description, shapes, rng):
    runner, seed, scratch = programs / "mhc-run", out / "seed.safetensors", [out / "in.safetensors", out / "out.safetensors"]

    def call(entry, tensors, source, results):
        write(source, tensors)
        subprocess.run([runner, "call", out / f"{name}.mhcpkg", entry, f"--inputs={source}", f"--outputs={results}"], check=True)
        return read(results)

    # Away from the initial values, where gradients of residual mappings are zero; numbers of bf16, as the tolerances are for.
    weights = {key: (x + 0.1 * rng.standard_normal(x.shape)).astype(np.float32) for key, x in call("init", {"seed": np.array([3])}, seed, scratch[1]).items()}
    if description["dtype"] == "bf16":
        weights = {key: bf16(x) for key, x in weights.items()}
    # What bf16 itself changes may be more than the limits: of two devices neither is then nearer to the other than to fp32. Experts: see firm_rows.
    rounds = description["dtype"] == "bf16" and "n_routed_experts" not in description
    if rounds:
        exact = out / f"{name}-exact"
        exact.with_suffix(".json").write_text(json.dumps({**description, "dtype": "fp32"}))
        subprocess.run([programs / "mhc-compile", exact.with_suffix(".json"), "--target=cpu", "-o", exact.with_suffix(".mhcpkg")], check=True)
    for b, s in shapes:
        if description["dtype"] == "bf16" and "n_routed_experts" in description:
            tokens = firm_rows(lambda w, row: call("loss_and_gradients", {**w, "tokens": row}, *scratch), weights, description["vocab_size"], b, s, rng)
        else:
            tokens = rng.integers(0, description["vocab_size"], (b, s + 1)).astype(np.int32)
        got = call("loss_and_gradients", {**weights, "tokens": tokens}, out / f"{name}-{b}x{s}.in", out / f"{name}-{b}x{s}.cpu")
        if rounds:
            subprocess.run([runner, "call", exact.with_suffix(".mhcpkg"), "loss_and_gradients", f"--inputs={out}/{name}-{b}x{s}.in", f"--outputs={scratch[1]}"], check=True)
            away = {key: float(np.linalg.norm(got[key].astype(np.float64) - x)) for key, x in read(scratch[1]).items()}
            (out / f"{name}-{b}x{s}.rounding.json").write_text(json.dumps(away))
    for left_over in (seed, *scratch, *(exact.with_suffix(suffix) for suffix in (".json", ".mhcpkg") if rounds)):
        left_over.unlink(missing_ok=True)


def prepare_numerics(out, programs):
    folder = out / "numerics"
    shutil.rmtree(folder, ignore_errors=True)
    for mode, good, said in numerics(out, programs, os.cpu_count()):
        if not good:
            sys.exit("\n".join([f"{mode}, on the CPU:", *said]))
    files = list(folder.iterdir())
    print(f"compiled {len(files)} packages of {folder.name}, {sum(f.stat().st_size for f in files) / 2**20:.1f} MiB", flush=True)


def prepare(out, programs):
    root = pathlib.Path(__file__).resolve().parents[2]
    rng = np.random.default_rng(5)
    runner = programs / "mhc-run"
    (out / "text").write_bytes(text(400_000, rng))

    def compile_package(name, description, *options):
        (out / f"{name}.json").write_text(json.dumps(description, indent=1))
        subprocess.run([programs / "mhc-compile", out / f"{name}.json", f"--target={TARGETS}", *options, "-o", out / f"{name}.mhcpkg"], check=True)
        print("compiled", name, flush=True)

    for name, description in example_models(root).items():
        compile_package(name, description)
        # The CPU's curve, here: the GPU machine may have no BLAS.
        (out / f"{name}.cpu.jsonl").unlink(missing_ok=True)
        subprocess.run([runner, "train", out / f"{name}.mhcpkg", f"--data={out}/text", "--seed=1", f"--metrics={out}/{name}.cpu.jsonl"], check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for name, (description, shapes) in gradient_models().items():
        compile_package(name, description)
        prepare_gradients(out, programs, name, description, shapes, rng)
        if name in IN_CLUSTERS:
            compile_package(f"{name}-without-clusters", description, "--exchange=none")
    for name, description in speed_models().items():
        compile_package(name, description)
    compile_package("large-router", LARGE_ROUTER)
    for name, (description, _) in gpu_alone.models().items():
        compile_package(f"alone-{name}", description)
    gpu_boundary.prepare(out, programs)
    gpu_chains.prepare(out, programs)
    gpu_groups.prepare(out, programs, prepare_gradients)
    gpu_shapes.prepare(out, programs)
    gpu_experts.prepare(out, programs)
    prepare_numerics(out, programs)
    (out / "prepared.json").write_text(json.dumps({"targets": TARGETS}))
    size = sum(f.stat().st_size for f in out.rglob("*") if f.is_file())
    print(f"{out}: {size / 2**20:.1f} MiB")


# ---------------------------------------------------------------------------- run
class Checks:
    def __init__(self, out, programs):
        self.out, self.runner = out, programs / "mhc-run"
        self.work = out / "work"
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir()
        self.failed = 0

    def say(self, good, what):
        self.failed += not good
        print(f"{'ok  ' if good else 'BAD '} {what}", flush=True)

    def run(self, arguments, **environment):
        result = subprocess.run([self.runner, *map(str, arguments)], capture_output=True, text=True, env={**os.environ, **environment})
        if result.returncode:
            print(f"     {' '.join(map(str, arguments))}: {(result.stdout + result.stderr).strip()[-1500:]}", flush=True)
        return result

    def train(self, name, tag, *options, device="cuda", **environment):
        """The metrics file, or None where the run failed."""
        metrics = self.work / f"{name}.{tag}.jsonl"
        result = self.run(["train", self.out / f"{name}.mhcpkg", f"--data={self.out}/text", f"--device={device}", f"--metrics={metrics}",
                           *([] if any(str(o).startswith("--resume") for o in options) else ["--seed=1"]), *options], **environment)
        return None if result.returncode else metrics

    def libs(self):
        print(self.run(["info", "--libs"]).stdout, flush=True)
        print(subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True).stdout, flush=True)

    def tests(self):
        """The runtime's GoogleTests of the GPU, compiled here against what prepare brought along."""
        deps = self.out / "deps"
        if not (deps / "lib/libgtest.a").exists():
            return print("skip runtime tests: no GoogleTest came along")
        program, library = self.work / "cuda-test", next(self.runner.parent.parent.glob("libmhc-rt.a"))
        blas = subprocess.run(["nm", "-u", str(library)], capture_output=True, text=True).stdout.count("cblas_sgemm") > 0
        build = subprocess.run(["c++", "-std=c++20", "-O1", "-Iruntime/include", "-Iruntime/src", "-Iinclude", f"-I{deps}/include", '-DTEST_KERNELS=""',
                                '-DTEST_PTX="runtime/test/kernels.ptx"', f'-DMHC_RUN="{self.runner}"', "runtime/test/CudaTest.cpp", "runtime/test/CudaExpertsTest.cpp", "runtime/test/Support.cpp",
                                "-o", str(program), str(library), f"{deps}/lib/libgtest.a", f"{deps}/lib/libgtest_main.a", *(["-lopenblas"] if blas else []), "-ldl", "-lpthread"],
                               capture_output=True, text=True)
        if build.returncode:
            return self.say(False, f"runtime tests do not build: {build.stderr[-1500:]}")
        result = subprocess.run([str(program), "--gtest_filter=Cuda*", "--gtest_brief=1"], capture_output=True, text=True, env={**os.environ, "MHC_TEST_EXPERTS": str(self.out / "experts")})
        self.say(result.returncode == 0, f"runtime tests: {(result.stdout + result.stderr).strip()[-1500:]}")
        # The sums of partials once more, by the kernel that packages have.
        package = self.out / "boundary-1280.mhcpkg"
        if package.exists():
            result = subprocess.run([str(program), "--gtest_filter=Cuda.SumsPartialsInOrder"], capture_output=True, text=True, env={**os.environ, "MHC_TEST_PACKAGE": str(package)})
            self.say(result.returncode == 0 and "SKIPPED" not in result.stdout, f"sums of partials by the kernel of {package.name}{'' if result.returncode == 0 else ': ' + result.stdout[-1500:]}")

    def gradients(self):
        for name, (description, shapes) in gradient_models().items():
            self.compare_gradients(name, name, description, shapes)

    def compare_gradients(self, package, name, description, shapes):
        """`name`: of the inputs and the CPU's answers"""
        low = description["dtype"] == "bf16"
        for b, s in shapes:
            result = self.run(["call", self.out / f"{package}.mhcpkg", "loss_and_gradients", "--device=cuda", f"--inputs={self.out}/{name}-{b}x{s}.in",
                               f"--outputs={self.work}/out"], MHC_POISON="1")
            if result.returncode:
                self.say(False, f"{package} {b} x {s}: the call failed")
                continue
            want, got = read(self.out / f"{name}-{b}x{s}.cpu"), read(self.work / "out")
            everything = np.sqrt(sum(float((x.astype(np.float64) ** 2).sum()) for n, x in want.items() if n.startswith("grad.")))
            shares = {}
            rounding = self.out / f"{name}-{b}x{s}.rounding.json"
            away = json.loads(rounding.read_text()) if rounding.exists() else {}
            for key, x in want.items():
                if key.startswith("grad."):
                    limit = (3e-2 if low else 1e-4) * np.linalg.norm(x) + (1e-3 if low else 2e-7) * everything
                else:
                    limit = 0 if key == "expert_counts" else (1e-3 if low else 1e-5) * np.linalg.norm(x)
                limit = max(limit, away.get(key, 0))
                error = np.linalg.norm(got[key].astype(np.float64) - x)
                shares[key] = error / limit if limit else 0 if error == 0 else np.inf
            worst = sorted(shares, key=lambda key: -np.nan_to_num(shares[key], nan=np.inf))
            over = [key for key in worst if not shares[key] <= 1]  # NaN too
            self.say(not over, f"{package} {b} x {s}: loss and gradients, {', '.join(f'{shares[key]:.2f} of what is allowed ({key})' for key in over[:8] or worst[:1])}")

    def curves(self):
        for name in example_models(pathlib.Path(".")):
            metrics = self.train(name, "cuda")
            if not metrics:
                self.say(False, f"{name}: training failed")
                continue
            mine, cpu = losses(metrics), losses(self.out / f"{name}.cpu.jsonl")
            error = max(abs(x - y) / abs(y) for x, y in zip(mine, cpu))
            limit = 1e-4 if name.endswith("fp32") else 1e-2
            self.say(len(mine) == len(cpu) == STEPS and error <= limit, f"{name}: {len(mine)} steps, loss {mine[0]:.4f} .. {mine[-1]:.4f} (cpu {cpu[0]:.4f} .. {cpu[-1]:.4f}), within {error:.1e}")

    def determinism(self):
        for name in example_models(pathlib.Path(".")):
            files = {}
            for tag, environment in {"first": {}, "second": {}, "without graphs": {"MHC_CUDA_GRAPH": "0"}, "poisoned": {"MHC_POISON": "1"}}.items():
                path = self.work / f"{name}.{tag.replace(' ', '-')}.safetensors"
                if self.train(name, tag.replace(" ", "-"), f"--save={path}", **environment):
                    files[tag] = path.read_bytes()
            good = len(files) == 4 and len(set(files.values())) == 1
            self.say(good, f"{name}: the same bits twice, without graphs, poisoned" if good else f"{name}: bits differ: {[t for t in files if files[t] != files.get('first')]}")

    def resume(self):
        for name in ("tiny-mhc-fp32", "tiny-mhc-bf16", "tiny-residual-fp32", "tiny-experts-fp32"):
            whole, folder = self.work / f"{name}.whole.safetensors", self.work / f"{name}.killed"
            metrics = self.train(name, "whole", f"--save={whole}")
            # Killed while it trains, at some step after the fourth; then resumed from the newest file.
            folder.mkdir()
            run = subprocess.Popen([str(self.runner), "train", str(self.out / f"{name}.mhcpkg"), f"--data={self.out}/text", "--device=cuda", "--seed=1", f"--save={folder}",
                                    "--save-every=1"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            until = time.time() + 60
            while time.time() < until and run.poll() is None and not (folder / "step-00000004.safetensors").exists():
                time.sleep(0.001)
            run.kill()
            run.wait()
            newest = sorted(folder.glob("step-*.safetensors"))[-1]
            resumed = self.work / f"{name}.resumed.safetensors"
            if not metrics or not self.train(name, "resumed", f"--resume={newest}", f"--save={resumed}"):
                self.say(False, f"{name}: training or resuming failed")
                continue
            self.say(whole.read_bytes() == resumed.read_bytes(), f"{name}: killed after {newest.name}, resumed: the same bits")
            if name.endswith("fp32"):  # from the GPU to the CPU and back
                middle = folder / "step-00000004.safetensors"
                cpu = self.train(name, "to-cpu", f"--resume={middle}", device="cpu")
                a, b = losses(cpu) if cpu else [], losses(metrics)[4:]
                error = max((abs(x - y) / abs(y) for x, y in zip(a, b)), default=1)
                self.say(len(a) == len(b) and error <= 1e-4, f"{name}: the GPU's checkpoint goes on on the CPU, within {error:.1e}")

    def sanitizer(self):
        tool = shutil.which("compute-sanitizer") or next((p for p in ("/usr/local/cuda/bin/compute-sanitizer",) if os.path.exists(p)), None)
        if not tool:
            return print("skip sanitizer: compute-sanitizer was not found")
        runs = []
        for name in SANITIZED:
            b, s = gradient_models()[name][1][-1]
            package = self.out / f"{name}{'-without-clusters' if name in IN_CLUSTERS else ''}.mhcpkg"
            # initcheck does not see what kernels of cuBLASLt and cuDNN store by bulk copies (bf16 on Hopper): there the poisoned runs of `determinism` stand for it.
            for check in ("memcheck", "racecheck") + (("initcheck",) if name.endswith("fp32") else ()):
                runs.append((check, name, ["call", package, "loss_and_gradients", f"--inputs={self.out}/{name}-{b}x{s}.in", f"--outputs={self.work}/{name}-{check}.out"]))
        runs.append(("memcheck", "boundary-1280 forward", ["bench", self.out / "boundary-1280.mhcpkg", "forward", "--shape=T=100", "--repeat=1", "--warmup=0"]))
        for package in sorted(self.out.glob("shapes/*-C32-*.mhcpkg")):
            for entry in ("forward", "backward"):
                for check in ("memcheck", "racecheck", "initcheck"):
                    runs.append((check, f"{package.stem} {entry}", ["bench", package, entry, "--shape=T=13", "--repeat=1", "--warmup=0"]))

        def one(job):
            check, name, arguments = job
            # racecheck does not follow the barriers of cuDNN's own kernels: there the package's attention runs.
            environment = {**os.environ, "MHC_CUDNN": "0"} if check == "racecheck" else None
            return name, check, subprocess.run([tool, f"--tool={check}", "--error-exitcode=9", str(self.runner), *map(str, arguments), "--device=cuda"], capture_output=True, text=True, timeout=400,
                                               env=environment)

        with concurrent.futures.ThreadPoolExecutor(6) as pool:
            for name, check, result in pool.map(one, runs):
                lines = (result.stdout + result.stderr).strip().splitlines()
                summary = [line for line in lines if "SUMMARY" in line] or lines[-1:]
                self.say(result.returncode == 0, f"{check} {name}: {' '.join(summary)}")
                if result.returncode:
                    print("\n".join("     " + line for line in lines[:30]), flush=True)

    def shapes(self):
        gpu_shapes.shapes(self)

    def alone(self):
        gpu_alone.run(self)

    def boundary(self):
        try:
            import torch
        except ImportError:
            return print("skip boundary: it needs PyTorch")
        gpu_boundary.run(self)

    def chains(self):
        try:
            import torch
        except ImportError:
            return print("skip chains: they need PyTorch")
        gpu_chains.run(self)

    def groups(self):
        gpu_groups.run(self)

    def tune(self):
        gpu_boundary.tune(self)

    def huge(self):
        gpu_shapes.huge(self)

    def products(self):
        rng = np.random.default_rng(8)
        x = rng.standard_normal((LARGE_TOKENS, LARGE_ROUTER["hidden_size"]), np.float32).view(np.uint32) & 0xffff0000
        router = rng.standard_normal((x.shape[1], LARGE_ROUTER["num_experts"]), np.float32) * 0.02
        dweight = rng.standard_normal((LARGE_TOKENS, LARGE_ROUTER["num_experts_per_tok"]), np.float32)
        bits, exact = (x >> 16).astype(np.uint16), x.view(np.float32).astype(np.float64)
        calls = {"forward": {}, "backward": {"dweight": dweight, "dlosses": np.zeros(0, np.float32)}}
        results = {}
        for entry, more in calls.items():
            arrays = create(self.work / "in", {"x": ("BF16", x.shape), **{n: ("F32", a.shape) for n, a in {"router": router, **more}.items()}})
            for name, a in {"x": bits, "router": router, **more}.items():
                arrays[name][...] = a
            if self.run(["call", self.out / "large-router.mhcpkg", entry, "--device=cuda", f"--inputs={self.work}/in", f"--outputs={self.work}/{entry}.out"], MHC_POISON="1").returncode:
                return self.say(False, f"large products: {entry} failed")
            results |= {n: np.array(a) for n, a in read(self.work / f"{entry}.out").items()}
        logits = exact @ router.astype(np.float64)
        error = (np.abs(results["logits"] - logits) / np.maximum(1, np.abs(logits).max(1, keepdims=True))).max()
        self.say(error <= 1e-5, f"large products: logits within {error:.1e} of the token's largest")
        dlogits = results["dlogits"].astype(np.float64)
        dx, want = (results["dx"].astype(np.uint32) << 16).view(np.float32).astype(np.float64), dlogits @ router.astype(np.float64).T
        for name, got, wanted, limit in (("drouter", results["drouter"], exact.T @ dlogits, 1e-6), ("dx", dx, want, 3e-3)):
            error = np.linalg.norm(got - wanted) / np.linalg.norm(wanted)
            self.say(error <= limit, f"large products: {name} within {error:.1e} of its norm")

    def experts(self):
        gpu_experts.run(self.out, self.say)

    def conventions(self, device="cuda"):
        """What the numerics tests have: presets, conventions, manifolds, layouts, readouts, .."""
        if not (self.out / "numerics").is_dir():
            return print("skip: prepare brought no packages of the numerics tests along")
        for mode, good, said in numerics(self.out, self.runner.parent, 8, MHC_TEST_DEVICE=device):
            self.say(good, mode)
            if not good:
                print("\n".join("     " + line[-1500:] for line in said), flush=True)

    def speed(self):
        for name, steps in (("tiny-residual-bf16", 60), ("tiny-hc-bf16", 60), ("tiny-mhc-bf16", 60), ("tiny-mhc-fp32", 60), ("tiny-experts-bf16", 60), ("speed-residual", 20), ("speed-mhc", 20), ("speed-experts", 20)):
            for environment in ({}, {"MHC_CUDA_GRAPH": "0"}):
                metrics = self.train(name, f"speed{len(environment)}", f"--steps={steps}", **environment)
                if not metrics:
                    self.say(False, f"{name}: training failed")
                    continue
                with open(metrics) as file:
                    rates = [json.loads(line)["tokens_per_second"] for line in file if "tokens_per_second" in line]
                curve = losses(metrics)
                print(f"     {name}: {statistics.median(rates[steps // 2:]):.0f} tokens/s {'without graphs' if environment else 'by graphs'}, loss {curve[0]:.3f} .. {curve[-1]:.3f}", flush=True)
        for name in ("speed-residual", "speed-mhc", "speed-experts"):
            table = self.run(["bench", self.out / f"{name}.mhcpkg", "loss_and_gradients", "--device=cuda", "--shape=B=8,S=1024", "--repeat=5", "--warmup=2"]).stdout
            print("\n".join(table.splitlines()[:32]), flush=True)


def main():
    command, out, programs = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3]).resolve()
    if command == "prepare":
        return prepare(out, programs)
    if command == "prepare-groups":  # for `run .. groups` alone
        out.mkdir(parents=True, exist_ok=True)
        return gpu_groups.prepare(out, programs, prepare_gradients)
    checks = Checks(out, programs)
    for word in sys.argv[4:] or ("libs", "tests", "gradients", "curves", "determinism", "resume", "shapes", "boundary", "chains", "groups", "tune", "huge", "products", "experts", "conventions", "sanitizer", "speed", "alone"):
        started = time.time()
        print(f"== {word}", flush=True)
        getattr(checks, word)()
        print(f"   ({time.time() - started:.1f} s)", flush=True)
    print("all checks passed" if not checks.failed else f"{checks.failed} checks FAILED")
    sys.exit(checks.failed != 0)


if __name__ == "__main__":
    main()
