#!/usr/bin/env python3
"""A compiled hyper-connection in PyTorch, forward and backward, compared with the same in PyTorch's own ops.

usage: hyper_connection.py PACKAGE [cpu|cuda] (a package of hyper_connection.json; README.md has the commands)

`HyperConnection` makes a differentiable function of the package's two entries. Exit status: 0 the results agree, 1 not.
"""
import math
import sys

import torch

from mhc_call import call


class HyperConnection(torch.autograd.Function):
    """u and the next streams from x [T, n, C], f [T, C], phi, alpha and bias."""

    @staticmethod
    def forward(ctx, package, device, *inputs):
        ctx.package, ctx.device = package, device
        ctx.save_for_backward(*inputs)
        results = call(package, "forward", dict(zip(("x", "f", "phi", "alpha", "bias"), inputs)), device)
        return results["u"].to(inputs[0].device), results["x_next"].to(inputs[0].device)

    @staticmethod
    def backward(ctx, du, dx_next):
        inputs = dict(zip(("x", "f", "phi", "alpha", "bias"), ctx.saved_tensors), du=du, dx_next=dx_next)
        results = call(ctx.package, "backward", inputs, ctx.device)
        return None, None, *(results["d" + name].to(du.device) for name in ("x", "f", "phi", "alpha", "bias"))


def in_pytorch(x, f, phi, alpha, bias):
    """The same by the formulas of the mHC paper, with the compiler's defaults."""
    n, v = x.shape[1], x.flatten(1)
    z = (v @ phi) * torch.rsqrt((v * v).mean(1, keepdim=True) + 1e-6) * alpha.repeat_interleave(torch.tensor([n, n, n * n])) + bias
    pre, post, h = torch.sigmoid(z[:, :n]), 2 * torch.sigmoid(z[:, n : 2 * n]), z[:, 2 * n :].reshape(-1, n, n).exp()
    for _ in range(20):
        h = h / h.sum(1, keepdim=True)
        h = h / h.sum(2, keepdim=True)
    return (pre[:, :, None] * x).sum(1), h @ x + post[:, :, None] * f[:, None]


def main(package, device="cpu"):
    torch.manual_seed(1)
    T, n, C = 48, 4, 1280  # as in the description
    inputs = [torch.randn(T, n, C).bfloat16(), torch.randn(T, C).bfloat16(), torch.randn(n * C, n * n + 2 * n) / math.sqrt(n * C),
              torch.tensor([1.0, 0.75, 0.5]), torch.randn(n * n + 2 * n)]
    cotangents = [torch.randn(T, C).bfloat16(), torch.randn(T, n, C).bfloat16()]
    mine, exact = [t.clone().requires_grad_() for t in inputs], [t.double().requires_grad_() for t in inputs]
    results = HyperConnection.apply(package, device, *mine)
    torch.autograd.backward(results, cotangents)
    expected = in_pytorch(*exact)
    torch.autograd.backward(expected, [t.double() for t in cotangents])
    good = True
    for name, a, b in zip(("u", "x_next", "dx", "df", "dphi", "dalpha", "dbias"), (*results, *(t.grad for t in mine)), (*expected, *(t.grad for t in exact))):
        error = ((a.double() - b).norm() / b.norm()).item()
        allowed = 2**-8 if a.dtype == torch.bfloat16 else 1e-4  # bf16: one rounding
        good &= error <= allowed
        print(f"{name:7} {str(a.dtype):15} relative error {error:.1e}, allowed {allowed:.1e}{'' if error <= allowed else '  WRONG'}")
    print("all results agree" if good else "some results are wrong")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]) if 2 <= len(sys.argv) <= 3 else __doc__)
