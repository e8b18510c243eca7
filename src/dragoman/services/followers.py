"""Who follows a conversation: told of every turn that begins in it, whoever began it. Knows no socket."""

from collections.abc import Callable

from dragoman.services.runs import Run

Follower = Callable[[Run], None]


class Followers:
    """Followers by conversation, of this process."""

    def __init__(self) -> None:
        self._following: dict[tuple[str, str], list[Follower]] = {}

    def add(self, tenant_id: str, conversation_id: str, follower: Follower) -> None:
        """Tell a follower of each segment of a turn as it begins, when its beginning is durable."""
        self._following.setdefault((tenant_id, conversation_id), []).append(follower)

    def remove(self, tenant_id: str, conversation_id: str, follower: Follower) -> None:
        """Tell it no more."""
        following = self._following[tenant_id, conversation_id]
        following.remove(follower)
        if not following:
            del self._following[tenant_id, conversation_id]

    def of(self, tenant_id: str, conversation_id: str) -> int:
        """How many follow a conversation."""
        return len(self._following.get((tenant_id, conversation_id), ()))

    def tell(self, run: Run) -> None:
        """A segment runs and may be seen."""
        turn = run.begun.turn
        for follower in tuple(self._following.get((turn.tenant_id, turn.conversation_id), ())):
            follower(run)
