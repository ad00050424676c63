//===- MhcOps.cpp - verifiers of the tensor ops -----------------------------===//
//
// Labels (C1, C2, ..) are those of the ops' descriptions; each has a negative test of its name.
//
//===----------------------------------------------------------------------===//

#include "mhc/Dialect/Mhc/IR/MhcOps.h"

#include "mlir/IR/Builders.h"

using namespace mlir;
using namespace mlir::mhc;

#define GET_OP_CLASSES
#include "mhc/Dialect/Mhc/IR/MhcTopologyOps.cpp.inc"
#define GET_OP_CLASSES
#include "mhc/Dialect/Mhc/IR/MhcManifoldOps.cpp.inc"
#define GET_OP_CLASSES
#include "mhc/Dialect/Mhc/IR/MhcLayerOps.cpp.inc"
#define GET_OP_CLASSES
#include "mhc/Dialect/Mhc/IR/MhcOptimizerOps.cpp.inc"

Value mhc::applied(OpBuilder &b, Location loc, Value coefficient, ConnectionAttr connection) {
  Type type = connection.getCoefficientType();
  return type ? CastOp::create(b, loc, withElementType(coefficient.getType(), type), coefficient).getResult() : coefficient;
}

static RankedTensorType tensor(Value v) { return cast<RankedTensorType>(v.getType()); }
static int64_t channels(Value v) { return tensor(v).getShape().back(); }
static int64_t streams(Value v) { return tensor(v).getRank() > 2 ? rowElements(v.getType()) / channels(v) : 1; }

static LogicalResult expect(Operation *op, bool holds, const Twine &message) {
  return holds ? success() : op->emitOpError(message);
}
/// Same shape and encoding; element types may differ.
static bool sameRows(Value a, Value b) { return tensor(a).getShape() == tensor(b).getShape() && tensor(a).getEncoding() == tensor(b).getEncoding(); }
static bool narrowRow(Value v, int64_t elements) { return hasRows(v.getType()) && isNarrow(v.getType()) && rowElements(v.getType()) == elements; }

LogicalResult SublayerOp::verify() {
  std::optional<ConnectionAttr> connection = getConnection();
  unsigned count = connection ? connection->parameterCount() : 0;
  if (getParameters().size() != count)
    return emitOpError("expected ") << count << " parameters, but got " << getParameters().size(); // C1
  bool delayed = isDelayed();
  auto yield = dyn_cast<YieldOp>(getBody().front().back());
  size_t extras = yield && yield.getNumOperands() ? yield.getNumOperands() - 1 : 0;
  if (getMixing() && (!connection || getOthers().size() != extras + delayed + 1 || !narrowRow(getHRes(), connection->getStreams() * connection->getStreams())))
    return emitOpError("expected a connection with 'mixing', and a narrow result of its matrices"); // C6
  if (bool(getHPre()) != delayed || getOthers().size() != extras + delayed + getMixing())
    return emitOpError("expected h_pre in and out with a delayed connection, and with that alone"); // C4
  if (getResult().getType() != getX().getType())
    return emitOpError("expected the result to have x's type, but got ") << getResult().getType(); // C2
  Block &block = getBody().front();
  Type u = RankedTensorType::get({ShapedType::kDynamic, channels(getX())}, tensor(getX()).getElementType());
  if (block.getNumArguments() != 1 || block.getArgument(0).getType() != u || !yield || yield.getNumOperands() < 1 || yield.getOperand(0).getType() != u)
    return emitOpError("expected the body to take and to yield ") << u; // C3
  return expect(*this, getExtras().getTypes() == ValueRange(yield.getOperands().drop_front()).getTypes(), "expected results of what the body yields after f"); // C5
}

LogicalResult CoefficientsOp::verify() {
  ConnectionAttr c = getConnection();
  int64_t n = c.getStreams(), k = c.isHc() ? channels(getX()) : n * channels(getX());
  ArrayRef<int64_t> phi = tensor(getPhi()).getShape();
  SmallVector<int64_t> expected{k, c.phiColumns()};
  if (c.getPhiTransposed())
    std::swap(expected[0], expected[1]);
  if (phi != ArrayRef<int64_t>(expected))
    return emitOpError("expected phi of ") << expected[0] << "x" << expected[1] << ", but got " << getPhi().getType(); // C1
  if (tensor(getAlpha()).getShape() != ArrayRef<int64_t>{3} || tensor(getBias()).getShape() != ArrayRef<int64_t>{c.biasSize()})
    return emitOpError("expected alpha of 3 and bias of ") << c.biasSize() << " elements"; // C2
  bool gain = getGain() && tensor(getGain()).getNumElements() == k;
  if (c.getNormWeight() ? !gain : bool(getGain()))
    return emitOpError("expected a gain of ") << k << " elements with normWeight, and with that alone"; // C4
  return expect(*this, streams(getX()) == n && narrowRow(getHPre(), n) && narrowRow(getHPost(), n) && narrowRow(getHRes(), n * n),
                "expected narrow coefficients of x's streams"); // C3
}

LogicalResult ExpandOp::verify() { return expect(*this, channels(getX()) == channels(getResult()), "expected as many channels in as out"); }
LogicalResult ReadoutOp::verify() { return expect(*this, channels(getX()) == channels(getResult()), "expected as many channels in as out"); }
LogicalResult AggregateOp::verify() {
  if (!narrowRow(getHPre(), streams(getX())))
    return emitOpError("expected h_pre of ") << streams(getX()) << " narrow elements, but got " << getHPre().getType(); // C1
  return expect(*this, channels(getU()) == channels(getX()), "expected u to have x's channels"); // C2
}
LogicalResult AggregateVjpOp::verify() {
  return expect(*this, sameRows(getX(), getDx()) && narrowRow(getHPre(), streams(getX())) && channels(getDu()) == channels(getX()),
                "expected gradients of the operands' shapes");
}
LogicalResult CombineOp::verify() {
  int64_t n = streams(getX());
  if (!narrowRow(getHPost(), n) || !narrowRow(getHRes(), n * n))
    return emitOpError("expected h_post of ") << n << " and h_res of " << n * n << " narrow elements"; // C1
  return expect(*this, channels(getF()) == channels(getX()) && sameRows(getX(), getResult()), "expected f and x' to have x's channels"); // C2
}
LogicalResult CombineVjpOp::verify() {
  return expect(*this, sameRows(getX(), getGradient()) && sameRows(getF(), getDf()), "expected gradients of the operands' shapes");
}
LogicalResult CombineDxOp::verify() { return expect(*this, sameRows(getGradient(), getDx()), "expected gradients of the operands' shapes"); }

LogicalResult RmsOp::verify() { return expect(*this, streams(getX()) % rowElements(getR().getType()) == 0, "expected the groups to divide the streams"); }
LogicalResult RmsVjpOp::verify() { return expect(*this, sameRows(getX(), getDx()) && sameRows(getR(), getDr()), "expected gradients of the operands' shapes"); }

static LogicalResult verifyProjection(Operation *op, Value wide, Value narrow, Value phi, bool transposed) {
  ArrayRef<int64_t> shape = tensor(phi).getShape();
  if (shape.size() != 2)
    return op->emitOpError("expected phi of two dimensions, but got ") << phi.getType();
  int64_t k = shape[transposed ? 1 : 0], m = shape[transposed ? 0 : 1], row = rowElements(wide.getType());
  if (row % k || k % channels(wide))
    return op->emitOpError("expected phi's ") << k << " rows to divide the row of " << row << " elements into whole streams"; // C1
  if (tensor(phi).getElementType() != tensor(narrow).getElementType())
    return op->emitOpError("expected phi of ") << tensor(narrow).getElementType() << ", but got " << phi.getType();
  return expect(op, narrowRow(narrow, row / k * m), "expected a narrow result of groups times columns"); // C2
}
LogicalResult ProjectionOp::verify() { return verifyProjection(*this, getV(), getResult(), getPhi(), getTransposed()); }
LogicalResult ProjectionDxOp::verify() { return verifyProjection(*this, getDv(), getDm(), getPhi(), getTransposed()); }
LogicalResult ProjectionDwOp::verify() { return verifyProjection(*this, getV(), getDm(), getDphi(), getTransposed()); }

static LogicalResult verifyFold(Operation *op, ValueRange matrices, Value gain, bool transposed) {
  RankedTensorType phi = tensor(matrices[0]);
  bool holds = phi.hasStaticShape() && phi.getRank() == 2 && tensor(gain).hasStaticShape() && tensor(gain).getRank() == 1 && tensor(gain).getDimSize(0) == phi.getDimSize(transposed ? 1 : 0);
  for (Value matrix : matrices)
    holds &= sameRows(matrix, matrices[0]);
  return expect(op, holds, transposed ? "expected parameters of [m, K] and a gain of [K]" : "expected parameters of [K, m] and a gain of [K]"); // C1
}
static LogicalResult verifyFolded(Operation *op, ValueRange results, ValueRange like) {
  Type compute = computeTypeOf(op->getContext(), op->getOperandTypes());
  bool holds = true;
  for (auto [result, each] : llvm::zip(results, like))
    holds &= result.getType() == withElementType(each.getType(), compute);
  return expect(op, holds, "expected results of the operands' shapes in the compute type"); // C2
}
LogicalResult FoldGainOp::verify() {
  if (failed(verifyFold(*this, getPhi(), getGain(), getTransposed())))
    return failure();
  return verifyFolded(*this, getResult(), getPhi());
}
LogicalResult FoldGainVjpOp::verify() {
  if (failed(verifyFold(*this, {getPhi(), getGradient()}, getGain(), getTransposed())))
    return failure();
  return verifyFolded(*this, getResults(), {getPhi(), getGain()});
}

LogicalResult DivideOp::verify() {
  if (!sameRows(getM(), getResult()))
    return emitOpError("expected the result to have m's shape"); // C1
  return expect(*this, rowElements(getM().getType()) % rowElements(getR().getType()) == 0, "expected r to have m's groups"); // C2
}
LogicalResult DivideVjpOp::verify() { return expect(*this, sameRows(getM(), getDm()) && sameRows(getR(), getDr()), "expected gradients of the operands' shapes"); }

static LogicalResult verifySelect(Operation *op, ArrayRef<int64_t> indices, Value from, Value to) {
  if ((int64_t)indices.size() != rowElements(to.getType()))
    return op->emitOpError("expected ") << rowElements(to.getType()) << " indices, but got " << indices.size(); // C1
  for (int64_t i : indices)
    if (i < 0 || i >= rowElements(from.getType()))
      return op->emitOpError("expected indices below ") << rowElements(from.getType()) << ", but got " << i; // C2
  return success();
}
LogicalResult SelectOp::verify() { return verifySelect(*this, getIndices(), getX(), getResult()); }
LogicalResult SelectVjpOp::verify() { return verifySelect(*this, getIndices(), getDx(), getGradient()); }

LogicalResult AffineOp::verify() {
  int64_t sum = 0;
  for (int64_t g : getGroups()) {
    if (g < 0)
      return emitOpError("expected groups of at least 0, but got ") << g; // C1
    sum += g;
  }
  if (sum != rowElements(getY().getType()))
    return emitOpError("expected groups that add up to ") << rowElements(getY().getType()) << ", but got " << sum; // C1
  if (tensor(getBias()).getNumElements() != sum)
    return emitOpError("expected a bias of ") << sum << " elements, but got " << getBias().getType(); // C2
  return expect(*this, tensor(getAlpha()).getNumElements() == (int64_t)getGroups().size(), "expected alpha to have an element for each group"); // C3
}
LogicalResult AffineVjpOp::verify() { return expect(*this, sameRows(getY(), getDy()) && sameRows(getAlpha(), getDalpha()), "expected gradients of the operands' shapes"); }
LogicalResult ActivationOp::verify() { return expect(*this, sameRows(getZ(), getResult()), "expected the result to have z's shape"); }
LogicalResult ActivationVjpOp::verify() { return expect(*this, sameRows(getZ(), getDz()), "expected the result to have z's shape"); }

LogicalResult ProjectOp::verify() {
  ArrayRef<int64_t> shape = tensor(getH()).getShape();
  if (getRadius()) {
    auto sphere = dyn_cast<SphereAttr>(getManifold());
    if (!sphere || sphere.getRadius() || !narrowRow(getRadius(), 1))
      return emitOpError("expected a radius with #mhc.sphere, which has none of its own, and one narrow element a row"); // C3
    if (!hasRows(getH().getType()) || isNarrow(getH().getType()) || isInterleaved(getH().getType()) || streams(getH()) != 1)
      return emitOpError("expected wide rows of one stream with a radius, but got ") << getH().getType(); // C1
    return expect(*this, sameRows(getZ(), getH()), "expected Z to have H's shape"); // C2
  }
  if (shape.size() != 3 || shape[1] != shape[2] || !isNarrow(getH().getType()))
    return emitOpError("expected narrow square matrices, but got ") << getH().getType(); // C1
  return expect(*this, sameRows(getZ(), getH()), "expected Z to have H's shape"); // C2
}
LogicalResult ProjectVjpOp::verify() { return expect(*this, sameRows(getZ(), getDz()), "expected the result to have Z's shape"); }
LogicalResult ConstantRowsOp::verify() {
  return expect(*this, (int64_t)getValues().size() == rowElements(getResult().getType()), "expected as many values as elements");
}

LogicalResult CastOp::verify() { return expect(*this, sameRows(getValue(), getResult()), "expected shapes and encodings to agree"); }
LogicalResult SumOp::verify() {
  return expect(*this, !getValues().empty() && llvm::all_of(getValues(), [&](Value v) { return sameRows(v, getResult()); }), "expected operands of the result's shape");
}
LogicalResult ScaleOp::verify() { return expect(*this, sameRows(getValue(), getResult()), "expected the result to have the operand's shape"); }
LogicalResult RmsNormOp::verify() {
  if (!sameRows(getX(), getResult()))
    return emitOpError("expected the result to have x's shape"); // C1
  int64_t group = getPerStream() ? channels(getX()) : rowElements(getX().getType());
  return expect(*this, !getGain() || tensor(getGain()).getNumElements() == group, "expected the gain to have the elements of a group"); // C2
}
LogicalResult RmsNormVjpOp::verify() { return expect(*this, sameRows(getX(), getDx()) && bool(getGain()) == bool(getDgain()), "expected gradients of the operands' shapes"); }
LogicalResult AddBiasOp::verify() {
  if (!sameRows(getX(), getResult()))
    return emitOpError("expected the result to have x's shape"); // C1
  return expect(*this, tensor(getBias()).getNumElements() == channels(getX()), "expected a bias of x's channels"); // C2
}
LogicalResult SumTokensOp::verify() {
  return expect(*this, tensor(getResult()).hasStaticShape() && tensor(getResult()).getNumElements() == rowElements(getX().getType()), "expected as many elements as a row");
}
LogicalResult RopeOp::verify() {
  if (getHeadsAttr().getInt() < 1)
    return emitOpError("expected at least one head, but got ") << getHeadsAttr().getInt(); // C3
  if (channels(getCos()) != channels(getSin()) || channels(getCos()) % channels(getX()) || !sameRows(getX(), getResult()))
    return emitOpError("expected tables of one size, which whole streams of x make up"); // C1
  return expect(*this, 2 * channels(getCos()) <= rowElements(getX().getType()), "expected at most half of x's streams to be turned by a table"); // C2
}

/// Rows [T, n, g] of streams that lie one after the other.
static bool wideRow(Value v) { return hasRows(v.getType()) && !isNarrow(v.getType()) && !isInterleaved(v.getType()); }
static LogicalResult verifyPart(Operation *op, Value whole, Value part, int64_t first) {
  if (!wideRow(whole) || !wideRow(part) || channels(whole) != channels(part))
    return op->emitOpError("expected wide rows of as many channels"); // C1
  return expect(op, first >= 0 && first <= streams(whole) - streams(part), "expected streams of " + Twine(streams(whole)) + ", but got " + Twine(streams(part)) + " from " + Twine(first)); // C2
}
LogicalResult SliceOp::verify() {
  if (tensor(getX()).getElementType() != tensor(getResult()).getElementType())
    return emitOpError("expected element types to agree"); // C1
  return verifyPart(*this, getX(), getResult(), getFirst());
}
LogicalResult PadOp::verify() { return verifyPart(*this, getResult(), getX(), getFirst()); }
LogicalResult ConcatOp::verify() {
  int64_t sum = 0;
  for (Value v : getValues()) {
    if (!wideRow(v) || channels(v) != channels(getResult()) || tensor(v).getElementType() != tensor(getResult()).getElementType())
      return emitOpError("expected wide rows of the result's channels and element type, but got ") << v.getType(); // C1
    sum += streams(v);
  }
  return expect(*this, wideRow(getResult()) && sum == streams(getResult()), "expected streams that add up to the result's"); // C2
}
LogicalResult RepeatOp::verify() {
  bool rows = hasRows(getX().getType()), narrow = rows && isNarrow(getX().getType());
  int64_t most = int64_t(1) << (narrow ? 31 : 20);
  if (getTimesAttr().getInt() < 1 || getTimesAttr().getInt() > most)
    return emitOpError("expected each row 1 to ") << most << " times, but got " << getTimesAttr().getInt(); // C1
  return expect(*this, (narrow || wideRow(getX())) && getX().getType() == getResult().getType(), "expected rows, and the result to have x's type"); // C2
}
LogicalResult SumStreamsOp::verify() {
  return expect(*this, wideRow(getX()) && wideRow(getResult()) && channels(getX()) == channels(getResult()) && streams(getX()) % streams(getResult()) == 0,
                "expected wide rows, whose streams the result's divide");
}
LogicalResult ScaleRowsOp::verify() {
  if (!wideRow(getX()) || streams(getX()) != 1 || !sameRows(getX(), getResult()))
    return emitOpError("expected x of one stream, and the result to have its shape"); // C1
  return expect(*this, narrowRow(getW(), 1), "expected one narrow weight a row"); // C2
}
LogicalResult DotRowsOp::verify() {
  if (!wideRow(getX()) || !sameRows(getX(), getY()) || streams(getX()) != 1)
    return emitOpError("expected operands of one shape, of one stream"); // C1
  return expect(*this, narrowRow(getResult(), 1), "expected one narrow element a row"); // C2
}
LogicalResult SwigluOp::verify() { return expect(*this, sameRows(getGate(), getUp()) && sameRows(getGate(), getResult()), "expected operands and result of one shape"); }
LogicalResult SwigluVjpOp::verify() { return expect(*this, sameRows(getGate(), getDgate()) && sameRows(getUp(), getDup()), "expected gradients of the operands' shapes"); }
LogicalResult EmbeddingOp::verify() { return expect(*this, channels(getTable()) == channels(getResult()), "expected as many channels in the table as out"); }
LogicalResult CrossEntropyOp::verify() { return expect(*this, narrowRow(getTargets(), 1) && narrowRow(getLoss(), 1), "expected a target and a loss a token"); }
LogicalResult CrossEntropyVjpOp::verify() { return expect(*this, sameRows(getLogits(), getDlogits()) && narrowRow(getGradient(), 1), "expected gradients of the operands' shapes"); }
LogicalResult TokenWeightOp::verify() {
  return expect(*this, llvm::all_of(getIndices(), [&](int64_t i) { return i >= 0 && i < tensor(getScalars()).getNumElements(); }), "expected indices of scalars");
}
LogicalResult WeightedSumOp::verify() { return expect(*this, narrowRow(getValue(), 1) && narrowRow(getWeight(), 1), "expected one element a token"); }
LogicalResult SumSquaresOp::verify() { return expect(*this, tensor(getResult()).getNumElements() == 1, "expected one result"); }
LogicalResult ClipFactorOp::verify() { return expect(*this, tensor(getResult()).getNumElements() == 1, "expected one result"); }
LogicalResult AdamwOp::verify() {
  return expect(*this, sameRows(getW(), getG()) && sameRows(getW(), getM()) && sameRows(getW(), getV()), "expected weight, gradient and states of one shape");
}

LogicalResult ViewOp::verify() {
  return expect(*this, tensor(getValue()).getElementType() == tensor(getResult()).getElementType(), "expected element types to agree");
}
LogicalResult LinearOp::verify() {
  ArrayRef<int64_t> w = tensor(getW()).getShape();
  return expect(*this, w.size() == 2 && w[1] == rowElements(getX().getType()) && w[0] == rowElements(getY().getType()), "expected x of [T, K], W of [N, K], y of [T, N]");
}
LogicalResult LinearDxOp::verify() {
  ArrayRef<int64_t> w = tensor(getW()).getShape();
  return expect(*this, w.size() == 2 && w[0] == rowElements(getDy().getType()) && w[1] == rowElements(getDx().getType()), "expected dy of [T, N], W of [N, K], dx of [T, K]");
}
LogicalResult LinearDwOp::verify() {
  ArrayRef<int64_t> w = tensor(getDw()).getShape();
  return expect(*this, w.size() == 2 && w[0] == rowElements(getDy().getType()) && w[1] == rowElements(getX().getType()), "expected x of [T, K], dy of [T, N], dW of [N, K]");
}
LogicalResult EmbeddingVjpOp::verify() {
  return expect(*this, tensor(getDtable()).getRank() == 2 && channels(getDtable()) == rowElements(getDx().getType()), "expected dx of [T, C] and a table of [V, C]");
}
LogicalResult SplitTokensOp::verify() {
  bool results = getNumResults() == 1 || getNumResults() == 2;
  for (Value v : getResults())
    results &= tensor(v).getRank() == 1 && hasRows(v.getType()) && tensor(v).getElementType().isInteger(32);
  return expect(*this, results && cast<RankedTensorType>(getTokens().getType()).getRank() == 2 && getVocabAttr().getInt() >= 1,
                "expected tokens of [B, S], a vocabulary, and one or two results of i32 rows");
}
LogicalResult AttentionVjpOp::verify() {
  return expect(*this, sameRows(getQ(), getDq()) && sameRows(getK(), getDk()) && sameRows(getV(), getDv()) && sameRows(getOutput(), getGradient()),
                "expected gradients of the operands' shapes");
}

static LogicalResult verifyYield(Operation *op, Block &block) {
  auto yield = dyn_cast<YieldOp>(block.back());
  if (!yield || yield.getOperandTypes() != op->getResultTypes())
    return op->emitOpError("expected the body to yield the results"); // C1
  return success();
}
LogicalResult FusionOp::verify() { return verifyYield(*this, getBody().front()); }
LogicalResult RecomputeOp::verify() { return verifyYield(*this, getBody().front()); }

//===----------------------------------------------------------------------===//
// Folds: what does nothing
//===----------------------------------------------------------------------===//

/// The operand, if it stands for the result as it is.
static OpFoldResult same(Value operand, Value result, bool holds = true) {
  return holds && operand.getType() == result.getType() ? OpFoldResult(operand) : OpFoldResult();
}
OpFoldResult CastOp::fold(FoldAdaptor) { return same(getValue(), getResult()); }
OpFoldResult ScaleOp::fold(FoldAdaptor) { return same(getValue(), getResult(), getFactor().isExactlyValue(1.0)); }
OpFoldResult SumOp::fold(FoldAdaptor) { return getValues().size() == 1 ? same(getValues()[0], getResult()) : OpFoldResult(); }
OpFoldResult ViewOp::fold(FoldAdaptor) { return same(getValue(), getResult()); }
OpFoldResult SelectOp::fold(FoldAdaptor) {
  bool inOrder = true;
  for (auto [i, index] : llvm::enumerate(getIndices()))
    inOrder &= index == (int64_t)i;
  return same(getX(), getResult(), inOrder);
}

LogicalResult AttentionOp::verify() {
  int64_t h = getHeads(), kv = getKvHeads();
  bool divides = h > 0 && kv > 0 && h % kv == 0 && channels(getQ()) % h == 0 && channels(getK()) % kv == 0 && channels(getV()) % kv == 0;
  return expect(*this, divides && channels(getQ()) / h == channels(getK()) / kv && channels(getResult()) / h == channels(getV()) / kv,
                "expected row lengths that agree with the heads");
}
