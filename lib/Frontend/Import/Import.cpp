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
  auto function = b.create<func::FuncOp>(place(name), name, b.getFunctionType({}, {}));
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
  b.create<func::ReturnOp>(b.getUnknownLoc(), results);
  SmallVector<Type> types;
  for (Value value : results)
    types.push_back(value.getType());
  function.setFunctionType(b.getFunctionType(function.getArgumentTypes(), types));
  function.setAllResultAttrs(ArrayRef<DictionaryAttr>(resultAttributes));
}

Value FunctionImporter::rounded(Location loc, Value value, Type element) {
  if (cast<ShapedType>(value.getType()).getElementType() == element)
    return value;
  return b.create<CastOp>(loc, withElementType(value.getType(), element), value);
}

ConnectionAttr FunctionImporter::connection(const ::mhc::HyperConnection &hc) {
  MLIRContext *context = b.getContext();
  ManifoldAttrInterface manifold;
  using Kind = ::mhc::ManifoldKind;
  const auto &sinkhorn = hc.convention.sinkhorn;
  if (hc.topology == ::mhc::Topology::hc || hc.manifold.kind == Kind::unconstrained)
    manifold = cast<ManifoldAttrInterface>(Attribute(UnconstrainedAttr::get(context)));
  else if (hc.manifold.kind == Kind::identity)
    manifold = cast<ManifoldAttrInterface>(Attribute(IdentityAttr::get(context)));
  else
    manifold = cast<ManifoldAttrInterface>(Attribute(BirkhoffAttr::get(context, sinkhorn.iterations, sinkhorn.firstOverInputs)));
  return ConnectionAttr::get(context, hc.topology == ::mhc::Topology::hc ? "hc" : "mhc", hc.n, manifold, b.getF64FloatAttr(hc.convention.rms.eps),
                             b.getF64FloatAttr(hc.convention.postScale), hc.convention.phiTransposed);
}

std::array<Value, 3> FunctionImporter::coefficients(Location loc, Value x, const ConnectionParameters &p, ConnectionAttr connection) {
  int64_t n = connection.getStreams();
  Type element = cast<ShapedType>(p.alpha.getType()).getElementType();
  auto op = b.create<CoefficientsOp>(loc, TypeRange{narrowTensor({n}, element), narrowTensor({n}, element), narrowTensor({n, n}, element)}, x, p.phi,
                                     p.alpha, p.bias, connection);
  return {op.getHPre(), op.getHPost(), op.getHRes()};
}

//===----------------------------------------------------------------------===//
// hyper_connection, hyper_connection_chain
//===----------------------------------------------------------------------===//

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
  Value x = f.argument("x", f.rows({n, C}, element), "dx");
  SmallVector<Value> fs;
  SmallVector<ConnectionParameters> parameters;
  for (int64_t l = 0; l < L; ++l)
    fs.push_back(f.argument("f", f.rows({C}, element), "df", slice(l)));
  for (int64_t l = 0; l < L; ++l)
    parameters.push_back({f.argument("phi", RankedTensorType::get(phiShape, narrow), "dphi", slice(l)), Value(), Value()});
  for (int64_t l = 0; l < L; ++l)
    parameters[l].alpha = f.argument("alpha", RankedTensorType::get({3}, narrow), "dalpha", slice(l));
  for (int64_t l = 0; l < L; ++l)
    parameters[l].bias = f.argument("bias", RankedTensorType::get({kind.hc.biasSize()}, narrow), "dbias", slice(l));

  for (int64_t l = 0; l < L; ++l) {
    Location loc = f.place(kind.chain ? "sublayer " + Twine(l) : Twine("hyper_connection"));
    auto [pre, post, res] = f.coefficients(loc, x, parameters[l], connection);
    Value u = f.rounded(loc, b.create<AggregateOp>(loc, f.rows({C}, narrow), x, pre), element);
    f.result(u, "u", "du", slice(l));
    if (!kind.chain) {
      f.result(pre, "h_pre");
      f.result(post, "h_post");
      f.result(res, "h_res");
    }
    Value layer = kind.chain ? b.create<ExternalLayerOp>(loc, fs[l].getType(), u, fs[l]).getResult() : fs[l];
    x = f.rounded(loc, b.create<CombineOp>(loc, withElementType(x.getType(), narrow), x, layer, post, res), element);
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
  return module;
}
