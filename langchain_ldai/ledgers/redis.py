"""A ledger for the processes of several hosts, in Redis; with the extra `redis`."""

from collections.abc import Collection
from typing import Final

from langchain_ldai.checks import check_seconds
from langchain_ldai.ledgers.lifetime import THIRTY_DAYS

try:
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry
except ImportError as error:
    raise ImportError('RedisLedger needs redis: pip install "langchain-ldai[redis]"') from error

ANSWER_SECONDS: Final = 2.0
"""How long a Redis given by its URL has for an answer."""

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


class RedisLedger:
    """Claims slots in Redis, one script a call: atomic, one key a run, also in a cluster.

    What Redis forgets can be claimed again. Where it may be restarted, give it `appendonly yes` and
    `appendfsync always`; where it may evict keys, an eviction policy that spares this ledger's.

    Args:
        client: A `redis.Redis` or `redis.RedisCluster`. Give it timeouts: until a call returns or raises,
            other claims wait.
        ttl: Seconds for which a run's claims are remembered after the last one.
        prefix: What the keys begin with.

    Raises:
        TypeError: If the client or `ttl` is of another type.
        ValueError: If `ttl` is not above 0.
    """

    def __init__(
        self, client: "redis.Redis | redis.RedisCluster", *, ttl: float = THIRTY_DAYS, prefix: str = "ldai"
    ) -> None:
        if not hasattr(client, "register_script"):
            raise TypeError(f"client is a redis.Redis, not {type(client).__name__}; from_url(url) takes a URL")
        self._ttl = max(1, round(check_seconds("ttl", ttl)))
        self._prefix = prefix
        self._script = client.register_script(_CLAIM)

    @classmethod
    def from_url(cls, url: str, *, ttl: float = THIRTY_DAYS, prefix: str = "ldai") -> "RedisLedger":
        """Return a ledger in the Redis at a URL, which has two seconds for each answer."""
        client = redis.Redis.from_url(
            url,
            socket_timeout=ANSWER_SECONDS,
            socket_connect_timeout=ANSWER_SECONDS,
            retry=Retry(NoBackoff(), 0),  # who claims tries again anyway
        )
        return cls(client, ttl=ttl, prefix=prefix)

    def claim(self, run: str, slots: Collection[str], claimant: str) -> set[str]:
        """See `Ledger.claim`."""
        key = f"{self._prefix}:{{{run}}}"
        granted = self._script(keys=[key], args=[claimant, self._ttl, *slots])
        return {slot.decode() if isinstance(slot, bytes) else slot for slot in granted}
