"""The timeline of a payout: everything that happened to it, in order, and what is expected next, by when."""

from shared.payouts.timeline.entries import TIMELINE_EVENTS_MAX, Timeline, load_timeline
from shared.payouts.timeline.next_step import ExpectedNextStep
from shared.payouts.timeline.ordering import TimelineEntry

__all__ = ["TIMELINE_EVENTS_MAX", "ExpectedNextStep", "Timeline", "TimelineEntry", "load_timeline"]
