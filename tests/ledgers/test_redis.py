"""A Redis ledger's client: which one it can be, and what becomes of its connections."""

import logging
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import redis
import redis.asyncio

from langchain_ldai.ledgers import SqliteLedger
from langchain_ldai.ledgers.redis import RedisLedger
from tests.support.redis_server import Address, RedisServer, running_redis

RUN = "run-1/support-bot"


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RedisServer, RedisServer]]:
    """Two Redis."""
    with (
        running_redis(tmp_path_factory.mktemp("one")) as one,
        running_redis(tmp_path_factory.mktemp("other")) as other,
    ):
        yield one, other


class Moving:
    """An address that leads from one Redis to another, while the first stays up."""

    def __init__(self, first: RedisServer, second: RedisServer) -> None:
        self.clients = [redis.Redis.from_url(server.url) for server in (first, second)]
        self.address = Address(first)
        self._second = second

    def fail_over(self, *command: str) -> None:
        """Have the first Redis do something, after which it can claim nothing, and lead to the second one."""
        self.clients[0].execute_command(*command)
        self.address.target = self._second

    def close(self) -> None:
        """Have both Redis as they were."""
        self.address.close()
        for client in self.clients:
            for command in (
                "REPLICAOF NO ONE",
                "CONFIG SET min-replicas-to-write 0",
                "CONFIG SET maxmemory 0",
                "ACL SETUSER default +@all",
                "FLUSHALL",
            ):
                client.execute_command(*command.split())
            client.close()


@pytest.fixture
def moving(servers: tuple[RedisServer, RedisServer]) -> Iterator[Moving]:
    """An address that can move."""
    with closing(Moving(*servers)) as moving:
        yield moving


MAKE: dict[str, Callable[[Address], RedisLedger]] = {
    "url": lambda address: RedisLedger.from_url(f"{address.url}?socket_timeout=60"),
    "client": lambda address: RedisLedger(redis.Redis(port=address.port, socket_timeout=60)),
    "blocking": lambda address: RedisLedger(
        redis.Redis(connection_pool=redis.BlockingConnectionPool.from_url(address.url, socket_timeout=60))
    ),
}
STATES: dict[str, tuple[str, ...]] = {
    "demoted": ("REPLICAOF", "127.0.0.1", "1"),
    "without-replicas": ("CONFIG", "SET", "min-replicas-to-write", "1"),
    "full": ("CONFIG", "SET", "maxmemory", "1"),
    "forbidden": ("ACL", "SETUSER", "default", "-hsetnx"),
}


@pytest.mark.parametrize("make", MAKE.values(), ids=MAKE)
@pytest.mark.parametrize("state", STATES.values(), ids=STATES)
def test_after_an_error_the_next_claim_goes_where_the_address_leads(
    make: Callable[[Address], RedisLedger], state: tuple[str, ...], moving: Moving
) -> None:
    """A Redis that answers, but can claim nothing any more, is not asked again."""
    ledger = make(moving.address)
    assert ledger.claim("run-0", ["success"], "one") == {"success"}
    moving.fail_over(*state)

    with pytest.raises(redis.RedisError):
        ledger.claim(RUN, ["success"], "one")

    assert ledger.claim(RUN, ["success"], "one") == {"success"}
    assert moving.clients[1].hget(f"ldai:{{{RUN}}}", "success") == b"one"


def test_connections_that_others_use_are_left_alone(moving: Moving) -> None:
    """Who shares the client with a ledger goes on, also while the ledger's claim fails."""
    with redis.Redis(port=moving.address.port, socket_timeout=60) as client:
        ledger = RedisLedger(client)
        with client.pubsub() as others:
            others.subscribe("news")
            assert others.get_message(timeout=60)["type"] == "subscribe"
            moving.clients[0].execute_command(*STATES["full"])

            with pytest.raises(redis.RedisError):
                ledger.claim(RUN, ["success"], "one")

            moving.clients[0].publish("news", "here")
            assert others.get_message(timeout=60)["data"] == b"here"


def test_a_cluster_is_asked_again_over_new_connections(tmp_path: Path) -> None:
    """A node that could not claim may be another one now; here it is the same, with room again."""
    with running_redis(tmp_path, "--cluster-enabled", "yes") as node, redis.Redis.from_url(node.url) as client:
        client.execute_command("CLUSTER", "ADDSLOTS", *range(16384))
        while client.cluster("INFO")["cluster_state"] != "ok":
            time.sleep(0.05)
        with redis.RedisCluster.from_url(node.url, socket_timeout=60) as cluster:
            ledger = RedisLedger(cluster)
            client.execute_command(*STATES["full"])
            with pytest.raises(redis.RedisError):
                ledger.claim(RUN, ["success"], "one")
            accepted = client.info("stats")["total_connections_received"]
            client.config_set("maxmemory", 0)

            assert ledger.claim(RUN, ["success"], "one") == {"success"}
            assert client.info("stats")["total_connections_received"] > accepted
            cluster.disconnect_connection_pools()  # as redis-py does not where a URL is given


REFUSED: dict[str, tuple[Callable[[], object], type[Exception], str]] = {
    "asynchronous": (redis.asyncio.Redis, TypeError, r"not the asynchronous redis\.asyncio\.client\.Redis"),
    "asynchronous-cluster": (
        lambda: redis.asyncio.RedisCluster(host="localhost"),
        TypeError,
        r"not the asynchronous redis\.asyncio\.cluster\.RedisCluster",
    ),
    "asynchronous-pipeline": (lambda: redis.asyncio.Redis().pipeline(), TypeError, "not the asynchronous"),
    "pipeline": (lambda: redis.Redis().pipeline(), TypeError, "not Pipeline, .* the client that it was made from"),
    "class": (lambda: redis.Redis, TypeError, "not the class Redis"),
    "cluster-class": (lambda: redis.RedisCluster, TypeError, "not the class RedisCluster"),
    "asynchronous-class": (lambda: redis.asyncio.Redis, TypeError, "not the class Redis"),
    "url": (lambda: "redis://localhost", TypeError, r"not str; from_url\(url\) takes a URL"),
    "sentinel": (lambda: redis.Sentinel([("localhost", 1)]), TypeError, "not Sentinel"),
}


@pytest.mark.parametrize(("make", "error", "message"), REFUSED.values(), ids=REFUSED)
def test_a_client_that_cannot_claim_is_refused(
    make: Callable[[], object], error: type[Exception], message: str
) -> None:
    """When the ledger is made, and the message says what is to be given instead."""
    with pytest.raises(error, match=f"client is a redis.Redis, {message}"):
        RedisLedger(make())


def test_a_client_with_one_connection_is_refused(servers: tuple[RedisServer, RedisServer]) -> None:
    """Forked processes would share it, and take each other's answers for their own."""
    with (
        redis.Redis.from_url(servers[0].url, single_connection_client=True) as client,
        pytest.raises(ValueError, match="make it without single_connection_client"),
    ):
        RedisLedger(client)


def test_a_client_that_may_hang_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    """Once, where the ledger is made; one with a time limit is not."""
    RedisLedger(redis.Redis(socket_timeout=2))
    RedisLedger.from_url("redis://localhost")
    assert caplog.records == []

    RedisLedger(redis.Redis(socket_timeout=None))

    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "socket_timeout=2" in caplog.text


def test_a_redis_that_hangs_costs_a_claim_a_few_seconds() -> None:
    """By its URL, and whatever redis-py would do by itself."""
    with socket.create_server(("127.0.0.1", 0)) as hangs:
        ledger = RedisLedger.from_url(f"redis://127.0.0.1:{hangs.getsockname()[1]}/0")

        with pytest.raises(redis.TimeoutError):
            ledger.claim(RUN, ["success"], "one")

        hangs.setblocking(False)
        hangs.accept()[0].close()
        with pytest.raises(BlockingIOError):  # a second attempt would have taken as long again
            hangs.accept()


HUNDRED_YEARS = 100 * 365 * 24 * 3600
LIFETIMES: dict[float, str] = {
    **dict.fromkeys((0, -1, float("nan")), "is a number of seconds above 0, not {}"),
    **dict.fromkeys(
        (float("inf"), 1e18, 10**30, HUNDRED_YEARS + 1), "is at most 3153600000 seconds, a hundred years, not"
    ),
}


@pytest.mark.parametrize(("ttl", "message"), LIFETIMES.items(), ids=str)
@pytest.mark.parametrize("make", [SqliteLedger, RedisLedger])
def test_a_lifetime_is_above_zero_and_at_most_a_hundred_years(
    make: type, ttl: float, message: str, tmp_path: Path
) -> None:
    """Redis takes no number that is far above; both ledgers refuse another when they are made, with the value."""
    place = tmp_path / "ledger.db" if make is SqliteLedger else redis.Redis()

    with pytest.raises(ValueError, match=f"^ttl {message.format(ttl)}"):
        make(place, ttl=ttl)


def milliseconds(now: tuple[int, int]) -> int:
    """Return what Redis says of its clock, in seconds and microseconds, in milliseconds."""
    seconds, microseconds = now
    return seconds * 1000 + microseconds // 1000


@pytest.mark.parametrize(("ttl", "kept"), [(999.2, 1000), (1000, 1000), (HUNDRED_YEARS, HUNDRED_YEARS)])
def test_a_lifetime_is_rounded_up(ttl: float, kept: int, servers: tuple[RedisServer, RedisServer]) -> None:
    """Redis remembers whole seconds, and no fewer than it is told to."""
    with redis.Redis.from_url(servers[0].url) as client:
        before = milliseconds(client.time())

        RedisLedger(client, ttl=ttl).claim(f"run-{ttl}", ["success"], "one")

        now, left = client.pipeline().time().pttl(f"ldai:{{run-{ttl}}}").execute()
        assert left <= kept * 1000 <= milliseconds(now) - before + left + 1


def test_a_prefix_is_text() -> None:
    """Another is refused when the ledger is made."""
    with pytest.raises(TypeError, match="prefix is a str, not bytes"):
        RedisLedger(redis.Redis(), prefix=b"ldai")
