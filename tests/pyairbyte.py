"""Has PyAirbyte check, discover and read every stream of the source twice, as a local executable, without
internet, into its DuckDB cache or into PostgreSQL; the second time incrementally with the state it hands
back. What arrives is compared with the counts that the source itself stated.

Usage: pyairbyte.py EXECUTABLE CONFIG_JSON EMULATOR_URL [POSTGRES_HOST POSTGRES_PORT]
The environment needs AIRBYTE_OFFLINE_MODE=1.
"""

import json
import pathlib
import sys
import tempfile
import urllib.request

import airbyte
from airbyte.caches import DuckDBCache, PostgresCache

KEYS = {"transactions": ["transaction_id"]}


def listening(executable: str, folder: pathlib.Path) -> str:
    """The same program, of which everything it says is kept as well."""
    script = folder / "source-selvedge"
    script.write_text(f'#!/bin/sh\n"{executable}" "$@" | tee -a "{folder}/said"\n')
    script.chmod(0o755)
    return str(script)


def stated(folder: pathlib.Path) -> tuple[dict[str, int], dict[str, set]]:
    """By stream what the states counted, and the keys of the records, since the last time."""
    counts, keys = {}, {}
    said = folder / "said"
    for line in said.read_text().splitlines():
        message = json.loads(line)
        if message["type"] == "STATE":
            name = message["state"]["stream"]["stream_descriptor"]["name"]
            counts[name] = counts.get(name, 0) + int(message["state"]["sourceStats"]["recordCount"])
        elif message["type"] == "RECORD":
            record = message["record"]
            keys.setdefault(record["stream"], []).append(record["data"])
    said.write_text("")
    return counts, keys


def cache_of(where: list[str], folder: pathlib.Path):
    if not where:
        return DuckDBCache(db_path=folder / "cache.duckdb")
    host, port = where
    return PostgresCache(host=host, port=int(port), username="postgres", password="", database="postgres",
                         schema_name="pyairbyte")


def main(executable: str, config: str, emulator: str, *where: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (folder / "said").write_text("")
        source = airbyte.get_source("source-selvedge", config=json.loads(config),
                                    local_executable=listening(executable, folder))
        source.check()
        streams = source.get_available_streams()
        assert len(streams) == 12, streams
        source.select_all_streams()
        stated(folder)
        cache = cache_of(list(where), folder)
        first = source.read(cache=cache)
        counts, _ = stated(folder)
        for stream in streams:
            there = len(list(first[stream]))
            assert there == counts.get(stream, 0), f"{stream}: {there} there, {counts.get(stream)} stated"
        checking = next(row for row in first["balances"] if row["name"] == "Plaid Checking")
        assert (float(checking["available"]), float(checking["current"])) == (100.0, 110.0), checking
        before = {row["transaction_id"] for row in first["transactions"]}

        body = json.dumps({"days": 20}).encode()
        request = urllib.request.Request(f"{emulator}/_emulator/advance", body, {"content-type": "application/json"})
        urllib.request.urlopen(request).read()
        second = source.read(cache=cache)
        counts, records = stated(folder)
        new = {record["transaction_id"] for record in records.get("transactions", [])}
        assert counts["transactions"] == len(records.get("transactions", [])) < len(before), counts
        after = {row["transaction_id"] for row in second["transactions"]}
        assert after == before | new, "incremental, and nothing lost"
        assert len(list(second["accounts"])) == counts["accounts"], "read whole again, none doubled"
        print(f"PyAirbyte: {len(before)} transactions, then {len(new)} changes, in {len(streams)} streams")


if __name__ == "__main__":
    main(*sys.argv[1:])
