#include "hal/cuda/CudnnAttention.h"

#include <limits>

namespace mhcrt {

using namespace cudnn;

namespace {

constexpr uint64_t mostWorkspace = uint64_t(4) << 30; ///< one part that needs more is left to the package's kernels
constexpr int64_t worthNewKernels = int64_t(1) << 31; ///< as many scores take the package's kernels some 10 ms
constexpr int64_t mostElements = INT32_MAX;           ///< of a tensor, in case a kernel counts in 32 bits

uint64_t roundUp(uint64_t value, uint64_t unit) { return (value + unit - 1) / unit * unit; }

/// What one run of a plan covers.
struct Part {
  int64_t sequences, kvHeads;
};

/// Graphs in the library's terms: tensors [sequences, heads, rows, columns] of one part, strided as the command's
/// buffers lie.
class AttentionGraph {
public:
  AttentionGraph(const AttentionArgs &args, Part part)
      : args(args), sequences(part.sequences), kvHeads(part.kvHeads),
        heads(part.kvHeads * (args.heads / args.kvHeads)) {}

  void forward();
  void backward();

  Graph graph;

private:
  Shape tokens(int64_t partHeads, int64_t allHeads, int64_t columns) const {
    return {{sequences, partHeads, args.length, columns},
            {args.length * allHeads * columns, columns, allHeads * columns, 1}};
  }
  Shape queries(int64_t columns) const { return tokens(heads, args.heads, columns); }
  Shape keys(int64_t columns) const { return tokens(kvHeads, args.kvHeads, columns); }
  Shape between(int64_t columns) const { return Shape::dense(sequences, heads, args.length, columns); }

  Tensor lse() { return graph.memory(queries(1), Type::F32, 4); }
  Tensor scale() { return graph.number(static_cast<float>(args.scale)); }
  Tensor product(const Tensor &a, const Tensor &b) {
    Tensor result = graph.between(between(b.shape.sizes[3]));
    graph.matmul(a, b, result);
    return result;
  }
  Tensor causal(const Tensor &scores);
  void sumOverQueries(const Tensor &scores, const Tensor &rows, const Tensor &result);

  const AttentionArgs &args;
  const int64_t sequences, kvHeads, heads;
};

/// Minus infinity where the key comes after the query.
Tensor AttentionGraph::causal(const Tensor &scores) {
  Tensor query = graph.between(scores.shape, Type::I32), key = graph.between(scores.shape, Type::I32);
  graph.map(Map::Index, {scores}, query, Type::I32, 2);
  graph.map(Map::Index, {scores}, key, Type::I32, 3);
  Tensor seen = graph.between(scores.shape, Type::Bool);
  graph.map(Map::GreaterEqual, {query, key}, seen, Type::Bool);
  return graph.map(Map::Select, {scores, graph.number(-std::numeric_limits<float>::infinity()), seen});
}

/// In memory: q, k, v, out, lse.
void AttentionGraph::forward() {
  Tensor q = graph.memory(queries(args.headDim), Type::BF16);
  Tensor k = graph.memory(keys(args.headDim).transposed(), Type::BF16);
  Tensor v = graph.memory(keys(args.valueDim), Type::BF16);
  Tensor out = graph.memory(queries(args.valueDim), Type::BF16);
  Tensor logSums = lse();

  Tensor scores = causal(graph.map(Map::Multiply, {product(q, k), scale()}));
  Tensor most = graph.between(between(1)), sum = graph.between(between(1));
  graph.fold(Fold::Max, scores, most);
  Tensor weights = graph.map(Map::Exp, {graph.map(Map::Subtract, {scores, most})});
  graph.fold(Fold::Add, weights, sum);
  graph.map(Map::Add, {most, graph.map(Map::Log, {sum})}, logSums);
  Tensor probabilities = graph.between(scores.shape, Type::BF16); // a product takes operands of one type
  graph.map(Map::Divide, {weights, sum}, probabilities);
  graph.matmul(probabilities, v, out);
}

/// result[key] = sum of scores[query, key] rows[query], over the queries and the heads that share a key.
void AttentionGraph::sumOverQueries(const Tensor &scores, const Tensor &rows, const Tensor &result) {
  Tensor turned = graph.between(scores.shape.transposed(), Type::BF16);
  graph.reshape(scores, turned);
  if (heads == kvHeads)
    return graph.matmul(turned, rows, result);
  Tensor ofHeads = graph.between(between(rows.shape.sizes[3]), Type::BF16);
  graph.matmul(turned, rows, ofHeads);
  graph.fold(Fold::Add, ofHeads, result);
}

/// In memory: q, k, v, out, lse, dout, dq, dk, dv, and a number for each query: dout . out.
void AttentionGraph::backward() {
  Tensor q = graph.memory(queries(args.headDim), Type::BF16);
  Tensor k = graph.memory(keys(args.headDim).transposed(), Type::BF16);
  Tensor v = graph.memory(keys(args.valueDim).transposed(), Type::BF16);
  Tensor out = graph.memory(queries(args.valueDim), Type::BF16);
  Tensor logSums = lse();
  Tensor dout = graph.memory(queries(args.valueDim), Type::BF16);
  Tensor dq = graph.memory(queries(args.headDim), Type::BF16);
  Tensor dk = graph.memory(keys(args.headDim), Type::BF16);
  Tensor dv = graph.memory(keys(args.valueDim), Type::BF16);
  Tensor deltas = graph.memory(between(1), Type::F32);

  Tensor products = graph.between(between(args.valueDim)), sums = graph.between(between(1));
  graph.map(Map::Multiply, {dout, out}, products);
  graph.fold(Fold::Add, products, sums);
  graph.map(Map::Multiply, {sums, graph.number(1)}, deltas); // the library knows the pattern with a factor, of dropout

  Tensor scores = graph.map(Map::Multiply, {product(q, k), scale()});
  Tensor probabilities = graph.map(Map::Exp, {causal(graph.map(Map::Subtract, {scores, logSums}))});
  sumOverQueries(probabilities, dout, dv);

  Tensor centred = graph.map(Map::Subtract, {product(dout, v), deltas});
  Tensor dScores = graph.map(Map::Multiply, {graph.map(Map::Multiply, {centred, probabilities}), scale()});
  sumOverQueries(dScores, q, dk);
  Tensor rowsOfK = graph.between(k.shape.transposed(), Type::BF16);
  graph.reshape(k, rowsOfK);
  graph.matmul(dScores, rowsOfK, dq);
}

/// The largest part whose gradients of scores stay below partBytes: of all heads, or else of some heads of one
/// sequence.
Part partOf(const AttentionArgs &args, uint64_t partBytes) {
  const uint64_t side = roundUp(args.length, 64), ofHead = side * side * 2; // the library's tiles
  const uint64_t ofGroup = ofHead * (args.heads / args.kvHeads);
  Part part{args.sequences, args.kvHeads};
  auto isTooLarge = [&] { return part.sequences * part.kvHeads * ofGroup > partBytes; };
  while (isTooLarge() && part.sequences > 1)
    do
      --part.sequences;
    while (args.sequences % part.sequences); // equal parts: one plan
  while (isTooLarge() && part.kvHeads > 1)
    do
      --part.kvHeads;
    while (args.kvHeads % part.kvHeads);
  return part;
}

bool isAligned(const void *address) { return reinterpret_cast<uintptr_t>(address) % 16 == 0; }

const void *offset(const void *address, int64_t bytes) { return static_cast<const char *>(address) + bytes; }

} // namespace

struct CudnnAttention::Prepared {
  std::unique_ptr<Plan> plan;
  Part part;
  uint64_t deltaBytes = 0; ///< the first piece of backward's workspace
};

CudnnAttention::CudnnAttention(cuda::Stream stream, int computeMajor, uint64_t partBytes)
    : handle(start(stream)), computeMajor(computeMajor), partBytes(partBytes) {}

CudnnAttention::~CudnnAttention() {
  all.clear();
  stop(handle);
}

CudnnAttention::Key CudnnAttention::keyOf(Pass pass, const AttentionArgs &args) {
  return {pass, args.sequences, args.length, args.heads, args.kvHeads, args.headDim, args.valueDim, args.scale};
}

/// Within what the library documents for these graphs; backward keeps its order of sums on compute capability 9.
bool CudnnAttention::isCandidate(Pass pass, const AttentionArgs &args) const {
  if (!handle || args.type != DType::BF16 || args.lseType != DType::F32 || args.sequences < 1 || args.length < 2)
    return false;
  if (pass == Pass::Backward ? computeMajor != 9 : computeMajor < 8)
    return false;
  for (int64_t dim : {args.headDim, args.valueDim})
    if (dim % 8 || dim > 256)
      return false;
  // Blocks are counted by sequences and heads, of which a launch has at most 65535 along an axis.
  if (args.sequences > 65535 || args.heads > 65535 || args.length > mostElements / 256 / args.sequences / args.heads)
    return false;
  // A text that is generated is one token longer each time, and would wait half a second for the kernels of each
  // length.
  if (pass == Pass::Forward && args.sequences == 1 && args.length % 64 &&
      args.heads * args.length * args.length < worthNewKernels)
    return false;
  for (const void *address :
       {args.q, args.k, args.v, static_cast<const void *>(args.out), args.dout, static_cast<const void *>(args.dq),
        static_cast<const void *>(args.dk), static_cast<const void *>(args.dv)})
    if (!isAligned(address))
      return false;
  return true;
}

std::unique_ptr<CudnnAttention::Prepared> CudnnAttention::make(Pass pass, const AttentionArgs &args) const {
  const bool backward = pass == Pass::Backward;
  auto result = std::make_unique<Prepared>();
  result->part = backward ? partOf(args, partBytes) : Part{args.sequences, args.kvHeads};
  try {
    AttentionGraph attention(args, result->part);
    if (backward) {
      const int64_t heads = result->part.kvHeads * (args.heads / args.kvHeads);
      result->deltaBytes = roundUp(result->part.sequences * heads * args.length * sizeof(float), 256);
      attention.backward();
    } else {
      attention.forward();
    }
    result->plan = attention.graph.plan(handle, mostWorkspace);
  } catch (const Error &) { // a graph that the library refuses is one more that it cannot do
  }
  return result->plan ? std::move(result) : nullptr;
}

std::optional<uint64_t> CudnnAttention::prepare(Pass pass, const AttentionArgs &args) {
  if (!isCandidate(pass, args))
    return std::nullopt;
  auto [place, isNew] = all.try_emplace(keyOf(pass, args));
  std::unique_ptr<Prepared> &prepared = place->second;
  if (isNew)
    prepared = make(pass, args);
  if (!prepared)
    return std::nullopt;
  return prepared->deltaBytes + prepared->plan->workspaceBytes();
}

void CudnnAttention::run(Pass pass, const AttentionArgs &args, void *workspace) const {
  const Prepared &prepared = *all.at(keyOf(pass, args));
  const int64_t group = args.heads / args.kvHeads;
  for (int64_t sequence = 0; sequence < args.sequences; sequence += prepared.part.sequences)
    for (int64_t kvHead = 0; kvHead < args.kvHeads; kvHead += prepared.part.kvHeads) {
      const int64_t token = sequence * args.length;
      const int64_t query = token * args.heads + kvHead * group, key = token * args.kvHeads + kvHead;
      const int64_t dim = args.headDim * 2, valueDim = args.valueDim * 2; // bytes of bf16
      std::vector<const void *> addresses = {offset(args.q, query * dim), offset(args.k, key * dim),
                                             offset(args.v, key * valueDim), offset(args.out, query * valueDim),
                                             offset(args.lse, query * 4)};
      if (pass == Pass::Backward)
        addresses.insert(addresses.end(), {offset(args.dout, query * valueDim), offset(args.dq, query * dim),
                                           offset(args.dk, key * dim), offset(args.dv, key * valueDim), workspace});
      prepared.plan->run(handle, addresses, static_cast<char *>(workspace) + prepared.deltaBytes);
    }
}

} // namespace mhcrt
