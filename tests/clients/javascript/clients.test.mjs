// The official JavaScript clients talk to the router as if it were one server.

import Anthropic from "@anthropic-ai/sdk";
import assert from "node:assert/strict";
import OpenAI from "openai";
import { test } from "node:test";

const url = process.env.ROUTER_URL;
const model = process.env.MODEL;
const messages = [{ role: "user", content: "Which worker answers me?" }];
const anthropic = new Anthropic({ baseURL: url, apiKey: "none", maxRetries: 0 });
const openai = new OpenAI({ baseURL: `${url}/v1`, apiKey: "none", maxRetries: 0 });

test("message has usage", async () => {
  const message = await anthropic.messages.create({ model, messages, max_tokens: 8 });
  assert.ok(message.content[0].text);
  assert.equal(message.usage.output_tokens, 8);
});

test("streamed message comes in pieces", async () => {
  const stream = anthropic.messages.stream({ model, messages, max_tokens: 12 });
  let pieces = 0;
  stream.on("text", () => (pieces += 1));
  const message = await stream.finalMessage();
  assert.ok(pieces > 1);
  assert.equal(message.usage.output_tokens, 12);
});

test("chat has usage", async () => {
  const response = await openai.chat.completions.create({ model, messages, max_tokens: 8 });
  assert.equal(response.usage.completion_tokens, 8);
});

test("streamed chat comes in chunks", async () => {
  const options = { model, messages, max_tokens: 12, stream: true };
  let chunks = 0;
  for await (const chunk of await openai.chat.completions.create(options)) {
    chunks += chunk.choices[0]?.delta?.content ? 1 : 0;
  }
  assert.ok(chunks > 1);
});
