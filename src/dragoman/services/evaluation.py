"""An agent asked apart from any conversation: what it finds, says and is sure of. Nothing is stored or charged."""

from dataclasses import replace
from typing import Any

from dragoman.core.agents import Agent
from dragoman.core.errors import AgentNotFound, Invalid
from dragoman.core.events import TextDelta
from dragoman.core.knowledge import words
from dragoman.core.prompt import PromptMessage, fitting, passages_budget, with_passages
from dragoman.ports.embedders import EmbedderError
from dragoman.ports.models import ModelError
from dragoman.ports.store import Store
from dragoman.services.attempts import Attempts
from dragoman.services.grounding import FALLBACK
from dragoman.services.retrieval import Retrieval


class Evaluation:
    """Asks agents questions for their owner's sake."""

    def __init__(self, store: Store, retrieval: Retrieval, attempts: Attempts) -> None:
        self._store = store
        self._retrieval = retrieval
        self._attempts = attempts

    async def ask(self, tenant_id: str, reference: str, question: str, *, answered: bool = True) -> dict[str, Any]:
        """What comes of a question, the fallback put aside: an answer, its confidence, and the passages found.

        Without `answered` the model is not asked, and the confidence is that of an answer which the passages hold.

        Raises:
            AgentNotFound
            Invalid: the agent knows nothing, or its model or embedder cannot be used.
        """
        agent = await self._store.agents.find(tenant_id, reference)
        if agent is None:
            raise AgentNotFound(reference)
        if not agent.knows:
            raise Invalid(f"agent {reference} has no knowledge that is ready")
        try:
            return await self._ask(agent, question, answered)
        except (EmbedderError, ModelError) as error:
            raise Invalid(f"the question could not be asked: {error}") from error

    async def _ask(self, agent: Agent, question: str, answered: bool) -> dict[str, Any]:
        definition = agent.definition
        found = await self._retrieval.find(agent, question)
        budget = passages_budget(definition.model)
        grounds = replace(found, passages=fitting(found.passages, budget))
        fallback = definition.fallback or FALLBACK
        text, resolved, confidence = "", True, grounds.most
        if grounds.verbatim is not None:
            text = grounds.verbatim
        elif answered:
            said: list[str] = []
            prompt = [PromptMessage("system", definition.instructions), PromptMessage("user", question)]
            await self._attempts.ask(
                definition.model,
                with_passages(prompt, grounds.passages, fallback, definition.model),
                lambda parts: said.extend(part.text for part in parts if isinstance(part, TextDelta)),
            )
            text = "".join(said)
            resolved, confidence = words(text) != words(fallback), grounds.confidence(text)
        return {
            "answer": text,
            "confidence": confidence,
            "resolved": resolved,
            "min_confidence": definition.min_confidence,
            "passages": [f"{each.title}\n{each.text}" for each in found.passages],
        }
