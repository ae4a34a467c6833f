"""Running a client's command: the connection, the loop, and how it ends whatever happens."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

from shared.cli.client.api import Api
from shared.cli.client.connection import find
from shared.cli.client.errors import Exit, Stop
from shared.cli.client.output import Output


class Access(NamedTuple):
    """What every client's command is given."""

    url: str | None
    key: str | None
    as_json: bool


class Interrupted(Stop):
    """Ctrl-C: what that leaves as it is."""

    exit_code = Exit.INTERRUPTED
    code = "INTERRUPTED"


Body = Callable[[asyncio.Runner, Api, Output], int]


def command(access: Access, body: Body) -> int:
    """Runs the command. Returns its exit code; every end has a sentence, and with `--json` a document."""
    out = Output(as_json=access.as_json)
    try:
        api = Api(find(access.url, access.key, os.environ, Path.cwd()), out.say)
        with asyncio.Runner() as runner:
            try:
                return body(runner, api, out)
            finally:
                runner.run(api.close())
    except Stop as stop:
        return out.failed(stop)
    except KeyboardInterrupt:
        return out.failed(Interrupted("interrupted"))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # whoever read our output has gone, as `head` does
        return Exit.DONE


def asking(access: Access, ask: Callable[[Api, Output], Awaitable[int]]) -> int:
    """The same for a command that only asks the API."""

    async def asked(api: Api, out: Output) -> int:
        return await ask(api, out)

    return command(access, lambda runner, api, out: runner.run(asked(api, out)))
