"""The newest messages of a conversation, as many as a model's window can hold. Knows no model."""

from dragoman.adapters.store.driver import Transaction
from dragoman.core.prompt import MESSAGE_OVERHEAD_BYTES, PromptMessage

NEWEST = """SELECT number, role, content FROM messages
    WHERE conversation_id = :conversation_id AND tenant_id = :tenant_id AND number < :below AND in_prompt = 1
    ORDER BY number DESC LIMIT :count"""

FIRST_PAGE = 32
LARGEST_PAGE = 512
_ABOVE_ALL = 2**62


async def newest(
    transaction: Transaction, tenant_id: str, conversation_id: str, budget: int, *, below: int = _ABOVE_ALL
) -> list[PromptMessage]:
    """Messages numbered under `below`, newest first, until they are more than `budget` bytes or there are no more.

    Pages grow, so that a short window costs one small query and a long one few: the cost is the window's, never the
    conversation's.
    """
    window: list[PromptMessage] = []
    used, count = 0, FIRST_PAGE
    while used <= budget:
        rows = await transaction.all(
            NEWEST, {"conversation_id": conversation_id, "tenant_id": tenant_id, "below": below, "count": count}
        )
        for number, role, content in rows:
            below = number
            window.append(PromptMessage(role, content))
            used += len(content.encode()) + MESSAGE_OVERHEAD_BYTES
            if used > budget:
                return window
        if len(rows) < count:
            return window
        count = min(count * 4, LARGEST_PAGE)
    return window
