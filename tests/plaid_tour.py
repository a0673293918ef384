"""Walks the emulator's tour with Plaid's official Python client, unmodified: only its host is set.

Usage: plaid_tour.py EMULATOR_URL [LIBRARY_FOLDER]

With a folder the library is taken from there instead of from the environment. Steps that this
version of the library has no method for, or whose wrong request it refuses itself, are counted.
"""

import datetime
import importlib
import json
import pathlib
import sys
import time

TOUR = pathlib.Path(__file__).parent.parent / "crates/emulator/data/tour.json"
WAITS = 50
# The library's own names where they do not follow from the path.
METHODS = {"/item/public_token/create": "item_create_public_token"}


def main(emulator_url: str, library: str | None = None) -> None:
    if library:
        sys.path.insert(0, library)
    import plaid
    from plaid.api import plaid_api
    from plaid.model_utils import validate_and_convert_types

    configuration = plaid.Configuration(
        host=emulator_url, api_key={"clientId": "emulator", "secret": "sandbox-secret"}
    )
    client = plaid_api.PlaidApi(plaid.ApiClient(configuration))
    today = datetime.date.today()
    notes = {
        "today": today.isoformat(),
        "days_ago_60": (today - datetime.timedelta(days=60)).isoformat(),
        "webhook": "https://example.com/webhook",
    }

    def request(name: str, body: dict):
        """The library's typed request for a body; a plain one where it has no type."""
        try:
            module = importlib.import_module(f"plaid.model.{name}_request")
        except ModuleNotFoundError:
            return body
        kind = getattr(module, "".join(part.capitalize() for part in name.split("_")) + "Request")
        return validate_and_convert_types(body, (kind,), ["body"], True, True, configuration)

    counts = {"answered": 0, "refused as expected": 0, "refused by the library": 0, "unknown to it": 0}
    for step in json.loads(TOUR.read_text()):
        body = fill(step["body"], notes)
        name = METHODS.get(step["path"], step["path"].strip("/").replace("/", "_"))
        method = getattr(client, name, None)
        if method is None:
            counts["unknown to it"] += 1
            continue
        try:
            typed = request(name, body)
        except (plaid.ApiTypeError, plaid.ApiValueError, TypeError):
            assert step.get("error"), (step["name"], body)
            counts["refused by the library"] += 1
            continue
        for _ in range(WAITS):
            try:
                answer = method(typed)
            except plaid.ApiException as error:
                code = json.loads(error.body)["error_code"]
                assert code == step.get("error"), (step["name"], error.body)
                counts["refused as expected"] += 1
                break
            assert "error" not in step, (step["name"], "should have been refused")
            wait = step.get("wait")
            plain = answer.to_dict() if hasattr(answer, "to_dict") else answer
            if not wait or find(plain, wait["pointer"]) == wait["for"]:
                counts["answered"] += 1
                before = dict(notes)
                for note, place in step.get("keep", {}).items():
                    notes[note] = before[place[1:]] if place[0] == "@" else find(plain, place)
                break
            time.sleep(0.1)
        else:
            raise AssertionError(f"{step['name']}: never ready")
    print(f"{client.api_client.user_agent}: {json.dumps(counts)}")


def fill(template, notes: dict):
    if isinstance(template, str):
        for name, value in notes.items():
            template = template.replace("{" + name + "}", str(value))
        return template
    if isinstance(template, list):
        return [fill(entry, notes) for entry in template]
    if isinstance(template, dict):
        return {name: fill(value, notes) for name, value in template.items()}
    return template


def find(value, pointer: str):
    """What a JSON pointer names."""
    for step in pointer.strip("/").split("/"):
        value = value[int(step)] if isinstance(value, list) else value[step]
    return getattr(value, "value", value)


if __name__ == "__main__":
    main(*sys.argv[1:])
