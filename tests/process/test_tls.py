"""PostgreSQL and Redis behind TLS, under a certificate that only the operator knows."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import unquote

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import SecretStr

from hub.domain.errors import Unavailable
from hub.store import migrate, roles
from hub.store.database import Store
from tests.conftest import running_worker, settings_for
from tests.relay.wiring import eventually_so

SSL_REQUEST = 8  # bytes with which a client of PostgreSQL asks for TLS


def certificate(folder: Path) -> Path:
    """For `localhost`, signed by itself: the file with it and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    file = folder / "server.pem"
    file.write_bytes(
        made.public_bytes(serialization.Encoding.PEM) + key.private_bytes(serialization.Encoding.PEM, *form)
    )
    return file


@asynccontextmanager
async def tls_before(path: str, file: Path, *, asked: bool) -> AsyncIterator[int]:
    """A port on which TLS leads to the Unix socket at `path`, at once or (`asked`) as PostgreSQL has it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    open_ones = set[asyncio.StreamWriter]()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def lead(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_ones.add(writer)
        with suppress(OSError, asyncio.IncompleteReadError):
            if asked:
                await reader.readexactly(SSL_REQUEST)
                writer.write(b"S")
                await writer.start_tls(context)
            inner_reader, inner_writer = await asyncio.open_unix_connection(path)
            open_ones.add(inner_writer)
            await asyncio.gather(pump(reader, inner_writer), pump(inner_reader, writer))
        writer.close()

    server = await asyncio.start_server(lead, "localhost", 0, ssl=None if asked else context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in open_ones:
            writer.transport.abort()


async def test_a_hub_works_over_tls_with_authorities_of_its_own(dsn: str, redis_url: str, tmp_path: Path) -> None:
    file = certificate(tmp_path)
    database, _, sockets = roles.as_role(dsn, roles.APPLICATION).partition("?host=")
    async with (
        tls_before(f"{unquote(sockets)}/.s.PGSQL.5432", file, asked=True) as postgres,
        tls_before(redis_url.removeprefix("unix://"), file, asked=False) as valkey,
    ):
        secured = database.replace("@/", f"@localhost:{postgres}/") + "?sslmode=verify-full"
        for insecure in (secured, secured.replace("@localhost", "@127.0.0.1") + f"&sslrootcert={file}"):
            store = Store(insecure)
            with pytest.raises(Unavailable):
                await store.ping(timeout_s=30)
            await store.close()
        settings = settings_for(dsn, redis_url).model_copy(
            update={
                "database_url": SecretStr(f"{secured}&sslrootcert={file}"),
                "redis_url": SecretStr(f"rediss://localhost:{valkey}?ssl_ca_certs={file}"),
            }
        )
        async with running_worker(settings) as door, httpx2.AsyncClient(base_url=door.url) as rest:

            async def hears_redis() -> bool:
                return bool((await rest.get("/readyz")).json()["checks"]["redis"] == "ok")

            await eventually_so(hears_redis)
            # Which asks Redis over its pool of connections, too.
            registered = await rest.post("/v1/auth/register", json={"name": "ann", "password": "correct horse"})
            assert registered.status_code == 201, registered.text
        owner = f"{secured}&sslrootcert={file}".replace(roles.APPLICATION, "hub")
        await asyncio.to_thread(migrate.upgrade, owner)
