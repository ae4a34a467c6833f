"""The timeline of a payout: everything that happened to it, in order, and what is expected next, by when."""

from shared.payouts.timeline.entries import EVENTS_MOST, Timeline, timeline
from shared.payouts.timeline.next_step import Expected
from shared.payouts.timeline.ordering import Event

__all__ = ["EVENTS_MOST", "Event", "Expected", "Timeline", "timeline"]
