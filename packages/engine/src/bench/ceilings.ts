import { measureCopyBandwidth } from '../device/copy-bandwidth.ts'
import type { GpuDevice } from '../device/gpu-device.ts'
import type { MatmulVariant } from '../kernels/matmul/matmul-variant.ts'
import { matmulVariants } from '../kernels/matmul/matmul-variants.ts'
import { measureInt8Product } from './int8-product.ts'
import type { KernelCeilings } from './kernel-bench.ts'
import type { PassTimer } from '../device/pass-timer.ts'
import { Product } from './product.ts'
import type { ProductTypes } from './product.ts'
import { trivialDispatches } from './trivial-kernel.ts'

const LARGEST_PRODUCT = 4096
/** Without tensor cores the product begins small, and doubles until one takes this long. */
const SMALLEST_PRODUCT = 256
const LONG_SECONDS = 0.05
/** One of each class of shapes that `matmulVariants` tells apart, so that every kernel it knows for many rows is tried. */
const COLUMN_CLASSES = [2048, 4096, 8192, 32_768]

/** What this adapter reaches with kernels that do nothing else than what limits them. The adapter must have timestamps. */
export async function measureCeilings (gpu: GpuDevice, timer: PassTimer, types: ProductTypes): Promise<KernelCeilings> {
  const copyBytesPerSecond = await measureCopyBandwidth(gpu)
  const { list, destroy } = await trivialDispatches(gpu, 1)
  const { seconds: dispatchSeconds } = await timer.time([list.dispatches])
  destroy()
  return { copyBytesPerSecond, dispatchSeconds, ...await measureProduct(gpu, timer, types), int8: await measureInt8Product(gpu, timer) }
}

async function measureProduct (gpu: GpuDevice, timer: PassTimer, types: ProductTypes): Promise<Pick<KernelCeilings, 'productFlopsPerSecond' | 'productKernel' | 'productSize'>> {
  let best = { productFlopsPerSecond: 0, productKernel: '', productSize: 0 }
  for (let size = types.layout === 'tiled' ? LARGEST_PRODUCT : SMALLEST_PRODUCT; size <= LARGEST_PRODUCT; size *= 2) {
    using product = await Product.create(gpu, { ...types, rows: size, columns: size, k: size })
    let longest = 0
    for (const variant of manyRowVariants(gpu, types, size)) {
      const { seconds } = await timer.time([[await product.dispatch(variant)]])
      const productFlopsPerSecond = 2 * size ** 3 / seconds
      if (productFlopsPerSecond > best.productFlopsPerSecond) best = { productFlopsPerSecond, productKernel: variant.kernel.name, productSize: size }
      longest = Math.max(longest, seconds)
    }
    if (longest >= LONG_SECONDS) break
  }
  return best
}

/** Every kernel of the layout that is made for any number of rows, whatever weight it is chosen for. */
function manyRowVariants (gpu: GpuDevice, { layout }: ProductTypes, k: number): readonly MatmulVariant[] {
  const all = COLUMN_CLASSES.flatMap(columns => [false, true].flatMap(deterministic => matmulVariants({ k, columns, layout }, 'store', gpu, deterministic)))
  return [...new Map(all.filter(({ upTo }) => upTo >= LARGEST_PRODUCT).map(variant => [variant.kernel.name, variant])).values()]
}
