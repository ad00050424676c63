// Functions without a body stay as they are, in every pass and phase.
// RUN: mhc-opt %s -pass-pipeline='builtin.module(func.func(mhc-expand-topology,mhc-reorder-norm-after-matmul,mhc-insert-recompute-boundaries),mhc-differentiate,func.func(mhc-fuse-coefficients,mhc-fuse-boundaries),mhc-form-kernels)' -remarks-filter='.*' 2>&1 | FileCheck %s --implicit-check-not=remark:
// RUN: mhc-opt %s --mhc-phase-optimize --mhc-phase-differentiate --mhc-phase-fuse --mhc-phase-kernels | FileCheck %s
// RUN: not mhc-opt %s --mhc-plan 2>&1 | FileCheck %s --check-prefix=PLAN
// RUN: sed 's/mhc.symbols/mhc.vjp = "backward", mhc.symbols/' %s | not mhc-opt --mhc-differentiate 2>&1 | FileCheck %s --check-prefix=VJP

// CHECK: func.func private @outside(tensor<?x4x64xbf16>, tensor<64x64xbf16>) -> tensor<?x4x64xbf16> attributes {mhc.entry, mhc.symbols = ["T"]}
// PLAN: declarations.mlir:[[# @LINE + 2]]:1: error: 'func.func' op expected one block after phase 'kernels'
// VJP: <stdin>:[[# @LINE + 1]]:1: error: expected a function of one block to differentiate
func.func private @outside(tensor<?x4x64xbf16>, tensor<64x64xbf16>) -> tensor<?x4x64xbf16> attributes {mhc.entry, mhc.symbols = ["T"]}
