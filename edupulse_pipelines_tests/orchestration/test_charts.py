"""The pictures in asset metadata: markdown that holds a PNG, and nothing where there is nothing to show."""

from __future__ import annotations

import base64
import datetime as dt

from edupulse_pipelines.orchestration import charts

WEEKS = [dt.date(2026, 1, 5), dt.date(2026, 1, 12)]


def test_each_chart_is_a_picture_with_its_title() -> None:
    found = [
        charts.lines("Rates", WEEKS, {"seen": [0.5, None], "known": [0.25, 1.0]}, share=True),
        charts.categories("Risk", {WEEKS[0]: {"low": 3, "high": 1}}),
        charts.beside_baseline("Metrics", {"auc": 0.8, "brier": None}, {"auc": 0.6}),
    ]
    for title, markdown in zip(("Rates", "Risk", "Metrics"), found, strict=True):
        assert markdown is not None
        head, _, rest = markdown.partition("(data:image/png;base64,")
        assert head == f"![{title}]"
        assert base64.b64decode(rest.removesuffix(")"), validate=True).startswith(b"\x89PNG")


def test_nothing_to_show_is_no_chart() -> None:
    assert charts.lines("Rates", WEEKS[:1], {"seen": [1.0]}) is None
    assert charts.categories("Risk", {WEEKS[0]: {"low": 0}}) is None
    assert charts.beside_baseline("Metrics", {"auc": None}, {}) is None
