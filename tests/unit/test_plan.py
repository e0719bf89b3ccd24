"""The plan: the documented language loads, and every mistake is one line that says where."""

from __future__ import annotations

import json
import tomllib
from datetime import timedelta
from pathlib import Path

import pytest

from cutover.errors import CutoverError
from cutover.plan import Gate, Plan
from cutover.plan_values import absolute, split_address
from cutover.planfile import load_plan, plan_from, plan_schema, secret

NAME = '[[name]]\nname = "app.example.com"\n'


def read(text: str) -> Plan:
    return plan_from(tomllib.loads(text), where="cutover.toml", base_dir=Path())


FULL = """
[migration]
name = "porter-to-sst"
changed_at = 2025-11-12T06:40:00Z
[[name]]
name = "App.Example.com"
types = ["A", "AAAA"]
old = ["203.0.113.10", "ingress.porter.example."]
new = ["198.51.100.0/24", "d111.cloudfront.example."]
provider = "route53"
previous_ttl = 86400
[name.origin.new]
url = "https://app.example.com/v2"
[dns]
resolvers = ["127.0.0.1:5301", "https://dns.example/dns-query", "tls://dns.example"]
roots = ["127.0.0.1:5300"]
interception_canary = ""
[dns.authorities]
"example.com" = ["127.0.0.1:5300", "[::1]:5300"]
[providers.route53]
profile = "prod"
endpoint_url = "http://127.0.0.1:5000"
[origin.old]
url = "https://{name}/version"
fingerprint = { header = "x-release", matches = "^porter-" }
maintenance = { body = true, matches = "down for maintenance" }
[origin.new]
fingerprint = { json = "$.release", matches = "^sst-", status = 200 }
paths = ["/", "/api/health"]
[[traffic]]
source = "datadog"
old = "sum:trace.http.request.hits{deployment:porter}.as_count()"
new = "sum:trace.http.request.hits{deployment:sst}.as_count()"
[[traffic]]
source = "cloudwatch"
region = "us-east-1"
old = { load_balancer = "app/porter/123", target_group = "tg" }
new = { namespace = "N", metric = "M", dimensions = { A = "b" }, stat = "Sum" }
[[traffic]]
source = "access_log"
old = ["/var/log/old/*.log"]
new = "/var/log/new/*.log"
[[traffic]]
source = "command"
weight = "writes"
command = ["./share"]
[[traffic]]
source = "prometheus"
url = "http://127.0.0.1:9090"
old = "sum(increase(x[$window]))"
[database]
old = "env:OLD_DATABASE_URL"
new = "postgresql://app@127.0.0.1/new"
base = "base.dump"
exclude = ["public.sessions"]
newest = { "orders" = "placed_at" }
[[database.reference]]
from = "events.payload->>order_id"
to = "orders.id"
[[database.table]]
name = "public.jobs"
kind = "queue"
groups = [["lat", "lng"]]
[[merge]]
table = "accounts"
column = "balance"
policy = "newest(updated_at)"
[[merge]]
table = "users"
same_entity = ["email"]
[gate]
soak = "1h30m"
[notify]
webhook = "env:URL"
secret = "env:HMAC_KEY"
"""


def test_the_documented_language_loads() -> None:
    plan = read(FULL)
    assert plan.names == ("app.example.com.",)
    assert plan.gate.soak == timedelta(hours=1, minutes=30)
    assert plan.gate.enough_requests == 3000
    assert plan.name[0].old[1].target == "ingress.porter.example."
    assert plan.origin_of("app.example.com.", "old").url == "https://app.example.com/version"
    assert plan.origin_of("app.example.com.", "new").url == "https://app.example.com/v2"
    assert plan.origin_of("app.example.com.", "new").fingerprint is not None
    assert plan.traffic_labels() == ("datadog #1", "cloudwatch #2", "access_log #3", "command #4", "prometheus #5")


@pytest.mark.parametrize(
    ("text", "where", "hint"),
    [
        ("[dnss]\n", "`dnss`: unknown key", "`dns`"),
        ("[dns]\nmaxttl = 3\n", "[dns] `maxttl`: unknown key", "`max_ttl`"),
        ('[[name]]\nname = "a.b"\nold = ["10.0.0.0/33"]\n', "a.b `old`: '10.0.0.0/33'", ""),
        ('[[name]]\nname = "a.b"\nold = ["10.0.0.1/8"]\n', "host bits", ""),
        ('[[name]]\nname = "a.b"\nold = ["10.0.0.300"]\n', "is no address", ""),
        ('[[name]]\nname = "a.b"\nold = ["10.0.0.1"]\nnew = ["10.0.0.0/8"]\n', "overlap", ""),
        ('[[name]]\nname = "a.b"\nold = ["x.y"]\nnew = ["X.y."]\n', "overlap", ""),
        (NAME + NAME, "stands twice", ""),
        (NAME + '[gate]\nsoak = "soon"\n', "[gate] `soak`", ""),
        (NAME + '[gate]\nsoak = "0s"\n', "longer than zero", ""),
        (NAME + "[gate]\nmax_old_share = 2\n", "[gate] `max_old_share`", ""),
        (NAME + '[database]\nold = "postgres://a:s3cr3t@c/d"\n', "[database] `old`: a password", "env:NAME"),
        (NAME + '[database]\nold = "host=c password=s3cr3t"\n', "[database] `old`: a password", "env:NAME"),
        (NAME + '[notify]\nslack = "https://s3cr3t"\n', "[notify] `slack`: a secret", "env:NAME"),
        (
            NAME + '[[traffic]]\nsource = "datadog"\nold = "a"\nnew = "b"\napi_key = "s3cr3t"\n',
            "[[traffic]] number 1 `api_key`: a secret",
            "env:NAME",
        ),
        (NAME + '[dns]\nroots = "127.0.0.1:53"\n', "[dns] `roots`: must be a list", "init --schema"),
        ('[name]\nname = "app.example.com"\n', "`name`: must be a list of tables: write [[name]]", "init --schema"),
        (NAME + '[origin.old]\nurl = "app.example.com"\n', "[origin] `old.url`: 'app.example.com'", "init --schema"),
        (NAME + '[origin.old]\nconnect = "a:b:c"\n', "[origin] `old.connect`: 'a:b:c'", "init --schema"),
        (NAME + '[origin.old]\npaths = ["x"]\n', "[origin] `old.paths.0`: path 'x'", "init --schema"),
        ('[[name]]\nname = "a b"\n', "is not a host name", ""),
        ('[[name]]\nname = "203.0.113.10"\n', "'203.0.113.10' is an address, not a host name", ""),
        (NAME + '[dns]\ninterception_canary = "nobody"\n', "[dns] `interception_canary`: 'nobody'", ""),
        (NAME + '[dns]\nroots = ["a.root.example:53"]\n', "[dns] `roots`: 'a.root.example:53'", ""),
        (
            NAME + '[dns.authorities]\n"example.com" = ["ns1.example.com:53"]\n',
            "[dns] `authorities.example.com`: 'ns1.example.com:53' is not an address:port",
            "",
        ),
        (NAME + '[origin.old]\nurl = "https://{host}/"\n', "the only placeholder is {name}", ""),
        (NAME + '[[bucket]]\nold = "s3://a"\nnew = "s3://b"\n', "[[bucket]]: not supported yet", "take it out"),
        (NAME + "[providers.cloudflare]\n", "not supported yet", ""),
        (NAME + '[vantage]\nnetworks = ["globalping"]\n', "[vantage]: not supported yet", "take it out"),
        ('[[name]]\nname = "a.b"\nprovider = "cloudflare"\n', "not supported yet", ""),
        (
            '[[name]]\nname = "a.b"\nold = ["10.0.0.1"]\nnew = ["10.0.0.1"]\nproxied = true\n',
            "[[name]] proxied = true: not supported yet",
            "take it out",
        ),
        (NAME + '[[traffic]]\nsource = "cloudwatch"\nold = { load_balncer = "x" }\n', "load_balncer", "load_balancer"),
        (NAME + '[[traffic]]\nsource = "prometheus"\nold = "x"\n', "needs `url`", ""),
        (NAME + '[[traffic]]\nsource = "command"\n', "needs `command`", ""),
        (NAME + '[[traffic]]\nsource = "statsd"\n', "[[traffic]] number 1 `source`", ""),
        (NAME + '[origin.new]\nfingerprint = { header = "x" }\n', "need `matches`", ""),
        (NAME + '[origin.new]\nfingerprint = { body = true, matches = "(" }\n', "not a regular expression", ""),
        (NAME + "[migration]\nchanged_at = 2025-01-01T00:00:00\n", "time zone", ""),
        (NAME + '[[merge]]\ntable = "a"\npolicy = "sum"\n', "[[merge]] a `policy`", ""),
        (NAME + '[dns]\nroots = ["127.0.0.1:99999"]\n', "[dns] `roots`", ""),
        (NAME + '[notify]\nslack = "https://hooks.example/T0/secret"\n', "[notify] `slack`", ""),
        (NAME + '[gate]\nsoak = "99999999999999d"\n', "[gate] `soak`", ""),
        (NAME + '[gate]\nvalid_for = "3651d"\n', "longer than 3650d", ""),
        (NAME + "[migration]\nchanged_at = 0001-01-01T00:00:00Z\n", "`changed_at`", ""),
        (NAME + '[origin.new]\nconnect = "::::"\n', "is not an address:port", ""),
        (NAME + '[origin.new]\nconnect = "203.0.113.10:99999"\n', "is not an address:port", ""),
        (NAME + '[origin.new]\nurl = "https://a.b:99999/"\n', "no port from 1 to 65535", ""),
    ],
)
def test_a_mistake_is_one_line_that_says_where(text: str, where: str, hint: str) -> None:
    with pytest.raises(CutoverError) as caught:
        read(text)
    assert where in caught.value.message
    assert hint in caught.value.hint
    assert "\n" not in caught.value.message
    assert "s3cr3t" not in caught.value.message + caught.value.hint
    assert caught.value.exit_code == 2


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(CutoverError, match="there is no plan file"):
        load_plan(tmp_path / "cutover.toml")
    broken = tmp_path / "broken.toml"
    broken.write_text("[dns\n")
    with pytest.raises(CutoverError, match="is not TOML"):
        load_plan(broken)
    broken.write_bytes(b"\xff\xfe")
    with pytest.raises(CutoverError, match="UTF-8"):
        load_plan(broken)
    broken.write_text("[dns]\nmax_ttl = 30\n")
    with pytest.raises(CutoverError, match=r"no \[\[name\]\]"):
        load_plan(broken)


def test_names_file_brings_names(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("a.example.com\n# a comment\n\nb.example.com # why\n")
    plan = plan_from({"migration": {"names_file": "names.txt"}}, where="p", base_dir=tmp_path)
    assert plan.names == ("a.example.com.", "b.example.com.")
    (tmp_path / "names.txt").write_text("a.example.com\nnot a name\n")
    with pytest.raises(CutoverError, match="line 2"):
        plan_from({"migration": {"names_file": "names.txt"}}, where="p", base_dir=tmp_path)


def test_the_hash_follows_what_a_soak_depends_on() -> None:
    base = read(FULL)
    for changed in (
        FULL.replace("203.0.113.10", "203.0.113.11"),
        FULL.replace('soak = "1h30m"', 'soak = "1h31m"'),
        FULL.replace("deployment:sst", "deployment:sst2"),
        FULL.replace("^sst-", "^sst2-"),
        FULL.replace('exclude = ["public.sessions"]', "exclude = []"),
    ):
        assert changed != FULL
        assert read(changed).hash() != base.hash()
    for same in (
        FULL.replace("env:HMAC_KEY", "env:OTHER"),
        FULL.replace('policy = "newest(updated_at)"', 'policy = "max"'),
    ):
        assert same != FULL
        assert read(same).hash() == base.hash()


def test_reversing_swaps_every_side() -> None:
    plan = read(FULL)
    back = plan.reversed()
    assert back.name[0].old == plan.name[0].new
    assert (
        back.origin_of("app.example.com.", "new").fingerprint == plan.origin_of("app.example.com.", "old").fingerprint
    )
    assert back.origin_of("app.example.com.", "old").url == "https://app.example.com/v2"
    assert back.traffic[0].old == plan.traffic[0].new
    assert back.database is not None
    assert plan.database is not None
    assert back.database.new == plan.database.old
    assert back.migration.changed_at is None
    assert back.reversed().name == plan.name


def test_secrets_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DD_API_KEY", "k")
    assert secret("env:DD_API_KEY", where="x") == "k"
    monkeypatch.delenv("DD_API_KEY")
    with pytest.raises(CutoverError, match="DD_API_KEY is not set"):
        secret("env:DD_API_KEY", where="x")


def test_the_schema_is_json_and_knows_every_table() -> None:
    schema = json.loads(json.dumps(plan_schema()))
    assert set(schema["properties"]) >= {"migration", "name", "dns", "origin", "traffic", "database", "gate", "notify"}
    assert schema["additionalProperties"] is False


def test_names_and_addresses() -> None:
    assert absolute("Bücher.Example") == "xn--bcher-kva.example."
    assert split_address("[::1]:53", 853) == ("::1", 53)
    assert split_address("::1", 853) == ("::1", 853)
    assert split_address("dns.example", 853) == ("dns.example", 853)


@pytest.mark.parametrize(
    ("types", "polled"),
    [
        ('["A"]', ("A",)),
        ('["CNAME"]', ("A", "AAAA")),
        ('["HTTPS"]', ("A", "AAAA", "HTTPS")),
        ('["AAAA", "HTTPS", "AAAA"]', ("AAAA", "HTTPS")),
        ("[]", ("A", "AAAA")),
    ],
)
def test_resolvers_are_asked_for_addresses_whatever_else_is_asked(types: str, polled: tuple[str, ...]) -> None:
    (entry,) = read(f'[[name]]\nname = "a.b"\ntypes = {types}\n').name
    assert entry.polled_types() == polled


def test_what_a_sign_off_names_of_the_gate_is_written_as_in_a_plan() -> None:
    gate = Gate.model_validate({"soak": "1h30m", "interval": "30s", "max_old_share": 0.01})
    assert gate.changed_from_default() == {"soak": "1h30m", "max_old_share": 0.01}
