"""``python -m evals``: an agent of each set learns its documents and answers the held-back half; prints the figures.

It takes some ten minutes on two processors that have nothing else to do: the embedded model answers every question.
"""

import asyncio
import os
import subprocess
import sys
import tempfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from dragoman import settings
from dragoman.core.calibration import Judged, report
from dragoman.evaluate import evaluate, read_questions, table

SETS = {"shop": "shop-faq", "manual": "product-manual", "prices": "price-list", "help": "help-centre"}
FOLDER = Path(__file__).parent
# Where the help site's own sitemap says that it is.
SITE = ("127.0.0.1", 8765)


class _Site(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: every page would be a line."""


def main() -> None:
    """Measure, set by set and all together."""
    site = ThreadingHTTPServer(SITE, partial(_Site, directory=str(FOLDER / "help" / "site")))
    threading.Thread(target=site.serve_forever, daemon=True).start()
    everything: list[Judged] = []
    with tempfile.TemporaryDirectory(prefix="dragoman-evals-") as folder:
        os.environ["DRAGOMAN_DATA_DIR"] = folder
        manifests = [str(FOLDER / name / "agent.yaml") for name in SETS]
        subprocess.run([str(Path(sys.executable).with_name("dragoman")), "apply", *manifests], check=True)
        for name, agent in SETS.items():
            asked = read_questions(FOLDER / name / "questions.jsonl", "held-back")
            found, least = asyncio.run(evaluate(settings.load(), agent, None, asked, answered=True))
            everything += found
            _say(f"\n{name}\n{table(report(found, least), least)}")
    _say(f"\nall four\n{table(report(everything, least), least)}")
    site.shutdown()


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
