"""What an answer rests on: found before the model is asked, judged when it has answered. Knows no store and no vendor.

Nothing of an answer that may turn out too unsure is shown before that is known; where no answer could be sure enough,
the model is not asked.
"""

from collections.abc import Sequence
from dataclasses import replace

from dragoman.core.events import SourcesFound, TextDelta
from dragoman.core.knowledge import terms, words
from dragoman.core.prompt import PromptMessage, fitting, passages_budget, with_passages
from dragoman.ports.embedders import EmbedderError
from dragoman.ports.models import ModelError
from dragoman.services.retrieval import Retrieval
from dragoman.services.runs import Run

FALLBACK = "I do not know that."


class Grounding:
    """Gives turns what their agents know."""

    def __init__(self, retrieval: Retrieval) -> None:
        self._retrieval = retrieval

    async def prepare(self, run: Run) -> Sequence[PromptMessage] | None:
        """What the model is to be asked; None where the answer is there without it.

        Raises:
            ModelError: the embedder cannot be used.
        """
        agent, prompt = run.begun.agent, run.begun.prompt
        question, earlier = _asked(prompt)
        # What is about nothing, such as a greeting, wants no source.
        if not agent.knows or not terms(question):
            return prompt
        definition = agent.definition
        try:
            found = await self._retrieval.find(agent, question, earlier)
        except EmbedderError as error:
            raise ModelError(str(error), retriable=error.retriable) from error
        budget = passages_budget(definition.model)
        grounds = run.grounds = replace(found, passages=fitting(found.passages, budget))
        judged = not run.begun.goes_on
        if judged and (verbatim := grounds.verbatim) is not None:
            run.grounds = grounds = replace(grounds, passages=grounds.passages[:1])
            run.confidence = grounds.most
            run.log.append([SourcesFound(grounds.sources), TextDelta(verbatim)])
            return None
        # Results of calls are grounds of their own, and a call that is wanted is no answer.
        if judged and not definition.tools and grounds.most < definition.min_confidence:
            run.confidence = grounds.most
            _fall_back(run)
            return None
        if judged and grounds.least < definition.min_confidence:
            run.held = []
        else:
            run.log.append([SourcesFound(grounds.sources)])
        return with_passages(prompt, grounds.passages, definition.fallback or FALLBACK, definition.model)

    def judge(self, run: Run) -> None:
        """Say how sure the answer is that the model has given; show what was held back of it, or what stands for it."""
        definition, grounds = run.begun.agent.definition, run.grounds
        if grounds is None or run.confidence is not None or run.tooled:
            return
        held = run.held
        if run.called:
            # A call is no answer: what comes of it is for the next step to say.
            run.held = None
            if held is not None:
                run.log.append([SourcesFound(grounds.sources), *held])
            return
        text = run.text if held is None else "".join([delta.text for delta in held])
        run.confidence = grounds.confidence(text)
        run.resolved = words(text) != words(definition.fallback or FALLBACK)
        if held is None:
            return
        if run.confidence >= definition.min_confidence:
            run.held = None
            run.log.append([SourcesFound(grounds.sources), *held])
        else:
            _fall_back(run)


def _fall_back(run: Run) -> None:
    """Answer with what the agent says in place of an answer."""
    run.held, run.resolved = None, False
    run.log.append([SourcesFound(()), TextDelta(run.begun.agent.definition.fallback or FALLBACK)])


def _asked(prompt: Sequence[PromptMessage]) -> tuple[str, str]:
    """The question of this turn, and the one before it."""
    asked = [message.content for message in prompt if message.role == "user"]
    return (asked[-1] if asked else ""), (asked[-2] if len(asked) > 1 else "")
