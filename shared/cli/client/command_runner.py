"""Running a client's command: the connection, the loop, and how it ends whatever happens."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

from shared.cli.client.api import ApiClient
from shared.cli.client.connection import find_connection
from shared.cli.client.errors import CommandError, ExitCode
from shared.cli.client.output import Output


class AccessOptions(NamedTuple):
    """What every client's command is given."""

    url: str | None
    key: str | None
    as_json: bool


class Interrupted(CommandError):
    """Ctrl-C: what that leaves as it is."""

    exit_code = ExitCode.INTERRUPTED
    code = "INTERRUPTED"


Body = Callable[[asyncio.Runner, ApiClient, Output], int]


def run_command(access: AccessOptions, body: Body) -> int:
    """Runs the command. Returns its exit code; every end has a sentence, and with `--json` a document."""
    out = Output(as_json=access.as_json)
    try:
        api = ApiClient(find_connection(access.url, access.key, os.environ, Path.cwd()), out.say)
        with asyncio.Runner() as runner:
            try:
                return body(runner, api, out)
            finally:
                runner.run(api.close())
    except CommandError as stop:
        return out.failed(stop)
    except KeyboardInterrupt:
        return out.failed(Interrupted("interrupted"))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # whoever read our output has gone, as `head` does
        return ExitCode.DONE


def run_async_command(access: AccessOptions, ask: Callable[[ApiClient, Output], Awaitable[int]]) -> int:
    """The same for a command that only asks the API."""

    async def asked(api: ApiClient, out: Output) -> int:
        return await ask(api, out)

    return run_command(access, lambda runner, api, out: runner.run(asked(api, out)))
