//===- Schema.h - typed access to a description with exact errors ---------===//
//
// `Object` reads the fields of one JSON object into C++ variables that hold the defaults already. The first mistake is
// kept by the `Reader`; everything after it is a no-op, so that the code that reads a kind is a plain list of its
// fields. Code that calculates with what it read asks `Reader::failed` first.
//
//===----------------------------------------------------------------------===//
#ifndef MHC_LIB_FRONTEND_DESCRIPTION_SCHEMA_H
#define MHC_LIB_FRONTEND_DESCRIPTION_SCHEMA_H

#include "Json.h"

#include <initializer_list>
#include <limits>

namespace mhc {

/// Sizes that nobody needs but that would make a program run out of memory before it could say so.
constexpr int64_t maxBlocks = 65536;              ///< num_hidden_layers, depth
constexpr int64_t maxPhases = 256;                ///< of num_experts_per_tok
constexpr int64_t maxExperts = 1 << 20;           ///< of all blocks together
constexpr int64_t maxInt32 = 2147483647;          ///< what is indexed by i32 tensors
constexpr int64_t maxElements = int64_t(1) << 60; ///< of one model or tensor: then its bytes fit into 64 bits, too

/// Products and sums of sizes that stop at the largest value instead of wrapping: compare the result with maxElements.
inline int64_t mulSizes(int64_t a, int64_t b) {
  int64_t result;
  return __builtin_mul_overflow(a, b, &result) ? std::numeric_limits<int64_t>::max() : result;
}
inline int64_t addSizes(int64_t a, int64_t b) {
  int64_t result;
  return __builtin_add_overflow(a, b, &result) ? std::numeric_limits<int64_t>::max() : result;
}

/// What is kept while a description is read.
class Reader {
public:
  bool failed() const { return error.has_value(); }
  void fail(Position at, std::string message, std::string note = "");

  std::optional<DescriptionError> error; ///< Without its file.
  std::map<std::string, Position> positions;
};

/// A word of an enumeration.
template <typename E> struct Word {
  const char *text;
  E value;
};

template <typename E, size_t N> const char *spell(const Word<E> (&words)[N], E value) {
  for (const Word<E> &word : words)
    if (word.value == value)
      return word.text;
  return "";
}

/// The set of numbers that a field of type double takes.
struct Interval {
  double min, max;
  bool open = false;  ///< Without `min` itself.
  bool below = false; ///< Without `max` itself.
  const char *text;
};
namespace interval {
// Numbers are used in fp32, so that larger ones are infinite there.
constexpr double huge = std::numeric_limits<float>::max();
constexpr Interval any{-huge, huge, false, false, "a number"};
constexpr Interval notNegative{0, huge, false, false, "a number that is not negative"};
constexpr Interval positive{0, huge, true, false, "a number above 0"};
/// Positive in fp32, too: a smaller eps is 0 there and divides by nothing.
constexpr Interval positiveFp32{std::numeric_limits<float>::denorm_min(), huge, false, false,
                                "a number above 0 (in fp32)"};
constexpr Interval share{0, 1, true, false, "a number above 0 and at most 1"};
constexpr Interval fraction{0, 1, false, false, "a number from 0 to 1"};
constexpr Interval beta{0, 1, false, true, "a number from 0 to below 1"};
} // namespace interval

class Object {
public:
  /// `value` null: an optional object that is absent, without fields; its errors stand at `fallback`.
  Object(Reader &reader, const json::Value *value, std::string path, Position fallback = {});

  Reader &reader;
  const std::string path;

  Position at() const { return place; }
  /// The place of a key, or of the object when it is not written.
  Position at(const char *key) const;
  const json::Value *find(const char *key) const;
  bool has(const char *key) const { return find(key) != nullptr; }
  bool failed() const { return reader.failed(); }
  /// "'residual.convention.rms.eps'".
  std::string quoted(const char *key) const { return "'" + join(key) + "'"; }
  std::string join(const char *key) const;

  /// Refuses keys that are not in `known`, with a suggestion. `elsewhere`: keys of other objects, and of which.
  void only(std::initializer_list<const char *> known,
            std::initializer_list<std::pair<const char *, const char *>> elsewhere = {});
  void require(std::initializer_list<const char *> keys, const std::string &why = "");
  /// Refuses a field that is written: "'head_dim' <why>".
  void refuse(const char *key, const std::string &why);
  void failAt(const char *key, std::string message, std::string note = "") {
    reader.fail(at(key), std::move(message), std::move(note));
  }

  // Each reads a field if it is written and leaves `out` alone otherwise.
  void read(const char *key, int64_t &out, int64_t min, int64_t max = std::numeric_limits<int64_t>::max());
  void read(const char *key, std::optional<int64_t> &out, int64_t min, bool nullable);
  void read(const char *key, double &out, const Interval &range = interval::any);
  void read(const char *key, std::optional<double> &out, const Interval &range, bool nullable);
  void read(const char *key, bool &out);
  void read(const char *key, std::vector<double> &out, const Interval &range);
  void read(const char *key, std::vector<int64_t> &out, int64_t min, int64_t max);
  template <typename E, size_t N> void read(const char *key, E &out, const Word<E> (&words)[N]) {
    const json::Value *value = find(key);
    if (value)
      readWord(*value, key, out, words);
  }
  /// The same for a value that stands in the place of a key, such as `"manifold": "sphere"` for its kind.
  template <typename E, size_t N>
  void readWord(const json::Value &value, const char *key, E &out, const Word<E> (&words)[N]) {
    std::vector<std::string> texts;
    for (const Word<E> &word : words)
      texts.push_back(word.text);
    if (std::optional<size_t> i = chooseWord(value, key, texts))
      out = words[*i].value;
  }
  /// A nested object; an absent one has no fields.
  Object object(const char *key);
  /// The elements of an array of objects.
  std::vector<Object> objects(const char *key);
  /// "'eps': expected <wanted>, but got 3".
  void mistake(const json::Value &value, const std::string &where, const std::string &wanted, std::string note = "");
  bool integer(const json::Value &value, const std::string &where, int64_t &out, int64_t min, int64_t max);

private:
  const json::Value *value;
  Position place;

  std::optional<size_t> chooseWord(const json::Value &value, const char *key, const std::vector<std::string> &words);
  bool number(const json::Value &value, const std::string &where, double &out, const Interval &range);
  /// Notes the places of the elements of an array.
  void noteElements(const json::Value &array, const std::string &where);
};

/// The candidate that `word` probably means; "" if none is near.
std::string nearestWord(const std::string &word, const std::vector<std::string> &candidates);
/// "'a', 'b' or 'c'".
std::string listWords(const std::vector<std::string> &words);

} // namespace mhc

#endif // MHC_LIB_FRONTEND_DESCRIPTION_SCHEMA_H
