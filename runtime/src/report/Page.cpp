#include "report/Page.h"

#include <cmath>
#include <cstdio>

namespace mhcrt {
namespace {

constexpr const char *style = R"css(
:root { color-scheme: light dark; --paper: #fbfbfa; --card: #ffffff; --ink: #1d2126; --soft: #626b76; --line: #d9dde2; --grid: #e9ecef; --accent: #2262c9; --low: #c2462f; }
@media (prefers-color-scheme: dark) { :root { --paper: #14171a; --card: #1c2024; --ink: #e6e9ec; --soft: #9aa4af; --line: #363d45; --grid: #282e34; --accent: #6aa5ff; --low: #ff8a70; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1500px; padding: 1.5rem; background: var(--paper); color: var(--ink); font: 15px/1.45 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: 0 0 .2rem; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2rem 0 .6rem; border-bottom: 1px solid var(--line); padding-bottom: .25rem; }
h3 { font-size: .95rem; margin: 1rem 0 .3rem; }
p { margin: .3rem 0 .6rem; color: var(--soft); max-width: 62rem; }
.notes { border-left: 3px solid var(--low); padding: .2rem 0 .2rem .8rem; margin: .8rem 0; }
.cards { display: flex; flex-wrap: wrap; gap: .6rem; margin: 1rem 0; }
.cards div { background: var(--card); border: 1px solid var(--line); border-radius: .5rem; padding: .45rem .8rem; min-width: 7.5rem; }
.cards b { display: block; font-size: 1.1rem; overflow-wrap: anywhere; }
.cards span { color: var(--soft); font-size: .8rem; }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(23rem, 100%), 1fr)); gap: .8rem; }
figure { margin: 0; background: var(--card); border: 1px solid var(--line); border-radius: .5rem; padding: .6rem .7rem .4rem; position: relative; min-width: 0; }
figcaption { font-weight: 600; font-size: .9rem; }
figcaption small { display: block; font-weight: 400; color: var(--soft); }
svg { display: block; width: 100%; height: auto; }
svg text { fill: var(--soft); font-size: 12px; }
.grid { stroke: var(--grid); } .axis { stroke: var(--line); } .cursor { stroke: var(--soft); stroke-dasharray: 3 3; visibility: hidden; }
.curve { fill: none; stroke-width: 1.6; stroke-linejoin: round; } .band { stroke: none; opacity: .18; }
.legend { display: flex; flex-wrap: wrap; gap: .15rem .8rem; font-size: .78rem; color: var(--soft); } .legend i { display: inline-block; width: .9rem; height: .2rem; margin-right: .3rem; vertical-align: middle; }
.tip { position: absolute; pointer-events: none; background: var(--paper); border: 1px solid var(--line); border-radius: .35rem; padding: .2rem .5rem; font-size: .78rem; white-space: pre; display: none; z-index: 2; }
.maps { display: flex; flex-wrap: wrap; gap: .7rem; align-items: flex-start; } .maps figure { padding: .4rem .5rem; } .maps svg { width: auto; max-width: 100%; } .maps figcaption { font-size: .78rem; }
.map .cell { stroke: var(--card); stroke-width: 1; } .map .pos { fill: var(--accent); } .map .neg { fill: var(--low); } .map text { font-size: 10px; } .map .value { fill: var(--ink); } .map .strong { fill: var(--card); }
.tabs > input { position: absolute; opacity: 0; } .tabs > label { display: inline-block; padding: .15rem .7rem; margin: 0 .3rem .5rem 0; border: 1px solid var(--line); border-radius: 1rem; cursor: pointer; font-size: .85rem; }
.tabs > div { display: none; } .tabs > input:checked + label { background: var(--accent); border-color: var(--accent); color: var(--paper); } .tabs > input:focus-visible + label { outline: 2px solid var(--ink); }
details { margin: .6rem 0; } summary { cursor: pointer; } .scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .82rem; font-variant-numeric: tabular-nums; } th, td { padding: .15rem .6rem; border-bottom: 1px solid var(--grid); text-align: right; } th:first-child, td:first-child { text-align: left; }
footer { margin-top: 2.5rem; color: var(--soft); font-size: .8rem; }
)css";

// Values under the pointer. Without scripts the page shows all else.
constexpr const char *script = R"js(
for (const figure of document.querySelectorAll('figure[data-chart]')) {
  const c = JSON.parse(figure.dataset.chart), svg = figure.querySelector('svg'), tip = figure.querySelector('.tip'), cursor = figure.querySelector('.cursor');
  const at = (v, a, b, p, q, log) => log ? p + (Math.log(v / a) / Math.log(b / a)) * (q - p) : p + (v - a) / (b - a) * (q - p);
  const text = v => v === null ? '–' : Math.abs(v) >= 1e6 || (v !== 0 && Math.abs(v) < 1e-3) ? v.toExponential(3) : String(+v.toPrecision(6));
  const hide = () => { tip.style.display = 'none'; cursor.style.visibility = 'hidden'; };
  svg.addEventListener('pointerleave', hide);
  svg.addEventListener('pointermove', e => {
    const box = svg.getBoundingClientRect(), px = (e.clientX - box.left) * c.width / box.width, py = (e.clientY - box.top) * c.height / box.height;
    const x = c.x[0] + (px - c.left) / (c.right - c.left) * (c.x[1] - c.x[0]);
    if (px < c.left || px > c.right) return hide();
    let found = [];
    for (const s of c.series) {
      let i = 0, j = s.x.length - 1;
      while (j - i > 1) { const m = (i + j) >> 1; if (s.x[m] < x) i = m; else j = m; }
      if (j >= 0 && Math.abs(s.x[j] - x) < Math.abs(s.x[i] - x)) i = j;
      if (j >= 0) found.push({ n: s.n, x: s.x[i], v: s.y[i], d: s.y[i] === null ? 1e9 : Math.abs(at(s.y[i], c.y[0], c.y[1], c.bottom, c.top, c.log) - py) });
    }
    if (!found.length) return hide();
    if (found.length > 6) found = found.sort((a, b) => a.d - b.d).slice(0, 4);
    const line = at(found[0].x, c.x[0], c.x[1], c.left, c.right, false);
    cursor.setAttribute('x1', line); cursor.setAttribute('x2', line); cursor.style.visibility = 'visible';
    tip.textContent = c.name + ' ' + found[0].x + found.map(f => '\n' + (c.series.length > 1 ? f.n + ': ' : '') + text(f.v) + (f.x === found[0].x ? '' : ' (' + c.name + ' ' + f.x + ')')).join('');
    tip.style.display = 'block';
    const left = e.clientX - figure.getBoundingClientRect().left;
    tip.style.left = Math.min(left + 14, figure.clientWidth - tip.offsetWidth - 4) + 'px'; tip.style.top = (e.clientY - figure.getBoundingClientRect().top + 12) + 'px';
  });
}
)js";

} // namespace

std::string escaped(const std::string &text) {
  std::string out;
  for (char c : text)
    switch (c) {
    case '&': out += "&amp;"; break;
    case '<': out += "&lt;"; break;
    case '>': out += "&gt;"; break;
    case '"': out += "&quot;"; break;
    case '\'': out += "&#39;"; break;
    default:
      // Control characters may not stand in HTML.
      out += static_cast<unsigned char>(c) < 0x20 && c != '\n' && c != '\t' ? ' ' : c;
    }
  return out;
}

std::string shortNumber(double value, int digits) {
  if (!std::isfinite(value))
    return "–";
  const double size = std::abs(value);
  const char *unit = size >= 1e12 ? "" : size >= 1e9 ? "G" : size >= 1e6 ? "M" : size >= 1e4 ? "k" : "";
  const double scale = *unit == 'G' ? 1e9 : *unit == 'M' ? 1e6 : *unit == 'k' ? 1e3 : 1;
  char text[64];
  std::snprintf(text, sizeof text, "%.*g%s", digits, value / scale, unit);
  return text;
}

std::string scriptJson(const Json &json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

std::string tabs(const std::string &group, const std::vector<std::pair<std::string, std::string>> &choices) {
  std::string out = "<div class=\"tabs\">\n", panels;
  for (size_t i = 0; i < choices.size(); ++i) {
    const std::string id = group + "-" + std::to_string(i);
    out += "<input type=\"radio\" name=\"" + group + "\" id=\"" + id + "\"" + (i + 1 == choices.size() ? " checked" : "") + "><label for=\"" + id + "\">" + escaped(choices[i].first) + "</label>\n";
    panels += "<div>\n" + choices[i].second + "</div>\n";
  }
  return out + panels + "</div>\n";
}

std::string table(const std::vector<std::string> &head, const std::vector<std::vector<std::string>> &rows) {
  std::string out = "<div class=\"scroll\"><table>\n<thead><tr>";
  for (const std::string &name : head)
    out += "<th>" + escaped(name) + "</th>";
  out += "</tr></thead>\n<tbody>\n";
  for (const auto &row : rows) {
    out += "<tr>";
    for (const std::string &cell : row)
      out += "<td>" + escaped(cell) + "</td>";
    out += "</tr>\n";
  }
  return out + "</tbody></table></div>\n";
}

std::string page(const std::string &title, const std::string &body) {
  std::string rules; // the chosen tab's panel is the one of its number
  for (size_t i = 1; i <= mostTabs; ++i) {
    const std::string number = "nth-of-type(" + std::to_string(i) + ")";
    rules += ".tabs > input:" + number + ":checked ~ div:" + number + " { display: block; }\n";
  }
  return "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>" + escaped(title) +
         "</title>\n<style>" + style + rules + "</style>\n</head>\n<body>\n" + body + "<script>" + script + "</script>\n</body>\n</html>\n";
}

} // namespace mhcrt
