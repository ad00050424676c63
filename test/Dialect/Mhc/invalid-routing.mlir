// RUN: mhc-opt %s -split-input-file -verify-diagnostics

// The ops of MhcRoutingOps.td, each by its labels; then the attribute of the losses.

func.func @route_c1(%z: tensor<?x8xf32>) {
  // expected-error @+1 {{expected logits of [T, E], index and weight of [T, k]}}
  %w, %i = mhc.route logits %z {score = #mhc<score sigmoid>} : (tensor<?x8xf32>) -> (tensor<?x9xf32, #mhc.narrow>, tensor<?x9xi32, #mhc.narrow>)
  return
}

// -----

func.func @route_c2(%z: tensor<?x8xf32>) {
  // expected-error @+1 {{expected groups that divide 8 experts, and chosen ones that divide 2 choices among enough of them, but got 1 of 3}}
  %w, %i = mhc.route logits %z {score = #mhc<score sigmoid>, groups = 3 : i64} : (tensor<?x8xf32>) -> (tensor<?x2xf32, #mhc.narrow>, tensor<?x2xi32, #mhc.narrow>)
  return
}

// -----

func.func @route_c2_chosen(%z: tensor<?x8xf32>) {
  // expected-error @+1 {{expected groups that divide 8 experts, and chosen ones that divide 3 choices among enough of them, but got 2 of 4}}
  %w, %i = mhc.route logits %z {score = #mhc<score sigmoid>, groups = 4 : i64, chosen = 2 : i64} : (tensor<?x8xf32>) -> (tensor<?x3xf32, #mhc.narrow>, tensor<?x3xi32, #mhc.narrow>)
  return
}

// -----

func.func @route_c3(%z: tensor<?x8xf32>, %b: tensor<7xf32>) {
  // expected-error @+1 {{expected a bias of 8 elements, but got 'tensor<7xf32>'}}
  %w, %i = mhc.route logits %z bias %b {score = #mhc<score sigmoid>} : (tensor<?x8xf32>, tensor<7xf32>) -> (tensor<?x2xf32, #mhc.narrow>, tensor<?x2xi32, #mhc.narrow>)
  return
}

// -----

func.func @route_c4(%z: tensor<?x8xf32>) {
  // expected-error @+1 {{expected phases of 1 to 2 choices, multiples of 1, and scalars with them alone}}
  %w, %i = mhc.route logits %z {score = #mhc<score sigmoid>, phases = array<i64: 2, 1>} : (tensor<?x8xf32>) -> (tensor<?x2xf32, #mhc.narrow>, tensor<?x2xi32, #mhc.narrow>)
  return
}

// -----

func.func @route_c4_groups(%z: tensor<?x8xf32>, %s: tensor<64xf32>) {
  // expected-error @+1 {{expected phases of 1 to 4 choices, multiples of 2, and scalars with them alone}}
  %w, %i = mhc.route logits %z scalars %s {score = #mhc<score sigmoid>, groups = 4 : i64, chosen = 2 : i64, phases = array<i64: 4, 3>} : (tensor<?x8xf32>, tensor<64xf32>) -> (tensor<?x4xf32, #mhc.narrow>, tensor<?x4xi32, #mhc.narrow>)
  return
}

// -----

func.func @route_c4_most(%z: tensor<?x8xf32>, %s: tensor<64xf32>) {
  // expected-error @+1 {{expected phases of 1 to 2 choices, multiples of 1, and scalars with them alone}}
  %w, %i = mhc.route logits %z scalars %s {score = #mhc<score sigmoid>, phases = array<i64: 1, 1>} : (tensor<?x8xf32>, tensor<64xf32>) -> (tensor<?x2xf32, #mhc.narrow>, tensor<?x2xi32, #mhc.narrow>)
  return
}

// -----

func.func @route_vjp_c1(%z: tensor<?x8xf32>, %i: tensor<?x2xi32, #mhc.narrow>, %g: tensor<?x2xf32, #mhc.narrow>) {
  // expected-error @+1 {{expected dlogits of the logits' shape}}
  %0 = mhc.route_vjp %z, %i, %g {score = #mhc<score sigmoid>} : (tensor<?x8xf32>, tensor<?x2xi32, #mhc.narrow>, tensor<?x2xf32, #mhc.narrow>) -> tensor<?x7xf32>
  return
}

// -----

func.func @route_vjp_c2(%z: tensor<?x8xf32>, %i: tensor<?x2xi32, #mhc.narrow>, %g: tensor<?x3xf32, #mhc.narrow>) {
  // expected-error @+1 {{expected index and gradient of [T, k]}}
  %0 = mhc.route_vjp %z, %i, %g {score = #mhc<score sigmoid>} : (tensor<?x8xf32>, tensor<?x2xi32, #mhc.narrow>, tensor<?x3xf32, #mhc.narrow>) -> tensor<?x8xf32>
  return
}

// -----

func.func @router_statistics_c1(%z: tensor<?x8xf32, #mhc.narrow>) {
  // expected-error @+1 {{expected logits of [T, E]}}
  %0:2 = mhc.router_statistics %z {losses = [#mhc.balance<z, weight = 0.1 : f64>]} : (tensor<?x8xf32, #mhc.narrow>) -> (tensor<1xf32>, tensor<1xf32>)
  return
}

// -----

func.func @router_statistics_c2(%z: tensor<?x8xf32>) {
  // expected-error @+1 {{expected a sum for the tokens, and those of the losses}}
  %0 = mhc.router_statistics %z {losses = [#mhc.balance<z, weight = 0.1 : f64>]} : (tensor<?x8xf32>) -> tensor<1xf32>
  return
}

// -----

func.func @router_statistics_c2_losses(%z: tensor<?x8xf32>) {
  // expected-error @+1 {{expected a sum for the tokens, and those of the losses}}
  %0 = mhc.router_statistics %z {losses = [1 : i64]} : (tensor<?x8xf32>) -> tensor<1xf32>
  return
}

// -----

func.func @router_statistics_c3(%z: tensor<?x8xf32>) {
  // expected-error @+1 {{expected shares of [B, E] with a loss of sequences, and with that alone}}
  %0:2 = mhc.router_statistics %z {losses = [#mhc.balance<switch_sequence, weight = 0.1 : f64>]} : (tensor<?x8xf32>) -> (tensor<1xf32>, tensor<1xf32>)
  return
}

// -----

func.func @router_statistics_vjp_c1(%z: tensor<?x8xf32>, %g: tensor<1xf32>) {
  // expected-error @+1 {{expected dlogits of the logits' shape}}
  %0 = mhc.router_statistics_vjp %z, %g {losses = [#mhc.balance<z, weight = 0.1 : f64>]} : (tensor<?x8xf32>, tensor<1xf32>) -> tensor<?x7xf32>
  return
}

// -----

func.func @router_statistics_vjp_c2(%z: tensor<?x8xf32>, %g: tensor<1xf32>) {
  // expected-error @+1 {{expected a gradient for each sum of the losses}}
  %0 = mhc.router_statistics_vjp %z, %g, %g {losses = [#mhc.balance<z, weight = 0.1 : f64>]} : (tensor<?x8xf32>, tensor<1xf32>, tensor<1xf32>) -> tensor<?x8xf32>
  return
}

// -----

func.func @router_statistics_vjp_c3(%z: tensor<?x8xf32>, %g: tensor<1xf32>) {
  // expected-error @+1 {{expected shares of [B, E] with a loss of sequences, and with that alone}}
  %0 = mhc.router_statistics_vjp %z, %g {losses = [#mhc.balance<switch_sequence, weight = 0.1 : f64>]} : (tensor<?x8xf32>, tensor<1xf32>) -> tensor<?x8xf32>
  return
}

// -----

func.func @balance_loss_c1(%t: tensor<1xf32>) {
  // expected-error @+1 {{expected the number of tokens, and the sums of the losses}}
  %0 = mhc.balance_loss %t {experts = 8 : i64, losses = [#mhc.balance<z, weight = 0.1 : f64>]} : (tensor<1xf32>) -> tensor<1xf32>
  return
}

// -----

func.func @balance_loss_c2(%t: tensor<1xf32>, %p: tensor<8xf32>) {
  // expected-error @+1 {{expected shares of 8 elements for each loss of the step}}
  %0 = mhc.balance_loss %t, %p {experts = 8 : i64, losses = [#mhc.balance<switch_step, weight = 0.1 : f64>]} : (tensor<1xf32>, tensor<8xf32>) -> tensor<1xf32>
  return
}

// -----

func.func @balance_loss_c3(%t: tensor<1xf32>) {
  // expected-error @+1 {{expected an element for each loss}}
  %0 = mhc.balance_loss %t, %t {experts = 8 : i64, losses = [#mhc.balance<z, weight = 0.1 : f64>]} : (tensor<1xf32>, tensor<1xf32>) -> tensor<2xf32>
  return
}

// -----

func.func @balance_loss_vjp_c1(%t: tensor<1xf32>) {
  // expected-error @+1 {{expected a result for each sum of the losses}}
  %0 = mhc.balance_loss_vjp %t, %t, %t {experts = 8 : i64, losses = [#mhc.balance<z, weight = 0.1 : f64>]} : (tensor<1xf32>, tensor<1xf32>, tensor<1xf32>) -> tensor<2xf32>
  return
}

// -----

func.func @balance_loss_vjp_c2(%t: tensor<1xf32>, %g: tensor<2xf32>) {
  // expected-error @+1 {{expected a gradient for each loss}}
  %0 = mhc.balance_loss_vjp %t, %t, %g {experts = 8 : i64, losses = [#mhc.balance<z, weight = 0.1 : f64>]} : (tensor<1xf32>, tensor<1xf32>, tensor<2xf32>) -> tensor<1xf32>
  return
}

// -----

func.func @total_loss_c1(%s: tensor<63xf32>, %c: tensor<1xf32>) {
  // expected-error @+1 {{expected a cross-entropy and a loss of one element, and scalars}}
  %0 = mhc.total_loss %s, %c : (tensor<63xf32>, tensor<1xf32>) -> tensor<1xf32>
  return
}

// -----

func.func @loss_scale_c1(%s: tensor<63xf32>) {
  // expected-error @+1 {{expected scalars}}
  %0 = mhc.loss_scale %s : (tensor<63xf32>) -> tensor<1xf32>
  return
}

// -----

func.func @expert_load_c1(%c: tensor<8xi32>, %p: tensor<7xi64>) {
  // expected-error @+1 {{expected counts of i32, totals of i64 and shares, vectors of one length}}
  %s, %t = mhc.expert_load %c, %p : (tensor<8xi32>, tensor<7xi64>) -> (tensor<8xf32>, tensor<8xi64>)
  return
}

// -----

func.func @sequence_load_c1(%i: tensor<?x2xf32, #mhc.narrow>) {
  // expected-error @+1 {{expected an index of [T, k] and shares of [B, E]}}
  %0 = mhc.sequence_load %i : (tensor<?x2xf32, #mhc.narrow>) -> tensor<?x8xf32>
  return
}

// -----

func.func @update_bias_c1(%b: tensor<8xf32>, %c: tensor<7xi32>) {
  // expected-error @+1 {{expected bias, counts and result of one shape}}
  %0 = mhc.update_bias %b, %c {rate = 1.0 : f64} : (tensor<8xf32>, tensor<7xi32>) -> tensor<8xf32>
  return
}

// -----

func.func @update_bias_c2(%b: tensor<8xf32>, %c: tensor<8xi32>) {
  // expected-error @+1 {{expected a rate of at least 0}}
  %0 = mhc.update_bias %b, %c {rate = -1.0 : f64} : (tensor<8xf32>, tensor<8xi32>) -> tensor<8xf32>
  return
}

// -----

func.func @dispatch_c1(%i: tensor<?x2xi32, #mhc.narrow>) {
  // expected-error @+1 {{expected index and reverse of [T, k], gather and order of [M], all i32}}
  %0:6 = mhc.dispatch %i : (tensor<?x2xi32, #mhc.narrow>) -> (tensor<8xi32>, tensor<9xi32>, tensor<?xi32>, tensor<?xi32>, tensor<?x3xi32, #mhc.narrow>, tensor<1xi32>)
  return
}

// -----

func.func @dispatch_c2(%i: tensor<?x2xi32, #mhc.narrow>) {
  // expected-error @+1 {{expected counts of E and offsets of E + 1 elements}}
  %0:6 = mhc.dispatch %i : (tensor<?x2xi32, #mhc.narrow>) -> (tensor<8xi32>, tensor<8xi32>, tensor<?xi32>, tensor<?xi32>, tensor<?x2xi32, #mhc.narrow>, tensor<1xi32>)
  return
}

// -----

func.func @dispatch_c2_type(%i: tensor<?x2xi32, #mhc.narrow>) {
  // expected-error @+1 {{expected counts of i32, but got 'tensor<8xf32>'}}
  %0:6 = mhc.dispatch %i : (tensor<?x2xi32, #mhc.narrow>) -> (tensor<8xf32>, tensor<9xi32>, tensor<?xi32>, tensor<?xi32>, tensor<?x2xi32, #mhc.narrow>, tensor<1xi32>)
  return
}

// -----

func.func @dispatch_c3(%i: tensor<?x2xi32, #mhc.narrow>) {
  // expected-error @+1 {{expected a capacity above 0}}
  %0:6 = mhc.dispatch %i {capacity = 0.0 : f64} : (tensor<?x2xi32, #mhc.narrow>) -> (tensor<8xi32>, tensor<9xi32>, tensor<?xi32>, tensor<?xi32>, tensor<?x2xi32, #mhc.narrow>, tensor<1xi32>)
  return
}

// -----

func.func @gather_rows_c1(%x: tensor<?x8xf32>, %g: tensor<?xi32>, %r: tensor<?x2xi32, #mhc.narrow>) {
  // expected-error @+1 {{expected rows of one stream, and the result of x's type}}
  %0 = mhc.gather_rows %x, %g, %r : (tensor<?x8xf32>, tensor<?xi32>, tensor<?x2xi32, #mhc.narrow>) -> tensor<?x8xbf16>
  return
}

// -----

func.func @gather_rows_c2(%x: tensor<?x8xf32>, %g: tensor<?xf32>, %r: tensor<?x2xi32, #mhc.narrow>) {
  // expected-error @+1 {{expected a token for each slot, and a slot for each choice}}
  %0 = mhc.gather_rows %x, %g, %r : (tensor<?x8xf32>, tensor<?xf32>, tensor<?x2xi32, #mhc.narrow>) -> tensor<?x8xf32>
  return
}

// -----

func.func @combine_rows_c1(%y: tensor<?x8xf32>, %i: tensor<?x2xi32, #mhc.narrow>) {
  // expected-error @+1 {{expected rows of one stream and of as many channels}}
  %0 = mhc.combine_rows %y, %i : (tensor<?x8xf32>, tensor<?x2xi32, #mhc.narrow>) -> tensor<?x9xf32>
  return
}

// -----

func.func @combine_rows_c2(%y: tensor<?x8xf32>, %w: tensor<?x3xf32, #mhc.narrow>, %g: tensor<?xi32>, %i: tensor<?x2xi32, #mhc.narrow>) {
  // expected-error @+1 {{expected a slot and a weight for each choice}}
  %0 = mhc.combine_rows %y, %i weight %w slots %g, %g : (tensor<?x8xf32>, tensor<?x2xi32, #mhc.narrow>, tensor<?x3xf32, #mhc.narrow>, tensor<?xi32>, tensor<?xi32>) -> tensor<?x8xf32>
  return
}

// -----

func.func @combine_rows_c3(%y: tensor<?x8xf32>, %w: tensor<?x2xf32, #mhc.narrow>, %i: tensor<?x2xi32, #mhc.narrow>) {
  // expected-error @+1 {{expected the slots' tokens and choices with weights, and with those alone}}
  %0 = mhc.combine_rows %y, %i weight %w : (tensor<?x8xf32>, tensor<?x2xi32, #mhc.narrow>, tensor<?x2xf32, #mhc.narrow>) -> tensor<?x8xf32>
  return
}

// -----

func.func @combine_rows_dy_c1(%g: tensor<?x8xf32>, %w: tensor<?x1xf32, #mhc.narrow>, %n: tensor<?xi32>) {
  // expected-error @+1 {{expected rows of one stream and of as many channels}}
  %0 = mhc.combine_rows_dy %g, %w, %n, %n : (tensor<?x8xf32>, tensor<?x1xf32, #mhc.narrow>, tensor<?xi32>, tensor<?xi32>) -> tensor<?x7xf32>
  return
}

// -----

func.func @combine_rows_dy_c2(%g: tensor<?x8xf32>, %w: tensor<?x2xf32, #mhc.narrow>, %n: tensor<?xi32>) {
  // expected-error @+1 {{expected a token and a choice for each slot, and one weight a row}}
  %0 = mhc.combine_rows_dy %g, %w, %n, %n : (tensor<?x8xf32>, tensor<?x2xf32, #mhc.narrow>, tensor<?xi32>, tensor<?xi32>) -> tensor<?x8xf32>
  return
}

// -----

func.func @combine_rows_dw_c1(%g: tensor<?x8xf32>, %y: tensor<?x9xf32>, %i: tensor<?x2xi32, #mhc.narrow>) {
  // expected-error @+1 {{expected rows of one stream and of as many channels}}
  %0 = mhc.combine_rows_dw %g, %y, %i : (tensor<?x8xf32>, tensor<?x9xf32>, tensor<?x2xi32, #mhc.narrow>) -> tensor<?x2xf32, #mhc.narrow>
  return
}

// -----

func.func @combine_rows_dw_c2(%g: tensor<?x8xf32>, %i: tensor<?x2xi32, #mhc.narrow>) {
  // expected-error @+1 {{expected a slot and a gradient for each choice}}
  %0 = mhc.combine_rows_dw %g, %g, %i : (tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x2xi32, #mhc.narrow>) -> tensor<?x3xf32, #mhc.narrow>
  return
}

// -----

func.func @grouped_matmul_c1(%x: tensor<?x8xbf16>, %w: tensor<4x8x6xbf16>, %o: tensor<4xi32>) {
  // expected-error @+1 {{expected x of [M, K], W of [E, K, N] or [E, N, K], y of [M, N] and offsets of E + 1}}
  %0 = mhc.grouped_matmul %x, %w, %o : (tensor<?x8xbf16>, tensor<4x8x6xbf16>, tensor<4xi32>) -> tensor<?x6xbf16>
  return
}

// -----

func.func @grouped_matmul_c2(%x: tensor<?x8xbf16>, %w: tensor<4x8x6xf32>, %o: tensor<5xi32>) {
  // expected-error @+1 {{expected W of x's type, and y of x's type or f32}}
  %0 = mhc.grouped_matmul %x, %w, %o : (tensor<?x8xbf16>, tensor<4x8x6xf32>, tensor<5xi32>) -> tensor<?x6xbf16>
  return
}

// -----

func.func @grouped_outer_c1(%x: tensor<?x8xf32>, %o: tensor<5xi32>) {
  // expected-error @+1 {{expected x of [M, K], y of [M, N], a result of [E, K, N] and offsets of E + 1}}
  %0 = mhc.grouped_outer %x, %x, %o : (tensor<?x8xf32>, tensor<?x8xf32>, tensor<5xi32>) -> tensor<5x8x8xf32>
  return
}

// -----

// expected-error @+1 {{expected a tau with top1, and with that alone}}
func.func private @balance_tau() attributes {a = #mhc.balance<z, weight = 0.1 : f64, tau = 0.5 : f64>}

// -----

// expected-error @+1 {{expected a tau above 0, but got}}
func.func private @balance_tau_zero() attributes {a = #mhc.balance<top1, weight = 0.1 : f64, tau = 0.0 : f64>}
