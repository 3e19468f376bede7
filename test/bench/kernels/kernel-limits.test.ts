import t from 'tap'
import { kernelLimits } from '../../../apps/server/src/bench/kernels/kernel-limits.ts'
import { aMeasurement, ceilings } from './a-measurement.ts'

const near = (actual: number, expected: number): boolean => Math.abs(actual / expected - 1) < 1e-12

t.test('a kernel whose bytes take longest is limited by them', t => {
  const { limit, floorSeconds, overFloor, bytesPerSecond, copyShare, peakShare } = kernelLimits(aMeasurement(), ceilings)
  t.equal(limit, 'bytes')
  t.ok(near(floorSeconds, 10e-6) && near(overFloor, 2) && near(bytesPerSecond, 5e11) && near(copyShare, 0.5) && near(peakShare, 0.01))
  t.end()
})

t.test('one whose operations take longest is limited by those', t => {
  const { limit, floorSeconds, overFloor, flopsPerSecond, peakShare } = kernelLimits(aMeasurement({ flops: 1_500_000_000 }), ceilings)
  t.equal(limit, 'flops')
  t.ok(near(floorSeconds, 15e-6) && near(overFloor, 4 / 3) && near(flopsPerSecond, 7.5e13) && near(peakShare, 0.75))
  t.end()
})

t.test('on both sides of where bytes and operations take as long, the longer is the limit', t => {
  t.equal(kernelLimits(aMeasurement({ flops: 999_000_000 }), ceilings).limit, 'bytes')
  t.equal(kernelLimits(aMeasurement({ flops: 1_001_000_000 }), ceilings).limit, 'flops')
  t.end()
})

t.test('nothing is expected to be faster than a dispatch', t => {
  for (const small of [aMeasurement({ bytes: 1000, flops: 0 }), aMeasurement({ bytes: 0, flops: 0 })]) {
    const { limit, overFloor } = kernelLimits(small, ceilings)
    t.equal(limit, 'dispatch')
    t.ok(near(overFloor, 10))
  }
  t.end()
})
