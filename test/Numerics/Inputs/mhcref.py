"""An fp64 reference of hyper-connections and of the language model, written from the formulas alone (numpy), and files in and out of mhc-run.

Nothing of the compiler is used; gradients are checked by central differences of this reference.

Environment: MHC_TEST_TARGET: what packages are compiled for (--target); MHC_TEST_STORE: a folder that keeps packages, and where one is there it is not compiled;
MHC_TEST_DEVICE: where they run (--device). With the three, a machine without the compiler runs on its GPU what another one has compiled.
"""
import copy
import hashlib
import itertools
import json
import os
import shutil
import struct
import subprocess
import tempfile

import numpy as np

from routing import layer_of_model

STORE, TARGET, DEVICE = (os.environ.get(f"MHC_TEST_{name}") for name in ("STORE", "TARGET", "DEVICE"))
WITHOUT_FP64 = DEVICE == "cuda" or "sm_" in (TARGET or "")  # cases in fp64 are left out

DTYPES = {"F64": np.float64, "F32": np.float32, "I32": np.int32, "I64": np.int64, "BF16": np.uint16}


def to_bf16(x):
    """fp64 -> the nearest bf16 (ties to even), as fp64; 8 bits of the fraction, denormals aside"""
    fraction, exponent = np.frexp(np.asarray(x, np.float64))
    return np.ldexp(np.rint(fraction * 256) / 256, exponent)


def save(path, tensors):
    """tensors: name -> (array, "F32" | ..); BF16 from values that are bf16 numbers"""
    header, data, offset = {}, [], 0
    for name, (array, dtype) in tensors.items():
        array = np.ascontiguousarray(array)
        raw = (array.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16) if dtype == "BF16" else array.astype(DTYPES[dtype])
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [offset, offset + raw.nbytes]}
        data.append(raw.tobytes())
        offset += raw.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + b"".join(data))


def load(path):
    with open(path, "rb") as f:
        size = struct.unpack("<Q", f.read(8))[0]
        header, body = json.loads(f.read(size)), f.read()
    out = {}
    for name, t in header.items():
        if name == "__metadata__":
            continue
        raw = np.frombuffer(body[t["data_offsets"][0]:t["data_offsets"][1]], DTYPES[t["dtype"]]).reshape(t["shape"])
        out[name] = (raw.astype(np.uint32) << 16).view(np.float32).astype(np.float64) if t["dtype"] == "BF16" else raw
    return out


class Package:
    def __init__(self, description, *options):
        self.folder = tempfile.TemporaryDirectory()
        self.path = os.path.join(self.folder.name, "p.mhcpkg")
        text = json.dumps(description)
        kept = STORE and os.path.join(STORE, hashlib.sha256(json.dumps([text, options]).encode()).hexdigest()[:20] + ".mhcpkg")
        if kept and os.path.exists(kept):
            self.path = kept
            return
        source = os.path.join(self.folder.name, "p.json")
        with open(source, "w") as f:
            f.write(text)
        subprocess.run(["mhc-compile", source, "-o", self.path, *options, *([f"--target={TARGET}"] if TARGET else [])], check=True)
        if kept:
            os.makedirs(STORE, exist_ok=True)
            # Whole or not there: another test may look for the same one.
            own = f"{kept}.{os.getpid()}"
            shutil.copyfile(self.path, own)
            os.replace(own, kept)

    def call(self, entry, inputs, threads=2):
        i, o = (os.path.join(self.folder.name, n) for n in ("in.safetensors", "out.safetensors"))
        save(i, inputs)
        # Initial values are the host's, everywhere.
        device = [f"--device={DEVICE}"] if DEVICE and entry != "init" else []
        subprocess.run(["mhc-run", "call", self.path, entry, f"--inputs={i}", f"--outputs={o}", f"--threads={threads}", *device], check=True, env={**os.environ, "MHC_POISON": "1"})
        with open(o, "rb") as f:
            self.bytes = f.read()
        return load(o)


# ---- conventions ------------------------------------------------------------------------------------------------------

PAPER = {"res_application": "HX", "sinkhorn": {"first_over": "outputs", "start": "exp", "denominator": "none", "iterations": 20, "eps": 1e-6},
         "rms": {"form": "rsqrt_mean_plus_eps", "eps": 1e-6}, "norm_weight": False, "pre_eps": 0.0, "post_scale": 2.0, "coefficient_dtype": "fp32",
         "layout": "TnC", "phi_layout": "km", "pre_source": "same", "f_bias": False, "mappings": {"pre": "dynamic", "post": "dynamic", "res": "dynamic"}}
SOFTMAX = {"start": "softmax", "denominator": "add_eps", "eps": 1e-6}
PRESETS = {
    "paper": {},
    "deepseek-v4": {"res_application": "HTX", "sinkhorn": SOFTMAX, "pre_eps": 1e-6, "phi_layout": "mk"},
    "deepseek-v4.1": {"res_application": "HTX", "sinkhorn": SOFTMAX, "pre_eps": 1e-6, "phi_layout": "mk", "pre_source": "delayed"},
    "transformer-engine": {"layout": "TCn", "res_application": "HTX", "sinkhorn": {"start": "log"}, "rms": {"eps": 1.1920929e-7}, "phi_layout": "mk"},
    "liger": {"sinkhorn": {"first_over": "inputs", **SOFTMAX}},
}


class Convention:
    """What a description (or a model's `residual`) says of its hyper-connections, presets and defaults filled in."""

    def __init__(self, d):
        knobs = copy.deepcopy(PAPER)
        for source in (PRESETS[d.get("preset", "paper")], d.get("convention", {})):
            for key, value in source.items():
                knobs[key] = {**knobs[key], **value} if isinstance(value, dict) else value
        self.n, self.hc = d.get("hc_mult", 4), d.get("topology") == "hc"
        manifold = d.get("manifold", "birkhoff")
        self.manifold = manifold if isinstance(manifold, dict) else {"kind": manifold}
        self.transposed, self.sinkhorn, self.rms = knobs["res_application"] == "HTX", knobs["sinkhorn"], knobs["rms"]
        self.norm_weight, self.f_bias, self.delayed = knobs["norm_weight"], knobs["f_bias"], knobs["pre_source"] == "delayed"
        self.pre_eps, self.post_scale, self.bf16 = knobs["pre_eps"], knobs["post_scale"], knobs["coefficient_dtype"] == "bf16"
        self.interleaved, self.phi_transposed, self.mappings = knobs["layout"] == "TCn", knobs["phi_layout"] == "mk", knobs["mappings"]

    def sizes(self, C):
        """K (what phi contracts), columns of phi, entries of bias"""
        n = self.n
        if self.hc:
            return C, n + 2, 2 * n + n * n
        m = 2 * n if self.manifold["kind"] == "identity" else 2 * n + n * n
        return n * C, m, m


class Held(dict):
    """What backward takes for constant (maxima, and what rounding adds): recorded at the first evaluation, and the same in all later ones."""

    def __call__(self, name, value):
        return self.setdefault(name, value)


# ---- hyper-connections ------------------------------------------------------------------------------------------------
# Every array may have more dimensions in front (`...`): differences of many directions are taken at once.

def sigmoid(z):
    return np.where(z >= 0, 1 / (1 + np.exp(-np.abs(z))), 1 - 1 / (1 + np.exp(-np.abs(z))))


def lse(z, axis):
    top = z.max(axis=axis, keepdims=True)
    return top + np.log(np.exp(z - top).sum(axis=axis, keepdims=True))


def sinkhorn(Z, first_over, start, denominator, iterations, eps, held, at):
    """H [.., out, in] in the log domain; every division is by its line's sum, sum + eps or max(sum, eps)"""
    first, second = (-2, -1) if first_over == "outputs" else (-1, -2)
    log_eps = np.log(eps) if eps > 0 else -np.inf

    def divide(L, axis):
        d = lse(L, axis)
        return L - {"none": lambda: d, "add_eps": lambda: np.logaddexp(d, log_eps), "max_eps": lambda: np.maximum(d, log_eps)}[denominator]()
    if start == "softmax":
        L = np.logaddexp(Z - lse(Z, first), log_eps)
    else:
        # exp (log is exp without an eps): the maximum is part of the definition where a denominator has an eps, and no gradient passes through it
        L = divide(Z - held(at + "maximum", Z.max(axis=first, keepdims=True)), first)
    for t in range(iterations):
        if t:
            L = divide(L, first)
        L = divide(L, second)
    return np.exp(L)


def project(Z, c, held, at):
    """the residual mapping [.., out, in] of a manifold"""
    n, kind = c.n, c.manifold["kind"]
    if kind == "birkhoff":
        return sinkhorn(Z, **c.sinkhorn, held=held, at=at)
    if kind == "permutation_hull":
        permutations = list(itertools.permutations(range(n)))
        l = np.stack([sum(Z[..., p[i], i] for i in range(n)) for p in permutations], -1)
        weight = np.exp(l - lse(l, -1))
        P = np.zeros((len(permutations), n, n))
        for k, p in enumerate(permutations):
            P[k, list(p), range(n)] = 1
        return np.einsum("...p,poi->...oi", weight, P)
    if kind == "orthogonal":
        A = (Z - np.swapaxes(Z, -1, -2)) / 2
        return np.linalg.solve(np.eye(n) + A, np.eye(n) - A)
    if kind == "sphere":
        R, eps = c.manifold.get("radius", np.sqrt(n)), c.manifold.get("eps", 1e-6)
        return R * Z / np.sqrt((Z * Z).sum((-1, -2), keepdims=True) + eps * eps)
    if kind == "simplex":
        return np.exp(Z - lse(Z, -1))
    if kind == "unconstrained":
        return Z
    raise ValueError(kind)


def normalised(x, c):
    """x / r over the last dimension, in the convention's form"""
    mean = (x * x).mean(-1, keepdims=True)
    return x / (np.sqrt(mean + c.rms["eps"]) if c.rms["form"] == "rsqrt_mean_plus_eps" else np.sqrt(mean) + c.rms["eps"])


def flat(x, c):
    """vec(x) [.., T, nC], counted as the layout does"""
    return (np.swapaxes(x, -1, -2) if c.interleaved else x).reshape(*x.shape[:-2], x.shape[-2] * x.shape[-1])


def each(parameter, dims=1):
    """a parameter beside rows: one dimension (or more) for what stands between it and the batch"""
    return parameter.reshape(*parameter.shape[:-1], *[1] * dims, parameter.shape[-1])


def coefficients(x, P, c, held, at=""):
    """x [.., T, n, C]; P: phi [.., K, m], alpha [.., 3], bias, norm_weight. h_pre [.., T, n], h_post, and h_res [.., T, out, in], unrounded"""
    n, T = c.n, x.shape[-3]
    alpha, bias = P["alpha"], P["bias"]
    a = [each(alpha[..., k:k + 1]) for k in range(3)]
    dynamic = {k: v == "dynamic" for k, v in c.mappings.items()}
    gain = P.get("norm_weight") if c.norm_weight else None
    square = (lambda z: np.swapaxes(z, -1, -2)) if c.transposed else (lambda z: z)  # the stored matrix as [out, in]
    stored = lambda z: square(z.reshape(*z.shape[:-1], n, n))
    if c.hc:
        v = normalised(x, c)
        y = np.tanh((v if gain is None else v * each(gain, 2)) @ P["phi"][..., None, :, :])
        pre, post, res = y[..., 0], y[..., 1], np.swapaxes(y[..., 2:], -1, -2)
        z = [dynamic["pre"] * a[0] * pre + each(bias[..., :n]), dynamic["post"] * a[1] * post + each(bias[..., n:2 * n])]
        h_pre, h_post = z
        h_res = dynamic["res"] * a[2][..., None] * res + stored(each(bias[..., 2 * n:]))
    else:
        v = normalised(flat(x, c), c)
        y = (v if gain is None else v * each(gain)) @ P["phi"]
        z = [dynamic[key] * a[k] * y[..., begin:end] + each(bias[..., begin:end]) for k, (key, begin, end) in enumerate((("pre", 0, n), ("post", n, 2 * n), ("res", 2 * n, None)))]
        h_pre, h_post = sigmoid(z[0]) + c.pre_eps, c.post_scale * sigmoid(z[1])
        identity = c.manifold["kind"] == "identity" or c.mappings["res"] == "fixed"
        h_res = None if identity else project(stored(z[2]), c, held, at)
    if c.mappings["pre"] == "fixed":
        h_pre = np.full((T, n), 1 / n)
    if c.mappings["post"] == "fixed":
        h_post = np.ones((T, n))
    if h_res is None or c.mappings["res"] == "fixed":
        h_res = np.broadcast_to(np.eye(n), (T, n, n))
    held(at + "spread", max([float(np.abs(alpha).max())] + [float(v.std()) for v in z if v.size]))  # a of the limits
    return h_pre, h_post, h_res


def applied(h, c, held, name):
    """a coefficient where it is applied: bf16 coefficients are rounded there, and gradients pass straight through"""
    return h + held(name, to_bf16(h) - h) if c.bf16 else h


def sublayer(x, f, P, c, held, h_pre_in=None, at="", rounded=lambda v: v):
    """u, h_pre, h_post, h_res (as stored), x'; f may be a function of u"""
    h_pre, h_post, h_res = coefficients(x, P, c, held, at)
    u = rounded(np.einsum("...ti,...tic->...tc", applied(h_pre_in if c.delayed else h_pre, c, held, at + "u"), x))
    f = f(u) if callable(f) else f
    if c.f_bias:
        f = f + each(P["f_bias"])
    post, res = applied(h_post, c, held, at + "post"), applied(h_res, c, held, at + "res")
    x_next = rounded(post[..., None] * f[..., None, :] + np.einsum("...toi,...tic->...toc", res, x))
    return u, h_pre, h_post, np.swapaxes(h_res, -1, -2) if c.transposed else h_res, x_next


def first_stream(x):
    """what a delayed chain's first sublayer reads through"""
    return np.broadcast_to(np.eye(x.shape[-2])[0], (x.shape[-3], x.shape[-2]))


def chain(x, f, P, c, held):
    """x [.., T, n, C], f and every P with a dimension L behind the batch; u of all sublayers, x' of the last"""
    pre, us = first_stream(x), []
    for l in range(f.shape[-3]):
        # L stands before the last dimensions: 2 of f's and phi's, 1 of the others'.
        part = {k: v[..., l, :, :] if k == "phi" else v[..., l, :] for k, v in P.items()}
        u, h_pre, _, _, x = sublayer(x, f[..., l, :, :], part, c, held, pre, at=f"{l}.")
        us.append(u)
        pre = h_pre
    return us, x


# ---- derivatives ------------------------------------------------------------------------------------------------------

def differences(function, value, directions, h):
    """central differences of fourth order of function(value) along directions [N, ..], all at once: [N, ..]"""
    batch = np.concatenate([value + k * h * directions for k in (1, -1, 2, -2)])
    plus, minus, plus2, minus2 = np.split(function(batch), 4)
    return (8 * (plus - minus) - (plus2 - minus2)) / (12 * h)


# ---- the language model -----------------------------------------------------------------------------------------------

def rms_norm(x, g, eps):
    return g * x / np.sqrt((x * x).mean(-1, keepdims=True) + eps)


def rope(x, theta):
    """x [B, S, heads, d]"""
    S, d = x.shape[1], x.shape[3]
    angle = np.arange(S)[:, None] * theta ** (-2 * np.arange(d // 2) / d)
    cos, sin = np.cos(angle)[None, :, None], np.sin(angle)[None, :, None]
    a, b = x[..., :d // 2], x[..., d // 2:]
    return np.concatenate([a * cos - b * sin, b * cos + a * sin], -1)


def readout(x, kind, P, c, held, last_pre):
    """[T, n, C] -> [T, C]"""
    if kind in ("mean", "sum"):
        return x.mean(1) if kind == "mean" else x.sum(1)
    if kind == "last_pre":
        return np.einsum("ti,tic->tc", applied(last_pre, c, held, "readout"), x)
    w = sigmoid(P["model.hc_head.scale"] * (normalised(flat(x, c), c) @ P["model.hc_head.fn"].T) + P["model.hc_head.base"]) + c.pre_eps
    return np.einsum("ti,tic->tc", applied(w, c, held, "readout"), x)


def loss(d, P, tokens, held=None, watch=lambda name, value: None, phase=-1):
    """with the balance losses, of which there are those of one micro-batch; `watch` is told of both, of the attention's scores, the routers' logits, each branch's output, h_res [T, out, in] and the streams after each sublayer"""
    B, S = tokens.shape[0], tokens.shape[1] - 1
    C, eps, r = d["hidden_size"], d["rms_norm_eps"], d["residual"]
    h = d["num_attention_heads"]
    held, balance = Held() if held is None else held, []

    def gqa(u, at):
        kv, hd = d["num_key_value_heads"], d["head_dim"]
        q, k, v = ((u @ P[f"{at}.{n}_proj.weight"].T).reshape(B, S, -1, hd) for n in "qkv")
        if d.get("qk_norm"):
            q, k = rms_norm(q, P[f"{at}.q_norm.weight"], eps), rms_norm(k, P[f"{at}.k_norm.weight"], eps)
        q, k = rope(q, d["rope_theta"]), rope(k, d["rope_theta"])
        return q, np.repeat(k, h // kv, 2), np.repeat(v, h // kv, 2)

    def mla(u, at):
        rank, nope, turn = d["kv_lora_rank"], d["qk_nope_head_dim"], d["qk_rope_head_dim"]
        project = lambda x, name: x @ P[f"{at}.{name}.weight"].T
        q = project(rms_norm(project(u, "q_a_proj"), P[at + ".q_a_layernorm.weight"], eps), "q_b_proj") if d.get("q_lora_rank") else project(u, "q_proj")
        q = q.reshape(B, S, h, nope + turn)
        q = np.concatenate([q[..., :nope], rope(q[..., nope:], d["rope_theta"])], -1)
        latent = project(u, "kv_a_proj_with_mqa")
        key = rope(latent[:, :, None, rank:], d["rope_theta"])
        kv = project(rms_norm(latent[..., :rank], P[at + ".kv_a_layernorm.weight"], eps), "kv_b_proj").reshape(B, S, h, -1)
        return q, np.concatenate([kv[..., :nope], np.repeat(key, h, 2)], -1), kv[..., nope:]

    def attention(u, at):
        q, k, v = (mla if d.get("attention") == "mla" else gqa)(u, at)
        s = np.einsum("bqhd,bkhd->bhqk", q, k) / np.sqrt(q.shape[-1])
        s = np.where(np.tril(np.ones((S, S), bool)), s, -np.inf)
        watch("scores", s)
        p = np.exp(s - s.max(-1, keepdims=True))
        out = np.einsum("bhqk,bkhd->bqhd", p / p.sum(-1, keepdims=True), v)
        if d.get("attention_gate") == "headwise":
            out = out * sigmoid(u @ P[f"{at}.g_proj.weight"].T)[..., None]
        return out.reshape(B, S, -1) @ P[f"{at}.o_proj.weight"].T

    def experts(u, at):
        y, own = layer_of_model(d, P, at, u, block, phase, dense, held, watch)
        balance.append(own)
        return y

    def ffn(u, at):
        return experts(u, at) if f"{at}.gate.weight" in P else dense(u, at)

    def dense(u, at):
        gate, up = u @ P[f"{at}.gate_proj.weight"].T, u @ P[f"{at}.up_proj.weight"].T
        return (gate * sigmoid(gate) * up) @ P[f"{at}.down_proj.weight"].T

    x = P["model.embed_tokens.weight"][tokens[:, :S]]
    plain, scale = r["topology"] == "residual", r.get("branch_scale", 1.0)
    if not plain:
        c = Convention(r)
        x = np.repeat(x.reshape(B * S, 1, C), c.n, 1)
        pre = first_stream(x)
    for block in range(d["num_hidden_layers"]):
        for layer, name, norm, hc in ((attention, "self_attn", "input_layernorm", "hc_attn"), (ffn, "mlp", "post_attention_layernorm", "hc_ffn")):
            at = f"model.layers.{block}"

            def F(u):
                y = layer(rms_norm(u, P[f"{at}.{norm}.weight"], eps), f"{at}.{name}")
                watch("output", y.reshape(B * S, C))
                return scale * y
            if plain:
                x = x + F(x)
                watch("stream", x.reshape(B * S, C))
                continue
            own = {key: P[f"{at}.{hc}.{tensor}"] for key, tensor in (("phi", "fn"), ("alpha", "scale"), ("bias", "base"), ("norm_weight", "norm_weight"), ("f_bias", "f_bias")) if f"{at}.{hc}.{tensor}" in P}
            own["phi"] = own["phi"].T
            _, pre, _, res, x = sublayer(x, lambda u: F(u.reshape(B, S, C)).reshape(B * S, C), own, c, held, pre, at=f"{block}.{hc}.")
            watch("mixing", np.swapaxes(res, -1, -2) if c.transposed else res)
            watch("stream", x.reshape(B * S, c.n * C))
    if not plain:
        preset = r.get("preset") if r["topology"] == "mhc" else None
        kind = r.get("readout", {"deepseek-v4": "head", "deepseek-v4.1": "last_pre"}.get(preset, "mean"))
        x = readout(x, kind, P, c, held, pre).reshape(B, S, C)
    logits = rms_norm(x, P["model.norm.weight"], eps) @ P["model.embed_tokens.weight" if d.get("tie_word_embeddings") else "lm_head.weight"].T
    top = logits.max(-1, keepdims=True)
    sums = (top + np.log(np.exp(logits - top).sum(-1, keepdims=True)))[..., 0]
    cross_entropy = float((sums - np.take_along_axis(logits, tokens[:, 1:, None], 2)[..., 0]).mean())
    watch("cross_entropy", cross_entropy)
    watch("balance", np.array(balance))
    return cross_entropy + float(np.sum(balance))
