#include "report/Report.h"
#include "report/Sections.h"

#include <algorithm>
#include <cmath>

namespace mhcrt {
namespace {

constexpr size_t mostCells = 30000; ///< of all heat maps of one kind: beyond that a page is slow to open

/// Of `count` samples, as many as have room at so many cells each; two at least.
std::vector<size_t> drawn(size_t count, size_t cells) { return chosen(count, std::clamp<size_t>(cells ? mostCells / cells : mostTabs, 2, mostTabs)); }

std::string stepName(int64_t step) { return "step " + std::to_string(step); }

} // namespace

//===- Experts ------------------------------------------------------------===//

/// c / mean c of each block's experts at one step, [blocks, E].
static std::string loadMap(const StepTensors &sample) {
  const NumberTensor &counts = *sample.find("expert_counts");
  HeatMap map;
  map.title = "Load of each expert, " + stepName(sample.step);
  map.caption = "its choices over the block's mean: 1 is even, 2 and more are full colour";
  map.rows = counts.shape[0];
  map.columns = counts.shape[1];
  map.rowName = "block";
  map.columnName = "expert";
  map.center = map.range = 1;
  for (size_t block = 0; block < map.rows; ++block) {
    double sum = 0;
    for (size_t e = 0; e < map.columns; ++e)
      sum += counts.data[block * map.columns + e];
    for (size_t e = 0; e < map.columns; ++e)
      map.values.push_back(sum > 0 ? counts.data[block * map.columns + e] * static_cast<double>(map.columns) / sum : missing);
  }
  return drawHeatMap(map, std::clamp<int>(900 / static_cast<int>(std::max<size_t>(1, map.columns)), 7, 26));
}

/// MaxVio of each block, from the counts.
static std::vector<StepTensors> violations(const RunRecord &run) {
  std::vector<StepTensors> out;
  for (const StepTensors &sample : run.loads) {
    const NumberTensor &counts = *sample.find("expert_counts");
    NumberTensor list{{counts.shape[0]}, {}};
    for (int64_t block = 0, E = counts.shape[1]; block < counts.shape[0]; ++block) {
      double sum = 0, most = 0;
      for (int64_t e = 0; e < E; ++e) {
        sum += counts.data[block * E + e];
        most = std::max(most, counts.data[block * E + e]);
      }
      list.data.push_back(sum > 0 ? most * static_cast<double>(E) / sum - 1 : missing);
    }
    out.push_back({sample.step, {{"violations", std::move(list)}}});
  }
  return out;
}

std::string expertSection(const RunRecord &run) {
  if (run.loads.empty() || run.loads[0].find("expert_counts")->data.empty())
    return "";
  auto scalar = [&](const char *key, const char *name) { return thinned({name, run.steps, run.has(key) ? run.scalars.at(key) : std::vector<double>(run.steps.size(), missing), {}, {}}, mostPoints); };
  std::string charts = drawChart({"MaxVio", "(most choices - mean) / mean, mean over the blocks", "step", {scalar("max_violation", "MaxVio")}}) +
                       listChart(violations(run), "violations", "MaxVio of each block", "", "block") +
                       drawChart({"Relative deviation of an expert's load", "the largest and the smallest of all blocks", "step", {scalar("largest_deviation", "largest"), scalar("smallest_deviation", "smallest")}});
  if (run.has("dropped") && std::any_of(run.scalars.at("dropped").begin(), run.scalars.at("dropped").end(), [](double value) { return value > 0; }))
    charts += drawChart({"Dropped choices", "beyond the capacity, all blocks together", "step", {scalar("dropped", "dropped")}});
  std::vector<std::pair<std::string, std::string>> maps;
  for (size_t i : drawn(run.loads.size(), run.loads[0].find("expert_counts")->data.size()))
    maps.emplace_back(stepName(run.loads[i].step), "<div class=\"maps scroll\">\n" + loadMap(run.loads[i]) + "</div>\n");
  return section("Experts", "Blocks are counted among those with experts, from 0. Counts are those of the whole step.", charts, tabs("load", maps));
}

//===- Hyper-connections --------------------------------------------------===//

/// The averaged matrices of one step, one small map a sublayer.
static std::string mixingMaps(const StepTensors &sample, const std::string &kind) {
  const NumberTensor *mean = sample.find(kind + ".mean");
  if (!mean || mean->shape.size() != 3)
    return "";
  const NumberTensor *forward = sample.find(kind + ".forward_gain"), *backward = sample.find(kind + ".backward_gain");
  const size_t n = mean->shape[1], size = n * mean->shape[2];
  std::string out;
  double range = 1;
  bool negative = false;
  for (double value : mean->data) {
    range = std::isfinite(value) ? std::max(range, std::abs(value)) : range;
    negative |= value < -1e-6;
  }
  for (size_t l = 0; l < static_cast<size_t>(mean->shape[0]); ++l) {
    HeatMap map;
    const std::string number = std::to_string(l);
    map.title = kind == "mixing" ? (l % 2 ? "FFN " : "attention ") + std::to_string(l / 2) : "0 … " + number;
    auto gain = [&](const NumberTensor *of) { return of && l < of->data.size() ? shortNumber(of->data[l], 3) : "–"; };
    map.caption = "gain " + gain(forward) + " / " + gain(backward);
    map.rows = n;
    map.columns = mean->shape[2];
    map.values.assign(mean->data.begin() + static_cast<std::ptrdiff_t>(l * size), mean->data.begin() + static_cast<std::ptrdiff_t>((l + 1) * size));
    map.rowName = "out";
    map.columnName = "in";
    map.range = range;
    map.numbers = n <= 4;
    out += drawHeatMap(map, n <= 4 ? 32 : 18);
  }
  return "<p>Full colour is " + shortNumber(range, 3) + (negative ? ", blue above and red below zero" : "") + "; below each name the forward and the backward gain.</p>\n<div class=\"maps\">\n" + out + "</div>\n";
}

/// Gains over the sublayers, at a few steps.
static std::string profile(const RunRecord &run, const std::string &list, const std::string &title, const std::string &note, const std::string &xName) {
  Chart chart{title, note, xName, {}, true};
  for (size_t i : chosen(run.watched.size(), 4))
    if (const NumberTensor *tensor = run.watched[i].find(list)) {
      Series series{stepName(run.watched[i].step), {}, tensor->data, {}, {}};
      for (size_t l = 0; l < tensor->data.size(); ++l)
        series.x.push_back(static_cast<double>(l));
      chart.series.push_back(std::move(series));
    }
  return drawChart(chart);
}

std::string mixingSection(const RunRecord &run) {
  if (run.watched.empty() || !run.watched.back().find("mixing.mean"))
    return "";
  const char *rows = "largest |row sum|, mean over the tokens", *columns = "largest |column sum|, mean over the tokens";
  std::string charts = listChart(run.watched, "mixing.forward_gain", "Forward gain of each sublayer", rows, "sublayer") +
                       listChart(run.watched, "mixing.backward_gain", "Backward gain of each sublayer", columns, "sublayer") +
                       listChart(run.watched, "mixing.deviation", "Deviation from double stochasticity", "largest of |row sum - 1|, |column sum - 1| and negative elements, mean over the tokens", "sublayer") +
                       listChart(run.watched, "composite.forward_gain", "Forward gain of the product", "of the mixing matrices from the first sublayer to this one", "to sublayer") +
                       listChart(run.watched, "composite.backward_gain", "Backward gain of the product", "of the mixing matrices from the first sublayer to this one", "to sublayer") +
                       profile(run, "composite.forward_gain", "Forward gain of the product, along the model", rows, "last sublayer of the product") +
                       profile(run, "composite.backward_gain", "Backward gain of the product, along the model", columns, "last sublayer of the product");
  std::string maps;
  for (auto [kind, heading] : {std::pair("mixing", "Mixing matrices, mean over the tokens"), std::pair("composite", "Their products, from the first sublayer on, mean over the tokens")}) {
    const NumberTensor *mean = run.watched.back().find(std::string(kind) + ".mean");
    std::vector<std::pair<std::string, std::string>> choices;
    for (size_t i : drawn(run.watched.size(), mean ? mean->data.size() : 0))
      if (std::string drawnMaps = mixingMaps(run.watched[i], kind); !drawnMaps.empty())
        choices.emplace_back(stepName(run.watched[i].step), std::move(drawnMaps));
    if (!choices.empty())
      maps += std::string("<h3>") + heading + "</h3>\n" + tabs(kind, choices);
  }
  return section("Hyper-connections", "Sublayer 2b is the attention of block b, 2b + 1 its FFN. Rows of a matrix are streams out, columns streams in.", charts, maps);
}

//===- Activations, weights -----------------------------------------------===//

std::string activationSection(const RunRecord &run) {
  const auto &w = run.watched;
  std::string charts = listChart(w, "attention_z", "Z of attention", "mean of the squared log-sum-exp of the scores, over tokens and heads", "block") +
                       listChart(w, "router_z", "Z of the routers", "mean of the squared log-sum-exp of the logits, over tokens", "expert block");
  for (auto [list, title, note] : {std::tuple("output_rms", "Output RMS", "of the branch, before its multiplier"), std::tuple("output_outliers", "Outliers in the output", "share of elements beyond 5 standard deviations of their token")})
    charts += listChart(w, list, std::string(title) + ": attention", note, "block", 0, 2) + listChart(w, list, std::string(title) + ": FFN", note, "block", 1, 2);
  charts += listChart(w, "stream_rms", "RMS of the streams", "after each sublayer", "sublayer") +
            listChart(w, "stream_outliers", "Outliers in the streams", "share of elements beyond 5 standard deviations of their token, after each sublayer", "sublayer");
  return section("Activations", "", charts);
}

/// "model.layers.3.mlp.up_proj.weight" is one of "mlp.up_proj.weight", of layer 3.
static std::pair<std::string, int64_t> kindOf(const std::string &name) {
  const std::string prefix = "model.layers.";
  if (name.compare(0, prefix.size(), prefix) != 0)
    return {name, -1};
  const size_t dot = name.find('.', prefix.size());
  const std::string digits = name.substr(prefix.size(), dot - prefix.size());
  if (dot == std::string::npos || digits.empty() || digits.size() > 9 || digits.find_first_not_of("0123456789") != std::string::npos)
    return {name, -1};
  return {name.substr(dot + 1), std::stoll(digits)};
}

std::string weightSection(const RunRecord &run) {
  if (run.watched.empty())
    return "";
  // by kind and layer
  std::map<std::string, std::map<int64_t, std::string>> kinds;
  std::vector<std::vector<std::string>> rows;
  for (const auto &[key, tensor] : run.watched.back().values) {
    const std::string prefix = "weights.", suffix = ".norm";
    if (key.compare(0, prefix.size(), prefix) != 0 || key.size() <= prefix.size() + suffix.size() || key.compare(key.size() - suffix.size(), suffix.size(), suffix) != 0)
      continue;
    const std::string name = key.substr(prefix.size(), key.size() - prefix.size() - suffix.size());
    auto [kind, layer] = kindOf(name);
    kinds[kind][layer] = name;
    std::vector<std::string> row{name};
    for (const char *what : {".norm", ".angle"})
      if (const NumberTensor *list = run.watched.back().find(prefix + name + what); list && !list->data.empty()) {
        auto [low, high] = std::minmax_element(list->data.begin(), list->data.end());
        row.push_back(shortNumber(*low, 6) + (list->data.size() > 1 ? " to " + shortNumber(*high, 6) : ""));
      } else {
        row.push_back("–");
      }
    rows.push_back(std::move(row));
  }
  // A stack of experts is drawn as its mean, with the range of its experts.
  auto curve = [&](const std::string &list, const std::string &name) {
    Series series{name, {}, {}, {}, {}};
    for (const StepTensors &sample : run.watched)
      if (const NumberTensor *tensor = sample.find(list); tensor && !tensor->data.empty()) {
        double sum = 0;
        for (double value : tensor->data)
          sum += value;
        series.x.push_back(static_cast<double>(sample.step));
        series.y.push_back(sum / static_cast<double>(tensor->data.size()));
      }
    return series;
  };
  std::string charts;
  for (const auto &[kind, layers] : kinds)
    for (auto [what, title] : {std::pair(".norm", "norm"), std::pair(".angle", "angle a step")}) {
      Chart chart{kind + ": " + title, what == std::string(".angle") ? "radians between the weights before and after the step" : "Frobenius norm after the step", "step", {}, true};
      if (kind.find(".experts.") != std::string::npos)
        chart.note += "; mean of the experts";
      for (const auto &[layer, name] : layers)
        chart.series.push_back(curve("weights." + name + what, layer < 0 ? kind : "block " + std::to_string(layer)));
      charts += drawChart(chart);
    }
  std::string numbers = rows.empty() ? "" : "<details><summary>All matrices at " + stepName(run.watched.back().step) + "</summary>\n" + table({"matrix", "norm", "angle"}, rows) + "</details>\n";
  return section("Weights", "", charts, numbers);
}

} // namespace mhcrt
