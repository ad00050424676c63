//===- Passes.td - what holds between phases -------------------*- tablegen -*-===//
#ifndef MHC_PIPELINES_PASSES
#define MHC_PIPELINES_PASSES

include "mlir/Pass/PassBase.td"

def VerifyPhasePass : Pass<"mhc-verify-phase", "::mlir::ModuleOp"> {
  let summary = "check what must hold at the end of a phase";
  let description = [{
    Stands after each phase, and before the first one when a compilation starts in the middle. What it checks:

    | after | holds |
    |---|---|
    | `import` | functions over tensor ops of `mhc`: no kernels, no launches, no plans, none of the regions that passes make |
    | `optimize` | sublayers and coefficients are expanded into their parts |
    | `differentiate` | no function is still to be differentiated; recompute regions are dissolved |
    | `fuse` | as before; fusions may be there |
    | `kernels` | of `mhc`, functions hold launches and library ops only, and sums of parameters' gradients |
    | `plan`, `package` | kernels and plans only |

    After `import`
    ```mlir
    func.func @forward(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
      %0 = mhc.launch @k(%x) "first" : (tensor<?x8xf32>) -> tensor<?x8xf32>
      return %0 : tensor<?x8xf32>
    }
    ```
    is refused:
    ```
    error: 'mhc.launch' op expected no such op after phase 'import': launches come in phase 'kernels'
    ```
  }];
  let options = [Option<"phase", "phase", "std::string", /*default=*/"\"import\"", "the phase that has ended">];
}

#endif // MHC_PIPELINES_PASSES
