"""Which `Host` a request may name: a forged one poisons caches and links that others follow."""

import ipaddress
import re
from collections.abc import Iterable, Sequence
from urllib.parse import urlsplit

from hub.domain.errors import BadRequest

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253})(:[0-9]{1,5})?")


class Hosts:
    """`allowed` are host names as a browser shows them, without a port; `*.example.org` stands for every name below
    that one. None at all: every host that is well-formed."""

    def __init__(self, allowed: Iterable[str]) -> None:
        names = {name.lower().rstrip(".") for name in allowed}
        self._exact = frozenset(name for name in names if not name.startswith("*."))
        self._below = tuple(name[1:] for name in names if name.startswith("*."))

    def check(self, given: Sequence[bytes]) -> None:
        """`given` are all `Host` headers of a request. Raises `BadRequest` unless there is one, and it is allowed."""
        found = _HOST.fullmatch(given[0].decode("latin-1")) if len(given) == 1 else None
        if found is None:
            raise BadRequest("a request needs exactly one Host header, with a host and perhaps a port")
        name = found[1].lower().rstrip(".")
        if (self._exact or self._below) and name not in self._exact and not name.endswith(self._below):
            raise BadRequest("this hub does not go by that name: list it in HUB_ALLOWED_HOSTS")


def is_of_here(origin: str) -> bool:
    """Whether a page of this origin is surely what this machine, or one with this address, has shown: `localhost` and
    addresses. Every other name may have been pointed here by whoever owns it, after their own page was loaded."""
    try:
        host = urlsplit(origin).hostname or ""
    except ValueError:
        return False
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
    return True
