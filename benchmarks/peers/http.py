"""A transport for `requests` that counts what is sent over it and drops it."""

from io import BytesIO

from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter


class DroppingAdapter(HTTPAdapter):
    """Answers each request at once, without a network."""

    def __init__(self) -> None:
        super().__init__()
        self.bodies = 0

    def send(self, request: PreparedRequest, *args: object, **options: object) -> Response:  # type: ignore[override]
        """Count the request, if it has a body, and accept it."""
        self.bodies += bool(request.body)
        response = Response()
        response.status_code = 200
        response.url, response.request = str(request.url), request
        response.raw = BytesIO(b'{"status": "Ok"}')
        return response

    def recorded(self) -> int:
        """Return how many requests with a body there were."""
        return self.bodies
