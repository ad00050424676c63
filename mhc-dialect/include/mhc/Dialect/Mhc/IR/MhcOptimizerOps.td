//===- MhcOptimizerOps.td - optimizers --------------------------*- tablegen -*-===//
//
// Weights are stacks of matrices: tensors whose rows are whole matrices, [M, m*n] row-major. `mhc-expand-matrix-steps` writes what spans a matrix as ops on its parts, `mhc-split-rows`
// cuts the other row ops' rows, so that one matrix keeps all threads busy. docs/design/optimizers.md has the whole.
//
//===----------------------------------------------------------------------===//
#ifndef MHC_OPTIMIZER_OPS
#define MHC_OPTIMIZER_OPS

include "mhc/Dialect/Mhc/IR/MhcOps.td"

//===----------------------------------------------------------------------===//
// Directions
//===----------------------------------------------------------------------===//

def Mhc_MomentumOp : Mhc_Row<"momentum"> {
  let summary = "momentum without damping, and the direction that goes into Newton-Schulz";
  let description = [{
    g' = factor g; m' = mu m + g'; u = mu m' + g' with `nesterov`, else m'; unrounded. factor < 0 (the gradients' norm is not finite): m' = u = m. Without factor g' = g. Backward does not exist.
    (C1) all rows have one shape; (C2) 0 <= mu < 1.

    `%m1, %u = mhc.momentum %m, %g {mu = 0.95, nesterov} : (tensor<?x4096xf32>, tensor<?x4096xf32>) -> (tensor<?x4096xf32>, tensor<?x4096xf32>)`
  }];
  let arguments = (ins Mhc_Tensor:$m, Mhc_Tensor:$g, Optional<Mhc_Tensor>:$factor, F64Attr:$mu, UnitAttr:$nesterov);
  let results = (outs Mhc_Tensor:$m_next, Mhc_Tensor:$u);
}

def Mhc_AdamDirectionOp : Mhc_Row<"adam_direction"> {
  let summary = "Adam's bias-corrected direction";
  let description = [{
    g' = factor g; m' = b1 m + (1-b1) g'; v' = b2 v + (1-b2) g'^2; d = (m' s1) / (sqrt(v' s2) + eps), 0 where v' is 0. Scalars as in `mhc.adamw`; factor < 0: m, v as they are, d = 0; without factor g' = g.
    (C1) all rows have one shape.

    `%d, %m1, %v1 = mhc.adam_direction %m, %v, %g, %scalars : (tensor<?x64xf32>, tensor<?x64xf32>, tensor<?x64xf32>, tensor<64xf32>) -> (tensor<?x64xf32>, tensor<?x64xf32>, tensor<?x64xf32>)`
  }];
  let arguments = (ins Mhc_Tensor:$m, Mhc_Tensor:$v, Mhc_Tensor:$g, Mhc_Tensor:$scalars, Optional<Mhc_Tensor>:$factor);
  let results = (outs Mhc_Tensor:$d, Mhc_Tensor:$m_next, Mhc_Tensor:$v_next);
}

def Mhc_NewtonSchulzOp : Mhc_Op<"newton_schulz", [Pure]> {
  let summary = "each matrix made nearly orthogonal, by five Newton-Schulz iterations";
  let description = [{
    X = U / (||U|| + eps); five times A = X X^T, B = b A + c A A, X = a X + B X, with (a, b, c) of math.md 2.1; where `rows` > `columns` A = X^T X and X = a X + X B, which gives the same with less work.
    u [M, rows*columns] -> the same. It is expanded in phase `optimize` into row ops and `mhc.matmul`: for GPUs with U, X, A, B in bf16 and fp32 accumulation, for the CPU all in fp32; a package for both gets two programs.
    (C1) one type in and out, a row is rows*columns elements; (C2) eps >= 0, rows and columns at least 1.

    `%o = mhc.newton_schulz %u {rows = 64, columns = 96, eps = 1.0e-7} : (tensor<?x6144xf32>) -> tensor<?x6144xf32>`
  }];
  let arguments = (ins Mhc_Tensor:$u, I64Attr:$rows, I64Attr:$columns, F64Attr:$eps);
  let results = (outs Mhc_Tensor:$result);
  let hasVerifier = 1;
}

def Mhc_MatmulOp : Mhc_Op<"matmul", [Pure]> {
  let summary = "a library product of each matrix of a stack";
  let description = [{
    out[t] = alpha op(a[t]) op(b[t]) + beta c[t], row-major: op(a) is m x k (`trans_a`: stored k x m), op(b) k x n (`trans_b`: stored n x k); fp32 accumulation (fp64 of f64), one rounding into the result's type.
    a [M, m*k], b [M, k*n], c and the result [M, m*n]. Becomes one plan command `gemm` with a batch count.
    (C1) rows have these elements; (C2) beta is 0 without c, and a, b, c and the result are of floating-point types.

    `%y = mhc.matmul %b, %x, %x {m = 64, n = 96, k = 64, alpha = 1.0, beta = 4.0848} : (tensor<?x4096xbf16>, tensor<?x6144xbf16>, tensor<?x6144xbf16>) -> tensor<?x6144xbf16>`
  }];
  let arguments = (ins Mhc_Tensor:$a, Mhc_Tensor:$b, Optional<Mhc_Tensor>:$c, I64Attr:$m, I64Attr:$n, I64Attr:$k, UnitAttr:$trans_a, UnitAttr:$trans_b,
                       DefaultValuedAttr<F64Attr, "1.0">:$alpha, DefaultValuedAttr<F64Attr, "0.0">:$beta);
  let results = (outs Mhc_Tensor:$result);
  let hasVerifier = 1;
}

//===----------------------------------------------------------------------===//
// Steps
//===----------------------------------------------------------------------===//

def Mhc_DescendOp : Mhc_Row<"descend"> {
  let summary = "a step of a given length relative to the weight's norm";
  let description = [{
    y[t] = w[t] - rate[t] (radius[t] / ||o[t]||) o[t]; where ||o[t]|| is 0, y = w. A row is what has one norm: a matrix, or a stack of them. w, o [M, L], radius, rate [M, 1] narrow -> [M, L].
    (C1) w, o, y have one shape of one stream; (C2) one narrow radius and rate a row.

    `%y = mhc.descend %w, %o, %r, %rate : (tensor<?x64xf32>, tensor<?x64xf32>, tensor<?x1xf32, #mhc.narrow>, tensor<?x1xf32, #mhc.narrow>) -> tensor<?x64xf32>`
  }];
  let arguments = (ins Mhc_Tensor:$w, Mhc_Tensor:$o, Mhc_Tensor:$radius, Mhc_Tensor:$rate);
  let results = (outs Mhc_Tensor:$result);
}

def Mhc_AddScaledOp : Mhc_Row<"add_scaled"> {
  let summary = "x plus a row's weight times y, unrounded";
  let description = [{
    out[t] = x[t] + w[t] y[t]; where w[t] is 0 the term is left out, whatever y holds. x, y [T, C], w [T, 1] narrow. (C1) x, y and the result are one stream of one shape; (C2) a weight a row.
  }];
  let arguments = (ins Mhc_Tensor:$x, Mhc_Tensor:$y, Mhc_Tensor:$w);
  let results = (outs Mhc_Tensor:$result);
}

def Mhc_GuardOp : Mhc_Row<"guard"> {
  let summary = "a new value, or the old one in a step that is left out";
  let description = "out = factor[0] < 0 ? old : value, element by element (`mhc.clip_factor`). (C1) one shape; (C2) factor has one element.";
  let arguments = (ins Mhc_Tensor:$value, Mhc_Tensor:$old, Mhc_Tensor:$factor);
  let results = (outs Mhc_Tensor:$result);
}

//===----------------------------------------------------------------------===//
// Norms of parts
//===----------------------------------------------------------------------===//

def Mhc_GramOp : Mhc_Row<"gram"> {
  let summary = "the three products of two rows";
  let description = [{
    xx[t] = sum_c x[t,c]^2, xy[t] = sum_c x[t,c] y[t,c], yy[t] = sum_c y[t,c]^2: all that the norm of a x + b y needs, for any a and b, in one pass. (C1) x and y are one stream of one shape; (C2) one narrow element a row each.
  }];
  let arguments = (ins Mhc_Tensor:$x, Mhc_Tensor:$y);
  let results = (outs Mhc_Tensor:$xx, Mhc_Tensor:$xy, Mhc_Tensor:$yy);
}

def Mhc_RowSumOp : Mhc_Row<"row_sum"> {
  let summary = "the sum of a row's elements";
  let description = "s[t] = sum_c x[t,c], in an order that the row's length fixes. (C1) x is one stream of wide rows, s one narrow element a row.";
  let arguments = (ins Mhc_Tensor:$x);
  let results = (outs Mhc_Tensor:$result);
}

def Mhc_ProductOp : Mhc_Row<"product"> {
  let summary = "elementwise product, unrounded, in the order of the operands";
  let description = "(C1) operands have the result's shape.";
  let arguments = (ins Variadic<Mhc_Tensor>:$values);
  let results = (outs Mhc_Tensor:$result);
}

def Mhc_NormScaleOp : Mhc_Row<"norm_scale"> {
  let summary = "what rows of these sums of squares are multiplied by to have a given norm";
  let description = [{
    c[t] = radius[t] / (sqrt(n2[t]) + eps), with `inside` radius[t] / sqrt(n2[t] + eps^2); radius is 1 where it is not given; 0 where the divisor is not above 0. Narrow rows of one element.
    (C1) one element a row; (C2) eps >= 0.
  }];
  let arguments = (ins Mhc_Tensor:$n2, Optional<Mhc_Tensor>:$radius, DefaultValuedAttr<F64Attr, "0.0">:$eps, UnitAttr:$inside);
  let results = (outs Mhc_Tensor:$result);
}

#endif // MHC_OPTIMIZER_OPS
