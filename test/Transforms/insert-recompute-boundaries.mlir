// RUN: mhc-opt %s -pass-pipeline='builtin.module(func.func(mhc-insert-recompute-boundaries{block=1}))' -remarks-filter='.*' 2>&1 | FileCheck %s
// RUN: mhc-opt %s -pass-pipeline='builtin.module(func.func(mhc-insert-recompute-boundaries{block=2}))' | FileCheck %s --check-prefix=TWO
// RUN: mhc-opt %s -pass-pipeline='builtin.module(func.func(mhc-insert-recompute-boundaries{block=-1}))' | FileCheck %s --check-prefix=NONE
// RUN: mhc-opt %s -pass-pipeline='builtin.module(func.func(mhc-insert-recompute-boundaries{budget=64}))' -remarks-filter='.*' 2>&1 | FileCheck %s
// RUN: mhc-opt %s -pass-pipeline='builtin.module(func.func(mhc-insert-recompute-boundaries{budget=63}))' -remarks-filter='.*' 2>&1 | FileCheck %s --check-prefix=BUDGET --implicit-check-not=mhc.recompute
// BUDGET: [Missed] recompute blocks | Category:mhc-insert-recompute-boundaries | Function=forward | Reason="no block size keeps at most 63 elements a token"

// By the formula two sublayers keep as much without blocks (4 C L = 64 elements), and nothing is wrapped; a block size or a budget that is asked for is taken as above.
// RUN: mhc-opt %s -pass-pipeline='builtin.module(func.func(mhc-insert-recompute-boundaries))' -remarks-filter='.*' 2>&1 | FileCheck %s --check-prefix=REFUSED --implicit-check-not=mhc.recompute
// REFUSED: [Missed] recompute blocks | Category:mhc-insert-recompute-boundaries | Function=forward | Reason="2 sublayers keep 64 elements a token; with blocks of 1 it would be 64", bytes_after=256, bytes_before=256, bytes_saved=0, flops_added=0

// n C ceil(L / L_r) + (n + 2) C L_r with n = 2, C = 8, L = 2: 64 elements for blocks of 1.
// CHECK: [Passed] recompute blocks {{.*}} Reason="blocks of 1 of 2 sublayers keep n C ceil(L / L_r) + (n + 2) C L_r = 64 elements a token"
// CHECK-LABEL: func.func @forward
// CHECK: %[[A:.*]] = mhc.recompute
// CHECK: mhc.aggregate
// CHECK: %[[F:.*]] = mhc.linear
// CHECK: %[[K:.*]] = mhc.keep %[[F]]
// CHECK: mhc.combine %{{.*}}, %[[K]]
// CHECK: mhc.recompute
// CHECK: mhc.aggregate %[[A]]
// TWO-LABEL: func.func @forward
// TWO: mhc.recompute
// TWO-NOT: mhc.recompute
// NONE-NOT: mhc.recompute
func.func @forward(%x: tensor<?x2x8xf32> {mhc.grad = "dx"}, %pre: tensor<?x2xf32, #mhc.narrow>, %post: tensor<?x2xf32, #mhc.narrow>, %res: tensor<?x2x2xf32, #mhc.narrow>, %w: tensor<8x8xf32>) -> tensor<?x2x8xf32>
    attributes {mhc.vjp = "backward"} {
  %0 = mhc.aggregate %x, %pre : (tensor<?x2x8xf32>, tensor<?x2xf32, #mhc.narrow>) -> tensor<?x8xf32>
  %1 = mhc.linear %0, %w : (tensor<?x8xf32>, tensor<8x8xf32>) -> tensor<?x8xf32>
  %2 = mhc.combine %x, %1, %post, %res : (tensor<?x2x8xf32>, tensor<?x8xf32>, tensor<?x2xf32, #mhc.narrow>, tensor<?x2x2xf32, #mhc.narrow>) -> tensor<?x2x8xf32>
  %3 = mhc.aggregate %2, %pre : (tensor<?x2x8xf32>, tensor<?x2xf32, #mhc.narrow>) -> tensor<?x8xf32>
  %4 = mhc.linear %3, %w : (tensor<?x8xf32>, tensor<8x8xf32>) -> tensor<?x8xf32>
  %5 = mhc.combine %2, %4, %post, %res : (tensor<?x2x8xf32>, tensor<?x8xf32>, tensor<?x2xf32, #mhc.narrow>, tensor<?x2x2xf32, #mhc.narrow>) -> tensor<?x2x8xf32>
  return %5 : tensor<?x2x8xf32>
}
