/** What a generated kernel asks of an adapter, counted in its text and not by the functions that chose it. */
const elementBytes: Readonly<Record<string, number>> = { f32: 4, u32: 4, 'atomic<u32>': 4, 'vec2<f32>': 8, 'vec4<f32>': 16, 'vec4<u32>': 16 }

/** Bytes of workgroup memory. @throws Error for a declaration it cannot count */
export function workgroupBytes (wgsl: string): number {
  const declarations = [...wgsl.matchAll(/^\s*var<workgroup> \w+: (.+?);/gm)].map(([, type = '']) => type)
  return declarations.reduce((sum, type) => {
    const [, element = type, count = '1'] = /^array<(.+), (\d+)>$/.exec(type) ?? []
    const bytes = elementBytes[element]
    if (bytes === undefined) throw new Error(`workgroup memory of type ${type}`)
    return sum + bytes * Number(count)
  }, 0)
}

/** Threads of a workgroup. @throws Error when they are not a number in the text */
export function workgroupThreads (wgsl: string): number {
  const [, threads] = /@workgroup_size\((\d+)\)/.exec(wgsl) ?? []
  if (threads === undefined) throw new Error('no @workgroup_size with a number')
  return Number(threads)
}
