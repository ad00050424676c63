//===- Kinds.h - the readers of the kinds of descriptions -----------------===//

#ifndef MHC_LIB_FRONTEND_DESCRIPTION_KINDS_H
#define MHC_LIB_FRONTEND_DESCRIPTION_KINDS_H

#include "Schema.h"

namespace mhc {

// Each reads the whole object, checks it, and resolves it; errors are left in the object's reader.
void readHyperConnectionKind(Object &, HyperConnectionKind &, bool chain);
void readMoeKind(Object &, MoeRouterKind &, bool layer);
void readOptimizerKind(Object &, OptimizerStepKind &);
void readLanguageModel(Object &, LanguageModel &);

/// The fields topology, hc_mult, preset, manifold and convention.
void readHyperConnection(Object &, HyperConnection &, bool fp64, bool ofLanguageModel);
/// The fields of a router beside the experts' number; `ofLanguageModel` adds capacity_factor.
void readRouter(Object &, Router &, bool ofLanguageModel);
/// The rules that tie the router's groups to the number of experts. False if the rules of `checkTopk` cannot be asked.
bool checkGroups(Object &router, const Router &, int64_t experts, const std::string &expertsField);
/// The rules for a number of experts per token that stands at `at` and is called `field`.
void checkTopk(Reader &, Position at, const std::string &field, int64_t k, int64_t experts, const Router &);
/// `training`; the model's other fields have been read.
void readTraining(Object &, LanguageModel &);
/// Readout's default goes by the preset, branch_scale's by the parametrization.
void readResidual(Object &, LanguageModel &);

extern const Word<Dtype> dtypeWords[3];
extern const Word<OptimizerKind> optimizerWords[4];
extern const Word<NormScope> normScopeWords[3];

/// The counts of one model, all of its experts included, without listing its parameters.
struct ParameterCounts {
  static constexpr size_t numTerms = size_t(CountTerm::fBias) + 1;
  int64_t terms[numTerms] = {}; ///< By CountTerm; saturated at the largest int64_t.
  int64_t operator[](CountTerm term) const { return terms[size_t(term)]; }
};
ParameterCounts countParameters(const LanguageModel &);

/// Weight decay goes by the role: matrices shrink; gains, biases and what steers the streams do not.
bool isDecayed(Role);

/// The dense blocks come first.
inline int64_t denseBlocks(const LanguageModel &model) {
  return model.nRoutedExperts ? model.firstKDenseReplace : model.numHiddenLayers;
}

} // namespace mhc

#endif // MHC_LIB_FRONTEND_DESCRIPTION_KINDS_H
