//===- PlanOps.td - entries, buffers, commands ------------------*- tablegen -*-===//
#ifndef MHC_PLAN_OPS
#define MHC_PLAN_OPS

include "mhc/Dialect/Plan/IR/PlanDialect.td"
include "mlir/IR/SymbolInterfaces.td"
include "mlir/IR/OpAsmInterface.td"

def Plan_CommandInterface : OpInterface<"CommandInterface"> {
  let cppNamespace = "::mlir::plan";
  let description = "A command of a plan: what it does to which buffers. Lifetimes and their check go by it alone.";
  let methods = [
    InterfaceMethod<"the buffers that the command touches itself (a loop's body speaks for itself)", "void", "getBufferUses",
      (ins "::llvm::SmallVectorImpl<::mlir::plan::BufferUse> &":$uses)>
  ];
  let verify = "return ::mlir::plan::detail::verifyCommand($_op);";
}

class Plan_Op<string mnemonic, list<Trait> traits = []> : Op<Plan_Dialect, mnemonic, traits>;
class Plan_Command<string mnemonic, list<Trait> traits = []>
    : Plan_Op<mnemonic, !listconcat([DeclareOpInterfaceMethods<Plan_CommandInterface>], traits)>;
def Plan_Exprs : TypedArrayAttrBase<Plan_ExprAttr, "expressions">;
def Plan_At : OptionalAttr<StrAttr>;

def Plan_EntryOp : Plan_Op<"entry", [Symbol, IsolatedFromAbove, SingleBlock, NoTerminator]> {
  let summary = "an entry point: its buffers, then its commands";
  let description = [{
    `symbols` take their values when inputs are bound; each `derived` one is a product: `["T", "B", "S"]` is T = B * S. With `block_rows` there is R = min(T, block_rows), the rows that
    an iteration of a loop over `row_blocks` takes (the last takes what is left).

    (C1) buffers stand before all commands, and commands use nothing else; (C2) expressions use the entry's symbols only; (C3) a temporary (`arena`, `partials`) has a live range that covers its uses; (C4) the first
    command that uses an `arena` buffer writes all of it.

    ```mlir
    plan.entry @forward symbols ["T"] {
      %x = plan.buffer input bf16 <256 * T> {tensor = "x"}
      %u = plan.buffer output bf16 <64 * T> {tensor = "u"}
      plan.launch @pre(%x, %u) rows <T> at "aggregate"
    }
    ```
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, StrArrayAttr:$symbols, OptionalAttr<ArrayAttr>:$derived, OptionalAttr<I64Attr>:$block_rows);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = "$sym_name `symbols` $symbols (`derived` $derived^)? (`block_rows` $block_rows^)? attr-dict-with-keyword $body";
  let hasRegionVerifier = 1;
  let extraClassDeclaration = [{ ::mlir::Block &getBlock() { return getBody().front(); } }];
}

def Plan_BufferOp : Plan_Op<"buffer", [HasParent<"EntryOp">, DeclareOpInterfaceMethods<OpAsmOpInterface, ["getAsmResultNames"]>]> {
  let summary = "a buffer: kind, element type and number of elements";
  let description = [{
    Kinds and their further attributes (docs/design/package.md): `input`, `output` (`tensor`, and `slice` of `slices`), `parameter`, `gradient` (`tensor`), `arena`, `partials` (`live`: first and
    last command, in preorder, inclusive), `state` (`arena`, `begin`), `scalars` (`begin`), `constant` (`generator`, `theta`, `pairs`). A `window` is what a loop over `row_blocks` sees of a buffer of T rows, `base`: the rows of the iteration.

    (C1) the attributes are those of the kind; (C2) `slice` lies below `slices`; (C3) a live range is [first, last]; (C4) element types are those that packages know;
    parameters, gradients, states and scalars are f32; (C5) a window has R rows of a base of T rows of as many elements, and its type.
  }];
  let arguments = (ins Optional<Plan_Buffer>:$base, Plan_BufferKindAttr:$kind, TypeAttr:$elementType, Plan_ExprAttr:$size, OptionalAttr<DenseI64ArrayAttr>:$live,
                       OptionalAttr<StrAttr>:$name, OptionalAttr<StrAttr>:$tensor, OptionalAttr<I64Attr>:$slice, OptionalAttr<I64Attr>:$slices,
                       OptionalAttr<StrAttr>:$arena, OptionalAttr<I64Attr>:$begin, OptionalAttr<StrAttr>:$generator, OptionalAttr<F64Attr>:$theta,
                       OptionalAttr<I64Attr>:$pairs);
  let results = (outs Plan_Buffer:$buffer);
  let assemblyFormat = "`` $kind $elementType $size (`of` $base^)? (`live` $live^)? attr-dict"; // an enum attribute prints a space of its own
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    bool isTemporary() { return getKind() == BufferKind::arena || getKind() == BufferKind::partials; }
    int64_t getElementBytes() { return getElementType().getIntOrFloatBitWidth() / 8; }
  }];
}

//===----------------------------------------------------------------------===//
// Commands
//===----------------------------------------------------------------------===//

def Plan_LaunchOp : Plan_Command<"launch", [AttrSizedOperandSegments, DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "runs a kernel over rows";
  let description = [{
    `args` are the kernel's inputs and outputs. For each of its reductions there is a `partials` buffer and the buffer that the partials are added into; `accumulate` says whether on top of
    what that holds. An output may be the same buffer as an input of an elementwise kernel.

    (C1) the kernel exists and takes as many arguments; (C2) buffers have the arguments' element types; (C3) an argument with rows has the rows' elements, another one those of its shape;
    (C4) `ints` are those of the kernel; (C5) `partials`, `outs` and `accumulate` are as many as the kernel's reductions.
  }];
  let arguments = (ins FlatSymbolRefAttr:$kernel, Variadic<Plan_Buffer>:$args, Variadic<Plan_Buffer>:$partials, Variadic<Plan_Buffer>:$outs,
                       Plan_ExprAttr:$rows, OptionalAttr<Plan_Exprs>:$ints, OptionalAttr<DenseBoolArrayAttr>:$accumulate, Plan_At:$at);
  let assemblyFormat = [{
    $kernel `(` $args `)` `rows` $rows (`ints` $ints^)? (`reduce` $partials^ `into` $outs `accumulate` $accumulate)? (`at` $at^)? attr-dict
  }];
}

def Plan_GemmOp : Plan_Command<"gemm"> {
  let summary = "C = alpha op(A) op(B) (+ C, or + beta D), row-major, of a batch of matrices";
  let description = [{
    A [m, k] (`trans_a`: [k, m]), B [k, n] (`trans_b`: [n, k]), C [m, n]; `plus` D [m, n] `beta`. With `batch` each buffer holds so many matrices, one after the other, and each gets its own product. fp32 accumulation, one rounding.
    (C1) buffers have these sizes; (C2) floating-point types, f64 with f64 only; (C3) `accumulate` and `plus` exclude each other, `batch` is at least 1.
  }];
  let arguments = (ins Plan_Buffer:$a, Plan_Buffer:$b, Plan_Buffer:$c, Optional<Plan_Buffer>:$d, Plan_ExprAttr:$m, Plan_ExprAttr:$n, Plan_ExprAttr:$k,
                       UnitAttr:$trans_a, UnitAttr:$trans_b, UnitAttr:$accumulate, DefaultValuedAttr<I64Attr, "1">:$batch,
                       DefaultValuedAttr<F64Attr, "1.0">:$alpha, DefaultValuedAttr<F64Attr, "0.0">:$beta, Plan_At:$at);
  let assemblyFormat = [{
    $a `,` $b (`plus` $d^)? `into` $c `m` $m `n` $n `k` $k (`trans_a` $trans_a^)? (`trans_b` $trans_b^)? (`accumulate` $accumulate^)? (`at` $at^)? attr-dict
  }];
  let hasVerifier = 1;
  let builders = [OpBuilder<(ins "Value":$a, "Value":$b, "Value":$c, "ExprAttr":$m, "ExprAttr":$n, "ExprAttr":$k, "bool":$transA, "bool":$transB, "bool":$accumulate, "StringAttr":$at), [{
    build($_builder, $_state, a, b, c, Value(), m, n, k, transA, transB, accumulate, 1, ::llvm::APFloat(1.0), ::llvm::APFloat(0.0), at);
  }]>];
}

defvar AttentionAttributes = (ins I64Attr:$heads, I64Attr:$kv_heads, I64Attr:$head_dim, I64Attr:$value_dim, F64Attr:$scale,
                                  Plan_ExprAttr:$sequences, Plan_ExprAttr:$length, Plan_At:$at);
def Plan_AttentionOp : Plan_Command<"attention"> {
  let summary = "causal attention with grouped queries";
  let description = "q [T, heads, d], k [T, kv_heads, d], v [T, kv_heads, dv] -> out [T, heads, dv], lse [T, heads] fp32; `sequences` of `length` tokens. (C1) heads are a multiple of kv_heads.";
  let arguments = !con((ins Plan_Buffer:$q, Plan_Buffer:$k, Plan_Buffer:$v, Plan_Buffer:$out, Plan_Buffer:$lse), AttentionAttributes);
  let assemblyFormat = "$q `,` $k `,` $v `into` $out `,` $lse `sequences` $sequences `length` $length (`at` $at^)? attr-dict";
  let hasVerifier = 1;
}
def Plan_AttentionBackwardOp : Plan_Command<"attention_backward"> {
  let summary = "VJP of `plan.attention`";
  let description = "(C1) heads are a multiple of kv_heads.";
  let arguments = !con((ins Plan_Buffer:$q, Plan_Buffer:$k, Plan_Buffer:$v, Plan_Buffer:$out, Plan_Buffer:$lse, Plan_Buffer:$dout,
                            Plan_Buffer:$dq, Plan_Buffer:$dk, Plan_Buffer:$dv), AttentionAttributes);
  let assemblyFormat = "$q `,` $k `,` $v `,` $out `,` $lse `,` $dout `into` $dq `,` $dk `,` $dv `sequences` $sequences `length` $length (`at` $at^)? attr-dict";
  let hasVerifier = 1;
}

def Plan_SplitTokensOp : Plan_Command<"split_tokens"> {
  let summary = "tokens [B, S+1] as inputs and targets [B*S]; refuses tokens outside the vocabulary";
  let arguments = (ins Plan_Buffer:$tokens, Plan_Buffer:$inputs, Optional<Plan_Buffer>:$targets, I64Attr:$vocab, Plan_At:$at);
  let assemblyFormat = "$tokens `into` $inputs (`,` $targets^)? `vocab` $vocab (`at` $at^)? attr-dict";
}

def Plan_EmbeddingBackwardOp : Plan_Command<"embedding_backward"> {
  let summary = "out[tokens[t]] += dx[t], in the order of the tokens";
  let arguments = (ins Plan_Buffer:$tokens, Plan_Buffer:$dx, Plan_Buffer:$out, UnitAttr:$accumulate, Plan_At:$at);
  let assemblyFormat = "$tokens `,` $dx `into` $out (`accumulate` $accumulate^)? (`at` $at^)? attr-dict";
}

def Plan_LoopOp : Plan_Command<"loop", [SingleBlock, NoTerminator]> {
  let summary = "repeats its body a number of times that the runtime knows";
  let description = [{
    `count` is `micro_batches` (in the body the input `tokens` is that micro-batch's rows) or `row_blocks` (in the body windows are the iteration's rows, and R counts them).
    (C1) the count is a known one; (C2) a loop over row blocks may stand in one over micro-batches, there is no other nesting; (C3) the entry has `block_rows`, and windows are used in
    loops over row blocks only, of which the commands are launches and matmuls.
  }];
  let arguments = (ins StrAttr:$count, Plan_At:$at);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = "$count (`at` $at^)? attr-dict-with-keyword $body";
  let hasVerifier = 1;
}

def Plan_FillOp : Plan_Command<"fill"> {
  let summary = "sets all elements";
  let arguments = (ins Plan_Buffer:$buffer, F64Attr:$value, Plan_At:$at);
  let assemblyFormat = "$buffer `with` $value (`at` $at^)? attr-dict";
}
def Plan_AddOp : Plan_Command<"add"> {
  let summary = "dst += src";
  let description = "(C1) the same element type and size.";
  let arguments = (ins Plan_Buffer:$src, Plan_Buffer:$dst, Plan_At:$at);
  let assemblyFormat = "$src `into` $dst (`at` $at^)? attr-dict";
  let hasVerifier = 1;
}
def Plan_CopyOp : Plan_Command<"copy"> {
  let summary = "dst = src";
  let description = "(C1) the same element type and size.";
  let arguments = (ins Plan_Buffer:$src, Plan_Buffer:$dst, Plan_At:$at);
  let assemblyFormat = "$src `into` $dst (`at` $at^)? attr-dict";
  let hasVerifier = 1;
}

#endif // MHC_PLAN_OPS
