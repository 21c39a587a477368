// The official `openai` package, its Responses API.
import { WORLD, load, serve } from "./serve.mjs";

const { default: OpenAI } = load("openai");
const { zodTextFormat } = load("openai/helpers/zod");
const { z } = load("zod");
const SHIP = z.object({ name: z.string(), masts: z.number().int() });
const TOOLS = WORLD.tools.map(({ name, description, schema }) => ({
  type: "function",
  name,
  description,
  parameters: schema,
  strict: false,
}));
const ASK = { role: "user", content: WORLD.question };

const client = (asked, more) =>
  new OpenAI({ baseURL: `${asked.url}/v1`, apiKey: asked.key, maxRetries: asked.retries, ...more });
const request = (asked, input = [ASK], more = {}) => ({
  model: asked.model,
  input,
  max_output_tokens: WORLD.max_tokens,
  ...more,
});

function keep(outcome, answer) {
  outcome.text = answer.output_text ?? "";
  outcome.finish = answer.status === "incomplete" ? answer.incomplete_details.reason : answer.status;
  outcome.tools = answer.output
    .filter((item) => item.type === "function_call")
    .map((item) => ({ id: item.call_id, name: item.name, arguments: JSON.parse(item.arguments) }));
  const { input_tokens, output_tokens, input_tokens_details } = answer.usage;
  outcome.usage = { input: input_tokens, output: output_tokens, cached: input_tokens_details?.cached_tokens ?? 0 };
  return answer;
}

async function create(asked, outcome, input = [ASK], more = {}) {
  return keep(outcome, await client(asked).responses.create(request(asked, input, more)));
}

async function stream(asked, outcome, more = {}) {
  Object.assign(outcome, { text: "", pieces: 0 });
  const events = client(asked).responses.stream(request(asked, [ASK], more));
  for await (const event of events) {
    if (event.type === "response.output_text.delta") {
      outcome.text += event.delta;
      outcome.pieces += 1;
      if (asked.scenario === "cancel") return; // leaving the loop aborts the request
    }
    // This SDK hands an error of the stream on as an event; its users raise it.
    if (event.type === "error") throw new OpenAI.APIError(undefined, event, event.message, undefined);
    if (event.type === "response.failed") {
      throw new OpenAI.APIError(undefined, event.response.error, event.response.error.message, undefined);
    }
  }
  keep(outcome, await events.finalResponse());
}

/** The outputs of the tools that were called. */
const results = (answer) =>
  answer.output
    .filter((item) => item.type === "function_call")
    .map((item) => ({ type: "function_call_output", call_id: item.call_id, output: WORLD.results[item.name] }));

async function toolResult(asked, outcome) {
  const answer = await create(asked, outcome, [ASK], { tools: TOOLS });
  const called = outcome.tools;
  await create(asked, outcome, [ASK, ...answer.output, ...results(answer)], { tools: TOOLS });
  outcome.called = called;
}

async function thinkingKept(asked, outcome) {
  // Without a store the reasoning travels with the conversation, encrypted.
  const include = ["reasoning.encrypted_content"];
  const more = { tools: TOOLS, store: false, include, reasoning: { effort: "low" } };
  const answer = await create(asked, outcome, [ASK], more);
  await create(asked, outcome, [ASK, ...answer.output, ...results(answer)], more);
}

const SCHEMA = { text: { format: zodTextFormat(SHIP, "ship") } };

async function structured(asked, outcome) {
  outcome.parsed = keep(outcome, await client(asked).responses.parse(request(asked, [ASK], SCHEMA))).output_parsed;
}

async function structuredStreamed(asked, outcome) {
  const answer = await client(asked).responses.stream(request(asked, [ASK], SCHEMA)).finalResponse();
  outcome.parsed = keep(outcome, answer).output_parsed;
}

async function picture(asked, outcome, image_url) {
  const content = [{ type: "input_text", text: WORLD.question }, { type: "input_image", image_url, detail: "auto" }];
  await create(asked, outcome, [{ role: "user", content }]);
}

const LOGPROBS = { include: ["message.output_text.logprobs"], top_logprobs: 2 };

function keepLogprobs(outcome, answer) {
  const parts = answer.output.filter((item) => item.type === "message").flatMap((item) => item.content);
  outcome.logprobs = parts.flatMap((part) => part.logprobs ?? []).map(({ token, logprob }) => [token, logprob]);
}

async function untouched(asked, outcome) {
  const more = { x_future: WORLD.x_future };
  keep(outcome, await client(asked).responses.create(request(asked, [ASK], more), { headers: { "x-crew": "aloft" } }));
}

const [first, second] = WORLD.history;
await serve({
  chat: create,
  stream,
  stream_tools: (asked, outcome) => stream(asked, outcome, { tools: TOOLS }),
  system: (asked, outcome) => create(asked, outcome, [ASK], { instructions: WORLD.system }),
  multi_turn: (asked, outcome) =>
    create(asked, outcome, [{ role: "user", content: first }, { role: "assistant", content: second }, ASK]),
  tool: (asked, outcome) => create(asked, outcome, [ASK], { tools: TOOLS }),
  tool_forced: (asked, outcome) =>
    create(asked, outcome, [ASK], { tools: TOOLS, tool_choice: { type: "function", name: WORLD.tools[0].name } }),
  tool_result: toolResult,
  thinking_kept: thinkingKept,
  structured,
  structured_streamed: structuredStreamed,
  image: (asked, outcome) => picture(asked, outcome, `data:${WORLD.image.media_type};base64,${WORLD.image.data}`),
  image_url: (asked, outcome) => picture(asked, outcome, WORLD.image_url),
  prompt_cache: (asked, outcome) => create(asked, outcome, [ASK], { prompt_cache_key: "crew" }),
  logprobs: async (asked, outcome) => keepLogprobs(outcome, await create(asked, outcome, [ASK], LOGPROBS)),
  logprobs_streamed: async (asked, outcome) => {
    const answer = await client(asked).responses.stream(request(asked, [ASK], LOGPROBS)).finalResponse();
    keepLogprobs(outcome, keep(outcome, answer));
  },
  untouched,
  count_tokens: async (asked, outcome) => {
    const answer = await client(asked).responses.inputTokens.count({ model: asked.model, input: [ASK] });
    outcome.tokens = answer.input_tokens;
  },
  timeout: (asked) => client(asked, { timeout: WORLD.timeout_seconds * 1000 }).responses.create(request(asked)),
  cancel: stream,
  usage_empty: (asked) => client(asked).responses.create({ model: asked.model, input: [] }),
  usage_model: (asked, outcome) => create({ ...asked, model: "no-such-model" }, outcome),
  usage_path: (asked) => client(asked).responses.delete("resp_1"),
});
