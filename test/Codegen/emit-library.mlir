// Kernels behind library commands, by name: how each is launched, and what its result depends on.
// RUN: mhc-opt %s -mhc-emit-simple=library=mhc_split_tokens,mhc_embedding_backward_bf16,mhc_attention_bf16_192_128,mhc_attention_dkv_f32_24_24,mhc_round_bf16 | FileCheck %s
// RUN: mhc-opt %s -mhc-emit-simple=library=mhc_attention_f32_24_24 | FileCheck %s --check-prefix=FORWARD

// Sums over tokens, heads and tiles are loops; the status word alone is a matter of atomics, and the least of all is the same in any order.
// CHECK: llvm.mlir.global external @mhc_shared() {addr_space = 3 : i32, alignment = 16 : i64} : !llvm.array<0 x i8>
// CHECK: llvm.func @mhc_sum_partials_f32({{.*}} attributes {mhc.launch = {shared = 0 : i64, threads = 256 : i64, tile = 256 : i64}, nvvm.kernel, nvvm.maxntid = array<i32: 256>}
// CHECK-NOT: atomicrmw
// Eight sums at once: pointers to partials and results, sizes, numbers of partials, flags. Of eight partials none waits for another one.
// CHECK: llvm.func @mhc_sum_all_partials_f32({{(%[a-z0-9]+: !llvm.ptr<1>, ){16}(%[a-z0-9]+: i64, ){23}%[a-z0-9]+: i64}}) attributes {mhc.launch = {shared = 0 : i64, threads = 256 : i64, tile = 256 : i64}
// CHECK: scf.for
// CHECK-COUNT-8: llvm.load
// CHECK-COUNT-8: arith.addf
// CHECK-NEXT: scf.yield
// CHECK-NOT: atomicrmw
// CHECK: llvm.func @mhc_split_tokens(%{{.*}}: !llvm.ptr<1>, %{{.*}}: !llvm.ptr<1>, %{{.*}}: !llvm.ptr<1>, %{{.*}}: !llvm.ptr<1>, %{{.*}}: i64, %{{.*}}: i64, %{{.*}}: i64, %{{.*}}: i64) attributes {mhc.launch = {shared = 0 : i64, threads = 256 : i64, tile = 256 : i64}
// CHECK: llvm.atomicrmw min
// CHECK-NOT: atomicrmw
// CHECK: llvm.func @mhc_embedding_backward_bf16({{.*}} attributes {mhc.launch = {shared = 36 : i64, threads = 256 : i64, tile = 1 : i64}
// CHECK: nvvm.vote.sync ballot
// CHECK: llvm.func @mhc_attention_bf16_192_128({{.*}} attributes {mhc.launch = {shared = 52224 : i64, threads = 256 : i64, tile = 64 : i64}
// CHECK: llvm.func @mhc_attention_dkv_f32_24_24({{.*}} attributes {mhc.launch = {shared = 52224 : i64, threads = 256 : i64, tile = 64 : i64}
// CHECK: llvm.func @mhc_round_bf16({{.*}} attributes {mhc.launch = {shared = 0 : i64, threads = 256 : i64, tile = 1024 : i64}
// CHECK: nvvm.convert.f32x2.to.bf16x2
// CHECK-NOT: llvm.func

// A tile of keys: both operands of the scores go to shared memory between two barriers, 16-byte accesses multiply them; then the values, where only a
// tile on the diagonal chooses pair by pair.
// FORWARD-LABEL: llvm.func @mhc_attention_f32_24_24
// FORWARD: scf.for
// FORWARD: nvvm.barrier
// FORWARD: nvvm.barrier
// FORWARD: llvm.load %{{.*}} {alignment = 16 : i64} : !llvm.ptr<3> -> vector<4xf32>
// FORWARD-COUNT-64: llvm.intr.fma
// FORWARD: nvvm.shfl.sync
// FORWARD: math.exp
// FORWARD: nvvm.barrier
// FORWARD: nvvm.barrier
// FORWARD: scf.if
// FORWARD: llvm.intr.fma
// FORWARD: arith.select
// FORWARD: } else {
// FORWARD-NOT: arith.select
// FORWARD-COUNT-64: llvm.intr.fma
// FORWARD: math.log
// FORWARD: llvm.return
