#include "Options.h"
#include "base/File.h"
#include "base/ThreadPool.h"
#include "generate/Generator.h"

#include <charconv>
#include <chrono>
#include <cstdio>
#include <cstring>

namespace mhcrt {
namespace {

/// What to continue, and in which form: a prompt of token ids is continued by token ids, text by bytes.
struct Prompt {
  std::vector<int32_t> tokens;
  bool bytes = true;
};

std::vector<int32_t> parseTokens(const std::string &text, int64_t vocab) {
  std::vector<int32_t> tokens;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    const char *to = text.data() + end;
    int64_t token = 0;
    auto [last, code] = std::from_chars(text.data() + begin, to, token);
    if (code != std::errc() || last != to || token < 0 || token >= vocab)
      throw UsageError(concat("--prompt-tokens: expected token ids from 0 to ", vocab - 1,
                              " with commas between them, but got '", text.substr(begin, end - begin), "'"));
    tokens.push_back(static_cast<int32_t>(token));
    begin = end + 1;
  }
  return tokens;
}

/// Problem: the kind of error where a byte is no token.
template <typename Problem>
std::vector<int32_t> bytesToTokens(const char *bytes, size_t count, int64_t vocab, const std::string &source) {
  std::vector<int32_t> tokens;
  for (size_t i = 0; i < count; ++i) {
    int32_t token = static_cast<uint8_t>(bytes[i]);
    if (token >= vocab)
      throw Problem(concat(source, ": byte ", token, " at position ", i, " is outside a vocabulary of ", vocab));
    tokens.push_back(token);
  }
  return tokens;
}

Prompt choosePrompt(const Options &options, int64_t vocab) {
  if (auto ids = options.value("prompt-tokens"))
    return {parseTokens(*ids, vocab), false};
  if (vocab > 256)
    throw UsageError(concat("the model has a vocabulary of ", vocab,
                            " tokens, which are not bytes: give the prompt by --prompt-tokens"));
  if (auto path = options.value("prompt-file")) {
    Memory content = readFile(*path);
    if (content.size() == 0)
      fail(*path, ": the prompt is empty");
    return {bytesToTokens<Error>(content.data(), content.size(), vocab, *path)};
  }
  const std::string text = options.value("prompt", "\n"); // a model needs something to continue: the start of a line
  return {bytesToTokens<UsageError>(text.data(), text.size(), vocab, "--prompt")};
}

/// Each token as soon as it is there.
void print(const std::string &text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0)
    fail("cannot write to standard output: ", std::strerror(errno));
}

} // namespace

int generateCommand(const std::vector<std::string> &arguments) {
  Options options(arguments, {"json"},
                  {"device", "prompt", "prompt-file", "prompt-tokens", "seed", "temperature", "threads", "tokens",
                   "top-k", "top-p", "weights"});
  if (options.positional().size() != 1)
    throw UsageError("expected mhc-run generate PACKAGE --weights=FILE [options] (see mhc-run --help)");
  const std::string weights = options.required("weights"), kind = options.value("device", "cpu");
  const int threads = chooseThreads(options.threads());
  const int64_t count = options.integer("tokens", 1).value_or(128);
  Sampling sampling;
  sampling.temperature = options.number("temperature", 0, 1e6).value_or(sampling.temperature);
  sampling.topK = options.integer("top-k", 1).value_or(sampling.topK);
  sampling.topP = options.number("top-p", 0, 1).value_or(sampling.topP);
  sampling.seed = options.integer("seed", INT64_MIN, INT64_MAX).value_or(sampling.seed);
  int prompts = 0;
  for (const char *name : {"prompt", "prompt-file", "prompt-tokens"})
    prompts += options.value(name).has_value();
  if (prompts > 1)
    throw UsageError("--prompt, --prompt-file and --prompt-tokens exclude each other");

  Package package = Package::open(options.positional()[0]);
  checkGenerates(package.manifest());
  const Prompt prompt = choosePrompt(options, package.manifest().vocabSize);
  SafeTensorsFile file(weights);
  std::string target;
  std::unique_ptr<Device> device = openDevice(kind, package, threads, target);
  Generator generator(package, *device, target, file, sampling);
  generator.start(prompt.tokens, count);

  const bool json = options.flag("json");
  std::vector<int32_t> tokens;
  std::string text;
  const auto begin = std::chrono::steady_clock::now();
  for (int64_t i = 0; i < count; ++i) {
    const int32_t token = generator.next();
    if (json) {
      tokens.push_back(token);
      text += static_cast<char>(token);
    } else if (prompt.bytes) {
      print(std::string(1, static_cast<char>(token)));
    } else {
      print(concat(i ? " " : "", token));
    }
  }
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - begin;
  if (json) {
    Json result = {{"package", package.source()},
                   {"weights", weights},
                   {"device", device->description()},
                   {"target", target},
                   {"threads", device->isHost() ? Json(threads) : Json()},
                   {"temperature", sampling.temperature},
                   {"top_k", sampling.topK ? Json(sampling.topK) : Json()},
                   {"top_p", sampling.topP},
                   {"seed", sampling.seed},
                   {"prompt_tokens", prompt.tokens.size()},
                   {"tokens", tokens},
                   {"seconds", elapsed.count()}};
    if (prompt.bytes)
      result["text"] = text;
    std::printf("%s\n", jsonText(result).c_str());
  } else if (!prompt.bytes) {
    print("\n");
  }
  return 0;
}

} // namespace mhcrt
