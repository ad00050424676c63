// RUN: mhc-opt %s --split-input-file --verify-diagnostics

// plan.entry C1: buffers first
plan.entry @entry_c1 symbols ["T"] {
  %a = plan.buffer output f32 <T> {tensor = "a"}
  plan.fill %a with 0.0
  // expected-error @+1 {{expected buffers before all commands}}
  %b = plan.buffer output f32 <T> {tensor = "b"}
}

// -----

// plan.entry C1: buffers only
func.func private @buffer() -> !plan.buffer
plan.entry @entry_c1_operand symbols [] {
  %a = "builtin.unrealized_conversion_cast"() : () -> !plan.buffer
  // expected-error @+1 {{expected operand 0 to be the result of a plan.buffer}}
  plan.fill %a with 0.0
}

// -----

plan.entry @entry_other symbols [] {
  // expected-error @+1 {{expected buffers and commands only inside plan.entry}}
  %a = arith.constant 0 : i32
}

// -----

plan.entry @entry_other_loop symbols [] {
  plan.loop "micro_batches" {
    // expected-error @+1 {{expected commands only inside plan.loop}}
    %a = arith.constant 0 : i32
  }
}

// -----

// plan.entry C2
plan.entry @entry_c2 symbols ["T"] {
  // expected-error @+1 {{expected symbols of the entry, but got 'S'}}
  %a = plan.buffer output f32 <S> {tensor = "a"}
}

// -----

// expected-error @+1 {{expected factors that are symbols, but got "B"}}
plan.entry @entry_derived symbols ["S"] derived [["T", "B", "S"]] {}

// -----

// expected-error @+1 {{expected a derived symbol and its factors, but got "T"}}
plan.entry @entry_derived_list symbols ["B", "S"] derived ["T", "B", "S"] {}

// -----

// expected-error @+1 {{expected a derived symbol and its factors, but got ["T"]}}
plan.entry @entry_derived_factors symbols ["B", "S"] derived [["T"]] {}

// -----

// expected-error @+1 {{expected a derived symbol and its factors, but got ["T", 2]}}
plan.entry @entry_derived_names symbols ["B", "S"] derived [["T", 2]] {}

// -----

// expected-error @+1 {{expected each symbol once, but got "T" twice}}
plan.entry @entry_symbols symbols ["T", "T"] {}

// -----

// plan.entry C3
plan.entry @entry_c3 symbols ["T"] {
  // expected-error @+1 {{expected a live range that covers [0, 1], but got [0, 0]}}
  %a = plan.buffer arena f32 <T> live [0, 0]
  plan.fill %a with 0.0
  plan.fill %a with 1.0
}

// -----

// plan.entry C3: what comes from outside a loop lives over all of it
plan.entry @entry_c3_loop symbols ["T"] {
  // expected-error @+1 {{expected a live range that covers [0, 3], but got [0, 2]}}
  %a = plan.buffer arena f32 <T> live [0, 2]
  %b = plan.buffer output f32 <T> {tensor = "b"}
  plan.fill %a with 0.0
  plan.loop "micro_batches" {
    plan.add %a into %b
    plan.fill %b with 0.0
  }
}

// -----

// plan.entry C4
plan.entry @entry_c4 symbols ["T"] {
  // expected-note @+1 {{the buffer}}
  %a = plan.buffer arena f32 <T> live [0, 0]
  %b = plan.buffer output f32 <T> {tensor = "b"}
  // expected-error @+1 {{expected the first command on a temporary to write it}}
  plan.copy %a into %b
}

// -----

// plan.buffer C1
plan.entry @buffer_c1 symbols [] {
  // expected-error @+1 {{expected tensor of a buffer of kind input}}
  %a = plan.buffer input f32 <1>
}

// -----

plan.entry @buffer_c1_live symbols [] {
  // expected-error @+1 {{expected no live range of a buffer of kind output}}
  %a = plan.buffer output f32 <1> live [0, 0] {tensor = "a"}
}

// -----

plan.entry @buffer_c1_generator symbols [] {
  // expected-error @+1 {{expected generator of a buffer of kind constant}}
  %a = plan.buffer constant f32 <1> {theta = 1.0}
}

// -----

plan.entry @buffer_c1_no_tensor symbols [] {
  // expected-error @+1 {{expected no tensor of a buffer of kind arena}}
  %a = plan.buffer arena f32 <1> live [0, 0] {tensor = "a"}
}

// -----

plan.entry @buffer_c1_no_live symbols [] {
  // expected-error @+1 {{expected live range of a buffer of kind partials}}
  %a = plan.buffer partials f32 <1>
}

// -----

plan.entry @buffer_c1_arena symbols [] {
  // expected-error @+1 {{expected arena of a buffer of kind state}}
  %a = plan.buffer state f32 <1> {begin = 0}
}

// -----

plan.entry @buffer_c1_no_arena symbols [] {
  // expected-error @+1 {{expected no arena of a buffer of kind scalars}}
  %a = plan.buffer scalars f32 <1> {arena = "parameters", begin = 0}
}

// -----

plan.entry @buffer_c1_no_generator symbols [] {
  // expected-error @+1 {{expected no generator of a buffer of kind output}}
  %a = plan.buffer output f32 <1> {tensor = "a", generator = "rope_cos", theta = 1.0, pairs = 1}
}

// -----

plan.entry @buffer_c1_begin symbols [] {
  // expected-error @+1 {{expected begin of a buffer of kind state}}
  %a = plan.buffer state f32 <1> {arena = "parameters"}
}

// -----

plan.entry @buffer_c1_no_begin symbols [] {
  // expected-error @+1 {{expected no begin of a buffer of kind parameter}}
  %a = plan.buffer parameter f32 <1> {tensor = "a", begin = 0}
}

// -----

plan.entry @buffer_begin symbols [] {
  // expected-error @+1 {{expected a begin of at least 0, but got -1}}
  %a = plan.buffer scalars f32 <1> {begin = -1}
}

// -----

// plan.buffer C2
plan.entry @buffer_c2 symbols [] {
  // expected-error @+1 {{expected a slice below 2, but got 2}}
  %a = plan.buffer input f32 <1> {tensor = "a", slice = 2, slices = 2}
}

// -----

plan.entry @buffer_c2_negative symbols [] {
  // expected-error @+1 {{expected a slice below 2, but got -1}}
  %a = plan.buffer output f32 <1> {tensor = "a", slice = -1, slices = 2}
}

// -----

plan.entry @buffer_c2_alone symbols [] {
  // expected-error @+1 {{expected slice and slices together, of inputs and outputs only}}
  %a = plan.buffer input f32 <1> {tensor = "a", slice = 0}
}

// -----

plan.entry @buffer_c2_kind symbols [] {
  // expected-error @+1 {{expected slice and slices together, of inputs and outputs only}}
  %a = plan.buffer parameter f32 <1> {tensor = "a", slice = 0, slices = 2}
}

// -----

// plan.buffer C3
plan.entry @buffer_c3 symbols [] {
  // expected-error @+1 {{expected a live range [first, last]}}
  %a = plan.buffer arena f32 <1> live [2, 1]
}

// -----

plan.entry @buffer_c3_one symbols [] {
  // expected-error @+1 {{expected a live range [first, last]}}
  %a = plan.buffer arena f32 <1> live [0]
}

// -----

// plan.buffer C4
plan.entry @buffer_c4 symbols [] {
  // expected-error @+1 {{expected element type bf16, f32, f64, i32 or i64, but got 'f16'}}
  %a = plan.buffer input f16 <1> {tensor = "a"}
}

// -----

plan.entry @buffer_c4_parameter symbols [] {
  // expected-error @+1 {{expected element type f32 of a buffer of kind parameter, but got 'bf16'}}
  %a = plan.buffer parameter bf16 <1> {tensor = "a"}
}

// -----

plan.entry @buffer_state symbols [] {
  // expected-error @+1 {{expected arena parameters, gradients, exp_avg, exp_avg_sq, momentum, radius or expert_counts, but got 'velocity'}}
  %a = plan.buffer state f32 <1> {arena = "velocity", begin = 0}
}

// -----

plan.entry @buffer_scalars symbols [] {
  // expected-error @+1 {{expected scalars inside the 64 that there are}}
  %a = plan.buffer scalars f32 <2> {begin = 63}
}

// -----

plan.entry @buffer_scalars_size symbols [] {
  // expected-error @+1 {{expected scalars inside the 64 that there are}}
  %a = plan.buffer scalars f32 <65>
}

// -----

mhc.kernel @k attributes {compute = f32, ints = ["S"], segments = array<i64: 1, 1, 1>} {
^bb0(%x: memref<?x8xf32>, %y: memref<?x8xf32>, %s: memref<8xf32>):
  %0 = mhc.row.load row %x : memref<?x8xf32> -> !mhc.wide<1x8xf32>
  mhc.row.store %0, %y : !mhc.wide<1x8xf32>, memref<?x8xf32>
  mhc.row.sum_tokens %0, %s : !mhc.wide<1x8xf32>, memref<8xf32>
}

// plan.launch C1
plan.entry @launch_c1 symbols ["T"] {
  %a = plan.buffer output f32 <8 * T> {tensor = "a"}
  // expected-error @+1 {{expected 2 arguments of 'k', but got 1}}
  plan.launch @k(%a) rows <T>
}

// -----

plan.entry @launch_c1_kernel symbols ["T"] {
  %a = plan.buffer output f32 <8 * T> {tensor = "a"}
  // expected-error @+1 {{expected a kernel 'k'}}
  plan.launch @k(%a) rows <T>
}

// -----

mhc.kernel @k attributes {compute = f32, ints = [], segments = array<i64: 1, 1, 0>} {
^bb0(%x: memref<?x8xf32>, %y: memref<?x8xf32>):
  %0 = mhc.row.load row %x : memref<?x8xf32> -> !mhc.wide<1x8xf32>
  mhc.row.store %0, %y : !mhc.wide<1x8xf32>, memref<?x8xf32>
}

// plan.launch C2
plan.entry @launch_c2 symbols ["T"] {
  %a = plan.buffer input bf16 <8 * T> {tensor = "a"}
  %b = plan.buffer output f32 <8 * T> {tensor = "b"}
  // expected-error @+1 {{expected argument 0 of element type 'f32', but got 'bf16'}}
  plan.launch @k(%a, %b) rows <T>
}

// -----

mhc.kernel @k attributes {compute = f32, ints = [], segments = array<i64: 1, 1, 0>} {
^bb0(%x: memref<?x8xf32>, %y: memref<?x8xf32>):
  %0 = mhc.row.load row %x : memref<?x8xf32> -> !mhc.wide<1x8xf32>
  mhc.row.store %0, %y : !mhc.wide<1x8xf32>, memref<?x8xf32>
}

// plan.launch C3
plan.entry @launch_c3 symbols ["T"] {
  %a = plan.buffer input f32 <8 * T> {tensor = "a"}
  %b = plan.buffer output f32 <16 * T> {tensor = "b"}
  // expected-error @+1 {{expected argument 1 of 8 * T elements, but got 16 * T}}
  plan.launch @k(%a, %b) rows <T>
}

// -----

mhc.kernel @k attributes {compute = f32, ints = [], segments = array<i64: 1, 1, 0>} {
^bb0(%x: memref<?x8xf32>, %y: memref<?x8xf32>):
  %0 = mhc.row.load row %x : memref<?x8xf32> -> !mhc.wide<1x8xf32>
  mhc.row.store %0, %y : !mhc.wide<1x8xf32>, memref<?x8xf32>
}

plan.entry @launch_c3_overflow symbols ["T"] {
  %a = plan.buffer input f32 <8 * T> {tensor = "a"}
  %b = plan.buffer output f32 <8 * T> {tensor = "b"}
  // expected-error @+1 {{expected argument 0 of fewer than 2^63 elements, but got 8 * T}}
  plan.launch @k(%a, %b) rows <4611686018427387904 * T>
}

// -----

mhc.kernel @k attributes {compute = f32, ints = [], segments = array<i64: 1, 0, 1>} {
^bb0(%x: memref<?x8xf32>, %y: memref<8xf32>):
  %0 = mhc.row.load row %x : memref<?x8xf32> -> !mhc.wide<1x8xf32>
  mhc.row.sum_tokens %0, %y : !mhc.wide<1x8xf32>, memref<8xf32>
}

plan.entry @launch_c3_reduction symbols ["T"] {
  %a = plan.buffer input f32 <8 * T> {tensor = "a"}
  %b = plan.buffer output f32 <9> {tensor = "b"}
  %p = plan.buffer partials f32 <8> live [0, 0]
  // expected-error @+1 {{expected argument 1 of 8 elements, but got 9}}
  plan.launch @k(%a) rows <T> reduce %p into %b accumulate [false]
}

// -----

mhc.kernel @k attributes {compute = f32, ints = ["S"], segments = array<i64: 1, 1, 0>} {
^bb0(%x: memref<?x8xf32>, %y: memref<?x8xf32>):
  %0 = mhc.row.load row %x : memref<?x8xf32> -> !mhc.wide<1x8xf32>
  mhc.row.store %0, %y : !mhc.wide<1x8xf32>, memref<?x8xf32>
}

// plan.launch C4
plan.entry @launch_c4 symbols ["T"] {
  %a = plan.buffer input f32 <8 * T> {tensor = "a"}
  %b = plan.buffer output f32 <8 * T> {tensor = "b"}
  // expected-error @+1 {{expected 1 integers of 'k'}}
  plan.launch @k(%a, %b) rows <T>
}

// -----

mhc.kernel @k attributes {compute = f32, ints = [], segments = array<i64: 1, 0, 1>} {
^bb0(%x: memref<?x8xf32>, %s: memref<8xf32>):
  %0 = mhc.row.load row %x : memref<?x8xf32> -> !mhc.wide<1x8xf32>
  mhc.row.sum_tokens %0, %s : !mhc.wide<1x8xf32>, memref<8xf32>
}

// plan.launch C5
plan.entry @launch_c5 symbols ["T"] {
  %a = plan.buffer input f32 <8 * T> {tensor = "a"}
  // expected-error @+1 {{expected 1 reductions of 'k'}}
  plan.launch @k(%a) rows <T>
}

// -----

// plan.gemm C1
plan.entry @gemm_c1 symbols ["T"] {
  %a = plan.buffer input f32 <8 * T> {tensor = "a"}
  %b = plan.buffer input f32 <64> {tensor = "b"}
  %c = plan.buffer output f32 <16 * T> {tensor = "c"}
  // expected-error @+1 {{expected c of 8 * T elements, but got 16 * T}}
  plan.gemm %a, %b into %c m <T> n <8> k <8>
}

// -----

plan.entry @gemm_c1_a symbols ["T"] {
  %a = plan.buffer input f32 <9 * T> {tensor = "a"}
  %b = plan.buffer input f32 <64> {tensor = "b"}
  %c = plan.buffer output f32 <8 * T> {tensor = "c"}
  // expected-error @+1 {{expected a of 8 * T elements, but got 9 * T}}
  plan.gemm %a, %b into %c m <T> n <8> k <8>
}

// -----

plan.entry @gemm_c1_b symbols ["T"] {
  %a = plan.buffer input f32 <8 * T> {tensor = "a"}
  %b = plan.buffer input f32 <63> {tensor = "b"}
  %c = plan.buffer output f32 <8 * T> {tensor = "c"}
  // expected-error @+1 {{expected b of 64 elements, but got 63}}
  plan.gemm %a, %b into %c m <T> n <8> k <8>
}

// -----

plan.entry @gemm_c1_affine symbols ["T"] {
  %a = plan.buffer input f32 <8 * T> {tensor = "a"}
  %c = plan.buffer output f32 <8 * T> {tensor = "c"}
  // expected-error @+1 {{expected c of affine size elements, but got 8 * T}}
  plan.gemm %a, %a into %c m <T> n <T> k <8>
}

// -----

plan.entry @gemm_c1_batch symbols [] {
  %a = plan.buffer input f32 <64> {tensor = "a"}
  %c = plan.buffer output f32 <192> {tensor = "c"}
  // expected-error @+1 {{expected a of 192 elements, but got 64}}
  plan.gemm %a, %a into %c m <8> n <8> k <8> {batch = 3}
}

// -----

plan.entry @gemm_c1_plus symbols [] {
  %a = plan.buffer input f32 <64> {tensor = "a"}
  %d = plan.buffer input f32 <63> {tensor = "d"}
  %c = plan.buffer output f32 <64> {tensor = "c"}
  // expected-error @+1 {{expected d of 64 elements, but got 63}}
  plan.gemm %a, %a plus %d into %c m <8> n <8> k <8> {beta = 0.5}
}

// -----

// plan.gemm C3
plan.entry @gemm_c3 symbols [] {
  %a = plan.buffer input f32 <64> {tensor = "a"}
  %c = plan.buffer output f32 <64> {tensor = "c"}
  // expected-error @+1 {{expected a batch of at least 1, and 'accumulate' or 'plus', but not both}}
  plan.gemm %a, %a plus %a into %c m <8> n <8> k <8> accumulate {beta = 0.5}
}

// -----

// plan.gemm C2
plan.entry @gemm_c2 symbols ["T"] {
  %a = plan.buffer input f32 <8 * T> {tensor = "a"}
  %b = plan.buffer input f64 <64> {tensor = "b"}
  %c = plan.buffer output f32 <8 * T> {tensor = "c"}
  // expected-error @+1 {{expected floating-point buffers, f64 with f64 only, but got 'f64'}}
  plan.gemm %a, %b into %c m <T> n <8> k <8>
}

// -----

plan.entry @gemm_c2_integer symbols ["T"] {
  %a = plan.buffer input i32 <8 * T> {tensor = "a"}
  %c = plan.buffer output i32 <8 * T> {tensor = "c"}
  // expected-error @+1 {{expected floating-point buffers, f64 with f64 only, but got 'i32'}}
  plan.gemm %a, %a into %c m <T> n <8> k <8>
}

// -----

// plan.attention C1
plan.entry @attention_c1 symbols ["B", "S", "T"] {
  %q = plan.buffer input bf16 <12 * T> {tensor = "q"}
  %o = plan.buffer output bf16 <12 * T> {tensor = "o"}
  %l = plan.buffer output f32 <3 * T> {tensor = "l"}
  // expected-error @+1 {{expected heads to be a multiple of kv_heads, but got 3 and 2}}
  plan.attention %q, %q, %q into %o, %l sequences <B> length <S> {heads = 3, kv_heads = 2, head_dim = 4, value_dim = 4, scale = 0.5}
}

// -----

// plan.attention_backward C1
plan.entry @attention_backward_c1 symbols ["B", "S", "T"] {
  %q = plan.buffer input bf16 <12 * T> {tensor = "q"}
  %o = plan.buffer output bf16 <12 * T> {tensor = "o"}
  %l = plan.buffer input f32 <3 * T> {tensor = "l"}
  // expected-error @+1 {{expected heads to be a multiple of kv_heads, but got 1 and 0}}
  plan.attention_backward %q, %q, %q, %q, %l, %q into %o, %o, %o sequences <B> length <S> {heads = 1, kv_heads = 0, head_dim = 4, value_dim = 4, scale = 0.5}
}

// -----

// plan.loop C1
plan.entry @loop_c1 symbols [] {
  // expected-error @+1 {{expected count 'micro_batches' or 'row_blocks', but got 'steps'}}
  plan.loop "steps" {}
}

// -----

// plan.loop C2
plan.entry @loop_c2 symbols [] {
  plan.loop "micro_batches" {
    // expected-error @+1 {{expected no loop inside a loop, but over row blocks in one over micro-batches}}
    plan.loop "micro_batches" {}
  }
}

// -----

// plan.loop C2
plan.entry @loop_c2_rows symbols ["T"] block_rows 4 {
  plan.loop "row_blocks" {
    // expected-error @+1 {{expected no loop inside a loop, but over row blocks in one over micro-batches}}
    plan.loop "row_blocks" {}
  }
}

// -----

// plan.loop C3
plan.entry @loop_c3 symbols ["T"] {
  // expected-error @+1 {{expected an entry with block_rows}}
  plan.loop "row_blocks" {}
}

// -----

// plan.loop C3
plan.entry @loop_c3_command symbols ["T"] block_rows 4 {
  %a = plan.buffer output f32 <T> {tensor = "a"}
  %w = plan.buffer window f32 <R> of %a
  plan.loop "row_blocks" {
    // expected-error @+1 {{expected launches and matmuls only in a loop over row blocks}}
    plan.fill %w with 0.0
  }
}

// -----

// plan.loop C3
plan.entry @loop_c3_window symbols ["T"] block_rows 4 {
  %a = plan.buffer output f32 <T> {tensor = "a"}
  %w = plan.buffer window f32 <R> of %a
  // expected-error @+1 {{expected windows in loops over row blocks only}}
  plan.fill %w with 0.0
}

// -----

// expected-error @+1 {{expected block_rows of at least 1 and a symbol 'T' that it cuts, but got 0}}
plan.entry @block_rows symbols ["T"] block_rows 0 {}

// -----

// expected-error @+1 {{expected block_rows of at least 1 and a symbol 'T' that it cuts, but got 4}}
plan.entry @block_rows_symbol symbols ["S"] block_rows 4 {}

// -----

// plan.buffer C1
plan.entry @window_c1 symbols ["T"] block_rows 4 {
  // expected-error @+1 {{expected base of a buffer of kind window}}
  %w = plan.buffer window f32 <R>
}

// -----

// plan.buffer C1
plan.entry @base_c1 symbols ["T"] {
  %a = plan.buffer output f32 <T> {tensor = "a"}
  // expected-error @+1 {{expected no base of a buffer of kind output}}
  %w = plan.buffer output f32 <T> of %a {tensor = "b"}
}

// -----

// plan.buffer C5
plan.entry @window_c5_size symbols ["T"] block_rows 4 {
  %a = plan.buffer output f32 <2 * T> {tensor = "a"}
  // expected-error @+1 {{expected R rows of a base of T rows, of its elements and type, but got 3 * R of 2 * T}}
  %w = plan.buffer window f32 <3 * R> of %a
}

// -----

// plan.buffer C5
plan.entry @window_c5_type symbols ["T"] block_rows 4 {
  %a = plan.buffer output f32 <2 * T> {tensor = "a"}
  // expected-error @+1 {{expected R rows of a base of T rows, of its elements and type, but got 2 * R of 2 * T}}
  %w = plan.buffer window bf16 <2 * R> of %a
}

// -----

// A base lives as long as the loop that sees it through a window.
plan.entry @window_live symbols ["T"] block_rows 4 {
  %a = plan.buffer input f32 <8 * T> {tensor = "a"}
  %b = plan.buffer input f32 <64> {tensor = "b"}
  // expected-error @+1 {{expected a live range that covers [0, 2], but got [0, 1]}}
  %t = plan.buffer arena f32 <8 * T> live [0, 1]
  %y = plan.buffer output f32 <64> {tensor = "y"}
  %w = plan.buffer window f32 <8 * R> of %t
  plan.gemm %a, %b into %t m <T> n <8> k <8>
  plan.loop "row_blocks" {
    plan.gemm %w, %w into %y m <8> n <8> k <R> trans_a accumulate
  }
}

// -----

// plan.add C1
plan.entry @add_c1 symbols ["T"] {
  %a = plan.buffer input f32 <T> {tensor = "a"}
  %b = plan.buffer output f64 <T> {tensor = "b"}
  // expected-error @+1 {{expected src and dst of one type and size}}
  plan.add %a into %b
}

// -----

// plan.copy C1
plan.entry @copy_c1 symbols ["T"] {
  %a = plan.buffer input f32 <T> {tensor = "a"}
  %b = plan.buffer output f32 <2 * T> {tensor = "b"}
  // expected-error @+1 {{expected src and dst of one type and size}}
  plan.copy %a into %b
}

// -----

// expected-error @+1 {{expected coefficients of 64 bits}}
module attributes {e = #plan.expr<9223372036854775807 * T + T>} {}
