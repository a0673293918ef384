"""Forwards Plaid's webhooks to Selvedge with their signature and their bytes unchanged.

For customers who already receive Plaid's webhooks and want to keep doing so. Set SELVEDGE_WEBHOOK_URL
to the integration's webhook URL, then: flask --app app run --port 5000
"""

import os
import urllib.error
import urllib.request

from flask import Flask, request

app = Flask(__name__)
WEBHOOK_URL = os.environ["SELVEDGE_WEBHOOK_URL"]


@app.post("/plaid/webhook")
def plaid_webhook():
    # get_data() gives the raw bytes. request.json would parse them, and what is then sent on
    # would have another SHA-256 than the one Plaid signed.
    body = request.get_data()
    status = forward(body, request.headers.get("Plaid-Verification", ""))
    # ... your own handling of the webhook ...
    # Answer what Selvedge answered: anything but 200 makes Plaid send it again.
    return "", status


def forward(body: bytes, signature: str) -> int:
    headers = {"Content-Type": "application/json", "Plaid-Verification": signature}
    forwarded = urllib.request.Request(WEBHOOK_URL, data=body, headers=headers, method="POST")
    try:
        with urllib.request.urlopen(forwarded, timeout=8) as answer:
            return answer.status
    except urllib.error.HTTPError as refusal:
        return refusal.code
    except OSError:
        return 503
