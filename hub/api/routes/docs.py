"""The API's own documentation: OpenAPI, AsyncAPI, and a page to try it, with everything served by the hub."""

from functools import cache
from pathlib import Path

import orjson
from fastapi import APIRouter, FastAPI, Response
from starlette.staticfiles import StaticFiles

from hub.api import asyncapi
from hub.engine.teams import form

DOCS_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
"""Swagger UI sets style attributes; its scripts are files."""

_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Agent Hub: API</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/docs/assets/swagger-ui.css">
</head>
<body>
<div id="docs"></div>
<script src="/docs/assets/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
"""

_START = """\
SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#docs",
  deepLinking: true,
  persistAuthorization: false,
  syntaxHighlight: false,
  validatorUrl: null
});
"""

_DOCUMENT_HEADERS = {"cache-control": "no-cache"}


def router(app: FastAPI, assets: Path) -> APIRouter:
    """`/openapi.json`, `/asyncapi.json`, `/v1/teams/schema.json`, `/docs`.

    The documents are the same for everybody and written once.
    """

    @cache  # at the first question: they take 0.3 s, which no worker has at its start
    def openapi() -> bytes:
        return orjson.dumps(app.openapi(), option=orjson.OPT_INDENT_2)

    @cache
    def events() -> bytes:
        described = asyncapi.describe(title=app.title, version=app.version)
        return orjson.dumps(described, option=orjson.OPT_INDENT_2)

    @cache
    def teams() -> bytes:
        return orjson.dumps(form.schema(), option=orjson.OPT_INDENT_2)

    # Not coroutines: they run in a thread, so that the first one does not stop every socket.
    def openapi_json() -> Response:
        return Response(openapi(), media_type="application/json", headers=_DOCUMENT_HEADERS)

    def asyncapi_json() -> Response:
        return Response(events(), media_type="application/json", headers=_DOCUMENT_HEADERS)

    def teams_json() -> Response:
        return Response(teams(), media_type="application/schema+json", headers=_DOCUMENT_HEADERS)

    async def page() -> Response:
        headers = _DOCUMENT_HEADERS | {"content-security-policy": DOCS_POLICY}
        return Response(_PAGE, media_type="text/html", headers=headers)

    async def start_js() -> Response:
        return Response(_START, media_type="text/javascript", headers=_DOCUMENT_HEADERS)

    routes = APIRouter(include_in_schema=False)
    routes.add_api_route("/openapi.json", openapi_json, methods=["GET"])
    routes.add_api_route("/asyncapi.json", asyncapi_json, methods=["GET"])
    routes.add_api_route("/v1/teams/schema.json", teams_json, methods=["GET"])
    routes.add_api_route("/docs", page, methods=["GET"])
    routes.add_api_route("/docs/start.js", start_js, methods=["GET"])
    app.mount("/docs/assets", StaticFiles(directory=assets))
    return routes
