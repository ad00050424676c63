#include "Options.h"
namespace mhcrt { int trainCommand(const std::vector<std::string> &) { return 0; } }
