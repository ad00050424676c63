// RUN: mhc-opt %s -split-input-file -pass-pipeline='builtin.module(func.func(mhc-fuse-boundaries))' | FileCheck %s
// RUN: mhc-opt %s -split-input-file -pass-pipeline='builtin.module(func.func(mhc-fuse-boundaries))' -remarks-filter='.*' -o /dev/null 2>&1 | FileCheck %s --check-prefix=REMARK --implicit-check-not=remark:

// All decisions. The six ops of forward move 136 + 96 + 72 + 48 + 48 + 48 bytes a token, their kernel reads x, f and three coefficients (80) and writes x' and u (48).
// REMARK: remark: [Passed] boundary | Category:mhc-fuse-boundaries | Function=forward | Reason="6 ops of one segment become one kernel; its row of 96 bytes fits on chip", bytes_after=128, bytes_before=448, bytes_saved=320, flops_added=0
// REMARK: remark: [Passed] boundary | Category:mhc-fuse-boundaries | Function=forward | Reason="2 ops of one segment become one kernel; its row of 80 bytes fits on chip", bytes_after=104, bytes_before=232, bytes_saved=128, flops_added=0
// REMARK: remark: [Missed] chain | Category:mhc-fuse-boundaries | Function=too_large | Reason="the row takes 512 bytes, a unit of the target keeps 64 on chip", bytes_after=512, bytes_before=1024, bytes_saved=512, flops_added=0
// REMARK: remark: [Passed] rebuild | Category:mhc-fuse-boundaries | Function=rebuild | Reason="the kernel reads x and f of the sublayer before anyway: x' is computed again on chip", bytes_after=16, bytes_before=32, bytes_saved=16, flops_added=96
// REMARK: remark: [Passed] boundary | Category:mhc-fuse-boundaries | Function=rebuild | Reason="4 ops of one segment become one kernel; its row of 96 bytes fits on chip", bytes_after=128, bytes_before=352, bytes_saved=224, flops_added=0
// REMARK: remark: [Passed] boundary | Category:mhc-fuse-boundaries | Function=rebuild | Reason="4 ops of one segment become one kernel; its row of 160 bytes fits on chip", bytes_after=224, bytes_before=536, bytes_saved=312, flops_added=0
// REMARK: remark: [Missed] rebuild | Category:mhc-fuse-boundaries | Function=rebuild_slower | Reason="the target reads x' in less time than it takes to compute it again", bytes_after=16, bytes_before=32, bytes_saved=16, flops_added=96
// REMARK: remark: [Passed] boundary | Category:mhc-fuse-boundaries | Function=rebuild_slower | Reason="4 ops of one segment
// REMARK: remark: [Passed] boundary | Category:mhc-fuse-boundaries | Function=rebuild_slower | Reason="2 ops of one segment
// REMARK: remark: [Missed] rebuild | Category:mhc-fuse-boundaries | Function=rebuild_refused | Reason="the kernel would have to read more to compute x' again than x' itself", bytes_after=24, bytes_before=16, bytes_saved=-8, flops_added=32
// REMARK: remark: [Passed] boundary | Category:mhc-fuse-boundaries | Function=rebuild_refused | Reason="4 ops of one segment
// REMARK: remark: [Passed] boundary | Category:mhc-fuse-boundaries | Function=rebuild_refused | Reason="2 ops of one segment
// REMARK: remark: [Passed] boundary | Category:mhc-fuse-boundaries | Function=coefficients_first | Reason="3 ops of one segment become one kernel; its row of 96 bytes fits on chip", bytes_after=112, bytes_before=136, bytes_saved=24, flops_added=0
// REMARK: remark: [Passed] boundary | Category:mhc-fuse-boundaries | Function=folded | Reason="7 ops of one segment become one kernel;

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

// Must not fuse: the row does not fit on a unit of one of the targets, and one program serves all of them.
module attributes {mhc.targets = [#mhc.target<name = "large", units = 1, onChipBytes = 4096, copyRate = 1, fmaRate = 1>, #mhc.target<name = "tiny", units = 1, onChipBytes = 64, copyRate = 1, fmaRate = 1>]} {
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
module attributes {mhc.targets = [#mhc.target<name = "sm_90a", units = 132, onChipBytes = 494592, copyRate = 4300, fmaRate = 67000>]} {
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
}

// -----

// Must not rebuild: a processor reads x' in less time (no `mhc.targets`: cpu).
// CHECK-LABEL: func.func @rebuild_slower
// CHECK: mhc.fusion "boundary"
// CHECK: mhc.fusion "boundary"
// CHECK-NOT: mhc.rebuilt
func.func @rebuild_slower(%x: tensor<?x2x8xbf16>, %f: tensor<?x8xbf16>, %pre: tensor<?x2xf32, #mhc.narrow>, %post: tensor<?x2xf32, #mhc.narrow>, %res: tensor<?x2x2xf32, #mhc.narrow>,
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

// -----

// Must not rebuild: with one stream, f and two coefficients are more than x'.
// CHECK-LABEL: func.func @rebuild_refused
// CHECK: mhc.combine
// CHECK: mhc.linear
// CHECK-NOT: mhc.combine
// CHECK: mhc.aggregate_vjp
func.func @rebuild_refused(%x: tensor<?x1x8xbf16>, %f: tensor<?x8xbf16>, %pre: tensor<?x1xf32, #mhc.narrow>, %post: tensor<?x1xf32, #mhc.narrow>, %res: tensor<?x1x1xf32, #mhc.narrow>,
                           %w: tensor<8x8xbf16>) -> (tensor<?x1x8xf32>, tensor<?x1xf32, #mhc.narrow>, tensor<?x1x8xf32>) {
  %0 = mhc.combine %x, %f, %post, %res : (tensor<?x1x8xbf16>, tensor<?x8xbf16>, tensor<?x1xf32, #mhc.narrow>, tensor<?x1x1xf32, #mhc.narrow>) -> tensor<?x1x8xf32>
  %1 = mhc.cast %0 : (tensor<?x1x8xf32>) -> tensor<?x1x8xbf16>
  %2 = mhc.aggregate %1, %pre : (tensor<?x1x8xbf16>, tensor<?x1xf32, #mhc.narrow>) -> tensor<?x8xf32>
  %3 = mhc.cast %2 : (tensor<?x8xf32>) -> tensor<?x8xbf16>
  %du = mhc.linear %3, %w : (tensor<?x8xbf16>, tensor<8x8xbf16>) -> tensor<?x8xbf16>
  %dx, %dh = mhc.aggregate_vjp %1, %pre, %du : (tensor<?x1x8xbf16>, tensor<?x1xf32, #mhc.narrow>, tensor<?x8xbf16>) -> (tensor<?x1x8xf32>, tensor<?x1xf32, #mhc.narrow>)
  %4 = mhc.sum %dx, %x : (tensor<?x1x8xf32>, tensor<?x1x8xbf16>) -> tensor<?x1x8xf32>
  return %dx, %dh, %4 : tensor<?x1x8xf32>, tensor<?x1xf32, #mhc.narrow>, tensor<?x1x8xf32>
}

// -----

// What mhc-fuse-coefficients made before is taken apart again, and becomes a part of the boundary.
// CHECK-LABEL: func.func @coefficients_first
// CHECK-NOT: mhc.fusion "coefficients"
// CHECK: %[[K:.*]]:2 = mhc.fusion "boundary" : tensor<?x2xf32, #mhc.narrow>, tensor<?x8xf32> {
// CHECK-NEXT: mhc.affine
// CHECK-NEXT: mhc.activation
// CHECK-NEXT: mhc.aggregate
// CHECK: return %[[K]]#0, %[[K]]#1
func.func @coefficients_first(%x: tensor<?x2x8xf32>, %q: tensor<?x2xf32, #mhc.narrow>, %alpha: tensor<1xf32>, %bias: tensor<2xf32>) -> (tensor<?x2xf32, #mhc.narrow>, tensor<?x8xf32>) {
  %h = mhc.fusion "coefficients" : tensor<?x2xf32, #mhc.narrow> {
    %z = mhc.affine %q, %alpha, %bias {groups = array<i64: 2>} : (tensor<?x2xf32, #mhc.narrow>, tensor<1xf32>, tensor<2xf32>) -> tensor<?x2xf32, #mhc.narrow>
    %0 = mhc.activation %z {kind = #mhc<activation_kind sigmoid>} : (tensor<?x2xf32, #mhc.narrow>) -> tensor<?x2xf32, #mhc.narrow>
    mhc.yield %0 : tensor<?x2xf32, #mhc.narrow>
  }
  %u = mhc.aggregate %x, %h : (tensor<?x2x8xf32>, tensor<?x2xf32, #mhc.narrow>) -> tensor<?x8xf32>
  return %h, %u : tensor<?x2xf32, #mhc.narrow>, tensor<?x8xf32>
}

// -----

// What is computed from parameters alone stands in front of the rows, as the parameters do, and does not cut the boundary; its gradient comes after it.
// CHECK-LABEL: func.func @folded
// CHECK: %[[W:.*]] = mhc.fold_gain %arg3, %arg4
// CHECK: %[[K:.*]]:4 = mhc.fusion "boundary"
// CHECK-NEXT: mhc.combine
// CHECK-NEXT: mhc.cast
// CHECK-NEXT: mhc.projection %{{.*}}, %[[W]]
// CHECK: mhc.rms
// CHECK: mhc.divide
// CHECK: mhc.aggregate
// CHECK: mhc.projection_dw
// CHECK: mhc.yield
// CHECK: mhc.fold_gain_vjp %arg3, %arg4, %[[K]]#3
func.func @folded(%x: tensor<?x2x8xbf16>, %f: tensor<?x8xbf16>, %m: tensor<?x2x2xf32, #mhc.narrow>, %phi: tensor<16x2xf32>, %g: tensor<16xf32>, %h: tensor<?x2xf32, #mhc.narrow>,
                  %dm: tensor<?x1x2xf32, #mhc.narrow>) -> (tensor<?x2x8xbf16>, tensor<?x1x2xf32, #mhc.narrow>, tensor<?x8xf32>, tensor<16x2xf32>, tensor<16xf32>) {
  %0 = mhc.combine %x, %f, %h, %m : (tensor<?x2x8xbf16>, tensor<?x8xbf16>, tensor<?x2xf32, #mhc.narrow>, tensor<?x2x2xf32, #mhc.narrow>) -> tensor<?x2x8xf32>
  %1 = mhc.cast %0 : (tensor<?x2x8xf32>) -> tensor<?x2x8xbf16>
  %w = mhc.fold_gain %phi, %g : (tensor<16x2xf32>, tensor<16xf32>) -> tensor<16x2xf32>
  %2 = mhc.projection %1, %w : (tensor<?x2x8xbf16>, tensor<16x2xf32>) -> tensor<?x1x2xf32, #mhc.narrow>
  %r = mhc.rms %1 {eps = 1.0e-6 : f64} : (tensor<?x2x8xbf16>) -> tensor<?x1xf32, #mhc.narrow>
  %q = mhc.divide %2, %r : (tensor<?x1x2xf32, #mhc.narrow>, tensor<?x1xf32, #mhc.narrow>) -> tensor<?x1x2xf32, #mhc.narrow>
  %u = mhc.aggregate %1, %h : (tensor<?x2x8xbf16>, tensor<?x2xf32, #mhc.narrow>) -> tensor<?x8xf32>
  %dw = mhc.projection_dw %1, %dm : (tensor<?x2x8xbf16>, tensor<?x1x2xf32, #mhc.narrow>) -> tensor<16x2xf32>
  %dphi, %dg = mhc.fold_gain_vjp %phi, %g, %dw : (tensor<16x2xf32>, tensor<16xf32>, tensor<16x2xf32>) -> (tensor<16x2xf32>, tensor<16xf32>)
  return %1, %q, %u, %dphi, %dg : tensor<?x2x8xbf16>, tensor<?x1x2xf32, #mhc.narrow>, tensor<?x8xf32>, tensor<16x2xf32>, tensor<16xf32>
}
