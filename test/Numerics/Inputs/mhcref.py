"""An fp64 reference of hyper-connections and of the language model, written from the formulas alone (numpy), and files in and out of mhc-run.

Nothing of the compiler is used; gradients are checked by central differences of this reference along random directions.
"""
import json
import os
import struct
import subprocess
import tempfile

import numpy as np

DTYPES = {"F64": np.float64, "F32": np.float32, "I32": np.int32, "I64": np.int64, "BF16": np.uint16}


def to_bf16(x):
    """fp64 -> the nearest bf16 (ties to even), as fp64"""
    bits = np.asarray(x, np.float32).view(np.uint32).astype(np.uint64)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16 << 16).astype(np.uint32).view(np.float32).astype(np.float64)


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
        source = os.path.join(self.folder.name, "p.json")
        with open(source, "w") as f:
            json.dump(description, f)
        subprocess.run(["mhc-compile", source, "-o", self.path, *options], check=True)

    def call(self, entry, inputs, threads=2):
        i, o = (os.path.join(self.folder.name, n) for n in ("in.safetensors", "out.safetensors"))
        save(i, inputs)
        subprocess.run(["mhc-run", "call", self.path, entry, f"--inputs={i}", f"--outputs={o}", f"--threads={threads}"], check=True,
                       env={**os.environ, "MHC_POISON": "1"})
        with open(o, "rb") as f:
            self.bytes = f.read()
        return load(o)


# ---- hyper-connections ------------------------------------------------------------------------------------------------

def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def sinkhorn(z, iterations=20):
    """columns of H[out, in] first; in the log domain"""
    for _ in range(iterations):
        for axis in (1, 2):
            top = z.max(axis=axis, keepdims=True)
            z = z - (top + np.log(np.exp(z - top).sum(axis=axis, keepdims=True)))
    return np.exp(z)


def coefficients(x, phi, alpha, bias, topology, manifold, eps=1e-6):
    T, n, C = x.shape
    if topology == "hc":
        xh = x / np.sqrt((x * x).mean(2, keepdims=True) + eps)
        y = np.tanh(xh @ phi)                                             # [T, n, n + 2]
        pre, post = alpha[0] * y[:, :, 0] + bias[:n], alpha[1] * y[:, :, 1] + bias[n:2 * n]
        return pre, post, alpha[2] * y[:, :, 2:].transpose(0, 2, 1) + bias[2 * n:].reshape(n, n)
    v = x.reshape(T, n * C)
    y = (v / np.sqrt((v * v).mean(1, keepdims=True) + eps)) @ phi
    pre, post = sigmoid(alpha[0] * y[:, :n] + bias[:n]), 2 * sigmoid(alpha[1] * y[:, n:2 * n] + bias[n:2 * n])
    if manifold == "identity":
        return pre, post, np.broadcast_to(np.eye(n), (T, n, n))
    z = (alpha[2] * y[:, 2 * n:] + bias[2 * n:]).reshape(T, n, n)
    return pre, post, sinkhorn(z) if manifold == "birkhoff" else z


def hyper_connection(x, f, phi, alpha, bias, topology, manifold, rounded=lambda v: v):
    pre, post, res = coefficients(x, phi, alpha, bias, topology, manifold)
    u = rounded(np.einsum("ti,tic->tc", pre, x))
    return u, pre, post, res, rounded(np.einsum("toi,tic->toc", res, x) + post[:, :, None] * f[:, None, :])


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


def loss(d, P, tokens):
    B, S = tokens.shape[0], tokens.shape[1] - 1
    C, eps, r = d["hidden_size"], d["rms_norm_eps"], d["residual"]
    h, kv, hd = d["num_attention_heads"], d["num_key_value_heads"], d["head_dim"]

    def attention(u, at):
        q, k, v = ((u @ P[f"{at}.{n}_proj.weight"].T).reshape(B, S, -1, hd) for n in "qkv")
        if d.get("qk_norm"):
            q, k = rms_norm(q, P[f"{at}.q_norm.weight"], eps), rms_norm(k, P[f"{at}.k_norm.weight"], eps)
        q, k = rope(q, d["rope_theta"]), rope(k, d["rope_theta"])
        k, v = np.repeat(k, h // kv, 2), np.repeat(v, h // kv, 2)
        s = np.einsum("bqhd,bkhd->bhqk", q, k) / np.sqrt(hd)
        s = np.where(np.tril(np.ones((S, S), bool)), s, -np.inf)
        p = np.exp(s - s.max(-1, keepdims=True))
        return np.einsum("bhqk,bkhd->bqhd", p / p.sum(-1, keepdims=True), v).reshape(B, S, -1) @ P[f"{at}.o_proj.weight"].T

    def ffn(u, at):
        gate, up = u @ P[f"{at}.gate_proj.weight"].T, u @ P[f"{at}.up_proj.weight"].T
        return (gate * sigmoid(gate) * up) @ P[f"{at}.down_proj.weight"].T

    x = P["model.embed_tokens.weight"][tokens[:, :S]]
    plain = r["topology"] == "residual"
    if not plain:
        x = np.repeat(x.reshape(B * S, 1, C), r.get("hc_mult", 4), 1)
    for block in range(d["num_hidden_layers"]):
        for layer, name, norm, hc in ((attention, "self_attn", "input_layernorm", "hc_attn"), (ffn, "mlp", "post_attention_layernorm", "hc_ffn")):
            at = f"model.layers.{block}"
            F = lambda u: layer(rms_norm(u, P[f"{at}.{norm}.weight"], eps), f"{at}.{name}")
            if plain:
                x = x + F(x)
                continue
            pre, post, res = coefficients(x, P[f"{at}.{hc}.fn"].T, P[f"{at}.{hc}.scale"], P[f"{at}.{hc}.base"], r["topology"], r.get("manifold", "birkhoff"))
            f = F(np.einsum("ti,tic->tc", pre, x).reshape(B, S, C)).reshape(B * S, C)
            x = np.einsum("toi,tic->toc", res, x) + post[:, :, None] * f[:, None, :]
    x = x if plain else x.mean(1).reshape(B, S, C)
    logits = rms_norm(x, P["model.norm.weight"], eps) @ P["model.embed_tokens.weight" if d.get("tie_word_embeddings") else "lm_head.weight"].T
    top = logits.max(-1, keepdims=True)
    lse = (top + np.log(np.exp(logits - top).sum(-1, keepdims=True)))[..., 0]
    return float((lse - np.take_along_axis(logits, tokens[:, 1:, None], 2)[..., 0]).mean())
