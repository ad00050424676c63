//===- Package.h - what a package says, checked --------------------*- C++ -*-===//
//
// docs/design/package.md is normative. Opening a package reads and verifies the manifest, the hash of every member,
// and the plan of every target; what the structs below hold can be relied on (indices are in range, names resolve).
// Sizes are known only when symbols are bound: plan/Binding checks those.
//
//===----------------------------------------------------------------------===//
#ifndef MHCRT_PACKAGE_PACKAGE_H
#define MHCRT_PACKAGE_PACKAGE_H

#include "base/DType.h"
#include "base/Json.h"
#include "package/Affine.h"
#include "package/Zip.h"

#include <algorithm>
#include <array>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

namespace mhcrt {

//===- manifest.json ------------------------------------------------------===//

struct TensorSpec {
  std::string name;
  DType dtype = DType::F32;
  std::vector<Affine> shape;
  // An input of one number that is written into a slot of the step's scalars, in no buffer.
  int scalar = -1;       ///< the slot; -1: an ordinary tensor
  int64_t below = 0;     ///< it is one of 0 .. below - 1
  bool optional = false; ///< may be left out: it is `otherwise` then
  int64_t otherwise = 0;
};

/// symbol = product of other symbols.
struct DerivedSymbol {
  std::string symbol;
  std::vector<std::string> factors;
};

struct Entry {
  std::string name;
  std::vector<std::string> symbols;
  std::vector<DerivedSymbol> derived;
  std::vector<TensorSpec> inputs, outputs;
  bool parameters = false; ///< takes all model tensors as further inputs
  std::map<std::string, int64_t> multiples; ///< what symbols must be multiples of
  bool gradients = false;  ///< gives "grad." + name of each as further outputs
};

struct Initial {
  enum class Kind { Normal, Uniform, Constant, Values } kind = Kind::Constant;
  double value = 0; ///< std, bound or the constant
  std::vector<float> values;
  bool stacked = false;
};

/// What a model keeps between steps: parameters, gradients, one arena for each of the optimizers' states, and the step's counts of experts' choices (i64).
/// `Previous`: the parameters before the step that is watched; on such runs alone.
enum class StateArena { Parameters, Gradients, ExpAvg, ExpAvgSq, Momentum, Radius, ExpertCounts, Previous };
constexpr size_t stateArenas = 8;
inline DType typeOf(StateArena arena) { return arena == StateArena::ExpertCounts ? DType::I64 : DType::F32; }
const char *name(StateArena arena);
bool parseStateArena(const std::string &text, StateArena &arena);

/// An optimizer's state of a tensor: as many elements as the tensor has, or one number.
struct TensorState {
  StateArena arena = StateArena::ExpAvg;
  int64_t offset = 0, count = 0;
};

struct ModelTensor {
  std::string name, role, group;
  std::string stack; ///< the tensor [E, ..] in memory that it is a part of; "" where it stands alone
  std::vector<int64_t> shape;
  int64_t count = 0;
  int64_t offset = 0; ///< elements from the start of the parameter arena
  Initial init;
  std::vector<TensorState> states;

  /// State: in checkpoints, but without gradient, and nothing that an optimizer updates.
  bool isState() const { return group == "state"; }
};

struct Manifest {
  std::string producer, kind, dtype;
  std::vector<std::string> requirements, targets;
  std::vector<ModelTensor> tensors;
  std::vector<ModelTensor> stacks; ///< name, shape, offset of tensors that lie in memory as one
  int64_t parameterElements = 0;   ///< size of the parameter arena, and of the gradients'
  std::array<int64_t, stateArenas> arenaElements{};
  int64_t vocabSize = 0, maxPositions = 0;
  int64_t expertBlocks = 0, experts = 0; ///< blocks with experts, and the experts of each
  std::vector<double> phases;            ///< where each phase of the number of experts a token ends, but for the last
  std::map<std::string, Entry> entries;
  Json document; ///< the whole manifest, for what is only printed ("parameters") or read by the trainer ("training")

  bool isLanguageModel() const { return kind == "language_model"; }
  int64_t elementsOf(StateArena arena) const { return arenaElements[static_cast<size_t>(arena)]; }
  int64_t bytesOf(StateArena arena) const { return elementsOf(arena) * byteSize(typeOf(arena)); }
  const ModelTensor *findTensor(const std::string &name) const;
  /// A tensor or a stack, as buffers name them.
  const ModelTensor *findStored(const std::string &name) const;
  const Entry &entry(const std::string &name) const; ///< or an error that lists what there is
};

//===- plan.json ----------------------------------------------------------===//

/// Memory that a kernel reads or writes.
struct KernelArgument {
  DType dtype = DType::F32;
  int64_t elements = 0;                      ///< of a row, or of the whole where it has no rows
  bool token = false;                        ///< rows: one for each of the launch's
  bool position = false;                     ///< rows: as many as the launch's int S
  size_t index = SIZE_MAX;                   ///< rows: as many as argument `index` has numbers for; SIZE_MAX: not so
  int64_t sequence = -1;                     ///< rows: one for each so many of the launch's, begun ones too (0: S); -1: not so
  int64_t tokensPerRow = 0;                  ///< rows: one for each so many of the launch's rows; 0: not so
  bool written = false;

  bool operator==(const KernelArgument &) const = default;
};

struct Kernel {
  std::string name, symbol;
  int64_t tile = 1, shared = 0, threads = 0;
  int64_t cluster = 1;       ///< blocks of a cluster
  std::vector<size_t> maps;  ///< GPU: arguments of which the kernel takes tensor maps too
  int64_t mapChannels = 0;   ///< of a stream in their rows
  int64_t boxes = 1;         ///< of 64 channels of all streams that a tensor map takes at a time
  bool interleaved = false;  ///< these rows are [C, streams]
  int64_t group = 0;         ///< blocks that have a tile together without a cluster: all of the grid run at a time, and partials are one a group; 0: none
  int64_t workspace = 0;     ///< bytes a group that its blocks exchange through; they are 0xff before a launch
  bool reduces = false;
  std::vector<std::string> ints;
  bool described = false; ///< by the three below; packages of older compilers have nothing of it
  std::vector<KernelArgument> args, reductions;
  bool elementwise = false; ///< an output may be the same buffer as an input
  /// What it computes, whatever its name is; its largest row; how the compiler has scheduled it, as schedule files say it ("", null: an older package).
  std::string structure, shape;
  Json schedule;
  size_t variantOf = SIZE_MAX; ///< another schedule of this kernel: it may run in its place; no launch names it. SIZE_MAX: not so

  /// Which of `ints` is the length S that positions go by; ints.size() without.
  size_t lengthIndex() const { return std::find(ints.begin(), ints.end(), "S") - ints.begin(); }
};

/// A kernel behind library commands; its arguments are those that the runtime gives (docs/design/package.md).
struct LibraryKernel {
  int64_t tile = 1, shared = 0, threads = 0;
};

enum class BufferKind { Input, Output, Parameter, Gradient, Arena, Partials, State, Scalars, Constant, Window };

struct Buffer {
  int64_t id = 0;
  std::string name;
  DType dtype = DType::F32;
  Affine size;
  BufferKind kind = BufferKind::Arena;
  std::string tensor;            ///< Input, Output, Parameter, Gradient
  int64_t slice = 0, slices = 1; ///< Input, Output
  int64_t first = 0, last = 0;   ///< Arena, Partials: live range
  StateArena arena = StateArena::Parameters;
  int64_t begin = 0; ///< State
  size_t base = SIZE_MAX; ///< Window: the buffer of which a loop over row blocks sees the iteration's rows
  bool sine = false; ///< Constant: rope_sin instead of rope_cos
  double theta = 0;
  int64_t pairs = 0;
};

enum class Op {
  Launch, Gemm, Attention, AttentionBackward, SplitTokens, EmbeddingBackward, Dispatch, GroupedMatmul, GroupedOuter,
  ExpertLoad, SequenceLoad, UpdateBias, Loop, Fill, Add, Copy
};
const char *name(Op op);

struct Reduction {
  size_t partial = 0, out = 0;
  bool accumulate = false;
};

constexpr size_t noBuffer = SIZE_MAX;

/// One command. Buffers are indices into EntryPlan::buffers.
struct Command {
  Op op = Op::Fill;
  std::string at;
  int64_t index = 0; ///< in preorder, as live ranges count
  size_t kernel = 0; ///< Launch: index into TargetPlan::kernels
  std::vector<size_t> args;
  std::vector<Affine> ints;
  std::vector<Reduction> reductions;
  Affine rows;
  Affine m, n, k;                                  // Gemm
  size_t a = noBuffer, b = noBuffer, c = noBuffer; // Gemm
  bool transA = false, transB = false, accumulate = false;
  size_t d = noBuffer; // Gemm: what is added, times beta
  int64_t batch = 1;
  double alpha = 1, beta = 0;
  size_t q = noBuffer, kk = noBuffer, v = noBuffer, out = noBuffer, lse = noBuffer; // Attention; out: EmbeddingBackward
  size_t dout = noBuffer, dq = noBuffer, dk = noBuffer, dv = noBuffer;
  int64_t heads = 0, kvHeads = 0, headDim = 0, valueDim = 0;
  double scale = 0;
  Affine sequences, length;
  size_t tokens = noBuffer, inputs = noBuffer, targets = noBuffer, dx = noBuffer;
  int64_t vocab = 0;
  // Mixtures of experts. Grouped products: x, w (or the second factor), offsets, y (or out); rows counts tokens or slots.
  size_t choice = noBuffer, counts = noBuffer, offsets = noBuffer, gather = noBuffer, order = noBuffer, reverse = noBuffer,
         dropped = noBuffer, x = noBuffer, w = noBuffer, y = noBuffer, previous = noBuffer, share = noBuffer,
         total = noBuffer, bias = noBuffer, factor = noBuffer;
  int64_t choices = 0, experts = 0, inner = 0, outer = 0;
  double capacity = 0, rate = 0; // capacity 0: any number
  bool transposed = false;
  size_t buffer = noBuffer, src = noBuffer, dst = noBuffer; // Fill, Add, Copy
  double value = 0;
  std::vector<Command> body; // Loop
  bool rowBlocks = false;    // Loop: over blocks of rows, else over micro-batches

  /// Every buffer that the command touches (not its body's).
  std::vector<size_t> buffers() const;
};

struct EntryPlan {
  Affine floor; ///< bytes that its rows must move at least; 0: not known
  std::set<int64_t> again; ///< of backward: numbers of the commands that compute what forward has computed
  int64_t blockRows = 0; ///< R = min(T, blockRows) is a symbol, the rows of an iteration over row blocks; 0: there is none
  std::vector<Buffer> buffers;
  std::vector<Command> commands;

  /// The buffer that memory comes from: a window's base, or the buffer itself.
  size_t root(size_t index) const { return buffers[index].kind == BufferKind::Window ? buffers[index].base : index; }
};

struct TargetPlan {
  std::vector<Kernel> kernels;
  std::map<std::string, LibraryKernel> library; ///< by symbol
  std::map<std::string, EntryPlan> entries;
};

//===- The package --------------------------------------------------------===//

class Package {
public:
  static Package open(const std::string &path);
  static Package parse(Memory content, const std::string &source);

  const std::string &source() const { return name; }
  /// SHA-256 of manifest.json, and so of the whole: the hashes of all other members stand in it.
  std::string hash() const;
  const Manifest &manifest() const { return content; }
  const std::map<std::string, TargetPlan> &targets() const { return plans; }
  /// A member's bytes, or nothing.
  std::optional<std::string_view> section(const std::string &path) const;

private:
  explicit Package(ZipFile file) : zip(std::make_unique<ZipFile>(std::move(file))) {}

  std::unique_ptr<ZipFile> zip;
  std::string name;
  Manifest content;
  std::map<std::string, TargetPlan> plans;
};

/// Parts of Package::parse, one file each.
Manifest parseManifest(Json document, const std::string &source);
std::map<std::string, TargetPlan> parsePlan(const Json &document, const Manifest &manifest, const std::string &source);
/// An error unless the buffers of a launch are what its kernel, which is described, reads and writes.
void checkLaunch(const Manifest &manifest, const Kernel &kernel, const EntryPlan &plan, const Command &command,
                 const std::string &where);
/// An error unless argument `index` of the launch, which is looked up by numbers below `bound`, has as many rows.
void checkLookup(const Kernel &kernel, const EntryPlan &plan, const Command &command, size_t index, const Affine &bound,
                 const std::string &where);

} // namespace mhcrt

#endif // MHCRT_PACKAGE_PACKAGE_H
