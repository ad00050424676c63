// RUN: mhc-opt %s | mhc-opt | FileCheck %s

// CHECK-LABEL: @route
func.func @route(%z: tensor<?x64xf32>, %b: tensor<64xf32>, %s: tensor<64xf32>) {
  // CHECK: mhc.route logits %{{.*}} bias %{{.*}} scalars %{{.*}} {normalize, phases = array<i64: 6, 2>, score = #mhc<score sigmoid>}
  %w, %i = mhc.route logits %z bias %b scalars %s {score = #mhc<score sigmoid>, normalize, phases = array<i64: 6, 2>}
      : (tensor<?x64xf32>, tensor<64xf32>, tensor<64xf32>) -> (tensor<?x6xf32, #mhc.narrow>, tensor<?x6xi32, #mhc.narrow>)
  // CHECK: mhc.route logits %{{.*}} {chosen = 2 : i64, groups = 8 : i64
  %w2, %i2 = mhc.route logits %z {score = #mhc<score softmax_before_topk>, groups = 8 : i64, chosen = 2 : i64, sqrt_gate} : (tensor<?x64xf32>) -> (tensor<?x4xf32, #mhc.narrow>, tensor<?x4xi32, #mhc.narrow>)
  // CHECK: mhc.route_vjp
  %d = mhc.route_vjp %z, %i, %w {score = #mhc<score sigmoid>, normalize} : (tensor<?x64xf32>, tensor<?x6xi32, #mhc.narrow>, tensor<?x6xf32, #mhc.narrow>) -> tensor<?x64xf32>
  return
}

// CHECK-LABEL: @balance
func.func @balance(%z: tensor<?x8xf32>, %i: tensor<?x2xi32, #mhc.narrow>, %counts: tensor<8xi32>, %previous: tensor<8xi64>, %d: tensor<3xf32>) {
  // CHECK: mhc.expert_load %{{.*}}, %{{.*}} : (tensor<8xi32>, tensor<8xi64>) -> (tensor<8xf32>, tensor<8xi64>)
  %share, %total = mhc.expert_load %counts, %previous : (tensor<8xi32>, tensor<8xi64>) -> (tensor<8xf32>, tensor<8xi64>)
  // CHECK: mhc.sequence_load
  %rows = mhc.sequence_load %i {length = 16 : i64} : (tensor<?x2xi32, #mhc.narrow>) -> tensor<?x8xf32>
  // CHECK: losses = [#mhc.balance<switch_step, weight = 1.000000e-01 : f64>, #mhc.balance<top1, weight = 2.000000e-01 : f64, tau = 5.000000e-01 : f64>, #mhc.balance<switch_sequence, weight = 1.000000e+00 : f64>]
  %t, %p, %q, %m, %b = mhc.router_statistics %z, %rows {length = 16 : i64, losses = [#mhc.balance<switch_step, weight = 0.1 : f64>, #mhc.balance<top1, weight = 0.2 : f64, tau = 0.5 : f64>,
      #mhc.balance<switch_sequence, weight = 1.0 : f64>]} : (tensor<?x8xf32>, tensor<?x8xf32>) -> (tensor<1xf32>, tensor<8xf32>, tensor<8xf32>, tensor<1xf32>, tensor<1xf32>)
  // CHECK: mhc.balance_loss
  %l = mhc.balance_loss %t, %p, %q, %m, %b, %share {experts = 8 : i64, losses = [#mhc.balance<switch_step, weight = 0.1 : f64>, #mhc.balance<top1, weight = 0.2 : f64, tau = 0.5 : f64>,
      #mhc.balance<switch_sequence, weight = 1.0 : f64>]} : (tensor<1xf32>, tensor<8xf32>, tensor<8xf32>, tensor<1xf32>, tensor<1xf32>, tensor<8xf32>) -> tensor<3xf32>
  // CHECK: mhc.update_bias
  %n = mhc.update_bias %share, %total {rate = 1.0e-3 : f64} : (tensor<8xf32>, tensor<8xi64>) -> tensor<8xf32>
  return
}

// CHECK-LABEL: @slots
func.func @slots(%x: tensor<?x32xbf16>, %i: tensor<?x2xi32, #mhc.narrow>, %w: tensor<?x2xf32, #mhc.narrow>, %m: tensor<8x32x16xbf16>) {
  // CHECK: mhc.dispatch %{{.*}} {capacity = 1.250000e+00 : f64}
  %counts, %offsets, %gather, %order, %reverse, %dropped = mhc.dispatch %i {capacity = 1.25 : f64}
      : (tensor<?x2xi32, #mhc.narrow>) -> (tensor<8xi32>, tensor<9xi32>, tensor<?xi32>, tensor<?xi32>, tensor<?x2xi32, #mhc.narrow>, tensor<1xi32>)
  // CHECK: mhc.gather_rows
  %s = mhc.gather_rows %x, %gather, %reverse : (tensor<?x32xbf16>, tensor<?xi32>, tensor<?x2xi32, #mhc.narrow>) -> tensor<?x32xbf16>
  // CHECK: mhc.grouped_matmul
  %y = mhc.grouped_matmul %s, %m, %offsets : (tensor<?x32xbf16>, tensor<8x32x16xbf16>, tensor<9xi32>) -> tensor<?x16xbf16>
  // CHECK: mhc.grouped_outer
  %o = mhc.grouped_outer %s, %y, %offsets : (tensor<?x32xbf16>, tensor<?x16xbf16>, tensor<9xi32>) -> tensor<8x32x16xf32>
  // CHECK: mhc.combine_rows %{{.*}}, %{{.*}} weight %{{.*}} slots %{{.*}}, %{{.*}} :
  %c = mhc.combine_rows %y, %reverse weight %w slots %gather, %order
      : (tensor<?x16xbf16>, tensor<?x2xi32, #mhc.narrow>, tensor<?x2xf32, #mhc.narrow>, tensor<?xi32>, tensor<?xi32>) -> tensor<?x16xf32>
  // CHECK: mhc.combine_rows %{{.*}}, %{{.*}} :
  %c1 = mhc.combine_rows %y, %reverse : (tensor<?x16xbf16>, tensor<?x2xi32, #mhc.narrow>) -> tensor<?x16xf32>
  return
}
