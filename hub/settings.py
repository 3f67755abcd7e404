"""Everything an operator can set: `HUB_*` variables. Read once, by `app` and `cli`, and handed down."""

import os
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from hub.domain.budget import Limit, parse_limits

MIN_SECRET_BYTES = 32
OTHERS = ("HUB_CHAT_", "HUB_SERVICE_", "HUB_PORT_")  # of the terminal chat; of Kubernetes, for a service named hub


class Settings(BaseSettings):
    """The hub's settings; every field is the variable `HUB_<FIELD>` in upper case. Seconds end in `_s`."""

    model_config = SettingsConfigDict(env_prefix="HUB_", frozen=True, extra="ignore")

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    workers: Annotated[int, Field(ge=1, le=64)] = 1
    role: Literal["all", "gateway", "runner"] = "all"
    data_dir: Path = Path(".hub")

    database_url: SecretStr | None = None
    owner_database_url: SecretStr | None = None
    redis_url: SecretStr | None = None
    secret_keys: SecretStr | None = None
    key_files: Annotated[tuple[str, ...], NoDecode] = ()
    registration: Literal["open", "here", "closed"] | None = None
    allowed_origins: Annotated[tuple[str, ...], NoDecode] = ()
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = ()
    trusted_proxies: Annotated[tuple[str, ...], NoDecode] = ()
    public_url: str | None = None

    oidc_issuer: str | None = None
    oidc_client_id: str | None = None
    oidc_client_secret: SecretStr | None = None
    oidc_scopes: Annotated[tuple[str, ...], NoDecode] = ("openid", "profile")
    oidc_name: str | None = None
    oidc_registration: Literal["open", "closed"] | None = None
    oidc_required_claim: str | None = None
    oidc_admin_claim: str | None = None
    oidc_organisation_claim: str | None = None

    teams_dir: Path | None = None
    tools: Annotated[tuple[str, ...], NoDecode] = ()
    mcp_file: Path | None = None
    runnables: Annotated[tuple[str, ...], NoDecode] = ()
    models_file: Path | None = None
    budgets: str = ""
    default_model: str = "local"
    local_model_url: str | None = None
    openai_base_url: str | None = None
    openai_api_key: SecretStr | None = None
    openai_model: str = "gpt-4o-mini"

    grace_s: Annotated[float, Field(gt=0, le=3600)] = 20
    lease_s: Annotated[float, Field(ge=1, le=600)] = 15
    input_expires_s: Annotated[float, Field(gt=0, le=365 * 86_400)] = 86_400
    access_token_s: Annotated[int, Field(ge=1, le=86_400)] = 900
    password_memory_kib: Annotated[int, Field(ge=8, le=1_048_576)] = 19_456
    refresh_token_s: Annotated[int, Field(ge=60)] = 30 * 86_400
    keep_deleted_s: Annotated[float, Field(ge=60)] = 7 * 86_400  # more than a fork takes, which is hidden like them
    keep_sessions_s: Annotated[float | None, Field(ge=60)] = None
    keep_addresses_s: Annotated[float | None, Field(ge=0)] = None
    sweep_s: Annotated[float, Field(gt=0)] = 600
    heartbeat_s: Annotated[int, Field(ge=1, le=300)] = 25

    attachment_bytes: Annotated[int, Field(ge=0, le=104_857_600)] = 10_485_760
    attachment_bytes_per_session: Annotated[int, Field(ge=0)] = 104_857_600
    attachment_bytes_per_user: Annotated[int, Field(ge=0)] = 524_288_000

    sign_ins_per_minute: Annotated[int, Field(ge=1)] = 3_000
    sign_in_burst: Annotated[int, Field(ge=1)] = 1_000
    commands_per_minute: Annotated[int, Field(ge=1)] = 120
    command_burst: Annotated[int, Field(ge=1)] = 20
    address_requests_per_minute: Annotated[int, Field(ge=1)] = 60_000
    address_request_burst: Annotated[int, Field(ge=1)] = 10_000
    user_requests_per_minute: Annotated[int, Field(ge=1)] = 12_000
    user_request_burst: Annotated[int, Field(ge=1)] = 2_000
    key_requests_per_minute: Annotated[int, Field(ge=1)] = 12_000
    key_request_burst: Annotated[int, Field(ge=1)] = 2_000
    costly_requests_per_minute: Annotated[int, Field(ge=1)] = 6_000
    costly_request_burst: Annotated[int, Field(ge=1)] = 1_000
    sessions_per_user: Annotated[int, Field(ge=1)] = 20_000
    api_keys_per_user: Annotated[int, Field(ge=1)] = 10_000
    sessions_per_organisation: Annotated[int | None, Field(ge=1)] = None
    runs_per_user: Annotated[int, Field(ge=1)] = 5_000
    runs_per_organisation: Annotated[int | None, Field(ge=1)] = None
    sessions_per_connection: Annotated[int, Field(ge=1)] = 100
    connections_per_worker: Annotated[int, Field(ge=1)] = 20_000
    connections_per_user: Annotated[int, Field(ge=1)] = 15_000
    connections_per_organisation: Annotated[int | None, Field(ge=1)] = None
    streams_per_worker: Annotated[int, Field(ge=1)] = 1_000
    streams_per_user: Annotated[int, Field(ge=1)] = 500
    streams_per_organisation: Annotated[int | None, Field(ge=1)] = None
    runs_per_worker: Annotated[int, Field(ge=1)] = 500
    outbox_bytes: Annotated[int, Field(ge=65_536)] = 1_048_576
    stall_s: Annotated[float, Field(gt=0)] = 15
    database_pool: Annotated[int, Field(ge=2, le=100)] = 12

    log_format: Literal["json", "console"] = "console"
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @field_validator(
        "allowed_origins", "allowed_hosts", "trusted_proxies", "key_files", "tools", "runnables", mode="before"
    )
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(v.strip() for v in value.split(",") if v.strip()) if isinstance(value, str) else value

    @field_validator("oidc_scopes", mode="before")
    @classmethod
    def _split_scopes(cls, value: object) -> object:
        return tuple(value.replace(",", " ").split()) if isinstance(value, str) else value

    @field_validator("port", mode="before")
    @classmethod
    def _no_service_link(cls, value: object) -> object:
        if str(value).startswith("tcp://"):
            raise ValueError(
                "this is what Kubernetes sets for a service named hub: give the pod enableServiceLinks: false"
            )
        return value

    @field_validator("budgets")
    @classmethod
    def _check_budgets(cls, value: str) -> str:
        parse_limits(value)
        return value

    @model_validator(mode="after")
    def _check_secrets(self) -> "Settings":
        if self.secret_keys is not None:
            try:
                parse_secret_keys(self.secret_keys.get_secret_value())
            except ValueError as e:
                raise ValueError(f"HUB_SECRET_KEYS: {e}; `openssl rand -hex 32` makes a secret") from None
        return self

    @property
    def limits(self) -> list[Limit]:
        """The budgets of everybody."""
        return parse_limits(self.budgets)

    @property
    def embedded(self) -> bool:
        """Whether the hub brings its own PostgreSQL or Redis."""
        return self.database_url is None or self.redis_url is None

    @property
    def registration_open(self) -> bool:
        """Whether strangers may register: by default only on a hub with embedded services, as with `here`."""
        return self.registration in ("open", "here") or (self.registration is None and self.embedded)


def strays(environment: Mapping[str, str] = os.environ) -> dict[str, str | None]:  # noqa: TID251 - as in `variable`
    """Variables that look like settings of the hub and are none, each with the setting that may be meant."""
    known = [f"HUB_{name.upper()}" for name in Settings.model_fields]
    found = [name for name in sorted(environment) if name.startswith("HUB_") and name not in known]
    return {name: next(iter(get_close_matches(name, known, 1)), None) for name in found if not name.startswith(OTHERS)}


def variable(name: str) -> str | None:
    """An environment variable that the file of models or of MCP servers names; None when there is none."""
    return os.environ.get(name)  # noqa: TID251 - here is where the environment is read


def parse_secret_keys(text: str) -> dict[str, bytes]:
    """`kid:secret,kid2:secret2` → key bytes by kid, in order (the first signs). ValueError tells what is wrong."""
    keys: dict[str, bytes] = {}
    for pair in text.split(","):
        kid, colon, secret = pair.strip().partition(":")
        if not colon or not kid:
            raise ValueError("secret keys are written kid:secret, separated by commas")
        if kid in keys:
            raise ValueError(f"secret key {kid!r} is given twice")
        if len(secret.encode()) < MIN_SECRET_BYTES:
            raise ValueError(f"secret key {kid!r} has fewer than {MIN_SECRET_BYTES} bytes")
        keys[kid] = secret.encode()
    return keys
