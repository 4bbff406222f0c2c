"""Take the pictures of the app that README and week 4 show, with what the package ships, in a real browser (chromium).

python tools/pictures.py [FOLDER]   pictures into FOLDER instead, to look at, of a phone, too
"""

import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

from notebooks import ROOT
from PIL import Image
from playwright.sync_api import sync_playwright

WIDE, PHONE = dict(width=1280, height=860), dict(width=390, height=844)


@contextmanager
def app():
    "The address of the app, on this machine."
    from legal_llm.demo import launch_demo

    demo = launch_demo(share=False, block=False)
    yield demo.local_url
    demo.close(verbose=False)


def take(browser, address: str, size: dict, example: str, path: Path) -> None:
    "The app with an example reviewed, as a picture of few colours."
    page = browser.new_page(viewport=size, color_scheme='light', reduced_motion='reduce')
    page.set_default_timeout(120_000)
    page.goto(address)
    page.get_by_role('button', name=f'Example: {example}').click()
    page.wait_for_function('document.querySelector("#ll-text textarea").value.length > 100')
    page.click('#ll-review')
    page.wait_for_selector('.ll-contract mark')
    page.locator('.ll-summary, .ll-counts').first.scroll_into_view_if_needed()
    page.wait_for_timeout(1000)
    with tempfile.NamedTemporaryFile(suffix='.png') as f:
        page.screenshot(path=f.name)
        Image.open(f.name).convert('RGB').quantize(128).save(path, optimize=True)
    page.close()


def main() -> int:
    from legal_llm.faces.app import example_contracts

    example = example_contracts()[0][0]
    with sync_playwright() as p, app() as address:
        browser = p.chromium.launch(executable_path='/usr/bin/chromium', args=['--no-sandbox', '--disable-gpu'])
        if len(sys.argv) > 1:
            out = Path(sys.argv[1])
            out.mkdir(parents=True, exist_ok=True)
            take(browser, address, WIDE, example, out / 'app.png')
            take(browser, address, PHONE, example, out / 'phone.png')
        else:
            take(browser, address, WIDE, example, ROOT / 'legal_llm/assets/app.png')
        browser.close()
    return 0


if __name__ == '__main__':
    sys.exit(main())
