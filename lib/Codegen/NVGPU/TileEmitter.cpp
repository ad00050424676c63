//===- TileEmitter.cpp - persistent kernels of warps with roles -------------===//

#include "TileEmitter.h"

namespace mlir::mhc::nvgpu {

void TileEmitter::beginFunction(const GpuLaunch &launch, bool hasWorkspace) {
  MLIRContext *context = b.getContext();
  Block &block = kernel.getBlock();
  Type global = LLVM::LLVMPointerType::get(context, 1), generic = LLVM::LLVMPointerType::get(context);
  SmallVector<Type> types(block.getNumArguments(), global);
  types.append(1 + kernel.getInts().size(), b.getI64Type());
  size_t workspaceAt = types.size();
  if (hasWorkspace)
    types.push_back(global);
  size_t firstMap = types.size();
  types.append(launch.maps.size(), generic);
  b.setInsertionPointToEnd(target.getBody());
  function = LLVM::LLVMFuncOp::create(b, loc, kernel.getSymName(), LLVM::LLVMFunctionType::get(LLVM::LLVMVoidType::get(context), types));
  function->setAttr(NVVM::NVVMDialect::getKernelFuncAttrName(), b.getUnitAttr());
  function->setAttr(NVVM::NVVMDialect::getMaxntidAttrName(), b.getDenseI32ArrayAttr({int32_t(launch.threads)}));
  // Without it ptxas does not know the registers at entry, and ignores that roles change theirs.
  function->setAttr(NVVM::NVVMDialect::getMinctasmAttrName(), b.getI32IntegerAttr(1));
  setGpuLaunch(function, launch);
  Block *entry = function.addEntryBlock(b);
  b.setInsertionPointToStart(entry);
  auto mapType = LLVM::LLVMArrayType::get(b.getI8Type(), 128);
  for (auto [i, argument] : llvm::enumerate(block.getArguments())) {
    function.setArgAttr(i, LLVM::LLVMDialect::getAlignAttrName(), b.getI64IntegerAttr(argumentAlignment(cast<MemRefType>(argument.getType()))));
    pointers.push_back(entry->getArgument(i));
  }
  rows = entry->getArgument(block.getNumArguments());
  if (hasWorkspace) {
    function.setArgAttr(workspaceAt, LLVM::LLVMDialect::getAlignAttrName(), b.getI64IntegerAttr(16));
    workspace = entry->getArgument(workspaceAt);
  }
  for (size_t i = 0; i < launch.maps.size(); ++i) {
    function.setArgAttr(firstMap + i, LLVM::LLVMDialect::getByValAttrName(), TypeAttr::get(mapType));
    function.setArgAttr(firstMap + i, LLVM::LLVMDialect::getAlignAttrName(), b.getI64IntegerAttr(64));
    function.setArgAttr(firstMap + i, NVVM::NVVMDialect::getGridConstantAttrName(), b.getUnitAttr());
    maps.push_back(entry->getArgument(firstMap + i));
  }
  Type i32Type = b.getI32Type();
  thread = NVVM::ThreadIdXOp::create(b, loc, i32Type);
  laneOf = bitAnd(thread, warpSize - 1);
  warp = shiftRight(thread, 5);
  shared = sharedMemory(target, /*alignment=*/1024);                   // the swizzle repeats so
  allocas = arith::ConstantOp::create(b, loc, b.getI32IntegerAttr(0)); // a place to insert at
}

void TileEmitter::beginGroups(int64_t blocks, int64_t slice) {
  Type i32Type = b.getI32Type();
  Value block = NVVM::BlockIdXOp::create(b, loc, i32Type);
  rank = remainder(block, blocks);
  group = divide(block, blocks);
  groups = divide(NVVM::GridDimXOp::create(b, loc, i32Type), blocks);
  sliceStart = mul(rank, slice);
  Value tiles = arith::DivUIOp::create(b, loc, add(rows, GroupSlice::tokens - 1), i64(GroupSlice::tokens));
  Value all = arith::TruncIOp::create(b, loc, i32Type, tiles);
  mine = arith::DivUIOp::create(b, loc, sub(add(all, sub(groups, i32(1))), group), groups);
}

void TileEmitter::prefetchMaps() {
  for (Value map : maps)
    NVVM::PrefetchOp::create(b, loc, NVVM::PrefetchCacheLevelAttr(), NVVM::CacheEvictionPriorityAttr(), map, Value(), b.getUnitAttr());
}

//===----------------------------------------------------------------------===//
// Rings and barriers
//===----------------------------------------------------------------------===//

TileEmitter::Ring TileEmitter::next(Ring at, int64_t stages) {
  Value stage = add(at.stage, 1), wraps = equal(stage, stages);
  Value flips = arith::ExtUIOp::create(b, loc, b.getI32Type(), wraps);
  return {select(wraps, i32(0), stage), arith::XOrIOp::create(b, loc, at.parity, flips)};
}

void TileEmitter::role(int64_t first, int64_t count, function_ref<void()> body) {
  Value relative = sub(warp, i32(first));
  when(arith::CmpIOp::create(b, loc, arith::CmpIPredicate::ult, relative, i32(count)), [&] {
    inRole = relative;
    roleFirst = first;
    body();
  });
}

void TileEmitter::wait(Value barrier, Value parity, bool fromCluster) {
  NVVM::MemScopeKind scope = fromCluster ? NVVM::MemScopeKind::CLUSTER : NVVM::MemScopeKind::CTA;
  scf::WhileOp::create(
      b, loc, TypeRange{}, ValueRange{},
      [&](OpBuilder &, Location at, ValueRange) {
        Value passed = NVVM::MBarrierTryWaitOp::create(b, at, b.getI1Type(), barrier, parity, Value(), scope);
        Value again = arith::XOrIOp::create(b, at, passed, arith::ConstantOp::create(b, at, b.getBoolAttr(true)));
        scf::ConditionOp::create(b, at, again, ValueRange{});
      },
      [&](OpBuilder &, Location at, ValueRange) { scf::YieldOp::create(b, at); });
}

void TileEmitter::arrive(Value barrier) {
  syncWarp();
  when(equal(laneOf, 0), [&] { arriveAlone(barrier); });
}

void TileEmitter::expect(Value barrier, Value count) {
  NVVM::MBarrierArriveExpectTxOp::create(b, loc, Type(), barrier, count, NVVM::MemScopeKind::CTA, /*relaxed=*/false, Value());
}

void TileEmitter::fenceShared() {
  NVVM::FenceProxyOp::create(b, loc, NVVM::ProxyKind::async_shared, NVVM::SharedSpaceAttr::get(b.getContext(), NVVM::SharedSpace::shared_cta));
}

void TileEmitter::setRegisters(int64_t count) {
  auto action = count > registers ? NVVM::SetMaxRegisterAction::increase : NVVM::SetMaxRegisterAction::decrease;
  NVVM::SetMaxRegisterOp::create(b, loc, count, action);
}

//===----------------------------------------------------------------------===//
// Memory that blocks exchange
//===----------------------------------------------------------------------===//

SmallVector<Value> TileEmitter::loadWords(Value pointer) {
  Type i32Type = b.getI32Type();
  auto four = LLVM::LLVMStructType::getLiteral(b.getContext(), SmallVector<Type>(4, i32Type));
  Value loaded =
      LLVM::InlineAsmOp::create(b, loc, four, ValueRange{pointer}, "ld.relaxed.gpu.global.v4.b32 {$0, $1, $2, $3}, [$4];", "=r,=r,=r,=r,l,~{memory}",
                                /*has_side_effects=*/true, /*is_align_stack=*/false, LLVM::TailCallKind::None, LLVM::AsmDialectAttr(), ArrayAttr())
          .getRes();
  SmallVector<Value> words;
  for (int64_t i = 0; i < 4; ++i)
    words.push_back(LLVM::ExtractValueOp::create(b, loc, loaded, i));
  return words;
}

void TileEmitter::storeWords(ArrayRef<Value> words, Value pointer) {
  SmallVector<Value> operands(words);
  operands.push_back(pointer);
  LLVM::InlineAsmOp::create(b, loc, TypeRange{}, operands, "st.relaxed.gpu.global.v4.b32 [$4], {$0, $1, $2, $3};", "r,r,r,r,l,~{memory}",
                            /*has_side_effects=*/true, /*is_align_stack=*/false, LLVM::TailCallKind::None, LLVM::AsmDialectAttr(), ArrayAttr());
}

Value TileEmitter::withParity(Value number, Value parity) {
  Value word = number.getType().isInteger(32) ? number : arith::BitcastOp::create(b, loc, b.getI32Type(), number).getResult();
  return arith::OrIOp::create(b, loc, bitAnd(word, -2), parity);
}

Value TileEmitter::lacks(ValueRange words, Value parity) {
  Value differ = i32(0);
  for (Value word : words)
    differ = arith::OrIOp::create(b, loc, differ, exclusiveOr(word, parity));
  Value missing = arith::CmpIOp::create(b, loc, arith::CmpIPredicate::ne, bitAnd(differ, 1), i32(0));
  return NVVM::VoteSyncOp::create(b, loc, b.getI1Type(), i32(-1), missing, NVVM::VoteSyncKind::any);
}

//===----------------------------------------------------------------------===//
// Tensor cores
//===----------------------------------------------------------------------===//

SmallVector<Value> TileEmitter::loadMatrices(Value place, bool transposed) {
  auto fragment = LLVM::LLVMStructType::getLiteral(b.getContext(), SmallVector<Type>(4, b.getI32Type()));
  Value loaded = NVVM::LdMatrixOp::create(b, loc, fragment, place, 4, transposed ? NVVM::MMALayout::col : NVVM::MMALayout::row,
                                          NVVM::LdStMatrixShapeAttr::get(b.getContext(), 8, 8), NVVM::LdStMatrixEltType::B16);
  SmallVector<Value> parts;
  for (int64_t i = 0; i < 4; ++i)
    parts.push_back(LLVM::ExtractValueOp::create(b, loc, loaded, i));
  return parts;
}

void TileEmitter::multiplyAdd(MutableArrayRef<Value> sums, ArrayRef<Value> left, ArrayRef<Value> right) {
  auto type = LLVM::LLVMStructType::getLiteral(b.getContext(), SmallVector<Type>(4, compute));
  Value product = NVVM::MmaOp::create(b, loc, type, left, right, sums, ArrayRef<int64_t>{16, 8, 8 * int64_t(right.size())}, std::nullopt, std::nullopt,
                                      std::array<NVVM::MMATypes, 2>{NVVM::MMATypes::bf16, NVVM::MMATypes::bf16},
                                      std::array<NVVM::MMALayout, 2>{NVVM::MMALayout::row, NVVM::MMALayout::col});
  for (int64_t i = 0; i < 4; ++i)
    sums[i] = LLVM::ExtractValueOp::create(b, loc, product, i);
}

//===----------------------------------------------------------------------===//
// Interleaved streams
//===----------------------------------------------------------------------===//

Value TileEmitter::halves(Value first, Value second, bool high) {
  return high ? b.createOrFold<arith::OrIOp>(loc, shiftRight(first, 16), bitAnd(second, -65536))
              : b.createOrFold<arith::OrIOp>(loc, bitAnd(first, 65535), b.createOrFold<arith::ShLIOp>(loc, second, i32(16)));
}

SmallVector<Value> TileEmitter::takeApart(ArrayRef<Value> words, int64_t streams) {
  const int64_t pairs = streams / 2, channels = words.size() / pairs;
  SmallVector<Value> apart;
  for (int64_t stream = 0; stream < streams; ++stream) {
    SmallVector<Value> parts;
    for (int64_t channel = 0; channel < channels; channel += 2)
      parts.push_back(halves(words[channel * pairs + stream / 2], words[(channel + 1) * pairs + stream / 2], stream % 2));
    apart.push_back(vectorOf(parts));
  }
  return apart;
}

SmallVector<Value> TileEmitter::putTogether(ArrayRef<Value> streams, int64_t channels) {
  SmallVector<Value> words;
  for (int64_t channel = 0; channel < channels; ++channel)
    for (size_t stream = 0; stream < streams.size(); stream += 2)
      words.push_back(halves(lane(streams[stream], channel / 2), lane(streams[stream + 1], channel / 2), channel % 2));
  return words;
}

//===----------------------------------------------------------------------===//
// Narrow code
//===----------------------------------------------------------------------===//

void TileEmitter::copyCoefficients(ArrayRef<std::pair<RowLoadOp, Value>> copies, Value first64, Value barrier, int64_t more) {
  Value valid = min(i64(GroupSlice::tokens), sub(rows, first64)), count = i32(more);
  SmallVector<Value> sizes;
  for (auto [op, to] : copies) {
    sizes.push_back(arith::TruncIOp::create(b, loc, b.getI32Type(), bitAnd(add(mul(valid, coefficientBytesOf(op)), 15), -16)));
    count = add(count, sizes.back());
  }
  expect(barrier, count);
  for (auto [copy, size] : llvm::zip(copies, sizes)) {
    auto [op, to] = copy;
    Value source = bytes(pointers[cast<BlockArgument>(op.getSource()).getArgNumber()], mul(first64, coefficientBytesOf(op)));
    NVVM::CpAsyncBulkGlobalToSharedClusterOp::create(b, loc, to, source, barrier, size, Value(), Value());
  }
}

SmallVector<Value> TileEmitter::loadRow(RowLoadOp op, Value rows, Value token) {
  auto type = cast<NarrowType>(op.getResult().getType());
  const int64_t elements = type.getNumElements(), each = coefficientBytesOf(op) / elements, piece = elements % 4 ? (elements % 2 ? 1 : 2) : 4;
  Value row = bytes(rows, mul(token, elements * each));
  SmallVector<Value> values;
  for (int64_t e = 0; e < elements; e += piece) {
    Type stored = piece == 1 ? type.getElementType() : Type(VectorType::get({piece}, type.getElementType()));
    Value loaded = load(stored, bytes(row, each * e), each * piece);
    for (int64_t i = 0; i < piece; ++i) {
      Value value = piece == 1 ? loaded : lane(loaded, i);
      values.push_back(each == 4 ? value : arith::ExtFOp::create(b, loc, compute, value).getResult());
    }
  }
  return values;
}

LogicalResult TileEmitter::emitNarrowOp(Operation &op) {
  loc = op.getLoc();
  auto typeOf = [](Value value) { return cast<NarrowType>(value.getType()); };
  auto memory = [&](Value argument, int64_t count, bool isRow) {
    Value base = pointers[cast<BlockArgument>(argument).getArgNumber()];
    return isRow ? address(base, cast<MemRefType>(argument.getType()).getElementType(), mul(token64, count)) : base;
  };
  if (auto loadOp = dyn_cast<RowLoadOp>(op)) {
    if (loadOp.getAccess() != Access::row && loadOp.getAccess() != Access::uniform)
      return op.emitOpError("expected rows or parameters in narrow code of family group");
    NarrowType type = typeOf(loadOp.getResult());
    Value base = memory(loadOp.getSource(), type.getNumElements(), loadOp.getAccess() == Access::row);
    scalars[loadOp.getResult()] = loadElements(base, type.getElementType(), type.getNumElements());
    return success();
  }
  if (auto storeOp = dyn_cast<RowStoreOp>(op)) {
    SmallVector<Value> values = narrowElements(storeOp.getValue());
    when(live, [&] { storeElements(values, memory(storeOp.getTarget(), values.size(), true), typeOf(storeOp.getValue()).getElementType()); });
    return success();
  }
  return emitNarrowCode(op, [&](Value value) { return narrowElements(value); }, [&](Value result, ArrayRef<Value> values) { scalars[result] = llvm::to_vector(values); });
}

Value TileEmitter::any(Value condition) {
  Value counted = arith::AndIOp::create(b, loc, condition, live);
  return NVVM::VoteSyncOp::create(b, loc, b.getI1Type(), i32(-1), counted, NVVM::VoteSyncKind::any);
}

} // namespace mlir::mhc::nvgpu
