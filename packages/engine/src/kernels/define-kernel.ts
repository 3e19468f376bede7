import { KernelContractError } from '../errors.ts'

export type Access = 'read' | 'read_write'
/** Binding names in the order of their `@binding` numbers. */
export type Bindings = Readonly<Record<string, Access>>

/**
 * A compute kernel: its shader and what a caller must hand over. `B` makes a forgotten or misspelt buffer a compile error.
 * Everything that changes from step to step reaches a kernel through the `step` buffer (step-inputs.ts), so that a recorded
 * dispatch stays valid for every later step; what is fixed when the model loads is an override.
 */
export interface Kernel<B extends Bindings, O extends string> {
  readonly name: string
  readonly bindings: B
  readonly overrides: readonly O[]
  /** WGSL without the prelude (shader-source.ts). */
  readonly wgsl: string
}

/**
 * Declares a kernel and compares the declaration with the shader: binding numbers, names, access and override names.
 * @throws KernelContractError
 */
export function defineKernel<const B extends Bindings, const O extends string = never> (spec: {
  readonly name: string
  readonly bindings: B
  readonly overrides?: readonly O[]
  readonly wgsl: string
}): Kernel<B, O> {
  const kernel: Kernel<B, O> = { overrides: [], ...spec }
  checkContract(kernel)
  return kernel
}

const bindingPattern = /@group\(0\)\s*@binding\((\d+)\)\s*var<\s*storage\s*,\s*(read_write|read)\s*>\s*(\w+)/g
const overridePattern = /^\s*override\s+(\w+)\s*:/gm

function checkContract (kernel: Kernel<Bindings, string>): void {
  const fail = (problem: string): never => { throw new KernelContractError({ kernel: kernel.name, problem }) }
  const code = kernel.wgsl.replace(/\/\/.*$/gm, '')
  const inShader = [...code.matchAll(bindingPattern)]
    .map(([, index, access, name]) => ({ index: Number(index), text: `${name}: ${access}` }))
    .sort((a, b) => a.index - b.index)
  const declared = Object.entries(kernel.bindings).map(([name, access]) => `${name}: ${access}`)
  inShader.forEach(({ index }, at) => { if (index !== at) fail(`bindings are not numbered 0 to ${inShader.length - 1}`) })
  if (inShader.map(b => b.text).join(', ') !== declared.join(', ')) {
    fail(`declared bindings (${declared.join(', ')}) differ from the shader's (${inShader.map(b => b.text).join(', ')})`)
  }
  const overrides = [...code.matchAll(overridePattern)].map(([, name]) => name ?? '').sort()
  if (overrides.join() !== [...kernel.overrides].sort().join()) {
    fail(`declared overrides (${kernel.overrides.join(', ')}) differ from the shader's (${overrides.join(', ')})`)
  }
}
