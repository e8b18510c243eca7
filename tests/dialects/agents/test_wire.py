"""S4's wire code by itself: any name, any message, any result."""

import json
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragoman.core.conversations import Message
from dragoman.core.errors import Invalid
from dragoman.core.events import ToolCall
from dragoman.core.ids import canonical, parse_id
from dragoman.dialects.agents import wire

TALK, ANSWER = (canonical(f"{number:032x}") for number in (2, 3))
AT = 1_769_162_401_000_000

texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=30)


@pytest.mark.requirement("S4-13")
@given(st.text(max_size=220))
def test_a_name_is_an_id_of_ours_or_leads_to_one_of_its_own_or_is_refused(text: str) -> None:
    known = parse_id("conv", text)
    odd = not 0 < len(text) <= 200 or any(ord(each) < 32 or 127 <= ord(each) < 160 for each in text)
    try:
        named = wire.conversation("acme", text)
    except Invalid:
        assert odd
        assert known is None
        return
    assert known is not None or not odd
    assert named.client_id == (None if known else text)
    assert named == wire.conversation("acme", text)
    assert str(UUID(named.id)) == named.id
    if known is None:
        assert named.id not in (wire.conversation("other", text).id, wire.conversation("acme", text + "x").id)


@pytest.mark.requirement("S4-13")
@given(st.uuids(), st.booleans())
def test_ids_of_ours_are_told_from_names(uuid: UUID, upper: bool) -> None:
    for spelled in (str(uuid), f"conv_{uuid.hex}"):
        assert wire.conversation("acme", spelled.upper() if upper else spelled) == (str(uuid), None)
    assert wire.conversation("acme", f"msg_{uuid.hex}").client_id is not None
    assert wire.conversation("acme", uuid.hex).client_id is not None


@pytest.mark.requirement("S4-9", "S4-2")
@pytest.mark.parametrize("role", ["user", "assistant", "system", "tool"])
def test_every_role_is_listed_as_documented(role: Any) -> None:
    wanted = (ToolCall("call_123", "search_database", '{"query": "recent orders"}'),) if role == "assistant" else ()
    said = None if role == "assistant" else "Hello!"
    called = "call_123" if role == "tool" else None
    message = Message(ANSWER, 4, role, said, AT, {"source": "web"}, TALK, wanted, called)
    (shown,) = wire.listing(wire.window({}), [message], 1, {TALK: "conv-123"})["messages"]
    function = {"name": "search_database", "arguments": '{"query": "recent orders"}'}
    assert shown == {
        "id": 4,
        "role": role,
        "content": said,
        "tool_calls": [{"id": "call_123", "type": "function", "function": function}] if wanted else None,
        "tool_call_id": called,
        "metadata": {"source": "web"},
        "conversation_id": "conv-123",
        "created_at": "2026-01-23T10:00:01Z",
    }


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda each: st.lists(each, max_size=4) | st.dictionaries(texts, each, max_size=4),
    max_leaves=12,
)


@pytest.mark.requirement("S4-5")
@given(st.dictionaries(texts, JSON, max_size=3) | st.lists(JSON, max_size=3) | st.text(st.characters(codec="utf-8")))
def test_the_content_of_a_result_is_its_text_or_its_json(content: Any) -> None:
    body = {"role": "tool", "tool_call_id": "call_123", "content": content, "conversation_id": "conv-123"}
    asked = wire.chat_request.decode(json.dumps(body).encode())
    ((call_id, kept),) = asked.results()
    assert call_id == "call_123"
    assert (kept if isinstance(content, str) else json.loads(kept)) == content
