// A package from a plan: members, manifest, and every kind of buffer and command in plan.json.
// RUN: mhc-compile %s --compile-from=plan -o %t.mhcpkg
// RUN: %python %S/Inputs/check_package.py %t.mhcpkg | FileCheck %s

// CHECK: members: manifest.json plan.json host/kernels.so{{$}}
// CHECK: manifest: {"format": 1, "producer": "mhc 0.1.0", "kind": "test", "dtype": "bf16", "requires": ["x86-64-v3"], "targets": ["cpu"], "arenas": {"parameters": 128}}
// CHECK: entry: all {"inputs": [{"name": "tokens"}, {"name": "x"}], "outputs": [{"name": "y"}]}
module attributes {mhc.manifest = "{\22kind\22: \22test\22, \22dtype\22: \22bf16\22, \22arenas\22: {\22parameters\22: 128}, \22entries\22: {\22all\22: {\22inputs\22: [{\22name\22: \22tokens\22}, {\22name\22: \22x\22}], \22outputs\22: [{\22name\22: \22y\22}]}}}"} {
  // CHECK: kernel: cpu {"name": "sum", "symbol": "sum", "tile": {{[0-9]+}}, "reduces": true, "shared": 0, "threads": 0, "ints": ["S"], "args": [{"dtype": "f32", "elements": 8, "rows": ["token"]}, {"dtype": "f32", "elements": 8, "rows": ["token"], "written": true}], "reductions": [{"dtype": "f32", "elements": 8}], "elementwise": false, "structure": "{{[0-9a-f]+}}", "shape": "1x8xf32", "schedule": {"family": "cpu", "channel_block": 256, "tile": 8, "vector": 8}}
  mhc.kernel @sum attributes {compute = f32, ints = ["S"], segments = array<i64: 1, 1, 1>} {
  ^bb0(%x: memref<?x8xf32>, %y: memref<?x8xf32>, %s: memref<8xf32>):
    %0 = mhc.row.load row %x : memref<?x8xf32> -> !mhc.wide<1x8xf32>
    mhc.row.store %0, %y : !mhc.wide<1x8xf32>, memref<?x8xf32>
    mhc.row.sum_tokens %0, %s : !mhc.wide<1x8xf32>, memref<8xf32>
  }
  plan.entry @all symbols ["B", "S"] derived [["T", "B", "S"]] {
    // CHECK: buffer: cpu all {"id": 0, "dtype": "i32", "size": {"B": 1, "T": 1}, "kind": "input", "tensor": "tokens"}
    %tokens = plan.buffer input i32 <T + B> {tensor = "tokens"}
    // CHECK: buffer: cpu all {"id": 1, "dtype": "f32", "size": {"T": 8}, "kind": "input", "tensor": "x", "slice": 1, "slices": 2}
    %x = plan.buffer input f32 <8 * T> {tensor = "x", slice = 1, slices = 2}
    // CHECK: buffer: cpu all {"id": 2, "dtype": "f32", "size": {"T": 8}, "kind": "output", "tensor": "y"}
    %y = plan.buffer output f32 <8 * T> {tensor = "y"}
    // CHECK: buffer: cpu all {"id": 3, "name": "hidden", "dtype": "f32", "size": {"T": 8, "1": 3}, "kind": "arena", "live": [0, 0]}
    %h = plan.buffer arena f32 <8 * T + 3> live [0, 0] {name = "hidden"}
    // CHECK: buffer: cpu all {"id": 4, "dtype": "f32", "size": 8, "kind": "partials", "live": [2, 2]}
    %p = plan.buffer partials f32 <8> live [2, 2]
    // CHECK: buffer: cpu all {"id": 5, "dtype": "f32", "size": 64, "kind": "parameter", "tensor": "w"}
    %w = plan.buffer parameter f32 <64> {tensor = "w"}
    // CHECK: buffer: cpu all {"id": 6, "dtype": "f32", "size": 64, "kind": "gradient", "tensor": "w"}
    %g = plan.buffer gradient f32 <64> {tensor = "w"}
    // CHECK: buffer: cpu all {"id": 7, "dtype": "f32", "size": 8, "kind": "state", "arena": "exp_avg", "begin": 64}
    %m = plan.buffer state f32 <8> {arena = "exp_avg", begin = 64}
    // CHECK: buffer: cpu all {"id": 8, "dtype": "f32", "size": 1, "kind": "scalars", "begin": 18}
    %l = plan.buffer scalars f32 <1> {begin = 18}
    // CHECK: buffer: cpu all {"id": 9, "dtype": "f32", "size": {"S": 4}, "kind": "constant", "generator": {"kind": "rope_sin", "theta": 10000.0, "pairs": 4}}
    %c = plan.buffer constant f32 <4 * S> {generator = "rope_sin", theta = 1.0e4, pairs = 4}
    %i = plan.buffer arena i32 <T> live [4, 6]
    %lse = plan.buffer arena f32 <2 * T> live [7, 8]

    // CHECK: command: cpu all {"op": "fill", "buffer": 3, "value": 0.5}
    plan.fill %h with 0.5
    // CHECK: command: cpu all {"op": "loop", "count": "micro_batches", "body": [{"op": "launch", "at": "here", "kernel": "sum", "args": [1, 2], "rows": {"T": 1}, "ints": [{"S": 1}], "reductions": [{"partial": 4, "out": 7, "accumulate": true}]}, {"op": "gemm", "m": {"T": 1}, "n": 8, "k": 8, "a": 1, "b": 5, "c": 2, "trans_a": false, "trans_b": true, "accumulate": true}]}
    plan.loop "micro_batches" {
      plan.launch @sum(%x, %y) rows <T> ints [#plan.expr<S>] reduce %p into %m accumulate [true] at "here"
      plan.gemm %x, %w into %y m <T> n <8> k <8> trans_b accumulate
    }
    // CHECK: command: cpu all {"op": "split_tokens", "tokens": 0, "inputs": 10, "targets": null, "vocab": 16}
    plan.split_tokens %tokens into %i vocab 16
    // CHECK: command: cpu all {"op": "split_tokens", "at": "tokens", "tokens": 0, "inputs": 10, "targets": 10, "vocab": 16}
    plan.split_tokens %tokens into %i, %i vocab 16 at "tokens"
    // CHECK: command: cpu all {"op": "embedding_backward", "tokens": 10, "dx": 1, "out": 6, "accumulate": true}
    plan.embedding_backward %i, %x into %g accumulate
    // CHECK: command: cpu all {"op": "attention", "q": 1, "k": 1, "v": 1, "out": 2, "lse": 11, "heads": 2, "kv_heads": 2, "head_dim": 4, "value_dim": 4, "scale": 0.5, "sequences": {"B": 1}, "length": {"S": 1}}
    plan.attention %x, %x, %x into %y, %lse sequences <B> length <S> {heads = 2, kv_heads = 2, head_dim = 4, value_dim = 4, scale = 0.5}
    // CHECK: command: cpu all {"op": "attention_backward", "q": 1, "k": 1, "v": 1, "out": 2, "lse": 11, "heads": 2, "kv_heads": 2, "head_dim": 4, "value_dim": 4, "scale": 0.5, "sequences": {"B": 1}, "length": {"S": 1}, "dout": 2, "dq": 2, "dk": 2, "dv": 2}
    plan.attention_backward %x, %x, %x, %y, %lse, %y into %y, %y, %y sequences <B> length <S> {heads = 2, kv_heads = 2, head_dim = 4, value_dim = 4, scale = 0.5}
    // CHECK: command: cpu all {"op": "add", "src": 1, "dst": 2}
    plan.add %x into %y
    // CHECK: command: cpu all {"op": "copy", "src": 1, "dst": 2}
    plan.copy %x into %y
  }
}
