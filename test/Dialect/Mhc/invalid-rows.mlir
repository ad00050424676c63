// RUN: mhc-opt %s -split-input-file -verify-diagnostics

// Kernels and primitives in the order of MhcRowOps.td.

// expected-error @+1 {{expected three segments that add up to 2 arguments}}
mhc.kernel @kernel_c1 attributes {compute = f32, ints = [], segments = array<i64: 1, 2, 0>} {
^bb0(%x: memref<?x2x8xf32>, %y: memref<?x8xf32>):
}

// -----

// expected-error @+1 {{expected three segments that add up to 2 arguments}}
mhc.kernel @kernel_c1_count attributes {compute = f32, ints = [], segments = array<i64: 1, 1>} {
^bb0(%x: memref<?x2x8xf32>, %y: memref<?x8xf32>):
}

// -----

// expected-error @+1 {{expected compute type f32 or f64, but got 'bf16'}}
mhc.kernel @kernel_compute attributes {compute = bf16, ints = [], segments = array<i64: 0, 0, 0>} {
^bb0:
}

// -----

// expected-error @+1 {{expected argument 0 to be a memref, dynamic in its first dimension at most, but got 'f32'}}
mhc.kernel @kernel_c2_type attributes {compute = f32, ints = [], segments = array<i64: 1, 0, 0>} {
^bb0(%x: f32):
}

// -----

// expected-error @+1 {{expected argument 1 to be a memref, dynamic in its first dimension at most, but got 'memref<?x?xf32>'}}
mhc.kernel @kernel_c2_dynamic attributes {compute = f32, ints = [], segments = array<i64: 2, 0, 0>} {
^bb0(%x: memref<?x2x8xf32>, %h: memref<?x?xf32>):
}

// -----

// expected-error @+1 {{expected argument 0 to be a memref, dynamic in its first dimension at most, but got 'memref<?x8xf32, strided<[16, 1]>>'}}
mhc.kernel @kernel_c2_layout attributes {compute = f32, ints = [], segments = array<i64: 1, 0, 0>} {
^bb0(%x: memref<?x8xf32, strided<[16, 1]>>):
}

// -----

// expected-error @+1 {{expected argument 0 to be a memref, dynamic in its first dimension at most, but got 'memref<f32>'}}
mhc.kernel @kernel_c2_rank attributes {compute = f32, ints = [], segments = array<i64: 1, 0, 0>} {
^bb0(%x: memref<f32>):
}

// -----

// expected-error @+1 {{expected reduction 1 of static shape and type 'f32', but got 'memref<?x8xf32>'}}
mhc.kernel @kernel_c3_shape attributes {compute = f32, ints = [], segments = array<i64: 1, 0, 1>} {
^bb0(%x: memref<?x2x8xf32>, %y: memref<?x8xf32>):
}

// -----

// expected-error @+1 {{expected reduction 0 of static shape and type 'f64', but got 'memref<8xf32>'}}
mhc.kernel @kernel_c3_type attributes {compute = f64, ints = [], segments = array<i64: 0, 0, 1>} {
^bb0(%s: memref<8xf32>):
}

// -----

// expected-error @+1 {{expected argument 0 to be a memref, dynamic in its first dimension at most, but got 'memref<?x0xf32>'}}
mhc.kernel @kernel_c2_empty attributes {compute = f32, ints = [], segments = array<i64: 1, 0, 0>} {
^bb0(%x: memref<?x0xf32>):
}

// -----

// expected-error @+1 {{expected a scheduled kernel to be made of phases}}
mhc.kernel @kernel_c4 attributes {compute = f32, ints = [], segments = array<i64: 1, 1, 0>, schedule = #mhc.schedule<"simple", threads = 256, tile = 8>} {
^bb0(%x: memref<?x8xf32>, %y: memref<?x8xf32>):
  %0 = mhc.row.load row %x : memref<?x8xf32> -> !mhc.wide<1x8xf32>
  mhc.row.store %0, %y : !mhc.wide<1x8xf32>, memref<?x8xf32>
}

// -----

// expected-error @+1 {{expected a schedule of at least one token, but got #mhc.schedule<"cpu", channel_block = 64, tile = 0, vector = 8>}}
mhc.kernel @kernel_schedule attributes {compute = f32, ints = [], segments = array<i64: 0, 0, 0>, schedule = #mhc.schedule<"cpu", channel_block = 64, tile = 0, vector = 8>} {
^bb0:
}

// -----

func.func @memory_layout(%x: memref<?x8xf32, strided<[16, 1]>>) {
  // expected-error @+1 {{operand #0 must be memref with identity layout and positive sizes, dynamic in its first dimension at most}}
  %0 = mhc.row.load row %x : memref<?x8xf32, strided<[16, 1]>> -> !mhc.wide<1x8xf32>
  return
}

// -----

func.func @memory_empty(%x: memref<?x0xf32>) {
  // expected-error @+1 {{operand #0 must be memref with identity layout and positive sizes, dynamic in its first dimension at most}}
  %0 = mhc.row.load row %x : memref<?x0xf32> -> !mhc.wide<1x8xf32>
  return
}

// -----

func.func @memory_rank(%x: memref<f32>) {
  // expected-error @+1 {{operand #0 must be memref with identity layout and positive sizes, dynamic in its first dimension at most}}
  %0 = mhc.row.load uniform %x : memref<f32> -> !mhc.narrow<1xf32>
  return
}

// -----

func.func @memory_dynamic(%x: memref<?x8xf32>, %w: memref<?x?xf32>) {
  %0 = mhc.row.load row %x : memref<?x8xf32> -> !mhc.wide<1x8xf32>
  // expected-error @+1 {{operand #1 must be memref with identity layout and positive sizes, dynamic in its first dimension at most}}
  %1 = mhc.row.project %0, %w : !mhc.wide<1x8xf32>, memref<?x?xf32> -> !mhc.narrow<2xf32>
  return
}

// -----

mhc.kernel @load_c1 attributes {compute = f32, ints = [], segments = array<i64: 1, 0, 0>} {
^bb0(%x: memref<?x2x8xf32>):
  // expected-error @+1 {{expected 16 elements, but got '!mhc.wide<2x4xf32>'}}
  %0 = mhc.row.load row %x : memref<?x2x8xf32> -> !mhc.wide<2x4xf32>
}

// -----

mhc.kernel @load_c1_gather attributes {compute = f32, ints = [], segments = array<i64: 2, 0, 0>} {
^bb0(%i: memref<?xi32>, %t: memref<5x8xf32>):
  %0 = mhc.row.load row %i : memref<?xi32> -> !mhc.narrow<1xi32>
  // expected-error @+1 {{expected 8 elements, but got '!mhc.narrow<40xf32>'}}
  %1 = mhc.row.load gather %t[%0 : !mhc.narrow<1xi32>] : memref<5x8xf32> -> !mhc.narrow<40xf32>
}

// -----

mhc.kernel @load_c2 attributes {compute = f32, ints = [], segments = array<i64: 1, 0, 0>} {
^bb0(%t: memref<?x8xf32>):
  // expected-error @+1 {{expected an index with gather, and with gather alone}}
  %0 = mhc.row.load gather %t : memref<?x8xf32> -> !mhc.wide<1x8xf32>
}

// -----

mhc.kernel @load_c2_row attributes {compute = f32, ints = [], segments = array<i64: 2, 0, 0>} {
^bb0(%i: memref<?xi32>, %y: memref<?x8xf32>):
  %0 = mhc.row.load row %i : memref<?xi32> -> !mhc.narrow<1xi32>
  // expected-error @+1 {{expected an index with gather, and with gather alone}}
  %1 = mhc.row.load row %y[%0 : !mhc.narrow<1xi32>] : memref<?x8xf32> -> !mhc.wide<1x8xf32>
}

// -----

mhc.kernel @load_row attributes {compute = f32, ints = [], segments = array<i64: 1, 0, 0>} {
^bb0(%p: memref<2x8xf32>):
  // expected-error @+1 {{expected an argument with rows, but got 'memref<2x8xf32>'}}
  %0 = mhc.row.load row %p : memref<2x8xf32> -> !mhc.wide<2x8xf32>
}

// -----

mhc.kernel @load_uniform attributes {compute = f32, ints = [], segments = array<i64: 1, 0, 0>} {
^bb0(%x: memref<?x2x8xf32>):
  // expected-error @+1 {{expected a parameter of static shape, but got 'memref<?x2x8xf32>'}}
  %0 = mhc.row.load uniform %x : memref<?x2x8xf32> -> !mhc.wide<2x8xf32>
}

// -----

mhc.kernel @load_element attributes {compute = f32, ints = [], segments = array<i64: 1, 0, 0>} {
^bb0(%x: memref<?x2x8xf32>):
  // expected-error @+1 {{expected element type 'f32', but got '!mhc.wide<2x8xbf16>'}}
  %0 = mhc.row.load row %x : memref<?x2x8xf32> -> !mhc.wide<2x8xbf16>
}

// -----

mhc.kernel @store_c1 attributes {compute = f32, ints = [], segments = array<i64: 1, 1, 0>} {
^bb0(%x: memref<?x2x8xf32>, %o: memref<?x2x8xbf16>):
  %0 = mhc.row.load row %x : memref<?x2x8xf32> -> !mhc.wide<2x8xf32>
  // expected-error @+1 {{expected element type 'bf16', but got '!mhc.wide<2x8xf32>'}}
  mhc.row.store %0, %o : !mhc.wide<2x8xf32>, memref<?x2x8xbf16>
}

// -----

mhc.kernel @store_c2 attributes {compute = f32, ints = [], segments = array<i64: 1, 1, 0>} {
^bb0(%x: memref<?x2x8xf32>, %y: memref<?x8xf32>):
  %0 = mhc.row.load row %x : memref<?x2x8xf32> -> !mhc.wide<2x8xf32>
  // expected-error @+1 {{expected 8 elements, but got '!mhc.wide<2x8xf32>'}}
  mhc.row.store %0, %y : !mhc.wide<2x8xf32>, memref<?x8xf32>
}

// -----

mhc.kernel @cast_c1 attributes {compute = f32, ints = [], segments = array<i64: 1, 0, 0>} {
^bb0(%x: memref<?x2x8xf32>):
  %0 = mhc.row.load row %x : memref<?x2x8xf32> -> !mhc.wide<2x8xf32>
  // expected-error @+1 {{expected the shape to stay, but got '!mhc.wide<2x8xf32>' and '!mhc.wide<1x16xbf16>'}}
  %1 = mhc.row.cast %0 : !mhc.wide<2x8xf32> -> !mhc.wide<1x16xbf16>
}

// -----

mhc.kernel @cast_c1_kind attributes {compute = f32, ints = [], segments = array<i64: 1, 0, 0>} {
^bb0(%x: memref<?x8xf32>):
  %0 = mhc.row.load row %x : memref<?x8xf32> -> !mhc.wide<1x8xf32>
  // expected-error @+1 {{expected the shape to stay, but got '!mhc.wide<1x8xf32>' and '!mhc.narrow<8xbf16>'}}
  %1 = mhc.row.cast %0 : !mhc.wide<1x8xf32> -> !mhc.narrow<8xbf16>
}

// -----

mhc.kernel @map_arguments attributes {compute = f32, ints = [], segments = array<i64: 2, 0, 0>} {
^bb0(%x: memref<?x2x8xf32>, %y: memref<?x8xf32>):
  %0 = mhc.row.load row %x : memref<?x2x8xf32> -> !mhc.wide<2x8xf32>
  %1 = mhc.row.load row %y : memref<?x8xf32> -> !mhc.wide<1x8xf32>
  // expected-error @+1 {{expected one region argument for each operand}}
  %3 = mhc.row.map %0, %1 : !mhc.wide<2x8xf32>, !mhc.wide<1x8xf32> -> !mhc.wide<2x8xf32> {
  ^bb0(%a: f32):
    mhc.row.yield %a : f32
  }
}

// -----

mhc.kernel @map_scalar attributes {compute = f32, ints = [], segments = array<i64: 1, 0, 0>} {
^bb0(%x: memref<?x2x8xf32>):
  %0 = mhc.row.load row %x : memref<?x2x8xf32> -> !mhc.wide<2x8xf32>
  // expected-error @+1 {{expected a scalar of '!mhc.wide<2x8xf32>', but got 'i32'}}
  %1 = mhc.row.map %0 : !mhc.wide<2x8xf32> -> !mhc.wide<2x8xf32> {
  ^bb0(%a: i32):
    %b = arith.sitofp %a : i32 to f32
    mhc.row.yield %b : f32
  }
}

// -----

mhc.kernel @map_yield attributes {compute = f32, ints = [], segments = array<i64: 1, 0, 0>} {
^bb0(%x: memref<?x2x8xf32>):
  %0 = mhc.row.load row %x : memref<?x2x8xf32> -> !mhc.wide<2x8xf32>
  // expected-error @+1 {{expected the region to yield one floating-point scalar}}
  %1 = mhc.row.map %0 : !mhc.wide<2x8xf32> -> !mhc.wide<2x8xf32> {
  ^bb0(%a: f32):
    mhc.row.yield
  }
}

// -----

mhc.kernel @map_streams attributes {compute = f32, ints = [], segments = array<i64: 1, 0, 0>} {
^bb0(%x: memref<?x2x8xf32>):
  %0 = mhc.row.load row %x : memref<?x2x8xf32> -> !mhc.wide<2x8xf32>
  // expected-error @+1 {{expected an operand of '!mhc.wide<3x8xf32>''s shape or of one stream, but got '!mhc.wide<2x8xf32>'}}
  %3 = mhc.row.map %0 : !mhc.wide<2x8xf32> -> !mhc.wide<3x8xf32> {
  ^bb0(%a: f32):
    mhc.row.yield %a : f32
  }
}

// -----

mhc.kernel @map_channels attributes {compute = f32, ints = [], segments = array<i64: 1, 0, 0>} {
^bb0(%x: memref<?x2x8xf32>):
  %0 = mhc.row.load row %x : memref<?x2x8xf32> -> !mhc.wide<2x8xf32>
  // expected-error @+1 {{expected an operand of '!mhc.wide<2x4xf32>''s shape or of one stream, but got '!mhc.wide<2x8xf32>'}}
  %3 = mhc.row.map %0 : !mhc.wide<2x8xf32> -> !mhc.wide<2x4xf32> {
  ^bb0(%a: f32):
    mhc.row.yield %a : f32
  }
}

// -----

mhc.kernel @map_narrow attributes {compute = f32, ints = [], segments = array<i64: 2, 0, 0>} {
^bb0(%y: memref<?x8xf32>, %z: memref<?x2xf32>):
  %1 = mhc.row.load row %y : memref<?x8xf32> -> !mhc.wide<1x8xf32>
  %2 = mhc.row.load row %z : memref<?x2xf32> -> !mhc.narrow<2xf32>
  // expected-error @+1 {{expected one scalar, or one for each stream, but got '!mhc.narrow<2xf32>'}}
  %3 = mhc.row.map %1, %2 : !mhc.wide<1x8xf32>, !mhc.narrow<2xf32> -> !mhc.wide<1x8xf32> {
  ^bb0(%a: f32, %b: f32):
    mhc.row.yield %a : f32
  }
}

// -----

mhc.kernel @mix_matrix attributes {compute = f32, ints = [], segments = array<i64: 2, 0, 0>} {
^bb0(%x: memref<?x2x8xf32>, %z: memref<?x2xf32>):
  %0 = mhc.row.load row %x : memref<?x2x8xf32> -> !mhc.wide<2x8xf32>
  %2 = mhc.row.load row %z : memref<?x2xf32> -> !mhc.narrow<2xf32>
  // expected-error @+1 {{expected a matrix of 4 elements, but got '!mhc.narrow<2xf32>'}}
  %3 = mhc.row.mix %2, %0 : !mhc.narrow<2xf32>, !mhc.wide<2x8xf32> -> !mhc.wide<2x8xf32>
}

// -----

mhc.kernel @mix_channels attributes {compute = f32, ints = [], segments = array<i64: 2, 0, 0>} {
^bb0(%x: memref<?x2x8xf32>, %z: memref<?x2xf32>):
  %0 = mhc.row.load row %x : memref<?x2x8xf32> -> !mhc.wide<2x8xf32>
  %2 = mhc.row.load row %z : memref<?x2xf32> -> !mhc.narrow<2xf32>
  // expected-error @+1 {{expected as many channels in as out}}
  %3 = mhc.row.mix %2, %0 : !mhc.narrow<2xf32>, !mhc.wide<2x8xf32> -> !mhc.wide<1x4xf32>
}

// -----

mhc.kernel @mix_init attributes {compute = f32, ints = [], segments = array<i64: 2, 0, 0>} {
^bb0(%x: memref<?x2x8xf32>, %z: memref<?x2xf32>):
  %0 = mhc.row.load row %x : memref<?x2x8xf32> -> !mhc.wide<2x8xf32>
  %2 = mhc.row.load row %z : memref<?x2xf32> -> !mhc.narrow<2xf32>
  // expected-error @+1 {{expected init of the result's shape, but got '!mhc.wide<2x8xf32>'}}
  %3 = mhc.row.mix %2, %0 init %0 : !mhc.wide<2x8xf32> : !mhc.narrow<2xf32>, !mhc.wide<2x8xf32> -> !mhc.wide<1x8xf32>
}

// -----

mhc.kernel @dot_channels attributes {compute = f32, ints = [], segments = array<i64: 2, 0, 0>} {
^bb0(%x: memref<?x2x8xf32>, %w: memref<?x4xf32>):
  %0 = mhc.row.load row %x : memref<?x2x8xf32> -> !mhc.wide<2x8xf32>
  %1 = mhc.row.load row %w : memref<?x4xf32> -> !mhc.wide<1x4xf32>
  // expected-error @+1 {{expected operands of as many channels, but got '!mhc.wide<2x8xf32>' and '!mhc.wide<1x4xf32>'}}
  %2 = mhc.row.dot %0, %1 : !mhc.wide<2x8xf32>, !mhc.wide<1x4xf32> -> !mhc.narrow<2xf32>
}

// -----

mhc.kernel @dot_result attributes {compute = f32, ints = [], segments = array<i64: 1, 0, 0>} {
^bb0(%x: memref<?x2x8xf32>):
  %0 = mhc.row.load row %x : memref<?x2x8xf32> -> !mhc.wide<2x8xf32>
  // expected-error @+1 {{expected a result of 4 elements, but got '!mhc.narrow<2xf32>'}}
  %1 = mhc.row.dot %0, %0 : !mhc.wide<2x8xf32>, !mhc.wide<2x8xf32> -> !mhc.narrow<2xf32>
}

// -----

mhc.kernel @reduce_result attributes {compute = f32, ints = [], segments = array<i64: 1, 0, 0>} {
^bb0(%x: memref<?x2x8xf32>):
  %0 = mhc.row.load row %x : memref<?x2x8xf32> -> !mhc.wide<2x8xf32>
  // expected-error @+1 {{expected one result, or one for each stream, but got '!mhc.narrow<3xf32>'}}
  %1 = mhc.row.reduce add %0 : !mhc.wide<2x8xf32> -> !mhc.narrow<3xf32>
}

// -----

mhc.kernel @project_weight attributes {compute = f32, ints = [], segments = array<i64: 2, 0, 0>} {
^bb0(%x: memref<?x2x8xf32>, %w: memref<?x2xf32>):
  %0 = mhc.row.load row %x : memref<?x2x8xf32> -> !mhc.wide<2x8xf32>
  // expected-error @+1 {{expected a parameter of two static dimensions, but got 'memref<?x2xf32>'}}
  %1 = mhc.row.project %0, %w : !mhc.wide<2x8xf32>, memref<?x2xf32> -> !mhc.narrow<2xf32>
}

// -----

mhc.kernel @project_groups attributes {compute = f32, ints = [], segments = array<i64: 2, 0, 0>} {
^bb0(%x: memref<?x2x8xf32>, %w: memref<16x3xf32>):
  %0 = mhc.row.load row %x : memref<?x2x8xf32> -> !mhc.wide<2x8xf32>
  // expected-error @+1 {{expected groups of 16 elements and 3 columns, but got '!mhc.wide<2x8xf32>' and '!mhc.narrow<2xf32>'}}
  %1 = mhc.row.project %0, %w : !mhc.wide<2x8xf32>, memref<16x3xf32> -> !mhc.narrow<2xf32>
}

// -----

mhc.kernel @project_transposed attributes {compute = f32, ints = [], segments = array<i64: 2, 0, 0>} {
^bb0(%x: memref<?x2x8xf32>, %w: memref<16x3xf32>):
  %0 = mhc.row.load row %x : memref<?x2x8xf32> -> !mhc.wide<2x8xf32>
  // expected-error @+1 {{expected groups of 3 elements and 16 columns, but got '!mhc.wide<2x8xf32>' and '!mhc.narrow<2xf32>'}}
  %1 = mhc.row.project %0, %w {transposed} : !mhc.wide<2x8xf32>, memref<16x3xf32> -> !mhc.narrow<2xf32>
}

// -----

mhc.kernel @project_streams attributes {compute = f32, ints = [], segments = array<i64: 2, 0, 0>} {
^bb0(%x: memref<?x2x8xf32>, %w: memref<4x2xf32>):
  %0 = mhc.row.load row %x : memref<?x2x8xf32> -> !mhc.wide<2x8xf32>
  // expected-error @+1 {{expected groups of whole streams}}
  %1 = mhc.row.project %0, %w : !mhc.wide<2x8xf32>, memref<4x2xf32> -> !mhc.narrow<4x2xf32>
}

// -----

mhc.kernel @project_t_weight attributes {compute = f32, ints = [], segments = array<i64: 2, 0, 0>} {
^bb0(%z: memref<?x2xf32>, %w: memref<16xf32>):
  %2 = mhc.row.load row %z : memref<?x2xf32> -> !mhc.narrow<2xf32>
  // expected-error @+1 {{expected a parameter of two static dimensions, but got 'memref<16xf32>'}}
  %1 = mhc.row.project_t %2, %w : !mhc.narrow<2xf32>, memref<16xf32> -> !mhc.wide<2x8xf32>
}

// -----

mhc.kernel @project_t_groups attributes {compute = f32, ints = [], segments = array<i64: 2, 0, 0>} {
^bb0(%z: memref<?x2xf32>, %w: memref<12x2xf32>):
  %2 = mhc.row.load row %z : memref<?x2xf32> -> !mhc.narrow<2xf32>
  // expected-error @+1 {{expected groups of 12 elements and 2 columns, but got '!mhc.wide<2x8xf32>' and '!mhc.narrow<2xf32>'}}
  %1 = mhc.row.project_t %2, %w : !mhc.narrow<2xf32>, memref<12x2xf32> -> !mhc.wide<2x8xf32>
}

// -----

mhc.kernel @project_t_streams attributes {compute = f32, ints = [], segments = array<i64: 2, 0, 0>} {
^bb0(%h: memref<?x8xf32>, %w: memref<4x2xf32>):
  %0 = mhc.row.load row %h : memref<?x8xf32> -> !mhc.narrow<8xf32>
  // expected-error @+1 {{expected groups of whole streams}}
  %1 = mhc.row.project_t %0, %w : !mhc.narrow<8xf32>, memref<4x2xf32> -> !mhc.wide<2x8xf32>
}

// -----

mhc.kernel @outer_tokens_target attributes {compute = f32, ints = [], segments = array<i64: 2, 0, 1>} {
^bb0(%x: memref<?x2x8xf32>, %z: memref<?x2xf32>, %w: memref<32xf32>):
  %0 = mhc.row.load row %x : memref<?x2x8xf32> -> !mhc.wide<2x8xf32>
  %2 = mhc.row.load row %z : memref<?x2xf32> -> !mhc.narrow<2xf32>
  // expected-error @+1 {{expected a parameter of two static dimensions, but got 'memref<32xf32>'}}
  mhc.row.outer_tokens %0, %2, %w : !mhc.wide<2x8xf32>, !mhc.narrow<2xf32>, memref<32xf32>
}

// -----

mhc.kernel @outer_tokens_groups attributes {compute = f32, ints = [], segments = array<i64: 2, 0, 1>} {
^bb0(%x: memref<?x2x8xf32>, %z: memref<?x2xf32>, %w: memref<16x3xf32>):
  %0 = mhc.row.load row %x : memref<?x2x8xf32> -> !mhc.wide<2x8xf32>
  %2 = mhc.row.load row %z : memref<?x2xf32> -> !mhc.narrow<2xf32>
  // expected-error @+1 {{expected groups of 16 elements and 3 columns, but got '!mhc.wide<2x8xf32>' and '!mhc.narrow<2xf32>'}}
  mhc.row.outer_tokens %0, %2, %w : !mhc.wide<2x8xf32>, !mhc.narrow<2xf32>, memref<16x3xf32>
}

// -----

mhc.kernel @outer_tokens_streams attributes {compute = f32, ints = [], segments = array<i64: 2, 0, 1>} {
^bb0(%x: memref<?x2x8xf32>, %h: memref<?x8xf32>, %w: memref<4x2xf32>):
  %0 = mhc.row.load row %x : memref<?x2x8xf32> -> !mhc.wide<2x8xf32>
  %1 = mhc.row.load row %h : memref<?x8xf32> -> !mhc.narrow<8xf32>
  // expected-error @+1 {{expected groups of whole streams}}
  mhc.row.outer_tokens %0, %1, %w : !mhc.wide<2x8xf32>, !mhc.narrow<8xf32>, memref<4x2xf32>
}

// -----

mhc.kernel @project_type attributes {compute = f32, ints = [], segments = array<i64: 2, 0, 0>} {
^bb0(%x: memref<?x8xf32>, %w: memref<8x2xbf16>):
  %0 = mhc.row.load row %x : memref<?x8xf32> -> !mhc.wide<1x8xf32>
  // expected-error @+1 {{expected a parameter of 'f32', but got 'memref<8x2xbf16>'}}
  %1 = mhc.row.project %0, %w : !mhc.wide<1x8xf32>, memref<8x2xbf16> -> !mhc.narrow<2xf32>
}

// -----

mhc.kernel @project_t_type attributes {compute = f32, ints = [], segments = array<i64: 2, 0, 0>} {
^bb0(%h: memref<?x2xf32>, %w: memref<8x2xbf16>):
  %0 = mhc.row.load row %h : memref<?x2xf32> -> !mhc.narrow<2xf32>
  // expected-error @+1 {{expected a parameter of 'f32', but got 'memref<8x2xbf16>'}}
  %1 = mhc.row.project_t %0, %w : !mhc.narrow<2xf32>, memref<8x2xbf16> -> !mhc.wide<1x8xf32>
}

// -----

mhc.kernel @narrow_arguments attributes {compute = f32, ints = [], segments = array<i64: 1, 0, 0>} {
^bb0(%z: memref<?x2xf32>):
  %2 = mhc.row.load row %z : memref<?x2xf32> -> !mhc.narrow<2xf32>
  // expected-error @+1 {{expected 2 region arguments, but got 1}}
  %3 = mhc.row.narrow %2 : !mhc.narrow<2xf32> -> !mhc.narrow<1xf32> {
  ^bb0(%a: f32):
    mhc.row.yield %a : f32
  }
}

// -----

mhc.kernel @narrow_yield attributes {compute = f32, ints = [], segments = array<i64: 1, 0, 0>} {
^bb0(%z: memref<?x2xf32>):
  %2 = mhc.row.load row %z : memref<?x2xf32> -> !mhc.narrow<2xf32>
  // expected-error @+1 {{expected the region to yield 2 scalars}}
  %3 = mhc.row.narrow %2 : !mhc.narrow<2xf32> -> !mhc.narrow<2xf32> {
  ^bb0(%a: f32, %b: f32):
    mhc.row.yield %a : f32
  }
}

// -----

mhc.kernel @sum_tokens_wide attributes {compute = f32, ints = [], segments = array<i64: 1, 0, 1>} {
^bb0(%x: memref<?x2x8xf32>, %s: memref<2xf32>):
  %0 = mhc.row.load row %x : memref<?x2x8xf32> -> !mhc.wide<2x8xf32>
  // expected-error @+1 {{expected a target of as many elements as '!mhc.wide<2x8xf32>'}}
  mhc.row.sum_tokens %0, %s : !mhc.wide<2x8xf32>, memref<2xf32>
}

// -----

mhc.kernel @sum_tokens_narrow attributes {compute = f32, ints = [], segments = array<i64: 1, 0, 1>} {
^bb0(%z: memref<?x2xf32>, %s: memref<1xf32>):
  %2 = mhc.row.load row %z : memref<?x2xf32> -> !mhc.narrow<2xf32>
  // expected-error @+1 {{expected a target of as many elements as '!mhc.narrow<2xf32>'}}
  mhc.row.sum_tokens %2, %s : !mhc.narrow<2xf32>, memref<1xf32>
}

// -----

mhc.kernel @phase_c1_wide attributes {compute = f32, ints = [], segments = array<i64: 1, 1, 0>, schedule = #mhc.schedule<"simple", threads = 256, tile = 8>} {
^bb0(%h: memref<?x2xf32>, %y: memref<?x2xf32>):
  %0 = mhc.phase narrow : !mhc.narrow<2xf32> {
    %1 = mhc.row.load row %h : memref<?x2xf32> -> !mhc.narrow<2xf32>
    mhc.row.yield %1 : !mhc.narrow<2xf32>
  }
  mhc.phase wide {
    // expected-error @+1 {{expected no such op in a wide phase}}
    %1 = mhc.row.narrow %0 : !mhc.narrow<2xf32> -> !mhc.narrow<1xf32> {
    ^bb0(%a: f32, %b: f32):
      mhc.row.yield %a : f32
    }
    mhc.row.yield
  }
}

// -----

mhc.kernel @phase_c1_wide_store attributes {compute = f32, ints = [], segments = array<i64: 1, 1, 0>, schedule = #mhc.schedule<"simple", threads = 256, tile = 8>} {
^bb0(%h: memref<?x2xf32>, %y: memref<?x2xf32>):
  mhc.phase wide {
    %0 = mhc.row.load row %h : memref<?x2xf32> -> !mhc.narrow<2xf32>
    // expected-error @+1 {{expected no such op in a wide phase}}
    mhc.row.store %0, %y : !mhc.narrow<2xf32>, memref<?x2xf32>
    mhc.row.yield
  }
}

// -----

mhc.kernel @phase_c1_narrow attributes {compute = f32, ints = [], segments = array<i64: 1, 1, 0>, schedule = #mhc.schedule<"simple", threads = 256, tile = 8>} {
^bb0(%x: memref<?x8xf32>, %y: memref<?x1xf32>):
  mhc.phase narrow {
    // expected-error @+1 {{expected no such op in a narrow phase}}
    %0 = mhc.row.load row %x : memref<?x8xf32> -> !mhc.wide<1x8xf32>
    %1 = mhc.row.reduce add %0 : !mhc.wide<1x8xf32> -> !mhc.narrow<1xf32>
    mhc.row.store %1, %y : !mhc.narrow<1xf32>, memref<?x1xf32>
    mhc.row.yield
  }
}

// -----

mhc.kernel @phase_c2 attributes {compute = f32, ints = [], segments = array<i64: 1, 0, 0>, schedule = #mhc.schedule<"simple", threads = 256, tile = 8>} {
^bb0(%h: memref<?x2xf32>):
  // expected-error @+1 {{expected the block to yield the results}}
  %0 = mhc.phase narrow : !mhc.narrow<2xf32> {
    %1 = mhc.row.load row %h : memref<?x2xf32> -> !mhc.narrow<2xf32>
    mhc.row.yield
  }
}

// -----

mhc.kernel @phase_c2_type attributes {compute = f32, ints = [], segments = array<i64: 1, 0, 0>, schedule = #mhc.schedule<"simple", threads = 256, tile = 8>} {
^bb0(%h: memref<?x2xf32>):
  // expected-error @+1 {{expected the block to yield the results}}
  %0 = mhc.phase narrow : !mhc.narrow<1x2xf32> {
    %1 = mhc.row.load row %h : memref<?x2xf32> -> !mhc.narrow<2xf32>
    mhc.row.yield %1 : !mhc.narrow<2xf32>
  }
}

// -----

mhc.kernel @load_c3 attributes {compute = f32, ints = [], segments = array<i64: 1, 0, 0>} {
^bb0(%x: memref<?x4x8xf32>):
  // expected-error @+1 {{expected a divisor of at least 1, but got 0}}
  %0 = mhc.row.load shared %x {divisor = 0 : i64} : memref<?x4x8xf32> -> !mhc.wide<4x8xf32>
}

// -----

mhc.kernel @load_shared attributes {compute = f32, ints = [], segments = array<i64: 1, 0, 0>} {
^bb0(%x: memref<6x8xf32>):
  // expected-error @+1 {{expected an argument with rows, but got 'memref<6x8xf32>'}}
  %0 = mhc.row.load shared %x {divisor = 2 : i64} : memref<6x8xf32> -> !mhc.wide<6x8xf32>
}

// -----

mhc.kernel @streams_c1 attributes {compute = f32, ints = [], segments = array<i64: 1, 0, 0>} {
^bb0(%x: memref<?x4x8xf32>):
  %0 = mhc.row.load row %x : memref<?x4x8xf32> -> !mhc.wide<4x8xf32>
  // expected-error @+1 {{expected channels and element type to stay, but got '!mhc.wide<4x8xf32>' and '!mhc.wide<2x4xf32>'}}
  %1 = mhc.row.streams %0 {first = 0 : i64} : !mhc.wide<4x8xf32> -> <2x4xf32>
}

// -----

mhc.kernel @streams_c2 attributes {compute = f32, ints = [], segments = array<i64: 1, 0, 0>} {
^bb0(%x: memref<?x4x8xf32>):
  %0 = mhc.row.load row %x : memref<?x4x8xf32> -> !mhc.wide<4x8xf32>
  // expected-error @+1 {{expected 2 of 4 streams, but got them from 3}}
  %1 = mhc.row.streams %0 {first = 3 : i64} : !mhc.wide<4x8xf32> -> <2x8xf32>
}

// -----

mhc.kernel @concat_c1 attributes {compute = f32, ints = [], segments = array<i64: 1, 0, 0>} {
^bb0(%x: memref<?x4x8xf32>):
  %0 = mhc.row.load row %x : memref<?x4x8xf32> -> !mhc.wide<4x8xf32>
  // expected-error @+1 {{expected operands of 8 channels of 'bf16', but got '!mhc.wide<4x8xf32>'}}
  %1 = mhc.row.concat %0, %0 : !mhc.wide<4x8xf32>, !mhc.wide<4x8xf32> -> <8x8xbf16>
}

// -----

mhc.kernel @concat_c2 attributes {compute = f32, ints = [], segments = array<i64: 1, 0, 0>} {
^bb0(%x: memref<?x4x8xf32>):
  %0 = mhc.row.load row %x : memref<?x4x8xf32> -> !mhc.wide<4x8xf32>
  // expected-error @+1 {{expected streams that add up to 7, but got 8}}
  %1 = mhc.row.concat %0, %0 : !mhc.wide<4x8xf32>, !mhc.wide<4x8xf32> -> <7x8xf32>
}

// -----

mhc.kernel @load_c3_negative attributes {compute = f32, ints = [], segments = array<i64: 1, 0, 0>} {
^bb0(%x: memref<?x4x8xf32>):
  // expected-error @+1 {{expected a divisor of at least 1, but got -1}}
  %0 = mhc.row.load shared %x {divisor = -1 : i64} : memref<?x4x8xf32> -> !mhc.wide<4x8xf32>
}
