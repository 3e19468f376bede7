import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import t from 'tap'
import { LossWatch } from '../../../packages/engine/src/device/loss-watch.ts'
import { DeviceLostError } from '../../../packages/engine/src/errors.ts'

setFlagsFromString('--expose-gc')
const collectGarbage: unknown = runInNewContext('gc')

const turn = async (): Promise<void> => await new Promise(resolve => setImmediate(resolve))
const loss = new DeviceLostError({ reason: 'unknown', message: 'unplugged' })

t.test('work comes through while the device is there, and its own failures do', async t => {
  const watch = new LossWatch(new Promise(() => {}))
  t.equal(await watch.orLost(Promise.resolve(7)), 7)
  await t.rejects(watch.orLost(Promise.reject(new RangeError('its own'))), new RangeError('its own'))
  t.equal(watch.error, undefined)
})

t.test('a loss ends every wait under way and all later ones', async t => {
  const lost = deferred()
  const watch = new LossWatch(lost.promise)
  const waits = [watch.orLost(new Promise(() => {})), watch.orLost(new Promise(() => {}))]
  lost.resolve(loss)
  for (const wait of waits) await t.rejects(wait, loss)
  t.equal(watch.error, loss)
  await t.rejects(watch.orLost(Promise.resolve(7)), loss)
})

t.test('work that was begun after a loss fails for nobody but who began it', async t => {
  const lost = deferred()
  const watch = new LossWatch(lost.promise)
  lost.resolve(loss)
  await turn()
  const unhandled: unknown[] = []
  const listen = (cause: unknown): void => { unhandled.push(cause) }
  process.on('unhandledRejection', listen)
  t.teardown(() => process.off('unhandledRejection', listen))
  await t.rejects(watch.orLost(turn().then(() => { throw new Error('mapping aborted') })), loss)
  for (let i = 0; i < 3; i++) await turn()
  t.strictSame(unhandled, [])
})

t.test('work that fails just before the loss is reported is blamed on the loss', async t => {
  const lost = deferred()
  const watch = new LossWatch(lost.promise)
  const wait = watch.orLost(Promise.reject(new Error('mapping aborted')))
  const refused = t.rejects(wait, loss)
  lost.resolve(loss)
  await refused
})

t.test('results are not kept once they have been handed over', async t => {
  if (typeof collectGarbage !== 'function') throw new TypeError('no garbage collection on demand')
  const watch = new LossWatch(new Promise(() => {}))
  const results: Array<WeakRef<ArrayBuffer>> = []
  for (let step = 0; step < 100; step++) {
    results.push(new WeakRef(await watch.orLost(turn().then(() => new ArrayBuffer(1024)))))
  }
  await turn()
  collectGarbage()
  // The last may still be in a register.
  t.ok(results.filter(result => result.deref() !== undefined).length <= 1)
  t.equal(watch.error, undefined)
})

function deferred (): { readonly promise: Promise<DeviceLostError>, readonly resolve: (error: DeviceLostError) => void } {
  let resolve: (error: DeviceLostError) => void = () => {}
  const promise = new Promise<DeviceLostError>(_resolve => { resolve = _resolve })
  return { promise, resolve }
}
