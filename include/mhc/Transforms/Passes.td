//===- Passes.td - the passes that are the point ---------------*- tablegen -*-===//
#ifndef MHC_TRANSFORMS_PASSES
#define MHC_TRANSFORMS_PASSES

include "mlir/Pass/PassBase.td"

def ExpandTopologyPass : Pass<"mhc-expand-topology", "::mlir::func::FuncOp"> {
  let summary = "rewrite sublayers and coefficients into their parts";
  let description = [{
    `mhc.sublayer` becomes `mhc.coefficients`, `mhc.aggregate`, its body and `mhc.combine` (`mhc.sum` for a plain residual), with the casts that the convention asks for;
    `mhc.coefficients` becomes norm, projection, affine, activations and the projection onto the manifold, on which the other passes work.

    ```mlir
    #c = #mhc.connection<topology = "mhc", streams = 2, manifold = #mhc.unconstrained, eps = 1.0e-5 : f64, postScale = 2.0 : f64, phiTransposed = false>
    func.func @forward(%x: tensor<?x2x8xf32>, %phi: tensor<16x8xf32>, %alpha: tensor<3xf32>, %bias: tensor<8xf32>, %w: tensor<8x8xf32>) -> tensor<?x2x8xf32> {
      %0 = mhc.sublayer "first" %x(%phi, %alpha, %bias) connection #c : (tensor<?x2x8xf32>, tensor<16x8xf32>, tensor<3xf32>, tensor<8xf32>) -> tensor<?x2x8xf32> {
      ^bb0(%u: tensor<?x8xf32>):
        %f = mhc.linear %u, %w : (tensor<?x8xf32>, tensor<8x8xf32>) -> tensor<?x8xf32>
        mhc.yield %f : tensor<?x8xf32>
      }
      return %0 : tensor<?x2x8xf32>
    }
    ```
    becomes
    ```mlir
    func.func @forward(%x: tensor<?x2x8xf32>, %phi: tensor<16x8xf32>, %alpha: tensor<3xf32>, %bias: tensor<8xf32>, %w: tensor<8x8xf32>) -> tensor<?x2x8xf32> {
      %0 = mhc.rms_norm %x {eps = 1.0e-5 : f64} : (tensor<?x2x8xf32>) -> tensor<?x2x8xf32>
      %y = mhc.projection %0, %phi : (tensor<?x2x8xf32>, tensor<16x8xf32>) -> tensor<?x1x8xf32, #mhc.narrow>
      %z = mhc.affine %y, %alpha, %bias {groups = array<i64: 2, 2, 4>} : (tensor<?x1x8xf32, #mhc.narrow>, tensor<3xf32>, tensor<8xf32>) -> tensor<?x8xf32, #mhc.narrow>
      %1 = mhc.select %z {indices = array<i64: 0, 1>} : (tensor<?x8xf32, #mhc.narrow>) -> tensor<?x2xf32, #mhc.narrow>
      %pre = mhc.activation %1 {kind = #mhc<activation_kind sigmoid>} : (tensor<?x2xf32, #mhc.narrow>) -> tensor<?x2xf32, #mhc.narrow>
      %2 = mhc.select %z {indices = array<i64: 2, 3>} : (tensor<?x8xf32, #mhc.narrow>) -> tensor<?x2xf32, #mhc.narrow>
      %post = mhc.activation %2 {kind = #mhc<activation_kind sigmoid>, scale = 2.0 : f64} : (tensor<?x2xf32, #mhc.narrow>) -> tensor<?x2xf32, #mhc.narrow>
      %3 = mhc.select %z {indices = array<i64: 4, 5, 6, 7>} : (tensor<?x8xf32, #mhc.narrow>) -> tensor<?x2x2xf32, #mhc.narrow>
      %res = mhc.project %3 {manifold = #mhc.unconstrained} : (tensor<?x2x2xf32, #mhc.narrow>) -> tensor<?x2x2xf32, #mhc.narrow>
      %u = mhc.aggregate %x, %pre : (tensor<?x2x8xf32>, tensor<?x2xf32, #mhc.narrow>) -> tensor<?x8xf32>
      %f = mhc.linear %u, %w : (tensor<?x8xf32>, tensor<8x8xf32>) -> tensor<?x8xf32>
      %4 = mhc.combine %x, %f, %post, %res
        : (tensor<?x2x8xf32>, tensor<?x8xf32>, tensor<?x2xf32, #mhc.narrow>, tensor<?x2x2xf32, #mhc.narrow>) -> tensor<?x2x8xf32>
      return %4 : tensor<?x2x8xf32>
    }
    ```
  }];
  let dependentDialects = ["::mlir::mhc::MhcDialect"];
}

def ReorderNormAfterMatmulPass : Pass<"mhc-reorder-norm-after-matmul", "::mlir::func::FuncOp"> {
  let summary = "norm after the matmul: RMSNorm(v) phi becomes (v phi) / r";
  let description = [{
    A normalised row that only narrow projections read need not be written: the norm is a scalar a row (a group), and dividing the few columns afterwards gives the same up to rounding.

    ```mlir
    func.func @forward(%x: tensor<?x4x64xbf16>, %phi: tensor<256x24xf32>) -> tensor<?x1x24xf32, #mhc.narrow> {
      %0 = mhc.rms_norm %x {eps = 1.0e-6 : f64} : (tensor<?x4x64xbf16>) -> tensor<?x4x64xf32>
      %1 = mhc.projection %0, %phi : (tensor<?x4x64xf32>, tensor<256x24xf32>) -> tensor<?x1x24xf32, #mhc.narrow>
      return %1 : tensor<?x1x24xf32, #mhc.narrow>
    }
    ```
    becomes
    ```mlir
    func.func @forward(%x: tensor<?x4x64xbf16>, %phi: tensor<256x24xf32>) -> tensor<?x1x24xf32, #mhc.narrow> {
      %0 = mhc.projection %x, %phi : (tensor<?x4x64xbf16>, tensor<256x24xf32>) -> tensor<?x1x24xf32, #mhc.narrow>
      %1 = mhc.rms %x {eps = 1.0e-6 : f64} : (tensor<?x4x64xbf16>) -> tensor<?x1xf32, #mhc.narrow>
      %2 = mhc.divide %0, %1 : (tensor<?x1x24xf32, #mhc.narrow>, tensor<?x1xf32, #mhc.narrow>) -> tensor<?x1x24xf32, #mhc.narrow>
      return %2 : tensor<?x1x24xf32, #mhc.narrow>
    }
    ```
    Refused, each with its remark: a cast between the two (it would have to move), other uses of the normalised row, groups that differ, as many columns as channels. A gain is folded into phi (`mhc.fold_gain`), and refused where its elements lie in another order.
  }];
  let dependentDialects = ["::mlir::mhc::MhcDialect"];
}

def InsertRecomputeBoundariesPass : Pass<"mhc-insert-recompute-boundaries", "::mlir::func::FuncOp"> {
  let summary = "wrap blocks of sublayers whose topology is recomputed in the backward pass";
  let description = [{
    Sublayers of a function that is to be differentiated are grouped into blocks of L_r. Memory a token, in elements of the streams' type (math: Eq. 20 of the paper):
    `n C ceil(L / L_r) + (n + 2) C L_r`. `block = 0` takes the L_r that minimises it, and refuses where that is no less than the `(n + 2) C L` that all sublayers keep without blocks;
    `budget` (elements a token) takes the smallest recomputation that fits. Each block becomes `mhc.recompute`; what F computes, and its output, is marked by `mhc.keep` and survives; the
    topology ops and F's leading norm run again (not the coefficients, where one of the `mhc.targets` runs boundaries in groups of blocks). Coefficients are not counted (at n = 4 25 fp32 numbers a token and sublayer are kept, 97 where boundaries run in groups). With n = 4, C = 8, L = 4 blocks of one sublayer keep 176 elements, of two 160, of four 224, and no blocks 192:

    ```mlir
    !x = tensor<?x4x8xf32>
    !u = tensor<?x8xf32>
    !h = tensor<?x4xf32, #mhc.narrow>
    !m = tensor<?x4x4xf32, #mhc.narrow>
    !w = tensor<8x8xf32>
    func.func @forward(%x: !x, %pre: !h, %post: !h, %res: !m, %w: !w) -> !x attributes {mhc.vjp = "backward"} {
      %u0 = mhc.aggregate %x, %pre : (!x, !h) -> !u
      %f0 = mhc.linear %u0, %w : (!u, !w) -> !u
      %x1 = mhc.combine %x, %f0, %post, %res : (!x, !u, !h, !m) -> !x
      %u1 = mhc.aggregate %x1, %pre : (!x, !h) -> !u
      %f1 = mhc.linear %u1, %w : (!u, !w) -> !u
      %x2 = mhc.combine %x1, %f1, %post, %res : (!x, !u, !h, !m) -> !x
      %u2 = mhc.aggregate %x2, %pre : (!x, !h) -> !u
      %f2 = mhc.linear %u2, %w : (!u, !w) -> !u
      %x3 = mhc.combine %x2, %f2, %post, %res : (!x, !u, !h, !m) -> !x
      %u3 = mhc.aggregate %x3, %pre : (!x, !h) -> !u
      %f3 = mhc.linear %u3, %w : (!u, !w) -> !u
      %x4 = mhc.combine %x3, %f3, %post, %res : (!x, !u, !h, !m) -> !x
      return %x4 : !x
    }
    ```
    becomes
    ```mlir
    !x = tensor<?x4x8xf32>
    !u = tensor<?x8xf32>
    !h = tensor<?x4xf32, #mhc.narrow>
    !m = tensor<?x4x4xf32, #mhc.narrow>
    !w = tensor<8x8xf32>
    func.func @forward(%x: !x, %pre: !h, %post: !h, %res: !m, %w: !w) -> !x attributes {mhc.vjp = "backward"} {
      %x2 = mhc.recompute : !x {
        %u0 = mhc.aggregate %x, %pre : (!x, !h) -> !u
        %f0 = mhc.linear %u0, %w : (!u, !w) -> !u
        %k0 = mhc.keep %f0 : (!u) -> !u
        %0 = mhc.combine %x, %k0, %post, %res : (!x, !u, !h, !m) -> !x
        %u1 = mhc.aggregate %0, %pre : (!x, !h) -> !u
        %f1 = mhc.linear %u1, %w : (!u, !w) -> !u
        %k1 = mhc.keep %f1 : (!u) -> !u
        %1 = mhc.combine %0, %k1, %post, %res : (!x, !u, !h, !m) -> !x
        mhc.yield %1 : !x
      }
      %x4 = mhc.recompute : !x {
        %u0 = mhc.aggregate %x2, %pre : (!x, !h) -> !u
        %f0 = mhc.linear %u0, %w : (!u, !w) -> !u
        %k0 = mhc.keep %f0 : (!u) -> !u
        %0 = mhc.combine %x2, %k0, %post, %res : (!x, !u, !h, !m) -> !x
        %u1 = mhc.aggregate %0, %pre : (!x, !h) -> !u
        %f1 = mhc.linear %u1, %w : (!u, !w) -> !u
        %k1 = mhc.keep %f1 : (!u) -> !u
        %1 = mhc.combine %0, %k1, %post, %res : (!x, !u, !h, !m) -> !x
        mhc.yield %1 : !x
      }
      return %x4 : !x
    }
    ```
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

    ```mlir
    func.func @forward(%q: tensor<?x4xf32, #mhc.narrow>, %alpha: tensor<2xf32>, %bias: tensor<4xf32>) -> tensor<?x4xf32, #mhc.narrow> {
      %z = mhc.affine %q, %alpha, %bias {groups = array<i64: 2, 2>} : (tensor<?x4xf32, #mhc.narrow>, tensor<2xf32>, tensor<4xf32>) -> tensor<?x4xf32, #mhc.narrow>
      %h = mhc.activation %z {kind = #mhc<activation_kind sigmoid>} : (tensor<?x4xf32, #mhc.narrow>) -> tensor<?x4xf32, #mhc.narrow>
      return %h : tensor<?x4xf32, #mhc.narrow>
    }
    ```
    becomes
    ```mlir
    func.func @forward(%q: tensor<?x4xf32, #mhc.narrow>, %alpha: tensor<2xf32>, %bias: tensor<4xf32>) -> tensor<?x4xf32, #mhc.narrow> {
      %h = mhc.fusion "coefficients" : tensor<?x4xf32, #mhc.narrow> {
        %z = mhc.affine %q, %alpha, %bias {groups = array<i64: 2, 2>} : (tensor<?x4xf32, #mhc.narrow>, tensor<2xf32>, tensor<4xf32>) -> tensor<?x4xf32, #mhc.narrow>
        %0 = mhc.activation %z {kind = #mhc<activation_kind sigmoid>} : (tensor<?x4xf32, #mhc.narrow>) -> tensor<?x4xf32, #mhc.narrow>
        mhc.yield %0 : tensor<?x4xf32, #mhc.narrow>
      }
      return %h : tensor<?x4xf32, #mhc.narrow>
    }
    ```
  }];
  // Kernels are formed to see what they move.
  let dependentDialects = ["::mlir::mhc::MhcDialect", "::mlir::arith::ArithDialect", "::mlir::math::MathDialect", "::mlir::memref::MemRefDialect", "::mlir::scf::SCFDialect"];
}

def FuseBoundariesPass : Pass<"mhc-fuse-boundaries", "::mlir::func::FuncOp"> {
  let summary = "everything between two layers becomes one kernel";
  let description = [{
    Row ops are cut into segments at the ops that are none (matmul, attention, an external layer): no path leaves a segment and comes back, so the connected ops of one segment may run as one kernel. A boundary is then the combine of sublayer l with the coefficients and the aggregate of
    sublayer l+1 and the norm that its layer begins with; in backward likewise. First, a cheap op whose result is larger than its operands moves to the segment of its first user (`sink`). Then, in backward, a stream that the
    kernel can rebuild from what it reads anyway is rebuilt (`rebuild`), a decision of its own, where one of the module's `mhc.targets` computes it in less time than it reads it. A segment is refused if its row does not fit on chip (the least of the module's `mhc.targets`). Fusions of `mhc-fuse-coefficients` are taken apart first:
    where an op of theirs stands at a boundary it goes into that kernel, and what then is left over that pass fuses again. Where one of the `mhc.targets` runs boundaries in groups of blocks (`gangSize`), the leading norm and its gradient, what
    looks rows up, and the ends of the streams are cut off, since a group has one exchange and reaches its rows by their number.

    ```mlir
    func.func @forward(%x: tensor<?x2x8xf32>, %f: tensor<?x8xf32>, %pre: tensor<?x2xf32, #mhc.narrow>, %post: tensor<?x2xf32, #mhc.narrow>,
                       %res: tensor<?x2x2xf32, #mhc.narrow>, %w: tensor<8x8xf32>) -> (tensor<?x2x8xf32>, tensor<?x8xf32>) {
      %x1 = mhc.combine %x, %f, %post, %res : (tensor<?x2x8xf32>, tensor<?x8xf32>, tensor<?x2xf32, #mhc.narrow>, tensor<?x2x2xf32, #mhc.narrow>) -> tensor<?x2x8xf32>
      %u = mhc.aggregate %x1, %pre : (tensor<?x2x8xf32>, tensor<?x2xf32, #mhc.narrow>) -> tensor<?x8xf32>
      %f1 = mhc.linear %u, %w : (tensor<?x8xf32>, tensor<8x8xf32>) -> tensor<?x8xf32>
      return %x1, %f1 : tensor<?x2x8xf32>, tensor<?x8xf32>
    }
    ```
    becomes
    ```mlir
    func.func @forward(%x: tensor<?x2x8xf32>, %f: tensor<?x8xf32>, %pre: tensor<?x2xf32, #mhc.narrow>, %post: tensor<?x2xf32, #mhc.narrow>,
                       %res: tensor<?x2x2xf32, #mhc.narrow>, %w: tensor<8x8xf32>) -> (tensor<?x2x8xf32>, tensor<?x8xf32>) {
      %0:2 = mhc.fusion "boundary" : tensor<?x2x8xf32>, tensor<?x8xf32> {
        %x1 = mhc.combine %x, %f, %post, %res : (tensor<?x2x8xf32>, tensor<?x8xf32>, tensor<?x2xf32, #mhc.narrow>, tensor<?x2x2xf32, #mhc.narrow>) -> tensor<?x2x8xf32>
        %u = mhc.aggregate %x1, %pre : (tensor<?x2x8xf32>, tensor<?x2xf32, #mhc.narrow>) -> tensor<?x8xf32>
        mhc.yield %x1, %u : tensor<?x2x8xf32>, tensor<?x8xf32>
      }
      %f1 = mhc.linear %0#1, %w : (tensor<?x8xf32>, tensor<8x8xf32>) -> tensor<?x8xf32>
      return %0#0, %f1 : tensor<?x2x8xf32>, tensor<?x8xf32>
    }
    ```
  }];
  let options = [Option<"rebuild", "rebuild", "bool", "true", "rebuild streams in backward kernels">];
  // Kernels are formed to see what they move.
  let dependentDialects = ["::mlir::mhc::MhcDialect", "::mlir::arith::ArithDialect", "::mlir::math::MathDialect", "::mlir::memref::MemRefDialect", "::mlir::scf::SCFDialect"];
}

def FormKernelsPass : Pass<"mhc-form-kernels", "::mlir::ModuleOp"> {
  let summary = "row ops and fusions become kernels and launches";
  let description = [{
    Each `mhc.fusion`, and each row op outside of one together with the cast that is its only use, is written in the primitives of the row program as a `mhc.kernel` and replaced by `mhc.launch`. Kernels of the same
    structure are one: layers share them.

    ```mlir
    func.func @forward(%x: tensor<?x8xbf16>) -> tensor<?x8xbf16> {
      %0 = mhc.scale %x {factor = 2.0 : f64} : (tensor<?x8xbf16>) -> tensor<?x8xf32>
      %1 = mhc.cast %0 : (tensor<?x8xf32>) -> tensor<?x8xbf16>
      return %1 : tensor<?x8xbf16>
    }
    ```
    becomes
    ```mlir
    func.func @forward(%x: tensor<?x8xbf16>) -> tensor<?x8xbf16> {
      %0 = mhc.launch @scale_0(%x) ": scale" : (tensor<?x8xbf16>) -> tensor<?x8xbf16>
      return %0 : tensor<?x8xbf16>
    }
    mhc.kernel @scale_0 attributes {compute = f32, ints = [], segments = array<i64: 1, 1, 0>} {
    ^bb0(%x: memref<?x8xbf16>, %y: memref<?x8xbf16>):
      %0 = mhc.row.load row %x : memref<?x8xbf16> -> !mhc.wide<1x8xbf16>
      %1 = mhc.row.map %0 : !mhc.wide<1x8xbf16> -> !mhc.wide<1x8xf32> {
      ^bb0(%a: f32):
        %factor = arith.constant 2.0 : f32
        %b = arith.mulf %a, %factor : f32
        mhc.row.yield %b : f32
      }
      %2 = mhc.row.cast %1 : !mhc.wide<1x8xf32> -> !mhc.wide<1x8xbf16>
      mhc.row.store %2, %y : !mhc.wide<1x8xbf16>, memref<?x8xbf16>
    }
    ```
  }];
  let dependentDialects = ["::mlir::mhc::MhcDialect", "::mlir::arith::ArithDialect", "::mlir::math::MathDialect", "::mlir::memref::MemRefDialect", "::mlir::scf::SCFDialect"];
}

def ExpandSpheresPass : Pass<"mhc-expand-spheres", "::mlir::func::FuncOp"> {
  let summary = "rewrite steps on spheres into norms and scalings, with the norm of a sum from its parts";
  let description = [{
    `mhc.project` of weights becomes a sum of squares and a scaling, `mhc.descend` a norm and a sum. Where the one follows the other the norm after the step, ||w + s o||, is computed from <w, w>, <w, o> and <o, o>,
    which one pass reduces together: weights and direction are read twice, not three times.

    ```mlir
    func.func @step(%w: tensor<?x64xf32>, %o: tensor<?x64xf32>, %r: tensor<?x1xf32, #mhc.narrow>, %rate: tensor<?x1xf32, #mhc.narrow>) -> tensor<?x64xf32> {
      %0 = mhc.descend %w, %o, %r, %rate : (tensor<?x64xf32>, tensor<?x64xf32>, tensor<?x1xf32, #mhc.narrow>, tensor<?x1xf32, #mhc.narrow>) -> tensor<?x64xf32>
      %1 = mhc.project %0, %r {manifold = #mhc.sphere<>} : (tensor<?x64xf32>, tensor<?x1xf32, #mhc.narrow>) -> tensor<?x64xf32>
      return %1 : tensor<?x64xf32>
    }
    ```
    becomes
    ```mlir
    func.func @step(%w: tensor<?x64xf32>, %o: tensor<?x64xf32>, %r: tensor<?x1xf32, #mhc.narrow>, %rate: tensor<?x1xf32, #mhc.narrow>) -> tensor<?x64xf32> {
      %xx, %xy, %yy = mhc.gram %w, %o : (tensor<?x64xf32>, tensor<?x64xf32>) -> (tensor<?x1xf32, #mhc.narrow>, tensor<?x1xf32, #mhc.narrow>, tensor<?x1xf32, #mhc.narrow>)
      %0 = mhc.norm_scale %yy, %r : (tensor<?x1xf32, #mhc.narrow>, tensor<?x1xf32, #mhc.narrow>) -> tensor<?x1xf32, #mhc.narrow>
      %1 = mhc.product %rate, %0 : (tensor<?x1xf32, #mhc.narrow>, tensor<?x1xf32, #mhc.narrow>) -> tensor<?x1xf32, #mhc.narrow>
      %s = mhc.scale %1 {factor = -1.0 : f64} : (tensor<?x1xf32, #mhc.narrow>) -> tensor<?x1xf32, #mhc.narrow>
      %2 = mhc.product %s, %xy : (tensor<?x1xf32, #mhc.narrow>, tensor<?x1xf32, #mhc.narrow>) -> tensor<?x1xf32, #mhc.narrow>
      %3 = mhc.scale %2 {factor = 2.0 : f64} : (tensor<?x1xf32, #mhc.narrow>) -> tensor<?x1xf32, #mhc.narrow>
      %4 = mhc.product %s, %s, %yy : (tensor<?x1xf32, #mhc.narrow>, tensor<?x1xf32, #mhc.narrow>, tensor<?x1xf32, #mhc.narrow>) -> tensor<?x1xf32, #mhc.narrow>
      %5 = mhc.sum %xx, %3, %4 : (tensor<?x1xf32, #mhc.narrow>, tensor<?x1xf32, #mhc.narrow>, tensor<?x1xf32, #mhc.narrow>) -> tensor<?x1xf32, #mhc.narrow>
      %6 = mhc.add_scaled %w, %o, %s : (tensor<?x64xf32>, tensor<?x64xf32>, tensor<?x1xf32, #mhc.narrow>) -> tensor<?x64xf32>
      %7 = mhc.norm_scale %5, %r {inside} : (tensor<?x1xf32, #mhc.narrow>, tensor<?x1xf32, #mhc.narrow>) -> tensor<?x1xf32, #mhc.narrow>
      %8 = mhc.scale_rows %6, %7 : (tensor<?x64xf32>, tensor<?x1xf32, #mhc.narrow>) -> tensor<?x64xf32>
      return %8 : tensor<?x64xf32>
    }
    ```
    Refused, with a remark: a step whose result has other uses (it is then written and read again).
  }];
  let dependentDialects = ["::mlir::mhc::MhcDialect"];
}

def ExpandNewtonSchulzPass : Pass<"mhc-expand-newton-schulz", "::mlir::func::FuncOp"> {
  let summary = "rewrite Newton-Schulz iterations into batched library matmuls";
  let description = [{
    Three products an iteration: A = X X^T, B = c A A + b A, X = B X + a X; where matrices have more rows than columns A = X^T X and X = X B + a X. If all of the module's targets are GPUs, what is multiplied is rounded to
    bf16; where a CPU is among them it stays in the weights' type.

    ```mlir
    func.func @step(%u: tensor<?x24xf32>) -> tensor<?x24xf32> {
      %0 = mhc.newton_schulz %u {rows = 4, columns = 6, eps = 0.5} : (tensor<?x24xf32>) -> tensor<?x24xf32>
      return %0 : tensor<?x24xf32>
    }
    ```
    becomes
    ```mlir
    func.func @step(%u: tensor<?x24xf32>) -> tensor<?x24xf32> {
      %0 = mhc.dot_rows %u, %u : (tensor<?x24xf32>, tensor<?x24xf32>) -> tensor<?x1xf32, #mhc.narrow>
      %1 = mhc.norm_scale %0 {eps = 5.000000e-01 : f64} : (tensor<?x1xf32, #mhc.narrow>) -> tensor<?x1xf32, #mhc.narrow>
      %x = mhc.scale_rows %u, %1 : (tensor<?x24xf32>, tensor<?x1xf32, #mhc.narrow>) -> tensor<?x24xf32>
      %a = mhc.matmul %x, %x {k = 6 : i64, m = 4 : i64, n = 4 : i64, trans_b} : (tensor<?x24xf32>, tensor<?x24xf32>) -> tensor<?x16xf32>
      %b = mhc.matmul %a, %a, %a {alpha = 2.927000e+00 : f64, beta = -6.894600e+00 : f64, k = 4 : i64, m = 4 : i64, n = 4 : i64} : (tensor<?x16xf32>, tensor<?x16xf32>, tensor<?x16xf32>) -> tensor<?x16xf32>
      ...
    ```
  }];
  let dependentDialects = ["::mlir::mhc::MhcDialect"];
}

def SplitRowsPass : Pass<"mhc-split-rows", "::mlir::func::FuncOp"> {
  let summary = "cut rows that are whole matrices into parts, so that all threads work on one matrix";
  let description = [{
    Row ops on rows of two dimensions that are longer than `part` elements work on parts of the largest length up to `part` that divides the row; numbers of a row are repeated for its parts, sums over a row become sums over
    its parts and a sum of these. An op that is neither elementwise nor such a sum keeps its rows (a remark says so).

    ```mlir
    func.func @step(%x: tensor<?x8192xf32>) -> tensor<?x8192xf32> {
      %0 = mhc.dot_rows %x, %x : (tensor<?x8192xf32>, tensor<?x8192xf32>) -> tensor<?x1xf32, #mhc.narrow>
      %1 = mhc.scale_rows %x, %0 : (tensor<?x8192xf32>, tensor<?x1xf32, #mhc.narrow>) -> tensor<?x8192xf32>
      return %1 : tensor<?x8192xf32>
    }
    ```
    becomes
    ```mlir
    func.func @step(%x: tensor<?x8192xf32>) -> tensor<?x8192xf32> {
      %0 = mhc.view %x : (tensor<?x8192xf32>) -> tensor<?x4096xf32>
      %1 = mhc.dot_rows %0, %0 : (tensor<?x4096xf32>, tensor<?x4096xf32>) -> tensor<?x1xf32, #mhc.narrow>
      %2 = mhc.view %1 : (tensor<?x1xf32, #mhc.narrow>) -> tensor<?x2xf32>
      %3 = mhc.row_sum %2 : (tensor<?x2xf32>) -> tensor<?x1xf32, #mhc.narrow>
      %4 = mhc.view %x : (tensor<?x8192xf32>) -> tensor<?x4096xf32>
      %5 = mhc.repeat %3 {times = 2 : i64} : (tensor<?x1xf32, #mhc.narrow>) -> tensor<?x1xf32, #mhc.narrow>
      %6 = mhc.scale_rows %4, %5 : (tensor<?x4096xf32>, tensor<?x1xf32, #mhc.narrow>) -> tensor<?x4096xf32>
      %7 = mhc.view %6 : (tensor<?x4096xf32>) -> tensor<?x8192xf32>
      return %7 : tensor<?x8192xf32>
    }
    ```
  }];
  let options = [Option<"part", "part", "int64_t", /*default=*/"4096", "the most elements of a part">];
  let dependentDialects = ["::mlir::mhc::MhcDialect", "::mlir::arith::ArithDialect", "::mlir::math::MathDialect", "::mlir::memref::MemRefDialect", "::mlir::scf::SCFDialect"];
}

#endif // MHC_TRANSFORMS_PASSES
