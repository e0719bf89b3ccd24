"""The test world: real servers on loopback, started in seconds, thrown away afterwards.

Everything listens on 127.0.0.0/8 with ports that were free a moment before; everything works as root and as a
normal user; nothing leaves the machine. Each server is a context manager that can be used alone::

    from tests.world.postgres import Postgres

    with Postgres() as server:
        url = server.create_database("shop", sql="create table t (id int primary key)")

From the command line ``python -m tests.world`` starts all of it and says what to do with it.
"""
