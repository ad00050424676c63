//===- MhcManifoldOps.td - the parts of coefficients, manifolds -*- tablegen -*-===//
#ifndef MHC_MANIFOLD_OPS
#define MHC_MANIFOLD_OPS

include "mhc/Dialect/Mhc/IR/MhcOps.td"

def Mhc_RmsOp : Mhc_Row<"rms", [Differentiable]> {
  let summary = "root mean square of groups of the row";
  let description = "r[t, g] = sqrt(mean over group g of x^2 + eps): [T, n, C] -> [T, G] narrow; G is 1 or n. eps may be 0. (C1) G divides the streams.";
  let arguments = (ins Mhc_Tensor:$x, F64Attr:$eps);
  let results = (outs Mhc_Tensor:$r);
}
def Mhc_RmsVjpOp : Mhc_Row<"rms_vjp"> {
  let summary = "VJP of `mhc.rms`";
  let description = "dx = x dr / (r K), K elements a group; 0 where r is 0.";
  let arguments = (ins Mhc_Tensor:$x, Mhc_Tensor:$r, Mhc_Tensor:$dr);
  let results = (outs Mhc_Tensor:$dx);
}

def Mhc_ProjectionOp : Mhc_Row<"projection", [Differentiable]> {
  let summary = "rows times a parameter with few columns";
  let description = [{
    m[t, g, j] = sum_k v[t, g, k] phi[k, j]: v's row is taken as G groups of K elements. phi [K, m] (`transposed`: [m, K]) -> [T, G, m] narrow.
    With `interleaved` k counts channel*n + stream (n streams a group), otherwise stream*C + channel.
    (C1) K divides the row into whole streams; (C2) the result is [T, G, m].
  }];
  let arguments = (ins Mhc_Tensor:$v, Mhc_Tensor:$phi, UnitAttr:$transposed, UnitAttr:$interleaved);
  let results = (outs Mhc_Tensor:$result);
}
def Mhc_ProjectionDxOp : Mhc_Row<"projection_dx"> {
  let summary = "VJP of `mhc.projection` for the rows";
  let description = "dv[t, g, k] = sum_j dm[t, g, j] phi[k, j].";
  let arguments = (ins Mhc_Tensor:$dm, Mhc_Tensor:$phi, UnitAttr:$transposed, UnitAttr:$interleaved);
  let results = (outs Mhc_Tensor:$dv);
}
def Mhc_ProjectionDwOp : Mhc_Row<"projection_dw"> {
  let summary = "VJP of `mhc.projection` for the parameter";
  let description = "dphi[k, j] = sum_t sum_g v[t, g, k] dm[t, g, j], fp32, fixed order.";
  let arguments = (ins Mhc_Tensor:$v, Mhc_Tensor:$dm, UnitAttr:$transposed, UnitAttr:$interleaved);
  let results = (outs Mhc_Tensor:$dphi);
}

def Mhc_FoldGainOp : Mhc_RowWith<"fold_gain", ["buildRow", "operandUse", "isSum"], [Differentiable]> {
  let summary = "a norm's gain goes into the parameter that the normalised rows are multiplied by";
  let description = [{
    phi'[k, j] = g[k] phi[k, j]: phi [K, m] (`transposed`: [m, K]), g [K] -> phi's shape; k is phi's own, in whatever order it counts streams and channels. In the compute type (f32, f64 if an operand is), unrounded.
    RMSNorm(v; g) phi = (v phi') / r (math.md 1.2), so rows are projected as they are. An op on parameters: its rows are phi's, no token has one. Backward takes phi and g (`mhc.fold_gain_vjp`), and phi' for the rows' gradient: kept
    between forward and backward of one entry, computed again where backward is an entry of its own.
    (C1) phi is of [K, m], g of [K]; (C2) phi' has phi's shape and is in the compute type.

    `%w = mhc.fold_gain %phi, %g : (tensor<256x24xf32>, tensor<256xf32>) -> tensor<256x24xf32>`
  }];
  let arguments = (ins Mhc_Tensor:$phi, Mhc_Tensor:$gain, UnitAttr:$transposed);
  let results = (outs Mhc_Tensor:$result);
}
def Mhc_FoldGainVjpOp : Mhc_RowWith<"fold_gain_vjp", ["buildRow", "operandUse", "isSum"], []> {
  let summary = "VJP of `mhc.fold_gain`";
  let description = [{
    From G = dphi', which is summed over the tokens already (`mhc.projection_dw`): dphi[k, j] = g[k] G[k, j]; dg[k] = sum_j phi[k, j] G[k, j] (math.md 1.6), in the compute type, in an order that the shapes fix.
    Shapes and rows as in `mhc.fold_gain`. Without tokens G is 0, and so are both.
    (C1) phi and G are of [K, m], g of [K]; (C2) dphi and dg have the shapes of phi and g and are in the compute type.

    `%dphi, %dg = mhc.fold_gain_vjp %phi, %g, %dw {transposed} : (tensor<24x256xf32>, tensor<256xf32>, tensor<24x256xf32>) -> (tensor<24x256xf32>, tensor<256xf32>)`
  }];
  let arguments = (ins Mhc_Tensor:$phi, Mhc_Tensor:$gain, Mhc_Tensor:$gradient, UnitAttr:$transposed);
  let results = (outs Mhc_Tensor:$dphi, Mhc_Tensor:$dgain);
}

def Mhc_DivideOp : Mhc_Row<"divide", [Differentiable]> {
  let summary = "narrow rows divided by a scalar a group";
  let description = "q[t, g, j] = m[t, g, j] / (r[t, g] + eps). (C1) m and q have one shape; (C2) r has m's groups.";
  let arguments = (ins Mhc_Tensor:$m, Mhc_Tensor:$r, DefaultValuedAttr<F64Attr, "0.0">:$eps);
  let results = (outs Mhc_Tensor:$result);
}
def Mhc_DivideVjpOp : Mhc_Row<"divide_vjp"> {
  let summary = "VJP of `mhc.divide`";
  let description = "With s = r + eps: dm = dq / s; dr[t, g] = -sum_j dq[t, g, j] m[t, g, j] / s[t, g]^2.";
  let arguments = (ins Mhc_Tensor:$m, Mhc_Tensor:$r, Mhc_Tensor:$gradient, DefaultValuedAttr<F64Attr, "0.0">:$eps);
  let results = (outs Mhc_Tensor:$dm, Mhc_Tensor:$dr);
}

def Mhc_SelectOp : Mhc_Row<"select", [Differentiable]> {
  let summary = "picks, permutes and reshapes the elements of narrow rows";
  let description = "out[t, e] = x[t, indices[e]], e counts the elements of out's row, row-major. (C1) as many indices as elements; (C2) indices lie inside x's row.";
  let arguments = (ins Mhc_Tensor:$x, DenseI64ArrayAttr:$indices);
  let results = (outs Mhc_Tensor:$result);
  let hasFolder = 1;
}
def Mhc_SelectVjpOp : Mhc_Row<"select_vjp"> {
  let summary = "VJP of `mhc.select`: scatters, zero elsewhere";
  let arguments = (ins Mhc_Tensor:$gradient, DenseI64ArrayAttr:$indices);
  let results = (outs Mhc_Tensor:$dx);
}

def Mhc_AffineOp : Mhc_Row<"affine", [Differentiable]> {
  let summary = "scale by group and bias";
  let description = [{
    z[t, j] = alpha[g(j)] y[t, j] + b[j]; `groups` gives the number of consecutive j of each g. Of a group in `static_groups` y is not read: z = b. y [T, m], alpha [G], b [m] -> [T, m].
    (C1) groups add up to m; (C2) b has m elements; (C3) alpha has an element for each group.
  }];
  let arguments = (ins Mhc_Tensor:$y, Mhc_Tensor:$alpha, Mhc_Tensor:$bias, DenseI64ArrayAttr:$groups, DefaultValuedAttr<DenseI64ArrayAttr, "{}">:$static_groups);
  let results = (outs Mhc_Tensor:$result);
}
def Mhc_AffineVjpOp : Mhc_Row<"affine_vjp"> {
  let summary = "VJP of `mhc.affine`";
  let description = "dy[t, j] = alpha[g(j)] dz[t, j]; dalpha[g] = sum_t sum_{j in g} dz[t, j] y[t, j]; db[j] = sum_t dz[t, j]; dy and dalpha of static groups are 0.";
  let arguments = (ins Mhc_Tensor:$y, Mhc_Tensor:$alpha, Mhc_Tensor:$gradient, DenseI64ArrayAttr:$groups, DefaultValuedAttr<DenseI64ArrayAttr, "{}">:$static_groups);
  let results = (outs Mhc_Tensor:$dy, Mhc_Tensor:$dalpha, Mhc_Tensor:$dbias);
}

def Mhc_ActivationOp : Mhc_Row<"activation", [Differentiable]> {
  let summary = "gate function of narrow rows";
  let description = "h = scale function(z) + offset. (C1) h has z's shape.";
  let arguments = (ins Mhc_Tensor:$z, Mhc_ActivationKindAttr:$kind, DefaultValuedAttr<F64Attr, "1.0">:$scale, DefaultValuedAttr<F64Attr, "0.0">:$offset);
  let results = (outs Mhc_Tensor:$result);
}
def Mhc_ActivationVjpOp : Mhc_Row<"activation_vjp"> {
  let summary = "VJP of `mhc.activation`";
  let description = "dz = scale function'(z) dh.";
  let arguments = (ins Mhc_Tensor:$z, Mhc_Tensor:$gradient, Mhc_ActivationKindAttr:$kind, DefaultValuedAttr<F64Attr, "1.0">:$scale);
  let results = (outs Mhc_Tensor:$dz);
}

def Mhc_ProjectOp : Mhc_Row<"project", [Differentiable]> {
  let summary = "projects a matrix a token, or a weight, onto a manifold";
  let description = [{
    H[t] = project(Z[t]); narrow [T, n, n] -> [T, n, n]. With `radius` [M, 1] and `#mhc.sphere` alone the rows are weights, [M, L] wide: H[t] = radius[t] Z[t] / sqrt(||Z[t]||^2 + eps^2), eps 0 unless given, and 0 where Z[t] is
    0 (the renormalisation of math.md 2.1); this form has no VJP. (C1) H is square and narrow, with `radius` wide of one stream; (C2) Z has H's shape; (C3) `radius` goes with `#mhc.sphere` without a radius of its own, one narrow element a row.
  }];
  let arguments = (ins Mhc_Tensor:$z, Optional<Mhc_Tensor>:$radius, Mhc_AnyManifold:$manifold);
  let results = (outs Mhc_Tensor:$h);
  let extraClassDeclaration = [{
    /// eps of a weight's sphere.
    double getWeightEps();
  private:
    void buildWeightRow(::mlir::mhc::RowContext &context);
  public:
  }];
}
def Mhc_ProjectVjpOp : Mhc_Row<"project_vjp"> {
  let summary = "VJP of `mhc.project`, exact";
  let arguments = (ins Mhc_Tensor:$z, Mhc_Tensor:$gradient, Mhc_AnyManifold:$manifold);
  let results = (outs Mhc_Tensor:$dz);
}

def Mhc_ConstantRowsOp : Mhc_LookupRow<"constant_rows", [Differentiable]> {
  let summary = "the same narrow row for every token";
  let description = "out[t, e] = values[e]; `like` gives the number of rows and is not read. (C1) as many values as elements.";
  let arguments = (ins Mhc_Tensor:$like, DenseF64ArrayAttr:$values);
  let results = (outs Mhc_Tensor:$result);
}

#endif // MHC_MANIFOLD_OPS
