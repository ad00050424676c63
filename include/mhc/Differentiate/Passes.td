//===- Passes.td - differentiation ------------------------------*- tablegen -*-===//
#ifndef MHC_DIFFERENTIATE_PASSES
#define MHC_DIFFERENTIATE_PASSES

include "mlir/Pass/PassBase.td"

def DifferentiatePass : Pass<"mhc-differentiate", "::mlir::ModuleOp"> {
  let summary = "derive the backward functions";
  let description = [{
    For each function with `mhc.vjp = "name"`, a function of that name: the forward pass, then the gradients by reverse accumulation through the ops' own VJPs. Arguments with `mhc.grad = "d.."` get a gradient result of that
    name; each result with `mhc.cotangent = "d.."` adds an argument, its gradient; `mhc.cotangent = ""` is a loss (gradient 1). `mhc.keep_results`: the forward results are returned too. The parts of a value's gradient are added in the compute type; a row of
    channels is then rounded to the value's own type, once. `mhc.recompute` is dissolved: backward starts each block with clones of the ops whose results were not kept.
    A remark says what the forward part keeps for backward, and how many ops run again.

    ```mlir
    func.func @forward(%x: tensor<?x8xf32> {mhc.name = "x", mhc.grad = "dx"}, %w: tensor<8x8xf32> {mhc.name = "w", mhc.grad = "dw"})
        -> (tensor<?x8xf32> {mhc.name = "y", mhc.cotangent = "dy"}) attributes {mhc.vjp = "backward"} {
      %0 = mhc.linear %x, %w : (tensor<?x8xf32>, tensor<8x8xf32>) -> tensor<?x8xf32>
      %1 = mhc.sum %x, %0 : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
      return %1 : tensor<?x8xf32>
    }
    ```
    becomes
    ```mlir
    func.func @forward(%x: tensor<?x8xf32> {mhc.name = "x"}, %w: tensor<8x8xf32> {mhc.name = "w"}) -> (tensor<?x8xf32> {mhc.name = "y"}) {
      %0 = mhc.linear %x, %w : (tensor<?x8xf32>, tensor<8x8xf32>) -> tensor<?x8xf32>
      %1 = mhc.sum %x, %0 : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
      return %1 : tensor<?x8xf32>
    }
    func.func @backward(%x: tensor<?x8xf32> {mhc.name = "x"}, %w: tensor<8x8xf32> {mhc.name = "w"}, %dy: tensor<?x8xf32> {mhc.cotangent = "dy", mhc.name = "dy"})
        -> (tensor<?x8xf32> {mhc.name = "dx"}, tensor<8x8xf32> {mhc.name = "dw"}) {
      %0 = mhc.linear_dx %dy, %w : (tensor<?x8xf32>, tensor<8x8xf32>) -> tensor<?x8xf32>
      %dw = mhc.linear_dw %x, %dy : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<8x8xf32>
      %dx = mhc.sum %dy, %0 : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
      return %dx, %dw : tensor<?x8xf32>, tensor<8x8xf32>
    }
    ```
  }];
  let dependentDialects = ["::mlir::mhc::MhcDialect"];
}

#endif // MHC_DIFFERENTIATE_PASSES
