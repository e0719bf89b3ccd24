"""The night as it happened."""

from __future__ import annotations

import time

from cutover.rehearsal.narrator import Narrator, StoryError
from cutover.rehearsal.sandbox import NAME, TTL, Sandbox

MERGED, CONFLICT, REKEYED = 38, 39, 40
"""Users behind the carrier: one whose changes merge, one whose changes contradict, one who orders."""
AT_HOME = 8
"""A device behind another resolver."""


def tell(story: Narrator, world: Sandbox) -> None:
    """Play the incident, from the first preflight to the sign-off.

    Raises:
        StoryError: a command did not answer as the story says.
    """
    _before(story, world)
    _the_switch(story, world)
    _all_green(story, world)
    _split_brain(story, world)


def _before(story: Narrator, world: Sandbox) -> None:
    story.chapter("The evening: an app moves from Porter to SST")
    story.say(f"{NAME} leads to old. Its TTL is {TTL} s: the 86400 s of that night, so a second stands for two hours.")
    story.say("40 users read and order. 4 of them sit behind a mobile carrier whose resolver nobody has on a list.")
    story.cutover(
        "preflight",
        code=3,
        telling=[r"BLOCKED", r"dns\.ttl-aged", r"dns\.ttl-lowered", r"aws route53 change-resource-record-sets"],
        said="not safe",
    )
    story.say("The tool says: lower the TTL now, and go when the old one has aged.")


def _the_switch(story: Narrator, world: Sandbox) -> None:
    story.chapter("The team goes on all the same")
    story.act("puts up a maintenance page, copies the production database, switches the record in Route 53")
    world.maintenance(on=True)
    world.copy()
    world.point(world.new, TTL)
    switched = time.monotonic()
    story.act("opens the new address in a browser: it works")
    story.cutover(
        "watch",
        "--once",
        code=3,
        telling=[r"CONVERGING", r"dns\.horizon", r"required resolvers are on old", r"edge\.maintenance-page"],
        said="not yet converged",
    )
    story.wait(TTL + 1 - (time.monotonic() - switched), "the old TTL runs out in the caches")


def _all_green(story: Narrator, world: Sandbox) -> None:
    story.chapter("A day later: DNS is green everywhere")
    story.act('looks at a "DNS propagation" page: every resolver gives new. Goes to bed')
    story.cutover(
        "watch",
        "--until-done",
        "--timeout",
        "6s",
        code=3,
        telling=[r"3 new; waits for traffic\.converged"],
        said="DNS is done, users are not",
    )
    story.cutover(
        "done", code=3, telling=[r"CONVERGING", r"requests: .*% of requests on old"], said="refused: no sign-off"
    )
    story.say("The carrier's resolver keeps answers far longer than their TTL. No list of resolvers shows that; requests do.")


def _split_brain(story: Narrator, world: Sandbox) -> None:
    story.chapter("Users still see the maintenance page. The team removes it")
    world.maintenance(on=False)
    story.act("takes the page away, and lets these users in: to the old application, on the old database")
    _plant(world)
    story.cutover(
        "watch",
        "--until-done",
        "--timeout",
        "40s",
        code=5,
        telling=[r"split-brain"],
        said="split-brain; it wins over everything else",
    )
    story.cutover("status", code=5, telling=[r"SPLIT-BRAIN", r"database\.split-brain"])


def _plant(world: Sandbox) -> None:
    """Let users behind the carrier write on old, while the same accounts are used elsewhere on new."""
    expect(world.change(MERGED, MERGED, "city", "Lisbon"), "old")
    expect(world.change(AT_HOME, MERGED, "phone", "555-7000"), "new")
    expect(world.change(CONFLICT, CONFLICT, "phone", "555-1111"), "old")
    expect(world.change(AT_HOME, CONFLICT, "phone", "555-2222"), "new")
    side, _ = world.order(REKEYED, "a lamp", "80.00")
    expect(side, "old")


def expect(side: str, wanted: str) -> None:
    """Check that a user reached the side that the story says.

    Raises:
        StoryError: it was the other one.
    """
    if side != wanted:
        raise StoryError(f"a user reached {side or 'nobody'}; the story says {wanted}")
