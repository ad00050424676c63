#include "base/DType.h"

namespace mhcrt {

int64_t byteSize(DType dtype) {
  switch (dtype) {
  case DType::BF16:
    return 2;
  case DType::F32:
  case DType::I32:
    return 4;
  case DType::F64:
  case DType::I64:
    return 8;
  }
  return 0;
}

const char *name(DType dtype) {
  switch (dtype) {
  case DType::BF16:
    return "bf16";
  case DType::F32:
    return "f32";
  case DType::F64:
    return "f64";
  case DType::I32:
    return "i32";
  case DType::I64:
    return "i64";
  }
  return "?";
}

bool parseDType(std::string_view text, DType &dtype) {
  for (DType candidate : {DType::BF16, DType::F32, DType::F64, DType::I32, DType::I64})
    if (text == name(candidate)) {
      dtype = candidate;
      return true;
    }
  return false;
}

std::string shapeText(const std::vector<int64_t> &shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i)
    text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}

} // namespace mhcrt
