#include "hal/cuda/CublasLt.h"
#include "hal/cuda/SharedLibrary.h"

#include <algorithm>

namespace mhcrt {
namespace {

// The part of cublasLt.h that is used; the same in versions 12 and 13.
using Status = int; // cublasStatus_t, 0 is success
using Handle = struct HandleTag *;
using Desc = struct DescTag *;
using LayoutDesc = struct LayoutTag *;
using Preference = struct PreferenceTag *;
struct Algorithm {
  uint64_t data[8];
};
struct Heuristic { // cublasLtMatmulHeuristicResult_t
  Algorithm algorithm;
  size_t workspace;
  Status state;
  float waves;
  int reserved[4];
};
enum : int { TypeF32 = 0, TypeBf16 = 14 };                                    // cudaDataType
enum : int { ComputeF32 = 68 };                                               // cublasComputeType_t: fp32, no tf32
enum : int { DescTransA = 3, DescTransB = 4 };                                // cublasLtMatmulDescAttributes_t
enum : int { LayoutBatchCount = 5, LayoutBatchStride = 6 };                   // cublasLtMatrixLayoutAttribute_t
enum : int { OpNone = 0, OpTranspose = 1 };                                   // cublasOperation_t
enum : int { PrefWorkspace = 1, PrefReductions = 3, PrefAlignmentA = 5 };     // cublasLtMatmulPreferenceAttributes_t
enum : uint32_t { ReduceInComputeType = 2 };                                  // cublasLtReductionScheme_t

struct Library {
  std::string name; ///< that it was found under
  size_t (*version)() = nullptr;
  const char *(*statusName)(Status) = nullptr;
  Status (*create)(Handle *) = nullptr;
  Status (*destroy)(Handle) = nullptr;
  Status (*descCreate)(Desc *, int compute, int scale) = nullptr;
  Status (*descDestroy)(Desc) = nullptr;
  Status (*descSet)(Desc, int attribute, const void *value, size_t bytes) = nullptr;
  Status (*layoutCreate)(LayoutDesc *, int type, uint64_t rows, uint64_t columns, int64_t leading) = nullptr;
  Status (*layoutDestroy)(LayoutDesc) = nullptr;
  Status (*layoutSet)(LayoutDesc, int attribute, const void *value, size_t bytes) = nullptr;
  Status (*preferenceCreate)(Preference *) = nullptr;
  Status (*preferenceDestroy)(Preference) = nullptr;
  Status (*preferenceSet)(Preference, int attribute, const void *value, size_t bytes) = nullptr;
  Status (*heuristic)(Handle, Desc, LayoutDesc a, LayoutDesc b, LayoutDesc c, LayoutDesc d, Preference, int wanted,
                      Heuristic *results, int *found) = nullptr;
  Status (*matmul)(Handle, Desc, const void *alpha, const void *a, LayoutDesc, const void *b, LayoutDesc,
                   const void *beta, const void *c, LayoutDesc, void *d, LayoutDesc, const Algorithm *,
                   void *workspace, size_t workspaceBytes, cuda::Stream) = nullptr;
};

Library open() {
  auto file = cuda::SharedLibrary::open({"libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so"});
  if (!file)
    fail("matrix products need cuBLASLt: neither libcublasLt.so.13 nor .so.12 nor .so was found (", cuda::searchedFolders, ")");
  Library library;
  library.name = file.name();
  auto find = [&](auto &function, const char *symbol) {
    if (!file.find(function, symbol))
      fail(library.name, " has no '", symbol, "'");
  };
  find(library.version, "cublasLtGetVersion");
  find(library.statusName, "cublasLtGetStatusName");
  find(library.create, "cublasLtCreate");
  find(library.destroy, "cublasLtDestroy");
  find(library.descCreate, "cublasLtMatmulDescCreate");
  find(library.descDestroy, "cublasLtMatmulDescDestroy");
  find(library.descSet, "cublasLtMatmulDescSetAttribute");
  find(library.layoutCreate, "cublasLtMatrixLayoutCreate");
  find(library.layoutDestroy, "cublasLtMatrixLayoutDestroy");
  find(library.layoutSet, "cublasLtMatrixLayoutSetAttribute");
  find(library.preferenceCreate, "cublasLtMatmulPreferenceCreate");
  find(library.preferenceDestroy, "cublasLtMatmulPreferenceDestroy");
  find(library.preferenceSet, "cublasLtMatmulPreferenceSetAttribute");
  find(library.heuristic, "cublasLtMatmulAlgoGetHeuristic");
  find(library.matmul, "cublasLtMatmul");
  return library;
}

const Library &library() {
  static const Library opened = open();
  return opened;
}

void check(Status status, const char *what) {
  if (!status)
    return;
  const char *name = library().statusName(status);
  fail("cublasLt: ", what, ": ", name ? name : "unknown status");
}

int typeCode(DType type) { return type == DType::BF16 ? TypeBf16 : TypeF32; }

/// The power of two that the addresses of all matrices are multiples of, as far as the library cares.
unsigned alignmentOf(const void *address, const GemmArgs &args, int64_t rows, int64_t columns, DType type) {
  auto bits = reinterpret_cast<uintptr_t>(address) | 256;
  if (args.batch > 1)
    bits |= static_cast<uintptr_t>(rows * columns * byteSize(type));
  return static_cast<unsigned>(bits & -bits);
}

} // namespace

/// The library's matrices are stored column by column. A row-major C [m, n] is C^T [n, m] there, and
/// C^T = op(B)^T op(A)^T: the library's first operand is our B, its sizes are n, m, k.
struct CublasLt::Plan {
  Desc desc = nullptr;
  LayoutDesc a = nullptr, b = nullptr, c = nullptr;
  Algorithm algorithm{};
  ~Plan() {
    if (desc)
      library().descDestroy(desc);
    for (LayoutDesc layout : {a, b, c})
      if (layout)
        library().layoutDestroy(layout);
  }
};

CublasLt::CublasLt() { check(library().create(&handle), "starting the library"); }
CublasLt::~CublasLt() {
  plans.clear();
  library().destroy(handle);
}

std::unique_ptr<CublasLt::Plan> CublasLt::makePlan(const Key &key) const {
  const Library &lib = library();
  auto [m, n, k, batch, type, typeC, transA, transB, adds, alignA, alignB, alignAdded, alignC] = key;
  auto plan = std::make_unique<Plan>();
  check(lib.descCreate(&plan->desc, ComputeF32, TypeF32), "describing a product");
  int first = transB ? OpTranspose : OpNone, second = transA ? OpTranspose : OpNone;
  check(lib.descSet(plan->desc, DescTransA, &first, sizeof first), "describing a product");
  check(lib.descSet(plan->desc, DescTransB, &second, sizeof second), "describing a product");
  auto layout = [&, batch = batch](LayoutDesc &result, DType of, int64_t rows, int64_t columns) {
    check(lib.layoutCreate(&result, typeCode(of), rows, columns, rows), "describing a matrix");
    if (batch == 1)
      return;
    auto count = static_cast<int32_t>(batch);
    int64_t stride = rows * columns;
    check(lib.layoutSet(result, LayoutBatchCount, &count, sizeof count), "describing a batch of matrices");
    check(lib.layoutSet(result, LayoutBatchStride, &stride, sizeof stride), "describing a batch of matrices");
  };
  layout(plan->b, type, transB ? k : n, transB ? n : k);
  layout(plan->a, type, transA ? m : k, transA ? k : m);
  layout(plan->c, typeC, n, m);

  Preference preference = nullptr;
  check(lib.preferenceCreate(&preference), "choosing an algorithm");
  auto set = [&](int attribute, auto value) {
    check(lib.preferenceSet(preference, attribute, &value, sizeof value), "choosing an algorithm");
  };
  set(PrefWorkspace, workspaceBytes);
  // Parts of a sum that is cut along k are added in fp32 from the workspace: a fixed order, and one rounding.
  set(PrefReductions, uint32_t(ReduceInComputeType));
  set(PrefAlignmentA, uint32_t(alignB));
  set(PrefAlignmentA + 1, uint32_t(alignA));
  set(PrefAlignmentA + 2, uint32_t(alignAdded));
  set(PrefAlignmentA + 3, uint32_t(alignC));
  Heuristic result{};
  int found = 0;
  Status status = lib.heuristic(handle, plan->desc, plan->b, plan->a, plan->c, plan->c, preference, 1, &result, &found);
  lib.preferenceDestroy(preference);
  if (status || !found || result.state) {
    const char *name = library().statusName(status ? status : result.state);
    fail("cublasLt: no algorithm for ", batch, " product(s) of ", m, " x ", k, " by ", k, " x ", n, ", ", name ? name : "unknown status");
  }
  plan->algorithm = result.algorithm;
  return plan;
}

void CublasLt::gemm(const GemmArgs &args, void *workspace, cuda::Stream stream) {
  if (args.batch > INT32_MAX)
    fail("cublasLt: ", args.batch, " products are too many for one call");
  const void *added = args.d ? args.d : args.c;
  Key key{args.m,
          args.n,
          args.k,
          args.batch,
          args.typeA,
          args.typeC,
          args.transA,
          args.transB,
          args.accumulate || args.d,
          alignmentOf(args.a, args, args.m, args.k, args.typeA),
          alignmentOf(args.b, args, args.k, args.n, args.typeB),
          alignmentOf(added, args, args.m, args.n, args.typeC),
          alignmentOf(args.c, args, args.m, args.n, args.typeC)};
  std::unique_ptr<Plan> &plan = plans[key];
  if (!plan)
    plan = makePlan(key);
  const auto alpha = static_cast<float>(args.alpha), beta = static_cast<float>(args.accumulate ? 1 : args.d ? args.beta : 0);
  check(library().matmul(handle, plan->desc, &alpha, args.b, plan->b, args.a, plan->a, &beta, added, plan->c, args.c,
                         plan->c, &plan->algorithm, workspace, workspaceBytes, stream),
        "a matrix product");
}

std::string describeCublasLt() {
  try {
    const Library &found = library();
    size_t version = found.version(); // major * 10000 + minor * 100 + patch
    return concat("found (", found.name, "), version ", version / 10000, ".", version / 100 % 100, ".", version % 100);
  } catch (const Error &problem) {
    return concat("not found: ", problem.what());
  }
}

} // namespace mhcrt
