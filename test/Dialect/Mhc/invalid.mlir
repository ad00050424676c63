// RUN: mhc-opt %s -split-input-file -verify-diagnostics

// Tensor ops in the order of MhcTopologyOps.td, MhcManifoldOps.td and MhcLayerOps.td, each by its label; then attributes and types.

func.func @sublayer_c1(%x: tensor<?x8xf32>, %p: tensor<3xf32>) {
  // expected-error @+1 {{expected 0 parameters, but got 1}}
  %0 = mhc.sublayer "a" %x(%p) : (tensor<?x8xf32>, tensor<3xf32>) -> tensor<?x8xf32> {
  ^bb0(%u: tensor<?x8xf32>):
    mhc.yield %u : tensor<?x8xf32>
  }
  return
}

// -----

func.func @sublayer_c1_connection(%x: tensor<?x2x8xf32>) {
  // expected-error @+1 {{expected 3 parameters, but got 0}}
  %0 = mhc.sublayer "a" %x connection <topology = "mhc", streams = 2, manifold = #mhc.unconstrained, eps = 1.0e-6 : f64, postScale = 2.0 : f64, phiTransposed = false> : (tensor<?x2x8xf32>) -> tensor<?x2x8xf32> {
  ^bb0(%u: tensor<?x8xf32>):
    mhc.yield %u : tensor<?x8xf32>
  }
  return
}

// -----

func.func @sublayer_c2(%x: tensor<?x8xf32>) {
  // expected-error @+1 {{expected the result to have x's type, but got 'tensor<?x8xbf16>'}}
  %0 = mhc.sublayer "a" %x : (tensor<?x8xf32>) -> tensor<?x8xbf16> {
  ^bb0(%u: tensor<?x8xf32>):
    mhc.yield %u : tensor<?x8xf32>
  }
  return
}

// -----

func.func @sublayer_c3_argument(%x: tensor<?x8xf32>) {
  // expected-error @+1 {{expected the body to take and to yield 'tensor<?x8xf32>'}}
  %0 = mhc.sublayer "a" %x : (tensor<?x8xf32>) -> tensor<?x8xf32> {
  ^bb0(%u: tensor<?x9xf32>):
    mhc.yield %x : tensor<?x8xf32>
  }
  return
}

// -----

func.func @sublayer_c3_yield(%x: tensor<?x8xf32>, %y: tensor<?x8xbf16>) {
  // expected-error @+1 {{expected the body to take and to yield 'tensor<?x8xf32>'}}
  %0 = mhc.sublayer "a" %x : (tensor<?x8xf32>) -> tensor<?x8xf32> {
  ^bb0(%u: tensor<?x8xf32>):
    mhc.yield %y : tensor<?x8xbf16>
  }
  return
}

// -----

func.func @sublayer_c4(%x: tensor<?x2x8xf32>, %phi: tensor<16x8xf32>, %alpha: tensor<3xf32>, %bias: tensor<8xf32>) {
  // expected-error @+1 {{expected h_pre in and out with a delayed connection, and with that alone}}
  %0 = mhc.sublayer "a" %x(%phi, %alpha, %bias) connection <topology = "mhc", streams = 2, manifold = #mhc.unconstrained, eps = 1.0e-6 : f64, postScale = 2.0 : f64, phiTransposed = false, delayed = true> : (tensor<?x2x8xf32>, tensor<16x8xf32>, tensor<3xf32>, tensor<8xf32>) -> tensor<?x2x8xf32> {
  ^bb0(%u: tensor<?x8xf32>):
    mhc.yield %u : tensor<?x8xf32>
  }
  return
}

// -----

func.func @sublayer_c4_plain(%x: tensor<?x8xf32>) {
  // expected-error @+1 {{expected h_pre in and out with a delayed connection, and with that alone}}
  %0:2 = mhc.sublayer "a" %x : (tensor<?x8xf32>) -> (tensor<?x8xf32>, tensor<?x2xf32, #mhc.narrow>) {
  ^bb0(%u: tensor<?x8xf32>):
    mhc.yield %u : tensor<?x8xf32>
  }
  return
}

// -----

func.func @coefficients_c1(%x: tensor<?x2x8xf32>, %phi: tensor<16x7xf32>, %alpha: tensor<3xf32>, %bias: tensor<8xf32>) {
  // expected-error @+1 {{expected phi of 16x8, but got 'tensor<16x7xf32>'}}
  %0:3 = mhc.coefficients %x, %phi, %alpha, %bias {connection = #mhc.connection<topology = "mhc", streams = 2, manifold = #mhc.unconstrained, eps = 1.0e-6 : f64, postScale = 2.0 : f64, phiTransposed = false>} : (tensor<?x2x8xf32>, tensor<16x7xf32>, tensor<3xf32>, tensor<8xf32>) -> (tensor<?x2xf32, #mhc.narrow>, tensor<?x2xf32, #mhc.narrow>, tensor<?x2x2xf32, #mhc.narrow>)
  return
}

// -----

func.func @coefficients_c1_hc(%x: tensor<?x2x8xf32>, %phi: tensor<16x4xf32>, %alpha: tensor<3xf32>, %bias: tensor<8xf32>) {
  // expected-error @+1 {{expected phi of 8x4, but got 'tensor<16x4xf32>'}}
  %0:3 = mhc.coefficients %x, %phi, %alpha, %bias {connection = #mhc.connection<topology = "hc", streams = 2, manifold = #mhc.unconstrained, eps = 1.0e-6 : f64, postScale = 2.0 : f64, phiTransposed = false>} : (tensor<?x2x8xf32>, tensor<16x4xf32>, tensor<3xf32>, tensor<8xf32>) -> (tensor<?x2xf32, #mhc.narrow>, tensor<?x2xf32, #mhc.narrow>, tensor<?x2x2xf32, #mhc.narrow>)
  return
}

// -----

func.func @coefficients_c1_transposed(%x: tensor<?x2x8xf32>, %phi: tensor<16x8xf32>, %alpha: tensor<3xf32>, %bias: tensor<8xf32>) {
  // expected-error @+1 {{expected phi of 8x16, but got 'tensor<16x8xf32>'}}
  %0:3 = mhc.coefficients %x, %phi, %alpha, %bias {connection = #mhc.connection<topology = "mhc", streams = 2, manifold = #mhc.unconstrained, eps = 1.0e-6 : f64, postScale = 2.0 : f64, phiTransposed = true>} : (tensor<?x2x8xf32>, tensor<16x8xf32>, tensor<3xf32>, tensor<8xf32>) -> (tensor<?x2xf32, #mhc.narrow>, tensor<?x2xf32, #mhc.narrow>, tensor<?x2x2xf32, #mhc.narrow>)
  return
}

// -----

func.func @coefficients_c2_alpha(%x: tensor<?x2x8xf32>, %phi: tensor<16x8xf32>, %alpha: tensor<4xf32>, %bias: tensor<8xf32>) {
  // expected-error @+1 {{expected alpha of 3 and bias of 8 elements}}
  %0:3 = mhc.coefficients %x, %phi, %alpha, %bias {connection = #mhc.connection<topology = "mhc", streams = 2, manifold = #mhc.unconstrained, eps = 1.0e-6 : f64, postScale = 2.0 : f64, phiTransposed = false>} : (tensor<?x2x8xf32>, tensor<16x8xf32>, tensor<4xf32>, tensor<8xf32>) -> (tensor<?x2xf32, #mhc.narrow>, tensor<?x2xf32, #mhc.narrow>, tensor<?x2x2xf32, #mhc.narrow>)
  return
}

// -----

func.func @coefficients_c2_bias(%x: tensor<?x2x8xf32>, %phi: tensor<16x8xf32>, %alpha: tensor<3xf32>, %bias: tensor<9xf32>) {
  // expected-error @+1 {{expected alpha of 3 and bias of 8 elements}}
  %0:3 = mhc.coefficients %x, %phi, %alpha, %bias {connection = #mhc.connection<topology = "mhc", streams = 2, manifold = #mhc.unconstrained, eps = 1.0e-6 : f64, postScale = 2.0 : f64, phiTransposed = false>} : (tensor<?x2x8xf32>, tensor<16x8xf32>, tensor<3xf32>, tensor<9xf32>) -> (tensor<?x2xf32, #mhc.narrow>, tensor<?x2xf32, #mhc.narrow>, tensor<?x2x2xf32, #mhc.narrow>)
  return
}

// -----

func.func @coefficients_c3(%x: tensor<?x2x8xf32>, %phi: tensor<16x8xf32>, %alpha: tensor<3xf32>, %bias: tensor<8xf32>) {
  // expected-error @+1 {{expected narrow coefficients of x's streams}}
  %0:3 = mhc.coefficients %x, %phi, %alpha, %bias {connection = #mhc.connection<topology = "mhc", streams = 2, manifold = #mhc.unconstrained, eps = 1.0e-6 : f64, postScale = 2.0 : f64, phiTransposed = false>} : (tensor<?x2x8xf32>, tensor<16x8xf32>, tensor<3xf32>, tensor<8xf32>) -> (tensor<?x2xf32, #mhc.narrow>, tensor<?x2xf32, #mhc.narrow>, tensor<?x4x2xf32, #mhc.narrow>)
  return
}

// -----

func.func @coefficients_c3_wide(%x: tensor<?x2x8xf32>, %phi: tensor<16x8xf32>, %alpha: tensor<3xf32>, %bias: tensor<8xf32>) {
  // expected-error @+1 {{expected narrow coefficients of x's streams}}
  %0:3 = mhc.coefficients %x, %phi, %alpha, %bias {connection = #mhc.connection<topology = "mhc", streams = 2, manifold = #mhc.unconstrained, eps = 1.0e-6 : f64, postScale = 2.0 : f64, phiTransposed = false>} : (tensor<?x2x8xf32>, tensor<16x8xf32>, tensor<3xf32>, tensor<8xf32>) -> (tensor<?x1x2xf32>, tensor<?x2xf32, #mhc.narrow>, tensor<?x2x2xf32, #mhc.narrow>)
  return
}

// -----

func.func @coefficients_c4(%x: tensor<?x2x8xf32>, %phi: tensor<16x8xf32>, %alpha: tensor<3xf32>, %bias: tensor<8xf32>, %gain: tensor<16xf32>) {
  // expected-error @+1 {{expected a gain of 16 elements with normWeight, and with that alone}}
  %0:3 = mhc.coefficients %x, %phi, %alpha, %bias, %gain {connection = #mhc.connection<topology = "mhc", streams = 2, manifold = #mhc.unconstrained, eps = 1.0e-6 : f64, postScale = 2.0 : f64, phiTransposed = false>} : (tensor<?x2x8xf32>, tensor<16x8xf32>, tensor<3xf32>, tensor<8xf32>, tensor<16xf32>) -> (tensor<?x2xf32, #mhc.narrow>, tensor<?x2xf32, #mhc.narrow>, tensor<?x2x2xf32, #mhc.narrow>)
  return
}

// -----

func.func @coefficients_c4_missing(%x: tensor<?x2x8xf32>, %phi: tensor<16x8xf32>, %alpha: tensor<3xf32>, %bias: tensor<8xf32>) {
  // expected-error @+1 {{expected a gain of 16 elements with normWeight, and with that alone}}
  %0:3 = mhc.coefficients %x, %phi, %alpha, %bias {connection = #mhc.connection<topology = "mhc", streams = 2, manifold = #mhc.unconstrained, eps = 1.0e-6 : f64, postScale = 2.0 : f64, phiTransposed = false, normWeight = true>} : (tensor<?x2x8xf32>, tensor<16x8xf32>, tensor<3xf32>, tensor<8xf32>) -> (tensor<?x2xf32, #mhc.narrow>, tensor<?x2xf32, #mhc.narrow>, tensor<?x2x2xf32, #mhc.narrow>)
  return
}

// -----

func.func @expand_c1(%x: tensor<?x8xf32>) {
  // expected-error @+1 {{expected as many channels in as out}}
  %0 = mhc.expand %x : (tensor<?x8xf32>) -> tensor<?x2x9xf32>
  return
}

// -----

func.func @readout_c1(%x: tensor<?x2x8xf32>) {
  // expected-error @+1 {{expected as many channels in as out}}
  %0 = mhc.readout %x : (tensor<?x2x8xf32>) -> tensor<?x9xf32>
  return
}

// -----

func.func @aggregate_c1(%x: tensor<?x4x8xf32>, %h: tensor<?x3xf32, #mhc.narrow>) {
  // expected-error @+1 {{expected h_pre of 4 narrow elements, but got 'tensor<?x3xf32, #mhc.narrow>'}}
  %0 = mhc.aggregate %x, %h : (tensor<?x4x8xf32>, tensor<?x3xf32, #mhc.narrow>) -> tensor<?x8xf32>
  return
}

// -----

func.func @aggregate_c2(%x: tensor<?x4x8xf32>, %h: tensor<?x4xf32, #mhc.narrow>) {
  // expected-error @+1 {{expected u to have x's channels}}
  %0 = mhc.aggregate %x, %h : (tensor<?x4x8xf32>, tensor<?x4xf32, #mhc.narrow>) -> tensor<?x9xf32>
  return
}

// -----

func.func @aggregate_vjp(%x: tensor<?x2x8xf32>, %h: tensor<?x2xf32, #mhc.narrow>, %du: tensor<?x8xf32>) {
  // expected-error @+1 {{expected gradients of the operands' shapes}}
  %0:2 = mhc.aggregate_vjp %x, %h, %du : (tensor<?x2x8xf32>, tensor<?x2xf32, #mhc.narrow>, tensor<?x8xf32>) -> (tensor<?x4x8xf32>, tensor<?x2xf32, #mhc.narrow>)
  return
}

// -----

func.func @combine_c1(%x: tensor<?x2x8xf32>, %f: tensor<?x8xf32>, %p: tensor<?x2xf32, #mhc.narrow>, %r: tensor<?x2xf32, #mhc.narrow>) {
  // expected-error @+1 {{expected h_post of 2 and h_res of 4 narrow elements}}
  %0 = mhc.combine %x, %f, %p, %r : (tensor<?x2x8xf32>, tensor<?x8xf32>, tensor<?x2xf32, #mhc.narrow>, tensor<?x2xf32, #mhc.narrow>) -> tensor<?x2x8xf32>
  return
}

// -----

func.func @combine_c1_post(%x: tensor<?x2x8xf32>, %f: tensor<?x8xf32>, %p: tensor<?x3xf32, #mhc.narrow>, %r: tensor<?x2x2xf32, #mhc.narrow>) {
  // expected-error @+1 {{expected h_post of 2 and h_res of 4 narrow elements}}
  %0 = mhc.combine %x, %f, %p, %r : (tensor<?x2x8xf32>, tensor<?x8xf32>, tensor<?x3xf32, #mhc.narrow>, tensor<?x2x2xf32, #mhc.narrow>) -> tensor<?x2x8xf32>
  return
}

// -----

func.func @combine_c2(%x: tensor<?x2x8xf32>, %f: tensor<?x9xf32>, %p: tensor<?x2xf32, #mhc.narrow>, %r: tensor<?x2x2xf32, #mhc.narrow>) {
  // expected-error @+1 {{expected f and x' to have x's channels}}
  %0 = mhc.combine %x, %f, %p, %r : (tensor<?x2x8xf32>, tensor<?x9xf32>, tensor<?x2xf32, #mhc.narrow>, tensor<?x2x2xf32, #mhc.narrow>) -> tensor<?x2x8xf32>
  return
}

// -----

func.func @combine_c2_result(%x: tensor<?x2x8xf32>, %f: tensor<?x8xf32>, %p: tensor<?x2xf32, #mhc.narrow>, %r: tensor<?x2x2xf32, #mhc.narrow>) {
  // expected-error @+1 {{expected f and x' to have x's channels}}
  %0 = mhc.combine %x, %f, %p, %r : (tensor<?x2x8xf32>, tensor<?x8xf32>, tensor<?x2xf32, #mhc.narrow>, tensor<?x2x2xf32, #mhc.narrow>) -> tensor<?x2x9xf32>
  return
}

// -----

func.func @combine_dx(%r: tensor<?x2x2xf32, #mhc.narrow>, %g: tensor<?x2x8xf32>) {
  // expected-error @+1 {{expected gradients of the operands' shapes}}
  %0 = mhc.combine_dx %r, %g : (tensor<?x2x2xf32, #mhc.narrow>, tensor<?x2x8xf32>) -> tensor<?x2x9xf32>
  return
}

// -----

func.func @combine_vjp(%x: tensor<?x2x8xf32>, %f: tensor<?x8xf32>, %p: tensor<?x2xf32, #mhc.narrow>, %g: tensor<?x2x9xf32>) {
  // expected-error @+1 {{expected gradients of the operands' shapes}}
  %0:3 = mhc.combine_vjp %x, %f, %p, %g : (tensor<?x2x8xf32>, tensor<?x8xf32>, tensor<?x2xf32, #mhc.narrow>, tensor<?x2x9xf32>) -> (tensor<?x8xf32>, tensor<?x2xf32, #mhc.narrow>, tensor<?x2x2xf32, #mhc.narrow>)
  return
}

// -----

func.func @recompute_c1(%x: tensor<?x8xf32>) {
  // expected-error @+1 {{expected the body to yield the results}}
  %0 = mhc.recompute : tensor<?x8xf32> {
    mhc.yield
  }
  return
}

// -----

func.func @fusion_c1(%x: tensor<?x8xf32>) {
  // expected-error @+1 {{expected the body to yield the results}}
  %0 = mhc.fusion "chain" : tensor<?x8xbf16> {
    %1 = mhc.scale %x {factor = 2.0 : f64} : (tensor<?x8xf32>) -> tensor<?x8xf32>
    mhc.yield %1 : tensor<?x8xf32>
  }
  return
}

// -----

func.func @rms_c1(%x: tensor<?x4x8xf32>) {
  // expected-error @+1 {{expected the groups to divide the streams}}
  %0 = mhc.rms %x {eps = 1.0e-6 : f64} : (tensor<?x4x8xf32>) -> tensor<?x3xf32, #mhc.narrow>
  return
}

// -----

func.func @rms_vjp(%x: tensor<?x2x8xf32>, %r: tensor<?x1xf32, #mhc.narrow>, %dr: tensor<?x1xf32, #mhc.narrow>) {
  // expected-error @+1 {{expected gradients of the operands' shapes}}
  %0 = mhc.rms_vjp %x, %r, %dr : (tensor<?x2x8xf32>, tensor<?x1xf32, #mhc.narrow>, tensor<?x1xf32, #mhc.narrow>) -> tensor<?x8xf32>
  return
}

// -----

func.func @projection_c1(%x: tensor<?x2x8xf32>, %phi: tensor<12x4xf32>) {
  // expected-error @+1 {{expected phi's 12 rows to divide the row of 16 elements into whole streams}}
  %0 = mhc.projection %x, %phi : (tensor<?x2x8xf32>, tensor<12x4xf32>) -> tensor<?x1x4xf32, #mhc.narrow>
  return
}

// -----

func.func @projection_c1_streams(%x: tensor<?x2x8xf32>, %phi: tensor<4x4xf32>) {
  // expected-error @+1 {{expected phi's 4 rows to divide the row of 16 elements into whole streams}}
  %0 = mhc.projection %x, %phi : (tensor<?x2x8xf32>, tensor<4x4xf32>) -> tensor<?x1x4xf32, #mhc.narrow>
  return
}

// -----

func.func @projection_c1_transposed(%x: tensor<?x2x8xf32>, %phi: tensor<16x4xf32>) {
  // expected-error @+1 {{expected phi's 4 rows to divide the row of 16 elements into whole streams}}
  %0 = mhc.projection %x, %phi {transposed} : (tensor<?x2x8xf32>, tensor<16x4xf32>) -> tensor<?x1x4xf32, #mhc.narrow>
  return
}

// -----

func.func @projection_c2(%x: tensor<?x2x8xf32>, %phi: tensor<16x4xf32>) {
  // expected-error @+1 {{expected a narrow result of groups times columns}}
  %0 = mhc.projection %x, %phi : (tensor<?x2x8xf32>, tensor<16x4xf32>) -> tensor<?x2x4xf32, #mhc.narrow>
  return
}

// -----

func.func @projection_phi(%x: tensor<?x2x8xf32>, %phi: tensor<64xf32>) {
  // expected-error @+1 {{expected phi of two dimensions, but got 'tensor<64xf32>'}}
  %0 = mhc.projection %x, %phi : (tensor<?x2x8xf32>, tensor<64xf32>) -> tensor<?x1x4xf32, #mhc.narrow>
  return
}

// -----

func.func @fold_gain_c1(%phi: tensor<16x8xf32>, %g: tensor<8xf32>) {
  // expected-error @+1 {{expected parameters of [K, m] and a gain of [K]}}
  %0 = mhc.fold_gain %phi, %g : (tensor<16x8xf32>, tensor<8xf32>) -> tensor<16x8xf32>
  return
}

// -----

func.func @fold_gain_c1_transposed(%phi: tensor<16x8xf32>, %g: tensor<16xf32>) {
  // expected-error @+1 {{expected parameters of [m, K] and a gain of [K]}}
  %0 = mhc.fold_gain %phi, %g {transposed} : (tensor<16x8xf32>, tensor<16xf32>) -> tensor<16x8xf32>
  return
}

// -----

func.func @fold_gain_c1_rows(%phi: tensor<?x8xf32>, %g: tensor<8xf32>) {
  // expected-error @+1 {{expected parameters of [m, K] and a gain of [K]}}
  %0 = mhc.fold_gain %phi, %g {transposed} : (tensor<?x8xf32>, tensor<8xf32>) -> tensor<?x8xf32>
  return
}

// -----

func.func @fold_gain_c1_rank(%phi: tensor<2x8x8xf32>, %g: tensor<2x8xf32>) {
  // expected-error @+1 {{expected parameters of [K, m] and a gain of [K]}}
  %0 = mhc.fold_gain %phi, %g : (tensor<2x8x8xf32>, tensor<2x8xf32>) -> tensor<2x8x8xf32>
  return
}

// -----

func.func @fold_gain_c2(%phi: tensor<16x8xf32>, %g: tensor<16xf32>) {
  // expected-error @+1 {{expected results of the operands' shapes in the compute type}}
  %0 = mhc.fold_gain %phi, %g : (tensor<16x8xf32>, tensor<16xf32>) -> tensor<8x16xf32>
  return
}

// -----

func.func @fold_gain_c2_rounded(%phi: tensor<16x8xf32>, %g: tensor<16xf32>) {
  // expected-error @+1 {{expected results of the operands' shapes in the compute type}}
  %0 = mhc.fold_gain %phi, %g : (tensor<16x8xf32>, tensor<16xf32>) -> tensor<16x8xbf16>
  return
}

// -----

func.func @fold_gain_vjp_c1(%phi: tensor<16x8xf32>, %g: tensor<16xf32>, %d: tensor<8x16xf32>) {
  // expected-error @+1 {{expected parameters of [K, m] and a gain of [K]}}
  %0:2 = mhc.fold_gain_vjp %phi, %g, %d : (tensor<16x8xf32>, tensor<16xf32>, tensor<8x16xf32>) -> (tensor<16x8xf32>, tensor<16xf32>)
  return
}

// -----

func.func @fold_gain_vjp_c2(%phi: tensor<16x8xf32>, %g: tensor<16xf32>, %d: tensor<16x8xf32>) {
  // expected-error @+1 {{expected results of the operands' shapes in the compute type}}
  %0:2 = mhc.fold_gain_vjp %phi, %g, %d : (tensor<16x8xf32>, tensor<16xf32>, tensor<16x8xf32>) -> (tensor<16x8xf32>, tensor<8xf32>)
  return
}

// -----

func.func @fold_gain_vjp_c2_compute(%phi: tensor<16x8xf64>, %g: tensor<16xf64>, %d: tensor<16x8xf64>) {
  // expected-error @+1 {{expected results of the operands' shapes in the compute type}}
  %0:2 = mhc.fold_gain_vjp %phi, %g, %d : (tensor<16x8xf64>, tensor<16xf64>, tensor<16x8xf64>) -> (tensor<16x8xf32>, tensor<16xf32>)
  return
}

// -----

func.func @projection_dx_c1(%dm: tensor<?x1x4xf32, #mhc.narrow>, %phi: tensor<12x4xf32>) {
  // expected-error @+1 {{expected phi's 12 rows to divide the row of 16 elements into whole streams}}
  %0 = mhc.projection_dx %dm, %phi : (tensor<?x1x4xf32, #mhc.narrow>, tensor<12x4xf32>) -> tensor<?x2x8xf32>
  return
}

// -----

func.func @projection_dx_c2(%dm: tensor<?x1x5xf32, #mhc.narrow>, %phi: tensor<16x4xf32>) {
  // expected-error @+1 {{expected a narrow result of groups times columns}}
  %0 = mhc.projection_dx %dm, %phi : (tensor<?x1x5xf32, #mhc.narrow>, tensor<16x4xf32>) -> tensor<?x2x8xf32>
  return
}

// -----

func.func @projection_dx_phi(%dm: tensor<?x1x4xf32, #mhc.narrow>, %phi: tensor<64xf32>) {
  // expected-error @+1 {{expected phi of two dimensions, but got 'tensor<64xf32>'}}
  %0 = mhc.projection_dx %dm, %phi : (tensor<?x1x4xf32, #mhc.narrow>, tensor<64xf32>) -> tensor<?x2x8xf32>
  return
}

// -----

func.func @projection_dw_c1(%x: tensor<?x2x8xf32>, %dm: tensor<?x1x4xf32, #mhc.narrow>) {
  // expected-error @+1 {{expected phi's 12 rows to divide the row of 16 elements into whole streams}}
  %0 = mhc.projection_dw %x, %dm : (tensor<?x2x8xf32>, tensor<?x1x4xf32, #mhc.narrow>) -> tensor<12x4xf32>
  return
}

// -----

func.func @projection_dw_c2(%x: tensor<?x2x8xf32>, %dm: tensor<?x1x5xf32, #mhc.narrow>) {
  // expected-error @+1 {{expected a narrow result of groups times columns}}
  %0 = mhc.projection_dw %x, %dm : (tensor<?x2x8xf32>, tensor<?x1x5xf32, #mhc.narrow>) -> tensor<16x4xf32>
  return
}

// -----

func.func @projection_dw_phi(%x: tensor<?x2x8xf32>, %dm: tensor<?x1x4xf32, #mhc.narrow>) {
  // expected-error @+1 {{expected phi of two dimensions, but got 'tensor<64xf32>'}}
  %0 = mhc.projection_dw %x, %dm : (tensor<?x2x8xf32>, tensor<?x1x4xf32, #mhc.narrow>) -> tensor<64xf32>
  return
}

// -----

func.func @projection_type(%v: tensor<?x2x8xf32>, %phi: tensor<16x4xbf16>) {
  // expected-error @+1 {{expected phi of 'f32', but got 'tensor<16x4xbf16>'}}
  %0 = mhc.projection %v, %phi : (tensor<?x2x8xf32>, tensor<16x4xbf16>) -> tensor<?x1x4xf32, #mhc.narrow>
  return
}

// -----

func.func @divide_c1(%m: tensor<?x1x4xf32, #mhc.narrow>, %r: tensor<?x1xf32, #mhc.narrow>) {
  // expected-error @+1 {{expected the result to have m's shape}}
  %0 = mhc.divide %m, %r : (tensor<?x1x4xf32, #mhc.narrow>, tensor<?x1xf32, #mhc.narrow>) -> tensor<?x4xf32, #mhc.narrow>
  return
}

// -----

func.func @divide_c2(%m: tensor<?x1x4xf32, #mhc.narrow>, %r: tensor<?x3xf32, #mhc.narrow>) {
  // expected-error @+1 {{expected r to have m's groups}}
  %0 = mhc.divide %m, %r : (tensor<?x1x4xf32, #mhc.narrow>, tensor<?x3xf32, #mhc.narrow>) -> tensor<?x1x4xf32, #mhc.narrow>
  return
}

// -----

func.func @divide_vjp(%m: tensor<?x1x4xf32, #mhc.narrow>, %r: tensor<?x1xf32, #mhc.narrow>, %g: tensor<?x1x4xf32, #mhc.narrow>) {
  // expected-error @+1 {{expected gradients of the operands' shapes}}
  %0:2 = mhc.divide_vjp %m, %r, %g : (tensor<?x1x4xf32, #mhc.narrow>, tensor<?x1xf32, #mhc.narrow>, tensor<?x1x4xf32, #mhc.narrow>) -> (tensor<?x1x4xf32, #mhc.narrow>, tensor<?x2xf32, #mhc.narrow>)
  return
}

// -----

func.func @select_c1(%x: tensor<?x4xf32, #mhc.narrow>) {
  // expected-error @+1 {{expected 2 indices, but got 3}}
  %0 = mhc.select %x {indices = array<i64: 0, 1, 2>} : (tensor<?x4xf32, #mhc.narrow>) -> tensor<?x2xf32, #mhc.narrow>
  return
}

// -----

func.func @select_c2(%x: tensor<?x4xf32, #mhc.narrow>) {
  // expected-error @+1 {{expected indices below 4, but got 4}}
  %0 = mhc.select %x {indices = array<i64: 0, 4>} : (tensor<?x4xf32, #mhc.narrow>) -> tensor<?x2xf32, #mhc.narrow>
  return
}

// -----

func.func @select_c2_negative(%x: tensor<?x4xf32, #mhc.narrow>) {
  // expected-error @+1 {{expected indices below 4, but got -1}}
  %0 = mhc.select %x {indices = array<i64: 0, -1>} : (tensor<?x4xf32, #mhc.narrow>) -> tensor<?x2xf32, #mhc.narrow>
  return
}

// -----

func.func @select_vjp_c1(%g: tensor<?x2xf32, #mhc.narrow>) {
  // expected-error @+1 {{expected 2 indices, but got 1}}
  %0 = mhc.select_vjp %g {indices = array<i64: 0>} : (tensor<?x2xf32, #mhc.narrow>) -> tensor<?x4xf32, #mhc.narrow>
  return
}

// -----

func.func @select_vjp_c2(%g: tensor<?x2xf32, #mhc.narrow>) {
  // expected-error @+1 {{expected indices below 4, but got 4}}
  %0 = mhc.select_vjp %g {indices = array<i64: 0, 4>} : (tensor<?x2xf32, #mhc.narrow>) -> tensor<?x4xf32, #mhc.narrow>
  return
}

// -----

func.func @affine_c1(%y: tensor<?x4xf32, #mhc.narrow>, %a: tensor<2xf32>, %b: tensor<4xf32>) {
  // expected-error @+1 {{expected groups that add up to 4, but got 5}}
  %0 = mhc.affine %y, %a, %b {groups = array<i64: 2, 3>} : (tensor<?x4xf32, #mhc.narrow>, tensor<2xf32>, tensor<4xf32>) -> tensor<?x4xf32, #mhc.narrow>
  return
}

// -----

func.func @affine_c1_negative(%y: tensor<?x4xf32, #mhc.narrow>, %a: tensor<2xf32>, %b: tensor<4xf32>) {
  // expected-error @+1 {{expected groups of at least 0, but got -1}}
  %0 = mhc.affine %y, %a, %b {groups = array<i64: 5, -1>} : (tensor<?x4xf32, #mhc.narrow>, tensor<2xf32>, tensor<4xf32>) -> tensor<?x4xf32, #mhc.narrow>
  return
}

// -----

func.func @affine_c2(%y: tensor<?x4xf32, #mhc.narrow>, %a: tensor<2xf32>, %b: tensor<5xf32>) {
  // expected-error @+1 {{expected a bias of 4 elements, but got 'tensor<5xf32>'}}
  %0 = mhc.affine %y, %a, %b {groups = array<i64: 2, 2>} : (tensor<?x4xf32, #mhc.narrow>, tensor<2xf32>, tensor<5xf32>) -> tensor<?x4xf32, #mhc.narrow>
  return
}

// -----

func.func @affine_c3(%y: tensor<?x4xf32, #mhc.narrow>, %a: tensor<3xf32>, %b: tensor<4xf32>) {
  // expected-error @+1 {{expected alpha to have an element for each group}}
  %0 = mhc.affine %y, %a, %b {groups = array<i64: 2, 2>} : (tensor<?x4xf32, #mhc.narrow>, tensor<3xf32>, tensor<4xf32>) -> tensor<?x4xf32, #mhc.narrow>
  return
}

// -----

func.func @affine_vjp(%y: tensor<?x4xf32, #mhc.narrow>, %a: tensor<2xf32>, %g: tensor<?x4xf32, #mhc.narrow>) {
  // expected-error @+1 {{expected gradients of the operands' shapes}}
  %0:3 = mhc.affine_vjp %y, %a, %g {groups = array<i64: 2, 2>} : (tensor<?x4xf32, #mhc.narrow>, tensor<2xf32>, tensor<?x4xf32, #mhc.narrow>) -> (tensor<?x4xf32, #mhc.narrow>, tensor<3xf32>, tensor<4xf32>)
  return
}

// -----

func.func @activation_c1(%z: tensor<?x4xf32, #mhc.narrow>) {
  // expected-error @+1 {{expected the result to have z's shape}}
  %0 = mhc.activation %z {kind = #mhc<activation_kind tanh>} : (tensor<?x4xf32, #mhc.narrow>) -> tensor<?x2x2xf32, #mhc.narrow>
  return
}

// -----

func.func @activation_vjp(%z: tensor<?x4xf32, #mhc.narrow>, %g: tensor<?x4xf32, #mhc.narrow>) {
  // expected-error @+1 {{expected the result to have z's shape}}
  %0 = mhc.activation_vjp %z, %g {kind = #mhc<activation_kind tanh>} : (tensor<?x4xf32, #mhc.narrow>, tensor<?x4xf32, #mhc.narrow>) -> tensor<?x5xf32, #mhc.narrow>
  return
}

// -----

func.func @project_c1(%z: tensor<?x2x3xf32, #mhc.narrow>) {
  // expected-error @+1 {{expected narrow square matrices, but got 'tensor<?x2x3xf32, #mhc.narrow>'}}
  %0 = mhc.project %z {manifold = #mhc.unconstrained} : (tensor<?x2x3xf32, #mhc.narrow>) -> tensor<?x2x3xf32, #mhc.narrow>
  return
}

// -----

func.func @project_c1_wide(%z: tensor<?x2x2xf32, #mhc.narrow>) {
  // expected-error @+1 {{expected narrow square matrices, but got 'tensor<?x2x2xf32>'}}
  %0 = mhc.project %z {manifold = #mhc.unconstrained} : (tensor<?x2x2xf32, #mhc.narrow>) -> tensor<?x2x2xf32>
  return
}

// -----

func.func @project_c2(%z: tensor<?x4xf32, #mhc.narrow>) {
  // expected-error @+1 {{expected Z to have H's shape}}
  %0 = mhc.project %z {manifold = #mhc.unconstrained} : (tensor<?x4xf32, #mhc.narrow>) -> tensor<?x2x2xf32, #mhc.narrow>
  return
}

// -----

func.func @project_vjp(%z: tensor<?x2x2xf32, #mhc.narrow>, %g: tensor<?x2x2xf32, #mhc.narrow>) {
  // expected-error @+1 {{expected the result to have Z's shape}}
  %0 = mhc.project_vjp %z, %g {manifold = #mhc.unconstrained} : (tensor<?x2x2xf32, #mhc.narrow>, tensor<?x2x2xf32, #mhc.narrow>) -> tensor<?x4xf32, #mhc.narrow>
  return
}

// -----

func.func @constant_rows_c1(%like: tensor<?x2x8xf32>) {
  // expected-error @+1 {{expected as many values as elements}}
  %0 = mhc.constant_rows %like {values = array<f64: 1.0>} : (tensor<?x2x8xf32>) -> tensor<?x2xf32, #mhc.narrow>
  return
}

// -----

func.func @cast_c1(%v: tensor<?x8xf32>) {
  // expected-error @+1 {{expected shapes and encodings to agree}}
  %0 = mhc.cast %v : (tensor<?x8xf32>) -> tensor<?x9xbf16>
  return
}

// -----

func.func @cast_c1_encoding(%v: tensor<?x8xf32, #mhc.narrow>) {
  // expected-error @+1 {{expected shapes and encodings to agree}}
  %0 = mhc.cast %v : (tensor<?x8xf32, #mhc.narrow>) -> tensor<?x8xbf16>
  return
}

// -----

func.func @sum_c1(%a: tensor<?x8xf32>, %b: tensor<?x9xf32>) {
  // expected-error @+1 {{expected operands of the result's shape}}
  %0 = mhc.sum %a, %b : (tensor<?x8xf32>, tensor<?x9xf32>) -> tensor<?x8xf32>
  return
}

// -----

func.func @sum_c1_empty() {
  // expected-error @+1 {{expected operands of the result's shape}}
  %0 = mhc.sum : () -> tensor<?x8xf32>
  return
}

// -----

func.func @scale_c1(%v: tensor<?x8xf32>) {
  // expected-error @+1 {{expected the result to have the operand's shape}}
  %0 = mhc.scale %v {factor = 2.0 : f64} : (tensor<?x8xf32>) -> tensor<?x9xf32>
  return
}

// -----

func.func @rms_norm_c1(%x: tensor<?x8xf32>) {
  // expected-error @+1 {{expected the result to have x's shape}}
  %0 = mhc.rms_norm %x {eps = 1.0e-6 : f64} : (tensor<?x8xf32>) -> tensor<?x9xf32>
  return
}

// -----

func.func @rms_norm_c2(%x: tensor<?x2x8xf32>, %g: tensor<8xf32>) {
  // expected-error @+1 {{expected the gain to have the elements of a group}}
  %0 = mhc.rms_norm %x, %g {eps = 1.0e-6 : f64} : (tensor<?x2x8xf32>, tensor<8xf32>) -> tensor<?x2x8xf32>
  return
}

// -----

func.func @rms_norm_c2_per_stream(%x: tensor<?x2x8xf32>, %g: tensor<16xf32>) {
  // expected-error @+1 {{expected the gain to have the elements of a group}}
  %0 = mhc.rms_norm %x, %g {eps = 1.0e-6 : f64, per_stream} : (tensor<?x2x8xf32>, tensor<16xf32>) -> tensor<?x2x8xf32>
  return
}

// -----

func.func @rms_norm_vjp(%x: tensor<?x8xf32>, %g: tensor<8xf32>) {
  // expected-error @+1 {{expected gradients of the operands' shapes}}
  %0 = mhc.rms_norm_vjp %x gain %g, %x {eps = 1.0e-6 : f64} : (tensor<?x8xf32>, tensor<8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  return
}

// -----

func.func @add_bias_c1(%x: tensor<?x8xf32>, %b: tensor<8xf32>) {
  // expected-error @+1 {{expected the result to have x's shape}}
  %0 = mhc.add_bias %x, %b : (tensor<?x8xf32>, tensor<8xf32>) -> tensor<?x9xf32>
  return
}

// -----

func.func @add_bias_c2(%x: tensor<?x8xf32>, %b: tensor<9xf32>) {
  // expected-error @+1 {{expected a bias of x's channels}}
  %0 = mhc.add_bias %x, %b : (tensor<?x8xf32>, tensor<9xf32>) -> tensor<?x8xf32>
  return
}

// -----

func.func @sum_tokens_c1(%x: tensor<?x2x8xf32>) {
  // expected-error @+1 {{expected as many elements as a row}}
  %0 = mhc.sum_tokens %x : (tensor<?x2x8xf32>) -> tensor<8xf32>
  return
}

// -----

func.func @sum_tokens_c1_rows(%x: tensor<?x8xf32>) {
  // expected-error @+1 {{expected as many elements as a row}}
  %0 = mhc.sum_tokens %x : (tensor<?x8xf32>) -> tensor<?x8xf32>
  return
}

// -----

func.func @rope_c1_tables(%x: tensor<?x2x4xf32>, %c: tensor<?x4xf32>, %s: tensor<?x3xf32>) {
  // expected-error @+1 {{expected tables of one size, which whole streams of x make up}}
  %0 = mhc.rope %x, %c, %s {heads = 1 : i64} : (tensor<?x2x4xf32>, tensor<?x4xf32>, tensor<?x3xf32>) -> tensor<?x2x4xf32>
  return
}

// -----

func.func @rope_c1_streams(%x: tensor<?x2x4xf32>, %c: tensor<?x6xf32>) {
  // expected-error @+1 {{expected tables of one size, which whole streams of x make up}}
  %0 = mhc.rope %x, %c, %c {heads = 1 : i64} : (tensor<?x2x4xf32>, tensor<?x6xf32>, tensor<?x6xf32>) -> tensor<?x2x4xf32>
  return
}

// -----

func.func @rope_c1_result(%x: tensor<?x2x4xf32>, %c: tensor<?x4xf32>) {
  // expected-error @+1 {{expected tables of one size, which whole streams of x make up}}
  %0 = mhc.rope %x, %c, %c {heads = 1 : i64} : (tensor<?x2x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x3x4xf32>
  return
}

// -----

func.func @rope_c2(%x: tensor<?x3x4xf32>, %c: tensor<?x8xf32>) {
  // expected-error @+1 {{expected at most half of x's streams to be turned by a table}}
  %0 = mhc.rope %x, %c, %c {heads = 1 : i64} : (tensor<?x3x4xf32>, tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x3x4xf32>
  return
}

// -----

func.func @slice_c1_type(%x: tensor<?x4x8xf32>) {
  // expected-error @+1 {{expected element types to agree}}
  %0 = mhc.slice %x {first = 0 : i64} : (tensor<?x4x8xf32>) -> tensor<?x2x8xbf16>
  return
}

// -----

func.func @slice_c1_channels(%x: tensor<?x4x8xf32>) {
  // expected-error @+1 {{expected wide rows of as many channels}}
  %0 = mhc.slice %x {first = 0 : i64} : (tensor<?x4x8xf32>) -> tensor<?x2x4xf32>
  return
}

// -----

func.func @slice_c1_narrow(%x: tensor<?x4x8xf32, #mhc.narrow>) {
  // expected-error @+1 {{expected wide rows of as many channels}}
  %0 = mhc.slice %x {first = 0 : i64} : (tensor<?x4x8xf32, #mhc.narrow>) -> tensor<?x2x8xf32>
  return
}

// -----

func.func @slice_c2(%x: tensor<?x4x8xf32>) {
  // expected-error @+1 {{expected streams of 4, but got 2 from 3}}
  %0 = mhc.slice %x {first = 3 : i64} : (tensor<?x4x8xf32>) -> tensor<?x2x8xf32>
  return
}

// -----

func.func @pad_c1(%x: tensor<?x4x8xf32>) {
  // expected-error @+1 {{expected wide rows of as many channels}}
  %0 = mhc.pad %x {first = 0 : i64} : (tensor<?x4x8xf32>) -> tensor<?x6x4xf32>
  return
}

// -----

func.func @pad_c2(%x: tensor<?x4x8xf32>) {
  // expected-error @+1 {{expected streams of 6, but got 4 from -1}}
  %0 = mhc.pad %x {first = -1 : i64} : (tensor<?x4x8xf32>) -> tensor<?x6x8xf32>
  return
}

// -----

func.func @concat_c1(%x: tensor<?x4x8xf32>, %y: tensor<?x2x4xf32>) {
  // expected-error @+1 {{expected wide rows of the result's channels and element type, but got 'tensor<?x2x4xf32>'}}
  %0 = mhc.concat %x, %y : (tensor<?x4x8xf32>, tensor<?x2x4xf32>) -> tensor<?x6x8xf32>
  return
}

// -----

func.func @concat_c2(%x: tensor<?x4x8xf32>) {
  // expected-error @+1 {{expected streams that add up to the result's}}
  %0 = mhc.concat %x, %x : (tensor<?x4x8xf32>, tensor<?x4x8xf32>) -> tensor<?x6x8xf32>
  return
}

// -----

func.func @repeat_c1(%x: tensor<?x4x8xf32>) {
  // expected-error @+1 {{expected each row 1 to 1048576 times, but got 0}}
  %0 = mhc.repeat %x {times = 0 : i64} : (tensor<?x4x8xf32>) -> tensor<?x4x8xf32>
  return
}

// -----

func.func @repeat_c1_negative(%x: tensor<?x4x8xf32>) {
  // expected-error @+1 {{expected each row 1 to 1048576 times, but got -3}}
  %0 = mhc.repeat %x {times = -3 : i64} : (tensor<?x4x8xf32>) -> tensor<?x4x8xf32>
  return
}

// -----

func.func @repeat_c1_large(%x: tensor<?x4x8xf32>) {
  // expected-error @+1 {{expected each row 1 to 1048576 times, but got 9223372036854775807}}
  %0 = mhc.repeat %x {times = 9223372036854775807 : i64} : (tensor<?x4x8xf32>) -> tensor<?x4x8xf32>
  return
}

// -----

func.func @rope_c3(%x: tensor<?x2x4xf32>, %c: tensor<?x4xf32>) {
  // expected-error @+1 {{expected at least one head, but got -1}}
  %0 = mhc.rope %x, %c, %c {heads = -1 : i64} : (tensor<?x2x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x2x4xf32>
  return
}

// -----

func.func @scale_rows_c1_streams(%x: tensor<?x4x8xf32>, %w: tensor<?x1xf32, #mhc.narrow>) {
  // expected-error @+1 {{expected x of one stream, and the result to have its shape}}
  %0 = mhc.scale_rows %x, %w : (tensor<?x4x8xf32>, tensor<?x1xf32, #mhc.narrow>) -> tensor<?x4x8xf32>
  return
}

// -----

func.func @repeat_c2(%x: tensor<?x4x8xf32>) {
  // expected-error @+1 {{expected rows, and the result to have x's type}}
  %0 = mhc.repeat %x {times = 2 : i64} : (tensor<?x4x8xf32>) -> tensor<?x4x8xbf16>
  return
}

// -----

func.func @sum_streams_c1(%x: tensor<?x4x8xf32>) {
  // expected-error @+1 {{expected wide rows, whose streams the result's divide}}
  %0 = mhc.sum_streams %x : (tensor<?x4x8xf32>) -> tensor<?x3x8xf32>
  return
}

// -----

func.func @scale_rows_c1(%x: tensor<?x8xf32>, %w: tensor<?x1xf32, #mhc.narrow>) {
  // expected-error @+1 {{expected x of one stream, and the result to have its shape}}
  %0 = mhc.scale_rows %x, %w : (tensor<?x8xf32>, tensor<?x1xf32, #mhc.narrow>) -> tensor<?x9xf32>
  return
}

// -----

func.func @scale_rows_c2(%x: tensor<?x8xf32>, %w: tensor<?x2xf32, #mhc.narrow>) {
  // expected-error @+1 {{expected one narrow weight a row}}
  %0 = mhc.scale_rows %x, %w : (tensor<?x8xf32>, tensor<?x2xf32, #mhc.narrow>) -> tensor<?x8xf32>
  return
}

// -----

func.func @dot_rows_c1(%x: tensor<?x8xf32>, %y: tensor<?x9xf32>) {
  // expected-error @+1 {{expected operands of one shape, of one stream}}
  %0 = mhc.dot_rows %x, %y : (tensor<?x8xf32>, tensor<?x9xf32>) -> tensor<?x1xf32, #mhc.narrow>
  return
}

// -----

func.func @dot_rows_c1_streams(%x: tensor<?x4x8xf32>) {
  // expected-error @+1 {{expected operands of one shape, of one stream}}
  %0 = mhc.dot_rows %x, %x : (tensor<?x4x8xf32>, tensor<?x4x8xf32>) -> tensor<?x1xf32, #mhc.narrow>
  return
}

// -----

func.func @dot_rows_c2(%x: tensor<?x8xf32>) {
  // expected-error @+1 {{expected one narrow element a row}}
  %0 = mhc.dot_rows %x, %x : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x2xf32, #mhc.narrow>
  return
}

// -----

func.func @swiglu_c1(%g: tensor<?x8xf32>, %u: tensor<?x9xf32>) {
  // expected-error @+1 {{expected operands and result of one shape}}
  %0 = mhc.swiglu %g, %u : (tensor<?x8xf32>, tensor<?x9xf32>) -> tensor<?x8xf32>
  return
}

// -----

func.func @swiglu_vjp(%g: tensor<?x8xf32>, %u: tensor<?x8xf32>, %dy: tensor<?x8xf32>) {
  // expected-error @+1 {{expected gradients of the operands' shapes}}
  %0:2 = mhc.swiglu_vjp %g, %u, %dy : (tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>) -> (tensor<?x8xf32>, tensor<?x9xf32>)
  return
}

// -----

func.func @embedding_c1(%t: tensor<?xi32>, %w: tensor<5x8xf32>) {
  // expected-error @+1 {{expected as many channels in the table as out}}
  %0 = mhc.embedding %t, %w : (tensor<?xi32>, tensor<5x8xf32>) -> tensor<?x9xf32>
  return
}

// -----

func.func @cross_entropy_c1(%l: tensor<?x8xf32>, %t: tensor<?xi32>) {
  // expected-error @+1 {{expected a target and a loss a token}}
  %0 = mhc.cross_entropy %l, %t : (tensor<?x8xf32>, tensor<?xi32>) -> tensor<?x8xf32>
  return
}

// -----

func.func @cross_entropy_vjp(%l: tensor<?x8xf32>, %t: tensor<?xi32>, %g: tensor<?x1xf32, #mhc.narrow>) {
  // expected-error @+1 {{expected gradients of the operands' shapes}}
  %0 = mhc.cross_entropy_vjp %l, %t, %g : (tensor<?x8xf32>, tensor<?xi32>, tensor<?x1xf32, #mhc.narrow>) -> tensor<?x9xf32>
  return
}

// -----

func.func @token_weight(%like: tensor<?x8xf32>, %s: tensor<64xf32>) {
  // expected-error @+1 {{expected indices of scalars}}
  %0 = mhc.token_weight %like, %s {indices = array<i64: 3, 64>} : (tensor<?x8xf32>, tensor<64xf32>) -> tensor<?x1xf32, #mhc.narrow>
  return
}

// -----

func.func @weighted_sum_c1(%v: tensor<?x2xf32, #mhc.narrow>, %w: tensor<?x1xf32, #mhc.narrow>) {
  // expected-error @+1 {{expected one element a token}}
  %0 = mhc.weighted_sum %v, %w : (tensor<?x2xf32, #mhc.narrow>, tensor<?x1xf32, #mhc.narrow>) -> tensor<1xf32>
  return
}

// -----

func.func @view_c1(%v: tensor<?x8xf32>) {
  // expected-error @+1 {{expected element types to agree}}
  %0 = mhc.view %v : (tensor<?x8xf32>) -> tensor<?x2x2xbf16>
  return
}

// -----

func.func @split_tokens_c1(%t: tensor<?x8x8xi32>) {
  // expected-error @+1 {{expected tokens of [B, S], a vocabulary, and one or two results of i32 rows}}
  %0 = mhc.split_tokens %t {vocab = 8 : i64} : (tensor<?x8x8xi32>) -> tensor<?xi32>
  return
}

// -----

func.func @split_tokens_c1_results(%t: tensor<?x?xi32>) {
  // expected-error @+1 {{expected tokens of [B, S], a vocabulary, and one or two results of i32 rows}}
  %0:3 = mhc.split_tokens %t {vocab = 8 : i64} : (tensor<?x?xi32>) -> (tensor<?xi32>, tensor<?xi32>, tensor<?xi32>)
  return
}

// -----

func.func @split_tokens_c1_none(%t: tensor<?x?xi32>) {
  // expected-error @+1 {{expected tokens of [B, S], a vocabulary, and one or two results of i32 rows}}
  mhc.split_tokens %t {vocab = 8 : i64} : (tensor<?x?xi32>) -> ()
  return
}

// -----

func.func @split_tokens_c1_type(%t: tensor<?x?xi32>) {
  // expected-error @+1 {{expected tokens of [B, S], a vocabulary, and one or two results of i32 rows}}
  %0 = mhc.split_tokens %t {vocab = 8 : i64} : (tensor<?x?xi32>) -> tensor<?xf32>
  return
}

// -----

func.func @split_tokens_c1_vocabulary(%t: tensor<?x?xi32>) {
  // expected-error @+1 {{expected tokens of [B, S], a vocabulary, and one or two results of i32 rows}}
  %0 = mhc.split_tokens %t {vocab = 0 : i64} : (tensor<?x?xi32>) -> tensor<?xi32>
  return
}

// -----

func.func @linear_c1(%x: tensor<?x8xf32>, %w: tensor<4x9xf32>) {
  // expected-error @+1 {{expected x of [T, K], W of [N, K], y of [T, N]}}
  %0 = mhc.linear %x, %w : (tensor<?x8xf32>, tensor<4x9xf32>) -> tensor<?x4xf32>
  return
}

// -----

func.func @linear_dx_c1(%dy: tensor<?x4xf32>, %w: tensor<5x8xf32>) {
  // expected-error @+1 {{expected dy of [T, N], W of [N, K], dx of [T, K]}}
  %0 = mhc.linear_dx %dy, %w : (tensor<?x4xf32>, tensor<5x8xf32>) -> tensor<?x8xf32>
  return
}

// -----

func.func @linear_dx_c1_result(%dy: tensor<?x4xf32>, %w: tensor<4x8xf32>) {
  // expected-error @+1 {{expected dy of [T, N], W of [N, K], dx of [T, K]}}
  %0 = mhc.linear_dx %dy, %w : (tensor<?x4xf32>, tensor<4x8xf32>) -> tensor<?x9xf32>
  return
}

// -----

func.func @linear_dw_c1(%x: tensor<?x8xf32>, %dy: tensor<?x4xf32>) {
  // expected-error @+1 {{expected x of [T, K], dy of [T, N], dW of [N, K]}}
  %0 = mhc.linear_dw %x, %dy : (tensor<?x8xf32>, tensor<?x4xf32>) -> tensor<8x4xf32>
  return
}

// -----

func.func @linear_dw_c1_rank(%x: tensor<?x8xf32>, %dy: tensor<?x4xf32>) {
  // expected-error @+1 {{expected x of [T, K], dy of [T, N], dW of [N, K]}}
  %0 = mhc.linear_dw %x, %dy : (tensor<?x8xf32>, tensor<?x4xf32>) -> tensor<32xf32>
  return
}

// -----

func.func @attention_c1(%q: tensor<?x8xf32>, %k: tensor<?x6xf32>, %v: tensor<?x4xf32>) {
  // expected-error @+1 {{expected row lengths that agree with the heads}}
  %0:2 = mhc.attention %q, %k, %v {heads = 4 : i64, kv_heads = 2 : i64, scale = 0.5 : f64} : (tensor<?x8xf32>, tensor<?x6xf32>, tensor<?x4xf32>) -> (tensor<?x8xf32>, tensor<?x4xf32, #mhc.narrow>)
  return
}

// -----

func.func @attention_c1_groups(%q: tensor<?x12xf32>, %k: tensor<?x8xf32>, %v: tensor<?x8xf32>) {
  // expected-error @+1 {{expected row lengths that agree with the heads}}
  %0:2 = mhc.attention %q, %k, %v {heads = 3 : i64, kv_heads = 2 : i64, scale = 0.5 : f64} : (tensor<?x12xf32>, tensor<?x8xf32>, tensor<?x8xf32>) -> (tensor<?x12xf32>, tensor<?x4xf32, #mhc.narrow>)
  return
}

// -----

func.func @attention_c1_none(%q: tensor<?x8xf32>, %k: tensor<?x8xf32>, %v: tensor<?x8xf32>) {
  // expected-error @+1 {{expected row lengths that agree with the heads}}
  %0:2 = mhc.attention %q, %k, %v {heads = 1 : i64, kv_heads = 0 : i64, scale = 0.5 : f64} : (tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>) -> (tensor<?x8xf32>, tensor<?x4xf32, #mhc.narrow>)
  return
}

// -----

func.func @attention_vjp_c1(%q: tensor<?x8xf32>, %l: tensor<?x2xf32, #mhc.narrow>) {
  // expected-error @+1 {{expected gradients of the operands' shapes}}
  %0:3 = mhc.attention_vjp %q, %q, %q, %q, %l, %q {heads = 2 : i64, kv_heads = 2 : i64, scale = 0.5 : f64}
    : (tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x2xf32, #mhc.narrow>, tensor<?x8xf32>) -> (tensor<?x4xf32>, tensor<?x8xf32>, tensor<?x8xf32>)
  return
}

// -----

func.func @attention_vjp_c1_gradient(%q: tensor<?x8xf32>, %g: tensor<?x4xf32>, %l: tensor<?x2xf32, #mhc.narrow>) {
  // expected-error @+1 {{expected gradients of the operands' shapes}}
  %0:3 = mhc.attention_vjp %q, %q, %q, %q, %l, %g {heads = 2 : i64, kv_heads = 2 : i64, scale = 0.5 : f64}
    : (tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x2xf32, #mhc.narrow>, tensor<?x4xf32>) -> (tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>)
  return
}

// -----

func.func @embedding_vjp_c1(%t: tensor<?xi32>, %dx: tensor<?x8xf32>) {
  // expected-error @+1 {{expected dx of [T, C] and a table of [V, C]}}
  %0 = mhc.embedding_vjp %t, %dx : (tensor<?xi32>, tensor<?x8xf32>) -> tensor<16x4xf32>
  return
}

// -----

func.func @embedding_vjp_c1_rank(%t: tensor<?xi32>, %dx: tensor<?x8xf32>) {
  // expected-error @+1 {{expected dx of [T, C] and a table of [V, C]}}
  %0 = mhc.embedding_vjp %t, %dx : (tensor<?xi32>, tensor<?x8xf32>) -> tensor<2x8x8xf32>
  return
}

// -----

func.func @sum_squares(%v: tensor<?x64xf32>) {
  // expected-error @+1 {{expected one result}}
  %0 = mhc.sum_squares %v : (tensor<?x64xf32>) -> tensor<2xf32>
  return
}

// -----

func.func @clip_factor(%s: tensor<1xf32>, %t: tensor<64xf32>) {
  // expected-error @+1 {{expected one result}}
  %0 = mhc.clip_factor %s, %t : (tensor<1xf32>, tensor<64xf32>) -> tensor<2xf32>
  return
}

// -----

func.func @adamw(%w: tensor<?x64xf32>, %g: tensor<?x64xf32>, %m: tensor<?x64xf32>, %v: tensor<?x32xf32>, %f: tensor<1xf32>, %s: tensor<64xf32>) {
  // expected-error @+1 {{expected weight, gradient and states of one shape}}
  %0:3 = mhc.adamw %w, %g, %m, %v, %f, %s : (tensor<?x64xf32>, tensor<?x64xf32>, tensor<?x64xf32>, tensor<?x32xf32>, tensor<1xf32>, tensor<64xf32>) -> (tensor<?x64xf32>, tensor<?x64xf32>, tensor<?x64xf32>)
  return
}

// -----

// expected-error @+1 {{expected eps of at least 0, but got -1.000000e+00 : f64}}
func.func private @birkhoff_eps() attributes {a = #mhc.birkhoff<iterations = 20, firstOverInputs = false, start = softmax, eps = -1.0 : f64>}

// -----

// expected-error @+1 {{expected at least one iteration, but got 0}}
func.func private @birkhoff_iterations() attributes {m = #mhc.birkhoff<iterations = 0, firstOverInputs = false>}

// -----

// expected-error @+1 {{expected eps of at least 0, but got -1.000000e+00 : f64}}
func.func private @sphere_eps() attributes {a = #mhc.sphere<eps = -1.0 : f64>}

// -----

// expected-error @+1 {{expected a radius above 0, but got 0.000000e+00 : f64}}
func.func private @sphere_radius() attributes {a = #mhc.sphere<radius = 0.0 : f64>}

// -----

// expected-error @+1 {{expected a floating-point type of coefficients, but got 'i32'}}
func.func private @connection_coefficients() attributes {a = #mhc.connection<topology = "mhc", streams = 2, manifold = #mhc.unconstrained, eps = 1.0e-6 : f64, postScale = 2.0 : f64, phiTransposed = false, coefficientType = i32>}

// -----

// expected-error @+1 {{expected eps above 0}}
func.func private @connection_eps() attributes {a = #mhc.connection<topology = "mhc", streams = 2, manifold = #mhc.unconstrained, eps = 0.0 : f64, postScale = 2.0 : f64, phiTransposed = false>}

// -----

// expected-error @+1 {{expected at most 4 streams with permutation_hull (n! permutations), but got 5}}
func.func private @connection_permutations() attributes {a = #mhc.connection<topology = "mhc", streams = 5, manifold = #mhc.permutation_hull, eps = 1.0e-6 : f64, postScale = 2.0 : f64, phiTransposed = false>}

// -----

// expected-error @+1 {{expected 1 to 8 streams, but got 9}}
func.func private @connection_streams() attributes {a = #mhc.connection<topology = "mhc", streams = 9, manifold = #mhc.unconstrained, eps = 1.0e-6 : f64, postScale = 2.0 : f64, phiTransposed = false>}

// -----

// expected-error @+1 {{expected manifold unconstrained with topology "hc", but got #mhc.identity}}
func.func private @connection_hc() attributes {a = #mhc.connection<topology = "hc", streams = 2, manifold = #mhc.identity, eps = 1.0e-6 : f64, postScale = 2.0 : f64, phiTransposed = false>}

// -----

// expected-error @+1 {{expected topology "mhc" or "hc", but got "residual"}}
func.func private @connection_topology() attributes {a = #mhc.connection<topology = "residual", streams = 2, manifold = #mhc.unconstrained, eps = 1.0e-6 : f64, postScale = 2.0 : f64, phiTransposed = false>}

// -----

// expected-error @+1 {{expected streams x channels, but got 1 dimensions}}
func.func private @wide_dimensions(!mhc.wide<4xf32>)

// -----

// expected-error @+1 {{expected element type bf16, f32 or f64, but got 'i32'}}
func.func private @wide_element(!mhc.wide<4x8xi32>)

// -----

// expected-error @+1 {{expected at least one stream and one channel, but got 4x0}}
func.func private @wide_empty(!mhc.wide<4x0xf32>)

// -----

// expected-error @+1 {{expected element type bf16, f32, f64 or i32, but got 'f16'}}
func.func private @narrow_element(!mhc.narrow<4xf16>)

// -----

// expected-error @+1 {{expected positive dimensions}}
func.func private @narrow_empty(!mhc.narrow<f32>)

// -----

// expected-error @+1 {{expected positive dimensions}}
func.func private @narrow_zero(!mhc.narrow<4x0xf32>)

// -----

// Tensors of all ops: rows or a parameter, nothing empty.

func.func @tensor_empty(%x: tensor<?x0xf32>) {
  // expected-error @+1 {{operand #0 must be tensor of bf16, f32, f64, i32 or i64 with positive sizes, dynamic in its first dimension at most, but got 'tensor<?x0xf32>'}}
  %0 = mhc.cast %x : (tensor<?x0xf32>) -> tensor<?x0xbf16>
  return
}

// -----

func.func @tensor_empty_parameter(%x: tensor<?x8xf32>, %phi: tensor<0x4xf32>) {
  // expected-error @+1 {{operand #1 must be tensor of bf16, f32, f64, i32 or i64 with positive sizes, dynamic in its first dimension at most, but got 'tensor<0x4xf32>'}}
  %0 = mhc.projection %x, %phi : (tensor<?x8xf32>, tensor<0x4xf32>) -> tensor<?x4xf32, #mhc.narrow>
  return
}

// -----

func.func @tensor_empty_result(%x: tensor<?x8xf32>) {
  // expected-error @+1 {{result #0 must be tensor of bf16, f32, f64, i32 or i64 with positive sizes, dynamic in its first dimension at most, but got 'tensor<0xf32>'}}
  %0 = mhc.sum_tokens %x : (tensor<?x8xf32>) -> tensor<0xf32>
  return
}

// -----

func.func @tensor_rank(%x: tensor<f32>) {
  // expected-error @+1 {{operand #0 must be tensor of bf16, f32, f64, i32 or i64 with positive sizes, dynamic in its first dimension at most, but got 'tensor<f32>'}}
  %0 = mhc.scale %x {factor = 2.0 : f64} : (tensor<f32>) -> tensor<f32>
  return
}

// -----

func.func @tensor_unranked(%x: tensor<*xf32>) {
  // expected-error @+1 {{operand #0 must be tensor of bf16, f32, f64, i32 or i64 with positive sizes, dynamic in its first dimension at most, but got 'tensor<*xf32>'}}
  %0 = mhc.scale %x {factor = 2.0 : f64} : (tensor<*xf32>) -> tensor<*xf32>
  return
}

// -----

func.func @tensor_dynamic(%x: tensor<?x?xf32>) {
  // expected-error @+1 {{operand #0 must be tensor of bf16, f32, f64, i32 or i64 with positive sizes, dynamic in its first dimension at most, but got 'tensor<?x?xf32>'}}
  %0 = mhc.scale %x {factor = 2.0 : f64} : (tensor<?x?xf32>) -> tensor<?x?xf32>
  return
}

// -----

func.func @tensor_element(%x: tensor<?x8xf16>) {
  // expected-error @+1 {{operand #0 must be tensor of bf16, f32, f64, i32 or i64 with positive sizes, dynamic in its first dimension at most, but got 'tensor<?x8xf16>'}}
  %0 = mhc.scale %x {factor = 2.0 : f64} : (tensor<?x8xf16>) -> tensor<?x8xf16>
  return
}
