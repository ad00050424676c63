"""Chains of hyper-connections with every preset, convention and manifold on a GPU, whose boundaries are groups of blocks: forward and backward against an fp64 reference with the same
roundings (PyTorch; autograd for gradients), the same bits twice, and how close to the memory floor. A part of gpu_check.py: `prepare` where the compiler is, `run` where the GPU is."""
import json
import math
import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "examples" / "pytorch"))

DEPTH, CHANNELS, TOKENS, TIMED, TIMED_TOKENS = 3, 256, (1, 61, 1003), 2560, 16384
SINKHORN = {"first_over": "outputs", "start": "exp", "denominator": "none", "iterations": 20, "eps": 1e-6}
CONVENTION = {"res_application": "HX", "sinkhorn": SINKHORN, "rms": {"form": "rsqrt_mean_plus_eps", "eps": 1e-6}, "norm_weight": False, "pre_eps": 0.0, "post_scale": 2.0,
              "coefficient_dtype": "fp32", "layout": "TnC", "phi_layout": "km", "pre_source": "same", "f_bias": False, "mappings": {"pre": "dynamic", "post": "dynamic", "res": "dynamic"}}
ADD_EPS = {**SINKHORN, "start": "softmax", "denominator": "add_eps"}
V4 = {"res_application": "HTX", "sinkhorn": ADD_EPS, "pre_eps": 1e-6, "phi_layout": "mk"}
PRESETS = {"paper": {}, "deepseek-v4": V4, "deepseek-v4.1": {**V4, "pre_source": "delayed"}, "liger": {"sinkhorn": {**ADD_EPS, "first_over": "inputs"}},
           "transformer-engine": {"layout": "TCn", "res_application": "HTX", "sinkhorn": {**SINKHORN, "start": "log"}, "rms": {"form": "rsqrt_mean_plus_eps", "eps": 1.1920929e-7}, "phi_layout": "mk"}}


def variants():
    """name: what a description has beside its size"""
    named = {preset: {"preset": preset} for preset in PRESETS}
    named |= {manifold: {"manifold": manifold} for manifold in ("permutation_hull", "orthogonal", "sphere", "simplex", "unconstrained", "identity")}
    named |= {"hc": {"topology": "hc"}, "hc-delayed": {"topology": "hc", "convention": {"pre_source": "delayed"}}}
    for name, convention in {"delayed": {"pre_source": "delayed"}, "norm-weight": {"norm_weight": True}, "bf16-coefficients": {"coefficient_dtype": "bf16"}, "f-bias": {"f_bias": True},
                             "other-root": {"rms": {"form": "inverse_of_root_plus_eps", "eps": 1e-3}}, "fixed-res": {"mappings": {"res": "fixed"}}, "fixed-pre": {"mappings": {"pre": "fixed"}},
                             "static": {"mappings": {"res": "static"}}, "interleaved-delayed": {"layout": "TCn", "pre_source": "delayed"}}.items():
        named[name] = {"convention": convention}
    named["hc-norm-weight"] = {"topology": "hc", "convention": {"norm_weight": True}}
    return {name: {"hc_mult": 4, "dtype": "bf16", **fields} for name, fields in named.items()} | {f"n{n}": {"hc_mult": n, "dtype": "bf16"} for n in (2, 3, 8)}


def path(out, name, timed):
    return out / "chains" / f"{name}{'-timed' if timed else ''}.mhcpkg"


def prepare(out, programs):
    (out / "chains").mkdir(exist_ok=True)
    for name, fields in variants().items():
        for timed in (False, True):
            description = path(out, name, timed).with_suffix(".json")
            description.write_text(json.dumps({"kind": "hyper_connection_chain", "hidden_size": TIMED if timed else CHANNELS, "depth": DEPTH, **fields}))
            subprocess.run([programs / "mhc-compile", description, "--target=sm_90a", "--recompute-block=none", "-o", path(out, name, timed)], check=True)
    print(f"compiled {len(variants())} chains of every convention", flush=True)


def convention_of(d):
    preset, own = PRESETS[d.get("preset", "paper")], d.get("convention", {})
    c = {**CONVENTION, **preset, **own}
    c["mappings"] = {**CONVENTION["mappings"], **own.get("mappings", {})}
    return c


# ---------------------------------------------------------------------------- the reference: sections 1.1 to 1.6 of the mathematics
def sinkhorn(torch, Z, s, HTX):
    """mat(z) as stored -> h_res as stored"""
    outputs, inputs = (-1, -2) if HTX else (-2, -1)
    first, second = (outputs, inputs) if s["first_over"] == "outputs" else (inputs, outputs)
    eps = s["eps"]

    def divide(M, axis):
        return M / (M.sum(axis, keepdim=True) + eps) if s["denominator"] == "add_eps" else M / M.sum(axis, keepdim=True)

    if s["start"] == "softmax":
        M = divide(torch.softmax(Z, first) + eps, second)
        for _ in range(s["iterations"] - 1):
            M = divide(divide(M, first), second)
        return M
    for _ in range(s["iterations"]):
        Z = Z - torch.logsumexp(Z, first, keepdim=True)
        Z = Z - torch.logsumexp(Z, second, keepdim=True)
    return torch.exp(Z)


def project(torch, Z, d, c):
    n, manifold, HTX = Z.shape[-1], d.get("manifold", "birkhoff"), c["res_application"] == "HTX"
    eye = torch.eye(n, dtype=Z.dtype, device=Z.device)
    if manifold == "birkhoff":
        return sinkhorn(torch, Z, c["sinkhorn"], HTX)
    if manifold == "permutation_hull":
        import itertools
        matrices = torch.stack([torch.stack([eye[p.index(o)] for o in range(n)]) for p in map(list, itertools.permutations(range(n)))])  # P[p(i), i] = 1
        return torch.einsum("tp,poi->toi", torch.softmax(torch.einsum("toi,poi->tp", Z, matrices), 1), matrices)
    if manifold == "orthogonal":
        A = (Z - Z.mT) / 2
        return torch.linalg.solve(eye + A, eye - A)
    if manifold == "sphere":
        return math.sqrt(n) * Z / torch.sqrt((Z * Z).sum((1, 2), keepdim=True) + 1e-12)
    return torch.softmax(Z, -1) if manifold == "simplex" else Z


def reference(torch, d, given):
    """Outputs and gradients in fp64. Rounded are x', u, dx, df and coefficients of bf16, each once; gradients go straight through the roundings."""
    c, hc, n = convention_of(d), d.get("topology") == "hc", d["hc_mult"]

    class Rounded(torch.autograd.Function):
        """the value, or its gradient too"""

        @staticmethod
        def forward(context, value, gradients):
            context.gradients = gradients
            return value.bfloat16().double()

        @staticmethod
        def backward(context, gradient):
            return gradient.bfloat16().double() if context.gradients else gradient, None

    leaves = {name: value.cuda().double().requires_grad_() for name, value in given.items() if name not in ("du", "dx_next")}
    apart = (lambda x: x.mT) if c["layout"] == "TCn" else (lambda x: x)  # streams first, and back
    applied = (lambda h: Rounded.apply(h, False)) if c["coefficient_dtype"] == "bf16" else (lambda h: h)
    x, loss, reads, next_pre = Rounded.apply(leaves["x"], True), 0, [], None
    for i in range(DEPTH):
        P = {name: leaves[name][i] for name in leaves if name != "x"}
        phi = P["phi"].mT if c["phi_layout"] == "mk" else P["phi"]
        v = apart(x) if hc else x.flatten(1)
        mean, eps = (v * v).mean(-1, keepdim=True), c["rms"]["eps"]
        root = torch.sqrt(torch.where(mean > 0, mean, 1)) * (mean > 0)  # whose derivative at 0 is 0
        v = v * torch.rsqrt(mean + eps) if c["rms"]["form"] == "rsqrt_mean_plus_eps" else v / (root + eps)
        y = (v * P["norm_weight"] if c["norm_weight"] else v) @ phi
        if hc:
            y = torch.tanh(y)
            y = torch.cat([y[..., 0], y[..., 1], y[..., 2:].mT.flatten(1)], 1)
        sizes = torch.tensor([n, n, y.shape[1] - 2 * n], device=y.device)
        dynamic = torch.tensor([float(c["mappings"][part] == "dynamic") for part in ("pre", "post", "res")], device=y.device).double()
        z = (P["alpha"] * dynamic).repeat_interleave(sizes) * y + P["bias"]
        pre, post = (z[:, :n], z[:, n:2 * n]) if hc else (torch.sigmoid(z[:, :n]) + c["pre_eps"], c["post_scale"] * torch.sigmoid(z[:, n:2 * n]))
        if c["mappings"]["pre"] == "fixed":
            pre = torch.full_like(z[:, :n], 1 / n)
        if c["mappings"]["res"] == "fixed" or d.get("manifold") == "identity":
            res = torch.eye(n, dtype=z.dtype, device=z.device).expand(len(z), n, n)
        else:
            res = z[:, 2 * n:].reshape(-1, n, n)
            res = res if hc else project(torch, res, d, c)
        if c["pre_source"] == "delayed":
            mine = torch.eye(n, dtype=z.dtype, device=z.device)[:1].expand(len(z), n) if next_pre is None else next_pre
            pre, next_pre = mine, pre
        streams = apart(x)
        reads.append((applied(pre)[:, :, None] * streams).sum(1))
        loss = loss + (reads[-1] * given["du"][i].cuda().double()).sum()
        f = Rounded.apply(P["f"], True)
        f = f + P["f_bias"] if c["f_bias"] else f
        H = applied(res).mT if c["res_application"] == "HTX" else applied(res)
        x = apart(H @ streams + applied(post)[:, :, None] * f[:, None])
        x = Rounded.apply(x, True) if i + 1 < DEPTH else x
    (loss + (x * given["dx_next"].cuda().double()).sum()).backward()
    gradients = {"d" + name: torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for name, leaf in leaves.items()}
    if c["f_bias"]:  # sums df as it is stored
        gradients["df_bias"] = gradients["df"].sum(1)
    return {"forward": {"u": torch.stack(reads).bfloat16(), "x_next": x.bfloat16()}, "backward": gradients}


# ---------------------------------------------------------------------------- run
def inputs(torch, manifest, tokens):
    """Of entry backward, which takes those of forward too. One token is all zeros."""
    generator = torch.Generator().manual_seed(tokens)
    scale = {"phi": lambda v: v / math.sqrt(max(v.shape[1:])), "alpha": lambda v: torch.tensor([0.8, -1.2, 0.9]).expand(v.shape), "bias": lambda v: v / 2, "norm_weight": lambda v: 1 + 0.3 * v}
    given = {}
    for entry in manifest["inputs"]:
        value = scale.get(entry["name"], lambda v: v)(torch.randn([tokens if isinstance(s, dict) else s for s in entry["shape"]], generator=generator))
        given[entry["name"]] = value.bfloat16() if entry["dtype"] == "bf16" else value
    if tokens > 1:
        given["x"][tokens // 2] = 0
    return given


def compare(torch, checks, name, fields):
    """Whether a chain is right, and what to say of it"""
    import zipfile

    from mhc_call import load, save

    package, source, target = path(checks.out, name, False), checks.work / f"{name}.in", checks.work / f"{name}.out"
    with zipfile.ZipFile(package) as archive:
        entries = json.loads(archive.read("manifest.json"))["entries"]
    worst, same = {}, True
    for tokens in TOKENS:
        given = inputs(torch, entries["backward"], tokens)
        expected = reference(torch, fields, given)
        for entry in ("forward", "backward"):
            save(source, {i["name"]: given[i["name"]] for i in entries[entry]["inputs"]})
            results = []
            for _ in range(2):
                done = checks.run(["call", package, entry, f"--inputs={source}", f"--outputs={target}", "--device=cuda"], MHC_POISON="1")
                results.append(load(target) if not done.returncode else None)
            if not all(results):
                worst[entry] = math.inf
                continue
            for key, want in expected[entry].items():
                # Gradients of alpha and bias are sums that cancel.
                size = want.double().norm().item() + (1e-2 * math.sqrt(tokens) if key in ("dalpha", "dbias") else 1e-9)
                error = (results[0][key].double().cuda() - want.double()).norm().item() / size
                worst[f"{key} T={tokens}"] = error if math.isfinite(error) else math.inf
                same &= torch.equal(results[0][key], results[1][key])
    at = max(worst, key=worst.get)
    # phi has 16 bits in groups: where that turns one rounding of x', the coefficients after it move by about 2^-8 / sqrt(n C), with them all channels, some of which round the other way then.
    return worst[at] < DEPTH * 2.0 ** -8 and same, f"chain {name}: at most {worst[at]:.1e} of a tensor's norm ({at}){'' if same else ', OTHER BITS'}"


def check(checks):
    import concurrent.futures

    import torch

    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        for good, said in pool.map(lambda variant: compare(torch, checks, *variant), variants().items()):
            checks.say(good, said)


def bench(checks):
    import torch
    from gpu_boundary import copy_rate

    rate = copy_rate(torch)
    print(f"     copy {rate * 1e-12:.3f} TB/s; chains of {DEPTH} at {TIMED} x {TIMED_TOKENS}, times their floors; kernels: us a launch (x its bytes at the copy rate)")
    for name in variants():
        for entry in ("forward", "backward"):
            done = checks.run(["bench", path(checks.out, name, True), entry, f"--shape=T={TIMED_TOKENS if name != 'n8' else 2048}", "--device=cuda", "--json", "--repeat=5"])
            if done.returncode:
                checks.say(False, f"bench of chain {name} {entry}")
                continue
            result = json.loads(done.stdout)
            kernels = ", ".join(f"{k['name']} {k['seconds'] / k['launches'] * 1e6:.0f} ({k['seconds'] * rate / (k['read'] + k['written']):.2f})" for k in result["kernels"])
            print(f"     {name:>20} {entry:>9} {result['seconds'] * 1e6:>9.1f} {result['seconds'] * rate / result['floor']:>8.2f}   own {result['own_seconds'] * rate / result['floor']:.2f}   {kernels}", flush=True)


def run(checks):
    check(checks)
    bench(checks)
