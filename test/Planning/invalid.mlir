// RUN: mhc-opt %s --mhc-plan --split-input-file --verify-diagnostics

// expected-error @+1 {{expected an entry point (attribute 'mhc.entry') or @update}}
func.func @other() {
  return
}

// -----

// expected-error @+1 {{expected tensors after phase 'kernels', but got 'i32'}}
func.func @forward(%x: i32) -> i32 attributes {mhc.entry, mhc.symbols = ["T"]} {
  return %x : i32
}

// -----

// expected-error @+1 {{expected a tensor of at least one dimension whose size 64 bits hold, but got 'tensor<9223372036854775807x3xf32>'}}
func.func @forward(%x: tensor<9223372036854775807x3xf32> {mhc.name = "x"}) attributes {mhc.entry, mhc.symbols = ["T"]} {
  return
}

// -----

// expected-error @+1 {{expected arguments of different names, but got "x" twice}}
func.func @forward(%x: tensor<?x8xf32> {mhc.name = "x"}, %y: tensor<?x8xf32> {mhc.name = "x"}) attributes {mhc.entry, mhc.symbols = ["T"]} {
  return
}

// -----

// expected-error @+1 {{expected results of different names, but got "y" twice}}
func.func @forward(%x: tensor<?x8xf32> {mhc.name = "x"}) -> (tensor<?x8xf32> {mhc.name = "y"}, tensor<?x8xf32> {mhc.name = "y"}) attributes {mhc.entry, mhc.symbols = ["T"]} {
  return %x, %x : tensor<?x8xf32>, tensor<?x8xf32>
}

// -----

// expected-error @+1 {{expected one block after phase 'kernels'}}
func.func private @forward(tensor<1xf32>) attributes {mhc.entry, mhc.symbols = ["T"]}

// -----

// expected-error @+1 {{expected attribute 'mhc.name' of argument 0}}
func.func @forward(%x: tensor<?x8xf32>) -> (tensor<?x8xf32> {mhc.name = "y"}) attributes {mhc.entry, mhc.symbols = ["T"]} {
  return %x : tensor<?x8xf32>
}

// -----

// expected-error @+1 {{expected argument 0 to have a row for each of T tokens, but got 'tensor<?x8xf32>'}}
func.func @forward(%x: tensor<?x8xf32> {mhc.name = "x"}) -> (tensor<?x8xf32> {mhc.name = "y"}) attributes {mhc.entry, mhc.symbols = ["S"]} {
  return %x : tensor<?x8xf32>
}

// -----

// expected-error @+1 {{expected result 0 to say where it goes ('mhc.name', 'mhc.gradient', 'mhc.state' or 'mhc.scalar')}}
func.func @forward(%x: tensor<?x8xf32> {mhc.name = "x"}) -> tensor<?x8xf32> attributes {mhc.entry, mhc.symbols = ["T"]} {
  return %x : tensor<?x8xf32>
}

// -----

func.func @forward(%x: tensor<?x8xf32> {mhc.name = "x"}) -> (tensor<?x8xf32> {mhc.name = "y"}) attributes {mhc.entry, mhc.symbols = ["T"]} {
  // expected-error @+1 {{expected no such op after phase 'kernels'}}
  %0 = mhc.swiglu %x, %x : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  return %0 : tensor<?x8xf32>
}

// -----

func.func @forward(%x: tensor<?x8xf32> {mhc.name = "x"}) -> (tensor<?x8xf32> {mhc.name = "y"}) attributes {mhc.entry, mhc.symbols = ["T"]} {
  // expected-error @+1 {{expected a kernel 'k'}}
  %0 = mhc.launch @k(%x) "here" : (tensor<?x8xf32>) -> tensor<?x8xf32>
  return %0 : tensor<?x8xf32>
}

// -----

mhc.kernel @k attributes {compute = f32, ints = [], segments = array<i64: 2, 1, 0>} {
^bb0(%x: memref<?x8xf32>, %z: memref<?x8xf32>, %y: memref<?x8xf32>):
  %0 = mhc.row.load row %x : memref<?x8xf32> -> !mhc.wide<1x8xf32>
  %1 = mhc.row.load row %z : memref<?x8xf32> -> !mhc.wide<1x8xf32>
  mhc.row.store %0, %y : !mhc.wide<1x8xf32>, memref<?x8xf32>
}
func.func @forward(%x: tensor<?x8xf32> {mhc.name = "x"}, %z: tensor<?x16xf32> {mhc.name = "z"}) -> (tensor<?x8xf32> {mhc.name = "y"}) attributes {mhc.entry, mhc.symbols = ["T"]} {
  // expected-error @+1 {{expected one number of rows, but got T of argument 0 and 2 * T of argument 1}}
  %0 = mhc.launch @k(%x, %z) "here" : (tensor<?x8xf32>, tensor<?x16xf32>) -> tensor<?x8xf32>
  return %0 : tensor<?x8xf32>
}

// -----

mhc.kernel @k attributes {compute = f32, ints = [], segments = array<i64: 1, 1, 0>} {
^bb0(%x: memref<?x8xf32>, %y: memref<?x8xf32>):
  %0 = mhc.row.load row %x : memref<?x8xf32> -> !mhc.wide<1x8xf32>
  mhc.row.store %0, %y : !mhc.wide<1x8xf32>, memref<?x8xf32>
}
func.func @forward(%x: tensor<?x12xf32> {mhc.name = "x"}) -> (tensor<?x8xf32> {mhc.name = "y"}) attributes {mhc.entry, mhc.symbols = ["T"]} {
  // expected-error @+1 {{expected whole rows of 'memref<?x8xf32>' in argument 0, but got 12 * T elements}}
  %0 = mhc.launch @k(%x) "here" : (tensor<?x12xf32>) -> tensor<?x8xf32>
  return %0 : tensor<?x8xf32>
}

// -----

mhc.kernel @k attributes {compute = f32, ints = ["S"], segments = array<i64: 1, 1, 0>} {
^bb0(%x: memref<?x8xf32>, %y: memref<?x8xf32>):
  %0 = mhc.row.load row %x : memref<?x8xf32> -> !mhc.wide<1x8xf32>
  mhc.row.store %0, %y : !mhc.wide<1x8xf32>, memref<?x8xf32>
}
func.func @forward(%x: tensor<?x8xf32> {mhc.name = "x"}) -> (tensor<?x8xf32> {mhc.name = "y"}) attributes {mhc.entry, mhc.symbols = ["T"]} {
  // expected-error @+1 {{expected kernel 'k' to need symbols of the entry only, but got 'S'}}
  %0 = mhc.launch @k(%x) "here" : (tensor<?x8xf32>) -> tensor<?x8xf32>
  return %0 : tensor<?x8xf32>
}

// -----

func.func @backward(%q: tensor<?x8xf32> {mhc.name = "q"}, %l: tensor<?x2xf32> {mhc.name = "l"}) -> (tensor<?x8xf32> {mhc.name = "dq"}) attributes {mhc.entry, mhc.symbols = ["B", "S"]} {
  // expected-error @+1 {{expected at least one head, but got 0 and 1}}
  %0:3 = mhc.attention_vjp %q, %q, %q, %q, %l, %q {heads = 0 : i64, kv_heads = 1 : i64, scale = 0.5 : f64}
    : (tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x2xf32>, tensor<?x8xf32>) -> (tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>)
  return %0#0 : tensor<?x8xf32>
}

// -----

// expected-error @+1 {{expected attribute 'mhc.manifest' of a module with @update}}
module {
  func.func @loss_and_gradients() attributes {mhc.entry, mhc.symbols = ["B", "S"]} {
    return
  }
  func.func @update() {
    return
  }
}

// -----

// expected-error @+1 {{expected 'arenas.parameters' in attribute 'mhc.manifest'}}
module attributes {mhc.manifest = "{\22arenas\22: 3}"} {
  func.func @loss_and_gradients() attributes {mhc.entry, mhc.symbols = ["B", "S"]} {
    return
  }
  func.func @update() {
    return
  }
}

// -----

// expected-error @+1 {{expected one block after phase 'kernels'}}
func.func @forward() attributes {mhc.entry, mhc.symbols = ["T"]} {
  cf.br ^bb1
^bb1:
  return
}

// -----

// expected-error @+1 {{expected a function that returns}}
func.func @forward() attributes {mhc.entry, mhc.symbols = ["T"]} {
  llvm.unreachable
}

// -----

func.func @forward() attributes {mhc.entry, mhc.symbols = ["T"]} {
  // expected-error @+1 {{expected tensors after phase 'kernels', but got 'f32'}}
  %0 = arith.constant 1.0 : f32
  return
}

// -----

// expected-error @+1 {{expected a tensor of at least one dimension whose size 64 bits hold, but got 'tensor<f32>'}}
func.func @forward(%x: tensor<f32> {mhc.name = "x"}) attributes {mhc.entry, mhc.symbols = ["T"]} {
  return
}

// -----

// A train step's results are gradients and scalars.
module attributes {mhc.manifest = "{\22arenas\22: {\22parameters\22: 64}}"} {
  // expected-error @+1 {{expected result 0 to say where it goes ('mhc.name', 'mhc.gradient', 'mhc.state' or 'mhc.scalar')}}
  func.func @loss_and_gradients(%x: tensor<?x8xf32> {mhc.name = "x"}) -> (tensor<?x8xf32> {mhc.name = "y"}) attributes {mhc.entry, mhc.symbols = ["B", "S"]} {
    return %x : tensor<?x8xf32>
  }
  func.func @update() {
    return
  }
}

// -----

mhc.kernel @k attributes {compute = f32, ints = [], segments = array<i64: 1, 1, 0>} {
^bb0(%x: memref<?x8xf32>, %y: memref<?x8xf32>):
  %0 = mhc.row.load row %x : memref<?x8xf32> -> !mhc.wide<1x8xf32>
  mhc.row.store %0, %y : !mhc.wide<1x8xf32>, memref<?x8xf32>
}
func.func @forward(%x: tensor<?x8xf32> {mhc.name = "x"}) -> (tensor<?x8xf32> {mhc.name = "y"}) attributes {mhc.entry, mhc.symbols = ["T"]} {
  // expected-error @+1 {{expected the operands and results of kernel 'k'}}
  %0 = mhc.launch @k(%x, %x) "here" : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  return %0 : tensor<?x8xf32>
}

// -----

func.func @forward(%q: tensor<?x8xf32> {mhc.name = "q"}) -> (tensor<?x8xf32> {mhc.name = "y"}) attributes {mhc.entry, mhc.symbols = ["T"]} {
  // expected-error @+1 {{expected an entry with sequences, symbols 'B' and 'S'}}
  %0:2 = mhc.attention %q, %q, %q {heads = 2 : i64, kv_heads = 2 : i64, scale = 0.5 : f64} : (tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>) -> (tensor<?x8xf32>, tensor<?x2xf32>)
  return %0#0 : tensor<?x8xf32>
}

// -----

func.func @backward(%q: tensor<?x8xf32> {mhc.name = "q"}, %l: tensor<?x2xf32> {mhc.name = "l"}) -> (tensor<?x8xf32> {mhc.name = "dq"}) attributes {mhc.entry, mhc.symbols = ["T"]} {
  // expected-error @+1 {{expected an entry with sequences, symbols 'B' and 'S'}}
  %0:3 = mhc.attention_vjp %q, %q, %q, %q, %l, %q {heads = 2 : i64, kv_heads = 2 : i64, scale = 0.5 : f64}
    : (tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x2xf32>, tensor<?x8xf32>) -> (tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>)
  return %0#0 : tensor<?x8xf32>
}

// -----

func.func @forward(%t: tensor<4x9xi32> {mhc.name = "tokens"}) -> (tensor<?xi32> {mhc.name = "inputs"}) attributes {mhc.entry, mhc.symbols = ["S"]} {
  // expected-error @+1 {{expected an entry with symbol 'T'}}
  %0 = mhc.split_tokens %t {vocab = 8 : i64} : (tensor<4x9xi32>) -> tensor<?xi32>
  return %0 : tensor<?xi32>
}

// -----

func.func @forward(%x: tensor<?x8xf32> {mhc.name = "x"}) -> (tensor<?x8xf32> {mhc.name = "y"}) attributes {mhc.entry, mhc.symbols = ["T"]} {
  // expected-error @+1 {{expected rows to be summed by kernels after phase 'kernels'}}
  %0 = mhc.sum %x, %x : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  return %0 : tensor<?x8xf32>
}

// -----

func.func @forward() -> (tensor<?x4xf32> {mhc.name = "cos"}) attributes {mhc.entry, mhc.symbols = ["T"]} {
  // expected-error @+1 {{expected an entry with sequences, symbol 'S'}}
  %0 = mhc.rope_table {theta = 1.0e4 : f64, sine = false} : () -> tensor<?x4xf32>
  return %0 : tensor<?x4xf32>
}

// -----

// 2^62 T rows of 8: what a command writes must be counted in 64 bits.
func.func @forward(%x: tensor<?x4611686018427387904xf32> {mhc.name = "x"}, %w: tensor<8x1xf32> {mhc.name = "w"}) -> (tensor<?x8xf32> {mhc.name = "y"}) attributes {mhc.entry, mhc.symbols = ["T"]} {
  %0 = mhc.view %x : (tensor<?x4611686018427387904xf32>) -> tensor<?x1xf32>
  // expected-error @+1 {{expected a size that 64 bits hold}}
  %1 = mhc.linear %0, %w : (tensor<?x1xf32>, tensor<8x1xf32>) -> tensor<?x8xf32>
  return %1 : tensor<?x8xf32>
}

// -----

func.func @forward(%x: tensor<?x12xf32> {mhc.name = "x"}, %w: tensor<4x8xf32> {mhc.name = "w"}) -> (tensor<?x4xf32> {mhc.name = "y"}) attributes {mhc.entry, mhc.symbols = ["T"]} {
  // expected-error @+1 {{expected whole rows of 'tensor<?x8xf32>' in 12 * T elements}}
  %0 = mhc.view %x : (tensor<?x12xf32>) -> tensor<?x8xf32>
  %1 = mhc.linear %0, %w : (tensor<?x8xf32>, tensor<4x8xf32>) -> tensor<?x4xf32>
  return %1 : tensor<?x4xf32>
}

// -----

// expected-error @+1 {{expected JSON in attribute 'mhc.manifest', but got: [1:2, byte=2]: Expected object key}}
module attributes {mhc.manifest = "{,"} {
  func.func @loss_and_gradients() attributes {mhc.entry, mhc.symbols = ["B", "S"]} {
    return
  }
  func.func @update() {
    return
  }
}
