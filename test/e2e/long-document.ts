/**
 * A question about a line in a document of 8,000 tokens, as far as the embedded model's context reaches: asked of lines near the
 * document's beginning, middle and end. Not part of `npm test`, because the document takes minutes on a software adapter:
 *
 *   npx tap run test/e2e/long-document.ts
 */
import { SeededStream } from '../../apps/server/src/eval/seeded-stream.ts'
import { DaybreakProcess, serverTest } from './daybreak-process.ts'
import { lineDocument } from './line-document.ts'

const model = 'daybreak-mini'
const server = await DaybreakProcess.start()

serverTest('a line of a document of 8,000 tokens is known exactly', server, async (t, server) => {
  const { text, lines } = lineDocument(new SeededStream('document of 8,000'), 665)
  for (const { key, value } of lines.filter((_, i) => i % 300 === 20)) {
    const started = performance.now()
    // Streamed: keep-alive comments come while the prompt is computed; a silent connection would be given up after five minutes.
    const stream = await server.client.chat.completions.create({
      model,
      temperature: 0,
      stream: true,
      stream_options: { include_usage: true },
      messages: [{ role: 'system', content: text }, { role: 'user', content: `What is line ${key}?` }]
    })
    let answer = ''
    let usage
    for await (const chunk of stream) {
      answer += chunk.choices[0]?.delta.content ?? ''
      usage = chunk.usage ?? usage
    }
    const seconds = ((performance.now() - started) / 1000).toFixed(1)
    t.equal(answer, value, `line ${key}: ${usage?.prompt_tokens} tokens, ${usage?.prompt_tokens_details?.cached_tokens} of them cached, ${seconds} s`)
    t.ok((usage?.prompt_tokens ?? 0) > 7_700)
  }
})
