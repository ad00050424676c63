//===- Sections.h - what the page's sections share -----------------*- C++ -*-===//
#ifndef MHCRT_REPORT_SECTIONS_H
#define MHCRT_REPORT_SECTIONS_H

#include "report/Page.h"
#include "report/Run.h"

namespace mhcrt {

constexpr size_t mostPoints = 500;

/// A heading, a word on what is shown, and charts beside each other; "" if there are none.
std::string section(const std::string &heading, const std::string &text, const std::string &charts, const std::string &rest = "");

/// Of a list in the samples: element `index` over the steps.
Series listSeries(const std::vector<StepTensors> &samples, const std::string &list, size_t index, const std::string &name);
/// All of its elements, or every `every`-th from `first` on, as one chart; "" where no sample has the list.
std::string listChart(const std::vector<StepTensors> &samples, const std::string &list, const std::string &title, const std::string &note, const std::string &item, size_t first = 0, size_t every = 1);

/// Numbers of at most `most` samples, evenly spread; the first and the last are among them.
std::vector<size_t> chosen(size_t count, size_t most);

} // namespace mhcrt

#endif // MHCRT_REPORT_SECTIONS_H
