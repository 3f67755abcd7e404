"""The Lua scripts that stand beside this module: what must happen in Redis in one step."""

import hashlib
from dataclasses import dataclass
from importlib.resources import files


@dataclass(frozen=True, slots=True)
class Script:
    """A script and the digest Redis knows it by."""

    text: bytes
    digest: bytes


def load_all() -> list[Script]:
    """Every script there is."""
    return [load(file.name.removesuffix(".lua")) for file in files("hub.relay").iterdir() if file.name.endswith(".lua")]


def load(name: str) -> Script:
    """The script `<name>.lua`."""
    text = files("hub.relay").joinpath(f"{name}.lua").read_bytes()
    return Script(text, hashlib.sha1(text, usedforsecurity=False).hexdigest().encode())
