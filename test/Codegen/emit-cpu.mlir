// RUN: mhc-opt %s -mhc-schedule-kernels -mhc-emit-cpu -canonicalize | FileCheck %s
// RUN: mhc-opt %s -mhc-schedule-kernels -mhc-emit-cpu -canonicalize | FileCheck %s --check-prefix=NONE --implicit-check-not=mhc.row --implicit-check-not=mhc.kernel
// RUN: mhc-opt %s -mhc-schedule-kernels -mhc-emit-cpu -mhc-host-lowering -mhc-write-host="emit=object output=%t.o" -o /dev/null
// RUN: llvm-nm %t.o | FileCheck %s --check-prefix=SYMBOLS
// SYMBOLS-NOT: U {{[^m]}}
// SYMBOLS-DAG: T combine
// SYMBOLS-DAG: T mhc_sum_partials_f32
// SYMBOLS-DAG: T mhc_sum_partials_f64
// SYMBOLS-DAG: T sums
// NONE: module

// Combine: first h f, then each stream by fma; then rounding to nearest even, ties to even, NaN stays NaN.
// CHECK-LABEL: llvm.func @combine(
// CHECK-SAME: %[[ARGS:.*]]: !llvm.ptr, %[[INTS:.*]]: !llvm.ptr, %[[BEGIN:.*]]: i64, %[[END:.*]]: i64, %{{.*}}: i64)
// CHECK: scf.for %{{.*}} = %[[BEGIN]] to %[[END]] step %c8_i64
// CHECK: scf.for
// CHECK: vector.shuffle {{.*}} : vector<32xi8>, vector<32xi8>
// CHECK: %[[P0:.*]] = arith.mulf %{{.*}} : vector<8xf32>
// CHECK: %[[P1:.*]] = arith.mulf %{{.*}} : vector<8xf32>
// CHECK: %[[Q0:.*]] = math.fma %{{.*}}, %{{.*}}, %[[P0]] : vector<8xf32>
// CHECK: %[[Q1:.*]] = math.fma %{{.*}}, %{{.*}}, %[[P1]] : vector<8xf32>
// CHECK: math.fma %{{.*}}, %{{.*}}, %[[Q0]] : vector<8xf32>
// CHECK: math.fma %{{.*}}, %{{.*}}, %[[Q1]] : vector<8xf32>
// CHECK: arith.cmpf uno
// CHECK: llvm.store %{{.*}} {alignment = 2 : i64} : vector<8xi16>, !llvm.ptr
// What is left of 100 channels, one at a time.
// CHECK: arith.mulf %{{.*}} : f32
// CHECK: llvm.store %{{.*}} {alignment = 2 : i64} : i16, !llvm.ptr
mhc.kernel @combine attributes {compute = f32, ints = [], segments = array<i64: 4, 1, 0>} {
^bb0(%x: memref<?x2x100xbf16>, %f: memref<?x100xbf16>, %h: memref<?x4xf32>, %p: memref<?x2xf32>, %y: memref<?x2x100xbf16>):
  %0 = mhc.row.load row %x : memref<?x2x100xbf16> -> !mhc.wide<2x100xbf16>
  %1 = mhc.row.load row %f : memref<?x100xbf16> -> !mhc.wide<1x100xbf16>
  %2 = mhc.row.load row %h : memref<?x4xf32> -> !mhc.narrow<2x2xf32>
  %3 = mhc.row.load row %p : memref<?x2xf32> -> !mhc.narrow<2x1xf32>
  %4 = mhc.row.mix %3, %1 : !mhc.narrow<2x1xf32>, !mhc.wide<1x100xbf16> -> !mhc.wide<2x100xf32>
  %5 = mhc.row.mix %2, %0 init %4 : !mhc.wide<2x100xf32> : !mhc.narrow<2x2xf32>, !mhc.wide<2x100xbf16> -> !mhc.wide<2x100xf32>
  %6 = mhc.row.cast %5 : !mhc.wide<2x100xf32> -> !mhc.wide<2x100xbf16>
  mhc.row.store %6, %y : !mhc.wide<2x100xbf16>, memref<?x2x100xbf16>
}

// The kernel clears its own slice of the partials before all else, and takes tokens in order. Eight tokens a vector in narrow code, and math as it stands.
// CHECK-LABEL: llvm.func @sums(
// CHECK-SAME: %[[PARTIAL:[a-z0-9]+]]: i64)
// CHECK: arith.muli %[[PARTIAL]], %c{{[0-9]+}}_i64
// CHECK: llvm.store %{{.*}} : vector<8xf32>, !llvm.ptr
// CHECK: scf.for
// CHECK: math.exp %{{.*}} : vector<8xf32>
// CHECK: scf.for {{.*}} iter_args
// CHECK: arith.addf %{{.*}} : f32
// CHECK: llvm.intr.prefetch
mhc.kernel @sums attributes {compute = f32, ints = [], segments = array<i64: 2, 0, 2>} {
^bb0(%x: memref<?x2x128xf32>, %z: memref<?x8xf32>, %s: memref<8xf32>, %w: memref<256x8xf32>):
  %0 = mhc.row.load row %z : memref<?x8xf32> -> !mhc.narrow<8xf32>
  %1 = mhc.row.narrow %0 : !mhc.narrow<8xf32> -> !mhc.narrow<8xf32> {
  ^bb0(%a: f32, %b: f32, %c: f32, %d: f32, %e: f32, %f: f32, %g: f32, %h: f32):
    %i = math.exp %a : f32
    mhc.row.yield %i, %b, %c, %d, %e, %f, %g, %h : f32, f32, f32, f32, f32, f32, f32, f32
  }
  mhc.row.sum_tokens %1, %s : !mhc.narrow<8xf32>, memref<8xf32>
  %2 = mhc.row.load row %x : memref<?x2x128xf32> -> !mhc.wide<2x128xf32>
  mhc.row.outer_tokens %2, %1, %w : !mhc.wide<2x128xf32>, !mhc.narrow<8xf32>, memref<256x8xf32>
}

// CHECK-LABEL: llvm.func @mhc_sum_partials_f32(
// CHECK-LABEL: llvm.func @mhc_sum_partials_f64(
