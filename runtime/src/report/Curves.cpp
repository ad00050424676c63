#include "report/Page.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <limits>

namespace mhcrt {
namespace {

constexpr double width = 560, height = 280, left = 62, right = 548, top = 22, bottom = 244;
constexpr size_t mostInLegend = 8;

/// An axis from data to the page.
struct Axis {
  double low = std::numeric_limits<double>::infinity(), high = -low, from = 0, to = 0;
  bool logarithmic = false;

  void take(double value) {
    if (!std::isfinite(value))
      return;
    low = std::min(low, value);
    high = std::max(high, value);
  }
  double at(double value) const {
    const double share = logarithmic ? std::log(value / low) / std::log(high / low) : (value - low) / (high - low);
    return from + share * (to - from);
  }
  /// Some room around the numbers; a range also where all are equal but for their rounding.
  void widen() {
    if (logarithmic) {
      low /= 1.1;
      high *= 1.1;
      return;
    }
    const double size = high - low, least = 1e-5 * std::max(std::abs(low), std::abs(high));
    const double room = size > least ? 0.04 * size : low != 0 ? 0.05 * std::abs(low) : 1;
    const bool positive = low >= 0;
    low -= room;
    high += room;
    if (positive && low < 0)
      low = 0;
  }
};

std::string number(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.2f", value);
  return text;
}

/// Few series: colours that are told apart; many in an order: from blue over green to yellow.
std::string colour(size_t index, size_t count, bool ordered) {
  static const char *distinct[] = {"#3b7dd8", "#d9822b", "#2e9e6b", "#c2475d", "#8a63c9", "#8c6b4f", "#c45fae", "#6f7a85"};
  if (!ordered || count <= 3)
    return distinct[index % std::size(distinct)];
  const double t = static_cast<double>(index) / static_cast<double>(count - 1);
  return "hsl(" + number(265 - 215 * t) + " 62% " + number(52 + 4 * t) + "%)";
}

std::string attribute(const char *name, double value) { return std::string(" ") + name + "=\"" + number(value) + "\""; }

/// As many digits as tell neighbours apart.
std::string tickText(double tick, const std::vector<double> &all, bool logarithmic) {
  if (logarithmic || all.size() < 2 || tick == 0)
    return shortNumber(tick);
  const double most = std::max(std::abs(all.front()), std::abs(all.back())), step = all[1] - all[0];
  return shortNumber(tick, std::clamp(2 + static_cast<int>(std::floor(std::log10(most / step))), 3, 9));
}

void drawAxes(std::string &out, const Axis &x, const Axis &y, const std::string &xName) {
  const std::vector<double> marks = ticks(y.low, y.high, 5, y.logarithmic);
  for (double tick : marks)
    out += "<line class=\"grid\"" + attribute("x1", left) + attribute("x2", right) + attribute("y1", y.at(tick)) + attribute("y2", y.at(tick)) + "/><text text-anchor=\"end\"" +
           attribute("x", left - 6) + attribute("y", y.at(tick) + 4) + ">" + tickText(tick, marks, y.logarithmic) + "</text>\n";
  for (double tick : ticks(x.low, x.high, 6, false))
    out += "<line class=\"axis\"" + attribute("x1", x.at(tick)) + attribute("x2", x.at(tick)) + attribute("y1", bottom) + attribute("y2", bottom + 4) + "/><text text-anchor=\"middle\"" +
           attribute("x", x.at(tick)) + attribute("y", bottom + 17) + ">" + shortNumber(tick) + "</text>\n";
  out += "<path class=\"axis\" fill=\"none\" d=\"M" + number(left) + " " + number(top) + "V" + number(bottom) + "H" + number(right) + "\"/>\n";
  out += "<text text-anchor=\"middle\"" + attribute("x", (left + right) / 2) + attribute("y", height - 3) + ">" + escaped(xName) + "</text>\n";
}

void drawSeries(std::string &out, const Series &series, const Axis &x, const Axis &y, const std::string &colour) {
  auto drawn = [&](double value) { return std::isfinite(value) && (!y.logarithmic || value > 0); };
  for (size_t begin = 0; begin < series.x.size();) {
    if (!drawn(series.y[begin])) {
      ++begin;
      continue;
    }
    size_t end = begin;
    std::string curve, upper, lower;
    for (; end < series.x.size() && drawn(series.y[end]); ++end) {
      const std::string px = number(x.at(series.x[end])) + " ";
      curve += (end == begin ? "M" : "L") + px + number(y.at(series.y[end]));
      if (!series.low.empty()) {
        upper += (end == begin ? "M" : "L") + px + number(y.at(series.high[end]));
        lower = "L" + px + number(y.at(series.low[end])) + lower;
      }
    }
    if (!upper.empty())
      out += "<path class=\"band\" fill=\"" + colour + "\" d=\"" + upper + lower + "Z\"/>\n";
    if (end == begin + 1)
      out += "<circle r=\"2.5\" fill=\"" + colour + "\"" + attribute("cx", x.at(series.x[begin])) + attribute("cy", y.at(series.y[begin])) + "/>\n";
    else
      out += "<path class=\"curve\" stroke=\"" + colour + "\" d=\"" + curve + "\"/>\n";
    begin = end;
  }
}

std::string legend(const Chart &chart) {
  if (chart.series.size() < 2)
    return "";
  std::string out = "<div class=\"legend\">";
  auto item = [&](size_t i) { out += "<span><i style=\"background:" + colour(i, chart.series.size(), chart.ordered) + "\"></i>" + escaped(chart.series[i].name) + "</span>"; };
  if (chart.series.size() <= mostInLegend || !chart.ordered) {
    for (size_t i = 0; i < chart.series.size(); ++i)
      item(i);
  } else {
    for (size_t i = 0; i < 5; ++i)
      item(i * (chart.series.size() - 1) / 4);
  }
  return out + "</div>\n";
}

/// Seven digits are enough under the pointer, and keep the page small.
double digits(double value) {
  char text[40];
  std::snprintf(text, sizeof text, "%.7g", value);
  return std::strtod(text, nullptr);
}

Json hoverData(const Chart &chart, const Axis &x, const Axis &y) {
  Json series = Json::array();
  for (const Series &each : chart.series) {
    Json values = Json::array();
    for (double value : each.y)
      values.push_back(std::isfinite(value) ? Json(digits(value)) : Json());
    series.push_back({{"n", each.name}, {"x", each.x}, {"y", std::move(values)}});
  }
  return {{"name", chart.xName}, {"width", width}, {"height", height}, {"left", left}, {"right", right}, {"top", top}, {"bottom", bottom}, {"x", {x.low, x.high}}, {"y", {y.low, y.high}}, {"log", y.logarithmic}, {"series", std::move(series)}};
}

} // namespace

std::vector<double> ticks(double low, double high, int count, bool logarithmic) {
  std::vector<double> out;
  if (!(high > low))
    return out;
  if (logarithmic && high / low >= 20) {
    const int from = static_cast<int>(std::floor(std::log10(low))), to = static_cast<int>(std::ceil(std::log10(high)));
    const int every = std::max(1, (to - from) / (count + 1));
    for (int power = from; power <= to; power += every)
      for (double digit : {1.0, 2.0, 5.0})
        if (double tick = digit * std::pow(10.0, power); (digit == 1 || to - from <= 3) && tick >= low && tick <= high)
          out.push_back(tick);
    return out;
  }
  const double rough = (high - low) / count, power = std::pow(10.0, std::floor(std::log10(rough)));
  const double digit = rough / power, step = power * (digit <= 1 ? 1 : digit <= 2 ? 2 : digit <= 5 ? 5 : 10);
  for (double i = std::ceil(low / step - 1e-9); i * step <= high + 1e-9 * step && out.size() < 50; ++i)
    out.push_back(i == 0 ? 0 : i * step);
  return out;
}

Series thinned(Series series, size_t most) {
  const size_t count = series.x.size();
  if (count <= most)
    return series;
  Series out;
  out.name = series.name;
  for (size_t group = 0; group < most; ++group) {
    const size_t begin = group * count / most, end = (group + 1) * count / most;
    double sum = 0, low = std::numeric_limits<double>::infinity(), high = -low;
    size_t finite = 0;
    for (size_t i = begin; i < end; ++i)
      if (double value = series.y[i]; std::isfinite(value)) {
        sum += value;
        ++finite;
        low = std::min(low, value);
        high = std::max(high, value);
      }
    const double none = std::numeric_limits<double>::quiet_NaN();
    out.x.push_back(series.x[(begin + end - 1) / 2]);
    out.y.push_back(finite ? sum / static_cast<double>(finite) : none);
    out.low.push_back(finite ? low : none);
    out.high.push_back(finite ? high : none);
  }
  return out;
}

std::string drawChart(const Chart &chart) {
  Axis x, y;
  bool positive = true;
  for (const Series &series : chart.series)
    for (size_t i = 0; i < series.x.size(); ++i) {
      if (!std::isfinite(series.y[i]))
        continue;
      x.take(series.x[i]);
      for (double value : {series.y[i], series.low.empty() ? series.y[i] : series.low[i], series.high.empty() ? series.y[i] : series.high[i]}) {
        y.take(value);
        positive &= value > 0;
      }
    }
  if (!(x.low <= x.high))
    return "";
  y.logarithmic = positive && y.high / y.low > 100;
  y.widen();
  if (x.low == x.high) {
    x.low -= 1;
    x.high += 1;
  }
  x.from = left;
  x.to = right;
  y.from = bottom;
  y.to = top;
  std::string note = chart.note;
  if (y.logarithmic)
    note += std::string(note.empty() ? "" : "; ") + "logarithmic scale";
  std::string out = "<figure data-chart=\"" + escaped(scriptJson(hoverData(chart, x, y))) + "\">\n<figcaption>" + escaped(chart.title) +
                    (note.empty() ? "" : "<small>" + escaped(note) + "</small>") + "</figcaption>\n<svg viewBox=\"0 0 " + number(width) + " " + number(height) + "\" role=\"img\" aria-label=\"" +
                    escaped(chart.title) + "\">\n";
  drawAxes(out, x, y, chart.xName);
  for (size_t i = 0; i < chart.series.size(); ++i)
    drawSeries(out, chart.series[i], x, y, colour(i, chart.series.size(), chart.ordered));
  out += "<line class=\"cursor\"" + attribute("y1", top) + attribute("y2", bottom) + " x1=\"0\" x2=\"0\"/>\n</svg>\n" + legend(chart) + "<div class=\"tip\"></div>\n</figure>\n";
  return out;
}

} // namespace mhcrt
