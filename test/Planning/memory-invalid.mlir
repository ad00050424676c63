// What --memory cannot count is said.
// RUN: rm -rf %t && split-file %s %t
// RUN: not mhc-compile %t/symbol.mlir --compile-from=plan --memory 2>&1 | FileCheck %s --check-prefix=SYMBOL
// RUN: mhc-compile %t/symbol.mlir --compile-from=plan --memory=N=3 | FileCheck %s --check-prefix=GIVEN
// RUN: not mhc-compile %t/product.mlir --compile-from=plan --memory=B=4294967296,S=4294967296 2>&1 | FileCheck %s --check-prefix=PRODUCT
// RUN: not mhc-compile %t/sizes.mlir --compile-from=plan --memory=T=4611686018427387904 2>&1 | FileCheck %s --check-prefix=SIZE
// RUN: not mhc-compile %t/sizes.mlir --compile-from=plan --memory=T=1152921504606846976 2>&1 | FileCheck %s --check-prefix=ARENA
// RUN: not mhc-compile %t/sizes.mlir --compile-from=plan --memory=T=-1 2>&1 | FileCheck %s --check-prefix=NEGATIVE

// SYMBOL: symbol.mlir:1:1: error: expected a value of symbol 'N'
// GIVEN: entry forward (N = 3)
// PRODUCT: product.mlir:1:1: error: expected a product of symbols that 64 bits hold
// SIZE: sizes.mlir:2:8: error: expected a size that 64 bits hold
// ARENA: sizes.mlir:1:1: error: expected an arena whose size 64 bits hold
// NEGATIVE: mhc-compile: error: expected --memory=symbol=value, such as --memory=T=4096, but got 'T=-1'

//--- symbol.mlir
plan.entry @forward symbols ["N"] {}
//--- product.mlir
plan.entry @forward symbols ["B", "S"] derived [["T", "B", "S"]] {}
//--- sizes.mlir
plan.entry @forward symbols ["T"] {
  %a = plan.buffer arena f32 <T> live [0, 4]
  %b = plan.buffer arena f32 <T> live [1, 4]
  %c = plan.buffer arena f32 <T> live [2, 4]
  plan.fill %a with 0.0
  plan.fill %b with 0.0
  plan.fill %c with 0.0
  plan.add %a into %b
  plan.add %b into %c
}
