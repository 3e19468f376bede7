/** Which GGUF file of a repository is meant. */

/** A GGUF model: its file, or all parts of a split one in order. */
export interface GgufModel {
  /** Path of the file, or of the first part, without `-00001-of-0000N` and `.gguf`. */
  readonly stem: string
  readonly parts: readonly string[]
  /** As its parts count themselves. */
  readonly numParts: number
}

/** What is taken where nobody asked for another: small, and close to the original. */
const PREFERRED_QUANT = 'Q4_K_M'

/** The models among a repository's paths, in the order of their names. Projectors and importance matrices are none. */
export function ggufModels (paths: readonly string[]): GgufModel[] {
  const models = new Map<string, { readonly parts: string[], readonly numParts: number }>()
  for (const path of [...paths].sort()) {
    const [, stem, numParts = '1'] = /^(.*?)(?:-\d{5}-of-(\d{5}))?\.gguf$/i.exec(path) ?? []
    if (stem === undefined || /(^|\/)(mmproj|imatrix)|\bimatrix$/i.test(stem)) continue
    const model = models.get(stem) ?? { parts: [], numParts: Number(numParts) }
    model.parts.push(path)
    models.set(stem, model)
  }
  return [...models].map(([stem, { parts, numParts }]) => ({ stem, parts, numParts }))
}

/**
 * The one that `wanted` names: by path, by file name with or without `.gguf`, else by quantisation (`q4_k_m`, letters' case does not
 * matter), of several the one with the shortest name. Without a wish: the only one, else the one of Q4_K_M.
 */
export function chooseGguf (models: readonly GgufModel[], wanted: string | undefined): GgufModel | undefined {
  if (wanted === undefined) return models.length === 1 ? models[0] : withQuant(models, PREFERRED_QUANT)
  const same = (name: string): boolean => name.toLowerCase() === wanted.toLowerCase()
  const named = models.find(({ stem, parts }) => [stem, ...parts].some(path => same(path) || same(fileName(path))))
  return named ?? withQuant(models, wanted)
}

function withQuant (models: readonly GgufModel[], quant: string): GgufModel | undefined {
  const pattern = new RegExp(`(^|[-._])${quant.replaceAll(/[^\w]/g, String.raw`\$&`)}$`, 'i')
  // The folder may carry the name, too: `Q8_0/model-Q8_0`.
  return models.filter(({ stem }) => pattern.test(fileName(stem))).sort((a, b) => a.stem.length - b.stem.length)[0]
}

const fileName = (path: string): string => path.slice(path.lastIndexOf('/') + 1)
