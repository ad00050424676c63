//===- PlanJson.cpp - plan.json ---------------------------------------------===//
//
// The plan dialect field by field, in the words of docs/design/package.md.
//
//===----------------------------------------------------------------------===//

#include "PlanJson.h"
#include "mhc/Package/Package.h"

#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace mlir::mhc;
using plan::ExprAttr;

static Json expression(ExprAttr expr) {
  if (expr.isConstant())
    return expr.getConstant();
  Json json = Json::object();
  for (auto [symbol, coefficient] : llvm::zip(expr.getSymbols(), expr.getCoefficients()))
    json[symbol.str()] = coefficient;
  if (expr.getConstant())
    json["1"] = expr.getConstant();
  return json;
}

static std::string dtype(Type type) {
  std::string text;
  llvm::raw_string_ostream(text) << type;
  return text;
}

namespace {
class EntryWriter {
public:
  Json write(plan::EntryOp entry) {
    Json buffers = Json::array();
    for (auto buffer : entry.getBlock().getOps<plan::BufferOp>()) {
      ids[buffer.getBuffer()] = buffers.size();
      buffers.push_back(writeBuffer(buffer, buffers.size()));
    }
    Json json = Json::object();
    if (entry.getBlockRows())
      json["block_rows"] = *entry.getBlockRows();
    if (auto floor = entry->getAttrOfType<IntegerAttr>("mhc.floor"); floor && entry.getSymbols().size() == 1)
      json["floor"] = {{cast<StringAttr>(entry.getSymbols()[0]).str(), floor.getInt()}};
    json["buffers"] = std::move(buffers);
    json["commands"] = writeBlock(entry.getBlock());
    if (!again.empty())
      json["again"] = again;
    return json;
  }

private:
  Json writeBuffer(plan::BufferOp op, int64_t id) {
    Json json = {{"id", id}};
    if (op.getName())
      json["name"] = op.getName()->str();
    json["dtype"] = dtype(op.getElementType());
    json["size"] = expression(op.getSize());
    json["kind"] = plan::stringifyBufferKind(op.getKind()).str();
    if (op.getBase())
      json["base"] = ids.lookup(op.getBase());
    if (op.getTensor())
      json["tensor"] = op.getTensor()->str();
    if (op.getSlice()) {
      json["slice"] = *op.getSlice();
      json["slices"] = *op.getSlices();
    }
    if (op.getLive())
      json["live"] = std::vector<int64_t>(op.getLive()->begin(), op.getLive()->end());
    if (op.getArena())
      json["arena"] = op.getArena()->str();
    if (op.getBegin())
      json["begin"] = *op.getBegin();
    if (op.getGenerator()) {
      Json generator = {{"kind", op.getGenerator()->str()}};
      generator["theta"] = op.getTheta()->convertToDouble();
      generator["pairs"] = *op.getPairs();
      json["generator"] = std::move(generator);
    }
    return json;
  }

  Json writeBlock(Block &block) {
    Json commands = Json::array();
    for (Operation &op : block)
      if (isa<plan::CommandInterface>(op))
        commands.push_back(writeCommand(op));
    return commands;
  }

  int64_t id(Value buffer) { return ids.lookup(buffer); }
  Json idList(ValueRange buffers) {
    Json list = Json::array();
    for (Value buffer : buffers)
      list.push_back(id(buffer));
    return list;
  }

  Json writeCommand(Operation &op) {
    if (op.hasAttr("mhc.again"))
      again.push_back(nextIndex);
    ++nextIndex; // in preorder, as live ranges count
    Json json = {{"op", op.getName().stripDialect().str()}};
    if (auto at = op.getAttrOfType<StringAttr>("at"))
      json["at"] = at.str();
    llvm::TypeSwitch<Operation *>(&op)
        .Case([&](plan::LaunchOp launch) { writeLaunch(launch, json); })
        .Case([&](plan::GemmOp gemm) {
          json["m"] = expression(gemm.getM());
          json["n"] = expression(gemm.getN());
          json["k"] = expression(gemm.getK());
          json["a"] = id(gemm.getA());
          json["b"] = id(gemm.getB());
          json["c"] = id(gemm.getC());
          json["trans_a"] = gemm.getTransA();
          json["trans_b"] = gemm.getTransB();
          json["accumulate"] = gemm.getAccumulate();
          if (gemm.getBatch() != 1)
            json["batch"] = gemm.getBatch();
          if (!gemm.getAlpha().isExactlyValue(1.0))
            json["alpha"] = gemm.getAlpha().convertToDouble();
          if (gemm.getD()) {
            json["d"] = id(gemm.getD());
            json["beta"] = gemm.getBeta().convertToDouble();
          }
        })
        .Case([&](plan::AttentionOp attention) { writeAttention(attention, json); })
        .Case([&](plan::AttentionBackwardOp attention) {
          writeAttention(attention, json);
          json["dout"] = id(attention.getDout());
          json["dq"] = id(attention.getDq());
          json["dk"] = id(attention.getDk());
          json["dv"] = id(attention.getDv());
        })
        .Case([&](plan::SplitTokensOp split) {
          json["tokens"] = id(split.getTokens());
          json["inputs"] = id(split.getInputs());
          json["targets"] = split.getTargets() ? Json(id(split.getTargets())) : Json();
          json["vocab"] = split.getVocab();
        })
        .Case([&](plan::EmbeddingBackwardOp embedding) {
          json["tokens"] = id(embedding.getTokens());
          json["dx"] = id(embedding.getDx());
          json["out"] = id(embedding.getOut());
          json["accumulate"] = embedding.getAccumulate();
        })
        .Case([&](plan::DispatchOp dispatch) {
          json["index"] = id(dispatch.getIndex());
          json["counts"] = id(dispatch.getCounts());
          json["offsets"] = id(dispatch.getOffsets());
          json["gather"] = id(dispatch.getGather());
          json["order"] = id(dispatch.getOrder());
          json["reverse"] = id(dispatch.getReverse());
          json["dropped"] = id(dispatch.getDropped());
          json["rows"] = expression(dispatch.getRows());
          json["choices"] = dispatch.getChoices();
          json["experts"] = dispatch.getExperts();
          if (dispatch.getCapacity())
            json["capacity"] = dispatch.getCapacity()->convertToDouble();
        })
        .Case([&](plan::GroupedMatmulOp matmul) {
          json["x"] = id(matmul.getX());
          json["w"] = id(matmul.getW());
          json["offsets"] = id(matmul.getOffsets());
          json["y"] = id(matmul.getY());
          writeGroups(matmul, json);
          json["transposed"] = matmul.getTransposed();
        })
        .Case([&](plan::GroupedOuterOp outer) {
          json["x"] = id(outer.getX());
          json["y"] = id(outer.getY());
          json["offsets"] = id(outer.getOffsets());
          json["out"] = id(outer.getOut());
          writeGroups(outer, json);
          json["accumulate"] = outer.getAccumulate();
        })
        .Case([&](plan::ExpertLoadOp load) {
          json["counts"] = id(load.getCounts());
          if (load.getPrevious())
            json["previous"] = id(load.getPrevious());
          json["share"] = id(load.getShare());
          json["total"] = id(load.getTotal());
        })
        .Case([&](plan::SequenceLoadOp load) {
          json["index"] = id(load.getIndex());
          json["share"] = id(load.getShare());
          json["rows"] = expression(load.getRows());
          json["length"] = expression(load.getLength());
          json["choices"] = load.getChoices();
          json["experts"] = load.getExperts();
        })
        .Case([&](plan::UpdateBiasOp update) {
          json["bias"] = id(update.getBias());
          json["counts"] = id(update.getCounts());
          if (update.getFactor())
            json["factor"] = id(update.getFactor());
          json["out"] = id(update.getOut());
          json["experts"] = update.getExperts();
          json["rate"] = update.getRate().convertToDouble();
        })
        .Case([&](plan::LoopOp loop) {
          json["count"] = loop.getCount().str();
          json["body"] = writeBlock(loop.getBody().front());
        })
        .Case([&](plan::FillOp fill) {
          json["buffer"] = id(fill.getBuffer());
          json["value"] = fill.getValue().convertToDouble();
        })
        .Case<plan::AddOp, plan::CopyOp>([&](auto move) {
          json["src"] = id(move.getSrc());
          json["dst"] = id(move.getDst());
        });
    return json;
  }

  void writeLaunch(plan::LaunchOp launch, Json &json) {
    json["kernel"] = launch.getKernel().str();
    json["args"] = idList(launch.getArgs());
    json["rows"] = expression(launch.getRows());
    if (launch.getInts()) {
      Json &ints = json["ints"] = Json::array();
      for (Attribute expr : launch.getIntsAttr())
        ints.push_back(expression(cast<ExprAttr>(expr)));
    }
    if (launch.getOuts().empty())
      return;
    Json &reductions = json["reductions"] = Json::array();
    for (auto [partial, out, accumulate] : llvm::zip(launch.getPartials(), launch.getOuts(), *launch.getAccumulate()))
      reductions.push_back({{"partial", id(partial)}, {"out", id(out)}, {"accumulate", bool(accumulate)}});
  }

  template <typename Op> void writeGroups(Op op, Json &json) {
    json["rows"] = expression(op.getRows());
    json["k"] = op.getK();
    json["n"] = op.getN();
    json["groups"] = op.getGroups();
  }

  template <typename Op> void writeAttention(Op op, Json &json) {
    json["q"] = id(op.getQ());
    json["k"] = id(op.getK());
    json["v"] = id(op.getV());
    json["out"] = id(op.getOut());
    json["lse"] = id(op.getLse());
    json["heads"] = op.getHeads();
    json["kv_heads"] = op.getKvHeads();
    json["head_dim"] = op.getHeadDim();
    json["value_dim"] = op.getValueDim();
    json["scale"] = op.getScale().convertToDouble();
    json["sequences"] = expression(op.getSequences());
    json["length"] = expression(op.getLength());
  }

  DenseMap<Value, int64_t> ids;
  std::vector<int64_t> again;
  int64_t nextIndex = 0;
};
} // namespace

Json mlir::mhc::writeEntry(plan::EntryOp entry) { return EntryWriter().write(entry); }

std::string mlir::mhc::entryJson(plan::EntryOp entry) { return text(writeEntry(entry), 1); }
