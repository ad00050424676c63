// Kernels behind dispatch and grouped products: launch figures, and what makes their results independent of the order of blocks.
// RUN: mhc-opt %s -mhc-emit-simple=library=mhc_dispatch_count,mhc_dispatch_prefix,mhc_dispatch_offsets,mhc_dispatch_scatter | FileCheck %s --check-prefix=SORT
// RUN: mhc-opt %s -mhc-emit-simple=library=mhc_grouped_matmul_bf16_64_128,mhc_grouped_outer_bf16_64_256,mhc_grouped_matmul_t_f32_20_12 | FileCheck %s

// Atomics count, in shared memory; ranks come from the lanes that chose the same expert.
// SORT: llvm.func @mhc_dispatch_count({{.*}} attributes {mhc.launch = {shared = 16384 : i64, threads = 256 : i64, tile = 1 : i64}
// SORT: llvm.atomicrmw add {{.*}} !llvm.ptr<3>, i32
// SORT-NOT: atomicrmw
// SORT: llvm.func @mhc_dispatch_prefix({{.*}} attributes {mhc.launch = {shared = 32 : i64, threads = 256 : i64, tile = 1 : i64}
// SORT: nvvm.shfl.sync up
// SORT: llvm.func @mhc_dispatch_offsets({{.*}} attributes {mhc.launch = {shared = 32 : i64, threads = 256 : i64, tile = 1 : i64}
// SORT: llvm.func @mhc_dispatch_scatter({{.*}} attributes {mhc.launch = {shared = 16384 : i64, threads = 32 : i64, tile = 1 : i64}
// SORT: nvvm.match.sync any
// SORT: llvm.intr.ctpop

// 4 stages of 128 rows and 128 or 256 columns of 32 summed elements, and the words of the search for the tile's group. Rows of x have bounds (a copy of
// `size` bytes), the matrix's have none.
// CHECK: llvm.func @mhc_grouped_matmul_bf16_64_128(%{{.*}}: !llvm.ptr<1>, %{{.*}}: !llvm.ptr<1>, %{{.*}}: !llvm.ptr<1>, %{{.*}}: !llvm.ptr<1>, %{{.*}}: i64, %{{.*}}: i64) attributes {mhc.launch = {shared = 65600 : i64, threads = 128 : i64, tile = 128 : i64}
// CHECK-COUNT-4: nvvm.cp.async.shared.global %{{.*}}, %{{.*}}, 16, cache =  cg, %{{.*}}
// CHECK-COUNT-4: nvvm.cp.async.shared.global %{{.*}}, %{{.*}}, 16, cache =  cg :
// CHECK: nvvm.cp.async.commit.group
// CHECK: nvvm.cp.async.wait.group 2
// CHECK-NEXT: nvvm.barrier
// CHECK-COUNT-32: nvvm.mma.sync
// CHECK: nvvm.cp.async.wait.group 2
// CHECK-NEXT: nvvm.barrier
// CHECK-COUNT-4: nvvm.ldmatrix %{{.*}} {eltType = #nvvm.ld_st_matrix_elt_type<b16>, layout = #nvvm.mma_layout<row>, num = 4
// CHECK-COUNT-4: nvvm.ldmatrix %{{.*}} {eltType = #nvvm.ld_st_matrix_elt_type<b16>, layout = #nvvm.mma_layout<col>, num = 4
// CHECK-COUNT-32: nvvm.mma.sync
// CHECK-NOT: atomicrmw
// CHECK: llvm.func @mhc_grouped_outer_bf16_64_256({{.*}} attributes {mhc.launch = {shared = 98368 : i64, threads = 256 : i64, tile = 256 : i64}
// CHECK-NOT: atomicrmw
// CHECK: llvm.func @mhc_grouped_matmul_t_f32_20_12({{.*}} attributes {mhc.launch = {shared = 33856 : i64, threads = 256 : i64, tile = 128 : i64}
// CHECK-NOT: mma
// CHECK-COUNT-64: llvm.intr.fma
module {
}
