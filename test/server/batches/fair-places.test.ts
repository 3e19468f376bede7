import t from 'tap'
import { FairPlaces } from '../../../apps/server/src/batches/fair-places.ts'

/** Work that runs until the test ends it; `begun` has the owners in the order in which theirs began. */
function aStage (most: number) {
  const places = new FairPlaces(() => most)
  const begun: string[] = []
  const running: Array<{ readonly owner: string, readonly end: () => void }> = []
  const add = (owner: string, count = 1, signal?: AbortSignal): Array<Promise<void>> => Array.from({ length: count }, async () => {
    await places.run(owner, signal ?? new AbortController().signal, async () => {
      begun.push(owner)
      await new Promise<void>(resolve => { running.push({ owner, end: resolve }) })
    })
  })
  const turn = async (): Promise<void> => { await new Promise(resolve => setImmediate(resolve)) }
  const endOne = async (owner: string): Promise<void> => {
    const i = running.findIndex(work => work.owner === owner)
    running.splice(i, 1)[0]?.end()
    await turn()
  }
  const held = (owner: string): number => running.filter(work => work.owner === owner).length
  return { add, turn, endOne, held, begun, running }
}

t.test('an owner alone has all places', async t => {
  const { add, turn, held } = aStage(4)
  add('a', 10)
  await turn()
  t.equal(held('a'), 4)
})

t.test('a newcomer gets every place that is left, until it has as many as the others', async t => {
  const { add, turn, endOne, held } = aStage(4)
  add('a', 10)
  await turn()
  add('b', 10)
  await turn()
  t.equal(held('b'), 0, 'nothing is taken away')
  await endOne('a')
  await endOne('a')
  t.strictSame([held('a'), held('b')], [2, 2])
  await endOne('a')
  t.strictSame([held('a'), held('b')], [2, 2])
  await endOne('b')
  t.strictSame([held('a'), held('b')], [2, 2])
})

t.test('places that one owner has no work for are the others\'', async t => {
  const { add, turn, endOne, held } = aStage(6)
  add('a', 20)
  add('b', 1)
  add('c', 20)
  await turn()
  for (let i = 0; i < 6; i++) await endOne('a')
  t.equal(held('b'), 1)
  t.equal(held('a') + held('c'), 5)
  t.ok(Math.abs(held('a') - held('c')) <= 1, `${held('a')} and ${held('c')}`)
})

t.test('fewer places than owners go round', async t => {
  const { add, turn, endOne, begun, running } = aStage(1)
  add('first')
  await turn()
  for (const owner of ['a', 'b', 'c']) add(owner, 3)
  while (running.length > 0) await endOne(running[0]?.owner ?? '')
  t.equal(begun.join(''), 'firstabcabcabc')
})

t.test('work that is given up while it waits never begins, and its share is the others\' at once', async t => {
  const { add, turn, endOne, held, begun } = aStage(2)
  const stop = new AbortController()
  add('a', 4)
  await turn()
  const given = add('b', 3, stop.signal)
  await turn()
  stop.abort(new Error('stopped'))
  for (const work of given) await t.rejects(work, { message: 'stopped' })
  await t.rejects(Promise.all(add('b', 1, stop.signal)), { message: 'stopped' }, 'nor does what comes later')
  await endOne('a')
  t.equal(held('a'), 2)
  t.notOk(begun.includes('b'))
  add('b')
  await endOne('a')
  t.equal(held('b'), 1, 'it may come again')
})

t.test('work that fails gives its place back', async t => {
  const places = new FairPlaces(() => 1)
  const { signal } = new AbortController()
  const fails = async (): Promise<never> => { throw new Error('failed') }
  await t.rejects(places.run('a', signal, fails), { message: 'failed' })
  t.equal(await places.run('b', signal, async () => 'done'), 'done')
})

t.test('there is always one place', async t => {
  const places = new FairPlaces(() => 0)
  t.equal(await places.run('a', new AbortController().signal, async () => 'done'), 'done')
})
