//===- MhcOps.td - the tensor ops of the mhc dialect ------------*- tablegen -*-===//
//
// T is the number of tokens (rows), n streams, C channels, K = n*C (mhc) or C (hc) the length that phi contracts, G = nC/K groups. "Row op": see MhcInterfaces.td.
//
//===----------------------------------------------------------------------===//
#ifndef MHC_OPS
#define MHC_OPS

include "mhc/Dialect/Mhc/IR/MhcAttributes.td"
include "mlir/Interfaces/SideEffectInterfaces.td"
include "mlir/Interfaces/InferTypeOpInterface.td"

def Mhc_Tensor : Type<And<[RankedTensorOf<[BF16, F32, F64, I32, I64]>.predicate, CPred<"::mlir::mhc::isRowsOrParameter($_self)">]>,
                       "tensor of bf16, f32, f64, i32 or i64 with positive sizes, dynamic in its first dimension at most", "::mlir::RankedTensorType">;

class Mhc_Op<string mnemonic, list<Trait> traits = []> : Op<Mhc_Dialect, mnemonic, traits> {
  let assemblyFormat = "operands attr-dict `:` functional-type(operands, results)";
}
/// A row op that has the given methods of the interface itself.
class Mhc_RowWith<string mnemonic, list<string> methods, list<Trait> traits>
    : Mhc_Op<mnemonic, !listconcat([Pure, DeclareOpInterfaceMethods<Mhc_RowOpInterface, methods>], traits)> {
  let hasVerifier = 1;
}
class Mhc_Row<string mnemonic, list<Trait> traits = []> : Mhc_RowWith<mnemonic, ["buildRow"], traits>;
/// A row op of which some operands are not read row by row (`operandUse`).
class Mhc_LookupRow<string mnemonic, list<Trait> traits = []> : Mhc_RowWith<mnemonic, ["buildRow", "operandUse"], traits>;
/// A row op that takes parameters, too, along their first dimension (`isSum`).
class Mhc_ParameterRow<string mnemonic, list<Trait> traits = []> : Mhc_RowWith<mnemonic, ["buildRow", "isSum"], traits>;
defvar Differentiable = DeclareOpInterfaceMethods<Mhc_DifferentiableOpInterface>;

#endif // MHC_OPS
