"""The application of the recipe, with a page that asks and clicks by itself, and has loaded once that is done."""

import asyncio
from typing import Annotated

from fastapi import Cookie
from fastapi.responses import HTMLResponse

from chat_page import app, page

VISITOR_ASKS_AND_CLICKS = """
<img src="/until-done" alt="">
<script>
  const until = async (isTrue) => {
    while (!isTrue()) await new Promise((goOn) => setTimeout(goOn, 20));
  };
  (async () => {
    get("ask").requestSubmit();
    await until(() => !get("thumbs").hidden);
    thumbs[0].click();
    thumbs[1].click();
    await until(() => get("said").textContent);
    await post("/done", null);
  })();
</script>
"""

is_done = asyncio.Event()


@app.get("/driven")
def driven(visitor: Annotated[str | None, Cookie()] = None) -> HTMLResponse:
    """Show the recipe's page to a visitor who asks, and clicks both thumbs."""
    response = page(visitor)
    response.body += VISITOR_ASKS_AND_CLICKS.encode()
    response.headers["Content-Length"] = str(len(response.body))
    return response


@app.post("/done")
async def done() -> None:
    """Let the page finish loading."""
    is_done.set()


@app.get("/until-done")
async def until_done() -> None:
    """Answer once the visitor has done everything, so that the browser waits for that."""
    await is_done.wait()
