#include "train/StepScalars.h"

#include <cmath>

namespace mhcrt {

OptimizerSettings OptimizerSettings::parse(const JsonView &optimizer) {
  OptimizerSettings settings;
  JsonView betas = optimizer.at("betas");
  if (betas.size() < 1 || betas.size() > 2)
    fail(betas.path(), ": expected one or two numbers");
  settings.beta1 = betas[0].number();
  settings.beta2 = betas.size() > 1 ? betas[1].number() : 0;
  if (!(settings.beta1 >= 0 && settings.beta1 < 1 && settings.beta2 >= 0 && settings.beta2 < 1))
    fail(betas.path(), ": expected numbers from 0 to below 1");
  settings.eps = optimizer.at("eps").number();
  if (auto decay = optimizer.find("weight_decay"))
    settings.weightDecay = decay->number();
  return settings;
}

void setOptimizerScalars(Scalars &scalars, const OptimizerSettings &settings, double learningRate, int64_t step) {
  const auto s = static_cast<double>(step);
  scalars[scalar::LearningRate] = static_cast<float>(learningRate);
  scalars[scalar::Correction1] = static_cast<float>(1 / (1 - std::pow(settings.beta1, s)));
  scalars[scalar::Correction2] = static_cast<float>(1 / (1 - std::pow(settings.beta2, s)));
  scalars[scalar::WeightDecay] = static_cast<float>(settings.weightDecay);
  scalars[scalar::Beta1] = static_cast<float>(settings.beta1);
  scalars[scalar::Beta2] = static_cast<float>(settings.beta2);
  scalars[scalar::OneMinusBeta1] = static_cast<float>(1 - settings.beta1);
  scalars[scalar::OneMinusBeta2] = static_cast<float>(1 - settings.beta2);
  scalars[scalar::Eps] = static_cast<float>(settings.eps);
}

} // namespace mhcrt
