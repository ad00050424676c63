"""Hard shapes of hyper-connections, forward and backward, on both devices, against an fp64 reference (PyTorch; autograd for gradients).

usage: gpu_shapes.py prepare OUT BIN [--device=cpu]                  where the compiler is: packages into OUT/shapes (cpu: OUT/shapes-cpu)
       gpu_shapes.py run OUT BIN [--device=cpu] [--only=TEXT] [WORD..]   words: shapes, huge (cuda only); --only: cases whose name has TEXT

The cases cover all pairs of values of n, C, T, dtype, manifold and data, and with n > 2 all triples of the last three; T is smaller where T n C would pass LARGEST, and on the CPU at
most 511. All but the largest and the smallest cases are called twice, on different numbers of threads, and must give the same bytes. `huge` is one case with T n C > 2^31.
gpu-check.sh runs both on the GPU. A line's number is the largest error's share of its limit; of streams, of what their rounding leaves.
"""
import argparse
import collections
import concurrent.futures
import filecmp
import itertools
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import zlib

import numpy as np

import gpu_check

try:
    import torch
except ImportError:  # prepare needs none
    torch = None

STREAMS = (1, 2, 3, 4, 8)
CHANNELS = (7, 32, 100, 1280, 2560, 4096, 5129, 7168)
TOKENS = {"cpu": (0, 1, 13, 48, 511), "cuda": (0, 1, 13, 48, 511, 4096, 32768)}
DTYPES = ("bf16", "fp32")
MANIFOLDS = ("birkhoff", "unconstrained", "identity", "orthogonal", "hc")  # hc: the topology of that name, which has none
DATA = ("normal", "logits spread 10", "rows 120 apart", "equal rows", "zero tokens")
LARGEST = 240_000_000  # T n C: about 1 GB a stream tensor in fp32
SMALL = 1_000_000  # T n C up to which a case costs the same: little
TWICE = 20_000_000  # T n C up to which a case of more than 13 tokens is called a second time
CHUNK = {"cpu": 1 << 22, "cuda": 1 << 25}  # elements of x that the reference takes at once: on the GPU about 4 GB of fp64
WORKERS = {"cpu": 2, "cuda": 8}  # cases at once
TARGET = {"cpu": "cpu", "cuda": "sm_90a"}

# Limits: the "one sublayer" ones of the project's test plan, as measured with honest fp32 code.
# a = max(|alpha|, standard deviation of the logits); B = max(1, largest magnitude of the token in the tensor and its inputs).
COEFFICIENT = 1e-5  # h_*: times max(1, a) and max(1, |exact|)
STREAM = 1e-5  # streams and their gradients: times max(1, a) and B, beside ..
ROUNDING = {"bf16": 2.0 ** -8, "fp32": 2.0 ** -23}  # .. times |exact|
FLIPPED = 0.02  # the share of a bf16 tensor's elements that may differ from the rounded exact value (finds missing and doubled roundings)
GRADIENT = 1e-4  # a parameter's gradient: times max(1, a), of its norm, and ..
CANCELLED = 1e-6  # .. of the norm that the sum's terms have before they cancel

Case = collections.namedtuple("Case", "n C dtype manifold T data")
HUGE = Case(4, 5129, "bf16", "birkhoff", 105_000, "normal")
assert HUGE.T * HUGE.n * HUGE.C > 2 ** 31


# ---------------------------------------------------------------------------- cases
def pairs(candidate):
    return frozenset(itertools.combinations(enumerate(candidate), 2))


def cover(candidates, things, cost):
    """Each of the candidates' things: one after another the candidate with the most things that are new, of those the cheapest one, of those the one whose values came least"""
    each = [things(c) for c in candidates]
    missing, chosen, came = set().union(*each), [], collections.Counter()
    while missing:
        best = max(range(len(candidates)), key=lambda k: (len(each[k] & missing), -cost(candidates[k]), -sum(came[v] for v in enumerate(candidates[k]))))
        missing -= each[best]
        came.update(enumerate(candidates[best]))
        chosen.append(candidates[best])
    return chosen


def packages():
    return cover(list(itertools.product(STREAMS, CHANNELS, DTYPES, MANIFOLDS)), pairs, lambda package: 0)


def cases(device):
    # Beside the pairs: the numerics of every manifold on all data in every type, where there is something to mix.
    things = lambda c: pairs(c) | ({(c.dtype, c.manifold, c.data)} if c.T > 1 and c.n > 2 else set())
    candidates = [Case(*package, T, data) for package in packages() for T in TOKENS[device] for data in DATA]
    return cover([c for c in candidates if c.T * c.n * c.C <= LARGEST], things, lambda c: max(c.T * c.n * c.C, SMALL))


def package_name(case):
    return f"{case[3]}-n{case[0]}-C{case[1]}-{case[2]}"


def prepare(out, programs, device="cuda"):
    folder = out / ("shapes" if device == "cuda" else "shapes-cpu")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)

    def one(package):
        n, C, dtype, manifold = package[:4]
        description = {"kind": "hyper_connection", "hidden_size": C, "hc_mult": n, "dtype": dtype, **({"topology": "hc"} if manifold == "hc" else {"manifold": manifold})}
        path = folder / package_name(package)
        path.with_suffix(".json").write_text(json.dumps(description))
        subprocess.run([programs / "mhc-compile", path.with_suffix(".json"), f"--target={TARGET[device]}", "-o", path.with_suffix(".mhcpkg")], check=True)

    wanted = {package_name(p): p for p in [*packages(), HUGE]}
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(one, wanted.values()))
    size = sum(f.stat().st_size for f in folder.iterdir())
    print(f"compiled {len(wanted)} packages of hard shapes, {size / 2**20:.1f} MiB", flush=True)


# ---------------------------------------------------------------------------- the reference: sections 1.1 to 1.5 of the mathematics
def sinkhorn(Z):
    """exp(Z), columns (over the outputs) and rows divided by their sums 20 times; in the log domain, where nothing underflows"""
    for _ in range(20):
        Z = Z - torch.logsumexp(Z, -2, keepdim=True)
        Z = Z - torch.logsumexp(Z, -1, keepdim=True)
    return torch.exp(Z)


def project(Z, manifold):
    """mat(z_res) [T, out, in] -> h_res"""
    if manifold == "birkhoff":
        return sinkhorn(Z)
    if manifold == "orthogonal":
        A, I = (Z - Z.mT) / 2, torch.eye(Z.shape[-1], dtype=Z.dtype, device=Z.device)
        return torch.linalg.solve(I + A, I - A)
    assert manifold == "unconstrained"
    return Z


def normalised(x):
    return x / torch.sqrt((x * x).mean(-1, keepdim=True) + 1e-6)


def sublayer(x, f, phi, alpha, bias, manifold):
    """The outputs, and what the limits need: v and s = v phi (rows of v: tokens; of hc: streams of tokens), y and z = alpha y + bias [T, m], the groups of z's columns"""
    T, n, C = x.shape
    if manifold == "hc":
        v = normalised(x)
        s = v @ phi  # [T, n, n + 2]
        y = torch.tanh(s)
        y = torch.cat([y[..., 0], y[..., 1], y[..., 2:].mT.reshape(T, n * n)], 1)
    else:
        v = normalised(x.reshape(T, n * C))
        s = y = v @ phi
    group = torch.tensor([0] * n + [1] * n + [2] * (y.shape[1] - 2 * n), device=x.device)
    z = alpha[group] * y + bias
    h_pre, h_post = z[:, :n], z[:, n:2 * n]
    if manifold != "hc":
        h_pre, h_post = torch.sigmoid(h_pre), 2 * torch.sigmoid(h_post)
    if manifold == "identity":
        h_res = torch.eye(n, dtype=x.dtype, device=x.device).expand(T, n, n)
    else:
        h_res = z[:, 2 * n:].reshape(T, n, n)
        h_res = h_res if manifold == "hc" else project(h_res, manifold)
    u = torch.einsum("ti,tic->tc", h_pre, x)
    x_next = torch.einsum("toi,tic->toc", h_res, x) + h_post[:, :, None] * f[:, None]
    return {"u": u, "h_pre": h_pre, "h_post": h_post, "h_res": h_res, "x_next": x_next}, (v, s, y, z, group)


# ---------------------------------------------------------------------------- one case
class Worst:
    """The largest share of what is allowed, and where"""

    def __init__(self):
        self.share, self.where = 0.0, "nothing differs"

    def add(self, share, where):
        if not share <= self.share:  # NaN too
            self.share, self.where = share, where

    def elements(self, name, got, want, rounding, limit, first):
        """tokens from `first` on; |got - want| <= rounding + limit: the share is what the rounding leaves, of limit"""
        if not got.numel():
            return
        share = (((got - want).abs() - rounding).clamp(min=0) / limit).nan_to_num(nan=torch.inf).flatten()
        at = int(share.argmax())
        index = [int(i) for i in np.unravel_index(at, got.shape)]
        self.add(float(share[at]), f"{name}{[first + index[0], *index[1:]]}")


class Run:
    """A case on a device: its files, the calls, the comparison"""

    def __init__(self, case, checks, device, folder, threads):
        self.case, self.checks, self.device, self.folder, self.threads = case, checks, device, pathlib.Path(folder), threads
        self.package = checks.out / ("shapes" if device == "cuda" else "shapes-cpu") / f"{package_name(case)}.mhcpkg"
        self.kind = {"bf16": "BF16", "fp32": "F32"}[case.dtype]
        self.name = f"{package_name(case)} T={case.T} {case.data}"
        n, C, T = case.n, case.C, case.T
        res = 0 if case.manifold == "identity" else n * n
        self.shapes = {"x": (T, n, C), "f": (T, C), "phi": (C, n + 2) if case.manifold == "hc" else (n * C, 2 * n + res), "alpha": (3,), "bias": (2 * n + res,)}
        self.cotangents = {"du": (T, C), "dx_next": (T, n, C)}
        self.outputs = {"forward": {"u": (T, C), "h_pre": (T, n), "h_post": (T, n), "h_res": (T, n, n), "x_next": (T, n, C)}, "backward": {"d" + name: shape for name, shape in self.shapes.items()}}
        self.step = max(1, CHUNK[device] // (n * C))

    def streams(self, name):
        return name in ("x", "f", "u", "x_next", "dx", "df", "du", "dx_next")

    def file(self, *names):
        return self.folder / ".".join(names)

    #---- inputs
    def parameters(self, random):
        """phi, alpha, bias: away from the initial values"""
        case, n = self.case, self.case.n
        K, m = self.shapes["phi"]
        normal = lambda *shape: torch.randn(shape, generator=random)
        phi, alpha, bias = normal(K, m) / K ** 0.5, torch.tensor([0.8, -1.2, 0.9]), 0.5 * normal(*self.shapes["bias"])
        if case.data == "logits spread 10":
            if case.manifold == "hc":
                phi *= 10  # what tanh is of
            else:
                alpha = torch.tensor([10.0, -10.0, 10.0])
        elif case.data == "rows 120 apart":
            if case.manifold != "identity":
                bias[2 * n:].view(n, n)[1 % n] -= 120  # one output's
        elif case.data == "equal rows":
            res = 2 if case.manifold == "hc" else 2 * n
            phi[:, res:] = phi[:, res:res + 1]
            bias[2 * n:] = bias[2 * n:2 * n + 1]
        return {"phi": phi, "alpha": alpha, "bias": bias}

    def write(self, entries):
        """The inputs of the entries, a chunk of tokens after the other straight into the files"""
        case, seed = self.case, zlib.crc32(self.name.encode())
        wanted = {"forward": self.shapes, "backward": {**self.shapes, **self.cotangents}}
        files = [gpu_check.create(self.file(entry, "in"), {name: (self.kind if self.streams(name) else "F32", shape) for name, shape in wanted[entry].items()}) for entry in entries]
        for name, value in self.parameters(torch.Generator().manual_seed(seed)).items():
            for tensors in files:
                tensors[name][...] = value.numpy()
        random = torch.Generator(self.device).manual_seed(seed)
        for first in range(0, case.T, self.step):
            last = min(first + self.step, case.T)
            for name in wanted[entries[-1]]:
                if not self.streams(name):
                    continue
                shape = {**self.shapes, **self.cotangents}[name]
                value = torch.randn((last - first, *shape[1:]), generator=random, device=self.device)
                if case.data == "equal rows" and name == "x":
                    value[:] = value[:, :1].clone()
                elif case.data == "zero tokens" and name in ("x", "f"):
                    # x of every third token, f of half of these
                    token = torch.arange(first, last, device=self.device)
                    value[token % 3 == 0 if name == "x" else token % 6 == 3] = 0
                bits = value.bfloat16().view(torch.int16).cpu().numpy().view(np.uint16) if case.dtype == "bf16" else value.cpu().numpy()
                for tensors in files:
                    if name in tensors:
                        tensors[name][first:last] = bits

    #---- calls
    def call(self, entry, out, threads):
        """None, or what went wrong"""
        command = [self.checks.runner, "call", self.package, entry, f"--device={self.device}", f"--inputs={self.file(entry, 'in')}", f"--outputs={self.file(entry, out)}", f"--threads={threads}"]
        result = subprocess.run(command, capture_output=True, text=True, timeout=300, env={**os.environ, "MHC_POISON": "1"})
        return f"{entry}: {(result.stdout + result.stderr).strip()[-1500:]}" if result.returncode else None

    def wrong_outputs(self, entry, got):
        for name, shape in self.outputs[entry].items():
            kind = gpu_check.KINDS[self.kind if self.streams(name) else "F32"]
            if name not in got or got[name].shape != shape or got[name].dtype != kind:
                return f"{entry}: {name} is missing, or not {kind.__name__} {list(shape)}"
        return f"{entry}: more outputs than {sorted(self.outputs[entry])}" if len(got) != len(self.outputs[entry]) else None

    #---- comparison
    def load(self, array, rows=slice(None)):
        """fp64 on the device"""
        array = array[rows]
        array = array if array.flags.aligned else array.copy()
        if array.dtype == np.uint16:
            return torch.from_numpy(array.view(np.int16)).to(self.device).view(torch.bfloat16).double()
        return torch.from_numpy(array).to(self.device).double()

    def compare(self, entries):
        """The worst share, or a sentence"""
        case, worst, backward = self.case, Worst(), "backward" in entries
        inputs = gpu_check.read(self.file(entries[-1], "in"))
        got = {}
        for entry in entries:
            outputs = gpu_check.read(self.file(entry, "out"))
            wrong = self.wrong_outputs(entry, outputs)
            if wrong:
                return wrong
            got.update(outputs)
        P = {name: self.load(inputs[name]).requires_grad_(backward) for name in ("phi", "alpha", "bias")}
        sums = {name: torch.zeros_like(value) for name, value in P.items()}
        before = {name: torch.zeros_like(value) for name, value in P.items()}
        flipped, largest_a = collections.Counter(), float(P["alpha"].detach().abs().max())
        for first in range(0, case.T, self.step):
            rows = slice(first, min(first + self.step, case.T))
            S = {name: self.load(inputs[name], rows) for name in ("x", "f", *(self.cotangents if backward else ()))}
            with torch.set_grad_enabled(backward):
                wants, (v, s, y, z, group) = sublayer(S["x"].requires_grad_(backward), S["f"].requires_grad_(backward), **P, manifold=case.manifold)
            # a: of this chunk's tokens. What hc gives to tanh is not counted, which only makes the limits tighter.
            spread = 0.0 if case.manifold == "hc" else max(float(z.detach()[:, group == k].std(correction=0)) for k in range(3) if (group == k).any())
            a = max(float(P["alpha"].detach().abs().max()), spread)
            largest_a = max(largest_a, a)
            if backward:
                leaves = [S["x"], S["f"], P["phi"], P["alpha"], P["bias"], s, z]
                gradients = torch.autograd.grad([wants["u"], wants["x_next"]], leaves, [S["du"], S["dx_next"]], allow_unused=True)
                dx, df, dphi, dalpha, dbias, ds, dz = (torch.zeros_like(leaf) if g is None else g for leaf, g in zip(leaves, gradients))
                wants = {**wants, "dx": dx, "df": df}
                v, ds = v.detach().reshape(-1, v.shape[-1]), ds.reshape(-1, ds.shape[-1])
                for name, value, terms in (("phi", dphi, v.abs().T @ ds.abs()), ("bias", dbias, dz.abs().sum(0)),
                                           ("alpha", dalpha, torch.zeros_like(dalpha).index_add(0, group, (dz * y.detach()).abs().sum(0)))):
                    sums[name] += value
                    before[name] += terms
            sources = {name: value.detach() for name, value in S.items()}
            for name, want in wants.items():
                want, mine = want.detach(), self.load(got[name], rows)
                if not self.streams(name):
                    worst.elements(name, mine, want, 0, COEFFICIENT * max(1, a) * want.abs().clamp(min=1), first)
                    continue
                B = torch.ones(len(want), dtype=torch.float64, device=want.device)
                for tensor in (want, *(sources[i] for i in {"u": ("x",), "x_next": ("x", "f")}.get(name, ("x", "f", "du", "dx_next")))):
                    B = torch.maximum(B, tensor.flatten(1).abs().amax(1))
                limit = STREAM * max(1, a) * B.reshape(-1, *[1] * (want.dim() - 1))
                if name == "dx" and case.manifold != "hc":
                    limit = limit + self.cancelled(sources, P)
                worst.elements(name, mine, want, ROUNDING[case.dtype] * want.abs(), limit, first)
                if case.dtype == "bf16":
                    flipped[name] += int((mine != want.bfloat16().double()).sum())
        for name, count in flipped.items():
            size = int(np.prod(got[name].shape))
            worst.add(count / (FLIPPED * size), f"{count} of {size} elements of {name} are not the rounded exact value")
        for name in P if backward else ():
            error, norm, terms = (float(torch.linalg.vector_norm(value)) for value in (self.load(got["d" + name]) - sums[name], sums[name], before[name]))
            limit = GRADIENT * max(1, largest_a) * norm + CANCELLED * terms
            worst.add(0.0 if error == 0 else error / limit if limit else np.inf, f"d{name}")
        return worst

    def cancelled(self, S, P):
        """What sums over the channels that cancel leave in dx: 1e-6 of the norm that their terms have, times phi / r. A token of zeros has 1 / r = 1000, and plain fp32 autograd is
        then several times beyond the limit for streams where dh_post happens to be small."""
        n, post = self.case.n, slice(self.case.n, 2 * self.case.n)
        terms = torch.einsum("toc,tc->to", S["dx_next"] ** 2, S["f"] ** 2).sqrt()
        r = (S["x"].flatten(1) ** 2).mean(1).add(1e-6).sqrt()
        return CANCELLED * float(P["alpha"].detach().abs().max()) * ((terms / r[:, None]) @ P["phi"].detach()[:, post].abs().T).reshape(-1, n, self.case.C)

    def run(self, entries, twice):
        """good, line"""
        try:
            self.write(entries)
            for entry in entries:
                wrong = self.call(entry, "out", self.threads)
                if wrong:
                    return False, f"{self.name}: {wrong}"
            worst = self.compare(entries)
            if isinstance(worst, str):
                return False, f"{self.name}: {worst}"
            line, same = f"{self.name}: {worst.share:.2f} of what is allowed ({worst.where})", True
            for entry in entries if twice else ():
                wrong = self.call(entry, "again", self.threads + 1)
                same = same and not wrong and filecmp.cmp(self.file(entry, "out"), self.file(entry, "again"), shallow=False)
            return worst.share <= 1 and same, line + ("" if same else ", OTHER BYTES the second time")
        except Exception as error:  # a case that breaks off must not take the others with it
            return False, f"{self.name}: {type(error).__name__}: {error}"


# ---------------------------------------------------------------------------- the words
def scratch(checks):
    """A folder for files that are read once: in memory, where there is room"""
    memory = pathlib.Path("/dev/shm")
    room = os.statvfs(memory) if memory.is_dir() and os.access(memory, os.W_OK) else None
    return tempfile.TemporaryDirectory(prefix="mhc-shapes-", dir=memory if room and room.f_bavail * room.f_frsize > 24 << 30 else checks.work)


def ready(device):
    if torch is None or (device == "cuda" and not torch.cuda.is_available()):
        print("skip: no PyTorch" + (" with CUDA" if torch else ""))
        return False
    torch.linalg.solve(torch.eye(2, dtype=torch.float64, device=device), torch.eye(2, dtype=torch.float64, device=device))  # loads its libraries, which must not happen on two threads
    if device == "cpu":
        torch.set_num_threads(1)
    return True


def shapes(checks, device="cuda", only=""):
    if not ready(device):
        return
    chosen = [c for c in cases(device) if only in f"{package_name(c)} T={c.T} {c.data}"]
    print(f"     {len(chosen)} cases, T up to {max(TOKENS[device])}, smaller where T n C would pass {LARGEST:.1e}", flush=True)

    def one(case):
        with scratch(checks) as folder:
            return Run(case, checks, device, folder, threads=2).run(("forward", "backward"), twice=case.T > 13 and case.T * case.n * case.C <= TWICE)

    # The largest first: they take longest.
    with concurrent.futures.ThreadPoolExecutor(WORKERS[device]) as pool:
        for good, line in pool.map(one, sorted(chosen, key=lambda c: -c.T * c.n * c.C)):
            checks.say(good, line)


def huge(checks, device="cuda", only=""):
    """Past 2^31 elements, all of them compared; forward alone. Files are written and read a chunk of tokens at a time"""
    if device != "cuda" or not ready(device):
        return
    with scratch(checks) as folder:
        checks.say(*Run(HUGE, checks, device, folder, threads=os.cpu_count()).run(("forward",), twice=False))


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("command", choices=("prepare", "run"))
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("programs", type=pathlib.Path)
    parser.add_argument("words", nargs="*")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda")
    parser.add_argument("--only", default="")
    options = parser.parse_intermixed_args()
    if options.command == "prepare":
        return prepare(options.out, options.programs.resolve(), options.device)
    checks = gpu_check.Checks(options.out, options.programs.resolve())
    for word in options.words or ("shapes", "huge"):
        {"shapes": shapes, "huge": huge}[word](checks, options.device, options.only)
    print("all checks passed" if not checks.failed else f"{checks.failed} checks FAILED")
    sys.exit(checks.failed != 0)


if __name__ == "__main__":
    main()
