// What boundaries in groups leave to kernels of their own; the same ops for a target without groups, whose kernels hold all of it.
// RUN: mhc-opt %s --mhc-fuse-boundaries | FileCheck %s
// RUN: sed 's/gangSize = 64/gangSize = 1/' %s | mhc-opt --mhc-fuse-boundaries | FileCheck %s --check-prefix=ONE

!x = tensor<?x4x128xbf16>
!sum = tensor<?x4x128xf32>
!u = tensor<?x128xbf16>
!row = tensor<?x128xf32>
!h = tensor<?x4xf32, #mhc.narrow>
!m = tensor<?x4x4xf32, #mhc.narrow>
!dm = tensor<?x1x24xf32, #mhc.narrow>
module attributes {mhc.targets = [#mhc.target<name = "sm_90a", units = 132, onChipBytes = 494592, copyRate = 4300, fmaRate = 67000, gangSize = 64>]} {

// The streams begin as four times a row of a table.
// CHECK-LABEL: func.func @embedding
// CHECK: mhc.fusion
// CHECK: mhc.expand
// CHECK-NOT: mhc.projection
// CHECK: mhc.yield
// CHECK: mhc.fusion
// CHECK-NEXT: mhc.projection
// CHECK-NEXT: mhc.rms
// ONE-LABEL: func.func @embedding
// ONE-COUNT-1: mhc.fusion
// ONE-NOT: mhc.fusion
func.func @embedding(%tokens: tensor<?xi32>, %table: tensor<16x128xf32>, %phi: tensor<24x512xf32>) -> (!x, tensor<?x1x24xf32, #mhc.narrow>, tensor<?x1xf32, #mhc.narrow>) {
  %0 = mhc.embedding %tokens, %table : (tensor<?xi32>, tensor<16x128xf32>) -> !row
  %1 = mhc.cast %0 : (!row) -> !u
  %2 = mhc.expand %1 : (!u) -> !x
  %3 = mhc.projection %2, %phi {transposed} : (!x, tensor<24x512xf32>) -> tensor<?x1x24xf32, #mhc.narrow>
  %4 = mhc.rms %2 {eps = 1.0e-6 : f64} : (!x) -> tensor<?x1xf32, #mhc.narrow>
  return %2, %3, %4 : !x, tensor<?x1x24xf32, #mhc.narrow>, tensor<?x1xf32, #mhc.narrow>
}

// du waits for sums over its row: parts of the gradient, the norm's backward, and its weight's gradient come first.
// CHECK-LABEL: func.func @norm
// CHECK: mhc.fusion
// CHECK-NEXT: mhc.sum
// CHECK-NEXT: mhc.cast
// CHECK-NEXT: mhc.rms_norm_vjp
// CHECK-NEXT: mhc.cast
// CHECK-NEXT: mhc.yield
// CHECK: mhc.fusion "boundary"
// CHECK-NEXT: mhc.combine_dx
// CHECK-NEXT: mhc.aggregate_vjp
// ONE-LABEL: func.func @norm
// ONE-COUNT-1: mhc.fusion
// ONE-NOT: mhc.fusion
func.func @norm(%x: !x, %pre: !h, %res: !m, %gain: tensor<128xf32>, %u: !u, %dx: !x, %a: !row, %b: !row, %dm: !dm) -> (!x, !h, tensor<128xf32>, tensor<24x512xf32>) {
  %0 = mhc.combine_dx %res, %dx : (!m, !x) -> !sum
  %1 = mhc.sum %a, %b : (!row, !row) -> !row
  %2 = mhc.cast %1 : (!row) -> !u
  %du, %dgain = mhc.rms_norm_vjp %u gain %gain, %2 {eps = 1.0e-6 : f64} : (!u, tensor<128xf32>, !u) -> (!row, tensor<128xf32>)
  %3 = mhc.cast %du : (!row) -> !u
  %dy, %dpre = mhc.aggregate_vjp %x, %pre, %3 : (!x, !h, !u) -> (!sum, !h)
  %4 = mhc.sum %0, %dy : (!sum, !sum) -> !sum
  %5 = mhc.cast %4 : (!sum) -> !x
  %dphi = mhc.projection_dw %x, %dm {transposed} : (!x, !dm) -> tensor<24x512xf32>
  return %5, %dpre, %dgain, %dphi : !x, !h, tensor<128xf32>, tensor<24x512xf32>
}

// The ends of backward: four times the last norm's gradient; the sum over the streams that the embedding's gradient is.
// CHECK-LABEL: func.func @ends
// CHECK: mhc.fusion
// CHECK-NEXT: mhc.expand
// CHECK-NEXT: mhc.cast
// CHECK-NEXT: mhc.yield
// CHECK: mhc.fusion "boundary"
// CHECK-NEXT: mhc.combine_vjp
// CHECK: mhc.combine_dx
// CHECK: mhc.yield
// CHECK: mhc.fusion "boundary"
// CHECK-NEXT: mhc.readout
// CHECK-NEXT: mhc.cast
// ONE-LABEL: func.func @ends
// ONE-COUNT-1: mhc.fusion
// ONE-NOT: mhc.fusion
func.func @ends(%x: !x, %f: !u, %post: !h, %res: !m, %dy: !row) -> (!row, !h, !m, !u) {
  %0 = mhc.expand %dy {scale = 0.25 : f64} : (!row) -> !sum
  %1 = mhc.cast %0 : (!sum) -> !x
  %df, %dpost, %dres = mhc.combine_vjp %x, %f, %post, %1 : (!x, !u, !h, !x) -> (!row, !h, !m)
  %2 = mhc.combine_dx %res, %1 : (!m, !x) -> !sum
  %3 = mhc.cast %2 : (!sum) -> !x
  %4 = mhc.readout %3 : (!x) -> !row
  %5 = mhc.cast %4 : (!row) -> !u
  return %df, %dpost, %dres, %5 : !row, !h, !m, !u
}

// Rows of experts are reached by index: f is there before the boundary, and what looks rows up for df comes after it, with the factor in front.
// CHECK-LABEL: func.func @experts
// CHECK: mhc.fusion "chain"
// CHECK-NEXT: mhc.combine_rows
// CHECK-NEXT: mhc.sum
// CHECK-NEXT: mhc.cast
// CHECK-NEXT: mhc.yield
// CHECK: mhc.fusion "boundary"
// CHECK-NEXT: mhc.combine
// CHECK-NOT: mhc.combine_rows
// CHECK: mhc.yield
// CHECK: mhc.fusion "chain"
// CHECK-NEXT: mhc.scale
// CHECK-NEXT: mhc.combine_rows_dw
// ONE-LABEL: func.func @experts
// ONE: mhc.fusion "boundary"
// ONE-NEXT: mhc.combine_rows
func.func @experts(%x: !x, %rows: !u, %shared: !u, %reverse: tensor<?x2xi32, #mhc.narrow>, %post: !h, %res: !m, %dx: !x) -> (!x, !h, !m, tensor<?x2xf32, #mhc.narrow>) {
  %0 = mhc.combine_rows %rows, %reverse : (!u, tensor<?x2xi32, #mhc.narrow>) -> !row
  %1 = mhc.sum %0, %shared : (!row, !u) -> !row
  %2 = mhc.cast %1 : (!row) -> !u
  %3 = mhc.combine %x, %2, %post, %res : (!x, !u, !h, !m) -> !sum
  %4 = mhc.cast %3 : (!sum) -> !x
  %df, %dpost, %dres = mhc.combine_vjp %x, %2, %post, %dx : (!x, !u, !h, !x) -> (!row, !h, !m)
  %5 = mhc.cast %df : (!row) -> !u
  %6 = mhc.scale %5 {factor = 0.5 : f64} : (!u) -> !row
  %7 = mhc.combine_rows_dw %6, %rows, %reverse : (!row, !u, tensor<?x2xi32, #mhc.narrow>) -> tensor<?x2xf32, #mhc.narrow>
  return %4, %dpost, %dres, %7 : !x, !h, !m, tensor<?x2xf32, #mhc.narrow>
}

// Nothing is cut where groups have no code: two streams; a phi of each stream (preset of HC).
// CHECK-LABEL: func.func @two_streams
// CHECK-COUNT-1: mhc.fusion
// CHECK-NOT: mhc.fusion
// ONE-LABEL: func.func @two_streams
func.func @two_streams(%x: tensor<?x2x128xbf16>, %pre: tensor<?x2xf32, #mhc.narrow>, %u: !u, %dy: !u, %dm: !dm) -> (tensor<?x2x128xf32>, tensor<?x2xf32, #mhc.narrow>, tensor<24x256xf32>) {
  %du = mhc.rms_norm_vjp %u, %dy {eps = 1.0e-6 : f64} : (!u, !u) -> !row
  %0 = mhc.cast %du : (!row) -> !u
  %dx, %dpre = mhc.aggregate_vjp %x, %pre, %0 : (tensor<?x2x128xbf16>, tensor<?x2xf32, #mhc.narrow>, !u) -> (tensor<?x2x128xf32>, tensor<?x2xf32, #mhc.narrow>)
  %dphi = mhc.projection_dw %x, %dm {transposed} : (tensor<?x2x128xbf16>, !dm) -> tensor<24x256xf32>
  return %dx, %dpre, %dphi : tensor<?x2x128xf32>, tensor<?x2xf32, #mhc.narrow>, tensor<24x256xf32>
}

// CHECK-LABEL: func.func @phi_of_streams
// CHECK-COUNT-1: mhc.fusion
// CHECK-NOT: mhc.fusion
// ONE-LABEL: func.func @phi_of_streams
func.func @phi_of_streams(%x: !x, %pre: !h, %u: !u, %dy: !u, %dm: tensor<?x4x6xf32, #mhc.narrow>) -> (!sum, !h, tensor<6x128xf32>) {
  %du = mhc.rms_norm_vjp %u, %dy {eps = 1.0e-6 : f64} : (!u, !u) -> !row
  %0 = mhc.cast %du : (!row) -> !u
  %dx, %dpre = mhc.aggregate_vjp %x, %pre, %0 : (!x, !h, !u) -> (!sum, !h)
  %dphi = mhc.projection_dw %x, %dm {transposed} : (!x, tensor<?x4x6xf32, #mhc.narrow>) -> tensor<6x128xf32>
  return %dx, %dpre, %dphi : !sum, !h, tensor<6x128xf32>
}
}
