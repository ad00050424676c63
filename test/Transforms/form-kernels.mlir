// RUN: mhc-opt %s -mhc-form-kernels | FileCheck %s

// Two ops of one structure share a kernel; a cast that is an op's only use goes with it.
// CHECK-LABEL: func.func @share
// CHECK: %[[A:.*]] = mhc.launch @scale_0(%arg0)
// CHECK: %[[B:.*]] = mhc.launch @scale_0(%[[A]])
// CHECK: return %[[B]]
func.func @share(%x: tensor<?x8xbf16>) -> tensor<?x8xbf16> {
  %0 = mhc.scale %x {factor = 2.0 : f64} : (tensor<?x8xbf16>) -> tensor<?x8xf32>
  %1 = mhc.cast %0 : (tensor<?x8xf32>) -> tensor<?x8xbf16>
  %2 = mhc.scale %1 {factor = 2.0 : f64} : (tensor<?x8xbf16>) -> tensor<?x8xf32>
  %3 = mhc.cast %2 : (tensor<?x8xf32>) -> tensor<?x8xbf16>
  return %3 : tensor<?x8xbf16>
}

// A parameter is cast row by row.
// CHECK-LABEL: func.func @parameter
// CHECK: mhc.launch @cast_0(%arg0) {{.*}} (tensor<4x8xf32>) -> tensor<4x8xbf16>
func.func @parameter(%w: tensor<4x8xf32>) -> tensor<4x8xbf16> {
  %0 = mhc.cast %w : (tensor<4x8xf32>) -> tensor<4x8xbf16>
  return %0 : tensor<4x8xbf16>
}

// A gain and the matrix that it is folded into: the matrix's rows are the kernel's, and of the gain a row takes its own number, or with `transposed` all. Its gradient is then a number of each row, or their sum.
// CHECK-LABEL: func.func @fold
// CHECK: mhc.launch @fold_gain_0(%arg0, %arg1) {{.*}} (tensor<16x8xf32>, tensor<16xf32>) -> tensor<16x8xf32>
// CHECK: mhc.launch @fold_gain_vjp_0(%arg0, %arg1, %arg2) {{.*}} -> (tensor<16x8xf32>, tensor<16xf32>)
func.func @fold(%phi: tensor<16x8xf32>, %g: tensor<16xf32>, %d: tensor<16x8xf32>) -> (tensor<16x8xf32>, tensor<16x8xf32>, tensor<16xf32>) {
  %0 = mhc.fold_gain %phi, %g : (tensor<16x8xf32>, tensor<16xf32>) -> tensor<16x8xf32>
  %1:2 = mhc.fold_gain_vjp %phi, %g, %d : (tensor<16x8xf32>, tensor<16xf32>, tensor<16x8xf32>) -> (tensor<16x8xf32>, tensor<16xf32>)
  return %0, %1#0, %1#1 : tensor<16x8xf32>, tensor<16x8xf32>, tensor<16xf32>
}
// CHECK-LABEL: func.func @fold_transposed
// CHECK: mhc.launch @fold_gain_1(
// CHECK: mhc.launch @fold_gain_vjp_1(
func.func @fold_transposed(%phi: tensor<8x16xf32>, %g: tensor<16xf32>, %d: tensor<8x16xf32>) -> (tensor<8x16xf32>, tensor<8x16xf32>, tensor<16xf32>) {
  %0 = mhc.fold_gain %phi, %g {transposed} : (tensor<8x16xf32>, tensor<16xf32>) -> tensor<8x16xf32>
  %1:2 = mhc.fold_gain_vjp %phi, %g, %d {transposed} : (tensor<8x16xf32>, tensor<16xf32>, tensor<8x16xf32>) -> (tensor<8x16xf32>, tensor<16xf32>)
  return %0, %1#0, %1#1 : tensor<8x16xf32>, tensor<8x16xf32>, tensor<16xf32>
}

// CHECK: mhc.kernel @scale_0 attributes {compute = f32, ints = [], segments = array<i64: 1, 1, 0>}
// CHECK: ^bb0(%[[X:.*]]: memref<?x8xbf16>, %[[Y:.*]]: memref<?x8xbf16>):
// CHECK: %[[V:.*]] = mhc.row.load row %[[X]]
// CHECK: %[[M:.*]] = mhc.row.map %[[V]]
// CHECK: %[[C:.*]] = mhc.row.cast %[[M]]
// CHECK: mhc.row.store %[[C]], %[[Y]]
// CHECK: mhc.kernel @cast_0
// CHECK: ^bb0(%{{.*}}: memref<?x8xf32>, %{{.*}}: memref<?x8xbf16>):
// CHECK: mhc.kernel @fold_gain_0 attributes {compute = f32, ints = [], segments = array<i64: 2, 1, 0>}
// CHECK: ^bb0(%{{.*}}: memref<?x8xf32>, %{{.*}}: memref<?x1xf32>, %{{.*}}: memref<?x8xf32>):
// CHECK: mhc.kernel @fold_gain_vjp_0 attributes {compute = f32, ints = [], segments = array<i64: 3, 2, 0>}
// CHECK: mhc.row.dot
// CHECK: mhc.kernel @fold_gain_1 attributes {compute = f32, ints = [], segments = array<i64: 2, 1, 0>}
// CHECK: ^bb0(%{{.*}}: memref<?x16xf32>, %[[GAIN:.*]]: memref<16xf32>, %{{.*}}: memref<?x16xf32>):
// CHECK: mhc.row.load uniform %[[GAIN]]
// CHECK: mhc.kernel @fold_gain_vjp_1 attributes {compute = f32, ints = [], segments = array<i64: 3, 1, 1>}
// CHECK: mhc.row.sum_tokens
