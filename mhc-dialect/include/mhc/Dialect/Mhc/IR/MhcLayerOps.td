//===- MhcLayerOps.td - layers, loss and training ---------------*- tablegen -*-===//
#ifndef MHC_LAYER_OPS
#define MHC_LAYER_OPS

include "mhc/Dialect/Mhc/IR/MhcOps.td"

def Mhc_CastOp : Mhc_ParameterRow<"cast", [Differentiable]> {
  let summary = "rounds to nearest even (or widens)";
  let description = [{
    The only op that rounds. Gradients pass straight through. Also on parameters: matrices are rounded to the model's dtype where they are used.
    No pass adds, moves or drops it, save one to the type that is there already. (C1) shapes and encodings agree.
  }];
  let arguments = (ins Mhc_Tensor:$value);
  let results = (outs Mhc_Tensor:$result);
  let hasFolder = 1;
}

def Mhc_SumOp : Mhc_Row<"sum", [Differentiable]> {
  let summary = "elementwise sum, unrounded, in the order of the operands";
  let description = "(C1) operands have the result's shape.";
  let arguments = (ins Variadic<Mhc_Tensor>:$values);
  let results = (outs Mhc_Tensor:$result);
  let hasFolder = 1;
}

def Mhc_ScaleOp : Mhc_ParameterRow<"scale", [Differentiable]> {
  let summary = "times a constant, unrounded (branch_scale)";
  let description = "(C1) the result has the operand's shape.";
  let arguments = (ins Mhc_Tensor:$value, F64Attr:$factor);
  let results = (outs Mhc_Tensor:$result);
  let hasFolder = 1;
}

def Mhc_RmsNormOp : Mhc_Row<"rms_norm", [Differentiable]> {
  let summary = "RMSNorm of a row, or of each of its streams";
  let description = [{
    y = gain x / sqrt(mean x^2 + eps), with `root_plus_eps` gain x / (sqrt(mean x^2) + eps), unrounded; the mean is over the whole row, with `per_stream` over each stream's channels (the gain is then one [C] for all streams).
    With `interleaved` the gain counts channel*n + stream.
    (C1) y has x's shape; (C2) gain has the elements of a group.
  }];
  let arguments = (ins Mhc_Tensor:$x, Optional<Mhc_Tensor>:$gain, F64Attr:$eps, UnitAttr:$per_stream, UnitAttr:$root_plus_eps, UnitAttr:$interleaved);
  let results = (outs Mhc_Tensor:$result);
}
def Mhc_RmsNormVjpOp : Mhc_Row<"rms_norm_vjp"> {
  let summary = "VJP of `mhc.rms_norm`";
  let description = [{
    With xh = x/r, dxh = gain dy: dx = dxh / r - x mean(dxh x) / (r^2 q), q = r, or sqrt(mean x^2) with `root_plus_eps` (the term is 0 where q is 0);
    dgain = sum_t dy xh (over streams too with `per_stream`).
  }];
  let arguments = (ins Mhc_Tensor:$x, Optional<Mhc_Tensor>:$gain, Mhc_Tensor:$gradient, F64Attr:$eps, UnitAttr:$per_stream, UnitAttr:$root_plus_eps, UnitAttr:$interleaved);
  let results = (outs Mhc_Tensor:$dx, Optional<Mhc_Tensor>:$dgain);
  let assemblyFormat = "$x (`gain` $gain^)? `,` $gradient attr-dict `:` functional-type(operands, results)";
}

def Mhc_AddBiasOp : Mhc_Row<"add_bias", [Differentiable]> {
  let summary = "rows plus a parameter, unrounded";
  let description = "y[t, c] = x[t, c] + bias[c]. Its gradient passes to x, is rounded there, and the bias sums it as rounded (math.md 1.2). (C1) y has x's shape; (C2) as many channels.";
  let arguments = (ins Mhc_Tensor:$x, Mhc_Tensor:$bias);
  let results = (outs Mhc_Tensor:$result);
}
def Mhc_SumTokensOp : Mhc_Row<"sum_tokens"> {
  let summary = "sum over all tokens";
  let description = "out[e] = sum_t x[t, e], in the compute type, fixed order. (C1) as many elements as a row.";
  let arguments = (ins Mhc_Tensor:$x);
  let results = (outs Mhc_Tensor:$result);
}

def Mhc_ZerosOp : Mhc_Op<"zeros", [Pure]> {
  let summary = "a parameter's gradient where nothing depends on it";
  let results = (outs Mhc_Tensor:$result);
}

def Mhc_RopeOp : Mhc_LookupRow<"rope", [Differentiable]> {
  let summary = "rotary position embedding on half-split pairs";
  let description = [{
    A row is one head of one token, [k + 2p, g]: its last 2 p g channels are turned, the first k streams stay (MLA: the part without positions). With a the p streams after the
    first k and b the last p, (a, b) -> (a cos - b sin, b cos + a sin), where cos and sin are the tables' row of the token's position, (row / heads) mod S; unrounded.
    `inverse` turns the other way (the VJP). x [T*heads, k+2p, g], cos and sin [S, p*g]. (C1) tables of one size, whole streams of x; (C2) at most half of x's streams; (C3) at least one head.
  }];
  let arguments = (ins Mhc_Tensor:$x, Mhc_Tensor:$cos, Mhc_Tensor:$sin, I64Attr:$heads, UnitAttr:$inverse);
  let results = (outs Mhc_Tensor:$result);
}

def Mhc_RopeTableOp : Mhc_Op<"rope_table", [Pure]> {
  let summary = "cosines or sines of the angles s theta^(-i/pairs)";
  let description = "[S, pairs], computed once by the runtime in double.";
  let arguments = (ins F64Attr:$theta, BoolAttr:$sine);
  let results = (outs Mhc_Tensor:$result);
}

def Mhc_SliceOp : Mhc_Row<"slice", [Differentiable]> {
  let summary = "some of a row's streams";
  let description = "out[t, i, c] = x[t, first + i, c]: x [T, n, g] -> [T, m, g] of x's type. (C1) rows are wide, with x's channels and element type; (C2) first .. first + m lie in 0 .. n.";
  let arguments = (ins Mhc_Tensor:$x, I64Attr:$first);
  let results = (outs Mhc_Tensor:$result);
}
def Mhc_PadOp : Mhc_Row<"pad"> {
  let summary = "VJP of `mhc.slice`: zeros around some streams";
  let description = "out[t, first + i, c] = x[t, i, c], 0 elsewhere; unrounded: x [T, m, g] -> [T, n, g]. (C1) rows are wide, with x's channels; (C2) first .. first + m lie in 0 .. n.";
  let arguments = (ins Mhc_Tensor:$x, I64Attr:$first);
  let results = (outs Mhc_Tensor:$result);
}
def Mhc_ConcatOp : Mhc_Row<"concat", [Differentiable]> {
  let summary = "rows whose streams follow each other";
  let description = "[T, a, g], [T, b, g], .. -> [T, a + b + .., g]. (C1) rows are wide, of one number of channels and one element type; (C2) their streams add up to the result's.";
  let arguments = (ins Variadic<Mhc_Tensor>:$values);
  let results = (outs Mhc_Tensor:$result);
}
def Mhc_RepeatOp : Mhc_LookupRow<"repeat", [Differentiable]> {
  let summary = "each row several times, one after the other";
  let description = "out[t*times + j] = x[t], j = 0 .. times - 1: x [T, ..] -> [T*times, ..] of x's type (MLA's rotary key, which all heads share). It is read where it is used, not copied. Narrow rows ([M, 1], what a matrix shares among its parts) have no VJP. (C1) times is 1 to 2^31 (wide: 2^20); (C2) one type, not interleaved.";
  let arguments = (ins Mhc_Tensor:$x, I64Attr:$times);
  let results = (outs Mhc_Tensor:$result);
}
def Mhc_SumStreamsOp : Mhc_Row<"sum_streams"> {
  let summary = "VJP of `mhc.repeat`: the sum of a row's groups of streams";
  let description = "out[t, i, c] = sum_j x[t, j*m + i, c] in order, unrounded: x [T, k*m, g] -> [T, m, g]. (C1) rows are wide, with x's channels, and m divides x's streams.";
  let arguments = (ins Mhc_Tensor:$x);
  let results = (outs Mhc_Tensor:$result);
}

def Mhc_ScaleRowsOp : Mhc_Row<"scale_rows", [Differentiable]> {
  let summary = "each row times its own weight, unrounded (an attention gate)";
  let description = "y[t, c] = w[t] x[t, c]: x [T, C], w [T, 1] narrow. (C1) x is one stream, and y has its shape; (C2) a weight a row.";
  let arguments = (ins Mhc_Tensor:$x, Mhc_Tensor:$w);
  let results = (outs Mhc_Tensor:$result);
}
def Mhc_DotRowsOp : Mhc_Row<"dot_rows"> {
  let summary = "the product of two rows, summed over the channels";
  let description = "s[t] = sum_c x[t, c] y[t, c], the gradient of `mhc.scale_rows`'s weight. (C1) x and y have one shape of one stream; (C2) one narrow element a row.";
  let arguments = (ins Mhc_Tensor:$x, Mhc_Tensor:$y);
  let results = (outs Mhc_Tensor:$result);
}

def Mhc_SwigluOp : Mhc_Row<"swiglu", [Differentiable]> {
  let summary = "silu(gate) up, unrounded";
  let description = "(C1) operands and result have one shape.";
  let arguments = (ins Mhc_Tensor:$gate, Mhc_Tensor:$up);
  let results = (outs Mhc_Tensor:$result);
}
def Mhc_SwigluVjpOp : Mhc_Row<"swiglu_vjp"> {
  let summary = "VJP of `mhc.swiglu`";
  let description = "s = sigmoid(gate): dgate = dy up s (1 + gate (1 - s)); dup = dy gate s.";
  let arguments = (ins Mhc_Tensor:$gate, Mhc_Tensor:$up, Mhc_Tensor:$gradient);
  let results = (outs Mhc_Tensor:$dgate, Mhc_Tensor:$dup);
}

def Mhc_EmbeddingOp : Mhc_LookupRow<"embedding", [Differentiable]> {
  let summary = "row `tokens[t]` of a table";
  let description = "tokens [T] i32, table [V, C] -> [T, C] of the table's type. (C1) as many channels.";
  let arguments = (ins Mhc_Tensor:$tokens, Mhc_Tensor:$table);
  let results = (outs Mhc_Tensor:$result);
}

def Mhc_CrossEntropyOp : Mhc_Row<"cross_entropy", [Differentiable]> {
  let summary = "negative log-likelihood of the target, a token";
  let description = "l[t] = logsumexp(logits[t]) - logits[t, target[t]]: logits [T, V], targets [T] i32 -> [T, 1] narrow. (C1) shapes.";
  let arguments = (ins Mhc_Tensor:$logits, Mhc_Tensor:$targets);
  let results = (outs Mhc_Tensor:$loss);
}
def Mhc_CrossEntropyVjpOp : Mhc_Row<"cross_entropy_vjp"> {
  let summary = "VJP of `mhc.cross_entropy`";
  let description = "dlogits[t, v] = dl[t] (softmax(logits[t])[v] - [v = target[t]]).";
  let arguments = (ins Mhc_Tensor:$logits, Mhc_Tensor:$targets, Mhc_Tensor:$gradient);
  let results = (outs Mhc_Tensor:$dlogits);
}

def Mhc_ScalarsOp : Mhc_Op<"scalars", [Pure]> {
  let summary = "the step's scalars (docs/design/package.md: learning rate, loss scale, ..)";
  let results = (outs Mhc_Tensor:$result);
}

def Mhc_TokenWeightOp : Mhc_LookupRow<"token_weight", [Differentiable]> {
  let summary = "the same weight for every token: a product of scalars";
  let description = "w[t, 0] = `factor` times the product of scalars[i] over `indices`; `like` gives the number of rows and is not read.";
  let arguments = (ins Mhc_Tensor:$like, Mhc_Tensor:$scalars, DenseI64ArrayAttr:$indices, DefaultValuedAttr<F64Attr, "1.0">:$factor);
  let results = (outs Mhc_Tensor:$result);
}

def Mhc_WeightedSumOp : Mhc_Row<"weighted_sum", [Differentiable]> {
  let summary = "sum over all tokens of value times weight";
  let description = "out[0] = sum_t value[t, 0] weight[t, 0]; the weight carries no gradient. (C1) one element a token.";
  let arguments = (ins Mhc_Tensor:$value, Mhc_Tensor:$weight);
  let results = (outs Mhc_Tensor:$result);
}

//===----------------------------------------------------------------------===//
// Library ops
//===----------------------------------------------------------------------===//

def Mhc_ViewOp : Mhc_Op<"view", [Pure, Differentiable]> {
  let summary = "the same memory with other rows";
  let description = "[T, H*D] as [T*H, 2, D/2] and back. (C1) element types agree.";
  let arguments = (ins Mhc_Tensor:$value);
  let results = (outs Mhc_Tensor:$result);
  let hasFolder = 1;
  let hasVerifier = 1;
}

def Mhc_SplitTokensOp : Mhc_Op<"split_tokens", [Pure]> {
  let summary = "tokens [B, S+1] as inputs and targets [B*S]";
  let description = "Refuses tokens outside 0..vocab-1 at run time. With one result tokens are [B, S]. (C1) tokens have two dimensions, there are one or two results of i32 rows, vocab is at least 1.";
  let arguments = (ins RankedTensorOf<[I32]>:$tokens, I64Attr:$vocab);
  let results = (outs Variadic<Mhc_Tensor>:$results);
  let hasVerifier = 1;
}

def Mhc_LinearOp : Mhc_Op<"linear", [Pure, Differentiable]> {
  let summary = "y = x W^T, a library matmul";
  let description = "x [T, K], W [N, K] -> y [T, N]; fp32 accumulation, one rounding into y's type. (C1) shapes agree.";
  let arguments = (ins Mhc_Tensor:$x, Mhc_Tensor:$w);
  let results = (outs Mhc_Tensor:$y);
  let hasVerifier = 1;
}
def Mhc_LinearDxOp : Mhc_Op<"linear_dx", [Pure, Differentiable]> {
  let summary = "dx = dy W: the VJP of `mhc.linear`, and the product with a matrix that lies as [in, out]";
  let description = "(C1) dy is [T, N], W [N, K], dx [T, K].";
  let arguments = (ins Mhc_Tensor:$dy, Mhc_Tensor:$w);
  let results = (outs Mhc_Tensor:$dx);
  let hasVerifier = 1;
}
def Mhc_LinearDwOp : Mhc_Op<"linear_dw", [Pure]> {
  let summary = "dW = dy^T x, fp32";
  let description = "(C1) x is [T, K], dy [T, N], dW [N, K].";
  let arguments = (ins Mhc_Tensor:$x, Mhc_Tensor:$dy);
  let results = (outs Mhc_Tensor:$dw);
  let hasVerifier = 1;
}

def Mhc_AttentionOp : Mhc_Op<"attention", [Pure, Differentiable]> {
  let summary = "causal softmax attention, grouped queries";
  let description = [{
    out[h] = softmax(scale q[h] k[h/g]^T) v[h/g], g = heads / kv_heads, over the positions up to the token's own in its sequence of S; scores, softmax and sums in fp32, one rounding into out. q [T, heads*d], k [T, kv_heads*d],
    v [T, kv_heads*dv] -> out [T, heads*dv], lse [T, heads] (log-sum-exp of the scores, kept for backward). (C1) row lengths agree.
  }];
  let arguments = (ins Mhc_Tensor:$q, Mhc_Tensor:$k, Mhc_Tensor:$v, I64Attr:$heads, I64Attr:$kv_heads, F64Attr:$scale);
  let results = (outs Mhc_Tensor:$result, Mhc_Tensor:$lse);
  let hasVerifier = 1;
}
def Mhc_AttentionVjpOp : Mhc_Op<"attention_vjp", [Pure]> {
  let summary = "VJP of `mhc.attention`";
  let description = "(C1) gradients have their operands' shapes, `gradient` and `output` have the result's.";
  let arguments = (ins Mhc_Tensor:$q, Mhc_Tensor:$k, Mhc_Tensor:$v, Mhc_Tensor:$output, Mhc_Tensor:$lse, Mhc_Tensor:$gradient,
                       I64Attr:$heads, I64Attr:$kv_heads, F64Attr:$scale);
  let results = (outs Mhc_Tensor:$dq, Mhc_Tensor:$dk, Mhc_Tensor:$dv);
  let hasVerifier = 1;
}

def Mhc_EmbeddingVjpOp : Mhc_Op<"embedding_vjp", [Pure]> {
  let summary = "dtable[v] = sum over the tokens t with tokens[t] = v of dx[t], fp32, in the order of the tokens";
  let description = "(C1) dtable is [V, C], dx [T, C].";
  let arguments = (ins Mhc_Tensor:$tokens, Mhc_Tensor:$dx);
  let results = (outs Mhc_Tensor:$dtable);
  let hasVerifier = 1;
}

//===----------------------------------------------------------------------===//
// Training
//===----------------------------------------------------------------------===//

def Mhc_SumSquaresOp : Mhc_Row<"sum_squares"> {
  let summary = "sum of squares of all rows";
  let arguments = (ins Mhc_Tensor:$value);
  let results = (outs Mhc_Tensor:$result);
}
def Mhc_ClipFactorOp : Mhc_Row<"clip_factor"> {
  let summary = "what gradients are multiplied by: min(1, clip / norm), or -1 if the norm is not finite";
  let description = "norm = sqrt(sum_squares[0]), clip = scalars[4]; exactly 1 where norm <= clip. -1 tells the updates to leave everything as it is.";
  let arguments = (ins Mhc_Tensor:$sum_squares, Mhc_Tensor:$scalars);
  let results = (outs Mhc_Tensor:$result);
}
def Mhc_AdamwOp : Mhc_Row<"adamw"> {
  let summary = "one AdamW step";
  let description = [{
    g' = factor g; m' = b1 m + (1-b1) g'; v' = b2 v + (1-b2) g'^2; w' = w - lr wd w - lr (m' s1) / (sqrt(v' s2) + eps), s1 = 1/(1-b1^s), s2 = 1/(1-b2^s); where v' is 0 the Adam term is 0;
    wd = 0 without `decayed`; without factor g' = g; lr is multiplied by `rate`. lr, s1, s2, wd, b1, b2, eps, 1 - b1, 1 - b2: scalars[0, 1, 2, 5, 6, 7, 8, 11, 12] (the complements are not fp32 differences). factor < 0: w, m, v as they are. Denormals are not flushed.
  }];
  let arguments = (ins Mhc_Tensor:$w, Mhc_Tensor:$g, Mhc_Tensor:$m, Mhc_Tensor:$v, Optional<Mhc_Tensor>:$factor, Mhc_Tensor:$scalars, UnitAttr:$decayed,
                       DefaultValuedAttr<F64Attr, "1.0">:$rate);
  let results = (outs Mhc_Tensor:$w_next, Mhc_Tensor:$m_next, Mhc_Tensor:$v_next);
}

#endif // MHC_LAYER_OPS
