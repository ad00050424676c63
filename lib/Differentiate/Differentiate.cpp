//===- Differentiate.cpp - derive the backward functions --------------------===//
//
// Reverse accumulation over one block, through the ops' own VJPs. What the forward pass keeps for backward is plain SSA: a value used after
// the loss. Recompute regions are dissolved here.
//
//===----------------------------------------------------------------------===//

#include "mhc/Dialect/Mhc/IR/MhcOps.h"
#include "mhc/Differentiate/Passes.h"
#include "mhc/Transforms/Decision.h"

#include "mlir/IR/IRMapping.h"

#include <deque>

namespace mlir::mhc {
#define GEN_PASS_DEF_DIFFERENTIATEPASS
#include "mhc/Differentiate/Passes.h.inc"

namespace {

/// A region of `mhc.recompute` after inlining: its ops, and which of its values are kept.
struct RecomputeBlock {
  SmallVector<Operation *> ops;
  llvm::DenseMap<Value, Value> again; ///< clones, once backward has reached the block
  bool cloned = false;
};

class Differentiator : public VjpContext {
public:
  Differentiator(OpBuilder &b, func::FuncOp forward) : VjpContext(b, forward.getLoc()), forward(forward) {}

  LogicalResult run(StringRef name) {
    function = forward.clone();
    function.setName(name);
    for (StringRef attribute : {"mhc.vjp", "mhc.keep_results"})
      function->removeAttr(attribute);
    builder.setInsertionPointAfter(forward);
    builder.insert(function);
    Block &block = function.getBody().front();
    auto ret = cast<func::ReturnOp>(block.getTerminator());
    dissolveRecompute(block);
    findActive(block);
    SmallVector<Operation *> ops;
    for (Operation &op : block.without_terminator())
      ops.push_back(&op);

    builder.setInsertionPoint(ret);
    if (failed(seed(ret)))
      return failure();
    for (Operation *op : llvm::reverse(ops))
      if (failed(visit(op)))
        return failure();
    if (failed(finish(ret)))
      return failure();
    // The forward part's layers outside have run: their f is there from the start, and u is computed again for nobody.
    for (Operation *op : ops)
      if (auto layer = dyn_cast<ExternalLayerOp>(op))
        layer.replaceAllUsesWith(layer.getF());
    roundInMatmuls(block);
    eraseDead(block);
    report(block);
    return success();
  }

  Value primal(Value value) override {
    auto it = blockOf.find(value.getDefiningOp());
    if (it == blockOf.end())
      return value;
    auto &again = recomputed[it->second].again;
    auto clone = again.find(value);
    return clone == again.end() ? value : clone->second;
  }
  Value cotangent(Value value) override { return cotangents.lookup(value); }

private:
  //===--------------------------------------------------------------------===//
  // Recomputation
  //===--------------------------------------------------------------------===//

  void dissolveRecompute(Block &block) {
    SmallVector<RecomputeOp> regions(block.getOps<RecomputeOp>());
    for (RecomputeOp region : regions) {
      RecomputeBlock &info = recomputed.emplace_back();
      Block &body = region.getBody().front();
      Operation *yield = body.getTerminator();
      region.replaceAllUsesWith(yield->getOperands());
      yield->erase();
      for (Operation &op : llvm::make_early_inc_range(body)) {
        if (auto keep = dyn_cast<KeepOp>(op)) {
          kept.insert(keep.getValue());
          keep.replaceAllUsesWith(keep.getValue());
          keep.erase();
          continue;
        }
        info.ops.push_back(&op);
        blockOf[&op] = recomputed.size() - 1;
      }
      block.getOperations().splice(region->getIterator(), body.getOperations());
      region.erase();
    }
  }

  /// Clones the ops of a block whose results were not kept, where backward reaches it.
  void recompute(RecomputeBlock &info) {
    info.cloned = true;
    IRMapping mapping;
    for (Operation *op : info.ops) {
      // One kept result keeps the op: what else it gives (attention's log-sum-exp) is there too.
      if (llvm::any_of(op->getResults(), [&](Value v) { return kept.contains(v); }))
        continue;
      Operation *copy = builder.clone(*op, mapping);
      copy->setAttr("mhc.recomputed", builder.getUnitAttr());
      for (auto [from, to] : llvm::zip(op->getResults(), copy->getResults())) {
        // The block's last x is the next block's first, which is kept.
        if (kept.contains(from) || isBoundary(from, info)) {
          mapping.erase(from);
          continue;
        }
        info.again[from] = to;
      }
    }
  }
  bool isBoundary(Value v, RecomputeBlock &info) {
    for (Operation *user : v.getUsers()) {
      auto it = blockOf.find(user);
      bool forwardUse = it != blockOf.end() ? &recomputed[it->second] != &info : forwardOps.contains(user);
      if (forwardUse && hasRows(v.getType()) && !isNarrow(v.getType()))
        return true;
    }
    return false;
  }

  //===--------------------------------------------------------------------===//
  // Activity, seeds
  //===--------------------------------------------------------------------===//

  /// Values that depend on an argument that asks for a gradient.
  void findActive(Block &block) {
    for (BlockArgument argument : block.getArguments())
      if (function.getArgAttr(argument.getArgNumber(), "mhc.grad"))
        active.insert(argument);
    for (Operation &op : block) {
      forwardOps.insert(&op);
      if (llvm::any_of(op.getOperands(), [&](Value v) { return active.contains(v); }))
        active.insert_range(op.getResults());
    }
  }

  LogicalResult seed(func::ReturnOp ret) {
    Block &block = *ret->getBlock();
    for (auto [i, value] : llvm::enumerate(ret.getOperands())) {
      auto name = function.getResultAttrOfType<StringAttr>(i, "mhc.cotangent");
      if (!name)
        continue;
      if (name.empty()) {
        if (hasRows(value.getType()) || cast<ShapedType>(value.getType()).getNumElements() != 1)
          return function.emitError("expected the loss (result ") << i << ") to be one number, but got " << value.getType();
        lossResults.insert(value);
        continue;
      }
      SmallVector<NamedAttribute> attributes{builder.getNamedAttr("mhc.name", name)};
      if (!forward->hasAttr("mhc.keep_results"))
        attributes.push_back(builder.getNamedAttr("mhc.cotangent", name)); // what does not depend on one is forward, computed again
      for (StringRef slice : {"mhc.slice", "mhc.slices"})
        if (Attribute attribute = function.getResultAttr(i, slice))
          attributes.push_back(builder.getNamedAttr(slice, attribute));
      Value given = block.addArgument(value.getType(), loc);
      gradientArguments.push_back(builder.getDictionaryAttr(attributes));
      cotangents[value] = given;
      // A layer outside hands the gradient of what it read over only once it has that of what it gave.
      if (llvm::none_of(value.getUsers(), [&](Operation *user) { return isa<ExternalLayerOp>(user) && user->getOperand(0) == value; }))
        parts[value].push_back(given);
    }
    return success();
  }

  //===--------------------------------------------------------------------===//
  // The reverse sweep
  //===--------------------------------------------------------------------===//

  /// The gradient of a value from its parts: added in the compute type, rounded once to the value's type where it is a row of channels.
  Value gradientOf(Value value) {
    auto it = parts.find(value);
    if (it == parts.end() || it->second.empty())
      return {};
    auto type = cast<RankedTensorType>(value.getType());
    if (Value done = finished.lookup(value)) // no part comes after the first question
      return done;
    Value sum = it->second[0];
    Location at = value.getLoc();
    if (it->second.size() > 1)
      sum = SumOp::create(builder, at, withElementType(type, computeTypeOf(builder.getContext(), type)), it->second);
    bool rounds = hasRows(type) && !isNarrow(type) && type.getElementType().isBF16();
    if (rounds && !cast<ShapedType>(sum.getType()).getElementType().isBF16())
      sum = CastOp::create(builder, at, type, sum);
    return finished[value] = sum;
  }

  LogicalResult visit(Operation *op) {
    auto it = blockOf.find(op);
    if (it != blockOf.end() && !recomputed[it->second].cloned)
      recompute(recomputed[it->second]);
    if (llvm::none_of(op->getResults(), [&](Value v) { return active.contains(v); }))
      return success();
    SmallVector<Value> gradients;
    bool any = false;
    loc = op->getLoc();
    for (Value v : op->getResults()) {
      Value g = gradientOf(v);
      bool isLoss = lossResults.contains(v);
      any |= g || isLoss;
      gradients.push_back(g);
    }
    if (!any)
      return success();
    auto differentiable = dyn_cast<DifferentiableOpInterface>(op);
    if (!differentiable)
      return op->emitError("op has no gradient");
    if (lossResults.contains(op->getResult(0)) && !isa<WeightedSumOp, TotalLossOp>(op))
      return op->emitError("expected the loss to come from 'mhc.weighted_sum' or 'mhc.total_loss'");
    // An op with several results has a gradient for the first; what it keeps beside it (attention's log-sum-exp) has none.
    if (!gradients[0] && !lossResults.contains(op->getResult(0)) && op->getNumResults() > 1 &&
        !isa<RouteOp, RouterStatisticsOp>(op))
      return op->emitError("expected a gradient of the first result");
    SmallVector<Value> operandParts(op->getNumOperands());
    differentiable.buildVjp(*this, gradients, operandParts);
    for (auto [operand, part] : llvm::zip(op->getOperands(), operandParts))
      if (part && active.contains(operand))
        parts[operand].push_back(part);
    return success();
  }

  LogicalResult finish(func::ReturnOp ret) {
    Block &block = function.getBody().front();
    SmallVector<Value> results;
    SmallVector<Attribute> resultAttributes;
    if (forward->hasAttr("mhc.keep_results"))
      for (auto [i, value] : llvm::enumerate(ret.getOperands())) {
        NamedAttrList attributes(function.getResultAttrDict(i));
        attributes.erase("mhc.cotangent");
        results.push_back(value);
        resultAttributes.push_back(attributes.getDictionary(builder.getContext()));
      }
    // Gradients of intermediate values that the caller wants to see.
    for (auto [i, value] : llvm::enumerate(ret.getOperands())) {
      auto name = function.getResultAttrOfType<StringAttr>(i, "mhc.result_gradient");
      if (!name)
        continue;
      Value gradient = gradientOf(value);
      if (!gradient)
        return function.emitError("expected a result that depends on result '") << name.getValue() << "', whose gradient is asked for";
      results.push_back(gradient);
      resultAttributes.push_back(builder.getDictionaryAttr(builder.getNamedAttr("mhc.name", name)));
    }
    unsigned given = block.getNumArguments() - gradientArguments.size();
    SmallVector<Attribute> argumentAttributes;
    for (unsigned i = 0; i < given; ++i) {
      NamedAttrList attributes(function.getArgAttrDict(i));
      auto name = dyn_cast_or_null<StringAttr>(attributes.erase("mhc.grad"));
      Attribute gradient = attributes.erase("mhc.gradient");
      argumentAttributes.push_back(attributes.getDictionary(builder.getContext()));
      if (!name)
        continue;
      Value value = block.getArgument(i);
      loc = value.getLoc();
      Value result = gradientOf(value);
      if (!result) {
        if (hasRows(value.getType()))
          return function.emitError("expected a result that depends on argument '") << name.getValue() << "', which asks for a gradient";
        result = ZerosOp::create(builder, loc, withElementType(value.getType(), computeTypeOf(builder.getContext(), value.getType())));
      }
      NamedAttrList named;
      named.set("mhc.name", name);
      if (gradient)
        named.set("mhc.gradient", gradient);
      for (StringRef slice : {"mhc.slice", "mhc.slices"})
        if (Attribute attribute = attributes.get(slice))
          named.set(slice, attribute);
      results.push_back(result);
      resultAttributes.push_back(named.getDictionary(builder.getContext()));
    }
    argumentAttributes.append(gradientArguments.begin(), gradientArguments.end());
    ret->setOperands(results);
    SmallVector<Type> types;
    for (Value v : results)
      types.push_back(v.getType());
    function.setFunctionType(builder.getFunctionType(block.getArgumentTypes(), types));
    function.setAllArgAttrs(argumentAttributes);
    function.setAllResultAttrs(resultAttributes);
    return success();
  }

  /// A matmul's unrounded result that is only rounded is rounded by the matmul, once.
  void roundInMatmuls(Block &block) {
    SmallVector<Operation *> products;
    for (Operation &op : block)
      if (isa<LinearOp, LinearDxOp, GroupedMatmulOp>(op) && op.hasOneUse())
        products.push_back(&op);
    for (Operation *op : products) {
      auto cast = dyn_cast<CastOp>(*op->user_begin());
      if (!cast)
        continue;
      op->getResult(0).setType(cast.getResult().getType());
      cast.replaceAllUsesWith(op->getResult(0));
      cast.erase();
    }
  }

  /// What the forward part leaves for backward, and what backward computes again.
  void report(Block &block) {
    int64_t kept = 0, values = 0, again = 0;
    for (Operation &op : block) {
      again += op.hasAttr("mhc.recomputed");
      if (!forwardOps.contains(&op))
        continue;
      for (Value v : op.getResults()) {
        if (!hasRows(v.getType()) || isNarrow(v.getType()) || llvm::all_of(v.getUsers(), [&](Operation *user) { return forwardOps.contains(user); }))
          continue;
        ++values;
        kept += rowBytes(v.getType());
      }
    }
    emitDecision(function.getLoc(), "mhc-differentiate", "backward", function, true,
                 "the forward part keeps " + Twine(values) + " rows of " + Twine(kept) + " bytes a token; backward computes " + Twine(again) + " ops again");
  }

  void eraseDead(Block &block) {
    for (Operation &op : llvm::make_early_inc_range(llvm::reverse(block)))
      if (op.use_empty() && isPure(&op) && !isa<func::ReturnOp>(op))
        op.erase();
  }

  func::FuncOp forward, function;
  std::deque<RecomputeBlock> recomputed;
  llvm::DenseMap<Operation *, size_t> blockOf;
  llvm::DenseSet<Value> kept, active, lossResults;
  llvm::DenseSet<Operation *> forwardOps;
  llvm::DenseMap<Value, Value> cotangents;
  llvm::DenseMap<Value, SmallVector<Value>> parts;
  llvm::DenseMap<Value, Value> finished;
  SmallVector<Attribute> gradientArguments;
};

struct DifferentiatePass : impl::DifferentiatePassBase<DifferentiatePass> {
  void runOnOperation() override {
    SmallVector<func::FuncOp> functions(getOperation().getOps<func::FuncOp>());
    for (func::FuncOp function : functions) {
      auto name = function->getAttrOfType<StringAttr>("mhc.vjp");
      if (!name)
        continue;
      if (!function.getBody().hasOneBlock()) {
        function.emitError("expected a function of one block to differentiate");
        return signalPassFailure();
      }
      OpBuilder b(&getContext());
      if (failed(Differentiator(b, function).run(name)))
        return signalPassFailure();
      function->removeAttr("mhc.vjp");
      // A loss alone is no entry of its own; a forward function is, without its marks.
      if (function->removeAttr("mhc.keep_results")) {
        function.erase();
        continue;
      }
      for (unsigned i = 0; i < function.getNumArguments(); ++i)
        for (StringRef mark : {"mhc.grad", "mhc.gradient"})
          function.removeArgAttr(i, mark);
      for (unsigned i = 0; i < function.getNumResults(); ++i)
        for (StringRef mark : {"mhc.cotangent", "mhc.result_gradient"})
          function.removeResultAttr(i, StringAttr::get(&getContext(), mark));
      strip(function);
    }
  }

  /// The forward function itself keeps everything: its recompute regions have no meaning.
  static void strip(func::FuncOp function) {
    Block &block = function.getBody().front();
    for (auto region : llvm::make_early_inc_range(block.getOps<RecomputeOp>())) {
      Block &body = region.getBody().front();
      Operation *yield = body.getTerminator();
      region.replaceAllUsesWith(yield->getOperands());
      yield->erase();
      for (auto keep : llvm::make_early_inc_range(body.getOps<KeepOp>())) {
        keep.replaceAllUsesWith(keep.getValue());
        keep.erase();
      }
      block.getOperations().splice(region->getIterator(), body.getOperations());
      region.erase();
    }
  }
};

} // namespace
} // namespace mlir::mhc
