// RUN: mhc-opt %s -split-input-file -verify-diagnostics -mhc-emit-simple -o /dev/null

// expected-error @below {{expected a schedule of family simple or group (run mhc-schedule-kernels first)}}
mhc.kernel @unscheduled attributes {compute = f32, ints = [], segments = array<i64: 0, 0, 0>} {
^bb0:
}

// -----

// expected-error @below {{expected a schedule of family simple or group (run mhc-schedule-kernels first)}}
mhc.kernel @family attributes {compute = f32, ints = [], segments = array<i64: 0, 0, 0>, schedule = #mhc.schedule<"cpu", channel_block = 64, tile = 16, vector = 8>} {
^bb0:
}

// -----

// expected-error @below {{expected compute type f32, but got 'f64' (GPU kernels have no other)}}
mhc.kernel @compute attributes {compute = f64, ints = [], segments = array<i64: 0, 0, 0>, schedule = #mhc.schedule<"simple", threads = 256, tile = 8>} {
^bb0:
}

// -----

// expected-error @below {{expected powers of two, 32 to 1024 threads and a tile of at most as many tokens, but got #mhc.schedule<"simple", threads = 256, tile = 12>}}
mhc.kernel @tile attributes {compute = f32, ints = [], segments = array<i64: 0, 0, 0>, schedule = #mhc.schedule<"simple", threads = 256, tile = 12>} {
^bb0:
}

// -----

// expected-error @below {{expected powers of two, 32 to 1024 threads and a tile of at most as many tokens, but got #mhc.schedule<"simple", threads = 96, tile = 8>}}
mhc.kernel @threads attributes {compute = f32, ints = [], segments = array<i64: 0, 0, 0>, schedule = #mhc.schedule<"simple", threads = 96, tile = 8>} {
^bb0:
}

// -----

// expected-error @below {{expected powers of two, 32 to 1024 threads and a tile of at most as many tokens, but got #mhc.schedule<"simple", threads = 16, tile = 8>}}
mhc.kernel @few attributes {compute = f32, ints = [], segments = array<i64: 0, 0, 0>, schedule = #mhc.schedule<"simple", threads = 16, tile = 8>} {
^bb0:
}

// -----

// expected-error @below {{expected powers of two, 32 to 1024 threads and a tile of at most as many tokens, but got #mhc.schedule<"simple", threads = 2048, tile = 8>}}
mhc.kernel @many attributes {compute = f32, ints = [], segments = array<i64: 0, 0, 0>, schedule = #mhc.schedule<"simple", threads = 2048, tile = 8>} {
^bb0:
}

// -----

// expected-error @below {{expected powers of two, 32 to 1024 threads and a tile of at most as many tokens, but got #mhc.schedule<"simple", threads = 32, tile = 64>}}
mhc.kernel @tokens attributes {compute = f32, ints = [], segments = array<i64: 0, 0, 0>, schedule = #mhc.schedule<"simple", threads = 32, tile = 64>} {
^bb0:
}

// -----

// expected-error @below {{expected memory of f32, bf16 or i32 in a GPU kernel, but got 'memref<?x8xf64>'}}
mhc.kernel @memory attributes {compute = f32, ints = [], segments = array<i64: 1, 0, 0>, schedule = #mhc.schedule<"simple", threads = 256, tile = 8>} {
^bb0(%x: memref<?x8xf64>):
}

// -----

mhc.kernel @position attributes {compute = f32, ints = [], segments = array<i64: 1, 1, 0>, schedule = #mhc.schedule<"simple", threads = 256, tile = 8>} {
^bb0(%c: memref<?x8xf32>, %y: memref<?x8xf32>):
  mhc.phase wide {
    // expected-error @below {{expected an int "S" of the kernel, which its accesses go by}}
    %0 = mhc.row.load position %c : memref<?x8xf32> -> !mhc.wide<1x8xf32>
    mhc.row.store %0, %y : !mhc.wide<1x8xf32>, memref<?x8xf32>
    mhc.row.yield
  }
}

// -----

mhc.kernel @parameter attributes {compute = f32, ints = [], segments = array<i64: 2, 0, 0>, schedule = #mhc.schedule<"simple", threads = 256, tile = 8>} {
^bb0(%x: memref<?x64xf32>, %w: memref<64x2xbf16>):
  %0 = mhc.phase wide : !mhc.narrow<2xbf16> {
    %1 = mhc.row.load row %x : memref<?x64xf32> -> !mhc.wide<1x64xf32>
    // expected-error @below {{expected a parameter of f32, but got 'memref<64x2xbf16>'}}
    %2 = mhc.row.project %1, %w : !mhc.wide<1x64xf32>, memref<64x2xbf16> -> !mhc.narrow<2xbf16>
    mhc.row.yield %2 : !mhc.narrow<2xbf16>
  }
}

// -----

mhc.kernel @parameter_t attributes {compute = f32, ints = [], segments = array<i64: 2, 1, 0>, schedule = #mhc.schedule<"simple", threads = 256, tile = 8>} {
^bb0(%h: memref<?x2xbf16>, %w: memref<64x2xbf16>, %y: memref<?x64xf32>):
  %0 = mhc.phase narrow : !mhc.narrow<2xbf16> {
    %1 = mhc.row.load row %h : memref<?x2xbf16> -> !mhc.narrow<2xbf16>
    mhc.row.yield %1 : !mhc.narrow<2xbf16>
  }
  mhc.phase wide {
    // expected-error @below {{expected a parameter of f32, but got 'memref<64x2xbf16>'}}
    %1 = mhc.row.project_t %0, %w : !mhc.narrow<2xbf16>, memref<64x2xbf16> -> !mhc.wide<1x64xf32>
    mhc.row.store %1, %y : !mhc.wide<1x64xf32>, memref<?x64xf32>
    mhc.row.yield
  }
}

// -----

// expected-error @below {{expected at most 163840 bytes of narrow values for a tile of 64 tokens, but got 262144}}
mhc.kernel @shared attributes {compute = f32, ints = [], segments = array<i64: 2, 0, 0>, schedule = #mhc.schedule<"simple", threads = 256, tile = 64>} {
^bb0(%h: memref<?x1024xf32>, %y: memref<?x64xf32>):
  %0 = mhc.phase narrow : !mhc.narrow<1024xf32> {
    %1 = mhc.row.load row %h : memref<?x1024xf32> -> !mhc.narrow<1024xf32>
    mhc.row.yield %1 : !mhc.narrow<1024xf32>
  }
}

// -----

mhc.kernel @channels attributes {compute = f32, ints = [], segments = array<i64: 1, 1, 0>, schedule = #mhc.schedule<"simple", threads = 256, tile = 8>} {
^bb0(%x: memref<?x16777217xbf16>, %y: memref<?x16777217xbf16>):
  // expected-error @below {{expected at most 2^24 channels, but got 16777217}}
  mhc.phase wide {
    %0 = mhc.row.load row %x : memref<?x16777217xbf16> -> !mhc.wide<1x16777217xbf16>
    mhc.row.store %0, %y : !mhc.wide<1x16777217xbf16>, memref<?x16777217xbf16>
    mhc.row.yield
  }
}

// -----

mhc.kernel @sum attributes {compute = f32, ints = [], segments = array<i64: 1, 0, 1>, schedule = #mhc.schedule<"simple", threads = 256, tile = 8>} {
^bb0(%h: memref<2xf32>, %s: memref<2xf32>):
  %0 = mhc.phase narrow : !mhc.narrow<2xf32> {
    %1 = mhc.row.load uniform %h : memref<2xf32> -> !mhc.narrow<2xf32>
    mhc.row.yield %1 : !mhc.narrow<2xf32>
  }
  mhc.phase narrow {
    // expected-error @below {{expected a value of each token, but got a parameter}}
    mhc.row.sum_tokens %0, %s : !mhc.narrow<2xf32>, memref<2xf32>
    mhc.row.yield
  }
}

// -----

mhc.kernel @other attributes {compute = f32, ints = [], segments = array<i64: 1, 1, 0>, schedule = #mhc.schedule<"simple", threads = 256, tile = 8>} {
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

mhc.kernel @memory attributes {compute = f32, ints = [], segments = array<i64: 1, 1, 0>, schedule = #mhc.schedule<"simple", threads = 256, tile = 8>} {
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

mhc.kernel @wide attributes {compute = f32, ints = [], segments = array<i64: 2, 1, 0>, schedule = #mhc.schedule<"simple", threads = 256, tile = 8>} {
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

mhc.kernel @narrow attributes {compute = f32, ints = [], segments = array<i64: 1, 1, 0>, schedule = #mhc.schedule<"simple", threads = 256, tile = 8>} {
^bb0(%x: memref<?x1xf32>, %y: memref<?x1xf32>):
  mhc.phase narrow {
    %0 = mhc.row.load row %x : memref<?x1xf32> -> !mhc.narrow<1xf32>
    // expected-error @below {{expected narrow code in a narrow phase}}
    %c = arith.constant 1.0 : f32
    mhc.row.store %0, %y : !mhc.narrow<1xf32>, memref<?x1xf32>
    mhc.row.yield
  }
}
