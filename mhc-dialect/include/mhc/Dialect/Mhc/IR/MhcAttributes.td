//===- MhcAttributes.td - manifolds and hyper-connections -------*- tablegen -*-===//
#ifndef MHC_ATTRIBUTES
#define MHC_ATTRIBUTES

include "mhc/Dialect/Mhc/IR/MhcDialect.td"
include "mhc/Dialect/Mhc/IR/MhcInterfaces.td"

class Mhc_Manifold<string name, string manifoldMnemonic>
    : Mhc_Attr<name, manifoldMnemonic, [DeclareAttrInterfaceMethods<Mhc_ManifoldAttrInterface>]>;

def Mhc_BirkhoffAttr : Mhc_Manifold<"Birkhoff", "birkhoff"> {
  let summary = "doubly stochastic matrices, by Sinkhorn-Knopp";
  let description = [{
    `M0 = exp(Z)`; `iterations` times: divide over the first axis, then over the other. With `first_over_inputs = false` the first axis is the outputs (each column of
    H[out, in] is divided by its sum), so that row sums are exact at the end. Runs in the log domain, so that rows or columns 120 below the others
    are exact, gradients included; backward differentiates every iteration.
  }];
  let parameters = (ins "int64_t":$iterations, "bool":$firstOverInputs);
  let assemblyFormat = "`<` struct($iterations, $firstOverInputs) `>`";
  let genVerifyDecl = 1;
}
def Mhc_UnconstrainedAttr : Mhc_Manifold<"Unconstrained", "unconstrained"> { let summary = "all matrices: H = Z"; }
def Mhc_IdentityAttr : Mhc_Manifold<"Identity", "identity"> { let summary = "H = I; needs no columns of phi"; }

def Mhc_ManifoldConstraint : AttrConstraint<CPred<"::llvm::isa<::mlir::mhc::ManifoldAttrInterface>($_self)">, "a manifold">;
def Mhc_ManifoldParameter : AttrParameter<"::mlir::Attribute", "a manifold">;
def Mhc_AnyManifold : Attr<Mhc_ManifoldConstraint.predicate, "a manifold"> {
  let storageType = "::mlir::mhc::ManifoldAttrInterface";
  let returnType = "::mlir::mhc::ManifoldAttrInterface";
  let convertFromStorage = "$_self";
}

def Mhc_ConnectionAttr : Mhc_Attr<"Connection", "connection"> {
  let summary = "a hyper-connection: topology, streams and convention";
  let description = [{
    `topology` is `mhc` or `hc` (a sublayer of a plain residual network has no such attribute). `phi` is [K, m], or [m, K] with `phi_transposed`; K = n*C (mhc) or C (hc).
    eps is that of the RMSNorm, `rsqrt(mean + eps)`.
  }];
  let parameters = (ins StringRefParameter<"mhc or hc">:$topology, "int64_t":$streams, "::mlir::mhc::ManifoldAttrInterface":$manifold,
                        "::mlir::FloatAttr":$eps, "::mlir::FloatAttr":$postScale, "bool":$phiTransposed);
  let assemblyFormat = "`<` struct($topology, $streams, $manifold, $eps, $postScale, $phiTransposed) `>`";
  let genVerifyDecl = 1;
  let extraClassDeclaration = [{
    bool isHc() const { return getTopology() == "hc"; }
    /// Columns of phi (mhc: 2n and the manifold's; hc: n + 2) and entries of bias.
    int64_t phiColumns() const;
    int64_t biasSize() const;
  }];
}

def Mhc_TargetAttr : Mhc_Attr<"Target", "target"> {
  let summary = "what the cost models know of a target";
  let description = [{
    `units` (cores, multiprocessors), `on_chip_bytes` a unit (cache, or registers and shared memory), `copy_rate` (read plus write) and `fma_rate` of the whole device, in GB/s and GFLOP/s.
    On a module as `mhc.target`; passes take constants from here, never from themselves.
  }];
  let parameters = (ins StringRefParameter<"the target's name">:$name, "int64_t":$units, "int64_t":$onChipBytes, "int64_t":$copyRate, "int64_t":$fmaRate);
  let assemblyFormat = "`<` struct($name, $units, $onChipBytes, $copyRate, $fmaRate) `>`";
  let extraClassDeclaration = [{
    /// By the name that `--target` takes; null if unknown.
    static TargetAttr get(::mlir::MLIRContext *context, ::llvm::StringRef name);
    static TargetAttr getDefault(::mlir::MLIRContext *context) { return get(context, "cpu"); }
  }];
}

#endif // MHC_ATTRIBUTES
