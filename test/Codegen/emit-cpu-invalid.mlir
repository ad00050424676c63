// RUN: mhc-opt %s -split-input-file -verify-diagnostics -mhc-emit-cpu -o /dev/null

// expected-error @below {{expected a schedule of family cpu (run mhc-schedule-kernels first)}}
mhc.kernel @unscheduled attributes {compute = f32, ints = [], segments = array<i64: 0, 0, 0>} {
^bb0:
}

// -----

// expected-error @below {{expected a tile that is a multiple of the vector, and blocks of 64 channels}}
mhc.kernel @tile attributes {compute = f32, ints = [], segments = array<i64: 0, 0, 0>, schedule = #mhc.schedule<"cpu", channel_block = 64, tile = 12, vector = 8>} {
^bb0:
}

// -----

// expected-error @below {{expected an int "S", which position accesses go by}}
mhc.kernel @position attributes {compute = f32, ints = [], segments = array<i64: 1, 1, 0>, schedule = #mhc.schedule<"cpu", channel_block = 64, tile = 16, vector = 8>} {
^bb0(%c: memref<?x8xf32>, %y: memref<?x8xf32>):
  mhc.phase wide {
    %0 = mhc.row.load position %c : memref<?x8xf32> -> !mhc.wide<1x8xf32>
    mhc.row.store %0, %y : !mhc.wide<1x8xf32>, memref<?x8xf32>
    mhc.row.yield
  }
}

// -----

// A branch on one token's value: tokens run together.
mhc.kernel @branch attributes {compute = f32, ints = [], segments = array<i64: 1, 1, 0>, schedule = #mhc.schedule<"cpu", channel_block = 64, tile = 16, vector = 8>} {
^bb0(%x: memref<?x1xf32>, %y: memref<?x1xf32>):
  mhc.phase narrow {
    %0 = mhc.row.load row %x : memref<?x1xf32> -> !mhc.narrow<1xf32>
    %1 = mhc.row.narrow %0 : !mhc.narrow<1xf32> -> !mhc.narrow<1xf32> {
    ^bb0(%a: f32):
      %z = arith.constant 0.0 : f32
      %c = arith.cmpf olt, %a, %z : f32
      // expected-error @below {{expected a condition that is the same for all tokens (mhc.row.any)}}
      %r = scf.if %c -> f32 {
        scf.yield %z : f32
      } else {
        scf.yield %a : f32
      }
      mhc.row.yield %r : f32
    }
    mhc.row.store %1, %y : !mhc.narrow<1xf32>, memref<?x1xf32>
    mhc.row.yield
  }
}

// -----

mhc.kernel @index attributes {compute = f32, ints = [], segments = array<i64: 1, 1, 0>, schedule = #mhc.schedule<"cpu", channel_block = 64, tile = 16, vector = 8>} {
^bb0(%x: memref<?x1xi32>, %y: memref<?x1xf32>):
  mhc.phase narrow {
    %0 = mhc.row.load row %x : memref<?x1xi32> -> !mhc.narrow<1xi32>
    %1 = mhc.row.narrow %0 : !mhc.narrow<1xi32> -> !mhc.narrow<1xf32> {
    ^bb0(%i: i32):
      %m = memref.alloca() : memref<4xf32>
      // expected-error @below {{expected an index that is the same for all tokens}}
      %j = arith.index_cast %i : i32 to index
      %r = memref.load %m[%j] : memref<4xf32>
      mhc.row.yield %r : f32
    }
    mhc.row.store %1, %y : !mhc.narrow<1xf32>, memref<?x1xf32>
    mhc.row.yield
  }
}

// -----

mhc.kernel @other attributes {compute = f32, ints = [], segments = array<i64: 1, 1, 0>, schedule = #mhc.schedule<"cpu", channel_block = 64, tile = 16, vector = 8>} {
^bb0(%x: memref<?x1xf32>, %y: memref<?x1xf32>):
  mhc.phase narrow {
    %0 = mhc.row.load row %x : memref<?x1xf32> -> !mhc.narrow<1xf32>
    %1 = mhc.row.narrow %0 : !mhc.narrow<1xf32> -> !mhc.narrow<1xf32> {
    ^bb0(%a: f32):
      // expected-error @below {{expected scalar arithmetic in a kernel's region}}
      %v = vector.broadcast %a : f32 to vector<2xf32>
      %r = vector.extract %v[0] : f32 from vector<2xf32>
      mhc.row.yield %r : f32
    }
    mhc.row.store %1, %y : !mhc.narrow<1xf32>, memref<?x1xf32>
    mhc.row.yield
  }
}

// -----

mhc.kernel @memory attributes {compute = f32, ints = [], segments = array<i64: 1, 1, 0>, schedule = #mhc.schedule<"cpu", channel_block = 64, tile = 16, vector = 8>} {
^bb0(%x: memref<?x1xf32>, %y: memref<?x1xf32>):
  mhc.phase narrow {
    %0 = mhc.row.load row %x : memref<?x1xf32> -> !mhc.narrow<1xf32>
    %1 = mhc.row.narrow %0 : !mhc.narrow<1xf32> -> !mhc.narrow<1xf32> {
    ^bb0(%a: f32):
      %n = arith.constant 4 : index
      // expected-error @below {{expected a static shape, but got 'memref<?xf32>'}}
      %m = memref.alloca(%n) : memref<?xf32>
      mhc.row.yield %a : f32
    }
    mhc.row.store %1, %y : !mhc.narrow<1xf32>, memref<?x1xf32>
    mhc.row.yield
  }
}

// -----

mhc.kernel @wide attributes {compute = f32, ints = [], segments = array<i64: 2, 1, 0>, schedule = #mhc.schedule<"cpu", channel_block = 64, tile = 16, vector = 8>} {
^bb0(%x: memref<?x64xf32>, %h: memref<?x1xf32>, %y: memref<?x64xf32>):
  %0 = mhc.phase narrow : !mhc.narrow<1xf32> {
    %1 = mhc.row.load row %h : memref<?x1xf32> -> !mhc.narrow<1xf32>
    mhc.row.yield %1 : !mhc.narrow<1xf32>
  }
  mhc.phase wide {
    %1 = mhc.row.load row %x : memref<?x64xf32> -> !mhc.wide<1x64xf32>
    // expected-error @below {{expected wide code in a wide phase}}
    %2 = mhc.row.cast %0 : !mhc.narrow<1xf32> -> !mhc.narrow<1xbf16>
    %3 = mhc.row.mix %2, %1 : !mhc.narrow<1xbf16>, !mhc.wide<1x64xf32> -> !mhc.wide<1x64xf32>
    mhc.row.store %3, %y : !mhc.wide<1x64xf32>, memref<?x64xf32>
    mhc.row.yield
  }
}

// -----

mhc.kernel @narrow attributes {compute = f32, ints = [], segments = array<i64: 1, 1, 0>, schedule = #mhc.schedule<"cpu", channel_block = 64, tile = 16, vector = 8>} {
^bb0(%x: memref<?x1xf32>, %y: memref<?x1xf32>):
  mhc.phase narrow {
    %0 = mhc.row.load row %x : memref<?x1xf32> -> !mhc.narrow<1xf32>
    // expected-error @below {{expected narrow code in a narrow phase}}
    %c = arith.constant 1.0 : f32
    mhc.row.store %0, %y : !mhc.narrow<1xf32>, memref<?x1xf32>
    mhc.row.yield
  }
}

// -----

mhc.kernel @select attributes {compute = f32, ints = [], segments = array<i64: 1, 1, 0>, schedule = #mhc.schedule<"cpu", channel_block = 64, tile = 16, vector = 8>} {
^bb0(%x: memref<?x1xf32>, %y: memref<?x1xf32>):
  mhc.phase narrow {
    %0 = mhc.row.load row %x : memref<?x1xf32> -> !mhc.narrow<1xf32>
    %1 = mhc.row.narrow %0 : !mhc.narrow<1xf32> -> !mhc.narrow<1xf32> {
    ^bb0(%a: f32):
      %i = arith.constant 0 : index
      %j = arith.constant 1 : index
      %c = arith.cmpf olt, %a, %a : f32
      // expected-error @below {{expected an index that is the same for all tokens}}
      %k = arith.select %c, %i, %j : index
      mhc.row.yield %a : f32
    }
    mhc.row.store %1, %y : !mhc.narrow<1xf32>, memref<?x1xf32>
    mhc.row.yield
  }
}
