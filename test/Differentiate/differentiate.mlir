// RUN: mhc-opt %s -split-input-file -mhc-differentiate | FileCheck %s
// RUN: mhc-opt %s -split-input-file -mhc-differentiate -remarks-filter='.*' -o /dev/null 2>&1 | FileCheck %s --check-prefix=REMARK --implicit-check-not=remark:

// One remark a function: what forward keeps for backward (rows of channels; arguments are there anyway), and what backward computes again.
// REMARK: remark: [Passed] backward | Category:mhc-differentiate | Function=backward | Reason="the forward part keeps 0 rows of 0 bytes a token; backward computes 0 ops again"
// REMARK: remark: [Passed] backward | Category:mhc-differentiate | Function=backward | Reason="the forward part keeps 1 rows of 32 bytes a token; backward computes 1 ops again"
// REMARK: remark: [Passed] backward | Category:mhc-differentiate | Function=backward | Reason="the forward part keeps 0 rows of 0 bytes a token; backward computes 0 ops again"
// REMARK: remark: [Passed] backward | Category:mhc-differentiate | Function=backward | Reason="the forward part keeps 0 rows of 0 bytes a token; backward computes 0 ops again"

// Parts are added in fp32 and rounded once; the matmul that gives the only part rounds it itself; a parameter's gradient stays fp32.
// CHECK-LABEL: func.func @forward
// CHECK-NOT: mhc.vjp
// CHECK-LABEL: func.func @backward
// CHECK-SAME: %[[X:.*]]: tensor<?x8xbf16> {mhc.name = "x"}, %[[W:.*]]: tensor<8x8xbf16> {mhc.name = "w"}, %[[DY:.*]]: tensor<?x8xbf16> {mhc.cotangent = "dy", mhc.name = "dy"}
// CHECK-SAME: -> (tensor<?x8xbf16> {mhc.name = "dx"}, tensor<8x8xf32> {mhc.name = "dw"})
// CHECK: %[[DA:.*]] = mhc.linear_dx %[[DY]], %[[W]] : (tensor<?x8xbf16>, tensor<8x8xbf16>) -> tensor<?x8xf32>
// CHECK: %[[DW:.*]] = mhc.linear_dw %[[X]], %[[DY]] : {{.*}} -> tensor<8x8xf32>
// CHECK: %[[SUM:.*]] = mhc.sum %[[DY]], %[[DA]] : (tensor<?x8xbf16>, tensor<?x8xf32>) -> tensor<?x8xf32>
// CHECK: %[[DX:.*]] = mhc.cast %[[SUM]] : (tensor<?x8xf32>) -> tensor<?x8xbf16>
// CHECK: return %[[DX]], %[[DW]]
func.func @forward(%x: tensor<?x8xbf16> {mhc.name = "x", mhc.grad = "dx"}, %w: tensor<8x8xbf16> {mhc.name = "w", mhc.grad = "dw"}) -> (tensor<?x8xbf16> {mhc.name = "y", mhc.cotangent = "dy"})
    attributes {mhc.entry, mhc.symbols = ["T"], mhc.vjp = "backward"} {
  %0 = mhc.linear %x, %w : (tensor<?x8xbf16>, tensor<8x8xbf16>) -> tensor<?x8xbf16>
  %1 = mhc.sum %x, %0 : (tensor<?x8xbf16>, tensor<?x8xbf16>) -> tensor<?x8xf32>
  %2 = mhc.cast %1 : (tensor<?x8xf32>) -> tensor<?x8xbf16>
  return %2 : tensor<?x8xbf16>
}

// -----

// A recompute region: backward clones what was not kept, and the kept matmul does not run again.
// CHECK-LABEL: func.func @backward
// CHECK: mhc.scale
// CHECK: mhc.linear %
// CHECK-NOT: mhc.linear %
// CHECK: mhc.scale
// CHECK: mhc.swiglu_vjp
func.func @f(%x: tensor<?x8xf32> {mhc.name = "x", mhc.grad = "dx"}, %w: tensor<8x8xf32> {mhc.name = "w", mhc.grad = "dw"}) -> (tensor<?x8xf32> {mhc.name = "y", mhc.cotangent = "dy"})
    attributes {mhc.entry, mhc.symbols = ["T"], mhc.vjp = "backward"} {
  %y = mhc.recompute : tensor<?x8xf32> {
    %0 = mhc.scale %x {factor = 2.0 : f64} : (tensor<?x8xf32>) -> tensor<?x8xf32>
    %1 = mhc.linear %0, %w : (tensor<?x8xf32>, tensor<8x8xf32>) -> tensor<?x8xf32>
    %2 = mhc.keep %1 : (tensor<?x8xf32>) -> tensor<?x8xf32>
    %3 = mhc.swiglu %0, %2 : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
    mhc.yield %3 : tensor<?x8xf32>
  }
  return %y : tensor<?x8xf32>
}

// -----

// A parameter that nothing depends on has a gradient of zeros, in fp32.
// CHECK-LABEL: func.func @backward
// CHECK-SAME: -> (tensor<?x8xf32> {mhc.name = "dx"}, tensor<8xf32> {mhc.name = "dw"})
// CHECK: %[[Z:.*]] = mhc.zeros : () -> tensor<8xf32>
// CHECK: return %{{.*}}, %[[Z]]
func.func @unused(%x: tensor<?x8xf32> {mhc.name = "x", mhc.grad = "dx"}, %w: tensor<8xbf16> {mhc.name = "w", mhc.grad = "dw"}) -> (tensor<?x8xf32> {mhc.name = "y", mhc.cotangent = "dy"})
    attributes {mhc.entry, mhc.symbols = ["T"], mhc.vjp = "backward"} {
  return %x : tensor<?x8xf32>
}

// -----

// A folded gain: its gradient and phi's come from that of what was projected with, which is summed over the tokens.
// CHECK-LABEL: func.func @backward(
// CHECK-SAME: %[[X:[^:]*]]: tensor<?x2x8xf32>{{.*}}, %[[PHI:[^:]*]]: tensor<16x4xf32>{{.*}}, %[[G:[^:]*]]: tensor<16xf32>{{.*}}, %[[DM:[^:]*]]: tensor<?x1x4xf32, #mhc.narrow>
// CHECK: %[[DW:.*]] = mhc.projection_dw %[[X]], %[[DM]]
// CHECK: %[[DPHI:[^,]*]], %[[DG:[^ ]*]] = mhc.fold_gain_vjp %[[PHI]], %[[G]], %[[DW]]
// CHECK: return %[[DPHI]], %[[DG]] :
func.func @fold(%x: tensor<?x2x8xf32>, %phi: tensor<16x4xf32> {mhc.grad = "dphi"}, %g: tensor<16xf32> {mhc.grad = "dg"}) -> (tensor<?x1x4xf32, #mhc.narrow> {mhc.cotangent = "dm"})
    attributes {mhc.vjp = "backward"} {
  %0 = mhc.fold_gain %phi, %g : (tensor<16x4xf32>, tensor<16xf32>) -> tensor<16x4xf32>
  %1 = mhc.projection %x, %0 : (tensor<?x2x8xf32>, tensor<16x4xf32>) -> tensor<?x1x4xf32, #mhc.narrow>
  return %1 : tensor<?x1x4xf32, #mhc.narrow>
}
