// RUN: mhc-opt %s -split-input-file -pass-pipeline='builtin.module(func.func(mhc-fuse-boundaries))' | FileCheck %s

// Combine, aggregate and norm stand in one segment; the matmul ends it.
// CHECK-LABEL: func.func @forward
// CHECK: %[[K:.*]]:2 = mhc.fusion "boundary"
// CHECK: mhc.combine
// CHECK: mhc.cast
// CHECK: mhc.aggregate
// CHECK: mhc.rms_norm
// CHECK: mhc.yield
// CHECK: mhc.linear %[[K]]#1
// CHECK: mhc.fusion "boundary"
// CHECK: mhc.combine %[[K]]#0
func.func @forward(%x: tensor<?x2x8xbf16>, %f: tensor<?x8xbf16>, %pre: tensor<?x2xf32, #mhc.narrow>, %post: tensor<?x2xf32, #mhc.narrow>, %res: tensor<?x2x2xf32, #mhc.narrow>,
                   %g: tensor<8xf32>, %w: tensor<8x8xbf16>) -> tensor<?x2x8xbf16> {
  %0 = mhc.combine %x, %f, %post, %res : (tensor<?x2x8xbf16>, tensor<?x8xbf16>, tensor<?x2xf32, #mhc.narrow>, tensor<?x2x2xf32, #mhc.narrow>) -> tensor<?x2x8xf32>
  %1 = mhc.cast %0 : (tensor<?x2x8xf32>) -> tensor<?x2x8xbf16>
  %2 = mhc.aggregate %1, %pre : (tensor<?x2x8xbf16>, tensor<?x2xf32, #mhc.narrow>) -> tensor<?x8xf32>
  %3 = mhc.cast %2 : (tensor<?x8xf32>) -> tensor<?x8xbf16>
  %4 = mhc.rms_norm %3, %g {eps = 1.0e-6 : f64} : (tensor<?x8xbf16>, tensor<8xf32>) -> tensor<?x8xf32>
  %5 = mhc.cast %4 : (tensor<?x8xf32>) -> tensor<?x8xbf16>
  %6 = mhc.linear %5, %w : (tensor<?x8xbf16>, tensor<8x8xbf16>) -> tensor<?x8xbf16>
  %7 = mhc.combine %1, %6, %post, %res : (tensor<?x2x8xbf16>, tensor<?x8xbf16>, tensor<?x2xf32, #mhc.narrow>, tensor<?x2x2xf32, #mhc.narrow>) -> tensor<?x2x8xf32>
  %8 = mhc.cast %7 : (tensor<?x2x8xf32>) -> tensor<?x2x8xbf16>
  return %8 : tensor<?x2x8xbf16>
}

// -----

// A layer outside is no row op: no kernel writes u and reads f.
// CHECK-LABEL: func.func @chain
// CHECK: mhc.aggregate
// CHECK: mhc.external_layer
// CHECK: mhc.combine
// CHECK-NOT: mhc.aggregate
func.func @chain(%x: tensor<?x2x8xf32>, %f: tensor<?x8xf32>, %pre: tensor<?x2xf32, #mhc.narrow>, %post: tensor<?x2xf32, #mhc.narrow>, %res: tensor<?x2x2xf32, #mhc.narrow>) -> (tensor<?x8xf32>, tensor<?x2x8xf32>) {
  %0 = mhc.aggregate %x, %pre : (tensor<?x2x8xf32>, tensor<?x2xf32, #mhc.narrow>) -> tensor<?x8xf32>
  %1 = mhc.external_layer %0, %f : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %2 = mhc.combine %x, %1, %post, %res : (tensor<?x2x8xf32>, tensor<?x8xf32>, tensor<?x2xf32, #mhc.narrow>, tensor<?x2x2xf32, #mhc.narrow>) -> tensor<?x2x8xf32>
  return %0, %2 : tensor<?x8xf32>, tensor<?x2x8xf32>
}

// -----

// Must not fuse: rows of heads are other rows than those of tokens.
// CHECK-LABEL: func.func @rows_differ
// CHECK-NOT: mhc.fusion
func.func @rows_differ(%x: tensor<?x8xf32>) -> tensor<?x2x2xf32> {
  %0 = mhc.scale %x {factor = 2.0 : f64} : (tensor<?x8xf32>) -> tensor<?x8xf32>
  %1 = mhc.view %0 : (tensor<?x8xf32>) -> tensor<?x2x2xf32>
  %2 = mhc.scale %1 {factor = 2.0 : f64} : (tensor<?x2x2xf32>) -> tensor<?x2x2xf32>
  return %2 : tensor<?x2x2xf32>
}

// -----

// Must not fuse: the row does not fit on a unit of this target.
module attributes {mhc.target = #mhc.target<name = "tiny", units = 1, onChipBytes = 64, copyRate = 1, fmaRate = 1>} {
  // CHECK-LABEL: func.func @too_large
  // CHECK-NOT: mhc.fusion
  func.func @too_large(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
    %0 = mhc.scale %x {factor = 2.0 : f64} : (tensor<?x64xf32>) -> tensor<?x64xf32>
    %1 = mhc.scale %0 {factor = 2.0 : f64} : (tensor<?x64xf32>) -> tensor<?x64xf32>
    return %1 : tensor<?x64xf32>
  }
}

// -----

// The kernel that reads x1 reads x and f too: it computes x1 again, with the same ops and so the same bits.
// CHECK-LABEL: func.func @rebuild
// CHECK: mhc.fusion "boundary"
// CHECK: mhc.combine %arg0, %arg1
// CHECK: mhc.linear
// CHECK: mhc.fusion "boundary"
// CHECK: %[[X:.*]] = mhc.combine %arg0, %arg1
// CHECK: %[[XB:.*]] = mhc.cast %[[X]]
// CHECK: mhc.aggregate_vjp %[[XB]]
func.func @rebuild(%x: tensor<?x2x8xbf16>, %f: tensor<?x8xbf16>, %pre: tensor<?x2xf32, #mhc.narrow>, %post: tensor<?x2xf32, #mhc.narrow>, %res: tensor<?x2x2xf32, #mhc.narrow>,
                   %w: tensor<8x8xbf16>) -> (tensor<?x2x8xf32>, tensor<?x2xf32, #mhc.narrow>, tensor<?x8xf32>, tensor<?x2xf32, #mhc.narrow>, tensor<?x2x2xf32, #mhc.narrow>, tensor<?x2x8xbf16>) {
  %0 = mhc.combine %x, %f, %post, %res : (tensor<?x2x8xbf16>, tensor<?x8xbf16>, tensor<?x2xf32, #mhc.narrow>, tensor<?x2x2xf32, #mhc.narrow>) -> tensor<?x2x8xf32>
  %1 = mhc.cast %0 : (tensor<?x2x8xf32>) -> tensor<?x2x8xbf16>
  %2 = mhc.aggregate %1, %pre : (tensor<?x2x8xbf16>, tensor<?x2xf32, #mhc.narrow>) -> tensor<?x8xf32>
  %3 = mhc.cast %2 : (tensor<?x8xf32>) -> tensor<?x8xbf16>
  %du = mhc.linear %3, %w : (tensor<?x8xbf16>, tensor<8x8xbf16>) -> tensor<?x8xbf16>
  %dx, %dh = mhc.aggregate_vjp %1, %pre, %du : (tensor<?x2x8xbf16>, tensor<?x2xf32, #mhc.narrow>, tensor<?x8xbf16>) -> (tensor<?x2x8xf32>, tensor<?x2xf32, #mhc.narrow>)
  %df, %dp, %dr = mhc.combine_vjp %x, %f, %post, %dx : (tensor<?x2x8xbf16>, tensor<?x8xbf16>, tensor<?x2xf32, #mhc.narrow>, tensor<?x2x8xf32>) -> (tensor<?x8xf32>, tensor<?x2xf32, #mhc.narrow>, tensor<?x2x2xf32, #mhc.narrow>)
  return %dx, %dh, %df, %dp, %dr, %1 : tensor<?x2x8xf32>, tensor<?x2xf32, #mhc.narrow>, tensor<?x8xf32>, tensor<?x2xf32, #mhc.narrow>, tensor<?x2x2xf32, #mhc.narrow>, tensor<?x2x8xbf16>
}
