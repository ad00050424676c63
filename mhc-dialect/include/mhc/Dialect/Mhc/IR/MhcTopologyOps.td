//===- MhcTopologyOps.td - hyper-connections --------------------*- tablegen -*-===//
#ifndef MHC_TOPOLOGY_OPS
#define MHC_TOPOLOGY_OPS

include "mhc/Dialect/Mhc/IR/MhcOps.td"

def Mhc_SublayerOp : Op<Mhc_Dialect, "sublayer", [SingleBlock, RecursiveMemoryEffects, AttrSizedOperandSegments]> {
  let summary = "a sublayer of the residual topology, its body is the layer function F";
  let description = [{
    With `connection`: u = h_pre . x, f = F(u), x' = h_res . x + h_post (x) f, where the coefficients come from x by `phi`, `alpha`, `bias` (math of `mhc.coefficients`).
    Without: x' = x + F(x), and the stream is x itself. The body takes u and yields f, both [T, C]; x and x' are [T, n, C] (without connection [T, C]).
    `mhc-expand-topology` rewrites it into `mhc.coefficients`, `mhc.aggregate`, the body, `mhc.combine` (or `mhc.sum`).

    The parameters are phi, alpha, bias, then the gain and the bias on f where the connection has them. With a `delayed` connection u is read through `h_pre`, which the sublayer
    before has predicted, and the second result is what this one predicts. With `mixing` h_res is the next result (what monitors look at). What the body yields after f (a router's losses and
    counts) are the results after these.

    (C1) as many parameters as the connection says, none without; (C2) x' has x's type; (C3) the body takes and yields [T, C] of x's element type; (C4) h_pre and the second
    result are there with a delayed connection, and with that alone; (C5) the other results are what the body yields after f; (C6) `mixing` stands beside a connection alone, and its result is [T, n, n], narrow.

    ```mlir
    %x1 = mhc.sublayer "model.layers.0.hc_attn" %x (%phi, %alpha, %bias) connection #c : (tensor<?x4x64xbf16>, ...) -> tensor<?x4x64xbf16> {
    ^bb0(%u: tensor<?x64xbf16>):
      ...
      mhc.yield %f : tensor<?x64xbf16>
    }
    ```
  }];
  let arguments = (ins StrAttr:$place, Mhc_Tensor:$x, Variadic<Mhc_Tensor>:$parameters, Optional<Mhc_Tensor>:$h_pre, OptionalAttr<Mhc_ConnectionAttr>:$connection,
                       UnitAttr:$mixing);
  let results = (outs Mhc_Tensor:$result, Variadic<Mhc_Tensor>:$others);
  let extraClassDeclaration = [{
    bool isDelayed() { return getConnection() && getConnection()->getDelayed(); }
    /// What a delayed sublayer predicts for the next one, else null.
    ::mlir::Value getHPreNext() { return isDelayed() && !getOthers().empty() ? getOthers().front() : ::mlir::Value(); }
    /// h_res with `mixing`, else null.
    ::mlir::Value getHRes() { return getMixing() && getOthers().size() > isDelayed() ? getOthers()[isDelayed()] : ::mlir::Value(); }
    /// What the body yields beside f.
    ::mlir::ValueRange getExtras() { return getOthers().drop_front(isDelayed() + getMixing()); }
  }];
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = [{
    $place $x (`(` $parameters^ `)`)? (`through` $h_pre^)? (`connection` $connection^)? (`mixing` $mixing^)? `:` functional-type(operands, results) attr-dict-with-keyword $body
  }];
  let hasVerifier = 1;
}

def Mhc_YieldOp : Op<Mhc_Dialect, "yield", [Pure, Terminator, ParentOneOf<["SublayerOp", "RecomputeOp", "FusionOp"]>]> {
  let summary = "ends the body of sublayer, recompute and fusion";
  let arguments = (ins Variadic<AnyType>:$values);
  let assemblyFormat = "($values^ `:` type($values))? attr-dict";
}

def Mhc_CoefficientsOp : Mhc_Op<"coefficients", [Pure]> {
  let summary = "the coefficients of a hyper-connection from its streams";
  let description = [{
    mhc: v' = RMSNorm(vec(x)); z = [a_pre v' phi_pre | a_post v' phi_post | a_res v' phi_res] + b; h_pre = sigmoid(z_pre), h_post = post_scale sigmoid(z_post), h_res = project(mat(z_res)).
    hc: x~ = RMSNorm of each stream; h = a tanh(x~ theta) + b for each.
    The connection's convention says which parts are static, fixed, of other eps (`#mhc.connection`).
    x [T, n, C], phi [K, m], alpha [3], bias, gain [K] with `normWeight` -> h_pre [T, n], h_post [T, n], h_res [T, n, n], unrounded. `mhc-expand-topology` rewrites it into its parts
    (norm, projection, affine, activation, project), on which the passes work.

    (C1) phi has K rows and the connection's number of columns; (C2) alpha has 3 elements and bias the connection's number; (C3) h_pre, h_post are [T, n], h_res [T, n, n], narrow;
    (C4) a gain of K elements with `normWeight`, and with that alone. h_res is [out, in] whatever `transposedRes` says of the stored matrix.
  }];
  let arguments = (ins Mhc_Tensor:$x, Mhc_Tensor:$phi, Mhc_Tensor:$alpha, Mhc_Tensor:$bias, Optional<Mhc_Tensor>:$gain, Mhc_ConnectionAttr:$connection);
  let results = (outs Mhc_Tensor:$h_pre, Mhc_Tensor:$h_post, Mhc_Tensor:$h_res);
  let hasVerifier = 1;
}

def Mhc_ExpandOp : Mhc_Row<"expand", [Differentiable]> {
  let summary = "copies the embedding into the streams";
  let description = "x'[t, i, c] = scale x[t, c]: [T, C] -> [T, n, C]. With scale 1 no arithmetic, the type is kept; also the VJP of `mhc.readout`. (C1) as many channels.";
  let arguments = (ins Mhc_Tensor:$x, DefaultValuedAttr<F64Attr, "1.0">:$scale);
  let results = (outs Mhc_Tensor:$result);
}

def Mhc_ReadoutOp : Mhc_Row<"readout", [Differentiable]> {
  let summary = "the streams' sum times a factor: readout `mean` (1/n) and `sum` (1)";
  let description = "h[t, c] = scale sum_i x[t, i, c]: [T, n, C] -> [T, C], unrounded. (C1) as many channels.";
  let arguments = (ins Mhc_Tensor:$x, DefaultValuedAttr<F64Attr, "1.0">:$scale);
  let results = (outs Mhc_Tensor:$result);
}

def Mhc_AggregateOp : Mhc_Row<"aggregate", [Differentiable]> {
  let summary = "what a layer reads: u = h_pre . x";
  let description = [{
    u[t, c] = sum_i h_pre[t, i] x[t, i, c], i = 0, 1, .. by fma, unrounded. x [T, n, C], h_pre [T, n] -> u [T, C]. (C1) h_pre has x's streams; (C2) u has x's channels.
  }];
  let arguments = (ins Mhc_Tensor:$x, Mhc_Tensor:$h_pre);
  let results = (outs Mhc_Tensor:$u);
}

def Mhc_AggregateVjpOp : Mhc_Row<"aggregate_vjp"> {
  let summary = "VJP of `mhc.aggregate`";
  let description = "dx[t, i, c] = h_pre[t, i] du[t, c]; dh_pre[t, i] = sum_c du[t, c] x[t, i, c].";
  let arguments = (ins Mhc_Tensor:$x, Mhc_Tensor:$h_pre, Mhc_Tensor:$du);
  let results = (outs Mhc_Tensor:$dx, Mhc_Tensor:$dh_pre);
}

def Mhc_CombineOp : Mhc_Row<"combine", [Differentiable]> {
  let summary = "what a layer writes: x' = h_res . x + h_post (x) f";
  let description = [{
    x'[t, o, c] = h_post[t, o] f[t, c] + sum_i h_res[t, o, i] x[t, i, c], summed in this order by fma, unrounded.
    x [T, n, C], f [T, C], h_post [T, n], h_res [T, n, n] -> x' [T, n, C]. (C1) coefficients have x's streams; (C2) f and x' have x's channels.
  }];
  let arguments = (ins Mhc_Tensor:$x, Mhc_Tensor:$f, Mhc_Tensor:$h_post, Mhc_Tensor:$h_res);
  let results = (outs Mhc_Tensor:$result);
}

def Mhc_CombineDxOp : Mhc_Row<"combine_dx"> {
  let summary = "VJP of `mhc.combine` for the streams";
  let description = [{
    dx[t, i, c] = sum_o h_res[t, o, i] dx'[t, o, c], unrounded. An op of its own: it is cheap and its result large, so fusion moves it to where the sum over dx's parts is taken.
  }];
  let arguments = (ins Mhc_Tensor:$h_res, Mhc_Tensor:$gradient);
  let results = (outs Mhc_Tensor:$dx);
}
def Mhc_CombineVjpOp : Mhc_Row<"combine_vjp"> {
  let summary = "VJP of `mhc.combine` for f and the coefficients";
  let description = [{
    df[t, c] = sum_o h_post[t, o] dx'[t, o, c]; dh_post[t, o] = sum_c dx'[t, o, c] f[t, c]; dh_res[t, o, i] = sum_c dx'[t, o, c] x[t, i, c].
  }];
  let arguments = (ins Mhc_Tensor:$x, Mhc_Tensor:$f, Mhc_Tensor:$h_post, Mhc_Tensor:$gradient);
  let results = (outs Mhc_Tensor:$df, Mhc_Tensor:$dh_post, Mhc_Tensor:$dh_res);
}

def Mhc_ExternalLayerOp : Mhc_Op<"external_layer", [Pure, Differentiable]> {
  let summary = "a layer that runs outside: f, which is there only once u is";
  let description = "The result is `f`, an argument of the function; u states what F reads. No kernel that writes u may read f (a chain is what a model would run). In backward likewise: du is there once df is.";
  let arguments = (ins Mhc_Tensor:$u, Mhc_Tensor:$f);
  let results = (outs Mhc_Tensor:$result);
}

//===----------------------------------------------------------------------===//
// Regions of the passes
//===----------------------------------------------------------------------===//

def Mhc_RecomputeOp : Op<Mhc_Dialect, "recompute", [SingleBlock, RecursiveMemoryEffects]> {
  let summary = "sublayers whose topology ops run again in the backward pass";
  let description = [{
    Made by `mhc-insert-recompute-boundaries` around whole sublayers. Of the values computed inside, only those marked by `mhc.keep` survive the forward pass (f, and what F's backward
    needs); backward starts with clones of the others' ops. `mhc-differentiate` dissolves the region. (C1) the body yields the results.
  }];
  let results = (outs Variadic<AnyType>:$results);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = "(`:` type($results)^)? attr-dict-with-keyword $body";
  let hasVerifier = 1;
}

def Mhc_KeepOp : Mhc_Op<"keep", [Pure, SameOperandsAndResultType]> {
  let summary = "marks a value inside `mhc.recompute` that survives the forward pass";
  let arguments = (ins Mhc_Tensor:$value);
  let results = (outs Mhc_Tensor:$result);
}

def Mhc_FusionOp : Op<Mhc_Dialect, "fusion", [SingleBlock, RecursiveMemoryEffects]> {
  let summary = "row ops that become one kernel";
  let description = [{
    Made by the fusion passes; `kind` says which (`coefficients`, `boundary`, `chain`). The body uses values from outside directly and yields what is used
    outside. Kernel formation writes it as one `mhc.kernel`. (C1) the body yields the results.
  }];
  let arguments = (ins StrAttr:$kind);
  let results = (outs Variadic<AnyType>:$results);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = "$kind (`:` type($results)^)? attr-dict-with-keyword $body";
  let hasVerifier = 1;
}

def Mhc_LaunchOp : Op<Mhc_Dialect, "launch", [Pure]> {
  let summary = "runs a kernel over the rows of its operands";
  let description = "Operands are the kernel's inputs, results its outputs and reductions, in the kernel's order. `place`: where in the model description, for messages.";
  let arguments = (ins FlatSymbolRefAttr:$kernel, Variadic<Mhc_Tensor>:$inputs, StrAttr:$place);
  let results = (outs Variadic<Mhc_Tensor>:$results);
  let assemblyFormat = "$kernel `(` $inputs `)` $place attr-dict `:` functional-type($inputs, $results)";
}

#endif // MHC_TOPOLOGY_OPS
