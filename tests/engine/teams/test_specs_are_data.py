"""Specs that try to be more than data, seen by the interpreter's own audit hook."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from hub.cli import accounts

ROOT = Path(__file__).parents[3]

POISON = [
    "autogen_agentchat.teams.RoundRobinGroupChat",
    "os.system",
    "!!python/object/apply:os.system ['id']",
    "!!python/name:os.system",
    "__class__",
    "__init__",
    "__reduce__",
    "{participants.__class__.__mro__}",
    "{0.__globals__}",
    "{{ self._TemplateReference__context }}",
    "${HOME}",
    "$(id)",
    "`id`",
    "file:///etc/passwd",
    "http://127.0.0.1:9/x",
    "/etc/passwd",
    "../../etc/passwd",
    "%(x)s",
    "lambda: 0",
    "exec('1')",
    "<<",
    "\x00",
    "\ud800",
]
KEYS = [
    "name", "description", "kind", "model", "agents", "selector_prompt", "limits", "provider", "component_type",
    "version", "config", "source_code", "base_url", "api_key", "path", "include", "__class__", "tools", "instructions",
    "role", "goal", "handoffs", "max_turns", "stop_phrase", "graph", "team", "experts", "global_imports",
]  # fmt: skip

words = st.sampled_from(POISON) | st.sampled_from(KEYS) | st.text(max_size=12)
values = st.recursive(
    words | st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=5),
    max_leaves=12,
)
agents = st.fixed_dictionaries(
    {"name": st.sampled_from(["alpha", "beta", "os", "eval", "__init__"])},
    optional={
        "instructions": words,
        "role": words,
        "goal": words,
        "display_name": words,
        "tools": st.lists(st.sampled_from(["clock", *POISON]), max_size=2),
    },
)
rules = st.fixed_dictionaries(
    {
        "argument": st.sampled_from(["key", "a.b", *POISON]),
        "is": st.sampled_from(["==", "in", *POISON]),
        "value": values,
    }
)
near_misses = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["crew", *POISON]),
        "description": words,
        "kind": st.sampled_from(["round_robin", "selector", *POISON]),
        "agents": st.lists(agents, min_size=1, max_size=3),
    },
    optional={
        "selector_prompt": words,
        "approvals": st.dictionaries(
            st.sampled_from(["clock", *POISON]), values | st.fixed_dictionaries({"when": st.lists(rules, max_size=2)})
        ),
        "model": st.sampled_from(["scripted", *POISON]),
        "limits": st.dictionaries(words, values, max_size=2)
        | st.just({"max_turns": 3, "stop_phrase": "{0.__class__}"}),
    },
)
poisoned = st.fixed_dictionaries(
    {
        "name": st.just("crew"),
        "description": st.sampled_from(["d", "{0.__class__}", "$(id)"]),
        "kind": st.sampled_from(["round_robin", "selector"]),
        "agents": st.just([{"name": "alpha", "tools": ["clock"]}]).flatmap(
            lambda first: st.fixed_dictionaries(
                {"name": st.just("beta")}, optional={"instructions": words, "role": words, "goal": words}
            ).map(lambda second: [*first, second])
        ),
    }
)
tricks = st.sampled_from(
    ["Who? {participants.__class__.__mro__}", "{0.__globals__}", "{{ self._TemplateReference__context }} {roles!r}"]
)
selecting = st.tuples(poisoned, tricks).map(lambda pair: pair[0] | {"kind": "selector", "selector_prompt": pair[1]})
texts = st.one_of(
    poisoned.map(json.dumps),
    selecting.map(json.dumps),
    values.map(json.dumps),
    near_misses.map(json.dumps),
    st.tuples(near_misses.map(json.dumps), st.sampled_from(POISON)).map(lambda pair: pair[0] + "\n" + pair[1]),
    st.lists(st.sampled_from([*POISON, *KEYS, ": ", "\n", "- ", "&a ", "*a", "[", "]", "{", "}"]), max_size=20).map(
        "".join
    ),
)


def test_no_spec_imports_executes_reads_or_connects(dsn: str) -> None:
    """One process reads all of them; what is found there is what an operator's folder could do, and what somebody could
    import who may."""
    found: list[str] = []

    @settings(
        max_examples=300, deadline=None, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
    )
    @given(texts)
    def collect(text: str) -> None:
        found.append(json.dumps(text))

    collect()
    plain = {"name": "crew", "description": "d", "kind": "round_robin", "agents": [{"name": "a", "tools": ["clock"]}],
             "approvals": {"clock": {"when": [{"argument": "key", "is": "in", "value": ["exec('1')"]}]}}}  # fmt: skip
    found.append(json.dumps(json.dumps(plain)))
    with asyncio.Runner() as runner:
        runner.run(accounts.create_user(dsn, "auditor", None, is_admin=True))
        key = runner.run(accounts.create_key(dsn, "auditor", name="audit", scopes=["admin"], days=None)).key
    ran = subprocess.run(
        [sys.executable, "-m", "tests.engine.teams.audited", dsn, key],
        input="\n".join(found),
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=120,
    )
    assert ran.returncode == 0, ran.stderr
    seen, taken, imported = map(int, ran.stdout.split())
    assert seen == len(found)
    assert min(taken, imported) >= 10, "hardly any of the specs were taken: the hook saw only refusals"


def test_the_hook_sees_what_it_is_for() -> None:
    code = "import tests.engine.teams.audited as a, sys; g = a.Guard(); sys.addaudithook(g); g.armed = True; {}"
    for deed in (
        "open('/etc/hostname')",
        "exec('1')",
        "import colorsys",
        "import socket; socket.socket()",
        "eval('1')",
    ):
        ran = subprocess.run([sys.executable, "-c", code.format(deed)], capture_output=True, cwd=ROOT, timeout=120)
        assert ran.returncode == 3, deed
