import { Counter, Gauge } from 'prom-client'
import type { Registry } from 'prom-client'
import type { QueueSnapshot } from '../queue/queue-counts.ts'
import { SnapshotCounter } from './snapshot-counter.ts'

/** What a server does with batches that several have in common. */
export function registerQueueMetrics (registry: Registry, read: () => QueueSnapshot): void {
  const registers = [registry]
  const gauge = (name: string, help: string, value: (snapshot: QueueSnapshot) => number): void => {
    new Gauge({ name, help, registers, collect () { this.set(value(read())) } }).set(value(read()))
  }
  gauge('daybreak_queue_connected', 'Whether the Redis of the queue is within reach.', ({ isConnected }) => isConnected ? 1 : 0)
  gauge('daybreak_queue_chunks_waiting', "Chunks of batches for this server's model that no worker has.", ({ chunksWaiting }) => chunksWaiting)
  gauge('daybreak_queue_chunks_active', 'Chunks of batches that this server works on.', ({ chunksActive }) => chunksActive)
  const counts = { sent: new SnapshotCounter(), collected: new SnapshotCounter(), repeated: new SnapshotCounter(), stalled: new SnapshotCounter() }
  const answers = new Counter({
    name: 'daybreak_queue_answers_total',
    help: 'Answers to lines of batches: sent by this server, collected into its own batches, or repeated and therefore dropped.',
    labelNames: ['what'],
    registers,
    collect: () => {
      const { answersSent, answersCollected, answersRepeated } = read()
      answers.inc({ what: 'sent' }, counts.sent.growth(answersSent))
      answers.inc({ what: 'collected' }, counts.collected.growth(answersCollected))
      answers.inc({ what: 'repeated' }, counts.repeated.growth(answersRepeated))
    }
  })
  new Counter({
    name: 'daybreak_queue_chunks_stalled_total',
    help: 'Chunks of batches that this server saw to be left by a worker that fell silent.',
    registers,
    collect () { this.inc(counts.stalled.growth(read().chunksStalled)) }
  }).inc(0)
}
