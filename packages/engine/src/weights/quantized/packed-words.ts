/**
 * Codes out of 32-bit words, one byte each, row-major from `codes[0]` on, for rows `firstRow` to `firstRow + numRows` of a weight
 * [numRows, numColumns]; `codes` starts at a multiple of 4 bytes in its buffer. What the packings differ in is which dimension
 * shares a word, and in which order.
 */

// So many columns at a time that their words, a long stride apart, stay in the CPU's cache while all rows take their share.
const TILE = 256
const LOW_NIBBLES = 0x0f0f0f0f

/**
 * GPTQ: words [numColumns / p][allRows], p = 32 / bits consecutive columns of one row in a word, the first in the lowest bits.
 * @see https://github.com/AutoGPTQ/AutoGPTQ auto_gptq/nn_modules/qlinear/qlinear_cuda.py (pack)
 */
export function unpackGptq (words: Uint32Array, allRows: number, bits: 4 | 8, numColumns: number, firstRow: number, numRows: number, codes: Uint8Array): void {
  const quads = quadsOf(codes)
  const wordsPerRow = numColumns * bits / 32
  const quadsPerWord = 8 / bits
  for (let tile = 0; tile < wordsPerRow; tile += TILE / 8) {
    const end = Math.min(tile + TILE / 8, wordsPerRow)
    for (let row = 0; row < numRows; row++) {
      let at = (row * wordsPerRow + tile) * quadsPerWord
      for (let w = tile; w < end; w++, at += quadsPerWord) {
        const word = words[w * allRows + firstRow + row] ?? 0
        quads[at] = bits === 8 ? word : spread(word & 0xffff)
        if (bits === 4) quads[at + 1] = spread(word >>> 16)
      }
    }
  }
}

/**
 * Words along a row, p = 32 / bits consecutive values in a word, the first in the lowest bits; the words are those of the rows asked
 * for alone. Any matrix of small integers packed so, for example GPTQ's zeros or compressed-tensors' weights.
 * @see https://github.com/vllm-project/compressed-tensors src/compressed_tensors/compressors/pack_quantized/helpers.py (pack_to_int32)
 */
export function unpackRows (words: Uint32Array, bits: 4 | 8, codes: Uint8Array): void {
  const quads = quadsOf(codes)
  if (bits === 8) {
    quads.set(words)
    return
  }
  for (let w = 0; w < words.length; w++) {
    const word = words[w] ?? 0
    quads[2 * w] = spread(word & 0xffff)
    quads[2 * w + 1] = spread(word >>> 16)
  }
}

/**
 * AWQ: words [numColumns][allRows / 8], eight rows of one column in a word: nibbles 0 to 7 hold rows 0, 2, 4, 6, 1, 3, 5, 7.
 * @see https://github.com/casper-hansen/AutoAWQ awq/utils/packing_utils.py (AWQ_REVERSE_ORDER), awq/modules/linear/gemm.py (order_map)
 */
export function unpackAwq (words: Uint32Array, allRows: number, numColumns: number, firstRow: number, numRows: number, codes: Uint8Array): void {
  const wordsPerColumn = allRows / 8
  for (let tile = 0; tile < numColumns; tile += TILE) {
    const end = Math.min(tile + TILE, numColumns)
    for (let row = 0; row < numRows;) {
      const word = tile * wordsPerColumn + Math.floor((firstRow + row) / 8)
      const rowInWord = (firstRow + row) % 8
      if (rowInWord === 0 && row + 8 <= numRows && numColumns % 4 === 0) {
        unpackEightRows(words, word, wordsPerColumn, quadsOf(codes), (row * numColumns + tile) / 4, (row * numColumns + end) / 4, numColumns / 4)
        row += 8
      } else {
        unpackRow(words, word, wordsPerColumn, rowInWord, codes, row * numColumns + tile, row * numColumns + end)
        row++
      }
    }
  }
}

// Row r of a word's eight is in nibble AWQ_NIBBLE[r].
const AWQ_NIBBLE: readonly number[] = Object.freeze([0, 4, 1, 5, 2, 6, 3, 7])

function unpackRow (words: Uint32Array, word: number, stride: number, rowInWord: number, codes: Uint8Array, from: number, to: number): void {
  const shift = 4 * (AWQ_NIBBLE[rowInWord] ?? 0)
  for (let at = from; at < to; at++, word += stride) codes[at] = (words[word] ?? 0) >>> shift & 15
}

/** Four columns of eight rows at a time: four words' nibbles as bytes are two 4 × 4 matrices, turned with shifts. */
function unpackEightRows (words: Uint32Array, word: number, stride: number, quads: Uint32Array, from: number, to: number, rowQuads: number): void {
  for (let at = from; at < to; at++, word += 4 * stride) {
    const column0 = words[word] ?? 0
    const column1 = words[word + stride] ?? 0
    const column2 = words[word + 2 * stride] ?? 0
    const column3 = words[word + 3 * stride] ?? 0
    // The even nibbles are rows 0, 4, 1 and 5, the odd ones rows 2, 6, 3 and 7.
    turn(column0 & LOW_NIBBLES, column1 & LOW_NIBBLES, column2 & LOW_NIBBLES, column3 & LOW_NIBBLES, quads, at, rowQuads)
    turn(column0 >>> 4 & LOW_NIBBLES, column1 >>> 4 & LOW_NIBBLES, column2 >>> 4 & LOW_NIBBLES, column3 >>> 4 & LOW_NIBBLES, quads, at + 2 * rowQuads, rowQuads)
  }
}

/** Bytes 0 to 3 of four columns become four codes each of rows 0, 4, 1 and 5 from `at` on. */
function turn (column0: number, column1: number, column2: number, column3: number, quads: Uint32Array, at: number, rowQuads: number): void {
  const even01 = column0 & 0x00ff00ff | (column1 & 0x00ff00ff) << 8
  const even23 = column2 & 0x00ff00ff | (column3 & 0x00ff00ff) << 8
  const odd01 = column0 >>> 8 & 0x00ff00ff | column1 & 0xff00ff00
  const odd23 = column2 >>> 8 & 0x00ff00ff | column3 & 0xff00ff00
  quads[at] = even01 & 0xffff | even23 << 16
  quads[at + rowQuads] = even01 >>> 16 | even23 & 0xffff0000
  quads[at + 4 * rowQuads] = odd01 & 0xffff | odd23 << 16
  quads[at + 5 * rowQuads] = odd01 >>> 16 | odd23 & 0xffff0000
}

/** Four nibbles as four bytes, in the same order. */
function spread (nibbles: number): number {
  const pairs = (nibbles | nibbles << 8) & 0x00ff00ff
  return (pairs | pairs << 4) & LOW_NIBBLES
}

function quadsOf (codes: Uint8Array): Uint32Array {
  return new Uint32Array(codes.buffer, codes.byteOffset, codes.length >>> 2)
}
