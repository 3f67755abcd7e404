"""The chat page: the built bundle under `hub/static/web`."""

from pathlib import Path

from fastapi import APIRouter, FastAPI, Request, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

IMMUTABLE = "public, max-age=31536000, immutable"  # the build puts a hash of the content into each asset's name
REVALIDATE = "no-cache"


class _Assets(StaticFiles):
    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        if response.status_code in (200, 304):
            response.headers["cache-control"] = IMMUTABLE
        return response


def router(app: FastAPI, folder: Path) -> APIRouter:
    """`/` (index.html), the files beside it, and `/assets/…`; nothing where the page was not built."""
    files = StaticFiles(directory=folder, check_dir=False)
    routes = APIRouter(include_in_schema=False)

    async def file(request: Request) -> Response:
        name = request.scope["route"].path.lstrip("/") or "index.html"
        response = await files.get_response(name, request.scope)
        response.headers["cache-control"] = REVALIDATE
        return response

    # The names are fixed here: what a request says never becomes a path.
    names = sorted(entry.name for entry in folder.iterdir() if entry.is_file()) if folder.is_dir() else []
    for name in names:
        routes.add_api_route("/" if name == "index.html" else f"/{name}", file, methods=["GET"])
    if (folder / "assets").is_dir():
        app.mount("/assets", _Assets(directory=folder / "assets"))
    return routes
