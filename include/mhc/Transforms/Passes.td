//===- Passes.td - the passes that are the point ---------------*- tablegen -*-===//
#ifndef MHC_TRANSFORMS_PASSES
#define MHC_TRANSFORMS_PASSES

include "mlir/Pass/PassBase.td"

def ExpandTopologyPass : Pass<"mhc-expand-topology", "::mlir::func::FuncOp"> {
  let summary = "rewrite sublayers and coefficients into their parts";
  let description = [{
    `mhc.sublayer` becomes `mhc.coefficients`, `mhc.aggregate`, its body and `mhc.combine` (`mhc.sum` for a plain residual), with the casts that the convention asks for;
    `mhc.coefficients` becomes norm, projection, affine, activations and the projection onto the manifold, on which the other passes work.
  }];
  let dependentDialects = ["::mlir::mhc::MhcDialect"];
}

def ReorderNormAfterMatmulPass : Pass<"mhc-reorder-norm-after-matmul", "::mlir::func::FuncOp"> {
  let summary = "norm after the matmul: RMSNorm(v) phi becomes (v phi) / r";
  let description = [{
    A normalised row that only narrow projections read need not be written: the norm is a scalar a row (a group), and dividing the few columns afterwards gives the same up to rounding.

    ```mlir
    %0 = mhc.rms_norm %x {eps = 1.0e-6 : f64} : (tensor<?x4x64xbf16>) -> tensor<?x4x64xf32>
    %1 = mhc.projection %0, %phi : (tensor<?x4x64xf32>, tensor<256x24xf32>) -> tensor<?x1x24xf32, #mhc.narrow>
    ```
    becomes
    ```mlir
    %0 = mhc.projection %x, %phi : (tensor<?x4x64xbf16>, tensor<256x24xf32>) -> tensor<?x1x24xf32, #mhc.narrow>
    %1 = mhc.rms %x {eps = 1.0e-6 : f64} : (tensor<?x4x64xbf16>) -> tensor<?x1xf32, #mhc.narrow>
    %2 = mhc.divide %0, %1 : ...
    ```
    Refused, each with its remark: a cast between the two (it would have to move), other uses of the normalised row, a gain, groups that differ, as many columns as channels.
  }];
  let dependentDialects = ["::mlir::mhc::MhcDialect"];
}

def InsertRecomputeBoundariesPass : Pass<"mhc-insert-recompute-boundaries", "::mlir::func::FuncOp"> {
  let summary = "wrap blocks of sublayers whose topology is recomputed in the backward pass";
  let description = [{
    Sublayers of a function that is to be differentiated are grouped into blocks of L_r. Memory a token, in elements of the streams' type (math: Eq. 20 of the paper):
    `n C ceil(L / L_r) + (n + 2) C L_r`. `block = 0` takes the L_r that minimises it; `budget` (elements a token) the smallest recomputation that fits. Each block becomes `mhc.recompute`; what F computes, and its output, is
    marked by `mhc.keep` and survives; the topology ops and F's leading norm run again.
  }];
  let options = [
    Option<"block", "block", "int64_t", "0", "sublayers a block; 0: by the memory formula; -1: no recomputation">,
    Option<"budget", "budget", "int64_t", "0", "elements a token that may be kept (0: none given)">];
  let dependentDialects = ["::mlir::mhc::MhcDialect"];
}

def FuseCoefficientsPass : Pass<"mhc-fuse-coefficients", "::mlir::func::FuncOp"> {
  let summary = "the small per-token ops become one kernel";
  let description = [{
    Connected ops on narrow rows only (divide, select, affine, activation, project and their VJPs) are wrapped into one `mhc.fusion "coefficients"`: one launch instead of one each, and the values between never
    leave the chip.
  }];
  let dependentDialects = ["::mlir::mhc::MhcDialect"];
}

def FuseBoundariesPass : Pass<"mhc-fuse-boundaries", "::mlir::func::FuncOp"> {
  let summary = "everything between two layers becomes one kernel";
  let description = [{
    Row ops are cut into segments at the ops that are none (matmul, attention, an external layer): no path leaves a segment and comes back, so the connected ops of one segment may run as one kernel. A boundary is then the combine of sublayer l with the coefficients and the aggregate of
    sublayer l+1 and the norm that its layer begins with; in backward likewise. First, a cheap op whose result is larger than its operands moves to the segment of its only user (`sink`). Then, in backward, a stream that the
    kernel can rebuild from what it reads anyway is rebuilt (`rebuild`), a decision of its own. A segment is refused if its row does not fit on chip (`#mhc.target`).
  }];
  let options = [Option<"rebuild", "rebuild", "bool", "true", "rebuild streams in backward kernels">];
  let dependentDialects = ["::mlir::mhc::MhcDialect"];
}

def FormKernelsPass : Pass<"mhc-form-kernels", "::mlir::ModuleOp"> {
  let summary = "row ops and fusions become kernels and launches";
  let description = [{
    Each `mhc.fusion`, and each row op outside of one together with the cast that is its only use, is written in the primitives of the row program as a `mhc.kernel` and replaced by `mhc.launch`. Kernels of the same
    structure are one: layers share them.
  }];
  let dependentDialects = ["::mlir::mhc::MhcDialect", "::mlir::arith::ArithDialect", "::mlir::math::MathDialect", "::mlir::memref::MemRefDialect", "::mlir::scf::SCFDialect"];
}

#endif // MHC_TRANSFORMS_PASSES
