//===- Report.h - one page of a run --------------------------------*- C++ -*-===//
#ifndef MHCRT_REPORT_REPORT_H
#define MHCRT_REPORT_REPORT_H

#include "report/Run.h"

namespace mhcrt {

/// An HTML page with what the metrics hold: curves, heat maps, tables. It needs neither network nor scripts (a script shows the values under the pointer).
std::string reportPage(const Run &run, const std::string &title);

/// Sections of the page; "" where the run has nothing for them.
std::string expertSection(const Run &run);
std::string activationSection(const Run &run);
std::string mixingSection(const Run &run);
std::string weightSection(const Run &run);

} // namespace mhcrt

#endif // MHCRT_REPORT_REPORT_H
