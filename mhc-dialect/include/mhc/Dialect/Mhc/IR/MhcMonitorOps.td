//===- MhcMonitorOps.td - what a run is watched by --------------*- tablegen -*-===//
//
// Row ops that fuse like all others: each gives a token a few numbers, `mhc.mean_tokens` averages them. docs/design/monitors.md has the whole, docs/metrics.md the definitions.
// None of them has a VJP: nothing is differentiated that is only watched.
//
//===----------------------------------------------------------------------===//
#ifndef MHC_MONITOR_OPS
#define MHC_MONITOR_OPS

include "mhc/Dialect/Mhc/IR/MhcOps.td"

def Mhc_MeanTokensOp : Mhc_Row<"mean_tokens"> {
  let summary = "mean over all tokens of a few numbers a token";
  let description = [{
    out[e] = sum_t scalars[10] x[t, e], scalars[10] = 1 / (B S), in the compute type, fixed order. x narrow [T, ..] -> static, as many elements. Has no VJP. (C1) x is narrow, with as many elements a row as the
    result; (C2) there are 64 scalars.

    `%m = mhc.mean_tokens %h, %scalars : (tensor<?x4x4xf32, #mhc.narrow>, tensor<64xf32>) -> tensor<16xf32>`
  }];
  let arguments = (ins Mhc_Tensor:$x, Mhc_Tensor:$scalars);
  let results = (outs Mhc_Tensor:$result);
}

def Mhc_MeanSquaresOp : Mhc_Row<"mean_squares"> {
  let summary = "mean of the squares of a row's elements";
  let description = [{
    out[t] = (1/N) sum_e x[t, e]^2, N elements a row, in the compute type: of a branch's output (the square of its RMS), of log-sum-exps (the Z of math.md 2.4). x wide or narrow -> [T, 1] narrow. Has no VJP.
    (C1) one narrow element a row.

    `%s = mhc.mean_squares %y : (tensor<?x64xbf16>) -> tensor<?x1xf32, #mhc.narrow>`
  }];
  let arguments = (ins Mhc_Tensor:$x);
  let results = (outs Mhc_Tensor:$result);
}

def Mhc_OutlierShareOp : Mhc_Row<"outlier_share"> {
  let summary = "share of a row's elements that are far from the row's mean";
  let description = [{
    out[t] = (1/N) #{e : (x[t, e] - m[t])^2 > deviations^2 v[t]}, m and v the mean and the variance (over N) of the row's N elements, v from the differences to m. A row without variance has none; neither has one that is
    not finite. x wide [T, ..] -> [T, 1] narrow. Has no VJP. (C1) x is wide, and there is one narrow element a row; (C2) deviations > 0.

    `%s = mhc.outlier_share %y {deviations = 5.0} : (tensor<?x64xbf16>) -> tensor<?x1xf32, #mhc.narrow>`
  }];
  let arguments = (ins Mhc_Tensor:$x, F64Attr:$deviations);
  let results = (outs Mhc_Tensor:$result);
}

def Mhc_MixingGainsOp : Mhc_Row<"mixing_gains"> {
  let summary = "how much a mixing matrix can amplify, and how far it is from doubly stochastic";
  let description = [{
    of each token's h [n, n] = [out, in] (math.md 1.9): out[t, 0] = max_o |sum_i h[o, i]| (forward gain), out[t, 1] = max_i |sum_o h[o, i]| (backward gain), out[t, 2] = max(|row sum - 1|, |column sum - 1|, -h[o, i]) over all
    rows, columns and elements: 0 for a doubly stochastic matrix alone. NaN where h has one. h narrow [T, n, n] -> [T, 3] narrow. Has no VJP. (C1) h is narrow and square; (C2) three narrow elements a row.

    `%g = mhc.mixing_gains %h : (tensor<?x4x4xf32, #mhc.narrow>) -> tensor<?x3xf32, #mhc.narrow>`
  }];
  let arguments = (ins Mhc_Tensor:$h);
  let results = (outs Mhc_Tensor:$result);
}

def Mhc_ComposeOp : Mhc_Row<"compose"> {
  let summary = "the product of mixing matrices from a sublayer on";
  let description = [{
    out[t] = h[t] p[t], where p is the product up to the sublayer before (without p: the identity); the identity where left[t] > 0: so many sublayers are still to come before the range begins. That is a number of the run, so that
    a call watches any range, and all sublayers share one kernel. h, p [T, n, n], left [T, 1] narrow -> [T, n, n]. Has no VJP. (C1) h is narrow and square; (C2) p and the result have h's shape; (C3) `left` is one narrow element a row.

    `%p1 = mhc.compose %h, %left product %p : (tensor<?x4x4xf32, #mhc.narrow>, tensor<?x1xf32, #mhc.narrow>, tensor<?x4x4xf32, #mhc.narrow>) -> tensor<?x4x4xf32, #mhc.narrow>`
  }];
  let arguments = (ins Mhc_Tensor:$h, Mhc_Tensor:$left, Optional<Mhc_Tensor>:$p);
  let results = (outs Mhc_Tensor:$result);
  let assemblyFormat = "$h `,` $left (`product` $p^)? attr-dict `:` functional-type(operands, results)";
}

def Mhc_SquareRootOp : Mhc_Row<"square_root"> {
  let summary = "square roots of a few numbers of static shape";
  let description = [{
    out[e] = sqrt(x[e]): what turns a mean of squares over all tokens into a root mean square. Has no VJP. (C1) static shapes of as many elements.

    `%r = mhc.square_root %m : (tensor<1xf32>) -> tensor<1xf32>`
  }];
  let arguments = (ins Mhc_Tensor:$x);
  let results = (outs Mhc_Tensor:$result);
}

#endif // MHC_MONITOR_OPS
