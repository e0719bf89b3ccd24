"""What the gate's stories begin with."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from tests.gate.command import Cutover
from tests.world.world import World

Start = Callable[..., Cutover]


def lower_and_age(world: World, seconds: float = 0) -> None:
    world.set_ttl(1)
    time.sleep(seconds)


def quick(world: World, *, without: tuple[str, ...] = ("clamping",), **dns: Any) -> dict[str, Any]:
    """A panel of the world's quick resolvers."""
    panel = [x.at for name, x in world.resolvers.items() if name not in without]
    return {"dns": {"resolvers": [*panel, *dns.pop("more", [])], **dns}}
