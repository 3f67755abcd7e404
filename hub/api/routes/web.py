"""The chat page: the built bundle under `hub/static/web`."""

import gzip
import hashlib
import mimetypes
from functools import cached_property
from pathlib import Path

from fastapi import APIRouter, Request, Response
from starlette.exceptions import HTTPException

IMMUTABLE = "public, max-age=31536000, immutable"  # the build puts a hash of the content into each asset's name
REVALIDATE = "no-cache"


class _File:
    """A file in memory. A page whose style sheet came too late stays without one, so no answer here waits for a disk
    or a thread: on a hub that has too much to do, it would be the deadline of a request that answers."""

    def __init__(self, path: Path, cache: str) -> None:
        self._content = path.read_bytes()
        self._type = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        self._headers = {
            "cache-control": cache,
            "etag": f'W/"{hashlib.sha256(self._content).hexdigest()[:32]}"',
            "vary": "accept-encoding",
        }

    @cached_property
    def _packed(self) -> bytes:
        return gzip.compress(self._content, mtime=0)

    async def answer(self, request: Request) -> Response:
        if self._headers["etag"] in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=self._headers)
        if "gzip" in request.headers.get("accept-encoding", ""):
            headers = self._headers | {"content-encoding": "gzip"}
            return Response(self._packed, media_type=self._type, headers=headers)
        return Response(self._content, media_type=self._type, headers=self._headers)


def router(folder: Path) -> APIRouter:
    """`/` (index.html), the files beside it, and `/assets/…`; nothing where the page was not built."""
    routes = APIRouter(include_in_schema=False)
    # The names are fixed here: what a request says never becomes a path.
    assets = _files(folder / "assets", IMMUTABLE)
    for name, file in _files(folder, REVALIDATE).items():
        routes.add_api_route("/" if name == "index.html" else f"/{name}", file.answer, methods=["GET", "HEAD"])

    async def asset(name: str, request: Request) -> Response:
        if name not in assets:
            raise HTTPException(404)
        return await assets[name].answer(request)

    routes.add_api_route("/assets/{name}", asset, methods=["GET", "HEAD"])
    return routes


def _files(folder: Path, cache: str) -> dict[str, _File]:
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    return {path.name: _File(path, cache) for path in found if path.is_file()}
