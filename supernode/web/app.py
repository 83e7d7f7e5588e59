"""``/healthz`` and ``/api/status``, served by Hypercorn on the same loop. Shell."""

import socket
from collections.abc import Callable, Mapping

import trio
from hypercorn.config import Config
from hypercorn.trio import serve
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route


def web_app(status: Callable[[], Mapping[str, object]]) -> Starlette:
    """The routes; ``status`` answers from memory."""

    async def healthz(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def api_status(_: Request) -> Response:
        return JSONResponse(dict(status()), headers={"Cache-Control": "no-store"})

    return Starlette(routes=[Route("/healthz", healthz), Route("/api/status", api_status)])


async def run_web(
    listener: socket.socket,
    status: Callable[[], Mapping[str, object]],
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serves the web port until cancelled; takes the listening socket over."""
    config = Config()
    config.bind = [f"fd://{listener.detach()}"]
    config.accesslog = None
    config.errorlog = None
    config.server_names = []
    config.include_server_header = False
    await serve(web_app(status), config, shutdown_trigger=trio.sleep_forever, task_status=task_status)  # type: ignore[arg-type]
