//===- Passes.td - passes from kernels to code -----------------*- tablegen -*-===//
#ifndef MHC_CODEGEN_PASSES
#define MHC_CODEGEN_PASSES

include "mlir/Pass/PassBase.td"

def ScheduleKernelsPass : Pass<"mhc-schedule-kernels", "::mlir::ModuleOp"> {
  let summary = "cut kernels into phases at their reductions";
  let description = [{
    Turns the body of each `mhc.kernel` into `mhc.phase` ops and sets its schedule: what `mhc.requested` on the kernel asks for, the rest as the cost model likes it (docs/design/schedules.md). Only narrow values pass between phases; a wide value that a later phase needs
    is loaded again from the output that it was stored to, or computed again:

    ```mlir
    mhc.kernel @scale attributes {compute = f32, ints = [], segments = array<i64: 1, 1, 0>} {
    ^bb0(%x: memref<?x64xf32>, %y: memref<?x64xf32>):
      %0 = mhc.row.load row %x : memref<?x64xf32> -> !mhc.wide<1x64xf32>
      %1 = mhc.row.reduce max %0 : !mhc.wide<1x64xf32> -> !mhc.narrow<1xf32>
      %2 = mhc.row.mix %1, %0 : !mhc.narrow<1xf32>, !mhc.wide<1x64xf32> -> !mhc.wide<1x64xf32>
      mhc.row.store %2, %y : !mhc.wide<1x64xf32>, memref<?x64xf32>
    }
    ```
    becomes
    ```mlir
    mhc.kernel @scale attributes {compute = f32, ints = [], schedule = #mhc.schedule<"cpu", channel_block = 256, tile = 8, vector = 8>, segments = array<i64: 1, 1, 0>} {
    ^bb0(%x: memref<?x64xf32>, %y: memref<?x64xf32>):
      %0 = mhc.phase wide : !mhc.narrow<1xf32> {
        %1 = mhc.row.load row %x : memref<?x64xf32> -> !mhc.wide<1x64xf32>
        %2 = mhc.row.reduce max %1 : !mhc.wide<1x64xf32> -> !mhc.narrow<1xf32>
        mhc.row.yield %2 : !mhc.narrow<1xf32>
      }
      mhc.phase wide {
        %1 = mhc.row.load row %x : memref<?x64xf32> -> !mhc.wide<1x64xf32>
        %2 = mhc.row.mix %0, %1 : !mhc.narrow<1xf32>, !mhc.wide<1x64xf32> -> !mhc.wide<1x64xf32>
        mhc.row.store %2, %y : !mhc.wide<1x64xf32>, memref<?x64xf32>
        mhc.row.yield
      }
    }
    ```
  }];
  let options = [Option<"family", "family", "std::string", /*default=*/"\"cpu\"", "schedule family: cpu, simple, or group (simple for kernels that group does not take)">,
                 Option<"target", "target", "std::string", /*default=*/"\"\"", "whose sizes and rates hold (default: cpu, or sm_90a)">,
                 Option<"exchange", "exchange", "std::string", /*default=*/"\"memory\"", "the farthest exchange between blocks: none, cluster or memory">,
                 Option<"candidates", "candidates", "int64_t", /*default=*/"1", "schedules of each kernel: the best by the cost model, then others as kernels NAME__1, NAME__2, ..">,
                 Option<"tile", "tile", "int64_t", /*default=*/"0", "tokens of a tile, families cpu and simple (0: the family's choice)">,
                 Option<"channelBlock", "channel-block", "int64_t", /*default=*/"0", "channels of a block, family cpu (0: the family's choice)">,
                 Option<"threads", "threads", "int64_t", /*default=*/"0", "threads of a block, family simple (0: the family's choice)">];
  let dependentDialects = ["::mlir::mhc::MhcDialect"];
}

def EmitCpuPass : Pass<"mhc-emit-cpu", "::mlir::ModuleOp"> {
  let summary = "emit kernels of schedule family cpu as functions of the host";
  let description = [{
    Each scheduled `mhc.kernel` becomes an `llvm.func` of the package's CPU ABI, written in scf, arith, math, vector and llvm. Wide code has its
    lanes on channels, narrow code on tokens. `math` ops are left for `mhc-expand-math`. `mhc_sum_partials_f32` and `_f64` are added.

    ```mlir
    mhc.kernel @copy attributes {compute = f32, ints = [], schedule = #mhc.schedule<"cpu", channel_block = 256, tile = 8, vector = 8>, segments = array<i64: 1, 1, 0>} {
    ^bb0(%x: memref<?x64xf32>, %y: memref<?x64xf32>):
      mhc.phase wide {
        %0 = mhc.row.load row %x : memref<?x64xf32> -> !mhc.wide<1x64xf32>
        mhc.row.store %0, %y : !mhc.wide<1x64xf32>, memref<?x64xf32>
        mhc.row.yield
      }
    }
    ```
    becomes
    ```mlir
    llvm.func @copy(%args: !llvm.ptr, %ints: !llvm.ptr, %begin: i64, %end: i64, %partial: i64) {
      ...
      %tokens = arith.constant 8 : i64
      scf.for %tile = %begin to %end step %tokens : i64 {
        ...
            %0 = llvm.load %x {alignment = 4 : i64} : !llvm.ptr -> vector<8xf32>
            ...
            llvm.store %0, %y {alignment = 4 : i64} : vector<8xf32>, !llvm.ptr
        ...
      llvm.return
    }
    ...
    llvm.func @mhc_sum_partials_f32(%args: !llvm.ptr, %ints: !llvm.ptr, %begin: i64, %end: i64, %partial: i64) {
    ...
    ```
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::math::MathDialect", "::mlir::memref::MemRefDialect",
                           "::mlir::scf::SCFDialect", "::mlir::vector::VectorDialect", "::mlir::LLVM::LLVMDialect"];
}

def EmitSimplePass : Pass<"mhc-emit-simple", "::mlir::ModuleOp"> {
  let summary = "emit kernels of schedule family simple into a gpu.module";
  let description = [{
    Each scheduled `mhc.kernel` becomes an `llvm.func` with `nvvm.kernel` of the package's GPU ABI in `gpu.module @kernels`. A block owns tiles of tokens;
    in wide code a warp takes a token, its lanes the channels; in narrow code a thread takes a token. `math` ops are left for `mhc-expand-math`.
    Its attribute `mhc.launch` says how a kernel is launched. `mhc_sum_partials_f32` and `mhc_sum_all_partials_f32` are added, and what `library` names of the kernels behind library commands.

    ```mlir
    mhc.kernel @copy attributes {compute = f32, ints = [], schedule = #mhc.schedule<"simple", threads = 256, tile = 8>, segments = array<i64: 1, 1, 0>} {
    ^bb0(%x: memref<?x64xf32>, %y: memref<?x64xf32>):
      mhc.phase wide {
        %0 = mhc.row.load row %x : memref<?x64xf32> -> !mhc.wide<1x64xf32>
        mhc.row.store %0, %y : !mhc.wide<1x64xf32>, memref<?x64xf32>
        mhc.row.yield
      }
    }
    ```
    becomes
    ```mlir
    gpu.module @kernels {
      ...
      llvm.func @copy(%x: !llvm.ptr<1> {llvm.align = 16 : i64}, %y: !llvm.ptr<1> {llvm.align = 16 : i64}, %rows: i64) attributes {mhc.launch = {shared = 0 : i64, threads = 256 : i64, tile = 8 : i64}, nvvm.kernel, nvvm.maxntid = array<i32: 256>} {
        %thread = nvvm.read.ptx.sreg.tid.x : i32
        ...
        scf.for %tile = %first to %rows step %stride : i64 {
          ...
              %0 = llvm.load %from {alignment = 8 : i64} : !llvm.ptr<1> -> vector<2xf32>
              ...
              llvm.store %0, %to {alignment = 8 : i64} : vector<2xf32>, !llvm.ptr<1>
          ...
        llvm.return
      }
      ...
    ```
  }];
  let options = [ListOption<"library", "library", "std::string", "library kernels to add, by name (mhc_attention_bf16_64_64, ..)">];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::math::MathDialect", "::mlir::memref::MemRefDialect",
                           "::mlir::scf::SCFDialect", "::mlir::vector::VectorDialect", "::mlir::LLVM::LLVMDialect",
                           "::mlir::NVVM::NVVMDialect", "::mlir::gpu::GPUDialect"];
}

def ExpandMathPass : Pass<"mhc-expand-math"> {
  let summary = "write math functions out in arithmetic that the target has";
  let description = [{
    Host code may not call libm, and GPU code must not depend on libdevice being there. So `math.*` ops, and the rounding of f64 to bf16, are written out
    for scalars and vectors of f32 and f64 (`nvptx`: f32 alone). An op that the target has no expansion of is an error. On `nvptx` divisions of f32 that
    allow both a reciprocal and approximation (`arcp`, `afn`: narrow code) become a product with the hardware's reciprocal, within 2 ulp; a denominator
    below 1.2e-38 counts as zero, and by one above 8.5e37 the quotient is zero.

    ```mlir
    func.func @f(%x: vector<8xf32>) -> vector<8xf32> {
      %0 = math.rsqrt %x : vector<8xf32>
      return %0 : vector<8xf32>
    }
    ```
    becomes
    ```mlir
    func.func @f(%x: vector<8xf32>) -> vector<8xf32> {
      %0 = math.sqrt %x : vector<8xf32>
      %one = arith.constant dense<1.0> : vector<8xf32>
      %1 = arith.divf %one, %0 : vector<8xf32>
      return %1 : vector<8xf32>
    }
    ```
  }];
  let options = [Option<"target", "target", "std::string", /*default=*/"\"cpu\"", "cpu or nvptx">];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::math::MathDialect", "::mlir::vector::VectorDialect",
                           "::mlir::LLVM::LLVMDialect", "::mlir::NVVM::NVVMDialect"];
}

#endif // MHC_CODEGEN_PASSES
