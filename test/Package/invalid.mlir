// What is wrong with a plan or its manifest is said, and nothing is written.
// RUN: rm -rf %t && mkdir %t && split-file %s %t/in
// RUN: not mhc-compile %t/in/no-manifest.mlir --compile-from=plan -o %t/p 2>&1 | FileCheck %s --check-prefix=NONE
// RUN: not mhc-compile %t/in/broken-manifest.mlir --compile-from=plan -o %t/p 2>&1 | FileCheck %s --check-prefix=BROKEN
// RUN: not mhc-compile %t/in/no-entry.mlir --compile-from=plan -o %t/p 2>&1 | FileCheck %s --check-prefix=ENTRY
// RUN: not mhc-compile %t/in/no-tensor.mlir --compile-from=plan -o %t/p 2>&1 | FileCheck %s --check-prefix=TENSOR
// RUN: not mhc-compile %t/in/no-output.mlir --compile-from=plan -o %t/p 2>&1 | FileCheck %s --check-prefix=OUTPUT
// RUN: not mhc-compile %t/in/no-entry.mlir --compile-from=kernels -o %t/p 2>&1 | FileCheck %s --check-prefix=PHASE
// RUN: ls %t | FileCheck %s --check-prefix=FILES

// NONE: no-manifest.mlir:1:1: error: expected attribute 'mhc.manifest', which the import writes
// BROKEN: broken-manifest.mlir:1:1: error: expected attribute 'mhc.manifest' to hold a JSON object with 'kind' and 'entries'
// ENTRY: no-entry.mlir:2:3: error: expected entry 'forward' in attribute 'mhc.manifest'
// TENSOR: no-tensor.mlir:3:8: error: expected tensor 'x' among the inputs of entry 'forward' in attribute 'mhc.manifest'
// OUTPUT: no-output.mlir:3:8: error: expected tensor 'y' among the outputs of entry 'forward' in attribute 'mhc.manifest'
// PHASE: no-entry.mlir:2:3: error: 'plan.entry' op expected no such op after phase 'kernels': plans come in phase 'plan'
// FILES: in
// FILES-NOT: {{.}}

//--- no-manifest.mlir
module {}
//--- broken-manifest.mlir
module attributes {mhc.manifest = "[1, 2"} {}
//--- no-entry.mlir
module attributes {mhc.manifest = "{\22kind\22: \22test\22, \22entries\22: {}}"} {
  plan.entry @forward symbols [] {}
}
//--- no-tensor.mlir
module attributes {mhc.manifest = "{\22kind\22: \22test\22, \22entries\22: {\22forward\22: {\22inputs\22: [{\22name\22: \22y\22}, 3], \22outputs\22: [{\22name\22: \22x\22}]}}}"} {
  plan.entry @forward symbols [] {
  %x = plan.buffer input f32 <1> {tensor = "x"}
  }
}
//--- no-output.mlir
module attributes {mhc.manifest = "{\22kind\22: \22test\22, \22entries\22: {\22forward\22: {\22inputs\22: [{\22name\22: \22y\22}]}}}"} {
  plan.entry @forward symbols [] {
  %y = plan.buffer output f32 <1> {tensor = "y"}
  }
}
