#include "Support.h"
#include "report/Page.h"
#include "report/Report.h"

#include <cmath>

using namespace mhcrt;
using namespace mhcrt::test;

namespace {

struct Metrics {
  Folder folder;
  RunRecord read(const std::string &text) { return readRun(folder.write("m.jsonl", text)); }
};

std::string stepLine(int step, double loss, const std::string &more = "") { return concat("{\"step\": ", step, ", \"loss\": ", loss, more, "}\n"); }

size_t countOf(const std::string &text, const std::string &part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + part.size()))
    ++count;
  return count;
}

} // namespace

TEST(Report, ReadsStepsAndWhatTheyLack) {
  Metrics m;
  RunRecord run = m.read("{\"package\": \"p\", \"steps\": 9}\n" + stepLine(1, 3) + "{\"step\": 2, \"loss\": null, \"norm\": 7}\n\n{\"step\": 2, \"validation_loss\": 4.5}\n" + stepLine(3, 1) + "{\"hello\": 1}\n");
  EXPECT_EQ(run.header["steps"], 9);
  EXPECT_EQ(run.steps, (std::vector<double>{1, 2, 3}));
  EXPECT_EQ(run.scalars["loss"][0], 3);
  EXPECT_TRUE(std::isnan(run.scalars["loss"][1]));
  ASSERT_EQ(run.scalars["norm"].size(), 3u);
  EXPECT_TRUE(std::isnan(run.scalars["norm"][0]));
  EXPECT_EQ(run.scalars["norm"][1], 7);
  EXPECT_TRUE(std::isnan(run.scalars["norm"][2]));
  EXPECT_EQ(run.validation, (std::vector<std::pair<double, double>>{{2, 4.5}}));
  ASSERT_EQ(run.notes.size(), 1u);
  EXPECT_EQ(run.notes[0], "1 line says nothing of a step (the first: line 7)");
}

TEST(Report, ResumedStepsTakeThePlaceOfTheEarlierOnes) {
  Metrics m;
  std::string text;
  auto watched = [](int step, int value) { return concat(", \"monitor\": {\"z\": [", value, "]}, \"expert_counts\": [[", step, ", 1]]"); };
  for (int step = 1; step <= 5; ++step)
    text += stepLine(step, step, watched(step, step));
  text += "{\"step\": 5, \"validation_loss\": 50}\n{\"package\": \"p\", \"resumed_after_step\": 2}\n";
  for (int step = 3; step <= 4; ++step)
    text += stepLine(step, 10 * step, watched(step, 10 * step));
  RunRecord run = m.read(text);
  EXPECT_EQ(run.steps, (std::vector<double>{1, 2, 3, 4}));
  EXPECT_EQ(run.scalars["loss"], (std::vector<double>{1, 2, 30, 40}));
  EXPECT_TRUE(run.validation.empty());
  ASSERT_EQ(run.watched.size(), 4u);
  EXPECT_EQ(run.watched[3].find("z")->data[0], 40);
  ASSERT_EQ(run.loads.size(), 4u);
  EXPECT_EQ(run.loads[2].step, 3);
  ASSERT_EQ(run.notes.size(), 2u);
  EXPECT_EQ(run.notes[1], "steps 3 to 5 were done again: the later ones are shown");
}

TEST(Report, NamesTheLineThatIsWrong) {
  Metrics m;
  const std::string good = stepLine(1, 3);
  EXPECT_ERROR(m.read(""), "m.jsonl: expected metrics, but the file is empty");
  EXPECT_ERROR(m.read("\n\n"), "m.jsonl: expected metrics, but the file is empty");
  EXPECT_ERROR(m.read("{\"a\": 1}\n"), "m.jsonl: expected lines with 'step' and 'loss', but found none");
  EXPECT_ERROR(m.read(good + "{\"step\": 2,\n" + stepLine(3, 1)), "m.jsonl:2: parse error");
  EXPECT_ERROR(m.read(good + "[1]\n"), "m.jsonl:2: expected a JSON object");
  EXPECT_ERROR(m.read(good + "{\"step\": 0, \"loss\": 1}\n"), "m.jsonl:2: line.step: expected");
  EXPECT_ERROR(m.read("{\"step\": \"1\", \"loss\": 1}\n"), "m.jsonl:1: line.step: expected");
  EXPECT_ERROR(m.read(stepLine(1, 1, ", \"expert_counts\": [1, 2]")), "line.expert_counts: expected a list of blocks");
  EXPECT_ERROR(m.read(stepLine(1, 1, ", \"expert_counts\": [[1, 2], [3]]")), "line.expert_counts[1]: expected lists of one length");
  EXPECT_ERROR(m.read(stepLine(1, 1, ", \"monitor\": {\"z\": [1]}") + stepLine(2, 1, ", \"monitor\": {\"z\": [1, 2]}")), "m.jsonl:2: line.monitor: expected 'z' of the same shape");
  EXPECT_ERROR(m.read(stepLine(1, 1, ", \"monitor\": {\"z\": [\"a\"]}")), "line.monitor.z[0]: expected");
  EXPECT_ERROR(m.read(stepLine(1, 1, ", \"monitor\": {\"z\": [1, [2]]}")), "line.monitor.z[1]: expected lists of one");
  EXPECT_ERROR(m.read(std::string(200, '[') + "\n"), "m.jsonl:1: expected at most 64 levels of nesting");
  EXPECT_ERROR(readRun(m.folder.file("nowhere")), "nowhere");
  RunRecord run = m.read(good + "{\"step\": 2, \"lo");
  EXPECT_EQ(run.steps.size(), 1u);
  ASSERT_EQ(run.notes.size(), 1u);
  EXPECT_EQ(run.notes[0], "line 2 is not finished, as a run that was killed leaves it: left out");
}

TEST(Report, LongRunsKeepFirstAndLast) {
  Samples samples(10);
  for (int step = 1; step <= 1000; ++step)
    samples.add({step, {}});
  std::vector<StepTensors> kept = samples.take();
  ASSERT_GE(kept.size(), 5u);
  EXPECT_LE(kept.size(), 11u);
  EXPECT_EQ(kept.front().step, 1);
  EXPECT_EQ(kept.back().step, 1000);
  for (size_t i = 2; i + 1 < kept.size(); ++i)
    EXPECT_EQ(kept[i].step - kept[i - 1].step, kept[1].step - kept[0].step);

  Series series{"s", {}, {}, {}, {}};
  for (int i = 0; i < 1000; ++i) {
    series.x.push_back(i);
    series.y.push_back(i == 500 ? 1e6 : 1);
  }
  Series thin = thinned(series, 100);
  ASSERT_EQ(thin.x.size(), 100u);
  EXPECT_EQ(thin.high[50], 1e6); // a peak is not averaged away
  EXPECT_EQ(thin.low[50], 1);
  EXPECT_DOUBLE_EQ(thin.y[50], (1e6 + 9) / 10);
  EXPECT_TRUE(thinned(thin, 100).x == thin.x);
}

TEST(Report, TicksAreRound) {
  EXPECT_EQ(ticks(0, 10, 5, false), (std::vector<double>{0, 2, 4, 6, 8, 10}));
  EXPECT_EQ(ticks(-0.3, 0.25, 5, false).size(), 3u);
  EXPECT_EQ(ticks(1e-3, 1e3, 5, true).front(), 1e-3);
  EXPECT_TRUE(ticks(1, 1, 5, false).empty());
  EXPECT_EQ(shortNumber(1234567, 3), "1.23M");
  EXPECT_EQ(shortNumber(missing), "–");
}

TEST(Report, ChartsOfNumbersThatAreMissingOrAlike) {
  EXPECT_EQ(drawChart({"t", "", "step", {{"s", {1, 2}, {missing, missing}, {}, {}}}}), "");
  EXPECT_EQ(drawChart({"t", "", "step", {}}), "");
  std::string one = drawChart({"t", "", "step", {{"s", {5}, {0}, {}, {}}}});
  EXPECT_EQ(countOf(one, "<circle"), 1u);
  EXPECT_EQ(one.find("nan"), std::string::npos);
  std::string gap = drawChart({"a < b", "", "step", {{"s", {1, 2, 3, 4, 5}, {1, 2, missing, 4, 5}, {}, {}}}});
  EXPECT_EQ(countOf(gap, "class=\"curve\""), 2u);
  EXPECT_NE(gap.find("a &lt; b"), std::string::npos);
  std::string near = drawChart({"t", "", "step", {{"s", {1, 2}, {2.4961, 2.4984}, {}, {}}}});
  EXPECT_NE(near.find(">2.4965<"), std::string::npos); // marks that differ read differently
  EXPECT_NE(near.find(">2.498<"), std::string::npos);
  std::string rounding = drawChart({"t", "", "step", {{"s", {1, 2, 3}, {1, 1 + 1e-7, 1 - 1e-7}, {}, {}}}});
  EXPECT_NE(rounding.find(">0.95<"), std::string::npos); // noise is drawn as a line
  std::string wide = drawChart({"t", "", "step", {{"s", {1, 2}, {1e-3, 1e3}, {}, {}}}});
  EXPECT_NE(wide.find("logarithmic scale"), std::string::npos);
}

TEST(Report, ThePageHoldsWhatTheRunHasAndNoMarkupOfOthers) {
  Metrics m;
  std::string monitor = ", \"monitor\": {\"attention_z\": [2.5], \"mixing\": {\"forward_gain\": [1, 1], \"backward_gain\": [1, 1.25], \"deviation\": [0, 0], \"mean\": [[[1, 0], [0, 1]], [[0.75, 0.25], [-0.5, null]]]}, "
                        "\"weights\": {\"<script>x\": {\"norm\": 3, \"angle\": 0.5}}}, \"expert_counts\": [[3, 1], [0, 0]]";
  RunRecord run = m.read("{\"package\": \"<img src=x>\", \"device\": \"cpu\"}\n" + stepLine(1, 3, monitor) + stepLine(2, 2, monitor));
  std::string html = reportPage(run, "a & b");
  EXPECT_EQ(countOf(html, "<script>"), 1u);
  EXPECT_EQ(html.find("<img"), std::string::npos);
  EXPECT_NE(html.find("<title>a &amp; b</title>"), std::string::npos);
  EXPECT_EQ(countOf(html, "out 1, in 0: -0.5"), 2u); // at two steps
  EXPECT_EQ(countOf(html, "out 1, in 1: –"), 2u);
  EXPECT_EQ(countOf(html, "block 0, expert 0: 1.5"), 2u);
  EXPECT_EQ(countOf(html, "block 1, expert 0: –"), 2u);
  for (const char *heading : {"<h2>Training", "<h2>Experts", "<h2>Hyper-connections", "<h2>Activations", "<h2>Weights"})
    EXPECT_EQ(countOf(html, heading), 1u) << heading;
  std::string bare = reportPage(m.read(stepLine(1, 3)), "t");
  EXPECT_EQ(countOf(bare, "<h2>"), 1u);
  EXPECT_NE(bare.find("--monitor=N"), std::string::npos);
}
