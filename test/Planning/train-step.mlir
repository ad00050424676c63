// RUN: mhc-opt %s --mhc-plan --split-input-file | FileCheck %s

module attributes {mhc.manifest = "{\"arenas\": {\"parameters\": 192}}"} {
  mhc.kernel @loss attributes {compute = f32, ints = [], segments = array<i64: 2, 0, 1>} {
  ^bb0(%x: memref<?x8xf32>, %s: memref<64xf32>, %l: memref<1xf32>):
    %0 = mhc.row.load row %x : memref<?x8xf32> -> !mhc.wide<1x8xf32>
    %1 = mhc.row.reduce add %0 : !mhc.wide<1x8xf32> -> !mhc.narrow<1xf32>
    %2 = mhc.row.load uniform %s : memref<64xf32> -> !mhc.narrow<64xf32>
    mhc.row.sum_tokens %1, %l : !mhc.narrow<1xf32>, memref<1xf32>
  }
  mhc.kernel @squares attributes {compute = f32, ints = [], segments = array<i64: 1, 0, 1>} {
  ^bb0(%x: memref<?x64xf32>, %l: memref<1xf32>):
    %0 = mhc.row.load row %x : memref<?x64xf32> -> !mhc.wide<1x64xf32>
    %1 = mhc.row.reduce add %0 : !mhc.wide<1x64xf32> -> !mhc.narrow<1xf32>
    mhc.row.sum_tokens %1, %l : !mhc.narrow<1xf32>, memref<1xf32>
  }
  mhc.kernel @step attributes {compute = f32, ints = [], segments = array<i64: 2, 1, 0>} {
  ^bb0(%w: memref<?x64xf32>, %g: memref<?x64xf32>, %y: memref<?x64xf32>):
    %0 = mhc.row.load row %w : memref<?x64xf32> -> !mhc.wide<1x64xf32>
    %1 = mhc.row.load row %g : memref<?x64xf32> -> !mhc.wide<1x64xf32>
    %2 = mhc.row.map %0, %1 : !mhc.wide<1x64xf32>, !mhc.wide<1x64xf32> -> !mhc.wide<1x64xf32> {
    ^bb0(%a: f32, %b: f32):
      %c = arith.subf %a, %b : f32
      mhc.row.yield %c : f32
    }
    mhc.row.store %2, %y : !mhc.wide<1x64xf32>, memref<?x64xf32>
  }

  // As an entry of its own nothing is added to what was there.
  // CHECK-LABEL: plan.entry @loss_and_gradients
  // CHECK:         plan.launch @loss(%x, %{{.*}}) rows <T> reduce %{{.*}} into %loss accumulate [false]
  // CHECK:         plan.gemm %x, %x into %w m <8> n <8> k <T> trans_a at "linear_dw"
  // CHECK-NEXT:    plan.copy %loss into %cross_entropy
  // CHECK-NEXT:  }

  // CHECK-LABEL: plan.entry @train_step
  // CHECK-DAG:     %[[ALL:.*]] = plan.buffer state f32 <192> {arena = "gradients", begin = 0 : i64
  // CHECK-DAG:     %[[L:.*]] = plan.buffer scalars f32 <1> {begin = 18 : i64
  // CHECK-DAG:     %[[CE:.*]] = plan.buffer scalars f32 <1> {begin = 19 : i64
  // CHECK-DAG:     %[[SQ:.*]] = plan.buffer scalars f32 <1> {begin = 16 : i64
  // CHECK-DAG:     %[[W:.*]] = plan.buffer state f32 <128> {arena = "parameters", begin = 64 : i64
  // CHECK-DAG:     %[[G:.*]] = plan.buffer state f32 <128> {arena = "gradients", begin = 64 : i64
  // CHECK:         plan.fill %[[ALL]] with 0.000000e+00
  // CHECK-NEXT:    plan.fill %[[L]] with 0.000000e+00
  // CHECK-NEXT:    plan.fill %[[CE]] with 0.000000e+00
  // CHECK-NEXT:    plan.loop "micro_batches" {
  // The loss goes two ways, so it is added to both; the gradient is added to where it is computed.
  // CHECK-NEXT:      plan.launch @loss(%{{.*}}, %{{.*}}) rows <T> reduce %{{.*}} into %[[TEMP:.*]] accumulate [false]
  // CHECK-NEXT:      plan.gemm %{{.*}}, %{{.*}} into %{{.*}} m <8> n <8> k <T> trans_a accumulate at "linear_dw"
  // CHECK-NEXT:      plan.add %[[TEMP]] into %[[L]]
  // CHECK-NEXT:      plan.add %[[TEMP]] into %[[CE]]
  // CHECK-NEXT:    }
  // CHECK-NEXT:    plan.launch @squares(%[[G]]) rows <2> reduce %{{.*}} into %[[SQ]] accumulate [false]
  // In place: the kernel is elementwise, and nobody reads the old values later.
  // CHECK-NEXT:    plan.launch @step(%[[W]], %[[G]], %[[W]]) rows <2>
  // CHECK-NEXT:  }
  func.func @loss_and_gradients(%x: tensor<?x8xf32> {mhc.name = "x"})
      -> (tensor<1xf32> {mhc.name = "loss"}, tensor<1xf32> {mhc.name = "cross_entropy"}, tensor<8x8xf32> {mhc.name = "grad.w", mhc.gradient = "w"})
      attributes {mhc.entry, mhc.symbols = ["B", "S"]} {
    %s = mhc.scalars : () -> tensor<64xf32>
    %0 = mhc.launch @loss(%x, %s) "loss" : (tensor<?x8xf32>, tensor<64xf32>) -> tensor<1xf32>
    %1 = mhc.linear_dw %x, %x : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<8x8xf32>
    return %0, %0, %1 : tensor<1xf32>, tensor<1xf32>, tensor<8x8xf32>
  }
  func.func @update(%w: tensor<?x64xf32> {mhc.state = "parameters", mhc.begin = 64 : i64, mhc.rows = 2 : i64},
                    %g: tensor<?x64xf32> {mhc.state = "gradients", mhc.begin = 64 : i64, mhc.rows = 2 : i64})
      -> (tensor<1xf32> {mhc.scalar = 16 : i64}, tensor<?x64xf32> {mhc.state = "parameters", mhc.begin = 64 : i64, mhc.rows = 2 : i64}) {
    %0 = mhc.launch @squares(%g) "norm" : (tensor<?x64xf32>) -> tensor<1xf32>
    %1 = mhc.launch @step(%w, %g) "step" : (tensor<?x64xf32>, tensor<?x64xf32>) -> tensor<?x64xf32>
    return %0, %1 : tensor<1xf32>, tensor<?x64xf32>
  }
}

// -----

// Not in place: the old values are read afterwards.
module attributes {mhc.manifest = "{\"arenas\": {\"parameters\": 128}}"} {
  mhc.kernel @k attributes {compute = f32, ints = [], segments = array<i64: 1, 1, 0>} {
  ^bb0(%x: memref<?x64xf32>, %y: memref<?x64xf32>):
    %0 = mhc.row.load row %x : memref<?x64xf32> -> !mhc.wide<1x64xf32>
    mhc.row.store %0, %y : !mhc.wide<1x64xf32>, memref<?x64xf32>
  }
  // CHECK-LABEL: plan.entry @train_step
  // CHECK-DAG:     %[[W:.*]] = plan.buffer state f32 <128> {arena = "parameters"
  // CHECK-DAG:     %[[M:.*]] = plan.buffer state f32 <128> {arena = "exp_avg"
  // CHECK-DAG:     %[[N:.*]] = plan.buffer arena f32 <128> live [4, 6]
  // CHECK:         plan.launch @k(%[[W]], %[[N]]) rows <2>
  // CHECK-NEXT:    plan.launch @k(%[[W]], %[[M]]) rows <2>
  // CHECK-NEXT:    plan.copy %[[N]] into %[[W]]
  func.func @loss_and_gradients() attributes {mhc.entry, mhc.symbols = ["B", "S"]} {
    return
  }
  func.func @update(%w: tensor<?x64xf32> {mhc.state = "parameters", mhc.begin = 0 : i64, mhc.rows = 2 : i64})
      -> (tensor<?x64xf32> {mhc.state = "parameters", mhc.begin = 0 : i64, mhc.rows = 2 : i64}, tensor<?x64xf32> {mhc.state = "exp_avg", mhc.begin = 0 : i64, mhc.rows = 2 : i64}) {
    %0 = mhc.launch @k(%w) "w" : (tensor<?x64xf32>) -> tensor<?x64xf32>
    %1 = mhc.launch @k(%w) "m" : (tensor<?x64xf32>) -> tensor<?x64xf32>
    return %0, %1 : tensor<?x64xf32>, tensor<?x64xf32>
  }
}
