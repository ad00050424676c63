// RUN: mhc-opt %s --mhc-plan --split-input-file | FileCheck %s

mhc.kernel @k attributes {compute = f32, ints = [], segments = array<i64: 1, 1, 0>} {
^bb0(%x: memref<?x64xf32>, %y: memref<?x64xf32>):
  %0 = mhc.row.load row %x : memref<?x64xf32> -> !mhc.wide<1x64xf32>
  mhc.row.store %0, %y : !mhc.wide<1x64xf32>, memref<?x64xf32>
}

// The example of the pass's documentation.
// CHECK-LABEL: plan.entry @forward symbols ["T"] {
// CHECK-NEXT:    %x = plan.buffer input f32 <64 * T> {tensor = "x"}
// CHECK-NEXT:    %[[H:.*]] = plan.buffer arena f32 <64 * T> live [0, 1]
// CHECK-NEXT:    %y = plan.buffer output f32 <64 * T> {tensor = "y"}
// CHECK-NEXT:    plan.launch @k(%x, %[[H]]) rows <T> at "first"
// CHECK-NEXT:    plan.launch @k(%[[H]], %y) rows <T> at "second"
// CHECK-NEXT:  }
func.func @forward(%x: tensor<?x64xf32> {mhc.name = "x"}) -> (tensor<?x64xf32> {mhc.name = "y"}) attributes {mhc.entry, mhc.symbols = ["T"]} {
  %0 = mhc.launch @k(%x) "first" : (tensor<?x64xf32>) -> tensor<?x64xf32>
  %1 = mhc.launch @k(%0) "second" : (tensor<?x64xf32>) -> tensor<?x64xf32>
  return %1 : tensor<?x64xf32>
}

// What is returned twice, or is an argument, is copied; what nobody uses is not run, and makes no buffer.
// CHECK-LABEL: plan.entry @copies
// CHECK-NEXT:    %x = plan.buffer input
// CHECK-NEXT:    %a = plan.buffer output
// CHECK-NEXT:    %b = plan.buffer output
// CHECK-NEXT:    %c = plan.buffer output
// CHECK-NEXT:    plan.launch @k(%x, %a) rows <T> at "once"
// CHECK-NEXT:    plan.copy %a into %b
// CHECK-NEXT:    plan.copy %x into %c
// CHECK-NEXT:  }
func.func @copies(%x: tensor<?x64xf32> {mhc.name = "x"}, %unused: tensor<?x64xf32> {mhc.name = "unused"})
    -> (tensor<?x64xf32> {mhc.name = "a"}, tensor<?x64xf32> {mhc.name = "b"}, tensor<?x64xf32> {mhc.name = "c"}) attributes {mhc.entry, mhc.symbols = ["T"]} {
  %0 = mhc.launch @k(%x) "once" : (tensor<?x64xf32>) -> tensor<?x64xf32>
  %1 = mhc.launch @k(%unused) "dead" : (tensor<?x64xf32>) -> tensor<?x64xf32>
  return %0, %0, %x : tensor<?x64xf32>, tensor<?x64xf32>, tensor<?x64xf32>
}

// A view is another name; a parameter of static shape is run over by its rows, a vector by one; slices are parts of the caller's tensor.
// CHECK-LABEL: plan.entry @views
// CHECK-DAG:     %x = plan.buffer input f32 <128 * T> {slice = 1 : i64, slices = 3 : i64, tensor = "x"}
// CHECK-DAG:     %w = plan.buffer input f32 <512> {tensor = "w"}
// CHECK-DAG:     %g = plan.buffer input f32 <64> {tensor = "g"}
// CHECK-DAG:     %[[W:.*]] = plan.buffer output f32 <512> {tensor = "w2"}
// CHECK-DAG:     %[[G:.*]] = plan.buffer output f32 <64> {tensor = "g2"}
// CHECK-DAG:     %[[Y:.*]] = plan.buffer output f32 <128 * T> {slice = 0 : i64, slices = 2 : i64, tensor = "y"}
// CHECK:         plan.launch @k(%x, %[[Y]]) rows <2 * T>
// CHECK-NEXT:    plan.launch @k(%w, %[[W]]) rows <8>
// CHECK-NEXT:    plan.launch @k(%g, %[[G]]) rows <1>
// CHECK-NEXT:  }
func.func @views(%x: tensor<?x128xf32> {mhc.name = "x", mhc.slice = 1 : i64, mhc.slices = 3 : i64}, %w: tensor<8x64xf32> {mhc.name = "w"}, %g: tensor<64xf32> {mhc.name = "g"})
    -> (tensor<?x128xf32> {mhc.name = "y", mhc.slice = 0 : i64, mhc.slices = 2 : i64}, tensor<8x64xf32> {mhc.name = "w2"}, tensor<64xf32> {mhc.name = "g2"})
    attributes {mhc.entry, mhc.symbols = ["T"]} {
  %0 = mhc.view %x : (tensor<?x128xf32>) -> tensor<?x64xf32>
  %1 = mhc.launch @k(%0) "heads" : (tensor<?x64xf32>) -> tensor<?x64xf32>
  %2 = mhc.view %1 : (tensor<?x64xf32>) -> tensor<?x128xf32>
  %3 = mhc.launch @k(%w) "matrix" : (tensor<8x64xf32>) -> tensor<8x64xf32>
  %4 = mhc.launch @k(%g) "vector" : (tensor<64xf32>) -> tensor<64xf32>
  return %2, %3, %4 : tensor<?x128xf32>, tensor<8x64xf32>, tensor<64xf32>
}

// -----

// Reductions, and a sum of parts: the first part is written, the others are added to it.
mhc.kernel @reduce attributes {compute = f32, ints = [], segments = array<i64: 1, 0, 1>} {
^bb0(%x: memref<?x8xf32>, %s: memref<8xf32>):
  %0 = mhc.row.load row %x : memref<?x8xf32> -> !mhc.wide<1x8xf32>
  mhc.row.sum_tokens %0, %s : !mhc.wide<1x8xf32>, memref<8xf32>
}

// CHECK-LABEL: plan.entry @sums
// CHECK-DAG:     %x = plan.buffer input
// CHECK-DAG:     %p = plan.buffer input
// CHECK-DAG:     %[[P0:.*]] = plan.buffer partials f32 <8> live [0, 0]
// CHECK-DAG:     %[[P1:.*]] = plan.buffer partials f32 <8> live [1, 1]
// CHECK-DAG:     %s = plan.buffer output f32 <8> {tensor = "s"}
// CHECK:         plan.launch @reduce(%x) rows <T> reduce %[[P0]] into %s accumulate [false]
// CHECK-NEXT:    plan.launch @reduce(%x) rows <T> reduce %[[P1]] into %s accumulate [true]
// CHECK-NEXT:    plan.add %p into %s
// CHECK-NEXT:  }
func.func @sums(%x: tensor<?x8xf32> {mhc.name = "x"}, %p: tensor<8xf32> {mhc.name = "p"}) -> (tensor<8xf32> {mhc.name = "s"}) attributes {mhc.entry, mhc.symbols = ["T"]} {
  %0 = mhc.launch @reduce(%x) "a" : (tensor<?x8xf32>) -> tensor<8xf32>
  %1 = mhc.launch @reduce(%x) "b" : (tensor<?x8xf32>) -> tensor<8xf32>
  %2 = mhc.sum %0, %p, %1 : (tensor<8xf32>, tensor<8xf32>, tensor<8xf32>) -> tensor<8xf32>
  return %2 : tensor<8xf32>
}

// A sum of arguments only: copied, then added to. One value twice: a temporary of its own, added twice.
// CHECK-LABEL: plan.entry @sums_of_others
// CHECK:         plan.copy %p into %s
// CHECK-NEXT:    plan.add %q into %s
// CHECK-NEXT:    plan.launch @reduce(%x) rows <T> reduce %{{.*}} into %[[A:.*]] accumulate [false]
// CHECK-NEXT:    plan.copy %[[A]] into %t
// CHECK-NEXT:    plan.add %[[A]] into %t
func.func @sums_of_others(%x: tensor<?x8xf32> {mhc.name = "x"}, %p: tensor<8xf32> {mhc.name = "p"}, %q: tensor<8xf32> {mhc.name = "q"})
    -> (tensor<8xf32> {mhc.name = "s"}, tensor<8xf32> {mhc.name = "t"}) attributes {mhc.entry, mhc.symbols = ["T"]} {
  %0 = mhc.sum %p, %q : (tensor<8xf32>, tensor<8xf32>) -> tensor<8xf32>
  %1 = mhc.launch @reduce(%x) "a" : (tensor<?x8xf32>) -> tensor<8xf32>
  %2 = mhc.sum %1, %1 : (tensor<8xf32>, tensor<8xf32>) -> tensor<8xf32>
  return %0, %2 : tensor<8xf32>, tensor<8xf32>
}

// -----

// Library ops.
// CHECK-LABEL: plan.entry @library symbols ["B", "S"] derived {{\[}}["T", "B", "S"]] {
// CHECK-DAG:     %tokens = plan.buffer input i32 <B + T> {tensor = "tokens"}
// CHECK-DAG:     %w = plan.buffer parameter f32 <32> {tensor = "w"}
// CHECK-DAG:     %w_0 = plan.buffer gradient f32 <32> {tensor = "w"}
// CHECK-DAG:     %[[IN:.*]] = plan.buffer arena i32 <T>
// CHECK:         plan.split_tokens %tokens into %[[IN]], %{{.*}} vocab 16 at "split"
// CHECK-NEXT:    plan.gemm %x, %w into %[[Y:.*]] m <T> n <4> k <8> trans_b at "linear"
// CHECK-NEXT:    plan.gemm %[[Y]], %w into %[[DX:.*]] m <T> n <8> k <4> at "linear_dx"
// CHECK-NEXT:    plan.gemm %[[Y]], %x into %w_0 m <4> n <8> k <T> trans_a at "linear_dw"
// CHECK-NEXT:    plan.embedding_backward %[[IN]], %[[DX]] into %dt
// CHECK-NEXT:  }
func.func @library(%tokens: tensor<?x?xi32> {mhc.name = "tokens", mhc.shift = 1 : i64}, %x: tensor<?x8xf32> {mhc.name = "x"}, %w: tensor<4x8xf32> {mhc.name = "w", mhc.parameter})
    -> (tensor<4x8xf32> {mhc.name = "grad.w", mhc.gradient = "w"}, tensor<16x8xf32> {mhc.name = "dt"}) attributes {mhc.entry, mhc.symbols = ["B", "S"]} {
  %0:2 = mhc.split_tokens %tokens {vocab = 16 : i64, mhc.place = "split"} : (tensor<?x?xi32>) -> (tensor<?xi32>, tensor<?xi32>)
  %1 = mhc.linear %x, %w : (tensor<?x8xf32>, tensor<4x8xf32>) -> tensor<?x4xf32>
  %2 = mhc.linear_dx %1, %w : (tensor<?x4xf32>, tensor<4x8xf32>) -> tensor<?x8xf32>
  %3 = mhc.linear_dw %x, %1 : (tensor<?x8xf32>, tensor<?x4xf32>) -> tensor<4x8xf32>
  %4 = mhc.embedding_vjp %0#0, %2 : (tensor<?xi32>, tensor<?x8xf32>) -> tensor<16x8xf32>
  return %3, %4 : tensor<4x8xf32>, tensor<16x8xf32>
}

// -----

// The table of positions is a constant, once; attention knows its sequences.
mhc.kernel @rope attributes {compute = f32, ints = ["S"], segments = array<i64: 2, 1, 0>} {
^bb0(%x: memref<?x4xf32>, %c: memref<?x4xf32>, %y: memref<?x4xf32>):
  %0 = mhc.row.load row %x : memref<?x4xf32> -> !mhc.wide<1x4xf32>
  %1 = mhc.row.load position %c {divisor = 2 : i64} : memref<?x4xf32> -> !mhc.wide<1x4xf32>
  mhc.row.store %0, %y : !mhc.wide<1x4xf32>, memref<?x4xf32>
}
// CHECK-LABEL: plan.entry @attention
// CHECK:         %[[C:.*]] = plan.buffer constant f32 <4 * S> {generator = "rope_cos", name = "rope_cos", pairs = 4 : i64, theta = 1.000000e+04 : f64}
// CHECK-NOT:     rope_cos
// CHECK:         plan.launch @rope(%q, %[[C]], %[[R:.*]]) rows <2 * T> ints [#plan.expr<S>] at "rope"
// CHECK-NEXT:    plan.launch @rope(%[[R]], %[[C]], %[[R2:.*]]) rows <2 * T> ints [#plan.expr<S>] at "rope"
// CHECK-NEXT:    plan.attention %[[R2]], %k, %k into %out, %[[LSE:.*]] sequences <B> length <S> at "attention" {head_dim = 4 : i64, heads = 2 : i64, kv_heads = 1 : i64, scale = 5.000000e-01 : f64, value_dim = 4 : i64}
// CHECK-NEXT:    plan.attention_backward %[[R2]], %k, %k, %out, %[[LSE]], %out into %dq, %dk, %dv sequences <B> length <S>
func.func @attention(%q: tensor<?x8xf32> {mhc.name = "q"}, %k: tensor<?x4xf32> {mhc.name = "k"})
    -> (tensor<?x8xf32> {mhc.name = "out"}, tensor<?x8xf32> {mhc.name = "dq"}, tensor<?x4xf32> {mhc.name = "dk"}, tensor<?x4xf32> {mhc.name = "dv"})
    attributes {mhc.entry, mhc.symbols = ["B", "S"]} {
  %c = mhc.rope_table {theta = 1.0e4 : f64, sine = false} : () -> tensor<?x4xf32>
  %c2 = mhc.rope_table {theta = 1.0e4 : f64, sine = false} : () -> tensor<?x4xf32>
  %h = mhc.view %q : (tensor<?x8xf32>) -> tensor<?x4xf32>
  %0 = mhc.launch @rope(%h, %c) "rope" : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  %1 = mhc.launch @rope(%0, %c2) "rope" : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  %2 = mhc.view %1 : (tensor<?x4xf32>) -> tensor<?x8xf32>
  %3:2 = mhc.attention %2, %k, %k {heads = 2 : i64, kv_heads = 1 : i64, scale = 0.5 : f64} : (tensor<?x8xf32>, tensor<?x4xf32>, tensor<?x4xf32>) -> (tensor<?x8xf32>, tensor<?x2xf32, #mhc.narrow>)
  %4:3 = mhc.attention_vjp %2, %k, %k, %3#0, %3#1, %3#0 {heads = 2 : i64, kv_heads = 1 : i64, scale = 0.5 : f64}
    : (tensor<?x8xf32>, tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x8xf32>, tensor<?x2xf32, #mhc.narrow>, tensor<?x8xf32>) -> (tensor<?x8xf32>, tensor<?x4xf32>, tensor<?x4xf32>)
  return %3#0, %4#0, %4#1, %4#2 : tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x4xf32>, tensor<?x4xf32>
}
