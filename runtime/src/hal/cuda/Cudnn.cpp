#include "hal/cuda/Cudnn.h"
#include "base/Error.h"
#include "hal/cuda/SharedLibrary.h"

#include <algorithm>
#include <cstdlib>

namespace mhcrt::cudnn {
namespace {

// The part of cudnn_graph.h that is used; the same in all of version 9.
using Status = int; // cudnnStatus_t, 0 is success
enum : int {        // cudnnBackendDescriptorType_t
  KindPointwise = 0,
  KindEngine = 2,
  KindEngineConfig = 3,
  KindHeuristics = 4,
  KindPlan = 5,
  KindPointwiseOp = 13,
  KindGraph = 15,
  KindVariantPack = 16,
  KindTensor = 17,
  KindMatmul = 18,
  KindMatmulOp = 19,
  KindReduction = 21,
  KindReductionOp = 22,
  KindReshapeOp = 31
};
enum : int { // cudnnBackendAttributeType_t
  TypeHandle = 0,
  TypeDataType = 1,
  TypeBool = 2,
  TypeInt = 3,
  TypePointer = 6,
  TypeHeuristicMode = 8,
  TypeNumericalNote = 11,
  TypePointwiseMode = 14,
  TypeDescriptor = 15,
  TypeReductionOperator = 18
};
enum : int { // cudnnBackendAttributeName_t
  PointwiseMode = 0,
  PointwisePrecision = 1,
  PointwiseAxis = 9,
  HeuristicsMode = 200,
  HeuristicsGraph = 201,
  HeuristicsResults = 202,
  ConfigEngine = 300,
  PlanHandle = 400,
  PlanConfig = 401,
  PlanWorkspace = 402,
  PointwiseOpDescriptor = 750,
  PointwiseOpX = 751,
  PointwiseOpB = 752,
  PointwiseOpY = 753,
  PointwiseOpT = 758,
  GraphHandle = 800,
  GraphOps = 801,
  TensorAlignment = 900,
  TensorDataType = 901,
  TensorSizes = 902,
  TensorStrides = 903,
  TensorId = 906,
  TensorIsVirtual = 907,
  TensorIsByValue = 908,
  PackIds = 1000,
  PackPointers = 1001,
  PackWorkspace = 1003,
  EngineNumericalNotes = 1303,
  MatmulPrecision = 1500,
  MatmulOpA = 1520,
  MatmulOpB = 1521,
  MatmulOpC = 1522,
  MatmulOpDescriptor = 1523,
  ReductionOperator = 1600,
  ReductionPrecision = 1601,
  ReductionOpX = 1610,
  ReductionOpY = 1611,
  ReductionOpDescriptor = 1612,
  ReshapeOpX = 2200,
  ReshapeOpY = 2201
};
enum : int { HeuristicModeFallback = 2, HeuristicModeA = 3 }; // cudnnBackendHeurMode_t
enum : int { NoteNondeterministic = 4, noteCount = 64 };      // cudnnBackendNumericalNote_t; room for later ones

/// Earlier ones need workarounds in graphs of attention whose lengths are no multiples of their tiles.
constexpr size_t oldestVersion = 91501;

struct Library {
  std::string name, problem;
  size_t version = 0;
  size_t (*getVersion)() = nullptr;
  const char *(*errorText)(Status) = nullptr;
  void (*lastErrorText)(char *text, size_t size) = nullptr;
  Status (*create)(Handle *) = nullptr;
  Status (*destroy)(Handle) = nullptr;
  Status (*setStream)(Handle, cuda::Stream) = nullptr;
  Status (*createDescriptor)(int kind, void **) = nullptr;
  Status (*destroyDescriptor)(void *) = nullptr;
  Status (*finalize)(void *) = nullptr;
  Status (*setAttribute)(void *, int attribute, int type, int64_t count, const void *) = nullptr;
  Status (*getAttribute)(void *, int attribute, int type, int64_t room, int64_t *count, void *) = nullptr;
  Status (*execute)(Handle, void *plan, void *pack) = nullptr;
};

std::string versionText(size_t version) { // major * 10000 + minor * 100 + patch
  return concat(version / 10000, ".", version / 100 % 100, ".", version % 100);
}

Library open() {
  Library library;
  auto file = cuda::SharedLibrary::open({"libcudnn.so.9"});
  if (!file) {
    library.problem = concat("not found: libcudnn.so.9 (", cuda::searchedFolders, ")");
    return library;
  }
  library.name = file.name();
  auto find = [&](auto &function, const char *symbol) {
    if (!file.find(function, symbol))
      library.problem = concat(library.name, " has no '", symbol, "'");
  };
  find(library.getVersion, "cudnnGetVersion");
  find(library.errorText, "cudnnGetErrorString");
  find(library.lastErrorText, "cudnnGetLastErrorString");
  find(library.create, "cudnnCreate");
  find(library.destroy, "cudnnDestroy");
  find(library.setStream, "cudnnSetStream");
  find(library.createDescriptor, "cudnnBackendCreateDescriptor");
  find(library.destroyDescriptor, "cudnnBackendDestroyDescriptor");
  find(library.finalize, "cudnnBackendFinalize");
  find(library.setAttribute, "cudnnBackendSetAttribute");
  find(library.getAttribute, "cudnnBackendGetAttribute");
  find(library.execute, "cudnnBackendExecute");
  if (!library.problem.empty())
    return library;
  library.version = library.getVersion();
  if (library.version < oldestVersion)
    library.problem = concat("version ", versionText(library.version), " is too old, ", versionText(oldestVersion),
                             " and later ones are used");
  return library;
}

const Library &library() {
  static const Library opened = open();
  return opened;
}

void check(Status status, const char *what) {
  if (!status)
    return;
  char details[512] = {};
  library().lastErrorText(details, sizeof details);
  fail("cudnn: ", what, ": ", library().errorText(status), *details ? " (" : "", details, *details ? ")" : "");
}

bool isDeterministic(void *engine) {
  std::array<int, noteCount> notes{};
  int64_t count = 0;
  check(library().getAttribute(engine, EngineNumericalNotes, TypeNumericalNote, noteCount, &count, notes.data()),
        "reading what an engine does");
  auto end = notes.begin() + std::min<int64_t>(count, noteCount);
  return std::find(notes.begin(), end, NoteNondeterministic) == end;
}

} // namespace

std::string problem() {
  const char *flag = std::getenv("MHC_CUDNN");
  if (library().problem.empty() && flag && std::string(flag) == "0")
    return concat("version ", versionText(library().version), ", switched off by MHC_CUDNN=0");
  return library().problem;
}

Handle start(cuda::Stream stream) {
  Handle handle = nullptr;
  if (!problem().empty() || library().create(&handle))
    return nullptr;
  if (library().setStream(handle, stream)) {
    stop(handle);
    return nullptr;
  }
  return handle;
}

void stop(Handle handle) {
  if (handle)
    library().destroy(handle);
}

//===----------------------------------------------------------------------===//
// Descriptors
//===----------------------------------------------------------------------===//

Descriptor::Descriptor(int kind) { check(library().createDescriptor(kind, &raw), "making a descriptor"); }

Descriptor::~Descriptor() {
  if (raw)
    library().destroyDescriptor(raw);
}

void Descriptor::set(int attribute, int type, int64_t count, const void *values) {
  check(library().setAttribute(raw, attribute, type, count, values), "describing an operation");
}

void Descriptor::set(int attribute, const Descriptor &value) { set(attribute, TypeDescriptor, 1, &value.raw); }

void Descriptor::set(int attribute, const std::vector<int64_t> &values) {
  set(attribute, TypeInt, static_cast<int64_t>(values.size()), values.data());
}

void Descriptor::finalize() { check(library().finalize(raw), "describing an operation"); }

Shape Shape::dense(int64_t sequences, int64_t heads, int64_t rows, int64_t columns) {
  return {{sequences, heads, rows, columns}, {heads * rows * columns, rows * columns, columns, 1}};
}

Shape Shape::transposed() const {
  Shape result = *this;
  std::swap(result.sizes[2], result.sizes[3]);
  std::swap(result.strides[2], result.strides[3]);
  return result;
}

//===----------------------------------------------------------------------===//
// Graphs
//===----------------------------------------------------------------------===//

Tensor Graph::add(const Shape &shape, Type type, bool isVirtual, bool isNumber, int64_t alignment) {
  auto id = static_cast<int64_t>(tensors.size()) + 1;
  Descriptor &tensor = tensors.emplace_back(KindTensor);
  tensor.setInt(TensorId, id);
  tensor.setInt(TensorAlignment, alignment);
  tensor.set(TensorDataType, TypeDataType, 1, &type);
  tensor.set(TensorSizes, TypeInt, 4, shape.sizes.data());
  tensor.set(TensorStrides, TypeInt, 4, shape.strides.data());
  tensor.set(TensorIsVirtual, TypeBool, 1, &isVirtual);
  tensor.set(TensorIsByValue, TypeBool, 1, &isNumber);
  tensor.finalize();
  return {id, shape, &tensor};
}

Tensor Graph::memory(const Shape &shape, Type type, int64_t alignment) {
  Tensor tensor = add(shape, type, false, false, alignment);
  inMemory.push_back(tensor.id);
  return tensor;
}

Tensor Graph::number(float value) {
  Tensor tensor = add(Shape::dense(1, 1, 1, 1), Type::F32, false, true);
  scalars.push_back(tensor.id);
  numbers.push_back(value);
  return tensor;
}

Tensor Graph::between(const Shape &shape, Type type) { return add(shape, type, true, false); }

Descriptor &Graph::operation(int kind) { return operations.emplace_back(kind); }

void Graph::matmul(const Tensor &a, const Tensor &b, const Tensor &out) {
  const Type compute = Type::F32;
  Descriptor product(KindMatmul);
  product.set(MatmulPrecision, TypeDataType, 1, &compute);
  product.finalize();
  Descriptor &op = operation(KindMatmulOp);
  op.set(MatmulOpA, *a.descriptor);
  op.set(MatmulOpB, *b.descriptor);
  op.set(MatmulOpC, *out.descriptor);
  op.set(MatmulOpDescriptor, product);
  op.finalize();
}

void Graph::map(Map what, std::initializer_list<Tensor> operands, const Tensor &out, Type compute, int64_t axis) {
  Descriptor pointwise(KindPointwise);
  pointwise.set(PointwiseMode, TypePointwiseMode, 1, &what);
  pointwise.set(PointwisePrecision, TypeDataType, 1, &compute);
  if (axis >= 0)
    pointwise.setInt(PointwiseAxis, axis);
  pointwise.finalize();
  Descriptor &op = operation(KindPointwiseOp);
  op.set(PointwiseOpDescriptor, pointwise);
  const int places[] = {PointwiseOpX, PointwiseOpB, PointwiseOpT};
  const int *place = places;
  for (const Tensor &operand : operands)
    op.set(*place++, *operand.descriptor);
  op.set(PointwiseOpY, *out.descriptor);
  op.finalize();
}

Tensor Graph::map(Map what, std::initializer_list<Tensor> operands) {
  Tensor out = between(operands.begin()->shape);
  map(what, operands, out);
  return out;
}

void Graph::fold(Fold what, const Tensor &x, const Tensor &out) {
  const Type compute = Type::F32;
  Descriptor reduction(KindReduction);
  reduction.set(ReductionPrecision, TypeDataType, 1, &compute);
  reduction.set(ReductionOperator, TypeReductionOperator, 1, &what);
  reduction.finalize();
  Descriptor &op = operation(KindReductionOp);
  op.set(ReductionOpDescriptor, reduction);
  op.set(ReductionOpX, *x.descriptor);
  op.set(ReductionOpY, *out.descriptor);
  op.finalize();
}

void Graph::reshape(const Tensor &x, const Tensor &out) {
  Descriptor &op = operation(KindReshapeOp);
  op.set(ReshapeOpX, *x.descriptor);
  op.set(ReshapeOpY, *out.descriptor);
  op.finalize();
}

//===----------------------------------------------------------------------===//
// Plans
//===----------------------------------------------------------------------===//

std::unique_ptr<Plan> Graph::plan(Handle handle, uint64_t mostWorkspace) {
  const Library &lib = library();
  Descriptor graph(KindGraph);
  std::vector<void *> all;
  for (const Descriptor &op : operations)
    all.push_back(op.get());
  graph.set(GraphOps, TypeDescriptor, static_cast<int64_t>(all.size()), all.data());
  graph.set(GraphHandle, TypeHandle, 1, &handle);
  graph.finalize();
  for (int mode : {HeuristicModeA, HeuristicModeFallback}) {
    Descriptor heuristics(KindHeuristics);
    heuristics.set(HeuristicsGraph, graph);
    heuristics.set(HeuristicsMode, TypeHeuristicMode, 1, &mode);
    if (lib.finalize(heuristics.get()))
      continue;
    int64_t count = 0;
    if (lib.getAttribute(heuristics.get(), HeuristicsResults, TypeDescriptor, 0, &count, nullptr) || count <= 0)
      continue;
    std::deque<Descriptor> configs;
    std::vector<void *> raw;
    for (int64_t i = 0; i < count; ++i)
      raw.push_back(configs.emplace_back(KindEngineConfig).get());
    if (lib.getAttribute(heuristics.get(), HeuristicsResults, TypeDescriptor, count, &count, raw.data()))
      continue;
    for (int64_t i = 0; i < count; ++i) {
      Descriptor engine(KindEngine);
      void *rawEngine = engine.get();
      int64_t found = 0;
      if (lib.getAttribute(raw[i], ConfigEngine, TypeDescriptor, 1, &found, &rawEngine) || !isDeterministic(rawEngine))
        continue;
      auto result = std::make_unique<Plan>();
      result->plan = Descriptor(KindPlan);
      result->plan.set(PlanHandle, TypeHandle, 1, &handle);
      result->plan.set(PlanConfig, configs[i]);
      int64_t bytes = 0;
      if (lib.finalize(result->plan.get()) ||
          lib.getAttribute(result->plan.get(), PlanWorkspace, TypeInt, 1, &found, &bytes) || bytes < 0 ||
          static_cast<uint64_t>(bytes) > mostWorkspace)
        continue;
      result->workspace = static_cast<uint64_t>(bytes);
      result->ids = inMemory;
      result->ids.insert(result->ids.end(), scalars.begin(), scalars.end());
      result->numbers = numbers;
      return result;
    }
  }
  return nullptr;
}

void Plan::run(Handle handle, const std::vector<const void *> &addresses, void *workspace) const {
  std::vector<const void *> pointers = addresses;
  for (const float &number : numbers)
    pointers.push_back(&number);
  Descriptor pack(KindVariantPack);
  pack.set(PackIds, ids);
  pack.set(PackPointers, TypePointer, static_cast<int64_t>(pointers.size()), pointers.data());
  pack.set(PackWorkspace, TypePointer, 1, &workspace);
  pack.finalize();
  check(library().execute(handle, plan.get(), pack.get()), "running a graph");
}

} // namespace mhcrt::cudnn

std::string mhcrt::describeCudnn() {
  const cudnn::Library &found = cudnn::library();
  if (std::string problem = cudnn::problem(); !problem.empty())
    return problem;
  return concat("found (", found.name, "), version ", cudnn::versionText(found.version));
}
