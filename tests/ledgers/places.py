"""Where a ledger is, as the programs of these tests are told."""

from langchain_ldai.ledgers import Ledger, MemoryLedger, SqliteLedger


def ledger_at(where: str) -> Ledger:
    """Return the ledger in memory, at a URL or at a path; only who needs redis-py takes the time to import it."""
    if where == "memory":
        return MemoryLedger()
    if not where.startswith("redis:"):
        return SqliteLedger(where)
    import redis

    from langchain_ldai.ledgers.redis import RedisLedger

    return RedisLedger(redis.Redis.from_url(where, socket_timeout=60))
