"""`ovnpay pay FILE`: reads, checks, shows, asks, hands in, releases or schedules, follows, and says how it ended."""

import asyncio
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

import typer

from shared.cli.client import csv_table, payday_plan, results, settlement_file, submission, summary
from shared.cli.client import drivers as roster
from shared.cli.client import release_time as times
from shared.cli.client.api import Api, Json
from shared.cli.client.cells import money
from shared.cli.client.csv_table import Problem
from shared.cli.client.errors import Exit, Misused, Refused, Stop, Unreachable
from shared.cli.client.follow import follow, over
from shared.cli.client.options import Options, wished
from shared.cli.client.output import Output
from shared.cli.client.payday_plan import Plan, RowsRefused
from shared.cli.client.run_command import Access, Interrupted, command
from shared.cli.client.submission import Handed, Item, Next, Part

SAFE = "running the same command again is safe: it pays once"


class BadFile(Misused):
    """The file can't be handed in as it is; nothing was sent."""

    code = "BAD_FILE"

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__(f"{len(problems):,} errors; nothing was sent")
        self.problems = problems


def pay(options: Options, access: Access) -> int:
    """Runs the command; returns its exit code."""
    return command(access, lambda runner, api, out: Payday(options, api, out).run(runner))


class Payday:
    """One run of the command. What it has done so far decides what an interruption leaves behind."""

    def __init__(self, options: Options, api: Api, out: Output) -> None:
        self._options, self._api, self._out = options, api, out
        self._wish = wished(options, datetime.now(UTC))
        self._results = options.results or results.beside(options.file)
        self._sending = False
        self._batch_ids: list[str] = []
        self._released: list[str] = []
        self._document: Json = {"file": str(options.file)}

    def run(self, runner: asyncio.Runner) -> int:
        """All of it. The question is asked outside the loop, where Ctrl-C ends it at once."""
        try:
            results.check_place(self._results, self._options.file)
            read, made = runner.run(self._prepare())
            if not self._agreed(made):
                self._out.say("nothing was handed in")
                return self._end(Exit.DONE if self._options.dry_run else Exit.NOT_SENT, "nothing was handed in")
            return runner.run(self._carry_out(read, made))
        except (KeyboardInterrupt, typer.Abort):
            return self._fail(Interrupted(self._left_behind("interrupted")))
        except Unreachable as error:
            return self._fail(Unreachable(self._left_behind(str(error))))
        except (BadFile, RowsRefused) as bad:
            for problem in bad.problems:
                self._out.line(problem.shown(str(self._options.file)))
            self._document["problems"] = [_public(problem) for problem in bad.problems]
            return self._fail(bad)
        except Stop as stop:
            if self._released:
                self._out.say(f"released, and going on: {' '.join(self._released)}")
            elif self._batch_ids:
                self._out.say(f"handed in and not released: {' '.join(self._batch_ids)}")
            return self._fail(stop)

    async def _prepare(self) -> tuple[settlement_file.Settlement, Plan]:
        """Reads and checks the file, and makes the plan. Nothing is written anywhere."""
        options = self._options
        read = settlement_file.understand(csv_table.read(options.file), options.urgency)
        problems = list(read.problems)
        try:
            drivers = await roster.load(self._api, (row.driver for row in read.rows), self._out.say)
        except Stop as stop:
            if not problems:
                raise
            self._out.say(f"the drivers could not be checked: {stop}")
        else:
            problems += roster.check(read, drivers, allow_duplicates=options.allow_duplicates)
        if problems:
            raise BadFile(sorted(problems, key=lambda problem: problem.line or 0))
        parts = submission.parts(read.rows, drivers)
        made = await payday_plan.make(self._api, read, parts, self._wish)
        return read, made

    def _agreed(self, made: Plan) -> bool:
        """Shows the plan, and has it agreed to where anything is left to do."""
        options, wish = self._options, self._wish
        payday_plan.show(made, wish, self._api, self._out, name=str(options.file))
        self._document["plan"] = made.public()
        if made.missing_cents:
            there = [one.batch["id"] for one in made.planned if one.batch is not None]
            state = f"It is handed in and waits as {', '.join(there)}" if there else "Nothing was handed in"
            raise _short(made.available_cents, made.available_cents + made.missing_cents, state)
        if options.dry_run or not made.waits:
            return not options.dry_run
        if options.yes:
            return True
        if not sys.stdin.isatty():
            raise Misused("Say --yes to pay without being asked; nothing was handed in")
        what = f"{made.sum('payoutCount'):,} payouts, {money(made.sum('totalAmount'))}"
        verb = "Hand in and hold" if wish.hold else "Pay" if wish.at is None else "Schedule"
        return typer.confirm(f"{verb} {what}, {payday_plan.when(wish)}?", err=True)

    async def _carry_out(self, read: settlement_file.Settlement, made: Plan) -> int:
        """Hands in what is not there, does what is left to do with each batch, and follows them."""
        self._sending = True
        handed = []
        for one in made.planned:
            done = (
                Handed(one.batch, before=True)
                if one.batch is not None
                else await submission.hand_in(self._api, one.part, one.body, one.free)
            )
            handed.append(done)
            self._batch_ids.append(done.batch["id"])
            if done.before and one.batch is None:
                self._out.say(payday_plan.already(done.batch))
            elif not done.before:
                self._out.say(f"handed in as {done.batch['id']}")
        steps = [await self._take_step(one) for one in handed]
        self._document["alreadyHandedIn"] = all(one.before for one in handed)
        watch = " ".join(("ovnpay batches follow", *self._batch_ids))
        if Next.DIFFERS in steps:
            return self._end(Exit.FAILED)
        self._released = self._batch_ids if all(step is Next.FOLLOW for step in steps) else self._released
        if Next.FOLLOW not in steps or not self._options.follow:
            self._out.line(f"{self._rest(steps)}; watch it: {watch}")
            await self._write_results(read, [one.part for one in made.planned])
            return self._end(Exit.DONE, "released" if Next.FOLLOW in steps else "waiting")
        state = await follow(self._api, self._batch_ids, self._out)
        payouts = await self._write_results(read, [one.part for one in made.planned])
        return self._sum_up(payouts, state.batches)

    async def _take_step(self, handed: Handed) -> Next:
        """Does what is left to do with a batch; returns what is to be done from then on."""
        batch, wish = handed.batch, self._wish
        step = submission.next_step(batch, wish)
        match step:
            case Next.RELEASE:
                try:
                    await self._api.of_batch(batch["id"], "release")
                except Refused as refused:
                    if refused.code != "INSUFFICIENT_FUNDS":
                        raise
                    details = refused.details
                    available, required = int(details.get("available", 0)), int(details.get("required", 0))
                    raise _short(available, required, f"It is handed in and waits as {batch['id']}") from None
                self._released.append(batch["id"])
                return Next.FOLLOW
            case Next.RESCHEDULE:
                await self._api.reschedule(batch["id"], wish.at)
                return Next.REST
            case Next.DIFFERS:
                self._out.say(
                    f"{batch['id']} is scheduled for {times.here(batch['scheduledFor'])} by an earlier run, which is "
                    f"not what was asked for now; nothing was changed. `ovnpay batches release {batch['id']}` pays it "
                    f"now, `ovnpay batches reschedule {batch['id']} --at …` gives it another time"
                )
        return step

    def _rest(self, steps: Sequence[Next]) -> str:
        if Next.FOLLOW in steps:
            return "released"
        return (
            "held: it is paid once it is released"
            if self._wish.at is None
            else f"scheduled: {payday_plan.when(self._wish)}"
        )

    async def _write_results(self, read: settlement_file.Settlement, parts: Sequence[Part]) -> list[Json]:
        payouts = [payout for batch_id in self._batch_ids async for payout in self._api.payouts_of(batch_id)]
        items: list[Item] = [item for part in parts for item in part.items]
        content = results.text(results.of_rows(read.table, items, payouts), read.table.delimiter)
        try:
            results.write(self._results, content)
        except OSError as error:
            again = ", ".join(f"`ovnpay batches results {batch_id}`" for batch_id in self._batch_ids)
            self._out.say(f"{self._results} can't be written ({error.strerror}); {again} prints the results")
        else:
            self._document["results"] = str(self._results)
            self._out.line(f"results: {self._results}")
        return payouts

    def _sum_up(self, payouts: list[Json], batches: list[Json]) -> int:
        summed = summary.of(payouts, batches)
        summary.show(summed, self._out)
        self._document |= {"summary": summed, "batches": batches}
        for batch in batches:
            if "failure" in batch:
                self._out.say(f"{batch['id']}: {batch['failure']['message']}")
            elif summed["notPaid"].get("failed") and over(batch):
                self._out.say(f"to try the failed ones again: ovnpay batches retry-failed {batch['id']}")
        everybody = payouts and summed["paid"] == len(payouts)
        return self._end(Exit.DONE if everybody else Exit.FAILED, "paid" if everybody else "not all paid")

    def _left_behind(self, what: str) -> str:
        """What is true after the command stops early."""
        if self._released and len(self._released) == len(self._batch_ids):
            watch = " ".join(self._released)
            return f"{what}; the payouts go on without us. To watch them again: ovnpay batches follow {watch}"
        if self._sending:
            return f"{what} while handing in or releasing, which may have happened or not; {SAFE}"
        return f"{what}; nothing was handed in"

    def _fail(self, stop: Stop) -> int:
        self._out.say(str(stop))
        self._document["error"] = stop.public()
        return self._end(stop.exit_code)

    def _end(self, code: Exit, outcome: str | None = None) -> int:
        if outcome is not None:
            self._document["outcome"] = outcome
        if self._batch_ids:
            self._document["batchIds"] = self._batch_ids
        self._out.document({**self._document, "exitCode": int(code)})
        return code


def _short(available_cents: int, required_cents: int, state: str) -> Stop:
    stop = Stop(
        f"{money(required_cents - available_cents)} is missing: {money(required_cents)} is needed, "
        f"{money(available_cents)} is available. {state}, and no money of it moved. "
        "Top up, and run the same command again: it goes on from here"
    )
    stop.code = "INSUFFICIENT_FUNDS"
    return stop


def _public(problem: Problem) -> Json:
    return {"row": problem.line, "column": problem.column or None, "message": problem.message}
