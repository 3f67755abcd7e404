"""What an operator says about the OpenID provider."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


@dataclass(frozen=True, slots=True)
class ClaimRule:
    """Something an ID token has to say: that the claim `name` is `value`, or a list with it."""

    name: str
    value: str

    @classmethod
    def parse(cls, text: str) -> "ClaimRule":
        """From `name=value`. Raises `ValueError`."""
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise ValueError(f"a claim is written name=value, not {text!r}")
        return cls(name, value)

    def met_by(self, claims: Mapping[str, object]) -> bool:
        """Whether these claims say so."""
        found = claim(claims, self.name)
        return self.value in found if isinstance(found, list) else found == self.value


def claim(claims: Mapping[str, object], name: str) -> object:
    """A claim, or None. A name with dots leads into objects, where no claim has the whole of it."""
    found: object = claims.get(name)
    if found is None:
        found = claims
        for step in name.split("."):
            found = found.get(step) if isinstance(found, Mapping) else None
    return found


@dataclass(frozen=True, slots=True)
class OidcOptions:
    """`name` is what the page calls the provider. Without `client_secret` the hub is a public client. Who does not meet
    `required` may not sign in; who meets `admin` is an administrator of the hub, and who does not is none: without such
    a rule nothing is changed about it. `registration_open`: whoever the provider knows gets an account, at home in the
    organisation that the claim `organisation` names, if one is set. `public_url` is the hub's own origin; without it
    that of the request counts, where the operator lists the hosts (`known_hosts`)."""

    issuer: str
    client_id: str
    name: str
    registration_open: bool
    client_secret: str | None = field(default=None, repr=False)
    scopes: tuple[str, ...] = ("openid", "profile")
    admin: ClaimRule | None = None
    required: ClaimRule | None = None
    organisation: str | None = None
    public_url: str | None = None
    known_hosts: bool = False

    def __post_init__(self) -> None:
        """Raises `ValueError` for what can never work."""
        check_url("the issuer", self.issuer)
        if "openid" not in self.scopes:
            raise ValueError("the scope openid is needed")
        if self.public_url is not None:
            parts = check_url("HUB_PUBLIC_URL", self.public_url)
            if parts or self.public_url.endswith("/"):
                raise ValueError("HUB_PUBLIC_URL is scheme://host or scheme://host:port, and nothing after it")


def check_url(what: str, url: str) -> str:
    """The path of an address that secrets may be sent to: https, or http within this machine. Raises `ValueError`."""
    parts = urlsplit(url)
    if not parts.hostname or parts.username is not None or parts.fragment or any(c.isspace() for c in url):
        raise ValueError(f"{what} is no address")
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOOPBACK):
        raise ValueError(f"{what} must begin with https://")
    return parts.path
