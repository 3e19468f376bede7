import t from 'tap'
import { InOrder } from '../../../packages/engine/src/device/in-order.ts'

/** A promise and what ends it. */
function pending<T> (): { readonly promise: Promise<T>, readonly resolve: (value: T) => void, readonly reject: (cause: Error) => void } {
  let resolve: (value: T) => void = () => {}
  let reject: (cause: Error) => void = () => {}
  const promise = new Promise<T>((...ends) => { [resolve, reject] = ends })
  return { promise, resolve, reject }
}

t.test('work with nothing to wait for is done at once, and what it throws is thrown', async t => {
  const order = new InOrder()
  t.equal(order.run(() => 1), 1)
  t.throws(() => order.run(() => { throw new Error('no') }), { message: 'no' })
  t.equal(order.run(() => 2), 2)
})

t.test('work behind some that waits runs after it, in order, also when that comes in the moment in which the wait ends', async t => {
  const order = new InOrder()
  const done: string[] = []
  const first = pending<string>()
  const waiting = order.run(() => first.promise.then(name => { done.push(name) }))
  const second = order.run(() => { done.push('second') })
  let third: unknown
  const meanwhile = first.promise.then(() => { third = order.run(() => { done.push('third') }) })
  t.strictSame(done, [])
  first.resolve('first')
  await Promise.all([waiting, second, meanwhile])
  await third
  t.strictSame(done, ['first', 'second', 'third'])
})

t.test('once nothing waits any more, work is done at once again', async t => {
  const order = new InOrder()
  await Promise.all([order.run(async () => 1), order.run(async () => 2)])
  await Promise.resolve()
  t.equal(order.run(() => 3), 3)
})

t.test('what fails fails for itself, and those behind it run', async t => {
  const order = new InOrder()
  const first = pending<number>()
  const failing = order.run(() => first.promise)
  const throwing = order.run((): number => { throw new Error('thrown') })
  const last = order.run(() => 3)
  first.reject(new Error('rejected'))
  await t.rejects(Promise.resolve(failing), { message: 'rejected' })
  await t.rejects(Promise.resolve(throwing), { message: 'thrown' })
  t.equal(await last, 3)
})
