// What is watched is row ops like all others: they are read and written, a sublayer gives its matrices away, and they fuse.
// RUN: mhc-opt %s | mhc-opt | FileCheck %s --check-prefix=ROUND
// RUN: mhc-opt %s --mhc-phase-optimize --mhc-phase-differentiate --mhc-phase-fuse --mhc-phase-kernels | FileCheck %s

#unconstrained = #mhc.connection<topology = "mhc", streams = 2, manifold = #mhc.unconstrained, eps = 1.0e-6 : f64, postScale = 2.0 : f64, phiTransposed = false>

// ROUND-LABEL: func.func @watched
// ROUND: mhc.sublayer "a" %{{.*}}({{.*}}) connection {{.*}} mixing :
// ROUND: mhc.compose %{{.*}}, %{{.*}} : 
// ROUND: mhc.compose %{{.*}}, %{{.*}} product %{{.*}} : 
// ROUND: mhc.mixing_gains
// ROUND: mhc.mean_tokens

// Product, gains and both means are in the kernel of what they watch, which writes streams but no matrix.
// CHECK-LABEL: func.func @watched
// CHECK: mhc.launch @[[kernel:boundary_0]]({{.*}} -> (tensor<?x2x8xf32>, tensor<3xf32>, tensor<4xf32>, tensor<1xf32>)
// CHECK: mhc.kernel @[[kernel]]
// CHECK-NOT: mhc.row.store {{.*}}narrow
// CHECK: mhc.row.sum_tokens
// CHECK: mhc.row.sum_tokens
func.func @watched(%x: tensor<?x2x8xf32> {mhc.name = "x"}, %p: tensor<?x2x2xf32, #mhc.narrow> {mhc.name = "p"}, %phi: tensor<16x8xf32> {mhc.name = "phi"}, %alpha: tensor<3xf32> {mhc.name = "alpha"}, %bias: tensor<8xf32> {mhc.name = "bias"})
    -> (tensor<?x2x8xf32> {mhc.name = "y"}, tensor<3xf32> {mhc.name = "gains"}, tensor<4xf32> {mhc.name = "mean"}, tensor<1xf32> {mhc.name = "rms"}) attributes {mhc.entry, mhc.symbols = ["T"]} {
  %s = mhc.scalars : () -> tensor<64xf32>
  %y, %h = mhc.sublayer "a" %x(%phi, %alpha, %bias) connection #unconstrained mixing : (tensor<?x2x8xf32>, tensor<16x8xf32>, tensor<3xf32>, tensor<8xf32>) -> (tensor<?x2x8xf32>, tensor<?x2x2xf32, #mhc.narrow>) {
  ^bb0(%u: tensor<?x8xf32>):
    mhc.yield %u : tensor<?x8xf32>
  }
  %left = mhc.token_weight %p, %s {indices = array<i64: 21>} : (tensor<?x2x2xf32, #mhc.narrow>, tensor<64xf32>) -> tensor<?x1xf32, #mhc.narrow>
  %first = mhc.compose %p, %left : (tensor<?x2x2xf32, #mhc.narrow>, tensor<?x1xf32, #mhc.narrow>) -> tensor<?x2x2xf32, #mhc.narrow>
  %product = mhc.compose %h, %left product %first : (tensor<?x2x2xf32, #mhc.narrow>, tensor<?x1xf32, #mhc.narrow>, tensor<?x2x2xf32, #mhc.narrow>) -> tensor<?x2x2xf32, #mhc.narrow>
  %g = mhc.mixing_gains %product : (tensor<?x2x2xf32, #mhc.narrow>) -> tensor<?x3xf32, #mhc.narrow>
  %gains = mhc.mean_tokens %g, %s : (tensor<?x3xf32, #mhc.narrow>, tensor<64xf32>) -> tensor<3xf32>
  %mean = mhc.mean_tokens %product, %s : (tensor<?x2x2xf32, #mhc.narrow>, tensor<64xf32>) -> tensor<4xf32>
  %q = mhc.mean_squares %y : (tensor<?x2x8xf32>) -> tensor<?x1xf32, #mhc.narrow>
  %squares = mhc.mean_tokens %q, %s : (tensor<?x1xf32, #mhc.narrow>, tensor<64xf32>) -> tensor<1xf32>
  %rms = mhc.square_root %squares : (tensor<1xf32>) -> tensor<1xf32>
  return %y, %gains, %mean, %rms : tensor<?x2x8xf32>, tensor<3xf32>, tensor<4xf32>, tensor<1xf32>
}
