"""Who may ask: SDKs with their key, browsers with a cookie, and pages of other sites never."""

from __future__ import annotations

import hashlib
import hmac
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE: Final = "langchain_ldai_dev"
OPEN_PATHS: Final = ("/login", "/static/page.css", "/favicon.ico")
_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def is_loopback(host: str) -> bool:
    """Whether a host's name or address is this machine's own."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def cookie_for(token: str) -> str:
    """Return what the cookie of a browser holds that knows the token."""
    return hmac.new(token.encode(), b"page", hashlib.sha256).hexdigest()


def is_token(given: str, token: str) -> bool:
    """Whether a token is the right one, in a time that tells nothing of it."""
    return hmac.compare_digest(given.encode(), token.encode())


class Guard:
    """Refuses those who may not ask, and forbids pages to load anything from elsewhere.

    Args:
        app: What answers the others.
        token: What SDKs send as their key and browsers are asked for; "" for a server on loopback.
    """

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or have it answered."""

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        headers = Headers(scope=scope)
        await (self._refusal(scope, headers) or self._app)(scope, receive, send_guarded)

    def _refusal(self, scope: Scope, headers: Headers) -> ASGIApp | None:
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin") and scope["method"] != "GET":
            return PlainTextResponse("a page of another site may not change anything here", 403)
        if not self._token:
            # A name of another site that was made to lead here would let that site's pages read ours.
            try:
                host = urlsplit(f"//{headers.get('host', '')}").hostname or ""
            except ValueError:  # as for "[::1"
                host = ""
            return (
                None
                if is_loopback(host)
                else PlainTextResponse(f"{host!r} is not this machine; use 127.0.0.1", 421)
            )
        if scope["path"] in OPEN_PATHS or self._knows_token(scope, headers):
            return None
        if scope["path"] == "/" and scope["method"] == "GET":
            return RedirectResponse("/login", 303)
        return PlainTextResponse("the token is missing or wrong; send it as the SDK key", 401)

    def _knows_token(self, scope: Scope, headers: Headers) -> bool:
        cookie = HTTPConnection(scope).cookies.get(COOKIE, "")
        given = headers.get("authorization", "")
        return is_token(given, self._token) or is_token(cookie, cookie_for(self._token))
