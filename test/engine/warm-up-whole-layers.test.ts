import t from 'tap'
import { DeviceLostError, StalledLayerError } from '../../packages/engine/src/errors.ts'
import { longPatience, shortPatience } from '../../packages/engine/src/kernels/layer/layer-exchange.ts'
import { warmUpWholeLayers } from '../../packages/engine/src/warm-up-whole-layers.ts'
import type { MayHaveWholeLayers } from '../../packages/engine/src/warm-up-whole-layers.ts'

/** What happens, in order; steps warm up, and the first time fail with an error. */
function aWarmUp (failure?: Error) {
  const events: string[] = []
  const decoder: MayHaveWholeLayers = {
    wholeLayers: {
      rows: [1, 2, 8],
      reset: patience => { events.push(`patience ${patience}`) },
      [Symbol.dispose]: () => { events.push('freed') }
    }
  }
  let times = 0
  const warm = async (together: readonly number[]): Promise<void> => {
    events.push(`warm ${together.join()}, ${decoder.wholeLayers === undefined ? 'apart' : 'whole'}`)
    if (failure !== undefined && times++ === 0) throw failure
  }
  return { events, decoder, warmUp: async () => await warmUpWholeLayers(decoder, { forgetRecorded: () => { events.push('forgotten') } }, warm) }
}

t.test('waits are given up soon while it is warmed up, and only after long in use', async t => {
  const { events, warmUp } = aWarmUp()
  t.equal(await warmUp(), true)
  t.strictSame(events, [`patience ${shortPatience}`, 'warm 1,2,8, whole', `patience ${longPatience}`])
})

t.test('where a layer stalls all is warmed up again without whole layers, which are freed', async t => {
  const { events, decoder, warmUp } = aWarmUp(new StalledLayerError({ step: 3 }))
  t.equal(await warmUp(), false)
  t.strictSame(events, [`patience ${shortPatience}`, 'warm 1,2,8, whole', 'freed', 'forgotten', 'warm , apart'])
  t.equal(decoder.wholeLayers, undefined)
})

t.test('any other error ends the start', async t => {
  const lost = new DeviceLostError({ reason: 'unknown', message: 'gone' })
  await t.rejects(aWarmUp(lost).warmUp(), lost)
})

t.test('an engine without whole layers is warmed up as it is', async t => {
  const { events, decoder, warmUp } = aWarmUp()
  decoder.wholeLayers = undefined
  t.equal(await warmUp(), true)
  t.strictSame(events, ['warm , apart'])
})
