//===- GpuBuilder.cpp - what GPU kernels are written in ---------------------===//

#include "GpuBuilder.h"

#include "mlir/Dialect/Vector/IR/VectorOps.h"

#include <numeric>

namespace mlir::mhc::nvgpu {

int64_t bytesOf(Type element) { return element.getIntOrFloatBitWidth() / 8; }

int64_t rowElements(MemRefType type) {
  int64_t count = 1;
  for (int64_t dim : type.getShape())
    count *= ShapedType::isDynamic(dim) ? 1 : dim;
  return count;
}

int64_t argumentAlignment(MemRefType type) {
  return std::gcd<int64_t>(16, rowElements(type) * bytesOf(type.getElementType()));
}

Value GpuBuilder::i32(int64_t value) { return arith::ConstantOp::create(b, loc, b.getI32IntegerAttr(value)); }
Value GpuBuilder::i64(int64_t value) { return arith::ConstantOp::create(b, loc, b.getI64IntegerAttr(value)); }
Value GpuBuilder::f32(double value) { return arith::ConstantOp::create(b, loc, b.getF32FloatAttr(value)); }

Value GpuBuilder::address(Value base, Type element, Value index) {
  return LLVM::GEPOp::create(b, loc, base.getType(), element, base, ArrayRef<LLVM::GEPArg>{index});
}

Value GpuBuilder::address(Value base, Type element, int64_t index) {
  if (index == 0)
    return base;
  if (llvm::isInt<31>(index))
    return LLVM::GEPOp::create(b, loc, base.getType(), element, base, ArrayRef<LLVM::GEPArg>{int32_t(index)});
  return address(base, element, i64(index));
}

Value GpuBuilder::load(Type type, Value pointer, int64_t alignment) {
  return LLVM::LoadOp::create(b, loc, type, pointer, alignment);
}

void GpuBuilder::store(Value value, Value pointer, int64_t alignment) {
  LLVM::StoreOp::create(b, loc, value, pointer, alignment);
}

SmallVector<Value> GpuBuilder::loop(Value from, Value to, Value step, ValueRange carried,
                                    function_ref<SmallVector<Value>(Value, ValueRange)> body) {
  auto op =
      scf::ForOp::create(b, loc, from, to, step, carried, [&](OpBuilder &, Location at, Value iv, ValueRange values) {
        scf::YieldOp::create(b, at, body(iv, values));
      });
  return llvm::to_vector_of<Value>(op.getResults());
}

void GpuBuilder::loop(Value from, Value to, Value step, function_ref<void(Value)> body) {
  loop(from, to, step, {}, [&](Value iv, ValueRange) {
    body(iv);
    return SmallVector<Value>();
  });
}

static LLVM::LoopAnnotationAttr notUnrolled(MLIRContext *context) {
  auto disable = LLVM::LoopUnrollAttr::get(context, BoolAttr::get(context, true), {}, {}, {}, {}, {}, {});
  return LLVM::LoopAnnotationAttr::get(context, {}, {}, {}, disable, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {});
}

SmallVector<Value> GpuBuilder::rolled(int64_t count, ValueRange carried, function_ref<SmallVector<Value>(Value, ValueRange)> body) {
  SmallVector<Value> results = loop(i32(0), i32(count), i32(1), carried, body);
  std::prev(b.getInsertionPoint())->setDiscardableAttr("llvm.loop_annotation", notUnrolled(b.getContext()));
  return results;
}

void GpuBuilder::when(Value condition, function_ref<void()> body) {
  scf::IfOp::create(b, loc, condition, [&](OpBuilder &, Location at) {
    body();
    scf::YieldOp::create(b, at);
  });
}

Value GpuBuilder::shuffle(Value value, int64_t lanes) {
  return NVVM::ShflOp::create(b, loc, value.getType(), i32(-1), value, i32(lanes), i32(warpSize - 1),
                              NVVM::ShflKind::bfly, /*return_value_and_is_valid=*/UnitAttr());
}

Value GpuBuilder::sharedMemory(gpu::GPUModuleOp module, int64_t alignment) {
  static constexpr StringLiteral name = "mhc_shared";
  auto global = module.lookupSymbol<LLVM::GlobalOp>(name);
  if (!global) {
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToStart(module.getBody());
    global = LLVM::GlobalOp::create(b, loc, LLVM::LLVMArrayType::get(b.getI8Type(), 0), /*isConstant=*/false,
                                    LLVM::Linkage::External, name, Attribute(), alignment, /*addrSpace=*/3);
  }
  if (global.getAlignment().value_or(0) < uint64_t(alignment))
    global.setAlignment(alignment);
  return LLVM::AddressOfOp::create(b, loc, global);
}

Value GpuBuilder::lane(Value vector, int64_t i) {
  return isa<VectorType>(vector.getType()) ? Value(vector::ExtractOp::create(b, loc, vector, i)) : vector;
}

Value GpuBuilder::vectorOf(ArrayRef<Value> lanes) {
  if (lanes.size() == 1)
    return lanes.front();
  return vector::FromElementsOp::create(b, loc, VectorType::get({(int64_t)lanes.size()}, lanes.front().getType()),
                                        lanes);
}

//===----------------------------------------------------------------------===//
// Rounded values
//===----------------------------------------------------------------------===//

Type GpuBuilder::storedType(Type element) {
  if (!element.isBF16())
    return lanes(element);
  if (width == 1)
    return b.getIntegerType(16);
  return width == 2 ? Type(b.getI32Type()) : VectorType::get({width / 2}, b.getI32Type());
}

Value GpuBuilder::widen(Value stored, Type elementType) {
  if (!elementType.isBF16())
    return stored;
  Type f32Type = b.getF32Type(), i32Type = b.getI32Type();
  if (width == 1) {
    Value word = arith::ExtUIOp::create(b, loc, i32Type, stored);
    return arith::BitcastOp::create(b, loc, f32Type, arith::ShLIOp::create(b, loc, word, i32(16)));
  }
  SmallVector<Value> values;
  for (int64_t i = 0; i < width / 2; ++i) {
    Value word = lane(stored, i);
    values.push_back(arith::BitcastOp::create(b, loc, f32Type, arith::ShLIOp::create(b, loc, word, i32(16))));
    values.push_back(arith::BitcastOp::create(b, loc, f32Type, bitAnd(word, -65536)));
  }
  return vectorOf(values);
}

GpuBuilder::Rounded GpuBuilder::round(Value computed, Type elementType) {
  auto pair = VectorType::get({2}, b.getBF16Type());
  auto pack = [&](Value high, Value low) -> Value {
    Value packed = NVVM::ConvertF32x2ToBF16x2Op::create(b, loc, pair, high, low, /*random_bits=*/Value(),
                                                        NVVM::FPRoundingMode::RN);
    return LLVM::BitcastOp::create(b, loc, b.getI32Type(), packed);
  };
  if (width == 1) {
    Value stored = arith::TruncIOp::create(b, loc, b.getIntegerType(16), pack(f32(0.0), computed));
    return {stored, widen(stored, elementType)};
  }
  SmallVector<Value> words;
  for (int64_t i = 0; i < width; i += 2)
    words.push_back(pack(lane(computed, i + 1), lane(computed, i)));
  Value stored = vectorOf(words);
  return {stored, widen(stored, elementType)};
}

//===----------------------------------------------------------------------===//
// Narrow code
//===----------------------------------------------------------------------===//

/// What element `i` of `count` in a row is aligned to, where rows begin at multiples of 16 bytes as far as their length allows.
static int64_t elementAlignment(int64_t i, int64_t count, int64_t bytes) {
  return std::gcd(std::gcd<int64_t>(16, count * bytes), i * bytes);
}

SmallVector<Value> GpuBuilder::loadElements(Value base, Type element, int64_t count) {
  SmallVector<Value> values;
  for (int64_t e = 0; e < count; ++e) {
    Value stored = load(storedType(element), address(base, element, e), elementAlignment(e, count, bytesOf(element)));
    values.push_back(isa<IntegerType>(element) ? stored : widen(stored, element));
  }
  return values;
}

void GpuBuilder::storeElements(ArrayRef<Value> values, Value base, Type element) {
  int64_t count = values.size();
  for (auto [e, value] : llvm::enumerate(values)) {
    Value stored = element.isBF16() ? round(value, element).stored : value; // exact: it has been rounded before
    store(stored, address(base, element, e), elementAlignment(e, count, bytesOf(element)));
  }
}

SmallVector<Value> GpuBuilder::castElements(RowCastOp op, SmallVector<Value> values) {
  Type from = cast<NarrowType>(op.getValue().getType()).getElementType();
  Type to = cast<NarrowType>(op.getResult().getType()).getElementType();
  if (to.isBF16() && !from.isBF16())
    for (Value &value : values)
      value = round(value, to).widened;
  return values;
}

LogicalResult GpuBuilder::emitNarrowCode(Operation &op, function_ref<SmallVector<Value>(Value)> elements, function_ref<void(Value, ArrayRef<Value>)> bind) {
  if (auto castOp = dyn_cast<RowCastOp>(op)) {
    bind(castOp.getResult(), castElements(castOp, elements(castOp.getValue())));
    return success();
  }
  auto narrow = dyn_cast<RowNarrowOp>(op);
  if (!narrow)
    return op.emitOpError("expected narrow code in a narrow phase");
  SmallVector<Value> arguments;
  for (Value operand : narrow.getInputs())
    llvm::append_range(arguments, elements(operand));
  return emitNarrow(narrow, arguments, bind);
}

LogicalResult GpuBuilder::emitNarrow(RowNarrowOp op, ArrayRef<Value> arguments, function_ref<void(Value, ArrayRef<Value>)> bind) {
  SmallVector<Value> results;
  Operation *before = &*std::prev(b.getInsertionPoint());
  if (failed(emitRegion(op.getBody(), arguments, results)))
    return failure();
  // Loops of iterations stay loops: unrolled, twenty Sinkhorn iterations would not fit into the instruction cache.
  LLVM::LoopAnnotationAttr annotation = notUnrolled(b.getContext());
  // Division by the hardware's reciprocal, within 2 ulp: the exact one is a dozen instructions and a branch, and these sequences are bound by latency.
  auto approximate = arith::FastMathFlags::arcp | arith::FastMathFlags::afn;
  for (auto it = std::next(Block::iterator(before)), end = b.getInsertionPoint(); it != end; ++it)
    it->walk([&](Operation *op) {
      if (auto loop = dyn_cast<scf::ForOp>(op); loop && loop.getBody()->getOperations().size() > 16)
        loop->setDiscardableAttr("llvm.loop_annotation", annotation);
      if (auto division = dyn_cast<arith::DivFOp>(op))
        division.setFastmath(approximate);
    });
  ArrayRef<Value> left = results;
  for (Value result : op.getResults()) {
    int64_t count = cast<NarrowType>(result.getType()).getNumElements();
    bind(result, left.take_front(count));
    left = left.drop_front(count);
  }
  return success();
}

} // namespace mlir::mhc::nvgpu
