//===- Import.cpp - from a description to IR --------------------------------===//

#include "mhc/Frontend/Import.h"
#include "ImportInternal.h"

using namespace mlir;
using namespace mlir::mhc;

Type FunctionImporter::elementType(::mhc::Dtype dtype) {
  switch (dtype) {
  case ::mhc::Dtype::bf16:
    return b.getBF16Type();
  case ::mhc::Dtype::fp32:
    return b.getF32Type();
  case ::mhc::Dtype::fp64:
    return b.getF64Type();
  }
  llvm_unreachable("dtype");
}

RankedTensorType FunctionImporter::rows(ArrayRef<int64_t> shape, Type element) {
  SmallVector<int64_t> dims{ShapedType::kDynamic};
  dims.append(shape.begin(), shape.end());
  return RankedTensorType::get(dims, element);
}

RankedTensorType FunctionImporter::streams(int64_t n, int64_t channels, Type element, bool interleaved) {
  return RankedTensorType::get({ShapedType::kDynamic, n, channels}, element, interleaved ? InterleavedEncodingAttr::get(b.getContext()) : Attribute());
}

Location FunctionImporter::place(const Twine &name) { return NameLoc::get(b.getStringAttr(name)); }

Value FunctionImporter::argument(Type type, ArrayRef<NamedAttribute> attributes) {
  auto function = cast<func::FuncOp>(b.getInsertionBlock()->getParentOp());
  unsigned index = function.getNumArguments();
  LogicalResult inserted = function.insertArgument(index, type, b.getDictionaryAttr(attributes), b.getUnknownLoc());
  (void)inserted;
  return function.getArgument(index);
}

Value FunctionImporter::argument(StringRef name, Type type, StringRef gradient, std::optional<Slice> slice) {
  SmallVector<NamedAttribute> attributes = bindings(name, slice);
  if (!gradient.empty())
    attributes.push_back(b.getNamedAttr("mhc.grad", b.getStringAttr(gradient)));
  return argument(type, attributes);
}

SmallVector<NamedAttribute> FunctionImporter::bindings(StringRef name, std::optional<Slice> slice) {
  SmallVector<NamedAttribute> attributes{b.getNamedAttr("mhc.name", b.getStringAttr(name))};
  if (slice) {
    attributes.push_back(b.getNamedAttr("mhc.slice", b.getI64IntegerAttr(slice->index)));
    attributes.push_back(b.getNamedAttr("mhc.slices", b.getI64IntegerAttr(slice->count)));
  }
  return attributes;
}

func::FuncOp FunctionImporter::begin(StringRef name, ArrayRef<StringRef> symbols) {
  b.setInsertionPointToEnd(module.getBody());
  auto function = func::FuncOp::create(b, place(name), name, b.getFunctionType({}, {}));
  function->setAttr("mhc.entry", b.getUnitAttr());
  function->setAttr("mhc.symbols", b.getStrArrayAttr(symbols));
  b.setInsertionPointToStart(function.addEntryBlock());
  results.clear();
  resultAttributes.clear();
  return function;
}

void FunctionImporter::result(Value value, ArrayRef<NamedAttribute> attributes) {
  results.push_back(value);
  resultAttributes.push_back(b.getDictionaryAttr(attributes));
}

void FunctionImporter::result(Value value, StringRef name, std::optional<StringRef> cotangent, std::optional<Slice> slice) {
  SmallVector<NamedAttribute> attributes = bindings(name, slice);
  if (cotangent)
    attributes.push_back(b.getNamedAttr("mhc.cotangent", b.getStringAttr(*cotangent)));
  result(value, attributes);
}

void FunctionImporter::end() {
  auto function = cast<func::FuncOp>(b.getInsertionBlock()->getParentOp());
  func::ReturnOp::create(b, b.getUnknownLoc(), results);
  SmallVector<Type> types;
  for (Value value : results)
    types.push_back(value.getType());
  function.setFunctionType(b.getFunctionType(function.getArgumentTypes(), types));
  function.setAllResultAttrs(ArrayRef<DictionaryAttr>(resultAttributes));
}

Value FunctionImporter::rounded(Location loc, Value value, Type element) {
  if (cast<ShapedType>(value.getType()).getElementType() == element)
    return value;
  return CastOp::create(b, loc, withElementType(value.getType(), element), value);
}

Attribute FunctionImporter::manifoldAttr(const ::mhc::HyperConnection &hc) {
  MLIRContext *context = b.getContext();
  using Kind = ::mhc::ManifoldKind;
  switch (hc.manifold.kind) {
  case Kind::birkhoff: {
    using Sinkhorn = ::mhc::Convention::Sinkhorn;
    const Sinkhorn &s = hc.convention.sinkhorn;
    // `log` is `exp` in another domain: which domain computes is the code generator's matter.
    auto start = s.start == Sinkhorn::softmax ? SinkhornStart::softmax : SinkhornStart::exp;
    auto denominator = s.denominator == Sinkhorn::none     ? SinkhornDenominator::none
                       : s.denominator == Sinkhorn::addEps ? SinkhornDenominator::add_eps
                                                           : SinkhornDenominator::max_eps;
    bool readsEps = start == SinkhornStart::softmax || denominator != SinkhornDenominator::none;
    return BirkhoffAttr::get(context, s.iterations, s.firstOverInputs, start, denominator, readsEps ? b.getF64FloatAttr(s.eps) : FloatAttr());
  }
  case Kind::permutationHull:
    return PermutationHullAttr::get(context);
  case Kind::orthogonal:
    return OrthogonalAttr::get(context);
  case Kind::sphere:
    return SphereAttr::get(context, hc.manifold.radius ? b.getF64FloatAttr(*hc.manifold.radius) : FloatAttr(), b.getF64FloatAttr(hc.manifold.eps));
  case Kind::simplex:
    return SimplexAttr::get(context);
  case Kind::unconstrained:
    return UnconstrainedAttr::get(context);
  case Kind::identity:
    return IdentityAttr::get(context);
  }
  llvm_unreachable("manifold");
}

ConnectionAttr FunctionImporter::connection(const ::mhc::HyperConnection &hc) {
  MLIRContext *context = b.getContext();
  auto manifold = cast<ManifoldAttrInterface>(hc.topology == ::mhc::Topology::hc ? Attribute(UnconstrainedAttr::get(context)) : manifoldAttr(hc));
  const ::mhc::Convention &c = hc.convention;
  auto mapping = [](::mhc::Mapping m) {
    return m == ::mhc::Mapping::dynamic ? Mapping::dynamic_mapping : m == ::mhc::Mapping::constant ? Mapping::static_mapping : Mapping::fixed_mapping;
  };
  return ConnectionAttr::get(context, hc.topology == ::mhc::Topology::hc ? "hc" : "mhc", hc.n, manifold, b.getF64FloatAttr(c.rms.eps), b.getF64FloatAttr(c.postScale),
                             c.phiTransposed, c.rms.inverseOfRootPlusEps, c.preEps != 0 ? b.getF64FloatAttr(c.preEps) : FloatAttr(), c.transposedRes,
                             c.bf16Coefficients ? Type(b.getBF16Type()) : Type(), mapping(c.pre), mapping(c.post), mapping(c.res), c.layoutTCn, c.normWeight, c.fBias,
                             c.delayed);
}

std::array<Value, 3> FunctionImporter::coefficients(Location loc, Value x, const ConnectionParameters &p, ConnectionAttr connection) {
  int64_t n = connection.getStreams();
  Type element = cast<ShapedType>(p.alpha.getType()).getElementType();
  auto op = CoefficientsOp::create(b, loc, TypeRange{narrowTensor({n}, element), narrowTensor({n}, element), narrowTensor({n, n}, element)}, x, p.phi,
                                     p.alpha, p.bias, p.gain, connection);
  return {op.getHPre(), op.getHPost(), op.getHRes()};
}

//===----------------------------------------------------------------------===//
// hyper_connection, hyper_connection_chain
//===----------------------------------------------------------------------===//

/// h_res as the description stores it: [in, out] for `H^T x`.
static Value asStored(FunctionImporter &f, Location loc, Value res, ConnectionAttr connection) {
  if (!connection.getTransposedRes())
    return res;
  SmallVector<int64_t> order(connection.getStreams() * connection.getStreams());
  for (int64_t o = 0, n = connection.getStreams(); o < n; ++o)
    for (int64_t i = 0; i < n; ++i)
      order[connection.resIndex(o, i)] = o * n + i;
  return SelectOp::create(f.b, loc, res.getType(), res, order);
}

Value mlir::mhc::firstStream(FunctionImporter &f, Value x, int64_t n, Type narrow) {
  SmallVector<double> unit(n, 0.0);
  unit[0] = 1.0;
  return ConstantRowsOp::create(f.b, f.place("first sublayer"), narrowTensor({n}, narrow), x, unit);
}

namespace {
void importHyperConnection(FunctionImporter &f, const ::mhc::HyperConnectionKind &kind) {
  OpBuilder &b = f.b;
  Type element = f.elementType(kind.dtype), narrow = kind.dtype == ::mhc::Dtype::fp64 ? b.getF64Type() : b.getF32Type();
  int64_t n = kind.hc.n, C = kind.hiddenSize, L = kind.chain ? kind.depth : 1;
  ConnectionAttr connection = f.connection(kind.hc);
  SmallVector<int64_t> phiShape{kind.hc.phiRows(C), kind.hc.phiColumns()};
  if (connection.getPhiTransposed())
    std::swap(phiShape[0], phiShape[1]);

  func::FuncOp function = f.begin("forward", {"T"});
  function->setAttr("mhc.vjp", b.getStringAttr("backward"));
  auto slice = [&](int64_t l) { return kind.chain ? std::optional<Slice>(Slice{l, L}) : std::nullopt; };
  const ::mhc::Convention &c = kind.hc.convention;
  Value x = f.argument("x", f.streams(n, C, element, c.layoutTCn), "dx");
  SmallVector<Value> fs;
  SmallVector<ConnectionParameters> parameters;
  for (int64_t l = 0; l < L; ++l)
    fs.push_back(f.argument("f", f.rows({C}, element), "df", slice(l)));
  for (int64_t l = 0; l < L; ++l)
    parameters.push_back({f.argument("phi", RankedTensorType::get(phiShape, narrow), "dphi", slice(l)), {}, {}, {}, {}});
  for (int64_t l = 0; l < L; ++l)
    parameters[l].alpha = f.argument("alpha", RankedTensorType::get({3}, narrow), "dalpha", slice(l));
  for (int64_t l = 0; l < L; ++l)
    parameters[l].bias = f.argument("bias", RankedTensorType::get({kind.hc.biasSize()}, narrow), "dbias", slice(l));

  if (c.normWeight)
    for (int64_t l = 0; l < L; ++l)
      parameters[l].gain = f.argument("norm_weight", RankedTensorType::get({kind.hc.phiRows(C)}, narrow), "dnorm_weight", slice(l));
  if (c.fBias)
    for (int64_t l = 0; l < L; ++l)
      parameters[l].fBias = f.argument("f_bias", RankedTensorType::get({C}, narrow), "df_bias", slice(l));
  // delayed: what a sublayer reads through was predicted by the one before it; a chain begins with stream 0.
  Value given;
  if (c.delayed)
    given = kind.chain ? firstStream(f, x, n, narrow) : f.argument("h_pre_in", narrowTensor({n}, narrow), "dh_pre_in");

  for (int64_t l = 0; l < L; ++l) {
    Location loc = f.place(kind.chain ? "sublayer " + Twine(l) : Twine("hyper_connection"));
    auto [pre, post, res] = f.coefficients(loc, x, parameters[l], connection);
    Value through = c.delayed ? given : pre;
    Value u = f.rounded(loc, AggregateOp::create(b, loc, f.rows({C}, narrow), x, applied(b, loc, through, connection)), element);
    f.result(u, "u", "du", slice(l));
    if (!kind.chain) {
      f.result(pre, "h_pre", c.delayed ? std::optional<StringRef>("dh_pre") : std::nullopt);
      f.result(post, "h_post");
      f.result(asStored(f, loc, res, connection), "h_res");
    }
    Value layer = kind.chain ? ExternalLayerOp::create(b, loc, fs[l].getType(), u, fs[l]).getResult() : fs[l];
    if (c.fBias)
      layer = AddBiasOp::create(b, loc, f.rows({C}, narrow), layer, parameters[l].fBias);
    Value next = CombineOp::create(b, loc, withElementType(x.getType(), narrow), x, layer, applied(b, loc, post, connection), applied(b, loc, res, connection));
    x = f.rounded(loc, next, element);
    given = pre;
  }
  f.result(x, "x_next", "dx_next");
  f.end();
}
} // namespace

OwningOpRef<ModuleOp> mlir::mhc::importDescription(const ::mhc::Description &description, MLIRContext &context) {
  context.loadDialect<MhcDialect, func::FuncDialect>();
  OpBuilder b(&context);
  OwningOpRef<ModuleOp> module = ModuleOp::create(b.getUnknownLoc());
  FunctionImporter importer{b, *module};
  if (auto *kind = std::get_if<::mhc::HyperConnectionKind>(&description.value))
    importHyperConnection(importer, *kind);
  else if (auto *model = std::get_if<::mhc::LanguageModel>(&description.value))
    importLanguageModel(importer, *model);
  else if (auto *optimizer = std::get_if<::mhc::OptimizerStepKind>(&description.value))
    importOptimizer(importer, *optimizer);
  return module;
}
