// What a target has no code for. Names of libm or libdevice would be found missing only when a kernel is loaded.
// RUN: rm -rf %t && split-file %s %t
// RUN: mhc-opt %t/cpu.mlir -split-input-file -verify-diagnostics -mhc-expand-math -o /dev/null
// RUN: mhc-opt %t/nvptx.mlir -split-input-file -verify-diagnostics -mhc-expand-math=target=nvptx -o /dev/null
// RUN: mhc-opt %t/target.mlir -split-input-file -verify-diagnostics -mhc-expand-math=target=amdgpu -o /dev/null

//--- cpu.mlir
func.func @missing(%x: f32, %v: vector<8xf64>) {
  // expected-error @+1 {{no expansion of 'math.sin' for target cpu}}
  %0 = math.sin %x : f32
  // expected-error @+1 {{no expansion of 'math.powf' for target cpu}}
  %1 = math.powf %v, %v : vector<8xf64>
  // expected-error @+1 {{no expansion of 'arith.remf' for target cpu}}
  %2 = arith.remf %x, %x : f32
  return
}

// -----

func.func @half(%x: f16) {
  // expected-error @+1 {{expected 'math.exp' on scalars or vectors of f32 or f64 for target cpu, but got 'f16'}}
  %0 = math.exp %x : f16
  return
}

// -----

func.func @rank(%x: vector<2x4xf32>) {
  // expected-error @+1 {{expected 'math.exp' on scalars or vectors of f32 or f64 for target cpu, but got 'vector<2x4xf32>'}}
  %0 = math.exp %x : vector<2x4xf32>
  return
}

// -----

func.func @scalable(%x: vector<[4]xf32>) {
  // expected-error @+1 {{expected 'math.log' on scalars or vectors of f32 or f64 for target cpu, but got 'vector<[4]xf32>'}}
  %0 = math.log %x : vector<[4]xf32>
  return
}

//--- nvptx.mlir
func.func @missing(%x: f32) {
  // expected-error @+1 {{no expansion of 'math.sin' for target nvptx}}
  %0 = math.sin %x : f32
  // expected-error @+1 {{no expansion of 'arith.remf' for target nvptx}}
  %1 = arith.remf %x, %x : f32
  return
}

// -----

func.func @double(%x: f64) {
  // expected-error @+1 {{expected 'math.exp' on scalars or vectors of f32 for target nvptx, but got 'f64'}}
  %0 = math.exp %x : f64
  return
}

//--- target.mlir
// expected-error @+1 {{expected target cpu or nvptx, but got 'amdgpu'}}
module {}
