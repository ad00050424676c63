// RUN: mhc-opt %s | mhc-opt | FileCheck %s

// CHECK-LABEL: mhc.kernel @pre
mhc.kernel @pre attributes {compute = f32, ints = [], segments = array<i64: 2, 1, 0>} {
^bb0(%x: memref<?x4x64xbf16>, %h: memref<?x4xf32>, %u: memref<?x64xbf16>):
  %0 = mhc.row.load row %x : memref<?x4x64xbf16> -> !mhc.wide<4x64xbf16>
  %1 = mhc.row.load row %h : memref<?x4xf32> -> !mhc.narrow<1x4xf32>
  %2 = mhc.row.mix %1, %0 : !mhc.narrow<1x4xf32>, !mhc.wide<4x64xbf16> -> !mhc.wide<1x64xf32>
  %3 = mhc.row.cast %2 : !mhc.wide<1x64xf32> -> !mhc.wide<1x64xbf16>
  mhc.row.store %3, %u : !mhc.wide<1x64xbf16>, memref<?x64xbf16>
}

// CHECK-LABEL: mhc.kernel @norm
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
    %c = arith.constant 1.562500e-02 : f32
    %e = arith.constant 1.000000e-06 : f32
    %m = arith.mulf %s, %c : f32
    %p = arith.addf %m, %e : f32
    %r = math.rsqrt %p : f32
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
