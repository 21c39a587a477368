// Serves aimock on a loopback port: the three APIs as another project understands them.
//
//   PORT=9110 npm start
//
// Until told otherwise, texts with "weather" are answered with a call of the tool get_weather, those with "overloaded" with
// an error 529, all others with a greeting that repeats them. Fixtures are put in at /__aimock/fixtures (after a
// /__aimock/reset/fixtures), the journal of requests is at /__aimock/journal. AIMOCK_MODULES: a folder with node_modules
// that are not beside this file.
import { createRequire } from "node:module";

const modules = process.env.AIMOCK_MODULES;
const { LLMock } = createRequire(modules ? modules + "/" : import.meta.url)("@copilotkit/aimock");

const text = (content) =>
  typeof content === "string" ? content : (content ?? []).map((part) => part.text ?? "").join("");

const lastUser = (request) => text(request.messages.findLast((message) => message.role === "user")?.content);

const mock = new LLMock({ host: "127.0.0.1", port: Number(process.env.PORT ?? 9110), chunkSize: 8 });
mock
  .onMessage("weather", { toolCalls: [{ name: "get_weather", arguments: '{"city":"Ghent"}' }] }, { hasToolResult: false })
  .onMessage("overloaded", { error: { message: "Overloaded", type: "overloaded_error" }, status: 529 })
  .onMessage(/[\s\S]*/, (request) => ({ content: `Hello from aimock (${request.model}): ${lastUser(request)}` }));
await mock.start();
console.log(`aimock at ${mock.url}`);

for (const signal of ["SIGTERM", "SIGINT"]) {
  process.on(signal, () => mock.stop().then(() => process.exit(0)));
}
