//===- Cudnn.h - graphs of operations that cuDNN runs as a whole ---*- C++ -*-===//
//
// libcudnn.so.9 is opened at run time; the declarations are those of its documented C API for graphs, as far as they
// are used. A graph has tensors in memory, numbers, and tensors that exist only between two operations; a plan is a
// graph with the kernels that the library has chosen for it.
//
//===----------------------------------------------------------------------===//
#ifndef MHCRT_HAL_CUDA_CUDNN_H
#define MHCRT_HAL_CUDA_CUDNN_H

#include "hal/cuda/CudaDriver.h"

#include <array>
#include <deque>
#include <initializer_list>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace mhcrt::cudnn {

using Handle = struct HandleTag *;

enum class Type : int { F32 = 0, I32 = 4, BF16 = 9, Bool = 11 }; // cudnnDataType_t
enum class Map : int {                                           // cudnnPointwiseMode_t
  Add = 0,
  Multiply = 1,
  Divide = 6,
  Subtract = 9,
  Exp = 13,
  Log = 15,
  GreaterEqual = 303,
  Index = 501, ///< where an element lies along an axis
  Select = 601 ///< the first where the third is true, else the second
};
enum class Fold : int { Add = 0, Max = 3 }; // cudnnReduceTensorOp_t

/// Why attention is left to the package's own kernels: the library is missing, too old, or switched off (MHC_CUDNN=0).
/// "" where it can be used.
std::string problem();

/// Null where it cannot be used, or does not start. Needs a current context.
Handle start(cuda::Stream stream);
void stop(Handle handle);

/// Owns one of the library's descriptors.
class Descriptor {
public:
  Descriptor() = default;
  explicit Descriptor(int kind);
  ~Descriptor();
  Descriptor(Descriptor &&other) noexcept : raw(std::exchange(other.raw, nullptr)) {}
  Descriptor &operator=(Descriptor &&other) noexcept {
    std::swap(raw, other.raw);
    return *this;
  }

  void *get() const { return raw; }
  void set(int attribute, int type, int64_t count, const void *values);
  void set(int attribute, const Descriptor &value);
  void set(int attribute, const std::vector<int64_t> &values);
  void setInt(int attribute, int64_t value) { set(attribute, std::vector<int64_t>{value}); }
  void finalize();

private:
  void *raw = nullptr;
};

/// Sizes and strides in elements. All tensors have four dimensions: sequences, heads, rows, columns.
struct Shape {
  std::array<int64_t, 4> sizes, strides;
  /// Row after row, without gaps.
  static Shape dense(int64_t sequences, int64_t heads, int64_t rows, int64_t columns);
  /// Rows and columns change places.
  Shape transposed() const;
};

struct Tensor {
  int64_t id;
  Shape shape;
  const Descriptor *descriptor;
};

class Plan {
public:
  uint64_t workspaceBytes() const { return workspace; }
  /// `addresses` in the order in which the graph's tensors in memory were made.
  void run(Handle handle, const std::vector<const void *> &addresses, void *workspace) const;

private:
  friend class Graph;
  Descriptor plan;
  std::vector<int64_t> ids; ///< of tensors in memory, then of the numbers
  std::vector<float> numbers;
  uint64_t workspace = 0;
};

class Graph {
public:
  /// In memory, at an address that is a multiple of `alignment`.
  Tensor memory(const Shape &shape, Type type, int64_t alignment = 16);
  Tensor number(float value);
  /// Between two operations only.
  Tensor between(const Shape &shape, Type type = Type::F32);

  void matmul(const Tensor &a, const Tensor &b, const Tensor &out);
  /// One to three operands; an operand's dimension of size 1 is the same all along.
  void map(Map what, std::initializer_list<Tensor> operands, const Tensor &out, Type compute = Type::F32,
           int64_t axis = -1);
  /// fp32, in the shape of the first operand.
  Tensor map(Map what, std::initializer_list<Tensor> operands);
  /// Along the dimensions that have size 1 in `out`.
  void fold(Fold what, const Tensor &x, const Tensor &out);
  void reshape(const Tensor &x, const Tensor &out);

  /// The first of the library's proposals that gives the same bits in every run and needs no more workspace than this.
  /// Null if there is none: the library cannot do it all, or not so.
  std::unique_ptr<Plan> plan(Handle handle, uint64_t mostWorkspace);

private:
  Tensor add(const Shape &shape, Type type, bool isVirtual, bool isNumber, int64_t alignment = 16);
  Descriptor &operation(int kind);

  std::deque<Descriptor> tensors, operations; // addresses stay
  std::vector<int64_t> inMemory, scalars;
  std::vector<float> numbers;
};

} // namespace mhcrt::cudnn

#endif // MHCRT_HAL_CUDA_CUDNN_H
