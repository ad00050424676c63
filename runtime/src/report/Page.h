//===- Page.h - pieces of an HTML page that needs nothing else -----*- C++ -*-===//
#ifndef MHCRT_REPORT_PAGE_H
#define MHCRT_REPORT_PAGE_H

#include "base/Json.h"

#include <string>
#include <vector>

namespace mhcrt {

/// Text between tags or in an attribute's quotes.
std::string escaped(const std::string &text);
/// A few digits for people: 0.00123, 12.3k, 4.5M; "–" where there is no number.
std::string shortNumber(double value, int digits = 4);
/// JSON in a script element.
std::string scriptJson(const Json &json);

/// Round numbers that cover low to high, at most about `count`; on a logarithmic axis powers of ten and, between near ones, 2 and 5 times them.
std::vector<double> ticks(double low, double high, int count, bool logarithmic);

struct Series {
  std::string name;
  std::vector<double> x, y;       ///< NaN in y: a gap
  std::vector<double> low, high;  ///< what y is the mean of; empty where every value is shown
};
struct Chart {
  std::string title, note;
  std::string xName = "step";
  std::vector<Series> series;
  bool ordered = false; ///< series follow an order (layers), and so do their colours
};
/// A figure with axes, one curve a series; "" without a single number.
std::string drawChart(const Chart &chart);
/// Means of neighbours, with the least and the most of each, where there are more points than a page shows.
Series thinned(Series series, size_t most);

struct HeatMap {
  std::string title, caption;
  size_t rows = 0, columns = 0;
  std::vector<double> values; ///< row-major
  std::string rowName, columnName;
  double center = 0, range = 1; ///< colours: one for center - range, another for center + range, none for center
  bool numbers = false;         ///< written into the cells
};
std::string drawHeatMap(const HeatMap &map, int cell);

/// Alternatives of which a page shows one, chosen by name without a script; the last one at first. At most `mostTabs`.
constexpr size_t mostTabs = 8;
std::string tabs(const std::string &group, const std::vector<std::pair<std::string, std::string>> &choices);
std::string table(const std::vector<std::string> &head, const std::vector<std::vector<std::string>> &rows);

/// The whole page around its body.
std::string page(const std::string &title, const std::string &body);

} // namespace mhcrt

#endif // MHCRT_REPORT_PAGE_H
