#include "generate/Generator.h"
#include "base/Checked.h"
#include "plan/Binding.h"
#include "train/Checkpoint.h"

namespace mhcrt {

void checkGenerates(const Manifest &manifest) {
  if (!manifest.isLanguageModel())
    fail("expected a package of a language model, but this one is of kind '", manifest.kind, "'");
  const Entry &entry = manifest.entry("forward");
  auto logits = std::find_if(entry.outputs.begin(), entry.outputs.end(),
                             [](const TensorSpec &output) { return output.name == "logits"; });
  if (logits == entry.outputs.end())
    fail("entry 'forward' has no output 'logits'");
  if (logits->dtype != DType::F32)
    fail("logits: expected type f32, but got ", name(logits->dtype));
  std::vector<int64_t> shape = evaluateShape(*logits, bindTokens(manifest, entry, 1, 1));
  if (elementCount(shape, "logits") != manifest.vocabSize)
    fail("logits: expected vocab_size = ", manifest.vocabSize, " elements for one token, but got shape ",
         shapeText(shape));
}

Generator::Generator(const Package &package, Device &device, const std::string &target, const SafeTensorsFile &weights,
                     const Sampling &sampling)
    : manifest(package.manifest()), forward(package, device, target, "forward"), sampler(sampling),
      logits(manifest.vocabSize) {
  const uint64_t bytes = manifest.parameterElements * sizeof(float);
  arenas.parameters = DeviceMemory(device, bytes);
  device.fillBytes(arenas.parameters.data(), 0, bytes);
  loadParameters(weights, manifest, device, arenas);
}

void Generator::append(int32_t token) {
  if (static_cast<int64_t>(window.size()) == manifest.maxPositions)
    window.erase(window.begin());
  window.push_back(token);
}

void Generator::start(const std::vector<int32_t> &prompt, int64_t count) {
  const auto length = static_cast<int64_t>(prompt.size());
  if (length == 0)
    fail("the prompt has no tokens");
  window.assign(prompt.end() - std::min(length, manifest.maxPositions), prompt.end());
  generated = 0;
  // The last of the tokens is chosen, but not read.
  int64_t longest = std::min(manifest.maxPositions, checkedAdd(length, std::max<int64_t>(count, 1) - 1, "tokens"));
  forward.bind(1, longest);
}

int32_t Generator::next() {
  const auto length = static_cast<int64_t>(window.size());
  forward.bind(1, length);
  forward.run(window.data(), arenas);
  const uint64_t row = logits.size() * sizeof(float);
  forward.read("logits", (length - 1) * row, logits.data(), row);
  int32_t token;
  try {
    token = sampler.choose(logits.data(), manifest.vocabSize, generated);
  } catch (const Error &problem) {
    std::string where = forward.findNonFinite();
    fail("generated token ", generated + 1, ": ", problem.what(),
         where.empty() ? "" : "; the first command of the entry with a NaN or infinity in its result: " + where);
  }
  ++generated;
  append(token);
  return token;
}

} // namespace mhcrt
