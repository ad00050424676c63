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
  }];
  let dependentDialects = ["::mlir::mhc::MhcDialect"];
}

#endif // MHC_DIFFERENTIATE_PASSES
