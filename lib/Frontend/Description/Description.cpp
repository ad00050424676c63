//===- Description.cpp - descriptions, from text to checked values --------===//

#include "Kinds.h"

namespace mhc {

std::string DescriptionError::str() const {
  const std::string place = file + ":" + std::to_string(at.line) + ":" + std::to_string(at.column) + ": ";
  return place + "error: " + message + (note.empty() ? "" : "\n" + place + "note: " + note);
}

Position Description::at(const std::string &path) const {
  for (std::string place = path; !place.empty();) {
    auto it = positions.find(place);
    if (it != positions.end())
      return it->second;
    size_t end = place.find_last_of(".[");
    place.resize(end == std::string::npos ? 0 : end);
  }
  auto it = positions.find("");
  return it != positions.end() ? it->second : Position{1, 1};
}

namespace {
enum class Kind { hyperConnection, hyperConnectionChain, moeRouter, moeLayer, optimizer, languageModel };
}
static const Word<Kind> kinds[] = {{"hyper_connection", Kind::hyperConnection},
                                   {"hyper_connection_chain", Kind::hyperConnectionChain},
                                   {"moe_router", Kind::moeRouter},
                                   {"moe_layer", Kind::moeLayer},
                                   {"optimizer", Kind::optimizer},
                                   {"language_model", Kind::languageModel}};

std::variant<Description, DescriptionError> parseDescription(const std::string &text, const std::string &file) {
  json::Value root;
  if (std::optional<json::ParseError> error = json::parse(text, root))
    return DescriptionError{file, error->at, error->message, error->note};

  Description description;
  Reader reader;
  reader.positions[""] = root.at;
  Object object(reader, &root, "");
  object.require({"kind"});
  Kind kind = Kind::hyperConnection;
  object.read("kind", kind, kinds);
  if (!reader.failed()) {
    auto &value = description.value;
    switch (kind) {
    case Kind::hyperConnection:
    case Kind::hyperConnectionChain:
      readHyperConnectionKind(object, value.emplace<HyperConnectionKind>(), kind == Kind::hyperConnectionChain);
      break;
    case Kind::moeRouter:
    case Kind::moeLayer:
      readMoeKind(object, value.emplace<MoeRouterKind>(), kind == Kind::moeLayer);
      break;
    case Kind::optimizer:
      readOptimizerKind(object, value.emplace<OptimizerStepKind>());
      break;
    case Kind::languageModel:
      readLanguageModel(object, value.emplace<LanguageModel>());
      break;
    }
  }
  if (reader.error) {
    reader.error->file = file;
    return *std::move(reader.error);
  }
  description.file = file;
  description.positions = std::move(reader.positions);
  return description;
}

} // namespace mhc
