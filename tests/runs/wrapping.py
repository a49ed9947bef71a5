"""Trackers and AI Configs that wrap others."""


class Wrapped:
    """Has what the other has, and notes which of its methods are called."""

    def __init__(self, wrapped: object, called: list[str]) -> None:
        self._wrapped, self._called = wrapped, called

    def __getattr__(self, name: str) -> object:
        found = getattr(self._wrapped, name)
        if not name.startswith(("track_", "_track_")):
            return found
        return lambda *args: (self._called.append(name), found(*args))[1]


class WrappedConfig(Wrapped):
    """An AI Config, or agent graph, whose trackers are wrapped."""

    def create_tracker(self, **options: object) -> Wrapped:
        """Return a wrapped tracker."""
        return Wrapped(self._wrapped.create_tracker(**options), self._called)

    def resume_tracker(self, token: str) -> Wrapped:
        """Return a wrapped tracker."""
        return Wrapped(self._wrapped.resume_tracker(token), self._called)
