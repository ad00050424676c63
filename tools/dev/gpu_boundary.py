"""Chains of hyper-connections on a GPU whose blocks share tiles (schedule family group): right against fp64, the same bits twice, and how close
to the memory floor. A part of gpu_check.py: `prepare` where the compiler is, `run` where the GPU is (with PyTorch)."""
import json
import math
import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "examples" / "pytorch"))

DEPTH, STREAMS = 8, 4
# (C, T of the timing); the first of them are tuned. 7168 has no cluster that keeps phi: its blocks exchange through memory.
TUNED, CANDIDATES = 3, 6
SHAPES = ((1280, 16384), (2560, 16384), (4096, 8192), (7168, 8192))
# Forward of other forms, beside what family simple makes of them (which is compared with fp64 elsewhere).
FORMS = {"interleaved": {"preset": "transformer-engine"}, "hc": {"topology": "hc"}, "hc-delayed": {"topology": "hc", "convention": {"pre_source": "delayed"}}}
FORM_SHAPES = ((1280, 16384), (2560, 16384))


def prepare(out, programs):
    for channels, _ in SHAPES:
        description = out / f"boundary-{channels}.json"
        description.write_text(json.dumps({"kind": "hyper_connection_chain", "hidden_size": channels, "hc_mult": STREAMS, "depth": DEPTH, "dtype": "bf16"}))
        # Streams are kept: what blocks of recomputed sublayers cost is another question.
        subprocess.run([programs / "mhc-compile", description, "--target=sm_90a", "--recompute-block=none", "--exchange=memory", "-o", out / f"boundary-{channels}.mhcpkg"], check=True)
    # The same chains with several schedules of each kernel, for `tune`.
    for channels, _ in SHAPES[:TUNED]:
        subprocess.run([programs / "mhc-compile", out / f"boundary-{channels}.json", "--target=sm_90a", "--recompute-block=none", "--exchange=memory", f"--tune-candidates={CANDIDATES}",
                        "-o", out / f"tune-{channels}.mhcpkg"], check=True)
    for name, form in FORMS.items():
        for channels, _ in FORM_SHAPES:
            description = out / f"{name}-{channels}.json"
            description.write_text(json.dumps({"kind": "hyper_connection_chain", "hidden_size": channels, "hc_mult": STREAMS, "depth": DEPTH, "dtype": "bf16", **form}))
            for kind, exchange in (("groups", "memory"), ("simple", "none")):
                subprocess.run([programs / "mhc-compile", description, "--target=sm_90a", "--recompute-block=none", f"--exchange={exchange}", "-o", out / f"{name}-{channels}-{kind}.mhcpkg"], check=True)
    print(f"compiled {len(SHAPES)} chains, {TUNED} of them with {CANDIDATES} schedules a kernel, and {len(FORMS) * len(FORM_SHAPES)} of other forms", flush=True)


def inputs(torch, channels, tokens, spread):
    """Of a chain; `spread`: about how far the logits of the mixing matrices lie apart. One token is all zeros."""
    generator = torch.Generator().manual_seed(channels + tokens)
    rand = lambda *shape: torch.randn(*shape, generator=generator)
    columns = STREAMS * STREAMS + 2 * STREAMS
    bias = rand(DEPTH, columns)
    bias[:, 2 * STREAMS:] *= spread
    x = rand(tokens, STREAMS, channels).bfloat16()
    x[tokens // 2] = 0
    return {"du": rand(DEPTH, tokens, channels).bfloat16(), "dx_next": rand(tokens, STREAMS, channels).bfloat16(),
            "x": x, "f": rand(DEPTH, tokens, channels).bfloat16(), "phi": rand(DEPTH, STREAMS * channels, columns) / math.sqrt(STREAMS * channels),
            "alpha": torch.tensor([1.0, 0.75, 0.5]).repeat(DEPTH, 1), "bias": bias}


def reference(torch, given):
    """u and the last streams in fp64, with the roundings to bf16 that the description asks for; Sinkhorn in the log domain."""
    x = given["x"].cuda().double()
    groups = torch.tensor([STREAMS, STREAMS, STREAMS * STREAMS]).cuda()
    read = []
    for phi, alpha, bias, f in zip(*(given[name].cuda().double() for name in ("phi", "alpha", "bias", "f"))):
        v = x.flatten(1)
        z = v @ phi * torch.rsqrt((v * v).mean(1, keepdim=True) + 1e-6) * alpha.repeat_interleave(groups) + bias
        pre, post, log = torch.sigmoid(z[:, :STREAMS]), 2 * torch.sigmoid(z[:, STREAMS:2 * STREAMS]), z[:, 2 * STREAMS:].reshape(-1, STREAMS, STREAMS)
        for _ in range(20):
            log = log - torch.logsumexp(log, 1, keepdim=True)
            log = log - torch.logsumexp(log, 2, keepdim=True)
        read.append((pre[:, :, None] * x).sum(1).bfloat16())
        x = (log.exp() @ x + post[:, :, None] * f[:, None]).bfloat16().double()
    return {"u": torch.stack(read), "x_next": x.bfloat16()}


def backward_reference(torch, given):
    """Gradients in fp64. Rounded are x', dx and df, each once; the gradient goes straight through the rounding of x'."""
    class Rounded(torch.autograd.Function):
        @staticmethod
        def forward(context, value):
            return value.bfloat16().double()

        @staticmethod
        def backward(context, gradient):
            return gradient.bfloat16().double()

    leaf = lambda name: given[name].cuda().double().requires_grad_()
    x0, f0, phi, alpha, bias = leaf("x"), leaf("f"), leaf("phi"), leaf("alpha"), leaf("bias")
    du, dx_next = given["du"].cuda().double(), given["dx_next"].cuda().double()
    groups = torch.tensor([STREAMS, STREAMS, STREAMS * STREAMS]).cuda()
    x, loss = Rounded.apply(x0), 0
    for i in range(phi.shape[0]):
        v = x.flatten(1)
        z = v @ phi[i] * torch.rsqrt((v * v).mean(1, keepdim=True) + 1e-6) * alpha[i].repeat_interleave(groups) + bias[i]
        pre, post, log = torch.sigmoid(z[:, :STREAMS]), 2 * torch.sigmoid(z[:, STREAMS:2 * STREAMS]), z[:, 2 * STREAMS:].reshape(-1, STREAMS, STREAMS)
        for _ in range(20):
            log = log - torch.logsumexp(log, 1, keepdim=True)
            log = log - torch.logsumexp(log, 2, keepdim=True)
        loss = loss + ((pre[:, :, None] * x).sum(1) * du[i]).sum()
        x = log.exp() @ x + post[:, :, None] * Rounded.apply(f0[i])[:, None]
        if i + 1 < phi.shape[0]:
            x = Rounded.apply(x)
    (loss + (x * dx_next).sum()).backward()
    return {"dx": x0.grad, "df": f0.grad, "dphi": phi.grad, "dalpha": alpha.grad, "dbias": bias.grad}


def copy_rate(torch):
    """Bytes a second, read and written, of a copy of 1 GiB."""
    source = torch.empty(1 << 30, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    for _ in range(3):
        target.copy_(source)
    start.record()
    for _ in range(20):
        target.copy_(source)
    end.record()
    torch.cuda.synchronize()
    return 2 * (1 << 30) * 20 / (start.elapsed_time(end) * 1e-3)


def call(checks, package, entry, given, times=1):
    from mhc_call import load, save
    save(checks.work / "boundary.in", {name: value for name, value in given.items() if entry == "backward" or name not in ("du", "dx_next")})
    results = []
    for _ in range(times):
        done = checks.run(["call", package, entry, f"--inputs={checks.work}/boundary.in", f"--outputs={checks.work}/boundary.out", "--device=cuda"])
        if done.returncode:
            return None
        results.append(load(checks.work / "boundary.out"))
    return results


def forms(checks, torch):
    """Forward of FORMS: groups of blocks beside family simple, the same bits twice, and how long both take."""
    for name, form in FORMS.items():
        for channels, timed in FORM_SHAPES:
            groups, simple = (checks.out / f"{name}-{channels}-{kind}.mhcpkg" for kind in ("groups", "simple"))
            for tokens in (1, 17, 1000):
                given = inputs(torch, channels, tokens, 1)
                if name == "interleaved":
                    given["x"], given["phi"] = given["x"].transpose(1, 2).contiguous(), given["phi"].transpose(1, 2).contiguous()
                else: # columns of h_pre, h_post and all of h_res
                    given["phi"] = given["phi"][:, :channels, :STREAMS + 2].contiguous() * 2
                results, expected = call(checks, groups, "forward", given, times=2), call(checks, simple, "forward", given)
                if not results or not expected:
                    checks.say(False, f"{name} C {channels} T {tokens}: no result")
                    continue
                errors = {key: ((results[0][key].double() - value.double()).norm() / value.double().norm()).item() for key, value in expected[0].items()}
                same = all(torch.equal(results[0][key], results[1][key]) for key in expected[0])
                checks.say(same and max(errors.values()) < 4e-3,
                           f"{name} C {channels} T {tokens} forward: " + ", ".join(f"{key} {error:.1e}" for key, error in errors.items()) + (", the same bits" if same else ", OTHER BITS"))
            for package in (groups, simple):
                done = checks.run(["bench", package, "forward", f"--shape=T={timed}", "--device=cuda", "--json", "--repeat=10"])
                if done.returncode:
                    checks.say(False, f"bench of {package.stem}")
                    continue
                result = json.loads(done.stdout)
                kernels = ", ".join(f"{k['name']} {k['seconds'] / k['launches'] * 1e6:.0f}" for k in result["kernels"])
                print(f"     {package.stem} x {timed}: {result['seconds'] * 1e6:.1f} us; kernels, us a launch: {kernels}", flush=True)


def run(checks):
    import torch

    for channels, _ in SHAPES:
        package = checks.out / f"boundary-{channels}.mhcpkg"
        for tokens, spread in ((1, 1), (17, 1), (1000, 1), (1000, 10), (1000, 120)):
            given = inputs(torch, channels, tokens, spread)
            for entry, expect, limit in (("forward", reference, 4e-3), ("backward", backward_reference, 6e-3)):
                results = call(checks, package, entry, given, times=2)
                if not results:
                    checks.say(False, f"boundary C {channels} T {tokens} {entry}: no result")
                    continue
                expected = expect(torch, given)
                errors = {name: ((results[0][name].double() - value.double().cpu()).norm() / value.double().cpu().norm()).item() for name, value in expected.items()}
                same = all(torch.equal(results[0][name], results[1][name]) for name in expected)
                # Eight roundings of bf16 one after another, of which each may fall the other way where fp32 differs from fp64 in the last bits.
                checks.say(same and max(errors.values()) < limit,
                       f"boundary C {channels} T {tokens} spread {spread} {entry}: " + ", ".join(f"{name} {error:.1e}" for name, error in errors.items()) + (", the same bits" if same else ", OTHER BITS"))

    forms(checks, torch)
    rate = copy_rate(torch)
    print(f"     copy {rate * 1e-12:.3f} TB/s; a chain of {DEPTH}: floors are {10 * DEPTH + 4} and {15 * DEPTH + 8} units of C elements a token")
    print(f"     {'C x T':>14} {'entry':>9} {'us':>9} {'x floor':>8}   kernels: us a launch (x its bytes at the copy rate)")
    for channels, tokens in SHAPES:
        for entry, units in (("forward", 10 * DEPTH + 4), ("backward", 15 * DEPTH + 8)):
            done = checks.run(["bench", checks.out / f"boundary-{channels}.mhcpkg", entry, f"--shape=T={tokens}", "--device=cuda", "--json", "--repeat=10"])
            if done.returncode:
                checks.say(False, f"bench of boundary C {channels} {entry}")
                continue
            result = json.loads(done.stdout)
            floor = units * channels * tokens * 2 / rate
            checks.say(result["floor"] == units * channels * tokens * 2, f"floor of C {channels} {entry}: {units} units, as the package says")
            kernels = ", ".join(f"{k['name']} {k['seconds'] / k['launches'] * 1e6:.0f} ({k['seconds'] * rate / (k['read'] + k['written']):.2f})" for k in result["kernels"])
            print(f"     {channels:>6} x {tokens:>5} {entry:>9} {result['seconds'] * 1e6:>9.1f} {result['seconds'] / floor:>8.2f}   {kernels}", flush=True)
            if result["again_seconds"]:
                print(f"     {'':>14} {'its own':>9} {result['own_seconds'] * 1e6:>9.1f} {result['own_seconds'] / floor:>8.2f}   the others compute again what forward has computed, {result['again_seconds'] * 1e6:.1f} us", flush=True)


def tune(checks):
    """Every schedule of each kernel on this GPU, the best as a file for mhc-compile --schedule."""
    for channels, tokens in SHAPES[:TUNED]:
        package, saved = checks.out / f"tune-{channels}.mhcpkg", checks.out / f"tuned-{channels}.json"
        for entry in ("forward", "backward"):
            done = checks.run(["tune", package, entry, f"--shape=T={tokens}", "--device=cuda", "--repeat=7", f"--save={saved}.{entry}"])
            checks.say(done.returncode == 0, f"tune C {channels} T {tokens} {entry}")
            if done.returncode:
                continue
            print(done.stdout, flush=True)
            entries = json.loads(pathlib.Path(f"{saved}.{entry}").read_text())
            gained = [kernel["measured"]["default_microseconds"] / kernel["measured"]["microseconds"] for kernel in entries]
            checks.say(bool(entries) and min(gained) >= 1, f"tune C {channels} {entry}: {len(entries)} kernels, at most {max(gained, default=0):.2f} times as fast as by default; {saved}.{entry} for mhc-compile --schedule")
