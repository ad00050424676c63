//===- Passes.td - from kernels to the plan --------------------*- tablegen -*-===//
#ifndef MHC_PLANNING_PASSES
#define MHC_PLANNING_PASSES

include "mlir/Pass/PassBase.td"

def PlanPass : Pass<"mhc-plan", "::mlir::ModuleOp"> {
  let summary = "turn functions of kernel launches into plans: tensors become buffers";
  let description = [{
    Every `func.func` with `mhc.entry` becomes a `plan.entry`. This is where tensors become buffers, once: a command writes straight into an output, a gradient or a range of
    the model's state where the value goes nowhere else; sums of parameters' gradients become accumulation; `mhc.view` shares its operand's buffer; what is left are temporaries
    with live ranges. From `@loss_and_gradients` and `@update` the entry `train_step` is made: gradients and loss are summed over the micro-batches in a loop, then updated.

    ```mlir
    mhc.kernel @k attributes {compute = f32, ints = [], segments = array<i64: 1, 1, 0>} {
    ^bb0(%x: memref<?x64xf32>, %y: memref<?x64xf32>):
      %0 = mhc.row.load row %x : memref<?x64xf32> -> !mhc.wide<1x64xf32>
      mhc.row.store %0, %y : !mhc.wide<1x64xf32>, memref<?x64xf32>
    }
    func.func @forward(%x: tensor<?x64xf32> {mhc.name = "x"}) -> (tensor<?x64xf32> {mhc.name = "y"}) attributes {mhc.entry, mhc.symbols = ["T"]} {
      %0 = mhc.launch @k(%x) "first" : (tensor<?x64xf32>) -> tensor<?x64xf32>
      %1 = mhc.launch @k(%0) "second" : (tensor<?x64xf32>) -> tensor<?x64xf32>
      return %1 : tensor<?x64xf32>
    }
    ```
    becomes
    ```mlir
    ...
    plan.entry @forward symbols ["T"] {
      %x = plan.buffer input f32 <64 * T> {tensor = "x"}
      %0 = plan.buffer arena f32 <64 * T> live [0, 1]
      %y = plan.buffer output f32 <64 * T> {tensor = "y"}
      plan.launch @k(%x, %0) rows <T> at "first"
      plan.launch @k(%0, %y) rows <T> at "second"
    }
    ```
  }];
  let dependentDialects = ["::mlir::plan::PlanDialect"];
}

def BlockRowsPass : Pass<"mhc-block-rows", "::mlir::ModuleOp"> {
  let summary = "work on very large rows in blocks of them";
  let description = [{
    A temporary with rows of at least `min-row-bytes` (the logits of a language model and their gradient) is there for `rows` rows at a time: the commands that work on it row by row move into a
    loop over blocks of rows. A sum over the rows (the gradient of the head) is cleared before and added to in each iteration, in their order. What stands between these commands and does not
    depend on them moves in front. Where a command does not work row by row nothing changes, and a remark says so.

    ```mlir
    plan.entry @eval symbols ["T"] {
      %x = plan.buffer input bf16 <64 * T> {tensor = "x"}
      %w = plan.buffer parameter f32 <1280000> {tensor = "w"}
      %0 = plan.buffer arena f32 <20000 * T> live [0, 1]
      %y = plan.buffer output bf16 <64 * T> {tensor = "y"}
      plan.gemm %x, %w into %0 m <T> n <20000> k <64> trans_b
      plan.gemm %0, %w into %y m <T> n <64> k <20000>
    }
    ```
    becomes, with 4096 rows
    ```mlir
    plan.entry @eval symbols ["T"] block_rows 4096 {
      %x = plan.buffer input bf16 <64 * T> {tensor = "x"}
      %w = plan.buffer parameter f32 <1280000> {tensor = "w"}
      %0 = plan.buffer arena f32 <20000 * R> live [1, 2]
      %y = plan.buffer output bf16 <64 * T> {tensor = "y"}
      %1 = plan.buffer window bf16 <64 * R> of %x
      %2 = plan.buffer window bf16 <64 * R> of %y
      plan.loop "row_blocks" {
        plan.gemm %1, %w into %0 m <R> n <20000> k <64> trans_b
        plan.gemm %0, %w into %2 m <R> n <64> k <20000>
      }
    }
    ```
  }];
  let options = [
    Option<"rows", "rows", "int64_t", "4096", "rows of a block; 0: no blocks">,
    Option<"minRowBytes", "min-row-bytes", "int64_t", "65536", "bytes from which a row is large">,
  ];
  let dependentDialects = ["::mlir::plan::PlanDialect"];
}

#endif // MHC_PLANNING_PASSES
