//===- Testing.h - what the tests of descriptions share -------------------===//
//
// A refused description is written with an @ right before the place where the error must stand.
//
//===----------------------------------------------------------------------===//
#ifndef MHC_TEST_UNIT_DESCRIPTION_TESTING_H
#define MHC_TEST_UNIT_DESCRIPTION_TESTING_H

#include "mhc/Frontend/Description.h"

#include "gtest/gtest.h"

namespace mhc::testing {

struct Refused {
  std::string text;
  std::string word;      ///< Part of the message.
  std::string note = ""; ///< Part of the note.
};

inline void expectRefused(const Refused &refused) {
  std::string text = refused.text;
  size_t mark = text.find('@');
  ASSERT_NE(mark, std::string::npos) << text;
  text.erase(mark, 1);
  unsigned line = 1, column = 1;
  for (size_t i = 0; i < mark; ++i) {
    column = text[i] == '\n' ? 1 : column + 1;
    line += text[i] == '\n';
  }
  auto result = parseDescription(text, "d.json");
  auto *error = std::get_if<DescriptionError>(&result);
  ASSERT_TRUE(error) << "accepted: " << text;
  SCOPED_TRACE(text + "\n" + error->str());
  EXPECT_EQ(error->at.line, line);
  EXPECT_EQ(error->at.column, column);
  EXPECT_NE(error->message.find(refused.word), std::string::npos) << "expected the word " << refused.word;
  EXPECT_NE(error->note.find(refused.note), std::string::npos) << "expected the note " << refused.note;
  std::string place = "d.json:" + std::to_string(line) + ":" + std::to_string(column) + ": ";
  EXPECT_EQ(error->str().rfind(place + "error: ", 0), 0u);
}

inline Description accept(const std::string &text) {
  auto result = parseDescription(text, "d.json");
  if (auto *error = std::get_if<DescriptionError>(&result)) {
    ADD_FAILURE() << text << "\n" << error->str();
    return {};
  }
  return std::get<Description>(std::move(result));
}

/// The description's value as kind `T`; a default one after a failure.
template <typename T> T acceptAs(const std::string &text) {
  Description description = accept(text);
  if (T *value = std::get_if<T>(&description.value))
    return *value;
  ADD_FAILURE() << "another kind: " << text;
  return {};
}

/// Kind hyper_connection with further fields.
inline std::string hyperConnection(const std::string &fields = "") {
  return "{\"kind\": \"hyper_connection\", \"hidden_size\": 32" + (fields.empty() ? "" : ",\n" + fields) + "}";
}
/// The same with these fields of `convention`.
inline std::string convention(const std::string &fields, const std::string &more = "") {
  return hyperConnection("\"convention\": {" + fields + "}" + (more.empty() ? "" : ", " + more));
}
/// A small dense model with further fields.
inline std::string model(const std::string &fields = "") {
  return "{\"kind\": \"language_model\", \"vocab_size\": 257, \"hidden_size\": 64, \"num_hidden_layers\": 3,\n"
         "\"num_attention_heads\": 4, \"intermediate_size\": 160" +
         (fields.empty() ? "" : ",\n" + fields) + "}";
}
inline std::string residual(const std::string &fields) { return model("\"residual\": {" + fields + "}"); }
inline std::string training(const std::string &fields) { return model("\"training\": {" + fields + "}"); }
/// A small model with experts in every block; `k` and `router` as they stand in the text.
inline std::string experts(const std::string &k, const std::string &router, const std::string &more = "") {
  return "{\"kind\": \"language_model\", \"vocab_size\": 257, \"hidden_size\": 64, \"num_hidden_layers\": 3,\n"
         "\"num_attention_heads\": 4, \"n_routed_experts\": 6, \"moe_intermediate_size\": 40,\n"
         "\"num_experts_per_tok\": " +
         k + ", \"router\": {" + router + "}" + (more.empty() ? "" : ",\n" + more) + "}";
}

} // namespace mhc::testing

#endif // MHC_TEST_UNIT_DESCRIPTION_TESTING_H
