// RUN: mhc-opt %s -mhc-schedule-kernels | FileCheck %s
// RUN: mhc-opt %s -mhc-schedule-kernels="family=simple tile=4 threads=128" | FileCheck %s --check-prefix=SIMPLE
// RUN: mhc-opt %s -mhc-schedule-kernels -mhc-schedule-kernels | FileCheck %s
// RUN: not mhc-opt %s -mhc-schedule-kernels=family=groups 2>&1 | FileCheck %s --check-prefix=FAMILY
// FAMILY: error: expected schedule family cpu, simple or group, but got groups

// The sum of squares must be known before the row is scaled: x is loaded twice. The parameter is no value of the tokens.
// CHECK-LABEL: mhc.kernel @norm
// CHECK-SAME: schedule = #mhc.schedule<"cpu", channel_block = 256, tile = 8, vector = 8>
// CHECK: %[[SUM:.*]] = mhc.phase{{ +}}wide : !mhc.narrow<1xf32>
// CHECK-NEXT: mhc.row.load{{ +}}row
// CHECK-NEXT: mhc.row.map
// CHECK: mhc.row.reduce{{ +}}add
// CHECK-NEXT: mhc.row.yield
// CHECK: %[[R:.*]] = mhc.phase{{ +}}narrow : !mhc.narrow<1xf32>
// CHECK-NEXT: mhc.row.narrow %[[SUM]]
// CHECK: mhc.phase{{ +}}wide {
// CHECK-DAG: mhc.row.load{{ +}}row
// CHECK-DAG: mhc.row.load{{ +}}uniform
// CHECK: mhc.row.map {{.*}}%[[R]]
// CHECK: mhc.row.store
// SIMPLE-LABEL: mhc.kernel @norm
// SIMPLE-SAME: schedule = #mhc.schedule<"simple", threads = 128, tile = 4>
mhc.kernel @norm attributes {compute = f32, ints = [], segments = array<i64: 2, 1, 0>} {
^bb0(%x: memref<?x64xbf16>, %g: memref<64xf32>, %y: memref<?x64xbf16>):
  %0 = mhc.row.load row %x : memref<?x64xbf16> -> !mhc.wide<1x64xbf16>
  %1 = mhc.row.map %0 : !mhc.wide<1x64xbf16> -> !mhc.wide<1x64xf32> {
  ^bb0(%a: f32):
    %s = arith.mulf %a, %a : f32
    mhc.row.yield %s : f32
  }
  %2 = mhc.row.reduce add %1 : !mhc.wide<1x64xf32> -> !mhc.narrow<1xf32>
  %3 = mhc.row.narrow %2 : !mhc.narrow<1xf32> -> !mhc.narrow<1xf32> {
  ^bb0(%s: f32):
    %r = math.rsqrt %s : f32
    mhc.row.yield %r : f32
  }
  %4 = mhc.row.load uniform %g : memref<64xf32> -> !mhc.wide<1x64xf32>
  %5 = mhc.row.map %0, %3, %4 : !mhc.wide<1x64xbf16>, !mhc.narrow<1xf32>, !mhc.wide<1x64xf32> -> !mhc.wide<1x64xf32> {
  ^bb0(%a: f32, %r: f32, %b: f32):
    %s = arith.mulf %a, %r : f32
    %t = arith.mulf %s, %b : f32
    mhc.row.yield %t : f32
  }
  %6 = mhc.row.cast %5 : !mhc.wide<1x64xf32> -> !mhc.wide<1x64xbf16>
  mhc.row.store %6, %y : !mhc.wide<1x64xbf16>, memref<?x64xbf16>
}

// A rounded value that the first phase stored is loaded again by the second; nobody mixes twice.
// CHECK-LABEL: mhc.kernel @stored
// CHECK: ^bb0(%{{.*}}, %{{.*}}, %[[OUT:[a-z0-9]+]]: memref<?x4x64xbf16>, %{{.*}}: memref<?x64xbf16>)
// CHECK: %[[H:.*]] = mhc.phase{{ +}}narrow : !mhc.narrow<4x4xf32>
// CHECK-NEXT: mhc.row.load
// CHECK: %[[Z:.*]] = mhc.phase{{ +}}wide : !mhc.narrow<4xf32>
// CHECK: mhc.row.mix %[[H]]
// CHECK: mhc.row.store %{{.*}}, %[[OUT]]
// CHECK: mhc.row.reduce
// CHECK: mhc.phase{{ +}}wide {
// CHECK-NEXT: %[[X:.*]] = mhc.row.load{{ +}}row %[[OUT]] : memref<?x4x64xbf16> -> !mhc.wide<4x64xbf16>
// CHECK-NEXT: mhc.row.mix %[[Z]], %[[X]]
// CHECK-NOT: mhc.row.mix
mhc.kernel @stored attributes {compute = f32, ints = [], segments = array<i64: 2, 2, 0>} {
^bb0(%x: memref<?x4x64xbf16>, %h: memref<?x16xf32>, %xo: memref<?x4x64xbf16>, %u: memref<?x64xbf16>):
  %0 = mhc.row.load row %x : memref<?x4x64xbf16> -> !mhc.wide<4x64xbf16>
  %1 = mhc.row.load row %h : memref<?x16xf32> -> !mhc.narrow<4x4xf32>
  %2 = mhc.row.mix %1, %0 : !mhc.narrow<4x4xf32>, !mhc.wide<4x64xbf16> -> !mhc.wide<4x64xf32>
  %3 = mhc.row.cast %2 : !mhc.wide<4x64xf32> -> !mhc.wide<4x64xbf16>
  mhc.row.store %3, %xo : !mhc.wide<4x64xbf16>, memref<?x4x64xbf16>
  %4 = mhc.row.reduce max %3 : !mhc.wide<4x64xbf16> -> !mhc.narrow<4xf32>
  %5 = mhc.row.mix %4, %3 : !mhc.narrow<4xf32>, !mhc.wide<4x64xbf16> -> !mhc.wide<1x64xf32>
  %6 = mhc.row.cast %5 : !mhc.wide<1x64xf32> -> !mhc.wide<1x64xbf16>
  mhc.row.store %6, %u : !mhc.wide<1x64xbf16>, memref<?x64xbf16>
}

// What was not stored is computed again: here the unrounded value, though the rounded one was stored. What nobody uses is dropped.
// CHECK-LABEL: mhc.kernel @again
// CHECK: mhc.phase{{ +}}wide : !mhc.narrow<2xf32>
// CHECK: mhc.row.mix
// CHECK: mhc.phase{{ +}}wide {
// CHECK: mhc.row.load{{ +}}row %arg0
// CHECK: mhc.row.mix
// CHECK: mhc.row.map
// CHECK-NOT: mhc.row.dot
mhc.kernel @again attributes {compute = f32, ints = [], segments = array<i64: 2, 2, 0>} {
^bb0(%x: memref<?x2x32xbf16>, %h: memref<4xf32>, %xo: memref<?x2x32xbf16>, %y: memref<?x2x32xf32>):
  %0 = mhc.row.load row %x : memref<?x2x32xbf16> -> !mhc.wide<2x32xbf16>
  %1 = mhc.row.load uniform %h : memref<4xf32> -> !mhc.narrow<2x2xf32>
  %2 = mhc.row.mix %1, %0 : !mhc.narrow<2x2xf32>, !mhc.wide<2x32xbf16> -> !mhc.wide<2x32xf32>
  %3 = mhc.row.cast %2 : !mhc.wide<2x32xf32> -> !mhc.wide<2x32xbf16>
  mhc.row.store %3, %xo : !mhc.wide<2x32xbf16>, memref<?x2x32xbf16>
  %4 = mhc.row.reduce add %2 : !mhc.wide<2x32xf32> -> !mhc.narrow<2xf32>
  %5 = mhc.row.dot %2, %0 : !mhc.wide<2x32xf32>, !mhc.wide<2x32xbf16> -> !mhc.narrow<2x2xf32>
  %6 = mhc.row.map %2, %4 : !mhc.wide<2x32xf32>, !mhc.narrow<2xf32> -> !mhc.wide<2x32xf32> {
  ^bb0(%a: f32, %s: f32):
    %t = arith.divf %a, %s : f32
    mhc.row.yield %t : f32
  }
  mhc.row.store %6, %y : !mhc.wide<2x32xf32>, memref<?x2x32xf32>
}

// Rows of different lengths cannot share a loop over channels.
// CHECK-LABEL: mhc.kernel @lengths
// CHECK-SAME: channel_block = 256
// CHECK: mhc.phase{{ +}}wide : !mhc.narrow<1xf32>
// CHECK: !mhc.wide<1x64xf32>
// CHECK: mhc.phase{{ +}}wide : !mhc.narrow<2xf64>
// CHECK: !mhc.wide<2x8xf32>
// CHECK: mhc.phase{{ +}}narrow {
mhc.kernel @lengths attributes {compute = f64, ints = [], segments = array<i64: 2, 0, 1>} {
^bb0(%x: memref<?x64xf32>, %y: memref<?x2x8xf32>, %s: memref<2xf64>):
  %0 = mhc.row.load row %x : memref<?x64xf32> -> !mhc.wide<1x64xf32>
  %1 = mhc.row.load row %y : memref<?x2x8xf32> -> !mhc.wide<2x8xf32>
  %2 = mhc.row.reduce max %0 : !mhc.wide<1x64xf32> -> !mhc.narrow<1xf32>
  %3 = mhc.row.reduce max %1 : !mhc.wide<2x8xf32> -> !mhc.narrow<2xf64>
  %4 = mhc.row.narrow %2, %3 : !mhc.narrow<1xf32>, !mhc.narrow<2xf64> -> !mhc.narrow<2xf64> {
  ^bb0(%a: f64, %b: f64, %c: f64):
    %d = arith.addf %a, %b : f64
    mhc.row.yield %d, %c : f64, f64
  }
  mhc.row.sum_tokens %4, %s : !mhc.narrow<2xf64>, memref<2xf64>
}

// A gather waits for its index.
// CHECK-LABEL: mhc.kernel @gather
// CHECK: %[[I:.*]] = mhc.phase{{ +}}narrow : !mhc.narrow<1xi32>
// CHECK: mhc.phase{{ +}}wide {
// CHECK: mhc.row.load{{ +}}gather %{{[a-z0-9]+}}[%[[I]]
mhc.kernel @gather attributes {compute = f32, ints = [], segments = array<i64: 2, 1, 0>} {
^bb0(%t: memref<100x64xf32>, %i: memref<?xi32>, %y: memref<?x64xf32>):
  %0 = mhc.row.load row %i : memref<?xi32> -> !mhc.narrow<1xi32>
  %1 = mhc.row.load gather %t[%0 : !mhc.narrow<1xi32>] : memref<100x64xf32> -> !mhc.wide<1x64xf32>
  mhc.row.store %1, %y : !mhc.wide<1x64xf32>, memref<?x64xf32>
}
