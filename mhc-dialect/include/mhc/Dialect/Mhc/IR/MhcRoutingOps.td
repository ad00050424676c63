//===- MhcRoutingOps.td - mixtures of experts -------------------*- tablegen -*-===//
//
// T tokens, E experts, k choices a token, M = T*k slots: rows sorted by expert. docs/design/routing.md has the picture.
//
//===----------------------------------------------------------------------===//
#ifndef MHC_ROUTING_OPS
#define MHC_ROUTING_OPS

include "mhc/Dialect/Mhc/IR/MhcOps.td"

//===----------------------------------------------------------------------===//
// Choice and weights
//===----------------------------------------------------------------------===//

def Mhc_RouteOp : Mhc_LookupRow<"route", [AttrSizedOperandSegments, Differentiable]> {
  let summary = "the k experts of a token and their weights";
  let description = [{
    With s = score(z) of the logits z [T, E]: the experts with the k highest s + bias, best first, of equal ones the lower first. Without bias and groups it is z that is compared, and for
    `softmax_after_topk` z + bias. Of `groups` G, each of E/G experts one after the other, the `chosen` ones of which the best k/`chosen` s + bias have the highest sum are chosen from.

    weight[t, j] = scale gate(g_j): g is s of the chosen expert (`softmax_after_topk`: softmax over the chosen logits), with `normalize` g / (sum g + 1e-20); the gate is g, with `sqrt_gate` its root.
    `phases`: the number of choices in each phase of the training, of which scalars[20] says the present one; a choice beyond has index -1 and weight 0, and k in the score of a group is that number.
    A token with a logit that is not finite has index -2: `mhc.dispatch` refuses it.

    All in the compute type. Backward needs logits and index.
    (C1) logits [T, E], index [T, k] i32, weight [T, k] narrow; (C2) groups divide E, chosen of them divide k, and k/chosen <= E/groups; (C3) bias has E elements; (C4) phases: scalars, and 1 to k choices each, k the most,
    all of them divided by `chosen`.

    ```mlir
    %weight, %index = mhc.route logits %z bias %b {score = #mhc<score sigmoid>, normalize}
        : (tensor<?x64xf32>, tensor<64xf32>) -> (tensor<?x6xf32, #mhc.narrow>, tensor<?x6xi32, #mhc.narrow>)
    ```
  }];
  let arguments = (ins Mhc_Tensor:$logits, Optional<Mhc_Tensor>:$bias, Optional<Mhc_Tensor>:$scalars, Mhc_ScoreAttr:$score,
                       DefaultValuedAttr<I64Attr, "1">:$groups, DefaultValuedAttr<I64Attr, "1">:$chosen, UnitAttr:$normalize, UnitAttr:$sqrt_gate,
                       DefaultValuedAttr<F64Attr, "1.0">:$scale, DefaultValuedAttr<DenseI64ArrayAttr, "{}">:$phases);
  let results = (outs Mhc_Tensor:$weight, Mhc_Tensor:$index);
  let assemblyFormat = "`logits` $logits (`bias` $bias^)? (`scalars` $scalars^)? attr-dict `:` functional-type(operands, results)";
}

def Mhc_RouteVjpOp : Mhc_Row<"route_vjp"> {
  let summary = "VJP of `mhc.route` for the logits";
  let description = [{
    With a = the weights, h = 1 (`sqrt_gate`: 1/2), D = d log s / dz (softmax: 1, sigmoid: 1 - s, sqrt_softplus: sigmoid(z) / (2 softplus(z))), sums over the choices:
    dz_i = h (a_i da_i - g_i sum a da) D_i for chosen i where g is normalised, h ([i chosen] a_i da_i - p_i sum a da) for all i of a softmax before the choice, h a_i da_i D_i for chosen i else.
    (C1) dlogits has the logits' shape; (C2) index [T, k] i32 and gradient [T, k] are narrow.
  }];
  let arguments = (ins Mhc_Tensor:$logits, Mhc_Tensor:$index, Mhc_Tensor:$gradient, Mhc_ScoreAttr:$score, UnitAttr:$normalize, UnitAttr:$sqrt_gate,
                       DefaultValuedAttr<F64Attr, "1.0">:$scale);
  let results = (outs Mhc_Tensor:$dlogits);
}

//===----------------------------------------------------------------------===//
// Balance
//===----------------------------------------------------------------------===//

def Mhc_RouterStatisticsOp : Mhc_LookupRow<"router_statistics", [Differentiable]> {
  let summary = "the sums over the tokens that balance losses are made of";
  let description = [{
    `tokens` [1] is T; then for each loss, with p = softmax(z): `switch_step` sum_t p [E]; `switch_sequence` sum_t <shares[t / length], p> [1]; `top1`, with q = softmax(z / tau), sum_t q [E] and sum_t max q [1];
    `z` sum_t LSE(z)^2 [1]. `shares` [B, E]: those of `mhc.sequence_load`, of sequences of `length` tokens (0: S).
    (C1) logits [T, E]; (C2) a result for T, then those of the losses, static; (C3) shares with a loss `switch_sequence`, and with that alone.
  }];
  let arguments = (ins Mhc_Tensor:$logits, Optional<Mhc_Tensor>:$shares, ArrayAttr:$losses, DefaultValuedAttr<I64Attr, "0">:$length);
  let results = (outs Variadic<Mhc_Tensor>:$sums);
}
def Mhc_RouterStatisticsVjpOp : Mhc_LookupRow<"router_statistics_vjp", [AttrSizedOperandSegments]> {
  let summary = "VJP of `mhc.router_statistics`";
  let description = [{
    From the gradients d of the sums: `switch_step` p (d - <p, d>); `switch_sequence` d p (f - <p, f>) with the shares f of the token's sequence; `top1` q (G - <q, G>) / tau, G_i = d_i + d_max where i is
    the highest logit (the lowest such i); `z` 2 d LSE p. All added, once a token.
    (C1) dlogits has the logits' shape; (C2) gradients of the losses' sums; (C3) shares as there.
  }];
  let arguments = (ins Mhc_Tensor:$logits, Optional<Mhc_Tensor>:$shares, Variadic<Mhc_Tensor>:$gradients, ArrayAttr:$losses, DefaultValuedAttr<I64Attr, "0">:$length);
  let results = (outs Mhc_Tensor:$dlogits);
  let assemblyFormat = "$logits (`shares` $shares^)? `,` $gradients attr-dict `:` functional-type(operands, results)";
}

def Mhc_BalanceLossOp : Mhc_Row<"balance_loss", [Differentiable]> {
  let summary = "the balance losses, weights included";
  let description = [{
    From the sums of `mhc.router_statistics` and a vector of the experts' shares f for each `switch_step`, in their order, with weight w: `switch_step` w E <f, sum p> / T; `switch_sequence` w E sum / T; `top1` w E |sum q|^2 / (T sum max q);
    `z` w sum LSE^2 / T. All 0 for T = 0.
    (C1) the sums of the losses, after T; (C2) shares of E elements for each `switch_step`; (C3) an element for each loss.
  }];
  let arguments = (ins Variadic<Mhc_Tensor>:$sums, ArrayAttr:$losses, I64Attr:$experts);
  let results = (outs Mhc_Tensor:$result);
}
def Mhc_BalanceLossVjpOp : Mhc_Row<"balance_loss_vjp"> {
  let summary = "VJP of `mhc.balance_loss` for the sums";
  let description = "The operands of `mhc.balance_loss`, then the losses' gradients. (C1) a result for each sum but T; (C2) a gradient for each loss.";
  let arguments = (ins Variadic<Mhc_Tensor>:$sums, ArrayAttr:$losses, I64Attr:$experts);
  let results = (outs Variadic<Mhc_Tensor>:$gradients);
}

def Mhc_TotalLossOp : Mhc_Row<"total_loss", [Differentiable]> {
  let summary = "the cross-entropy and the balance losses of all layers, added up";
  let description = [{
    loss = cross_entropy + scalars[3] times the sum of all elements of the others. (The weights of the tokens have the scale scalars[3] already.) (C1) cross-entropy and loss have one element, there are scalars.
  }];
  let arguments = (ins Mhc_Tensor:$scalars, Mhc_Tensor:$cross_entropy, Variadic<Mhc_Tensor>:$balance);
  let results = (outs Mhc_Tensor:$result);
}
def Mhc_LossScaleOp : Mhc_Row<"loss_scale"> {
  let summary = "VJP of `mhc.total_loss`: scalars[3] for every loss";
  let description = "(C1) there are scalars.";
  let arguments = (ins Mhc_Tensor:$scalars);
  let results = (outs Mhc_Tensor:$result);
}

def Mhc_ExpertLoadOp : Mhc_Op<"expert_load", [Pure]> {
  let summary = "the experts' shares of the step's choices so far";
  let description = [{
    total = previous + counts (64-bit integers), share = total / sum of totals, 0 where that is 0. counts [E] i32, previous [E] i64 -> share [E], total [E] i64. A library command.
    (C1) vectors of one length; share of the compute type.
  }];
  let arguments = (ins Mhc_Tensor:$counts, Optional<Mhc_Tensor>:$previous);
  let results = (outs Mhc_Tensor:$share, Mhc_Tensor:$total);
  let hasVerifier = 1;
}
def Mhc_SequenceLoadOp : Mhc_Op<"sequence_load", [Pure]> {
  let summary = "the experts' shares of each sequence's choices";
  let description = [{
    share[b, e] = choices of e in sequence b / choices in it: index [T, k] i32 -> [B, E], sequences of `length` tokens (0: S). A library command.
    (C1) index narrow i32, length at least 0, shares of the compute type.
  }];
  let arguments = (ins Mhc_Tensor:$index, DefaultValuedAttr<I64Attr, "0">:$length);
  let results = (outs Mhc_Tensor:$shares);
  let hasVerifier = 1;
}
def Mhc_UpdateBiasOp : Mhc_Op<"update_bias", [Pure]> {
  let summary = "the selection bias after a step (loss-free balancing)";
  let description = [{
    bias[l, e] += rate sign(sum_i counts[l, i] - E counts[l, e]), in 64-bit integers, sign(0) = 0; rows [E], or [L, E] for several layers. With a `factor` below 0 (a step without finite gradients) it stays. A library command.
    (C1) bias, counts (i32 or i64) and result of one shape; (C2) a rate of at least 0.
  }];
  let arguments = (ins Mhc_Tensor:$bias, Mhc_Tensor:$counts, Optional<Mhc_Tensor>:$factor, F64Attr:$rate);
  let results = (outs Mhc_Tensor:$result);
  let hasVerifier = 1;
}

//===----------------------------------------------------------------------===//
// Tokens to experts and back
//===----------------------------------------------------------------------===//

// It writes the error flag of what is not finite: nothing leaves it out, even where nobody reads its results.
def Mhc_DispatchOp : Mhc_Op<"dispatch", [MemoryEffects<[MemWrite]>]> {
  let summary = "sorts the choices by expert, stable by token";
  let description = [{
    index [T, k] i32 -> counts [E], offsets [E+1] i32; of each slot the token (gather [M]) and the choice t*k + j (order [M]); of each choice the slot (reverse [T, k]). Expert e has the slots offsets[e] .. offsets[e+1].
    An index of -1 is no choice: it has no slot (reverse -1). Slots that nothing takes, from offsets[E] on, have gather and order 0. -2 (a logit that is not finite) is a run-time error.
    `capacity`: each expert takes its first ceil(capacity T k / E) choices, the others have no slot; `dropped` [1] counts them, `counts` counts all. All on the device. A library command.
    (C1) index [T, k] and reverse narrow, gather and order rows, all i32; (C2) counts of E, offsets of E + 1; (C3) capacity above 0.
  }];
  let arguments = (ins Mhc_Tensor:$index, OptionalAttr<F64Attr>:$capacity);
  let results = (outs Mhc_Tensor:$counts, Mhc_Tensor:$offsets, Mhc_Tensor:$gather, Mhc_Tensor:$order, Mhc_Tensor:$reverse, Mhc_Tensor:$dropped);
  let hasVerifier = 1;
}

def Mhc_GatherRowsOp : Mhc_LookupRow<"gather_rows", [Differentiable]> {
  let summary = "the tokens' rows in the order of the slots";
  let description = [{
    out[m] = x[gather[m]]: x [T, C] -> [M, C] of x's type. `reverse` is not read; backward sums by it.
    (C1) wide rows of one stream and x's type; (C2) gather a row's number for each slot, reverse narrow i32.
  }];
  let arguments = (ins Mhc_Tensor:$x, Mhc_Tensor:$gather, Mhc_Tensor:$reverse);
  let results = (outs Mhc_Tensor:$result);
}

def Mhc_CombineRowsOp : Mhc_LookupRow<"combine_rows", [AttrSizedOperandSegments, Differentiable]> {
  let summary = "the weighted sum of a token's slots";
  let description = [{
    out[t] = sum_j weight[t, j] y[reverse[t, j]], unrounded, in the order of j; choices without a slot (reverse -1) are left out; without `weight` all are 1 (the VJP of `mhc.gather_rows`).
    y [M, C], reverse [T, k], weight [T, k] -> [T, C]. `gather` and `order` are not read; backward needs them.
    (C1) wide rows of one stream and as many channels; (C2) reverse and weight narrow of k elements; (C3) gather and order with weight, and with that alone.
  }];
  let arguments = (ins Mhc_Tensor:$y, Mhc_Tensor:$reverse, Optional<Mhc_Tensor>:$weight, Optional<Mhc_Tensor>:$gather, Optional<Mhc_Tensor>:$order);
  let results = (outs Mhc_Tensor:$result);
  let assemblyFormat = "$y `,` $reverse (`weight` $weight^)? (`slots` $gather^ `,` $order)? attr-dict `:` functional-type(operands, results)";
}
def Mhc_CombineRowsDyOp : Mhc_LookupRow<"combine_rows_dy"> {
  let summary = "VJP of `mhc.combine_rows` for the slots' rows";
  let description = [{
    dy[m] = weight[order[m]] g[gather[m]], unrounded: weight [M, 1], the same memory as [T, k]. Slots that nothing takes get rows that nothing reads.
    (C1) wide rows of one stream and as many channels; (C2) gather, order a number for each slot, one weight a row.
  }];
  let arguments = (ins Mhc_Tensor:$gradient, Mhc_Tensor:$weight, Mhc_Tensor:$gather, Mhc_Tensor:$order);
  let results = (outs Mhc_Tensor:$dy);
}
def Mhc_CombineRowsDwOp : Mhc_LookupRow<"combine_rows_dw"> {
  let summary = "VJP of `mhc.combine_rows` for the weights";
  let description = [{
    dweight[t, j] = <g[t], y[reverse[t, j]]>, 0 for choices without a slot. (C1) wide rows of one stream and as many channels; (C2) reverse and dweight narrow of k elements.
  }];
  let arguments = (ins Mhc_Tensor:$gradient, Mhc_Tensor:$y, Mhc_Tensor:$reverse);
  let results = (outs Mhc_Tensor:$dweight);
}

def Mhc_GroupedMatmulOp : Mhc_Op<"grouped_matmul", [Pure, Differentiable]> {
  let summary = "each expert's rows times its matrix";
  let description = [{
    y[m] = x[m] W[e] for the slots m of expert e (offsets[e] .. offsets[e+1]); 0 for slots that nothing takes. x [M, K], W [E, K, N] (`transposed`: [E, N, K], W[e]^T) -> y [M, N] of x's type, rounded once, or of the
    compute type. fp32 accumulation (fp64 for fp64). A library command. (C1) these shapes; (C2) y of x's type or f32.
  }];
  let arguments = (ins Mhc_Tensor:$x, Mhc_Tensor:$w, Mhc_Tensor:$offsets, UnitAttr:$transposed);
  let results = (outs Mhc_Tensor:$y);
  let hasVerifier = 1;
}
def Mhc_GroupedOuterOp : Mhc_Op<"grouped_outer", [Pure]> {
  let summary = "the gradients of the experts' matrices";
  let description = [{
    out[e] = sum over the slots m of expert e of x[m]^T y[m]: x [M, K], y [M, N] -> [E, K, N] f32 (f64), in a fixed order, 0 for an expert without slots. A library command. (C1) these shapes.
  }];
  let arguments = (ins Mhc_Tensor:$x, Mhc_Tensor:$y, Mhc_Tensor:$offsets);
  let results = (outs Mhc_Tensor:$result);
  let hasVerifier = 1;
}

#endif // MHC_ROUTING_OPS
