"""What a handler is made with: AI Configs, functions to them, and options out of range."""

from pathlib import Path
from uuid import UUID, uuid4

import pytest
from langchain_core.outputs import LLMResult
from ldai import LDAIClient
from ldclient import Context

from langchain_ldai import LdAiClient, LdAiCompletionConfig, LdAiConfigTracker, LdAiHandler, RunReport
from langchain_ldai.ledgers import SqliteLedger
from langchain_ldai.testing import RecordingClient
from tests.conftest import FLAG, Track
from tests.support.chains import AGENT_INPUT, DURATION, QUESTION, SUCCESS, TOKENS, TOOL_CALL, agent, chain, counts
from tests.support.events import call_model, start_call, start_chain, start_tool


def test_a_function_gives_each_run_its_users_config(
    ai: LdAiClient, client: RecordingClient, reports: list[RunReport]
) -> None:
    """One handler serves many users: the function gets the metadata of the run's root, read-only."""

    def config_for(metadata):
        with pytest.raises(TypeError):
            metadata["user"] = "somebody else"
        return ai.completion_config("support-bot", Context.create(metadata["user"]))

    handler = LdAiHandler(config_for, on_run_end=reports.append)

    for user in ("ada", "grace"):
        chain().invoke(QUESTION, {"callbacks": [handler], "metadata": {"user": user}})

    successes = [event for event in client.events if event.name == SUCCESS]
    assert [event.context.key for event in successes] == ["ada", "grace"]
    assert [event.data["runId"] for event in successes] == [report.run_id for report in reports]


def test_a_function_may_leave_a_run_alone(client: RecordingClient, reports: list[RunReport]) -> None:
    """A run for which the function gives `None` records nothing, its steps included."""
    handler = LdAiHandler(lambda metadata: None, on_run_end=reports.append)

    agent().invoke(AGENT_INPUT, {"callbacks": [handler]})

    assert (client.events, reports) == ([], [])


@pytest.mark.parametrize("found", [{"key": "support-bot"}, "support-bot", LdAiConfigTracker])
def test_a_function_that_gives_no_config_is_named_in_the_log(
    found: object, reports: list[RunReport], caplog: pytest.LogCaptureFixture
) -> None:
    """What it returned instead is said by its type, as nothing of the run is recorded."""
    handler = LdAiHandler(lambda metadata: found, on_run_end=reports.append)

    chain().invoke(QUESTION, {"callbacks": [handler]})

    assert reports == []
    (record,) = caplog.records
    assert f"the function given for an AI Config returned a {type(found).__name__}" in record.message


def test_each_kind_of_failure_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """A failure does not hide another one at the same place, of which nobody would learn."""
    failures: list[Exception] = [KeyError("user"), KeyError("user"), ConnectionError(), KeyError("user")]

    def config_for(metadata):
        raise failures.pop()

    handler = LdAiHandler(config_for)
    for _ in range(4):
        chain().invoke(QUESTION, {"callbacks": [handler]})

    logged = [record.message.splitlines()[0].rpartition(" ")[2] for record in caplog.records]
    assert logged == ["'user'", "ConnectionError"]


RUN_ID = UUID("5f8a3bb6-4ac1-4f4d-9d6b-0c2a6f3f5c11")


@pytest.mark.parametrize(
    ("run_ids", "is_new"),
    [(lambda metadata: RUN_ID, False), (lambda metadata: metadata["run"], True), (lambda metadata: "", True)],
    ids=["uuid", "fails", "empty"],
)
def test_a_function_for_the_run_id_costs_no_run(
    run_ids: object, is_new: bool, config: LdAiCompletionConfig, reports: list[RunReport]
) -> None:
    """A `UUID` is taken as its text, and where the function fails the run gets a new id."""
    handler = LdAiHandler(config, on_run_end=reports.append, run_ids=run_ids)

    chain().invoke(QUESTION, {"callbacks": [handler]})

    assert UUID(reports[0].run_id).version == 4
    assert (reports[0].run_id != str(RUN_ID)) is is_new


UNHELD = {"half-a-pair": "\ud800", "nul": "a\0b", "too-long": "x" * 1000}


@pytest.mark.parametrize("run_id", UNHELD.values(), ids=UNHELD)
@pytest.mark.parametrize("source", ["root", lambda metadata: metadata["request_id"]], ids=["root", "function"])
def test_an_id_that_a_client_chose_is_made_one_that_every_ledger_can_hold(
    source: object, run_id: str, config: LdAiCompletionConfig, reports: list[RunReport], caplog
) -> None:
    """A repeated run still has the same id, another run another one, and one warning tells of `run_ids=`."""
    handler = LdAiHandler(config, nodes={"wri\udfffter": config}, on_run_end=reports.append, run_ids=source)
    caplog.clear()

    for chosen in (run_id, run_id, run_id + "\ud800"):
        metadata = {"request_id": chosen, "langgraph_node": "wri\udfffter"}
        root, call = (chosen if source == "root" else uuid4()), uuid4()
        handler.on_chain_start(None, {}, run_id=root, metadata=metadata)
        handler.on_chat_model_start(None, [[]], run_id=call, parent_run_id=root, metadata=metadata)
        handler.on_llm_end(LLMResult(generations=[]), run_id=call)
        handler.on_chain_end({}, run_id=root)

    first, again, other = reports
    assert first.run_id == again.run_id != other.run_id
    assert UUID(first.run_id).version == 5
    assert [report.nodes["wri\udfffter"].run_id for report in reports[:2]] == 2 * [
        first.nodes["wri\udfffter"].run_id
    ]
    (record,) = caplog.records
    assert "the id given for a run ha" in record.message
    assert "run_ids=" in record.message
    assert run_id not in record.message


def test_a_client_that_chooses_a_bad_id_holds_up_no_other_run(
    client: RecordingClient, context: Context, reports: list[RunReport], tmp_path: Path
) -> None:
    """Runs, parts of a continued run and good runs behind them are all claimed at once, and sent."""
    ledger = SqliteLedger(tmp_path / "ledger.db")
    ai = LdAiClient(client, ledger=ledger)
    config = ai.completion_config("support-bot", context)
    options = {"on_run_end": reports.append, "run_ids": lambda metadata: metadata["request_id"]}
    handler, resuming = LdAiHandler(config, **options), LdAiHandler(config, resume=True, **options)
    token = config.create_tracker().resumption_token

    for request_id in ("\ud800", "good"):
        chain().invoke(QUESTION, {"callbacks": [handler], "metadata": {"request_id": request_id}})
        metadata = {"request_id": request_id + "\udfff", "ldai_resumption_token": token}
        chain().invoke(QUESTION, {"callbacks": [resuming], "metadata": metadata})

    assert ai.close(10)
    ledger.close()
    continued = reports[1].run_id
    assert [report.run_id for report in reports[1:]] == [continued, "good", continued]
    assert [len(client.metrics(run)[DURATION]) for run in (reports[0].run_id, continued, "good")] == [1, 2, 1]


def test_a_function_that_fails_leaves_the_run_alone(
    reports: list[RunReport], caplog: pytest.LogCaptureFixture
) -> None:
    """A failing function is logged once, without its message, and the chain goes on untracked."""

    def config_for(metadata):
        raise LookupError(metadata["prompt"])

    handler = LdAiHandler(config_for, on_run_end=reports.append)

    assert _answer(handler, {"prompt": "secret prompt"}) == "Hello, world"
    assert reports == []
    (record,) = caplog.records
    assert "LookupError" in record.message
    assert "secret prompt" not in record.message


def _answer(handler: LdAiHandler, metadata: dict[str, str]) -> str:
    result = agent().invoke(AGENT_INPUT, {"callbacks": [handler], "metadata": metadata})
    return result["messages"][-1].content


def test_configs_of_the_official_package_work_unchanged(
    client: RecordingClient, context: Context, reports: list[RunReport]
) -> None:
    """An official AI Config gives the same events, and its run id is read from its token."""
    official = LDAIClient(client).completion_config("support-bot", context)
    handler = LdAiHandler(official, on_run_end=reports.append)

    agent().invoke(AGENT_INPUT, {"callbacks": [handler]})

    (report,) = reports
    doubled = {name: [2 * value for value in values] for name, values in TOKENS.items()}
    assert counts(client, report.run_id) == {SUCCESS: [1], TOOL_CALL: [1], **doubled}
    assert report.summary.tokens.total == 26
    assert (report.config_key, report.variation_key) == ("support-bot", "friendly")


def test_an_official_trackers_recordings_stand(
    client: RecordingClient, context: Context, reports: list[RunReport], caplog: pytest.LogCaptureFixture
) -> None:
    """What user code recorded on an official tracker is left alone, without its duplicate warning."""
    handler = LdAiHandler(LDAIClient(client).completion_config("support-bot", context), on_run_end=reports.append)

    def record_all(answer, config):
        from ldai.tracker import FeedbackKind, TokenUsage

        tracker = LdAiHandler.current_tracker(config)
        tracker.track_duration(7)
        tracker.track_time_to_first_token(5)
        tracker.track_tokens(TokenUsage(3, 1, 2))
        tracker.track_error()
        tracker.track_feedback({"kind": FeedbackKind.Negative})
        return answer

    (chain() | record_all).invoke(QUESTION, {"callbacks": [handler]})

    summary = reports[0].summary
    assert (summary.duration_ms, summary.success, summary.feedback) == (7, False, "negative")
    assert all(len(values) == 1 for values in client.metrics(reports[0].run_id).values())
    assert caplog.records == []


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((None,), {}, TypeError, "config is an AI Config"),
        (("support-bot",), {}, TypeError, "config is an AI Config .* not str"),
        (("bot",), {"nodes": {"writer": FLAG.get}}, TypeError, "config is an AI Config .* not str"),
        ((LdAiClient,), {}, TypeError, "config is an AI Config .* not the class LdAiClient"),
        ((None,), {"nodes": {"writer": 5}}, TypeError, r"nodes\['writer'\] is an AI Config .* not int"),
        ((FLAG.get,), {"duration": "tokens"}, ValueError, 'duration is "model" or "run", not \'tokens\''),
        ((FLAG.get,), {"max_open_runs": 0}, ValueError, "max_open_runs is at least 1, not 0"),
        ((FLAG.get,), {"run_timeout": 0}, ValueError, "run_timeout is a number of seconds above 0, not 0"),
        ((FLAG.get,), {"run_timeout": float("nan")}, ValueError, "run_timeout .* not nan"),
    ],
)
def test_a_bad_argument_is_named_at_construction(arguments, options, error, message) -> None:
    """Each wrong argument raises at once, with its name, its value and what it may be."""
    with pytest.raises(error, match=message):
        LdAiHandler(*arguments, **options)


@pytest.mark.parametrize(("option", "value"), [("resume=True", True), ("run_ids", "root")])
def test_resuming_and_ids_of_ones_own_need_a_config_that_can(
    option: str, value: object, client: RecordingClient, context: Context
) -> None:
    """With an AI Config that has no `resume_tracker` such an option raises at construction."""
    official = LDAIClient(client).completion_config("support-bot", context)

    with pytest.raises(TypeError, match=f"{option} needs an AI Config with resume_tracker"):
        LdAiHandler(official, **{option.partition("=")[0]: value})


def test_a_token_in_the_metadata_continues_its_run(
    config: LdAiCompletionConfig, client: RecordingClient, reports: list[RunReport]
) -> None:
    """With `resume=True` a run given a token goes on under the token's run id, with metrics of its own."""
    handler = LdAiHandler(config, on_run_end=reports.append, resume=True)
    tracker = config.create_tracker()

    chain().invoke(
        QUESTION, {"callbacks": [handler], "metadata": {"ldai_resumption_token": tracker.resumption_token}}
    )

    assert reports[0].run_id == tracker.run_id
    assert client.metrics(tracker.run_id)[SUCCESS] == [1]


@pytest.mark.parametrize("token", ["nonsense", 5, None], ids=["unreadable", "not-a-string", "of-another-config"])
def test_a_token_that_does_not_fit_opens_a_new_run(
    token: object,
    ai: LdAiClient,
    config: LdAiCompletionConfig,
    context: Context,
    reports: list[RunReport],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A token that cannot be used is logged, and the run is a new one."""
    given = token or ai.completion_config("another", context).create_tracker().resumption_token
    handler = LdAiHandler(config, on_run_end=reports.append, resume=True)
    caplog.clear()

    chain().invoke(QUESTION, {"callbacks": [handler], "metadata": {"ldai_resumption_token": given}})

    (report,) = reports
    assert (report.config_key, report.run_id == str(report.root_run_id)) == ("support-bot", False)
    (record,) = caplog.records
    assert "a run is not continued, a new one opens" in record.message


def test_without_resume_nothing_in_the_metadata_looks_like_a_token(
    config: LdAiCompletionConfig, caplog: pytest.LogCaptureFixture
) -> None:
    """Only who continues runs is told of a misnamed token: others may call something else so."""
    handler = LdAiHandler(config, run_ids="root")

    chain().invoke(QUESTION, {"callbacks": [handler], "metadata": {"resumption_token": "mine"}})

    assert caplog.records == []


def test_without_resume_a_token_in_the_metadata_is_not_used(
    config: LdAiCompletionConfig, handler: LdAiHandler, reports: list[RunReport]
) -> None:
    """Tokens are taken only where the handler was told to trust its callers, however good they are."""
    before = config.create_tracker()

    for token in ("nonsense", before.resumption_token):
        chain().invoke(QUESTION, {"callbacks": [handler], "metadata": {"ldai_resumption_token": token}})

    assert len({before.run_id, *(report.run_id for report in reports)}) == 3


def test_what_happens_outside_every_named_node_counts_nowhere(
    track: Track, writer: LdAiCompletionConfig, reports: list[RunReport]
) -> None:
    """Models, tools and retries there are left alone where only nodes are tracked, and nothing is logged."""
    handler = track(None, nodes={"writer": writer})
    root = start_chain(handler)
    call_model(handler, start_chain(handler, root, langgraph_node="writer", langgraph_checkpoint_ns="writer:1"))
    answer = LLMResult(generations=[], llm_output={"model_name": "small-1"})

    for name in ({"ls_model_name": "small-1"}, {}):
        step = start_chain(handler, root, langgraph_node="rest", langgraph_checkpoint_ns="rest:2")
        call, tool = start_call(handler, step, **name), start_tool(handler, step)
        handler.on_retry(None, run_id=call)
        handler.on_llm_end(answer, run_id=call)
        handler.on_tool_end("", run_id=tool)
        handler.on_chain_error(ValueError(), run_id=step)
    handler.on_chain_end({}, run_id=root)

    (report,) = reports
    assert (report.model_calls, report.retries, report.models) == (0, 0, ())
    assert [(node, each.model_calls, each.retries) for node, each in report.nodes.items()] == [("writer", 1, 0)]


def test_nodes_are_those_that_were_given_when_the_handler_was_made(
    track: Track, writer: LdAiCompletionConfig, reports: list[RunReport]
) -> None:
    """What becomes of the caller's dictionary afterwards changes nothing."""
    nodes = {"writer": writer}
    handler = track(None, nodes=nodes)
    nodes.clear()

    root = start_chain(handler)
    call_model(handler, start_chain(handler, root, langgraph_node="writer"))
    handler.on_chain_end({}, run_id=root)

    assert [list(report.nodes) for report in reports] == [["writer"]]


def test_a_config_of_another_package_is_counted_under_an_id_of_its_own(
    client: RecordingClient, context: Context, reports: list[RunReport], caplog: pytest.LogCaptureFixture
) -> None:
    """Where a function gives one, `run_ids` and a token are left aside: its trackers take neither."""
    official = LDAIClient(client).completion_config("support-bot", context)
    token = official.create_tracker().resumption_token
    handler = LdAiHandler(lambda metadata: official, run_ids="root", resume=True, on_run_end=reports.append)

    chain().invoke(QUESTION, {"callbacks": [handler], "metadata": {"ldai_resumption_token": token}})

    (report,) = reports
    assert report.run_id not in ("", str(report.root_run_id))
    assert "ERROR" not in [record.levelname for record in caplog.records]
    assert counts(client, report.run_id)[SUCCESS] == [1]


def test_a_nodes_run_has_an_id_that_follows_from_its_runs_and_its_name(
    config: LdAiCompletionConfig, writer: LdAiCompletionConfig, reports: list[RunReport]
) -> None:
    """A server that repeats a run repeats the ids of its nodes, too, and each has one of its own."""
    nodes = {"writer": writer, "critic": writer}
    for _ in range(2):
        handler = LdAiHandler(config, nodes=nodes, run_ids=lambda metadata: "mine", on_run_end=reports.append)
        root = start_chain(handler)
        for node in nodes:
            call_model(handler, start_chain(handler, root, langgraph_node=node))
        handler.on_chain_end({}, run_id=root)

    first, again = ([report.run_id, *(node.run_id for node in report.nodes.values())] for report in reports)
    assert first == again
    assert len(set(first)) == 3
