// RUN: mhc-opt %s -split-input-file -verify-diagnostics

// Ops of MhcMonitorOps.td, each by its label.

func.func @mean_tokens_c1(%x: tensor<?x4xf32, #mhc.narrow>, %s: tensor<64xf32>) {
  // expected-error @+1 {{expected narrow rows of as many elements as the result}}
  %0 = mhc.mean_tokens %x, %s : (tensor<?x4xf32, #mhc.narrow>, tensor<64xf32>) -> tensor<3xf32>
  return
}

// -----

func.func @mean_tokens_c1_wide(%x: tensor<?x4xf32>, %s: tensor<64xf32>) {
  // expected-error @+1 {{expected narrow rows of as many elements as the result}}
  %0 = mhc.mean_tokens %x, %s : (tensor<?x4xf32>, tensor<64xf32>) -> tensor<4xf32>
  return
}

// -----

func.func @mean_tokens_c2(%x: tensor<?x4xf32, #mhc.narrow>, %s: tensor<8xf32>) {
  // expected-error @+1 {{expected 64 scalars}}
  %0 = mhc.mean_tokens %x, %s : (tensor<?x4xf32, #mhc.narrow>, tensor<8xf32>) -> tensor<4xf32>
  return
}

// -----

func.func @mean_squares_c1(%x: tensor<?x4xf32>) {
  // expected-error @+1 {{expected rows, and one narrow element a row}}
  %0 = mhc.mean_squares %x : (tensor<?x4xf32>) -> tensor<?x2xf32, #mhc.narrow>
  return
}

// -----

func.func @outlier_share_c1(%x: tensor<?x4xf32, #mhc.narrow>) {
  // expected-error @+1 {{expected wide rows, and one narrow element a row}}
  %0 = mhc.outlier_share %x {deviations = 5.0} : (tensor<?x4xf32, #mhc.narrow>) -> tensor<?x1xf32, #mhc.narrow>
  return
}

// -----

func.func @outlier_share_c2(%x: tensor<?x64xf32>) {
  // expected-error @+1 {{expected a number of deviations above 0}}
  %0 = mhc.outlier_share %x {deviations = 0.0} : (tensor<?x64xf32>) -> tensor<?x1xf32, #mhc.narrow>
  return
}

// -----

func.func @mixing_gains_c1(%h: tensor<?x4x3xf32, #mhc.narrow>) {
  // expected-error @+1 {{expected narrow square matrices, but got 'tensor<?x4x3xf32, #mhc.narrow>'}}
  %0 = mhc.mixing_gains %h : (tensor<?x4x3xf32, #mhc.narrow>) -> tensor<?x3xf32, #mhc.narrow>
  return
}

// -----

func.func @mixing_gains_c2(%h: tensor<?x4x4xf32, #mhc.narrow>) {
  // expected-error @+1 {{expected three narrow elements a row}}
  %0 = mhc.mixing_gains %h : (tensor<?x4x4xf32, #mhc.narrow>) -> tensor<?x2xf32, #mhc.narrow>
  return
}

// -----

func.func @compose_c1(%h: tensor<?x4x4xf32>, %s: tensor<?x1xf32, #mhc.narrow>) {
  // expected-error @+1 {{expected narrow square matrices, but got 'tensor<?x4x4xf32>'}}
  %0 = mhc.compose %h, %s : (tensor<?x4x4xf32>, tensor<?x1xf32, #mhc.narrow>) -> tensor<?x4x4xf32, #mhc.narrow>
  return
}

// -----

func.func @compose_c2(%h: tensor<?x4x4xf32, #mhc.narrow>, %s: tensor<?x1xf32, #mhc.narrow>, %p: tensor<?x2x2xf32, #mhc.narrow>) {
  // expected-error @+1 {{expected the product and the result to have h's shape}}
  %0 = mhc.compose %h, %s product %p : (tensor<?x4x4xf32, #mhc.narrow>, tensor<?x1xf32, #mhc.narrow>, tensor<?x2x2xf32, #mhc.narrow>) -> tensor<?x4x4xf32, #mhc.narrow>
  return
}

// -----

func.func @compose_c3(%h: tensor<?x4x4xf32, #mhc.narrow>, %s: tensor<?x2xf32, #mhc.narrow>) {
  // expected-error @+1 {{expected one narrow element a row}}
  %0 = mhc.compose %h, %s : (tensor<?x4x4xf32, #mhc.narrow>, tensor<?x2xf32, #mhc.narrow>) -> tensor<?x4x4xf32, #mhc.narrow>
  return
}

// -----

func.func @square_root_c1(%x: tensor<4xf32>) {
  // expected-error @+1 {{expected static shapes of as many elements}}
  %0 = mhc.square_root %x : (tensor<4xf32>) -> tensor<3xf32>
  return
}

// -----

func.func @sublayer_c6(%x: tensor<?x8xf32>) {
  // expected-error @+1 {{expected a connection with 'mixing', and a narrow result of its matrices}}
  %0 = mhc.sublayer "a" %x mixing : (tensor<?x8xf32>) -> tensor<?x8xf32> {
  ^bb0(%u: tensor<?x8xf32>):
    mhc.yield %u : tensor<?x8xf32>
  }
  return
}
