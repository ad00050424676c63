// RUN: mhc-opt %s -split-input-file -mhc-block-rows="rows=16 min-row-bytes=1000" -remarks-filter='.*' 2>&1 | FileCheck %s

// The loss of a head: the logits and their gradient are there for 16 rows at a time; the hidden rows and their gradient are seen through windows, the loss and the head's gradient are cleared
// and added to. The cast of the head, which does not depend on them, moves in front.

// CHECK: remark: [Passed] row_blocks | Category:mhc-block-rows | Function=loss | Reason="tensors of 2400 bytes a token are there for 16 tokens at a time"
// CHECK: remark: [Missed] row_blocks | Category:mhc-block-rows | Function=step | Reason="a sum over all rows is read between them
// CHECK: remark: [Missed] row_blocks | Category:mhc-block-rows | Function=copy | Reason="what works on these rows does not work row by row
// CHECK-LABEL: plan.entry @loss symbols ["T"] block_rows 16 {
// CHECK: %[[X:.*]] = plan.buffer input f32 <8 * T>
// CHECK: %[[W:.*]] = plan.buffer input f32 <2400>
// CHECK: %[[V:.*]] = plan.buffer arena f32 <2400> live [0, 7]
// CHECK: %[[Z:.*]] = plan.buffer arena f32 <300 * R> live [4, 5]
// CHECK: %[[DZ:.*]] = plan.buffer arena f32 <300 * R> live [5, 7]
// CHECK: %[[DX:.*]] = plan.buffer output f32 <8 * T>
// CHECK: %[[XW:.*]] = plan.buffer window f32 <8 * R> of %[[X]]
// CHECK: %[[DXW:.*]] = plan.buffer window f32 <8 * R> of %[[DX]]
// CHECK: plan.launch @copy(%[[W]], %[[V]])
// CHECK: plan.fill %{{.*}} with 0.000000e+00
// CHECK: plan.fill %{{.*}} with 0.000000e+00
// CHECK: plan.loop "row_blocks" {
// CHECK-NEXT: plan.gemm %[[XW]], %[[W]] into %[[Z]] m <R> n <300> k <8> trans_b
// CHECK-NEXT: plan.launch @loss_kernel(%[[Z]], %[[DZ]]) rows <R> reduce %{{.*}} into %{{.*}} accumulate [true]
// CHECK-NEXT: plan.gemm %[[DZ]], %[[V]] into %[[DXW]] m <R> n <8> k <300>
// CHECK-NEXT: plan.gemm %[[DZ]], %[[XW]] into %{{.*}} m <300> n <8> k <R> trans_a accumulate
// CHECK-NEXT: }

mhc.kernel @copy attributes {compute = f32, ints = [], segments = array<i64: 1, 1, 0>} {
^bb0(%x: memref<2400xf32>, %y: memref<2400xf32>):
  %0 = mhc.row.load uniform %x : memref<2400xf32> -> !mhc.wide<1x2400xf32>
  mhc.row.store %0, %y : !mhc.wide<1x2400xf32>, memref<2400xf32>
}
mhc.kernel @loss_kernel attributes {compute = f32, ints = [], segments = array<i64: 1, 1, 1>} {
^bb0(%z: memref<?x300xf32>, %d: memref<?x300xf32>, %l: memref<1xf32>):
  %0 = mhc.row.load row %z : memref<?x300xf32> -> !mhc.wide<1x300xf32>
  %1 = mhc.row.reduce add %0 : !mhc.wide<1x300xf32> -> !mhc.narrow<1xf32>
  mhc.row.sum_tokens %1, %l : !mhc.narrow<1xf32>, memref<1xf32>
  mhc.row.store %0, %d : !mhc.wide<1x300xf32>, memref<?x300xf32>
}
plan.entry @loss symbols ["T"] {
  %x = plan.buffer input f32 <8 * T> {tensor = "x"}
  %w = plan.buffer input f32 <2400> {tensor = "w"}
  %v = plan.buffer arena f32 <2400> live [1, 3]
  %z = plan.buffer arena f32 <300 * T> live [0, 2]
  %dz = plan.buffer arena f32 <300 * T> live [2, 4]
  %p = plan.buffer partials f32 <1> live [2, 2]
  %l = plan.buffer output f32 <1> {tensor = "loss"}
  %dx = plan.buffer output f32 <8 * T> {tensor = "dx"}
  %dw = plan.buffer output f32 <2400> {tensor = "dw"}
  plan.gemm %x, %w into %z m <T> n <300> k <8> trans_b
  plan.launch @copy(%w, %v) rows <1>
  plan.launch @loss_kernel(%z, %dz) rows <T> reduce %p into %l accumulate [false]
  plan.gemm %dz, %v into %dx m <T> n <8> k <300>
  plan.gemm %dz, %x into %dw m <300> n <8> k <T> trans_a
}

// -----

// Where the sum over all rows is read between them, or something does not work row by row, nothing changes and a remark says why.

// CHECK-LABEL: plan.entry @step symbols ["T"] {
// CHECK-NOT: row_blocks
mhc.kernel @sum attributes {compute = f32, ints = [], segments = array<i64: 1, 0, 1>} {
^bb0(%z: memref<?x300xf32>, %l: memref<300xf32>):
  %0 = mhc.row.load row %z : memref<?x300xf32> -> !mhc.wide<1x300xf32>
  mhc.row.sum_tokens %0, %l : !mhc.wide<1x300xf32>, memref<300xf32>
}
mhc.kernel @subtract attributes {compute = f32, ints = [], segments = array<i64: 2, 1, 0>} {
^bb0(%z: memref<?x300xf32>, %l: memref<300xf32>, %y: memref<?x300xf32>):
  %0 = mhc.row.load row %z : memref<?x300xf32> -> !mhc.wide<1x300xf32>
  %1 = mhc.row.load uniform %l : memref<300xf32> -> !mhc.wide<1x300xf32>
  %2 = mhc.row.map %0, %1 : !mhc.wide<1x300xf32>, !mhc.wide<1x300xf32> -> !mhc.wide<1x300xf32> {
  ^bb0(%a: f32, %b: f32):
    %c = arith.subf %a, %b : f32
    mhc.row.yield %c : f32
  }
  mhc.row.store %2, %y : !mhc.wide<1x300xf32>, memref<?x300xf32>
}
plan.entry @step symbols ["T"] {
  %x = plan.buffer input f32 <8 * T> {tensor = "x"}
  %w = plan.buffer input f32 <2400> {tensor = "w"}
  %z = plan.buffer arena f32 <300 * T> live [0, 2]
  %p = plan.buffer partials f32 <300> live [1, 1]
  %l = plan.buffer arena f32 <300> live [1, 2]
  %y = plan.buffer output f32 <300 * T> {tensor = "y"}
  plan.gemm %x, %w into %z m <T> n <300> k <8> trans_b
  plan.launch @sum(%z) rows <T> reduce %p into %l accumulate [false]
  plan.launch @subtract(%z, %l, %y) rows <T>
}
plan.entry @copy symbols ["T"] {
  %x = plan.buffer input f32 <8 * T> {tensor = "x"}
  %w = plan.buffer input f32 <2400> {tensor = "w"}
  %z = plan.buffer arena f32 <300 * T> live [0, 1]
  %y = plan.buffer output f32 <300 * T> {tensor = "y"}
  plan.gemm %x, %w into %z m <T> n <300> k <8> trans_b
  plan.copy %z into %y
}
