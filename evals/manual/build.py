"""Prints manual.md to manual.pdf by headless Chromium, as a maker's manual looks: cover, running head, page numbers.

Run it from anywhere: `python evals/manual/build.py`. It knows nothing of questions or of the product.
"""

import subprocess
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from markdown_it import MarkdownIt
from pypdf import PdfWriter

FOLDER = Path(__file__).resolve().parent
TITLE = "Kelmarrow Brume 23: instructions for use"
PRINTED = datetime(2025, 3, 3, tzinfo=UTC)  # fixed, so that two prints of one text differ in nothing that we set

STYLE = """
@page {
    size: A4; margin: 20mm 20mm 20mm 24mm;
    @top-left { content: "Kelmarrow Brume 23"; font: 9pt sans-serif; color: #555 }
    @top-right { content: "Instructions for use"; font: 9pt sans-serif; color: #555 }
    @bottom-left { content: "9060-4417-EN / D"; font: 9pt sans-serif; color: #555 }
    @bottom-right { content: counter(page); font: 9pt sans-serif; color: #555 }
}
@page :first { @top-left { content: "" } @top-right { content: "" } @bottom-right { content: "" } }
* { font-variant-ligatures: none }
body { font: 10pt/1.4 "DejaVu Serif", serif; hyphens: none }
h1, h2 { font-family: "DejaVu Sans", sans-serif; break-after: avoid }
h1 { font-size: 22pt; break-before: page; margin: 0 0 7mm }
h2 { font-size: 14pt; margin: 6mm 0 2.5mm }
h1:first-of-type { break-before: auto; font-size: 36pt; margin-top: 60mm }
p { orphans: 3; widows: 3 }
li { margin: 0 0 1.5mm }
table { border-collapse: collapse; width: 100%; margin: 4mm 0; font: 9pt/1.35 "DejaVu Sans", sans-serif }
th, td { border: 0.3mm solid #999; padding: 0.9mm 2mm; text-align: left; vertical-align: top }
th { background: #eee }
tr, li { break-inside: avoid }
"""


def page(markdown: str) -> str:
    """The manual as one page of HTML with its print style."""
    body = MarkdownIt("commonmark").enable("table").render(markdown)
    head = f'<meta charset="utf-8"><title>{TITLE}</title><style>{STYLE}</style>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{body}</body></html>'


def build(source: Path, target: Path) -> None:
    """Prints `source` to `target`; no path and no time of the machine gets into it.

    Raises:
        subprocess.SubprocessError: Chromium failed or took longer than two minutes.
    """
    with TemporaryDirectory() as folder:
        Path(folder, "manual.html").write_text(page(source.read_text(encoding="utf-8")), encoding="utf-8")
        subprocess.run(
            [
                "/usr/bin/chromium",
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--no-pdf-header-footer",
                "--print-to-pdf=manual.pdf",
                "manual.html",
            ],
            cwd=folder,
            check=True,
            capture_output=True,
            timeout=120,
        )
        writer = PdfWriter(clone_from=Path(folder, "manual.pdf"))
    stamp = PRINTED.strftime("D:%Y%m%d%H%M%SZ")
    writer.add_metadata({"/Title": TITLE, "/CreationDate": stamp, "/ModDate": stamp})
    writer.write(target)


if __name__ == "__main__":
    build(FOLDER / "manual.md", FOLDER / "manual.pdf")
