"""The timeline of a payout: what happened to it, in order, and the expected next step with its deadline.

Promises: it shows one snapshot, and nothing of another wallet. Owns no table, takes no lock.
"""

from shared.payouts.timeline.entries import TIMELINE_EVENTS_MAX, Timeline, load_timeline
from shared.payouts.timeline.next_step import ExpectedNextStep
from shared.payouts.timeline.ordering import TimelineEntry

__all__ = ["TIMELINE_EVENTS_MAX", "ExpectedNextStep", "Timeline", "TimelineEntry", "load_timeline"]
