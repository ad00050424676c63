//===- PlanJson.h - plan.json -----------------------------------------------===//
#ifndef MHC_LIB_PACKAGE_PLANJSON_H
#define MHC_LIB_PACKAGE_PLANJSON_H

#include "mhc/Dialect/Plan/IR/PlanDialect.h"

#include <nlohmann/json.hpp>

namespace mlir::mhc {

/// Keys stand in the order in which they were added: the text is the same for the same plan.
using Json = nlohmann::ordered_json;

/// The text of a document; names that are not UTF-8 (IR may hold any bytes) are repaired.
inline std::string text(const Json &json, int indent = -1) {
  return json.dump(indent, ' ', false, Json::error_handler_t::replace);
}

/// Buffers and commands of an entry.
Json writeEntry(plan::EntryOp entry);

} // namespace mlir::mhc

#endif // MHC_LIB_PACKAGE_PLANJSON_H
