"""What clients invoked and what they saw, kept as JSON lines; "unknown" is a legal outcome. Knows no server."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal


@dataclass
class Exchange:
    """One message that a client sent. It is acknowledged when an HTTP 200 has come; times are monotonic seconds."""

    message: str
    acknowledged: bool = False
    conversation: str = ""
    turn: str = ""
    pieces: list[str] = field(default_factory=list)
    piece_times: list[float] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    outcome: Literal["unknown", "closed", "refused"] = "unknown"

    def text_before(self, moment: float) -> str:
        """What of the answer had come before a moment."""
        return "".join(piece for piece, at in zip(self.pieces, self.piece_times, strict=True) if at <= moment)


class Record:
    """Exchanges as they end, on disk."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.exchanges: list[Exchange] = []

    def add(self, exchange: Exchange) -> None:
        """Keep an exchange."""
        self.exchanges.append(exchange)
        with self._file.open("a") as lines:
            lines.write(json.dumps(asdict(exchange)) + "\n")
