import { createHash } from 'node:crypto'
import { gzipSync } from 'node:zlib'

/** A package's tarball as npm makes it (POSIX ustar, gzip), every file below `package/`. Stored uncompressed, so that its length is known; `cutAt` ends the archive inside. */
export function packageTarball (files: Readonly<Record<string, Uint8Array | string>>, cutAt?: number): Uint8Array {
  const blocks = Object.entries(files).flatMap(([path, content]) => {
    const bytes = Buffer.from(content)
    return [ustarHeader(`package/${path}`, bytes.length), bytes, Buffer.alloc((512 - bytes.length % 512) % 512)]
  })
  return gzipSync(Buffer.concat([...blocks, Buffer.alloc(1024)]).subarray(0, cutAt), { level: 0 })
}

/** As a registry states it. */
export function integrityOf (tarball: Uint8Array): string {
  return `sha512-${createHash('sha512').update(tarball).digest('base64')}`
}

export function sha256Of (bytes: Uint8Array | string): string {
  return createHash('sha256').update(bytes).digest('hex')
}

function ustarHeader (path: string, size: number): Buffer {
  const header = Buffer.alloc(512)
  const octal = (value: number, digits: number): string => value.toString(8).padStart(digits, '0') + '\0'
  header.write(path, 0)
  header.write(octal(0o644, 7), 100)
  header.write(octal(0, 7) + octal(0, 7), 108)
  header.write(octal(size, 11) + octal(0, 11), 124)
  header.write('        0', 148)
  header.write('ustar\x0000', 257)
  header.write(octal(header.reduce((sum, byte) => sum + byte, 0), 6) + ' ', 148)
  return header
}
