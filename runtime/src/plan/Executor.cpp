#include "plan/Executor.h"
#include "base/Memory.h"

#include <cmath>
#include <cstdlib>

namespace mhcrt {

Executor::Executor(const Package &package, Device &device, const std::string &targetName, const std::string &entryName,
                   std::map<size_t, size_t> variants)
    : package(package), device(device), target(&package.targets().at(targetName)),
      entry(&package.manifest().entry(entryName)), variants(std::move(variants)) {
  auto found = target->entries.find(entryName);
  if (found == target->entries.end())
    fail(package.source(), ": target '", targetName, "' has no plan for entry '", entryName, "'");
  plan = &found->second;
  auto isOn = [](const char *variable) {
    const char *flag = std::getenv(variable);
    return flag && std::string(flag) == "1";
  };
  poison = isOn("MHC_POISON");
  synchronous = isOn("MHC_SYNCHRONOUS");
  scalarMemory = DeviceMemory(device, sizeof(Scalars));
}

void Executor::bind(const Symbols &values) {
  if (hasLayout && symbols == values)
    return;
  hasLayout = false;
  recording.reset();
  lastAddress.clear();
  bound = layOut(package.manifest(), *entry, *target, *plan, values,
                 [&](const Kernel &kernel, int64_t rows) { return device.partials(chosen(&kernel - target->kernels.data()), rows); });
  symbols = values;
  if (arena.size() < bound.arenaBytes) {
    arena = DeviceMemory(); // give the old one back first
    arena = DeviceMemory(device, bound.arenaBytes);
  }
  makeConstants();
  hasLayout = true;
}

void Executor::makeConstants() {
  constants.clear();
  for (size_t i = 0; i < plan->buffers.size(); ++i) {
    const Buffer &buffer = plan->buffers[i];
    if (buffer.kind != BufferKind::Constant)
      continue;
    int64_t count = bound.counts[i];
    Memory values(count * byteSize(buffer.dtype));
    for (int64_t at = 0; at < count; ++at) {
      double pair = static_cast<double>(at % buffer.pairs), position = static_cast<double>(at / buffer.pairs);
      double angle = position * std::pow(buffer.theta, -pair / static_cast<double>(buffer.pairs));
      double value = buffer.sine ? std::sin(angle) : std::cos(angle);
      if (buffer.dtype == DType::F64)
        reinterpret_cast<double *>(values.data())[at] = value;
      else if (buffer.dtype == DType::F32)
        reinterpret_cast<float *>(values.data())[at] = static_cast<float>(value);
      else
        reinterpret_cast<uint16_t *>(values.data())[at] = toBf16(static_cast<float>(value));
    }
    DeviceMemory memory(device, values.size());
    device.copyIn(memory.data(), values.data(), values.size());
    constants[i] = std::move(memory);
  }
}

void Executor::addresses(const Run &run) {
  const Manifest &manifest = package.manifest();
  address.assign(plan->buffers.size(), nullptr);
  auto arenaOf = [&](const Buffer &buffer, StateArena which) {
    if (!run.arenas || !(*run.arenas)[which].data())
      fail("entry '", entry->name, "': buffer ", buffer.id, " '", buffer.name,
           "' lies in an arena that this call does not have");
    return (*run.arenas)[which].data();
  };
  for (size_t i = 0; i < plan->buffers.size(); ++i) {
    const Buffer &buffer = plan->buffers[i];
    uint64_t bytes = static_cast<uint64_t>(bound.counts[i]) * byteSize(buffer.dtype);
    switch (buffer.kind) {
    case BufferKind::Input:
      address[i] = run.inputs.at(buffer.tensor) + buffer.slice * bytes;
      break;
    case BufferKind::Output:
      address[i] = run.outputs.at(buffer.tensor) + buffer.slice * bytes;
      break;
    case BufferKind::Parameter:
      address[i] = arenaOf(buffer, StateArena::Parameters) + manifest.findStored(buffer.tensor)->offset * 4;
      break;
    case BufferKind::Gradient:
      address[i] = arenaOf(buffer, StateArena::Gradients) + manifest.findStored(buffer.tensor)->offset * 4;
      break;
    case BufferKind::Arena:
    case BufferKind::Partials:
      address[i] = arena.data() + bound.offsets[i];
      break;
    case BufferKind::State:
      address[i] = arenaOf(buffer, buffer.arena) + buffer.begin * byteSize(buffer.dtype);
      break;
    case BufferKind::Scalars:
      address[i] = scalarMemory.data() + buffer.begin * sizeof(float);
      break;
    case BufferKind::Constant:
      address[i] = constants.at(i).data();
      break;
    case BufferKind::Window: // an earlier buffer's; loops move it on
      address[i] = address[buffer.base];
      break;
    }
  }
}

/// Everything of a run but its commands.
void Executor::begin(const Run &run) {
  if (!hasLayout)
    fail("entry '", entry->name, "' runs before its symbols are bound");
  addresses(run);
  isLastBlock = false;
  if (poison) {
    device.fillBytes(arena.data(), 0xff, bound.arenaBytes);
    for (size_t i = 0; i < plan->buffers.size(); ++i)
      if (plan->buffers[i].kind == BufferKind::Output)
        device.fillBytes(address[i], 0xff, bound.counts[i] * byteSize(plan->buffers[i].dtype));
  }
  Scalars none{};
  none[scalar::GradientScale] = 1;
  none[scalar::Phase] = static_cast<float>(package.manifest().phases.size()); // the last
  Scalars scalars = run.scalars ? *run.scalars : none;
  if (auto b = symbols.find("B"), s = symbols.find("S"); b != symbols.end() && s != symbols.end() && b->second > 0 && s->second > 0)
    scalars[scalar::InverseTokens] = static_cast<float>(1.0 / (static_cast<double>(b->second) * static_cast<double>(s->second)));
  device.copyIn(scalarMemory.data(), scalars.data(), sizeof scalars);
  microBatch = 0;
}

void Executor::run(const Run &run) {
  begin(run);
  issue(run);
  device.synchronize();
  if (run.scalars)
    device.copyOut(run.scalars->data(), scalarMemory.data(), sizeof(Scalars));
}

void Executor::issue(const Run &run) {
  bool same = address == lastAddress && run.microBatches == lastMicroBatches;
  lastAddress = address;
  lastMicroBatches = run.microBatches;
  if (recording && (!same || !recording->isValid()))
    recording.reset();
  // What passes one by one cannot be a whole.
  if (same && !run.passed && !synchronous) {
    if (!recording)
      recording = device.record([&] { prepared(run); });
    if (recording)
      return recording->replay();
    address = lastAddress; // in case it was given up half-way
    microBatch = 0;
  }
  if (run.passed)
    run.passed(nullptr);
  prepared(run);
}

/// All commands, and before them what the device prepares once for all launches.
void Executor::prepared(const Run &run) {
  if (uint64_t bytes = workspace(plan->commands, bound.commands, run.microBatches)) {
    device.prepare(bytes);
    if (run.passed)
      run.passed(nullptr);
  }
  commands(plan->commands, run);
}

uint64_t Executor::workspace(const std::vector<Command> &list, const std::vector<BoundCommand> &values, int64_t microBatches) const {
  uint64_t bytes = 0;
  for (const Command &item : list) {
    if (item.op == Op::Launch)
      bytes += device.workspace(chosen(item.kernel), values[item.index].rows);
    else if (item.op == Op::Loop && !item.rowBlocks)
      bytes += static_cast<uint64_t>(microBatches) * workspace(item.body, values, 1);
    else if (item.op == Op::Loop && bound.rowBlocks > 0)
      bytes += static_cast<uint64_t>(bound.rowBlocks - 1) * workspace(item.body, values, 1) + workspace(item.body, bound.lastBlock, 1);
  }
  return bytes;
}

namespace {
struct Found { // ends a run
  std::string where;
};

bool isFinite(const char *data, DType type, int64_t count) {
  auto all = [&](const auto *values, auto widen) {
    for (int64_t i = 0; i < count; ++i)
      if (!std::isfinite(widen(values[i])))
        return false;
    return true;
  };
  auto same = [](auto value) { return value; };
  switch (type) {
  case DType::BF16:
    return all(reinterpret_cast<const uint16_t *>(data), [](uint16_t value) { return fromBf16(value); });
  case DType::F32:
    return all(reinterpret_cast<const float *>(data), same);
  case DType::F64:
    return all(reinterpret_cast<const double *>(data), same);
  case DType::I32:
  case DType::I64:
    return true;
  }
  return true;
}
} // namespace

bool Executor::hasNonFinite(const Command &command) {
  std::vector<size_t> written;
  if (command.op == Op::Launch) {
    const Kernel &kernel = target->kernels[command.kernel];
    for (size_t i = 0; i < kernel.args.size() && i < command.args.size(); ++i)
      if (kernel.args[i].written)
        written.push_back(command.args[i]);
    for (const Reduction &reduction : command.reductions)
      written.push_back(reduction.out);
  } else {
    for (size_t index : {command.c, command.op == Op::AttentionBackward ? noBuffer : command.out, command.dq, command.dk,
                         command.dv, command.dst, command.y, command.share})
      if (index != noBuffer)
        written.push_back(index);
  }
  Memory values;
  for (size_t index : written) {
    const Buffer &buffer = plan->buffers[index];
    if (buffer.kind == BufferKind::Scalars) // the clip threshold may well be infinite
      continue;
    int64_t count = bound.counts[index];
    if (isLastBlock && bound.blockRows > 0) // what is left of a block that is not whole is of the one before, or nobody's
      if (const Affine &size = buffer.size; size.terms.size() == 1 && size.terms[0].first == "R")
        count = size.terms[0].second * (symbols.at("T") - (bound.rowBlocks - 1) * bound.blockRows);
    uint64_t bytes = count * byteSize(buffer.dtype);
    if (values.size() < bytes)
      values = Memory(bytes);
    device.copyOut(values.data(), address[index], bytes);
    if (!isFinite(values.data(), buffer.dtype, count))
      return true;
  }
  return false;
}

std::string Executor::findNonFinite(const Run &run) {
  Run checked = run;
  checked.passed = [&](const Command *passed) {
    if (passed && hasNonFinite(*passed))
      throw Found{concat(name(passed->op),
                         passed->op == Op::Launch ? " of kernel '" + target->kernels[passed->kernel].name + "'" : "",
                         passed->at.empty() ? "" : " (" + passed->at + ")")};
  };
  begin(checked);
  try {
    issue(checked);
    device.synchronize();
  } catch (const Found &found) {
    lastAddress.clear();
    device.synchronize();
    return found.where;
  }
  return "";
}

void Executor::commands(const std::vector<Command> &list, const Run &run) {
  for (const Command &item : list) {
    if (item.op == Op::Loop && item.rowBlocks) {
      blocks(item, run);
      continue;
    }
    if (item.op == Op::Loop) {
      std::vector<char *> before = address;
      for (microBatch = 0; microBatch < run.microBatches; ++microBatch) {
        for (size_t i = 0; i < plan->buffers.size(); ++i)
          if (plan->buffers[i].kind == BufferKind::Input && plan->buffers[i].tensor == "tokens")
            address[i] = before[i] + microBatch * bound.counts[i] * byteSize(plan->buffers[i].dtype);
        commands(item.body, run);
      }
      address = std::move(before);
      microBatch = 0;
      continue;
    }
    try {
      command(item);
      if (synchronous)
        device.synchronize();
    } catch (const Error &problem) {
      if (item.at.empty() || item.op == Op::SplitTokens) // a bad token is the input's fault, not a place's
        throw;
      fail(item.at, ": ", problem.what());
    }
    if (run.passed)
      run.passed(&item);
  }
}

void Executor::blocks(const Command &loop, const Run &run) {
  std::vector<char *> before = address;
  for (int64_t block = 0; block < bound.rowBlocks; ++block) {
    for (size_t i = 0; i < plan->buffers.size(); ++i)
      if (plan->buffers[i].kind == BufferKind::Window) // counts[i]: of a whole block
        address[i] = before[i] + block * bound.counts[i] * byteSize(plan->buffers[i].dtype);
    isLastBlock = block + 1 == bound.rowBlocks;
    commands(loop.body, run);
  }
  isLastBlock = false;
  address = std::move(before);
}

const Kernel &Executor::chosen(size_t kernel) const {
  auto variant = variants.find(kernel);
  return target->kernels[variant == variants.end() ? kernel : variant->second];
}

void Executor::launch(const Command &command, const BoundCommand &values) {
  const Kernel &kernel = chosen(command.kernel);
  args.clear();
  for (size_t index : command.args)
    args.push_back(address[index]);
  for (const Reduction &reduction : command.reductions)
    args.push_back(address[reduction.partial]);
  if (values.rows > 0)
    device.launch(kernel, values.rows, args, values.ints);
  if (command.reductions.empty())
    return;
  std::vector<PartialSum> sums;
  for (const Reduction &reduction : command.reductions)
    sums.push_back({address[reduction.partial], address[reduction.out], plan->buffers[reduction.out].dtype, bound.counts[reduction.partial],
                    values.rows > 0 ? values.partials : 0, reduction.accumulate});
  device.sumPartials(sums);
}

void Executor::command(const Command &command) {
  const BoundCommand &values = (isLastBlock ? bound.lastBlock : bound.commands)[command.index];
  auto at = [&](size_t index) { return index == noBuffer ? nullptr : address[index]; };
  auto type = [&](size_t index) { return plan->buffers[index].dtype; };
  switch (command.op) {
  case Op::Launch:
    return launch(command, values);
  case Op::Gemm: {
    GemmArgs gemm{values.m,        values.n,       values.k,        at(command.a),
                  at(command.b),   at(command.c),  type(command.a), type(command.b),
                  type(command.c), command.transA, command.transB,  command.accumulate,
                  command.batch,   command.alpha,  command.beta,    at(command.d)};
    return device.gemm(gemm);
  }
  case Op::Attention:
  case Op::AttentionBackward: {
    AttentionArgs attention;
    attention.q = at(command.q);
    attention.k = at(command.kk);
    attention.v = at(command.v);
    attention.out = at(command.out);
    attention.lse = at(command.lse);
    attention.dout = at(command.dout);
    attention.dq = at(command.dq);
    attention.dk = at(command.dk);
    attention.dv = at(command.dv);
    attention.type = type(command.q);
    attention.lseType = type(command.lse);
    attention.sequences = values.sequences;
    attention.length = values.length;
    attention.heads = command.heads;
    attention.kvHeads = command.kvHeads;
    attention.headDim = command.headDim;
    attention.valueDim = command.valueDim;
    attention.scale = command.scale;
    return command.op == Op::Attention ? device.attention(attention) : device.attentionBackward(attention);
  }
  case Op::SplitTokens: {
    SplitTokensArgs split;
    split.tokens = reinterpret_cast<const int32_t *>(at(command.tokens));
    split.inputs = reinterpret_cast<int32_t *>(at(command.inputs));
    split.targets = reinterpret_cast<int32_t *>(at(command.targets));
    split.rows = values.m;
    split.columns = values.n;
    split.vocab = command.vocab;
    split.firstRow = microBatch * values.m;
    return device.splitTokens(split);
  }
  case Op::EmbeddingBackward: {
    EmbeddingBackwardArgs backward;
    backward.tokens = reinterpret_cast<const int32_t *>(at(command.tokens));
    backward.dx = at(command.dx);
    backward.out = at(command.out);
    backward.typeDx = type(command.dx);
    backward.typeOut = type(command.out);
    backward.count = values.m;
    backward.channels = values.n;
    backward.vocab = values.k;
    backward.accumulate = command.accumulate;
    return device.embeddingBackward(backward);
  }
  case Op::Dispatch: {
    DispatchArgs dispatch;
    auto numbers = [&](size_t index) { return reinterpret_cast<int32_t *>(at(index)); };
    dispatch.index = numbers(command.choice);
    dispatch.counts = numbers(command.counts);
    dispatch.offsets = numbers(command.offsets);
    dispatch.gather = numbers(command.gather);
    dispatch.order = numbers(command.order);
    dispatch.reverse = numbers(command.reverse);
    dispatch.dropped = numbers(command.dropped);
    dispatch.tokens = values.rows;
    dispatch.choices = command.choices;
    dispatch.experts = command.experts;
    dispatch.capacity = command.capacity;
    return device.dispatch(dispatch);
  }
  case Op::GroupedMatmul: {
    GroupedMatmulArgs matmul;
    matmul.x = at(command.x);
    matmul.w = at(command.w);
    matmul.offsets = reinterpret_cast<const int32_t *>(at(command.offsets));
    matmul.y = at(command.y);
    matmul.type = type(command.x);
    matmul.typeY = type(command.y);
    matmul.rows = values.rows;
    matmul.k = command.inner;
    matmul.n = command.outer;
    matmul.groups = command.experts;
    matmul.transposed = command.transposed;
    return device.groupedMatmul(matmul);
  }
  case Op::GroupedOuter: {
    GroupedOuterArgs outer;
    outer.x = at(command.x);
    outer.y = at(command.w);
    outer.offsets = reinterpret_cast<const int32_t *>(at(command.offsets));
    outer.out = at(command.y);
    outer.type = type(command.x);
    outer.typeOut = type(command.y);
    outer.rows = values.rows;
    outer.k = command.inner;
    outer.n = command.outer;
    outer.groups = command.experts;
    outer.accumulate = command.accumulate;
    return device.groupedOuter(outer);
  }
  case Op::ExpertLoad: {
    ExpertLoadArgs load;
    load.counts = reinterpret_cast<const int32_t *>(at(command.counts));
    load.previous = reinterpret_cast<const int64_t *>(at(command.previous));
    load.share = at(command.share);
    load.total = reinterpret_cast<int64_t *>(at(command.total));
    load.typeShare = type(command.share);
    load.experts = values.n;
    return device.expertLoad(load);
  }
  case Op::SequenceLoad: {
    SequenceLoadArgs load;
    load.index = reinterpret_cast<const int32_t *>(at(command.choice));
    load.share = at(command.share);
    load.typeShare = type(command.share);
    load.sequences = values.rows / values.length;
    load.length = values.length;
    load.choices = command.choices;
    load.experts = command.experts;
    return device.sequenceLoad(load);
  }
  case Op::UpdateBias: {
    UpdateBiasArgs update;
    update.bias = at(command.bias);
    update.counts = at(command.counts);
    update.factor = reinterpret_cast<const float *>(at(command.factor));
    update.out = at(command.y);
    update.type = type(command.bias);
    update.typeCounts = type(command.counts);
    update.rows = values.n / command.experts;
    update.experts = command.experts;
    update.rate = command.rate;
    return device.updateBias(update);
  }
  case Op::Fill:
    return device.fill(at(command.buffer), type(command.buffer), bound.counts[command.buffer], command.value);
  case Op::Add:
    return device.add(at(command.dst), at(command.src), type(command.dst), bound.counts[command.dst]);
  case Op::Copy:
    return device.copy(at(command.dst), at(command.src), bound.counts[command.dst] * byteSize(type(command.dst)));
  case Op::Loop:
    return; // commands() runs these
  }
}

} // namespace mhcrt
