//===- MhcInterfaces.td - what the passes go by -----------------*- tablegen -*-===//
#ifndef MHC_INTERFACES
#define MHC_INTERFACES

include "mlir/IR/OpBase.td"
include "mlir/IR/AttrTypeBase.td"

def Mhc_RowOpInterface : OpInterface<"RowOpInterface"> {
  let cppNamespace = "::mlir::mhc";
  let description = [{
    An op that computes each row (token) from the same row of its operands: it says once, in the primitives of the row program, how a row is computed, and
    so gets its kernel on every target and takes part in fusion. Operands with rows arrive as wide or narrow values, operands of static shape as the kernel's
    parameters; a result of static shape is a sum over all tokens.
    An op on parameters alone may take their first dimensions as rows (`isSum`): an operand or result of [K, m] is then K wide rows of m elements, one of [K] beside it K narrow rows of
    one element, and what is of use `lookup` is whole. Such an op has no tokens' rows and is a kernel of its own, which runs before those that read its results.
  }];
  let methods = [
    InterfaceMethod<"writes one row in the primitives of the row program", "void", "buildRow", (ins "::mlir::mhc::RowContext &":$context)>,
    InterfaceMethod<"floating-point operations a row (multiply and add count two)", "int64_t", "flopsPerRow", (ins), [{}], [{
      return ::mlir::mhc::defaultFlopsPerRow($_op);
    }]>,
    InterfaceMethod<"what a row of the result takes of an operand with rows", "::mlir::mhc::OperandUse", "operandUse", (ins "unsigned":$index), [{}], [{
      return ::mlir::mhc::OperandUse::row;
    }]>,
    InterfaceMethod<"whether a result of static shape is a sum over the rows; with one that is not, the op's rows are those of parameters", "bool", "isSum", (ins "unsigned":$result), [{}], [{
      return true;
    }]>
  ];
}

def Mhc_DifferentiableOpInterface : OpInterface<"DifferentiableOpInterface"> {
  let cppNamespace = "::mlir::mhc";
  let description = [{
    An op that builds its own vector-Jacobian product. Gradients of values that are rounded (bf16) arrive rounded; the parts that the op gives are unrounded where the
    arithmetic is, and `mhc-differentiate` adds all parts of a value in the compute type and rounds once.
  }];
  let methods = [
    InterfaceMethod<[{Builds the gradients of the operands from those of the results (null: zero). `context.primal(v)` is v as the backward pass may use it (kept or recomputed).
      Leaves `operandGradients[i]` null where there is none.}],
      "void", "buildVjp", (ins "::mlir::mhc::VjpContext &":$context, "::llvm::ArrayRef<::mlir::Value>":$resultGradients,
                               "::llvm::MutableArrayRef<::mlir::Value>":$operandGradients)>
  ];
}

def Mhc_ManifoldAttrInterface : AttrInterface<"ManifoldAttrInterface"> {
  let cppNamespace = "::mlir::mhc";
  let description = [{
    A manifold that residual mappings are projected onto (math: `H = project(Z)`, both n x n, row-major). Forward and exact backward are scalar code of one token
    (`arith`, `math`, `scf.for`, a token's own `memref.alloca`), written once for all targets.
  }];
  let methods = [
    InterfaceMethod<"columns of phi that the mapping needs", "int64_t", "columns", (ins "int64_t":$streams)>,
    InterfaceMethod<"what holds of every H, for documentation and remarks", "::llvm::StringRef", "guarantees", (ins)>,
    InterfaceMethod<"H from Z", "::llvm::SmallVector<::mlir::Value>", "buildForward",
      (ins "::mlir::OpBuilder &":$builder, "::mlir::Location":$loc, "int64_t":$streams, "::mlir::ValueRange":$z)>,
    InterfaceMethod<"dZ from Z and dH", "::llvm::SmallVector<::mlir::Value>", "buildBackward",
      (ins "::mlir::OpBuilder &":$builder, "::mlir::Location":$loc, "int64_t":$streams, "::mlir::ValueRange":$z, "::mlir::ValueRange":$dh)>,
    InterfaceMethod<"floating-point operations of forward and backward, for the cost model", "std::pair<int64_t, int64_t>", "flops", (ins "int64_t":$streams)>
  ];
}

#endif // MHC_INTERFACES
