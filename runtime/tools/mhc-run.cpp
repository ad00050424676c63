#include "Options.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <exception>
#include <stdexcept>

namespace {

/// What `mhc-run --help` prints of all commands, and `mhc-run COMMAND --help` of one.
struct Command {
  const char *name;
  const char *usage; ///< a line each, without "mhc-run"
  const char *text;
  int (*run)(const std::vector<std::string> &arguments);
};

constexpr Command commands[] = {
    {"bench", "bench PACKAGE ENTRY [--shape=T=4096,...] [options]\n",
     R"(bench  measures one entry point on random inputs: time and bytes of each kernel, beside what the machine can do:
  --shape=T=4096,...       values of the entry's symbols
  --repeat=N --warmup=N    measured runs (default 11), runs before them (default 2)
  --seed=N                 of the inputs (default 0)
  --json                   for programs, with every command of the plan
  --device=cpu|cuda --threads=N
)",
     mhcrt::benchCommand},
    {"call", "call PACKAGE ENTRY --inputs=FILE --outputs=FILE [--device=cpu|cuda] [--threads=N]\n",
     "call   runs one entry point on the tensors of a safetensors file and writes its outputs to another one.\n", mhcrt::callCommand},
    {"train", "train PACKAGE --data=FILE|DIR [options]\n",
     R"(train  trains a language model:
  --data=FILE|DIR          text or bytes (byte models), .bin token files, or a safetensors file with `tokens`
  --steps=N --sequences=N --learning-rate=X   in place of the description's
  --seed=N                 of the initial values and of the samples drawn from text (default 0)
  --initial=FILE           parameters (and optionally optimizer state) to start from
  --resume=FILE            continue a run from its checkpoint, bit for bit
  --save=FILE|DIR          checkpoint at the end; --save-every=N also on the way
  --metrics=FILE.jsonl     one line a step: loss, rate, norm, and of models with experts their counts and MaxVio
  --monitor=N              at step 1, every N steps and at the last one also Z of attention and routers, RMS and
                           outliers of branches and streams, gains and means of the mixing matrices and of their
                           product, weight norms and angles (docs/metrics.md); default: never
  --eval-every=N           loss on the held-out part of a text every N steps; --eval-batches=N batches each time
  --device=cpu|cuda --threads=N
)",
     mhcrt::trainCommand},
    {"tune", "tune PACKAGE [ENTRY] --shape=T=4096,... [--save=FILE] [options]\n",
     R"(tune   times the schedules that the package has of each kernel (mhc-compile --tune-candidates=N), kernel by kernel within the
       entry, without one within all entries of these sizes; compiles nothing:
  --save=FILE              the best ones, for mhc-compile --schedule=FILE
  --shape=T=4096,... --repeat=N --warmup=N --seed=N as bench
  --device=cpu|cuda --threads=N
)",
     mhcrt::tuneCommand},
    {"report", "report METRICS.jsonl [-o FILE.html] [--title=TEXT]\n",
     "report  makes one HTML page of a run's metrics, without anything from the network; default: FILE.html beside the metrics.\n",
     mhcrt::reportCommand},
    {"generate", "generate PACKAGE --weights=FILE.safetensors [options]\n",
     R"(generate  continues a text by a trained language model; what it generates, and nothing else, goes to standard output:
  --weights=FILE           the model's parameters: a checkpoint of train, for example
  --prompt=TEXT            what to continue (byte models; without a prompt, a newline)
  --prompt-file=FILE       likewise, the bytes of a file
  --prompt-tokens=1,2,3    token ids (any model); token ids then come out too
  --tokens=N               how many to generate (default 128)
  --temperature=X          logits are divided by it (default 1); 0: always the most likely token
  --top-k=K --top-p=P      draw from the K most likely tokens, then from the fewest with a probability of P
  --seed=N                 of the random numbers (default 0)
  --json                   one JSON object at the end instead
  --device=cpu|cuda --threads=N
)",
     mhcrt::generateCommand},
    {"info", "info PACKAGE [--json] [--memory=T=4096,...]\ninfo --libs\n",
     R"(info   prints what a package holds; with --memory what its entries need for given sizes. --libs: the libraries found.
)",
     mhcrt::infoCommand},
};

constexpr char common[] = R"(
Threads: --threads, else MHC_THREADS, else all processors. Results do not depend on their number.
MHC_POISON=1 fills temporary memory and outputs with NaNs before a run.
Exit status: 0 success, 1 failure on the input, 2 wrong usage.
)";

void printUsage(const std::vector<const Command *> &of, const char *more) {
  const char *before = "usage: ";
  for (const Command *command : of)
    for (const char *line = command->usage; *line != 0; before = "       ") {
      const char *end = std::strchr(line, '\n') + 1;
      std::printf("%smhc-run %.*s", before, static_cast<int>(end - line), line);
      line = end;
    }
  std::printf("%s\n", more);
  for (const Command *command : of)
    std::fputs(command->text, stdout);
  std::fputs(common, stdout);
}

int dispatch(const std::vector<std::string> &arguments) {
  if (arguments.empty())
    throw mhcrt::UsageError("expected a command: bench, call, generate, info, report, train or tune (see mhc-run --help)");
  const std::string &name = arguments[0];
  if (name == "--help" || name == "-h" || name == "help") {
    std::vector<const Command *> all;
    for (const Command &command : commands)
      all.push_back(&command);
    printUsage(all, "       mhc-run [COMMAND] --help | --version\n");
    return 0;
  }
  if (name == "--version") {
    std::puts("mhc-run " MHC_RT_VERSION " (package format 1)");
    return 0;
  }
  for (const Command &command : commands) {
    if (name != command.name)
      continue;
    std::vector<std::string> rest(arguments.begin() + 1, arguments.end());
    if (std::find(rest.begin(), rest.end(), "--help") == rest.end())
      return command.run(rest);
    printUsage({&command}, "");
    return 0;
  }
  throw mhcrt::UsageError("unknown command '" + name + "' (see mhc-run --help)");
}

} // namespace

int main(int argc, char **argv) {
  try {
    int code = dispatch({argv + (argc > 0), argv + argc});
    if (std::fflush(stdout) != 0) {
      std::fprintf(stderr, "mhc-run: error: cannot write to standard output: %s\n", std::strerror(errno));
      return 1;
    }
    return code;
  } catch (const mhcrt::UsageError &problem) {
    std::fprintf(stderr, "mhc-run: error: %s\n", problem.what());
    return 2;
  } catch (const std::bad_alloc &) {
    std::fprintf(stderr, "mhc-run: error: out of memory\n");
    return 1;
  } catch (const std::length_error &) { // more elements than a std::vector can count
    std::fprintf(stderr, "mhc-run: error: out of memory\n");
    return 1;
  } catch (const std::exception &problem) {
    std::fprintf(stderr, "mhc-run: error: %s\n", problem.what());
    return 1;
  }
}
