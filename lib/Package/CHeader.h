//===- CHeader.h - words of a C header --------------------------*- C++ -*-===//
#ifndef MHC_LIB_PACKAGE_CHEADER_H
#define MHC_LIB_PACKAGE_CHEADER_H

#include "mhc/Dialect/Plan/IR/PlanDialect.h"

#include "mlir/IR/BuiltinOps.h"

namespace mlir::mhc {

/// `text` as part of an identifier of C and C++: letters, digits and single underscores, none at the ends.
std::string identifier(StringRef text);

/// `text` as part of a comment of one line. What would end or continue the line (a backslash, also as a trigraph) and
/// what is not printable becomes a dot: places and names may come from IR that somebody wrote.
std::string commentText(StringRef text);

/// What a buffer is to the caller: the name of its tensor, `scalars`, `rope_cos`; "" for what a plan keeps to itself.
std::string outsideName(Value buffer);

/// The entries of a plan for people, as comments: tensors, then commands in their order.
void writeEntryComments(ModuleOp module, raw_ostream &os);

} // namespace mlir::mhc

#endif // MHC_LIB_PACKAGE_CHEADER_H
