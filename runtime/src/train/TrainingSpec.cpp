#include "train/TrainingSpec.h"
#include "base/Checked.h"

namespace mhcrt {

TrainingSpec TrainingSpec::parse(const Manifest &manifest, const std::string &source) {
  if (!manifest.isLanguageModel())
    fail(source, ": expected a package of kind language_model, but got ", manifest.kind);
  JsonView json = JsonView(manifest.document, source + ": manifest.json").at("training");
  TrainingSpec spec;
  JsonView optimizer = json.at("optimizer");
  if (optimizer.at("kind").string() != "adamw")
    fail(optimizer.path(), ": optimizer '", optimizer.at("kind").string(),
         "' cannot be trained with yet, only adamw can");
  spec.learningRate = optimizer.at("learning_rate").number();
  JsonView betas = optimizer.at("betas");
  if (betas.size() != 2)
    fail(betas.path(), ": expected two numbers");
  spec.beta1 = betas[0].number();
  spec.beta2 = betas[1].number();
  if (!(spec.beta1 >= 0 && spec.beta1 < 1 && spec.beta2 >= 0 && spec.beta2 < 1))
    fail(betas.path(), ": expected numbers from 0 to below 1");
  spec.eps = optimizer.at("eps").number();
  if (auto decay = optimizer.find("weight_decay"))
    spec.weightDecay = decay->number();
  if (auto clip = json.find("clip"); clip && !clip->isNull())
    spec.clip = clip->number();
  if (!(spec.clip >= 0)) // below, every gradient would pass for one that is not finite
    fail(json.path(), ".clip: expected a number of at least 0, but got ", spec.clip);

  constexpr int64_t most = int64_t(1) << 40;
  JsonView batch = json.at("batch");
  spec.sequences = batch.at("sequences").integer(1, most);
  spec.sequenceLength = batch.at("sequence_length").integer(1, manifest.maxPositions);
  spec.steps = batch.at("steps").integer(1, most);
  spec.microBatch = spec.sequences;
  if (auto micro = batch.find("micro_batch"); micro && !micro->isNull())
    spec.microBatch = micro->integer(1, spec.sequences);
  if (spec.sequences % spec.microBatch)
    fail(batch.path(), ": micro_batch ", spec.microBatch, " does not divide sequences ", spec.sequences);
  if (auto ramp = batch.find("ramp"); ramp && !ramp->isNull())
    fail(ramp->path(), ": a batch ramp is not supported by this runtime yet");
  if (auto schedule = json.find("schedule"))
    spec.schedule = Schedule::parse(*schedule);
  return spec;
}

} // namespace mhcrt
