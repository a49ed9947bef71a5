"""How a batch of events is posted, and what is made of the answer."""

import datetime
import gzip
import ipaddress
import math
import socket
import threading
from http.client import responses

import pytest
import urllib3
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from ldclient.config import Config, HTTPConfig
from ldclient.version import VERSION

from langchain_ldai.delivery._http import Answer, EventsEndpoint
from tests.delivery.loopback_events import DRIPPING_BODY, DRIPPING_HEADERS, NO_ANSWER, EventsServer, Reply
from tests.support.ports import kept_port

NOON = "Sat, 28 Nov 2026 12:00:00 GMT"
NOON_SECONDS = datetime.datetime(2026, 11, 28, 12, tzinfo=datetime.UTC).timestamp()


def endpoint(url, **options):
    """The endpoint of a client whose events go to this address."""
    return EventsEndpoint(Config("sdk-key", events_uri=url, **options))


def headers_with(**options):
    """The headers of one batch, by lower-case name, but those that say where it goes and how long it is."""
    with EventsServer() as server:
        endpoint(server.url, **options).post("batch-1", [b'{"a":1}'])
    (request,) = server.requests
    return {name: value for name, value in request.headers.items() if name not in ("host", "content-length")}


def answer_to(reply):
    """What comes of posting a batch that is answered like this."""
    with EventsServer(always=reply) as server:
        return endpoint(server.url).post("batch-1", [b'{"a":1}'])


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A file with a certificate for 127.0.0.1 that signs itself, and with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    built = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(True, None), True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("certificate") / "both.pem"
    path.write_bytes(
        built.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return str(path)


@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "compressed"])
def test_a_batch_is_one_list_of_events(compressed):
    """The records of a batch arrive as one JSON list, compressed if the configuration says so."""
    with EventsServer() as server:
        answer = endpoint(server.url, enable_event_compression=compressed).post(
            "batch-1", [b'{"a":1},{"a":2}', b'{"a":3}']
        )

    (request,) = server.requests
    assert answer == Answer(202, None, None, "HTTP 202 Accepted")
    assert request.path == "/bulk"
    body = gzip.decompress(request.body) if compressed else request.body
    assert body == b'[{"a":1},{"a":2},{"a":3}]'


BASE_HEADERS = {
    "accept-encoding": "identity",
    "authorization": "sdk-key",
    "content-type": "application/json",
    "user-agent": f"PythonClient/{VERSION}",
    "x-launchdarkly-event-schema": "4",
    "x-launchdarkly-payload-id": "batch-1",
}


@pytest.mark.parametrize(
    ("options", "added"),
    [
        pytest.param({}, {}, id="nothing"),
        pytest.param({"enable_event_compression": True}, {"content-encoding": "gzip"}, id="compression"),
        pytest.param({"wrapper_name": "shop"}, {"x-launchdarkly-wrapper": "shop"}, id="wrapper"),
        pytest.param(
            {"wrapper_name": "shop", "wrapper_version": "1.2"},
            {"x-launchdarkly-wrapper": "shop/1.2"},
            id="wrapper and version",
        ),
        pytest.param({"wrapper_version": "1.2"}, {}, id="version without wrapper"),
        pytest.param({"wrapper_name": 7}, {}, id="wrapper that is no text"),
        pytest.param(
            {"wrapper_name": "shop", "wrapper_version": 7}, {"x-launchdarkly-wrapper": "shop"}, id="version 7"
        ),
        pytest.param(
            {"application": {"id": "till"}}, {"x-launchdarkly-tags": "application-id/till"}, id="application"
        ),
        pytest.param(
            {"application": {"id": "till", "version": "3"}},
            {"x-launchdarkly-tags": "application-id/till application-version/3"},
            id="application and version",
        ),
    ],
)
def test_headers_say_who_sends(options, added):
    """The headers name the SDK, the wrapper and the application, if there are any."""
    assert headers_with(**options) == {**BASE_HEADERS, **added}


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (200, "HTTP 200 OK"),
        (307, "HTTP 307 Temporary Redirect"),
        (400, "HTTP 400 Bad Request"),
        (401, "HTTP 401 Unauthorized"),
        (413, f"HTTP 413 {responses[413]}"),
        (503, "HTTP 503 Service Unavailable"),
        (599, "HTTP 599"),
    ],
)
def test_a_status_is_told(status, reason):
    """An answer is told with its status and in words, whatever it is; a redirection is not followed."""
    answer = answer_to(Reply(status, {"Location": "/elsewhere"}))

    assert (answer.status, answer.reason) == (status, reason)


@pytest.mark.parametrize(
    ("headers", "retry_after", "date"),
    [
        pytest.param({}, None, None, id="neither"),
        pytest.param({"Date": NOON}, None, NOON_SECONDS, id="date"),
        pytest.param({"Date": "noon"}, None, None, id="date that is none"),
        pytest.param({"Date": "Sat, 28 Nov 99999 12:00:00 GMT"}, None, None, id="date too late"),
        pytest.param({"Date": "Sat, 28 Nov 99999999999 12:00:00 GMT"}, None, None, id="date far too late"),
        pytest.param({"Retry-After": "7"}, 7.0, None, id="seconds"),
        pytest.param({"Retry-After": "0"}, 0.0, None, id="no seconds"),
        pytest.param({"Retry-After": "-7"}, None, None, id="seconds below 0"),
        pytest.param({"Retry-After": "nan"}, None, None, id="rubbish"),
        pytest.param({"Retry-After": "9" * 400}, math.inf, None, id="for ever"),
        pytest.param(
            {"Retry-After": "Sat, 28 Nov 2026 12:00:09 GMT", "Date": NOON}, 9.0, NOON_SECONDS, id="until a date"
        ),
        pytest.param(
            {"Retry-After": "Sat, 28 Nov 2026 11:00:00 GMT", "Date": NOON}, 0.0, NOON_SECONDS, id="a date gone by"
        ),
        pytest.param({"Retry-After": "Sat, 28 Nov 2020 11:00:00 GMT"}, 0.0, None, id="a date on our clock"),
    ],
)
def test_the_service_says_when_to_come_back(headers, retry_after, date):
    """`Retry-After` is told in seconds, also where it is a date, and within bounds; so is the service's clock."""
    answer = answer_to(Reply(503, headers))

    assert (answer.retry_after, answer.date) == (retry_after, date)


def test_a_web_page_is_no_answer():
    """A proxy that asks for a login has not passed the events on."""
    answer = answer_to(Reply(200, {"Content-Type": "text/html; charset=utf-8"}))

    assert answer == Answer(0, None, None, "a web page, perhaps of a proxy that asks for a login")


def test_no_answer_is_told():
    """A connection that ends before the answer has status 0."""
    answer = answer_to(Reply(NO_ANSWER))

    assert answer == Answer(0, None, None, "ProtocolError")


def test_an_answer_that_does_not_come_is_not_waited_for():
    """After the configuration's timeout there is no answer."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        posting = endpoint(url, http=HTTPConfig(connect_timeout=5, read_timeout=0.05))
        answer = posting.post("batch-1", [b"{}"])
        posting.close()

    assert (answer.status, answer.reason) == (0, "ReadTimeoutError")


def test_nobody_listens():
    """A refused connection has status 0, and says what the system said."""
    with kept_port() as port:
        answer = endpoint(f"http://127.0.0.1:{port}").post("batch-1", [b"{}"])

    assert (answer.status, answer.reason) == (0, "NewConnectionError: Connection refused")


def test_a_header_that_http_cannot_carry():
    """Nothing is raised where the configuration cannot be sent at all."""
    answer = endpoint("http://127.0.0.1:9", wrapper_name="caf\u00e9\n").post("batch-1", [b"{}"])

    assert (answer.status, answer.reason) == (0, "ValueError")


def test_a_closed_endpoint_opens_again():
    """Closing ends the connection, and a later batch is sent all the same."""
    with EventsServer() as server:
        posting = endpoint(server.url)
        statuses = []
        for _ in range(2):
            statuses.append(posting.post("batch-1", [b"{}"]).status)
            posting.close()

    assert statuses == [202, 202]


@pytest.mark.parametrize("no_proxy", ["", "127.0.0.1"], ids=["proxy", "host without proxy"])
def test_the_environment_names_a_proxy(monkeypatch, no_proxy):
    """A proxy is found, or passed by, where the SDK does so."""
    with EventsServer() as proxy, EventsServer() as service:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.setenv("no_proxy", no_proxy)
        answer = endpoint(service.url).post("batch-1", [b"{}"])

    assert answer.status == 202
    if no_proxy:
        assert [request.path for request in service.requests] == ["/bulk"]
    else:
        assert [request.path for request in proxy.requests] == [f"{service.url}/bulk"]


def test_the_configuration_names_a_proxy():
    """A proxy gets the batch, and the name and password of its address."""
    with EventsServer() as server:
        proxy = server.url.replace("://", "://me:secret@")
        answer = endpoint("http://events.example", http=HTTPConfig(http_proxy=proxy)).post("batch-1", [b"{}"])

    assert answer.status == 202
    assert server.requests[0].path == "http://events.example/bulk"
    assert server.requests[0].headers["proxy-authorization"] == "Basic bWU6c2VjcmV0"


def test_no_password_is_told():
    """What is said of a proxy that fails holds no password."""
    with EventsServer() as server:
        proxy = server.url.replace("://", "://me:secret@")

    answer = endpoint("https://events.example", http=HTTPConfig(http_proxy=proxy)).post("batch-1", [b"{}"])

    assert answer == Answer(0, None, None, "ProxyError: Connection refused")


@pytest.mark.parametrize("shown", ["none", "shown"])
def test_the_configurations_certificates_count(certificate, shown):
    """A service is trusted by them; a client certificate is shown to one that asks for it, if there is one."""
    options = HTTPConfig(ca_certs=certificate, cert_file=certificate if shown == "shown" else None)
    with EventsServer(certificate) as server:
        answer = endpoint(server.url, http=options).post("batch-1", [b"{}"])

    assert answer.status == 202
    assert server.requests[0].headers["client-certificate"] == shown


def test_a_stranger_is_not_trusted(certificate):
    """Nothing is sent to a service whose certificate is not known."""
    with EventsServer(certificate) as server:
        answer = endpoint(server.url).post("batch-1", [b"{}"])

    assert answer.status == 0
    assert "certificate verify failed" in answer.reason
    assert server.requests == []


def test_trust_can_be_turned_off(certificate):
    """With `disable_ssl_verification` any certificate will do."""
    with EventsServer(certificate) as server, pytest.warns(urllib3.exceptions.InsecureRequestWarning):
        answer = endpoint(server.url, http=HTTPConfig(disable_ssl_verification=True)).post("batch-1", [b"{}"])

    assert answer.status == 202


NOT_WHOLE = Answer(0, None, None, "no whole answer within 100 seconds")


@pytest.mark.parametrize(
    ("tls", "dripping"),
    [(False, DRIPPING_HEADERS), (False, DRIPPING_BODY), (True, DRIPPING_HEADERS)],
    ids=["headers", "body", "TLS"],
)
def test_an_answer_that_never_ends_is_given_up(certificate, monkeypatch, tls, dripping):
    """Each byte renews the time-out, so the request has a limit of its own. The next one is as usual."""
    with EventsServer(certificate if tls else None) as server, monkeypatch.context() as patch:

        class Early(threading.Timer):
            """Is over once part of the answer is sent."""

            def run(self):
                assert server.is_dripping.wait(20)
                self.function()

        server.next_replies = [Reply(dripping)]
        made = endpoint(server.url, http=HTTPConfig(ca_certs=certificate))
        patch.setattr(threading, "Timer", Early)
        given_up = made.post("batch-1", [b'{"a":1}'])
        patch.undo()
        answer = made.post("batch-1", [b'{"a":1}'])

    assert given_up == NOT_WHOLE
    assert answer.status == 202


def test_a_connection_that_is_not_open_yet_cannot_be_cut(monkeypatch):
    """As where the name of the host is looked up, which ends by itself."""
    timers = []

    class Noted(threading.Timer):
        """Is over when the test says so."""

        def start(self):
            timers.append(self)

    def look_up_slowly(*arguments):
        timers[0].function()
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(threading, "Timer", Noted)
    monkeypatch.setattr(socket, "getaddrinfo", look_up_slowly)

    assert endpoint("http://nowhere.invalid").post("batch-1", [b'{"a":1}']) == NOT_WHOLE


def test_a_process_without_a_thread_to_spare_posts_all_the_same(monkeypatch):
    """Only the limit for a whole answer is not kept then."""

    class Refused(threading.Timer):
        """Cannot be started."""

        def start(self):
            raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading, "Timer", Refused)

    assert answer_to(Reply()).status == 202
