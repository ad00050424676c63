#include "report/Report.h"
#include "report/Sections.h"

#include <algorithm>
#include <cmath>

namespace mhcrt {
namespace {

constexpr size_t rowsOfTable = 40;

/// A single number of each step.
Series scalar(const RunRecord &run, const std::string &key, const std::string &name) {
  Series series{name, {}, {}, {}, {}};
  auto found = run.scalars.find(key);
  if (found != run.scalars.end()) {
    series.x = run.steps;
    series.y = found->second;
  }
  return thinned(std::move(series), mostPoints);
}

std::string scalarChart(const RunRecord &run, const std::string &key, const std::string &title, const std::string &note = "") {
  return drawChart({title, note, "step", {scalar(run, key, title)}});
}

std::string lossChart(const RunRecord &run) {
  Chart chart{"Loss", "nats a token; each point the mean of its steps, the band from the least to the most", "step", {scalar(run, "loss", "loss")}};
  if (run.steps.size() <= mostPoints)
    chart.note = "nats a token";
  auto loss = run.scalars.find("loss"), entropy = run.scalars.find("cross_entropy");
  bool same = entropy == run.scalars.end();
  if (!same) {
    same = true;
    for (size_t i = 0; i < run.steps.size() && same; ++i)
      same = loss->second[i] == entropy->second[i] || std::isnan(entropy->second[i]);
  }
  if (!same)
    chart.series.push_back(scalar(run, "cross_entropy", "cross-entropy"));
  if (!run.validation.empty()) {
    Series validation{"validation", {}, {}, {}, {}};
    for (auto [step, value] : run.validation) {
      validation.x.push_back(step);
      validation.y.push_back(value);
    }
    chart.series.push_back(thinned(std::move(validation), mostPoints));
  }
  return drawChart(chart);
}

std::string lastOf(const RunRecord &run, const std::string &key) {
  auto found = run.scalars.find(key);
  return found == run.scalars.end() ? "–" : shortNumber(found->second.back());
}

std::string cards(const RunRecord &run) {
  std::string out = "<div class=\"cards\">\n";
  auto card = [&](const std::string &name, const std::string &value) { out += "<div><span>" + escaped(name) + "</span><b>" + escaped(value) + "</b></div>\n"; };
  auto word = [&](const char *key) {
    auto found = run.header.find(key);
    return found == run.header.end() ? std::string() : found->is_string() ? found->get<std::string>() : found->dump(-1, ' ', false, Json::error_handler_t::replace);
  };
  std::string planned = word("steps");
  card("steps", shortNumber(run.steps.back(), 9) + (planned.empty() ? "" : " of " + planned));
  card("last loss", lastOf(run, "loss"));
  if (!run.validation.empty())
    card("last validation loss", shortNumber(run.validation.back().second, 5));
  if (run.has("tokens"))
    card("tokens", lastOf(run, "tokens"));
  if (auto speed = run.scalars.find("tokens_per_second"); speed != run.scalars.end()) {
    std::vector<double> sorted = speed->second;
    std::erase_if(sorted, [](double value) { return !std::isfinite(value); });
    std::sort(sorted.begin(), sorted.end());
    if (!sorted.empty())
      card("tokens a second (median)", shortNumber(sorted[sorted.size() / 2], 3));
  }
  if (auto time = run.scalars.find("seconds"); time != run.scalars.end()) {
    double sum = 0;
    for (double value : time->second)
      sum += std::isfinite(value) ? value : 0;
    card("seconds in steps", shortNumber(sum));
  }
  if (run.has("skipped_updates"))
    card("updates left out", shortNumber(*std::max_element(run.scalars.at("skipped_updates").begin(), run.scalars.at("skipped_updates").end(), [](double a, double b) { return std::isnan(a) || a < b; })));
  for (const char *key : {"device", "seed", "sequences", "sequence_length"})
    if (std::string value = word(key); !value.empty())
      card(key, value);
  if (auto overrides = run.header.find("overrides"); overrides != run.header.end() && overrides->is_object() && !overrides->empty())
    card("overrides", scriptJson(*overrides));
  return out + "</div>\n";
}

std::string notes(const RunRecord &run) {
  if (run.notes.empty())
    return "";
  std::string out = "<div class=\"notes\">\n";
  for (size_t i = 0; i < run.notes.size() && i < 20; ++i)
    out += "<p>" + escaped(run.notes[i]) + "</p>\n";
  if (run.notes.size() > 20)
    out += "<p>and " + std::to_string(run.notes.size() - 20) + " more</p>\n";
  return out + "</div>\n";
}

std::string numbers(const RunRecord &run) {
  std::vector<std::string> keys, head{"step"};
  for (const char *key : {"loss", "cross_entropy", "learning_rate", "gradient_norm", "clip_factor", "tokens_per_second", "max_violation", "smallest_deviation", "largest_deviation", "dropped"})
    if (run.has(key)) {
      keys.push_back(key);
      head.push_back(key);
    }
  std::vector<std::vector<std::string>> rows;
  for (size_t i : chosen(run.steps.size(), rowsOfTable)) {
    rows.push_back({shortNumber(run.steps[i], 12)});
    for (const std::string &key : keys)
      rows.back().push_back(shortNumber(run.scalars.at(key)[i], 6));
  }
  return "<details><summary>Numbers of " + std::to_string(rows.size()) + " steps</summary>\n" + table(head, rows) + "</details>\n";
}

} // namespace

std::string section(const std::string &heading, const std::string &text, const std::string &charts, const std::string &rest) {
  if (charts.empty() && rest.empty())
    return "";
  return "<h2>" + escaped(heading) + "</h2>\n" + (text.empty() ? "" : "<p>" + escaped(text) + "</p>\n") + (charts.empty() ? "" : "<div class=\"charts\">\n" + charts + "</div>\n") + rest;
}

Series listSeries(const std::vector<StepTensors> &samples, const std::string &list, size_t index, const std::string &name) {
  Series series{name, {}, {}, {}, {}};
  for (const StepTensors &sample : samples)
    if (const NumberTensor *tensor = sample.find(list); tensor && index < tensor->data.size()) {
      series.x.push_back(static_cast<double>(sample.step));
      series.y.push_back(tensor->data[index]);
    }
  return series;
}

std::string listChart(const std::vector<StepTensors> &samples, const std::string &list, const std::string &title, const std::string &note, const std::string &item, size_t first, size_t every) {
  size_t count = 0;
  for (const StepTensors &sample : samples)
    if (const NumberTensor *tensor = sample.find(list))
      count = tensor->data.size();
  Chart chart{title, note, "step", {}, /*ordered=*/true};
  for (size_t i = first; i < count; i += every)
    chart.series.push_back(thinned(listSeries(samples, list, i, item + " " + std::to_string(i / every)), std::max<size_t>(60, 4 * mostPoints / (count / every + 1))));
  for (Series &series : chart.series) { // bands of many curves would hide each other
    series.low.clear();
    series.high.clear();
  }
  return drawChart(chart);
}

std::vector<size_t> chosen(size_t count, size_t most) {
  std::vector<size_t> out;
  for (size_t i = 0; i < std::min(count, most); ++i)
    out.push_back(count <= most || most == 1 ? i : i * (count - 1) / (most - 1));
  return out;
}

std::string reportPage(const RunRecord &run, const std::string &title) {
  std::string curves = lossChart(run) + scalarChart(run, "learning_rate", "Learning rate", "after the schedule, before a parameter's multiplier") +
                       scalarChart(run, "gradient_norm", "Gradient norm", "of all gradients together, before clipping") + scalarChart(run, "clip_factor", "Clip factor", "what gradients were multiplied by") +
                       scalarChart(run, "tokens_per_second", "Tokens a second");
  std::string body = "<h1>" + escaped(title) + "</h1>\n<p>" + escaped(run.source) + "</p>\n" + cards(run) + notes(run) + section("Training", "", curves, numbers(run)) + expertSection(run) +
                     mixingSection(run) + activationSection(run) + weightSection(run);
  if (run.watched.empty())
    body += "<p>Gains of hyper-connections, Z, output RMS, outliers and weights are watched by mhc-run train --monitor=N; these metrics have none of them.</p>\n";
  return page(title, body + "<footer>Written by mhc-run report. What each number means: docs/metrics.md.</footer>\n");
}

} // namespace mhcrt
