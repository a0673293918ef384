// Walks the emulator's tour with Plaid's official Node client, unmodified: only its base path is set.
//
// Usage: node plaid_tour.js EMULATOR_URL [plaid | plaid-older]
//
// Steps that this version of the library has no method for are counted.

const fs = require('fs');
const path = require('path');

const TOUR = path.join(__dirname, '../../crates/emulator/data/tour.json');
const WAITS = 50;
// The library's own names where they do not follow from the path.
const METHODS = { '/item/public_token/create': 'itemCreatePublicToken' };

async function main(emulatorUrl, name = 'plaid') {
  const { Configuration, PlaidApi } = require(name);
  const client = new PlaidApi(new Configuration({
    basePath: emulatorUrl,
    baseOptions: { headers: { 'PLAID-CLIENT-ID': 'emulator', 'PLAID-SECRET': 'sandbox-secret', 'Plaid-Version': '2020-09-14' } },
  }));
  const day = (ago) => new Date(Date.now() - ago * 86_400_000).toISOString().slice(0, 10);
  const notes = { today: day(0), days_ago_60: day(60), webhook: 'https://example.com/webhook' };
  const counts = { answered: 0, 'refused as expected': 0, 'unknown to it': 0 };
  for (const step of JSON.parse(fs.readFileSync(TOUR))) {
    const method = METHODS[step.path] ?? camel(step.path);
    if (typeof client[method] !== 'function') {
      counts['unknown to it'] += 1;
      continue;
    }
    const body = fill(step.body, notes);
    for (let wait = 0; ; wait += 1) {
      if (wait === WAITS) throw new Error(`${step.name}: never ready`);
      let answer;
      try {
        answer = (await client[method](body)).data;
      } catch (error) {
        const code = error.response?.data?.error_code;
        if (code === undefined || code !== step.error) {
          throw new Error(`${step.name}: ${error.message} ${JSON.stringify(error.response?.data)}`);
        }
        counts['refused as expected'] += 1;
        break;
      }
      if (step.error) throw new Error(`${step.name}: should have been refused`);
      if (!step.wait || find(answer, step.wait.pointer) === step.wait.for) {
        const before = { ...notes };
        for (const [note, place] of Object.entries(step.keep ?? {})) {
          notes[note] = place.startsWith('@') ? before[place.slice(1)] : find(answer, place);
        }
        counts.answered += 1;
        break;
      }
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
  const { version } = require(`${name}/package.json`);
  console.log(`plaid-node ${version}: ${JSON.stringify(counts)}`);
}

const camel = (endpoint) => endpoint.slice(1).replace(/[/_](\w)/g, (_, letter) => letter.toUpperCase());

function fill(template, notes) {
  if (typeof template === 'string') {
    return Object.entries(notes).reduce((text, [name, value]) => text.replaceAll(`{${name}}`, value), template);
  }
  if (Array.isArray(template)) return template.map((entry) => fill(entry, notes));
  if (template && typeof template === 'object') {
    return Object.fromEntries(Object.entries(template).map(([name, value]) => [name, fill(value, notes)]));
  }
  return template;
}

const find = (value, pointer) => pointer.slice(1).split('/').reduce((inner, step) => inner?.[step], value);

main(...process.argv.slice(2)).catch((error) => {
  console.error(error);
  process.exit(1);
});
