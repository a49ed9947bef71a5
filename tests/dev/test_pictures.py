"""What the pictures show."""

import re
from collections.abc import Sequence
from xml.etree import ElementTree

import pytest

from langchain_ldai._wire import events
from langchain_ldai.dev import pictures
from langchain_ldai.dev.comparison import MILLISECONDS, NUMBER
from langchain_ldai.dev.figures import Step, Variation
from langchain_ldai.dev.queries import Metric, Run
from langchain_ldai.dev.statistics import Counts, Distribution, Share
from tests.dev.sending import NOON


def variation(name: str, durations: Sequence[float] = (), steps: Sequence[Step] = ()) -> Variation:
    """Return a variation of which the picture at hand is known."""
    none = Distribution()
    duration = Distribution([(value, durations.count(value)) for value in sorted(set(durations))])
    share = Share(0, 0)
    return Variation(name, 0, share, share, Counts(0, 0, 0), duration, none, none, over_time=tuple(steps))


def step(number: int, mean: float | None) -> Step:
    """Return a second in which the mean duration was this."""
    return Step(NOON + number * 1000, 1, Share(1, 1), mean)


def durations(variations: Sequence[Variation]) -> str:
    """Return the picture of the durations."""
    return pictures.distributions(variations, lambda each: each.duration, "Durations", MILLISECONDS)


def course(variations: Sequence[Variation]) -> str:
    """Return the picture of the mean durations."""
    return pictures.over_time(variations, lambda each: each.duration, "Mean duration", MILLISECONDS)


def run(length: int, first_token: float | None = None) -> Run:
    """Return a run of this length, in milliseconds."""
    texts = ("run-1", "support-bot", "brief", 1, "", "", "user-1")
    return Run(1, *texts, NOON, NOON + length, "success", None, length, first_token, None, None, None, None)


def tool_call(name: str, after: int) -> Metric:
    """Return the metric of a tool's call."""
    return Metric(events.TOOL_CALL, name, 1, NOON + after)


def lines(picture: str) -> dict[str, str]:
    """Return the course of each line by its colour."""
    return {str(path.get("stroke")): str(path.get("d")) for path in ElementTree.fromstring(picture).iter("path")}


def texts(picture: str) -> list[str]:
    """Return what is written on a picture."""
    return [str(text.text) for text in ElementTree.fromstring(picture).iter("text")]


def name(picture: str) -> str:
    """Return what a picture is called, for those who do not see it."""
    return str(ElementTree.fromstring(picture).findtext("title"))


def test_a_distribution_shows_shares_of_runs() -> None:
    """Ten times the runs with the same values have the same outline."""
    few = [100.0, 100.0, 200.0, 400.0]

    picture = durations([variation("few", few), variation("many", few * 10)])

    outlines = lines(picture)
    assert outlines["var(--series-0)"] == outlines["var(--series-1)"]
    assert name(picture) == "Durations: few: median 150 ms; many: median 150 ms"
    assert "few: median 150 ms" in texts(picture)


def test_the_highest_bar_is_where_most_values_are() -> None:
    """Half of the values are alike, and the scale of shares ends there."""
    picture = durations([variation("one", [300.0] * 50 + [float(value) for value in range(201, 301, 2)])])

    numbers = [float(number) for number in re.findall(r"[0-9.]+", lines(picture)["var(--series-0)"])]
    points = list(zip(numbers[::2], numbers[1::2], strict=True))
    right = max(x for x, _ in points)
    assert min(points, key=lambda point: point[1])[0] > right * 0.9
    assert any(re.fullmatch(r"[0-9.]+ %", text) for text in texts(picture))


def test_a_course_is_interrupted_where_nothing_happened() -> None:
    """Two pieces, and a value that stands alone is a line without length, which shows as a dot."""
    picture = course([variation("one", steps=[step(0, 100), step(1, 200), step(2, None), step(3, 300)])])

    pieces = [path.get("d", "") for path in ElementTree.fromstring(picture).iter("path")]
    assert [piece.count("L") for piece in pieces] == [3, 1]
    assert len(set(re.findall(r"[ML] (\S+ \S+)", pieces[1]))) == 1
    assert "300 ms" in texts(picture)


def test_times_are_days_where_a_course_takes_days() -> None:
    """Within a day the seconds matter, beyond it the date."""
    within, beyond = (course([variation("one", steps=[step(0, 1), step(end, 1)])]) for end in (60, 200_000))

    assert len([text for text in texts(within) if re.fullmatch(r"\d\d:\d\d:\d\d", text)]) == 3
    assert len([text for text in texts(beyond) if re.fullmatch(r"\d\d-\d\d \d\d:\d\d", text)]) == 3


def test_there_are_no_more_lines_than_colours() -> None:
    """What has no colour of its own could not be told from another."""
    many = [variation(f"variation-{number}", [100.0], [step(0, 1), step(1, 1)]) for number in range(20)]

    for picture in (durations(many), course(many)):
        assert len(lines(picture)) == pictures.SERIES


@pytest.mark.parametrize("value", [0, 5e-324, 1e-9, 0.1, 1, 7, 12345.678, 2.0**53, 1e22])
def test_any_value_can_be_shown(value: float) -> None:
    """However small or large, alone or beside another, and also where all are the same."""
    for values in ([value], [value, 1], [value] * 100):
        assert durations([variation("one", values)]).startswith("<svg")
        steps = [step(number, each) for number, each in enumerate(values)]
        assert course([variation("one", steps=steps), variation("two", steps=steps)]).startswith("<svg")


def test_nothing_gives_no_picture() -> None:
    """Where no variation has a value, there is no empty frame."""
    assert durations([variation("one")]) == ""
    assert course([variation("one", steps=[step(0, None)])]) == ""
    assert course([variation("one")]) == ""


def test_a_long_or_missing_name_has_a_short_form() -> None:
    """It does not run out of the picture."""
    picture = durations([variation("x" * 300, [1.0]), variation("", [1.0])])

    assert f"{'x' * 23}…: median 1 ms" in texts(picture)
    assert "no variation: median 1 ms" in texts(picture)


def test_numbers_have_their_unit_once() -> None:
    """The end of a scale names it."""
    picture = pictures.over_time([variation("one", steps=[step(0, 1000)])], lambda each: 1000, "Runs", NUMBER)

    assert "1,000" in texts(picture)
    assert len([text for text in texts(course([variation("one", steps=[step(0, 9)])])) if "ms" in text]) == 1


def test_a_timeline_tells_what_happened_when() -> None:
    """Each tool has a line of its own; what lies outside the run, such as late feedback, is not on it."""
    metrics = [
        Metric(events.TIME_TO_FIRST_TOKEN, "", 120, NOON + 120),
        tool_call("search", 500),
        tool_call("", 600),
        tool_call("late", 5000),
        Metric(events.DURATION, "", 1000, NOON + 1000),
        Metric(events.FEEDBACK_POSITIVE, "", 1, NOON + 9000),
    ]

    picture = pictures.timeline(run(1000, 120), metrics)

    told = "first token after 120 ms; search after 500 ms; tool after 600 ms; end after 1,000 ms"
    assert name(picture) == f"Timeline: {told}"
    assert {"run", "first token", "search", "tool", "1,000 ms"} <= set(texts(picture))


def test_a_timeline_stays_readable() -> None:
    """A run of a hundred tool calls shows the first twelve; the table beside it has all."""
    picture = pictures.timeline(run(1000), [tool_call(f"tool-{number}", number) for number in range(100)])

    assert "tool-11" in texts(picture)
    assert "tool-12" not in texts(picture)


def test_a_run_without_length_has_a_timeline() -> None:
    """A single event is a run, too."""
    assert name(pictures.timeline(run(0), [])) == "Timeline: end after 0 ms"
