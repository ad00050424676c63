//===- Unsupported.cpp - what this version cannot compile yet -------------===//
//
// Legal descriptions that the compiler would get wrong if it tried. Each line is a field, whether it is affected, and
// what cannot be done; the version that learns it deletes the line.
//
//===----------------------------------------------------------------------===//

#include "Kinds.h"

#include <algorithm>
#include <numeric>

namespace mhc {

namespace {

struct Limit {
  std::string field;
  bool affected;
  const char *what; ///< "... is not supported by this version".
};

using Limits = std::vector<Limit>;

Limits limitsOf(const HyperConnection &hc, const std::string &prefix) {
  // Backward keeps two rows of factors an iteration, on the stack of each thread.
  return {{prefix + "convention.sinkhorn.iterations", hc.convention.sinkhorn.iterations > 500,
           "more than 500 Sinkhorn iterations"}};
}
Limits limitsOf(const HyperConnectionKind &kind) { return limitsOf(kind.hc, ""); }

constexpr int64_t mostChoices = 64; ///< each choice is a stretch of code in the routing kernel
constexpr int64_t mostGroups = 256;
constexpr int64_t mostExperts = 1 << 16;

Limits limitsOf(const Router &router, int64_t experts, const std::string &prefix) {
  return {{prefix + "groups.count", router.groupCount > mostGroups && router.groupCount < experts, "more than 256 groups of several experts"}};
}
Limits limitsOf(const MoeRouterKind &kind) {
  Limits limits = limitsOf(kind.router, kind.numExperts, "");
  limits.push_back({"num_experts_per_tok", kind.numExpertsPerTok > mostChoices, "more than 64 experts a token"});
  limits.push_back({"num_experts", kind.numExperts > mostExperts, "more than 65536 experts"});
  return limits;
}

/// Matrices are cut into parts of a few thousand elements, whose numbers are 32 bits wide.
constexpr int64_t mostOfWeights = int64_t(1) << 40;
Limits limitsOf(const OptimizerStepKind &kind) {
  const int64_t elements = std::accumulate(kind.shape.begin(), kind.shape.end(), int64_t(1), std::multiplies<>());
  return {{"shape", elements > mostOfWeights, "weights of more than 2^40 elements"}};
}

constexpr int64_t mostOfHeads = 1 << 20; // as the runtime has it

/// Parts of rows that go different ways are cut into pieces of the size that divides all of them; kernels name each piece.
constexpr int64_t mostParts = 128;
int64_t parts(std::initializer_list<int64_t> sizes, int64_t pairs) {
  int64_t piece = pairs, sum = 2 * pairs;
  for (int64_t size : sizes) {
    piece = std::gcd(piece, size);
    sum += size;
  }
  return sum / piece;
}

int64_t mostOfTopk(const LanguageModel &model) {
  int64_t most = 0;
  for (const LanguageModel::TopkPhase &phase : model.topk)
    for (int64_t k : phase.k)
      most = std::max(most, k);
  return most;
}

Limits limitsOf(const LanguageModel &model) {
  Limits limits = {
      {"dtype", model.dtype == Dtype::fp64, "dtype 'fp64' of a language_model"},
      {"num_attention_heads", model.numAttentionHeads > mostOfHeads, "more than 1048576 heads"},
      {"head_dim", model.headDim > mostOfHeads, "a head of more than 1048576 elements"},
      {"qk_nope_head_dim", model.mla && model.qkNopeHeadDim > mostOfHeads, "a head of more than 1048576 elements"},
      {"qk_rope_head_dim", model.mla && model.qkRopeHeadDim > mostOfHeads, "a head of more than 1048576 elements"},
      {"v_head_dim", model.mla && model.vHeadDim > mostOfHeads, "a head of more than 1048576 elements"},
      {"kv_lora_rank", model.mla && parts({model.kvLoraRank}, model.qkRopeHeadDim / 2) > mostParts,
       "a rank that has so small a divisor in common with half of 'qk_rope_head_dim' (more than 128 parts of this size)"},
      {"v_head_dim", model.mla && parts({model.qkNopeHeadDim, model.vHeadDim}, model.qkRopeHeadDim / 2) > mostParts,
       "a head whose parts have so small a divisor in common with half of 'qk_rope_head_dim' (more than 128 parts of this size)"},
      {"n_routed_experts", model.nRoutedExperts > mostExperts, "more than 65536 experts"},
      {"num_experts_per_tok", mostOfTopk(model) > mostChoices, "more than 64 experts a token"},
  };
  for (Limit &limit : limitsOf(model.residual, "residual."))
    limits.push_back(std::move(limit));
  if (model.nRoutedExperts)
    for (Limit &limit : limitsOf(model.router, model.nRoutedExperts, "router."))
      limits.push_back(std::move(limit));
  return limits;
}

} // namespace

std::optional<DescriptionError> findUnsupported(const Description &description) {
  Limits limits = std::visit([](const auto &value) { return limitsOf(value); }, description.value);
  for (const Limit &limit : limits)
    if (limit.affected)
      return DescriptionError{description.file, description.at(limit.field),
                              "'" + limit.field + "': " + limit.what + " is not supported by this version", ""};
  return std::nullopt;
}

} // namespace mhc
