"""Rounds of chaos for a while: ``CUTOVER_CHAOS_ROUNDS=200`` (or ``python -m tests.apply.test_chaos``) for many."""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

from tests.apply.chaos import round_of_chaos
from tests.world.postgres import Postgres

SECONDS = 20.0


def rounds(most: int, seconds: float, first_seed: int) -> int:
    """Run rounds until there are enough or time is up; return how many."""
    began = time.monotonic()
    with Postgres() as server, tempfile.TemporaryDirectory() as folder:
        for number in range(most):
            if number and time.monotonic() - began > seconds:
                return number
            seed = first_seed + number
            print(f"round {number + 1} seed {seed}: ", end="", flush=True)
            print(round_of_chaos(server, seed, Path(folder) / str(seed)), flush=True)
    return most


def test_killed_at_random_it_resumes_exactly_once() -> None:
    wanted = int(os.environ.get("CUTOVER_CHAOS_ROUNDS", "0"))
    seed = int(os.environ.get("CUTOVER_CHAOS_SEED", str(int(time.time()))))
    assert rounds(wanted or 1000, 1e9 if wanted else SECONDS, seed) >= 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=7200)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    print(rounds(options.rounds, options.seconds, options.seed), "rounds, no row lost, doubled or overwritten")
