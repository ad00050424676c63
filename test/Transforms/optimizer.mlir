// RUN: mhc-opt %s --split-input-file --pass-pipeline='builtin.module(func.func(mhc-expand-newton-schulz,mhc-expand-spheres,mhc-split-rows))' | FileCheck %s

// A step that others read, too, is written before it is projected: its own norm is summed up.
// CHECK-LABEL: func.func @step_with_other_uses
// CHECK:         mhc.dot_rows %arg1, %arg1
// CHECK:         %[[Y:.*]] = mhc.add_scaled
// CHECK:         mhc.dot_rows %[[Y]], %[[Y]]
// CHECK-NOT:     mhc.gram
func.func @step_with_other_uses(%w: tensor<?x64xf32>, %o: tensor<?x64xf32>, %r: tensor<?x1xf32, #mhc.narrow>) -> (tensor<?x64xf32>, tensor<?x64xf32>) {
  %y = mhc.descend %w, %o, %r, %r : (tensor<?x64xf32>, tensor<?x64xf32>, tensor<?x1xf32, #mhc.narrow>, tensor<?x1xf32, #mhc.narrow>) -> tensor<?x64xf32>
  %h = mhc.project %y, %r {manifold = #mhc.sphere<>} : (tensor<?x64xf32>, tensor<?x1xf32, #mhc.narrow>) -> tensor<?x64xf32>
  return %y, %h : tensor<?x64xf32>, tensor<?x64xf32>
}

// -----

// What is no step is projected by its norm, with eps inside the root.
// CHECK-LABEL: func.func @projection_alone
// CHECK:         %[[N:.*]] = mhc.dot_rows %arg0, %arg0
// CHECK-NEXT:    %[[C:.*]] = mhc.norm_scale %[[N]], %arg1 {eps = 5.000000e-01 : f64, inside}
// CHECK-NEXT:    mhc.scale_rows %arg0, %[[C]]
func.func @projection_alone(%w: tensor<?x64xf32>, %r: tensor<?x1xf32, #mhc.narrow>) -> tensor<?x64xf32> {
  %h = mhc.project %w, %r {manifold = #mhc.sphere<eps = 0.5 : f64>} : (tensor<?x64xf32>, tensor<?x1xf32, #mhc.narrow>) -> tensor<?x64xf32>
  return %h : tensor<?x64xf32>
}

// -----

// Tall matrices take X^T X, and X from the left. Without targets, or with a CPU among them, nothing is rounded.
// CHECK-LABEL: func.func @tall
// CHECK-NOT:     bf16
// CHECK:         mhc.matmul %[[X:.*]], %[[X]] {k = 6 : i64, m = 4 : i64, n = 4 : i64, trans_a}
// CHECK-NEXT:    %[[B:.*]] = mhc.matmul %[[A:.*]], %[[A]], %[[A]] {alpha = 2.927000e+00 : f64, beta = -6.894600e+00 : f64, k = 4 : i64, m = 4 : i64, n = 4 : i64}
// CHECK-NEXT:    mhc.matmul %[[X]], %[[B]], %[[X]] {beta = 4.084800e+00 : f64, k = 4 : i64, m = 6 : i64, n = 4 : i64}
// CHECK-COUNT-12: mhc.matmul
// CHECK-NOT:     mhc.matmul
func.func @tall(%u: tensor<?x24xf32>) -> tensor<?x24xf32> {
  %0 = mhc.newton_schulz %u {rows = 6, columns = 4, eps = 1.0e-7} : (tensor<?x24xf32>) -> tensor<?x24xf32>
  return %0 : tensor<?x24xf32>
}

// -----

// GPUs alone: U is rounded first, and its norm is that of what was rounded. The step reads bf16; the function's result is widened.
module attributes {mhc.targets = [#mhc.target<name = "sm_90a", units = 132, onChipBytes = 494592, copyRate = 4300, fmaRate = 67000>]} {
  // CHECK-LABEL: func.func @on_gpus
  // CHECK:         %[[U:.*]] = mhc.cast %arg0 : (tensor<?x24xf32>) -> tensor<?x24xbf16>
  // CHECK-NEXT:    mhc.dot_rows %[[U]], %[[U]]
  // CHECK:         %[[X:.*]] = mhc.scale_rows %[[U]], %{{.*}} : (tensor<?x24xbf16>, tensor<?x1xf32, #mhc.narrow>) -> tensor<?x24xf32>
  // CHECK-NEXT:    mhc.cast %[[X]] : (tensor<?x24xf32>) -> tensor<?x24xbf16>
  // CHECK-COUNT-14: mhc.matmul
  // CHECK:         %[[O:.*]] = mhc.matmul {{.*}} -> tensor<?x24xbf16>
  // CHECK-DAG:     mhc.add_scaled %arg1, %[[O]], %arg2 : (tensor<?x24xf32>, tensor<?x24xbf16>, tensor<?x1xf32, #mhc.narrow>)
  // CHECK-DAG:     mhc.cast %[[O]] : (tensor<?x24xbf16>) -> tensor<?x24xf32>
  func.func @on_gpus(%u: tensor<?x24xf32>, %w: tensor<?x24xf32>, %r: tensor<?x1xf32, #mhc.narrow>) -> (tensor<?x24xf32>, tensor<?x24xf32>) {
    %0 = mhc.newton_schulz %u {rows = 4, columns = 6, eps = 1.0e-7} : (tensor<?x24xf32>) -> tensor<?x24xf32>
    %1 = mhc.add_scaled %w, %0, %r : (tensor<?x24xf32>, tensor<?x24xf32>, tensor<?x1xf32, #mhc.narrow>) -> tensor<?x24xf32>
    return %0, %1 : tensor<?x24xf32>, tensor<?x24xf32>
  }
}

// -----

// A stack that shares one norm reads the same memory with longer rows, in bf16 too.
module attributes {mhc.targets = [#mhc.target<name = "sm_90a", units = 132, onChipBytes = 494592, copyRate = 4300, fmaRate = 67000>]} {
  // CHECK-LABEL: func.func @stack_on_gpus
  // CHECK-COUNT-14: mhc.matmul
  // CHECK:         %[[O:.*]] = mhc.matmul {{.*}} -> tensor<?x24xbf16>
  // CHECK-NEXT:    %[[LONG:.*]] = mhc.view %[[O]] : (tensor<?x24xbf16>) -> tensor<?x48xbf16>
  // CHECK-NEXT:    mhc.add_scaled %arg1, %[[LONG]], %arg2
  // CHECK-NOT:     mhc.view
  func.func @stack_on_gpus(%u: tensor<?x24xf32>, %w: tensor<?x48xf32>, %r: tensor<?x1xf32, #mhc.narrow>) -> tensor<?x48xf32> {
    %0 = mhc.newton_schulz %u {rows = 4, columns = 6, eps = 1.0e-7} : (tensor<?x24xf32>) -> tensor<?x24xf32>
    %1 = mhc.view %0 : (tensor<?x24xf32>) -> tensor<?x48xf32>
    %2 = mhc.add_scaled %w, %1, %r : (tensor<?x48xf32>, tensor<?x48xf32>, tensor<?x1xf32, #mhc.narrow>) -> tensor<?x48xf32>
    return %2 : tensor<?x48xf32>
  }
}

// -----

// 4099 is a prime: no part divides the row. Streams and sums beside rows stay as they are, too.
// CHECK-LABEL: func.func @not_split
// CHECK-NEXT:    mhc.dot_rows %arg0, %arg0 : (tensor<?x4099xf32>, tensor<?x4099xf32>)
// CHECK-NEXT:    mhc.sum_squares %arg1 : (tensor<?x8192xf32>)
func.func @not_split(%x: tensor<?x4099xf32>, %y: tensor<?x8192xf32>) -> (tensor<?x1xf32, #mhc.narrow>, tensor<1xf32>) {
  %0 = mhc.dot_rows %x, %x : (tensor<?x4099xf32>, tensor<?x4099xf32>) -> tensor<?x1xf32, #mhc.narrow>
  %1 = mhc.sum_squares %y : (tensor<?x8192xf32>) -> tensor<1xf32>
  return %0, %1 : tensor<?x1xf32, #mhc.narrow>, tensor<1xf32>
}

// -----

// What is the same for all rows is made for the parts, a matrix's own number is repeated. 12288 = 3 x 4096.
// CHECK-LABEL: func.func @numbers
// CHECK:         %[[RATE:.*]] = mhc.token_weight %{{.*}}, %arg2 {{.*}} : (tensor<?x4096xf32>, tensor<64xf32>)
// CHECK:         %[[Y:.*]] = mhc.add_scaled %{{.*}}, %{{.*}}, %[[RATE]] : (tensor<?x4096xf32>, tensor<?x4096xf32>
// CHECK:         %[[R:.*]] = mhc.repeat %arg1 {times = 3 : i64}
// CHECK:         mhc.scale_rows %[[Y]], %[[R]] : (tensor<?x4096xf32>
func.func @numbers(%x: tensor<?x12288xf32>, %r: tensor<?x1xf32, #mhc.narrow>, %s: tensor<64xf32>) -> tensor<?x12288xf32> {
  %0 = mhc.token_weight %x, %s {indices = array<i64: 0>} : (tensor<?x12288xf32>, tensor<64xf32>) -> tensor<?x1xf32, #mhc.narrow>
  %1 = mhc.add_scaled %x, %x, %0 : (tensor<?x12288xf32>, tensor<?x12288xf32>, tensor<?x1xf32, #mhc.narrow>) -> tensor<?x12288xf32>
  %2 = mhc.scale_rows %1, %r : (tensor<?x12288xf32>, tensor<?x1xf32, #mhc.narrow>) -> tensor<?x12288xf32>
  return %2 : tensor<?x12288xf32>
}
