// RUN: mhc-opt %s -pass-pipeline='builtin.module(func.func(mhc-expand-topology))' | FileCheck %s

#mhc4 = #mhc.connection<topology = "mhc", streams = 4, manifold = #mhc.birkhoff<iterations = 20, firstOverInputs = false>, eps = 1.0e-6 : f64, postScale = 2.0 : f64, phiTransposed = false>
#identity2 = #mhc.connection<topology = "mhc", streams = 2, manifold = #mhc.identity, eps = 1.0e-6 : f64, postScale = 2.0 : f64, phiTransposed = true>
#hc2 = #mhc.connection<topology = "hc", streams = 2, manifold = #mhc.unconstrained, eps = 1.0e-6 : f64, postScale = 2.0 : f64, phiTransposed = false>

// CHECK-LABEL: func.func @plain
// CHECK: %[[F:.*]] = mhc.scale %arg0
// CHECK: %[[C:.*]] = mhc.cast %[[F]]
// CHECK: %[[S:.*]] = mhc.sum %arg0, %[[C]] : (tensor<?x8xbf16>, tensor<?x8xbf16>) -> tensor<?x8xf32>
// CHECK: mhc.cast %[[S]] : (tensor<?x8xf32>) -> tensor<?x8xbf16>
func.func @plain(%x: tensor<?x8xbf16>) -> tensor<?x8xbf16> {
  %0 = mhc.sublayer "a" %x : (tensor<?x8xbf16>) -> tensor<?x8xbf16> {
  ^bb0(%u: tensor<?x8xbf16>):
    %1 = mhc.scale %u {factor = 2.0 : f64} : (tensor<?x8xbf16>) -> tensor<?x8xf32>
    %2 = mhc.cast %1 : (tensor<?x8xf32>) -> tensor<?x8xbf16>
    mhc.yield %2 : tensor<?x8xbf16>
  }
  return %0 : tensor<?x8xbf16>
}

// CHECK-LABEL: func.func @mhc
// CHECK: %[[N:.*]] = mhc.rms_norm %arg0 {eps = 9.9999999999999995E-7 : f64}
// CHECK: %[[Y:.*]] = mhc.projection %[[N]], %arg1
// CHECK: %[[Z:.*]] = mhc.affine %[[Y]], %arg2, %arg3 {groups = array<i64: 4, 4, 16>}
// CHECK: %[[ZPRE:.*]] = mhc.select %[[Z]] {indices = array<i64: 0, 1, 2, 3>}
// CHECK: %[[PRE:.*]] = mhc.activation %[[ZPRE]] {kind = #mhc<activation_kind sigmoid>}
// CHECK: %[[ZPOST:.*]] = mhc.select %[[Z]] {indices = array<i64: 4, 5, 6, 7>}
// CHECK: %[[POST:.*]] = mhc.activation %[[ZPOST]] {kind = #mhc<activation_kind sigmoid>, scale = 2.000000e+00 : f64}
// CHECK: %[[ZRES:.*]] = mhc.select %[[Z]] {indices = array<i64: 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23>}
// CHECK: %[[RES:.*]] = mhc.project %[[ZRES]] {manifold = #mhc.birkhoff<iterations = 20, firstOverInputs = false>}
// CHECK: %[[U:.*]] = mhc.aggregate %arg0, %[[PRE]]
// CHECK: %[[UB:.*]] = mhc.cast %[[U]]
// CHECK: mhc.combine %arg0, %[[UB]], %[[POST]], %[[RES]]
func.func @mhc(%x: tensor<?x4x8xbf16>, %phi: tensor<32x24xf32>, %alpha: tensor<3xf32>, %bias: tensor<24xf32>) -> tensor<?x4x8xbf16> {
  %0 = mhc.sublayer "a" %x(%phi, %alpha, %bias) connection #mhc4 : (tensor<?x4x8xbf16>, tensor<32x24xf32>, tensor<3xf32>, tensor<24xf32>) -> tensor<?x4x8xbf16> {
  ^bb0(%u: tensor<?x8xbf16>):
    mhc.yield %u : tensor<?x8xbf16>
  }
  return %0 : tensor<?x4x8xbf16>
}

// The identity has no columns: h_res is the same for every token.
// CHECK-LABEL: func.func @identity
// CHECK: mhc.affine {{.*}} {groups = array<i64: 2, 2, 0>}
// CHECK: mhc.constant_rows %arg0 {values = array<f64: 1.000000e+00, 0.000000e+00, 0.000000e+00, 1.000000e+00>}
// CHECK-NOT: mhc.project %
func.func @identity(%x: tensor<?x2x8xbf16>, %phi: tensor<4x16xf32>, %alpha: tensor<3xf32>, %bias: tensor<4xf32>) -> tensor<?x2x2xf32, #mhc.narrow> {
  %a, %b, %c = mhc.coefficients %x, %phi, %alpha, %bias {connection = #identity2} : (tensor<?x2x8xbf16>, tensor<4x16xf32>, tensor<3xf32>, tensor<4xf32>) -> (tensor<?x2xf32, #mhc.narrow>, tensor<?x2xf32, #mhc.narrow>, tensor<?x2x2xf32, #mhc.narrow>)
  return %c : tensor<?x2x2xf32, #mhc.narrow>
}

// hc: y[i] = (pre, post, res to output 0, res to output 1) of stream i; the order of bias is pre, post, res[o, i].
// CHECK-LABEL: func.func @hc
// CHECK: mhc.rms_norm %arg0 {eps = 9.9999999999999995E-7 : f64, per_stream}
// CHECK: %[[Y:.*]] = mhc.projection {{.*}} -> tensor<?x2x4xf32, #mhc.narrow>
// CHECK: %[[T:.*]] = mhc.activation %[[Y]] {kind = #mhc<activation_kind tanh>}
// CHECK: mhc.select %[[T]] {indices = array<i64: 0, 4, 1, 5, 2, 6, 3, 7>}
func.func @hc(%x: tensor<?x2x8xbf16>, %phi: tensor<8x4xf32>, %alpha: tensor<3xf32>, %bias: tensor<8xf32>) -> tensor<?x2x2xf32, #mhc.narrow> {
  %a, %b, %c = mhc.coefficients %x, %phi, %alpha, %bias {connection = #hc2} : (tensor<?x2x8xbf16>, tensor<8x4xf32>, tensor<3xf32>, tensor<8xf32>) -> (tensor<?x2xf32, #mhc.narrow>, tensor<?x2xf32, #mhc.narrow>, tensor<?x2x2xf32, #mhc.narrow>)
  return %c : tensor<?x2x2xf32, #mhc.narrow>
}
