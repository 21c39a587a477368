// The official `openai` package.
import { WORLD, load, serve } from "./serve.mjs";

const { default: OpenAI } = load("openai");
const { zodResponseFormat } = load("openai/helpers/zod");
const { z } = load("zod");
const SHIP = z.object({ name: z.string(), masts: z.number().int() });
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
  return keep(outcome, await client(asked).chat.completions.create(request));
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

async function thinkingKept(asked, outcome) {
  const more = { tools: TOOLS, reasoning_effort: "low" };
  const message = await create(asked, outcome, [ASK], more);
  const [{ id, name }] = outcome.tools;
  await create(asked, outcome, [ASK, message, { role: "tool", tool_call_id: id, content: WORLD.results[name] }], more);
}

function keep(outcome, answer) {
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

async function structured(asked, outcome) {
  const request = { model: asked.model, messages: [ASK], response_format: zodResponseFormat(SHIP, "ship") };
  outcome.parsed = keep(outcome, await client(asked).chat.completions.parse(request)).parsed;
}

/** What the stream helper puts together, asked with `more`. */
function gathered(asked, more) {
  const request = { model: asked.model, messages: [ASK], stream_options: { include_usage: true }, ...more };
  return client(asked).chat.completions.stream(request).finalChatCompletion();
}

async function structuredStreamed(asked, outcome) {
  const answer = await gathered(asked, { response_format: zodResponseFormat(SHIP, "ship") });
  outcome.parsed = keep(outcome, answer).parsed;
}

const LOGPROBS = { logprobs: true, top_logprobs: 2 };

async function logprobs(asked, outcome) {
  const answer = await client(asked).chat.completions.create({ model: asked.model, messages: [ASK], ...LOGPROBS });
  keep(outcome, answer);
  outcome.logprobs = answer.choices[0].logprobs.content.map(({ token, logprob }) => [token, logprob]);
}

async function logprobsStreamed(asked, outcome) {
  const answer = await gathered(asked, LOGPROBS);
  keep(outcome, answer);
  outcome.logprobs = answer.choices[0].logprobs.content.map(({ token, logprob }) => [token, logprob]);
}

async function choices(asked, outcome) {
  const answer = await client(asked).chat.completions.create({ model: asked.model, messages: [ASK], n: 2 });
  outcome.choices = answer.choices.map(({ message }) => message.content);
}

async function choicesStreamed(asked, outcome) {
  outcome.choices = (await gathered(asked, { n: 2 })).choices.map(({ message }) => message.content);
}

async function imageUrl(asked, outcome) {
  const content = [{ type: "text", text: WORLD.question }, { type: "image_url", image_url: { url: WORLD.image_url } }];
  await create(asked, outcome, [{ role: "user", content }]);
}

async function untouched(asked, outcome) {
  const request = { model: asked.model, messages: [ASK], x_future: WORLD.x_future };
  keep(outcome, await client(asked).chat.completions.create(request, { headers: { "x-crew": "aloft" } }));
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
  tool_forced: (asked, outcome) =>
    create(asked, outcome, [ASK], {
      tools: TOOLS,
      tool_choice: { type: "function", function: { name: WORLD.tools[0].name } },
    }),
  tool_result: toolResult,
  thinking_kept: thinkingKept,
  structured,
  structured_streamed: structuredStreamed,
  image,
  image_url: imageUrl,
  prompt_cache: (asked, outcome) => create(asked, outcome, [ASK], { prompt_cache_key: "crew" }),
  seed: (asked, outcome) => create(asked, outcome, [ASK], { seed: 7 }),
  logprobs,
  logprobs_streamed: logprobsStreamed,
  choices,
  choices_streamed: choicesStreamed,
  untouched,
  stop: (asked, outcome) => create(asked, outcome, [ASK], { stop: WORLD.stop }),
  timeout: (asked) =>
    client(asked, { timeout: WORLD.timeout_seconds * 1000 }).chat.completions.create({ model: asked.model, messages: [ASK] }),
  cancel: stream,
  models: async (asked, outcome) => {
    outcome.models = (await client(asked).models.list()).data.map((model) => model.id);
  },
  embeddings: async (asked, outcome) => {
    const request = { model: asked.embedding_model, input: WORLD.history, dimensions: 256 };
    const { data } = await client(asked).embeddings.create(request);
    outcome.vectors = data.sort((one, other) => one.index - other.index).map(({ embedding }) => Array.from(embedding));
  },
  usage_empty: (asked, outcome) => create(asked, outcome, []),
  usage_model: (asked, outcome) => create({ ...asked, model: "no-such-model" }, outcome),
  usage_path: (asked) => client(asked).images.generate({ model: asked.model, prompt: WORLD.question }),
});
