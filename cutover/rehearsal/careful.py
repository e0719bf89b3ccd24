"""The same night as it should have gone: the same carrier, the same 10 %, and no row lost."""

from __future__ import annotations

import json
import shlex
from datetime import UTC, datetime

from cutover.rehearsal.narrator import Narrator
from cutover.rehearsal.sandbox import LOW_TTL, NAME, TTL, Sandbox


def tell(story: Narrator, world: Sandbox) -> None:
    """Play the careful night.

    Raises:
        StoryError: a command did not answer as the story says.
    """
    _day_before(story, world)
    _freeze(story, world)
    _switch(story, world)
    _done(story, world)


def _day_before(story: Narrator, world: Sandbox) -> None:
    story.chapter("A day before: may we?")
    story.say(f"{NAME} leads to old, with a TTL of {TTL} s: it stands for that night's 24 hours.")
    blocked = story.cutover(
        "preflight",
        code=3,
        telling=[r"BLOCKED", r"dns\.ttl-lowered", r"aws route53 change-resource-record-sets"],
        meaning="not safe to switch",
    )
    batch = _change_batch(blocked.output)
    story.act(f"runs the command that it prints: a TTL of {LOW_TTL} s")
    world.cloud.client().change_resource_record_sets(HostedZoneId=world.zone_id, ChangeBatch=batch)
    story.cutover("preflight", code=3, telling=[r"BLOCKED", r"dns\.ttl-aged"], meaning="lowered, not yet aged")
    safe = datetime.fromisoformat(story.ask("status")["safe_to_change_at"])
    story.wait((safe - datetime.now(UTC)).total_seconds() + 1, "the old TTL runs out in the caches")
    story.cutover("preflight", code=0, telling=[r"READY", r"safe to change"], meaning="go")


def _change_batch(output: str) -> object:
    """Return the change batch of the command that preflight prints: the user's machine may lack ``aws``."""
    line = next(line for line in output.splitlines() if "run: aws route53" in line)
    words = shlex.split(line.partition("run: ")[2])
    return json.loads(words[words.index("--change-batch") + 1])


def _freeze(story: Narrator, world: Sandbox) -> None:
    story.chapter("The night: old stops writing before anything moves")
    story.act("puts up the maintenance page")
    world.maintenance(on=True)
    story.cutover("fence", code=0, telling=[r"FENCED", r"counters of every table"], meaning="proven")
    story.cutover("baseline", code=0, telling=[r"RECORDED", r"old: snapshot"], meaning="where both start from")
    story.act("copies the database: nothing can be written behind its back")
    world.copy()


def _switch(story: Narrator, world: Sandbox) -> None:
    story.chapter("The switch")
    world.fill_caches()
    story.act(f"switches the record in Route 53: {world.point(world.new, LOW_TTL)}")
    story.wait(LOW_TTL + 1, "the low TTL runs out in the caches")
    story.cutover(
        *("watch", "--until-done", "--timeout", "5s"),
        code=3,
        telling=[r"3 new; waits for traffic\.converged"],
        meaning="DNS is done within seconds; 10 % of the requests are still on old",
    )
    story.say("It is the same carrier. But its users see the maintenance page, on a database that takes no writes.")
    story.cutover("done", code=3, telling=[r"requests: .*% of requests on old"], meaning="refused: the page stays up")


def _done(story: Narrator, world: Sandbox) -> None:
    story.chapter("The last users leave old")
    story.act("asks the carrier to flush its cache, and waits for the gate instead of for the feeling")
    world.flush_carrier()
    story.cutover(
        *("watch", "--until-done", "--timeout", "60s"),
        code=0,
        telling=[r"converged;"],
        meaning="held for the whole soak",
    )
    story.cutover("done", code=0, telling=[r"CONVERGED", r"Signed off by"], meaning="done, and on record")
    story.say("No split-brain, no merge: what the preflight and the fence cost was one evening's patience.")
