// Parts of rows: the key of latent attention is put together in the kernel that reads both of its parts, and its rotary part, which the heads share, is read where it
// lies. In backward the gradients of the heads' copies are added up in order.

// RUN: mhc-opt %s --mhc-phase-differentiate --mhc-phase-fuse --mhc-phase-kernels > %t
// RUN: FileCheck %s --input-file=%t && FileCheck %s --input-file=%t --check-prefix=BACK
// RUN: mhc-opt %t | diff - %t
// RUN: mhc-opt %s --mhc-phase-differentiate --mhc-phase-fuse="fuse-boundaries=false" --mhc-phase-kernels | FileCheck %s --check-prefix=ALONE

// A row of [k | v] a head, a row of the key a token: three tokens' rows of one, one of the other.
// CHECK-LABEL: mhc.kernel @chain_0
// CHECK-SAME: segments = array<i64: 2, 2, 0>
// CHECK-NEXT: ^bb0(%[[R:.*]]: memref<?x2x4xf32>, %[[KV:.*]]: memref<?x3x4xf32>, %[[K:.*]]: memref<?x4x4xf32>, %[[V:.*]]: memref<?x1x4xf32>):
// CHECK-DAG: %[[ROW:.*]] = mhc.row.load {{ *}}row %[[KV]] : memref<?x3x4xf32> -> !mhc.wide<3x4xf32>
// CHECK-DAG: %[[HEAD:.*]] = mhc.row.streams %[[ROW]] {first = 0 : i64} : <3x4xf32> -> <2x4xf32>
// CHECK-DAG: %[[SHARED:.*]] = mhc.row.load {{ *}}shared %[[R]] {divisor = 3 : i64} : memref<?x2x4xf32> -> !mhc.wide<2x4xf32>
// CHECK-DAG: %[[BOTH:.*]] = mhc.row.concat %[[HEAD]], %[[SHARED]] : !mhc.wide<2x4xf32>, !mhc.wide<2x4xf32> -> <4x4xf32>
// CHECK-DAG: mhc.row.store %[[BOTH]], %[[K]]
// CHECK-DAG: %[[VALUE:.*]] = mhc.row.streams %[[ROW]] {first = 2 : i64} : <3x4xf32> -> <1x4xf32>
// CHECK-DAG: mhc.row.store %[[VALUE]], %[[V]]

// The sum over three heads' two streams: one map of three operands.
// BACK: ^bb0(%[[DK:.*]]: memref<?x6x4xf32>, %{{.*}}: memref<?x2x4xf32>):
// BACK: %[[A:.*]] = mhc.row.streams %[[X:.*]] {first = 0 : i64} : <6x4xf32> -> <2x4xf32>
// BACK: %[[B:.*]] = mhc.row.streams %[[X]] {first = 2 : i64}
// BACK: %[[C:.*]] = mhc.row.streams %[[X]] {first = 4 : i64}
// BACK: mhc.row.map %[[A]], %[[B]], %[[C]]

// Alone it is a kernel that copies.
// ALONE: mhc.kernel @repeat_0
// ALONE: mhc.row.load {{ *}}shared

func.func @forward(%kv: tensor<?x36xf32> {mhc.name = "kv", mhc.grad = "dkv"}, %key: tensor<?x8xf32> {mhc.name = "key", mhc.grad = "dkey"})
    -> (tensor<?x48xf32> {mhc.name = "k", mhc.cotangent = "dk"}, tensor<?x12xf32> {mhc.name = "v", mhc.cotangent = "dv"})
    attributes {mhc.entry, mhc.symbols = ["T"], mhc.vjp = "backward"} {
  %0 = mhc.view %kv : (tensor<?x36xf32>) -> tensor<?x3x4xf32>
  %1 = mhc.view %key : (tensor<?x8xf32>) -> tensor<?x2x4xf32>
  %2 = mhc.repeat %1 {times = 3 : i64} : (tensor<?x2x4xf32>) -> tensor<?x2x4xf32>
  %3 = mhc.slice %0 {first = 0 : i64} : (tensor<?x3x4xf32>) -> tensor<?x2x4xf32>
  %4 = mhc.concat %3, %2 : (tensor<?x2x4xf32>, tensor<?x2x4xf32>) -> tensor<?x4x4xf32>
  %5 = mhc.slice %0 {first = 2 : i64} : (tensor<?x3x4xf32>) -> tensor<?x1x4xf32>
  %6 = mhc.view %4 : (tensor<?x4x4xf32>) -> tensor<?x48xf32>
  %7 = mhc.view %5 : (tensor<?x1x4xf32>) -> tensor<?x12xf32>
  return %6, %7 : tensor<?x48xf32>, tensor<?x12xf32>
}
