"""What load tests say about promises, and their charts."""

import math
from xml.etree import ElementTree

import pytest

from loadtests.growth import Curve, first_to_break
from loadtests.plot import chart
from loadtests.together import Promise

SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize(
    ("promise", "holds"),
    [
        (Promise("p95", 49.9, 50), True),
        (Promise("p95", 50.1, 50), False),
        (Promise("tokens", 9_700, 9_700, at_least=True), True),
        (Promise("tokens", 9_600, 9_700, at_least=True), False),
        (Promise("nothing was measured", math.nan, 50), False),
        (Promise("nothing was measured", math.nan, 50, at_least=True), False),
    ],
)
def test_a_promise_holds_or_does_not_and_says_which(promise: Promise, holds: bool) -> None:
    assert promise.holds is holds
    assert str(promise).startswith("holds " if holds else "DOES NOT HOLD ")


def test_a_chart_has_every_point_in_its_place() -> None:
    drawn = ElementTree.fromstring(chart("a < b", "x", "y", [(1, 0.0), (10, 4.0), (100, 8.0)], bound=6.0))
    dots = [(float(dot.attrib["cx"]), float(dot.attrib["cy"])) for dot in drawn.iter(f"{SVG}circle")]
    (left, low), (middle, half), (right, high) = dots
    assert middle == pytest.approx((left + right) / 2, abs=0.2)  # x is logarithmic
    assert half == pytest.approx((low + high) / 2, abs=0.2)
    assert high < low
    dashed = [line for line in drawn.iter(f"{SVG}line") if "stroke-dasharray" in line.attrib]
    assert [float(line.attrib["y1"]) for line in dashed] == [pytest.approx(low + (high - low) * 6 / 8, abs=0.2)]


def test_the_first_rate_that_is_late_or_not_delivered_is_what_breaks() -> None:
    rows: list[tuple[float, ...]] = [(1_000, 1_000, 60, 9, 20), (5_000, 4_990, 50, 51, 30), (9_000, 7_000, 40, 900, 90)]
    curve = Curve("rate", "tokens/s", ("delivered", "µs", "p99", "ack"), 2, rows=rows)
    assert "asked for 5,000" in first_to_break(curve)
    assert first_to_break(Curve("rate", "", (), 0, rows=rows[:1])) == "No rate was too much."
    assert curve.table().splitlines()[2] == "| 1,000 | 1,000 | 60.0 | 9.0 | 20.0 |"
