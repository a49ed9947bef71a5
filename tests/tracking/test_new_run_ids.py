"""The id of a run is a UUIDv4 that no other run has, in whichever process (spec section 4)."""

import multiprocessing
import random
from multiprocessing.connection import Connection
from uuid import RFC_4122, UUID

from langchain_ldai import LdAiCompletionConfig

RUNS = 5_000


def run_ids(config: LdAiCompletionConfig, count: int) -> list[str]:
    """Return the ids of so many new runs."""
    return [config.create_tracker().run_id for _ in range(count)]


def test_a_run_id_is_the_text_of_a_uuid4(config: LdAiCompletionConfig) -> None:
    """Each is another one, and every digit that is not fixed takes all its values."""
    ids = run_ids(config, RUNS)

    assert len(set(ids)) == RUNS
    assert {(str(UUID(each)) == each, UUID(each).version, UUID(each).variant) for each in ids} == {
        (True, 4, RFC_4122)
    }
    digits = [len(set(column)) for column in zip(*ids, strict=True)]
    assert digits == [1 if place in (8, 13, 14, 18, 23) else 4 if place == 19 else 16 for place in range(36)]


def test_a_seed_of_the_programs_repeats_no_run_id(config: LdAiCompletionConfig) -> None:
    """Who seeds `random`, as tests and simulations do, still gets ids that nobody else has."""
    random.seed(1)
    first = run_ids(config, 3)
    random.seed(1)

    assert not set(first) & set(run_ids(config, 3))


def send_run_ids(config: LdAiCompletionConfig, connection: Connection) -> None:
    """Send the next ids of the process."""
    connection.send(run_ids(config, 3))


def test_forked_processes_have_run_ids_of_their_own(config: LdAiCompletionConfig) -> None:
    """Children of one process begin with the same memory, and yet with other ids."""
    forking, found = multiprocessing.get_context("fork"), []
    for _ in range(2):
        here, there = forking.Pipe()
        child = forking.Process(target=send_run_ids, args=(config, there))
        child.start()
        found += here.recv() if here.poll(30) else []
        child.join()
        for end in (here, there):
            end.close()

    assert len({*found, *run_ids(config, 3)}) == 9
