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
    `M0 = exp(Z - max)`, the maximum over each line of the first axis; `iterations` times: divide over the first axis, then over the other. With `firstOverInputs = false` the first
    axis is the outputs (each column of H[out, in] is divided by its sum), so that row sums are exact at the end. With `start = softmax` the first division is a softmax
    plus eps. `denominator`: the sum (`none`), `sum + eps` (`add_eps`) or `max(sum, eps)` (`max_eps`). eps is read with these alone. Rows or columns 120 below the others
    are exact, gradients included; backward differentiates every iteration, the maximum held fixed.

    `#mhc.birkhoff<iterations = 20, firstOverInputs = false>` is the paper's; `#mhc.birkhoff<iterations = 20, firstOverInputs = false, start = softmax, denominator = add_eps, eps = 1.0e-6 : f64>`.
  }];
  let parameters = (ins "int64_t":$iterations, "bool":$firstOverInputs,
                        DefaultValuedParameter<"::mlir::mhc::SinkhornStart", "SinkhornStart::exp">:$start,
                        DefaultValuedParameter<"::mlir::mhc::SinkhornDenominator", "SinkhornDenominator::none">:$denominator,
                        OptionalParameter<"::mlir::FloatAttr">:$eps);
  let assemblyFormat = "`<` struct($iterations, $firstOverInputs, $start, $denominator, $eps) `>`";
  let genVerifyDecl = 1;
  let extraClassDeclaration = [{
    /// eps where something reads it, or 0.
    double getEpsValue() const;
  }];
}
def Mhc_PermutationHullAttr : Mhc_Manifold<"PermutationHull", "permutation_hull"> {
  let summary = "doubly stochastic matrices as means of permutations (n <= 4)";
  let description = "l_p = sum_i Z[p(i), i] for every permutation p; H = sum_p softmax(l)_p P_p with P_p[p(i), i] = 1. Exact, without iterations.";
}
def Mhc_OrthogonalAttr : Mhc_Manifold<"Orthogonal", "orthogonal"> {
  let summary = "orthogonal matrices, by the Cayley transform";
  let description = "A = (Z - Z^T) / 2, H = (I + A)^-1 (I - A).";
}
def Mhc_SphereAttr : Mhc_Manifold<"Sphere", "sphere"> {
  let summary = "matrices of one Frobenius norm";
  let description = "H = R Z / sqrt(||Z||^2 + eps^2); R = sqrt(n) unless given, eps = 1e-6 unless given; Z = 0 gives 0.";
  let parameters = (ins OptionalParameter<"::mlir::FloatAttr">:$radius, OptionalParameter<"::mlir::FloatAttr">:$eps);
  let assemblyFormat = "`<` struct($radius, $eps) `>`";
  let genVerifyDecl = 1;
}
def Mhc_SimplexAttr : Mhc_Manifold<"Simplex", "simplex"> {
  let summary = "row-stochastic matrices: a softmax over the inputs for each output";
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
    `topology` is `mhc` or `hc` (a sublayer of a plain residual network has no such attribute). `phi` is [K, m], or [m, K] with `phiTransposed`; K = n*C (mhc) or C (hc).
    eps is that of the RMSNorm: `rsqrt(mean + eps)`, with `rootPlusEps` `1 / (sqrt(mean) + eps)`. What is left out of the rest:

    - `preEps` (0): h_pre = sigmoid(z) + preEps;
    - `transposedRes` (false): the stored matrix (phi's columns, bias) is [in, out], not [out, in];
    - `coefficientType` (none): coefficients are rounded to it where they are applied;
    - `pre`, `post`, `res` (dynamic): static is the bias alone, fixed 1/n, 1, I;
    - `interleaved` (false): phi's and the gain's K counts channel*n + stream;
    - `normWeight`, `fBias` (false): the parameters end with a gain [K] of the RMSNorm, and with a bias [C] that is added to f;
    - `delayed` (false): the sublayer reads through the h_pre that the one before it predicted.
  }];
  let parameters = (ins StringRefParameter<"mhc or hc">:$topology, "int64_t":$streams, "::mlir::mhc::ManifoldAttrInterface":$manifold,
                        "::mlir::FloatAttr":$eps, "::mlir::FloatAttr":$postScale, "bool":$phiTransposed,
                        DefaultValuedParameter<"bool", "false">:$rootPlusEps, OptionalParameter<"::mlir::FloatAttr">:$preEps,
                        DefaultValuedParameter<"bool", "false">:$transposedRes, OptionalParameter<"::mlir::Type">:$coefficientType,
                        DefaultValuedParameter<"::mlir::mhc::Mapping", "Mapping::dynamic_mapping">:$pre,
                        DefaultValuedParameter<"::mlir::mhc::Mapping", "Mapping::dynamic_mapping">:$post,
                        DefaultValuedParameter<"::mlir::mhc::Mapping", "Mapping::dynamic_mapping">:$res,
                        DefaultValuedParameter<"bool", "false">:$interleaved, DefaultValuedParameter<"bool", "false">:$normWeight,
                        DefaultValuedParameter<"bool", "false">:$fBias, DefaultValuedParameter<"bool", "false">:$delayed);
  let assemblyFormat = [{
    `<` struct($topology, $streams, $manifold, $eps, $postScale, $phiTransposed, $rootPlusEps, $preEps, $transposedRes, $coefficientType, $pre, $post, $res,
               $interleaved, $normWeight, $fBias, $delayed) `>`
  }];
  let genVerifyDecl = 1;
  let extraClassDeclaration = [{
    bool isHc() const { return getTopology() == "hc"; }
    /// Columns of phi (mhc: 2n and the manifold's; hc: n + 2) and entries of bias.
    int64_t phiColumns() const;
    int64_t biasSize() const;
    /// phi, alpha, bias, and those that the flags ask for.
    unsigned parameterCount() const { return 3 + getNormWeight() + getFBias(); }
    /// Place in the stored matrix of what leads from stream i to stream o.
    int64_t resIndex(int64_t o, int64_t i) const { return getTransposedRes() ? i * getStreams() + o : o * getStreams() + i; }
  }];
}

def Mhc_TargetAttr : Mhc_Attr<"Target", "target"> {
  let summary = "what the cost models know of a target";
  let description = [{
    `units` (cores, multiprocessors), `on_chip_bytes` a unit (cache, or registers and shared memory), `copy_rate` (read plus write) and `fma_rate` of the whole device, in GB/s and GFLOP/s;
    `cluster_size`: units that can share a tile of rows as a cluster (1: none); `gang_size`: those that can share one through memory (1: none); `shared_bytes` of shared memory at
    most for a block, `registers` of a unit; `exchange_time`: nanoseconds until sums of blocks that share a tile through memory have come together.
    A module's targets are the array `mhc.targets`; passes take constants from there, never from themselves, and the least of several where one program serves all.
  }];
  let parameters = (ins StringRefParameter<"the target's name">:$name, "int64_t":$units, "int64_t":$onChipBytes, "int64_t":$copyRate, "int64_t":$fmaRate,
                        DefaultValuedParameter<"int64_t", "1">:$clusterSize, DefaultValuedParameter<"int64_t", "1">:$gangSize, DefaultValuedParameter<"int64_t", "0">:$sharedBytes,
                        DefaultValuedParameter<"int64_t", "0">:$registers, DefaultValuedParameter<"int64_t", "0">:$exchangeTime);
  let assemblyFormat = "`<` struct($name, $units, $onChipBytes, $copyRate, $fmaRate, $clusterSize, $gangSize, $sharedBytes, $registers, $exchangeTime) `>`";
  let extraClassDeclaration = [{
    /// By the name that `--target` takes; null if unknown.
    static TargetAttr get(::mlir::MLIRContext *context, ::llvm::StringRef name);
    static TargetAttr getDefault(::mlir::MLIRContext *context) { return get(context, "cpu"); }
    /// The same target with kernels whose blocks exchange nothing (`none`), or only in clusters (`cluster`), or by all that it has (`memory`).
    TargetAttr withExchange(::llvm::StringRef most) const;
  }];
}

#endif // MHC_ATTRIBUTES
