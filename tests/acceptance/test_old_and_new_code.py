"""A rolling deploy with a migration: the previous code and the current code work side by side on the migrated tables.

The previous code is the last commit with another newest migration, in a source tree of its own. Both use the installed
packages: where a release changes these, they have to suit both.
"""

import re
import subprocess
from pathlib import Path

import psycopg
import pytest

from shared.schema import migrations
from tests.support.client_load import running_load
from tests.support.fleet import running_fleet
from tests.support.polling import until
from tests.support.ports import free_port
from tests.support.report_lines import report

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]
SETTINGS = {"PAYSTREAM_SIM_STANDARD_SECONDS": "0.1"}


@pytest.mark.timeout(600)
def test_old_and_new_code_run_together_over_a_migration(tmp_path: Path) -> None:
    if not _has_history():
        report("NOT TESTED: old code beside new code, because this clone has no history (git fetch --unshallow)")
        return
    commit, revision = _last_of_the_previous_revision()
    old = tmp_path / "old"
    old.mkdir()
    archive = subprocess.run(["git", "archive", commit], cwd=ROOT, capture_output=True, check=True).stdout
    subprocess.run(["tar", "-x", "-C", str(old)], input=archive, check=True)
    (home := tmp_path / "home").mkdir()
    # Given the old code on the tables of its own revision
    with running_fleet(home, code=old, **SETTINGS) as ours:
        database_url, provider, customer = ours.description["database_url"], ours.simulator(), ours.customer()
        assert _revision(database_url) == revision
        before = [ours.start_without_waiting(name, old) for name in ("workers", "scheduler", "gateway")]
        for process in before:
            process.wait_ready()
        driver_id = str(customer.verified_driver("Olaf Old")["id"])
        new_port = str(free_port())
        with running_load([customer.url], customer, driver_id, "old", clients=2) as at_old:
            until(lambda: len(at_old.payout_ids) > 5, "the old code accepts payouts")
            # When the new code migrates the tables and runs beside it
            ours.bootstrap()
            assert _revision(database_url) == migrations.HEAD_REVISION
            after = [ours.start_without_waiting(name) for name in ("workers", "scheduler")]
            after.append(ours.start_without_waiting("gateway", OVNPAY_GATEWAY_PORT=new_port))
            for process in after:
                process.wait_ready()
            paid = len(at_old.payout_ids)
            with running_load([f"http://127.0.0.1:{new_port}"], customer, driver_id, "new", clients=2) as at_new:
                until(lambda: len(at_old.payout_ids) > paid + 10, "the old code still accepts payouts")
                until(lambda: len(at_new.payout_ids) > 10, "the new code accepts payouts")
        # and the old processes stop
        for process in before:
            process.stop()
        customer.url = f"http://127.0.0.1:{new_port}"
        # Then no request failed, and each payout was paid once, whether the old or the new code accepted it
        for load in (at_old, at_new):
            assert load.errors == []
            assert not load.refused
            load.assert_all_completed_once(customer, provider, database_url)
    report(
        f"old code ({commit[:10]}, revision {revision}) beside new code (revision {migrations.HEAD_REVISION}): "
        f"{len(at_old.payout_ids)} payouts accepted by the old, {len(at_new.payout_ids)} by the new; "
        f"{at_old.requests + at_new.requests} requests, 0 failures",
    )


def _last_of_the_previous_revision() -> tuple[str, str]:
    """Find the newest commit on the main line with another newest migration, and that migration's revision."""
    ours = {path.name[:4] for path in (migrations.HERE / "versions").glob("[0-9]*.py")}
    commits = _git("log", "--first-parent", "--format=%H", "HEAD", "--", *_MIGRATIONS).split()
    for commit in commits:
        for candidate, path in ((name, path) for name in (commit, f"{commit}^") for path in _MIGRATIONS):
            try:
                text = _git("show", f"{candidate}:{path}")
            except subprocess.CalledProcessError:
                continue
            found = re.search(r'^HEAD(?:_REVISION)?(?:: Final)? = "(\w{4})"', text, re.MULTILINE)
            revision = found[1] if found else ""
            if revision != migrations.HEAD_REVISION and revision in ours:
                return _git("rev-parse", candidate).strip(), revision
    raise AssertionError("no commit of the history has another newest migration")


_MIGRATIONS = ("shared/schema/migrations/__init__.py", "shared/migrations/__init__.py")
"""The file that names the newest revision, now and before the package was moved."""


def _has_history() -> bool:
    """Whether this is a full clone, neither an export nor a shallow clone."""
    command = ("git", "rev-parse", "--is-shallow-repository")
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() == "false"


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout


def _revision(database_url: str) -> str:
    with psycopg.connect(database_url) as connection:
        [revision] = connection.execute("SELECT version_num FROM alembic_version").fetchone() or ("",)
    return str(revision)
