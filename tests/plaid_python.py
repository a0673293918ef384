"""Drives the emulator with Plaid's official Python client, unmodified, and then has Selvedge serve
the same transactions through its link URL.

Usage: plaid_python.py EMULATOR_URL SERVER_URL API_KEY
"""

import json
import sys
import time
import urllib.request

import plaid
from plaid.api import plaid_api
from plaid.model.accounts_balance_get_request import AccountsBalanceGetRequest
from plaid.model.accounts_get_request import AccountsGetRequest
from plaid.model.country_code import CountryCode
from plaid.model.institutions_get_by_id_request import InstitutionsGetByIdRequest
from plaid.model.item_get_request import ItemGetRequest
from plaid.model.item_public_token_exchange_request import ItemPublicTokenExchangeRequest
from plaid.model.item_webhook_update_request import ItemWebhookUpdateRequest
from plaid.model.products import Products
from plaid.model.sandbox_item_fire_webhook_request import SandboxItemFireWebhookRequest
from plaid.model.sandbox_public_token_create_request import SandboxPublicTokenCreateRequest
from plaid.model.transactions_refresh_request import TransactionsRefreshRequest
from plaid.model.transactions_sync_request import TransactionsSyncRequest
from plaid.model.webhook_verification_key_get_request import WebhookVerificationKeyGetRequest

PATIENCE_SECONDS = 60


def main(emulator_url: str, server_url: str, api_key: str) -> None:
    configuration = plaid.Configuration(
        host=emulator_url, api_key={"clientId": "emulator", "secret": "sandbox-secret"}
    )
    client = plaid_api.PlaidApi(plaid.ApiClient(configuration))
    created = client.sandbox_public_token_create(
        SandboxPublicTokenCreateRequest(
            institution_id="ins_109508", initial_products=[Products("transactions")]
        )
    )
    exchanged = client.item_public_token_exchange(
        ItemPublicTokenExchangeRequest(public_token=created.public_token)
    )
    token, item_id = exchanged.access_token, exchanged.item_id

    item = client.item_get(ItemGetRequest(access_token=token))
    assert item.item.item_id == item_id and item.status.last_webhook is None, item
    accounts = client.accounts_get(AccountsGetRequest(access_token=token)).accounts
    assert len(accounts) == 12 and accounts[7].name == "Plaid Student Loan", accounts
    balances = client.accounts_balance_get(AccountsBalanceGetRequest(access_token=token)).accounts
    assert balances[0].balances.available == 100 and balances[0].balances.current == 110, balances
    institution = client.institutions_get_by_id(
        InstitutionsGetByIdRequest(institution_id="ins_109508", country_codes=[CountryCode("US")])
    )
    assert institution.institution.name == "First Platypus Bank", institution

    rows = sync(client, token)
    assert len(rows) > 40, len(rows)
    client.transactions_refresh(TransactionsRefreshRequest(access_token=token))
    key = client.webhook_verification_key_get(
        WebhookVerificationKeyGetRequest(key_id="6c5516e1-92dc-479e-a8ff-5a51992e0001")
    ).key
    assert (key.alg, key.crv, key.kty) == ("ES256", "P-256", "EC") and key.created_at, key
    expect_error(client)

    integration = call(
        server_url, api_key, "/v1/integrations",
        {"name": "Python", "environment": "sandbox", "base_url": emulator_url,
         "client_id": "emulator", "secret": "sandbox-secret"},
    )
    client.item_webhook_update(
        ItemWebhookUpdateRequest(access_token=token, webhook=integration["webhook_url"])
    )
    link = {"item_id": item_id, "access_token": token, "end_user_id": "python"}
    call(server_url, api_key, integration["link_url"].removeprefix(server_url), link)
    fired = client.sandbox_item_fire_webhook(
        SandboxItemFireWebhookRequest(access_token=token, webhook_code="SYNC_UPDATES_AVAILABLE")
    )
    assert fired.webhook_fired
    wait_for_rows(server_url, api_key, set(sync(client, token)))
    print(f"plaid-python {plaid.__version__ if hasattr(plaid, '__version__') else ''}: {len(rows)} transactions agree")


def sync(client, token: str) -> dict:
    """Every transaction from the empty cursor to the end."""
    rows, cursor, more = {}, "", True
    while more:
        page = client.transactions_sync(
            TransactionsSyncRequest(access_token=token, cursor=cursor, count=50)
        )
        rows.update({row.transaction_id: row for row in page.added + page.modified})
        for row in page.removed:
            rows.pop(row.transaction_id, None)
        cursor, more = page.next_cursor, page.has_more
    return rows


def expect_error(client) -> None:
    try:
        client.item_get(ItemGetRequest(access_token="access-sandbox-unknown"))
    except plaid.ApiException as error:
        body = json.loads(error.body)
        assert (error.status, body["error_code"]) == (400, "INVALID_ACCESS_TOKEN"), body
    else:
        raise AssertionError("an unknown token was accepted")


def call(server_url: str, api_key: str, path: str, body: dict | None = None) -> dict:
    request = urllib.request.Request(
        server_url + path,
        data=None if body is None else json.dumps(body).encode(),
        headers={"authorization": f"Bearer {api_key}", "content-type": "application/json"},
    )
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def wait_for_rows(server_url: str, api_key: str, expected: set) -> None:
    """Long-polls the feed until the API serves exactly the expected transactions."""
    cursor, deadline = "0", time.monotonic() + PATIENCE_SECONDS
    while True:
        page = call(server_url, api_key, "/v1/end_users/python/transactions?limit=5000")
        found = {row["transaction_id"] for row in page["data"]}
        if found == expected:
            return
        assert time.monotonic() < deadline, f"{len(found)} of {len(expected)} transactions"
        news = call(server_url, api_key, f"/v1/changes?wait=5&limit=5000&after={cursor}")
        cursor = news["next_cursor"]


if __name__ == "__main__":
    main(*sys.argv[1:])
