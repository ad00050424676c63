//===- MhcDialect.td - the mhc dialect, its types and attributes -*- tablegen -*-===//

#ifndef MHC_DIALECT
#define MHC_DIALECT

include "mlir/IR/OpBase.td"
include "mlir/IR/AttrTypeBase.td"
include "mlir/IR/EnumAttr.td"

def Mhc_Dialect : Dialect {
  let name = "mhc";
  let cppNamespace = "::mlir::mhc";
  let summary = "models whose residual topology is learned";
  let description = [{
    Ops come in groups, one file each: topology (`MhcTopologyOps.td`), coefficients and manifolds (`MhcManifoldOps.td`),
    layers and training (`MhcLayerOps.td`), mixtures of experts (`MhcRoutingOps.td`), what a run is watched by (`MhcMonitorOps.td`), and the row program (`MhcRowOps.td`), the form in which kernels are generated.

    Tensors are builtin tensors. A tensor whose first dimension is dynamic has a row for each token; with the encoding `#mhc.narrow`
    a row is a handful of coefficients ("narrow"), without it a row is made of channels ("wide"). Tensors of static shape are
    parameters. Ops compute in fp32 (fp64 where an operand is fp64) and give unrounded results; `mhc.cast` alone rounds (and the
    library ops `linear*` and `attention*`, once, into their result type).
  }];
  let useDefaultTypePrinterParser = 1;
  let useDefaultAttributePrinterParser = 1;
  let extraClassDeclaration = [{
    void registerTypes();
    void registerAttributes();
  }];
}

class Mhc_Type<string name, string typeMnemonic> : TypeDef<Mhc_Dialect, name> {
  let mnemonic = typeMnemonic;
}
class Mhc_Attr<string name, string attrMnemonic, list<Trait> traits = []> : AttrDef<Mhc_Dialect, name, traits> {
  let mnemonic = attrMnemonic;
}

//===----------------------------------------------------------------------===//
// Types of the row program
//===----------------------------------------------------------------------===//

def Mhc_WideType : Mhc_Type<"Wide", "wide"> {
  let summary = "the channels of some streams of one token";
  let description = [{
    `!mhc.wide<4x1280xbf16>`: 4 streams of 1280 channels. The element type says what the values are rounded to (`bf16`, or the compute
    type `f32`/`f64` for unrounded values); arithmetic on any of them is in the compute type.
  }];
  let parameters = (ins "int64_t":$streams, "int64_t":$channels, "Type":$elementType);
  let hasCustomAssemblyFormat = 1;
  let genVerifyDecl = 1;
  let extraClassDeclaration = [{ int64_t getNumElements() const { return getStreams() * getChannels(); } }];
}

def Mhc_NarrowType : Mhc_Type<"Narrow", "narrow"> {
  let summary = "some scalars of one token";
  let description = "`!mhc.narrow<4x4xf32>`: 16 scalars of a token, row-major. `!mhc.narrow<1xi32>` carries an index.";
  let parameters = (ins ArrayRefParameter<"int64_t">:$shape, "Type":$elementType);
  let hasCustomAssemblyFormat = 1;
  let genVerifyDecl = 1;
  let extraClassDeclaration = [{ int64_t getNumElements() const; }];
}

//===----------------------------------------------------------------------===//
// Attributes
//===----------------------------------------------------------------------===//

def Mhc_NarrowAttr : Mhc_Attr<"NarrowEncoding", "narrow"> {
  let summary = "tensor encoding: a row is a handful of coefficients, not channels";
}

def Mhc_InterleavedAttr : Mhc_Attr<"InterleavedEncoding", "interleaved"> {
  let summary = "tensor encoding: rows of shape [n, C] lie in memory as [C, n]";
}

class Mhc_Enum<string name, string sum, list<I32EnumAttrCase> cases> : I32EnumAttr<name, sum, cases> {
  let cppNamespace = "::mlir::mhc";
  let genSpecializedAttr = 0;
}

def Mhc_AccessEnum : Mhc_Enum<"Access", "which row of its memory a load reads", [
  I32EnumAttrCase<"row", 0>, I32EnumAttrCase<"uniform", 1>, I32EnumAttrCase<"gather", 2>, I32EnumAttrCase<"position", 3>, I32EnumAttrCase<"shared", 4>, I32EnumAttrCase<"sequence", 5>]>;
def Mhc_AccessAttr : EnumAttr<Mhc_Dialect, Mhc_AccessEnum, "access"> { let assemblyFormat = "$value"; }

def Mhc_ReduceKindEnum : Mhc_Enum<"ReduceKind", "how wide values are reduced", [I32EnumAttrCase<"add", 0>, I32EnumAttrCase<"max", 1>]>;
def Mhc_ReduceKindAttr : EnumAttr<Mhc_Dialect, Mhc_ReduceKindEnum, "reduce_kind"> { let assemblyFormat = "$value"; }

def Mhc_ActivationKindEnum : Mhc_Enum<"ActivationKind", "a gate's function", [I32EnumAttrCase<"sigmoid", 0>, I32EnumAttrCase<"tanh", 1>]>;
def Mhc_ActivationKindAttr : EnumAttr<Mhc_Dialect, Mhc_ActivationKindEnum, "activation_kind"> { let assemblyFormat = "$value"; }

def Mhc_MappingEnum : Mhc_Enum<"Mapping", "how a mapping of a hyper-connection comes about", [
  I32EnumAttrCase<"dynamic_mapping", 0, "dynamic">, I32EnumAttrCase<"static_mapping", 1, "static">, I32EnumAttrCase<"fixed_mapping", 2, "fixed">]>;

def Mhc_SinkhornStartEnum : Mhc_Enum<"SinkhornStart", "how Sinkhorn-Knopp begins", [I32EnumAttrCase<"exp", 0>, I32EnumAttrCase<"softmax", 1>]>;
def Mhc_SinkhornDenominatorEnum : Mhc_Enum<"SinkhornDenominator", "what a line is divided by", [
  I32EnumAttrCase<"none", 0>, I32EnumAttrCase<"add_eps", 1>, I32EnumAttrCase<"max_eps", 2>]>;

def Mhc_ScoreEnum : Mhc_Enum<"Score", "how a router scores its experts", [
  I32EnumAttrCase<"softmax_before_topk", 0>, I32EnumAttrCase<"softmax_after_topk", 1>, I32EnumAttrCase<"sigmoid", 2>, I32EnumAttrCase<"sqrt_softplus", 3>]>;
def Mhc_ScoreAttr : EnumAttr<Mhc_Dialect, Mhc_ScoreEnum, "score"> { let assemblyFormat = "$value"; }

def Mhc_BalanceKindEnum : Mhc_Enum<"BalanceKind", "a loss that balances the experts", [
  I32EnumAttrCase<"switch_step", 0>, I32EnumAttrCase<"switch_sequence", 1>, I32EnumAttrCase<"top1", 2>, I32EnumAttrCase<"z", 3>]>;
def Mhc_BalanceAttr : Mhc_Attr<"Balance", "balance"> {
  let summary = "a loss that balances the experts (math.md 3)";
  let description = [{
    `#mhc.balance<z, weight = 1.000000e-03 : f64>`. `switch_step` takes the experts' shares from outside (of the micro-batch, or of the step so far), `switch_sequence` those of
    each sequence, and is the mean over the sequences; `top1` has a temperature `tau`.
  }];
  let parameters = (ins EnumParameter<Mhc_BalanceKindEnum>:$kind, "::mlir::FloatAttr":$weight, OptionalParameter<"::mlir::FloatAttr">:$tau);
  let assemblyFormat = "`<` $kind `,` struct($weight, $tau) `>`";
  let genVerifyDecl = 1;
  let extraClassDeclaration = [{
    /// The sums over the tokens that the loss is computed from: elements of each, of E experts.
    ::llvm::SmallVector<int64_t> statistics(int64_t experts) const;
  }];
}

def Mhc_PhaseRoleEnum : Mhc_Enum<"PhaseRole", "what a phase of a scheduled kernel runs over", [I32EnumAttrCase<"wide", 0>, I32EnumAttrCase<"narrow", 1>]>;
def Mhc_PhaseRoleAttr : EnumAttr<Mhc_Dialect, Mhc_PhaseRoleEnum, "phase_role"> { let assemblyFormat = "$value"; }

def Mhc_ScheduleAttr : Mhc_Attr<"Schedule", "schedule"> {
  let summary = "how a kernel is run: a schedule family and its parameters";
  let description = [{
    `#mhc.schedule<"cpu", channel_block = 256, tile = 8, vector = 8>`. The fields are numbers from 0 on, or words; which ones there are, and what they may be,
    is the family's (docs/design/schedules.md). `tile`: tokens that are worked on at a time.
  }];
  let parameters = (ins StringRefParameter<"cpu, simple or group">:$family, "::mlir::DictionaryAttr":$fields);
  let assemblyFormat = "`<` $family `` custom<ScheduleFields>($fields) `>`";
  let genVerifyDecl = 1;
  let extraClassDeclaration = [{
    /// A field's number, or `otherwise` where it is not there.
    int64_t getNumber(::llvm::StringRef name, int64_t otherwise = 0) const;
    /// A field's word; empty where it is not there.
    ::llvm::StringRef getWord(::llvm::StringRef name) const;
    int64_t getTile() const { return getNumber("tile", 1); }
    int64_t getThreads() const { return getNumber("threads"); }
  }];
}

#endif // MHC_DIALECT
