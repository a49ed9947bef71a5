"""The page, and what it asks for."""

from __future__ import annotations

import asyncio
import json
import time
from functools import partial
from typing import Final
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import (
    FileResponse,
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from langchain_ldai._wire import events
from langchain_ldai.dev import comparison, exports, queries, view
from langchain_ldai.dev.access import COOKIE, cookie_for, is_token
from langchain_ldai.dev.figures import Variation, figures
from langchain_ldai.dev.page_files import STATIC, lines_to_add
from langchain_ldai.dev.queries import Filter
from langchain_ldai.dev.report import KINDS, report
from langchain_ldai.dev.served_configs import ServedConfigs
from langchain_ldai.dev.store import Store
from langchain_ldai.dev.subscribers import Subscribers
from langchain_ldai.dev.tallies import MINUTE

_FEEDBACK: Final = {"positive": events.FEEDBACK_POSITIVE, "negative": events.FEEDBACK_NEGATIVE}
_LISTED_RUNS: Final = 50
_LONGEST_FORM: Final = 10_000
_MOST_DIGITS: Final = 18


class PageRoutes:
    """Serves the page.

    Args:
        configs: What is served, for the lines to paste and for what is wrong with the file.
        store: Where runs are.
        token: What browsers are asked for, "" where they are not.
    """

    def __init__(self, configs: ServedConfigs, store: Store, token: str) -> None:
        self.streams: Subscribers = Subscribers(b": still here\n\n", latest_only=True)
        self._configs = configs
        self._store = store
        self._token = token

    def routes(self) -> list[Route | Mount]:
        """Return the routes."""
        return [
            Route("/", self._page),
            Route("/favicon.ico", self._no_icon),
            Route("/login", self._login, methods=["GET", "POST"]),
            Route("/view", self._view),
            Route("/runs/{number}", self._run),
            Route("/runs/{number}/feedback", self._feedback, methods=["POST"]),
            Route("/news", self._news),
            Route("/runs.csv", partial(self._export, exports.as_csv, "text/csv")),
            Route("/runs.json", partial(self._export, exports.as_json_lines, "application/json")),
            Route("/comparison.json", self._comparison),
            Route("/report", self._report),
            Mount("/static", StaticFiles(directory=STATIC)),
        ]

    def tell(self, news: str) -> None:
        """Tell open pages what there is to look at again."""
        self.streams.publish(f"data: {news}\n\n".encode())

    async def _page(self, request: Request) -> Response:
        return FileResponse(STATIC / "page.html")

    async def _no_icon(self, request: Request) -> Response:
        return Response(status_code=204)

    async def _login(self, request: Request) -> Response:
        page = (STATIC / "login.html").read_text("utf-8")
        if request.method == "GET":
            return HTMLResponse(page.replace("{{problem}}", ""))
        given = parse_qs((await _start_of_body(request)).decode("utf-8", "replace")).get("token", [""])[0]
        if not is_token(given, self._token):
            return HTMLResponse(page.replace("{{problem}}", "This is not the token."), 401)
        answer = RedirectResponse("/", 303)
        answer.set_cookie(COOKIE, cookie_for(self._token), httponly=True, samesite="strict")
        return answer

    async def _view(self, request: Request) -> Response:
        wanted = _filter(request)
        shown = await asyncio.to_thread(self._shown, wanted, request.query_params.get("compare_to", ""))
        if not shown["configs"]:
            url = str(request.base_url).rstrip("/")
            shown["empty"] = lines_to_add(url, self._configs.modes, needs_token=bool(self._token))
        return JSONResponse({**shown, "problem": self._configs.problem or self._store.problem})

    def _shown(self, wanted: Filter, compare_to: str) -> dict[str, object]:
        configs = queries.configs(self._store)
        if configs and wanted.config not in configs:
            wanted = Filter(queries.newest_config(self._store), "", wanted.outcome, wanted.since)
        found = figures(self._store, wanted, queries.MOST_SHOWN, compare_to or None)
        compared = compared_to(found, compare_to)  # the first is the one that the others are compared with
        return {
            "configs": configs,
            "config": wanted.config,
            "variations": queries.variations_of(self._store, wanted.config) if configs else [],
            "heading": queries.heading(self._store, wanted.config) if configs else "",
            "compare_to": compared[0].name if compared else "",
            "figures": view.comparison(compared),
            "runs": view.run_list(queries.latest_runs(self._store, wanted, _LISTED_RUNS)),
        }

    async def _run(self, request: Request) -> Response:
        found = await asyncio.to_thread(queries.run_with_metrics, self._store, _number(request))
        if found is None:
            return PlainTextResponse("there is no such run; it may have made room for newer ones", 404)
        return HTMLResponse(view.run_details(*found))

    async def _feedback(self, request: Request) -> Response:
        try:
            name = _FEEDBACK[json.loads(await _start_of_body(request))["kind"]]
        except (ValueError, TypeError, KeyError, RecursionError):
            return PlainTextResponse('send {"kind": "positive"} or {"kind": "negative"}', 400)
        try:
            first = await asyncio.to_thread(self._store.add_feedback, _number(request), name)
        except KeyError:
            return PlainTextResponse("there is no such run", 404)
        return Response(status_code=202) if first else PlainTextResponse("the run has feedback already", 409)

    async def _news(self, request: Request) -> Response:
        return StreamingResponse(self.streams.news(b"data: start\n\n"), media_type="text/event-stream")

    async def _export(self, written: exports.Form, media_type: str, request: Request) -> Response:
        wanted = _filter(request)
        judges = comparison.judge_names(await asyncio.to_thread(queries.judges, self._store, wanted))
        lines = written(queries.all_runs(self._store, wanted), judges)
        return StreamingResponse(
            exports.in_blocks(lines), media_type=media_type, headers=_file(request.url.path[1:])
        )

    async def _comparison(self, request: Request) -> Response:
        wanted, compare_to = _filter(request), request.query_params.get("compare_to", "")
        return await asyncio.to_thread(self._compared, wanted, compare_to)

    def _compared(self, wanted: Filter, compare_to: str) -> Response:
        variations = comparison.as_json(compared_to(figures(self._store, wanted), compare_to))
        return JSONResponse({"config": wanted.config, "variations": variations})

    async def _report(self, request: Request) -> Response:
        kind = request.query_params.get("format", "text")
        if kind not in KINDS:
            return PlainTextResponse(f"the format is none of {', '.join(KINDS)}", 400)
        text = await asyncio.to_thread(report, self._store, kind, _filter(request))
        return PlainTextResponse(text, headers=_file(f"report.{'txt' if kind == 'text' else kind}"))


def compared_to(variations: list[Variation], first: str) -> list[Variation]:
    """Return the variations with the one that the others are compared with first."""
    return sorted(variations, key=lambda variation: variation.name != first)


def _number(request: Request) -> int:
    """Return the number of the run that is asked for; none has 0, or one that SQLite cannot hold."""
    given = request.path_params["number"]
    return int(given) if given.isdecimal() and len(given) <= _MOST_DIGITS else 0


async def _start_of_body(request: Request) -> bytes:
    """Return a form's body; one that is far too long comes back cut off."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > _LONGEST_FORM:
            break
    return body[:_LONGEST_FORM]


def _filter(request: Request) -> Filter:
    """Return the filter that a request's query names; what is no number, or unknown, filters nothing."""
    given = request.query_params
    minutes, outcome = given.get("minutes", ""), given.get("outcome", "")
    ago = int(minutes[:9]) if minutes.isdecimal() else 0
    since = max(int(time.time()) // 60 - ago, 0) * MINUTE if ago else 0
    known = outcome if outcome in queries.OUTCOMES else ""
    return Filter(given.get("config", ""), given.get("variation", ""), known, since)


def _file(name: str) -> dict[str, str]:
    return {"Content-Disposition": f'attachment; filename="{name}"'}
