#include "package/Package.h"

#include <algorithm>
#include <set>
#include <unordered_map>

namespace mhcrt {

const char *name(Op op) {
  switch (op) {
  case Op::Launch:
    return "launch";
  case Op::Gemm:
    return "gemm";
  case Op::Attention:
    return "attention";
  case Op::AttentionBackward:
    return "attention_backward";
  case Op::SplitTokens:
    return "split_tokens";
  case Op::EmbeddingBackward:
    return "embedding_backward";
  case Op::Dispatch:
    return "dispatch";
  case Op::GroupedMatmul:
    return "grouped_matmul";
  case Op::GroupedOuter:
    return "grouped_outer";
  case Op::ExpertLoad:
    return "expert_load";
  case Op::SequenceLoad:
    return "sequence_load";
  case Op::UpdateBias:
    return "update_bias";
  case Op::Loop:
    return "loop";
  case Op::Fill:
    return "fill";
  case Op::Add:
    return "add";
  case Op::Copy:
    return "copy";
  }
  return "?";
}

std::vector<size_t> Command::buffers() const {
  std::vector<size_t> all = args;
  for (const Reduction &reduction : reductions) {
    all.push_back(reduction.partial);
    all.push_back(reduction.out);
  }
  for (size_t index : {a, b, c, d, q, kk, v, out, lse, dout, dq, dk, dv, tokens, inputs, targets, dx, buffer, src, dst, choice,
                       counts, offsets, gather, order, reverse, dropped, x, w, y, previous, share, total, bias, factor})
    if (index != noBuffer)
      all.push_back(index);
  return all;
}

namespace {

/// Reads the plan of one entry point of one target.
class EntryReader {
public:
  EntryReader(const Manifest &manifest, const Entry &entry, const TargetPlan &target)
      : manifest(manifest), entry(entry), target(target) {
    for (const std::string &symbol : entry.symbols)
      symbols.insert(symbol);
    for (const DerivedSymbol &derived : entry.derived)
      symbols.insert(derived.symbol);
    for (size_t i = 0; i < target.kernels.size(); ++i)
      kernels.emplace(target.kernels[i].name, i);
  }

  EntryPlan read(const JsonView &json) {
    json.only({"block_rows", "floor", "buffers", "commands", "again"});
    if (auto blocks = json.find("block_rows")) {
      plan.blockRows = blocks->integer(1);
      if (!symbols.count("T") || !symbols.insert("R").second)
        fail(blocks->path(), ": expected an entry with a symbol 'T' and without 'R'");
    }
    if (auto floor = json.find("floor"))
      plan.floor = expression(*floor);
    JsonView buffers = json.at("buffers");
    for (size_t i = 0; i < buffers.size(); ++i) {
      plan.buffers.push_back(readBuffer(buffers[i]));
      if (!ids.emplace(plan.buffers.back().id, i).second)
        fail(buffers[i].path(), ": the id ", plan.buffers.back().id, " occurs twice");
    }
    plan.commands = readCommands(json.at("commands"), Place::Entry);
    if (auto again = json.find("again"))
      for (size_t i = 0; i < again->size(); ++i)
        if (!plan.again.insert((*again)[i].integer(0, nextIndex - 1)).second)
          fail(again->path(), ": the number ", (*again)[i].integer(0), " occurs twice");
    for (const Buffer &buffer : plan.buffers)
      if (buffer.last >= nextIndex && (buffer.kind == BufferKind::Arena || buffer.kind == BufferKind::Partials))
        fail(json.path(), ": buffer ", buffer.id, " '", buffer.name, "': its live range ends at command ", buffer.last,
             ", but there are only ", nextIndex);
    return std::move(plan);
  }

private:
  Affine expression(const JsonView &json) const {
    Affine result = Affine::parse(json);
    for (const auto &[symbol, coefficient] : result.terms)
      if (!symbols.count(symbol))
        fail(json.path(), ": unknown symbol '", symbol, "'");
    return result;
  }

  Buffer readBuffer(const JsonView &json) const {
    json.only(
        {"id", "name", "dtype", "size", "kind", "tensor", "slice", "slices", "live", "arena", "begin", "base", "generator"});
    Buffer buffer;
    buffer.id = json.at("id").integer(0);
    if (auto name = json.find("name"))
      buffer.name = name->string();
    if (!parseDType(json.at("dtype").string(), buffer.dtype))
      fail(json.path(), ": unknown type '", json.at("dtype").string(), "'");
    buffer.size = expression(json.at("size"));
    const std::string &kind = json.at("kind").string();
    if (kind == "input" || kind == "output") {
      buffer.kind = kind == "input" ? BufferKind::Input : BufferKind::Output;
      buffer.tensor = json.at("tensor").string();
      checkTensor(json, buffer);
      if (auto slices = json.find("slices")) {
        buffer.slices = slices->integer(1);
        buffer.slice = json.at("slice").integer(0, buffer.slices - 1);
      }
    } else if (kind == "parameter" || kind == "gradient") {
      buffer.kind = kind == "parameter" ? BufferKind::Parameter : BufferKind::Gradient;
      buffer.tensor = json.at("tensor").string();
      const ModelTensor *tensor = manifest.findStored(buffer.tensor);
      if (!tensor)
        fail(json.path(), ": the model has no tensor '", buffer.tensor, "'");
      if (buffer.dtype != DType::F32)
        fail(json.path(), ": expected type f32 of a ", kind, ", but got ", name(buffer.dtype));
    } else if (kind == "arena" || kind == "partials") {
      buffer.kind = kind == "arena" ? BufferKind::Arena : BufferKind::Partials;
      JsonView live = json.at("live");
      if (live.size() != 2)
        fail(live.path(), ": expected [first, last]");
      buffer.first = live[0].integer(0);
      buffer.last = live[1].integer(buffer.first);
    } else if (kind == "state") {
      buffer.kind = BufferKind::State;
      if (!parseStateArena(json.at("arena").string(), buffer.arena))
        fail(json.path(), ": unknown arena '", json.at("arena").string(), "'");
      buffer.begin = json.at("begin").integer(0, manifest.elementsOf(buffer.arena));
      if (DType wanted = typeOf(buffer.arena); buffer.dtype != wanted)
        fail(json.path(), ": expected type ", name(wanted), " of a state, but got ", name(buffer.dtype));
    } else if (kind == "scalars") {
      buffer.kind = BufferKind::Scalars;
      if (json.has("begin"))
        buffer.begin = json.at("begin").integer(0, 63);
      if (buffer.dtype != DType::F32)
        fail(json.path(), ": expected type f32 of scalars, but got ", name(buffer.dtype));
    } else if (kind == "constant") {
      buffer.kind = BufferKind::Constant;
      JsonView generator = json.at("generator");
      const std::string &what = generator.at("kind").string();
      if (what != "rope_cos" && what != "rope_sin")
        fail(generator.path(), ": unknown generator '", what, "'");
      buffer.sine = what == "rope_sin";
      buffer.theta = generator.at("theta").number();
      buffer.pairs = generator.at("pairs").integer(1);
      if (!(buffer.theta > 0))
        fail(generator.path(), ": expected a theta above 0");
      if (buffer.dtype == DType::I32 || buffer.dtype == DType::I64)
        fail(json.path(), ": expected a floating-point type of a constant");
    } else if (kind == "window") {
      buffer.kind = BufferKind::Window;
      buffer.base = use(json, "base"); // an earlier one
      const Buffer &base = plan.buffers[buffer.base];
      auto row = [](const Affine &size, const char *symbol) { // of a size that is so many times the symbol
        return size.terms.size() == 1 && size.terms[0].first == symbol && size.constant == 0 ? size.terms[0].second : 0;
      };
      int64_t elements = row(buffer.size, "R");
      if (elements < 1 || row(base.size, "T") != elements || base.dtype != buffer.dtype ||
          base.kind == BufferKind::Partials || base.kind == BufferKind::Window)
        fail(json.path(), ": expected R rows of a buffer of T rows, of its elements and type, but got ",
             buffer.size.text(), " of ", base.size.text());
    } else {
      fail(json.path(), ": unknown kind of buffer '", kind, "'");
    }
    return buffer;
  }

  void checkTensor(const JsonView &json, const Buffer &buffer) const {
    const auto &list = buffer.kind == BufferKind::Input ? entry.inputs : entry.outputs;
    for (const TensorSpec &spec : list)
      if (spec.name == buffer.tensor) {
        if (spec.dtype != buffer.dtype)
          fail(json.path(), ": expected type ", name(spec.dtype), " of tensor '", spec.name, "', but got ",
               name(buffer.dtype));
        return;
      }
    fail(json.path(), ": entry '", entry.name, "' has no ", buffer.kind == BufferKind::Input ? "input" : "output", " '",
         buffer.tensor, "'");
  }

  size_t bufferIndex(const JsonView &json) const {
    auto found = ids.find(json.integer());
    if (found == ids.end())
      fail(json.path(), ": there is no buffer ", json.integer());
    return found->second;
  }

  /// The buffer that field `key` of a command names.
  size_t use(const JsonView &json, const char *key) const { return bufferIndex(json.at(key)); }

  enum class Place { Entry, MicroBatch, RowBlock };

  std::vector<Command> readCommands(const JsonView &json, Place place) {
    std::vector<Command> result;
    for (size_t i = 0; i < json.size(); ++i)
      result.push_back(readCommand(json[i], place));
    return result;
  }

  Command readCommand(const JsonView &json, Place place) {
    Command command;
    command.index = nextIndex++;
    if (auto at = json.find("at"))
      command.at = at->string();
    const std::string &op = json.at("op").string();
    if (op == "launch")
      readLaunch(json, command);
    else if (op == "gemm")
      readGemm(json, command);
    else if (op == "attention" || op == "attention_backward")
      readAttention(json, command, op == "attention_backward");
    else if (op == "split_tokens")
      readSplitTokens(json, command);
    else if (op == "embedding_backward")
      readEmbeddingBackward(json, command);
    else if (op == "dispatch")
      readDispatch(json, command);
    else if (op == "grouped_matmul" || op == "grouped_outer")
      readGrouped(json, command, op == "grouped_outer");
    else if (op == "expert_load")
      readExpertLoad(json, command);
    else if (op == "sequence_load")
      readSequenceLoad(json, command);
    else if (op == "update_bias")
      readUpdateBias(json, command);
    else if (op == "loop") {
      json.only({"op", "at", "count", "body"});
      command.op = Op::Loop;
      const std::string &count = json.at("count").string();
      command.rowBlocks = count == "row_blocks";
      if (!command.rowBlocks && count != "micro_batches")
        fail(json.path(), ": unknown run-time count '", count, "'");
      if (place == Place::RowBlock || (place == Place::MicroBatch && !command.rowBlocks))
        fail(json.path(), ": a loop inside a loop is not supported, but over row blocks in one over micro-batches");
      if (command.rowBlocks && !plan.blockRows)
        fail(json.path(), ": expected an entry with 'block_rows'");
      command.body = readCommands(json.at("body"), command.rowBlocks ? Place::RowBlock : Place::MicroBatch);
      if (command.rowBlocks)
        checkRowBlocks(json, command);
    } else if (op == "fill") {
      json.only({"op", "at", "buffer", "value"});
      command.op = Op::Fill;
      command.buffer = use(json, "buffer");
      command.value = json.at("value").number();
      checkNoIds(json, command.buffer);
    } else if (op == "add" || op == "copy") {
      json.only({"op", "at", "src", "dst"});
      command.op = op == "add" ? Op::Add : Op::Copy;
      command.src = use(json, "src");
      command.dst = use(json, "dst");
      if (plan.buffers[command.src].dtype != plan.buffers[command.dst].dtype)
        fail(json.path(), ": expected the same type of src and dst");
      checkNoIds(json, command.dst);
    } else {
      fail(json.path(), ": unknown op '", op, "'");
    }
    checkLive(json, command);
    if (place != Place::RowBlock)
      for (size_t index : command.buffers())
        if (plan.buffers[index].kind == BufferKind::Window)
          fail(json.path(), ": buffer ", plan.buffers[index].id, " is a window, outside a loop over row blocks");
    return command;
  }

  /// Only what knows its rows at run time stands in such a loop, and what windows look at lives as long as the loop.
  void checkRowBlocks(const JsonView &json, const Command &loop) const {
    for (const Command &command : loop.body) {
      if (command.op != Op::Launch && command.op != Op::Gemm)
        fail(json.path(), ": expected launches and matmuls only in a loop over row blocks, but got ", name(command.op));
      for (size_t index : command.buffers()) {
        const Buffer &base = plan.buffers[plan.root(index)];
        if (plan.buffers[index].kind == BufferKind::Window && base.kind == BufferKind::Arena &&
            (base.first > loop.index || base.last < nextIndex - 1))
          fail(json.path(), ": buffer ", base.id, " '", base.name, "' is seen through a window, and lives in [", base.first, ", ",
               base.last, "] only, not in the whole loop");
      }
    }
  }

  void readLaunch(const JsonView &json, Command &command) {
    json.only({"op", "at", "kernel", "args", "rows", "ints", "reductions"});
    command.op = Op::Launch;
    const std::string &wanted = json.at("kernel").string();
    auto kernel = kernels.find(wanted);
    if (kernel == kernels.end())
      fail(json.path(), ": there is no kernel '", wanted, "'");
    command.kernel = kernel->second;
    const Kernel &info = target.kernels[command.kernel];
    if (info.variantOf != SIZE_MAX)
      fail(json.path(), ": '", wanted, "' is a variant, which no launch names");
    JsonView args = json.at("args");
    for (size_t i = 0; i < args.size(); ++i)
      command.args.push_back(bufferIndex(args[i]));
    command.rows = expression(json.at("rows"));
    if (auto ints = json.find("ints"))
      for (size_t i = 0; i < ints->size(); ++i)
        command.ints.push_back(expression((*ints)[i]));
    if (command.ints.size() != info.ints.size())
      fail(json.path(), ": kernel '", wanted, "' takes ", info.ints.size(), " integers, but got ", command.ints.size());
    if (auto reductions = json.find("reductions"))
      for (size_t i = 0; i < reductions->size(); ++i) {
        JsonView item = (*reductions)[i];
        item.only({"partial", "out", "accumulate"});
        Reduction reduction{use(item, "partial"), use(item, "out"), false};
        if (auto accumulate = item.find("accumulate"))
          reduction.accumulate = accumulate->boolean();
        const Buffer &partial = plan.buffers[reduction.partial], &out = plan.buffers[reduction.out];
        if (partial.kind != BufferKind::Partials)
          fail(item.path(), ": buffer ", partial.id, " is not of kind partials");
        if (partial.dtype != out.dtype || (out.dtype != DType::F32 && out.dtype != DType::F64))
          fail(item.path(), ": expected the same type of partial and out, f32 or f64");
        command.reductions.push_back(reduction);
      }
    if (info.reduces != !command.reductions.empty())
      fail(json.path(), ": kernel '", wanted,
           info.reduces ? "' reduces, but there are no reductions" : "' does not reduce, but there are reductions");
    if (!info.described)
      return;
    checkLaunch(manifest, info, plan, command, json.path());
    // What kernels use as indices was looked at before: by split_tokens, or dispatch has made it.
    for (size_t i = 0; i < info.args.size(); ++i) {
      const KernelArgument &argument = info.args[i];
      if (argument.written && isInteger(command.args[i]))
        numbersOfKernels(json, command.args[i]);
      if (argument.index == SIZE_MAX)
        continue;
      size_t numbers = memoryOf(command.args[argument.index]);
      auto bound = indices.find(numbers);
      if (bound == indices.end())
        fail(json.path(), ": buffer ", plan.buffers[numbers].id, " holds no indices that split_tokens or dispatch has written");
      checkLookup(info, plan, command, i, bound->second, json.path());
    }
  }

  /// Integers that kernels write are nobody's indices.
  void numbersOfKernels(const JsonView &json, size_t index) {
    size_t memory = memoryOf(index);
    if (indices.count(memory) || offsetsOf.count(memory))
      fail(json.path(), ": buffer ", plan.buffers[index].id, " holds indices, which no kernel writes");
    kernelNumbers.insert(memory);
  }

  /// One buffer for all that name the same memory (of outputs: the same tensor).
  size_t memoryOf(size_t index) const {
    const Buffer &buffer = plan.buffers[plan.root(index)];
    if (buffer.kind == BufferKind::Output)
      for (size_t i = 0; i < plan.buffers.size(); ++i)
        if (plan.buffers[i].kind == BufferKind::Output && plan.buffers[i].tensor == buffer.tensor)
          return i;
    return plan.root(index);
  }

  /// From here on the buffer holds numbers below `bound`.
  void addIndices(const JsonView &json, size_t index, const Affine &bound) {
    if (index == noBuffer)
      return;
    auto same = [](const Affine &a, const Affine &b) { return a.terms == b.terms && a.constant == b.constant; };
    auto [found, isNew] = indices.emplace(memoryOf(index), bound);
    if (kernelNumbers.count(memoryOf(index)) || (!isNew && !same(found->second, bound)))
      fail(json.path(), ": buffer ", plan.buffers[index].id, " holds other numbers, too");
  }

  /// Nothing else writes what may be an index.
  void checkNoIds(const JsonView &json, size_t index) const {
    if (plan.buffers[index].dtype == DType::I32)
      fail(json.path(), ": only split_tokens and dispatch write indices (buffer ", plan.buffers[index].id, ")");
  }

  bool isInteger(size_t index) const {
    return plan.buffers[index].dtype == DType::I32 || plan.buffers[index].dtype == DType::I64;
  }

  void readGemm(const JsonView &json, Command &command) const {
    json.only({"op", "at", "m", "n", "k", "a", "b", "c", "d", "trans_a", "trans_b", "accumulate", "batch", "alpha", "beta"});
    command.op = Op::Gemm;
    command.m = expression(json.at("m"));
    command.n = expression(json.at("n"));
    command.k = expression(json.at("k"));
    command.a = use(json, "a");
    command.b = use(json, "b");
    command.c = use(json, "c");
    auto flag = [&](const char *key) {
      auto value = json.find(key);
      return value && value->boolean();
    };
    command.transA = flag("trans_a");
    command.transB = flag("trans_b");
    command.accumulate = flag("accumulate");
    if (auto batch = json.find("batch"))
      command.batch = batch->integer(1);
    auto factor = [&](const char *key, double otherwise) {
      auto value = json.find(key);
      return value ? value->number() : otherwise;
    };
    command.alpha = factor("alpha", 1);
    command.beta = factor("beta", 0);
    if (json.has("d")) {
      command.d = use(json, "d");
      if (command.accumulate || command.d == command.c)
        fail(json.path(), ": d must be another buffer than c, and excludes 'accumulate'");
    }
    auto type = [&](size_t index) { return plan.buffers[index].dtype; };
    for (size_t index : {command.a, command.b, command.c, command.d == noBuffer ? command.c : command.d})
      if (type(index) == DType::I32 || type(index) == DType::I64)
        fail(json.path(), ": expected floating-point buffers");
    bool wide = type(command.a) == DType::F64;
    if (wide != (type(command.b) == DType::F64) || wide != (type(command.c) == DType::F64))
      fail(json.path(), ": f64 cannot be mixed with other types");
    if (command.d != noBuffer && type(command.d) != type(command.c))
      fail(json.path(), ": expected d to have c's type");
    if (command.a == command.c || command.b == command.c)
      fail(json.path(), ": c must be another buffer than a and b");
  }

  void readAttention(const JsonView &json, Command &command, bool backward) const {
    command.op = backward ? Op::AttentionBackward : Op::Attention;
    if (backward)
      json.only({"op", "at", "q", "k", "v", "out", "lse", "dout", "dq", "dk", "dv", "heads", "kv_heads", "head_dim",
                 "value_dim", "scale", "sequences", "length"});
    else
      json.only({"op", "at", "q", "k", "v", "out", "lse", "heads", "kv_heads", "head_dim", "value_dim", "scale",
                 "sequences", "length"});
    command.q = use(json, "q");
    command.kk = use(json, "k");
    command.v = use(json, "v");
    command.out = use(json, "out");
    command.lse = use(json, "lse");
    std::vector<size_t> same = {command.q, command.kk, command.v, command.out};
    if (backward) {
      command.dout = use(json, "dout");
      command.dq = use(json, "dq");
      command.dk = use(json, "dk");
      command.dv = use(json, "dv");
      same.insert(same.end(), {command.dout, command.dq, command.dk, command.dv});
    }
    for (size_t index : same) {
      DType type = plan.buffers[index].dtype;
      if (type != plan.buffers[command.q].dtype || type == DType::I32 || type == DType::I64)
        fail(json.path(), ": expected one floating-point type of q, k, v and what belongs to them");
    }
    DType lse = plan.buffers[command.lse].dtype;
    if (lse != DType::F32 && !(lse == DType::F64 && plan.buffers[command.q].dtype == DType::F64))
      fail(json.path(), ": expected type f32 of lse");
    constexpr int64_t most = 1 << 20;
    command.heads = json.at("heads").integer(1, most);
    command.kvHeads = json.at("kv_heads").integer(1, most);
    if (command.heads % command.kvHeads)
      fail(json.path(), ": expected heads to be a multiple of kv_heads");
    command.headDim = json.at("head_dim").integer(1, most);
    command.valueDim = json.at("value_dim").integer(1, most);
    command.scale = json.at("scale").number();
    command.sequences = expression(json.at("sequences"));
    command.length = expression(json.at("length"));
  }

  void readSplitTokens(const JsonView &json, Command &command) {
    json.only({"op", "at", "tokens", "inputs", "targets", "vocab"});
    command.op = Op::SplitTokens;
    command.tokens = use(json, "tokens");
    command.inputs = use(json, "inputs");
    if (auto targets = json.find("targets"); targets && !targets->isNull())
      command.targets = bufferIndex(*targets);
    command.vocab = json.at("vocab").integer(1, manifest.vocabSize);
    for (size_t index : {command.tokens, command.inputs, command.targets})
      if (index != noBuffer && plan.buffers[index].dtype != DType::I32)
        fail(json.path(), ": expected buffers of type i32");
    const Buffer &tokens = plan.buffers[command.tokens];
    if (tokens.kind != BufferKind::Input)
      fail(json.path(), ": expected 'tokens' to be an input of the entry");
    Affine bound;
    bound.constant = command.vocab;
    addIndices(json, command.inputs, bound);
    addIndices(json, command.targets, bound);
  }

  void readEmbeddingBackward(const JsonView &json, Command &command) const {
    json.only({"op", "at", "tokens", "dx", "out", "accumulate"});
    command.op = Op::EmbeddingBackward;
    command.tokens = use(json, "tokens");
    command.dx = use(json, "dx");
    command.out = use(json, "out");
    if (auto accumulate = json.find("accumulate"))
      command.accumulate = accumulate->boolean();
    DType dx = plan.buffers[command.dx].dtype, out = plan.buffers[command.out].dtype;
    if (plan.buffers[command.tokens].dtype != DType::I32)
      fail(json.path(), ": expected tokens of type i32");
    if (!(out == DType::F32 && (dx == DType::F32 || dx == DType::BF16)) && !(out == DType::F64 && dx == DType::F64))
      fail(json.path(), ": expected out of type f32 and dx of type f32 or bf16");
  }

  void expectType(const JsonView &json, size_t index, const char *what, std::initializer_list<DType> wanted) const {
    DType type = plan.buffers[index].dtype;
    if (std::find(wanted.begin(), wanted.end(), type) == wanted.end())
      fail(json.path(), ": expected type ", name(*wanted.begin()), " of ", what, ", but got ", name(type));
  }
  /// What a command writes is no input, and nothing else that it touches.
  void expectWritable(const JsonView &json, const Command &command, size_t index, size_t mayBe = noBuffer) const {
    const Buffer &buffer = plan.buffers[index];
    if (buffer.kind == BufferKind::Input || buffer.kind == BufferKind::Parameter || buffer.kind == BufferKind::Constant)
      fail(json.path(), ": buffer ", buffer.id, " is written, and cannot be an input, a parameter or a constant");
    int64_t uses = 0;
    for (size_t other : command.buffers())
      uses += other == index;
    if (uses != (mayBe == index ? 2 : 1))
      fail(json.path(), ": buffer ", buffer.id, " is written, and cannot be used twice");
  }

  void readDispatch(const JsonView &json, Command &command) {
    json.only({"op", "at", "index", "counts", "offsets", "gather", "order", "reverse", "dropped", "rows", "choices",
               "experts", "capacity"});
    command.op = Op::Dispatch;
    command.choice = use(json, "index");
    const std::pair<const char *, size_t Command::*> fields[] = {
        {"counts", &Command::counts}, {"offsets", &Command::offsets}, {"gather", &Command::gather},
        {"order", &Command::order},   {"reverse", &Command::reverse}, {"dropped", &Command::dropped}};
    expectType(json, command.choice, "index", {DType::I32});
    for (auto [key, field] : fields) {
      command.*field = use(json, key);
      expectType(json, command.*field, key, {DType::I32});
    }
    for (auto [key, field] : fields)
      expectWritable(json, command, command.*field);
    command.rows = expression(json.at("rows"));
    command.choices = json.at("choices").integer(1, INT32_MAX);
    command.experts = json.at("experts").integer(1, INT32_MAX);
    if (auto capacity = json.find("capacity"))
      if (command.capacity = capacity->number(); !(command.capacity > 0))
        fail(json.path(), ": expected a capacity above 0");
    Affine slots = command.rows; // T k; what does not fit is refused when the sizes are bound
    auto times = [&](int64_t &number) {
      if (__builtin_mul_overflow(number, command.choices, &number))
        fail(json.path(), ": too many choices");
    };
    times(slots.constant);
    for (auto &[symbol, coefficient] : slots.terms)
      times(coefficient);
    addIndices(json, command.gather, command.rows);
    addIndices(json, command.order, slots);
    addIndices(json, command.reverse, slots);
    for (size_t index : {command.counts, command.offsets, command.dropped})
      if (indices.count(memoryOf(index)) || kernelNumbers.count(memoryOf(index)))
        fail(json.path(), ": buffer ", plan.buffers[index].id, " holds other numbers, too");
    offsetsOf[memoryOf(command.offsets)] = {command.experts, slots};
  }

  void readGrouped(const JsonView &json, Command &command, bool outer) const {
    if (outer)
      json.only({"op", "at", "x", "y", "offsets", "out", "rows", "k", "n", "groups", "accumulate"});
    else
      json.only({"op", "at", "x", "w", "offsets", "y", "rows", "k", "n", "groups", "transposed"});
    command.op = outer ? Op::GroupedOuter : Op::GroupedMatmul;
    command.x = use(json, "x");
    command.w = use(json, outer ? "y" : "w");
    command.offsets = use(json, "offsets");
    command.y = use(json, outer ? "out" : "y");
    command.rows = expression(json.at("rows"));
    command.inner = json.at("k").integer(1, INT32_MAX);
    command.outer = json.at("n").integer(1, INT32_MAX);
    command.experts = json.at("groups").integer(1, INT32_MAX);
    if (auto flag = json.find(outer ? "accumulate" : "transposed"))
      (outer ? command.accumulate : command.transposed) = flag->boolean();
    DType x = plan.buffers[command.x].dtype, y = plan.buffers[command.y].dtype;
    expectType(json, command.x, "x", {DType::F32, DType::BF16, DType::F64});
    expectType(json, command.w, "the second operand", {x});
    bool fits = x == DType::F64 ? y == x : y == DType::F32 || (!outer && y == x);
    if (!fits)
      fail(json.path(), ": expected a result of type f32, f64 with f64, but got ", name(y));
    expectWritable(json, command, command.y);
    // Rows are found by the offsets: only dispatch writes what can be trusted.
    auto found = offsetsOf.find(memoryOf(command.offsets));
    bool same = found != offsetsOf.end() && found->second.first == command.experts &&
                found->second.second.terms == command.rows.terms && found->second.second.constant == command.rows.constant;
    if (!same)
      fail(json.path(), ": buffer ", plan.buffers[command.offsets].id, " holds no offsets of ", command.experts, " groups of ",
           command.rows.text(), " rows that dispatch has written");
  }

  void readExpertLoad(const JsonView &json, Command &command) const {
    json.only({"op", "at", "counts", "previous", "share", "total"});
    command.op = Op::ExpertLoad;
    command.counts = use(json, "counts");
    if (json.has("previous"))
      command.previous = use(json, "previous");
    command.share = use(json, "share");
    command.total = use(json, "total");
    expectType(json, command.counts, "counts", {DType::I32});
    expectType(json, command.share, "share", {DType::F32, DType::F64});
    for (size_t index : {command.previous, command.total})
      if (index != noBuffer)
        expectType(json, index, "totals", {DType::I64});
    expectWritable(json, command, command.share);
    expectWritable(json, command, command.total, command.previous);
  }

  void readSequenceLoad(const JsonView &json, Command &command) const {
    json.only({"op", "at", "index", "share", "rows", "length", "choices", "experts"});
    command.op = Op::SequenceLoad;
    command.choice = use(json, "index");
    command.share = use(json, "share");
    command.rows = expression(json.at("rows"));
    command.length = expression(json.at("length"));
    command.choices = json.at("choices").integer(1, INT32_MAX);
    command.experts = json.at("experts").integer(1, INT32_MAX);
    expectType(json, command.choice, "index", {DType::I32});
    expectType(json, command.share, "share", {DType::F32, DType::F64});
    expectWritable(json, command, command.share);
  }

  void readUpdateBias(const JsonView &json, Command &command) const {
    json.only({"op", "at", "bias", "counts", "factor", "out", "experts", "rate"});
    command.op = Op::UpdateBias;
    command.bias = use(json, "bias");
    command.counts = use(json, "counts");
    if (json.has("factor"))
      command.factor = use(json, "factor");
    command.y = use(json, "out");
    command.experts = json.at("experts").integer(1, INT32_MAX);
    command.rate = json.at("rate").number();
    expectType(json, command.bias, "bias", {DType::F32, DType::F64});
    expectType(json, command.y, "the result", {plan.buffers[command.bias].dtype});
    expectType(json, command.counts, "counts", {DType::I32, DType::I64});
    if (command.factor != noBuffer)
      expectType(json, command.factor, "factor", {DType::F32});
    expectWritable(json, command, command.y, command.bias);
  }

  /// A temporary that a command touches must be alive there, or the allocator would give its memory to another one.
  void checkLive(const JsonView &json, const Command &command) const {
    for (size_t index : command.buffers()) {
      const Buffer &buffer = plan.buffers[index];
      bool temporary = buffer.kind == BufferKind::Arena || buffer.kind == BufferKind::Partials;
      if (temporary && (command.index < buffer.first || command.index > buffer.last))
        fail(json.path(), ": buffer ", buffer.id, " '", buffer.name, "' is used by command ", command.index,
             ", outside its live range [", buffer.first, ", ", buffer.last, "]");
    }
  }

  const Manifest &manifest;
  const Entry &entry;
  const TargetPlan &target;
  std::set<std::string> symbols;
  std::unordered_map<std::string, size_t> kernels;
  std::unordered_map<int64_t, size_t> ids;
  std::map<size_t, Affine> indices; // buffers of numbers below a bound
  std::map<size_t, std::pair<int64_t, Affine>> offsetsOf; // groups and rows of the offsets that dispatch has written
  std::set<size_t> kernelNumbers;   // buffers of integers that kernels write
  EntryPlan plan;
  int64_t nextIndex = 0;
};

KernelArgument readArgument(const JsonView &json, const Kernel &kernel) {
  json.only({"dtype", "elements", "rows", "tokens_per_row", "index", "sequence", "written"});
  KernelArgument argument;
  if (!parseDType(json.at("dtype").string(), argument.dtype))
    fail(json.path(), ": unknown type '", json.at("dtype").string(), "'");
  argument.elements = json.at("elements").integer(0);
  if (auto rows = json.find("rows"))
    for (size_t i = 0; i < rows->size(); ++i) {
      const std::string &word = (*rows)[i].string();
      if (word == "token")
        argument.token = true;
      else if (word == "position")
        argument.position = true;
      else if (word == "indexed")
        argument.index = json.at("index").integer(0, INT32_MAX);
      else if (word == "sequence")
        argument.sequence = json.at("sequence").integer(0);
      else if (word == "shared")
        argument.tokensPerRow = json.at("tokens_per_row").integer(1);
      else
        fail(rows->path(), ": unknown count of rows '", word, "'");
    }
  if ((argument.position || argument.sequence == 0) && kernel.lengthIndex() == kernel.ints.size())
    fail(json.path(), ": positions need the integer 'S' among the kernel's ints");
  if (auto written = json.find("written"))
    argument.written = written->boolean();
  return argument;
}

/// A family and its fields, which are numbers from 0 on and words: the runtime passes them on as they are.
Json readSchedule(const JsonView &json) {
  json.at("family").string();
  json.members([](const std::string &, const JsonView &field) {
    if (!field.isString())
      field.integer(0);
  });
  return json.json();
}

/// Another schedule of a kernel may run in its place: so it takes and gives the same.
void checkVariant(const JsonView &json, const std::string &base, std::vector<Kernel> &kernels) {
  Kernel &kernel = kernels.back();
  auto found = std::find_if(kernels.begin(), kernels.end() - 1, [&](const Kernel &other) { return other.name == base; });
  if (found == kernels.end() - 1 || found->variantOf != SIZE_MAX)
    fail(json.path(), ": expected 'variant_of' to name an earlier kernel that is no variant itself, but got '", base, "'");
  if (!kernel.described || !found->described || kernel.args != found->args || kernel.reductions != found->reductions || kernel.ints != found->ints ||
      kernel.elementwise != found->elementwise)
    fail(json.path(), ": '", kernel.name, "' does not take and give what '", base, "' does, of which it is a variant");
  kernel.variantOf = found - kernels.begin();
}

Kernel readKernel(const JsonView &json) {
  json.only({"name", "symbol", "tile", "reduces", "shared", "threads", "cluster", "maps", "map_channels", "group", "boxes", "interleaved", "workspace", "ints", "args", "reductions", "elementwise",
             "structure", "shape", "schedule", "variant_of"});
  Kernel kernel;
  kernel.name = json.at("name").string();
  kernel.symbol = json.at("symbol").string();
  kernel.tile = json.at("tile").integer(1, INT32_MAX);
  if (auto reduces = json.find("reduces"))
    kernel.reduces = reduces->boolean();
  if (auto shared = json.find("shared"))
    kernel.shared = shared->integer(0, INT32_MAX);
  if (auto threads = json.find("threads"))
    kernel.threads = threads->integer(0, 1024);
  if (auto ints = json.find("ints"))
    for (size_t i = 0; i < ints->size(); ++i)
      kernel.ints.push_back((*ints)[i].string());
  if (auto structure = json.find("structure"))
    kernel.structure = structure->string();
  if (auto shape = json.find("shape"))
    kernel.shape = shape->string();
  if (auto schedule = json.find("schedule"))
    kernel.schedule = readSchedule(*schedule);
  kernel.described = json.has("args");
  if (!kernel.described)
    return kernel;
  auto list = [&](const char *key, std::vector<KernelArgument> &arguments) {
    JsonView items = json.at(key);
    for (size_t i = 0; i < items.size(); ++i)
      arguments.push_back(readArgument(items[i], kernel));
  };
  list("args", kernel.args);
  for (const KernelArgument &argument : kernel.args)
    if (argument.index != SIZE_MAX && (argument.index >= kernel.args.size() || kernel.args[argument.index].dtype != DType::I32))
      fail(json.path(), ": expected 'index' to be an argument of type i32, but got ", argument.index);
  list("reductions", kernel.reductions);
  if (kernel.reduces == kernel.reductions.empty())
    fail(json.path(), ": 'reduces' and 'reductions' disagree");
  if (auto elementwise = json.find("elementwise"))
    kernel.elementwise = elementwise->boolean();
  if (auto cluster = json.find("cluster"))
    kernel.cluster = cluster->integer(1, 16);
  if (auto maps = json.find("maps")) {
    kernel.mapChannels = json.at("map_channels").integer(64, INT32_MAX);
    kernel.boxes = json.at("boxes").integer(1, 16);
    if (auto interleaved = json.find("interleaved"))
      kernel.interleaved = interleaved->boolean();
    for (size_t i = 0; i < maps->size(); ++i) {
      int64_t argument = (*maps)[i].integer(0, static_cast<int64_t>(kernel.args.size()) - 1);
      const KernelArgument &rows = kernel.args[argument];
      if (rows.dtype != DType::BF16 || !rows.token || rows.elements % kernel.mapChannels || kernel.mapChannels % 64)
        fail(json.path(), ": a tensor map needs token rows of bf16 with a multiple of 64 channels a stream");
      kernel.maps.push_back(argument);
    }
  }
  if (auto group = json.find("group")) {
    kernel.group = group->integer(1, 1024);
    kernel.workspace = json.at("workspace").integer(1, INT32_MAX);
    if (kernel.maps.empty() || kernel.cluster != 1)
      fail(json.path(), ": a group without a cluster needs tensor maps, and no cluster");
  }
  return kernel;
}

} // namespace

std::map<std::string, TargetPlan> parsePlan(const Json &document, const Manifest &manifest, const std::string &source) {
  std::map<std::string, TargetPlan> plans;
  JsonView(document, source).at("targets").members([&](const std::string &targetName, const JsonView &json) {
    const auto &names = manifest.targets;
    if (std::find(names.begin(), names.end(), targetName) == names.end())
      fail(json.path(), ": the manifest does not name this target");
    TargetPlan &target = plans[targetName];
    std::set<std::string> kernelNames;
    JsonView kernels = json.at("kernels");
    for (size_t i = 0; i < kernels.size(); ++i) {
      target.kernels.push_back(readKernel(kernels[i]));
      if (!kernelNames.insert(target.kernels.back().name).second)
        fail(kernels[i].path(), ": the kernel '", target.kernels.back().name, "' occurs twice");
      if (auto base = kernels[i].find("variant_of"))
        checkVariant(kernels[i], base->string(), target.kernels);
    }
    if (auto library = json.find("library"))
      for (size_t i = 0; i < library->size(); ++i) {
        JsonView item = (*library)[i];
        item.only({"symbol", "tile", "shared", "threads"});
        LibraryKernel kernel{item.at("tile").integer(1, INT32_MAX), item.at("shared").integer(0, INT32_MAX),
                             item.at("threads").integer(1, 1024)};
        if (!target.library.emplace(item.at("symbol").string(), kernel).second)
          fail(item.path(), ": the library kernel '", item.at("symbol").string(), "' occurs twice");
      }
    json.at("entries").members([&](const std::string &entryName, const JsonView &entryJson) {
      auto entry = manifest.entries.find(entryName);
      if (entry == manifest.entries.end())
        fail(entryJson.path(), ": the manifest has no such entry");
      target.entries.emplace(entryName, EntryReader(manifest, entry->second, target).read(entryJson));
    });
  });
  for (const std::string &target : manifest.targets)
    if (!plans.count(target))
      fail(source, ": there is no plan for the target '", target, "' that the manifest names");
  return plans;
}

} // namespace mhcrt
