//===- Commands.cpp - commands of a plan ------------------------------------===//

#include "EntryBuilder.h"

#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace mlir::mhc;
using plan::BufferKind;
using plan::ExprAttr;

LogicalResult EntryBuilder::emit(Operation &op) {
  return llvm::TypeSwitch<Operation *, LogicalResult>(&op)
      .Case([&](LaunchOp launch) { return emitLaunch(launch); })
      .Case([&](LinearOp linear) -> LogicalResult { // y [T, N] = x [T, K] W^T
        FailureOr<ExprAttr> rows = rowsOf(linear.getX());
        if (failed(rows))
          return failure();
        return emitGemm(op, linear.getX(), linear.getW(), linear.getY(), *rows,
                        constant(rowElements(linear.getY().getType())), constant(rowElements(linear.getX().getType())),
                        false, true);
      })
      .Case([&](LinearDxOp linear) -> LogicalResult { // dx [T, K] = dy [T, N] W
        FailureOr<ExprAttr> rows = rowsOf(linear.getDy());
        if (failed(rows))
          return failure();
        return emitGemm(op, linear.getDy(), linear.getW(), linear.getDx(), *rows,
                        constant(rowElements(linear.getDx().getType())),
                        constant(rowElements(linear.getDy().getType())), false, false);
      })
      .Case([&](LinearDwOp linear) -> LogicalResult { // dW [N, K] = dy^T x
        FailureOr<ExprAttr> rows = rowsOf(linear.getX());
        if (failed(rows))
          return failure();
        return emitGemm(op, linear.getDy(), linear.getX(), linear.getDw(),
                        constant(rowElements(linear.getDy().getType())), constant(rowElements(linear.getX().getType())),
                        *rows, true, false);
      })
      .Case([&](MatmulOp matmul) { return emitMatmul(matmul); })
      .Case([&](AttentionOp attention) { return emitAttention(attention); })
      .Case([&](AttentionVjpOp attention) { return emitAttentionVjp(attention); })
      .Case([&](SplitTokensOp split) { return emitSplitTokens(split); })
      .Case([&](EmbeddingVjpOp embedding) { return emitEmbeddingVjp(embedding); })
      .Case([&](SumOp sum) { return emitSum(sum); })
      .Case([&](RopeTableOp table) { return emitRopeTable(table); })
      .Case([&](ZerosOp zeros) -> LogicalResult {
        bool add;
        FailureOr<Value> out = define(zeros.getResult(), constant(rowElements(zeros.getResult().getType())), &add);
        if (succeeded(out) && !add)
          plan::FillOp::create(builder, op.getLoc(), *out, builder.getF64FloatAttr(0.0), placeOf(&op));
        return success(succeeded(out));
      })
      .Case([&](ScalarsOp scalars) -> LogicalResult {
        BufferSpec spec{BufferKind::scalars, builder.getF32Type(),
                        constant(rowElements(scalars.getResult().getType()))};
        buffers[scalars.getResult()] = sharedBuffer(spec, op.getLoc());
        return success();
      })
      .Case([&](ViewOp) { return success(); }) // another name for the same buffer
      .Case([&](func::ReturnOp ret) { return emitReturn(ret); })
      .Default([](Operation *other) { return other->emitOpError("expected no such op after phase 'kernels'"); });
}

//===----------------------------------------------------------------------===//
// Kernels
//===----------------------------------------------------------------------===//

/// Elements of a kernel argument's row, or of the whole where it has no rows.
static int64_t argumentElements(KernelOp kernel, unsigned index) {
  return rowElements(kernel.getBlock().getArgument(index).getType());
}

FailureOr<ExprAttr> EntryBuilder::launchRows(LaunchOp op, KernelOp kernel, ArrayRef<Value> inputs) {
  ExprAttr rows;
  std::string where;
  auto meet = [&](ExprAttr size, unsigned index, int64_t tokensPerRow = 1) -> LogicalResult {
    ExprAttr own = size.dividedBy(argumentElements(kernel, index));
    if (own)
      own = own.times(tokensPerRow);
    std::string what = "argument " + std::to_string(index);
    if (!own)
      return op.emitOpError("expected whole rows of ") << kernel.getBlock().getArgument(index).getType() << " in "
                                                       << what << ", but got " << size.str() << " elements";
    if (rows && rows != own)
      return op.emitOpError("expected one number of rows, but got ")
             << rows.str() << " of " << where << " and " << own.str() << " of " << what;
    rows = own;
    where = what;
    return success();
  };
  for (auto [i, buffer] : llvm::enumerate(inputs))
    if (plan::hasTokenRows(kernel, i) && failed(meet(sizeOf(buffer), i)))
      return failure();
  for (int64_t i = 0, e = kernel.getNumOutputs(); i < e; ++i) {
    unsigned index = kernel.getNumInputs() + i;
    auto type = cast<RankedTensorType>(op.getResult(i).getType());
    if (type.hasStaticShape() && plan::hasTokenRows(kernel, index) && failed(meet(constant(rowElements(type)), index)))
      return failure();
  }
  for (auto [i, buffer] : llvm::enumerate(inputs))
    for (Operation *user : kernel.getBlock().getArgument(i).getUsers())
      if (auto load = dyn_cast<RowLoadOp>(user); load && load.getAccess() == Access::shared && failed(meet(sizeOf(buffer), i, load.getDivisor())))
        return failure();
  // Only parameters go in: with results a token the tokens are all there are, else it is one computation.
  if (!rows)
    rows = llvm::any_of(op.getResultTypes(), [](Type type) { return hasRows(type); }) && hasSymbol("T") ? symbol("T")
                                                                                                        : constant(1);
  return rows;
}

LogicalResult EntryBuilder::emitLaunch(LaunchOp op) {
  auto kernel = symbolTable.lookup<KernelOp>(op.getKernel());
  if (!kernel)
    return op.emitOpError("expected a kernel '") << op.getKernel() << "'";
  int64_t inputCount = kernel.getNumInputs(), outputCount = kernel.getNumOutputs();
  if ((int64_t)op.getInputs().size() != inputCount ||
      (int64_t)op.getNumResults() != outputCount + kernel.getNumReductions())
    return op.emitOpError("expected the operands and results of kernel '") << op.getKernel() << "'";
  SmallVector<Value> args, partials, outs;
  SmallVector<bool> accumulate;
  for (Value input : op.getInputs()) {
    FailureOr<Value> buffer = use(input);
    if (failed(buffer))
      return failure();
    args.push_back(*buffer);
  }
  FailureOr<ExprAttr> rows = launchRows(op, kernel, args);
  if (failed(rows))
    return failure();
  for (int64_t i = 0; i < outputCount; ++i) {
    unsigned index = inputCount + i;
    int64_t elements = argumentElements(kernel, index);
    ExprAttr size = plan::hasTokenRows(kernel, index) ? rows->times(elements) : constant(elements);
    FailureOr<Value> buffer = define(op.getResult(i), size, nullptr);
    if (failed(buffer))
      return failure();
    args.push_back(*buffer);
  }
  for (int64_t i = 0, e = kernel.getNumReductions(); i < e; ++i) {
    ExprAttr size = constant(argumentElements(kernel, inputCount + outputCount + i));
    BufferSpec spec{BufferKind::partials, kernel.getCompute(), size};
    partials.push_back(makeBuffer(spec, op.getLoc()));
    bool add;
    FailureOr<Value> out = define(op.getResult(outputCount + i), size, &add);
    if (failed(out))
      return failure();
    outs.push_back(*out);
    accumulate.push_back(add);
  }
  SmallVector<Attribute> ints;
  for (Attribute name : kernel.getInts()) {
    StringRef text = cast<StringAttr>(name).getValue();
    if (!hasSymbol(text))
      return op.emitOpError("expected kernel '")
             << op.getKernel() << "' to need symbols of the entry only, but got '" << text << "'";
    ints.push_back(symbol(text));
  }
  plan::LaunchOp::create(builder, op.getLoc(), op.getKernelAttr(), args, partials, outs, *rows,
                         ints.empty() ? ArrayAttr() : builder.getArrayAttr(ints),
                         outs.empty() ? DenseBoolArrayAttr() : builder.getDenseBoolArrayAttr(accumulate),
                         op.getPlaceAttr());
  return success();
}

//===----------------------------------------------------------------------===//
// Library commands
//===----------------------------------------------------------------------===//

static ExprAttr product(ExprAttr x, ExprAttr y) {
  return x.isConstant() ? y.times(x.getConstant()) : x.times(y.getConstant());
}

LogicalResult EntryBuilder::emitGemm(Operation &op, Value a, Value b, Value result, ExprAttr m, ExprAttr n, ExprAttr k,
                                     bool transA, bool transB) {
  FailureOr<Value> left = use(a), right = use(b);
  bool add;
  if (failed(left) || failed(right))
    return failure();
  FailureOr<Value> out = define(result, product(m, n), &add);
  if (failed(out))
    return failure();
  plan::GemmOp::create(builder, op.getLoc(), *left, *right, *out, m, n, k, transA, transB, add, placeOf(&op));
  return success();
}

LogicalResult EntryBuilder::emitMatmul(MatmulOp op) {
  FailureOr<Value> a = use(op.getA()), b = use(op.getB()), c = op.getC() ? use(op.getC()) : FailureOr<Value>(Value());
  FailureOr<ExprAttr> batch = failed(a) ? FailureOr<ExprAttr>(failure()) : rowsOf(op.getA());
  if (failed(a) || failed(b) || failed(c) || failed(batch))
    return failure();
  if (!batch->isConstant())
    return op.emitOpError("expected a number of matrices that is known, but got ") << batch->str();
  FailureOr<Value> out = define(op.getResult(), batch->times(rowElements(op.getResult().getType())), nullptr);
  if (failed(out))
    return failure();
  plan::GemmOp::create(builder, op.getLoc(), *a, *b, *out, *c, constant(op.getM()), constant(op.getN()), constant(op.getK()), op.getTransA(), op.getTransB(),
                       /*accumulate=*/false, batch->getConstant(), op.getAlpha(), op.getBeta(), placeOf(op));
  return success();
}

static LogicalResult checkHeads(Operation *op, int64_t heads, int64_t kvHeads) {
  if (heads < 1 || kvHeads < 1)
    return op->emitOpError("expected at least one head, but got ") << heads << " and " << kvHeads;
  return success();
}

LogicalResult EntryBuilder::emitAttention(AttentionOp op) {
  if (failed(checkHeads(op, op.getHeads(), op.getKvHeads())))
    return failure();
  FailureOr<Value> q = use(op.getQ()), k = use(op.getK()), v = use(op.getV());
  FailureOr<ExprAttr> rows = failed(q) ? FailureOr<ExprAttr>(failure()) : rowsOf(op.getQ());
  if (failed(rows) || failed(k) || failed(v))
    return failure();
  if (!hasSymbol("B") || !hasSymbol("S"))
    return op.emitOpError("expected an entry with sequences, symbols 'B' and 'S'");
  FailureOr<Value> out = define(op.getResult(), rows->times(rowElements(op.getResult().getType())), nullptr);
  FailureOr<Value> lse = define(op.getLse(), rows->times(rowElements(op.getLse().getType())), nullptr);
  if (failed(out) || failed(lse))
    return failure();
  int64_t headDim = rowElements(op.getQ().getType()) / op.getHeads(),
          valueDim = rowElements(op.getV().getType()) / op.getKvHeads();
  plan::AttentionOp::create(builder, op.getLoc(), *q, *k, *v, *out, *lse, op.getHeads(), op.getKvHeads(), headDim,
                            valueDim, op.getScale(), symbol("B"), symbol("S"), placeOf(op));
  return success();
}

LogicalResult EntryBuilder::emitAttentionVjp(AttentionVjpOp op) {
  if (failed(checkHeads(op, op.getHeads(), op.getKvHeads())))
    return failure();
  SmallVector<Value> in;
  for (Value operand : op->getOperands()) {
    FailureOr<Value> buffer = use(operand);
    if (failed(buffer))
      return failure();
    in.push_back(*buffer);
  }
  if (!hasSymbol("B") || !hasSymbol("S"))
    return op.emitOpError("expected an entry with sequences, symbols 'B' and 'S'");
  FailureOr<Value> dq = define(op.getDq(), sizeOf(in[0]), nullptr), dk = define(op.getDk(), sizeOf(in[1]), nullptr),
                   dv = define(op.getDv(), sizeOf(in[2]), nullptr);
  if (failed(dq) || failed(dk) || failed(dv))
    return failure();
  int64_t headDim = rowElements(op.getQ().getType()) / op.getHeads(),
          valueDim = rowElements(op.getV().getType()) / op.getKvHeads();
  plan::AttentionBackwardOp::create(builder, op.getLoc(), in[0], in[1], in[2], in[3], in[4], in[5], *dq, *dk, *dv,
                                    op.getHeads(), op.getKvHeads(), headDim, valueDim, op.getScale(), symbol("B"),
                                    symbol("S"), placeOf(op));
  return success();
}

LogicalResult EntryBuilder::emitSplitTokens(SplitTokensOp op) {
  FailureOr<Value> tokens = use(op.getTokens());
  if (failed(tokens))
    return failure();
  if (!hasSymbol("T"))
    return op.emitOpError("expected an entry with symbol 'T'");
  SmallVector<Value> out;
  for (Value result : op.getResults()) {
    FailureOr<Value> buffer = define(result, symbol("T"), nullptr);
    if (failed(buffer))
      return failure();
    out.push_back(*buffer);
  }
  plan::SplitTokensOp::create(builder, op.getLoc(), *tokens, out[0], out.size() == 2 ? out[1] : Value(), op.getVocab(),
                              placeOf(op));
  return success();
}

LogicalResult EntryBuilder::emitEmbeddingVjp(EmbeddingVjpOp op) {
  FailureOr<Value> tokens = use(op.getTokens()), dx = use(op.getDx());
  bool add;
  if (failed(tokens) || failed(dx))
    return failure();
  FailureOr<Value> out = define(op.getDtable(), constant(rowElements(op.getDtable().getType())), &add);
  if (failed(out))
    return failure();
  plan::EmbeddingBackwardOp::create(builder, op.getLoc(), *tokens, *dx, *out, add, placeOf(op));
  return success();
}

//===----------------------------------------------------------------------===//
// Values that need no command, or little
//===----------------------------------------------------------------------===//

LogicalResult EntryBuilder::emitSum(SumOp op) {
  if (hasRows(op.getResult().getType()))
    return op.emitOpError("expected rows to be summed by kernels after phase 'kernels'");
  bool add = true;
  Value buffer = buffers.lookup(op.getResult()); // made by the first part that was written into it
  if (!buffer) {
    FailureOr<Value> made = define(op.getResult(), constant(rowElements(op.getResult().getType())), &add);
    if (failed(made))
      return failure();
    buffer = *made;
  }
  for (Value value : op.getValues()) {
    auto found = destinations.find(rootOf(value));
    if (found != destinations.end() && found->second.sum == op.getResult())
      continue;
    FailureOr<Value> part = use(value);
    if (failed(part))
      return failure();
    if (add)
      plan::AddOp::create(builder, op.getLoc(), *part, buffer, placeOf(op));
    else
      plan::CopyOp::create(builder, op.getLoc(), *part, buffer, placeOf(op));
    add = true;
  }
  return success();
}

LogicalResult EntryBuilder::emitRopeTable(RopeTableOp op) {
  if (!hasSymbol("S"))
    return op.emitOpError("expected an entry with sequences, symbol 'S'");
  auto type = cast<RankedTensorType>(op.getResult().getType());
  int64_t pairs = rowElements(type);
  std::string name = op.getSine() ? "rope_sin" : "rope_cos";
  std::string key;
  llvm::raw_string_ostream(key) << name << "|" << op.getThetaAttr() << "|" << type;
  Value &buffer = shared[key];
  if (!buffer) {
    BufferSpec spec{BufferKind::constant, type.getElementType(), symbol("S").times(pairs)};
    spec.name = name;
    buffer = makeBuffer(spec, op.getLoc());
    auto made = buffer.getDefiningOp<plan::BufferOp>();
    made.setGenerator(name);
    made.setThetaAttr(op.getThetaAttr());
    made.setPairs(pairs);
  }
  buffers[op.getResult()] = buffer;
  return success();
}

LogicalResult EntryBuilder::emitReturn(func::ReturnOp op) {
  for (OpOperand &operand : op->getOpOperands()) {
    unsigned index = operand.getOperandNumber();
    if (direct.lookup(index))
      continue;
    FailureOr<Value> from = use(operand.get());
    if (failed(from))
      return failure();
    FailureOr<Value> to =
        resultBuffer(index, cast<RankedTensorType>(operand.get().getType()).getElementType(), sizeOf(*from));
    if (failed(to))
      return failure();
    if (*from == *to)
      continue; // a state that stays as it is
    if (accumulates(index))
      plan::AddOp::create(builder, op.getLoc(), *from, *to, StringAttr());
    else
      plan::CopyOp::create(builder, op.getLoc(), *from, *to, StringAttr());
  }
  return success();
}
