"""JSON values that cannot be changed, yet are still the `dict` and `list` that providers expect."""

from collections.abc import Mapping
from typing import NoReturn, TypeVar

_K = TypeVar("_K")
_V = TypeVar("_V")


def _read_only(self: object, *args: object, **kwargs: object) -> NoReturn:
    raise TypeError("an AI Config is read-only; change a copy.deepcopy() of this value instead")


class FrozenDict(dict[_K, _V]):
    """A dict that raises `TypeError` on every write; `copy.deepcopy` and pickle give a plain dict."""

    __slots__ = ()
    __setitem__ = __delitem__ = __ior__ = _read_only
    clear = pop = popitem = setdefault = update = _read_only

    def __reduce__(self) -> tuple[type[dict[_K, _V]], tuple[dict[_K, _V]]]:
        return dict, (dict(self),)


class FrozenList(list[_V]):
    """A list that raises `TypeError` on every write; `copy.deepcopy` and pickle give a plain list."""

    __slots__ = ()
    __setitem__ = __delitem__ = __iadd__ = __imul__ = _read_only
    append = clear = extend = insert = pop = remove = reverse = sort = _read_only

    def __reduce__(self) -> tuple[type[list[_V]], tuple[list[_V]]]:
        return list, (list(self),)


def freeze_object(value: object) -> FrozenDict[str, object]:
    """Return a read-only copy of a JSON object, frozen at every depth; of anything else, an empty one.

    What nests deeper than Python can go is something else.
    """
    try:
        return _freeze_object(value) if isinstance(value, Mapping) else FrozenDict()
    except RecursionError:
        return FrozenDict()


def _freeze_object(value: Mapping[object, object]) -> FrozenDict[str, object]:
    return FrozenDict({str(key): _freeze(item) for key, item in value.items()})


def _freeze(value: object) -> object:
    if isinstance(value, Mapping):
        return _freeze_object(value)
    if isinstance(value, (list, tuple)):
        return FrozenList(_freeze(item) for item in value)
    return value
