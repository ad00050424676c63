// What mhc-verify-phase finds, phase by phase.
// RUN: rm -rf %t && split-file %s %t
// RUN: not mhc-opt %t/regions.mlir --mhc-verify-phase=phase=import 2>&1 | FileCheck %s --check-prefix=IMPORT
// RUN: mhc-opt %t/sublayer.mlir --mhc-verify-phase=phase=import -o /dev/null
// RUN: not mhc-opt %t/sublayer.mlir --mhc-verify-phase=phase=optimize 2>&1 | FileCheck %s --check-prefix=OPTIMIZE
// RUN: mhc-opt %t/regions.mlir --mhc-verify-phase=phase=optimize -o /dev/null
// RUN: not mhc-opt %t/regions.mlir --mhc-verify-phase=phase=differentiate 2>&1 | FileCheck %s --check-prefix=DIFFERENTIATE
// RUN: not mhc-opt %t/fusion.mlir --mhc-verify-phase=phase=differentiate 2>&1 | FileCheck %s --check-prefix=FUSION
// RUN: mhc-opt %t/fusion.mlir --mhc-verify-phase=phase=fuse -o /dev/null
// RUN: not mhc-opt %t/fusion.mlir --mhc-verify-phase=phase=kernels 2>&1 | FileCheck %s --check-prefix=KERNELS
// RUN: not mhc-opt %t/sums.mlir --mhc-verify-phase=phase=kernels 2>&1 | FileCheck %s --check-prefix=SUMS
// RUN: not mhc-opt %t/sums.mlir --mhc-verify-phase=phase=plan 2>&1 | FileCheck %s --check-prefix=PLAN
// RUN: not mhc-opt %t/launch.mlir --mhc-verify-phase=phase=fuse 2>&1 | FileCheck %s --check-prefix=LAUNCH
// RUN: not mhc-opt %t/launch-alone.mlir --mhc-verify-phase=phase=fuse 2>&1 | FileCheck %s --check-prefix=ALONE
// RUN: mhc-opt %t/launch.mlir --mhc-verify-phase=phase=kernels -o /dev/null
// RUN: mhc-opt %t/plan.mlir --mhc-verify-phase=phase=plan -o /dev/null
// RUN: not mhc-opt %t/plan.mlir --mhc-verify-phase=phase=kernels 2>&1 | FileCheck %s --check-prefix=EARLY
// RUN: not mhc-opt %t/plan.mlir --mhc-verify-phase=phase=planning 2>&1 | FileCheck %s --check-prefix=NAME

// IMPORT: 'mhc.recompute' op expected no such op after phase 'import': recomputation is decided in phase 'optimize'
// OPTIMIZE: 'mhc.sublayer' op expected no such op after phase 'optimize': phase 'optimize' expands it
// DIFFERENTIATE: 'mhc.recompute' op expected no such op after phase 'differentiate': phase 'differentiate' dissolves it
// FUSION: 'mhc.fusion' op expected no such op after phase 'differentiate': fusions are made in phase 'fuse'
// KERNELS: 'mhc.fusion' op expected no such op after phase 'kernels': launches and library ops are all that is left
// SUMS: sums.mlir:4:8: error: 'mhc.sum' op expected no such op after phase 'kernels': rows are summed by kernels
// PLAN: 'func.func' op expected no such op after phase 'plan': kernels and plans are all that is left
// LAUNCH: 'mhc.kernel' op expected no such op after phase 'fuse': kernels come in phase 'kernels'
// ALONE: 'mhc.launch' op expected no such op after phase 'fuse': launches come in phase 'kernels'
// EARLY: 'plan.entry' op expected no such op after phase 'kernels': plans come in phase 'plan'
// NAME: error: expected phase import, optimize, differentiate, fuse, kernels, plan, package, but got 'planning'

//--- sublayer.mlir
func.func @f(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
  %0 = mhc.sublayer "here" %x : (tensor<?x8xf32>) -> tensor<?x8xf32> {
  ^bb0(%u: tensor<?x8xf32>):
    mhc.yield %u : tensor<?x8xf32>
  }
  return %0 : tensor<?x8xf32>
}
//--- regions.mlir
func.func @f(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
  %0 = mhc.recompute : tensor<?x8xf32> {
    %1 = mhc.scale %x {factor = 2.0 : f64} : (tensor<?x8xf32>) -> tensor<?x8xf32>
    mhc.yield %1 : tensor<?x8xf32>
  }
  return %0 : tensor<?x8xf32>
}
//--- fusion.mlir
func.func @f(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
  %0 = mhc.fusion "chain" : tensor<?x8xf32> {
    %1 = mhc.scale %x {factor = 2.0 : f64} : (tensor<?x8xf32>) -> tensor<?x8xf32>
    mhc.yield %1 : tensor<?x8xf32>
  }
  return %0 : tensor<?x8xf32>
}
//--- sums.mlir
func.func @f(%x: tensor<?x8xf32>, %p: tensor<8xf32>) -> (tensor<?x8xf32>, tensor<8xf32>) {
  // Of parameters: the plan's. Of rows: a kernel's.
  %0 = mhc.sum %p, %p : (tensor<8xf32>, tensor<8xf32>) -> tensor<8xf32>
  %1 = mhc.sum %x, %x : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  return %1, %0 : tensor<?x8xf32>, tensor<8xf32>
}
//--- launch.mlir
mhc.kernel @k attributes {compute = f32, ints = [], segments = array<i64: 1, 1, 0>} {
^bb0(%x: memref<?x8xf32>, %y: memref<?x8xf32>):
  %0 = mhc.row.load row %x : memref<?x8xf32> -> !mhc.wide<1x8xf32>
  mhc.row.store %0, %y : !mhc.wide<1x8xf32>, memref<?x8xf32>
}
func.func @f(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
  %0 = mhc.launch @k(%x) "here" : (tensor<?x8xf32>) -> tensor<?x8xf32>
  return %0 : tensor<?x8xf32>
}
//--- launch-alone.mlir
func.func @f(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
  %0 = mhc.launch @k(%x) "here" : (tensor<?x8xf32>) -> tensor<?x8xf32>
  return %0 : tensor<?x8xf32>
}
//--- plan.mlir
plan.entry @f symbols ["T"] {
  %x = plan.buffer output f32 <8 * T> {tensor = "x"}
  plan.fill %x with 0.0
}
