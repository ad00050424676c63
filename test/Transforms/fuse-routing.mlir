// RUN: mhc-opt %s -split-input-file -pass-pipeline='builtin.module(func.func(mhc-fuse-boundaries))' | FileCheck %s

// The losses' gradient of the logits needs nothing of the product, but is added to the gate's, which does, and both read the logits: one kernel after the product reads them once and writes their gradient once.
// CHECK-LABEL: func.func @one_gradient
// CHECK-NEXT:    mhc.linear
// CHECK-NEXT:    mhc.fusion "chain" : tensor<?x8xf32>
// CHECK-DAG:       mhc.router_statistics_vjp
// CHECK-DAG:       mhc.route_vjp
// CHECK:           %[[SUM:.*]] = mhc.sum
// CHECK-NEXT:      mhc.yield %[[SUM]]
func.func @one_gradient(%z: tensor<?x8xf32>, %i: tensor<?x2xi32, #mhc.narrow>, %dy: tensor<?x16xf32>, %w: tensor<2x16xf32>, %dt: tensor<1xf32>) -> tensor<?x8xf32> {
  %0 = mhc.router_statistics_vjp %z, %dt {losses = [#mhc.balance<z, weight = 1.0>]} : (tensor<?x8xf32>, tensor<1xf32>) -> tensor<?x8xf32>
  %1 = mhc.linear %dy, %w : (tensor<?x16xf32>, tensor<2x16xf32>) -> tensor<?x2xf32, #mhc.narrow>
  %2 = mhc.route_vjp %z, %i, %1 {score = #mhc<score sigmoid>} : (tensor<?x8xf32>, tensor<?x2xi32, #mhc.narrow>, tensor<?x2xf32, #mhc.narrow>) -> tensor<?x8xf32>
  %3 = mhc.sum %0, %2 : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  return %3 : tensor<?x8xf32>
}

// -----

// Nobody reads the logits there: then the gradient is as well written as they would be read again.
// CHECK-LABEL: func.func @alone
// CHECK-NEXT:    %[[D:.*]] = mhc.router_statistics_vjp
// CHECK-NEXT:    mhc.linear
// CHECK:         mhc.sum %[[D]]
func.func @alone(%z: tensor<?x8xf32>, %dy: tensor<?x16xf32>, %w: tensor<8x16xf32>, %dt: tensor<1xf32>) -> tensor<?x8xf32> {
  %0 = mhc.router_statistics_vjp %z, %dt {losses = [#mhc.balance<z, weight = 1.0>]} : (tensor<?x8xf32>, tensor<1xf32>) -> tensor<?x8xf32>
  %1 = mhc.linear %dy, %w : (tensor<?x16xf32>, tensor<8x16xf32>) -> tensor<?x8xf32>
  %2 = mhc.sum %0, %1 : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  return %2 : tensor<?x8xf32>
}
