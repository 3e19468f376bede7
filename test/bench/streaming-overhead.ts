/**
 * What streaming a token costs the server: chat completions over HTTP with an engine that answers at once.
 *
 * node --conditions=@daybreak/source --import=tsx test/bench/streaming-overhead.ts [streams=32] [tokens=2000] [rounds=5]
 *
 * The server runs in a process of its own, pinned to one core where `taskset` exists; this process holds the clients. Printed per
 * round: tokens per second of the server's CPU time (per core, whatever the clients cost) and of wall time.
 */
import { fork } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { request } from 'node:http'
import { availableParallelism } from 'node:os'
import { performance } from 'node:perf_hooks'

const [numStreams = 32, numTokens = 2000, numRounds = 5] = process.argv.slice(2).map(Number)

/** Reads one stream to its end and returns how many tokens its usage chunk counts. */
function readStream (port: number): Promise<number> {
  const body = JSON.stringify({
    messages: [{ role: 'user', content: 'Go.' }], max_tokens: numTokens, ignore_eos: true, stream: true, stream_options: { include_usage: true },
  })
  return new Promise((resolve, reject) => {
    const sent = request({ port, host: '127.0.0.1', method: 'POST', path: '/v1/chat/completions', headers: { 'content-type': 'application/json', 'content-length': body.length } }, response => {
      let tail = ''
      response.setEncoding('latin1')
      response.on('data', (text: string) => { tail = (tail + text).slice(-1024) })
      response.on('end', () => {
        const completed = /"completion_tokens":(\d+)/.exec(tail)?.[1]
        if (completed === undefined || !tail.endsWith('data: [DONE]\n\n')) reject(new Error(`stream ended with: ${tail}`))
        else resolve(Number(completed))
      })
    })
    sent.on('error', reject)
    sent.end(body)
  })
}

async function cpuSeconds (server: ChildProcess): Promise<number> {
  const answer = once(server, 'message')
  server.send('cpu')
  const [usage] = await answer as [NodeJS.CpuUsage]
  return (usage.user + usage.system) / 1e6
}

const server = fork(new URL('streaming-overhead-server.ts', import.meta.url))
const [{ port }] = await once(server, 'message') as [{ port: number }]
// The main thread only: the collector's helper threads may use other cores, and count as CPU time all the same.
fork('/dev/null', { execPath: 'taskset', execArgv: ['-p', '-c', String(availableParallelism() - 1), String(server.pid)], silent: true }).on('error', () => {})

const best = { perCore: 0, perWall: 0 }
for (let round = 0; round <= numRounds; round++) {
  const [cpuBefore, wallBefore] = [await cpuSeconds(server), performance.now()]
  const counts = await Promise.all(Array.from({ length: numStreams }, () => readStream(port)))
  const [cpu, wall] = [await cpuSeconds(server) - cpuBefore, (performance.now() - wallBefore) / 1000]
  const total = counts.reduce((sum, count) => sum + count, 0)
  if (total !== numStreams * numTokens) throw new Error(`expected ${numStreams * numTokens} tokens, read ${total}`)
  // The first round compiles.
  if (round === 0) continue
  const perCore = total / cpu
  best.perCore = Math.max(best.perCore, perCore)
  best.perWall = Math.max(best.perWall, total / wall)
  console.log(`round ${round}: ${total} tokens, ${cpu.toFixed(2)} s CPU, ${wall.toFixed(2)} s wall: ${Math.round(perCore)} tokens/s per core, ${Math.round(total / wall)} tokens/s wall`)
}
console.log(`best of ${numRounds}: ${Math.round(best.perCore)} tokens/s per core, ${Math.round(best.perWall)} tokens/s wall (${numStreams} streams, ${numTokens} tokens each)`)
server.disconnect()
