"""What a person who runs the command can mend."""


class DevError(Exception):
    """What was asked for cannot be done; the message says why and what to do."""
