//===- ImportInternal.h - building the functions of a description -----------===//
#ifndef MHC_LIB_FRONTEND_IMPORT_IMPORTINTERNAL_H
#define MHC_LIB_FRONTEND_IMPORT_IMPORTINTERNAL_H

#include "mhc/Dialect/Mhc/IR/MhcOps.h"
#include "mhc/Frontend/Description.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"

namespace mlir::mhc {

/// A value that is part `index` of `count` of a caller's tensor, cut along its first dimension.
struct Slice {
  int64_t index, count;
};

struct ConnectionParameters {
  Value phi, alpha, bias;
  Value gain, fBias; ///< null without the option
};

/// Builds functions one after another: begin, arguments and body in any order, results, end.
struct FunctionImporter {
  OpBuilder &b;
  ModuleOp module;
  SmallVector<Value> results;
  SmallVector<DictionaryAttr> resultAttributes;

  Type elementType(::mhc::Dtype dtype);
  RankedTensorType rows(ArrayRef<int64_t> shape, Type element);
  /// The streams' type, [T, n, C], in the layout of the convention.
  RankedTensorType streams(int64_t n, int64_t channels, Type element, bool interleaved);
  /// The place in the model description that an op belongs to.
  Location place(const Twine &name);

  func::FuncOp begin(StringRef name, ArrayRef<StringRef> symbols);
  Value argument(Type type, ArrayRef<NamedAttribute> attributes);
  Value argument(StringRef name, Type type, StringRef gradient = {}, std::optional<Slice> slice = std::nullopt);
  void result(Value value, ArrayRef<NamedAttribute> attributes);
  void result(Value value, StringRef name, std::optional<StringRef> cotangent = std::nullopt, std::optional<Slice> slice = std::nullopt);
  void end();

  Value rounded(Location loc, Value value, Type element);
  Attribute manifoldAttr(const ::mhc::HyperConnection &hc);
  ConnectionAttr connection(const ::mhc::HyperConnection &hc);
  std::array<Value, 3> coefficients(Location loc, Value x, const ConnectionParameters &p, ConnectionAttr connection);

private:
  SmallVector<NamedAttribute> bindings(StringRef name, std::optional<Slice> slice);
};

/// h_pre of the first sublayer of a `delayed` network: stream 0.
Value firstStream(FunctionImporter &f, Value x, int64_t n, Type narrow);

/// What a block with experts is made of.
struct MoeConfig {
  const ::mhc::Router *router = nullptr;
  int64_t experts = 0, topk = 0, width = 0; ///< topk: the most of all phases
  SmallVector<int64_t> phases;              ///< choices in each phase; empty: always `topk`
  bool balanced = true;                     ///< losses are asked for
  std::optional<int64_t> sequenceLength;    ///< of sequences that have a loss of their own; 0: S
  Type element, compute;
};
/// What is decided about the tokens' experts; `total` with counts of the step so far, `losses` with balance losses.
struct Routing {
  Value logits, weight, index, counts, offsets, gather, order, reverse, dropped, total, losses;
};
/// The experts' stacked matrices: gate and up [E, C, I], down [E, I, C], or with the last two dimensions `transposed`.
struct ExpertMatrices {
  Value gate, up, down;
  bool transposed;
};
/// router [E, C], or `routerTransposed` [C, E]; `previous`: counts of the step so far; `scalars` where k goes by phases.
Routing importRouting(FunctionImporter &f, Location loc, const MoeConfig &config, Value x, Value router, bool routerTransposed, Value bias, Value previous, Value scalars);
/// The experts' weighted sum, with the shared expert's output where there is one.
Value importExperts(FunctionImporter &f, Location loc, const MoeConfig &config, const Routing &routing, Value x, const ExpertMatrices &w, Value shared);
void importMoe(FunctionImporter &f, const ::mhc::MoeRouterKind &kind);
/// One optimizer step on weights of one kind.
struct WeightStep {
  ::mhc::UpdateRule rule;
  int64_t rows = 0, columns = 0;      ///< of a matrix: Muon's
  int64_t matricesOfNorm = 1;         ///< rows of the weights that share a norm
  double momentum = 0, newtonSchulzEps = 0;
  bool nesterov = true;
  SmallVector<int64_t> decaySlots;    ///< of the step's scalars, whose product is Muon's weight decay
};
/// Rows of w, g and the states are whole matrices (of AdamW: any); radius [norms, 1].
struct WeightValues {
  Value w, g, radius, factor, scalars; ///< null: no radius, no clipping
  SmallVector<Value> states;           ///< momentum; or exp_avg, exp_avg_sq
};
struct WeightResults {
  Value w;
  SmallVector<Value> states;
};
WeightResults buildWeightStep(FunctionImporter &f, Location loc, const WeightStep &step, const WeightValues &values);

void importOptimizer(FunctionImporter &f, const ::mhc::OptimizerStepKind &kind);

/// A result of a function, and where it goes.
struct Outcome {
  Value value;
  SmallVector<NamedAttribute> attributes;
};
/// A range of an arena, of so many rows; without them a tensor of static shape.
SmallVector<NamedAttribute> arenaRange(OpBuilder &b, StringRef arena, int64_t begin, std::optional<int64_t> rows = std::nullopt);

/// What entry `monitor` says of the sublayers that it comes by; a block or sublayer is a part of one tensor for all.
class ModelMonitor {
public:
  ModelMonitor(FunctionImporter &f, const ::mhc::LanguageModel &model);
  Outcome attentionZ(Location loc, Value lse, int64_t block);
  Outcome routerZ(Location loc, Value logits, int64_t block);
  /// RMS and outliers of a branch's output or of the streams: `what` of the sublayer.
  SmallVector<Outcome> row(Location loc, StringRef what, Value x, int64_t sublayer);
  /// Gains and means of h_res, and of its product over the sublayers so far.
  SmallVector<Outcome> mixing(Location loc, Value res, int64_t sublayer);

private:
  RankedTensorType vector(int64_t size);
  Type number();
  Outcome part(Value value, const Twine &name, int64_t index, int64_t count);
  Value mean(Location loc, Value x);

  FunctionImporter &f;
  OpBuilder &b;
  const ::mhc::LanguageModel &model;
  Value scalars, product, left; ///< left: sublayers before those that the product is of
};
/// Entry `weight_change`: of each matrix, and of each of a stack, the products of weights before a step and their change.
void importWeightChange(FunctionImporter &f, const ::mhc::ParameterArena &arena);
void importLanguageModel(FunctionImporter &f, const ::mhc::LanguageModel &model);

} // namespace mlir::mhc

#endif // MHC_LIB_FRONTEND_IMPORT_IMPORTINTERNAL_H
