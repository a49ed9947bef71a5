"""The clients that evaluate AI Configs and resume runs, over the synchronous and asynchronous `ldclient`."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterable
from functools import partial
from typing import Final, Protocol, Self

from ldclient import Context

from langchain_ldai._base.options import given_as, is_async
from langchain_ldai._configs.client_options import ClientOptions, EventDelivery
from langchain_ldai._configs.evaluation import (
    AGENT,
    AGENT_TEMPLATE,
    COMPLETION,
    COMPLETION_TEMPLATE,
    JUDGE,
    JUDGE_TEMPLATE,
    AiClient,
    AnswerT,
    Evaluation,
    LdAiAgentConfigRequest,
    Variables,
)
from langchain_ldai._configs.graph import LdAiAgentGraph, with_nodes
from langchain_ldai._configs.payload import (
    LdAiAgentConfigDefault,
    LdAiCompletionConfigDefault,
    LdAiJudgeConfigDefault,
)
from langchain_ldai._configs.sending import EventSink, LoopSink
from langchain_ldai._configs.types import LdAiAgentConfig, LdAiCompletionConfig, LdAiJudgeConfig
from langchain_ldai._tracking.sending import EventSender, track_each
from langchain_ldai.ledgers._protocol import Ledger, OnLedgerError, wait_for_all

LEAVING_SECONDS: Final = 5.0
"""How long the end of a client's `with` block waits for its ledger."""


class FlagClient(EventSink, Protocol):
    """What `LdAiClient` needs of a client; `ldclient.LDClient` has it, and `testing.RecordingClient`."""

    def variation(self, key: str, context: Context, default: object) -> object: ...


class AsyncFlagClient(EventSink, Protocol):
    """What `AsyncLdAiClient` needs of a client; `ldclient.AsyncLDClient` has it."""

    async def variation(self, key: str, context: Context, default: object) -> object: ...


class LdAiClient(AiClient):
    """Evaluates AI Configs with a synchronous LaunchDarkly client.

    In a `with` statement, the end of the block does what `close(5)` does.

    Args:
        client: An `ldclient.LDClient`, or anything with its `variation` and `track`. It stays yours: close it
            after the last run, so that it delivers the events in its buffer.
        ledger: Where trackers claim each metric before they send it. Several trackers can resume one run, in any
            process; with a ledger that they share they record each metric once among them.
        on_ledger_error: What becomes of a metric whose claim could not be made in time: "drop", which is the
            default, or "send".
        ledger_timeout: Seconds for which a claim is attempted while the ledger cannot be reached, 60 by default.
        delivery: Takes the events of each run at once, in the place of the client's `track`, and keeps a metric
            together with its claim until the ledger has answered. Give the object that is also the
            `event_processor_class` of the client's configuration. `on_ledger_error` and `ledger_timeout` are of no
            use beside it.
        environment_id: LaunchDarkly's id of the environment, which events then carry. Without it, the environment
            variable `LD_ENVIRONMENT_ID` says it, else LaunchDarkly's client does.

    Raises:
        TypeError: If the client is asynchronous or is no client, the ledger is no ledger, or an option is of
            another type.
        ValueError: If an option has a value it cannot have, if `delivery` is given together with
            `on_ledger_error` or `ledger_timeout`, or if it is not that of the client.

    Example:
        `RecordingClient` stands in for `ldclient.LDClient(Config(sdk_key))` here.

        >>> from langchain_ldai.testing import RecordingClient
        >>> with LdAiClient(RecordingClient(flags)) as ai:
        ...     config = ai.completion_config("support-bot", Context.create("user-1"))
        >>> config.model.name
        'gpt-4.1-mini'
    """

    def __init__(
        self,
        client: FlagClient,
        *,
        ledger: Ledger | None = None,
        on_ledger_error: OnLedgerError | None = None,
        ledger_timeout: float | None = None,
        delivery: EventDelivery | None = None,
        environment_id: str | None = None,
    ) -> None:
        _check_client(client, "LDClient")
        if is_async(client.variation):
            raise TypeError(f"{type(client).__name__} is asynchronous: use AsyncLdAiClient")
        options = ClientOptions(ledger, on_ledger_error, ledger_timeout, delivery, environment_id)
        super().__init__(client, client.track, partial(track_each, client.track), options)
        self._flags = client

    def close(self, timeout: float | None = None) -> bool:
        """Wait for the claims that are on their way to a ledger, those of feedback routes too.

        Call it before you close the LaunchDarkly client.

        Args:
            timeout: Seconds to wait at most; `None` for no limit.

        Returns:
            Whether no claim is left.

        Example:
            >>> ai.close(timeout=5)
            True
        """
        return wait_for_all(self._all_claims, timeout)

    def completion_config(
        self,
        key: str,
        context: Context,
        default: LdAiCompletionConfigDefault | None = None,
        variables: Variables = None,
    ) -> LdAiCompletionConfig:
        """Return the completion config that LaunchDarkly serves for a key and a context.

        Args:
            key: Key of the AI Config.
            context: Whom it is for; a template reaches its attributes as `{{ldctx.name}}`.
            default: What to use where LaunchDarkly serves no completion config; without one, a disabled
                config.
            variables: Values for the mustache tags in the messages.

        Raises:
            TypeError: If the key is not a string, the context is no `Context`, or the default of another kind.
            ValueError: If LaunchDarkly can have no such key, or a variable contains itself.

        Example:
            >>> config = ai.completion_config("support-bot", context, variables={"product": "the kettle"})
            >>> config.messages[0].content
            'You help Sandy with the kettle.'
        """
        return self._evaluate(self._counted_evaluation(COMPLETION, key, context, default, variables))

    def completion_config_template(
        self, key: str, context: Context, default: LdAiCompletionConfigDefault | None = None
    ) -> LdAiCompletionConfig:
        """Return the completion config with its mustache tags as they are; see `completion_config`.

        Example:
            >>> ai.completion_config_template("support-bot", context).messages[0].content
            'You help {{ldctx.name}} with {{product}}.'
        """
        return self._evaluate(self._counted_evaluation(COMPLETION_TEMPLATE, key, context, default))

    def agent_config(
        self,
        key: str,
        context: Context,
        default: LdAiAgentConfigDefault | None = None,
        variables: Variables = None,
    ) -> LdAiAgentConfig:
        """Return an agent's config with its instructions filled in; see `completion_config`.

        Example:
            >>> ai.agent_config("refunds", context, variables={"limit": 50}).instructions
            'Refund up to 50 euros.'
        """
        return self._evaluate(self._counted_evaluation(AGENT, key, context, default, variables))

    def agent_config_template(
        self, key: str, context: Context, default: LdAiAgentConfigDefault | None = None
    ) -> LdAiAgentConfig:
        """Return an agent's config with its mustache tags as they are; see `completion_config`.

        Example:
            >>> ai.agent_config_template("refunds", context).instructions
            'Refund up to {{limit}} euros.'
        """
        return self._evaluate(self._counted_evaluation(AGENT_TEMPLATE, key, context, default))

    def agent_configs(
        self, requests: Iterable[str | LdAiAgentConfigRequest], context: Context
    ) -> dict[str, LdAiAgentConfig]:
        """Return several agents' configs by key.

        Args:
            requests: Keys, or requests with a default and variables of their own.
            context: Whom they are for.

        Raises:
            TypeError: If `requests` is one text, or as `completion_config` does.
            ValueError: As `completion_config` does.

        Example:
            >>> agents = ai.agent_configs(["triage", "refunds"], context)
            >>> agents["triage"].instructions
            'Find out who can help.'
        """
        return {call.key: self._evaluate(call) for call in self._agent_evaluations(requests, context)}

    def agent_graph(self, key: str, context: Context, variables: Variables = None) -> LdAiAgentGraph:
        """Return an agent graph with its nodes' configs.

        Where the graph's own flag disables it, no config is evaluated.

        Args:
            key: Key of the agent graph.
            context: Whom it is for.
            variables: Values for the mustache tags in the nodes' instructions.

        Raises:
            TypeError: As `completion_config` does.
            ValueError: As `completion_config` does.

        Example:
            >>> graph = ai.agent_graph("desk", context)
            >>> graph.root, graph.children("triage")
            ('triage', ('refunds',))
        """
        graph, nodes = self._evaluate(self._graph_evaluation(key, context, variables))
        return with_nodes(graph, {call.key: self._evaluate(call) for call in nodes})

    def judge_config(
        self,
        key: str,
        context: Context,
        default: LdAiJudgeConfigDefault | None = None,
        variables: Variables = None,
    ) -> LdAiJudgeConfig:
        """Return a judge's config; see `completion_config`.

        The variables `message_history` and `response_to_evaluate` are reserved: their placeholders stay in the
        messages. Do not fill them in there, where the value of another variable may look like a placeholder. Take
        the messages of `config.raw`, which hold no values yet.

        Example:
            >>> judge = ai.judge_config("relevance", context)
            >>> judge.evaluation_metric_key, judge.messages[0].content
            ('relevance-score', 'Rate {{response_to_evaluate}} for Sandy.')
        """
        return self._evaluate(self._counted_evaluation(JUDGE, key, context, default, variables))

    def judge_config_template(
        self, key: str, context: Context, default: LdAiJudgeConfigDefault | None = None
    ) -> LdAiJudgeConfig:
        """Return a judge's config with its mustache tags as they are; see `completion_config`.

        Example:
            >>> ai.judge_config_template("relevance", context).messages[0].content
            'Rate {{response_to_evaluate}} for {{ldctx.name}}.'
        """
        return self._evaluate(self._counted_evaluation(JUDGE_TEMPLATE, key, context, default))

    def _evaluate(self, call: Evaluation[AnswerT]) -> AnswerT:
        value = self._flags.variation(call.key, call.context, call.fallback)
        if value is call.fallback:
            self._nothing_served(call, self._diagnosis.ask_whether_initialized())
        return call.read(value)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._tell_if_left_early(self.close(LEAVING_SECONDS))


class AsyncLdAiClient(AiClient):
    """Evaluates AI Configs with an asynchronous LaunchDarkly client; see `LdAiClient` for each method.

    In an `async with` statement, the end of the block does what `close(5)` does.

    Args:
        client: An `ldclient.AsyncLDClient`, or anything with its `variation` and `track`. It stays yours: close it
            after the last run, so that it delivers the events in its buffer.
        ledger: See `LdAiClient`.
        on_ledger_error: See `LdAiClient`.
        ledger_timeout: See `LdAiClient`.
        delivery: See `LdAiClient`.
        environment_id: See `LdAiClient`.

    Raises:
        TypeError: If the client is synchronous or is no client, the ledger is no ledger, or an option is of
            another type.
        ValueError: See `LdAiClient`.

    Example:
        `AsyncRecordingClient` stands in for `ldclient.AsyncLDClient(Config(sdk_key))` here.

        >>> from langchain_ldai.testing import AsyncRecordingClient
        >>> async def main() -> str:
        ...     async with AsyncLdAiClient(AsyncRecordingClient(flags)) as ai:
        ...         config = await ai.completion_config("support-bot", Context.create("user-1"))
        ...     return config.model.name
        >>> asyncio.run(main())
        'gpt-4.1-mini'
    """

    def __init__(
        self,
        client: AsyncFlagClient,
        *,
        ledger: Ledger | None = None,
        on_ledger_error: OnLedgerError | None = None,
        ledger_timeout: float | None = None,
        delivery: EventDelivery | None = None,
        environment_id: str | None = None,
    ) -> None:
        _check_client(client, "AsyncLDClient")
        if not is_async(client.variation) and not is_async(inspect.unwrap(client.variation)):
            raise TypeError(f"{type(client).__name__} is synchronous: use LdAiClient, or give an AsyncLDClient")
        options = ClientOptions(ledger, on_ledger_error, ledger_timeout, delivery, environment_id)
        self._events = LoopSink(client)
        super().__init__(client, self._events.track, self._events.send_all, options)
        self._events.on_ended_loop = self._diagnosis.of_ended_loop
        self._flags = client

    def _sender(self, context: Context) -> EventSender:
        self._events.note_loop()
        return super()._sender(context)

    async def close(self, timeout: float | None = None) -> bool:  # noqa: ASYNC109  as the synchronous one has it
        """Wait for the claims that are on their way to a ledger; see `LdAiClient.close`.

        Example:
            >>> asyncio.run(ai.close(timeout=5))
            True
        """
        return await asyncio.to_thread(wait_for_all, self._all_claims, timeout)

    async def completion_config(
        self,
        key: str,
        context: Context,
        default: LdAiCompletionConfigDefault | None = None,
        variables: Variables = None,
    ) -> LdAiCompletionConfig:
        """Return a completion config; see `LdAiClient.completion_config`.

        Example:
            >>> config = asyncio.run(ai.completion_config("support-bot", context, variables={"product": "tea"}))
            >>> config.messages[0].content
            'You help Sandy with tea.'
        """
        return await self._evaluate(self._counted_evaluation(COMPLETION, key, context, default, variables))

    async def completion_config_template(
        self, key: str, context: Context, default: LdAiCompletionConfigDefault | None = None
    ) -> LdAiCompletionConfig:
        """Return a completion config with its tags as they are; see `LdAiClient.completion_config_template`.

        Example:
            >>> asyncio.run(ai.completion_config_template("support-bot", context)).messages[0].content
            'You help {{ldctx.name}} with {{product}}.'
        """
        return await self._evaluate(self._counted_evaluation(COMPLETION_TEMPLATE, key, context, default))

    async def agent_config(
        self,
        key: str,
        context: Context,
        default: LdAiAgentConfigDefault | None = None,
        variables: Variables = None,
    ) -> LdAiAgentConfig:
        """Return an agent's config; see `LdAiClient.agent_config`.

        Example:
            >>> asyncio.run(ai.agent_config("refunds", context, variables={"limit": 50})).instructions
            'Refund up to 50 euros.'
        """
        return await self._evaluate(self._counted_evaluation(AGENT, key, context, default, variables))

    async def agent_config_template(
        self, key: str, context: Context, default: LdAiAgentConfigDefault | None = None
    ) -> LdAiAgentConfig:
        """Return an agent's config with its mustache tags as they are; see `LdAiClient.agent_config_template`.

        Example:
            >>> asyncio.run(ai.agent_config_template("refunds", context)).instructions
            'Refund up to {{limit}} euros.'
        """
        return await self._evaluate(self._counted_evaluation(AGENT_TEMPLATE, key, context, default))

    async def agent_configs(
        self, requests: Iterable[str | LdAiAgentConfigRequest], context: Context
    ) -> dict[str, LdAiAgentConfig]:
        """Return several agents' configs by key; see `LdAiClient.agent_configs`.

        Example:
            >>> list(asyncio.run(ai.agent_configs(["triage", "refunds"], context)))
            ['triage', 'refunds']
        """
        return {call.key: await self._evaluate(call) for call in self._agent_evaluations(requests, context)}

    async def agent_graph(self, key: str, context: Context, variables: Variables = None) -> LdAiAgentGraph:
        """Return an agent graph with its nodes' configs; see `LdAiClient.agent_graph`.

        Example:
            >>> asyncio.run(ai.agent_graph("desk", context)).root
            'triage'
        """
        graph, nodes = await self._evaluate(self._graph_evaluation(key, context, variables))
        return with_nodes(graph, {call.key: await self._evaluate(call) for call in nodes})

    async def judge_config(
        self,
        key: str,
        context: Context,
        default: LdAiJudgeConfigDefault | None = None,
        variables: Variables = None,
    ) -> LdAiJudgeConfig:
        """Return a judge's config; see `LdAiClient.judge_config`.

        Example:
            >>> asyncio.run(ai.judge_config("relevance", context)).messages[0].content
            'Rate {{response_to_evaluate}} for Sandy.'
        """
        return await self._evaluate(self._counted_evaluation(JUDGE, key, context, default, variables))

    async def judge_config_template(
        self, key: str, context: Context, default: LdAiJudgeConfigDefault | None = None
    ) -> LdAiJudgeConfig:
        """Return a judge's config with its mustache tags as they are; see `LdAiClient.judge_config_template`.

        Example:
            >>> asyncio.run(ai.judge_config_template("relevance", context)).messages[0].content
            'Rate {{response_to_evaluate}} for {{ldctx.name}}.'
        """
        return await self._evaluate(self._counted_evaluation(JUDGE_TEMPLATE, key, context, default))

    async def _evaluate(self, call: Evaluation[AnswerT]) -> AnswerT:
        value = await self._flags.variation(call.key, call.context, call.fallback)
        if value is call.fallback:
            is_initialized = self._diagnosis.ask_whether_initialized()
            if inspect.isawaitable(is_initialized):
                is_initialized = await is_initialized
            self._nothing_served(call, is_initialized)
        return call.read(value)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        self._tell_if_left_early(await self.close(LEAVING_SECONDS))


def _check_client(client: object, expected: str) -> None:
    given = given_as(client)
    has_methods = all(callable(getattr(client, name, None)) for name in ("variation", "track"))
    if isinstance(client, type) or not has_methods:
        kind = expected.removesuffix("LDClient")  # "" or "Async"
        remedy = f"{kind}LdAiClient({expected}({kind}Config(sdk_key)))"
        raise TypeError(
            f"a client is an ldclient.{expected}, or has its variation() and track(), not {given}: {remedy}"
        )
    if is_async(getattr(client, "track", None)):
        raise TypeError(f"a client's track() delivers at once; that of {given} would never be awaited")
