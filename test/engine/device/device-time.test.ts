import t from 'tap'
import { DeviceTime } from '../../../packages/engine/src/device/device-time.ts'

t.test('the first step of a kind is timed, and of those that are alike every eighth from there on', async t => {
  const time = new DeviceTime(true)
  t.strictSame(Array.from({ length: 18 }, () => time.next()).flatMap((isTimed, i) => isTimed ? [i] : []), [0, 8, 16])
})

t.test('steps that may differ are timed each', async t => {
  const time = new DeviceTime(false)
  t.strictSame(Array.from({ length: 3 }, () => time.next()), [true, true, true])
})

t.test('a step that was not timed counts as long as the last that was', async t => {
  const time = new DeviceTime(true)
  t.equal(time.take(0.25), 0.25)
  t.equal(time.take(undefined), 0.25)
  t.equal(time.take(0.5), 0.5)
  t.equal(time.take(undefined), 0.5)
})

t.test('where timestamps never made sense there is no time', async t => {
  t.equal(new DeviceTime(true).take(undefined), undefined)
})
