// The loop of a Node client: a request a line in, what the SDK made of it a line out.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

export const WORLD = JSON.parse(readFileSync(new URL("../world.json", import.meta.url)));
// The modules live in the cache, not beside this file, so the folder is named and CommonJS finds them there.
export const load = createRequire(process.env.SDK_MODULES + "/");

// The API's own words for it: from the SDK's fields where it has them, else from the body that it keeps.
function words(error) {
  const said = error.error?.error ?? error.error ?? {};
  return {
    type: error.type ?? null,
    code: typeof error.code === "string" ? error.code : null,
    bowsprit_code: said.bowsprit_code ?? null,
  };
}

function described(error) {
  const bases = [];
  for (let of = error.constructor; of?.name; of = Object.getPrototypeOf(of)) bases.push(of.name);
  return { class: bases[0], bases, status: error.status ?? null, message: error.message, words: words(error) };
}

export async function serve(scenarios) {
  console.log("ready");
  for await (const line of createInterface({ input: process.stdin })) {
    const asked = JSON.parse(line);
    const outcome = {};
    const begun = performance.now();
    try {
      await scenarios[asked.scenario](asked, outcome);
    } catch (error) {
      outcome.error = described(error);
    }
    outcome.seconds = (performance.now() - begun) / 1000;
    console.log(JSON.stringify(outcome));
  }
}
