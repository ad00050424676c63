#include "Options.h"
#include "base/ThreadPool.h"
#include "package/SafeTensors.h"
#include "plan/Call.h"

namespace mhcrt {

int callCommand(const std::vector<std::string> &arguments) {
  Options options(arguments, {}, {"device", "inputs", "outputs", "threads"});
  if (options.positional().size() != 2)
    throw UsageError("expected mhc-run call PACKAGE ENTRY --inputs=FILE --outputs=FILE");
  const std::string inputPath = options.required("inputs"), outputPath = options.required("outputs");
  const std::string kind = options.value("device", "cpu");
  int threads = chooseThreads(options.threads());
  refuseOverwriting("--outputs", outputPath, "the package", options.positional()[0]);

  Package package = Package::open(options.positional()[0]);
  const std::string &entry = options.positional()[1];
  checkCallable(package.manifest(), entry);

  SafeTensorsFile file(inputPath);
  TensorInfos infos;
  for (const auto &[name, tensor] : file.tensors())
    infos[name] = {typeText(tensor.type), tensor.shape};
  bindInputs(package.manifest(), package.manifest().entry(entry), infos); // before a device is started
  std::string target;
  std::unique_ptr<Device> device = openDevice(kind, package, threads, target);
  HostTensors outputs = callEntry(
      package, *device, target, entry, infos,
      [&](const std::string &name, void *to) { file.read(*file.find(name), to); }, threads);

  std::vector<TensorToWrite> list;
  for (const auto &[name, tensor] : outputs)
    list.push_back({name, tensor.dtype, tensor.shape, tensor.data.data()});
  writeSafeTensors(outputPath, std::move(list));
  return 0;
}

} // namespace mhcrt
