import { mock } from 'node:test'
import t from 'tap'
import { BatchStop } from '../../../apps/server/src/batches/batch-stop.ts'

t.test('a batch expires at its time, also when that is further away than a timer can be set to', async t => {
  mock.timers.enable({ apis: ['setTimeout'] })
  t.teardown(() => { mock.timers.reset() })
  const MONTH_SECONDS = 30 * 86_400
  let now = 0
  const stop = new BatchStop()
  using _expiry = stop.endAt(MONTH_SECONDS, () => now)
  const pass = (seconds: number): void => {
    now += seconds
    mock.timers.tick(1000 * seconds)
  }
  for (let day = 0; day < 29; day++) pass(86_400)
  t.notOk(stop.signal.aborted)
  pass(86_400)
  t.ok(stop.endedBy('expired'))
})

t.test('a time that has passed ends it at once, and the first reason counts', async t => {
  const stop = new BatchStop()
  using _expiry = stop.endAt(5, () => 6)
  stop.end('cancelled')
  t.ok(stop.endedBy('expired'))
  t.ok(stop.isReason(stop.signal.reason))
  t.notOk(stop.isReason(new Error('another')))
})

t.test('a fault is no reason', async t => {
  const stop = new BatchStop()
  stop.controller.abort(new Error('disk'))
  stop.end('shutdown')
  t.notOk(stop.endedBy('shutdown'))
  t.notOk(stop.isReason(stop.signal.reason))
})
