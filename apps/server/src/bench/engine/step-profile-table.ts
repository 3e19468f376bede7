import Table from 'cli-table3'
import type { StepProfile, StepProfiles } from './profile-steps.ts'

const STYLE = { head: [], border: [] }

/** A table for each step, and what its numbers mean, for people. */
export function stepProfileTables ({ passSeconds, steps }: StepProfiles): string {
  return `${steps.map(step => `${titleOf(step)}\n${tableOf(step)}\n`).join('\n')}\n` +
    `Every dispatch ran in a pass of its own, which takes ${microseconds(passSeconds)} µs by itself (median of dispatches that do nothing, measured in this run);\n` +
    'that is taken off, and listed under the line. With it goes what starting a dispatch takes, and a kernel that is faster than the\n' +
    'difference of two passes reads as 0: what a step measured in one piece takes beyond the sum is mostly the starting of dispatches.\n'
}

function titleOf ({ type, batch, context, numSteps }: StepProfile): string {
  if (type === 'decode') return `Kernels of a decode step, ${batch} at ${context}`
  return `Kernels of a prefill of ${context}${numSteps > 1 ? `, ${numSteps} steps` : ''}`
}

function tableOf ({ type, kernels, dispatches, passSeconds, wholeSeconds }: StepProfile): string {
  const table = new Table({ head: ['kernel', 'dispatches', 'µs each', 'µs', 'share'], style: STYLE })
  const sum = kernels.reduce((total, { seconds }) => total + seconds, 0)
  const row = (name: string, count: number | string, each: string, seconds: number, share: string): void => {
    table.push([name, ...[String(count), each, microseconds(seconds), share].map(content => ({ content, hAlign: 'right' as const }))])
  }
  for (const { label, dispatches, seconds } of kernels) {
    row(label, dispatches, microseconds(seconds / dispatches), seconds, sum > 0 ? `${(seconds / sum * 100).toFixed(1)} %` : '')
  }
  row('sum', dispatches, '', sum, '')
  row('passes, taken off', dispatches, microseconds(passSeconds / dispatches), passSeconds, '')
  row(type === 'decode' ? 'in one piece, on the device' : 'in one piece, to the token', '', '', wholeSeconds, '')
  return table.toString()
}

function microseconds (seconds: number): string {
  return (seconds * 1e6).toFixed(1)
}
