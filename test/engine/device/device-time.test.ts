import t from 'tap'
import { DeviceTime } from '../../../packages/engine/src/device/device-time.ts'

const step = (time: DeviceTime, { follows = true, alone = true } = {}): boolean => time.next(follows, alone)

t.test('the first step of a kind is timed, and of those that are alike every eighth from there on', async t => {
  const time = new DeviceTime(true)
  t.strictSame(Array.from({ length: 18 }, () => step(time)).flatMap((isTimed, i) => isTimed ? [i] : []), [0, 8, 16])
})

t.test('behind a step of another kind the next is timed', async t => {
  const time = new DeviceTime(true)
  t.strictSame([step(time), step(time), step(time, { follows: false }), step(time)], [true, false, true, false])
})

t.test('a step that also copies blocks leaves it to the next, but where nothing is known yet', async t => {
  const time = new DeviceTime(true)
  t.equal(step(time, { alone: false }), true)
  time.take(0.25)
  t.strictSame([step(time, { follows: false, alone: false }), step(time), step(time)], [false, true, false])
})

t.test('steps that may differ are timed each, whatever else they do', async t => {
  const time = new DeviceTime(false)
  time.take(0.25)
  t.strictSame([step(time), step(time, { alone: false }), step(time)], [true, true, true])
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
