"""A small destination of the Airbyte protocol for the tests: it keeps rows in a JSON file, by key, with
the generation of each, and echoes a state only once everything before it is there.

DIE_AFTER_LINES in the environment ends it without warning after so many lines of input.
"""

import json
import os
import pathlib
import sys

FLUSH_EVERY = 100


def say(message: dict) -> None:
    print(json.dumps(message), flush=True)


def argument(name: str) -> dict:
    return json.loads(pathlib.Path(sys.argv[sys.argv.index(name) + 1]).read_text())


class Kept:
    """The file, put in place whole."""

    def __init__(self, path: str):
        self.path = pathlib.Path(path)
        self.content = json.loads(self.path.read_text()) if self.path.exists() else {"tables": {}}

    def flush(self) -> None:
        aside = self.path.with_suffix(".new")
        aside.write_text(json.dumps(self.content))
        aside.replace(self.path)


def check() -> None:
    ok = "path" in argument("--config")
    status = {"status": "SUCCEEDED"} if ok else {"status": "FAILED", "message": "the path is missing"}
    say({"type": "CONNECTION_STATUS", "connectionStatus": status})


def write() -> None:
    kept = Kept(argument("--config")["path"])
    streams = {stream["stream"]["name"]: stream for stream in argument("--catalog")["streams"]}
    die_after = int(os.environ.get("DIE_AFTER_LINES", "0"))
    states: list[dict] = []

    def settle() -> None:
        kept.flush()
        while states:
            say(states.pop(0))

    for number, line in enumerate(sys.stdin, 1):
        if number == die_after:
            os._exit(137)
        message = json.loads(line)
        if message["type"] == "RECORD":
            record = message["record"]
            stream = streams[record["stream"]]
            table = kept.content["tables"].setdefault(record["stream"], {})
            key = json.dumps([record["data"][path[0]] for path in stream["primary_key"]])
            if record["data"].get("_ab_cdc_deleted_at"):
                table.pop(key, None)
            else:
                table[key] = {"data": record["data"], "generation": stream["generation_id"]}
        elif message["type"] == "STATE":
            states.append(message)
        elif message.get("trace", {}).get("stream_status", {}).get("status") == "COMPLETE":
            name = message["trace"]["stream_status"]["stream_descriptor"]["name"]
            least = streams[name]["minimum_generation_id"]
            table = kept.content["tables"].setdefault(name, {})
            kept.content["tables"][name] = {k: row for k, row in table.items() if row["generation"] >= least}
        if number % FLUSH_EVERY == 0:
            settle()
    settle()


if __name__ == "__main__":
    {"check": check, "write": write}[sys.argv[1]]()
