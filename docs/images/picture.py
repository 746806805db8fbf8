"""Takes the picture of the demo's report that the README shows.

python docs/images/picture.py runs/2026-11-23-mislabel-3fa9c1/report.html

The parts between the answer and the findings are left out. Needs Chromium and the extra `test`.
"""

from __future__ import annotations

import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

PICTURE = Path(__file__).parent / "report.webp"
WIDTH, HEIGHT = 1280, 1180


def main(report: Path) -> None:
    """Open the report in headless Chromium and keep what one screen shows."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"))
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        page.goto(report.resolve().as_uri())
        page.locator("main > .card:not(#findings)").evaluate_all(
            "cards => cards.forEach(card => card.remove())"
        )
        taken = page.screenshot()
        browser.close()
    Image.open(io.BytesIO(taken)).save(PICTURE, quality=80)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
