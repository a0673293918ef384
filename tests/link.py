"""Drives hosted Link in Chromium as a person does: success, questions, failure, abandon, update
mode; then looks at the emulator's status page. Every page is photographed at two widths.

Usage: link.py EMULATOR_URL PICTURES_FOLDER
"""

import http.server
import json
import pathlib
import queue
import re
import shutil
import sys
import threading
import urllib.request

from playwright.sync_api import Page, expect, sync_playwright

KEYS = {"client_id": "emulator", "secret": "sandbox-secret"}
WIDTHS = {"wide": (1440, 900), "narrow": (390, 844)}
PATIENCE_SECONDS = 20
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync"]


class Receiver(http.server.BaseHTTPRequestHandler):
    """Keeps the webhooks it gets."""

    got: queue.Queue = queue.Queue()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.got.put(json.loads(body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_) -> None:
        pass


class Walk:
    def __init__(self, emulator: str, pictures: pathlib.Path, page: Page, webhook: str):
        self.emulator, self.pictures, self.page, self.webhook = emulator, pictures, page, webhook

    def call(self, path: str, body: dict) -> dict:
        request = urllib.request.Request(self.emulator + path, json.dumps({**KEYS, **body}).encode(),
                                         {"content-type": "application/json"})
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)

    def link_token(self, **more) -> dict:
        body = {"client_name": "Harbor Ledger", "language": "en", "country_codes": ["US"],
                "user": {"client_user_id": "u"}, "webhook": self.webhook,
                "hosted_link": {"completion_redirect_uri": "https://example.com/done"}, **more}
        if "access_token" not in more:
            body["products"] = ["transactions"]
        return self.call("/link/token/create", body)

    def picture(self, name: str) -> None:
        for width, (x, y) in WIDTHS.items():
            self.page.set_viewport_size({"width": x, "height": y})
            overflow = self.page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
            assert overflow <= 0, f"{name} scrolls sideways at {x}px"
            self.page.screenshot(path=self.pictures / f"link-{name}-{width}.png", full_page=True)

    def sign_in(self, password: str) -> None:
        self.page.get_by_label("Password").fill(password)
        self.page.get_by_role("button", name="Sign in").click()

    def finished(self) -> dict:
        """The webhook of the end of a session; those before it are its parts."""
        while True:
            webhook = Receiver.got.get(timeout=PATIENCE_SECONDS)
            if webhook["webhook_code"] == "SESSION_FINISHED":
                return webhook

    def session(self, link: dict) -> dict:
        return self.call("/link/token/get", {"link_token": link["link_token"]})["link_sessions"][0]

    def success(self) -> str:
        link = self.link_token()
        self.page.goto(link["hosted_link_url"])
        self.picture("banks")
        self.page.get_by_label("Search for a bank").fill("gingham")
        self.page.keyboard.press("Enter")
        self.page.get_by_role("button", name="First Gingham Credit Union").click()
        self.picture("sign-in")
        self.sign_in("pass_good")
        expect(self.page.get_by_role("heading")).to_contain_text("Choose accounts")
        self.picture("accounts")
        self.page.get_by_label("Plaid Mortgage").uncheck()
        self.page.get_by_role("button", name="Share these accounts").click()
        expect(self.page.get_by_role("heading")).to_have_text("Done")
        self.picture("done")
        assert self.page.get_by_role("link", name="Return").get_attribute("href") == "https://example.com/done"
        webhook, session = self.finished(), self.session(link)
        public_token = session["results"]["item_add_results"][0]["public_token"]
        assert (webhook["status"], webhook["public_tokens"]) == ("SUCCESS", [public_token]), webhook
        token = self.call("/item/public_token/exchange", {"public_token": public_token})["access_token"]
        names = [account["name"] for account in self.call("/accounts/get", {"access_token": token})["accounts"]]
        assert len(names) == 11 and "Plaid Mortgage" not in names, names
        return token

    def questions(self) -> None:
        link = self.link_token(institution_id="ins_109508")
        self.page.goto(link["hosted_link_url"])
        self.sign_in("mfa_questions_2_1")
        self.page.get_by_label("Question 0.0").fill("wrong")
        self.page.get_by_role("button", name="Continue").click()
        expect(self.page.get_by_role("alert")).to_contain_text("INVALID_MFA")
        self.picture("wrong-answer")
        for number in range(2):
            self.page.get_by_label(f"Question {number}.0").fill(f"answer_{number}_0")
            self.page.get_by_role("button", name="Continue").click()
        self.page.get_by_role("button", name="Share these accounts").click()
        expect(self.page.get_by_role("heading")).to_have_text("Done")
        assert self.finished()["status"] == "SUCCESS"

    def failure(self) -> None:
        link = self.link_token(institution_id="ins_109508")
        self.page.goto(link["hosted_link_url"])
        self.sign_in("error_ITEM_LOCKED")
        expect(self.page.get_by_role("alert")).to_contain_text("ITEM_LOCKED")
        self.picture("failure")
        self.page.get_by_role("button", name="Leave without linking").click()
        assert self.finished()["status"] == "EXITED"
        assert self.session(link)["exit"]["error"]["error_code"] == "ITEM_LOCKED"

    def abandon(self) -> None:
        link = self.link_token()
        self.page.goto(link["hosted_link_url"])
        self.page.get_by_role("button", name="Leave without linking").click()
        expect(self.page.get_by_role("heading")).to_have_text("You left")
        self.picture("left")
        assert self.finished()["public_tokens"] == []
        session = self.session(link)
        assert session["exit"]["metadata"]["status"] == "requires_institution", session
        self.page.goto(link["hosted_link_url"])
        expect(self.page.get_by_role("heading")).to_have_text("You left")

    def update_mode(self, token: str) -> None:
        self.call("/sandbox/item/reset_login", {"access_token": token})
        error = self.call("/item/get", {"access_token": token})["item"]["error"]
        assert error["error_code"] == "ITEM_LOGIN_REQUIRED", error
        link = self.link_token(access_token=token, update={"account_selection_enabled": True})
        self.page.goto(link["hosted_link_url"])
        expect(self.page.get_by_role("heading")).to_contain_text("First Gingham Credit Union")
        self.picture("update")
        self.sign_in("pass_good")
        mortgage = self.page.get_by_label("Plaid Mortgage")
        expect(mortgage).not_to_be_checked()
        mortgage.check()
        self.page.get_by_role("button", name="Share these accounts").click()
        expect(self.page.get_by_role("heading")).to_have_text("Done")
        webhook = self.finished()
        assert (webhook["status"], webhook["public_tokens"]) == ("SUCCESS", []), webhook
        assert self.call("/item/get", {"access_token": token})["item"]["error"] is None
        assert len(self.call("/accounts/get", {"access_token": token})["accounts"]) == 12

    def status(self) -> None:
        self.page.goto(self.emulator)
        self.picture("status")
        self.page.get_by_role("button", name="Create and exchange").click()
        first = self.page.get_by_role("row").filter(has_text="First Platypus Bank").first
        first.get_by_role("button", name="reset login", exact=True).click()
        expect(self.page.get_by_text("needs a login").first).to_be_visible()
        self.page.get_by_role("button", name="repair", exact=True).first.click()
        before = self.page.get_by_text(re.compile("Its time is")).text_content()
        self.page.get_by_role("button", name="Step forward").click()
        expect(self.page.get_by_text(re.compile("Its time is"))).not_to_have_text(before)
        self.page.get_by_label("Days").fill("many")
        self.page.get_by_role("button", name="Step forward").click()
        expect(self.page.get_by_role("alert")).to_contain_text("whole number")


def main(emulator: str, pictures: str) -> None:
    folder = pathlib.Path(pictures)
    folder.mkdir(parents=True, exist_ok=True)
    receiver = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=receiver.serve_forever, daemon=True).start()
    webhook = f"http://127.0.0.1:{receiver.server_port}/link"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        for scheme in ("light", "dark"):
            page = browser.new_page(color_scheme=scheme, java_script_enabled=True)
            problems: list[str] = []
            page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
            walk = Walk(emulator, folder / scheme, page, webhook)
            walk.pictures.mkdir(exist_ok=True)
            token = walk.success()
            walk.questions()
            walk.failure()
            walk.abandon()
            walk.update_mode(token)
            walk.status()
            # A refused form is an answer 400, which the browser notes.
            problems = [problem for problem in problems if "400 (Bad Request)" not in problem]
            assert not problems, problems
            page.close()
        browser.close()
    print("hosted Link: success, questions, failure, abandon, update mode")


if __name__ == "__main__":
    main(*sys.argv[1:])
