// RUN: mhc-opt %s -canonicalize -cse | FileCheck %s

// A cast rounds even where its type comes back later, and a mark is there for a pass. What nobody uses goes.
// CHECK-LABEL: func.func @stays
// CHECK-NEXT: %[[A:.*]] = mhc.cast %arg0 : (tensor<?x8xf32>) -> tensor<?x8xbf16>
// CHECK-NEXT: %[[B:.*]] = mhc.cast %[[A]] : (tensor<?x8xbf16>) -> tensor<?x8xf32>
// CHECK-NEXT: %[[C:.*]] = mhc.scale %[[B]] {factor = 5.000000e-01 : f64}
// CHECK-NEXT: %[[D:.*]] = mhc.recompute : tensor<?x8xf32> {
// CHECK-NEXT: %[[E:.*]] = mhc.linear %[[C]], %arg1
// CHECK-NEXT: %[[F:.*]] = mhc.keep %[[E]]
// CHECK-NEXT: mhc.yield %[[F]]
// CHECK-NEXT: }
// CHECK-NEXT: return %[[D]]
func.func @stays(%x: tensor<?x8xf32>, %w: tensor<8x8xf32>) -> tensor<?x8xf32> {
  %0 = mhc.cast %x : (tensor<?x8xf32>) -> tensor<?x8xbf16>
  %1 = mhc.cast %0 : (tensor<?x8xbf16>) -> tensor<?x8xf32>
  %2 = mhc.scale %1 {factor = 0.5 : f64} : (tensor<?x8xf32>) -> tensor<?x8xf32>
  %unused = mhc.rms_norm %2 {eps = 1.0e-6 : f64} : (tensor<?x8xf32>) -> tensor<?x8xf32>
  %3 = mhc.recompute : tensor<?x8xf32> {
    %4 = mhc.linear %2, %w : (tensor<?x8xf32>, tensor<8x8xf32>) -> tensor<?x8xf32>
    %5 = mhc.keep %4 : (tensor<?x8xf32>) -> tensor<?x8xf32>
    mhc.yield %5 : tensor<?x8xf32>
  }
  return %3 : tensor<?x8xf32>
}

// What gives its operand as it is folds.
// CHECK-LABEL: func.func @cast_fold
// CHECK-NEXT: return %arg0
func.func @cast_fold(%x: tensor<?x8xbf16>) -> tensor<?x8xbf16> {
  %0 = mhc.cast %x : (tensor<?x8xbf16>) -> tensor<?x8xbf16>
  return %0 : tensor<?x8xbf16>
}

// CHECK-LABEL: func.func @scale_fold
// CHECK-NEXT: return %arg0
func.func @scale_fold(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
  %0 = mhc.scale %x {factor = 1.0 : f64} : (tensor<?x8xf32>) -> tensor<?x8xf32>
  return %0 : tensor<?x8xf32>
}

// CHECK-LABEL: func.func @sum_fold
// CHECK-NEXT: return %arg0
func.func @sum_fold(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
  %0 = mhc.sum %x : (tensor<?x8xf32>) -> tensor<?x8xf32>
  return %0 : tensor<?x8xf32>
}

// CHECK-LABEL: func.func @view_fold
// CHECK-NEXT: return %arg0
func.func @view_fold(%x: tensor<?x2x4xf32>) -> tensor<?x2x4xf32> {
  %0 = mhc.view %x : (tensor<?x2x4xf32>) -> tensor<?x2x4xf32>
  return %0 : tensor<?x2x4xf32>
}

// CHECK-LABEL: func.func @select_fold
// CHECK-NEXT: return %arg0
func.func @select_fold(%x: tensor<?x3xf32, #mhc.narrow>) -> tensor<?x3xf32, #mhc.narrow> {
  %0 = mhc.select %x {indices = array<i64: 0, 1, 2>} : (tensor<?x3xf32, #mhc.narrow>) -> tensor<?x3xf32, #mhc.narrow>
  return %0 : tensor<?x3xf32, #mhc.narrow>
}

// Must not fold: the type changes (in value or in shape), there is more than one operand, or elements move.
// CHECK-LABEL: func.func @no_fold
// CHECK: mhc.scale %arg0 {factor = 1.000000e+00 : f64} : (tensor<?x8xbf16>) -> tensor<?x8xf32>
// CHECK: mhc.sum %arg0 : (tensor<?x8xbf16>) -> tensor<?x8xf32>
// CHECK: mhc.sum %arg0, %arg0 : (tensor<?x8xbf16>, tensor<?x8xbf16>) -> tensor<?x8xf32>
// CHECK: mhc.view %arg0 : (tensor<?x8xbf16>) -> tensor<?x2x4xbf16>
// CHECK: mhc.select %arg1 {indices = array<i64: 1, 0, 2, 3>}
// CHECK: mhc.select %arg1 {indices = array<i64: 0, 1, 2, 3>} : (tensor<?x4xf32, #mhc.narrow>) -> tensor<?x2x2xf32, #mhc.narrow>
// CHECK: mhc.select %arg1 {indices = array<i64: 0, 1>}
func.func @no_fold(%x: tensor<?x8xbf16>, %h: tensor<?x4xf32, #mhc.narrow>)
    -> (tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x2x4xbf16>, tensor<?x4xf32, #mhc.narrow>, tensor<?x2x2xf32, #mhc.narrow>, tensor<?x2xf32, #mhc.narrow>) {
  %0 = mhc.scale %x {factor = 1.0 : f64} : (tensor<?x8xbf16>) -> tensor<?x8xf32>
  %1 = mhc.sum %x : (tensor<?x8xbf16>) -> tensor<?x8xf32>
  %2 = mhc.sum %x, %x : (tensor<?x8xbf16>, tensor<?x8xbf16>) -> tensor<?x8xf32>
  %3 = mhc.view %x : (tensor<?x8xbf16>) -> tensor<?x2x4xbf16>
  %4 = mhc.select %h {indices = array<i64: 1, 0, 2, 3>} : (tensor<?x4xf32, #mhc.narrow>) -> tensor<?x4xf32, #mhc.narrow>
  %5 = mhc.select %h {indices = array<i64: 0, 1, 2, 3>} : (tensor<?x4xf32, #mhc.narrow>) -> tensor<?x2x2xf32, #mhc.narrow>
  %6 = mhc.select %h {indices = array<i64: 0, 1>} : (tensor<?x4xf32, #mhc.narrow>) -> tensor<?x2xf32, #mhc.narrow>
  return %0, %1, %2, %3, %4, %5, %6
    : tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x2x4xbf16>, tensor<?x4xf32, #mhc.narrow>, tensor<?x2x2xf32, #mhc.narrow>, tensor<?x2xf32, #mhc.narrow>
}

// A kernel's memory may change between two loads, so the row programs' loads are no CSE of one another across a store.
// CHECK-LABEL: mhc.kernel @loads
// CHECK: mhc.row.load row %{{.*}} : memref<?x8xf32>
// CHECK: mhc.row.store
// CHECK: mhc.row.load row %{{.*}} : memref<?x8xf32>
mhc.kernel @loads attributes {compute = f32, ints = [], segments = array<i64: 1, 1, 1>} {
^bb0(%x: memref<?x8xf32>, %y: memref<?x8xf32>, %s: memref<8xf32>):
  %0 = mhc.row.load row %y : memref<?x8xf32> -> !mhc.wide<1x8xf32>
  %1 = mhc.row.load row %x : memref<?x8xf32> -> !mhc.wide<1x8xf32>
  mhc.row.store %1, %y : !mhc.wide<1x8xf32>, memref<?x8xf32>
  %2 = mhc.row.load row %y : memref<?x8xf32> -> !mhc.wide<1x8xf32>
  mhc.row.sum_tokens %0, %s : !mhc.wide<1x8xf32>, memref<8xf32>
  mhc.row.sum_tokens %2, %s : !mhc.wide<1x8xf32>, memref<8xf32>
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
