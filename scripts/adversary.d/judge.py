"""The main check: no window of the vendor's length, wherever it starts, can hold a call too many."""

import heapq


def most_in_a_window(calls, window):
    """For each call, in order of arrival: the number of calls that the vendor may count in one window that ends with it.

    A window (T, T + window] that ends when a call arrives begins after arrival - window: every call that arrived before
    and may be counted after that can be in it, and there is no worse window with this call as its last.
    """
    ends, counts = [], []
    # A call that was read so late that its end is not known is left out.
    for call in sorted((call for call in calls if call.last >= call.first), key=lambda call: call.first):
        while ends and ends[0] <= call.first - window:
            heapq.heappop(ends)
        heapq.heappush(ends, call.last)
        counts.append((call, len(ends)))
    return counts


def overruns(calls, window, limit_at):
    """The calls that exceeded the limit, with the number that the vendor may have counted and the limit at that time."""
    found = []
    for call, count in most_in_a_window(calls, window):
        limit = limit_at(call.first)
        if count > limit:
            found.append((call, count, limit))
    return found
