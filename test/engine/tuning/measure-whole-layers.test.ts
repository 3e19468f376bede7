import t from 'tap'
import { keysUntilSlower } from '../../../packages/engine/src/tuning/measure-whole-layers.ts'

t.test('whole layers are used up to where a line between two measurements says that they are not faster', t => {
  t.equal(keysUntilSlower([512, 2048, 8192], [0.9, 0.95, 0.97]), 8192, 'faster wherever it was measured')
  t.equal(keysUntilSlower([512, 2048, 8192], [0.89, 0.89, 1.09]), 5119, 'half the way')
  t.equal(keysUntilSlower([512, 2048], [0.94, 1.19]), 819)
  t.equal(keysUntilSlower([512, 2048, 8192], [0.9, 1.2, 0.9]), 972, 'what is faster again behind that does not count')
  t.equal(keysUntilSlower([512, 2048], [0.995, 0.9]), 0, 'a difference that does not count')
  t.equal(keysUntilSlower([512], [NaN]), 0, 'nothing was measured')
  t.equal(keysUntilSlower([512, 2048], [0.9, Infinity]), 512, 'a grid that could not be timed')
  t.end()
})
