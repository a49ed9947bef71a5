"""The paths that a server-side SDK asks for."""

from typing import Final

STREAM: Final = "/all"
POLL: Final = "/sdk/latest-all"
BULK: Final = "/bulk"
DIAGNOSTIC: Final = "/diagnostic"
PATHS: Final = (STREAM, POLL, BULK, DIAGNOSTIC)

PAYLOAD_ID_HEADER: Final = "X-LaunchDarkly-Payload-ID"
ENVIRONMENT_HEADER: Final = "X-Ld-Envid"
