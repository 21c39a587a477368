// The official `@anthropic-ai/sdk` package.
import { WORLD, load, serve } from "./serve.mjs";

const { default: Anthropic } = load("@anthropic-ai/sdk");
const { zodOutputFormat } = load("@anthropic-ai/sdk/helpers/zod");
const { z } = load("zod");
const SHIP = z.object({ name: z.string(), masts: z.number().int() });
const TOOLS = WORLD.tools.map(({ name, description, schema }) => ({ name, description, input_schema: schema }));
const ASK = { role: "user", content: WORLD.question };

const client = (asked, more) =>
  new Anthropic({ baseURL: asked.url, apiKey: asked.key, maxRetries: asked.retries, ...more });
const request = (asked, messages = [ASK], more = {}) => ({
  model: asked.model,
  max_tokens: WORLD.max_tokens,
  messages,
  ...more,
});

function keep(outcome, answer) {
  outcome.text = answer.content.map((block) => (block.type === "text" ? block.text : "")).join("");
  outcome.finish = answer.stop_reason;
  outcome.tools = answer.content
    .filter((block) => block.type === "tool_use")
    .map(({ id, name, input }) => ({ id, name, arguments: input }));
  const { input_tokens, output_tokens, cache_read_input_tokens, cache_creation_input_tokens } = answer.usage;
  const cached = cache_read_input_tokens ?? 0;
  outcome.usage = { input: input_tokens + cached + (cache_creation_input_tokens ?? 0), output: output_tokens, cached };
  return answer;
}

async function create(asked, outcome, messages = [ASK], more = {}) {
  return keep(outcome, await client(asked).messages.create(request(asked, messages, more)));
}

async function stream(asked, outcome, more = {}) {
  outcome.text = "";
  let pieces = 0;
  const events = client(asked).messages.stream(request(asked, [ASK], more));
  for await (const event of events) {
    if (event.type === "content_block_delta" && event.delta.type === "text_delta") {
      outcome.text += event.delta.text;
      outcome.pieces = pieces += 1;
      if (asked.scenario === "cancel") return; // leaving the loop aborts the request
    }
  }
  keep(outcome, await events.finalMessage());
}

async function toolResult(asked, outcome) {
  const answer = await create(asked, outcome, [ASK], { tools: TOOLS });
  const called = outcome.tools;
  const results = called.map(({ id, name }) => ({ type: "tool_result", tool_use_id: id, content: WORLD.results[name] }));
  const history = [ASK, { role: "assistant", content: answer.content }, { role: "user", content: results }];
  await create(asked, outcome, history, { tools: TOOLS });
  outcome.called = called;
}

async function thinkingKept(asked, outcome) {
  const more = { tools: TOOLS, thinking: { type: "adaptive" } };
  const answer = await create(asked, outcome, [ASK], more);
  const [{ id, name }] = outcome.tools;
  const content = [{ type: "tool_result", tool_use_id: id, content: WORLD.results[name] }];
  await create(asked, outcome, [ASK, { role: "assistant", content: answer.content }, { role: "user", content }], more);
}

async function structured(asked, outcome) {
  const more = { output_config: { format: zodOutputFormat(SHIP) } };
  outcome.parsed = keep(outcome, await client(asked).messages.parse(request(asked, [ASK], more))).parsed_output;
}

async function structuredStreamed(asked, outcome) {
  const more = { output_config: { format: zodOutputFormat(SHIP) } };
  const events = client(asked).messages.stream(request(asked, [ASK], more));
  outcome.parsed = keep(outcome, await events.finalMessage()).parsed_output;
}

async function imageUrl(asked, outcome) {
  const source = { type: "url", url: WORLD.image_url };
  await create(asked, outcome, [{ role: "user", content: [{ type: "text", text: WORLD.question }, { type: "image", source }] }]);
}

async function untouched(asked, outcome) {
  const more = { x_future: WORLD.x_future };
  keep(outcome, await client(asked).messages.create(request(asked, [ASK], more), { headers: { "x-crew": "aloft" } }));
}

async function image(asked, outcome) {
  const source = { type: "base64", ...WORLD.image };
  const content = [{ type: "text", text: WORLD.question }, { type: "image", source }];
  await create(asked, outcome, [{ role: "user", content }]);
}

const [first, second] = WORLD.history;
await serve({
  chat: create,
  stream,
  stream_tools: (asked, outcome) => stream(asked, outcome, { tools: TOOLS }),
  system: (asked, outcome) => create(asked, outcome, [ASK], { system: WORLD.system }),
  multi_turn: (asked, outcome) =>
    create(asked, outcome, [{ role: "user", content: first }, { role: "assistant", content: second }, ASK]),
  tool: (asked, outcome) => create(asked, outcome, [ASK], { tools: TOOLS }),
  tool_forced: (asked, outcome) =>
    create(asked, outcome, [ASK], { tools: TOOLS, tool_choice: { type: "tool", name: WORLD.tools[0].name } }),
  tool_result: toolResult,
  thinking_kept: thinkingKept,
  structured,
  structured_streamed: structuredStreamed,
  image,
  image_url: imageUrl,
  prompt_cache: (asked, outcome) =>
    create(asked, outcome, [ASK], {
      system: [{ type: "text", text: WORLD.system, cache_control: { type: "ephemeral" } }],
    }),
  untouched,
  stop: (asked, outcome) => create(asked, outcome, [ASK], { stop_sequences: WORLD.stop }),
  timeout: (asked) => client(asked, { timeout: WORLD.timeout_seconds * 1000 }).messages.create(request(asked)),
  cancel: stream,
  models: async (asked, outcome) => {
    outcome.models = (await client(asked).models.list()).data.map((model) => model.id);
  },
  count_tokens: async (asked, outcome) => {
    const answer = await client(asked).messages.countTokens({ model: asked.model, messages: [ASK] });
    outcome.tokens = answer.input_tokens;
  },
  usage_empty: (asked, outcome) => create(asked, outcome, []),
  usage_model: (asked, outcome) => create({ ...asked, model: "no-such-model" }, outcome),
  usage_path: (asked) => client(asked).beta.files.list(),
});
