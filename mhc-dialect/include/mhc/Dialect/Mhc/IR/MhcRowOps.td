//===- MhcRowOps.td - the row program: kernels and their primitives -*- tablegen -*-===//
//
// A kernel is a program over rows (tokens), SSA over a closed set of primitives on wide (channels) and narrow (a few scalars)
// values. Ops take part through the row-op interface (MhcInterfaces.td), which writes them in these primitives once, for every target.
//
//===----------------------------------------------------------------------===//

#ifndef MHC_ROW_OPS
#define MHC_ROW_OPS

include "mhc/Dialect/Mhc/IR/MhcDialect.td"
include "mlir/Interfaces/SideEffectInterfaces.td"
include "mlir/IR/SymbolInterfaces.td"
include "mlir/IR/RegionKindInterface.td"

class Mhc_RowOp<string mnemonic, list<Trait> traits = []> : Op<Mhc_Dialect, "row." # mnemonic, traits>;

/// An argument of a kernel.
def Mhc_Memory : Type<And<[AnyMemRef.predicate, CPred<"::mlir::mhc::isRowsOrParameter($_self)">, CPred<"::llvm::cast<::mlir::MemRefType>($_self).getLayout().isIdentity()">]>,
                       "memref with identity layout and positive sizes, dynamic in its first dimension at most", "::mlir::MemRefType">;

def Mhc_RowValue : AnyTypeOf<[Mhc_WideType, Mhc_NarrowType]>;


def Mhc_KernelOp : Op<Mhc_Dialect, "kernel", [Symbol, IsolatedFromAbove, SingleBlock, NoTerminator]> {
  let summary = "a program over rows, from which a kernel is generated";
  let description = [{
    The block's arguments are memrefs: inputs, then outputs, then reductions (`segments` counts them). An argument whose first dimension is
    dynamic has a row for each token; the others are parameters (inputs) or sums over all tokens (reductions). `ints` names the run-time
    integers beside the number of rows (`S`: the sequence length that `position` accesses go by). `compute` is the type of all arithmetic (f32 or f64).

    Labelled constraints: (C1) `segments` has three entries that add up to the number of arguments; (C2) every argument is a memref with identity
    layout, dynamic in its first dimension at most; (C3) reductions have static shapes and the compute type; (C4) a scheduled kernel is made of phases alone.

    ```mlir
    mhc.kernel @pre attributes {compute = f32, ints = [], segments = array<i64: 2, 1, 0>} {
    ^bb0(%x: memref<?x4x64xbf16>, %h: memref<?x4xf32>, %u: memref<?x64xbf16>):
      %0 = mhc.row.load row %x : memref<?x4x64xbf16> -> !mhc.wide<4x64xbf16>
      %1 = mhc.row.load row %h : memref<?x4xf32> -> !mhc.narrow<1x4xf32>
      %2 = mhc.row.mix %1, %0 : !mhc.narrow<1x4xf32>, !mhc.wide<4x64xbf16> -> !mhc.wide<1x64xf32>
      %3 = mhc.row.cast %2 : !mhc.wide<1x64xf32> -> !mhc.wide<1x64xbf16>
      mhc.row.store %3, %u : !mhc.wide<1x64xbf16>, memref<?x64xbf16>
    }
    ```
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, TypeAttr:$compute, StrArrayAttr:$ints, DenseI64ArrayAttr:$segments,
                       OptionalAttr<Mhc_ScheduleAttr>:$schedule, OptionalAttr<StrAttr>:$at);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = "$sym_name attr-dict-with-keyword $body";
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    int64_t getNumInputs() { return getSegments()[0]; }
    int64_t getNumOutputs() { return getSegments()[1]; }
    int64_t getNumReductions() { return getSegments()[2]; }
    Block &getBlock() { return getBody().front(); }
  }];
}

def Mhc_RowLoadOp : Mhc_RowOp<"load"> {
  let summary = "reads a row, or a parameter";
  let description = [{
    `row`: the token's own row of a token-major argument. `uniform`: a whole parameter of static shape, the same for every token. `gather`: row number `index[element]` (indices are i32)
    of an argument with rows in its first dimension. `position`: row (token / `divisor`) mod S of such an argument; `shared`: row token / `divisor`, of a launch whose rows
    the divisor divides; `sequence`: the same for any number of rows, and token / S with `divisor` 0 (a row for each sequence).
    A row [n, C] or [C] is loaded as `wide<nxC>` (any split of the row's elements into streams and channels is allowed: the row is contiguous),
    or as `narrow` of as many elements. With `interleaved` the row lies as [C, n]. The value's element type is the memory's. (C1) element counts agree; (C2) `index` is there with `gather` alone; (C3) `divisor` is at least 1 (`sequence`: 0); (C4) `element` is one of the index's.
  }];
  let arguments = (ins Mhc_AccessAttr:$access, Arg<Mhc_Memory, "", [MemRead]>:$source, Optional<Mhc_NarrowType>:$index, DefaultValuedAttr<I64Attr, "1">:$divisor, UnitAttr:$interleaved,
                       DefaultValuedAttr<I64Attr, "0">:$element);
  let results = (outs Mhc_RowValue:$result);
  let assemblyFormat = "$access $source (`[` $index^ `:` type($index) `]`)? attr-dict `:` type($source) `->` type($result)";
  let hasVerifier = 1;
}

def Mhc_RowStoreOp : Mhc_RowOp<"store"> {
  let summary = "writes the token's row";
  let description = "With `interleaved` wide<nxC> is written as [C, n]. (C1) element types agree (rounding is `mhc.row.cast`'s); (C2) element counts agree.";
  let arguments = (ins Mhc_RowValue:$value, Arg<Mhc_Memory, "", [MemRead, MemWrite]>:$target, UnitAttr:$interleaved);
  let assemblyFormat = "$value `,` $target attr-dict `:` type($value) `,` type($target)";
  let hasVerifier = 1;
}

def Mhc_RowCastOp : Mhc_RowOp<"cast", [Pure]> {
  let summary = "rounds to another element type (to nearest even)";
  let description = "(C1) the shape stays.";
  let arguments = (ins Mhc_RowValue:$value);
  let results = (outs Mhc_RowValue:$result);
  let assemblyFormat = "$value attr-dict `:` type($value) `->` type($result)";
  let hasVerifier = 1;
}

def Mhc_RowStreamsOp : Mhc_RowOp<"streams", [Pure]> {
  let summary = "some streams of a wide value";
  let description = "out[i] = x[first + i]: `wide<nxC> -> wide<mxC>`. Streams that nobody uses are not loaded. (C1) channels and element type stay; (C2) first .. first + m lie in 0 .. n.";
  let arguments = (ins Mhc_WideType:$value, I64Attr:$first);
  let results = (outs Mhc_WideType:$result);
  let assemblyFormat = "$value attr-dict `:` type($value) `->` type($result)";
  let hasVerifier = 1;
}

def Mhc_RowConcatOp : Mhc_RowOp<"concat", [Pure]> {
  let summary = "wide values whose streams follow each other";
  let description = "(C1) one number of channels and one element type; (C2) the streams add up to the result's.";
  let arguments = (ins Variadic<Mhc_WideType>:$values);
  let results = (outs Mhc_WideType:$result);
  let assemblyFormat = "$values attr-dict `:` type($values) `->` type($result)";
  let hasVerifier = 1;
}

def Mhc_RowMapOp : Mhc_RowOp<"map", [Pure, SingleBlock, RecursiveMemoryEffects]> {
  let summary = "an elementwise function of wide values";
  let description = [{
    The region is scalar code in the compute type, one argument for each operand. Wide operands have the result's channels and its streams or one
    stream (which is then broadcast); narrow operands have one element, or one for each stream; their scalars are broadcast over the channels (`narrow<1xi32>` arrives as i32).
    Inside, `mhc.row.channel` is the number of the channel. Only ops of `arith` and `math` and `mhc.row.channel` may stand in the region.
  }];
  let arguments = (ins Variadic<Mhc_RowValue>:$inputs);
  let results = (outs Mhc_WideType:$result);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = "($inputs^ `:` type($inputs))? attr-dict `->` type($result) $body";
  let hasVerifier = 1;
}

def Mhc_RowChannelOp : Mhc_RowOp<"channel", [Pure, HasParent<"RowMapOp">]> {
  let summary = "the channel's number, i32";
  let results = (outs I32:$result);
  let assemblyFormat = "attr-dict";
}

def Mhc_RowMixOp : Mhc_RowOp<"mix", [Pure]> {
  let summary = "a small matrix of coefficients times streams";
  let description = [{
    out[o] = init[o] + sum_i H[o, i] x[i] (`transposed`: H[i, o]); one multiplication or fma a term, in the order init, i = 0, 1, ..: with `init` every
    term is an fma on it, without it the first term is a product. Forward and backward rely on this order (math.md 1.2).
    x: `wide<bxC>`, out and init: `wide<axC>`; H: a*b elements, row-major [a, b] (`transposed`: [b, a]); the shape that a narrow type prints does not matter, here and below.
  }];
  let arguments = (ins Mhc_NarrowType:$matrix, Mhc_WideType:$streams, Optional<Mhc_WideType>:$init, UnitAttr:$transposed);
  let results = (outs Mhc_WideType:$result);
  let assemblyFormat = "$matrix `,` $streams (`init` $init^ `:` type($init))? attr-dict `:` type($matrix) `,` type($streams) `->` type($result)";
  let hasVerifier = 1;
}

def Mhc_RowDotOp : Mhc_RowOp<"dot", [Pure]> {
  let summary = "the products of streams summed over the channels";
  let description = "out[a, b] = sum_c x[a, c] y[b, c]: `wide<AxC>, wide<BxC> -> narrow<AxB>`.";
  let arguments = (ins Mhc_WideType:$lhs, Mhc_WideType:$rhs);
  let results = (outs Mhc_NarrowType:$result);
  let assemblyFormat = "$lhs `,` $rhs attr-dict `:` type($lhs) `,` type($rhs) `->` type($result)";
  let hasVerifier = 1;
}

def Mhc_RowReduceOp : Mhc_RowOp<"reduce", [Pure]> {
  let summary = "sum or maximum over the channels";
  let description = "`wide<nxC> -> narrow<n>`: over the channels of each stream; `-> narrow<1>`: over the streams too.";
  let arguments = (ins Mhc_ReduceKindAttr:$kind, Mhc_WideType:$value);
  let results = (outs Mhc_NarrowType:$result);
  let assemblyFormat = "$kind $value attr-dict `:` type($value) `->` type($result)";
  let hasVerifier = 1;
}

def Mhc_RowProjectOp : Mhc_RowOp<"project"> {
  let summary = "wide times a parameter with few columns";
  let description = [{
    out[g, m] = sum_k x[g, k] w[k, m]. The row's n*C elements are taken as G groups of K = nC/G; w is memref<KxM> (`transposed`: memref<MxK>), k = stream*C + channel (`interleaved`: channel*s + stream, s streams a group); out is `narrow<GxM>`.
  }];
  let arguments = (ins Mhc_WideType:$value, Arg<Mhc_Memory, "", [MemRead]>:$weight, UnitAttr:$transposed, UnitAttr:$interleaved);
  let results = (outs Mhc_NarrowType:$result);
  let assemblyFormat = "$value `,` $weight attr-dict `:` type($value) `,` type($weight) `->` type($result)";
  let hasVerifier = 1;
}

def Mhc_RowProjectTOp : Mhc_RowOp<"project_t"> {
  let summary = "narrow times the transpose of a parameter with few columns";
  let description = "out[g, k] = sum_m z[g, m] w[k, m]: the transpose of `mhc.row.project`, w as there.";
  let arguments = (ins Mhc_NarrowType:$value, Arg<Mhc_Memory, "", [MemRead]>:$weight, UnitAttr:$transposed, UnitAttr:$interleaved);
  let results = (outs Mhc_WideType:$result);
  let assemblyFormat = "$value `,` $weight attr-dict `:` type($value) `,` type($weight) `->` type($result)";
  let hasVerifier = 1;
}

def Mhc_RowNarrowOp : Mhc_RowOp<"narrow", [Pure, SingleBlock, RecursiveMemoryEffects, AutomaticAllocationScope]> {
  let summary = "scalar code of one token";
  let description = [{
    The region's arguments are the elements of the operands one by one, row-major (compute type; i32 for index values); it yields the elements of the results one by one.
    Ops of `arith`, `math`, `scf.for` with constant bounds and values of the region's types, `memref.alloca`/`load`/`store` of static shape
    and the compute type (a token's own memory), and `mhc.row.any` may stand in it.
    A target may run many tokens at once, one a lane: there is no other branch on a token's values than `arith.select` and `scf.if` on `mhc.row.any`.
  }];
  let arguments = (ins Variadic<Mhc_NarrowType>:$inputs);
  let results = (outs Variadic<Mhc_NarrowType>:$results);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = "($inputs^ `:` type($inputs))? attr-dict `->` type($results) $body";
  let hasVerifier = 1;
}

def Mhc_RowAnyOp : Mhc_RowOp<"any", [Pure]> {
  let summary = "true if the condition holds for any token that runs together with this one";
  let arguments = (ins I1:$condition);
  let results = (outs I1:$result);
  let assemblyFormat = "$condition attr-dict";
}

def Mhc_RowYieldOp : Mhc_RowOp<"yield", [Pure, Terminator, ParentOneOf<["RowMapOp", "RowNarrowOp", "PhaseOp"]>]> {
  let summary = "ends the region of map, narrow and phase";
  let arguments = (ins Variadic<AnyType>:$values);
  let assemblyFormat = "($values^ `:` type($values))? attr-dict";
}

def Mhc_RowSumTokensOp : Mhc_RowOp<"sum_tokens"> {
  let summary = "adds a value of each token into a reduction";
  let description = [{
    target[..] = sum over all tokens of value[..]. A wide value of n streams may go to a target of C elements: then it is summed over the streams too. With `interleaved` the target
    lies as [C, n].
    The sum's order is fixed: within a partial by token, then over the partials.
  }];
  let arguments = (ins Mhc_RowValue:$value, Arg<Mhc_Memory, "", [MemRead, MemWrite]>:$target, UnitAttr:$interleaved);
  let assemblyFormat = "$value `,` $target attr-dict `:` type($value) `,` type($target)";
  let hasVerifier = 1;
}

def Mhc_RowOuterTokensOp : Mhc_RowOp<"outer_tokens"> {
  let summary = "adds the outer product of a wide and a narrow value into a reduction";
  let description = "target[k, m] += sum_g x[g, k] z[g, m]: the gradient of `mhc.row.project`'s parameter; target as the parameter there.";
  let arguments = (ins Mhc_WideType:$value, Mhc_NarrowType:$narrow, Arg<Mhc_Memory, "", [MemRead, MemWrite]>:$target, UnitAttr:$transposed, UnitAttr:$interleaved);
  let assemblyFormat = "$value `,` $narrow `,` $target attr-dict `:` type($value) `,` type($narrow) `,` type($target)";
  let hasVerifier = 1;
}

def Mhc_PhaseOp : Op<Mhc_Dialect, "phase", [SingleBlock, HasParent<"KernelOp">]> {
  let summary = "a stretch of a scheduled kernel between two reductions";
  let description = [{
    A scheduled kernel is a list of phases. A `wide` phase runs over the channels once: it holds wide primitives and the reductions that they feed. A `narrow` phase holds the
    narrow code between. Only narrow values pass from phase to phase (they stay on chip); what a later phase needs of a wide value it loads again or computes
    again inside itself. (C1) wide phases hold no narrow code, narrow phases no wide values; (C2) the block yields the results.
  }];
  let arguments = (ins Mhc_PhaseRoleAttr:$role);
  let results = (outs Variadic<Mhc_NarrowType>:$results);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = "$role (`:` type($results)^)? attr-dict-with-keyword $body";
  let hasVerifier = 1;
}

#endif // MHC_ROW_OPS
