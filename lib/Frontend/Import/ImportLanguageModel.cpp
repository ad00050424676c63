//===- ImportLanguageModel.cpp - the functions of a language model ----------===//

#include "ImportInternal.h"

#include "llvm/ADT/StringMap.h"
#include <cmath>

using namespace mlir;
using namespace mlir::mhc;

namespace {

/// Slots of the step's scalars (docs/design/package.md).
enum ScalarSlot { lossScale = 3, weightDecay = 5, scheduleFactor = 9, inverseTokens = 10, gradientSquares = 16, clipFactor = 17 };

class ModelImporter {
public:
  ModelImporter(FunctionImporter &f, const ::mhc::LanguageModel &model)
      : f(f), b(f.b), model(model), element(f.elementType(model.dtype)), f32(b.getF32Type()) {
    arena = ::mhc::layOutParameters(model);
  }

  void importForward() {
    f.begin("forward", {"B", "S"});
    parameters(/*gradients=*/false);
    Value tokens = tokenArgument(/*shift=*/0);
    auto split = SplitTokensOp::create(b, f.place("tokens"), TypeRange{rowsOfTokens()}, tokens, model.vocabSize);
    f.result(logits(split.getResult(0)), "logits");
    f.end();
  }

  /// The mean cross-entropy; `train`: differentiated.
  void importLoss(StringRef name, bool train) {
    func::FuncOp function = f.begin(name, {"B", "S"});
    if (train) {
      function->setAttr("mhc.vjp", b.getStringAttr("loss_and_gradients"));
      function->setAttr("mhc.keep_results", b.getUnitAttr());
    }
    parameters(train);
    training = train;
    Location loc = f.place("loss");
    Value tokens = tokenArgument(/*shift=*/1);
    auto split = SplitTokensOp::create(b, f.place("tokens"), TypeRange{rowsOfTokens(), rowsOfTokens()}, tokens, model.vocabSize);
    Value each = CrossEntropyOp::create(b, loc, narrowTensor({1}, f32), logits(split.getResult(0)), split.getResult(1));
    Value scalars = ScalarsOp::create(b, loc, RankedTensorType::get({64}, f32));
    Value weight = TokenWeightOp::create(b, loc, narrowTensor({1}, f32), each, scalars, b.getDenseI64ArrayAttr({lossScale, inverseTokens}), b.getF64FloatAttr(1.0));
    Value crossEntropy = WeightedSumOp::create(b, loc, RankedTensorType::get({1}, f32), each, weight), loss = crossEntropy;
    if (!balance.empty())
      loss = TotalLossOp::create(b, loc, RankedTensorType::get({1}, f32), scalars, crossEntropy, balance);
    if (train)
      f.result(loss, "loss", StringRef(""));
    f.result(crossEntropy, "cross_entropy");
    for (const Outcome &outcome : outcomes)
      f.result(outcome.value, outcome.attributes);
    f.end();
  }

  /// What the model does on the way to its streams' last state, which nobody reads.
  void importMonitor() {
    f.begin("monitor", {"B", "S"});
    parameters(/*gradients=*/false);
    Value tokens = tokenArgument(/*shift=*/0);
    monitor.emplace(f, model);
    auto split = SplitTokensOp::create(b, f.place("tokens"), TypeRange{rowsOfTokens()}, tokens, model.vocabSize);
    streams(split.getResult(0));
    for (const Outcome &outcome : outcomes)
      f.result(outcome.value, outcome.attributes);
    f.end();
    monitor.reset();
  }

  void importWeightChange() { ::importWeightChange(f, arena); }

  /// One optimizer step on the arenas: one range a batch of weights that are updated alike.
  void importUpdate() {
    const ::mhc::Training::Optimizer &o = model.training.optimizer;
    f.begin("update", {});
    Location loc = f.place("optimizer");
    auto range = [&](StringRef name, int64_t begin, int64_t rows, Type type) { return f.argument(type, stateAttributes(name, begin, rows)); };
    RankedTensorType chunk = f.rows({64}, f32);
    Value all = range("gradients", 0, arena.stateBegin / 64, chunk);
    Value scalars = ScalarsOp::create(b, loc, RankedTensorType::get({64}, f32));
    auto one = RankedTensorType::get({1}, f32);
    Value squares = SumSquaresOp::create(b, loc, one, all);
    Value factor = ClipFactorOp::create(b, loc, one, squares, scalars);
    for (const ::mhc::UpdateBatch &batch : arena.batches) {
      WeightStep step;
      step.rule = batch.rule;
      step.rows = batch.rows;
      step.columns = batch.columns;
      step.matricesOfNorm = batch.matricesOfNorm;
      step.momentum = o.momentum;
      step.newtonSchulzEps = o.nsEps;
      step.decaySlots = {weightDecay, scheduleFactor};
      // Adam's elements are as good in one row as in another; matrices are rows.
      Type type = batch.matrices ? f.rows({batch.rows * batch.columns}, f32) : chunk;
      int64_t rows = batch.matrices ? batch.matrices : batch.elements / 64;
      WeightValues in;
      in.w = range("parameters", batch.begin, rows, type);
      in.g = range("gradients", batch.begin, rows, type);
      in.factor = factor;
      in.scalars = scalars;
      SmallVector<StringRef> names = batch.rule.isMuon() ? SmallVector<StringRef>{"momentum"} : SmallVector<StringRef>{"exp_avg", "exp_avg_sq"};
      for (StringRef name : names)
        in.states.push_back(range(name, batch.state, rows, type));
      if (batch.rule.isSphere())
        in.radius = range("radius", batch.radius, batch.matrices / batch.matricesOfNorm, narrowTensor({1}, f32));
      WeightResults out = buildWeightStep(f, loc, step, in);
      f.result(out.w, stateAttributes("parameters", batch.begin, rows));
      for (auto [name, state] : llvm::zip(names, out.states))
        f.result(state, stateAttributes(name, batch.state, rows));
    }
    if (model.router.expertBiasRate && expertBlocks())
      updateBiases(factor);
    f.result(squares, {b.getNamedAttr("mhc.scalar", b.getI64IntegerAttr(gradientSquares))});
    f.result(factor, {b.getNamedAttr("mhc.scalar", b.getI64IntegerAttr(clipFactor))});
    f.end();
  }

private:
  SmallVector<NamedAttribute> stateAttributes(StringRef arena, int64_t begin, std::optional<int64_t> rows = std::nullopt) { return arenaRange(b, arena, begin, rows); }

  int64_t expertBlocks() { return ::mhc::expertBlocks(model); }

  /// Loss-free balancing, from the counts of the whole step; all blocks at once.
  void updateBiases(Value factor) {
    int64_t blocks = expertBlocks(), E = model.nRoutedExperts;
    auto stack = llvm::find_if(arena.stacks, [](const auto &stack) { return stack.name == ::mhc::biasStack; });
    SmallVector<NamedAttribute> place = stateAttributes("parameters", stack->offset);
    Value bias = f.argument(RankedTensorType::get({blocks, E}, f32), place);
    Value counts = f.argument(RankedTensorType::get({blocks, E}, b.getI64Type()), stateAttributes("expert_counts", 0));
    f.result(UpdateBiasOp::create(b, f.place("expert_bias"), bias.getType(), bias, counts, factor, b.getF64FloatAttr(*model.router.expertBiasRate)), place);
  }

  RankedTensorType rowsOfTokens() { return RankedTensorType::get({ShapedType::kDynamic}, b.getI32Type()); }
  RankedTensorType rows(int64_t channels) { return f.rows({channels}, element); }
  RankedTensorType unrounded(int64_t channels) { return f.rows({channels}, f32); }

  Value tokenArgument(int64_t shift) {
    auto type = RankedTensorType::get({ShapedType::kDynamic, ShapedType::kDynamic}, b.getI32Type());
    return f.argument(type, {b.getNamedAttr("mhc.name", b.getStringAttr("tokens")), b.getNamedAttr("mhc.shift", b.getI64IntegerAttr(shift))});
  }

  void parameters(bool gradients) {
    values.clear();
    matrices.clear();
    entry = b.getInsertionBlock();
    for (const ::mhc::ParameterArena::Tensor &tensor : arena.tensors)
      if (tensor.info.stack.empty() || isState(tensor))
        addParameter(tensor.info.name, tensor.info.shape, tensor.info.role, gradients && !isState(tensor));
      else if (!values.count(tensor.info.stack))
        addParameter(tensor.info.stack, llvm::find_if(arena.stacks, [&](const auto &stack) { return stack.name == tensor.info.stack; })->shape, tensor.info.role, gradients);
    balance.clear();
    outcomes.clear();
    training = false;
    scalars = Value();
  }
  bool isState(const ::mhc::ParameterArena::Tensor &tensor) { return tensor.offset >= arena.stateBegin; }

  void addParameter(const std::string &name, ArrayRef<int64_t> shape, ::mhc::Role role, bool gradient) {
    SmallVector<NamedAttribute> attributes{b.getNamedAttr("mhc.name", b.getStringAttr(name)), b.getNamedAttr("mhc.parameter", b.getUnitAttr()),
                                           b.getNamedAttr("mhc.role", b.getStringAttr(::mhc::name(role)))};
    if (gradient) {
      attributes.push_back(b.getNamedAttr("mhc.grad", b.getStringAttr("grad." + name)));
      attributes.push_back(b.getNamedAttr("mhc.gradient", b.getStringAttr(name)));
    }
    values[name] = f.argument(RankedTensorType::get(shape, f32), attributes);
  }
  Value parameter(const Twine &name) { return values.at(name.str()); }

  /// A matrix as it is used: rounded to the model's dtype, once a function.
  Value matrix(const Twine &name) {
    Value &value = matrices[name.str()];
    if (!value)
      value = f.rounded(f.place(name), parameter(name), element);
    return value;
  }

  Value linear(Location loc, Value x, const Twine &weight, Type type = {}) {
    Value w = matrix(weight);
    int64_t out = cast<ShapedType>(w.getType()).getDimSize(0);
    return LinearOp::create(b, loc, type ? type : rows(out), x, w);
  }

  Value norm(Location loc, Value x, const Twine &gain) {
    Value y = RmsNormOp::create(b, loc, withElementType(x.getType(), f32), x, parameter(gain), b.getF64FloatAttr(model.rmsNormEps), UnitAttr(), UnitAttr(), UnitAttr());
    return f.rounded(loc, y, element);
  }

  /// The positions' cosines and sines, [S, pairs].
  std::pair<Value, Value> ropeTables(int64_t pairs) {
    if (!cosines) {
      OpBuilder::InsertionGuard guard(b);
      b.setInsertionPointToStart(&entryBlock());
      auto table = RankedTensorType::get({ShapedType::kDynamic, pairs}, f32);
      cosines = RopeTableOp::create(b, f.place("rope"), table, b.getF64FloatAttr(model.ropeTheta), b.getBoolAttr(false));
      sines = RopeTableOp::create(b, f.place("rope"), table, b.getF64FloatAttr(model.ropeTheta), b.getBoolAttr(true));
    }
    return {cosines, sines};
  }

  /// RoPE of the last 2*pairs channels of [T*heads, streams, g].
  Value turned(Location loc, Value x, int64_t heads, int64_t pairs) {
    auto [cos, sin] = ropeTables(pairs);
    return f.rounded(loc, RopeOp::create(b, loc, withElementType(x.getType(), f32), x, cos, sin, heads, false), element);
  }

  Value view(Location loc, Value x, ArrayRef<int64_t> row) { return ViewOp::create(b, loc, f.rows(row, cast<ShapedType>(x.getType()).getElementType()), x); }

  /// RoPE of [T, heads*d], after the norm over d where `gain` names one.
  Value rotated(Location loc, Value x, int64_t heads, StringRef gain) {
    int64_t d = model.headDim;
    Value v = view(loc, x, {2, d / 2});
    if (!gain.empty())
      v = norm(loc, v, gain);
    return view(loc, turned(loc, v, heads, d / 2), {heads * d});
  }
  Block &entryBlock() { return *entry; }

  struct Heads {
    Value q, k, v;
    int64_t keyValueHeads, headDim, valueDim;
  };

  Heads gqa(Location loc, Value u, const std::string &at) {
    int64_t h = model.numAttentionHeads, kv = model.numKeyValueHeads, d = model.headDim;
    Value q = rotated(loc, linear(loc, u, at + "q_proj.weight"), h, model.qkNorm ? at + "q_norm.weight" : "");
    Value k = rotated(loc, linear(loc, u, at + "k_proj.weight"), kv, model.qkNorm ? at + "k_norm.weight" : "");
    return {q, k, linear(loc, u, at + "v_proj.weight"), kv, d, d};
  }

  /// Multi-head latent attention. Rows are cut into streams of g channels where parts of them go different ways.
  Heads mla(Location loc, Value u, const std::string &at) {
    int64_t h = model.numAttentionHeads, rank = model.kvLoraRank, nope = model.qkNopeHeadDim, rope = model.qkRopeHeadDim, value = model.vHeadDim;
    int64_t pairs = rope / 2, d = nope + rope;
    auto slice = [&](Value x, int64_t first, int64_t count) -> Value {
      int64_t g = cast<ShapedType>(x.getType()).getShape().back();
      return SliceOp::create(b, loc, f.rows({count / g, g}, element), x, first / g);
    };
    // q: [nope | rope] of a head
    Value q = u;
    if (model.qLoraRank)
      q = norm(loc, linear(loc, u, at + "q_a_proj.weight"), at + "q_a_layernorm.weight");
    q = linear(loc, q, at + (model.qLoraRank ? "q_b_proj.weight" : "q_proj.weight"));
    int64_t g = std::gcd(nope, pairs);
    q = turned(loc, view(loc, q, {d / g, g}), h, pairs);
    // [latent | rotary key], the key shared by the heads
    Value both = linear(loc, u, at + "kv_a_proj_with_mqa.weight");
    g = std::gcd(rank, pairs);
    both = view(loc, both, {(rank + rope) / g, g});
    Value latent = norm(loc, slice(both, 0, rank), at + "kv_a_layernorm.weight");
    Value rotary = turned(loc, slice(both, rank, rope), 1, pairs);
    // [k without positions | v] of a head
    Value kv = linear(loc, view(loc, latent, {rank}), at + "kv_b_proj.weight");
    g = std::gcd(std::gcd(nope, value), pairs);
    kv = view(loc, kv, {(nope + value) / g, g});
    Value shared = RepeatOp::create(b, loc, f.rows({rope / g, g}, element), view(loc, rotary, {rope / g, g}), h);
    Value k = ConcatOp::create(b, loc, f.rows({d / g, g}, element), ValueRange{slice(kv, 0, nope), shared});
    Value v = slice(kv, nope, value);
    return {view(loc, q, {h * d}), view(loc, k, {h * d}), view(loc, v, {h * value}), h, d, value};
  }

  Value attention(Location loc, Value u, const std::string &block, int64_t index) {
    std::string at = block + ".self_attn.";
    int64_t h = model.numAttentionHeads;
    Heads in = model.mla ? mla(loc, u, at) : gqa(loc, u, at);
    auto op = AttentionOp::create(b, loc, TypeRange{rows(h * in.valueDim), narrowTensor({h}, f32)}, in.q, in.k, in.v, b.getI64IntegerAttr(h),
                                  b.getI64IntegerAttr(in.keyValueHeads), b.getF64FloatAttr(1.0 / std::sqrt((double)in.headDim)));
    Value out = op.getResult();
    if (monitor)
      pending.push_back(monitor->attentionZ(loc, op.getLse(), index));
    if (model.headwiseGate) {
      // one sigmoid a head, from an unrounded matmul
      Value logits = ViewOp::create(b, loc, narrowTensor({1}, f32), linear(loc, u, at + "g_proj.weight", unrounded(h)));
      auto sigmoid = ActivationKindAttr::get(b.getContext(), ActivationKind::sigmoid);
      Value gate = ActivationOp::create(b, loc, logits.getType(), logits, sigmoid, b.getF64FloatAttr(1.0), b.getF64FloatAttr(0.0));
      Value gated = ScaleRowsOp::create(b, loc, unrounded(in.valueDim), view(loc, out, {in.valueDim}), gate);
      out = view(loc, f.rounded(loc, gated, element), {h * in.valueDim});
    }
    return linear(loc, out, at + "o_proj.weight");
  }

  Value feedForward(Location loc, Value u, const std::string &at, int64_t width) {
    Value gate = linear(loc, u, at + "gate_proj.weight"), up = linear(loc, u, at + "up_proj.weight");
    Value y = SwigluOp::create(b, loc, unrounded(width), gate, up);
    return linear(loc, f.rounded(loc, y, element), at + "down_proj.weight");
  }

  /// The choices of block `index` in each phase; no phases where they are all alike.
  MoeConfig moeConfig(int64_t index) {
    MoeConfig config;
    config.router = &model.router;
    config.experts = model.nRoutedExperts;
    config.width = model.moeIntermediateSize;
    config.element = element;
    config.compute = f32;
    config.balanced = training;
    config.sequenceLength = 0; // S
    for (const ::mhc::LanguageModel::TopkPhase &phase : model.topk) {
      config.phases.push_back(phase.k[index]);
      config.topk = std::max(config.topk, phase.k[index]);
    }
    if (llvm::all_equal(config.phases))
      config.phases.clear();
    return config;
  }

  /// The counts that a block with experts goes on from, as arguments of the function.
  void addCounts(int64_t index) {
    int64_t E = model.nRoutedExperts, blocks = expertBlocks(), number = index - (model.numHiddenLayers - blocks);
    auto longs = [&](int64_t size) { return RankedTensorType::get({size}, b.getI64Type()); };
    countsBefore = f.argument(longs(E), stateAttributes("expert_counts", number * E));
    if (model.router.capacityFactor)
      droppedBefore = f.argument(longs(1), stateAttributes("expert_counts", blocks * E + number));
  }

  Value experts(Location loc, Value u, const std::string &block, int64_t index) {
    std::string at = block + ".mlp.";
    MoeConfig config = moeConfig(index);
    int64_t E = config.experts, blocks = expertBlocks(), number = index - (model.numHiddenLayers - blocks);
    Value bias = model.router.expertBiasRate ? parameter(at + "gate.e_score_correction_bias") : Value();
    if (!config.phases.empty() && !scalars) {
      OpBuilder::InsertionGuard guard(b);
      b.setInsertionPointToStart(&entryBlock());
      scalars = ScalarsOp::create(b, loc, RankedTensorType::get({64}, f32));
    }
    Routing routing = importRouting(f, loc, config, u, parameter(at + "gate.weight"), /*routerTransposed=*/false, bias, countsBefore, scalars);
    ExpertMatrices matrices{matrix(at + "experts.*.gate_proj.weight"), matrix(at + "experts.*.up_proj.weight"), matrix(at + "experts.*.down_proj.weight"), /*transposed=*/true};
    Value shared;
    if (model.nSharedExperts)
      shared = feedForward(loc, u, at + "shared_experts.", model.nSharedExperts * model.moeIntermediateSize);
    if (monitor)
      pending.push_back(monitor->routerZ(loc, routing.logits, number));
    if (training) {
      auto slice = [&](StringRef name) -> SmallVector<NamedAttribute> {
        return {b.getNamedAttr("mhc.name", b.getStringAttr(name)), b.getNamedAttr("mhc.slice", b.getI64IntegerAttr(number)), b.getNamedAttr("mhc.slices", b.getI64IntegerAttr(blocks)),
                b.getNamedAttr("mhc.caller", b.getUnitAttr())};
      };
      pending.push_back({routing.counts, slice("expert_counts")});
      pending.push_back({routing.total, stateAttributes("expert_counts", number * E)});
      if (droppedBefore) {
        auto load = ExpertLoadOp::create(b, loc, RankedTensorType::get({1}, f32), droppedBefore.getType(), routing.dropped, droppedBefore);
        pending.push_back({load.getTotal(), stateAttributes("expert_counts", blocks * E + number)});
      }
      if (routing.losses) {
        losses = pending.size();
        pending.push_back({routing.losses, slice("balance_losses")});
      }
    }
    return importExperts(f, loc, config, routing, u, matrices, shared);
  }

  /// One sublayer: the residual topology around branch_scale * layer(RMSNorm(u)).
  Value sublayer(Value x, const std::string &block, int64_t index, bool isAttention) {
    bool plain = model.residual.topology == ::mhc::Topology::residual;
    std::string connection = block + (isAttention ? ".hc_attn" : ".hc_ffn");
    std::string where = plain ? block + (isAttention ? ".self_attn" : ".mlp") : connection;
    Location loc = f.place(where);
    SmallVector<Value> parameters;
    const ::mhc::Convention &c = model.residual.convention;
    if (!plain) {
      parameters = {parameter(connection + ".fn"), parameter(connection + ".scale"), parameter(connection + ".base")};
      if (c.normWeight)
        parameters.push_back(parameter(connection + ".norm_weight"));
      if (c.fBias)
        parameters.push_back(parameter(connection + ".f_bias"));
    }
    bool delayed = !plain && c.delayed;
    bool dense = index < model.numHiddenLayers - expertBlocks();
    countsBefore = droppedBefore = Value();
    if (training && !isAttention && !dense)
      addCounts(index);
    bool mixing = monitor && !plain;
    SmallVector<Type> types{x.getType()};
    if (delayed)
      types.push_back(narrowTensor({model.residual.n}, f32));
    if (mixing)
      types.push_back(narrowTensor({model.residual.n, model.residual.n}, f32));
    OpBuilder::InsertPoint before = b.saveInsertionPoint();
    Region region;
    Block *body = b.createBlock(&region);
    Value u = body->addArgument(rows(model.hiddenSize), loc);
    Location inner = f.place(block + (isAttention ? ".self_attn" : ".mlp"));
    Value normed = norm(f.place(block + (isAttention ? ".input_layernorm" : ".post_attention_layernorm")), u,
                        block + (isAttention ? ".input_layernorm.weight" : ".post_attention_layernorm.weight"));
    pending.clear();
    losses.reset();
    Value y = isAttention ? attention(inner, normed, block, index) : dense ? feedForward(inner, normed, block + ".mlp.", model.intermediateSize) : experts(inner, normed, block, index);
    int64_t number = 2 * index + !isAttention;
    if (monitor)
      llvm::append_range(pending, monitor->row(inner, "output", y, number));
    if (model.branchScale != 1.0)
      y = f.rounded(inner, ScaleOp::create(b, inner, unrounded(model.hiddenSize), y, b.getF64FloatAttr(model.branchScale)), element);
    SmallVector<Value> yields{y};
    for (const Outcome &outcome : pending) {
      yields.push_back(outcome.value);
      types.push_back(outcome.value.getType());
    }
    YieldOp::create(b, loc, yields);
    b.restoreInsertionPoint(before);
    auto op = SublayerOp::create(b, loc, types, where, x, parameters, delayed ? predicted : Value(), plain ? ConnectionAttr() : connectionAttr(), mixing);
    op.getBody().takeBody(region);
    predicted = op.getHPreNext();
    for (auto [i, outcome] : llvm::enumerate(pending)) {
      outcomes.push_back({op.getExtras()[i], outcome.attributes});
      if (losses == i)
        balance.push_back(op.getExtras()[i]);
    }
    if (monitor)
      llvm::append_range(outcomes, monitor->row(loc, "stream", op.getResult(), number));
    if (mixing)
      llvm::append_range(outcomes, monitor->mixing(loc, op.getHRes(), number));
    return op.getResult();
  }

  /// `fn` is [m, K] in files whatever phi_layout says.
  ConnectionAttr connectionAttr() {
    ::mhc::HyperConnection asInFiles = model.residual;
    asInFiles.convention.phiTransposed = true;
    return f.connection(asInFiles);
  }

  /// What the last norm reads: the streams' mean or sum, their mean by learned weights, or what the last sublayer predicted.
  Value readout(Location loc, Value x) {
    int64_t n = model.residual.n, C = model.hiddenSize;
    switch (model.readout) {
    case ::mhc::Readout::mean:
    case ::mhc::Readout::sum:
      return ReadoutOp::create(b, loc, unrounded(C), x, b.getF64FloatAttr(model.readout == ::mhc::Readout::mean ? 1.0 / n : 1.0));
    case ::mhc::Readout::lastPre:
      return AggregateOp::create(b, loc, unrounded(C), x, applied(b, loc, predicted, connectionAttr()));
    case ::mhc::Readout::head:
      break;
    }
    // w = sigmoid(s (v phi) / r + b) + eps, with the connection's norm
    const ::mhc::Convention &c = model.residual.convention;
    UnitAttr unit = b.getUnitAttr(), interleaved = c.layoutTCn ? unit : UnitAttr();
    auto weights = narrowTensor({n}, f32);
    Value normed = RmsNormOp::create(b, loc, f.rows({n, C}, f32), x, Value(), b.getF64FloatAttr(c.rms.eps), UnitAttr(), c.rms.inverseOfRootPlusEps ? unit : UnitAttr(),
                                     UnitAttr());
    Value y = ProjectionOp::create(b, loc, narrowTensor({1, n}, f32), normed, parameter("model.hc_head.fn"), unit, interleaved);
    Value z = AffineOp::create(b, loc, weights, y, parameter("model.hc_head.scale"), parameter("model.hc_head.base"), ArrayRef<int64_t>{n}, ArrayRef<int64_t>{});
    auto sigmoid = ActivationKindAttr::get(b.getContext(), ActivationKind::sigmoid);
    Value w = ActivationOp::create(b, loc, weights, z, sigmoid, b.getF64FloatAttr(1.0), b.getF64FloatAttr(c.preEps));
    return AggregateOp::create(b, loc, unrounded(C), x, applied(b, loc, w, connectionAttr()));
  }

  /// The streams after the last sublayer.
  Value streams(Value tokens) {
    cosines = sines = Value();
    int64_t n = model.residual.n, C = model.hiddenSize;
    bool plain = model.residual.topology == ::mhc::Topology::residual;
    Location loc = f.place("model.embed_tokens");
    // The row is read from the fp32 table and rounded: the same as reading a rounded table.
    Value x = EmbeddingOp::create(b, loc, unrounded(C), tokens, parameter("model.embed_tokens.weight"));
    x = f.rounded(loc, x, element);
    if (!plain)
      x = ExpandOp::create(b, loc, f.rows({n, C}, element), x, b.getF64FloatAttr(1.0));
    predicted = plain || !model.residual.convention.delayed ? Value() : firstStream(f, x, n, f32);
    for (int64_t block = 0; block < model.numHiddenLayers; ++block) {
      std::string at = "model.layers." + std::to_string(block);
      x = sublayer(x, at, block, true);
      x = sublayer(x, at, block, false);
    }
    return x;
  }

  Value logits(Value tokens) {
    Value x = streams(tokens);
    Location end = f.place("model.norm");
    if (model.residual.topology != ::mhc::Topology::residual)
      x = readout(end, x);
    x = norm(end, x, "model.norm.weight");
    Location head = f.place("lm_head");
    Value logits = linear(head, x, model.tieWordEmbeddings ? "model.embed_tokens.weight" : "lm_head.weight", unrounded(model.vocabSize));
    double factor = ::mhc::logitsMultiplier(model);
    return factor == 1 ? logits : ScaleOp::create(b, head, logits.getType(), logits, b.getF64FloatAttr(factor)).getResult();
  }

  FunctionImporter &f;
  OpBuilder &b;
  const ::mhc::LanguageModel &model;
  Type element, f32;
  ::mhc::ParameterArena arena;
  std::map<std::string, Value> values, matrices;
  Block *entry = nullptr;          ///< of the function at hand
  Value countsBefore, droppedBefore; ///< of the block at hand, in the step so far
  std::optional<ModelMonitor> monitor; ///< the function is entry `monitor`
  bool training = false;           ///< the function is a loss to be differentiated
  Value scalars;                   ///< read by routers whose number of choices goes by phases
  SmallVector<Value> balance;      ///< balance losses of the blocks so far
  SmallVector<Outcome> outcomes;   ///< further results of the blocks so far
  SmallVector<Outcome> pending;    ///< of the sublayer at hand, inside its body
  std::optional<size_t> losses;    ///< which of these are balance losses
  Value cosines, sines;
  Value predicted; ///< `delayed`: h_pre that the sublayer before predicted
};

} // namespace

void mlir::mhc::importLanguageModel(FunctionImporter &f, const ::mhc::LanguageModel &model) {
  ModelImporter importer(f, model);
  importer.importForward();
  importer.importLoss("eval", false);
  importer.importLoss("loss", true);
  importer.importUpdate();
  importer.importMonitor();
  importer.importWeightChange();
}
