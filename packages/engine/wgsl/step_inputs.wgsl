// step_inputs — the layout of the `step` buffer (src/step-inputs.ts writes it): one u32 vector stream, header first.
//   step[0] = number of tokens, single rows, tiles, logit rows
//   step[1] = number of group records, vector index of the group, tile and logit-row records
//   step[2] = keys of a group record at most, word index of the bias lists, keys of a split, 0
//   step[3 + 3i] = token record i, and behind it single record i in two vectors, as far as there are single rows: each is a token,
//   so there are never more. These places are known beforehand: a kernel reads its record beside the header and not after it.
// `table` in records is the word index of a sequence's block table in this buffer.
struct TokenRecord { token: u32, state_row: u32, position: u32, slot: u32 }          // token: DEVICE_TOKEN = last sampled into state_row
struct TileRecord { first_row: u32, count: u32, table: u32, start_position: u32 }     // consecutive query tokens of one sequence
// One query token, attended part by part: its first `prefix` keys with others, in parts of group_keys(), then its own in parts of
// split_keys(). The partial results of all its parts lie side by side from `partial` on.
struct SingleRecord { token_row: u32, table: u32, context: u32, partial: u32, prefix: u32 }
// `count` consecutive single rows attend keys start to end, which lie in the same blocks for all of them.
struct GroupRecord { first_single: u32, count: u32, start: u32, end: u32 }
const DEVICE_TOKEN = 0xffffffffu;

/** A zero that no compiler knows to be one. */
fn step_zero() -> u32 { return step[2].w; }
/** Own keys that one workgroup attends for a single row. */
fn split_keys() -> u32 { return step[2].z; }
/** Keys that one workgroup attends for a group. */
fn group_keys() -> u32 { return step[2].x; }
fn num_tokens() -> u32 { return step[0].x; }
fn num_singles() -> u32 { return step[0].y; }
fn num_tiles() -> u32 { return step[0].z; }
fn num_groups() -> u32 { return step[1].x; }
fn num_logit_rows() -> u32 { return step[0].w; }
fn token_record(i: u32) -> TokenRecord { let v = step[3u + 3u * i]; return TokenRecord(v.x, v.y, v.z, v.w); }
fn single_record(i: u32) -> SingleRecord { let v = step[4u + 3u * i]; return SingleRecord(v.x, v.y, v.z, v.w, step[5u + 3u * i].x); }
fn tile_record(i: u32) -> TileRecord { let v = step[step[1].z + i]; return TileRecord(v.x, v.y, v.z, v.w); }
fn group_record(i: u32) -> GroupRecord { let v = step[step[1].y + i]; return GroupRecord(v.x, v.y, v.z, v.w); }
fn logit_record(i: u32, part: u32) -> vec4<u32> { return step[step[1].w + i * 4u + part]; }
fn step_word(i: u32) -> u32 { return step[i >> 2u][i & 3u]; }
fn table_entry(table: u32, block: u32) -> u32 { return step_word(table + block); }
/** Partial results of the keys that a row attends with others. */
fn prefix_parts(record: SingleRecord) -> u32 { return (record.prefix + group_keys() - 1u) / group_keys(); }
