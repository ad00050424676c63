// RUN: mhc-opt %s -split-input-file -verify-diagnostics

func.func @aggregate_c1(%x: tensor<?x4x8xf32>, %h: tensor<?x3xf32, #mhc.narrow>) -> tensor<?x8xf32> {
  // expected-error @+1 {{expected h_pre of 4 narrow elements, but got 'tensor<?x3xf32, #mhc.narrow>'}}
  %0 = mhc.aggregate %x, %h : (tensor<?x4x8xf32>, tensor<?x3xf32, #mhc.narrow>) -> tensor<?x8xf32>
  return %0 : tensor<?x8xf32>
}

// -----

func.func @aggregate_c2(%x: tensor<?x4x8xf32>, %h: tensor<?x4xf32, #mhc.narrow>) -> tensor<?x9xf32> {
  // expected-error @+1 {{expected u to have x's channels}}
  %0 = mhc.aggregate %x, %h : (tensor<?x4x8xf32>, tensor<?x4xf32, #mhc.narrow>) -> tensor<?x9xf32>
  return %0 : tensor<?x9xf32>
}

// -----

func.func @combine_c1(%x: tensor<?x2x8xf32>, %f: tensor<?x8xf32>, %p: tensor<?x2xf32, #mhc.narrow>, %r: tensor<?x2xf32, #mhc.narrow>) -> tensor<?x2x8xf32> {
  // expected-error @+1 {{expected h_post of 2 and h_res of 4 narrow elements}}
  %0 = mhc.combine %x, %f, %p, %r : (tensor<?x2x8xf32>, tensor<?x8xf32>, tensor<?x2xf32, #mhc.narrow>, tensor<?x2xf32, #mhc.narrow>) -> tensor<?x2x8xf32>
  return %0 : tensor<?x2x8xf32>
}

// -----

func.func @projection_c1(%x: tensor<?x2x8xf32>, %phi: tensor<12x4xf32>) -> tensor<?x1x4xf32, #mhc.narrow> {
  // expected-error @+1 {{expected phi's 12 rows to divide the row of 16 elements into whole streams}}
  %0 = mhc.projection %x, %phi : (tensor<?x2x8xf32>, tensor<12x4xf32>) -> tensor<?x1x4xf32, #mhc.narrow>
  return %0 : tensor<?x1x4xf32, #mhc.narrow>
}

// -----

func.func @select_c1(%x: tensor<?x4xf32, #mhc.narrow>) -> tensor<?x2xf32, #mhc.narrow> {
  // expected-error @+1 {{expected 2 indices, but got 3}}
  %0 = mhc.select %x {indices = array<i64: 0, 1, 2>} : (tensor<?x4xf32, #mhc.narrow>) -> tensor<?x2xf32, #mhc.narrow>
  return %0 : tensor<?x2xf32, #mhc.narrow>
}

// -----

func.func @select_c2(%x: tensor<?x4xf32, #mhc.narrow>) -> tensor<?x2xf32, #mhc.narrow> {
  // expected-error @+1 {{expected indices below 4, but got 4}}
  %0 = mhc.select %x {indices = array<i64: 0, 4>} : (tensor<?x4xf32, #mhc.narrow>) -> tensor<?x2xf32, #mhc.narrow>
  return %0 : tensor<?x2xf32, #mhc.narrow>
}

// -----

func.func @affine_c1(%y: tensor<?x4xf32, #mhc.narrow>, %a: tensor<2xf32>, %b: tensor<4xf32>) -> tensor<?x4xf32, #mhc.narrow> {
  // expected-error @+1 {{expected groups that add up to 4, but got 5}}
  %0 = mhc.affine %y, %a, %b {groups = array<i64: 2, 3>} : (tensor<?x4xf32, #mhc.narrow>, tensor<2xf32>, tensor<4xf32>) -> tensor<?x4xf32, #mhc.narrow>
  return %0 : tensor<?x4xf32, #mhc.narrow>
}

// -----

func.func @project_c1(%z: tensor<?x2x3xf32, #mhc.narrow>) -> tensor<?x2x3xf32, #mhc.narrow> {
  // expected-error @+1 {{expected narrow square matrices}}
  %0 = mhc.project %z {manifold = #mhc.unconstrained} : (tensor<?x2x3xf32, #mhc.narrow>) -> tensor<?x2x3xf32, #mhc.narrow>
  return %0 : tensor<?x2x3xf32, #mhc.narrow>
}

// -----

func.func @rope_c1(%x: tensor<?x3x4xf32>, %c: tensor<?x4xf32>) -> tensor<?x3x4xf32> {
  // expected-error @+1 {{expected rows of two streams}}
  %0 = mhc.rope %x, %c, %c {heads = 1 : i64} : (tensor<?x3x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x3x4xf32>
  return %0 : tensor<?x3x4xf32>
}

// -----

func.func @linear_c1(%x: tensor<?x8xf32>, %w: tensor<4x9xf32>) -> tensor<?x4xf32> {
  // expected-error @+1 {{expected x of [T, K], W of [N, K], y of [T, N]}}
  %0 = mhc.linear %x, %w : (tensor<?x8xf32>, tensor<4x9xf32>) -> tensor<?x4xf32>
  return %0 : tensor<?x4xf32>
}

// -----

func.func @sublayer_c1(%x: tensor<?x8xf32>, %p: tensor<3xf32>) -> tensor<?x8xf32> {
  // expected-error @+1 {{expected 0 parameters, but got 1}}
  %0 = mhc.sublayer "a" %x(%p) : (tensor<?x8xf32>, tensor<3xf32>) -> tensor<?x8xf32> {
  ^bb0(%u: tensor<?x8xf32>):
    mhc.yield %u : tensor<?x8xf32>
  }
  return %0 : tensor<?x8xf32>
}

// -----

// expected-error @+1 {{expected at least one iteration, but got 0}}
func.func private @birkhoff_iterations() attributes {m = #mhc.birkhoff<iterations = 0, firstOverInputs = false>}
