"""A tiny app behind one middleware, asked without a socket."""

from collections.abc import Mapping

import httpx
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from tests.support.process import PLAIN


async def scored(scope: Scope, receive: Receive, send: Send) -> None:
    """An app that answers whatever it gets."""
    await PlainTextResponse("scored")(scope, receive, send)


async def ask(
    app: ASGIApp,
    path: str = "/predict",
    method: str = "POST",
    headers: Mapping[str, str] | None = None,
    client: str = "203.0.113.7",
) -> httpx.Response:
    """The app's answer to a request from `client`."""
    transport = httpx.ASGITransport(app, client=(client, 5000))
    async with httpx.AsyncClient(transport=transport, base_url="http://miles.test", verify=PLAIN) as session:
        return await session.request(method, path, headers=headers)
