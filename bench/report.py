"""What a run found, as a table for people and as the JSON document that others read. Knows no measuring."""

from collections.abc import Mapping

from rich.table import Table

from bench.figures import Figure


def document(found: Mapping[str, Figure]) -> dict[str, object]:
    """The figures of a whole run in the published shape of ``bench/results/latest.json``."""
    streamed, paced, first, history = (found[name] for name in ("streamed", "paced", "first", "history"))
    return {
        "streamed_turn": {
            "cpu_ms": _rounded(streamed["cpu_ms"].middle),
            "floor_cpu_ms": _rounded(streamed["floor_cpu_ms"].middle),
            "ratio": _rounded(_ratio(streamed, "cpu_ms", "floor_cpu_ms")),
        },
        "paced_token": {
            "cpu_us": _rounded(paced["cpu_us"].middle),
            "floor_cpu_us": _rounded(paced["floor_cpu_us"].middle),
            "ratio": _rounded(_ratio(paced, "cpu_us", "floor_cpu_us")),
        },
        "first_token": {
            "added_ms_p50": _rounded(first["p50"].middle),
            "added_ms_p99": _rounded(first["p99"].middle),
        },
        "history": {
            "cpu_ms_1000": _rounded(history["cpu_ms_1000"].middle),
            "cpu_ms_10000": _rounded(history["cpu_ms_10000"].middle),
            "ratio": _rounded(_ratio(history, "cpu_ms_10000", "cpu_ms_1000")),
        },
        "open_stream_kb": _rounded(found["memory"]["kb"].middle),
        "idle_socket_kb": _rounded(found["sockets"]["kb"].middle),
        "dialects": {
            name: {
                "cpu_ms": _rounded(series.middle),
                "ratio": _rounded(series.middle / _cheapest(found["dialects"])),
            }
            for name, series in found["dialects"].items()
        },
        "retrieval": {
            "find_ms_p50": _rounded(found["retrieval"]["p50"].middle),
            "find_ms_p99": _rounded(found["retrieval"]["p99"].middle),
            "store_ms_p50": _rounded(found["retrieval"]["store_p50"].middle),
            "store_ms_p99": _rounded(found["retrieval"]["store_p99"].middle),
        },
    }


def table(found: Mapping[str, Figure]) -> Table:
    """The figures that there are, each as the median of its rounds with the least and the most."""
    drawn = Table(title="Medians (least-most of the rounds)", title_justify="left")
    drawn.add_column("figure", no_wrap=True)
    for heading in ("Dragoman", "floor", "ratio"):
        drawn.add_column(heading, justify="right", no_wrap=True)
    if figure := found.get("streamed"):
        drawn.add_row("streamed turn: CPU ms", *_beside(figure, "cpu_ms", "floor_cpu_ms"))
        drawn.add_row("turns a second", *_beside(figure, "rate", "floor_rate"))
    if figure := found.get("paced"):
        drawn.add_row("token at pace: CPU us", *_beside(figure, "cpu_us", "floor_cpu_us"))
    if figure := found.get("first"):
        drawn.add_row("first token: added ms, p50", *_beside(figure, "p50", "floor_p50"))
        drawn.add_row("first token: added ms, p99", *_beside(figure, "p99", "floor_p99"))
    if figure := found.get("history"):
        drawn.add_row("after 10 messages: CPU ms", _cell(figure, "cpu_ms_10"))
        drawn.add_row("after 1,000", _cell(figure, "cpu_ms_1000"))
        ratio = _ratio(figure, "cpu_ms_10000", "cpu_ms_1000")
        drawn.add_row("after 10,000 (over 1,000)", _cell(figure, "cpu_ms_10000"), "", f"{ratio:.2f}")
    if figure := found.get("memory"):
        drawn.add_row("open stream: kB", _cell(figure, "kb"))
    if figure := found.get("sockets"):
        drawn.add_row("idle socket: kB", _cell(figure, "kb"))
    if figure := found.get("dialects"):
        for name, series in figure.items():
            over = f"{series.middle / _cheapest(figure):.2f}"
            drawn.add_row(f"{name}: CPU ms", _cell(figure, name), "", over)
    if figure := found.get("retrieval"):
        for name, said in (("p50", "20,000 chunks: ms to find, p50"), ("p99", "20,000 chunks: ms to find, p99")):
            drawn.add_row(said, _cell(figure, name))
            drawn.add_row("  of these in the store", _cell(figure, f"store_{name}"))
    return drawn


def _cheapest(figure: Figure) -> float:
    return min(series.middle for series in figure.values())


def _beside(figure: Figure, ours: str, floors: str) -> tuple[str, str, str]:
    return _cell(figure, ours), _cell(figure, floors), f"{_ratio(figure, ours, floors):.2f}"


def _cell(figure: Figure, name: str) -> str:
    series = figure[name]
    return f"{_short(series.middle)} ({_short(min(series.values))}-{_short(max(series.values))})"


def _short(value: float) -> str:
    return f"{value:.2f}" if abs(value) < 20 else f"{value:.0f}"


def _ratio(figure: Figure, part: str, whole: str) -> float:
    return figure[part].middle / figure[whole].middle


def _rounded(value: float) -> float:
    return round(value, 3)
