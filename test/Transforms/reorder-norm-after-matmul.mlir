// RUN: mhc-opt %s -pass-pipeline='builtin.module(func.func(mhc-reorder-norm-after-matmul))' -remarks-filter='.*' 2>&1 | FileCheck %s

// The decisions and their figures: 256 bf16 elements read by the norm, written and read again in fp32; afterwards read twice in bf16.
// CHECK-DAG: [Passed] norm after matmul | Category:mhc-reorder-norm-after-matmul | Function=reorder | Reason="the norm is one scalar for each of 1 group(s): 24 columns are divided in place of 256 elements", bytes_after=1024, bytes_before=2560, bytes_saved=1536, flops_added=-232
// CHECK-DAG: [Missed] norm before matmul | Category:mhc-reorder-norm-after-matmul | Function=cast_between | Reason="a cast stands between norm and matmul: reordering would move a rounding"
// CHECK-DAG: [Missed] norm before matmul | Category:mhc-reorder-norm-after-matmul | Function=other_use | Reason="the normalised row has other uses and must be written all the same"
// CHECK-DAG: [Passed] norm after matmul | Category:mhc-reorder-norm-after-matmul | Function=gain | Reason="the norm is one scalar for each of 1 group(s): 24 columns are divided in place of 256 elements; the gain of 256 elements is folded into phi"
// CHECK-DAG: [Missed] norm before matmul | Category:mhc-reorder-norm-after-matmul | Function=gain_interleaved | Reason="the gain's elements do not lie as phi's"
// CHECK-DAG: [Missed] norm before matmul | Category:mhc-reorder-norm-after-matmul | Function=groups | Reason="the norm's groups are not the matmul's"
// CHECK-DAG: [Missed] norm before matmul | Category:mhc-reorder-norm-after-matmul | Function=wide_result | Reason="dividing the columns afterwards costs as much as normalising the row"

// CHECK-LABEL: func.func @reorder
// CHECK-NEXT: %[[M:.*]] = mhc.projection %arg0, %arg1
// CHECK-NEXT: %[[R:.*]] = mhc.rms %arg0 {eps = 9.9999999999999995E-7 : f64} {{.*}} -> tensor<?x1xf32, #mhc.narrow>
// CHECK-NEXT: %[[Q:.*]] = mhc.divide %[[M]], %[[R]]
// CHECK-NEXT: return %[[Q]]
func.func @reorder(%x: tensor<?x4x64xbf16>, %phi: tensor<256x24xf32>) -> tensor<?x1x24xf32, #mhc.narrow> {
  %0 = mhc.rms_norm %x {eps = 1.0e-6 : f64} : (tensor<?x4x64xbf16>) -> tensor<?x4x64xf32>
  %1 = mhc.projection %0, %phi : (tensor<?x4x64xf32>, tensor<256x24xf32>) -> tensor<?x1x24xf32, #mhc.narrow>
  return %1 : tensor<?x1x24xf32, #mhc.narrow>
}

// One scalar a stream (hc).
// CHECK-LABEL: func.func @reorder_per_stream
// CHECK: mhc.rms %arg0 {{.*}} -> tensor<?x4xf32, #mhc.narrow>
func.func @reorder_per_stream(%x: tensor<?x4x64xbf16>, %theta: tensor<64x6xf32>) -> tensor<?x4x6xf32, #mhc.narrow> {
  %0 = mhc.rms_norm %x {eps = 1.0e-6 : f64, per_stream} : (tensor<?x4x64xbf16>) -> tensor<?x4x64xf32>
  %1 = mhc.projection %0, %theta : (tensor<?x4x64xf32>, tensor<64x6xf32>) -> tensor<?x4x6xf32, #mhc.narrow>
  return %1 : tensor<?x4x6xf32, #mhc.narrow>
}

// Must not match: the rounding of the normalised row would move.
// CHECK-LABEL: func.func @cast_between
// CHECK: mhc.rms_norm
// CHECK: mhc.cast
// CHECK: mhc.projection
// CHECK-NOT: mhc.divide
func.func @cast_between(%x: tensor<?x4x64xbf16>, %phi: tensor<256x24xf32>) -> tensor<?x1x24xf32, #mhc.narrow> {
  %0 = mhc.rms_norm %x {eps = 1.0e-6 : f64} : (tensor<?x4x64xbf16>) -> tensor<?x4x64xf32>
  %1 = mhc.cast %0 : (tensor<?x4x64xf32>) -> tensor<?x4x64xbf16>
  %2 = mhc.projection %1, %phi : (tensor<?x4x64xbf16>, tensor<256x24xf32>) -> tensor<?x1x24xf32, #mhc.narrow>
  return %2 : tensor<?x1x24xf32, #mhc.narrow>
}

// CHECK-LABEL: func.func @other_use
// CHECK: mhc.rms_norm
// CHECK-NOT: mhc.divide
func.func @other_use(%x: tensor<?x4x64xbf16>, %phi: tensor<256x24xf32>) -> (tensor<?x1x24xf32, #mhc.narrow>, tensor<?x4x64xf32>) {
  %0 = mhc.rms_norm %x {eps = 1.0e-6 : f64} : (tensor<?x4x64xbf16>) -> tensor<?x4x64xf32>
  %1 = mhc.projection %0, %phi : (tensor<?x4x64xf32>, tensor<256x24xf32>) -> tensor<?x1x24xf32, #mhc.narrow>
  return %1, %0 : tensor<?x1x24xf32, #mhc.narrow>, tensor<?x4x64xf32>
}

// The gain goes into phi; rows are read as they are, and the root mean square is that of the row without it.
// CHECK-LABEL: func.func @gain
// CHECK-NEXT: %[[W:.*]] = mhc.fold_gain %arg2, %arg1 : (tensor<256x24xf32>, tensor<256xf32>) -> tensor<256x24xf32>
// CHECK-NEXT: %[[M:.*]] = mhc.projection %arg0, %[[W]] :
// CHECK-NEXT: %[[R:.*]] = mhc.rms %arg0
// CHECK-NEXT: mhc.divide %[[M]], %[[R]]
func.func @gain(%x: tensor<?x4x64xbf16>, %g: tensor<256xf32>, %phi: tensor<256x24xf32>) -> tensor<?x1x24xf32, #mhc.narrow> {
  %0 = mhc.rms_norm %x, %g {eps = 1.0e-6 : f64} : (tensor<?x4x64xbf16>, tensor<256xf32>) -> tensor<?x4x64xf32>
  %1 = mhc.projection %0, %phi : (tensor<?x4x64xf32>, tensor<256x24xf32>) -> tensor<?x1x24xf32, #mhc.narrow>
  return %1 : tensor<?x1x24xf32, #mhc.narrow>
}

// One gain for all streams (hc), phi as [columns, channels], fp64.
// CHECK-LABEL: func.func @gain_per_stream
// CHECK-NEXT: %[[W:.*]] = mhc.fold_gain %arg2, %arg1 {transposed} : (tensor<6x64xf64>, tensor<64xf64>) -> tensor<6x64xf64>
// CHECK-NEXT: mhc.projection %arg0, %[[W]] {transposed}
func.func @gain_per_stream(%x: tensor<?x4x64xf64>, %g: tensor<64xf64>, %phi: tensor<6x64xf64>) -> tensor<?x4x6xf64, #mhc.narrow> {
  %0 = mhc.rms_norm %x, %g {eps = 1.0e-6 : f64, per_stream} : (tensor<?x4x64xf64>, tensor<64xf64>) -> tensor<?x4x64xf64>
  %1 = mhc.projection %0, %phi {transposed} : (tensor<?x4x64xf64>, tensor<6x64xf64>) -> tensor<?x4x6xf64, #mhc.narrow>
  return %1 : tensor<?x4x6xf64, #mhc.narrow>
}

// Must not match: the gain counts channel*n + stream, phi stream*C + channel.
// CHECK-LABEL: func.func @gain_interleaved
// CHECK: mhc.rms_norm
// CHECK-NOT: mhc.divide
func.func @gain_interleaved(%x: tensor<?x4x64xbf16>, %g: tensor<256xf32>, %phi: tensor<256x24xf32>) -> tensor<?x1x24xf32, #mhc.narrow> {
  %0 = mhc.rms_norm %x, %g {eps = 1.0e-6 : f64, interleaved} : (tensor<?x4x64xbf16>, tensor<256xf32>) -> tensor<?x4x64xf32>
  %1 = mhc.projection %0, %phi : (tensor<?x4x64xf32>, tensor<256x24xf32>) -> tensor<?x1x24xf32, #mhc.narrow>
  return %1 : tensor<?x1x24xf32, #mhc.narrow>
}

// CHECK-LABEL: func.func @groups
// CHECK: mhc.rms_norm
// CHECK-NOT: mhc.divide
func.func @groups(%x: tensor<?x4x64xbf16>, %phi: tensor<256x24xf32>) -> tensor<?x1x24xf32, #mhc.narrow> {
  %0 = mhc.rms_norm %x {eps = 1.0e-6 : f64, per_stream} : (tensor<?x4x64xbf16>) -> tensor<?x4x64xf32>
  %1 = mhc.projection %0, %phi : (tensor<?x4x64xf32>, tensor<256x24xf32>) -> tensor<?x1x24xf32, #mhc.narrow>
  return %1 : tensor<?x1x24xf32, #mhc.narrow>
}

// CHECK-LABEL: func.func @wide_result
// CHECK: mhc.rms_norm
// CHECK-NOT: mhc.divide
func.func @wide_result(%x: tensor<?x1x8xbf16>, %phi: tensor<8x8xf32>) -> tensor<?x1x8xf32, #mhc.narrow> {
  %0 = mhc.rms_norm %x {eps = 1.0e-6 : f64} : (tensor<?x1x8xbf16>) -> tensor<?x1x8xf32>
  %1 = mhc.projection %0, %phi : (tensor<?x1x8xf32>, tensor<8x8xf32>) -> tensor<?x1x8xf32, #mhc.narrow>
  return %1 : tensor<?x1x8xf32, #mhc.narrow>
}
