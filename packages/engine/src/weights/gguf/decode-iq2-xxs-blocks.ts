import type { DecodeBlocks } from './decode-blocks.ts'
import { F16_VALUES } from './f16-values.ts'

/**
 * The 256 points of the codebook, each eight magnitudes of two bits (0, 1, 2 for 8, 25, 43), the first in the lowest bits: four hex
 * digits are two bytes are one point. Source: the `iq2xxs_grid` of ggml-common.h, in the packing of gguf-py's quants.py.
 */
const PACKED_GRID =
  '00000200050008000a00110014002000220028002a0041004400500058006100' +
  '6400800082008a00a20001010401100115014001840198010002020222028202' +
  '010404041004210424044004420448046004810484049004a404000502050805' +
  '200546056905800591050906100640068406a406000805080808140828084108' +
  '440850085208880804094009020a140a01100410101021104010601084109010' +
  '951000110811201150115a118011241245120014081420142514491480141815' +
  '6215001616160118041810184018811800190519a019511a002002200a204420' +
  '6120802082202921482100220222012404241024402456240025412564259026' +
  '082820289428442a014004401040184021402440404048405640604081408440' +
  '9040004120416141804185410142104248425642684200440844204480449944' +
  '124524450046014804481048404845480049584961498249454a904a00500850' +
  '1150195020508050885004514251a4519152905492540a550156545600581158' +
  '195864584059085a046010604060686000615561186260620064056410651265' +
  '84654268008002800a8041808280048118814081118201840484108415844084' +
  '608400854685948509864086608602880489118a0490109024904090a1901691' +
  '8091459200942294449451958198209902a050a085a009a100a218a450a804a9'

const MAGNITUDES = Int8Array.of(8, 25, 43)

const GRID = Int8Array.from({ length: 256 * 8 }, (_, i) => {
  const point = Number.parseInt(PACKED_GRID.slice((i >>> 3) * 4 + (i & 4 ? 2 : 0), (i >>> 3) * 4 + (i & 4 ? 4 : 2)), 16)
  return MAGNITUDES[point >>> 2 * (i & 3) & 3] ?? 0
})

/** Of eight signs seven are stored; the eighth makes the number of minus signs even. */
const SIGNS = Int8Array.from({ length: 128 * 8 }, (_, i) => {
  const stored = i >>> 3
  const parity = (stored ^ stored >>> 1 ^ stored >>> 2 ^ stored >>> 3 ^ stored >>> 4 ^ stored >>> 5 ^ stored >>> 6) & 1
  return (stored | parity << 7) >>> (i & 7) & 1 ? -1 : 1
})

/**
 * d · (s + ½) / 4 · sign · magnitude; block of 256: f16 d, then for every 32 values four points of the codebook, a byte each,
 * and a word of four times seven signs and, in its upper four bits, s.
 */
export const decodeIQ2XXS: DecodeBlocks = (source, at, numBlocks, values, to) => {
  for (let block = 0; block < numBlocks; block++, at += 66) {
    const d = F16_VALUES[(source[at] ?? 0) | (source[at + 1] ?? 0) << 8] ?? 0
    for (let group = at + 2; group < at + 66; group += 8) {
      const word = (source[group + 4] ?? 0) | (source[group + 5] ?? 0) << 8 | (source[group + 6] ?? 0) << 16 | (source[group + 7] ?? 0) << 24
      const scale = d * ((word >>> 28) + 0.5) * 0.25
      for (let k = 0; k < 4; k++, to += 8) {
        const point = (source[group + k] ?? 0) << 3
        const signs = (word >>> 7 * k & 127) << 3
        for (let j = 0; j < 8; j++) values[to + j] = scale * (GRID[point + j] ?? 0) * (SIGNS[signs + j] ?? 0)
      }
    }
  }
}
