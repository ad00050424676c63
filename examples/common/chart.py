"""Line charts as SVG, with the standard library alone: panels side by side, each with axes (linear or logarithmic), series with markers, and a legend."""
import math
from html import escape

COLOURS = ["#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#7f7f7f"]
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 430, 320, 58, 14, 34, 46


class Panel:
    def __init__(self, title, x, y, log_x=False, top=math.inf):
        """top: what is higher is drawn there"""
        self.title, self.x, self.y, self.log_x, self.top, self.series = title, x, y, log_x, top, []

    def line(self, xs, ys, label=None, colour=0, marks=False, dashed=False):
        """None among the ys leaves a gap"""
        points = [(x, y) for x, y in zip(xs, ys) if y is not None and math.isfinite(y)]
        self.series.append((points, label, COLOURS[colour % len(COLOURS)], marks, dashed))

    def mark(self, x, y, colour=0):
        """one larger ring"""
        self.series.append(([(x, y)], None, COLOURS[colour % len(COLOURS)], "ring", False))


def ticks(low, high, about=5):
    step = 10 ** math.floor(math.log10((high - low) / about))
    step *= next(m for m in (1, 2, 5, 10) if (high - low) / (step * m) <= about)
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 12) for i in range(first, int(math.floor(high / step + 1e-9)) + 1)]


def logarithmic_ticks(low, high):
    values = [m * 10.0 ** e for e in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1) for m in (1, 2, 5)]
    return [v for v in values if low * 0.999 <= v <= high * 1.001]


def panel_svg(panel, limits):
    points = [p for series in panel.series for p in series[0]]
    xs, ys = [p[0] for p in points], [p[1] for p in points]
    x0, x1 = min(xs), max(xs)
    y0, y1 = limits or (min(ys), min(max(ys), panel.top))
    if x0 == x1:
        x0, x1 = (x0 / 2, x1 * 2) if panel.log_x else (x0 - 1, x1 + 1)
    margin = (y1 - y0) * 0.05 or abs(y0) * 0.05 or 1
    y0, y1 = y0 - margin, y1 + margin
    scale = math.log if panel.log_x else float
    place_x = lambda x: LEFT + (scale(x) - scale(x0)) / (scale(x1) - scale(x0)) * (WIDTH - LEFT - RIGHT)
    place_y = lambda y: HEIGHT - BOTTOM - (min(max(y, y0), y1) - y0) / (y1 - y0) * (HEIGHT - TOP - BOTTOM)
    out = [f'<text x="{(LEFT + WIDTH - RIGHT) / 2:.0f}" y="20" text-anchor="middle" font-weight="bold">{escape(panel.title)}</text>']
    for x in logarithmic_ticks(x0, x1) if panel.log_x else ticks(x0, x1):
        out.append(f'<path d="M{place_x(x):.1f} {TOP}V{HEIGHT - BOTTOM}" stroke="#e4e4e4"/><text x="{place_x(x):.1f}" y="{HEIGHT - BOTTOM + 15}" text-anchor="middle">{x:g}</text>')
    for y in ticks(y0, y1):
        out.append(f'<path d="M{LEFT} {place_y(y):.1f}H{WIDTH - RIGHT}" stroke="#e4e4e4"/><text x="{LEFT - 5}" y="{place_y(y) + 4:.1f}" text-anchor="end">{y:g}</text>')
    out.append(f'<path d="M{LEFT} {TOP}V{HEIGHT - BOTTOM}H{WIDTH - RIGHT}" fill="none" stroke="black"/>')
    out.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2:.0f}" y="{HEIGHT - 10}" text-anchor="middle">{escape(panel.x)}</text>')
    out.append(f'<text transform="translate(14 {(TOP + HEIGHT - BOTTOM) / 2:.0f}) rotate(-90)" text-anchor="middle">{escape(panel.y)}</text>')
    for line, _, colour, marks, dashed in panel.series:
        places = [(place_x(x), place_y(y)) for x, y in line]
        if len(places) > 1:
            out.append(f'<polyline points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in places)}" fill="none" stroke="{colour}" stroke-width="1.5"{" stroke-dasharray=" + chr(34) + "4 3" + chr(34) if dashed else ""}/>')
        for x, y in places if marks else []:
            ring = marks == "ring"
            out.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{6 if ring else 2.5}" fill="{"none" if ring else colour}" stroke="{colour}"/>')
    row = 0
    for _, label, colour, _, dashed in panel.series:
        if label:
            y = TOP + 12 + 15 * row
            out.append(f'<path d="M{WIDTH - RIGHT - 20} {y - 4}h18" stroke="{colour}" stroke-width="2"{" stroke-dasharray=" + chr(34) + "4 3" + chr(34) if dashed else ""}/>')
            out.append(f'<text x="{WIDTH - RIGHT - 25}" y="{y}" text-anchor="end">{escape(label)}</text>')
            row += 1
    return "\n".join(out)


def svg(panels, columns=2, same_y=False):
    """same_y: all panels have the range of y that holds everything"""
    limits = None
    if same_y:
        ys = [p[1] for panel in panels for series in panel.series for p in series[0]]
        limits = min(ys), max(ys)
    rows = -(-len(panels) // columns)
    width, height = WIDTH * min(columns, len(panels)), HEIGHT * rows
    body = "\n".join(f'<g transform="translate({WIDTH * (i % columns)} {HEIGHT * (i // columns)})">\n{panel_svg(panel, limits)}\n</g>' for i, panel in enumerate(panels))
    return f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="11">\n<rect width="100%" height="100%" fill="white"/>\n{body}\n</svg>\n'
