// RUN: mhc-opt %s -canonicalize -cse | FileCheck %s

// No op folds: a cast rounds even where its type comes back, and a mark is there for a pass. What nobody uses goes.
// CHECK-LABEL: func.func @stays
// CHECK-NEXT: %[[A:.*]] = mhc.cast %arg0 : (tensor<?x8xf32>) -> tensor<?x8xbf16>
// CHECK-NEXT: %[[B:.*]] = mhc.cast %[[A]] : (tensor<?x8xbf16>) -> tensor<?x8xf32>
// CHECK-NEXT: %[[C:.*]] = mhc.cast %[[B]] : (tensor<?x8xf32>) -> tensor<?x8xf32>
// CHECK-NEXT: %[[D:.*]] = mhc.scale %[[C]] {factor = 1.000000e+00 : f64}
// CHECK-NEXT: %[[E:.*]] = mhc.recompute : tensor<?x8xf32> {
// CHECK-NEXT: %[[F:.*]] = mhc.linear %[[D]], %arg1
// CHECK-NEXT: %[[G:.*]] = mhc.keep %[[F]]
// CHECK-NEXT: mhc.yield %[[G]]
// CHECK-NEXT: }
// CHECK-NEXT: return %[[E]]
func.func @stays(%x: tensor<?x8xf32>, %w: tensor<8x8xf32>) -> tensor<?x8xf32> {
  %0 = mhc.cast %x : (tensor<?x8xf32>) -> tensor<?x8xbf16>
  %1 = mhc.cast %0 : (tensor<?x8xbf16>) -> tensor<?x8xf32>
  %2 = mhc.cast %1 : (tensor<?x8xf32>) -> tensor<?x8xf32>
  %3 = mhc.scale %2 {factor = 1.0 : f64} : (tensor<?x8xf32>) -> tensor<?x8xf32>
  %unused = mhc.rms_norm %3 {eps = 1.0e-6 : f64} : (tensor<?x8xf32>) -> tensor<?x8xf32>
  %4 = mhc.recompute : tensor<?x8xf32> {
    %5 = mhc.linear %3, %w : (tensor<?x8xf32>, tensor<8x8xf32>) -> tensor<?x8xf32>
    %6 = mhc.keep %5 : (tensor<?x8xf32>) -> tensor<?x8xf32>
    mhc.yield %6 : tensor<?x8xf32>
  }
  return %4 : tensor<?x8xf32>
}

// Equal ops are one, but for attributes that differ.
// CHECK-LABEL: func.func @equal
// CHECK-NEXT: %[[A:.*]] = mhc.rope_table {sine = false, theta = 1.000000e+04 : f64}
// CHECK-NEXT: %[[B:.*]] = mhc.rope_table {sine = true, theta = 1.000000e+04 : f64}
// CHECK-NEXT: return %[[A]], %[[A]], %[[B]]
func.func @equal() -> (tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>) {
  %0 = mhc.rope_table {theta = 1.0e4 : f64, sine = false} : () -> tensor<?x4xf32>
  %1 = mhc.rope_table {theta = 1.0e4 : f64, sine = false} : () -> tensor<?x4xf32>
  %2 = mhc.rope_table {theta = 1.0e4 : f64, sine = true} : () -> tensor<?x4xf32>
  return %0, %1, %2 : tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>
}

// Stores and sums over the tokens are what a kernel is there for; the same one twice is two.
// CHECK-LABEL: mhc.kernel @effects
// CHECK: %[[X:.*]] = mhc.row.load row
// CHECK-NEXT: mhc.row.store %[[X]]
// CHECK-NEXT: mhc.row.store %[[X]]
// CHECK-NEXT: mhc.row.sum_tokens %[[X]]
// CHECK-NEXT: mhc.row.sum_tokens %[[X]]
// CHECK-NEXT: }
mhc.kernel @effects attributes {compute = f32, ints = [], segments = array<i64: 1, 1, 1>} {
^bb0(%x: memref<?x8xf32>, %y: memref<?x8xf32>, %s: memref<8xf32>):
  %0 = mhc.row.load row %x : memref<?x8xf32> -> !mhc.wide<1x8xf32>
  %unused = mhc.row.dot %0, %0 : !mhc.wide<1x8xf32>, !mhc.wide<1x8xf32> -> !mhc.narrow<1xf32>
  mhc.row.store %0, %y : !mhc.wide<1x8xf32>, memref<?x8xf32>
  mhc.row.store %0, %y : !mhc.wide<1x8xf32>, memref<?x8xf32>
  mhc.row.sum_tokens %0, %s : !mhc.wide<1x8xf32>, memref<8xf32>
  mhc.row.sum_tokens %0, %s : !mhc.wide<1x8xf32>, memref<8xf32>
}
