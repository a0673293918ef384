"""Has PyAirbyte check, discover and read the source as a local executable, without internet.

Usage: pyairbyte.py EXECUTABLE CONFIG_JSON
The environment needs AIRBYTE_OFFLINE_MODE=1.
"""

import json
import sys

import airbyte


def main(executable: str, config: str) -> None:
    source = airbyte.get_source(
        "source-selvedge", config=json.loads(config), local_executable=executable
    )
    source.check()
    assert source.get_available_streams() == ["balances"], source.get_available_streams()
    source.select_streams(["balances"])
    result = source.read(cache=airbyte.new_local_cache())
    rows = list(result["balances"])
    assert len(rows) == 12, rows
    checking = next(row for row in rows if row["name"] == "Plaid Checking")
    assert (float(checking["available"]), float(checking["current"])) == (100.0, 110.0), checking
    print(f"PyAirbyte: {len(rows)} balances")


if __name__ == "__main__":
    main(*sys.argv[1:])
