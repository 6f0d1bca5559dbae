"""When the weekly job trains."""

from __future__ import annotations

import datetime as dt

from edupulse_pipelines.risk.weekly import weeks_to_train

WEEK = dt.date(2026, 1, 5)


def test_when_to_train() -> None:
    weeks = [WEEK + dt.timedelta(days=7 * number) for number in range(20)]
    assert weeks_to_train(weeks[:1], None, 8, train_now=False) == weeks[:1]
    assert weeks_to_train([weeks[7]], weeks[0], 8, train_now=False) == []
    assert weeks_to_train([weeks[8]], weeks[0], 8, train_now=False) == [weeks[8]]
    assert weeks_to_train([weeks[3]], weeks[5], 8, train_now=False) == []
    assert weeks_to_train([weeks[1]], weeks[0], 8, train_now=True) == [weeks[1]]
    assert weeks_to_train(weeks, None, 8, train_now=False) == [weeks[3], weeks[11], weeks[19]]
    assert weeks_to_train(weeks, weeks[0], 8, train_now=False) == [weeks[8], weeks[16]]
    assert weeks_to_train(weeks, weeks[-1], 8, train_now=False) == []
    assert weeks_to_train([weeks[9]], weeks[0], 8, train_now=False) == [weeks[9]]
