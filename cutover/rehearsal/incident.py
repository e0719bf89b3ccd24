"""The night as it happened."""

from __future__ import annotations

import json
import time
from typing import Any

from cutover.rehearsal.narrator import Narrator, StoryError
from cutover.rehearsal.sandbox import CARRIER_KEEPS, LOW_TTL, NAME, STALE_USERS, TTL, USERS, Sandbox

MERGED, CONFLICT, ORDERS = 38, 39, 40
"""Users behind the carrier: one whose changes merge, one whose changes contradict, one who orders."""
AT_HOME = 8
"""A device behind another resolver."""
LAMP = "a lamp"


def tell(story: Narrator, world: Sandbox) -> None:
    """Play the incident, from the first preflight to the sign-off.

    Raises:
        StoryError: a command did not answer as the story says.
    """
    _evening(story)
    _switch(story, world)
    _all_green(story)
    number = _split_brain(story, world)
    _fence(story)
    bundle = _merge(story, world)
    _apply(story, world, bundle, number)
    _done(story, world)


def _evening(story: Narrator) -> None:
    story.chapter("The evening: an app moves from Porter to SST")
    story.say(f"{NAME} leads to old. Its TTL of {TTL} s stands for that night's 24 hours.")
    story.say(f"{USERS} users read and order. {STALE_USERS} of them sit behind a mobile carrier.")
    story.cutover(
        "preflight",
        code=3,
        telling=[r"BLOCKED", r"dns\.ttl-aged", r"dns\.ttl-lowered", r"aws route53 change-resource-record-sets"],
        meaning="not safe to switch",
    )
    story.say(f"So: lower the TTL to {LOW_TTL} s now, and switch when no cache holds the old one any more.")


def _switch(story: Narrator, world: Sandbox) -> None:
    story.chapter("The team goes on all the same")
    story.act("puts up a maintenance page and copies the production database")
    world.maintenance(on=True)
    world.copy()
    world.fill_caches()
    story.act(f"switches the record in Route 53: {world.point(world.new, TTL)}")
    switched = time.monotonic()
    story.act("opens the new address in a browser: it works. Would the gate have agreed?")
    story.cutover(
        "watch",
        "--once",
        code=3,
        telling=[r"CONVERGING", r"dns\.horizon", r"required resolvers are on old", r"edge\.maintenance-page"],
        meaning="not converged",
    )
    story.wait(TTL + 1 - (time.monotonic() - switched), "the old TTL runs out in the caches")


def _all_green(story: Narrator) -> None:
    story.chapter("A day later: DNS is green everywhere")
    story.act('sees only green on a "DNS propagation" page, calls it done, and goes to bed')
    story.cutover(
        *("watch", "--until-done", "--timeout", "5s"),
        code=3,
        telling=[r"3 new; waits for traffic\.converged"],
        meaning="DNS is done, the users are not",
    )
    story.cutover(
        "done", code=3, telling=[r"CONVERGING", r"requests: .*% of requests on old"], meaning="refused, no sign-off"
    )
    story.say(
        f"The carrier's resolver keeps every answer for {CARRIER_KEEPS // 60} minutes, whatever its TTL. "
        "No list of resolvers has it. Requests show it."
    )


def _split_brain(story: Narrator, world: Sandbox) -> int:
    story.chapter("Some users still see the maintenance page. The team removes it")
    world.maintenance(on=False)
    story.act("takes the page away. That lets these users in: to the old app, on the old database")
    number = _write_on_both(story, world)
    story.cutover(
        *("watch", "--until-done", "--timeout", "60s"),
        code=5,
        telling=[r"split-brain;"],
        meaning="split-brain, at once; it wins over everything else",
    )
    story.cutover("status", code=5, telling=[r"^SPLIT-BRAIN", r"database\.split-brain"])
    return number


def _write_on_both(story: Narrator, world: Sandbox) -> int:
    """Let users behind the carrier write on old, while the same accounts are used elsewhere on new."""
    _expect(world.change(MERGED, MERGED, "city", "Lisbon"), "old")
    _expect(world.change(AT_HOME, MERGED, "phone", "555-7000"), "new")
    story.say(f"User {MERGED} moves to Lisbon (phone, old), and changes the phone number (laptop, new).")
    _expect(world.change(CONFLICT, CONFLICT, "phone", "555-1111"), "old")
    _expect(world.change(AT_HOME, CONFLICT, "phone", "555-2222"), "new")
    story.say(f"User {CONFLICT} changes the phone number on both, to two different ones.")
    side, number = world.order(ORDERS, LAMP, "80.00")
    _expect(side, "old")
    story.say(f"User {ORDERS} orders {LAMP} on old: order {number}. On new, {number} is somebody else's order.")
    return number


def _fence(story: Narrator) -> None:
    story.chapter("First of all: nobody writes on old any more")
    story.cutover("fence", code=0, telling=[r"FENCED", r"no CONNECT", r"counters of every table"], meaning="proven")


def _merge(story: Narrator, world: Sandbox) -> str:
    story.chapter("Two databases become one")
    story.cutover(
        "reconcile",
        code=3,
        telling=[r"CONFLICTS", rf"users {CONFLICT}: .*phone", r"Bundle:"],
        meaning="a conflict is left to people",
    )
    open_ = _newest_bundle(world)
    sums = _accounted(world, open_)
    if (sums["merged"], sums["conflict"]) != (1, 1) or not sums["rekeyed"]:
        raise StoryError(f"reconcile accounts for {sums}")
    story.say(
        f"Of {sums['old_changes']} changes on old, {sums['rekeyed']} are orders and payments whose numbers are taken "
        f"on new: they get new ones, and references follow. User {MERGED}'s changes are merged. One is a conflict."
    )
    story.act(f'asks user {CONFLICT}: 555-1111 is right. Writes take = "old" into {open_}/decisions.toml')
    file = world.path / open_ / "decisions.toml"
    file.write_text(file.read_text().replace('take = ""', 'take = "old"'))
    story.cutover(
        *("reconcile", "--bundle", open_),
        code=0,
        telling=[r"MERGEABLE", r"of new are overwritten", r"Bundle:"],
        meaning="every change of old has its place",
    )
    return _newest_bundle(world)


def _accounted(world: Sandbox, bundle: str) -> dict[str, int]:
    sums: dict[str, int] = json.loads((world.path / bundle / "summary.json").read_text())["accounted"]
    return sums


def _newest_bundle(world: Sandbox) -> str:
    bundles = [path for path in world.path.glob("reconcile-*") if path.is_dir()]
    if not bundles:
        raise StoryError("reconcile left no bundle")
    return max(bundles, key=lambda path: path.stat().st_mtime_ns).name


def _apply(story: Narrator, world: Sandbox, bundle: str, number: int) -> None:
    story.chapter("Old's changes go into new, which stays live")
    story.cutover("reconcile", "--apply", bundle, code=0, telling=[r"APPLIED", r"ids were drawn anew"])
    story.cutover("reconcile", "--verify", bundle, code=0, telling=[r"VERIFIED", r"of old:"], meaning="nothing is lost")
    found = _read(world, number)
    wanted = {"merged": ("Lisbon", "555-7000"), "decided": "555-1111", "lamps": 1, "keeps_its_number": False}
    if found != {**found, **wanted}:
        raise StoryError(f"new holds {found} after the merge; the story says {wanted}")
    story.say(f"On new now: order {number} of old is order {found['lamp']}; user {MERGED} has both changes.")


def _read(world: Sandbox, number: int) -> dict[str, Any]:
    """Return what became on new of what the users wrote on old."""
    with world.postgres.connect("new") as new:
        lamps = new.execute("SELECT id FROM orders WHERE item = %s AND user_id = %s", (LAMP, ORDERS)).fetchall()
        merged = new.execute("SELECT city, phone FROM users WHERE id = %s", (MERGED,)).fetchone()
        decided = new.execute("SELECT phone FROM users WHERE id = %s", (CONFLICT,)).fetchone()
        holder = new.execute("SELECT user_id, item FROM orders WHERE id = %s", (number,)).fetchone()
    return {
        "merged": merged,
        "decided": decided[0] if decided else None,
        "lamps": len(lamps),
        "lamp": lamps[0][0] if lamps else None,
        "keeps_its_number": holder in {None, (ORDERS, LAMP)},
    }


def _done(story: Narrator, world: Sandbox) -> None:
    story.chapter("The last users leave old")
    story.act("asks the carrier to flush its cache (cutover explain dns.resolvers-converged has the pages)")
    world.flush_carrier()
    story.cutover(
        *("watch", "--until-done", "--timeout", "60s"),
        code=0,
        telling=[r"converged;"],
        meaning="held for the whole soak",
    )
    story.cutover("done", code=0, telling=[r"CONVERGED", r"Signed off by"], meaning="done, and on record")


def _expect(side: str, wanted: str) -> None:
    if side != wanted:
        raise StoryError(f"a user reached {side or 'nobody'}; the story says {wanted}")
