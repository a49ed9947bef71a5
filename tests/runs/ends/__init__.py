"""How a run ends: on its own, stopped, left, silent, or with something of it still at work."""
