"""`ovnpay pay FILE`: reads, checks, shows, asks, hands in, releases or schedules, follows, and says how it ended."""

import asyncio
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

import typer

from shared.cli.client import batch_drafts, csv_table, payment_plan, results_file, settlement_file, summary
from shared.cli.client import drivers as roster
from shared.cli.client import release_time as times
from shared.cli.client.api import ApiClient, Json
from shared.cli.client.batch_drafts import BatchDraft, CreatedBatch, NextStep, PayableRow
from shared.cli.client.cells import format_money
from shared.cli.client.command_runner import AccessOptions, Interrupted, run_command
from shared.cli.client.csv_table import FileProblem
from shared.cli.client.errors import ApiRejected, ApiUnreachable, CommandError, ExitCode, UsageError
from shared.cli.client.follow import follow_batches, is_batch_finished
from shared.cli.client.output import Output
from shared.cli.client.pay_options import PayOptions, payment_terms
from shared.cli.client.payment_plan import PaymentPlan, RowsRejected

SAFE_TO_REPEAT = "running the same command again is safe: it pays once"


class InvalidFile(UsageError):
    """The file can't be handed in as it is; nothing was sent."""

    code = "BAD_FILE"

    def __init__(self, problems: list[FileProblem]) -> None:
        super().__init__(f"{len(problems):,} errors; nothing was sent")
        self.problems = problems


def pay_file(options: PayOptions, access: AccessOptions) -> int:
    """Runs the command; returns its exit code."""
    return run_command(access, lambda runner, api, out: PayCommand(options, api, out).run(runner))


class PayCommand:
    """One run of the command. What it has done so far decides what an interruption leaves behind."""

    def __init__(self, options: PayOptions, api: ApiClient, out: Output) -> None:
        self._options, self._api, self._out = options, api, out
        self._wish = payment_terms(options, datetime.now(UTC))
        self._results = options.results or results_file.default_results_path(options.file)
        self._sending = False
        self._batch_ids: list[str] = []
        self._released: list[str] = []
        self._document: Json = {"file": str(options.file)}

    def run(self, runner: asyncio.Runner) -> int:
        """All of it. The question is asked outside the loop, where Ctrl-C ends it at once."""
        try:
            results_file.check_results_path(self._results, self._options.file)
            read, made = runner.run(self._prepare())
            if not self._agreed(made):
                self._out.say("nothing was handed in")
                return self._end(ExitCode.DONE if self._options.dry_run else ExitCode.NOT_SENT, "nothing was handed in")
            return runner.run(self._carry_out(read, made))
        except (KeyboardInterrupt, typer.Abort):
            return self._fail(Interrupted(self._left_behind("interrupted")))
        except ApiUnreachable as error:
            return self._fail(ApiUnreachable(self._left_behind(str(error))))
        except (InvalidFile, RowsRejected) as bad:
            for problem in bad.problems:
                self._out.line(problem.shown(str(self._options.file)))
            self._document["problems"] = [_public(problem) for problem in bad.problems]
            return self._fail(bad)
        except CommandError as stop:
            if self._released:
                self._out.say(f"released, and going on: {' '.join(self._released)}")
            elif self._batch_ids:
                self._out.say(f"handed in and not released: {' '.join(self._batch_ids)}")
            return self._fail(stop)

    async def _prepare(self) -> tuple[settlement_file.Settlement, PaymentPlan]:
        """Reads and checks the file, and makes the plan. Nothing is written anywhere."""
        options = self._options
        read = settlement_file.parse_settlement(csv_table.read_csv_file(options.file), options.urgency)
        problems = list(read.problems)
        try:
            drivers = await roster.load_driver_index(self._api, (row.driver for row in read.rows), self._out.say)
        except CommandError as stop:
            if not problems:
                raise
            self._out.say(f"the drivers could not be checked: {stop}")
        else:
            problems += roster.check_settlement_drivers(read, drivers, allow_duplicates=options.allow_duplicates)
        if problems:
            raise InvalidFile(sorted(problems, key=lambda problem: problem.line or 0))
        parts = batch_drafts.draft_batches(read.rows, drivers)
        made = await payment_plan.build_payment_plan(self._api, read, parts, self._wish)
        return read, made

    def _agreed(self, made: PaymentPlan) -> bool:
        """Shows the plan, and has it agreed to where anything is left to do."""
        options, wish = self._options, self._wish
        payment_plan.print_payment_plan(made, wish, self._api, self._out, name=str(options.file))
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
            raise UsageError("Say --yes to pay without being asked; nothing was handed in")
        what = f"{made.sum('payoutCount'):,} payouts, {format_money(made.sum('totalAmount'))}"
        verb = "Hand in and hold" if wish.hold else "Pay" if wish.at is None else "Schedule"
        return typer.confirm(f"{verb} {what}, {payment_plan.describe_schedule(wish)}?", err=True)

    async def _carry_out(self, read: settlement_file.Settlement, made: PaymentPlan) -> int:
        """Hands in what is not there, does what is left to do with each batch, and follows them."""
        self._sending = True
        handed = []
        for one in made.planned:
            done = (
                CreatedBatch(one.batch, before=True)
                if one.batch is not None
                else await batch_drafts.create_batch_once(self._api, one.part, one.body, one.free)
            )
            handed.append(done)
            self._batch_ids.append(done.batch["id"])
            if done.before and one.batch is None:
                self._out.say(payment_plan.describe_existing_batch(done.batch))
            elif not done.before:
                self._out.say(f"handed in as {done.batch['id']}")
        steps = [await self._take_step(one) for one in handed]
        self._document["alreadyHandedIn"] = all(one.before for one in handed)
        watch = " ".join(("ovnpay batches follow", *self._batch_ids))
        if NextStep.DIFFERS in steps:
            return self._end(ExitCode.FAILED)
        self._released = self._batch_ids if all(step is NextStep.FOLLOW for step in steps) else self._released
        if NextStep.FOLLOW not in steps or not self._options.follow:
            self._out.line(f"{self._rest(steps)}; watch it: {watch}")
            await self._write_results(read, [one.part for one in made.planned])
            return self._end(ExitCode.DONE, "released" if NextStep.FOLLOW in steps else "waiting")
        state = await follow_batches(self._api, self._batch_ids, self._out)
        payouts = await self._write_results(read, [one.part for one in made.planned])
        return self._sum_up(payouts, state.batches)

    async def _take_step(self, handed: CreatedBatch) -> NextStep:
        """Does what is left to do with a batch; returns what is to be done from then on."""
        batch, wish = handed.batch, self._wish
        step = batch_drafts.next_step(batch, wish)
        match step:
            case NextStep.RELEASE:
                try:
                    await self._api.of_batch(batch["id"], "release")
                except ApiRejected as refused:
                    if refused.code != "INSUFFICIENT_FUNDS":
                        raise
                    details = refused.details
                    available, required = int(details.get("available", 0)), int(details.get("required", 0))
                    raise _short(available, required, f"It is handed in and waits as {batch['id']}") from None
                self._released.append(batch["id"])
                return NextStep.FOLLOW
            case NextStep.RESCHEDULE:
                await self._api.reschedule(batch["id"], wish.at)
                return NextStep.REST
            case NextStep.DIFFERS:
                self._out.say(
                    f"{batch['id']} is scheduled for {times.format_local_time(batch['scheduledFor'])} by an earlier "
                    f"run, not as asked for now; nothing was changed. `ovnpay batches release {batch['id']}` pays it "
                    f"now, `ovnpay batches reschedule {batch['id']} --at …` gives it another time"
                )
        return step

    def _rest(self, steps: Sequence[NextStep]) -> str:
        if NextStep.FOLLOW in steps:
            return "released"
        return (
            "held: it is paid once it is released"
            if self._wish.at is None
            else f"scheduled: {payment_plan.describe_schedule(self._wish)}"
        )

    async def _write_results(self, read: settlement_file.Settlement, parts: Sequence[BatchDraft]) -> list[Json]:
        payouts = [payout for batch_id in self._batch_ids async for payout in self._api.payouts_of(batch_id)]
        items: list[PayableRow] = [item for part in parts for item in part.items]
        content = results_file.format_csv(
            results_file.settlement_results(read.table, items, payouts), read.table.delimiter
        )
        try:
            results_file.replace_file(self._results, content)
        except OSError as error:
            again = ", ".join(f"`ovnpay batches results {batch_id}`" for batch_id in self._batch_ids)
            self._out.say(f"{self._results} can't be written ({error.strerror}); {again} prints the results")
        else:
            self._document["results"] = str(self._results)
            self._out.line(f"results: {self._results}")
        return payouts

    def _sum_up(self, payouts: list[Json], batches: list[Json]) -> int:
        summed = summary.summarize_payouts(payouts, batches)
        summary.print_summary(summed, self._out)
        self._document |= {"summary": summed, "batches": batches}
        for batch in batches:
            if "failure" in batch:
                self._out.say(f"{batch['id']}: {batch['failure']['message']}")
            elif summed["notPaid"].get("failed") and is_batch_finished(batch):
                self._out.say(f"to try the failed ones again: ovnpay batches retry-failed {batch['id']}")
        everybody = payouts and summed["paid"] == len(payouts)
        return self._end(ExitCode.DONE if everybody else ExitCode.FAILED, "paid" if everybody else "not all paid")

    def _left_behind(self, what: str) -> str:
        """What is true after the command stops early."""
        if self._released and len(self._released) == len(self._batch_ids):
            watch = " ".join(self._released)
            return f"{what}; the payouts go on without us. To watch them again: ovnpay batches follow {watch}"
        if self._sending:
            return f"{what} while handing in or releasing, which may have happened or not; {SAFE_TO_REPEAT}"
        return f"{what}; nothing was handed in"

    def _fail(self, stop: CommandError) -> int:
        self._out.say(str(stop))
        self._document["error"] = stop.public()
        return self._end(stop.exit_code)

    def _end(self, code: ExitCode, outcome: str | None = None) -> int:
        if outcome is not None:
            self._document["outcome"] = outcome
        if self._batch_ids:
            self._document["batchIds"] = self._batch_ids
        self._out.document({**self._document, "exitCode": int(code)})
        return code


def _short(available_cents: int, required_cents: int, state: str) -> CommandError:
    stop = CommandError(
        f"{format_money(required_cents - available_cents)} is missing: {format_money(required_cents)} is needed, "
        f"{format_money(available_cents)} is available. {state}, and no money of it moved. "
        "Top up, and run the same command again: it goes on from here"
    )
    stop.code = "INSUFFICIENT_FUNDS"
    return stop


def _public(problem: FileProblem) -> Json:
    return {"row": problem.line, "column": problem.column or None, "message": problem.message}
