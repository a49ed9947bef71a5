"""The figures of the page, against the same figures computed from the raw events."""

import json
import random
import re
import statistics
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from langchain_ldai._wire import events
from langchain_ldai.dev import figures as dev_figures
from langchain_ldai.dev.comparison import as_json, as_text, compare
from langchain_ldai.dev.figures import figures
from langchain_ldai.dev.queries import Filter, all_runs, latest_runs, variations_of
from langchain_ldai.dev.report import report
from langchain_ldai.dev.store import Select, Store
from langchain_ldai.dev.tallies import DAY, HOUR, MINUTE
from tests.dev.sending import ACCURACY, NOON, event, simulated

RUNS = list(simulated(600))
CONFIG = Filter("support-bot")
OUTCOMES = [(events.SUCCESS,), (events.ERROR,), ()]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A store with 600 runs, and one of another AI Config."""
    store = Store(tmp_path_factory.mktemp("store") / "runs.db")
    store.accept("all", [metric for run in RUNS for metric in run])
    store.accept("other", [event(events.DURATION, 9, configKey="triage", run="other")])
    yield store
    store.close()


def values(runs: list[list[dict]], name: str) -> list[float]:
    """Return the values of one event in raw events."""
    return [metric["metricValue"] for run in runs for metric in run if metric["key"] == name]


def expected(variation: str, runs: list[list[dict]]) -> dict[str, object]:
    """Return a variation's figures, computed from the raw events alone."""
    own = [run for run in runs if run[0]["data"]["variationKey"] == variation]
    durations = sorted(values(own, events.DURATION))
    good, bad = len(values(own, events.SUCCESS)), len(values(own, events.ERROR))
    liked, disliked = len(values(own, events.FEEDBACK_POSITIVE)), len(values(own, events.FEEDBACK_NEGATIVE))
    return {
        "variation": variation,
        "runs": len(own),
        "success_rate": good / (good + bad),
        "duration_median": statistics.median(durations),
        "duration_p95": durations[-(-len(own) * 95 // 100) - 1],
        "first_token_median": statistics.median(values(own, events.TIME_TO_FIRST_TOKEN)),
        "tokens_median": statistics.median(values(own, events.TOKENS_TOTAL)),
        "positive_feedback": liked / (liked + disliked),
        "feedback": liked + disliked,
        "tool_calls": len(values(own, events.TOOL_CALL)) / len(own),
        "score:accuracy": statistics.mean(values(own, ACCURACY)),
        "scored:accuracy": len(values(own, ACCURACY)),
    }


SINCE = [0, NOON - NOON % DAY - 3 * HOUR, NOON - NOON % MINUTE, NOON - NOON % MINUTE + 6 * MINUTE]


@pytest.mark.parametrize("since", SINCE)
@pytest.mark.parametrize("few", [1000, 0], ids=["runs", "bands"])
def test_figures_are_those_of_the_raw_events(
    store: Store, monkeypatch: pytest.MonkeyPatch, few: int, since: int
) -> None:
    """For all time and for parts of it, whether the runs are read or what is kept beside them."""
    monkeypatch.setattr(dev_figures, "_FEW", few)
    within = [run for run in RUNS if since <= run[0]["creationDate"]]

    found = as_json(figures(store, Filter("support-bot", since=since)))

    assert len(within) > 50
    for entry, variation in zip(found, ("brief", "friendly"), strict=True):
        wanted = expected(variation, within)
        assert {key: entry[key] for key in wanted} == pytest.approx(wanted)


@pytest.fixture(scope="module")
def of_days(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A store with runs of some days, which have values of every size."""
    chance = random.Random(17)
    store = Store(tmp_path_factory.mktemp("of-days") / "runs.db")
    for number in range(1500):
        data = {"run": f"run-{number}", "at": NOON + chance.randrange(5 * DAY)}
        batch = [
            event(events.DURATION, 10 ** chance.uniform(-2, 6), **data),
            event(events.TOKENS_TOTAL, 7, **data),
        ]
        store.accept(None, [*batch, *(event(name, **data) for name in chance.choice(OUTCOMES))])
    yield store
    store.close()


@pytest.mark.parametrize("outcome", ["", "success", "error", "none"])
def test_bands_and_runs_have_the_same_figures(
    of_days: Store, monkeypatch: pytest.MonkeyPatch, outcome: str
) -> None:
    """Down to the bars of the distributions."""
    for minutes in (0, 1, 59, 61, 60 * 25, 60 * 24 * 3 + 7):
        since = minutes and NOON - NOON % MINUTE + minutes * MINUTE
        wanted = Filter("support-bot", outcome=outcome, since=since)
        answers = []
        for few in (10_000, 0):
            monkeypatch.setattr(dev_figures, "_FEW", few)
            (found,) = figures(of_days, wanted, 20)
            duration = found.duration
            bars = [duration.below(width * 10**zeros) for zeros in range(2, 6) for width in (1, 2, 5)]
            answers.append(
                (as_json([found]), len(duration), duration.percentile_99, duration.error_of_median, bars)
            )
        assert answers[0] == answers[1]
        assert (
            sum(step.runs for step in found.over_time) == found.runs == len(latest_runs(of_days, wanted, 2000)) > 0
        )


@pytest.fixture
def asked(store: Store, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Mapping[str, object]]]:
    """What the store is asked, with the values."""
    asked: list[tuple[str, Mapping[str, object]]] = []
    reading = store.reading

    @contextmanager
    def listening() -> Iterator[Select]:
        with reading() as select:
            yield lambda query, values: (asked.append((query, values)), select(query, values))[1]

    monkeypatch.setattr(store, "reading", listening)
    return asked


@pytest.mark.parametrize(
    "wanted", [CONFIG, Filter("support-bot", "brief", "error", NOON - NOON % MINUTE)], ids=str
)
def test_the_page_reads_indexes_and_no_row(
    store: Store, asked: list[tuple[str, Mapping[str, object]]], monkeypatch: pytest.MonkeyPatch, wanted: Filter
) -> None:
    """Over a million events the page answers fast only if no question goes over the runs, or sorts them."""
    monkeypatch.setattr(dev_figures, "_FEW", 0)
    figures(store, wanted, 20)
    latest_runs(store, wanted, 50)
    monkeypatch.undo()

    plans = [
        [step for *_, step in store.select(f"EXPLAIN QUERY PLAN {query}", values)]
        for query, values in asked
        if "FROM runs" in query and "runs.id IN" not in query
    ]
    of_runs = [step for plan in plans for step in plan if "runs" in step]
    assert len(plans) > 10
    assert [step for step in of_runs if "SEARCH runs USING COVERING INDEX" not in step] == []
    assert any("durations (variation=? AND duration>? AND duration<?)" in step for step in of_runs)
    kept = [
        step
        for query, values in asked
        if "FROM totals" in query or "FROM bands" in query
        for *_, step in store.select(f"EXPLAIN QUERY PLAN {query}", values)
    ]
    assert [step for step in kept if re.match("SCAN (totals|bands)", step)] == []
    searches = [step for step in kept if step.startswith("SEARCH")]
    assert searches
    assert all(
        "USING PRIMARY KEY (variation=? AND length=? AND period>? AND period<?)" in step for step in searches
    )


def test_all_variations_are_asked_for_at_once(store: Store, asked: list[tuple[str, object]]) -> None:
    """A comparison of thousands of variations takes no question for each."""
    for number in range(25):
        data = {"configKey": "wide", "variationKey": f"v{number}", "run": f"wide-{number}"}
        store.accept(None, [event(events.DURATION, number, **data)])

    assert [variation.duration.median for variation in figures(store, Filter("wide"))] == [
        *(0, 1, *range(10, 20), 2, *range(20, 25), *range(3, 10)),
    ]
    assert len(asked) == 3


def test_people_see_the_variations_with_the_most_runs(store: Store) -> None:
    """Of thirty variations twenty are side by side, and the report says so; programs get all."""
    for number in range(30):
        for run in range(1 + number % 3):
            data = {"configKey": "many", "variationKey": f"v{number:02}", "run": f"many-{number}-{run}"}
            store.accept(None, [event(events.SUCCESS, at=NOON + number * 10 + run, **data)])

    shown = figures(store, Filter("many"), 20)
    assert {variation.runs for variation in shown} == {2, 3}
    assert [variation.name for variation in shown] == sorted(variation.name for variation in shown)
    assert len(shown) == 20
    text = report(store, "text", Filter("many"))
    assert text.startswith("many: the 20 of 30 variations with the most runs\n")
    assert "v01" in text
    assert "v00" not in text
    (entry,) = json.loads(report(store, "json", Filter("many")))
    assert (entry["config"], len(entry["variations"])) == ("many", 30)
    assert [run.variation for run in latest_runs(store, Filter("many"), 3)] == ["v29"] * 3
    assert [run.variation for run in latest_runs(store, Filter("many", "v00"), 3)] == ["v00"]


def test_a_judges_scores_are_compared(store: Store) -> None:
    """Each judge has its mean with an interval; more may be worse, so that nothing is called better."""
    for number in range(200):
        variation, name = ("first", "second")[number % 2], f"judged-{number}"
        data = {"configKey": "judged", "variationKey": variation, "run": name, "judgeConfigKey": "accuracy"}
        score = 0.5 + number % 2 * 0.3 + number % 3 * 0.01
        batch = [event(ACCURACY, score, **data), event("strictness", 0.5, **data)]
        store.accept(None, [*batch, event("kindness", 4, **{**data, "judgeConfigKey": "kind"})])
    first, second = figures(store, Filter("judged"))

    rows = {measure.label: (measure, cells) for measure, cells in compare([first, second])}

    mean, cells = rows[f"Score by accuracy {ACCURACY}, mean"]
    assert [cell.value for cell in cells] == pytest.approx([0.51, 0.81], abs=0.001)
    assert cells[1].difference is not None
    assert (cells[1].difference.shows, cells[1].verdict(mean)) == (True, "")
    assert [cell.value for cell in rows["Score by accuracy strictness, mean"][1]] == [0.5, 0.5]
    assert [cell.value for cell in rows["Runs scored by kind"][1]] == [100, 100]
    assert "Score by kind, mean" in as_text([first, second])


def test_a_score_follows_the_filters_of_its_run(store: Store) -> None:
    """An outcome that comes later than the score counts for it, and several scores by one judge are their mean."""
    data = {"configKey": "filtered", "run": "filtered-1", "judgeConfigKey": "accuracy"}
    for score in (0.2, 0.4):
        store.accept(None, [event(ACCURACY, score, **data)])
    store.accept(None, [event(events.ERROR, configKey="filtered", run="filtered-1")])
    store.accept(None, [event(ACCURACY, 1, configKey="filtered", run="filtered-2")])

    (failed,) = figures(store, Filter("filtered", outcome="error"))
    (unknown,) = figures(store, Filter("filtered", outcome="none"))

    assert {judge.key: scores.mean for judge, scores in failed.scores.items()} == {"accuracy": pytest.approx(0.3)}
    assert {judge.key: scores.mean for judge, scores in unknown.scores.items()} == {"": 1}
    assert f"Score by {ACCURACY}, mean" in as_text([unknown])
    assert latest_runs(store, Filter("filtered", outcome="error"), 1)[0].scores[0][1] == pytest.approx(0.3)


def test_steps_of_time_add_up(store: Store) -> None:
    """Each run is in one step, and the steps of all variations are the same."""
    brief, friendly = figures(store, CONFIG, 20)

    assert [step.start for step in brief.over_time] == [step.start for step in friendly.over_time]
    assert sum(step.runs for step in (*brief.over_time, *friendly.over_time)) == 600
    assert len(brief.over_time) == 40


@pytest.mark.parametrize("outcome", ["success", "error", "none"])
def test_runs_are_filtered_by_outcome_and_variation(store: Store, outcome: str) -> None:
    """The list, the export and the figures let the same runs through."""
    wanted = Filter("support-bot", "brief", outcome)
    listed, exported = latest_runs(store, wanted, 1000), list(all_runs(store, wanted))

    (brief,) = figures(store, wanted)

    assert len(listed) == len(exported) == brief.runs > 0
    assert {run.outcome for run in listed} == {None if outcome == "none" else outcome}
    assert {run.variation for run in listed} == {"brief"}
    assert [run.started for run in listed] == sorted((run.started for run in listed), reverse=True)
    assert set(listed) == set(exported)


def test_variations_and_limits(store: Store) -> None:
    """A list is as long as asked for, over all AI Configs; what nobody sent has no figures."""
    assert variations_of(store, "support-bot") == ["brief", "friendly"]
    assert [run.run_id for run in latest_runs(store, Filter(), 2)] == ["run-599", "run-598"]
    assert figures(store, Filter("nothing")) == []
    assert list(all_runs(store, Filter("nothing"))) == []


def test_a_difference_shows_and_noise_is_called_noise(store: Store) -> None:
    """Against a variation that is slower and less liked, the table says so; equal ones may be noise."""
    for number in range(100):
        data = {"configKey": "desk", "variationKey": "slow" if number % 2 else "fast", "run": f"desk-{number}"}
        slower = 1000 if number % 2 else 0
        batch = [event(events.DURATION, 1000 + number + slower, **data), event(events.TOKENS_TOTAL, 7, **data)]
        store.accept(None, [*batch, event(events.SUCCESS if number % 10 else events.ERROR, **data)])
    fast, slow = figures(store, Filter("desk"))

    lines = as_text([fast, slow]).splitlines()

    duration = next(number for number, line in enumerate(lines) if line.startswith("Duration, median"))
    assert lines[duration].split()[-4:] == ["1,049", "ms", "2,050", "ms"]
    assert "+1,001 ms (+" in lines[duration + 1]
    assert "noise" not in lines[duration + 1]
    tokens = next(number for number, line in enumerate(lines) if line.startswith("Tokens, median"))
    assert lines[tokens + 1].endswith("+0 (+0 to +0), may be noise")
    assert "- " in lines[lines.index(next(line for line in lines if line.startswith("Time to first token")))]
    verdicts = {measure.key: cells[1].verdict(measure) for measure, cells in compare([fast, slow])}
    assert (verdicts["duration_median"], verdicts["tokens_median"], verdicts["runs"]) == ("worse", "", "")
    verdicts = {measure.key: cells[1].verdict(measure) for measure, cells in compare([slow, fast])}
    assert verdicts["duration_median"] == "better"


def test_no_name_moves_a_terminal_s_cursor(tmp_path: Path) -> None:
    """Whoever sends events names variations, judges and AI Configs; each stays within its place in the table."""
    odd = "\x1b[2Ja\nb\u202e"
    named = {"configKey": odd, "variationKey": odd}
    store = Store(tmp_path / "runs.db")
    store.accept(None, [event(events.DURATION, 9, **named), event(ACCURACY, 1, judgeConfigKey=odd, **named)])

    text = report(store, "text", Filter())

    store.close()
    assert "".join(filter(str.isprintable, text)) == text.replace("\n", "")
    assert text.startswith("?[2Ja?b?\n\n")
    assert "\nScore by ?[2Ja?b?, mean" in text
