"""`ovnpay pay FILE`: check, plan, confirm, create, release, follow."""

import asyncio
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

import typer

from shared.cli.client import batch_drafts, results_file
from shared.cli.client.api import ApiClient, Json
from shared.cli.client.batch_drafts import BatchDraft, CreatedBatch, NextStep
from shared.cli.client.command_runner import AccessOptions, run_command
from shared.cli.client.csv_table import FileProblem, read_csv_file
from shared.cli.client.drivers import check_settlement_drivers, load_driver_index
from shared.cli.client.errors import ApiRejected, ApiUnreachable, CommandError, ExitCode, Interrupted, UsageError
from shared.cli.client.follow import follow_batches, is_batch_finished
from shared.cli.client.formatting import format_local_time, format_money
from shared.cli.client.output import Output
from shared.cli.client.pay_options import PayOptions, payment_terms
from shared.cli.client.payment_plan import PaymentPlan, RowsRejected, build_payment_plan
from shared.cli.client.plan_output import describe_existing_batch, describe_schedule, print_payment_plan
from shared.cli.client.settlement_file import Settlement, parse_settlement
from shared.cli.client.summary import print_summary, summarize_payouts

SAFE_TO_REPEAT = "running the same command again is safe: it pays once"


class InvalidFile(UsageError):
    """The file has errors; nothing was sent."""

    code = "BAD_FILE"

    def __init__(self, problems: list[FileProblem]) -> None:
        super().__init__(f"{len(problems):,} errors; nothing was sent")
        self.problems = problems


def pay_file(options: PayOptions, access: AccessOptions) -> int:
    """Run the command and return its exit code."""
    return run_command(access, lambda runner, api, out: PayCommand(options, api, out).run(runner))


class PayCommand:
    """One run of the command."""

    def __init__(self, options: PayOptions, api: ApiClient, out: Output) -> None:
        self._options, self._api, self._out = options, api, out
        self._terms = payment_terms(options, datetime.now(UTC))
        self._results_path = options.results or results_file.default_results_path(options.file)
        self._is_submitting = False
        self._batch_ids: list[str] = []
        self._released_ids: list[str] = []
        self._document: Json = {"file": str(options.file)}

    def run(self, runner: asyncio.Runner) -> int:
        """Run every step. The confirmation runs outside the event loop: there Ctrl-C ends it at once."""
        try:
            results_file.check_results_path(self._results_path, self._options.file)
            settlement, plan = runner.run(self._prepare())
            if not self._confirm(plan):
                self._out.info("nothing was submitted")
                code = ExitCode.DONE if self._options.dry_run else ExitCode.NOT_SENT
                return self._finish(code, "nothing was handed in")
            return runner.run(self._carry_out(settlement, plan))
        except (KeyboardInterrupt, typer.Abort):
            return self._fail(Interrupted(self._describe_progress("interrupted")))
        except ApiUnreachable as error:
            return self._fail(ApiUnreachable(self._describe_progress(str(error))))
        except (InvalidFile, RowsRejected) as error:
            for problem in error.problems:
                self._out.print_line(problem.format(str(self._options.file)))
            self._document["problems"] = [_problem_json(problem) for problem in error.problems]
            return self._fail(error)
        except CommandError as error:
            if self._released_ids:
                self._out.info(f"released, and continuing: {' '.join(self._released_ids)}")
            elif self._batch_ids:
                self._out.info(f"submitted and not released: {' '.join(self._batch_ids)}")
            return self._fail(error)

    async def _prepare(self) -> tuple[Settlement, PaymentPlan]:
        options = self._options
        settlement = parse_settlement(read_csv_file(options.file), options.urgency)
        problems = list(settlement.problems)
        try:
            drivers = await load_driver_index(self._api, (row.driver for row in settlement.rows), self._out.info)
        except CommandError as error:
            if not problems:
                raise
            self._out.info(f"the drivers could not be checked: {error}")
        else:
            problems += check_settlement_drivers(settlement, drivers, allow_duplicates=options.allow_duplicates)
        if problems:
            raise InvalidFile(sorted(problems, key=lambda problem: problem.line or 0))
        drafts = batch_drafts.draft_batches(settlement.rows, drivers)
        return settlement, await build_payment_plan(self._api, settlement, drafts, self._terms)

    def _confirm(self, plan: PaymentPlan) -> bool:
        options, terms = self._options, self._terms
        print_payment_plan(plan, terms, self._api, self._out, file_name=str(options.file))
        self._document["plan"] = plan.to_json()
        if plan.missing_cents:
            existing = [planned.batch["id"] for planned in plan.planned if planned.batch is not None]
            state = f"It is submitted and waits as {', '.join(existing)}" if existing else "Nothing was submitted"
            raise _insufficient_funds(plan.available_cents, plan.available_cents + plan.missing_cents, state)
        if options.dry_run or not plan.needs_confirmation:
            return not options.dry_run
        if options.yes:
            return True
        if not sys.stdin.isatty():
            raise UsageError("Give --yes to pay without a confirmation; nothing was submitted")
        payouts = f"{plan.total('payoutCount'):,} payouts, {format_money(plan.total('totalAmount'))}"
        verb = "Submit and hold" if terms.hold else "Pay" if terms.scheduled_for is None else "Schedule"
        return typer.confirm(f"{verb} {payouts}, {describe_schedule(terms)}?", err=True)

    async def _carry_out(self, settlement: Settlement, plan: PaymentPlan) -> int:
        self._is_submitting = True
        created_batches = []
        for planned in plan.planned:
            created = (
                CreatedBatch(planned.batch, existed_before=True)
                if planned.batch is not None
                else await batch_drafts.create_batch_once(self._api, planned.draft, planned.body, planned.unused_keys)
            )
            created_batches.append(created)
            self._batch_ids.append(created.batch["id"])
            if created.existed_before and planned.batch is None:
                self._out.info(describe_existing_batch(created.batch))
            elif not created.existed_before:
                self._out.info(f"submitted as {created.batch['id']}")
        steps = [await self._take_step(created.batch) for created in created_batches]
        self._document["alreadyHandedIn"] = all(created.existed_before for created in created_batches)
        if NextStep.CONFLICT in steps:
            return self._finish(ExitCode.FAILED)
        if all(step is NextStep.FOLLOW for step in steps):
            self._released_ids = self._batch_ids
        drafts = [planned.draft for planned in plan.planned]
        if NextStep.FOLLOW not in steps or not self._options.follow:
            watch = " ".join(("ovnpay batches follow", *self._batch_ids))
            self._out.print_line(f"{self._describe_state(steps)}; watch it: {watch}")
            await self._write_results(settlement, drafts)
            return self._finish(ExitCode.DONE, "released" if NextStep.FOLLOW in steps else "waiting")
        state = await follow_batches(self._api, self._batch_ids, self._out)
        payouts = await self._write_results(settlement, drafts)
        return self._summarize(payouts, state.batches)

    async def _take_step(self, batch: Json) -> NextStep:
        """Take the next step of a batch and return what remains."""
        terms = self._terms
        step = batch_drafts.next_step(batch, terms)
        match step:
            case NextStep.RELEASE:
                try:
                    await self._api.post_batch_action(batch["id"], "release")
                except ApiRejected as rejection:
                    if rejection.code != "INSUFFICIENT_FUNDS":
                        raise
                    available = int(rejection.details.get("available", 0))
                    required = int(rejection.details.get("required", 0))
                    state = f"It is submitted and waits as {batch['id']}"
                    raise _insufficient_funds(available, required, state) from None
                self._released_ids.append(batch["id"])
                return NextStep.FOLLOW
            case NextStep.RESCHEDULE:
                await self._api.reschedule_batch(batch["id"], terms.scheduled_for)
                return NextStep.WAIT
            case NextStep.CONFLICT:
                self._out.info(
                    f"an earlier run scheduled {batch['id']} for {format_local_time(batch['scheduledFor'])}, which "
                    f"differs from this command; nothing was changed. `ovnpay batches release {batch['id']}` pays it "
                    f"now, `ovnpay batches reschedule {batch['id']} --at …` changes its time"
                )
        return step

    def _describe_state(self, steps: Sequence[NextStep]) -> str:
        if NextStep.FOLLOW in steps:
            return "released"
        if self._terms.scheduled_for is None:
            return "on hold: it is paid when a person releases it"
        return f"scheduled: {describe_schedule(self._terms)}"

    async def _write_results(self, settlement: Settlement, drafts: Sequence[BatchDraft]) -> list[Json]:
        payouts = [payout for batch_id in self._batch_ids async for payout in self._api.iterate_batch_payouts(batch_id)]
        rows = [payable for draft in drafts for payable in draft.rows]
        table = settlement.table
        content = results_file.format_csv(results_file.settlement_results(table, rows, payouts), table.delimiter)
        try:
            results_file.replace_file(self._results_path, content)
        except OSError as error:
            commands = ", ".join(f"`ovnpay batches results {batch_id}`" for batch_id in self._batch_ids)
            self._out.info(f"{self._results_path} can't be written ({error.strerror}); {commands} prints the results")
        else:
            self._document["results"] = str(self._results_path)
            self._out.print_line(f"results: {self._results_path}")
        return payouts

    def _summarize(self, payouts: list[Json], batches: list[Json]) -> int:
        summary = summarize_payouts(payouts, batches)
        print_summary(summary, self._out)
        self._document |= {"summary": summary, "batches": batches}
        for batch in batches:
            if "failure" in batch:
                self._out.info(f"{batch['id']}: {batch['failure']['message']}")
            elif summary["notPaid"].get("failed") and is_batch_finished(batch):
                self._out.info(f"to retry the failed payouts: ovnpay batches retry-failed {batch['id']}")
        is_complete = payouts and summary["paid"] == len(payouts)
        return self._finish(*((ExitCode.DONE, "paid") if is_complete else (ExitCode.FAILED, "not all paid")))

    def _describe_progress(self, reason: str) -> str:
        """Say what is true after the command stops early."""
        if self._released_ids and len(self._released_ids) == len(self._batch_ids):
            batch_ids = " ".join(self._released_ids)
            return f"{reason}; the payouts continue. To watch them again: ovnpay batches follow {batch_ids}"
        if self._is_submitting:
            return f"{reason} during submission or release, whose outcome is not known; {SAFE_TO_REPEAT}"
        return f"{reason}; nothing was submitted"

    def _fail(self, error: CommandError) -> int:
        self._out.info(str(error))
        self._document["error"] = error.to_json()
        return self._finish(error.exit_code)

    def _finish(self, code: ExitCode, outcome: str | None = None) -> int:
        if outcome is not None:
            self._document["outcome"] = outcome
        if self._batch_ids:
            self._document["batchIds"] = self._batch_ids
        self._out.print_json({**self._document, "exitCode": int(code)})
        return code


def _insufficient_funds(available_cents: int, required_cents: int, state: str) -> CommandError:
    error = CommandError(
        f"{format_money(required_cents - available_cents)} is missing: {format_money(required_cents)} is needed, "
        f"{format_money(available_cents)} is available. {state}, and no money moved. "
        "Add funds and run the same command again: it continues from here"
    )
    error.code = "INSUFFICIENT_FUNDS"
    return error


def _problem_json(problem: FileProblem) -> Json:
    return {"row": problem.line, "column": problem.column or None, "message": problem.message}
