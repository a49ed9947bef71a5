"""The pages hold together: what they link to exists, and every public name and every page has its place."""

import importlib
import inspect
import pkgutil
import re
import runpy
from pathlib import Path
from typing import Final

import pytest

import langchain_ldai
from tests.docs.blocks import PAGES, ROOT

DOCS: Final = ROOT / "docs"
OF_THE_CLIENT: Final = "giving up permanently"
NOT_IN_ALL: Final = (
    "langchain_ldai.errors.LedgerUnavailableError",
    "langchain_ldai.ledgers.redis.RedisLedger",
    "langchain_ldai.sealing.TokenSealer",
)


def public_names() -> list[str]:
    """Return the names in the `__all__` of each module that is not private."""
    modules = [module.name for module in pkgutil.walk_packages(langchain_ldai.__path__, "langchain_ldai.")]
    public = ["langchain_ldai", *(name for name in modules if "._" not in name)]
    return [f"{name}.{each}" for name in public for each in getattr(importlib.import_module(name), "__all__", ())]


def prose(path: Path) -> str:
    """Return a page's text without its blocks of code."""
    return re.sub(r"^```.*?^```$", "", path.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)


def slug(heading: str) -> str:
    """Return the anchor of a heading, as the site and a repository's viewer make it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def anchors(path: Path) -> set[str]:
    """Return the anchors of a page's headings."""
    return {slug(heading) for heading in re.findall(r"^#+ (.+)$", prose(path), re.MULTILINE)}


def links(path: Path) -> list[str]:
    """Return the links and pictures of a page that do not lead to other sites."""
    found = re.findall(r"\]\(([^)\s]+)\)", prose(path))
    return [target for target in found if not re.match(r"[a-z]+:", target)]


def is_broken(path: Path, link: str) -> bool:
    """Return whether a link leads to no file, or to no heading of it."""
    name, _, anchor = link.partition("#")
    target = (path.parent / name).resolve() if name else path
    return not target.is_file() or bool(anchor and anchor not in anchors(target))


@pytest.mark.parametrize("path", PAGES.values(), ids=PAGES)
def test_a_pages_links_lead_somewhere(path: Path) -> None:
    """Each link within the repository leads to a file, and to a heading where it names one."""
    assert [link for link in links(path) if is_broken(path, link)] == []


def test_the_programs_that_pages_name_exist() -> None:
    """A program of the cookbook that is renamed takes its name on the pages along."""
    text = "".join(path.read_text("utf-8") for path in PAGES.values())
    named = set(re.findall(r"`cookbook/([\w/]+\.(?:py|ipynb))`", text))
    listed = set(re.findall(r"`(\w+\.(?:py|ipynb))`", (DOCS / "how-to" / "index.md").read_text("utf-8")))

    assert named
    assert listed
    assert [name for name in sorted(named | listed) if not (ROOT / "cookbook" / name).is_file()] == []


def test_each_public_name_is_in_the_reference_once() -> None:
    """A public name that no page explains is not public."""
    pages = "".join(path.read_text("utf-8") for path in (DOCS / "api").glob("*.md"))

    explained = re.findall(r"^\.\. auto(?:class|function|exception):: (\S+)$", pages, re.MULTILINE)

    assert sorted(explained) == sorted([*public_names(), *NOT_IN_ALL])


def test_the_reference_shows_no_arguments_that_only_the_package_gives() -> None:
    """What a client makes is described without its signature, which nobody calls."""
    hide = runpy.run_path(str(DOCS / "conf.py"))["hide_signature"]
    public = [getattr(langchain_ldai, name) for name in langchain_ldai.__all__]
    classes = [item for item in public if isinstance(item, type) and not issubclass(item, Exception)]

    signatures = [str(inspect.signature(item)) for item in classes]
    shown = [text for text in signatures if hide(None, "class", "", None, None, text, None) is None]

    assert 0 < len(shown) < len(signatures)
    assert [text for text in shown if re.search(r"[(,] ?_[a-z]", text)] == []


def test_each_page_is_in_a_list_of_pages() -> None:
    """A page that no list of pages has is on no menu."""
    listed = {
        (path.parent / entry).with_suffix(".md")
        for path in DOCS.rglob("*.md")
        for toctree in re.findall(r"```\{toctree\}\n(.*?)```", path.read_text("utf-8"), re.DOTALL)
        for entry in toctree.split("\n")
        if entry and not entry.startswith(":")
    }

    assert sorted({DOCS / "index.md", *listed}) == sorted(DOCS.rglob("*.md"))


def test_language_models_are_told_of_each_page() -> None:
    """`llms.txt` names each page once, by its address on the site, and with its title."""
    told = re.findall(r"^- \[(.+)\]\((\S+)\.html\): .+$", (DOCS / "llms.txt").read_text("utf-8"), re.MULTILINE)
    pages = [path for path in DOCS.rglob("*.md") if path.name != "index.md"]

    titles = {page.relative_to(DOCS).with_suffix("").as_posix(): page.read_text("utf-8") for page in pages}

    assert sorted(name for _, name in told) == sorted(titles)
    assert [name for title, name in told if not titles[name].startswith(f"# {title}\n")] == []


def test_the_page_of_costs_shows_the_benchmarks_figures() -> None:
    """The table of costs is the one that `make bench` wrote last."""
    measured = (ROOT / "benchmarks" / "results.md").read_text("utf-8").rstrip()

    assert measured in (DOCS / "costs.md").read_text("utf-8")


def test_what_troubleshooting_quotes_from_the_log_is_logged() -> None:
    """A message that is reworded is reworded on the page too."""
    sources = "".join(path.read_text("utf-8") for path in (ROOT / "langchain_ldai").rglob("*.py"))
    said = re.sub(r'"\n\s*f?"', "", sources)
    # The page itself checks what it quotes from errors.
    page, _, _ = prose(DOCS / "troubleshooting.md").partition("## What an error means")
    rows = re.findall(r"^\|(.+)\|$", page, re.MULTILINE)
    quoted = [quote for row in rows for quote in re.findall(r"`([^`]+)`", row) if re.search(r"\w \w+ \w", quote)]

    parts = [part.strip(" :',") for quote in quoted for part in re.split(r"'?\.\.\.'?", quote)]

    assert len(parts) > 15
    assert [part for part in parts if part not in said and part not in OF_THE_CLIENT] == []


def test_a_pages_script_is_one_that_a_browser_runs() -> None:
    """The lines that read a stream on the page about FastAPI are those of the recipe, which a browser tries."""
    page, recipe = DOCS / "how-to" / "fastapi.md", ROOT / "cookbook" / "chat_page.html"

    (script,) = re.findall(r"^```js\n(.*?)^```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)

    assert script in recipe.read_text("utf-8")
