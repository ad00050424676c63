// RUN: mhc-opt %s -split-input-file -verify-diagnostics -mhc-differentiate

// The optimizer's step has no gradient.
func.func @forward(%x: tensor<?x8xf32> {mhc.name = "x", mhc.grad = "dx"}) -> (tensor<1xf32> {mhc.name = "loss", mhc.cotangent = ""})
    attributes {mhc.entry, mhc.symbols = ["T"], mhc.vjp = "backward"} {
  // expected-error @+1 {{op has no gradient}}
  %0 = mhc.sum_squares %x : (tensor<?x8xf32>) -> tensor<1xf32>
  return %0 : tensor<1xf32>
}

// -----

// Nor have ops of other dialects.
func.func @forward(%x: tensor<4x8xf32> {mhc.name = "x", mhc.grad = "dx"}) -> (tensor<4x8xf32> {mhc.name = "y", mhc.cotangent = "dy"})
    attributes {mhc.entry, mhc.symbols = [], mhc.vjp = "backward"} {
  // expected-error @+1 {{op has no gradient}}
  %0 = arith.negf %x : tensor<4x8xf32>
  return %0 : tensor<4x8xf32>
}

// -----

// An op without gradient is no error where nobody asks for one.
func.func @forward(%x: tensor<?x8xf32> {mhc.name = "x", mhc.grad = "dx"}, %z: tensor<?x8xf32> {mhc.name = "z"}) -> (tensor<?x8xf32> {mhc.name = "y", mhc.cotangent = "dy"}, tensor<1xf32> {mhc.name = "s"})
    attributes {mhc.entry, mhc.symbols = ["T"], mhc.vjp = "backward"} {
  %0 = mhc.sum_squares %z : (tensor<?x8xf32>) -> tensor<1xf32>
  return %x, %0 : tensor<?x8xf32>, tensor<1xf32>
}

// -----

// A gradient of rows must come from somewhere (that of a parameter is zero, differentiate.mlir).
// expected-error @+1 {{expected a result that depends on argument 'dz', which asks for a gradient}}
func.func @forward(%x: tensor<?x8xf32> {mhc.name = "x", mhc.grad = "dx"}, %z: tensor<?x8xf32> {mhc.name = "z", mhc.grad = "dz"}) -> (tensor<?x8xf32> {mhc.name = "y", mhc.cotangent = "dy"})
    attributes {mhc.entry, mhc.symbols = ["T"], mhc.vjp = "backward"} {
  return %x : tensor<?x8xf32>
}
