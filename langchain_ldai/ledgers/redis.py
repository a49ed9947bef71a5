"""A ledger for the processes of several hosts, in Redis; with the extra `redis`."""

import logging
import math
from collections.abc import Collection
from typing import Final

from langchain_ldai._base.forks import PausesForForks
from langchain_ldai.ledgers._lifetime import THIRTY_DAYS, check_lifetime

try:
    import redis
    from redis.backoff import NoBackoff
    from redis.cluster import ClusterNode
    from redis.retry import Retry
except ImportError as _error:
    raise ImportError('RedisLedger needs redis: pip install "langchain-ldai[redis]"') from _error

_log = logging.getLogger(__name__)

ANSWER_SECONDS: Final = 2.0
"""How long the client of `from_url` waits for an answer."""

_CLAIM: Final = """
local granted = {}
for i = 3, #ARGV do
    redis.call('HSETNX', KEYS[1], ARGV[i], ARGV[1])
    if redis.call('HGET', KEYS[1], ARGV[i]) == ARGV[1] then
        granted[#granted + 1] = ARGV[i]
    end
end
redis.call('EXPIRE', KEYS[1], ARGV[2])
return granted
"""


class RedisLedger(PausesForForks):
    """Remembers claims in Redis: one key a run, claimed by one atomic script, also in a cluster.

    What Redis forgets can be claimed again. If Redis may be restarted, set `appendonly yes` and
    `appendfsync always`. If it may evict keys, choose an eviction policy that spares this ledger's keys.

    After an error the ledger opens a new connection, so that after a failover it finds the new primary through the
    address, Sentinel or the cluster.

    Args:
        client: A `redis.Redis` or `redis.RedisCluster`. Give it `socket_timeout` and `socket_connect_timeout` of a
            few seconds, and few retries: while a call waits for Redis, all other claims wait.
        ttl: Seconds for which a run's claims are remembered after the last one, up to 100 years. A fraction of a
            second is rounded up.
        prefix: What the keys begin with.

    Raises:
        TypeError: If the client is asynchronous, a pipeline, a class or no client, or another argument is of
            another type.
        ValueError: If `ttl` is out of bounds, or the client has one connection that forked processes would share.
    """

    def __init__(
        self, client: "redis.Redis | redis.RedisCluster", *, ttl: float = THIRTY_DAYS, prefix: str = "ldai"
    ) -> None:
        _check_client(client)
        self._ttl = math.ceil(check_lifetime(ttl))
        if not isinstance(prefix, str):
            raise TypeError(f"prefix is a str, not {type(prefix).__name__}")
        super().__init__()  # after a fork during a call, a lock of redis-py's would stay locked in the child
        self._prefix = prefix
        self._client = client
        self._script = client.register_script(_CLAIM)
        if any(pool.connection_kwargs.get("socket_timeout") is None for pool in self._pools()):
            _log.warning(
                "The client of a RedisLedger has no socket_timeout: while its Redis hangs, all claims wait. "
                "Make the client with socket_timeout=2 and socket_connect_timeout=2"
            )

    def __repr__(self) -> str:  # it may come into a log, and shows no address, which may hold a password
        return f"RedisLedger(prefix={self._prefix!r})"

    @classmethod
    def from_url(cls, url: str, *, ttl: float = THIRTY_DAYS, prefix: str = "ldai") -> "RedisLedger":
        """Return a ledger in the Redis at a URL, which waits two seconds at most for each answer.

        Args:
            url: As `redis.Redis.from_url` takes it. Nothing is connected before the first claim.
            ttl: See the class.
            prefix: See the class.

        Raises:
            TypeError: If `ttl` is no number, or the URL or `prefix` is not a string.
            ValueError: If the URL cannot be read, or `ttl` is out of bounds.

        Example:
            >>> ledger = RedisLedger.from_url("redis://localhost:6379/0", prefix="shop")
            >>> ai = LdAiClient(client, ledger=ledger)
            >>> ai.ledger is ledger
            True
        """
        if not isinstance(url, str):
            raise TypeError(f"url is a str, as in 'redis://localhost:6379/0', not {type(url).__name__}")
        client = redis.Redis.from_url(
            url,
            socket_timeout=ANSWER_SECONDS,
            socket_connect_timeout=ANSWER_SECONDS,
            retry=Retry(NoBackoff(), 0),  # the queue tries again
        )
        return cls(client, ttl=ttl, prefix=prefix)

    def claim(self, run: str, slots: Collection[str], claimant: str) -> set[str]:
        """See `Ledger.claim`."""
        return self.use(self._claim, f"{self._prefix}:{{{run}}}", slots, claimant)

    def _claim(self, key: str, slots: Collection[str], claimant: str) -> set[str]:
        try:
            granted = self._script(keys=[key], args=[claimant, self._ttl, *slots])
        except redis.RedisError:
            self._disconnect()  # a demoted primary, for example, would answer with an error for ever
            raise
        return {slot.decode() if isinstance(slot, bytes) else slot for slot in granted}

    def _disconnect(self) -> None:
        for pool in self._pools():
            # In redis-py 5 a blocking pool cannot spare the connections that other threads use.
            is_blocking = isinstance(pool, redis.BlockingConnectionPool)
            pool.disconnect(**({} if is_blocking else {"inuse_connections": False}))

    def _pools(self) -> "list[redis.ConnectionPool]":
        if isinstance(self._client, redis.RedisCluster):
            nodes: list[ClusterNode] = self._client.get_nodes()  # type: ignore[no-untyped-call]
            clients = [node.redis_connection for node in nodes]
        else:
            clients = [self._client]
        return [client.connection_pool for client in clients if hasattr(client, "connection_pool")]


def _check_client(client: object) -> None:
    if isinstance(client, type):
        raise TypeError(f"client is a redis.Redis, not the class {client.__name__}")
    if hasattr(client, "__aenter__"):
        raise TypeError(
            f"client is a redis.Redis, not the asynchronous {type(client).__module__}.{type(client).__name__}: a "
            "ledger is called on a thread of its own, and no event loop waits for it"
        )
    if hasattr(client, "execute"):
        raise TypeError(
            f"client is a redis.Redis, not {type(client).__name__}, which answers nothing until it is executed: "
            "give the client that it was made from"
        )
    if not hasattr(client, "register_script"):
        raise TypeError(f"client is a redis.Redis, not {type(client).__name__}; from_url(url) takes a URL")
    if getattr(client, "connection", None) is not None:
        raise ValueError(
            "client has one connection for all, which forked processes would share: make it without "
            "single_connection_client"
        )
