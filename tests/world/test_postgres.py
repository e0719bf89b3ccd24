"""The Postgres part of the test world does what others build on."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.world.postgres import Postgres
from tests.world.process import wait_until

if TYPE_CHECKING:
    from tests.world.fixtures import MakeDatabase


def test_databases_are_made_and_dropped(postgres: Postgres, make_database: MakeDatabase) -> None:
    url = make_database("create table t (id int); insert into t values (1), (2)")
    with psycopg.connect(url) as connection:
        assert connection.execute("select count(*) from t").fetchone() == (2,)


def test_a_crash_keeps_committed_rows_and_the_port() -> None:
    with Postgres() as server:
        url = server.create_database("shop", sql="create table t (id int)")
        server.execute("insert into t values (7)", database="shop")
        server.stop("immediate")
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(url, connect_timeout=2)
        server.start()
        assert server.execute("select id from t", database="shop") == [(7,)]
        folder = server.folder
    assert not folder.exists()


def test_passwords_are_asked_for_when_told_to() -> None:
    with Postgres(auth="scram-sha-256") as server:
        server.role("app", password="right")
        with psycopg.connect(server.dsn(user="app", password="right")) as connection:
            assert connection.execute("select current_user").fetchone() == ("app",)
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(server.dsn(user="app", password="wrong"))


def test_a_pair_has_two_identities(postgres_pair: tuple[Postgres, Postgres]) -> None:
    query = "select system_identifier from pg_control_system()"
    old, new = postgres_pair
    assert old.execute(query) != new.execute(query)


def test_a_killed_test_run_leaves_no_server() -> None:
    script = textwrap.dedent(
        """
        import os, signal
        from tests.world.postgres import Postgres
        server = Postgres().__enter__()
        print(server.pid, server.folder, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
        """
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout
    pid, folder = said.split()
    for _ in range(250):
        try:
            os.kill(int(pid), 0)
        except ProcessLookupError:
            break
        time.sleep(0.02)
    else:
        pytest.fail(f"postmaster {pid} outlived its test run")
    wait_until(lambda: not Path(folder).exists(), "the warden to remove the cluster")
