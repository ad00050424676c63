//===- Report.h - one page of a run --------------------------------*- C++ -*-===//
#ifndef MHCRT_REPORT_REPORT_H
#define MHCRT_REPORT_REPORT_H

#include "report/Run.h"

namespace mhcrt {

/// An HTML page with what the metrics hold: curves, heat maps, tables. It needs neither network nor scripts (a script shows the values under the pointer).
std::string reportPage(const RunRecord &run, const std::string &title);

/// Sections of the page; "" where the run has nothing for them.
std::string expertSection(const RunRecord &run);
std::string activationSection(const RunRecord &run);
std::string mixingSection(const RunRecord &run);
std::string weightSection(const RunRecord &run);

} // namespace mhcrt

#endif // MHCRT_REPORT_REPORT_H
