// The official `openai` package.
import { WORLD, load, serve } from "./serve.mjs";

const { default: OpenAI } = load("openai");
const TOOLS = WORLD.tools.map(({ name, description, schema }) => ({
  type: "function",
  function: { name, description, parameters: schema },
}));
const ASK = { role: "user", content: WORLD.question };

const client = (asked, more) =>
  new OpenAI({ baseURL: `${asked.url}/v1`, apiKey: asked.key, maxRetries: asked.retries, ...more });

function keepUsage(outcome, usage) {
  const cached = usage.prompt_tokens_details?.cached_tokens ?? 0;
  outcome.usage = { input: usage.prompt_tokens, output: usage.completion_tokens, cached };
}

async function create(asked, outcome, messages = [ASK], more = {}) {
  const request = { model: asked.model, messages, max_completion_tokens: WORLD.max_tokens, ...more };
  const answer = await client(asked).chat.completions.create(request);
  const [{ message, finish_reason }] = answer.choices;
  outcome.text = message.content ?? "";
  outcome.finish = finish_reason;
  outcome.tools = (message.tool_calls ?? []).map((call) => ({
    id: call.id,
    name: call.function.name,
    arguments: JSON.parse(call.function.arguments),
  }));
  keepUsage(outcome, answer.usage);
  return message;
}

async function stream(asked, outcome, more = {}) {
  Object.assign(outcome, { text: "", pieces: 0, finish: null });
  const calls = [];
  const request = { model: asked.model, messages: [ASK], stream: true, stream_options: { include_usage: true } };
  for await (const chunk of await client(asked).chat.completions.create({ ...request, ...more })) {
    if (chunk.usage) keepUsage(outcome, chunk.usage);
    for (const choice of chunk.choices) {
      outcome.finish = choice.finish_reason ?? outcome.finish;
      if (choice.delta.content) {
        outcome.text += choice.delta.content;
        outcome.pieces += 1;
      }
      for (const part of choice.delta.tool_calls ?? []) {
        const call = (calls[part.index] ??= { id: part.id, name: "", arguments: "" });
        call.name += part.function.name ?? "";
        call.arguments += part.function.arguments ?? "";
      }
    }
    if (outcome.pieces > 0 && asked.scenario === "cancel") return; // leaving the loop aborts the request
  }
  outcome.tools = calls.map((call) => ({ ...call, arguments: JSON.parse(call.arguments) }));
}

async function toolResult(asked, outcome) {
  const message = await create(asked, outcome, [ASK], { tools: TOOLS });
  const called = outcome.tools;
  const results = called.map(({ id, name }) => ({ role: "tool", tool_call_id: id, content: WORLD.results[name] }));
  await create(asked, outcome, [ASK, message, ...results], { tools: TOOLS });
  outcome.called = called;
}

async function structured(asked, outcome) {
  const format = { type: "json_schema", json_schema: { name: "ship", strict: true, schema: WORLD.schema } };
  await create(asked, outcome, [ASK], { response_format: format });
  outcome.parsed = JSON.parse(outcome.text);
}

async function image(asked, outcome) {
  const url = `data:${WORLD.image.media_type};base64,${WORLD.image.data}`;
  const content = [{ type: "text", text: WORLD.question }, { type: "image_url", image_url: { url } }];
  await create(asked, outcome, [{ role: "user", content }]);
}

const [first, second] = WORLD.history;
await serve({
  chat: create,
  stream,
  stream_tools: (asked, outcome) => stream(asked, outcome, { tools: TOOLS }),
  system: (asked, outcome) => create(asked, outcome, [{ role: "system", content: WORLD.system }, ASK]),
  multi_turn: (asked, outcome) =>
    create(asked, outcome, [{ role: "user", content: first }, { role: "assistant", content: second }, ASK]),
  tool: (asked, outcome) => create(asked, outcome, [ASK], { tools: TOOLS }),
  tool_result: toolResult,
  structured,
  image,
  stop: (asked, outcome) => create(asked, outcome, [ASK], { stop: WORLD.stop }),
  timeout: (asked) =>
    client(asked, { timeout: WORLD.timeout_seconds * 1000 }).chat.completions.create({ model: asked.model, messages: [ASK] }),
  cancel: stream,
  models: async (asked, outcome) => {
    outcome.models = (await client(asked).models.list()).data.map((model) => model.id);
  },
  embeddings: async (asked, outcome) => {
    const answer = await client(asked).embeddings.create({ model: asked.model, input: WORLD.question });
    outcome.numbers = answer.data[0].embedding.length;
  },
});
