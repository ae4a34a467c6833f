"""Runs a client command and returns its exit code."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

from shared.cli.client.api import ApiClient
from shared.cli.client.connection import find_connection
from shared.cli.client.errors import CommandError, ExitCode, Interrupted
from shared.cli.client.output import Output


class AccessOptions(NamedTuple):
    """Options that every client command has."""

    url: str | None
    key: str | None
    as_json: bool


def run_command(access: AccessOptions, body: Callable[[asyncio.Runner, ApiClient, Output], int]) -> int:
    """Run `body`; an error is printed as a sentence and, with `--json`, as a document."""
    out = Output(as_json=access.as_json)
    try:
        api = ApiClient(find_connection(access.url, access.key, os.environ, Path.cwd()), out.info)
        with asyncio.Runner() as runner:
            try:
                return body(runner, api, out)
            finally:
                runner.run(api.close())
    except CommandError as error:
        return out.print_error(error)
    except KeyboardInterrupt:
        return out.print_error(Interrupted("interrupted"))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the reader of our output is gone, as after `| head`
        return ExitCode.DONE


def run_async_command(access: AccessOptions, body: Callable[[ApiClient, Output], Awaitable[int]]) -> int:
    """Run an asynchronous `body` as `run_command` does."""

    async def run(api: ApiClient, out: Output) -> int:
        return await body(api, out)

    return run_command(access, lambda runner, api, out: runner.run(run(api, out)))
