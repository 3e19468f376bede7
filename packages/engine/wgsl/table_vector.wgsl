// table_vector — where four values of an embedding table's row lie, by its LAYOUT (weight-layout.ts): 0 interleaved [K/4][ROWS] of 4, 1 tiled
// [ROWS/16][K/16] of 16 × 16. For kernels that have the overrides HIDDEN_SIZE, ROWS and LAYOUT.
fn table_vector(row: u32, c: u32) -> u32 {
  if (LAYOUT == 1u) { return (((row >> 4u) * (HIDDEN_SIZE >> 4u) + (c >> 2u)) * 16u + (row & 15u)) * 4u + (c & 3u); }
  return c * ROWS + row;
}
