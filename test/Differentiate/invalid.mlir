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

// -----

// A loss is one number, and the sum that mhc.weighted_sum takes.
// expected-error @+1 {{expected the loss (result 0) to be one number, but got 'tensor<?x8xf32>'}}
func.func @forward(%x: tensor<?x8xf32> {mhc.name = "x", mhc.grad = "dx"}) -> (tensor<?x8xf32> {mhc.name = "loss", mhc.cotangent = ""})
    attributes {mhc.entry, mhc.symbols = ["T"], mhc.vjp = "backward"} {
  %0 = mhc.scale %x {factor = 2.0 : f64} : (tensor<?x8xf32>) -> tensor<?x8xf32>
  return %0 : tensor<?x8xf32>
}

// -----

func.func @forward(%x: tensor<1xf32> {mhc.name = "x", mhc.grad = "dx"}) -> (tensor<1xf32> {mhc.name = "loss", mhc.cotangent = ""})
    attributes {mhc.entry, mhc.symbols = [], mhc.vjp = "backward"} {
  // expected-error @+1 {{expected the loss to come from 'mhc.weighted_sum'}}
  %0 = mhc.scale %x {factor = 2.0 : f64} : (tensor<1xf32>) -> tensor<1xf32>
  return %0 : tensor<1xf32>
}

// -----

// Attention's log-sum-exp has no gradient of its own.
func.func @forward(%q: tensor<?x8xf32> {mhc.name = "q", mhc.grad = "dq"}) -> (tensor<?x2xf32, #mhc.narrow> {mhc.name = "lse", mhc.cotangent = "dlse"})
    attributes {mhc.entry, mhc.symbols = ["T"], mhc.vjp = "backward"} {
  // expected-error @+1 {{expected a gradient of the first result}}
  %0:2 = mhc.attention %q, %q, %q {heads = 2 : i64, kv_heads = 2 : i64, scale = 0.5 : f64} : (tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>) -> (tensor<?x8xf32>, tensor<?x2xf32, #mhc.narrow>)
  return %0#1 : tensor<?x2xf32, #mhc.narrow>
}

// -----

// expected-error @+1 {{expected a function of one block to differentiate}}
func.func private @declared(tensor<?x8xf32>) -> tensor<?x8xf32> attributes {mhc.vjp = "backward"}
