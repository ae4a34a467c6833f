"""A bare aiohttp server that decodes JSON and sends it back: a gateway without any work."""

import asyncio

import msgspec
import uvloop
from aiohttp import web


async def echo(request: web.Request) -> web.Response:
    """Decode the body, and send it back."""
    body = msgspec.json.decode(await request.read())
    return web.Response(body=msgspec.json.encode(body), content_type="application/json")


async def main() -> None:
    """Serve on a free port, and print it."""
    application = web.Application(client_max_size=2**20)
    application.router.add_post("/{path:.*}", echo)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main())
