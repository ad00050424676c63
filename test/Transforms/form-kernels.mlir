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

// CHECK: mhc.kernel @scale_0 attributes {compute = f32, ints = [], segments = array<i64: 1, 1, 0>}
// CHECK: ^bb0(%[[X:.*]]: memref<?x8xbf16>, %[[Y:.*]]: memref<?x8xbf16>):
// CHECK: %[[V:.*]] = mhc.row.load row %[[X]]
// CHECK: %[[M:.*]] = mhc.row.map %[[V]]
// CHECK: %[[C:.*]] = mhc.row.cast %[[M]]
// CHECK: mhc.row.store %[[C]], %[[Y]]
// CHECK: mhc.kernel @cast_0
// CHECK: ^bb0(%{{.*}}: memref<?x8xf32>, %{{.*}}: memref<?x8xbf16>):
