"""`python -m tracking sync`: send what the tracking server has missed."""

from tracking.outbox import outboxes, send_waiting
from tracking.store import ask_again


def sync() -> None:
    """Send what the tracking server has missed while it was away.

    Every command on tracked runs does this first. What a running process has queued, it sends itself.
    """
    ask_again()
    sent = send_waiting()
    still = sum(box.waits for box in outboxes())
    print(
        f"{sent} stages sent" + (f"; {still} are running, and send what they have queued themselves" if still else "")
    )
