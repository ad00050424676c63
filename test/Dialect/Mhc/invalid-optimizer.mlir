// RUN: mhc-opt %s --split-input-file --verify-diagnostics

func.func @momentum_c1(%m: tensor<?x64xf32>, %g: tensor<?x32xf32>) {
  // expected-error @+1 {{expected rows of one shape}}
  %0:2 = mhc.momentum %m, %g {mu = 0.95} : (tensor<?x64xf32>, tensor<?x32xf32>) -> (tensor<?x64xf32>, tensor<?x64xf32>)
  return
}

// -----

func.func @momentum_c2(%m: tensor<?x64xf32>) {
  // expected-error @+1 {{expected mu from 0 to below 1}}
  %0:2 = mhc.momentum %m, %m {mu = 1.0} : (tensor<?x64xf32>, tensor<?x64xf32>) -> (tensor<?x64xf32>, tensor<?x64xf32>)
  return
}

// -----

func.func @adam_direction_c1(%m: tensor<?x64xf32>, %v: tensor<?x2x32xf32>, %s: tensor<64xf32>) {
  // expected-error @+1 {{expected rows of one shape}}
  %0:3 = mhc.adam_direction %m, %v, %m, %s : (tensor<?x64xf32>, tensor<?x2x32xf32>, tensor<?x64xf32>, tensor<64xf32>) -> (tensor<?x64xf32>, tensor<?x64xf32>, tensor<?x64xf32>)
  return
}

// -----

func.func @newton_schulz_c1(%u: tensor<?x64xf32>) {
  // expected-error @+1 {{expected rows of 8 x 9 elements, and one type in and out}}
  %0 = mhc.newton_schulz %u {rows = 8, columns = 9, eps = 1.0e-7} : (tensor<?x64xf32>) -> tensor<?x64xf32>
  return
}

// -----

func.func @newton_schulz_c1_type(%u: tensor<?x64xf32>) {
  // expected-error @+1 {{expected rows of 8 x 8 elements, and one type in and out}}
  %0 = mhc.newton_schulz %u {rows = 8, columns = 8, eps = 1.0e-7} : (tensor<?x64xf32>) -> tensor<?x64xbf16>
  return
}

// -----

func.func @newton_schulz_c2(%u: tensor<?x64xf32>) {
  // expected-error @+1 {{expected at least one row and column, and eps of at least 0}}
  %0 = mhc.newton_schulz %u {rows = 8, columns = 8, eps = -1.0} : (tensor<?x64xf32>) -> tensor<?x64xf32>
  return
}

// -----

func.func @matmul_c1(%a: tensor<?x6xf32>) {
  // expected-error @+1 {{expected rows of m*k, k*n and m*n elements}}
  %0 = mhc.matmul %a, %a {m = 2, n = 2, k = 3} : (tensor<?x6xf32>, tensor<?x6xf32>) -> tensor<?x5xf32>
  return
}

// -----

func.func @matmul_c2(%a: tensor<?x4xf32>) {
  // expected-error @+1 {{expected beta 0 without c}}
  %0 = mhc.matmul %a, %a {m = 2, n = 2, k = 2, beta = 1.0} : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  return
}

// -----

func.func @matmul_c2_type(%a: tensor<?x4xi32>, %b: tensor<?x4xf32>) {
  // expected-error @+1 {{expected floating-point elements}}
  %0 = mhc.matmul %a, %b {m = 2, n = 2, k = 2} : (tensor<?x4xi32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  return
}

// -----

func.func @descend_c1(%w: tensor<?x64xf32>, %o: tensor<?x32xf32>, %r: tensor<?x1xf32, #mhc.narrow>) {
  // expected-error @+1 {{expected w, o and the result to have one shape of one stream}}
  %0 = mhc.descend %w, %o, %r, %r : (tensor<?x64xf32>, tensor<?x32xf32>, tensor<?x1xf32, #mhc.narrow>, tensor<?x1xf32, #mhc.narrow>) -> tensor<?x64xf32>
  return
}

// -----

func.func @descend_c2(%w: tensor<?x64xf32>, %r: tensor<?x2xf32, #mhc.narrow>) {
  // expected-error @+1 {{expected one narrow radius and rate a row}}
  %0 = mhc.descend %w, %w, %r, %r : (tensor<?x64xf32>, tensor<?x64xf32>, tensor<?x2xf32, #mhc.narrow>, tensor<?x2xf32, #mhc.narrow>) -> tensor<?x64xf32>
  return
}

// -----

func.func @project_c1_wide(%z: tensor<?x2x2xf32, #mhc.narrow>, %r: tensor<?x1xf32, #mhc.narrow>) {
  // expected-error @+1 {{expected wide rows of one stream with a radius}}
  %0 = mhc.project %z, %r {manifold = #mhc.sphere<>} : (tensor<?x2x2xf32, #mhc.narrow>, tensor<?x1xf32, #mhc.narrow>) -> tensor<?x2x2xf32, #mhc.narrow>
  return
}

// -----

func.func @project_c2_wide(%z: tensor<?x32xf32>, %r: tensor<?x1xf32, #mhc.narrow>) {
  // expected-error @+1 {{expected Z to have H's shape}}
  %0 = mhc.project %z, %r {manifold = #mhc.sphere<>} : (tensor<?x32xf32>, tensor<?x1xf32, #mhc.narrow>) -> tensor<?x64xf32>
  return
}

// -----

func.func @project_c3(%z: tensor<?x64xf32>, %r: tensor<?x1xf32, #mhc.narrow>) {
  // expected-error @+1 {{expected a radius with #mhc.sphere, which has none of its own}}
  %0 = mhc.project %z, %r {manifold = #mhc.sphere<radius = 2.0 : f64>} : (tensor<?x64xf32>, tensor<?x1xf32, #mhc.narrow>) -> tensor<?x64xf32>
  return
}

// -----

func.func @project_c3_manifold(%z: tensor<?x64xf32>, %r: tensor<?x1xf32, #mhc.narrow>) {
  // expected-error @+1 {{expected a radius with #mhc.sphere, which has none of its own}}
  %0 = mhc.project %z, %r {manifold = #mhc.simplex} : (tensor<?x64xf32>, tensor<?x1xf32, #mhc.narrow>) -> tensor<?x64xf32>
  return
}

// -----

func.func @add_scaled_c1(%x: tensor<?x64xf32>, %y: tensor<?x32xf32>, %w: tensor<?x1xf32, #mhc.narrow>) {
  // expected-error @+1 {{expected x, y and the result to have one shape of one stream}}
  %0 = mhc.add_scaled %x, %y, %w : (tensor<?x64xf32>, tensor<?x32xf32>, tensor<?x1xf32, #mhc.narrow>) -> tensor<?x64xf32>
  return
}

// -----

func.func @add_scaled_c2(%x: tensor<?x64xf32>, %w: tensor<?x2xf32, #mhc.narrow>) {
  // expected-error @+1 {{expected one narrow weight a row}}
  %0 = mhc.add_scaled %x, %x, %w : (tensor<?x64xf32>, tensor<?x64xf32>, tensor<?x2xf32, #mhc.narrow>) -> tensor<?x64xf32>
  return
}

// -----

func.func @guard_c1(%x: tensor<?x64xf32>, %y: tensor<?x32xf32>, %f: tensor<1xf32>) {
  // expected-error @+1 {{expected rows of one shape}}
  %0 = mhc.guard %x, %y, %f : (tensor<?x64xf32>, tensor<?x32xf32>, tensor<1xf32>) -> tensor<?x64xf32>
  return
}

// -----

func.func @guard_c2(%x: tensor<?x64xf32>, %f: tensor<2xf32>) {
  // expected-error @+1 {{expected a factor of one element}}
  %0 = mhc.guard %x, %x, %f : (tensor<?x64xf32>, tensor<?x64xf32>, tensor<2xf32>) -> tensor<?x64xf32>
  return
}

// -----

func.func @gram_c1(%x: tensor<?x64xf32>, %y: tensor<?x32xf32>) {
  // expected-error @+1 {{expected x and y of one stream, of one shape}}
  %0:3 = mhc.gram %x, %y : (tensor<?x64xf32>, tensor<?x32xf32>) -> (tensor<?x1xf32, #mhc.narrow>, tensor<?x1xf32, #mhc.narrow>, tensor<?x1xf32, #mhc.narrow>)
  return
}

// -----

func.func @gram_c2(%x: tensor<?x64xf32>) {
  // expected-error @+1 {{expected one narrow element a row of each product}}
  %0:3 = mhc.gram %x, %x : (tensor<?x64xf32>, tensor<?x64xf32>) -> (tensor<?x1xf32, #mhc.narrow>, tensor<?x2xf32, #mhc.narrow>, tensor<?x1xf32, #mhc.narrow>)
  return
}

// -----

func.func @row_sum_c1(%x: tensor<?x2x32xf32>) {
  // expected-error @+1 {{expected wide rows of one stream, and one narrow element a row}}
  %0 = mhc.row_sum %x : (tensor<?x2x32xf32>) -> tensor<?x1xf32, #mhc.narrow>
  return
}

// -----

func.func @product_c1(%x: tensor<?x64xf32>, %y: tensor<?x32xf32>) {
  // expected-error @+1 {{expected operands of the result's shape}}
  %0 = mhc.product %x, %y : (tensor<?x64xf32>, tensor<?x32xf32>) -> tensor<?x64xf32>
  return
}

// -----

func.func @norm_scale_c1(%x: tensor<?x2xf32, #mhc.narrow>) {
  // expected-error @+1 {{expected one narrow element a row}}
  %0 = mhc.norm_scale %x : (tensor<?x2xf32, #mhc.narrow>) -> tensor<?x1xf32, #mhc.narrow>
  return
}

// -----

func.func @norm_scale_c2(%x: tensor<?x1xf32, #mhc.narrow>) {
  // expected-error @+1 {{expected eps of at least 0}}
  %0 = mhc.norm_scale %x {eps = -1.0} : (tensor<?x1xf32, #mhc.narrow>) -> tensor<?x1xf32, #mhc.narrow>
  return
}
