#include "Options.h"
#include "base/File.h"
#include "report/Report.h"

#include <cstdio>

namespace mhcrt {

/// The metrics' name with another ending.
static std::string besideMetrics(const std::string &path) {
  for (const char *ending : {".jsonl", ".json"}) {
    const std::string text = ending;
    if (path.size() > text.size() && path.compare(path.size() - text.size(), text.size(), text) == 0)
      return path.substr(0, path.size() - text.size()) + ".html";
  }
  return path + ".html";
}

int reportCommand(const std::vector<std::string> &arguments) {
  std::vector<std::string> words = arguments;
  for (std::string &word : words)
    if (word == "-o")
      word = "--output";
  Options options(words, {}, {"output", "title"});
  if (options.positional().size() != 1)
    throw UsageError("expected mhc-run report METRICS.jsonl [-o FILE.html] [--title=TEXT] (see mhc-run --help)");
  const std::string &metrics = options.positional()[0], output = options.value("output", besideMetrics(metrics));
  refuseOverwriting("-o", output, "the metrics", metrics);
  const RunRecord run = readRun(metrics);
  std::string title = "Training run";
  if (auto package = run.header.find("package"); package != run.header.end() && package->is_string())
    title = package->get<std::string>().substr(package->get<std::string>().find_last_of('/') + 1);
  writeFile(output, reportPage(run, options.value("title", title)));
  for (const std::string &note : run.notes)
    std::fprintf(stderr, "note: %s: %s\n", metrics.c_str(), note.c_str());
  std::printf("%s\n", output.c_str());
  return 0;
}

} // namespace mhcrt
