// RUN: mhc-opt %s -pass-pipeline='builtin.module(func.func(mhc-fuse-coefficients))' | FileCheck %s
// RUN: mhc-opt %s -pass-pipeline='builtin.module(func.func(mhc-fuse-coefficients))' -mlir-disable-threading -remarks-filter='.*' -o /dev/null 2>&1 | FileCheck %s --check-prefix=REMARK --implicit-check-not=remark:

// All decisions, in the order of the functions. In forward the eight ops read and write 196 + 192 + 112 + 32 + 112 + 32 + 160 + 128 bytes a token,
// their kernel 24 + 1 coefficients in and 4 + 4 + 16 out.
// REMARK: remark: [Passed] coefficients | Category:mhc-fuse-coefficients | Function=forward | Reason="8 small ops become one launch", bytes_after=196, bytes_before=964, bytes_saved=768, flops_added=0
// REMARK: remark: [Passed] coefficients | Category:mhc-fuse-coefficients | Function=backward | Reason="2 small ops become one launch", bytes_after=48, bytes_before=96, bytes_saved=48, flops_added=0
// REMARK: remark: [Passed] coefficients | Category:mhc-fuse-coefficients | Function=several_uses | Reason="3 small ops become one launch", bytes_after=64, bytes_before=96, bytes_saved=32, flops_added=0
// REMARK: remark: [Passed] coefficients | Category:mhc-fuse-coefficients | Function=identity | Reason="2 small ops become one launch", bytes_after=16, bytes_before=48, bytes_saved=32, flops_added=0
// REMARK: remark: [Passed] coefficients | Category:mhc-fuse-coefficients | Function=recompute | Reason="2 small ops become one launch", bytes_after=32, bytes_before=64, bytes_saved=32, flops_added=0
// REMARK: remark: [Passed] coefficients | Category:mhc-fuse-coefficients | Function=two_sides | Reason="2 small ops become one launch", bytes_after=32, bytes_before=64, bytes_saved=32, flops_added=0
// REMARK: remark: [Passed] coefficients | Category:mhc-fuse-coefficients | Function=two_sides | Reason="2 small ops become one launch", bytes_after=48, bytes_before=80, bytes_saved=32, flops_added=0

// The parts of the coefficients, down to the first ops that read rows of channels.
// CHECK-LABEL: func.func @forward
// CHECK-NEXT: %[[M:.*]] = mhc.projection
// CHECK-NEXT: %[[R:.*]] = mhc.rms
// CHECK-NEXT: %[[F:.*]]:3 = mhc.fusion "coefficients" : tensor<?x4xf32, #mhc.narrow>, tensor<?x4xf32, #mhc.narrow>, tensor<?x4x4xf32, #mhc.narrow> {
// CHECK-NEXT: mhc.divide %[[M]], %[[R]]
// CHECK-NEXT: mhc.affine
// CHECK-NEXT: mhc.select
// CHECK-NEXT: %[[PRE:.*]] = mhc.activation
// CHECK-NEXT: mhc.select
// CHECK-NEXT: %[[POST:.*]] = mhc.activation
// CHECK-NEXT: mhc.select
// CHECK-NEXT: %[[RES:.*]] = mhc.project
// CHECK-NEXT: mhc.yield %[[PRE]], %[[POST]], %[[RES]]
// CHECK-NEXT: }
// CHECK-NEXT: return %[[F]]#0, %[[F]]#1, %[[F]]#2
func.func @forward(%x: tensor<?x4x64xbf16>, %phi: tensor<256x24xf32>, %alpha: tensor<3xf32>, %bias: tensor<24xf32>)
    -> (tensor<?x4xf32, #mhc.narrow>, tensor<?x4xf32, #mhc.narrow>, tensor<?x4x4xf32, #mhc.narrow>) {
  %m = mhc.projection %x, %phi : (tensor<?x4x64xbf16>, tensor<256x24xf32>) -> tensor<?x1x24xf32, #mhc.narrow>
  %r = mhc.rms %x {eps = 1.0e-6 : f64} : (tensor<?x4x64xbf16>) -> tensor<?x1xf32, #mhc.narrow>
  %q = mhc.divide %m, %r : (tensor<?x1x24xf32, #mhc.narrow>, tensor<?x1xf32, #mhc.narrow>) -> tensor<?x1x24xf32, #mhc.narrow>
  %z = mhc.affine %q, %alpha, %bias {groups = array<i64: 4, 4, 16>} : (tensor<?x1x24xf32, #mhc.narrow>, tensor<3xf32>, tensor<24xf32>) -> tensor<?x24xf32, #mhc.narrow>
  %zpre = mhc.select %z {indices = array<i64: 0, 1, 2, 3>} : (tensor<?x24xf32, #mhc.narrow>) -> tensor<?x4xf32, #mhc.narrow>
  %pre = mhc.activation %zpre {kind = #mhc<activation_kind sigmoid>} : (tensor<?x4xf32, #mhc.narrow>) -> tensor<?x4xf32, #mhc.narrow>
  %zpost = mhc.select %z {indices = array<i64: 4, 5, 6, 7>} : (tensor<?x24xf32, #mhc.narrow>) -> tensor<?x4xf32, #mhc.narrow>
  %post = mhc.activation %zpost {kind = #mhc<activation_kind sigmoid>, scale = 2.0 : f64} : (tensor<?x4xf32, #mhc.narrow>) -> tensor<?x4xf32, #mhc.narrow>
  %zres = mhc.select %z {indices = array<i64: 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23>} : (tensor<?x24xf32, #mhc.narrow>) -> tensor<?x4x4xf32, #mhc.narrow>
  %res = mhc.project %zres {manifold = #mhc.birkhoff<iterations = 20, firstOverInputs = false>} : (tensor<?x4x4xf32, #mhc.narrow>) -> tensor<?x4x4xf32, #mhc.narrow>
  return %pre, %post, %res : tensor<?x4xf32, #mhc.narrow>, tensor<?x4xf32, #mhc.narrow>, tensor<?x4x4xf32, #mhc.narrow>
}

// VJPs are small as well, and sums over the tokens go with them.
// CHECK-LABEL: func.func @backward
// CHECK-NEXT: mhc.fusion "coefficients" : tensor<?x4xf32, #mhc.narrow>, tensor<3xf32>, tensor<4xf32> {
// CHECK-NEXT: mhc.activation_vjp
// CHECK-NEXT: mhc.affine_vjp
// CHECK-NEXT: mhc.yield
func.func @backward(%y: tensor<?x4xf32, #mhc.narrow>, %alpha: tensor<3xf32>, %dh: tensor<?x4xf32, #mhc.narrow>) -> (tensor<?x4xf32, #mhc.narrow>, tensor<3xf32>, tensor<4xf32>) {
  %dz = mhc.activation_vjp %y, %dh {kind = #mhc<activation_kind sigmoid>} : (tensor<?x4xf32, #mhc.narrow>, tensor<?x4xf32, #mhc.narrow>) -> tensor<?x4xf32, #mhc.narrow>
  %dy, %dalpha, %dbias = mhc.affine_vjp %y, %alpha, %dz {groups = array<i64: 1, 1, 2>} : (tensor<?x4xf32, #mhc.narrow>, tensor<3xf32>, tensor<?x4xf32, #mhc.narrow>) -> (tensor<?x4xf32, #mhc.narrow>, tensor<3xf32>, tensor<4xf32>)
  return %dy, %dalpha, %dbias : tensor<?x4xf32, #mhc.narrow>, tensor<3xf32>, tensor<4xf32>
}

// A value with uses inside and outside is yielded, once.
// CHECK-LABEL: func.func @several_uses
// CHECK-NEXT: %[[F:.*]]:3 = mhc.fusion "coefficients"
// CHECK-NEXT: %[[A:.*]] = mhc.activation
// CHECK-NEXT: %[[S:.*]] = mhc.scale %[[A]]
// CHECK-NEXT: %[[T:.*]] = mhc.sum %[[A]], %[[A]]
// CHECK-NEXT: mhc.yield %[[A]], %[[S]], %[[T]]
// CHECK-NEXT: }
// CHECK-NEXT: %[[U:.*]] = mhc.aggregate %arg1, %[[F]]#0
// CHECK-NEXT: return %[[F]]#1, %[[F]]#2, %[[U]]
func.func @several_uses(%z: tensor<?x4xf32, #mhc.narrow>, %x: tensor<?x4x64xf32>) -> (tensor<?x4xf32, #mhc.narrow>, tensor<?x4xf32, #mhc.narrow>, tensor<?x64xf32>) {
  %0 = mhc.activation %z {kind = #mhc<activation_kind tanh>} : (tensor<?x4xf32, #mhc.narrow>) -> tensor<?x4xf32, #mhc.narrow>
  %1 = mhc.scale %0 {factor = 2.0 : f64} : (tensor<?x4xf32, #mhc.narrow>) -> tensor<?x4xf32, #mhc.narrow>
  %2 = mhc.sum %0, %0 : (tensor<?x4xf32, #mhc.narrow>, tensor<?x4xf32, #mhc.narrow>) -> tensor<?x4xf32, #mhc.narrow>
  %u = mhc.aggregate %x, %0 : (tensor<?x4x64xf32>, tensor<?x4xf32, #mhc.narrow>) -> tensor<?x64xf32>
  return %1, %2, %u : tensor<?x4xf32, #mhc.narrow>, tensor<?x4xf32, #mhc.narrow>, tensor<?x64xf32>
}

// The streams give the number of rows only: nobody reads them.
// CHECK-LABEL: func.func @identity
// CHECK-NEXT: mhc.fusion "coefficients"
// CHECK-NEXT: mhc.constant_rows %arg0
// CHECK-NEXT: mhc.scale
func.func @identity(%x: tensor<?x2x64xbf16>) -> tensor<?x2x2xf32, #mhc.narrow> {
  %0 = mhc.constant_rows %x {values = array<f64: 1.0, 0.0, 0.0, 1.0>} : (tensor<?x2x64xbf16>) -> tensor<?x2x2xf32, #mhc.narrow>
  %1 = mhc.scale %0 {factor = 2.0 : f64} : (tensor<?x2x2xf32, #mhc.narrow>) -> tensor<?x2x2xf32, #mhc.narrow>
  return %1 : tensor<?x2x2xf32, #mhc.narrow>
}

// In a recompute region as well.
// CHECK-LABEL: func.func @recompute
// CHECK-NEXT: mhc.recompute
// CHECK-NEXT: mhc.fusion "coefficients"
// CHECK-NEXT: mhc.activation
// CHECK-NEXT: mhc.scale
// CHECK-NEXT: mhc.yield
// CHECK-NEXT: }
// CHECK-NEXT: mhc.yield
func.func @recompute(%z: tensor<?x4xf32, #mhc.narrow>) -> tensor<?x4xf32, #mhc.narrow> {
  %0 = mhc.recompute : tensor<?x4xf32, #mhc.narrow> {
    %1 = mhc.activation %z {kind = #mhc<activation_kind tanh>} : (tensor<?x4xf32, #mhc.narrow>) -> tensor<?x4xf32, #mhc.narrow>
    %2 = mhc.scale %1 {factor = 2.0 : f64} : (tensor<?x4xf32, #mhc.narrow>) -> tensor<?x4xf32, #mhc.narrow>
    mhc.yield %2 : tensor<?x4xf32, #mhc.narrow>
  }
  return %0 : tensor<?x4xf32, #mhc.narrow>
}

// What stands before and after an op on rows of channels are two kernels, though the second reads the first's value.
// CHECK-LABEL: func.func @two_sides
// CHECK-NEXT: %[[F:.*]] = mhc.fusion "coefficients"
// CHECK-NEXT: mhc.activation
// CHECK-NEXT: mhc.scale
// CHECK-NEXT: mhc.yield
// CHECK-NEXT: }
// CHECK-NEXT: mhc.aggregate %arg1, %[[F]]
// CHECK-NEXT: %[[DX:.*]], %[[DH:.*]] = mhc.aggregate_vjp
// CHECK-NEXT: mhc.fusion "coefficients"
// CHECK-NEXT: %[[S:.*]] = mhc.scale %[[DH]]
// CHECK-NEXT: mhc.sum %[[S]], %[[F]]
func.func @two_sides(%z: tensor<?x4xf32, #mhc.narrow>, %x: tensor<?x4x64xf32>) -> tensor<?x4xf32, #mhc.narrow> {
  %0 = mhc.activation %z {kind = #mhc<activation_kind tanh>} : (tensor<?x4xf32, #mhc.narrow>) -> tensor<?x4xf32, #mhc.narrow>
  %1 = mhc.scale %0 {factor = 2.0 : f64} : (tensor<?x4xf32, #mhc.narrow>) -> tensor<?x4xf32, #mhc.narrow>
  %u = mhc.aggregate %x, %1 : (tensor<?x4x64xf32>, tensor<?x4xf32, #mhc.narrow>) -> tensor<?x64xf32>
  %dx, %dh = mhc.aggregate_vjp %x, %1, %u : (tensor<?x4x64xf32>, tensor<?x4xf32, #mhc.narrow>, tensor<?x64xf32>) -> (tensor<?x4x64xf32>, tensor<?x4xf32, #mhc.narrow>)
  %2 = mhc.scale %dh {factor = 2.0 : f64} : (tensor<?x4xf32, #mhc.narrow>) -> tensor<?x4xf32, #mhc.narrow>
  %3 = mhc.sum %2, %1 : (tensor<?x4xf32, #mhc.narrow>, tensor<?x4xf32, #mhc.narrow>) -> tensor<?x4xf32, #mhc.narrow>
  return %3 : tensor<?x4xf32, #mhc.narrow>
}

// Must not fuse: a path from one to the other goes through ops on rows of channels, the kernel would wait for itself.
// CHECK-LABEL: func.func @wide_between
// CHECK-NOT: mhc.fusion
func.func @wide_between(%z: tensor<?x4xf32, #mhc.narrow>, %x: tensor<?x4x64xf32>) -> tensor<?x4xf32, #mhc.narrow> {
  %0 = mhc.activation %z {kind = #mhc<activation_kind tanh>} : (tensor<?x4xf32, #mhc.narrow>) -> tensor<?x4xf32, #mhc.narrow>
  %u = mhc.aggregate %x, %0 : (tensor<?x4x64xf32>, tensor<?x4xf32, #mhc.narrow>) -> tensor<?x64xf32>
  %dx, %dh = mhc.aggregate_vjp %x, %0, %u : (tensor<?x4x64xf32>, tensor<?x4xf32, #mhc.narrow>, tensor<?x64xf32>) -> (tensor<?x4x64xf32>, tensor<?x4xf32, #mhc.narrow>)
  %1 = mhc.sum %0, %dh : (tensor<?x4xf32, #mhc.narrow>, tensor<?x4xf32, #mhc.narrow>) -> tensor<?x4xf32, #mhc.narrow>
  return %1 : tensor<?x4xf32, #mhc.narrow>
}

// Must not fuse: two rows for each one.
// CHECK-LABEL: func.func @rows_differ
// CHECK-NOT: mhc.fusion
func.func @rows_differ(%z: tensor<?x4xf32, #mhc.narrow>) -> tensor<?x2xf32, #mhc.narrow> {
  %0 = mhc.scale %z {factor = 2.0 : f64} : (tensor<?x4xf32, #mhc.narrow>) -> tensor<?x4xf32, #mhc.narrow>
  %1 = mhc.view %0 : (tensor<?x4xf32, #mhc.narrow>) -> tensor<?x2xf32, #mhc.narrow>
  %2 = mhc.scale %1 {factor = 2.0 : f64} : (tensor<?x2xf32, #mhc.narrow>) -> tensor<?x2xf32, #mhc.narrow>
  return %2 : tensor<?x2xf32, #mhc.narrow>
}

// Must not fuse: nothing passes between the two.
// CHECK-LABEL: func.func @apart
// CHECK-NOT: mhc.fusion
func.func @apart(%z: tensor<?x4xf32, #mhc.narrow>) -> (tensor<?x4xf32, #mhc.narrow>, tensor<?x4xf32, #mhc.narrow>) {
  %0 = mhc.scale %z {factor = 2.0 : f64} : (tensor<?x4xf32, #mhc.narrow>) -> tensor<?x4xf32, #mhc.narrow>
  %1 = mhc.activation %z {kind = #mhc<activation_kind tanh>} : (tensor<?x4xf32, #mhc.narrow>) -> tensor<?x4xf32, #mhc.narrow>
  return %0, %1 : tensor<?x4xf32, #mhc.narrow>, tensor<?x4xf32, #mhc.narrow>
}

// Must not fuse: rows of channels are not small.
// CHECK-LABEL: func.func @wide
// CHECK-NOT: mhc.fusion
func.func @wide(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
  %0 = mhc.scale %x {factor = 2.0 : f64} : (tensor<?x64xf32>) -> tensor<?x64xf32>
  %1 = mhc.scale %0 {factor = 2.0 : f64} : (tensor<?x64xf32>) -> tensor<?x64xf32>
  return %1 : tensor<?x64xf32>
}

// Must not fuse: a gather is no coefficient, and one op alone is no fusion.
// CHECK-LABEL: func.func @gather
// CHECK-NOT: mhc.fusion
func.func @gather(%t: tensor<?xi32>, %e: tensor<5x4xf32>) -> tensor<?x4xf32, #mhc.narrow> {
  %0 = mhc.embedding %t, %e : (tensor<?xi32>, tensor<5x4xf32>) -> tensor<?x4xf32, #mhc.narrow>
  %1 = mhc.scale %0 {factor = 2.0 : f64} : (tensor<?x4xf32, #mhc.narrow>) -> tensor<?x4xf32, #mhc.narrow>
  return %1 : tensor<?x4xf32, #mhc.narrow>
}
