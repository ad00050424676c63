#include "report/Page.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace mhcrt {

std::string drawHeatMap(const HeatMap &map, int cell) {
  // Room for the axes' names and numbers.
  const int left = 30, top = 16, width = left + cell * static_cast<int>(map.columns) + 2, height = top + cell * static_cast<int>(map.rows) + 16;
  auto at = [](const char *name, int value) { return std::string(" ") + name + "=\"" + std::to_string(value) + "\""; };
  std::string out = "<figure><figcaption>" + escaped(map.title) + (map.caption.empty() ? "" : "<small>" + escaped(map.caption) + "</small>") + "</figcaption>\n<svg class=\"map\"" + at("width", width) +
                    at("height", height) + " viewBox=\"0 0 " + std::to_string(width) + " " + std::to_string(height) + "\" role=\"img\" aria-label=\"" + escaped(map.title) + "\">\n";
  // Numbers of rows and columns, as many as have room.
  const size_t everyRow = static_cast<size_t>((11 + cell) / cell), everyColumn = static_cast<size_t>((24 + cell) / cell);
  for (size_t r = 0; r < map.rows; r += everyRow)
    out += "<text text-anchor=\"end\"" + at("x", left - 4) + at("y", top + cell * static_cast<int>(r) + (cell + 7) / 2) + ">" + std::to_string(r) + "</text>";
  for (size_t c = 0; c < map.columns; c += everyColumn)
    out += "<text text-anchor=\"middle\"" + at("x", left + cell * static_cast<int>(c) + cell / 2) + at("y", top - 4) + ">" + std::to_string(c) + "</text>";
  out += "<text" + at("x", left) + at("y", height - 3) + ">" + escaped(map.rowName + " ↓  " + map.columnName + " →") + "</text>\n";
  for (size_t r = 0; r < map.rows; ++r)
    for (size_t c = 0; c < map.columns; ++c) {
      const double value = map.values[r * map.columns + c], share = (value - map.center) / map.range;
      const int x = left + cell * static_cast<int>(c), y = top + cell * static_cast<int>(r);
      char opacity[16];
      std::snprintf(opacity, sizeof opacity, "%.3f", std::isfinite(share) ? std::min(1.0, std::abs(share)) : 0.0);
      out += std::string("<rect class=\"cell ") + (share < 0 ? "neg" : "pos") + "\"" + at("x", x) + at("y", y) + at("width", cell) + at("height", cell) + " fill-opacity=\"" + opacity + "\"><title>" +
             escaped(map.rowName) + " " + std::to_string(r) + ", " + escaped(map.columnName) + " " + std::to_string(c) + ": " + shortNumber(value, 6) + "</title></rect>";
      char text[32];
      std::snprintf(text, sizeof text, std::abs(value) < 10 ? "%.2f" : "%.2g", value);
      if (map.numbers && std::isfinite(value))
        out += std::string("<text class=\"value") + (std::abs(share) > 0.6 ? " strong" : "") + "\" text-anchor=\"middle\" pointer-events=\"none\"" + at("x", x + cell / 2) + at("y", y + cell / 2 + 4) + ">" + text + "</text>";
      out += "\n";
    }
  return out + "</svg></figure>\n";
}

} // namespace mhcrt
