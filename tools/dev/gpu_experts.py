"""Dispatch and grouped products on an NVIDIA GPU, kernel by kernel: right by an fp64 reference, the same bits again, by graphs, and how fast.

usage: gpu_experts.py prepare OUT BIN          where the compiler is: the kernels' PTX into OUT/experts
       gpu_experts.py run OUT [WORD..]         where the GPU is (PyTorch); words: right speed

Nothing here but the driver and PyTorch: launches are written after runtime/src/hal/cuda/CudaExperts.cpp, which the runtime's own tests check. Speed is that of products in a CUDA
graph, beside a loop of torch.matmul over the groups whose sizes the host was told, PyTorch's grouped product where there is one, and one dense product of as many operations.
"""
import ctypes
import json
import pathlib
import re
import statistics
import struct
import subprocess
import sys

import numpy as np

try:
    import torch
except ImportError:  # prepare needs none
    torch = None

TARGET = "sm_90a"
UNIT, ENOUGH, MOST, ROWS = 256, 512, 2048, 128  # of CudaExperts.cpp
# hidden_size, expert's width, experts, choices: of mHC 3B and 27B, Sigma-MoE-Tiny, Transformer-Next-MoE d = 12
MODELS = {"3B": (1280, 896, 64, 6), "27B": (2560, 1536, 72, 6), "Sigma": (1536, 768, 96, 1), "Next12": (1536, 768, 63, 7)}
ODD = [(100, 36), (33, 17), (130, 34), (1000, 264)]
SORT = ["mhc_dispatch_count", "mhc_dispatch_prefix", "mhc_dispatch_offsets", "mhc_dispatch_scatter"]


def product(what, kind, k, n):
    return f"mhc_grouped_{'outer' if what == 'outer' else 'matmul_t' if what == 'transposed' else 'matmul'}_{kind}_{k}_{n}"


def kernels():
    sizes = [(*size, kind) for size in ODD for kind in ("bf16", "f32")]
    for c, i, _, _ in MODELS.values():
        sizes += [(c, i, "bf16"), (i, c, "bf16"), (c, 2 * i, "bf16"), (2 * i, c, "bf16")]
    sizes += [(1280, 896, "f32"), (896, 1280, "f32")]
    return ["mhc_route_check", *SORT] + sorted({product(what, kind, k, n) for k, n, kind in sizes for what in ("plain", "transposed", "outer")})


def prepare(out, programs):
    folder = out / "experts"
    folder.mkdir(parents=True, exist_ok=True)
    names = ",".join(kernels())
    emit = f"mhc-emit-simple{{library={names}}}"
    write = f"gpu.module(mhc-write-ptx{{chip={TARGET} output={folder}/kernels.ptx}})"
    subprocess.run([programs / "mhc-opt", "-", f"-pass-pipeline=builtin.module({emit},{write})", "-o", "/dev/null"], input=b"module {}", check=True)
    text = subprocess.run([programs / "mhc-opt", "-", f"--mhc-emit-simple=library={names}"], input=b"module {}", check=True, capture_output=True).stdout.decode()
    launches = {m[0]: {k: int(v) for k, v in re.findall(r"(\w+) = (\d+)", m[1])} for m in re.findall(r"llvm\.func @(\w+)\(.*mhc\.launch = \{([^}]*)\}", text)}
    (folder / "launches.json").write_text(json.dumps(launches, indent=1))
    print(f"{len(launches)} kernels of experts, {(folder / 'kernels.ptx').stat().st_size / 2**20:.1f} MiB", flush=True)


def ceil(a, b):
    return -(-a // b)


class Kernels:
    def __init__(self, out):
        torch.zeros(1, device="cuda")  # the context
        self.driver = ctypes.CDLL("libcuda.so.1")
        self.launches = json.loads((out / "experts/launches.json").read_text())
        module, image = ctypes.c_void_p(), (out / "experts/kernels.ptx").read_bytes() + b"\0"
        self.ask("cuModuleLoadData", ctypes.byref(module), image)
        self.functions = {}
        for name, launch in self.launches.items():
            function = self.functions[name] = ctypes.c_void_p()
            self.ask("cuModuleGetFunction", ctypes.byref(function), module, name.encode())
            if launch["shared"] > 48 << 10:
                self.ask("cuFuncSetAttribute", function, 8, launch["shared"])

    def ask(self, call, *arguments):
        if error := getattr(self.driver, call)(*arguments):
            sys.exit(f"{call}: error {error}")

    def start(self, name, blocks, *arguments):
        if blocks == 0:
            return
        values = [ctypes.c_int64(a.data_ptr() if isinstance(a, torch.Tensor) else int(a)) for a in arguments]
        pointers = (ctypes.c_void_p * len(values))(*[ctypes.addressof(v) for v in values])
        launch, stream = self.launches[name], ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)
        self.ask("cuLaunchKernel", self.functions[name], int(blocks), 1, 1, launch["threads"], 1, 1, launch["shared"], stream, pointers, None)

    def dispatch(self, index, experts, capacity, results):
        count, choices = index.numel(), index.shape[1]
        piece = UNIT * max(1, min(ceil(experts, UNIT), ceil(count, UNIT * ENOUGH)), ceil(count, UNIT * MOST))
        blocks = ceil(count, piece)
        counts, offsets, gather, order, reverse, dropped, table = results
        self.start(SORT[0], blocks, index, table, count, experts, blocks, piece)
        self.start(SORT[1], experts, table, counts, blocks)
        now = int(((index >= 0) & (index < experts)).sum()) // (count // choices) if capacity else 1
        # Of every expert between capacity - 1 and capacity: that is, capacity.
        most = struct.unpack("<q", struct.pack("<d", (capacity - 0.5) * experts / now if capacity else 0.0))[0]
        self.start(SORT[2], 1, counts, offsets, dropped, experts, count // choices, most)
        self.start(SORT[3], blocks, index, table, offsets, gather, order, reverse, count, choices, experts, blocks, piece)

    def product(self, what, x, w, offsets, y, groups, accumulate=0):
        """y of plain and transposed; for outer x [rows, k], w [rows, n], y [groups, k, n]"""
        rows, k = x.shape
        n = w.shape[1 if what != "plain" else 2]
        name = product(what, "bf16" if x.dtype == torch.bfloat16 else "f32", k, n)
        columns = ceil(n, self.launches[name]["tile"])
        if what == "outer":
            return self.start(name, groups * ceil(k, ROWS) * columns, x, w, offsets, y, accumulate)
        tiles = min(rows, (rows + (ROWS - 1) * (groups + 1)) // ROWS)
        self.start(name, tiles * columns, x, w, offsets, y, rows, groups)


def room(tokens, choices, experts):
    """counts, offsets, gather, order, reverse, dropped, table; filled with what no result is"""
    count = tokens * choices
    return [torch.full((size,), -77, dtype=torch.int32, device="cuda") for size in (experts, experts + 1, count, count, count, 1, experts * ceil(count, UNIT) + 1)]


def choose(tokens, choices, experts, kind, seed=0):
    torch.manual_seed(seed)
    if kind == "one":
        return torch.full((tokens, choices), experts // 2, dtype=torch.int32, device="cuda")
    weights = torch.rand(tokens, experts, device="cuda").log() / (torch.arange(1, experts + 1, device="cuda") ** (-1.0 if kind == "skewed" else 0.0))
    index = weights.topk(choices, dim=1).indices.to(torch.int32).contiguous()
    if kind == "absent":
        index[torch.rand(index.shape, device="cuda") < 0.2] = -1
    return index


def graph_of(work):
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        work()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        work()
    return graph


def seconds(work, repeats=20, by_graph=True):
    """Median of a call's time; the work's memory should not fit into the cache."""
    graph = graph_of(work) if by_graph else None
    run = graph.replay if by_graph else work
    for _ in range(3):
        run()
    events = [torch.cuda.Event(enable_timing=True) for _ in range(repeats + 1)]
    for event in events[:-1]:
        event.record()
        run()
    events[-1].record()
    torch.cuda.synchronize()
    return statistics.median(a.elapsed_time(b) for a, b in zip(events, events[1:])) * 1e-3


# ---------------------------------------------------------------------------- right
def expected(index, experts, capacity):
    flat = index.reshape(-1).to(torch.int64)
    chosen = (flat >= 0) & (flat < experts)
    key = torch.where(chosen, flat, experts)
    order = key.sort(stable=True).indices[:int(chosen.sum())]
    counts = torch.bincount(key, minlength=experts + 1)[:experts]
    if capacity:
        begin = torch.cumsum(counts, 0) - counts
        rank = torch.arange(order.numel(), device="cuda") - begin[key[order]]
        order = order[rank < capacity]
    kept = counts.clamp(max=capacity) if capacity else counts
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64, device="cuda"), kept.cumsum(0)])
    reverse = torch.full_like(flat, -1)
    reverse[order] = torch.arange(order.numel(), device="cuda")
    order = torch.cat([order, order.new_zeros(flat.numel() - order.numel())])
    return counts, offsets, order // max(index.shape[1], 1), order, reverse, (counts.sum() - offsets[-1]).reshape(1)


def check_dispatch(kernels, say):
    for tokens, choices, experts, kind, capacity in ((0, 2, 5, "even", 0), (1, 1, 1, "even", 0), (4096, 6, 64, "even", 0), (5000, 8, 257, "skewed", 0), (3001, 4, 72, "one", 0), (777, 6, 63, "absent", 0),
                                                     (65536, 8, 64, "skewed", 9000), (20000, 1, 96, "one", 100), (4099, 7, 3000, "even", 12), (300000, 8, 128, "absent", 0)):
        index, results = choose(tokens, choices, experts, kind), room(tokens, choices, experts)
        kernels.dispatch(index, experts, capacity, results)
        wrong = [name for name, got, want in zip(("counts", "offsets", "gather", "order", "reverse", "dropped"), results, expected(index, experts, capacity)) if not torch.equal(got, want.to(torch.int32))]
        say(not wrong, f"dispatch of {tokens} x {choices} to {experts}, {kind}, capacity {capacity}: {wrong or 'exact'}")


def operands(what, kind, rows, k, n, groups, seed=1):
    torch.manual_seed(seed)
    dtype = torch.bfloat16 if kind == "bf16" else torch.float32
    x = torch.randn(rows, k, device="cuda").to(dtype)
    shape = {"plain": (groups, k, n), "transposed": (groups, n, k), "outer": (rows, n)}[what]
    w = torch.randn(shape, device="cuda").to(dtype)
    y = torch.full((groups, k, n), float("nan"), device="cuda") if what == "outer" else torch.full((rows, n), float("nan"), device="cuda", dtype=dtype)
    return x, w, y


def check_product(kernels, say, what, kind, k, n, sizes, rest):
    groups, rows = len(sizes), sum(sizes) + rest
    x, w, y = operands(what, kind, rows, k, n, groups)
    bounds = np.r_[0, np.cumsum(sizes)]
    offsets = torch.tensor(bounds, dtype=torch.int32, device="cuda")
    again = y.clone()
    for result in (y, again):
        kernels.product(what, x, w, offsets, result, groups)
    error = total = 0.0
    for e, (a, b) in enumerate(zip(bounds, bounds[1:])):
        left, right = x[a:b].double(), (w[a:b] if what == "outer" else w[e]).double()
        want = left.T @ right if what == "outer" else left @ (right.T if what == "transposed" else right)
        got = y[e] if what == "outer" else y[a:b]
        error += float(((got.double() - want) ** 2).sum())
        total += float((want ** 2).sum())
    error = (error / total) ** 0.5 if total else error
    limit = 3e-3 if y.dtype == torch.bfloat16 else 1e-5 if kind == "bf16" else 1e-6  # tensor cores cut sums off where others round them
    good = error < limit and torch.equal(y, again) and (what == "outer" or not y[bounds[-1]:].any())
    if what == "outer":  # added to what is there
        kernels.product(what, x, w, offsets, again, groups, accumulate=1)
        good &= torch.equal(again, 2 * y)
    text = "/".join(map(str, sizes)) if groups < 9 else f"{groups} groups up to {max(sizes)}"
    say(good, f"{product(what, kind, k, n)}, {text} and {rest} rows: {error:.1e}")


def check_graph(kernels, say):
    """What was recorded once is right for every routing that comes later."""
    tokens, choices, experts, k, n = 1000, 4, 24, 1280, 896
    index, results = choose(tokens, choices, experts, "even"), room(tokens, choices, experts)
    x, w, y = operands("plain", "bf16", tokens * choices, k, n, experts)

    def work():
        kernels.dispatch(index, experts, 0, results)
        kernels.product("plain", x, w, results[1], y, experts)
    graph = graph_of(work)
    for kind, seed in (("skewed", 3), ("one", 0), ("absent", 5)):
        index.copy_(choose(tokens, choices, experts, kind, seed))
        graph.replay()
        bounds = expected(index, experts, 0)[1].tolist()
        want = torch.cat([x[a:b].double() @ w[e].double() for e, (a, b) in enumerate(zip(bounds, bounds[1:]))] + [torch.zeros(len(x) - bounds[-1], n, device="cuda", dtype=torch.float64)])
        error = float((y.double() - want).norm() / want.norm())
        say(error < 3e-3, f"a graph replayed with other choices ({kind}): {error:.1e}")


def right(kernels, say):
    check_dispatch(kernels, say)
    rng = np.random.default_rng(4)
    groupings = [([0, 130, 0, 69, 1], 0), ([300], 5), ([0, 0, 0], 10), ([1] * 200 + [0] * 300 + [700], 3), (list(rng.integers(0, 600, 20)), 0), ([128, 256, 127, 129], 77)]
    for what in ("plain", "transposed", "outer"):
        for kind, size in [(kind, size) for size in ODD for kind in ("bf16", "f32")] + [("f32", (1280, 896)), ("bf16", (1280, 896)), ("bf16", (896, 1280)), ("bf16", (2560, 1536))]:
            for sizes, rest in groupings if size in ODD else groupings[:2] + groupings[4:]:
                check_product(kernels, say, what, kind, *size, sizes, rest)
    check_graph(kernels, say)


# ---------------------------------------------------------------------------- speed
def speed(kernels, _):
    for tokens, choices, experts in ((4096, 6, 64), (65536, 6, 64), (65536, 8, 1024), (1 << 20, 8, 64)):
        index, results = choose(tokens, choices, experts, "even"), room(tokens, choices, experts)
        mine = seconds(lambda: kernels.dispatch(index, experts, 0, results))
        other = seconds(lambda: index.reshape(-1).sort(stable=True))
        print(f"     dispatch of {tokens} x {choices} to {experts}: {mine * 1e6:.1f} us, {20 * index.numel() / mine / 1e9:.0f} GB/s of 20 bytes a choice; a stable sort alone {other * 1e6:.1f} us", flush=True)
    grouped = getattr(torch, "_grouped_mm", None)
    for model, (c, i, experts, choices) in MODELS.items():
        for tokens in (4096, 16384):
            index = choose(tokens, choices, experts, "even")
            results = room(tokens, choices, experts)
            kernels.dispatch(index, experts, 0, results)
            offsets, rows = results[1], tokens * choices
            bounds = offsets.tolist()
            pairs = list(zip(bounds, bounds[1:]))
            for what, k, n in [(w, *s) for s in ((c, i), (i, c), (c, 2 * i), (2 * i, c)) for w in ("plain", "transposed", "outer")]:
                x, w, y = operands(what, "bf16", rows, k, n, experts)
                mine = seconds(lambda: kernels.product(what, x, w, offsets, y, experts))
                dense_x, dense_w = (x.T, w) if what == "outer" else (x, w[0].T if what == "transposed" else w[0])
                dense = seconds(lambda: torch.matmul(dense_x, dense_w))

                def loop():
                    for e, (a, b) in enumerate(pairs):
                        if what == "outer":
                            torch.matmul(x[a:b].T, w[a:b])
                        else:
                            torch.matmul(x[a:b], w[e].T if what == "transposed" else w[e])
                looped = seconds(loop)
                flops = 2 * rows * k * n
                line = f"     {model} {tokens} tokens, {what} k {k} n {n}: {mine * 1e6:.0f} us, {flops / mine / 1e12:.0f} TFLOP/s; dense {flops / dense / 1e12:.0f}, loop {flops / looped / 1e12:.0f}"
                if grouped and what != "outer":
                    try:
                        right_factor = w.transpose(1, 2) if what == "transposed" else w
                        line += f", torch._grouped_mm {flops / seconds(lambda: grouped(x, right_factor, offs=offsets[1:])) / 1e12:.0f}"
                    except Exception as error:  # of PyTorch: it does not do these
                        line += f", torch._grouped_mm: {str(error).splitlines()[0][:60]}"
                        grouped = None
                print(line, flush=True)
    for what, k, n in (("plain", 1280, 896), ("transposed", 896, 1280), ("outer", 1280, 896)):
        x, w, y = operands(what, "f32", 24576, k, n, 64)
        offsets = torch.arange(0, 24577, 384, dtype=torch.int32, device="cuda")
        mine = seconds(lambda: kernels.product(what, x, w, offsets, y, 64))
        torch.backends.cuda.matmul.allow_tf32 = False
        dense_x, dense_w = (x.T, w) if what == "outer" else (x, w[0].T if what == "transposed" else w[0])
        dense = seconds(lambda: torch.matmul(dense_x, dense_w))
        flops = 2 * 24576 * k * n
        print(f"     f32 {what} k {k} n {n}, 64 groups of 384: {mine * 1e6:.0f} us, {flops / mine / 1e12:.1f} TFLOP/s; dense {flops / dense / 1e12:.1f}", flush=True)


def run(out, say, words=("right", "speed")):
    if torch is None or not torch.cuda.is_available():
        return print("skip experts: no PyTorch with CUDA")
    kernels = Kernels(out)
    for word in words:
        {"right": right, "speed": speed}[word](kernels, say)


def main():
    out = pathlib.Path(sys.argv[2])
    if sys.argv[1] == "prepare":
        return prepare(out, pathlib.Path(sys.argv[3]).resolve())
    failed = []

    def say(good, what):
        print(f"{'ok  ' if good else 'BAD '} {what}", flush=True)
        if not good:
            failed.append(what)
    run(out, say, sys.argv[3:] or ("right", "speed"))
    print("all checks passed" if not failed else f"{len(failed)} checks FAILED")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
