import t from 'tap'
import { SseDataReader } from '../../../apps/server/src/bench/serve/sse-data-reader.ts'

function dataOf (chunks: readonly Uint8Array[]): string[] {
  const data: string[] = []
  const reader = new SseDataReader(event => data.push(event))
  for (const chunk of chunks) reader.push(chunk)
  return data
}

const stream = Buffer.from([
  ': keep-alive\n\n',
  'data: {"text":"Grüße, 世界 🙂"}\n\n',
  'event: message\nid: 7\ndata:without space\n\n',
  'data: two\ndata: lines\n\n',
  'data: windows\r\n\r\n',
  'data\n\nretry: 5\n\n',
  'data:\n\n',
  'data: [DONE]\n\n',
  'data: cut off'
].join(''))
const events = ['{"text":"Grüße, 世界 🙂"}', 'without space', 'two\nlines', 'windows', '', '[DONE]']

t.test('the data of each event is handed on, and nothing else', async t => {
  t.strictSame(dataOf([stream]), events)
})

t.test('a stream may be cut anywhere, even within a character', async t => {
  for (let at = 0; at <= stream.length; at++) {
    const data = dataOf([stream.subarray(0, at), stream.subarray(at)])
    if (JSON.stringify(data) !== JSON.stringify(events)) t.fail(`cut at byte ${at}: ${JSON.stringify(data)}`)
  }
  t.strictSame(dataOf([...stream].map(byte => Uint8Array.of(byte))), events, 'byte by byte')
})
