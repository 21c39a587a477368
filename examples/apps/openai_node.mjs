// An app with OpenAI's SDK for Node. Nothing in it knows of Bowsprit: the injector sets OPENAI_BASE_URL and a placeholder key.
//
//   npm install openai
//   OPENAI_BASE_URL=http://localhost:4000/v1 OPENAI_API_KEY=any node examples/apps/openai_node.mjs
import OpenAI from "openai";

const client = new OpenAI();
const model = process.env.MODEL ?? "gpt-4.1-mini";

const answer = await client.responses.create({ model, input: "What is a bowsprit?" });
console.log(answer.output_text);

const stream = await client.chat.completions.create({
  model,
  messages: [{ role: "user", content: "And a jib?" }],
  stream: true,
});
for await (const chunk of stream) process.stdout.write(chunk.choices[0]?.delta?.content ?? "");
process.stdout.write("\n");
