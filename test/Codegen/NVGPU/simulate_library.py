#!/usr/bin/env python3
"""Checks the kernels behind library commands (attention, tokens, elements) without a GPU: they run on the CPU thread by thread (simt.c) and are held
against numpy in fp64. Results lie between margins, which must stay untouched.

usage: simulate_library.py MHC_OPT [WORD]; with a word only the checks whose name has it.
"""
import ctypes
import sys
import tempfile

import numpy as np

from simulate import Tensor, build_gpu, to_bf16

# type, head_dim, value_dim, sequences, length, heads, kv_heads
ATTENTION = [
    ("f32", 64, 64, 1, 1, 2, 1), ("f32", 24, 24, 2, 65, 4, 2), ("f32", 6, 6, 2, 13, 4, 2), ("f32", 5, 3, 1, 66, 3, 1),
    ("bf16", 128, 128, 1, 130, 2, 1), ("bf16", 192, 128, 1, 77, 2, 2), ("bf16", 72, 40, 3, 31, 4, 4), ("f32", 192, 128, 1, 129, 2, 1),
    ("bf16", 256, 256, 1, 70, 1, 1), ("bf16", 6, 6, 1, 64, 6, 3), ("f32", 128, 64, 2, 63, 2, 2),
]


class Simulator:
    def __init__(self, mhc_opt, names):
        folder = tempfile.mkdtemp()
        self.launches = build_gpu(mhc_opt, "module {}", folder, names)
        self.code = ctypes.CDLL(f"{folder}/gpu.so")

    def run(self, name, count, arguments):
        """count: of what the kernel takes by tiles"""
        launch = self.launches[name]
        values = [a.pointer if isinstance(a, Tensor) else int(a) for a in arguments]
        array = (ctypes.c_int64 * len(values))(*values)
        grid = -(-count // launch["tile"])
        if self.code.simulate(getattr(self.code, "sim_" + name), array, grid, launch["threads"]):
            sys.exit(f"{name}: threads wait for ever")

    def attention(self, name, sequences, length, heads, kv_heads, block_heads, scale, tensors):
        launch = self.launches[name]
        blocks = -(-length // launch["tile"]) * sequences * block_heads
        bits = int(np.float32(scale).view(np.uint32))
        values = [t.pointer for t in tensors] + [length, heads, kv_heads, bits, block_heads]
        if self.code.simulate(getattr(self.code, "sim_" + name), (ctypes.c_int64 * len(values))(*values), blocks, launch["threads"]):
            sys.exit(f"{name}: threads wait for ever")


def stored(kind, x):
    """As memory holds it, and what that means in fp64."""
    if kind == "bf16":
        words = to_bf16(x)
        return words, (words.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    return x.astype(np.float32), x.astype(np.float32).astype(np.float64)


def tensor(kind, x):
    words, exact = stored(kind, x)
    return Tensor(kind, x.size, words.reshape(-1)), exact


def reference(q, k, v, dout, scale):
    """[B, S, heads, d] -> out, lse, dq, dk, dv in fp64"""
    B, S, H, _ = q.shape
    K = k.shape[2]
    out, lse = np.zeros(q.shape[:3] + v.shape[3:]), np.zeros(q.shape[:3])
    dq, dk, dv = np.zeros(q.shape), np.zeros(k.shape), np.zeros(v.shape)
    masked = np.triu(np.ones((S, S), bool), 1)
    for b in range(B):
        for h in range(H):
            g = h // (H // K)
            s = np.where(masked, -np.inf, scale * q[b, :, h] @ k[b, :, g].T)
            top = s.max(1, keepdims=True)
            e = np.exp(s - top)
            p = e / e.sum(1, keepdims=True)
            lse[b, :, h] = (top + np.log(e.sum(1, keepdims=True)))[:, 0]
            out[b, :, h] = p @ v[b, :, g]
            dp = dout[b, :, h] @ v[b, :, g].T
            ds = scale * p * (dp - (p * dp).sum(1, keepdims=True))
            dq[b, :, h] = ds @ k[b, :, g]
            dk[b, :, g] += ds.T @ q[b, :, h]
            dv[b, :, g] += p.T @ dout[b, :, h]
    return out, lse, dq, dk, dv


failures = 0


def say(bad, text):
    global failures
    failures += bool(bad)
    print(("BAD " if bad else "ok  ") + text, flush=True)


def close(name, result, exact, kind):
    """fp32 arithmetic, one rounding to bf16; backward takes forward's out as it was rounded, too."""
    got, want = result.values.astype(np.float64), exact.reshape(-1)
    error = np.linalg.norm(got - want) / (np.linalg.norm(want) + 1e-30)
    limit = {"bf16": 3e-3 if name.endswith("out") else 6e-3, "f32": 3e-6}[kind]
    say(not error < limit or not result.intact(), f"{name}: {error:.1e}{'' if result.intact() else ', margins overwritten'}")


def backward(sim, sizes, tensors, deltas, results):
    kind, hd, vd, B, S, H, K = sizes
    q, k, v, dout, out, lse = tensors
    scale = hd ** -0.5
    sim.run(f"mhc_attention_delta_{kind}_{vd}", B * S * H, [dout, out, deltas, B * S * H])
    sim.attention(f"mhc_attention_dq_{kind}_{hd}_{vd}", B, S, H, K, H, scale, [q, k, v, dout, lse, deltas, results[0]])
    sim.attention(f"mhc_attention_dkv_{kind}_{hd}_{vd}", B, S, H, K, K, scale, [q, k, v, dout, lse, deltas, *results[1:]])


def check_attention(sim, sizes, rng):
    kind, hd, vd, B, S, H, K = sizes
    name, scale = f"attention {kind} {hd}/{vd} B {B} S {S} heads {H}/{K}", hd ** -0.5
    shapes = {"q": (B, S, H, hd), "k": (B, S, K, hd), "v": (B, S, K, vd), "dout": (B, S, H, vd)}
    values = {n: rng.normal(size=s) * (3 if n == "q" else 1) for n, s in shapes.items()}
    q, k, v, dout = (tensor(kind, x) for x in values.values())
    out, lse, dq, dk, dv = reference(q[1], k[1], v[1], dout[1], scale)
    o, l = Tensor(kind, out.size), Tensor("f32", lse.size)
    forward = f"mhc_attention_{kind}_{hd}_{vd}"
    sim.attention(forward, B, S, H, K, H, scale, [q[0], k[0], v[0], o, l])
    close(name + " out", o, out, kind)
    close(name + " lse", l, lse, "f32")
    results = [Tensor(kind, x.size) for x in (dq, dk, dv)]
    deltas = Tensor("f32", B * S * H)
    backward(sim, sizes, (q[0], k[0], v[0], dout[0], o, l), deltas, results)
    for text, mine, exact in zip(("dq", "dk", "dv"), results, (dq, dk, dv)):
        if S == 1 and text != "dv":  # softmax of one score: no gradient
            say(np.abs(mine.values).max() > 1e-2, f"{name} {text}: nothing")
            continue
        close(f"{name} {text}", mine, exact, kind)
    if S < 20:
        return
    # A NaN in a token is nothing to the tokens that do not see it.
    t = S - 9
    broken = {n: x.copy() for n, x in values.items()}
    for n in ("k", "v"):
        broken[n][:, t] = np.nan
    o2, l2 = Tensor(kind, out.size), Tensor("f32", lse.size)
    with np.errstate(invalid="ignore"):
        tensors = [tensor(kind, x)[0] for x in broken.values()]
    sim.attention(forward, B, S, H, K, H, scale, [*tensors[:3], o2, l2])
    same = np.array_equal(o2.values.reshape(out.shape)[:, :t], o.values.reshape(out.shape)[:, :t])
    say(not same or not np.isnan(o2.values.reshape(out.shape)[:, t:]).all(), f"{name}: forward, NaN in token {t} of k and v")
    again = [Tensor(kind, x.size) for x in (dq, dk, dv)]
    backward(sim, sizes, (*tensors, o2, l2), deltas, again)
    say(not np.array_equal(again[0].values.reshape(dq.shape)[:, :t], results[0].values.reshape(dq.shape)[:, :t]), f"{name}: dq, NaN in token {t} of k and v")
    broken = {n: x.copy() for n, x in values.items()}
    for n in ("q", "dout"):
        broken[n][:, t] = np.nan
    with np.errstate(invalid="ignore"):
        tensors = [tensor(kind, x)[0] for x in broken.values()]
    again = [Tensor(kind, x.size) for x in (dq, dk, dv)]
    backward(sim, sizes, (*tensors, o, l), deltas, again)
    others = np.r_[0:t, t + 1:S]
    same = np.array_equal(again[0].values.reshape(dq.shape)[:, others], results[0].values.reshape(dq.shape)[:, others])
    for mine, before, shape in zip(again[1:], results[1:], (dk.shape, dv.shape)):
        same &= np.array_equal(mine.values.reshape(shape)[:, t + 1:], before.values.reshape(shape)[:, t + 1:])
    say(not same, f"{name}: backward, NaN in token {t} of q and dout")


def check_elements(sim, rng):
    for kind in ("f32", "bf16"):
        for size in (1, 255, 1024, 3001):
            x, y = tensor(kind, rng.normal(size=size)), tensor(kind, rng.normal(size=size))
            sim.run(f"mhc_add_{kind}", size, [x[0], y[0], size])
            want = stored(kind, x[1] + y[1])[1]
            say(not np.array_equal(y[0].values, want.astype(np.float32)) or not y[0].intact(), f"add {kind} {size}")
    size = 2500
    narrow = tensor("bf16", rng.normal(size=size))
    wide = Tensor("f32", size)
    sim.run("mhc_widen_bf16", size, [narrow[0], wide, size])
    say(not np.array_equal(wide.values, narrow[1]) or not wide.intact(), "widen")
    x, parts = tensor("f32", rng.normal(size=size) * 2.0 ** rng.integers(-60, 60, size)), [Tensor("bf16", size) for _ in range(3)]
    for number, part in enumerate(parts):
        sim.run("mhc_part_bf16", size, [x[0], part, size, number])
    exact = np.array_equal(sum(part.values.astype(np.float64) for part in parts), x[1].astype(np.float64)) and np.array_equal(parts[0].values, stored("bf16", x[1])[1].astype(np.float32))
    say(not exact or not all(part.intact() for part in parts), "parts")
    x, y = tensor("f32", rng.normal(size=size)), Tensor("bf16", size)
    sim.run("mhc_round_bf16", size, [x[0], y, size])
    say(not np.array_equal(y.values, stored("bf16", x[1])[1].astype(np.float32)) or not y.intact(), "round")
    for accumulate in (0, 1):
        partials, out = tensor("f32", rng.normal(size=(5, 777))), tensor("f32", rng.normal(size=777))
        sim.run("mhc_sum_partials_f32", 777, [partials[0], out[0], 777, 5, accumulate])
        want = (out[1] if accumulate else np.zeros(777)).astype(np.float32)
        for p in partials[1]:
            want = want + p.astype(np.float32)
        say(not np.array_equal(out[0].values, want) or not out[0].intact(), f"sum of partials, accumulate {accumulate}")
    check_sums(sim, rng)


def check_sums(sim, rng):
    """Up to eight sums by one launch, each with the bits of additions in order: sizes beside those of blocks, numbers of partials beside those that are read at a time."""
    name = "mhc_sum_all_partials_f32"
    tile = sim.launches[name]["tile"]
    for shapes in ([(3, 13, 0), (24, 13, 0), (5 * tile + 1, 13, 0)], [(tile, 1, 1), (1, 128, 0), (tile + 1, 8, 1), (0, 3, 0), (2 * tile - 1, 7, 1), (9, 0, 0), (9, 0, 1), (77, 17, 1)],
                   [(700, 2, 1)], [(1, 1, 0)]):
        sums = []
        for size, count, accumulate in shapes:
            partials = (rng.normal(size=(count, size)) * 2.0 ** rng.integers(-9, 9, (count, size))).astype(np.float32)
            partials[rng.random(partials.shape) < 0.1] = -0.0
            out = rng.normal(size=size).astype(np.float32) if accumulate else np.full(size, np.nan, np.float32)
            want = out.copy() if accumulate else np.zeros(size, np.float32)
            for p in partials:
                want = want + p
            sums.append((Tensor("f32", partials.size, partials.reshape(-1)), Tensor("f32", size, out), size, count, accumulate, want))
        arguments = []
        for field in range(5):
            arguments += [sum[field] for sum in sums] + [0] * (8 - len(sums))
        sim.run(name, tile * sum(-(-size // tile) for size, _, _ in shapes), arguments)
        wrong = [s for s in sums if s[1].values.tobytes() != s[5].tobytes() or not s[1].intact() or not s[0].intact()]
        say(wrong, f"{len(sums)} sums of partials at once")


def check_tokens(sim, rng):
    for rows, columns, targets in ((1, 1, False), (3, 130, True), (2, 5, True), (4, 100, False)):
        for wrong in ([], [(rows - 1, columns - 1, 61)], [(0, 0, -1), (rows - 1, columns // 2, 2**31 - 1)][:rows]):
            tokens = rng.integers(0, 61, (rows, columns)).astype(np.int32)
            first_row = 7
            for r, c, value in wrong:
                tokens[r, c] = value
            used = columns - targets
            t, i, o = Tensor("i32", tokens.size, tokens.reshape(-1)), Tensor("i32", rows * used), Tensor("i32", rows * used)
            status = np.array([2**63 - 1, 0, 0], np.int64)

            class Place:
                pointer = status.ctypes.data
            sim.run("mhc_split_tokens", tokens.size, [t, i, o if targets else 0, Place.pointer, rows, columns, 61, first_row])
            safe = np.where((tokens < 0) | (tokens >= 61), 0, tokens)
            bad = not np.array_equal(i.values.reshape(rows, used), safe[:, :used]) or not i.intact() or not o.intact()
            if targets:
                bad |= not np.array_equal(o.values.reshape(rows, used), safe[:, 1:])
            places = sorted(((first_row + r) * columns + c, int(np.uint32(np.int64(value) & 0xffffffff))) for r, c, value in wrong)
            want = places[0][0] << 32 | places[0][1] if places else 2**63 - 1
            bad |= status[0] != want or status[1] != columns or status[2] != 61
            say(bad, f"split tokens {rows} x {columns}, targets {targets}, {len(wrong)} wrong")
    for kind in ("f32", "bf16"):
        for count, channels, vocab in ((1, 3, 5), (700, 40, 9), (513, 300, 1000), (300, 7, 1)):
            tokens = rng.integers(0, vocab, count).astype(np.int32)
            dx, out = tensor(kind, rng.normal(size=(count, channels))), tensor("f32", rng.normal(size=(vocab, channels)))
            want = out[1].astype(np.float32)
            for t in range(count):  # in the order of tokens
                want[tokens[t]] += dx[1][t].astype(np.float32)
            sim.run(f"mhc_embedding_backward_{kind}", count, [Tensor("i32", count, tokens), dx[0], out[0], count, channels, vocab])
            say(not np.array_equal(out[0].values, want.reshape(-1)) or not out[0].intact(), f"embedding backward {kind} {count} tokens, {channels} channels, {vocab} ids")


def main():
    word = sys.argv[2] if len(sys.argv) > 2 else ""
    names = ["mhc_add_f32", "mhc_add_bf16", "mhc_widen_bf16", "mhc_round_bf16", "mhc_part_bf16", "mhc_split_tokens", "mhc_embedding_backward_f32", "mhc_embedding_backward_bf16"]
    cases = [a for a in ATTENTION if word in f"attention {a[0]} {a[1]}/{a[2]}"]
    for kind, hd, vd, *_ in cases:
        names += [f"mhc_attention{part}_{kind}_{hd}_{vd}" for part in ("", "_dq", "_dkv")] + [f"mhc_attention_delta_{kind}_{vd}"]
    sim = Simulator(sys.argv[1], sorted(set(names)))
    rng = np.random.default_rng(3)
    if word in "elements":
        check_elements(sim, rng)
    if word in "tokens":
        check_tokens(sim, rng)
    for sizes in cases:
        check_attention(sim, sizes, rng)
    if failures:
        sys.exit(f"{failures} results differ")
    print("all agree")


if __name__ == "__main__":
    main()
