#include "train/Metrics.h"
#include "base/File.h"

#include <cerrno>
#include <fcntl.h>
#include <unistd.h>

namespace mhcrt {

MetricsFile::~MetricsFile() {
  if (descriptor >= 0)
    ::close(descriptor);
}

void MetricsFile::open(const std::string &path, int64_t keepUntil) {
  name = path;
  std::string kept;
  if (keepUntil > 0 && ::access(path.c_str(), F_OK) == 0) {
    Memory content = readFile(path);
    std::string_view text(content.data(), content.size());
    while (!text.empty()) {
      size_t end = text.find('\n');
      if (end == std::string_view::npos)
        break; // a line that a killed run did not finish
      std::string_view line = text.substr(0, end);
      Json parsed = Json::parse(line.begin(), line.end(), nullptr, false);
      bool later = parsed.is_object() && parsed.contains("step") && parsed["step"].is_number_integer() &&
                   parsed["step"].get<int64_t>() > keepUntil;
      if (!parsed.is_discarded() && !later)
        kept += std::string(line) + "\n";
      text.remove_prefix(end + 1);
    }
  }
  writeFile(path, kept);
  descriptor = ::open(path.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC);
  if (descriptor < 0)
    fail(path, ": cannot open: ", std::strerror(errno));
}

void MetricsFile::write(const Json &line) {
  if (descriptor < 0)
    return;
  // NaN and infinity are no JSON: nlohmann writes null for them.
  std::string text = line.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
  for (size_t at = 0; at < text.size();) {
    ssize_t done = ::write(descriptor, text.data() + at, text.size() - at);
    if (done < 0 && errno == EINTR)
      continue;
    if (done < 0)
      fail(name, ": cannot write: ", std::strerror(errno));
    at += done;
  }
}

} // namespace mhcrt
