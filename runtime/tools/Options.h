//===- Options.h - the command line of mhc-run ---------------------*- C++ -*-===//
#ifndef MHCRT_TOOLS_OPTIONS_H
#define MHCRT_TOOLS_OPTIONS_H

#include "base/Json.h"

#include <initializer_list>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace mhcrt {

/// More than any run needs. Sizes that come of it are checked where they are computed.
constexpr int64_t mostCount = int64_t(1) << 40;

/// Positional arguments, --name=value and --flag. Unknown and repeated options are usage errors.
class Options {
public:
  /// `flags` stand without a value, `values` need one (`--name=value` or `--name value`). Names without dashes.
  Options(const std::vector<std::string> &arguments, std::initializer_list<const char *> flags,
          std::initializer_list<const char *> values);

  const std::vector<std::string> &positional() const { return words; }
  bool flag(const char *name) const { return given.count(name) != 0; }
  std::optional<std::string> value(const char *name) const;
  std::string value(const char *name, const std::string &otherwise) const;
  std::string required(const char *name) const;
  /// Decimal digits and no more: no spaces, no second reading of what does not fit.
  std::optional<int64_t> integer(const char *name, int64_t least, int64_t most = mostCount) const;
  std::optional<double> number(const char *name, double least, double most) const;
  /// "T=4096,B=2"; nothing if the option is not given.
  std::map<std::string, int64_t> symbols(const char *name) const;
  /// --threads as chooseThreads takes it: 0 if it is not given.
  int64_t threads() const;

private:
  template <typename Number>
  std::optional<Number> parse(const char *name, Number least, Number most, const char *what) const;

  std::vector<std::string> words;
  std::map<std::string, std::string> given;
};

/// For --json. Paths and generated text need not be UTF-8: what is not is replaced.
std::string jsonText(const Json &json);
/// A usage error if `output`, which the option or argument `name` gives, is the file `input` that `inputName` gives:
/// it would be lost.
void refuseOverwriting(const std::string &name, const std::string &output, const std::string &inputName,
                       const std::string &input);
/// A usage error if `input` is a folder, all of whose files are read, and `output` would be one of them the next time.
void refuseInside(const std::string &name, const std::string &output, const std::string &inputName,
                  const std::string &input);

int benchCommand(const std::vector<std::string> &arguments);
int callCommand(const std::vector<std::string> &arguments);
int generateCommand(const std::vector<std::string> &arguments);
int infoCommand(const std::vector<std::string> &arguments);
int reportCommand(const std::vector<std::string> &arguments);
int trainCommand(const std::vector<std::string> &arguments);
int tuneCommand(const std::vector<std::string> &arguments);

} // namespace mhcrt

#endif // MHCRT_TOOLS_OPTIONS_H
