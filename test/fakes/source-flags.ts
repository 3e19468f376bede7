/** Flags for a Node process that runs a source of ours: in a test run the bundle that it has made of it, else through tsx. */
export const sourceFlags: readonly string[] = ['--conditions=@daybreak/source', `--import=${new URL('../../deploy/setup/load-sources.mjs', import.meta.url).href}`]
