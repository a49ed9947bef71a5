"""A YAML or JSON file, with the line of each field, so that an error can name both."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, NoReturn, cast

import yaml

from langchain_ldai.dev.errors import DevError

MAX_BYTES: Final = 1 << 20
MAX_DEPTH: Final = 50
MAX_FIELDS: Final = 100_000

_HALF_CHARACTER: Final = re.compile("[\ud800-\udfff]")
"""What an escape can write, but no server can send."""

FieldPath = tuple[str | int, ...]


class ConfigsFileError(DevError):
    """The file cannot be served; the message names the line, the field and the remedy."""


class Section:
    """A mapping of the file.

    Args:
        file: Name of the file, for messages.
        value: The mapping.
        path: Where in the file it is.
        lines: The line of each field.
    """

    def __init__(self, file: str, value: object, path: FieldPath, lines: Mapping[FieldPath, int]) -> None:
        self._file = file
        self._path = path
        self._lines = lines
        if not isinstance(value, dict):
            self.fail(f"is {shown(value)}; write fields below it, each as `name: value`")
        self.fields: dict[str, object] = cast(dict[str, object], value)

    def __contains__(self, field: str) -> bool:
        return field in self.fields

    def __iter__(self) -> Iterator[str]:
        return iter(self.fields)

    def fail(self, problem: str, *below: str | int) -> NoReturn:
        """Raise an error that names the line and the field.

        Args:
            problem: What is wrong, and what to write instead.
            below: The field's path below this section.
        """
        path = (*self._path, *below)
        line = next(self._lines[path[:end]] for end in range(len(path), -1, -1) if path[:end] in self._lines)
        raise ConfigsFileError(f"{self._file}, line {line}: {_dotted(path) or 'the file'} {problem}")

    def section(self, field: str) -> Section:
        """Return a field that is a mapping."""
        return Section(self._file, self.fields[field], (*self._path, field), self._lines)

    def sections(self, field: str) -> Iterator[Section]:
        """Yield the mappings of a field that is a list of them; where it is absent, none."""
        for number, value in enumerate(self.items(field)):
            yield Section(self._file, value, (*self._path, field, number), self._lines)

    def allow(self, *fields: str) -> None:
        """Refuse any field that is none of these."""
        for field in self:
            if field not in fields:
                self.fail(f"is no field; there are {', '.join(fields)}", field)

    def text(self, field: str, default: str = "") -> str:
        """Return a field that is text and not empty; where it is absent, the default."""
        value = self.fields.get(field, default)
        if not isinstance(value, str) or not value.strip():
            self.fail(f"is {shown(value)}; write a text, in quotes if need be", field)
        return value

    def whole(self, field: str, default: int) -> int:
        """Return a field that is a whole number from 0 up; where it is absent, the default."""
        value = self.fields.get(field, default)
        if type(value) is not int or value < 0:
            self.fail(f"is {shown(value)}; write a whole number from 0 up", field)
        return value

    def flag(self, field: str, default: bool) -> bool:
        """Return a field that is true or false; where it is absent, the default."""
        value = self.fields.get(field, default)
        if not isinstance(value, bool):
            self.fail(f"is {shown(value)}; write true or false", field)
        return value

    def items(self, field: str) -> list[object]:
        """Return a field that is a list; where it is absent, an empty one."""
        value = self.fields.get(field, [])
        if not isinstance(value, list):
            self.fail(f"is {shown(value)}; write a list, each entry as `- entry`", field)
        return value


def _dotted(path: FieldPath) -> str:
    return ".".join(map(str, path))


def shown(value: object) -> str:
    """Return a value as a message shows it."""
    if value is None:
        return "empty"
    if isinstance(value, dict | list):
        return "a list" if isinstance(value, list) else "a group of fields"
    return repr(value) if len(repr(value)) <= 60 else repr(value)[:60] + "..."


def read_document(path: Path) -> Section:
    """Return the file's content.

    Raises:
        ConfigsFileError: If the file cannot be read, or is neither YAML nor JSON.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ConfigsFileError(f"{path.name} has more than {MAX_BYTES:,} bytes; split it")
        text = path.read_text("utf-8")
    except OSError as error:
        raise ConfigsFileError(f"{path.name} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigsFileError(f"{path.name} is not UTF-8 from byte {error.start} on; save it as UTF-8") from None
    try:
        # JSON allows tabs between its parts, YAML does not.
        root = yaml.compose(text.replace("\t", " ") if path.suffix == ".json" else text, yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigsFileError(
            f"{path.name}, line {line}: the file is not YAML or JSON: {error.problem}"
        ) from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ConfigsFileError(f"{path.name}: the file is not YAML or JSON: {error}") from None
    reader = _Reader(path.name)
    value = None if root is None else reader.value(root, ())
    return Section(path.name, value, (), reader.lines)


class _Reader:
    """Reads the values of a file, and notes their lines.

    Args:
        file: Name of the file, for messages.
    """

    def __init__(self, file: str) -> None:
        self._file = file
        self.lines: dict[FieldPath, int] = {(): 1}

    def _fail(self, node: yaml.Node, problem: str) -> NoReturn:
        raise ConfigsFileError(f"{self._file}, line {node.start_mark.line + 1}: {problem}") from None

    def value(self, node: yaml.Node, path: FieldPath) -> object:
        """Return the value of the node at a path."""
        self.lines.setdefault(path, node.start_mark.line + 1)
        if len(path) > MAX_DEPTH or len(self.lines) > MAX_FIELDS:
            problem = f"more than {MAX_FIELDS:,} fields, or fields nested more than {MAX_DEPTH} deep"
            self._fail(node, f"the file has {problem}")
        if isinstance(node, yaml.MappingNode):
            return {key: self.value(child, (*path, key)) for key, child in self._entries(node, path)}
        if isinstance(node, yaml.SequenceNode):
            return [self.value(child, (*path, index)) for index, child in enumerate(node.value)]
        text = self._text(node)
        try:
            value: object = yaml.SafeLoader("").construct_object(node)
        except (yaml.YAMLError, ValueError, LookupError, AttributeError):  # as for `!!bool no way`
            self._fail(node, f"{text!r} is no value; put it in quotes")
        if isinstance(value, float) and not math.isfinite(value):
            self._fail(node, f"{_dotted(path)} is no number that JSON can hold")
        return value if isinstance(value, bool | int | float | str | None) else text

    def _entries(self, node: yaml.MappingNode, path: FieldPath) -> Iterator[tuple[str, yaml.Node]]:
        for key_node, child in node.value:
            if not isinstance(key_node, yaml.ScalarNode) or not key_node.value.strip():
                self._fail(key_node, "the name of a field must be a text")
            key = self._text(key_node)
            if (*path, key) in self.lines:
                self._fail(key_node, f"{_dotted((*path, key))} is there twice")
            self.lines[(*path, key)] = key_node.start_mark.line + 1
            yield key, child

    def _text(self, node: yaml.Node) -> str:
        if _HALF_CHARACTER.search(node.value):
            self._fail(node, f"{node.value!r} holds half a character; write all of it")
        return str(node.value)
