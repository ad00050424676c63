// RUN: mhc-opt %s | mhc-opt | FileCheck %s
// RUN: mhc-opt --emit-bytecode %s | mhc-opt | FileCheck %s

mhc.kernel @double attributes {compute = f32, ints = [], segments = array<i64: 1, 1, 0>} {
^bb0(%x: memref<?x8xf32>, %y: memref<?x8xf32>):
  %0 = mhc.row.load row %x : memref<?x8xf32> -> !mhc.wide<1x8xf32>
  mhc.row.store %0, %y : !mhc.wide<1x8xf32>, memref<?x8xf32>
}

mhc.kernel @sum attributes {compute = f32, ints = ["S"], segments = array<i64: 1, 0, 1>} {
^bb0(%x: memref<?x8xf32>, %y: memref<8xf32>):
  %0 = mhc.row.load row %x : memref<?x8xf32> -> !mhc.wide<1x8xf32>
  mhc.row.sum_tokens %0, %y : !mhc.wide<1x8xf32>, memref<8xf32>
}

// CHECK-LABEL: plan.entry @loss symbols ["B", "S"] derived {{\[}}["T", "B", "S"]] {
plan.entry @loss symbols ["B", "S"] derived [["T", "B", "S"]] {
  // CHECK-NEXT: %tokens = plan.buffer input i32 <B + T> {tensor = "tokens"}
  %tokens = plan.buffer input i32 <B + T> {tensor = "tokens"}
  // CHECK-NEXT: %x_1 = plan.buffer input f32 <8 * T> {slice = 1 : i64, slices = 2 : i64, tensor = "x_1"}
  %x = plan.buffer input f32 <8 * T> {tensor = "x_1", slice = 1, slices = 2}
  // CHECK-NEXT: %w = plan.buffer parameter f32 <64> {tensor = "w"}
  %w = plan.buffer parameter f32 <64> {tensor = "w"}
  // CHECK-NEXT: %w_0 = plan.buffer gradient f32 <64> {tensor = "w"}
  %dw = plan.buffer gradient f32 <64> {tensor = "w"}
  // CHECK-NEXT: %hidden = plan.buffer arena f32 <8 * T> live [1, 7] {name = "hidden"}
  %h = plan.buffer arena f32 <8 * T> live [1, 7] {name = "hidden"}
  // CHECK-NEXT: %{{.*}} = plan.buffer arena f32 <8 * T> live [2, 7]
  %h2 = plan.buffer arena f32 <8 * T> live [2, 7]
  // CHECK-NEXT: %[[P:.*]] = plan.buffer partials f32 <8> live [3, 3]
  %p = plan.buffer partials f32 <8> live [3, 3]
  %s = plan.buffer arena f32 <8> live [3, 5]
  // CHECK: plan.buffer state f32 <128> {arena = "exp_avg", begin = 64 : i64}
  %m = plan.buffer state f32 <128> {arena = "exp_avg", begin = 64}
  // CHECK-NEXT: plan.buffer scalars f32 <1> {begin = 18 : i64}
  %loss = plan.buffer scalars f32 <1> {begin = 18}
  // CHECK-NEXT: plan.buffer constant f32 <4 * S> {generator = "rope_cos", pairs = 4 : i64, theta = 1.000000e+04 : f64}
  %cos = plan.buffer constant f32 <4 * S> {generator = "rope_cos", theta = 1.0e4, pairs = 4}
  %t = plan.buffer arena i32 <T> live [6, 7]
  %o = plan.buffer output f32 <8> {tensor = "y"}

  // CHECK: plan.fill %{{.*}} with 0.000000e+00
  plan.fill %m with 0.0
  // CHECK-NEXT: plan.launch @double(%x_1, %hidden) rows <T> at "first"
  plan.launch @double(%x, %h) rows <T> at "first"
  // CHECK-NEXT: plan.gemm %hidden, %w into %{{.*}} m <T> n <8> k <8> trans_b at "second"
  plan.gemm %h, %w into %h2 m <T> n <8> k <8> trans_b at "second"
  // CHECK-NEXT: plan.launch @sum(%hidden) rows <T> ints [#plan.expr<S>] reduce %[[P]] into %{{.*}} accumulate [false]
  plan.launch @sum(%h) rows <T> ints [#plan.expr<S>] reduce %p into %s accumulate [false]
  // CHECK-NEXT: plan.add %{{.*}} into %y
  plan.add %s into %o
  // CHECK-NEXT: plan.copy %{{.*}} into %y
  plan.copy %s into %o
  // CHECK-NEXT: plan.split_tokens %tokens into %{{.*}} vocab 8
  plan.split_tokens %tokens into %t vocab 8
  // CHECK-NEXT: plan.embedding_backward %{{.*}}, %{{.*}} into %w_0 accumulate
  plan.embedding_backward %t, %h2 into %dw accumulate
}

// CHECK-LABEL: plan.entry @attention
plan.entry @attention symbols ["B", "S", "T"] {
  %q = plan.buffer input bf16 <8 * T> {tensor = "q"}
  %k = plan.buffer input bf16 <4 * T> {tensor = "k"}
  %v = plan.buffer input bf16 <4 * T> {tensor = "v"}
  %out = plan.buffer output bf16 <8 * T> {tensor = "out"}
  %lse = plan.buffer arena f32 <2 * T> live [1, 2]
  %dq = plan.buffer output bf16 <8 * T> {tensor = "dq"}
  %dk = plan.buffer output bf16 <4 * T> {tensor = "dk"}
  %dv = plan.buffer output bf16 <4 * T> {tensor = "dv"}
  // CHECK: plan.loop "micro_batches" {
  plan.loop "micro_batches" {
    // CHECK-NEXT: plan.attention %q, %k, %v into %out, %{{.*}} sequences <B> length <S> {head_dim = 4 : i64, heads = 2 : i64, kv_heads = 1 : i64, scale = 5.000000e-01 : f64, value_dim = 4 : i64}
    plan.attention %q, %k, %v into %out, %lse sequences <B> length <S> {heads = 2, kv_heads = 1, head_dim = 4, value_dim = 4, scale = 0.5}
    // CHECK-NEXT: plan.attention_backward %q, %k, %v, %out, %{{.*}}, %out into %dq, %dk, %dv sequences <B> length <S>
    plan.attention_backward %q, %k, %v, %out, %lse, %out into %dq, %dk, %dv sequences <B> length <S> {heads = 2, kv_heads = 1, head_dim = 4, value_dim = 4, scale = 0.5}
  }
}

// Terms are sorted and merged; what adds up to zero goes.
// CHECK: test.expr = #plan.expr<-3 * B + 5 * T + 7>
module attributes {test.expr = #plan.expr<7 + 2 * T + -3 * B + 3 * T + S + -1 * S>} {}
