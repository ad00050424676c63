//===- CHeader.cpp - how to launch a target's kernels from C ----------------===//
//
// The header is made of what plan.json is made of, and says the same to a C compiler: docs/gpu.md shows its use. It
// needs nothing but <stdint.h> and <string.h>; device pointers are the 64-bit integers that the driver API has for
// them.
//
//===----------------------------------------------------------------------===//

#include "CHeader.h"
#include "mhc/Package/Allocator.h"
#include "mhc/Package/Package.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/Path.h"

#include <limits>

using namespace mlir;
using namespace mlir::mhc;
using llvm::formatv;

std::string mlir::mhc::identifier(StringRef text) {
  std::string result;
  for (char c : text)
    if (llvm::isAlnum(c))
      result += c;
    else if (!result.empty() && result.back() != '_')
      result += '_';
  while (!result.empty() && result.back() == '_')
    result.pop_back();
  return result;
}

namespace {

/// What kernels behind library commands take, which their code does not say. Arguments stand as "name: what it is",
/// between bars; T, D and V are the type and sizes that a symbol ends in ("mhc_attention_bf16_64_128": a head's
/// elements of keys, of values).
struct LibrarySignature {
  StringRef name; ///< what a symbol is, or begins with where it ends in types and sizes
  StringRef does;
  StringRef pointers, integers;
  StringRef counts, blocks; ///< parameters of K_grid and what it returns
};
constexpr StringRef sizeInts = "size: elements";
constexpr StringRef sizeBlocks = "(size + tile - 1) / tile";
constexpr StringRef attentionInts = "length: tokens of a sequence|heads: of queries|kv_heads: of keys and values|"
                                    "scale_bits: the scale, as the bits of an f32|block_heads: heads that blocks have";
constexpr StringRef attentionCounts = "sequences|length|block_heads";
constexpr StringRef attentionBlocks = "sequences * block_heads * ((length + tile - 1) / tile)";
constexpr StringRef groupedInts = "rows: of x|groups: matrices in w";
constexpr StringRef groupedCounts = "rows|groups";
constexpr StringRef groupedBlocks = "(rows < (rows + 127 * (groups + 1)) / 128 ? rows : (rows + 127 * (groups + 1)) / "
                                    "128) * ((V + tile - 1) / tile)";
constexpr LibrarySignature librarySignatures[] = {
    {"mhc_sum_partials_f32", "out[i] = (accumulate ? out[i] : 0) + partials[0][i] + partials[1][i] + ..",
     "partials: f32, size for each of count|out: f32, size; written",
     "size: elements of a partial|count: partials|accumulate: 0 or 1", "size", sizeBlocks},
    {"mhc_add_", "dst[i] += src[i]", "src: T, size|dst: T, size; written", sizeInts, "size", sizeBlocks},
    {"mhc_widen_bf16", "dst[i] = src[i]", "src: bf16, size|dst: f32, size; written", sizeInts, "size", sizeBlocks},
    {"mhc_round_bf16", "dst[i] = src[i], to nearest even", "src: f32, size|dst: bf16, size; written", sizeInts, "size",
     sizeBlocks},
    {"mhc_part_bf16", "dst[i] = the bf16 number nearest to src[i] less its parts before: the sum of parts 0, 1 and 2 is src[i]",
     "src: f32, size|dst: bf16, size; written", "size: elements|part: 0, 1 or 2", "size", sizeBlocks},
    {"mhc_split_tokens",
     "inputs are the tokens of each row but the last, targets those but the first (without targets: inputs are all)",
     "tokens: i32, columns for each row|inputs: i32, columns - 1 for each row; written|targets: i32, columns - 1 for "
     "each "
     "row; written; or 0|status: i64, 3; written: before the launch { 2^63 - 1, 1, 1 }, still so in [0] if all tokens "
     "lie "
     "below vocab, else the first wrong one's place << 32 with the token, columns, vocab",
     "rows: of tokens|columns: of tokens|vocab: token ids|first_row: added to the row in the status", "rows|columns",
     "(rows * columns + tile - 1) / tile"},
    {"mhc_embedding_backward_", "out[tokens[t]] += dx[t], in the order of the tokens",
     "tokens: i32, count|dx: T, channels for each token|out: f32, channels for each token id; written",
     "count: tokens|channels: of dx|vocab: token ids", "count", "(count + tile - 1) / tile"},
    {"mhc_dispatch_count",
     "choices of each expert in each piece of `piece` choices; all four mhc_dispatch kernels, in this "
     "order, sort choices by expert",
     "index: i32, count|table: i32, blocks for each expert; written",
     "count: choices, tokens * choices of each|experts: the number of experts|blocks: pieces|"
     "piece: choices of a piece, a multiple of 256",
     "blocks", "(blocks + tile - 1) / tile"},
    {"mhc_dispatch_prefix", "rows of the table become the sums before each piece",
     "table: i32, blocks for each expert; written|counts: i32, 1 for each expert; written", "blocks: pieces", "experts",
     "(experts + tile - 1) / tile"},
    {"mhc_dispatch_offsets", "first slot of each expert; offsets[experts] slots are used",
     "counts: i32, experts|offsets: i32, experts + 1; written|dropped: i32, 1; written; or 0",
     "experts: the number of experts|tokens: of the choices|most: the bits of a double: capacity factor * tokens; an expert keeps "
     "ceil(most * (sum of counts / tokens) / experts) choices; 0: any number",
     "experts",
     "experts < 0 ? 0 : tile"},
    {"mhc_dispatch_scatter", "places of choices: slots ordered by expert, then by choice; -1 in reverse: no slot",
     "index: i32, count|table: i32, blocks for each expert|offsets: i32, experts + 1|gather: i32, count; written: the "
     "token of each slot|order: i32, count; written: the choice of each slot|reverse: i32, count; written: the slot of "
     "each choice",
     "count: choices, tokens * choices of each|choices: of a token|experts: the number of experts|blocks: pieces|"
     "piece: choices of a piece, a multiple of 256",
     "blocks", "(blocks + tile - 1) / tile"},
    {"mhc_grouped_matmul_t_",
     "y[r] = x[r] times the transpose of w[e], for the rows r from offsets[e] to offsets[e + 1]; "
     "zeros beyond the last group",
     "x: T, D for each row|w: T, V * D for each group|offsets: i32, groups + 1|y: T, V for each row; written",
     groupedInts, groupedCounts, groupedBlocks},
    {"mhc_grouped_matmul_",
     "y[r] = x[r] w[e] for the rows r from offsets[e] to offsets[e + 1]; zeros beyond the last group",
     "x: T, D for each row|w: T, D * V for each group|offsets: i32, groups + 1|y: T, V for each row; written",
     groupedInts, groupedCounts, groupedBlocks},
    {"mhc_grouped_outer_", "out[e] = (accumulate ? out[e] : 0) + the sum of x[r]^T y[r] over the rows r of group e",
     "x: T, D for each row|y: T, V for each row|offsets: i32, groups + 1|out: f32, D * V for each group; written",
     "accumulate: 0 or 1", "groups", "groups * ((D + 127) / 128) * ((V + tile - 1) / tile)"},
    {"mhc_attention_delta_", "delta[r] = sum of dout[r] * out[r], a row for each token and head",
     "dout: T, V for each row|out: T, V for each row|delta: f32, 1 for each row; written", "rows: tokens * heads",
     "rows", "(rows + tile - 1) / tile"},
    {"mhc_attention_dq_", "gradient of the queries of mhc_attention; block_heads is heads",
     "q: T, heads * D for each token|k: T, kv_heads * D for each token|v: T, kv_heads * V for each token|dout: T, "
     "heads * V "
     "for each token|lse: f32, heads for each token|delta: f32, heads for each token|dq: T, heads * D for each token; "
     "written",
     attentionInts, attentionCounts, attentionBlocks},
    {"mhc_attention_dkv_", "gradients of keys and values of mhc_attention; block_heads is kv_heads",
     "q: T, heads * D for each token|k: T, kv_heads * D for each token|v: T, kv_heads * V for each token|dout: T, "
     "heads * V "
     "for each token|lse: f32, heads for each token|delta: f32, heads for each token|dk: T, kv_heads * D for each "
     "token; "
     "written|dv: T, kv_heads * V for each token; written",
     attentionInts, attentionCounts, attentionBlocks},
    {"mhc_attention_", "causal attention; lse: log-sum-exps of the scores; block_heads is heads",
     "q: T, heads * D for each token|k: T, kv_heads * D for each token|v: T, kv_heads * V for each token|out: T, heads "
     "* V "
     "for each token; written|lse: f32, heads for each token; written",
     attentionInts, attentionCounts, attentionBlocks},
};

/// Words that cannot name a field: those of C11 and C++23 and what compilers predefine without underscores.
bool isReserved(StringRef word) {
  static const llvm::StringSet<> words = [] {
    llvm::StringSet<> set;
    SmallVector<StringRef> list;
    StringRef(
        "alignas alignof and and_eq asm auto bitand bitor bool break case catch char char8_t char16_t char32_t class "
        "compl concept const consteval constexpr constinit const_cast continue co_await co_return co_yield decltype "
        "default delete do double dynamic_cast else enum explicit export extern false float for friend goto if "
        "inline int linux long mutable namespace new noexcept not not_eq nullptr operator or or_eq private protected "
        "public register reinterpret_cast requires restrict return short signed sizeof static static_assert "
        "static_cast struct switch template this thread_local throw true try typedef typeid typename union unix "
        "unsigned using virtual void volatile wchar_t while xor xor_eq")
        .split(list, ' ');
    for (StringRef entry : list)
      set.insert(entry);
    return set;
  }();
  return words.contains(word);
}

/// Makes names that differ in more than their case, for some of them are also written in capitals.
class Names {
public:
  std::string unique(std::string wanted) {
    if (isReserved(wanted))
      wanted += "_";
    std::string name = wanted;
    for (int i = 2; !taken.insert(StringRef(name).lower()).second; ++i)
      name = wanted + "_" + std::to_string(i);
    return name;
  }

private:
  llvm::StringSet<> taken;
};

/// A field of a kernel's struct of arguments.
struct Field {
  std::string name;
  bool pointer;
  std::string comment;
  int64_t elements = 0; ///< 0: not known
};

/// What the launches of a kernel say about it.
struct Uses {
  int64_t launches = 0;
  std::string at;
  std::vector<std::string> args, outs;
};

class HeaderWriter {
public:
  HeaderWriter(ModuleOp module, StringRef target, const TargetCode &code, StringRef source)
      : module(module), target(target), code(code), source(source), os(result) {
    prefix = identifier(llvm::sys::path::stem(source));
    if (prefix.empty() || llvm::isDigit(prefix.front()))
      prefix = prefix.empty() ? "mhc" : "mhc_" + prefix; // from standard input, or no letter in front
    capitals = StringRef(prefix).upper();
  }

  std::string write() {
    collectUses();
    std::string guard = capitals + "_" + StringRef(identifier(target)).upper() + "_KERNELS_H";
    writeIntroduction();
    os << formatv("#ifndef {0}\n#define {0}\n\n#include <stdint.h>\n\n", guard);
    // What others use comes first.
    sumStem = writeLibraryKernel(code.sumPartials);
    for (const TargetCode::Kernel &kernel : code.kernels)
      writeKernel(kernel);
    for (const TargetCode::LibraryKernel &kernel : code.library)
      if (kernel.symbol != code.sumPartials.symbol)
        writeLibraryKernel(kernel);
    os << "#endif // " << guard << "\n";
    return result;
  }

private:
  //===--- What the plan says of kernels --------------------------------------===//

  /// The name that all launches agree upon, be it the last word of a parameter's ("model.layers.3.hc_attn.fn").
  static void agree(std::string &name, const std::string &other) {
    if (name != other)
      name = StringRef(name).rsplit('.').second == StringRef(other).rsplit('.').second
                 ? StringRef(name).rsplit('.').second.str()
                 : "";
  }
  static void agree(std::vector<std::string> &names, ValueRange buffers, bool first) {
    names.resize(buffers.size());
    for (auto [name, buffer] : llvm::zip(names, buffers))
      if (first)
        name = outsideName(buffer);
      else
        agree(name, outsideName(buffer));
  }

  void collectUses() {
    module.walk([&](plan::LaunchOp launch) {
      Uses &use = uses[launch.getKernel()];
      bool first = use.launches++ == 0;
      if (auto at = launch->getAttrOfType<StringAttr>("at"); at && use.at.empty())
        use.at = at.str();
      agree(use.args, launch.getArgs(), first);
      agree(use.outs, launch.getOuts(), first);
    });
  }

  //===--- Text ---------------------------------------------------------------===//

  /// A comment, broken into lines.
  void comment(StringRef text) {
    std::string line;
    for (StringRef rest = text; !rest.empty();) {
      auto [word, others] = rest.split(' ');
      if (line.size() > 1 && line.size() + word.size() > 110) {
        os << "// " << line << "\n";
        line = text.starts_with("- ") ? " " : "";
      }
      line += (line.empty() ? "" : " ") + word.str();
      rest = others;
    }
    os << "// " << line << "\n";
  }

  void writeIntroduction() {
    comment(formatv("How to launch the kernels of {0} for {1}; written by mhc-compile " MHC_VERSION
                    " (--emit=c-header). C11 and C++.",
                    commentText(source.empty() || source == "-" ? "a description" : source), commentText(target))
                .str());
    os << "//\n";
    comment(
        "Their code is what --emit=ptx and --emit=cubin write for the same description, options and target. A kernel K "
        "is launched over `rows` tokens by");
    os << formatv(R"(//
//   cuModuleGetFunction(&function, module, {0}_K_SYMBOL);
//   {1}_K_args args = {{ .. };  // device pointers (CUdeviceptr), integers
//   void *params[{0}_K_PARAMS];
//   {1}_K_params(&args, params);
//   cuLaunchKernel(function, {1}_K_grid(rows), 1, 1, {0}_K_THREADS, 1, 1, {0}_K_SHARED, stream, params, NULL);
//
)",
                  capitals, prefix);
    for (StringRef rule :
         {"- The struct is also what CU_LAUNCH_PARAM_BUFFER_POINTER takes: 8 bytes an argument, in the kernel's order.",
          "- Pointers are multiples of 16; tensors are row-major without padding. K_x_ELEMENTS is the size of a row of "
          "x, "
          "or of all of x where it has no rows.",
          "- What rows count: token: the launch's rows; position: S of them, taken modulo S; vocabulary: token ids; "
          "shared "
          "by N: one for N of the launch's.",
          "- Where the grid is 0 (no rows) there is nothing to launch. Other grids than that of K_grid are wrong where "
          "there are partials: as many are added up.",
          "- SHARED bytes are dynamic shared memory. Where they are more than 49152, set the function's attribute "
          "CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES to them first.",
          "- A kernel with partials leaves one for each block in memory of K_x_partials_bytes(rows); K_sum_x are the "
          "arguments of the second launch, which adds them up in a fixed order: the result does not depend on timing."})
      comment(rule);
    writeEntryComments(module, os);
    os << "//\n";
  }

  /// The struct, the macros and K_params, which all kernels have. `stem` is K.
  void writeCommon(StringRef stem, StringRef symbol, int64_t threads, int64_t tile, int64_t shared,
                   ArrayRef<Field> fields) {
    std::string macro = stem.upper(), text;
    llvm::raw_string_ostream escaped(text);
    llvm::printEscapedString(symbol, escaped);
    os << formatv("#define {0}_SYMBOL \"{1}\"\n", macro, text);
    os << formatv("#define {0}_THREADS {1}\n#define {0}_TILE {2}\n#define {0}_SHARED {3}{4}\n#define {0}_PARAMS {5}\n",
                  macro, threads, tile, shared, shared > 48 * 1024 ? " // more than 49152: see above" : "",
                  fields.size());
    for (const Field &field : fields)
      if (field.elements)
        os << formatv("#define {0}_{1}_ELEMENTS {2}\n", macro, StringRef(field.name).upper(), field.elements);
    os << "typedef struct {\n";
    size_t width = 0;
    for (const Field &field : fields)
      width = std::max(width, field.name.size());
    for (auto [i, field] : llvm::enumerate(fields)) {
      os << (field.pointer ? "  uint64_t " : "  int64_t  ") << field.name << ";";
      os.indent(width - field.name.size()) << formatv(" // {0}: {1}\n", i, field.comment);
    }
    os << formatv("} {0}_args;\n", stem);
    os << formatv("static inline void {0}_params({0}_args *args, void *params[{1}]) {{\n", stem, fields.size());
    for (auto [i, field] : llvm::enumerate(fields))
      os << formatv("  params[{0}] = &args->{1};\n", i, field.name);
    os << "}\n";
  }

  /// What names a kernel and, with more words behind it, all that belongs to it. Those of no other kernel are the same,
  /// in capitals or not.
  std::string stemOf(StringRef symbol, ArrayRef<Field> fields, ArrayRef<std::string> others = {}) {
    std::vector<std::string> endings = {"args", "params", "grid", "symbol", "threads", "tile", "shared"};
    for (const Field &field : fields)
      endings.push_back(field.name + "_elements");
    llvm::append_range(endings, others);
    std::string words = identifier(symbol.starts_with("mhc_") ? symbol.drop_front(4) : symbol);
    std::string wanted = prefix + "_" + (words.empty() ? "kernel" : words), stem = wanted;
    auto name = [&](const std::string &ending) { return StringRef(stem + "_" + ending).lower(); };
    for (int i = 2; llvm::any_of(endings, [&](const std::string &ending) { return taken.contains(name(ending)); }); ++i)
      stem = wanted + "_" + std::to_string(i);
    for (const std::string &ending : endings)
      taken.insert(name(ending));
    return stem;
  }

  //===--- Kernels of row programs --------------------------------------------===//

  /// "bf16, 5120 a row, rows: token; written", in the words of plan.json.
  static std::string describe(const TargetCode::Argument &argument) {
    std::string text = formatv("{0}, {1}", argument.dtype, argument.elements);
    for (auto [i, rows] : llvm::enumerate(argument.rows)) {
      text += (i ? " and " : " a row, rows: ") + rows;
      if (rows == "shared")
        text += " by " + std::to_string(argument.tokensPerRow);
      if (rows == "indexed")
        text += " by argument " + std::to_string(*argument.index);
    }
    return text + (argument.written ? "; written" : "");
  }

  /// What partials of this name are summed into.
  static std::string summed(StringRef partials) {
    partials.consume_back("_partials");
    return partials.str();
  }

  void writeKernel(const TargetCode::Kernel &kernel) {
    const Uses &use = uses[kernel.name];
    Names names;
    names.unique("rows");
    auto nameOf = [&](StringRef text, const Twine &otherwise, StringRef ending = "") {
      std::string name = identifier(text);
      if (name.empty())
        name = otherwise.str();
      else if (llvm::isDigit(name.front()))
        name = "of_" + name;
      return names.unique(name + ending.str());
    };
    auto at = [](const std::vector<std::string> &list, size_t i) { return i < list.size() ? StringRef(list[i]) : ""; };
    std::vector<Field> fields;
    for (auto [i, argument] : llvm::enumerate(kernel.args))
      fields.push_back({nameOf(at(use.args, i), "arg" + Twine(i)), true, describe(argument), argument.elements});
    size_t firstPartial = fields.size();
    for (auto [i, argument] : llvm::enumerate(kernel.reductions))
      fields.push_back({nameOf(at(use.outs, i), "sum" + Twine(i), "_partials"), true,
                        formatv("{0}, {1} for each block; written", argument.dtype, argument.elements),
                        argument.elements});
    fields.push_back({"rows", false, "of this launch"});
    for (auto [i, name] : llvm::enumerate(kernel.ints))
      fields.push_back({nameOf(name, "int" + Twine(i)), false,
                        name == "S" ? "tokens of a sequence, at least 1" : commentText(name)});
    std::vector<std::string> further;
    for (size_t i = 0; i < kernel.reductions.size(); ++i) {
      const std::string &name = fields[firstPartial + i].name;
      llvm::append_range(further, std::array<std::string, 2>{name + "_bytes", "sum_" + summed(name)});
    }
    std::string stem = stemOf(kernel.name, fields, further);

    os << formatv("//===--- {0}\n", commentText(kernel.name));
    if (!use.at.empty())
      comment(commentText(use.at));
    os << formatv("// {0} launch{1} in all entries{2}\n", use.launches, use.launches == 1 ? "" : "es",
                  kernel.elementwise ? "; elementwise, so an output may lie over an input of as many elements" : "");
    writeCommon(stem, kernel.name, kernel.threads, kernel.tile, kernel.shared, fields);

    bool reduces = !kernel.reductions.empty();
    os << (reduces ? "/// Blocks of a launch, which is also the number of partials.\n" : "/// Blocks of a launch.\n");
    int64_t most = ::mhc::gpuGrid(std::numeric_limits<int64_t>::max(), 1, reduces);
    os << formatv("static inline unsigned {0}_grid(int64_t rows) {{\n"
                  "  int64_t tiles = rows <= 0 ? 0 : rows / {1} + (rows % {1} != 0);\n"
                  "  return (unsigned)(tiles < {2} ? tiles : {2});\n}\n",
                  stem, kernel.tile, most);
    for (auto [i, argument] : llvm::enumerate(kernel.reductions)) {
      const std::string &name = fields[firstPartial + i].name;
      os << formatv("static inline uint64_t {0}_{1}_bytes(int64_t rows) {{\n"
                    "  return (uint64_t){0}_grid(rows) * {2}; // bytes of a partial\n}\n",
                    stem, name, argument.elements * (argument.dtype == "f64" ? 8 : 4));
      if (argument.dtype != "f32")
        continue; // no kernel adds these up
      os << formatv(
          "/// `out`: f32, {0}. To be launched with no rows, too, where it leaves zeros (or all as it was).\n",
          argument.elements);
      os << formatv("static inline {0}_args {1}_sum_{2}(uint64_t {3}, uint64_t out, int64_t rows, int accumulate) {{\n"
                    "  {0}_args args = {{{3}, out, {4}, {1}_grid(rows), accumulate != 0};\n  return args;\n}\n",
                    sumStem, stem, summed(name), name, argument.elements);
    }
    os << "\n";
  }

  //===--- Kernels behind library commands ------------------------------------===//

  /// T, D and V of a signature by what a symbol ends in.
  static std::string insertSizes(StringRef what, StringRef symbol) {
    SmallVector<StringRef> parts, words;
    symbol.split(parts, '_');
    StringRef type = "", first = "", last = "";
    for (StringRef part : parts)
      if (part == "f32" || part == "bf16")
        type = part;
      else if (llvm::all_of(part, llvm::isDigit))
        (first.empty() ? first : last) = part;
    std::string result;
    for (char c : what)
      if (c == 'T' || c == 'D' || c == 'V')
        result += c == 'T' ? type : c == 'V' && !last.empty() ? last : first;
      else
        result += c;
    return result;
  }

  std::string writeLibraryKernel(const TargetCode::LibraryKernel &kernel) {
    const LibrarySignature *signature = llvm::find_if(librarySignatures, [&](const LibrarySignature &candidate) {
      return candidate.name.ends_with("_") ? StringRef(kernel.symbol).starts_with(candidate.name)
                                           : kernel.symbol == candidate.name;
    });
    SmallVector<StringRef> pointers, integers, counts;
    bool known = signature != std::end(librarySignatures);
    if (known) {
      signature->pointers.split(pointers, '|');
      signature->integers.split(integers, '|');
      signature->counts.split(counts, '|');
      // One whose code takes something else is not the one that the table has.
      known = int64_t(pointers.size()) == kernel.pointers && int64_t(integers.size()) == kernel.integers;
    }
    std::vector<Field> fields;
    auto add = [&](ArrayRef<StringRef> list, int64_t i, bool pointer) {
      auto [name, what] = known ? list[i].split(": ") : std::pair<StringRef, StringRef>();
      fields.push_back(
          {known ? name.str() : "arg" + std::to_string(fields.size()), pointer, insertSizes(what, kernel.symbol)});
    };
    for (int64_t i = 0; i < kernel.pointers; ++i)
      add(pointers, i, true);
    for (int64_t i = 0; i < kernel.integers; ++i)
      add(integers, i, false);

    std::string stem = stemOf(kernel.symbol, fields);
    os << formatv("//===--- {0}: library\n", commentText(kernel.symbol));
    comment(known ? signature->does : "What it takes is not described here: lib/Codegen/NVGPU has its code.");
    writeCommon(stem, kernel.symbol, kernel.threads, kernel.tile, kernel.shared, fields);
    if (known) {
      os << "/// Blocks of a launch, at most 2147483647.\n";
      os << formatv("static inline int64_t {0}_grid(", stem);
      llvm::interleaveComma(counts, os, [&](StringRef word) { os << "int64_t " << word; });
      os << formatv(") {{\n  const int64_t tile = {0};\n  return {1};\n}\n", kernel.tile,
                    insertSizes(signature->blocks, kernel.symbol));
    }
    os << "\n";
    return stem;
  }

  ModuleOp module;
  StringRef target;
  const TargetCode &code;
  StringRef source;
  std::string prefix, capitals, sumStem, result;
  llvm::raw_string_ostream os;
  llvm::StringMap<Uses> uses; // looked up by name only: its order is nobody's
  llvm::StringSet<> taken;    // in small letters
};

} // namespace

std::string mlir::mhc::writeCHeader(ModuleOp module, StringRef target, const TargetCode &code, StringRef source) {
  return HeaderWriter(module, target, code, source).write();
}
