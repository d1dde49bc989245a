#!/usr/bin/env python3
"""How lhttpd's cost grows: measures it with lhttp-bench, and draws the curves as SVG.

    tools/perf/curves.py measure tools/perf/curves.json     runs lhttp-bench over each range (some minutes)
    tools/perf/curves.py draw tools/perf/curves.json tools/perf

Run `cargo build --release` first. Needs only Python's standard library. Run nothing else on the machine at the same time.
"""

import json
import math
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BENCH = ROOT / "target/release/lhttp-bench"

# The name of a curve: its title, the labels of x and y, the figure on y, and for each x the arguments of lhttp-bench.
CURVES = {
    "subscribers": (
        "Server CPU time of a delivery, by the subscribers of the channel",
        "subscribers", "ns of CPU a delivery", "server_ns_per_delivery",
        {n: ["fanout", "--subs", n, "-n", max(20, min(10_000, 200_000 // n))]
         for n in (1, 10, 100, 1_000, 10_000)},
    ),
    "body": (
        "Server CPU time of a delivery to one of 100 subscribers, by the size of the body",
        "bytes of the body", "ns of CPU a delivery", "server_ns_per_delivery",
        {n: ["fanout", "--subs", 100, "-n", max(20, min(1_000, 4_000_000 // n)), "--body", n,
             "--lhttpd-arg=--max-message=1MiB", "--lhttpd-arg=--outbox-max=8MiB"]
         for n in (16, 64, 256, 1_024, 4_096, 16_384, 65_536)},
    ),
    "rooms": (
        "Server CPU time of a delivery, by the number of rooms of 10 that talk at once",
        "rooms", "ns of CPU a delivery", "server_ns_per_delivery",
        {n: ["rooms", "--rooms", n, "--members", 10, "-n", max(5, 10_000 // n)] for n in (1, 10, 100, 1_000)},
    ),
    "connections": (
        "Resident memory of an idle connection with one subscription, by the number of connections",
        "connections", "bytes a connection", "bytes_per_connection",
        {n: ["idle", "-n", n] for n in (1_000, 4_000, 10_000, 19_000)},
    ),
}


def measure(out):
    curves = {}
    for name, (_, _, _, figure, points) in CURVES.items():
        curves[name] = {}
        for x, arguments in points.items():
            command = [str(BENCH), *map(str, arguments), "--json"]
            result = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
            curves[name][x] = result["figures"]
            print(f"{name} {x}: {result['figures'][figure]:.1f}", flush=True)
    uname = subprocess.run(["uname", "-r"], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    document = {"kernel": uname, "commit": commit.stdout.strip(), "curves": curves}
    pathlib.Path(out).write_text(json.dumps(document, indent=1) + "\n")


def draw(source, folder):
    curves = json.loads(pathlib.Path(source).read_text())["curves"]
    for name, (title, x_label, y_label, figure, _) in CURVES.items():
        points = [(float(x), figures[figure]) for x, figures in curves[name].items()]
        path = pathlib.Path(folder) / f"{name}.svg"
        path.write_text(svg(title, x_label, y_label, points))
        print(path)


def svg(title, x_label, y_label, points):
    """A curve with a logarithmic x axis; both axes have round ticks."""
    width, height, left, right, top, bottom = 640, 320, 70, 20, 40, 50
    low, high = math.log10(points[0][0]), math.log10(points[-1][0])
    step = round_up(max(y for _, y in points) / 5)
    y_max = step * math.ceil(max(y for _, y in points) / step)

    def at(x, y):
        across = (math.log10(x) - low) / (high - low) * (width - left - right)
        return left + across, height - bottom - y / y_max * (height - top - bottom)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="{width / 2}" y="20" text-anchor="middle" font-size="14">{title}</text>',
    ]
    for index in range(round(y_max / step) + 1):
        y = at(points[0][0], index * step)[1]
        parts.append(f'<line x1="{left}" x2="{width - right}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{index * step:g}</text>')
    for x, y in points:
        across, down = at(x, y)
        parts.append(f'<circle cx="{across:.1f}" cy="{down:.1f}" r="3" fill="#06c"/>')
        parts.append(f'<text x="{across:.1f}" y="{down - 8:.1f}" text-anchor="middle" fill="#06c">{y:.3g}</text>')
        parts.append(f'<text x="{across:.1f}" y="{height - bottom + 18}" text-anchor="middle">{x:,.0f}</text>')
    line = " ".join(f"{across:.1f},{down:.1f}" for across, down in (at(x, y) for x, y in points))
    parts.append(f'<polyline points="{line}" fill="none" stroke="#06c" stroke-width="1.5"/>')
    parts.append(f'<text x="{(left + width - right) / 2}" y="{height - 10}" text-anchor="middle">{x_label}</text>')
    middle = (top + height - bottom) / 2
    parts.append(f'<text x="16" y="{middle}" text-anchor="middle" transform="rotate(-90 16 {middle})">{y_label}</text>')
    return "\n".join([*parts, "</svg>", ""])


def round_up(number):
    """The next of 1, 2 and 5 times a power of ten."""
    power = 10 ** math.floor(math.log10(number))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= number)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["measure", out]:
            measure(out)
        case ["draw", source, folder]:
            draw(source, folder)
        case _:
            sys.exit(__doc__)
