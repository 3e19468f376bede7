import { promisify } from 'node:util'
import t from 'tap'
import { dawnPolls } from '../../../packages/engine/src/device/dawn-polls.ts'
import { GpuDevice } from '../../../packages/engine/src/device/gpu-device.ts'
import { ReadbackRing } from '../../../packages/engine/src/device/readback.ts'

const polls = dawnPolls()

t.test('a process has one pace', async t => {
  t.equal(dawnPolls(), polls)
})

t.test('everybody else\'s callbacks are called as ever', async t => {
  t.strictSame(await new Promise(resolve => setImmediate((...values) => resolve(values), 1, 'two')), [1, 'two'])
  t.equal(await promisify(setImmediate)('value'), 'value')
  await new Promise<void>(resolve => setImmediate(resolve))
  let isCalled = false
  clearImmediate(setImmediate(() => { isCalled = true }))
  await new Promise<void>(resolve => setImmediate(resolve))
  t.notOk(isCalled)
})

t.test('Dawn looks for results at this pace', async t => {
  await using gpu = await GpuDevice.open({ profile: 'production', backend: 'null' })
  const ring = new ReadbackRing(gpu.device, 64, 1)
  const asked = t.capture(polls, 'ask', polls.ask.bind(polls))
  for (let i = 0; i < 3; i++) {
    const buffer = ring.take()
    if (buffer === undefined) throw new Error('the ring is empty')
    await ring.read(buffer, 16)
  }
  t.ok(asked().length > 0)
})
