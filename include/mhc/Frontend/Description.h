//===- Description.h - model descriptions, parsed and resolved ---------------===//
//
// The C++ form of a model description (docs/descriptions.md): every field of the schema, with presets expanded and defaults
// written out. Depends on the standard library only: neither MLIR nor the JSON library shows through.
//
//===----------------------------------------------------------------------===//
#ifndef MHC_FRONTEND_DESCRIPTION_H
#define MHC_FRONTEND_DESCRIPTION_H

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace mhc {

/// A place in a description: 1-based line and column (in bytes).
struct Position {
  unsigned line = 0, column = 0;
};

/// One error, to be printed as `file:line:column: error: message` (with `note` on a line of its own where it is not empty).
struct DescriptionError {
  std::string file;
  Position at;
  std::string message;
  std::string note;
  std::string str() const;
};

enum class Dtype { bf16, fp32, fp64 };
enum class Topology { residual, hc, mhc };
enum class Preset { paper, deepseekV4, deepseekV41, transformerEngine, liger };
enum class ManifoldKind { birkhoff, permutationHull, orthogonal, sphere, simplex, unconstrained, identity };
enum class Readout { mean, sum, head, lastPre };
enum class Mapping { dynamic, constant /* "static": bias only */, fixed };

struct Manifold {
  ManifoldKind kind = ManifoldKind::birkhoff;
  std::optional<double> radius; ///< sphere: default sqrt(n)
  double eps = 1e-6;            ///< sphere
};

/// math.md 1.4. Defaults are preset `paper`.
struct Convention {
  bool transposedRes = false; ///< res_application HTX
  struct Sinkhorn {
    bool firstOverInputs = false;
    enum Start { exp, softmax, log } start = exp;
    enum Denominator { none, addEps, maxEps } denominator = none;
    int64_t iterations = 20;
    double eps = 1e-6;
  } sinkhorn;
  struct Rms {
    bool inverseOfRootPlusEps = false; ///< form; false: rsqrt(mean + eps)
    double eps = 1e-6;
  } rms;
  bool normWeight = false;
  double preEps = 0.0, postScale = 2.0;
  bool bf16Coefficients = false;
  bool layoutTCn = false;    ///< layout of x
  bool phiTransposed = false; ///< phi_layout mk
  bool delayed = false;      ///< pre_source
  bool fBias = false;
  Mapping pre = Mapping::dynamic, post = Mapping::dynamic, res = Mapping::dynamic;
};

/// What is common to hyper_connection, hyper_connection_chain and `residual` of a language_model.
struct HyperConnection {
  Topology topology = Topology::mhc;
  int64_t n = 4;
  Preset preset = Preset::paper;
  Convention convention;
  Manifold manifold;
  /// Columns of phi: n^2 + 2n, or 2n for `identity`; n + 2 for topology hc.
  int64_t phiColumns() const;
  /// Rows of phi: nC, or C for topology hc.
  int64_t phiRows(int64_t hiddenSize) const;
  /// Entries of bias: n^2 + 2n, or 2n for `identity`.
  int64_t biasSize() const;
};

struct HyperConnectionKind {
  int64_t hiddenSize = 0;
  Dtype dtype = Dtype::bf16;
  HyperConnection hc;
  bool chain = false;
  int64_t depth = 1;
};

enum class Score { softmaxBeforeTopk, softmaxAfterTopk, sigmoid, sqrtSoftplus };
struct BalanceLoss {
  enum Kind { switchLoss, top1, z } kind = switchLoss;
  double weight = 0;
  enum Scope { microBatch, sequence, globalBatch } scope = microBatch;
  double tau = 1;
};
struct Router {
  Score score = Score::softmaxBeforeTopk;
  int64_t groupCount = 1, groupsChosen = 1;
  bool normalize = false;
  double scale = 1.0;
  bool sqrtGate = false;
  std::vector<BalanceLoss> losses;
  std::optional<double> expertBiasRate;
  bool allowConstantGate = false;
  std::optional<double> capacityFactor;
};

/// Whether a loss goes by the choices of the whole step, those of earlier micro-batches included.
bool needsPreviousCounts(const Router &);

struct MoeRouterKind {
  int64_t hiddenSize = 0, numExperts = 0, numExpertsPerTok = 0;
  Dtype dtype = Dtype::bf16;
  Router router;
  std::optional<int64_t> sequenceLength;
  bool layer = false; ///< kind moe_layer
  int64_t moeIntermediateSize = 0, nSharedExperts = 0;
};

enum class OptimizerKind { adamw, muon, muonh, adamh };
enum class NormScope { matrix, expert, stack };
struct OptimizerStepKind {
  OptimizerKind optimizer = OptimizerKind::adamw;
  std::vector<int64_t> shape;
  NormScope normScope = NormScope::expert;
  std::vector<double> betas;
  double eps = 0;
  bool nesterov = true;
  double weightDecay = 0;
  /// True where each matrix of a stack has a norm of its own; else there is one for all.
  bool normOfEach() const { return shape.size() == 3 && normScope != NormScope::stack; }
};

struct Training {
  struct Optimizer {
    OptimizerKind kind = OptimizerKind::adamw;
    double learningRate = 3e-4, beta1 = 0.9, beta2 = 0.95, eps = 1e-8, weightDecay = 0;
    double momentum = 0.95, nsEps = 1e-7;
    NormScope normScope = NormScope::expert;
  } optimizer;
  struct Parametrization {
    enum Kind { none, mup, mupPlusPlus, hyperp } kind = none;
    double baseDepth = 8, baseWidth = 1024, baseTokens = 10.4e9;
  } parametrization;
  struct Schedule {
    enum Kind { constant, step, linear, cosine, phased } kind = constant;
    int64_t warmupSteps = 0;
    std::vector<double> at, factors; ///< step
    double finalFraction = 0;        ///< linear, cosine
    struct Phase {
      double until = 1;
      enum Shape { constant, linear, cosine } shape = constant;
      std::optional<double> to;
    };
    std::vector<Phase> phases;
  } schedule;
  struct Batch {
    int64_t sequences = 1, sequenceLength = 0, steps = 1, microBatch = 0;
    struct Ramp {
      int64_t from = 0;
      double until = 0;
    };
    std::optional<Ramp> ramp;
  } batch;
  std::optional<double> clip;
};

struct LanguageModel {
  Dtype dtype = Dtype::fp32;
  int64_t vocabSize = 0, hiddenSize = 0, numHiddenLayers = 0, numAttentionHeads = 0, numKeyValueHeads = 0, headDim = 0;
  int64_t intermediateSize = 0; ///< 0 when no block is dense
  double rmsNormEps = 1e-6, ropeTheta = 10000.0;
  bool tieWordEmbeddings = false;
  int64_t maxPositionEmbeddings = 4096;
  bool mla = false;
  std::optional<int64_t> qLoraRank;
  int64_t kvLoraRank = 0, qkNopeHeadDim = 0, qkRopeHeadDim = 0, vHeadDim = 0;
  bool qkNorm = false, headwiseGate = false;
  int64_t nRoutedExperts = 0, nSharedExperts = 0, moeIntermediateSize = 0, firstKDenseReplace = 0;
  /// k of each block in each phase (dense blocks: 0); one phase unless the description has several.
  struct TopkPhase {
    std::optional<double> until;
    std::vector<int64_t> k;
  };
  std::vector<TopkPhase> topk;
  Router router;
  HyperConnection residual; ///< topology residual: only `topology` counts
  Readout readout = Readout::mean;
  double branchScale = 1.0;
  Training training;
};

/// A description that was read, checked against the schema and resolved.
struct Description {
  std::string file;
  std::variant<HyperConnectionKind, MoeRouterKind, OptimizerStepKind, LanguageModel> value;
  /// Where each field that was written stands, by its path ("residual.convention.rms.eps", "router.losses[0].tau"); "" is the object.
  std::map<std::string, Position> positions;
  /// The position of `path`, or of its nearest written parent.
  Position at(const std::string &path) const;
};

/// Reads the JSON text of a description. Every rule of docs/descriptions.md is checked: unknown keys (with the nearest known one as a
/// suggestion), duplicate keys, types, ranges, required fields, knobs without effect, combinations that make no sense.
/// Returns the first error.
std::variant<Description, DescriptionError> parseDescription(const std::string &text, const std::string &file);

/// What is legal but not supported by this version: the field's place and the reason; nothing if all of it is supported.
std::optional<DescriptionError> findUnsupported(const Description &);

//===----------------------------------------------------------------------===//
// The parameters of a language model
//===----------------------------------------------------------------------===//

/// Typed roles (math.md 2.1): what the optimizer and the parametrisation go by; never guessed from names.
enum class Role { embedding, hidden, router, expert, head, gain, hyperConnection, readout, attentionGate, bias };
const char *name(Role);

struct InitialValue {
  enum Kind { normal, uniform, constant, listed } kind = constant;
  double parameter = 0;       ///< standard deviation, bound, or the constant
  std::vector<double> values; ///< kind listed: row-major
};

/// A line of the "terms" or "other" of the parameter report.
enum class CountTerm { embedding, head, attention, ffn, expert, shared, router, hyperConnection, norm, scale, base, readout, attentionGate, fBias };

/// How a parameter is updated (math.md 2.1, 2.2, 4): by its role, the optimizer and the parametrization.
struct UpdateRule {
  OptimizerKind optimizer = OptimizerKind::adamw;
  double rate = 1;  ///< the learning rate is multiplied by it
  double decay = 0; ///< the weight decay is multiplied by it; 0: none
  bool operator==(const UpdateRule &other) const { return optimizer == other.optimizer && rate == other.rate && decay == other.decay; }
  bool isMuon() const { return optimizer == OptimizerKind::muon || optimizer == OptimizerKind::muonh; }
  /// True if the norm is kept: the radius is one of the states.
  bool isSphere() const { return optimizer == OptimizerKind::muonh || optimizer == OptimizerKind::adamh; }
};

struct ParameterInfo {
  std::string name;             ///< as in files (descriptions.md)
  std::vector<int64_t> shape;
  Role role;
  CountTerm term;
  bool decayed;                 ///< AdamW's weight decay would apply
  InitialValue init;
  std::string stack;            ///< of experts: the name with * for the expert's number; the experts of a stack lie one after another
  UpdateRule update;
};

/// All parameters in the order of the model (embedding, blocks, norm, head). Experts are listed one by one.
std::vector<ParameterInfo> parameterTable(const LanguageModel &);
/// State that is no parameter (`e_score_correction_bias`), fp32, zeros at the start.
std::vector<ParameterInfo> stateTable(const LanguageModel &);

/// The blocks with experts, and the name of the stack of their selection biases.
int64_t expertBlocks(const LanguageModel &);
inline constexpr const char *biasStack = "model.expert_bias";

/// What logits are multiplied by (math.md 2.2).
double logitsMultiplier(const LanguageModel &);
UpdateRule updateRule(const LanguageModel &, Role, const std::vector<int64_t> &shape);

/// Weights that are updated together: one range of the parameters' arena. Adam's are all elements from `begin` on; others, matrices one after another.
struct UpdateBatch {
  UpdateRule rule;
  int64_t begin = 0, elements = 0;
  int64_t state = 0;                ///< where the range begins in its states' arenas
  int64_t matrices = 0, rows = 0, columns = 0; ///< 0: no matrices, but multiples of 64 elements
  int64_t radius = 0;               ///< of the first norm, in arena `radius`
  int64_t matricesOfNorm = 1;
};

/// Where a model's parameters and, behind them, its state lie in their arena (docs/design/package.md). Gradients have the same layout; each state of the optimizer has an arena of its own for those that have it.
struct ParameterArena {
  struct Tensor {
    ParameterInfo info;
    int64_t offset = 0, elements = 0;
    int64_t state = 0;   ///< in the arenas of exp_avg and exp_avg_sq, or of momentum
    int64_t radius = -1; ///< where it keeps its norm
  };
  /// Tensors that lie one after another, as one.
  struct Stack {
    std::string name;
    std::vector<int64_t> shape; ///< [number of tensors, ..]
    int64_t offset = 0;
  };
  std::vector<Tensor> tensors; ///< in the order of the model, state at the end
  std::vector<Stack> stacks;
  std::vector<UpdateBatch> batches;
  int64_t elements = 0, adamElements = 0, momentumElements = 0, radiusElements = 0;
  int64_t stateBegin = 0; ///< parameters end here
};
ParameterArena layOutParameters(const LanguageModel &);

/// Parameters that are matrices, or stacks of them: what entry `weight_change` watches.
struct WeightMatrices {
  std::string name;
  int64_t count = 1;    ///< matrices
  int64_t elements = 0; ///< of each
  int64_t offset = 0;
};
std::vector<WeightMatrices> weightMatrices(const ParameterArena &);

/// The words of descriptions.
const char *name(OptimizerKind);
const char *name(NormScope);

/// The object that `--report=parameters` prints, as JSON text (descriptions.md): exact counts, without building the table of experts one by one.
std::string parameterReport(const LanguageModel &);
/// `training` with every default written out, as JSON text.
std::string resolvedTraining(const LanguageModel &);

} // namespace mhc

#endif // MHC_FRONTEND_DESCRIPTION_H
