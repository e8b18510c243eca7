"""What an agent knows about a question: its vector, the passages it finds, how rare its words are. Knows no model."""

from dragoman.core.agents import Agent
from dragoman.core.confidence import Grounds
from dragoman.core.knowledge import terms
from dragoman.ports.embedders import Embedders
from dragoman.ports.knowledge import PassageStore

# Of so many candidates the most relevant are taken.
CANDIDATES = 20
FOUND = 5
# A question of fewer words than this may go on from the one before it: "and on Sundays?"
WORDS_OF_ITS_OWN = 3
LONGEST_QUESTION = 4_000
# Each word of a question is looked up; a long message asks in its last ones, as a rule.
MOST_WORDS = 32


class Retrieval:
    """Finds what questions ask for."""

    def __init__(self, passages: PassageStore, embedders: Embedders) -> None:
        self._passages = passages
        self._embedders = embedders

    async def find(self, agent: Agent, question: str, earlier: str = "") -> Grounds:
        """What the agent knows about a question; `earlier` is the question before it in the conversation.

        Raises:
            EmbedderError, Unavailable
        """
        question = question[:LONGEST_QUESTION]
        asked, choice = terms(question)[-MOST_WORDS:], agent.definition.embedder
        meant = [question]
        if earlier and len(asked) < WORDS_OF_ITS_OWN:
            meant.append(f"{earlier[:LONGEST_QUESTION]}\n{question}")
            asked = list(dict.fromkeys((*asked, *terms(earlier[:LONGEST_QUESTION])[-MOST_WORDS:])))
        vectors = await self._embedders.embed(choice, meant)
        name = self._embedders.name(choice)
        found = await self._passages.search(agent.tenant_id, agent.id, asked, vectors, name, CANDIDATES)
        return Grounds(question, tuple(asked), found.rarity, found.passages, ()).ranked(FOUND)
