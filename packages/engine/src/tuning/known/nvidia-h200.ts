import type { KnownAdapter } from '../known-adapter.ts'

/** Written by `daybreak bench kernels --save-known`, to be written anew and not edited. */
export const known: KnownAdapter = {
  adapter: 'nvidia-h200',
  driver: 'NVIDIA: 580.159.04 580.159.4.0',
  kernels: '517dc0c649ba',
  products: {
    '128256 x 2048': [
      { upTo: 1, kernel: ['vector', 1, 8, 4] },
      { upTo: 4, kernel: ['streamed', 1, 4, 1, 1, 2, 128] },
      { upTo: 16, kernel: ['streamed', 1, 4, 1, 1, 2, 128] },
      { upTo: 32, kernel: ['streamed', 1, 8, 1, 2, 1, 64] },
      { upTo: 64, kernel: ['streamed', 1, 4, 1, 4, 2, 64] },
      { upTo: 2147483648, kernel: ['streamed', 2, 8, 1, 4, 2, 64] }
    ],
    '128256 x 4096': [
      { upTo: 1, kernel: ['vector', 1, 8, 8] },
      { upTo: 4, kernel: ['streamed', 1, 2, 4, 1, 2, 128] },
      { upTo: 16, kernel: ['streamed', 1, 4, 4, 1, 2, 256] },
      { upTo: 32, kernel: ['streamed', 1, 8, 1, 2, 1, 64] },
      { upTo: 64, kernel: ['streamed', 1, 4, 1, 4, 2, 64] },
      { upTo: 2147483648, kernel: ['streamed', 2, 8, 1, 4, 2, 64] }
    ],
    '14336 x 4096 gated': [
      { upTo: 1, kernel: ['vector', 1, 8, 8] },
      { upTo: 4, kernel: ['streamed', 1, 1, 8, 1, 2, 256] },
      { upTo: 16, kernel: ['streamed', 1, 4, 4, 1, 2, 256] },
      { upTo: 32, kernel: ['streamed', 1, 4, 4, 2, 2, 256] },
      { upTo: 64, kernel: ['streamed', 1, 4, 1, 4, 2, 64] },
      { upTo: 128, kernel: ['streamed', 2, 8, 1, 4, 2, 64] },
      { upTo: 256, kernel: ['streamed', 1, 8, 2, 4, 2, 128] },
      { upTo: 512, kernel: ['staged', 2, 4, 1, 4, 4, 32] },
      { upTo: 1024, kernel: ['staged', 2, 4, 1, 4, 4, 32] },
      { upTo: 2147483648, kernel: ['staged', 2, 4, 1, 4, 4, 32] }
    ],
    '2048 x 2048 deferred': [
      { upTo: 1, kernel: ['vector', 1, 16, 4] },
      { upTo: 4, kernel: ['streamed', 1, 1, 16, 1, 1, 512] },
      { upTo: 16, kernel: ['streamed', 1, 1, 16, 1, 1, 512] },
      { upTo: 32, kernel: ['streamed', 1, 1, 16, 2, 1, 256] },
      { upTo: 64, kernel: ['staged', 2, 2, 1, 2, 2, 128, 4] },
      { upTo: 128, kernel: ['staged', 4, 2, 1, 2, 2, 64, 4] },
      { upTo: 256, kernel: ['staged', 2, 4, 1, 4, 2, 64, 4] },
      { upTo: 512, kernel: ['staged', 2, 4, 1, 4, 2, 64, 2] },
      { upTo: 1024, kernel: ['staged', 2, 4, 1, 4, 2, 64] },
      { upTo: 2147483648, kernel: ['staged', 2, 4, 1, 4, 4, 32] }
    ],
    '2048 x 8192 deferred': [
      { upTo: 1, kernel: ['vector', 1, 32, 4] },
      { upTo: 4, kernel: ['streamed', 1, 1, 16, 1, 1, 512] },
      { upTo: 16, kernel: ['streamed', 1, 1, 16, 1, 1, 512] },
      { upTo: 32, kernel: ['streamed', 1, 4, 4, 2, 1, 256, 4] },
      { upTo: 64, kernel: ['streamed', 1, 8, 2, 4, 1, 128, 8] },
      { upTo: 128, kernel: ['staged', 2, 4, 1, 4, 2, 64, 8] },
      { upTo: 256, kernel: ['staged', 2, 4, 1, 4, 2, 64, 4] },
      { upTo: 512, kernel: ['staged', 2, 4, 1, 4, 2, 64, 2] },
      { upTo: 1024, kernel: ['staged', 2, 4, 1, 4, 2, 64] },
      { upTo: 2147483648, kernel: ['staged', 2, 4, 1, 4, 4, 32] }
    ],
    '3072 x 2048': [
      { upTo: 1, kernel: ['vector', 1, 8, 4] },
      { upTo: 4, kernel: ['streamed', 1, 1, 16, 1, 2, 512] },
      { upTo: 16, kernel: ['streamed', 1, 1, 16, 1, 2, 512] },
      { upTo: 32, kernel: ['streamed', 1, 1, 8, 2, 2, 256] },
      { upTo: 64, kernel: ['staged', 2, 1, 8, 2, 2, 128] },
      { upTo: 128, kernel: ['streamed', 1, 2, 4, 4, 2, 128] },
      { upTo: 256, kernel: ['staged', 4, 2, 1, 2, 2, 64] },
      { upTo: 512, kernel: ['staged', 2, 4, 1, 4, 2, 64] },
      { upTo: 1024, kernel: ['staged', 2, 4, 1, 4, 4, 32] },
      { upTo: 2147483648, kernel: ['staged', 2, 4, 1, 4, 2, 64] }
    ],
    '4096 x 14336 deferred': [
      { upTo: 1, kernel: ['vector', 1, 8, 8] },
      { upTo: 4, kernel: ['streamed', 1, 1, 8, 1, 2, 256] },
      { upTo: 16, kernel: ['streamed', 1, 4, 4, 1, 1, 256, 4] },
      { upTo: 32, kernel: ['streamed', 1, 4, 4, 2, 1, 256, 2] },
      { upTo: 64, kernel: ['streamed', 1, 8, 2, 4, 1, 128, 4] },
      { upTo: 128, kernel: ['staged', 2, 4, 1, 4, 2, 64, 4] },
      { upTo: 256, kernel: ['staged', 2, 4, 1, 4, 2, 64, 2] },
      { upTo: 512, kernel: ['staged', 2, 2, 1, 4, 4, 32, 2] },
      { upTo: 1024, kernel: ['staged', 2, 4, 1, 4, 4, 32] },
      { upTo: 2147483648, kernel: ['staged', 2, 4, 1, 4, 4, 32] }
    ],
    '4096 x 4096 deferred': [
      { upTo: 1, kernel: ['vector', 1, 32, 8] },
      { upTo: 4, kernel: ['streamed', 1, 1, 16, 1, 2, 512] },
      { upTo: 16, kernel: ['streamed', 1, 1, 16, 1, 2, 512] },
      { upTo: 32, kernel: ['streamed', 1, 2, 8, 2, 1, 256] },
      { upTo: 64, kernel: ['streamed', 1, 8, 2, 4, 1, 128, 4] },
      { upTo: 128, kernel: ['staged', 2, 4, 1, 4, 2, 64, 4] },
      { upTo: 256, kernel: ['staged', 2, 4, 1, 4, 2, 64, 2] },
      { upTo: 512, kernel: ['staged', 2, 4, 1, 4, 2, 64] },
      { upTo: 1024, kernel: ['staged', 2, 4, 1, 4, 4, 32] },
      { upTo: 2147483648, kernel: ['staged', 2, 4, 1, 4, 4, 32] }
    ],
    '6144 x 4096': [
      { upTo: 1, kernel: ['vector', 1, 8, 8] },
      { upTo: 4, kernel: ['streamed', 1, 1, 16, 1, 2, 512] },
      { upTo: 16, kernel: ['streamed', 1, 1, 8, 1, 2, 256] },
      { upTo: 32, kernel: ['streamed', 1, 4, 4, 2, 2, 256] },
      { upTo: 64, kernel: ['staged', 2, 1, 8, 2, 2, 128] },
      { upTo: 128, kernel: ['staged', 2, 2, 2, 4, 2, 64] },
      { upTo: 256, kernel: ['streamed', 1, 8, 2, 4, 2, 128] },
      { upTo: 512, kernel: ['staged', 2, 4, 1, 4, 4, 32] },
      { upTo: 1024, kernel: ['staged', 2, 4, 1, 4, 2, 64] },
      { upTo: 2147483648, kernel: ['staged', 2, 4, 1, 4, 4, 32] }
    ],
    '8192 x 2048 gated': [
      { upTo: 1, kernel: ['vector', 1, 8, 4] },
      { upTo: 4, kernel: ['vector', 4, 8, 8] },
      { upTo: 16, kernel: ['streamed', 1, 4, 4, 1, 2, 256] },
      { upTo: 32, kernel: ['streamed', 1, 4, 4, 2, 2, 256] },
      { upTo: 64, kernel: ['streamed', 2, 4, 2, 2, 2, 128] },
      { upTo: 128, kernel: ['streamed', 1, 8, 2, 4, 2, 128] },
      { upTo: 256, kernel: ['streamed', 1, 8, 2, 4, 2, 128] },
      { upTo: 512, kernel: ['staged', 2, 4, 1, 4, 4, 32] },
      { upTo: 1024, kernel: ['staged', 2, 4, 1, 4, 4, 32] },
      { upTo: 2147483648, kernel: ['staged', 2, 4, 1, 4, 4, 32] }
    ]
  }
}
