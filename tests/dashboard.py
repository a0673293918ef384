"""Walks through the dashboard in a real browser as a person would, at two sizes, and keeps pictures.

Usage: dashboard.py SET_UP_URL EMULATOR_URL FOLDER_FOR_PICTURES
"""

import pathlib
import shutil
import sys
from urllib.parse import urlsplit

from playwright.sync_api import Page, sync_playwright

SIZES = {"wide": (1440, 900), "narrow": (390, 844)}
PASSWORD = "a long enough password"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync"]


def main(set_up_url: str, emulator_url: str, folder: str) -> None:
    pictures = pathlib.Path(folder)
    pictures.mkdir(parents=True, exist_ok=True)
    origin = "{0.scheme}://{0.netloc}".format(urlsplit(set_up_url))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=FLAGS
        )
        context = browser.new_context(viewport=size("wide"))
        page = context.new_page()
        complaints: list[str] = []
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        walk = Walk(page, origin, pictures)
        walk.set_up(set_up_url)
        walk.integrations(emulator_url)
        walk.sources(emulator_url)
        walk.connections()
        walk.api_keys()
        walk.end_users()
        walk.meaning()
        walk.item()
        walk.overview()
        walk.sign_out_and_in()
        # Refused forms answer 422 and 401, which the browser notes as failed loads.
        real = [text for text in complaints if "422" not in text and "401" not in text]
        assert not real, real
        walk.without_script(browser)
        browser.close()
    print(f"dashboard: {len(list(pictures.iterdir()))} pictures")


def size(name: str) -> dict:
    width, height = SIZES[name]
    return {"width": width, "height": height}


class Walk:
    def __init__(self, page: Page, origin: str, pictures: pathlib.Path) -> None:
        self.page, self.origin, self.pictures = page, origin, pictures

    def picture(self, name: str) -> None:
        """Both sizes; a page never scrolls sideways."""
        for label in SIZES:
            self.page.set_viewport_size(size(label))
            overflow = self.page.evaluate(
                "document.documentElement.scrollWidth - document.documentElement.clientWidth"
            )
            assert overflow <= 0, f"{name} at {label} scrolls sideways by {overflow} px"
            self.page.screenshot(path=self.pictures / f"{name}-{label}.png")
        self.page.set_viewport_size(size("wide"))

    def open(self, path: str) -> None:
        answer = self.page.goto(self.origin + path)
        assert answer and answer.status == 200, f"{path}: {answer and answer.status}"

    def set_up(self, url: str) -> None:
        page = self.page
        page.goto(url)
        page.fill("#name", "ann")
        page.fill("#password", "short")
        page.click("text=Set password and sign in")
        page.wait_for_selector("text=at least 12 characters")
        assert page.input_value("#name") == "ann", "what was typed is not lost"
        self.picture("set-up")
        page.fill("#password", PASSWORD)
        page.click("text=Set password and sign in")
        page.wait_for_selector("h1:text-is('Overview')")
        page.goto(url)
        page.wait_for_selector("text=no longer works")

    def integrations(self, emulator_url: str) -> None:
        page = self.page
        self.open("/integrations/new")
        self.picture("integration-form")
        page.fill("#name", "Second bank")
        page.fill("#client_id", "emulator")
        page.fill("#secret", "wrong")
        page.click("summary")
        page.fill("#base_url", emulator_url)
        page.click("button:text('Save & Test')")
        page.wait_for_selector("text=INVALID_API_KEYS")
        assert page.input_value("#name") == "Second bank"
        assert page.input_value("#secret") == "", "secrets are not sent back"
        self.picture("integration-form-refused")
        page.fill("#secret", "sandbox-secret")
        page.click("button:text('Save & Test')")
        page.wait_for_selector("h1:text-is('Second bank')")
        assert '"days_requested": 730' in page.inner_text("main")
        page.click("button:text-is('Test')")
        page.wait_for_selector("text=Plaid accepts the client id and the secret")
        self.picture("integration")
        self.open("/integrations")
        self.picture("integrations")

    def sources(self, emulator_url: str) -> None:
        page = self.page
        self.open("/sources")
        self.picture("sources-empty")
        page.click("text=Add a source")
        page.fill("#name", "Balances for the warehouse")
        page.fill("#api_key", "sandbox-secret")
        page.fill("#client_id", "emulator")
        page.fill("#access_token", "access-sandbox-unknown")
        page.click("summary")
        page.fill("#base_url", emulator_url)
        page.click("button:text('Save & Test')")
        page.wait_for_selector("text=INVALID_ACCESS_TOKEN")
        self.picture("source-form-refused")
        token = new_token(page, emulator_url)
        page.fill("#api_key", "sandbox-secret")
        page.fill("#access_token", token)
        page.click("button:text('Save & Test')")
        page.wait_for_selector("h1:text-is('Balances for the warehouse')")
        page.click("button:text-is('Test')")
        page.wait_for_selector("text=First Platypus Bank")
        assert token not in page.content()
        self.picture("source")
        self.open("/sources")
        self.picture("sources")

    def connections(self) -> None:
        page = self.page
        self.open("/connections")
        self.picture("connections-empty")
        page.click("text=Add a connection")
        page.click("nav.kinds >> text=SQLite")
        self.picture("connection-form")
        page.fill("#name", "Nightly warehouse")
        page.select_option("#integration_id", label="Balances for the warehouse (source)")
        page.fill("#path", "../outside.db")
        page.check("input[name='stream.accounts']")
        page.click("button:text('Save & Test')")
        page.wait_for_selector("text=without a leading slash")
        assert page.input_value("#name") == "Nightly warehouse", "what was typed is not lost"
        page.fill("#path", "warehouse.db")
        page.click("button:text('Save & Test')")
        page.wait_for_selector("h1:text-is('Nightly warehouse')")
        page.wait_for_selector("text=can be written")
        page.click("button:text-is('Run now')")
        page.wait_for_selector("text=rows written")
        page.click("button:text-is('Verify')")
        page.wait_for_selector("text=Source and destination are equal.")
        self.picture("connection")
        self.open("/connections")
        page.wait_for_selector("text=Nightly warehouse")
        self.picture("connections")

    def api_keys(self) -> None:
        page = self.page
        self.open("/api-keys")
        page.fill("input[name=name]", "backend")
        page.click("button:text('Make a key')")
        page.wait_for_selector("text=Copy the new key now")
        self.picture("api-keys")
        page.click("button:text('Revoke')")
        page.wait_for_selector("text=Revoked")

    def end_users(self) -> None:
        page = self.page
        self.open("/end-users")
        self.picture("end-users")
        page.click("text=Jordan Miller")
        page.wait_for_selector("h1:text-is('Jordan Miller')")
        self.picture("end-user")
        page.wait_for_selector(".news", timeout=60_000)
        self.picture("end-user-news")
        page.click(".news")
        page.wait_for_selector("table.transactions tbody tr")
        page.locator("table.transactions").scroll_into_view_if_needed()
        self.picture("end-user-transactions")
        page.click("text=Older")
        page.wait_for_selector("text=First page")

    def meaning(self) -> None:
        """What transactions mean: together, one by one, corrected, and by rule."""
        page = self.page
        self.open("/end-users")
        page.click("text=Jordan Miller")
        page.click("text=What comes again")
        page.wait_for_selector("h2:text-is('Comes again')")
        page.wait_for_selector("text=every month")
        page.wait_for_selector("figure.balance svg")
        self.picture("series")
        page.emulate_media(color_scheme="dark")
        self.picture("series-dark")
        page.emulate_media(color_scheme="light")
        page.click("table tbody a >> nth=0")
        page.wait_for_selector("h2:text-is('Correct it')")
        self.picture("transaction")
        page.fill("#category", "no such thing")
        page.click("button:text('Correct')")
        page.wait_for_selector(".fault")
        self.picture("transaction-refused")
        page.fill("#category", "entertainment_music_and_audio")
        page.fill("#merchant", "Concert hall")
        page.check("input[name=for_all_like_it]")
        page.click("button:text('Correct')")
        page.wait_for_selector("text=by a person", timeout=1_000)
        page.wait_for_selector("h1:text-is('Concert hall')", timeout=1_000)
        self.picture("transaction-corrected")
        self.open("/integrations")
        page.click("table a >> nth=0")
        page.click("text=by your own rules")
        page.wait_for_selector("text=category entertainment_music_and_audio")
        page.fill("#text", "starbucks store")
        page.fill("#category", "FOOD_AND_DRINK_RESTAURANT")
        page.click("button:text-is('Try')")
        page.wait_for_selector("text=It would change")
        self.picture("rules-tried")
        page.click("button:text('Make the rule')")
        page.wait_for_selector("text=text has starbucks store")
        page.click("button:text('Delete') >> nth=0")
        page.wait_for_selector("text=text has starbucks store", state="detached")

    def item(self) -> None:
        page = self.page
        self.open("/end-users")
        page.click("text=Jordan Miller")
        page.click("section:has-text('Items') tbody a")
        page.wait_for_selector("h2:text-is('Last syncs')")
        self.picture("item")
        page.emulate_media(color_scheme="dark")
        self.picture("item-dark")
        page.emulate_media(color_scheme="light")
        page.click("button:text('Read everything again')")
        page.wait_for_selector("text=Everything was read again", timeout=60_000)
        page.click("button:text('Make a repair link')")
        page.wait_for_selector("h1:text-is('Repair link')")
        self.picture("repair-link")

    def overview(self) -> None:
        self.open("/")
        self.page.wait_for_selector("text=Freshness")
        self.picture("overview")
        self.page.emulate_media(color_scheme="dark")
        self.picture("overview-dark")
        self.page.emulate_media(color_scheme="light")

    def sign_out_and_in(self) -> None:
        page = self.page
        page.click("text=Sign out")
        page.wait_for_selector("h1:text-is('Sign in')")
        page.fill("#name", "ann")
        page.fill("#password", "not the password")
        page.click("button:text('Sign in')")
        page.wait_for_selector("text=do not match")
        self.picture("sign-in")
        page.fill("#password", PASSWORD)
        page.click("button:text('Sign in')")
        page.wait_for_selector("h1:text-is('Overview')")

    def without_script(self, browser) -> None:
        """Pages read without script."""
        state = self.page.context.storage_state()
        context = browser.new_context(java_script_enabled=False, storage_state=state)
        page = context.new_page()
        page.goto(self.origin + "/")
        page.click("text=End users")
        page.click("text=Jordan Miller")
        assert page.locator("table.transactions tbody tr").count() == 50


def new_token(page: Page, emulator_url: str) -> str:
    """An access token of a new Item at the emulated bank."""
    keys = {"client_id": "emulator", "secret": "sandbox-secret"}
    request = page.context.request
    create = {**keys, "institution_id": "ins_109508", "initial_products": ["transactions"]}
    made = request.post(f"{emulator_url}/sandbox/public_token/create", data=create).json()
    exchange = {**keys, "public_token": made["public_token"]}
    linked = request.post(f"{emulator_url}/item/public_token/exchange", data=exchange).json()
    return linked["access_token"]


if __name__ == "__main__":
    main(*sys.argv[1:])
