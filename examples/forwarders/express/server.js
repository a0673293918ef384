// Forwards Plaid's webhooks to Selvedge with their signature and their bytes unchanged.
//
// For customers who already receive Plaid's webhooks and want to keep doing so. Set
// SELVEDGE_WEBHOOK_URL to the integration's webhook URL, then: node server.js
"use strict";

const express = require("express");

const app = express();
const webhookUrl = process.env.SELVEDGE_WEBHOOK_URL;

// express.raw() keeps the bytes. express.json() would parse them, and what is then sent on would have
// another SHA-256 than the one Plaid signed.
app.post("/plaid/webhook", express.raw({ type: "*/*", limit: "256kb" }), async (request, response) => {
  const status = await forward(request.body, request.get("Plaid-Verification") ?? "");
  // ... your own handling of the webhook ...
  // Answer what Selvedge answered: anything but 200 makes Plaid send it again.
  response.status(status).end();
});

async function forward(body, signature) {
  try {
    const answer = await fetch(webhookUrl, {
      method: "POST",
      headers: { "Content-Type": "application/json", "Plaid-Verification": signature },
      body,
      signal: AbortSignal.timeout(8000),
    });
    return answer.status;
  } catch {
    return 503;
  }
}

const server = app.listen(Number(process.env.PORT ?? 5000), "127.0.0.1", () => {
  console.log(`http://127.0.0.1:${server.address().port}`);
});
