"""What a PromQL expression counts, told from its text."""

from __future__ import annotations

import pytest

from cutover.observations.traffic import Sight
from cutover.probes.traffic.promql import How, counting
from cutover.probes.traffic.unseen import UnseenError

SELECTOR = 'http_requests_total{side="old",path=~"/a(b)[c]"}'


@pytest.mark.parametrize(
    "expression",
    [
        SELECTOR,
        f"sum({SELECTOR})",
        f"sum by (host) ({SELECTOR})",
        f"sum({SELECTOR}) by (host)",
        f"sum(increase({SELECTOR}[$window]))",
        f"sum without (pod) (increase({SELECTOR}[5m]))",
        f"sum(rate({SELECTOR}[5m]))",
        f"( round( sum( increase({SELECTOR}[$window]) ) ) )",
        f"sum(increase({SELECTOR}[$window])) or vector(0)",
        f"sum(increase({SELECTOR}[$window])) OR on() vector(0.0)",
    ],
)
def test_one_counter_is_read_from_its_samples(expression: str) -> None:
    found = counting(expression)
    assert found.how is How.SAMPLES
    assert found.expression == SELECTOR
    assert found.metrics == ("http_requests_total",)


def test_a_selector_without_a_name_says_its_metric() -> None:
    assert counting('{__name__="hits_total",job="x"}').metrics == ("hits_total",)


@pytest.mark.parametrize("expression", ["a_total + b_total", "sum(a_total) - sum(b_total)", "max(a_total)"])
def test_a_sum_of_counters_is_read_at_both_ends(expression: str) -> None:
    found = counting(expression)
    assert found.how is How.ENDS
    assert found.expression == expression


def test_metrics_are_not_functions_labels_or_strings() -> None:
    found = counting('sum by (le) (a_total{x="c_total"}) + on(b) group_left(z) sum(d_total) unless e_total')
    assert found.metrics == ("a_total", "d_total", "e_total")


def test_the_window_stands_where_the_plan_puts_it() -> None:
    text = "sum(increase(a_total[$window])) + sum(increase(b_total[$window]))"
    assert counting(text).how is How.WINDOW
    assert counting(text).expression == text


@pytest.mark.parametrize(
    ("expression", "sight"),
    [
        ("", Sight.MALFORMED),
        ("sum(a_total) + vector(0)", Sight.MALFORMED),
        ("sum(a_total or vector(0))", Sight.MALFORMED),
        ("sum(rate(a_total[5m])) * 60", Sight.WRONG_UNIT),
        ("sum(rate(a_total[$window])) + sum(rate(b_total[$window]))", Sight.WRONG_UNIT),
        ("sum(increase(a_total[5m])) + sum(increase(b_total[5m]))", Sight.WRONG_UNIT),
        ("avg_over_time(requests[5m])", Sight.WRONG_UNIT),
    ],
)
def test_what_is_no_count_for_the_window_is_refused(expression: str, sight: Sight) -> None:
    with pytest.raises(UnseenError) as raised:
        counting(expression)
    assert raised.value.sight is sight


def test_vector_in_a_label_value_is_no_vector() -> None:
    assert counting('a_total{fn="vector(0)"}').how is How.SAMPLES
