#include "train/TrainingSpec.h"
#include "base/Checked.h"

namespace mhcrt {

TrainingSpec TrainingSpec::parse(const Manifest &manifest, const std::string &source) {
  if (!manifest.isLanguageModel())
    fail(source, ": expected a package of kind language_model, but got ", manifest.kind);
  JsonView json = JsonView(manifest.document, source + ": manifest.json").at("training");
  TrainingSpec spec;
  JsonView optimizer = json.at("optimizer");
  spec.learningRate = optimizer.at("learning_rate").number();
  spec.optimizer = OptimizerSettings::parse(optimizer);
  if (auto clip = json.find("clip"); clip && !clip->isNull())
    spec.clip = clip->number();
  if (!(spec.clip >= 0)) // below, every gradient would pass for one that is not finite
    fail(json.path(), ".clip: expected a number of at least 0, but got ", spec.clip);

  constexpr int64_t most = int64_t(1) << 40;
  JsonView batch = json.at("batch");
  spec.sequenceLength = batch.at("sequence_length").integer(1, manifest.maxPositions);
  const int64_t sequences = batch.at("sequences").integer(1, most), steps = batch.at("steps").integer(1, most);
  int64_t microBatch = sequences;
  if (auto micro = batch.find("micro_batch"); micro && !micro->isNull())
    microBatch = micro->integer(1, sequences);
  if (sequences % microBatch)
    fail(batch.path(), ": micro_batch ", microBatch, " does not divide sequences ", sequences);
  spec.batch = {sequences, microBatch, steps};
  if (auto ramp = batch.find("ramp"); ramp && !ramp->isNull())
    spec.batch.setRamp(ramp->at("from").integer(microBatch, sequences), ramp->at("until").number(), ramp->path());
  if (auto schedule = json.find("schedule"))
    spec.schedule = Schedule::parse(*schedule);
  return spec;
}

} // namespace mhcrt
