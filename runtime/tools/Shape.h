//===- Shape.h - sizes that a command is given ---------------------*- C++ -*-===//
#ifndef MHCRT_TOOLS_SHAPE_H
#define MHCRT_TOOLS_SHAPE_H

#include "plan/Binding.h"

namespace mhcrt {

/// Exactly the entry's symbols, as --shape gives them; then what follows from them.
Symbols bindShape(const Manifest &manifest, const Entry &entry, const Symbols &given);
/// "B = 2, S = 128, T = 256"
std::string symbolsText(const Symbols &symbols);

} // namespace mhcrt

#endif // MHCRT_TOOLS_SHAPE_H
